//! Work Proofs.

use crate::{attest, wire};
use glacier_attest::{Anchors, Verdict};
use glacier_proof::{
    Bundle, Checkpoint, Equivocation, Judge, Log, Logged, ProofCheckId, SignedCheckpoint, SignedProof, WorkProof,
    verify_chain,
};
use glacier_wire::{Commitment, Evidence, LogHash, PlatformKind, ProofHash, Work, cbor};

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

/// A head is read in one encoding only, and never contradicts itself.
pub(crate) fn checkpoint(bytes: &[u8]) {
    if let Ok(signed) = SignedCheckpoint::decode(bytes) {
        assert_eq!(cbor::encode(&signed), bytes);
        let text = serde_json::to_vec(&signed).expect("what was read can be written");
        assert_eq!(serde_json::from_slice::<SignedCheckpoint>(&text).expect("what was written can be read"), signed);
        assert!(Equivocation::Checkpoints { one: signed.clone(), other: signed }.verify().is_err());
    }
}

/// Evidence of a fork is read in one encoding only, and only our own two keys can be convicted by edits of it.
pub(crate) fn equivocation(bytes: &[u8]) {
    if let Ok(fork) = Equivocation::decode(bytes) {
        assert_eq!(cbor::encode(&fork), bytes);
        if let Ok(culprit) = fork.verify() {
            assert_eq!(culprit.enclave_key(), wire::party(3).address());
        }
    }
}

pub(crate) fn checkpoint_seeds() -> Vec<Vec<u8>> {
    heads().iter().map(cbor::encode).collect()
}

pub(crate) fn equivocation_seeds() -> Vec<Vec<u8>> {
    let proofs = signed();
    let log: Log = proofs.iter().map(|signed| signed.proof.hash()).collect();
    let mut forked = Vec::new();
    for (at, signed) in proofs.iter().enumerate() {
        let other = WorkProof { units: 7, ..signed.proof.clone() }.sign(&[3; 32]).expect("a secret key");
        forked.push(Equivocation::Proofs { one: signed.clone(), other: other.clone() });
        forked.extend(heads().pop().map(|checkpoint| Equivocation::Leaf {
            checkpoint,
            leaf: signed.proof.hash(),
            path: log.inclusion(at as u64, 2).unwrap_or_default(),
            proof: other,
        }));
    }
    for one in heads() {
        let other = Checkpoint { root: LogHash([1; 32]), ..one.checkpoint.clone() };
        let other = other.sign(&[3; 32]).expect("a secret key");
        forked.push(Equivocation::Checkpoints { one, other });
    }
    assert!(forked.iter().all(|fork| fork.verify().is_ok()));
    forked.iter().map(cbor::encode).collect()
}

/// The heads of the log of [`signed`].
fn heads() -> Vec<SignedCheckpoint> {
    let proofs = signed();
    let log: Log = proofs.iter().map(|signed| signed.proof.hash()).collect();
    let head = |(number, signed): (u64, &SignedProof)| {
        let WorkProof { enclave_id, enclave_key, settlement, .. } = &signed.proof;
        let (enclave_id, enclave_key) = (*enclave_id, *enclave_key);
        let (chain_id, ledger) = (settlement.chain_id, settlement.ledger);
        let root = log.root(number).expect("a size that the log had");
        let head = Checkpoint { enclave_id, enclave_key, size: number, root, units: number << 30, chain_id, ledger };
        head.sign(&[3; 32]).expect("a secret key")
    };
    (1..).zip(&proofs).map(head).collect()
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
        .flat_map(|(proof, evidence)| {
            let logged = heads().pop().map(|checkpoint| Logged { checkpoint, path: vec![LogHash([2; 32])] });
            [None, logged].map(|logged| (proof.clone(), evidence.clone(), logged))
        })
        .map(|(proof, evidence, logged)| {
            cbor::encode(&Bundle {
                proof,
                evidence,
                manifest: manifest.clone(),
                logged,
                settled: None,
                training: None,
                federation: None,
            })
        })
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
