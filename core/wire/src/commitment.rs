//! Commitments to bodies that travel in the channel and never on disk, and to several assets at once.

use crate::id::{Commitment, Digest, Nonce};
use sha2::{Digest as _, Sha256};

const TAG: &[u8] = b"glacier/commit/v1\0";
const DATA_SETS: &[u8] = b"glacier/data-sets/v1\0";

impl Commitment {
    /// SHA-256(tag ‖ salt ‖ body). The salt hides the body, the hash binds it; its holder can show
    /// both to whom it likes.
    pub fn to_body(salt: &Nonce, body: &[u8]) -> Self {
        Self(Sha256::new().chain_update(TAG).chain_update(salt.0).chain_update(body).finalize().into())
    }

    /// SHA-256(tag ‖ digests): several data sets in their order.
    pub fn to_data_sets(sets: impl IntoIterator<Item = Digest>) -> Self {
        let all = sets.into_iter().fold(Sha256::new().chain_update(DATA_SETS), |hash, set| hash.chain_update(set.0));
        Self(all.finalize().into())
    }
}
