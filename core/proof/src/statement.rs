//! The statement itself.

use glacier_wire::{
    Address, BadKey, BadSignature, Commitment, Digest, EnclaveId, ManifestHash, Measurement, PlatformKind, ProofHash,
    Settlement, Signature, Work,
    eip712::{Domain, StructHasher},
    sign_with,
};

/// "This enclave, running this code on this chip, did this work, and it was its nth."
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode)]
#[serde(deny_unknown_fields)]
pub struct WorkProof {
    /// The hardware.
    #[n(0)]
    pub enclave_id: EnclaveId,
    /// The key that signs, committed to by the enclave's quote.
    #[n(1)]
    pub enclave_key: Address,
    /// The code.
    #[n(2)]
    pub measurement: Measurement,
    /// What kind of hardware: the word `simulated` stands in the signed bytes where it is true.
    #[n(3)]
    pub platform: PlatformKind,
    /// What was done.
    #[n(4)]
    pub work: Work,
    /// Under which manifest; zero where an application has none.
    #[n(5)]
    pub manifest: ManifestHash,
    /// With which model asset; zero where there is none.
    #[n(6)]
    pub model: Digest,
    /// Commitment to what went in: the data asset's digest, or a salted hash of the request.
    #[n(7)]
    pub input: Commitment,
    /// Commitment to what came out: the result file's digest, or a salted hash of the response.
    #[n(8)]
    pub output: Commitment,
    /// Multiply-accumulates, counted from the graph and the shapes.
    #[n(9)]
    pub units: u64,
    /// 0 for the first proof of a key, then one more each time.
    #[n(10)]
    pub sequence: u64,
    /// The proof before this one; zero for the first.
    #[n(11)]
    pub previous: ProofHash,
    /// Chain and ledger where the proof counts, from the manifest.
    #[n(12)]
    pub settlement: Settlement,
}

impl WorkProof {
    /// Largest encoded form that is read.
    pub const MAX_BYTES: usize = 1024;

    /// The EIP-712 type, fixed: the contract hashes the same string.
    pub const TYPE: &str = "WorkProof(bytes32 enclaveId,address enclaveKey,bytes32 measurement,string platform,string work,\
        bytes32 manifest,bytes32 model,bytes32 input,bytes32 output,uint64 units,uint64 sequence,bytes32 previous,\
        address payer,uint64 price)";

    /// What is signed, and what the next proof names as `previous`.
    pub fn hash(&self) -> ProofHash {
        let hash = StructHasher::new(Self::TYPE)
            .word(&self.enclave_id.0)
            .address(&self.enclave_key)
            .word(&self.measurement.0)
            .string(self.platform.as_str())
            .string(self.work.as_str())
            .word(&self.manifest.0)
            .word(&self.model.0)
            .word(&self.input.0)
            .word(&self.output.0)
            .uint(self.units)
            .uint(self.sequence)
            .word(&self.previous.0)
            .address(&self.settlement.payer)
            .uint(self.settlement.price)
            .finish();
        let domain = Domain { chain_id: self.settlement.chain_id, verifying_contract: self.settlement.ledger };
        ProofHash(domain.digest(hash))
    }

    /// Signs with the secret of the enclave key.
    pub fn sign(self, secret: &[u8; 32]) -> Result<SignedProof, BadKey> {
        Ok(SignedProof { signature: sign_with(secret, &self.hash().0)?, proof: self })
    }
}

/// A statement and its signature. Only [`SignedProof::verify`] says whether they belong together.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode)]
#[serde(deny_unknown_fields)]
pub struct SignedProof {
    /// The statement.
    #[n(0)]
    pub proof: WorkProof,
    /// By `proof.enclave_key` over [`WorkProof::hash`].
    #[n(1)]
    pub signature: Signature,
}

impl SignedProof {
    /// Largest encoded form that is read.
    pub const MAX_BYTES: usize = WorkProof::MAX_BYTES + 128;

    /// Whether the key that the statement names signed it. Says nothing of who holds that key.
    pub fn verify(&self) -> Result<ProofHash, BadSignature> {
        let hash = self.proof.hash();
        self.signature.verify(&hash.0, &self.proof.enclave_key)?;
        Ok(hash)
    }
}
