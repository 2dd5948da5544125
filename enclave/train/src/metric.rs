//! How good a model is, row by row and exactly.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "lengths are compared before each loop, and classes before they index"
)]

use crate::{
    error::TrainError,
    loss::{Compared, IGNORED, Objective, class_shape},
    source::Targets,
};
use glacier_wire::training::{Loss, Measured, Metric, Real};

/// Figures that grow with each batch of validation rows.
#[derive(Debug, Clone)]
pub struct Meter {
    metrics: Vec<Metric>,
    classifies: bool,
    binary: bool,
    probabilities: bool,
    loss: (f64, f64),
    right: (u64, u64),
    /// True positives, false positives and false negatives of each class.
    counts: Vec<[u64; 3]>,
    /// Scores of the rows of each class against the rest, in groups of [`Meter::width`].
    scores: Vec<f32>,
    truths: Vec<u32>,
    width: usize,
    columns: Vec<Spread>,
}

/// What R2 and RMSE need of one column.
#[derive(Debug, Clone, Copy, Default)]
struct Spread {
    count: f64,
    mean: f64,
    squares: f64,
    errors: f64,
}

impl Meter {
    /// Most scores that are kept for an AUC: 256 MiB.
    pub const MAX_SCORES: usize = 1 << 26;

    /// Counts nothing yet.
    pub fn new(objective: &Objective, metrics: &[Metric]) -> Self {
        Self {
            metrics: metrics.to_vec(),
            classifies: objective.loss().classifies(),
            binary: objective.loss() == Loss::Bce,
            probabilities: objective.probabilities(),
            loss: (0.0, 0.0),
            right: (0, 0),
            counts: Vec::new(),
            scores: Vec::new(),
            truths: Vec::new(),
            width: 0,
            columns: Vec::new(),
        }
    }

    /// Adds a batch whose loss was taken already, so its targets fit its output.
    ///
    /// # Errors
    /// More scores than are kept, when an AUC is wanted.
    pub fn add(&mut self, compared: &Compared<'_>, sum: f64, weight: f64) -> Result<(), TrainError> {
        self.loss.0 += sum;
        self.loss.1 += weight;
        match &compared.batch.targets {
            Targets::Classes(classes) if self.binary => self.add_binary(compared, |place| match classes[place] {
                IGNORED => None,
                class => Some(class == 1),
            }),
            Targets::Numbers(numbers) if self.binary => {
                self.add_binary(compared, |place| Some(numbers.data[place] >= 0.5))
            }
            Targets::Classes(classes) => self.add_classes(compared, classes),
            Targets::Numbers(numbers) => {
                self.add_numbers(compared, &numbers.data);
                Ok(())
            }
            Targets::Pairs(_) => Ok(()),
        }
    }

    /// The loss, and then each metric that these rows define.
    pub fn read(&self) -> Vec<Measured> {
        let mean = (self.loss.1 > 0.0).then(|| self.loss.0 / self.loss.1);
        let rest = self.metrics.iter().filter(|metric| **metric != Metric::Loss);
        let figures = rest.map(|metric| {
            let figure = match metric {
                Metric::Accuracy => (self.right.1 > 0).then(|| self.right.0 as f64 / self.right.1 as f64),
                Metric::F1 => self.f1(),
                Metric::Auc => self.auc(),
                Metric::R2 => self.r2(),
                Metric::Rmse => self.rmse(),
                _ => None,
            };
            (*metric, figure)
        });
        std::iter::once((Metric::Loss, mean))
            .chain(figures)
            .filter_map(|(metric, figure)| Some(Measured { metric, value: real(figure?)? }))
            .collect()
    }

    fn wants(&self, metric: Metric) -> bool {
        self.metrics.contains(&metric)
    }

    fn count(&mut self, found: usize, truth: usize) {
        self.right.1 += 1;
        if found == truth {
            self.right.0 += 1;
            self.counts[truth][0] += 1;
        } else {
            self.counts[found][1] += 1;
            self.counts[truth][2] += 1;
        }
    }

    fn keep(&mut self, scores: impl IntoIterator<Item = f32>, truth: u32) -> Result<(), TrainError> {
        if self.scores.len() >= Self::MAX_SCORES {
            return Err(TrainError::Unfit("the validation rows are too many for an AUC"));
        }
        self.scores.extend(scores);
        self.truths.push(truth);
        Ok(())
    }

    fn add_classes(&mut self, compared: &Compared<'_>, truths: &[i64]) -> Result<(), TrainError> {
        let output = compared.output;
        let Some((elements, classes)) = class_shape(&output.shape) else { return Ok(()) };
        if elements != truths.len() || !self.classifies {
            return Ok(());
        }
        self.counts.resize(self.counts.len().max(classes), [0; 3]);
        self.width = if classes == 2 { 1 } else { classes };
        for (scores, truth) in output.data.chunks_exact(classes.max(1)).zip(truths) {
            let Some(truth) = usize::try_from(*truth).ok().filter(|truth| *truth < classes) else { continue };
            self.count(largest(scores), truth);
            if !self.wants(Metric::Auc) {
                continue;
            }
            match (scores, self.probabilities) {
                ([_, yes], true) => self.keep([*yes], truth as u32)?,
                // Monotonous in the probability, and without its ties near 0 and 1.
                ([no, yes], false) => self.keep([yes - no], truth as u32)?,
                (scores, true) => self.keep(scores.iter().copied(), truth as u32)?,
                (scores, false) => self.keep(probabilities(scores), truth as u32)?,
            }
        }
        Ok(())
    }

