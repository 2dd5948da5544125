//! The hash chain over one key's proofs.

use crate::statement::SignedProof;
use glacier_wire::{BadSignature, ProofHash};

/// Where the next proof goes. Lives in the enclave's memory beside the key, so nothing outside can
/// make it take a number twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Chain {
    next: u64,
    head: Option<ProofHash>,
}

impl Chain {
    /// Sequence number and predecessor of the next proof.
    pub fn next(&self) -> (u64, ProofHash) {
        (self.next, self.head.unwrap_or(ProofHash::ZERO))
    }

    /// Takes note of a proof that was made for [`Chain::next`].
    pub fn push(&mut self, hash: ProofHash) -> Result<(), ChainError> {
        self.next = self.next.checked_add(1).ok_or(ChainError::Exhausted)?;
        self.head = Some(hash);
        Ok(())
    }
}

/// Why proofs do not form one chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// A signature is not the named key's.
    #[error("proof {sequence}: {fault}")]
    Signature {
        /// Of the proof.
        sequence: u64,
        /// What is wrong with it.
        fault: BadSignature,
    },
    /// The key changes inside the chain.
    #[error("proof {sequence} is signed by another key than the one before it")]
    OtherKey {
        /// Of the proof.
        sequence: u64,
    },
    /// A number is missing or comes twice.
    #[error("proof {expected} is missing: {found} stands in its place")]
    Gap {
        /// The number that should follow.
        expected: u64,
        /// The number that does.
        found: u64,
    },
    /// A proof does not name the one before it.
    #[error("proof {sequence} does not follow from the proof before it")]
    Broken {
        /// Of the proof.
        sequence: u64,
    },
    /// 2^64 proofs under one key.
    #[error("the key's sequence numbers are used up")]
    Exhausted,
}

/// Checks proofs of one key, in order, each following from the one before. The first need not be
/// number 0: a chain can be checked from any point on.
pub fn verify_chain(proofs: &[SignedProof]) -> Result<(), ChainError> {
    let mut before: Option<(&SignedProof, ProofHash)> = None;
    for signed in proofs {
        let sequence = signed.proof.sequence;
        let hash = signed.verify().map_err(|fault| ChainError::Signature { sequence, fault })?;
        if let Some((last, last_hash)) = before {
            if last.proof.enclave_key != signed.proof.enclave_key {
                return Err(ChainError::OtherKey { sequence });
            }
            let expected = last.proof.sequence.checked_add(1).ok_or(ChainError::Exhausted)?;
            if expected != sequence {
                return Err(ChainError::Gap { expected, found: sequence });
            }
            if signed.proof.previous != last_hash {
                return Err(ChainError::Broken { sequence });
            }
        } else if (sequence == 0) != signed.proof.previous.is_zero() {
            return Err(ChainError::Broken { sequence });
        }
        before = Some((signed, hash));
    }
    Ok(())
}
