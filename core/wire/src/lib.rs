//! Words that both sides of the channel use: ids, manifests, grants, evidence bundles and the
//! bounded encodings that carry them.
//!
//! No IO, no clock, no randomness: bytes come in and go out as slices. Everything a party signs is
//! an EIP-712 typed struct ([`eip712`]), everything that travels is deterministic CBOR ([`cbor`]).
//! Application code wants the crate `glacier`; this one is its vocabulary.

#![no_std]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

extern crate alloc;

pub mod api;
pub mod app;
pub mod cbor;
mod commitment;
mod curve;
pub mod eip712;
mod evidence;
pub mod federation;
mod grant;
mod id;
mod identity;
mod manifest;
mod secret;
mod tensor;
pub mod training;

pub use commitment::Committer;
pub use evidence::{Claims, Device, Document, DocumentKind, Evidence, Purpose, ReportData};
pub use grant::{Grant, Role, SignedGrant};
pub use id::{
    Address, Commitment, Digest, EnclaveId, LogHash, ManifestHash, Measurement, Nonce, ParseIdError, PlatformKind,
    ProofHash, Recipient, RootFingerprint, UnixTime, hex_bytes,
};
pub use identity::{BadKey, BadSignature, Identity, Signature, sign_with};
pub use manifest::{Contribution, Limits, Manifest, ManifestError, PlanFault, Settlement, SignedManifest, Work};
pub use secret::FileKey;
pub use tensor::{Dtype, Outputs, Tensor, TensorError};
