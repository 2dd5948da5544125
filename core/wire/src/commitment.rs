//! Commitments to bodies that travel in the channel and never on disk.

use crate::id::{Commitment, Nonce};
use sha2::{Digest as _, Sha256};

const TAG: &[u8] = b"glacier/commit/v1\0";

impl Commitment {
    /// SHA-256(tag ‖ salt ‖ body). The salt hides the body, the hash binds it; its holder can show
    /// both to whom it likes.
    pub fn to_body(salt: &Nonce, body: &[u8]) -> Self {
        Self(Sha256::new().chain_update(TAG).chain_update(salt.0).chain_update(body).finalize().into())
    }
}
