//! Lists of checks, from whichever verifier, as people and programs read them.

use crate::{
    output::{BAD, DIM, GOOD, WARN, paint},
    units::rfc3339,
};
use glacier_attest::{Check, Outcome, Reason, Verdict};
use serde::Serialize;
use std::io::{self, Write};

/// One line of a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    /// Of which device of a composite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device: Option<u8>,
    pub(crate) id: &'static str,
    pub(crate) outcome: Outcome,
    pub(crate) reason: String,
}

impl From<&Check> for Line {
    fn from(check: &Check) -> Self {
        let mut reason = check.reason.to_string();
        // The verifier knows no calendar; people do.
        if let Reason::CurrentUntil(moment)
        | Reason::Expired { until: moment, .. }
        | Reason::NotYetValid { from: moment, .. }
        | Reason::FromTheFuture(moment) = check.reason
        {
            reason = reason.replace(&moment.0.to_string(), &rfc3339(moment));
        }
        Self { device: check.device, id: check.id.as_str(), outcome: check.outcome, reason }
    }
}

/// Lines of an appraisal.
pub(crate) fn lines<'a>(checks: impl IntoIterator<Item = &'a Check>) -> Vec<Line> {
    checks.into_iter().map(Line::from).collect()
}

/// The mark of an outcome.
pub(crate) fn mark(outcome: Outcome) -> String {
    match outcome {
        Outcome::Pass => paint(GOOD, "✓"),
        Outcome::Fail => paint(BAD, "✗"),
        Outcome::Skip => paint(WARN, "–"),
    }
}

/// A verdict in its colour.
pub(crate) fn verdict(verdict: Verdict) -> String {
    let style = match verdict {
        Verdict::Accepted => GOOD,
        Verdict::Rejected => BAD,
        Verdict::Undetermined => WARN,
    };
    paint(style.bold(), verdict)
}

/// Draws the branches under a line that the caller has written. Under the check named in `nested`
/// stand the checks that it rests on.
pub(crate) fn tree(page: &mut dyn Write, lines: &[Line], nested: Option<(&str, &[Line])>) -> io::Result<()> {
    branches(page, "", lines, nested)
}

fn branches(page: &mut dyn Write, indent: &str, lines: &[Line], nested: Option<(&str, &[Line])>) -> io::Result<()> {
    let width = lines.iter().map(|line| line.id.len()).max().unwrap_or_default();
    for (index, line) in lines.iter().enumerate() {
        let last = index + 1 == lines.len();
        let branch = if last { "└" } else { "├" };
        let Line { device, id, outcome, reason } = line;
        // What holds needs no reason that only says so.
        let reason = if reason == "holds" { "" } else { reason.as_str() };
        let device = device.map(|device| format!("device {device}: ")).unwrap_or_default();
        let text = format!("{device}{id:<width$}  {reason}");
        writeln!(page, "{indent}{DIM}{branch}{DIM:#} {} {}", mark(*outcome), text.trim_end())?;
        if let Some((_, under)) = nested.filter(|(parent, _)| parent == id) {
            let rail = if last { " " } else { "│" };
            branches(page, &format!("{indent}{DIM}{rail}{DIM:#}   "), under, None)?;
        }
    }
    Ok(())
}
