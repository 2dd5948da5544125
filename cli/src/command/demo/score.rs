//! How good the answers are, against diagnoses that nobody in the ceremony had.

use serde::Serialize;

/// Right answers of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(super) struct Score {
    pub(super) right: u64,
    pub(super) of: u64,
}

impl Score {
    fn count(&mut self, right: bool) {
        self.right += u64::from(right);
        self.of += 1;
    }
}

impl std::fmt::Display for Score {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let percent = if self.of == 0 { 0.0 } else { 100.0 * self.right as f64 / self.of as f64 };
        write!(f, "{} of {} right ({percent:.1} %)", self.right, self.of)
    }
}

/// The known diagnoses, with which of them the model was never trained on.
pub(super) struct Known(Vec<(String, bool)>);

impl Known {
    /// Reads `label,held_out` lines. `None` if a line is something else.
    pub(super) fn parse(table: &str) -> Option<Self> {
        let rows = table.lines().skip(1).map(|line| {
            let (label, held_out) = line.split_once(',')?;
            Some((label.to_owned(), held_out == "1"))
        });
        rows.collect::<Option<_>>().map(Self)
    }

    /// Scores of the held-out rows, and of all rows. `None` if there are other rows than are known.
    pub(super) fn score(&self, labels: &[String]) -> Option<(Score, Score)> {
        if labels.len() != self.0.len() {
            return None;
        }
        let (mut held, mut all) = (Score::default(), Score::default());
        for ((known, held_out), label) in self.0.iter().zip(labels) {
            all.count(known == label);
            if *held_out {
                held.count(known == label);
            }
        }
        Some((held, all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_is_right() {
        let known = Known::parse("label,held_out\nbenign,1\nmalignant,0\nbenign,1\n").unwrap();
        let said = ["benign", "malignant", "malignant"].map(str::to_owned);
        assert_eq!(known.score(&said), Some((Score { right: 1, of: 2 }, Score { right: 2, of: 3 })));
        assert_eq!(known.score(&said[..2]), None);
        assert!(Known::parse("label,held_out\nbenign\n").is_none());
    }
}
