#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::*;
use crate::{
    id::{ProofHash, UnixTime},
    identity::Identity,
    manifest::{Contribution, Limits, ManifestError, PlanFault, Settlement},
    training::{Lora, Real},
};
use alloc::vec;

fn seat(n: u8) -> Seat {
    Seat { measurement: Measurement([n; 32]), enclave_id: EnclaveId([n + 100; 32]), simulated_roots: Vec::new() }
}

fn plan() -> FederationPlan {
    let local = TrainingPlan { epochs: 2, target: vec!["label".into()], ..TrainingPlan::default() };
    let sites = vec![seat(2), seat(3), seat(4)];
    FederationPlan { rounds: 2, local, quorum: 2, patience: 60, weighting: Weighting::Rows, aggregator: seat(1), sites }
}

fn party(n: u8) -> Identity {
    Identity::from_secret(&[n; 32]).unwrap()
}

fn manifest(plan: &FederationPlan) -> Manifest {
    let set = |n| Contribution { provider: party(n).address(), data: Digest([n; 32]) };
    Manifest {
        work: Work::Federation,
        data_provider: Address::ZERO,
        model_provider: party(1).address(),
        data: Digest::ZERO,
        model: Digest([9; 32]),
        measurement: plan.aggregator.measurement,
        enclave_id: plan.aggregator.enclave_id,
        recipients: vec![Recipient([8; 32])],
        limits: Limits { memory: 1 << 28, units: 1 << 40, runs: 1, not_after: UnixTime(2_000_000_000) },
        settlement: Settlement { chain_id: 1, ledger: Address([7; 20]), payer: party(1).address(), price: 5 },
        salt: Digest([6; 32]),
        plan: plan.digest(),
        contributions: vec![set(2), set(3), set(4)],
    }
}

fn signed(plan: FederationPlan, manifest: Manifest) -> SignedManifest {
    let hash = manifest.hash();
    let signatures = [1, 2, 3, 4].map(|n| party(n).sign(&hash.0)).into();
    SignedManifest { manifest, signatures, plan: None, federation: Some(plan) }
}

fn errand() -> Errand {
    let (aggregator, recipient) = (Address([5; 20]), Recipient([4; 32]));
    Errand { round: 1, site: 0, aggregator, recipient, model: Digest([3; 32]) }
}

fn record() -> FederationRecord {
    let update = |site: u32| SiteUpdate {
        site,
        proof: ProofHash([1; 32]),
        enclave_id: EnclaveId([102 + site as u8; 32]),
        data: Digest([2 + site as u8; 32]),
        rows: 10,
        weights: Digest([0; 32]),
        privacy: None,
    };
    let round = |before, after, sites: &[u32]| RoundRecord {
        before: Digest([before; 32]),
        after: Digest([after; 32]),
        updates: sites.iter().map(|site| update(*site)).collect(),
    };
    let rounds = vec![round(1, 2, &[0, 2]), round(2, 3, &[0, 1, 2])];
    FederationRecord { plan: plan().digest(), model: Digest([9; 32]), rounds, result: Digest([1; 32]), units: 7 }
}

#[test]
fn a_federation_that_all_have_signed_is_good() {
    let good = signed(plan(), manifest(&plan()));
    assert!(good.verify().is_ok());
    let bytes = cbor::encode(&good);
    assert_eq!(SignedManifest::decode(&bytes).unwrap(), good);
    let json = serde_json::to_vec(&good).unwrap();
    assert_eq!(serde_json::from_slice::<SignedManifest>(&json).unwrap(), good);
}

#[test]
fn every_site_must_sign() {
    let mut lacking = signed(plan(), manifest(&plan()));
    lacking.signatures.pop();
    assert_eq!(lacking.verify(), Err(ManifestError::Unsigned(party(4).address())));
}

