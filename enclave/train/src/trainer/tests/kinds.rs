//! What a plan can ask for, and that it is what happens.

use super::{tiny::Wanted, *};

#[test]
fn each_optimiser_learns_the_rings() {
    for (optimiser, rate, momentum) in
        [(Optimiser::Sgd, 0.3, Some(real(0.9))), (Optimiser::Adam, 0.03, None), (Optimiser::AdamW, 0.03, None)]
    {
        let plan = TrainingPlan {
            epochs: 40,
            optimiser,
            momentum,
            learning_rate: real(rate),
            weight_decay: real(1e-4),
            schedule: Schedule::Cosine,
            metrics: vec![Metric::Accuracy, Metric::F1, Metric::Auc],
            ..plan()
        };
        let (finished, _) = run(&plan, Tiny::new(2, 16, 2), &mut Rows::rings(400, 1), &mut Rows::rings(200, 2));
        assert!(last(&finished, Metric::Accuracy) > 0.95, "{optimiser}: {:?}", finished.epochs.last());
        assert!(last(&finished, Metric::Auc) > 0.98);
        assert!(last(&finished, Metric::F1) > 0.95);
        assert_eq!(finished.steps(), 40 * 50);
    }
}

#[test]
fn each_loss_learns() {
    let plan = TrainingPlan { epochs: 30, learning_rate: real(0.02), ..plan() };
    for loss in [Loss::Mse, Loss::Mae] {
        let plan = TrainingPlan { loss, metrics: vec![Metric::R2, Metric::Rmse], ..plan.clone() };
        let (finished, _) = run(&plan, Tiny::new(2, 16, 1), &mut Rows::surface(400, 1), &mut Rows::surface(100, 2));
        assert!(last(&finished, Metric::R2) > 0.95, "{loss}: {:?}", finished.epochs.last());
    }
    let bce = TrainingPlan { loss: Loss::Bce, label_smoothing: real(0.05), ..plan.clone() };
    let (finished, _) = run(&bce, Tiny::new(2, 16, 1), &mut Rows::rings(400, 1), &mut Rows::rings(200, 2));
    assert!(last(&finished, Metric::Accuracy) > 0.93, "{:?}", finished.epochs.last());

    let mut directions = [Rows::surface(400, 1), Rows::surface(100, 2)];
    for rows in &mut directions {
        rows.targets = Wanted::Numbers(rows.inputs.iter().map(|row| vec![row[1], row[0], row[0] - row[1]]).collect());
    }
    let [mut training, mut validation] = directions;
    let cosine = TrainingPlan { loss: Loss::Cosine, ..plan.clone() };
    let (finished, _) = run(&cosine, Tiny::new(2, 16, 3), &mut training, &mut validation);
    assert!(last(&finished, Metric::Loss) < 0.02, "{:?}", finished.epochs.last());

    for rows in [&mut training, &mut validation] {
        // The other half of a pair is the same point, seen in a mirror.
        rows.seconds = Some(rows.inputs.iter().map(|row| vec![row[0], -row[1]]).collect());
        rows.targets = Wanted::Nothing;
    }
    let pairs = TrainingPlan {
        loss: Loss::Contrastive,
        pair_suffix: Some("_b".into()),
        target: vec![],
        temperature: Some(real(0.1)),
        ..plan
    };
    let (finished, _) = run(&pairs, Tiny::new(2, 16, 8), &mut training, &mut validation);
    let (first, end) = (finished.epochs[0].of(Metric::Loss).unwrap(), last(&finished, Metric::Loss));
    assert!(end < 0.8 * first, "{first} {end}");
}

/// Four batches of 8 that are accumulated move the weights like one of 32.
#[test]
fn accumulation_is_a_larger_batch() {
    let small = TrainingPlan { batch: 8, accumulate: 4, epochs: 3, ..plan() };
    let large = TrainingPlan { batch: 32, accumulate: 1, epochs: 3, ..plan() };
    let run = |plan: &TrainingPlan| run(plan, Tiny::new(2, 8, 2), &mut Rows::rings(100, 1), &mut Rows::rings(40, 2)).0;
    let (small, large) = (run(&small), run(&large));
    assert_eq!((small.steps(), large.steps()), (12, 12));
    for (a, b) in small.weights.values().iter().zip(large.weights.values()) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
}

