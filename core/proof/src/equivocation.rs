//! Evidence that one enclave key told two histories.

use crate::{
    checkpoint::SignedCheckpoint,
    log::{LogError, verify_inclusion},
    statement::SignedProof,
};
use alloc::vec::Vec;
use glacier_wire::{
    Address, BadSignature, EnclaveId, LogHash, ProofHash,
    cbor::{self, CborError},
};

/// Two statements that an honest enclave never signs both. It verifies itself: who finds one need not
/// be believed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Equivocation {
    /// Two proofs with one sequence number.
    #[n(0)]
    Proofs {
        /// One.
        #[n(0)]
        one: SignedProof,
        /// The other.
        #[n(1)]
        other: SignedProof,
    },
    /// Two checkpoints of one size with different roots.
    #[n(1)]
    Checkpoints {
        /// One.
        #[n(0)]
        one: SignedCheckpoint,
        /// The other.
        #[n(1)]
        other: SignedCheckpoint,
    },
    /// A checkpoint whose log has another proof in the place of this one.
    #[n(2)]
    Leaf {
        /// Of the log.
        #[n(0)]
        checkpoint: SignedCheckpoint,
        /// What stands in the log at the number of `proof`.
        #[n(1)]
        leaf: ProofHash,
        /// From `leaf` to the root of `checkpoint`, nearest first.
        #[n(2)]
        path: Vec<LogHash>,
        /// What does not stand there.
        #[n(3)]
        proof: SignedProof,
    },
}

/// Who told two histories. Made by [`Equivocation::verify`] alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Culprit {
    enclave_key: Address,
    enclave_id: EnclaveId,
}

impl Culprit {
    /// The key that signed both.
    pub fn enclave_key(&self) -> Address {
        self.enclave_key
    }

    /// The chip that the first statement names. That the key is this chip's is for its evidence, or its
    /// registration, to show.
    pub fn enclave_id(&self) -> EnclaveId {
        self.enclave_id
    }
}

/// Why two statements do not contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Consistent {
    /// One of them is not signed by the key that it names.
    #[error("a statement is not signed by its key: {0}")]
    Signature(BadSignature),
    /// Two keys said them.
    #[error("the two statements are signed by two keys")]
    TwoKeys,
    /// They are about different numbers or sizes.
    #[error("the two statements are about different places in the log")]
    TwoPlaces,
    /// They say the same.
    #[error("the two statements say the same")]
    Same,
    /// The log has no such leaf there.
    #[error("{0}")]
    Path(LogError),
}

impl From<BadSignature> for Consistent {
    fn from(fault: BadSignature) -> Self {
        Self::Signature(fault)
    }
}

impl Equivocation {
    /// Largest encoded form that is read.
    pub const MAX_BYTES: usize = 8 << 10;

    /// Reads the encoded form.
    ///
    /// # Errors
    /// [`CborError`] if it is too large, or not such evidence in its one encoding.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        cbor::decode(bytes, Self::MAX_BYTES)
    }

    /// Who told two histories, if this shows it.
    ///
    /// # Errors
    /// [`Consistent`] says why it does not.
    pub fn verify(&self) -> Result<Culprit, Consistent> {
        match self {
            Self::Proofs { one, other } => {
                let (hash, other_hash) = (one.verify()?, other.verify()?);
                ensure(one.proof.enclave_key == other.proof.enclave_key, Consistent::TwoKeys)?;
                ensure(one.proof.sequence == other.proof.sequence, Consistent::TwoPlaces)?;
                ensure(hash != other_hash, Consistent::Same)?;
                Ok(Culprit { enclave_key: one.proof.enclave_key, enclave_id: one.proof.enclave_id })
            }
            Self::Checkpoints { one, other } => {
                one.verify()?;
                other.verify()?;
                let (one, other) = (&one.checkpoint, &other.checkpoint);
                ensure(one.enclave_key == other.enclave_key, Consistent::TwoKeys)?;
                ensure(one.size == other.size, Consistent::TwoPlaces)?;
                ensure(one.root != other.root, Consistent::Same)?;
                Ok(Culprit { enclave_key: one.enclave_key, enclave_id: one.enclave_id })
            }
            Self::Leaf { checkpoint, leaf, path, proof } => {
                checkpoint.verify()?;
                let hash = proof.verify()?;
                let head = &checkpoint.checkpoint;
                ensure(head.enclave_key == proof.proof.enclave_key, Consistent::TwoKeys)?;
                ensure(*leaf != hash, Consistent::Same)?;
                verify_inclusion(&head.root, head.size, proof.proof.sequence, leaf, path).map_err(Consistent::Path)?;
                Ok(Culprit { enclave_key: head.enclave_key, enclave_id: head.enclave_id })
            }
        }
    }

    /// Chain and ledger that both statements name. `None` where they name two: any reader can judge
    /// them, no contract can, since each knows its own domain only.
    pub fn ledger(&self) -> Option<(u64, Address)> {
        let of_proof = |signed: &SignedProof| (signed.proof.settlement.chain_id, signed.proof.settlement.ledger);
        let of_head = |signed: &SignedCheckpoint| (signed.checkpoint.chain_id, signed.checkpoint.ledger);
        let (one, other) = match self {
            Self::Proofs { one, other } => (of_proof(one), of_proof(other)),
            Self::Checkpoints { one, other } => (of_head(one), of_head(other)),
            Self::Leaf { checkpoint, proof, .. } => (of_head(checkpoint), of_proof(proof)),
        };
        (one == other).then_some(one)
    }
}

fn ensure(holds: bool, fault: Consistent) -> Result<(), Consistent> {
    if holds { Ok(()) } else { Err(fault) }
}
