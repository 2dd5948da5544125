//! One check, as a page shows it.

use glacier_attest::{Check, Outcome, Reason};
use glacier_proof::ProofCheck;
use serde::Serialize;

/// One line of a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    /// Of which device of a composite.
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<u8>,
    pub(crate) id: &'static str,
    pub(crate) outcome: Outcome,
    pub(crate) reason: String,
    /// The seconds since 1970 that stand in the reason: the verifier knows no calendar, people do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) moment: Option<u64>,
}

impl Line {
    pub(crate) fn new(id: &'static str, outcome: Outcome, reason: impl ToString) -> Self {
        Self { device: None, id, outcome, reason: reason.to_string(), moment: None }
    }

    /// Passed, or failed for this reason.
    pub(crate) fn holds<E: ToString>(id: &'static str, found: Result<(), E>) -> Self {
        match found {
            Ok(()) => Self::new(id, Outcome::Pass, "holds"),
            Err(error) => Self::new(id, Outcome::Fail, error),
        }
    }
}

impl From<&Check> for Line {
    fn from(check: &Check) -> Self {
        let moment = match check.reason {
            Reason::CurrentUntil(moment)
            | Reason::Expired { until: moment, .. }
            | Reason::NotYetValid { from: moment, .. }
            | Reason::FromTheFuture(moment) => Some(moment.0),
            _ => None,
        };
        let (id, outcome) = (check.id.as_str(), check.outcome);
        Self { device: check.device, id, outcome, reason: check.reason.to_string(), moment }
    }
}

impl From<&ProofCheck> for Line {
    fn from(check: &ProofCheck) -> Self {
        let reason = check.fault.as_ref().map_or_else(|| "holds".to_owned(), ToString::to_string);
        Self::new(check.id.as_str(), check.outcome(), reason)
    }
}
