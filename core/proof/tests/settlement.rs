//! From a proof to the vendor's root, under a simulated vendor.

use std::sync::LazyLock;

use glacier_attest::{Anchors, Fingerprint, Outcome, Policy, Verdict};
use glacier_proof::{
    Bundle, Checkpoint, Judge, Log, LogError, NotLogged, Registration, Settled, SettlementCheckId, SettlementFault,
    SignedProof, WorkProof,
};
use glacier_simulator::{Body, Chip, Hardware, Recipe, Seed, Vendor};
use glacier_wire::{
    Address, Commitment, Digest, Evidence, Identity, LogHash, ManifestHash, Measurement, PlatformKind, ProofHash,
    Settlement, UnixTime, Work,
    cbor::{self, CborError},
};
use proptest::prelude::*;

const NOW: UnixTime = UnixTime(1_800_000_000);
const SECRET: [u8; 32] = [3; 32];
const CODE: Measurement = Measurement([2; 32]);
const CHAIN: u64 = 7;
const LEDGER: Address = Address([8; 20]);

struct Scene {
    root: Fingerprint,
    chip: Chip,
    other_chip: Chip,
    collateral: Vec<u8>,
    revoking: Vec<u8>,
}

static SCENE: LazyLock<Scene> = LazyLock::new(|| {
    let vendor = Vendor::generate(NOW).unwrap();
    let chip = |seed| vendor.chip(Hardware::new(Seed::new([seed; 32])), NOW).unwrap();
    let (chip, other_chip) = (chip(1), chip(2));
    let collateral = |recipe: Recipe| vendor.collateral(chip.hardware(), &recipe).unwrap().to_json().into_bytes();
    let good = collateral(Recipe::new(NOW));
    let revoking = collateral(Recipe { revoked_chips: vec![chip.serial()], ..Recipe::new(NOW) });
    Scene { root: vendor.root_fingerprint(), collateral: good, revoking, chip, other_chip }
});

fn key() -> Address {
    Identity::from_secret(&SECRET).unwrap().address()
}

fn proof(sequence: u64) -> SignedProof {
    let proof = WorkProof {
        enclave_id: SCENE.chip.enclave_id(),
        enclave_key: key(),
        measurement: CODE,
        platform: PlatformKind::Simulated,
        work: Work::App,
        manifest: ManifestHash::ZERO,
        model: Digest::ZERO,
        input: Commitment([4; 32]),
        output: Commitment([5; 32]),
        units: 10,
        sequence,
        previous: if sequence == 0 { ProofHash::ZERO } else { ProofHash([5; 32]) },
        settlement: Settlement { chain_id: CHAIN, ledger: LEDGER, payer: Address([9; 20]), price: 5 },
    };
    proof.sign(&SECRET).unwrap()
}

fn registration() -> Registration {
    Registration { chain_id: CHAIN, registry: Address([6; 20]), enclave_key: key(), owner: Address([1; 20]), number: 0 }
}

fn quote(chip: &Chip, code: Measurement, registration: &Registration) -> Vec<u8> {
    chip.quote(&Body::new(code, registration.report_data())).unwrap()
}

fn head(log: &Log) -> Checkpoint {
    Checkpoint {
        enclave_id: SCENE.chip.enclave_id(),
        enclave_key: key(),
        size: log.size(),
        root: log.head().root,
        units: 10 * log.size(),
        chain_id: CHAIN,
        ledger: LEDGER,
    }
}

fn settled(index: u64, size: u64) -> (SignedProof, Settled) {
    let proofs: Vec<_> = (0..size).map(proof).collect();
    let log: Log = proofs.iter().map(|signed| signed.proof.hash()).collect();
    let settled = Settled {
        checkpoint: head(&log).sign(&SECRET).unwrap(),
        path: log.inclusion(index, size).unwrap(),
        registration: registration(),
        quote: quote(&SCENE.chip, CODE, &registration()),
        collateral: SCENE.collateral.clone(),
    };
    (proofs[index as usize].clone(), settled)
}

