//! What enclaves of a federation believe of each other, and what its parties believe of its result: one way to
//! be wrong after the other.

use glacier_attest::{Age, Fingerprint, Policy};
use glacier_proof::{AttestedPeer, Bundle, Judge, ProofCheckId, ProofFault, WorkProof, seat_policy};
use glacier_simulator::{Body, Chip, Hardware, Recipe, Seed, Vendor};
use glacier_wire::{
    Address, Claims, Commitment, Contribution, Digest, Evidence, Identity, Limits, Manifest, Measurement, PlatformKind,
    ProofHash, Purpose, Recipient, RootFingerprint, Settlement, SignedManifest, UnixTime, Work,
    federation::{Credential, FederationPlan, FederationRecord, RoundRecord, Seat, SiteUpdate, Weighting},
    training::TrainingPlan,
};
use std::sync::LazyLock;

const NOW: UnixTime = UnixTime(1_800_000_000);
const CODE: Measurement = Measurement([7; 32]);
const MAILBOX: Recipient = Recipient([3; 32]);

struct Scene {
    root: Fingerprint,
    chip: Chip,
    other_chip: Chip,
    collateral: Vec<u8>,
}

static SCENE: LazyLock<Scene> = LazyLock::new(|| {
    let vendor = Vendor::generate(NOW).unwrap();
    let chip = |seed| vendor.chip(Hardware::new(Seed::new([seed; 32])), NOW).unwrap();
    let (chip, other_chip) = (chip(1), chip(2));
    let collateral = vendor.collateral(chip.hardware(), &Recipe::new(NOW)).unwrap().to_json().into_bytes();
    Scene { root: vendor.root_fingerprint(), chip, other_chip, collateral }
});

fn enclave() -> Identity {
    Identity::from_secret(&[11; 32]).unwrap()
}

fn evidence(chip: &Chip, code: Measurement, purpose: Purpose, issued_at: UnixTime) -> Evidence {
    let enclave_key = enclave().address();
    let claims = Claims { purpose, channel_key: [1; 32], enclave_key, issued_at, nonce: None, devices: None };
    let quote = chip.quote(&Body::new(code, claims.report_data())).unwrap();
    Evidence::new(quote, claims.encode(), SCENE.collateral.clone())
}

fn credential() -> Credential {
    Credential {
        evidence: evidence(&SCENE.chip, CODE, Purpose::Channel, NOW),
        recipient: MAILBOX,
        signature: enclave().sign(&Credential::digest(&MAILBOX)),
    }
}

fn seat() -> Seat {
    Seat {
        measurement: CODE,
        enclave_id: SCENE.chip.enclave_id(),
        simulated_roots: vec![RootFingerprint(SCENE.root.0)],
    }
}

fn judged(credential: &Credential, seat: &Seat) -> Result<AttestedPeer, ProofFault> {
    AttestedPeer::of(credential, Judge::Policy(&seat_policy(seat)), NOW)
}

#[test]
fn a_credential_names_the_enclave_behind_it() {
    let peer = judged(&credential(), &seat()).unwrap();
    assert_eq!((peer.enclave_key(), peer.recipient()), (enclave().address(), MAILBOX));
    assert_eq!((peer.measurement(), peer.enclave_id()), (CODE, SCENE.chip.enclave_id()));
}

#[test]
fn a_recipient_that_the_enclave_did_not_sign_is_refused() {
    let other = Credential { recipient: Recipient([4; 32]), ..credential() };
    assert!(matches!(judged(&other, &seat()), Err(ProofFault::Signature(_))));
}

#[test]
fn a_recipient_signed_by_another_key_is_refused() {
    let stranger = Identity::from_secret(&[12; 32]).unwrap();
    let other = Credential { signature: stranger.sign(&Credential::digest(&MAILBOX)), ..credential() };
    assert!(matches!(judged(&other, &seat()), Err(ProofFault::Signature(_))));
}

