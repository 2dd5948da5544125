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

mod amd;
mod anchors;
mod appraisal;
mod appraise;
mod bytes;
mod check;
mod enclave;
mod endorsements;
mod exposure;
mod format;
mod genuine;
mod hash;
mod intel;
mod judge;
mod look;
mod nvidia;
mod policy;
mod reason;
mod registers;
mod window;
mod x509;

pub use amd::{AmdTcb, SnpFault, SnpTcb, VekFacts, check_amd_crl, check_vek};
pub use anchors::{Anchors, Fingerprint};
pub use appraisal::{Appraisal, AppraisalError};
pub use appraise::{appraise, appraise_checked};
pub use check::{Check, CheckId, Outcome, Verdict};
pub use enclave::{appraise_enclave, appraise_enclave_checked};
pub use endorsements::{CheckedEndorsements, Endorsements};
pub use exposure::Exposure;
pub use format::Format;
pub use genuine::{Genuine, IntelTcb, Signer, Tcb, enclave_id};
pub use intel::{
    CheckedCollateral, Collateral, CollateralError, Compact, CompactError, DocumentError, QuoteError,
    QuotingEnclaveError, TcbStatus, TdModuleError,
};
pub use judge::{Accepted, Binding};
pub use look::{Shown, look};
pub use nvidia::{
    Architecture, CheckedRim, FabricFault, Gpu, GpuFault, GpuMode, OcspFault, Rim, RimFault, RimKind, check_ocsp,
    fabric,
};
pub use policy::{Age, CodeName, GpuPolicy, Policy, RegisterPins, SnpPolicy};
pub use reason::Reason;
pub use registers::{GpuRegisters, Register, Registers, SgxRegisters, SnpRegisters, TdRegisters};
pub use window::Part;
pub use x509::CertificateError;