fn anchors() -> Anchors {
    Anchors::vendor().with_simulated(SCENE.root)
}

fn fault(signed: &SignedProof, settled: &Settled) -> Result<(), (SettlementCheckId, SettlementFault)> {
    let appraisal = settled.verify(signed, Judge::Genuine(&anchors()), NOW);
    assert_eq!(appraisal.checks.iter().map(|check| check.id).collect::<Vec<_>>(), SettlementCheckId::ALL);
    appraisal.into_result().map(drop)
}

#[test]
fn a_proof_is_led_to_the_vendors_root() {
    let (signed, settled) = settled(2, 5);
    let registered = settled.verify(&signed, Judge::Genuine(&anchors()), NOW).into_result().unwrap();
    assert_eq!(registered.registration(), &registration());
    assert_eq!(registered.genuine().enclave_id(), Some(signed.proof.enclave_id));
}

#[test]
fn each_altered_part_is_refused_where_it_stands() {
    let (signed, good) = settled(2, 5);
    let refused = |alter: &dyn Fn(&mut Settled)| {
        let mut other = good.clone();
        alter(&mut other);
        fault(&signed, &other).unwrap_err()
    };
    let sign = |other: &mut Settled| other.checkpoint = other.checkpoint.checkpoint.clone().sign(&SECRET).unwrap();
    assert_eq!(refused(&|s| s.checkpoint.checkpoint.units += 1).0, SettlementCheckId::HeadSignature);
    assert_eq!(refused(&|s| s.checkpoint.signature.0[3] ^= 1).0, SettlementCheckId::HeadSignature);
    let (id, why) = refused(&|s| {
        s.checkpoint.checkpoint.ledger.0[0] ^= 1;
        sign(s);
    });
    assert_eq!(id, SettlementCheckId::HeadLedger);
    assert!(matches!(why, SettlementFault::OtherLedger { what: "head", .. }));
    let other_root = SettlementFault::Log(NotLogged::Path(LogError::OtherRoot));
    assert_eq!(refused(&|s| s.path[0] = LogHash::ZERO), (SettlementCheckId::HeadInclusion, other_root));
    let short = SettlementFault::Log(NotLogged::Path(LogError::PathLength));
    assert_eq!(refused(&|s| s.path.truncate(1)), (SettlementCheckId::HeadInclusion, short));

    let collateral = SettlementFault::Collateral;
    assert_eq!(refused(&|s| s.collateral.clear()), (SettlementCheckId::RegistrationQuote, collateral));
    assert_eq!(refused(&|s| s.collateral = SCENE.revoking.clone()).0, SettlementCheckId::RegistrationQuote);
    let at = SettlementCheckId::RegistrationBinding;
    assert_eq!(refused(&|s| s.registration.owner.0[0] ^= 1), (at, SettlementFault::Unbound));
    assert_eq!(refused(&|s| s.registration.number += 1), (at, SettlementFault::Unbound));
    assert_eq!(refused(&|s| s.registration.registry.0[0] ^= 1), (at, SettlementFault::Unbound));
    let other_key = |s: &mut Settled| {
        s.registration.enclave_key = Address([4; 20]);
        s.quote = quote(&SCENE.chip, CODE, &s.registration);
    };
    let (registered, signer) = (Address([4; 20]), key());
    assert_eq!(refused(&other_key), (at, SettlementFault::OtherKey { registered, signer }));
    let chip = (SettlementCheckId::RegistrationChip, SettlementFault::OtherChip);
    assert_eq!(refused(&|s| s.quote = quote(&SCENE.other_chip, CODE, &s.registration)), chip);
    let code = (SettlementCheckId::RegistrationCode, SettlementFault::OtherCode);
    assert_eq!(refused(&|s| s.quote = quote(&SCENE.chip, Measurement([1; 32]), &s.registration)), code);
    let chain = refused(&|s| {
        s.registration.chain_id += 1;
        s.quote = quote(&SCENE.chip, CODE, &s.registration);
    });
    assert!(matches!(
        chain,
        (SettlementCheckId::HeadLedger, SettlementFault::OtherLedger { what: "registration", .. })
    ));
}

