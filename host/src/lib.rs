//! The untrusted daemon around an enclave: starts it, relays ciphertext to it, stores ciphertext for
//! it, keeps its Work Proofs.
//!
//! Everything here may be replaced by an attacker's version; what that attacker can take is
//! availability. So this crate has no dependency that could open a relayed byte, and what it owes is
//! to its operator: bounded memory, connections and disk, and that `kill -9` loses no stored blob and
//! no published proof. The program is `glacier node`; application code wants the crate `glacier`.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod checkpoints;
mod config;
pub mod danger;
pub mod dashboard;
mod enclave;
mod error;
mod handover;
mod http;
mod lines;
mod log;
mod metrics;
mod node;
mod orders;
mod port;
mod presence;
mod proofs;
mod relay;
mod samples;
mod showcase;
mod status;

pub use config::{ChainConfig, NodeConfig};
pub use enclave::{ChipInfo, LaunchError};
pub use error::HostError;
pub use handover::{Handover, HandoverError};
pub use http::{ProofPage, UPLOAD_LENGTH, UPLOAD_OFFSET};
pub use log::{ConsistencyPage, HeadPage, InclusionPage, Logs};
pub use node::Node;
pub use orders::{RegistrationError, RegistrationQuote};
pub use presence::{Presence, Stage};
pub use proofs::{ProofError, StoredProof};
pub use samples::SamplePage;
pub use showcase::EvidencePage;
pub use status::{ChainStanding, EnclaveState, Settles, Status};
