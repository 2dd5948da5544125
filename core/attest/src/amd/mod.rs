//! AMD SEV-SNP.

mod chain;
mod fault;
mod given;
mod look;
mod product;
mod report;
mod snp;
mod tcb;
mod vek;

pub(crate) use chain::CheckedVek;
pub use fault::SnpFault;
pub use given::{VekFacts, check_amd_crl, check_vek};
pub(crate) use look::look;
pub(crate) use snp::appraise;
pub use tcb::{AmdTcb, SnpTcb};