#[test]
fn the_plan_is_the_one_that_was_signed_and_of_its_kind() {
    let mut other = signed(plan(), manifest(&plan()));
    other.federation.as_mut().unwrap().rounds = 3;
    assert_eq!(other.verify(), Err(ManifestError::Plan(PlanFault::Other)));
    let none = SignedManifest { federation: None, ..signed(plan(), manifest(&plan())) };
    assert_eq!(none.verify(), Err(ManifestError::Plan(PlanFault::Missing)));
    let both = SignedManifest { plan: Some(plan().local), ..signed(plan(), manifest(&plan())) };
    assert_eq!(both.verify(), Err(ManifestError::Plan(PlanFault::Other)));
    // A local plan in place of the federation's, its digest signed.
    let local = Manifest { plan: plan().local.digest(), ..manifest(&plan()) };
    let swapped = SignedManifest { federation: None, plan: Some(plan().local), ..signed(plan(), local) };
    assert_eq!(swapped.verify(), Err(ManifestError::Plan(PlanFault::Other)));
    // A federation's plan for other work.
    let mut training = manifest(&plan());
    (training.work, training.data_provider, training.data) = (Work::Training, party(2).address(), Digest([99; 32]));
    assert_eq!(signed(plan(), training).verify(), Err(ManifestError::Plan(PlanFault::Other)));
}

#[test]
fn a_manifest_of_a_federation_has_contributions_and_no_data_of_its_own() {
    let spoilt = |spoil: fn(&mut Manifest)| {
        let mut manifest = manifest(&plan());
        spoil(&mut manifest);
        manifest.check()
    };
    assert_eq!(spoilt(|_| ()), Ok(()));
    assert!(matches!(spoilt(|m| m.contributions.clear()), Err(ManifestError::Missing(_))));
    assert!(matches!(spoilt(|m| m.data = Digest([1; 32])), Err(ManifestError::Superfluous(_))));
    assert!(matches!(spoilt(|m| m.data_provider = Address([1; 20])), Err(ManifestError::Superfluous(_))));
    assert!(matches!(spoilt(|m| m.recipients.clear()), Err(ManifestError::Missing(_))));
    assert!(matches!(spoilt(|m| m.plan = Digest::ZERO), Err(ManifestError::Missing(_))));
    assert!(matches!(spoilt(|m| m.contributions[1] = m.contributions[0]), Err(ManifestError::Twice(_))));
}

#[test]
fn a_plan_without_a_seat_for_each_contribution_is_unfit() {
    let two = FederationPlan { sites: vec![seat(2), seat(3)], ..plan() };
    assert_eq!(signed(two.clone(), manifest(&two)).verify(), Err(ManifestError::Plan(PlanFault::Unfit)));
}

#[test]
fn plans_that_cannot_be_followed_are_named() {
    let fault = |spoil: fn(&mut FederationPlan)| {
        let mut plan = plan();
        spoil(&mut plan);
        match plan.check().unwrap_err() {
            FederationError::Range { field, .. } | FederationError::Unaveraged { field, .. } => field,
            FederationError::Seat(whose) => whose,
            FederationError::Local(_) => "local",
        }
    };
    assert_eq!(plan().check(), Ok(()));
    assert_eq!(fault(|plan| plan.rounds = 0), "rounds");
    assert_eq!(fault(|plan| plan.rounds = 257), "rounds");
    assert_eq!(fault(|plan| plan.quorum = 0), "quorum");
    assert_eq!(fault(|plan| plan.quorum = 4), "quorum");
    assert_eq!(fault(|plan| plan.patience = u32::MAX), "patience");
    assert_eq!(fault(|plan| plan.sites.clear()), "sites");
    assert_eq!(fault(|plan| plan.local.epochs = 0), "local");
    assert_eq!(fault(|plan| plan.local.standardise = true), "standardise");
    assert_eq!(fault(|plan| plan.local.validation = Validation::Asset(Digest([1; 32]))), "validation");
    assert_eq!(
        fault(|plan| plan.local.lora = Some(Lora { result: LoraResult::Adapter, ..Lora::default() })),
        "lora.result"
    );
    assert_eq!(fault(|plan| plan.aggregator.enclave_id = EnclaveId::ZERO), "the aggregator");
    assert_eq!(fault(|plan| plan.sites[1].measurement = Measurement::ZERO), "a site");
    assert_eq!(fault(|plan| plan.sites[1].simulated_roots = vec![RootFingerprint([1; 32]); 5]), "simulated_roots");
}

#[test]
fn the_largest_plan_is_read() {
    let names = |n: usize| vec!["*".repeat(TrainingPlan::MAX_NAME); n];
    let mut large = plan();
    large.local.train = names(60);
    large.local.freeze = names(60);
    large.local.learning_rate = Real::ONE;
    large.sites = vec![Seat { simulated_roots: vec![RootFingerprint([1; 32]); 4], ..seat(2) }; 16];
    assert_eq!(large.check(), Ok(()));
    let bytes = cbor::encode(&large);
    assert!(cbor::decode::<FederationPlan>(&bytes, FederationPlan::MAX_BYTES).is_ok());
}

