//! The story of an Intel DCAP quote, from vendor root to verdict.

use crate::{
    anchors::Anchors,
    appraisal::Appraisal,
    check::{Check, CheckId, Reason},
    collateral::{CheckedCollateral, Collateral},
    format::Format,
    genuine::Genuine,
};
use glacier_wire::UnixTime;

/// Whether `evidence` is authentic at the time `at`, given collateral and trusted roots. Without
/// collateral what can be checked is checked, and the best verdict is *undetermined*.
pub fn appraise(
    evidence: &[u8],
    collateral: Option<&Collateral>,
    anchors: &Anchors,
    at: UnixTime,
) -> Appraisal<Genuine> {
    let _ = (collateral, anchors, at);
    unread(evidence)
}

/// [`appraise`] under collateral that was checked before: three P-256 verifications.
pub fn appraise_checked(evidence: &[u8], collateral: &CheckedCollateral, at: UnixTime) -> Appraisal<Genuine> {
    let _ = (collateral, at);
    unread(evidence)
}

fn unread(evidence: &[u8]) -> Appraisal<Genuine> {
    let checks = CheckId::of_evidence()
        .map(|id| match (id, Format::detect(evidence)) {
            (CheckId::Format, Some(format)) => Check::pass(id, Reason::Recognised(format)),
            (CheckId::Format, None) => Check::fail(id, Reason::Unrecognised),
            (id, _) => Check::skip(id, Reason::NotEvaluated),
        })
        .collect();
    Appraisal::new(checks, None)
}