#[test]
fn frozen_weights_keep_their_bits() {
    let plan = TrainingPlan { train: vec!["second.*".into()], freeze: vec!["*.bias".into()], ..plan() };
    let network = Tiny::new(2, 8, 2);
    let before = network.weights();
    let (finished, _) = run(&plan, network, &mut Rows::rings(100, 1), &mut Rows::rings(40, 2));
    for span in before.spans() {
        let moved = bits(before.slice(span)) != bits(finished.weights.slice(span));
        assert_eq!(moved, span.name == "second.weight", "{}", span.name);
    }
}

#[test]
fn adapters_learn_and_the_rest_stays() {
    let lora = Lora { rank: 2, alpha: real(4.0), targets: vec!["first.*".into()], result: LoraResult::Adapter };
    let plan = TrainingPlan {
        epochs: 20,
        lora: Some(lora),
        train: vec!["second.bias".into()],
        freeze: vec!["first.bias".into()],
        ..plan()
    };
    let network = Tiny::new(2, 8, 2);
    let before = network.weights();
    let (finished, _) = run(&plan, network, &mut Rows::rings(200, 1), &mut Rows::rings(40, 2));
    for span in before.spans() {
        let moved = bits(before.slice(span)) != bits(finished.weights.slice(span));
        assert_eq!(moved, ["first.weight", "second.bias"].contains(&span.name.as_str()), "{}", span.name);
    }
    assert!(finished.adapter.as_ref().unwrap().windows(18).any(|window| window == b"first.weight.A.npy"));
    let losses: Vec<f32> = finished.epochs.iter().map(|epoch| epoch.loss.get()).collect();
    assert!(losses.last().unwrap() < &(losses[0] * 0.95), "{losses:?}");
    let merged =
        TrainingPlan { lora: plan.lora.clone().map(|lora| Lora { result: LoraResult::Merged, ..lora }), ..plan };
    let (other, _) = run(&merged, Tiny::new(2, 8, 2), &mut Rows::rings(200, 1), &mut Rows::rings(40, 2));
    assert!(other.adapter.is_none());
    assert_eq!(other.weights, finished.weights);
}

#[test]
fn early_stopping_gives_the_best_weights() {
    // A rate that is too high for its own good.
    let stopping = EarlyStopping { metric: Metric::Loss, patience: 3, min_delta: Real::ZERO };
    let plan =
        TrainingPlan { epochs: 200, learning_rate: real(0.3), early_stopping: Some(stopping), batch: 4, ..plan() };
    let (finished, events) = run(&plan, Tiny::new(2, 12, 2), &mut Rows::rings(60, 1), &mut Rows::rings(60, 2));
    assert_eq!(finished.ending, Ending::Early);
    let losses: Vec<f32> = finished.epochs.iter().map(|epoch| epoch.of(Metric::Loss).unwrap()).collect();
    let best = (0..losses.len()).min_by(|a, b| losses[*a].total_cmp(&losses[*b])).unwrap();
    assert_eq!(finished.best as usize, best + 1);
    assert_eq!(losses.len(), best + 1 + 3);
    let mut digest = events.iter().filter_map(|event| match event {
        Event::Epoch { metrics, weights, .. } if metrics.epoch == finished.best => Some(*weights),
        _ => None,
    });
    assert_eq!(digest.next(), Some(TrainingRecord::weights_digest(finished.weights.values())));
}

#[test]
fn balanced_weights_are_inverse_frequencies() {
    let mut rows = Rows::rings(90, 1);
    let Wanted::Classes(classes) = &rows.targets else { panic!() };
    let ones = classes.iter().sum::<i64>() as f32;
    let list = [90.0 / (2.0 * (90.0 - ones)), 90.0 / (2.0 * ones)].map(real);
    let balanced = TrainingPlan { class_weights: Some(ClassWeights::Balanced), ..plan() };
    let listed = TrainingPlan { class_weights: Some(ClassWeights::List(list.to_vec())), ..plan() };
    let balanced = run(&balanced, Tiny::new(2, 8, 2), &mut rows, &mut Rows::rings(40, 2)).0;
    let listed = run(&listed, Tiny::new(2, 8, 2), &mut rows, &mut Rows::rings(40, 2)).0;
    for (a, b) in balanced.weights.values().iter().zip(listed.weights.values()) {
        assert!((a - b).abs() < 1e-4);
    }
    let plain = run(&plan(), Tiny::new(2, 8, 2), &mut rows, &mut Rows::rings(40, 2)).0;
    assert_ne!(plain.weights, balanced.weights);
}

