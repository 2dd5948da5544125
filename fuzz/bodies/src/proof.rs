//! Work Proofs.

use crate::{attest, wire};
use glacier_attest::{Anchors, Verdict};
use glacier_proof::{Bundle, Equivocation, Judge, ProofCheckId, SignedProof, WorkProof, verify_chain};
use glacier_wire::{Commitment, Evidence, PlatformKind, ProofHash, Work, cbor};

/// A proof is read in one encoding only, and never contradicts itself.
pub(crate) fn statement(bytes: &[u8]) {
    if let Ok(signed) = cbor::decode::<SignedProof>(bytes, 4096) {
        assert_eq!(cbor::encode(&signed), bytes);
        assert_eq!(verify_chain(std::slice::from_ref(&signed)).is_ok(), signed.verify().is_ok() && rooted(&signed));
        assert!(Equivocation::Proofs { one: signed.clone(), other: signed }.verify().is_err());
    }
}

fn rooted(signed: &SignedProof) -> bool {
    (signed.proof.sequence == 0) == signed.proof.previous.is_zero()
}

/// Every check is listed whatever came, and no edit makes a proof out of evidence that commits to another key.
pub(crate) fn bundle(bytes: &[u8]) {
    if let Ok(bundle) = Bundle::decode(bytes) {
        assert_eq!(cbor::encode(&bundle), bytes);
        let appraisal = bundle.verify(Judge::Genuine(&Anchors::vendor()), attest::NOW);
        assert_eq!(appraisal.checks.len(), ProofCheckId::ALL.len());
        assert_ne!(appraisal.verdict(), Verdict::Accepted);
    }
}

pub(crate) fn statement_seeds() -> Vec<Vec<u8>> {
    signed().iter().map(cbor::encode).collect()
}

pub(crate) fn bundle_seeds() -> Vec<Vec<u8>> {
    let quotes = attest::evidence_seeds().into_iter().zip(wire::claims_seeds().into_iter().cycle());
    let evidence = quotes.zip(attest::collaterals().into_iter().cycle());
    let manifest = Some(wire::signed(Work::Inference));
    evidence
        .flat_map(|((quote, claims), collateral)| {
            let evidence = Evidence::new(quote, claims, collateral);
            signed().into_iter().map(move |proof| (proof, evidence.clone()))
        })
        .map(|(proof, evidence)| cbor::encode(&Bundle { proof, evidence, manifest: manifest.clone(), logged: None }))
        .collect()
}

/// Two proofs of one key, under the manifest of the wire seeds.
fn signed() -> Vec<SignedProof> {
    let manifest = wire::signed(Work::Inference).manifest;
    let proof = WorkProof {
        enclave_id: manifest.enclave_id,
        enclave_key: wire::party(3).address(),
        measurement: manifest.measurement,
        platform: PlatformKind::Simulated,
        work: manifest.work,
        manifest: manifest.hash(),
        model: manifest.model,
        input: manifest.data.into(),
        output: Commitment([6; 32]),
        units: 1 << 30,
        sequence: 0,
        previous: ProofHash::ZERO,
        settlement: manifest.settlement,
    };
    let later = WorkProof { sequence: 1, previous: proof.hash(), ..proof.clone() };
    [proof, later].into_iter().filter_map(|proof| proof.sign(&[3; 32]).ok()).collect()
}
