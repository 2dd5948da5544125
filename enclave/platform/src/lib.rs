//! What an enclave program stands on: evidence, sealing keys, randomness, the sandbox, and worker
//! processes for work that may go wrong.
//!
//! An enclave's `main` calls [`enter`] first. That checks what the process was handed, forks the
//! [`Zygote`] before any key exists, closes the sandbox and connects the [`Platform`].
//! Platforms are [`simulated`], where another process of this machine plays the chip, and the genuine ones:
//! [`Gramine`] (SGX), [`Tdx`] and [`Snp`]. A genuine platform is a [`Source`] of evidence whose identity was
//! read from its own evidence ([`Attested`]). [`gpu`] has confidential GPUs report, through [`nvml`]. The genuine ones are
//! written for the real interfaces and tested against recorded evidence and faked device files; none was
//! run on hardware.
//!
//! This is the only crate of the workspace that may use `unsafe`.

#![deny(unsafe_op_in_unsafe_fn)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
#![cfg(target_os = "linux")]

mod alloc;
mod cert_table;
mod enter;
mod evidence;
#[cfg(test)]
mod fake;
pub mod gpu;
mod gramine;
mod hardware;
mod keeper;
pub mod launch;
mod locked;
pub mod nvml;
mod platform;
#[cfg(test)]
mod recorded;
mod sandbox;
mod sealing;
pub mod sev_guest;
pub mod simulated;
pub mod tdx_guest;
mod tsm;
mod zygote;

pub use alloc::CountingAllocator;
pub use cert_table::{CertTable, CertTableError, Certificate};
pub use enter::{Descriptor, Enclave, EnterError, enter, enter_with};
pub use gramine::Gramine;
pub use hardware::{Attested, Identity, Source};
pub use locked::{LockError, LockedKey, Protection, random};
pub use platform::{Platform, PlatformError, SealingPurpose};
pub use sandbox::{SandboxError, SandboxReport, SandboxStep};
pub use sev_guest::Snp;
pub use tdx_guest::Tdx;
pub use zygote::{Ending, Leash, SpawnError, Worker, Zygote};
