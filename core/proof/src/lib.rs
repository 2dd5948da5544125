//! Work Proofs: what an enclave signs about each job, and how anyone checks it.
//!
//! A proof is an EIP-712 statement ([`WorkProof`]) signed by a key that lives in one enclave's
//! memory, hash-chained to the proof before it. A [`Bundle`] adds what a stranger needs to check
//! it offline: the enclave's evidence and the manifest the parties signed.

#![no_std]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

extern crate alloc;

mod bundle;
mod chain;
mod statement;

pub use bundle::{Bundle, Judge, ProofAppraisal, ProofCheck, ProofCheckId, ProofFault, VerifiedProof};
pub use chain::{Chain, ChainError, equivocation, verify_chain};
pub use statement::{SignedProof, WorkProof};
