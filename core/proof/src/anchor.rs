//! Batches of data that an enclave or a device signs, anchored as roots (`contracts/src/DeviceAnchor.sol`).
//!
//! A batch is the log's tree ([`crate::Log`]) over the Keccak-256 of each piece of data.

use glacier_wire::{
    Address, BadKey, BadSignature, EnclaveId, LogHash, Signature,
    eip712::{Domain, StructHasher},
    sign_with,
};

/// What a signer says of its next batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Batch {
    /// The chip whose live key, or whose device, signs.
    pub enclave_id: EnclaveId,
    /// Who signs.
    pub signer: Address,
    /// From 0, each one more than the last.
    pub sequence: u64,
    /// Of the tree over all pieces.
    pub root: LogHash,
    /// How many pieces; not 0.
    pub count: u64,
}

/// A batch, and where it may be anchored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SignedBatch {
    /// What is said.
    pub batch: Batch,
    /// The contract, `DeviceAnchor`, and its chain.
    pub anchor: AnchorAt,
    /// The signer's.
    pub signature: Signature,
}

/// The one contract in which a batch counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct AnchorAt {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// The contract, `DeviceAnchor`.
    pub contract: Address,
}

impl Batch {
    /// What is signed (EIP-712 `Batch`).
    pub fn digest(&self, at: &AnchorAt) -> [u8; 32] {
        let hash = StructHasher::new(TYPE)
            .word(&self.enclave_id.0)
            .address(&self.signer)
            .uint(self.sequence)
            .word(&self.root.0)
            .uint(self.count)
            .finish();
        Domain { chain_id: at.chain_id, verifying_contract: at.contract }.digest(hash)
    }

    /// Signs with a secret that the caller keeps.
    ///
    /// # Errors
    /// [`BadKey`] where the secret is none.
    pub fn sign(self, at: AnchorAt, secret: &[u8; 32]) -> Result<SignedBatch, BadKey> {
        Ok(SignedBatch { batch: self, anchor: at, signature: sign_with(secret, &self.digest(&at))? })
    }
}

impl SignedBatch {
    /// Whether the named signer signed this. Who that is, the chain's registry says, or its evidence.
    ///
    /// # Errors
    /// [`BadSignature`] where it is malformed or another's.
    pub fn verify(&self) -> Result<(), BadSignature> {
        self.signature.verify(&self.batch.digest(&self.anchor), &self.batch.signer)
    }
}

const TYPE: &str = "Batch(bytes32 enclaveId,address signer,uint64 sequence,bytes32 root,uint64 count)";
