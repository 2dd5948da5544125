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

/// A commitment to a body that is seen piece by piece.
#[derive(Debug, Clone)]
pub struct Committer(Sha256);

impl Committer {
    /// Under this salt.
    pub fn new(salt: &Nonce) -> Self {
        Self(Sha256::new().chain_update(TAG).chain_update(salt.0))
    }

    /// The next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// What [`Commitment::to_body`] is of all pieces in one.
    pub fn finish(&self) -> Commitment {
        Commitment(self.0.clone().finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_commit_as_the_whole() {
        let salt = Nonce([7; 32]);
        let mut committer = Committer::new(&salt);
        [&b"one"[..], b"", b" and two"].into_iter().for_each(|piece| committer.update(piece));
        assert_eq!(committer.finish(), Commitment::to_body(&salt, b"one and two"));
    }
}