#[test]
fn other_code_another_chip_and_another_root_are_refused() {
    let code =
        Credential { evidence: evidence(&SCENE.chip, Measurement([8; 32]), Purpose::Channel, NOW), ..credential() };
    assert!(matches!(judged(&code, &seat()), Err(ProofFault::Evidence(_))));
    let chip = Credential { evidence: evidence(&SCENE.other_chip, CODE, Purpose::Channel, NOW), ..credential() };
    assert!(matches!(judged(&chip, &seat()), Err(ProofFault::Evidence(_))));
    let root = Seat { simulated_roots: vec![RootFingerprint([9; 32])], ..seat() };
    assert!(matches!(judged(&credential(), &root), Err(ProofFault::Evidence(_))));
}

#[test]
fn a_seat_that_names_no_simulated_root_accepts_no_simulation() {
    let hardware = Seat { simulated_roots: Vec::new(), ..seat() };
    assert!(matches!(judged(&credential(), &hardware), Err(ProofFault::Evidence(_))));
}

#[test]
fn evidence_for_another_purpose_is_no_credential() {
    let app = Credential { evidence: evidence(&SCENE.chip, CODE, Purpose::App, NOW), ..credential() };
    assert_eq!(judged(&app, &seat()).unwrap_err(), ProofFault::Purpose);
}

#[test]
fn claims_that_the_quote_does_not_commit_to_are_refused() {
    let mut swapped = credential();
    let claims = Claims { channel_key: [2; 32], ..Claims::decode(&swapped.evidence.claims).unwrap() };
    swapped.evidence.claims = claims.encode();
    assert!(matches!(judged(&swapped, &seat()), Err(ProofFault::Evidence(_))));
}

#[test]
fn a_credential_older_than_a_month_is_refused() {
    let issued = UnixTime(NOW.0 - 31 * 24 * 60 * 60);
    let old = Credential { evidence: evidence(&SCENE.chip, CODE, Purpose::Channel, issued), ..credential() };
    assert!(matches!(judged(&old, &seat()), Err(ProofFault::Evidence(_))));
    let issued = UnixTime(NOW.0 - 2 * 24 * 60 * 60);
    let recent = Credential { evidence: evidence(&SCENE.chip, CODE, Purpose::Channel, issued), ..credential() };
    assert!(judged(&recent, &seat()).is_ok());
}

fn party(n: u8) -> Identity {
    Identity::from_secret(&[n; 32]).unwrap()
}

fn plan() -> FederationPlan {
    let local = TrainingPlan { target: vec!["label".into()], ..TrainingPlan::default() };
    let sites = vec![seat(), seat()];
    FederationPlan { rounds: 1, local, quorum: 1, patience: 0, weighting: Weighting::Rows, aggregator: seat(), sites }
}

fn signed() -> SignedManifest {
    let plan = plan();
    let set = |n: u8| Contribution { provider: party(n).address(), data: Digest([n; 32]) };
    let manifest = Manifest {
        work: Work::Federation,
        data_provider: Address::ZERO,
        model_provider: party(1).address(),
        data: Digest::ZERO,
        model: Digest([9; 32]),
        measurement: CODE,
        enclave_id: SCENE.chip.enclave_id(),
        recipients: vec![Recipient([8; 32])],
        limits: Limits { memory: 1 << 28, units: 1 << 40, runs: 1, not_after: UnixTime(2_000_000_000) },
        settlement: Settlement { chain_id: 1, ledger: Address([7; 20]), payer: party(1).address(), price: 5 },
        salt: Digest([6; 32]),
        plan: plan.digest(),
        contributions: vec![set(2), set(3)],
    };
    let hash = manifest.hash();
    let signatures = [1, 2, 3].map(|n| party(n).sign(&hash.0)).into();
    SignedManifest { manifest, signatures, plan: None, federation: Some(plan) }
}

fn record() -> FederationRecord {
    let update = SiteUpdate {
        site: 1,
        proof: ProofHash([1; 32]),
        enclave_id: SCENE.chip.enclave_id(),
        data: Digest([3; 32]),
        rows: 10,
        weights: Digest([5; 32]),
        privacy: None,
    };
    let rounds = vec![RoundRecord { before: Digest([1; 32]), after: Digest([2; 32]), updates: vec![update] }];
    FederationRecord { plan: plan().digest(), model: Digest([9; 32]), rounds, result: Digest([1; 32]), units: 7 }
}

