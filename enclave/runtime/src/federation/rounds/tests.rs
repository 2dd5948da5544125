#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::*;
use glacier_wire::{EnclaveId, Measurement, ProofHash, federation::Seat, training::TrainingPlan};

fn plan(quorum: u32) -> FederationPlan {
    let seat = Seat { measurement: Measurement([1; 32]), enclave_id: EnclaveId([2; 32]), simulated_roots: Vec::new() };
    FederationPlan {
        rounds: 2,
        local: TrainingPlan::default(),
        quorum,
        patience: 5,
        weighting: Weighting::Rows,
        aggregator: seat.clone(),
        sites: vec![seat; 3],
    }
}

fn flat(values: [f32; 2]) -> Flat {
    Flat { layout: Digest([7; 32]), values: values.into() }
}

fn rounds(quorum: u32) -> Rounds {
    Rounds::new(plan(quorum), flat([0.0, 0.0]))
}

fn update(site: u32, rows: u64, values: [f32; 2]) -> Update {
    let weights = TrainingRecord::weights_digest(&values);
    let (proof, enclave_id, data) = (ProofHash([3; 32]), EnclaveId([2; 32]), Digest([4; 32]));
    Update { record: SiteUpdate { site, proof, enclave_id, data, rows, weights, privacy: None }, flat: flat(values) }
}

fn code<T>(outcome: Result<T, Refusal>) -> RefusalCode {
    match outcome {
        Err(refusal) => refusal.code,
        Ok(_) => panic!("not refused"),
    }
}