#[test]
fn clipping_bounds_a_step() {
    let plan = TrainingPlan {
        optimiser: Optimiser::Sgd,
        learning_rate: real(1.0),
        clip_norm: Some(real(0.01)),
        validation: Validation::None,
        ..plan()
    };
    let network = Tiny::new(2, 8, 2);
    let before = network.weights();
    let mut rows = Rows::rings(40, 1);
    let mut sources = Sources { training: &mut rows, validation: None };
    let mut trainer = Trainer::new(plan, network, before.clone(), &mut sources, LIMITS, None).unwrap();
    let Event::Step(report) = trainer.step(&mut sources).unwrap() else { panic!() };
    let moved = before.values().iter().zip(trainer.weights().values()).map(|(a, b)| f64::from(a - b).powi(2));
    let moved = moved.sum::<f64>().sqrt();
    assert!(report.norm > 0.02 && (moved - 0.01).abs() < 1e-5, "{} {moved}", report.norm);
}

#[test]
fn threads_change_no_bit_of_a_run() {
    let plan = TrainingPlan { lora: Some(Lora { rank: 2, ..Lora::default() }), ..plan() };
    let of = |threads| {
        let network = Tiny::with_threads(2, 8, 2, threads);
        run(&plan, network, &mut Rows::rings(100, 1), &mut Rows::rings(40, 2)).0
    };
    let one = of(1);
    for threads in [2, 3] {
        let other = of(threads);
        assert_eq!(bits(one.weights.values()), bits(other.weights.values()));
        assert_eq!(one.epochs, other.epochs);
    }
}

#[test]
fn seeds_make_other_runs() {
    let plan = TrainingPlan { seed: Seed::from(1), ..plan() };
    let of = |plan: &TrainingPlan| {
        let network = Tiny::new(2, 8, 2).dropping();
        run(plan, network, &mut Rows::rings(100, 1), &mut Rows::rings(40, 2)).0.weights
    };
    assert_eq!(of(&plan), of(&plan));
    assert_ne!(of(&plan), of(&TrainingPlan { seed: Seed::from(2), ..plan.clone() }));
}

#[test]
fn the_record_says_how_it_went() {
    let plan = TrainingPlan { epochs: 3, checkpoint_every: 4, ..plan() };
    let (finished, events) = run(&plan, Tiny::new(2, 8, 2), &mut Rows::rings(100, 1), &mut Rows::rings(40, 2));
    let due = events.iter().filter(|event| matches!(event, Event::Step(report) if report.checkpoint)).count();
    assert_eq!(due, 9);
    let metrics = TrainingMetrics { salt: Nonce([1; 32]), epochs: finished.epochs.clone() };
    let facts = |metrics| Facts {
        model: Digest([2; 32]),
        data: vec![Digest([3; 32])],
        metrics,
        result: Digest([4; 32]),
        processor: "x86_64".into(),
        threads: 1,
    };
    let record = finished.record(facts(&metrics)).unwrap();
    record.check().unwrap();
    assert_eq!(record.plan, plan.digest());
    assert_eq!(record.weights.len(), 4);
    assert_eq!(record.weights[0], TrainingRecord::weights_digest(Tiny::new(2, 8, 2).weights().values()));
    assert_eq!(record.weights[3], TrainingRecord::weights_digest(finished.weights.values()));
    assert_eq!((record.steps, record.rows, record.best), (39, 300, 3));
    // Two layers of 2 x 8 and 8 x 2: 32 units a row forward, 96 with backward.
    assert_eq!(record.units, 3 * (100 * 96 + 40 * 32));
    assert_eq!(record.metrics, metrics.commitment());
    let other = TrainingMetrics { epochs: vec![], ..metrics };
    assert!(finished.record(facts(&other)).is_err());
}

