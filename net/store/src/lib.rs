//! Encrypted assets by digest, uploaded resumably.
//!
//! The store is untrusted: it holds ciphertext, can fail, and cannot lie, because whoever fetches an
//! asset hashes what came. What it promises is for its operator: a file in `blobs/` had its digest
//! when it was put there, `kill -9` at any instant leaves whole blobs and resumable parts and nothing
//! else, and the total stays below a ceiling. Application code wants the crate `glacier`.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod error;
mod files;
mod folder;
mod part;
mod store;

pub use error::StoreError;
pub use folder::{Blob, Progress, UploadId, Usage};
pub use store::Store;
