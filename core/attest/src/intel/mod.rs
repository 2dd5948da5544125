//! Intel DCAP: SGX and TDX.

mod collateral;
mod dcap;
mod endorsement;
mod pck;
mod quote;
mod report;
mod tcb;

pub use collateral::{CheckedCollateral, Collateral, CollateralError};
pub use dcap::{appraise, appraise_checked};
pub use endorsement::{DocumentError, QuotingEnclaveError};
pub use quote::QuoteError;
pub use tcb::TcbStatus;
