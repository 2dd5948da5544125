//! Signs Work Proofs, one after the other.

use crate::host::HostPort;
use glacier_platform::{LockError, LockedKey, Platform};
use glacier_proof::{Bundle, Chain, SignedProof, WorkProof};
use glacier_wire::{
    Address, Commitment, Digest, EnclaveId, Evidence, Identity, ManifestHash, Measurement, PlatformKind, Settlement,
    SignedManifest, Work,
    api::{HostRequest, Refusal, RefusalCode},
    cbor,
};
use std::sync::{Arc, Mutex, PoisonError};

/// What a proof says beyond who says it.
#[derive(Debug, Clone, Copy)]
pub struct Statement {
    /// Kind of work.
    pub work: Work,
    /// Manifest; zero where there is none.
    pub manifest: ManifestHash,
    /// Model asset; zero where there is none.
    pub model: Digest,
    /// What went in.
    pub input: Commitment,
    /// What came out.
    pub output: Commitment,
    /// Metered units.
    pub units: u64,
    /// Where the proof counts.
    pub settlement: Settlement,
}

/// The enclave key and its chain. Both live in memory only: a restart makes a new key, so no host
/// can bring an old chain back.
pub(crate) struct Prover {
    secret: LockedKey<32>,
    address: Address,
    enclave_id: EnclaveId,
    measurement: Measurement,
    platform: PlatformKind,
    chain: Mutex<Chain>,
}

impl Prover {
    /// Draws a key and starts its chain.
    pub(crate) fn new(platform: &dyn Platform) -> Result<Self, LockError> {
        loop {
            let secret = LockedKey::random()?;
            // No key about once in 2^128 draws.
            if let Ok(identity) = Identity::from_secret(secret.expose()) {
                return Ok(Self {
                    secret,
                    address: identity.address(),
                    enclave_id: platform.enclave_id(),
                    measurement: platform.measurement(),
                    platform: platform.kind(),
                    chain: Mutex::default(),
                });
            }
        }
    }

    pub(crate) fn address(&self) -> Address {
        self.address
    }

    pub(crate) fn count(&self) -> u64 {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner).next().0
    }

    /// Signs the next proof. The lock is held while signing: a number is taken and used in one step.
    pub(crate) fn sign(&self, statement: &Statement) -> Result<SignedProof, Refusal> {
        let mut chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        let (sequence, previous) = chain.next();
        let proof = WorkProof {
            enclave_id: self.enclave_id,
            enclave_key: self.address,
            measurement: self.measurement,
            platform: self.platform,
            work: statement.work,
            manifest: statement.manifest,
            model: statement.model,
            input: statement.input,
            output: statement.output,
            units: statement.units,
            sequence,
            previous,
            settlement: statement.settlement,
        };
        let hash = proof.hash();
        let signed = proof.sign(self.secret.expose());
        let signed = signed.map_err(|fault| Refusal::new(RefusalCode::Platform, fault.to_string()))?;
        chain.push(hash).map_err(|fault| Refusal::new(RefusalCode::Busy, fault.to_string()))?;
        Ok(signed)
    }
}

/// What a stranger needs to check the proof.
pub(crate) fn bundle(proof: SignedProof, evidence: Arc<Evidence>, manifest: Option<SignedManifest>) -> Bundle {
    Bundle { proof, evidence: Arc::unwrap_or_clone(evidence), manifest, logged: None }
}

/// Hands a proof to the host, which settles it. The host may lose it: the party has its own copy.
pub(crate) async fn publish(host: &HostPort, proof: &SignedProof) {
    let _ = host.call(HostRequest::Publish { proof: cbor::encode(proof) }).await;
}
