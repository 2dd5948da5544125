//! Put down between any two steps and taken up again, a run ends in the same bits.

use super::*;

/// A plan and the network and rows it is for.
struct Case {
    plan: TrainingPlan,
    network: fn() -> Tiny,
}

fn cases() -> Vec<Case> {
    let rich = || Tiny::new(2, 6, 2).dropping().with_statistic();
    let stopping = EarlyStopping { metric: Metric::Accuracy, patience: 2, min_delta: Real::ZERO };
    let base = TrainingPlan { epochs: 4, batch: 7, accumulate: 2, warmup: 5, schedule: Schedule::Cosine, ..plan() };
    let privacy = Privacy {
        noise: real(1.0),
        clip: real(1.0),
        delta: real(1e-3),
        max_epsilon: None,
        sampling: Sampling::Poisson,
    };
    let private = TrainingPlan { accumulate: 1, epochs: 2, ..base.clone() };
    let plain = || Tiny::new(2, 6, 2);
    vec![
        Case { plan: base.clone(), network: rich },
        Case {
            plan: TrainingPlan {
                early_stopping: Some(stopping),
                class_weights: Some(ClassWeights::Balanced),
                learning_rate: real(0.3),
                ..base.clone()
            },
            network: rich,
        },
        Case {
            plan: TrainingPlan { optimiser: Optimiser::Sgd, momentum: Some(real(0.9)), nesterov: true, ..base.clone() },
            network: rich,
        },
        Case {
            plan: TrainingPlan {
                lora: Some(Lora { rank: 2, ..Lora::default() }),
                early_stopping: Some(stopping),
                train: vec!["*.bias".into()],
                ..base
            },
            network: rich,
        },
        Case { plan: TrainingPlan { privacy: Some(privacy), ..private.clone() }, network: plain },
        Case {
            plan: TrainingPlan { privacy: Some(Privacy { sampling: Sampling::Shuffle, ..privacy }), ..private },
            network: plain,
        },
    ]
}

#[test]
fn at_every_boundary_the_rest_is_the_same() {
    for Case { plan, network } in cases() {
        let (mut training, mut validation) = (Rows::rings(50, 1), Rows::rings(30, 2));
        let mut sources = Sources { training: &mut training, validation: Some(&mut validation) };
        let noise = plan.privacy.map(|_| [7; 32]);
        let weights = network().weights();
        let mut trainer = Trainer::new(plan.clone(), network(), weights, &mut sources, LIMITS, noise).unwrap();
        let mut states = vec![trainer.state()];
        let mut events = Vec::new();
        while !matches!(events.last(), Some(Event::Done(_))) {
            events.push(trainer.step(&mut sources).unwrap());
            states.push(trainer.state());
        }
        let whole = trainer.finish().unwrap();
        for (boundary, state) in states.iter().enumerate() {
            // A process that knows nothing of the one before.
            let (mut training, mut validation) = (Rows::rings(50, 1), Rows::rings(30, 2));
            let mut sources = Sources { training: &mut training, validation: Some(&mut validation) };
            let weights = network().weights();
            let mut resumed = Trainer::resume(plan.clone(), network(), weights, &mut sources, LIMITS, state).unwrap();
            assert_eq!(*resumed.state(), **state, "boundary {boundary}");
            for event in &events[boundary..] {
                assert_eq!(resumed.step(&mut sources).unwrap(), *event, "boundary {boundary}");
            }
            let rest = resumed.finish().unwrap();
            assert_eq!(bits(rest.weights.values()), bits(whole.weights.values()), "boundary {boundary}");
            assert_eq!(rest.adapter, whole.adapter);
            let record = |finished: &Finished| {
                let metrics = TrainingMetrics { salt: Nonce([1; 32]), epochs: finished.epochs.clone() };
                let facts = Facts {
                    model: Digest([2; 32]),
                    data: vec![Digest([3; 32])],
                    metrics: &metrics,
                    result: Digest([4; 32]),
                    processor: String::new(),
                    threads: 1,
                };
                finished.record(facts).unwrap()
            };
            assert_eq!(record(&rest), record(&whole));
        }
    }
}

fn halfway(plan: &TrainingPlan) -> Vec<u8> {
    let (mut training, mut validation) = (Rows::rings(50, 1), Rows::rings(30, 2));
    let mut sources = Sources { training: &mut training, validation: Some(&mut validation) };
    let network = Tiny::new(2, 4, 2);
    let weights = network.weights();
    let mut trainer = Trainer::new(plan.clone(), network, weights, &mut sources, LIMITS, None).unwrap();
    for _ in 0..10 {
        trainer.step(&mut sources).unwrap();
    }
    trainer.state().to_vec()
}

