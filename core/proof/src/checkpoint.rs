//! Signed heads of an enclave key's log.

use crate::{
    log::{Head, LogError, verify_inclusion},
    statement::SignedProof,
};
use alloc::vec::Vec;
use glacier_wire::{
    Address, BadKey, BadSignature, EnclaveId, LogHash, Signature,
    cbor::{self, CborError},
    eip712::{Domain, StructHasher},
    sign_with,
};

/// "The first `size` proofs of this key are these, and so much of them counts at this ledger."
///
/// One signature settles all proofs that were not settled before it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The hardware.
    #[n(0)]
    pub enclave_id: EnclaveId,
    /// The key whose log it is, and that signs.
    #[n(1)]
    pub enclave_key: Address,
    /// Proofs in the log.
    #[n(2)]
    pub size: u64,
    /// Root of the log, see [`Log`](crate::Log).
    #[n(3)]
    pub root: LogHash,
    /// Multiply-accumulates of all proofs of the log that name this chain and ledger.
    #[n(4)]
    pub units: u64,
    /// Chain where the checkpoint counts.
    #[n(5)]
    pub chain_id: u64,
    /// Ledger where the checkpoint counts.
    #[n(6)]
    pub ledger: Address,
}

impl Checkpoint {
    /// The EIP-712 type, fixed: the contract hashes the same string.
    pub const TYPE: &str = "Checkpoint(bytes32 enclaveId,address enclaveKey,uint64 size,bytes32 root,uint64 units)";

    /// What is signed: the EIP-712 digest, domain included.
    pub fn digest(&self) -> [u8; 32] {
        let hash = StructHasher::new(Self::TYPE)
            .word(&self.enclave_id.0)
            .address(&self.enclave_key)
            .uint(self.size)
            .word(&self.root.0)
            .uint(self.units)
            .finish();
        Domain { chain_id: self.chain_id, verifying_contract: self.ledger }.digest(hash)
    }

    /// Size and root.
    pub fn head(&self) -> Head {
        Head { size: self.size, root: self.root }
    }

    /// Signs with the secret of the enclave key.
    ///
    /// # Errors
    /// [`BadKey`] if the secret is none.
    pub fn sign(self, secret: &[u8; 32]) -> Result<SignedCheckpoint, BadKey> {
        Ok(SignedCheckpoint { signature: sign_with(secret, &self.digest())?, checkpoint: self })
    }
}

/// A checkpoint and its signature. Only [`SignedCheckpoint::verify`] says whether they belong together.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode)]
#[serde(deny_unknown_fields)]
pub struct SignedCheckpoint {
    /// The statement.
    #[n(0)]
    pub checkpoint: Checkpoint,
    /// By `checkpoint.enclave_key` over [`Checkpoint::digest`].
    #[n(1)]
    pub signature: Signature,
}

impl SignedCheckpoint {
    /// Largest encoded form that is read.
    pub const MAX_BYTES: usize = 512;

    /// Reads the encoded form.
    ///
    /// # Errors
    /// [`CborError`] if it is too large, or not a signed checkpoint in its one encoding.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        cbor::decode(bytes, Self::MAX_BYTES)
    }

    /// Whether the key that the checkpoint names signed it. Says nothing of who holds that key.
    ///
    /// # Errors
    /// [`BadSignature`] says how the signature is not that key's.
    pub fn verify(&self) -> Result<(), BadSignature> {
        self.signature.verify(&self.checkpoint.digest(), &self.checkpoint.enclave_key)
    }
}

/// Where a proof stands in the log of its key: a signed head, and the audit path to it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode)]
#[serde(deny_unknown_fields)]
pub struct Logged {
    /// A head of the log, of the proof's time or later.
    #[n(0)]
    pub checkpoint: SignedCheckpoint,
    /// From the proof's leaf to the root, nearest first.
    #[n(1)]
    pub path: Vec<LogHash>,
}

/// Why a proof does not stand in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotLogged {
    /// The checkpoint is of another key or chip than the proof.
    #[error("the checkpoint is of another enclave key or chip than the proof")]
    OtherKey,
    /// The path does not lead from the proof to the checkpoint's root.
    #[error("{0}")]
    Path(LogError),
}

impl Logged {
    /// Whether the proof is in the log, at its number. The two signatures are checked elsewhere.
    ///
    /// # Errors
    /// [`NotLogged`] says why not.
    pub fn includes(&self, signed: &SignedProof) -> Result<(), NotLogged> {
        let (checkpoint, proof) = (&self.checkpoint.checkpoint, &signed.proof);
        if (checkpoint.enclave_key, checkpoint.enclave_id) != (proof.enclave_key, proof.enclave_id) {
            return Err(NotLogged::OtherKey);
        }
        verify_inclusion(&checkpoint.root, checkpoint.size, proof.sequence, &proof.hash(), &self.path)
            .map_err(NotLogged::Path)
    }
}