#[test]
fn another_keys_head_holds_nothing() {
    let (signed, mut theirs) = settled(0, 1);
    theirs.checkpoint.checkpoint.enclave_key = Identity::from_secret(&[4; 32]).unwrap().address();
    theirs.checkpoint = theirs.checkpoint.checkpoint.sign(&[4; 32]).unwrap();
    let other = SettlementFault::Log(NotLogged::OtherKey);
    assert_eq!(fault(&signed, &theirs), Err((SettlementCheckId::HeadInclusion, other)));
}

#[test]
fn a_root_that_nobody_named_vouches_for_nothing() {
    let (signed, settled) = settled(0, 1);
    let appraisal = settled.verify(&signed, Judge::Genuine(&Anchors::vendor()), NOW);
    assert_eq!(appraisal.verdict(), Verdict::Rejected);
    assert_eq!(appraisal.checks[3].outcome(), Outcome::Fail);
    assert_eq!(appraisal.checks[4].outcome(), Outcome::Skip, "what a refused quote says is not looked at");
}

#[test]
fn a_policy_judges_the_registrations_quote_whatever_its_age() {
    let (signed, settled) = settled(0, 1);
    let mut policy = Policy {
        platforms: vec![PlatformKind::Simulated],
        simulated_roots: vec![SCENE.root],
        measurements: vec![CODE.into()],
        max_evidence_age: Some(glacier_attest::Age(1)),
        ..Policy::default()
    };
    assert_eq!(settled.verify(&signed, Judge::Policy(&policy), NOW).verdict(), Verdict::Accepted);
    policy.measurements = vec![Measurement([1; 32]).into()];
    assert_eq!(settled.verify(&signed, Judge::Policy(&policy), NOW).verdict(), Verdict::Rejected);
}

#[test]
fn a_bundle_carries_it_in_one_encoding_and_says_nothing_without_it() {
    let (signed, settled) = settled(1, 3);
    let evidence = Evidence::new(vec![], vec![], vec![]);
    let mut bundle = Bundle {
        proof: signed,
        evidence,
        manifest: None,
        logged: None,
        settled: Some(settled.clone()),
        training: None,
        federation: None,
    };
    assert_eq!(Bundle::decode(&cbor::encode(&bundle)), Ok(bundle.clone()));
    let json = serde_json::to_string(&bundle).unwrap();
    assert_eq!(serde_json::from_str::<Bundle>(&json).unwrap(), bundle);
    assert_eq!(Settled::decode(&cbor::encode(&settled)), Ok(settled));
    assert!(matches!(Settled::decode(&vec![0; Settled::MAX_BYTES + 1]), Err(CborError::TooLarge { .. })));
    let verdict = bundle.verify_settlement(Judge::Genuine(&anchors()), NOW).map(|appraisal| appraisal.verdict());
    assert_eq!(verdict, Some(Verdict::Accepted));
    bundle.settled = None;
    assert!(bundle.verify_settlement(Judge::Genuine(&anchors()), NOW).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_proof_of_every_log_is_led_and_no_other_takes_its_place(size in 1u64..40, at in any::<prop::sample::Index>(), to in any::<prop::sample::Index>()) {
        let (index, other) = (at.index(size as usize) as u64, to.index(size as usize) as u64);
        let (signed, settled) = settled(index, size);
        prop_assert_eq!(fault(&signed, &settled), Ok(()));
        let in_place = fault(&proof(other), &settled);
        prop_assert_eq!(in_place.is_ok(), other == index);
    }

    #[test]
    fn no_flipped_byte_of_the_quotes_signed_part_passes(at in 0usize..432, bit in 0u8..8) {
        let (signed, mut settled) = settled(0, 1);
        settled.quote[at] ^= 1 << bit;
        prop_assert!(fault(&signed, &settled).is_err());
    }
}