/// A bundle whose proof commits to `record` and says `change`d things.
fn bundle(record: &FederationRecord, change: impl FnOnce(&mut WorkProof)) -> Bundle {
    let manifest = signed();
    let mut proof = WorkProof {
        enclave_id: SCENE.chip.enclave_id(),
        enclave_key: enclave().address(),
        measurement: CODE,
        platform: PlatformKind::Simulated,
        work: Work::Federation,
        manifest: manifest.manifest.hash(),
        model: manifest.manifest.model,
        input: manifest.manifest.input(),
        output: Commitment::from(record.digest()),
        units: record.units,
        sequence: 0,
        previous: ProofHash::ZERO,
        settlement: manifest.manifest.settlement,
    };
    change(&mut proof);
    Bundle {
        proof: proof.sign(&[11; 32]).unwrap(),
        evidence: evidence(&SCENE.chip, CODE, Purpose::Channel, NOW),
        manifest: Some(manifest),
        logged: None,
        settled: None,
        training: None,
        federation: Some(record.clone()),
    }
}

fn verdict(bundle: &Bundle) -> Result<(), (ProofCheckId, ProofFault)> {
    verdict_at(bundle, NOW, None)
}

fn verdict_at(bundle: &Bundle, at: UnixTime, max: Option<Age>) -> Result<(), (ProofCheckId, ProofFault)> {
    let policy = Policy { max_evidence_age: max, ..seat_policy(&seat()) };
    bundle.verify(Judge::Policy(&policy), at).into_result().map(drop)
}

fn contradicts(bundle: &Bundle) -> &'static str {
    match verdict(bundle) {
        Err((ProofCheckId::ManifestBinding, ProofFault::Contradiction(what))) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_combined_proof_binds_the_record_of_all_rounds() {
    let good = bundle(&record(), |_| ());
    assert_eq!(verdict(&good), Ok(()));
    assert_eq!(Bundle::decode(&glacier_wire::cbor::encode(&good)).unwrap(), good);
}

#[test]
fn a_proof_does_not_age_but_what_vouches_for_its_key_must_have_been_there() {
    let proof = bundle(&record(), |_| ());
    let later = |days: u64| UnixTime(NOW.0 + days * 24 * 60 * 60);
    for max in [None, Some(Age(1))] {
        assert_eq!(verdict_at(&proof, later(20), max), Ok(()));
        // The collateral's own time is another matter: the file holds what was current when it was made.
        assert!(matches!(verdict_at(&proof, later(90), max), Err((ProofCheckId::Evidence, _))));
        let future = evidence(&SCENE.chip, CODE, Purpose::Channel, later(1));
        let early = Bundle { evidence: future, ..proof.clone() };
        assert!(matches!(verdict_at(&early, NOW, max), Err((ProofCheckId::Evidence, ProofFault::Evidence(_)))));
    }
}

#[test]
fn a_record_that_the_proof_does_not_commit_to_is_refused() {
    let mut other = bundle(&record(), |_| ());
    other.federation.as_mut().unwrap().rounds[0].updates[0].weights.0[0] ^= 1;
    assert_eq!(contradicts(&other), "federation record");
    let none = Bundle { federation: None, ..bundle(&record(), |_| ()) };
    assert_eq!(contradicts(&none), "federation record");
}

#[test]
fn a_record_that_contradicts_the_plan_is_refused_though_it_is_signed() {
    let spoils: [fn(&mut FederationRecord); 4] = [
        |record| record.rounds.clear(),
        |record| record.rounds[0].updates.clear(),
        |record| record.rounds[0].updates[0].data = Digest([2; 32]),
        |record| record.plan.0[0] ^= 1,
    ];
    for spoil in spoils {
        let mut record = record();
        spoil(&mut record);
        assert_eq!(contradicts(&bundle(&record, |_| ())), "federation record");
    }
    assert_eq!(contradicts(&bundle(&record(), |proof| proof.units += 1)), "federation record");
}

#[test]
fn a_proof_over_other_data_than_the_contributions_is_refused() {
    assert_eq!(contradicts(&bundle(&record(), |proof| proof.input = Commitment([1; 32]))), "data");
}