#[test]
fn a_round_closes_when_all_have_delivered_and_counts_them_by_their_rows() {
    let mut rounds = rounds(2);
    assert!(rounds.accept(1, update(2, 2, [3.0, 0.0])).unwrap());
    assert!(!rounds.accept(1, update(0, 1, [0.0, 8.0])).unwrap());
    assert!(!rounds.complete(), "the third may still come");
    rounds.accept(1, update(1, 1, [2.0, 0.0])).unwrap();
    assert!(rounds.complete());
    rounds.close().unwrap();
    assert_eq!(rounds.weights(), [2.0, 2.0]);
    assert_eq!(rounds.round(), Some(2));
    let (past, units) = rounds.record();
    assert_eq!(past[0].updates.iter().map(|update| update.site).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(past[0].before, TrainingRecord::weights_digest(&[0.0, 0.0]));
    assert_eq!(past[0].after, TrainingRecord::weights_digest(&[2.0, 2.0]));
    assert_eq!(units, 6);
}

#[test]
fn sites_can_count_alike() {
    let mut rounds = Rounds::new(FederationPlan { weighting: Weighting::Equal, ..plan(3) }, flat([0.0, 0.0]));
    for (site, rows) in [(0, 1), (1, 100), (2, 5)] {
        rounds.accept(1, update(site, rows, [f32::from(site as u8), 3.0])).unwrap();
    }
    rounds.close().unwrap();
    assert_eq!(rounds.weights(), [1.0, 3.0]);
}

#[test]
fn the_order_in_which_updates_come_changes_no_bit() {
    let values = [[0.1, 1e-8], [1.0 / 3.0, 7e7], [-0.2, 0.7]];
    let merged = |order: [u32; 3]| {
        let mut rounds = rounds(3);
        for site in order {
            rounds.accept(1, update(site, 3 + u64::from(site), values[site as usize])).unwrap();
        }
        rounds.close().unwrap();
        rounds.record().0[0].after
    };
    assert_eq!(merged([0, 1, 2]), merged([2, 0, 1]));
}

#[test]
fn a_quorum_suffices_once_patience_is_over_and_too_few_never_do() {
    let mut rounds = rounds(2);
    rounds.accept(1, update(1, 1, [1.0, 1.0])).unwrap();
    rounds.expire();
    assert!(!rounds.complete(), "one of three is no quorum of two, however late it is");
    rounds.accept(1, update(0, 1, [3.0, 3.0])).unwrap();
    assert!(rounds.complete());
    rounds.close().unwrap();
    assert_eq!(rounds.weights(), [2.0, 2.0]);
    assert!(!rounds.overdue(), "the next round has its own patience");
}

#[test]
fn nothing_is_no_round() {
    let mut rounds = rounds(1);
    rounds.expire();
    assert!(!rounds.complete());
}

#[test]
fn a_straggler_is_told_and_harms_nothing() {
    let mut rounds = rounds(1);
    rounds.accept(1, update(0, 1, [1.0, 1.0])).unwrap();
    rounds.expire();
    rounds.close().unwrap();
    assert_eq!(code(rounds.accept(1, update(1, 1, [9.0, 9.0]))), RefusalCode::UpdateLate);
    assert_eq!((rounds.weights(), rounds.delivered()), ([1.0, 1.0].as_slice(), Vec::new()));
    // It is welcome in the round under way.
    rounds.accept(2, update(1, 1, [3.0, 3.0])).unwrap();
}

#[test]
fn a_repeated_update_is_told_and_harms_nothing() {
    let mut rounds = rounds(2);
    rounds.accept(1, update(0, 1, [1.0, 1.0])).unwrap();
    assert_eq!(code(rounds.accept(1, update(0, 1, [9.0, 9.0]))), RefusalCode::UpdateRepeated);
    rounds.expire();
    rounds.accept(1, update(1, 1, [1.0, 1.0])).unwrap();
    rounds.close().unwrap();
    assert_eq!(rounds.weights(), [1.0, 1.0]);
}

#[test]
fn updates_of_a_later_round_another_graph_or_no_numbers_are_refused() {
    let mut rounds = rounds(2);
    assert_eq!(code(rounds.accept(2, update(0, 1, [1.0, 1.0]))), RefusalCode::UpdateLate);
    let mut graph = update(0, 1, [1.0, 1.0]);
    graph.flat.layout.0[0] ^= 1;
    assert_eq!(code(rounds.accept(1, graph)), RefusalCode::UpdateInvalid);
    let mut short = update(0, 1, [1.0, 1.0]);
    short.flat.values.pop();
    assert_eq!(code(rounds.accept(1, short)), RefusalCode::UpdateInvalid);
    assert_eq!(code(rounds.accept(1, update(0, 1, [1.0, f32::NAN]))), RefusalCode::Diverged);
    assert_eq!(code(rounds.accept(1, update(7, 1, [1.0, 1.0]))), RefusalCode::UpdateInvalid);
    assert_eq!(rounds.delivered(), Vec::<u32>::new());
}

#[test]
fn after_the_last_round_there_is_none() {
    let mut rounds = rounds(1);
    for round in 1..=2 {
        rounds.accept(round, update(0, 1, [1.0, 1.0])).unwrap();
        rounds.expire();
        rounds.close().unwrap();
    }
    assert_eq!((rounds.round(), rounds.closed()), (None, 2));
    assert!(!rounds.complete());
    assert_eq!(code(rounds.accept(3, update(0, 1, [1.0, 1.0]))), RefusalCode::UpdateLate);
}

#[test]
fn closed_rounds_are_restored_and_the_open_one_begins_anew() {
    let mut before = rounds(1);
    before.accept(1, update(0, 4, [1.0, 2.0])).unwrap();
    before.expire();
    before.close().unwrap();
    before.accept(2, update(1, 4, [5.0, 5.0])).unwrap();
    let state = before.state();
    let mut after = rounds(1);
    after.restore(&state).unwrap();
    assert_eq!((after.round(), after.weights()), (Some(2), [1.0, 2.0].as_slice()));
    assert_eq!(after.record(), before.record());
    assert!(!after.has(1));
}

#[test]
fn a_state_of_another_federation_is_refused() {
    let mut before = rounds(1);
    assert_eq!(code(rounds(1).restore(&before.state())), RefusalCode::CheckpointForged, "no round has closed");
    before.accept(1, update(0, 4, [1.0, 2.0])).unwrap();
    before.expire();
    before.close().unwrap();
    let other = Flat { layout: Digest([8; 32]), values: vec![0.0; 2] };
    assert_eq!(code(Rounds::new(plan(1), other).restore(&before.state())), RefusalCode::CheckpointForged);
    assert_eq!(code(rounds(1).restore(b"\x80")), RefusalCode::CheckpointForged);
}