#[test]
fn the_manifest_of_a_site_follows_from_what_was_signed() {
    let (plan, federation) = (plan(), manifest(&plan()));
    let one = plan.site_manifest(&federation, &errand()).unwrap();
    assert_eq!(one.check(), Ok(()));
    assert_eq!((one.work, one.data, one.data_provider), (Work::Training, Digest([2; 32]), party(2).address()));
    assert_eq!((one.measurement, one.enclave_id), (seat(2).measurement, seat(2).enclave_id));
    assert_eq!(one.recipients, [errand().recipient]);
    assert_eq!((one.settlement.payer, one.settlement.price), (party(2).address(), 0));
    assert_eq!(one.plan, plan.of_round(1).digest());
    assert_eq!(plan.site_manifest(&federation, &errand()).unwrap(), one, "the same each time");
    assert_eq!(plan.site_manifest(&federation, &Errand { site: 3, ..errand() }), None);
    let others = [
        Errand { round: 2, ..errand() },
        Errand { site: 1, ..errand() },
        Errand { aggregator: Address([9; 20]), ..errand() },
        Errand { recipient: Recipient([9; 32]), ..errand() },
        Errand { model: Digest([99; 32]), ..errand() },
    ];
    for other in others {
        assert_ne!(plan.site_manifest(&federation, &other).unwrap().hash(), one.hash(), "{other:?}");
    }
    let salted = Manifest { salt: Digest([77; 32]), ..federation };
    assert_ne!(plan.site_manifest(&salted, &errand()).unwrap().hash(), one.hash(), "of another federation");
}

#[test]
fn every_round_has_a_seed_of_its_own() {
    let mut plan = plan();
    plan.local.validation = Validation::None;
    assert_ne!(plan.of_round(1).seed, plan.of_round(2).seed);
    assert_eq!(TrainingPlan { seed: plan.local.seed, ..plan.of_round(2) }, plan.local);
}

#[test]
fn rows_that_are_held_out_in_one_round_are_held_out_in_all() {
    assert!(matches!(plan().local.validation, Validation::Fraction(_)));
    assert_eq!(plan().of_round(1), plan().local);
    assert_eq!(plan().of_round(2), plan().local);
}

#[test]
fn a_record_fits_its_manifest_and_plan() {
    let (plan, manifest) = (plan(), manifest(&plan()));
    let fault = |spoil: fn(&mut FederationRecord)| {
        let mut record = record();
        spoil(&mut record);
        record.check(&manifest, &plan)
    };
    use FederationRecordError as Fault;
    assert_eq!(fault(|_| ()), Ok(()));
    assert_eq!(fault(|record| record.plan.0[0] ^= 1), Err(Fault::Other));
    assert_eq!(fault(|record| record.model.0[0] ^= 1), Err(Fault::Other));
    assert_eq!(fault(|record| drop(record.rounds.pop())), Err(Fault::Rounds));
    assert_eq!(fault(|record| record.rounds[1].before.0[0] ^= 1), Err(Fault::Chain(2)));
    assert_eq!(fault(|record| record.rounds[0].updates.truncate(1)), Err(Fault::Sites(1)));
    assert_eq!(fault(|record| record.rounds[1].updates.swap(0, 1)), Err(Fault::Sites(2)));
    assert_eq!(fault(|record| record.rounds[1].updates[1] = record.rounds[1].updates[0].clone()), Err(Fault::Sites(2)));
    assert_eq!(fault(|record| record.rounds[1].updates[2].site = 3), Err(Fault::Sites(2)));
    assert_eq!(fault(|record| record.rounds[0].updates[0].data.0[0] ^= 1), Err(Fault::Sites(1)));
    assert_eq!(fault(|record| record.rounds[0].updates[0].enclave_id.0[0] ^= 1), Err(Fault::Sites(1)));
    assert_eq!(fault(|record| record.rounds[0].updates[0].rows = 0), Err(Fault::Sites(1)));
}

#[test]
fn the_longest_record_is_read() {
    let mut long = record();
    long.rounds[0].updates = vec![long.rounds[0].updates[0].clone(); Manifest::MAX_CONTRIBUTIONS];
    long.rounds = vec![long.rounds[0].clone(); FederationPlan::MAX_ROUNDS as usize];
    assert!(cbor::decode::<FederationRecord>(&cbor::encode(&long), FederationRecord::MAX_BYTES).is_ok());
}
