//! Whom the names of classes may come from.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use glacier_train::{
    TrainError, build,
    data::Bytes,
    protocol::{Limits, Order},
    run::train,
};
use glacier_wire::{
    Digest, Nonce,
    training::{Privacy, Real, Target, TrainingPlan},
};

fn real(value: f32) -> Real {
    Real::new(value).unwrap()
}

fn outcome(words: bool, change: impl Fn(&mut Order)) -> Result<(), TrainError> {
    let word = |row: u32| match (words, row % 2) {
        (true, 0) => "well",
        (true, _) => "ill",
        (false, 0) => "0",
        (false, _) => "1",
    };
    let rows: String = (0..100).map(|row| format!("{},{}\n", row % 7, word(row))).collect();
    let names = ["a".to_owned()];
    let model = build::logistic(build::Columns::Named(&names), build::Task::Classes(2), &[1; 32]).unwrap();
    let plan = TrainingPlan { epochs: 1, target: vec![Target::Name("y".into())], ..TrainingPlan::default() };
    let mut order = Order {
        plan,
        limits: Limits { units: 1 << 40, memory: 1 << 26, threads: 1, window: Limits::WINDOW },
        model: Digest([1; 32]),
        data: vec![(Digest([2; 32]), 0)],
        salt: Nonce([3; 32]),
        noise: Some(Nonce([4; 32])),
        averaged: false,
    };
    change(&mut order);
    train(&order, &model, Bytes::new(vec![format!("a,y\n{rows}").into_bytes()]), None, &mut ()).map(drop)
}

fn private(order: &mut Order) {
    let (noise, clip, delta) = (real(1.0), real(1.0), real(1e-3));
    order.plan.privacy = Some(Privacy { noise, clip, delta, max_epsilon: None, sampling: Default::default() });
}

fn averaged(order: &mut Order) {
    order.averaged = true;
}

#[test]
fn one_owner_alone_may_have_classes_named_after_the_rows() {
    assert_eq!(outcome(true, |_| ()), Ok(()));
}

#[test]
fn a_site_of_a_federation_may_not() {
    assert!(matches!(outcome(true, averaged), Err(TrainError::Unfit(_))));
    assert_eq!(outcome(false, averaged), Ok(()));
    let named = |order: &mut Order| {
        averaged(order);
        order.plan.classes = vec!["well".into(), "ill".into()];
    };
    assert_eq!(outcome(true, named), Ok(()));
}

#[test]
fn nor_may_a_private_run_whose_result_would_show_them() {
    assert!(matches!(outcome(true, private), Err(TrainError::Unfit(_))));
    assert_eq!(outcome(false, private), Ok(()));
    let named = |order: &mut Order| {
        private(order);
        order.plan.classes = vec!["well".into(), "ill".into()];
    };
    assert_eq!(outcome(true, named), Ok(()));
}
