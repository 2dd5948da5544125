//! AMD SEV-SNP.

mod chain;
mod fault;
mod look;
mod product;
mod report;
mod snp;
mod tcb;
mod vek;

pub(crate) use chain::CheckedVek;
pub use fault::SnpFault;
pub(crate) use look::look;
pub(crate) use snp::appraise;
pub use tcb::{AmdTcb, SnpTcb};
