//! Work Proofs: what an enclave signs about each job, and how anyone checks it.
//!
//! A proof is an EIP-712 statement ([`WorkProof`]) signed by a key that lives in one enclave's
//! memory, hash-chained to the proof before it. A `Bundle` (feature `bundle`) adds what a stranger needs to check
//! it offline: the enclave's evidence and the manifest the parties signed.
//!
//! All proofs of a key form one append-only [`Log`]. Its heads are signed as [`Checkpoint`]s, which
//! settle on a chain, and which keep a host from showing different histories to different people:
//! two that do not fit together are an [`Equivocation`].

#![no_std]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

extern crate alloc;

mod anchor;
#[cfg(feature = "bundle")]
mod bundle;
mod chain;
mod checkpoint;
mod equivocation;
#[cfg(feature = "bundle")]
mod judge;
mod log;
#[cfg(feature = "bundle")]
mod peer;
mod registration;
#[cfg(feature = "bundle")]
mod settlement;
mod statement;

pub use anchor::{AnchorAt, Batch, SignedBatch};
#[cfg(feature = "bundle")]
pub use bundle::{Bundle, ProofAppraisal, ProofCheck, ProofCheckId, ProofFault, VerifiedProof};
pub use chain::{Chain, ChainError, verify_chain};
pub use checkpoint::{Checkpoint, Logged, NotLogged, SignedCheckpoint};
pub use equivocation::{Consistent, Culprit, Equivocation};
#[cfg(feature = "bundle")]
pub use judge::Judge;
pub use log::{
    Frontier, Head, Log, LogError, empty_root, leaf_hash, root_of_path, verify_consistency, verify_inclusion,
};
#[cfg(feature = "bundle")]
pub use peer::{AttestedPeer, seat_policy};
pub use registration::Registration;
#[cfg(feature = "bundle")]
pub use settlement::{Registered, Settled, SettlementAppraisal, SettlementCheck, SettlementCheckId, SettlementFault};
pub use statement::{SignedProof, WorkProof};