fn take_up(plan: &TrainingPlan, network: Tiny, rows: usize, state: &[u8]) -> Result<Trainer<Tiny>, TrainError> {
    let (mut training, mut validation) = (Rows::rings(rows, 1), Rows::rings(30, 2));
    let mut sources = Sources { training: &mut training, validation: Some(&mut validation) };
    let weights = network.weights();
    Trainer::resume(plan.clone(), network, weights, &mut sources, LIMITS, state)
}

#[test]
fn bytes_that_are_no_state_are_refused() {
    let plan = plan();
    let state = halfway(&plan);
    assert!(take_up(&plan, Tiny::new(2, 4, 2), 50, &state).is_ok());
    let refused =
        |state: &[u8]| matches!(take_up(&plan, Tiny::new(2, 4, 2), 50, state), Err(TrainError::Checkpoint(_)));
    for place in 0..state.len() {
        let mut altered = state.clone();
        altered[place] ^= 1 << (place % 8);
        assert!(refused(&altered), "{place}");
    }
    for length in 0..state.len() {
        assert!(refused(&state[..length]), "{length}");
    }
    assert!(refused(&[state.as_slice(), &[0]].concat()));
}

/// What is not caught by its digest, because whoever made it took the digest again, is caught by what it says.
#[test]
fn states_that_lie_are_refused() {
    let plan = plan();
    let state = halfway(&plan);
    let seal = |mut body: Vec<u8>| {
        let digest = blake3::hash(&body);
        body.extend(digest.as_bytes());
        body
    };
    let body = state[..state.len() - 32].to_vec();
    assert!(take_up(&plan, Tiny::new(2, 4, 2), 50, &seal(body.clone())).is_ok());
    let head = u32::from_le_bytes(body[16..20].try_into().unwrap()) as usize;
    let (mut refused, mut taken) = (0, 0);
    // Every bit of the header, one at a time: refused, or a header that means something else but can be.
    for bit in 16 * 8..(20 + head) * 8 {
        let mut altered = body.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        match take_up(&plan, Tiny::new(2, 4, 2), 50, &seal(altered)) {
            Err(TrainError::Checkpoint(_)) => refused += 1,
            Err(other) => panic!("{other}"),
            Ok(_) => taken += 1,
        }
    }
    assert!(refused > 10 * taken / 9, "{refused} {taken}");
    let mut not_finite = body.clone();
    not_finite[20 + head..24 + head].copy_from_slice(&f32::NAN.to_le_bytes());
    let error = take_up(&plan, Tiny::new(2, 4, 2), 50, &seal(not_finite)).err();
    assert_eq!(error, Some(TrainError::Checkpoint("it has numbers that are not finite")));
    let error = take_up(&plan, Tiny::new(2, 4, 2), 50, &seal(body[..body.len() - 4].to_vec())).err();
    assert_eq!(error, Some(TrainError::Checkpoint("it has another length")));
    let huge = [&body[..16], &u32::MAX.to_le_bytes(), &body[20..]].concat();
    assert!(matches!(take_up(&plan, Tiny::new(2, 4, 2), 50, &seal(huge)), Err(TrainError::Checkpoint(_))));
}

#[test]
fn a_state_of_another_run_is_refused() {
    let plan = plan();
    let state = halfway(&plan);
    let why = |plan: &TrainingPlan, network, rows| take_up(plan, network, rows, &state).err().unwrap();
    let other = TrainingPlan { seed: Seed::from(9), ..plan.clone() };
    assert_eq!(why(&other, Tiny::new(2, 4, 2), 50), TrainError::Checkpoint("it is of another plan"));
    assert_eq!(why(&plan, Tiny::new(2, 5, 2), 50), TrainError::Checkpoint("it is of another model"));
    assert_eq!(why(&plan, Tiny::new(2, 4, 2), 51), TrainError::Checkpoint("it is of other data"));
    let (mut training, mut validation) = (Rows::rings(50, 1), Rows::rings(30, 2));
    let mut sources = Sources { training: &mut training, validation: Some(&mut validation) };
    let mut weights = Tiny::new(2, 4, 2).weights();
    weights.values_mut()[0] += 1.0;
    let error = Trainer::resume(plan, Tiny::new(2, 4, 2), weights, &mut sources, LIMITS, &state).err();
    assert_eq!(error, Some(TrainError::Checkpoint("it began with other weights")));
}
