//! The one way from evidence to [`Genuine`], whatever the vendor.

use crate::{
    amd,
    anchors::Anchors,
    appraisal::Appraisal,
    check::{CheckId, Steps},
    endorsements::{CheckedEndorsements, Endorsements},
    format::Format,
    genuine::Genuine,
    intel, nvidia,
    reason::Reason,
};
use glacier_wire::UnixTime;

/// Whether `evidence` is authentic at the time `at`, given endorsements and trusted roots. What lacks
/// its endorsement is skipped, and the best verdict is then *undetermined*.
pub fn appraise(evidence: &[u8], endorsements: &Endorsements, anchors: &Anchors, at: UnixTime) -> Appraisal<Genuine> {
    appraise_checked(evidence, &endorsements.check(anchors, at), at)
}

/// [`appraise`] with endorsements that were checked before. Their validity is looked at again.
pub fn appraise_checked(evidence: &[u8], endorsements: &CheckedEndorsements, at: UnixTime) -> Appraisal<Genuine> {
    match Format::detect(evidence) {
        Some(Format::SgxQuoteV3 | Format::TdxQuoteV4 | Format::TdxQuoteV5) => {
            intel::appraise(evidence, endorsements.collateral.as_ref(), &endorsements.anchors, at)
        }
        Some(Format::SnpReport) => amd::appraise(evidence, endorsements, at),
        Some(Format::NvidiaReport) => {
            nvidia::appraise(evidence, endorsements.gpu_chain.as_ref(), &[], endorsements, at)
        }
        None => {
            let mut steps = Steps::default();
            steps.step::<()>(CheckId::Format, Err(Reason::Unrecognised.into()));
            Appraisal::new(steps.checks, None)
        }
    }
}
