//! An enclave that another enclave knows by what people carried to it.

use crate::{
    bundle::ProofFault,
    judge::{self, Judge},
};
use alloc::vec::Vec;
use glacier_attest::{Age, Fingerprint, Policy};
use glacier_wire::{
    Address, EnclaveId, Measurement, PlatformKind, Recipient, UnixTime,
    federation::{Credential, Seat},
};

/// The enclave that a [`Credential`] is of. Made by [`AttestedPeer::of`] alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestedPeer {
    enclave_key: Address,
    recipient: Recipient,
    measurement: Measurement,
    enclave_id: EnclaveId,
}

impl AttestedPeer {
    /// Checks the whole chain: recipient, enclave key, evidence, vendor's root. `at` is the time at which the
    /// evidence is judged.
    ///
    /// # Errors
    /// The first link that does not hold.
    pub fn of(credential: &Credential, judge: Judge<'_>, at: UnixTime) -> Result<Self, ProofFault> {
        let claims = judge::claims(&credential.evidence)?;
        judge::announces_keys(&claims)?;
        let digest = Credential::digest(&credential.recipient);
        credential.signature.verify(&digest, &claims.enclave_key).map_err(ProofFault::Signature)?;
        let genuine = judge::appraise(&credential.evidence, &claims, judge, at).0?;
        Ok(Self {
            enclave_key: claims.enclave_key,
            recipient: credential.recipient,
            measurement: genuine.measurement(),
            enclave_id: genuine.enclave_id().ok_or(ProofFault::OtherChip)?,
        })
    }

    /// The key that signs its Work Proofs.
    pub fn enclave_key(&self) -> Address {
        self.enclave_key
    }

    /// What is sealed to this, it alone opens.
    pub fn recipient(&self) -> Recipient {
        self.recipient
    }

    /// Its code.
    pub fn measurement(&self) -> Measurement {
        self.measurement
    }

    /// Its chip.
    pub fn enclave_id(&self) -> EnclaveId {
        self.enclave_id
    }
}

/// Accepts the enclave of this seat and no other. What a seat does not speak of is strict, but for the age of
/// evidence: people carry it from enclave to enclave, and a federation outlives a day.
pub fn seat_policy(seat: &Seat) -> Policy {
    let simulated_roots: Vec<_> = seat.simulated_roots.iter().map(|root| Fingerprint(root.0)).collect();
    // A seat that names a simulated root means the simulated platform: hardware is none of its business.
    let platforms = if simulated_roots.is_empty() { Vec::new() } else { Vec::from([PlatformKind::Simulated]) };
    Policy {
        platforms,
        simulated_roots,
        measurements: Vec::from([seat.measurement.into()]),
        enclave_ids: Vec::from([seat.enclave_id]),
        max_evidence_age: Some(EVIDENCE_AGE),
        ..Policy::default()
    }
}

/// A month.
const EVIDENCE_AGE: Age = Age(30 * 24 * 60 * 60);