fn private(sampling: Sampling) -> TrainingPlan {
    let privacy = Privacy { noise: real(1.0), clip: real(0.5), delta: real(1e-3), max_epsilon: None, sampling };
    TrainingPlan {
        privacy: Some(privacy),
        optimiser: Optimiser::Sgd,
        learning_rate: real(0.5),
        validation: Validation::None,
        epochs: 2,
        ..plan()
    }
}

/// One private step by hand: single rows, clipped, summed, noised with the same key, over the batch size.
#[test]
fn a_private_step_is_what_the_paper_says() {
    for sampling in [Sampling::Shuffle, Sampling::Poisson] {
        let plan = private(sampling);
        let mut rows = Rows::rings(40, 1);
        let weights = Tiny::new(2, 4, 2).weights();
        let mut sources = Sources { training: &mut rows, validation: None };
        let mut trainer =
            Trainer::new(plan.clone(), Tiny::new(2, 4, 2), weights.clone(), &mut sources, LIMITS, Some([7; 32]))
                .unwrap();
        trainer.step(&mut sources).unwrap();

        let noise = Noise::new([7; 32]);
        let places = match sampling {
            Sampling::Poisson => noise.sample(0, 40, 0.2),
            _ => {
                crate::source::Source::begin(&mut rows, 0).unwrap();
                rows.order[..8].iter().map(|place| *place as u64).collect()
            }
        };
        let mut sum = vec![0.0f32; weights.len()];
        let mut clipped = 0;
        for place in places {
            let batch = crate::source::Source::pick(&mut rows, &[place]).unwrap().unwrap();
            let mut network = Tiny::new(2, 4, 2);
            let mode = Mode::Train { dropout: [0; 32] };
            let outputs = network.forward(&mut weights.clone(), &batch.inputs, mode).unwrap();
            let objective = Objective::new(&plan, false, None);
            let output = outputs[0].float().unwrap();
            let compared = crate::loss::Compared { output, name: "y", batch: &batch, before: 0 };
            let evaluated = objective.evaluate(&Team::new(1).unwrap(), &compared).unwrap();
            let mut gradient = vec![0.0; weights.len()];
            network.backward(&weights, vec![Some(evaluated.gradient)], &mut gradient).unwrap();
            let norm = gradient.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
            clipped += usize::from(norm > 0.5);
            let factor = (0.5 / norm).min(1.0) as f32;
            sum.iter_mut().zip(&gradient).for_each(|(sum, value)| *sum += factor * value);
        }
        assert!(clipped > 0);
        noise.add(0, 0.5, &mut sum);
        for ((sum, before), after) in sum.iter().zip(weights.values()).zip(trainer.weights().values()) {
            let expected = before - 0.5 * sum / 8.0;
            assert!((expected - after).abs() < 1e-5, "{sampling}: {expected} {after}");
        }
    }
}

#[test]
fn private_runs_say_what_they_spent() {
    for (sampling, releases) in [
        (Sampling::Shuffle, crate::privacy::Releases::Whole { times: 2 }),
        (Sampling::Poisson, crate::privacy::Releases::Sampled { probability: 0.2, steps: 10 }),
    ] {
        let plan = private(sampling);
        let run = |key| {
            let mut rows = Rows::rings(40, 1);
            let mut sources = Sources { training: &mut rows, validation: None };
            let network = Tiny::new(2, 4, 2);
            let weights = network.weights();
            let mut trainer = Trainer::new(plan.clone(), network, weights, &mut sources, LIMITS, Some(key)).unwrap();
            to_the_end(&mut trainer, &mut sources);
            trainer.finish().unwrap()
        };
        let finished = run([7; 32]);
        let spent = finished.privacy.unwrap();
        let expected = crate::privacy::epsilon(1.0, releases, f64::from(1e-3f32));
        assert!(f64::from(spent.epsilon.get()) >= expected && f64::from(spent.epsilon.get()) < expected * 1.000_001);
        assert_eq!((spent.delta, spent.sampling), (real(1e-3), sampling));
        assert_eq!(finished.weights, run([7; 32]).weights);
        assert_ne!(finished.weights, run([8; 32]).weights);
    }
}
