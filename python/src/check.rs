//! Lists of checks as documents, from whichever verifier.

use glacier::{
    attest::{Check, Outcome, Reason},
    proof::{ProofCheck, SettlementCheck},
    wire::UnixTime,
};
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// One line of a verdict.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Line {
    device: Option<u8>,
    id: &'static str,
    outcome: Outcome,
    reason: String,
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

impl From<&ProofCheck> for Line {
    fn from(check: &ProofCheck) -> Self {
        let reason = check.fault.as_ref().map_or_else(|| "holds".to_owned(), ToString::to_string);
        Self { device: None, id: check.id.as_str(), outcome: check.outcome(), reason }
    }
}

impl From<&SettlementCheck> for Line {
    fn from(check: &SettlementCheck) -> Self {
        let reason = check.fault.as_ref().map_or_else(|| "holds".to_owned(), ToString::to_string);
        Self { device: None, id: check.id.as_str(), outcome: check.outcome(), reason }
    }
}

pub(crate) fn lines<'a, C: 'a>(checks: impl IntoIterator<Item = &'a C>) -> Vec<Line>
where
    Line: From<&'a C>,
{
    checks.into_iter().map(Line::from).collect()
}

/// Words and numbers: nothing in them can fail to be JSON.
pub(crate) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

pub(crate) fn rfc3339(moment: UnixTime) -> String {
    i64::try_from(moment.0)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|moment| moment.format(&Rfc3339).ok())
        .unwrap_or_else(|| moment.0.to_string())
}
