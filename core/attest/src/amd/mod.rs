//! AMD SEV-SNP.

mod fault;
mod tcb;

pub use fault::SnpFault;
pub use tcb::{AmdTcb, SnpTcb};

use crate::{
    appraisal::Appraisal,
    check::{CheckId, Steps},
    endorsements::CheckedEndorsements,
    format::Format,
    genuine::Genuine,
    reason::Reason,
};
use glacier_wire::UnixTime;

pub(crate) fn appraise(_evidence: &[u8], _given: &CheckedEndorsements, _at: UnixTime) -> Appraisal<Genuine> {
    let format = Format::SnpReport;
    let skipped = CheckId::of_evidence(format).iter().map(|id| Steps::skipped(*id, Reason::NoChain(format)));
    Appraisal::new(skipped.collect(), None)
}
