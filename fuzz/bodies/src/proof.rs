//! Work Proofs.

use crate::wire::party;
use glacier_proof::{SignedProof, WorkProof, equivocation, verify_chain};
use glacier_wire::{
    Address, Commitment, Digest, EnclaveId, ManifestHash, Measurement, PlatformKind, ProofHash, Settlement, Work, cbor,
};

/// A proof is read in one encoding only, and never contradicts itself.
pub(crate) fn statement(bytes: &[u8]) {
    if let Ok(signed) = cbor::decode::<SignedProof>(bytes, 4096) {
        assert_eq!(cbor::encode(&signed), bytes);
        assert!(verify_chain(core::slice::from_ref(&signed)).is_err() || signed.verify().is_ok());
        assert!(!equivocation(&signed, &signed));
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let key = party(3);
    let proof = WorkProof {
        enclave_id: EnclaveId([1; 32]),
        enclave_key: key.address(),
        measurement: Measurement([2; 32]),
        platform: PlatformKind::Simulated,
        work: Work::Inference,
        manifest: ManifestHash([3; 32]),
        model: Digest([4; 32]),
        input: Commitment([5; 32]),
        output: Commitment([6; 32]),
        units: 1 << 30,
        sequence: 0,
        previous: ProofHash::ZERO,
        settlement: Settlement { chain_id: 1, ledger: Address::ZERO, payer: Address([7; 20]), price: 8 },
    };
    let later = WorkProof { sequence: 1, previous: proof.hash(), ..proof.clone() };
    [proof, later].map(|proof| cbor::encode(&proof.sign(&key))).into()
}
