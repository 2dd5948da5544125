//! Intel DCAP: SGX and TDX.

mod collateral;
mod compact;
mod dcap;
mod endorsement;
mod lean;
mod level;
mod look;
mod module;
mod pck;
mod quote;
mod report;
mod tcb;
mod td_report;

pub use collateral::{CheckedCollateral, Collateral, CollateralError};
pub use compact::{Compact, CompactError};
pub(crate) use dcap::appraise;
pub use endorsement::{DocumentError, QuotingEnclaveError};
pub(crate) use look::look;
pub use module::TdModuleError;
pub use quote::QuoteError;
pub use tcb::TcbStatus;
