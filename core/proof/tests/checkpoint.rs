//! Checkpoints, and two statements that contradict each other.

use glacier_attest::{Anchors, Outcome};
use glacier_proof::{
    Bundle, Checkpoint, Consistent, Equivocation, Judge, Log, LogError, Logged, NotLogged, ProofCheckId, ProofFault,
    Registration, SignedCheckpoint, SignedProof, WorkProof,
};
use glacier_wire::{
    Address, BadSignature, Commitment, Digest, EnclaveId, Evidence, Identity, LogHash, ManifestHash, Measurement,
    PlatformKind, ProofHash, Settlement, UnixTime, Work,
    cbor::{self, CborError},
};

const SECRET: [u8; 32] = [3; 32];

fn settlement(chain_id: u64) -> Settlement {
    Settlement { chain_id, ledger: Address([8; 20]), payer: Address([9; 20]), price: 5 }
}

fn proof(secret: &[u8; 32], sequence: u64, output: u8) -> SignedProof {
    let proof = WorkProof {
        enclave_id: EnclaveId([1; 32]),
        enclave_key: Identity::from_secret(secret).unwrap().address(),
        measurement: Measurement([2; 32]),
        platform: PlatformKind::Simulated,
        work: Work::App,
        manifest: ManifestHash::ZERO,
        model: Digest::ZERO,
        input: Commitment([4; 32]),
        output: Commitment([output; 32]),
        units: 10,
        sequence,
        previous: if sequence == 0 { ProofHash::ZERO } else { ProofHash([5; 32]) },
        settlement: settlement(1),
    };
    proof.sign(secret).unwrap()
}

fn checkpoint(log: &Log, size: u64) -> SignedCheckpoint {
    let checkpoint = Checkpoint {
        enclave_id: EnclaveId([1; 32]),
        enclave_key: Identity::from_secret(&SECRET).unwrap().address(),
        size,
        root: log.root(size).unwrap(),
        units: 10 * size,
        chain_id: 1,
        ledger: Address([8; 20]),
    };
    checkpoint.sign(&SECRET).unwrap()
}

fn history(count: u64, outputs: u8) -> (Vec<SignedProof>, Log) {
    let proofs: Vec<_> = (0..count).map(|n| proof(&SECRET, n, outputs)).collect();
    let log = proofs.iter().map(|signed| signed.proof.hash()).collect();
    (proofs, log)
}

#[test]
fn a_checkpoint_verifies_and_each_altered_member_is_refused() {
    let (_, log) = history(5, 0);
    let signed = checkpoint(&log, 5);
    assert_eq!(signed.verify(), Ok(()));
    let alterations: [fn(&mut Checkpoint); 7] = [
        |c| c.enclave_id.0[0] ^= 1,
        |c| c.enclave_key.0[0] ^= 1,
        |c| c.size += 1,
        |c| c.root.0[31] ^= 1,
        |c| c.units += 1,
        |c| c.chain_id += 1,
        |c| c.ledger.0[19] ^= 1,
    ];
    for alter in alterations {
        let mut other = signed.clone();
        alter(&mut other.checkpoint);
        assert!(matches!(other.verify(), Err(BadSignature::OtherSigner { .. })), "{other:?}");
    }
}

