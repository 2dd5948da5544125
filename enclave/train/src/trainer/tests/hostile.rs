//! Data, plans and graphs that end a run, with a name and without a trace.

use super::{tiny::Wanted, *};

fn start(plan: &TrainingPlan, network: Tiny, training: &mut Rows, limits: Limits) -> Result<Trainer<Tiny>, TrainError> {
    let weights = network.weights();
    let mut validation = Rows::rings(30, 2);
    let validates = plan.validation != Validation::None;
    let mut sources = Sources { training, validation: validates.then_some(&mut validation) };
    Trainer::new(plan.clone(), network, weights, &mut sources, limits, None)
}

/// Steps until one fails; whatever it was, the run is as before it.
fn failure(plan: &TrainingPlan, network: Tiny, training: &mut Rows, limits: Limits) -> TrainError {
    let mut validation = Rows::rings(30, 2);
    let mut trainer = start(plan, network, training, limits).unwrap();
    let mut sources = Sources { training, validation: Some(&mut validation) };
    for _ in 0..1000 {
        let before = trainer.state();
        match trainer.step(&mut sources) {
            Ok(Event::Done(_)) => panic!("it ended well"),
            Ok(_) => {}
            Err(error) => {
                assert_eq!(*trainer.state(), *before, "{error}");
                return error;
            }
        }
    }
    panic!("it goes on")
}

#[test]
fn what_is_not_a_number_is_found_in_batch_and_column() {
    let mut rows = Rows::rings(50, 1);
    rows.shuffles = false;
    rows.inputs[21][1] = f32::NAN;
    let statistic = || Tiny::new(2, 4, 2).with_statistic();
    let fault = Fault::Input { input: Name::new("x"), column: 1 };
    let error = failure(&plan(), statistic(), &mut rows, LIMITS);
    assert_eq!(error, TrainError::NotFinite { epoch: 1, batch: 3, step: 3, fault: fault.clone() });
    assert_eq!(error.to_string(), "epoch 1, batch 3, step 3: column 1 of input \"x\" is not finite");
    let accumulated = TrainingPlan { accumulate: 4, ..plan() };
    let error = failure(&accumulated, statistic(), &mut rows, LIMITS);
    assert_eq!(error, TrainError::NotFinite { epoch: 1, batch: 3, step: 1, fault });

    let network = statistic().failing_at(6);
    let fault = Fault::Output { output: Name::new("y"), column: 1 };
    let error = failure(&plan(), network, &mut Rows::rings(50, 1), LIMITS);
    assert_eq!(error, TrainError::NotFinite { epoch: 1, batch: 6, step: 6, fault });
}

#[test]
fn explosions_are_named() {
    let plan = TrainingPlan {
        loss: Loss::Mse,
        optimiser: Optimiser::Sgd,
        learning_rate: real(100.0),
        gradient_limit: real(1e6),
        validation: Validation::None,
        ..plan()
    };
    let mut rows = Rows::surface(100, 1);
    let error = failure(&plan, Tiny::new(2, 4, 1), &mut rows, LIMITS);
    let TrainError::Exploded { epoch: 1, norm, limit, .. } = error else { panic!("{error}") };
    assert!(norm > limit && limit == real(1e6));
    for (place, target) in [(3, f32::MAX), (5, f32::INFINITY)] {
        let mut rows = Rows::surface(100, 1);
        rows.shuffles = false;
        let Wanted::Numbers(numbers) = &mut rows.targets else { panic!() };
        numbers[place][0] = target;
        let error = failure(&plan, Tiny::new(2, 4, 1), &mut rows, LIMITS);
        match target {
            f32::MAX => assert!(matches!(error, TrainError::Exploded { .. } | TrainError::NotFinite { .. }), "{error}"),
            _ => assert_eq!(error, TrainError::Target { row: 6 }),
        }
    }
}

#[test]
fn labels_out_of_range_end_the_run() {
    let mut rows = Rows::rings(50, 1);
    let Wanted::Classes(classes) = &mut rows.targets else { panic!() };
    classes[33] = 2;
    assert_eq!(failure(&plan(), Tiny::new(2, 4, 2), &mut rows, LIMITS), TrainError::Label { row: 34, classes: 2 });
    let Wanted::Classes(classes) = &mut rows.targets else { panic!() };
    classes[33] = -1;
    let balanced = TrainingPlan { class_weights: Some(ClassWeights::Balanced), ..plan() };
    let error = start(&balanced, Tiny::new(2, 4, 2), &mut rows, LIMITS).err();
    assert_eq!(error, Some(TrainError::Label { row: 34, classes: 2 }));
}

#[test]
fn data_that_ends_early_or_goes_on_is_refused() {
    let mut rows = Rows::rings(50, 1);
    rows.claims = 60;
    let error = failure(&plan(), Tiny::new(2, 4, 2), &mut rows, LIMITS);
    assert_eq!(error, TrainError::Rows { expected: 60, found: 50 });
    rows.claims = 40;
    let error = failure(&plan(), Tiny::new(2, 4, 2), &mut rows, LIMITS);
    assert_eq!(error, TrainError::Rows { expected: 40, found: 41 });
    rows.claims = 0;
    assert!(start(&plan(), Tiny::new(2, 4, 2), &mut rows, LIMITS).is_err());
}

