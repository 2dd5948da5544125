//! What an enclave program stands on: evidence, sealing keys, randomness, the sandbox, and worker
//! processes for work that may go wrong.
//!
//! An enclave's `main` calls [`enter`] first. That checks what the process was handed, forks the
//! [`Zygote`] before any key exists, closes the sandbox and connects the [`Platform`]. The one
//! platform today is [`simulated`]; hardware platforms are further implementations of the trait.
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
mod enter;
pub mod launch;
mod locked;
mod platform;
mod sandbox;
pub mod simulated;
mod zygote;

pub use alloc::CountingAllocator;
pub use enter::{Descriptor, Enclave, EnterError, enter};
pub use locked::{LockError, LockedKey, Protection, random};
pub use platform::{Platform, PlatformError, SealingPurpose};
pub use sandbox::{SandboxError, SandboxReport, SandboxStep};
pub use zygote::{Ending, Leash, SpawnError, Worker, Zygote};