#[test]
fn a_checkpoint_has_one_encoding_and_a_bound() {
    let signed = checkpoint(&history(3, 0).1, 3);
    let bytes = cbor::encode(&signed);
    assert_eq!(SignedCheckpoint::decode(&bytes), Ok(signed.clone()));
    for end in 0..bytes.len() {
        assert_eq!(SignedCheckpoint::decode(&bytes[..end]), Err(CborError::Malformed));
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(SignedCheckpoint::decode(&longer), Err(CborError::NotCanonical));
    assert!(matches!(SignedCheckpoint::decode(&[0; 600]), Err(CborError::TooLarge { .. })));
    let json = serde_json::to_string(&signed).unwrap();
    assert_eq!(serde_json::from_str::<SignedCheckpoint>(&json).unwrap(), signed);
}

#[test]
fn a_proof_is_in_its_own_log_only_and_at_its_own_number_only() {
    let (proofs, log) = history(9, 0);
    for signed in &proofs {
        let path = log.inclusion(signed.proof.sequence, 9).unwrap();
        let logged = Logged { checkpoint: checkpoint(&log, 9), path };
        assert_eq!(logged.includes(signed), Ok(()));
        let elsewhere = proof(&SECRET, (signed.proof.sequence + 1) % 9, 0);
        assert!(matches!(logged.includes(&elsewhere), Err(NotLogged::Path(_))));
        assert_eq!(
            logged.includes(&proof(&SECRET, signed.proof.sequence, 1)),
            Err(NotLogged::Path(LogError::OtherRoot))
        );
        assert_eq!(logged.includes(&proof(&[4; 32], signed.proof.sequence, 0)), Err(NotLogged::OtherKey));
    }
    let later = Logged { checkpoint: checkpoint(&log, 4), path: vec![] };
    let outside = NotLogged::Path(LogError::NoLeaf { index: 5, size: 4 });
    assert_eq!(later.includes(&proofs[5]), Err(outside));
}

#[test]
fn a_bundle_says_of_its_log_that_it_holds_or_fails_or_that_there_is_none() {
    let (proofs, log) = history(3, 0);
    let logged = Logged { checkpoint: checkpoint(&log, 3), path: log.inclusion(2, 3).unwrap() };
    let outcomes = |logged: Option<Logged>| {
        let evidence = Evidence::new(vec![], vec![], vec![]);
        let bundle = Bundle {
            proof: proofs[2].clone(),
            evidence,
            manifest: None,
            logged,
            settled: None,
            training: None,
            federation: None,
        };
        assert_eq!(Bundle::decode(&cbor::encode(&bundle)), Ok(bundle.clone()));
        let json = serde_json::to_string(&bundle).unwrap();
        assert_eq!(json.contains("logged"), bundle.logged.is_some());
        assert_eq!(serde_json::from_str::<Bundle>(&json).unwrap(), bundle);
        let checks = bundle.verify(Judge::Genuine(&Anchors::vendor()), UnixTime(0)).checks;
        assert_eq!(checks.iter().map(|check| check.id).collect::<Vec<_>>(), ProofCheckId::ALL);
        let of = |id| checks.iter().find(|check| check.id == id).map(|check| (check.outcome(), check.fault.clone()));
        (of(ProofCheckId::CheckpointSignature).unwrap(), of(ProofCheckId::LogInclusion).unwrap())
    };
    let passed = (Outcome::Pass, None);
    let none = (Outcome::Skip, Some(ProofFault::Unlogged));
    assert_eq!(outcomes(None), (none.clone(), none));
    assert_eq!(outcomes(Some(logged.clone())), (passed.clone(), passed.clone()));

    let mut unsigned = logged.clone();
    unsigned.checkpoint.checkpoint.units += 1;
    let (signature, inclusion) = outcomes(Some(unsigned));
    assert_eq!((signature.0, inclusion), (Outcome::Fail, passed.clone()));
    let mut elsewhere = logged.clone();
    elsewhere.path[0].0[0] ^= 1;
    let fault = ProofFault::Log(NotLogged::Path(LogError::OtherRoot));
    assert_eq!(outcomes(Some(elsewhere)), (passed.clone(), (Outcome::Fail, Some(fault))));
    let mut theirs = logged.checkpoint.checkpoint;
    theirs.enclave_key = Identity::from_secret(&[4; 32]).unwrap().address();
    let theirs = Logged { checkpoint: theirs.sign(&[4; 32]).unwrap(), path: logged.path };
    assert_eq!(outcomes(Some(theirs)), (passed, (Outcome::Fail, Some(ProofFault::Log(NotLogged::OtherKey)))));
}

#[test]
fn two_proofs_of_one_number_convict_their_key() {
    let (one, other) = (proof(&SECRET, 4, 0), proof(&SECRET, 4, 1));
    let culprit = Equivocation::Proofs { one: one.clone(), other: other.clone() }.verify().unwrap();
    assert_eq!((culprit.enclave_key(), culprit.enclave_id()), (one.proof.enclave_key, EnclaveId([1; 32])));
    let check = |one: &SignedProof, other: &SignedProof| {
        Equivocation::Proofs { one: one.clone(), other: other.clone() }.verify().err()
    };
    assert_eq!(check(&one, &one), Some(Consistent::Same));
    assert_eq!(check(&one, &proof(&SECRET, 5, 1)), Some(Consistent::TwoPlaces));
    assert_eq!(check(&one, &proof(&[4; 32], 4, 1)), Some(Consistent::TwoKeys));
    let mut unsigned = other;
    unsigned.signature = one.signature;
    assert!(matches!(check(&one, &unsigned), Some(Consistent::Signature(_))));
}

#[test]
fn two_checkpoints_of_one_size_convict_their_key() {
    let ((_, log), (_, forked)) = (history(6, 0), history(6, 1));
    let of = |one: SignedCheckpoint, other: SignedCheckpoint| Equivocation::Checkpoints { one, other };
    let fork = of(checkpoint(&log, 6), checkpoint(&forked, 6));
    assert_eq!(fork.verify().unwrap().enclave_key(), checkpoint(&log, 6).checkpoint.enclave_key);
    assert_eq!(fork.ledger(), Some((1, Address([8; 20]))));
    assert_eq!(of(checkpoint(&log, 6), checkpoint(&log, 6)).verify(), Err(Consistent::Same));
    assert_eq!(of(checkpoint(&log, 6), checkpoint(&forked, 5)).verify(), Err(Consistent::TwoPlaces));
    let mut theirs = checkpoint(&forked, 6).checkpoint;
    theirs.enclave_key = Identity::from_secret(&[4; 32]).unwrap().address();
    let theirs = theirs.sign(&[4; 32]).unwrap();
    assert_eq!(of(checkpoint(&log, 6), theirs).verify(), Err(Consistent::TwoKeys));
    let mut forged = checkpoint(&log, 6);
    forged.checkpoint.root = LogHash([1; 32]);
    assert!(matches!(of(checkpoint(&log, 6), forged).verify(), Err(Consistent::Signature(_))));
}

#[test]
fn a_checkpoint_over_another_proof_convicts_its_key() {
    let ((proofs, log), (forked, _)) = (history(6, 0), history(6, 1));
    let leaf = |number: u64, proof: &SignedProof| Equivocation::Leaf {
        checkpoint: checkpoint(&log, 6),
        leaf: proofs[number as usize].proof.hash(),
        path: log.inclusion(number, 6).unwrap(),
        proof: proof.clone(),
    };
    let fork = leaf(2, &forked[2]);
    assert_eq!(fork.verify().unwrap().enclave_id(), EnclaveId([1; 32]));
    assert_eq!(leaf(2, &proofs[2]).verify(), Err(Consistent::Same));
    assert!(matches!(leaf(2, &forked[3]).verify(), Err(Consistent::Path(_))));
    assert_eq!(leaf(2, &proof(&[4; 32], 2, 1)).verify(), Err(Consistent::TwoKeys));
    let bytes = cbor::encode(&fork);
    assert_eq!(Equivocation::decode(&bytes), Ok(fork.clone()));
    let json = serde_json::to_string(&fork).unwrap();
    assert_eq!(serde_json::from_str::<Equivocation>(&json).unwrap(), fork);
    // No contract can judge statements that name two of them.
    let Equivocation::Leaf { checkpoint, leaf, path, proof } = fork else { unreachable!() };
    let mut elsewhere = proof.proof;
    elsewhere.settlement = settlement(2);
    let fork = Equivocation::Leaf { checkpoint, leaf, path, proof: elsewhere.sign(&SECRET).unwrap() };
    assert!(fork.verify().is_ok());
    assert_eq!(fork.ledger(), None);
}

#[test]
fn registration_data_is_digest_then_tag_then_zeros() {
    let registration = Registration {
        chain_id: 1,
        registry: Address([1; 20]),
        enclave_key: Address([2; 20]),
        owner: Address([3; 20]),
        number: 7,
    };
    let data = registration.report_data();
    assert_eq!(data[..32], registration.digest());
    assert_eq!(data[32..], *b"glacier/registration/v1\0\0\0\0\0\0\0\0\0");
    let mut others = [registration; 5];
    others[0].chain_id += 1;
    others[1].registry.0[0] ^= 1;
    others[2].enclave_key.0[0] ^= 1;
    others[3].owner.0[0] ^= 1;
    others[4].number += 1;
    assert!(others.iter().all(|other| other.digest() != registration.digest()));
}