#[test]
fn limits_are_kept_before_the_start_and_after() {
    let mut rows = Rows::rings(50, 1);
    let network = || Tiny::new(2, 4, 2);
    // 16 units a row forward; five epochs over 50 rows and 30 of validation.
    let needed = 5 * (50 * 48 + 30 * 16);
    let fits = Limits { units: needed, ..LIMITS };
    assert!(start(&plan(), network(), &mut rows, fits).is_ok());
    let error = start(&plan(), network(), &mut rows, Limits { units: needed - 1, ..LIMITS }).err();
    assert_eq!(error, Some(TrainError::Units { needed, limit: needed - 1 }));
    let error = start(&plan(), network(), &mut rows, Limits { epochs: 4, ..LIMITS }).err();
    assert_eq!(error, Some(TrainError::Epochs { epochs: 5, limit: 4 }));
    let values = network().weights().len() as u64;
    assert!(start(&plan(), network(), &mut rows, Limits { memory: values * 16, ..LIMITS }).is_ok());
    let error = start(&plan(), network(), &mut rows, Limits { memory: values * 16 - 1, ..LIMITS }).err();
    assert_eq!(error, Some(TrainError::Memory { limit: values * 16 - 1 }));
    // Where shapes do not tell beforehand, the batch that would pass the limit is not run.
    let mut unknown = network();
    unknown.ports.0[0].dims.as_mut().unwrap()[1] = glacier_engine::Dim::Free { name: "width".into() };
    let limits = Limits { units: 8 * 48 * 3 + 1, ..LIMITS };
    let error = failure(&plan(), unknown, &mut rows, limits);
    assert_eq!(error, TrainError::Units { needed: 8 * 48 * 4, limit: 8 * 48 * 3 + 1 });
}

#[test]
fn plans_that_do_not_fit_are_refused_before_the_start() {
    let refused = |change: fn(&mut TrainingPlan)| {
        let mut changed = plan();
        change(&mut changed);
        start(&changed, Tiny::new(2, 4, 2), &mut Rows::rings(50, 1), LIMITS).err().unwrap()
    };
    assert!(matches!(refused(|p| p.epochs = 0), TrainError::Plan(_)));
    let error = refused(|p| p.freeze = vec!["thrid.*".into()]);
    assert_eq!(error, TrainError::Unknown { field: "freeze", name: Name::new("thrid.*") });
    assert!(matches!(refused(|p| p.train = vec!["x".into()]), TrainError::Unknown { field: "train", .. }));
    assert!(matches!(refused(|p| p.freeze = vec!["*".into()]), TrainError::Unfit(_)));
    assert!(matches!(refused(|p| p.output = Some("z".into())), TrainError::Unknown { field: "output", .. }));
    let lora = |targets: &str| Some(Lora { targets: vec![targets.into()], ..Lora::default() });
    let mut changed = plan();
    changed.lora = lora("*.bias");
    let error = start(&changed, Tiny::new(2, 4, 2), &mut Rows::rings(50, 1), LIMITS).err();
    assert_eq!(error, Some(TrainError::Unknown { field: "lora.targets", name: Name::new("*.bias") }));
    let weights = ClassWeights::List(vec![Real::ONE; 3]);
    let unfit = TrainingPlan { class_weights: Some(weights), ..plan() };
    assert!(matches!(failure(&unfit, Tiny::new(2, 4, 2), &mut Rows::rings(50, 1), LIMITS), TrainError::Unfit(_)));
    let mismatched = TrainingPlan { loss: Loss::Mse, ..plan() };
    let error = failure(&mismatched, Tiny::new(2, 4, 2), &mut Rows::rings(50, 1), LIMITS);
    assert!(matches!(error, TrainError::Targets { .. }));
}

#[test]
fn a_fixed_batch_leaves_the_rest_out() {
    let error = start(&plan(), Tiny::new(2, 4, 2).takes(5), &mut Rows::rings(50, 1), LIMITS).err();
    assert!(matches!(error, Some(TrainError::Unfit(_))));
    let five = TrainingPlan { batch: 8, ..plan() };
    let (finished, _) = run(&five, Tiny::new(2, 4, 2).takes(8), &mut Rows::rings(50, 1), &mut Rows::rings(30, 2));
    assert_eq!(finished.steps(), 5 * 6);
}

