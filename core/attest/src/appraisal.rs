//! The answer to a question of trust: checks in order, and the value they vouch for.

use crate::{
    check::{Check, CheckId, Outcome, Verdict},
    reason::Reason,
};
use alloc::vec::Vec;

/// A finished list of checks and, if every one passed, what they vouch for.
#[derive(Debug, Clone)]
#[must_use]
pub struct Appraisal<T> {
    checks: Vec<Check>,
    value: Option<T>,
}

impl<T> Appraisal<T> {
    /// Keeps `value` only if the checks accept it.
    pub(crate) fn new(checks: Vec<Check>, value: Option<T>) -> Self {
        let value = value.filter(|_| Verdict::of(&checks) == Verdict::Accepted);
        Self { checks, value }
    }

    /// Every check of the question, in its fixed order. A check that could not be reached is in the
    /// list as [`Outcome::Skip`].
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// What follows from the checks.
    pub fn verdict(&self) -> Verdict {
        match (&self.value, Verdict::of(&self.checks)) {
            // All passed and yet nothing to vouch for: not an acceptance.
            (None, Verdict::Accepted) => Verdict::Undetermined,
            (_, verdict) => verdict,
        }
    }

    /// What the checks vouch for, if all passed.
    pub fn value(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// What the checks vouch for, or the first check that stands in the way: a failed one before a
    /// skipped one.
    pub fn into_result(self) -> Result<T, AppraisalError> {
        let verdict = self.verdict();
        if let Some(value) = self.value {
            return Ok(value);
        }
        let first = |outcome| {
            self.checks
                .iter()
                .find(|check| check.outcome == outcome && (outcome == Outcome::Fail || check.id.is_required()))
        };
        let (check, reason) = match first(Outcome::Fail).or_else(|| first(Outcome::Skip)) {
            Some(check) => (check.id, check.reason.clone()),
            None => (CheckId::Format, Reason::NotEvaluated),
        };
        Err(AppraisalError { verdict, check, reason })
    }
}

/// `{"verdict": …, "checks": […]}`.
impl<T> serde::Serialize for Appraisal<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut out = serializer.serialize_struct("Appraisal", 2)?;
        out.serialize_field("verdict", &self.verdict())?;
        out.serialize_field("checks", &self.checks)?;
        out.end()
    }
}

/// The check that stands between evidence and acceptance.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("evidence {verdict} at check {check}: {reason}")]
pub struct AppraisalError {
    /// [`Verdict::Rejected`] or [`Verdict::Undetermined`].
    pub verdict: Verdict,
    /// Which check.
    pub check: CheckId,
    /// Why.
    pub reason: Reason,
}