    /// Each column is a question of its own.
    fn add_binary(&mut self, compared: &Compared<'_>, truth: impl Fn(usize) -> Option<bool>) -> Result<(), TrainError> {
        let output = compared.output;
        let rows = output.shape.first().copied().unwrap_or(0).max(1);
        let width = (output.data.len() / rows).max(1);
        let threshold = if self.probabilities { 0.5 } else { 0.0 };
        self.width = width;
        self.counts.resize(self.counts.len().max(width), [0; 3]);
        for (row, scores) in output.data.chunks_exact(width).enumerate() {
            let mut bits = Vec::with_capacity(width);
            for (column, score) in scores.iter().enumerate() {
                let truth = truth(row * width + column);
                bits.push(truth);
                let Some(truth) = truth else { continue };
                let found = *score >= threshold;
                self.right.1 += 1;
                self.right.0 += u64::from(found == truth);
                let counts = &mut self.counts[column];
                match (found, truth) {
                    (true, true) => counts[0] += 1,
                    (true, false) => counts[1] += 1,
                    (false, true) => counts[2] += 1,
                    (false, false) => {}
                }
            }
            if !self.wants(Metric::Auc) {
                continue;
            }
            // One truth for each score, so the columns of a row are kept one by one.
            for (score, truth) in scores.iter().zip(bits) {
                self.keep([*score], truth.map_or(u32::MAX, u32::from))?;
            }
        }
        Ok(())
    }

    fn add_numbers(&mut self, compared: &Compared<'_>, targets: &[f32]) {
        let output = compared.output;
        let rows = output.shape.first().copied().unwrap_or(0).max(1);
        let width = (output.data.len() / rows).max(1);
        if targets.len() != output.data.len() {
            return;
        }
        self.columns.resize(self.columns.len().max(width), Spread::default());
        for (output, targets) in output.data.chunks_exact(width).zip(targets.chunks_exact(width)) {
            for ((column, output), target) in self.columns.iter_mut().zip(output).zip(targets) {
                column.add(f64::from(*output), f64::from(*target));
            }
        }
    }

    fn f1(&self) -> Option<f64> {
        let f1 = |[right, wrong, missed]: &[u64; 3]| {
            let whole = 2 * right + wrong + missed;
            (whole > 0).then(|| 2.0 * *right as f64 / whole as f64)
        };
        match self.counts.as_slice() {
            [_, yes] if !self.binary => f1(yes),
            counts => mean(counts.iter().filter_map(f1)),
        }
    }

    fn auc(&self) -> Option<f64> {
        let column = |column: usize| -> Option<f64> {
            if self.binary {
                let rows = self.scores.chunks_exact(self.width).zip(self.truths.chunks_exact(self.width));
                let rows = rows.map(|(scores, truths)| (scores[column], truths[column]));
                return auc(rows.filter(|(_, truth)| *truth != u32::MAX).map(|(score, truth)| (score, truth == 1)));
            }
            let rows = self.scores.chunks_exact(self.width).zip(&self.truths);
            let yes = if self.width == 1 { 1 } else { column as u32 };
            auc(rows.map(|(scores, truth)| (scores[column], *truth == yes)))
        };
        if self.width == 0 { None } else { mean((0..self.width).filter_map(column)) }
    }

    fn r2(&self) -> Option<f64> {
        let explained = |column: &Spread| (column.squares > 0.0).then(|| 1.0 - column.errors / column.squares);
        mean(self.columns.iter().filter_map(explained))
    }

    fn rmse(&self) -> Option<f64> {
        let count: f64 = self.columns.iter().map(|column| column.count).sum();
        let errors: f64 = self.columns.iter().map(|column| column.errors).sum();
        (count > 0.0).then(|| (errors / count).sqrt())
    }
}

impl Spread {
    /// Welford 1962: the sum of squares loses nothing to a large mean.
    fn add(&mut self, output: f64, target: f64) {
        self.count += 1.0;
        let distance = target - self.mean;
        self.mean += distance / self.count;
        self.squares += distance * (target - self.mean);
        self.errors += (output - target) * (output - target);
    }
}

/// Probability that a row of the class has a higher score than one that is not, ties counting half
/// (Mann and Whitney 1947). `None` when either kind is missing.
pub fn auc(rows: impl Iterator<Item = (f32, bool)>) -> Option<f64> {
    let mut rows: Vec<(f32, bool)> = rows.collect();
    rows.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut wins, mut positives) = (0u64, 0u128, 0u64);
    for tied in rows.chunk_by(|a, b| a.0 == b.0) {
        let yes = tied.iter().filter(|(_, truth)| *truth).count() as u64;
        let no = tied.len() as u64 - yes;
        // Twice, so that ties stay whole.
        wins += u128::from(yes) * u128::from(2 * below + no);
        positives += yes;
        below += no;
    }
    (positives > 0 && below > 0).then(|| wins as f64 / (2.0 * positives as f64 * below as f64))
}

/// The first of the largest.
fn largest(scores: &[f32]) -> usize {
    let better = |best: usize, place: usize| if scores[place] > scores[best] { place } else { best };
    (1..scores.len()).fold(0, better)
}

fn probabilities(logits: &[f32]) -> Vec<f32> {
    let top = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let powers: Vec<f64> = logits.iter().map(|logit| libm::exp(f64::from(*logit) - top)).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| (power / sum) as f32).collect()
}

fn mean(figures: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = figures.fold((0.0, 0.0), |(sum, count), figure| (sum + figure, count + 1.0));
    (count > 0.0).then(|| sum / count)
}

/// The nearest number of single precision; what is larger than all of them is the largest.
pub(crate) fn real(value: f64) -> Option<Real> {
    if value.is_nan() { None } else { Real::new((value as f32).clamp(f32::MIN, f32::MAX)) }
}

#[cfg(test)]
mod tests;