#[test]
fn privacy_is_not_promised_where_it_cannot_be_kept() {
    let privacy = Privacy {
        noise: real(1.0),
        clip: real(1.0),
        delta: real(1e-3),
        max_epsilon: Some(real(1.0)),
        sampling: Sampling::Shuffle,
    };
    let begin = |plan: &TrainingPlan, network: Tiny, noise| {
        let weights = network.weights();
        let (mut training, mut validation) = (Rows::rings(50, 1), Rows::rings(30, 2));
        let mut sources = Sources { training: &mut training, validation: Some(&mut validation) };
        Trainer::new(plan.clone(), network, weights, &mut sources, LIMITS, noise).err()
    };
    let plan = TrainingPlan { privacy: Some(privacy), ..plan() };
    let error = begin(&plan, Tiny::new(2, 4, 2), Some([1; 32]));
    assert!(matches!(error, Some(TrainError::Epsilon { limit, .. }) if limit == real(1.0)));
    let free = TrainingPlan { privacy: Some(Privacy { max_epsilon: None, ..privacy }), ..plan };
    assert!(matches!(begin(&free, Tiny::new(2, 4, 2), None), Some(TrainError::Unfit(_))));
    let statistic = Tiny::new(2, 4, 2).with_statistic();
    assert!(matches!(begin(&free, statistic, Some([1; 32])), Some(TrainError::Unfit(_))));
    assert_eq!(begin(&free, Tiny::new(2, 4, 2), Some([1; 32])), None);
    let frozen = TrainingPlan { freeze: vec!["mean".into()], ..free };
    assert_eq!(begin(&frozen, Tiny::new(2, 4, 2).with_statistic(), Some([1; 32])), None);
}

/// A run that ended for a row would tell that the row is there.
#[test]
fn with_privacy_no_row_ends_the_run() {
    let run = |sampling, limit, spoil: fn(&mut Rows)| {
        let (noise, clip, delta) = (real(1.0), real(1e-3), real(1e-3));
        let plan = TrainingPlan {
            privacy: Some(Privacy { noise, clip, delta, max_epsilon: None, sampling }),
            gradient_limit: limit,
            ..plan()
        };
        let mut rows = Rows::rings(50, 1);
        spoil(&mut rows);
        run(&plan, Tiny::new(2, 4, 2), &mut rows, &mut Rows::rings(30, 2)).0
    };
    let spoils: [fn(&mut Rows); 4] = [
        |rows| rows.inputs[7][0] = f32::NAN,
        |rows| rows.inputs[7] = vec![f32::INFINITY, f32::NEG_INFINITY],
        |rows| {
            let Wanted::Classes(classes) = &mut rows.targets else { panic!() };
            classes[7] = 2;
        },
        // Single rows have norms of about a half.
        |_| {},
    ];
    for sampling in [Sampling::Shuffle, Sampling::Poisson] {
        for spoil in spoils {
            let finished = run(sampling, real(0.1), spoil);
            assert!(finished.weights.values().iter().all(|value| value.is_finite()));
            assert!(finished.epochs.iter().all(|epoch| epoch.loss.get() > 0.1));
        }
        // Without it, the row is not learnt from, and nothing else changes.
        let other: fn(&mut Rows) = |rows| rows.inputs[7][1] = f32::NAN;
        let (one, other) = (run(sampling, real(0.1), spoils[0]), run(sampling, real(0.1), other));
        assert_eq!(bits(one.weights.values()), bits(other.weights.values()));
    }
}

#[test]
fn a_run_that_has_ended_goes_no_further() {
    let (mut training, mut validation) = (Rows::rings(20, 1), Rows::rings(10, 2));
    let network = Tiny::new(2, 4, 2);
    let weights = network.weights();
    let mut sources = Sources { training: &mut training, validation: Some(&mut validation) };
    let mut trainer = Trainer::new(plan(), network, weights, &mut sources, LIMITS, None).unwrap();
    let events = to_the_end(&mut trainer, &mut sources);
    assert_eq!(events.last(), Some(&Event::Done(Ending::Completed)));
    assert_eq!(trainer.step(&mut sources), Err(TrainError::Ended));
    assert!(trainer.finish().is_ok());
    let network = Tiny::new(2, 4, 2);
    let weights = network.weights();
    let early = Trainer::new(plan(), network, weights, &mut sources, LIMITS, None).unwrap();
    assert!(matches!(early.finish(), Err(TrainError::Unfit(_))));
}

/// A validation row that cannot be measured ends the run before the epoch is written down.
#[test]
fn faults_of_validation_are_faults() {
    let (mut training, mut validation) = (Rows::rings(20, 1), Rows::rings(10, 2));
    let Wanted::Classes(classes) = &mut validation.targets else { panic!() };
    classes[0] = 7;
    let network = Tiny::new(2, 4, 2);
    let weights = network.weights();
    let mut sources = Sources { training: &mut training, validation: Some(&mut validation) };
    let mut trainer = Trainer::new(plan(), network, weights, &mut sources, LIMITS, None).unwrap();
    for _ in 0..3 {
        trainer.step(&mut sources).unwrap();
    }
    let before = trainer.state();
    assert_eq!(trainer.step(&mut sources), Err(TrainError::Label { row: 1, classes: 2 }));
    assert_eq!(*trainer.state(), *before);
    assert!(trainer.epochs().is_empty());
}
