//! Why a node does not run.

use std::{io, net::SocketAddr};

use glacier_store::StoreError;

use crate::{enclave::LaunchError, handover::HandoverError, orders::RegistrationError, proofs::ProofError};

/// Why a node could not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The configuration is not TOML of the expected members.
    #[error("the node's configuration: {0}")]
    Config(#[from] toml::de::Error),
    /// The node's folder cannot be made or made private.
    #[error("the node's folder: {0}")]
    Home(io::ErrorKind),
    /// A Unix socket's path has at most 107 bytes.
    #[error("the path of the node's folder is too long for a socket in it")]
    HomeTooLong,
    /// The store of ciphertext.
    #[error("the node's store: {0}")]
    Store(#[from] StoreError),
    /// The table of proofs.
    #[error("the node's proofs: {0}")]
    Proofs(#[from] ProofError),
    /// The port is taken, or not ours to take.
    #[error("cannot listen on {address}: {kind}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        kind: io::ErrorKind,
    },
    /// No registration quote was had.
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    /// The enclave did not come up.
    #[error(transparent)]
    Enclave(#[from] LaunchError),
    /// What the run before has left could not be taken over.
    #[error(transparent)]
    Handover(#[from] HandoverError),
}
