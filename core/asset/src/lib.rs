//! Assets: age v1 files (C2SP `age` specification), opened and sealed as a stream, with the BLAKE3
//! digest that names them.
//!
//! No IO and no clock: ciphertext and plaintext come in and go out as slices. [`Opener`] releases
//! plaintext only after the header's MAC and the chunk's own tag have been checked, so whoever
//! carried the bytes could not have altered them; that they are the *right* bytes says
//! [`Opened::digest`], which the caller compares with what was signed. Application code wants the
//! crate `glacier`.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod error;
mod header;
mod identity;
mod opener;
mod sealer;
mod stream;

pub use error::{AssetError, Malformed};
pub use glacier_wire::{Digest, FileKey, Recipient};
pub use header::{Header, Parsed};
pub use identity::{AgeIdentity, parse_recipient, print_recipient};
pub use opener::{Opened, Opener};
pub use sealer::{Sealed, Sealer, generate_file_key};
pub use stream::{CHUNK_BYTES, sealed_chunk_bytes};
