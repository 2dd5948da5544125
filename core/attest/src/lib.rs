//! Evidence to [`Genuine`] to [`Accepted`]: the one verifier.
//!
//! Two questions, each answered once. *Is this evidence authentic?* [`appraise`] takes evidence,
//! collateral, trusted roots and the time, and only it makes a [`Genuine`]. *Do we accept what it
//! says?* [`Genuine::judge`] takes a [`Policy`] and the report data that the evidence must carry,
//! and only it makes an [`Accepted`]. Both answer with an [`Appraisal`]: a closed, ordered list of
//! [`Check`]s, from which the verdict follows. What could not be evaluated is never accepted.
//!
//! No IO, no clock, no randomness: everything is a parameter, and the answer is the same next year.
//! Application code wants the crate `glacier`.

#![no_std]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

extern crate alloc;

mod anchors;
mod appraisal;
mod bytes;
mod certificate;
mod check;
mod collateral;
mod crl;
mod dcap;
mod endorsement;
mod format;
mod genuine;
mod hash;
mod pck;
mod pem;
mod policy;
mod quote;
mod report;
mod signature;
mod tcb;
mod window;

pub use anchors::{Anchors, Fingerprint};
pub use appraisal::{Appraisal, AppraisalError};
pub use certificate::CertificateError;
pub use check::{Check, CheckId, Outcome, Reason, Verdict};
pub use collateral::{CheckedCollateral, Collateral, CollateralError};
pub use dcap::{appraise, appraise_checked};
pub use endorsement::{DocumentError, QuotingEnclaveError};
pub use format::Format;
pub use genuine::{Genuine, Signer, enclave_id};
pub use policy::{Accepted, Age, Binding, Policy};
pub use quote::QuoteError;
pub use tcb::TcbStatus;
pub use window::Part;
