#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

extern crate std;

use super::*;
use crate::id::{Commitment, Nonce};
use alloc::{string::ToString, vec};
use std::collections::BTreeSet;

fn plan() -> TrainingPlan {
    TrainingPlan { target: vec!["diagnosis".into()], ..TrainingPlan::default() }
}

fn full() -> TrainingPlan {
    TrainingPlan {
        scores: Scores::Logits,
        label_smoothing: real(0.1),
        class_weights: Some(ClassWeights::List(vec![Real::ONE, real(2.5)])),
        classes: vec!["malignant".into(), "benign".into()],
        output: Some("logits".into()),
        optimiser: Optimiser::Sgd,
        momentum: Some(real(0.9)),
        nesterov: true,
        schedule: Schedule::Step,
        warmup: 7,
        step_every: Some(2),
        step_factor: Some(real(0.5)),
        weight_decay: real(0.01),
        clip_norm: Some(Real::ONE),
        train: vec!["encoder.*".into()],
        freeze: vec!["*.bias".into()],
        lora: Some(Lora::default()),
        seed: Seed([7; 32]),
        threads: 2,
        validation: Validation::Asset(Digest([3; 32])),
        early_stopping: Some(EarlyStopping::default()),
        metrics: vec![Metric::F1, Metric::Auc],
        ..plan()
    }
}

fn private() -> TrainingPlan {
    let privacy = Privacy {
        noise: real(1.1),
        clip: Real::ONE,
        delta: real(1e-5),
        max_epsilon: Some(real(3.0)),
        sampling: Sampling::Shuffle,
    };
    TrainingPlan { privacy: Some(privacy), ..plan() }
}

#[test]
fn plans_round_trip_in_each_form() {
    for plan in [plan(), full(), private()] {
        plan.check().unwrap();
        assert_eq!(TrainingPlan::decode(&cbor::encode(&plan)).unwrap(), plan);
        let text = toml::to_string(&plan).unwrap();
        assert_eq!(toml::from_str::<TrainingPlan>(&text).unwrap(), plan, "{text}");
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<TrainingPlan>(&text).unwrap(), plan, "{text}");
    }
}

#[test]
fn the_members_are_those_of_the_document() {
    let mut all = full();
    all.temperature = Some(Real::ONE);
    all.pair_suffix = Some("_b".into());
    all.beta1 = Some(Real::ZERO);
    all.beta2 = Some(Real::ZERO);
    all.epsilon = Some(Real::ONE);
    all.privacy = private().privacy;
    let serde_json::Value::Object(members) = serde_json::to_value(all).unwrap() else { panic!() };
    let found: BTreeSet<&str> = members.keys().map(String::as_str).collect();
    assert_eq!(found, TrainingPlan::MEMBERS.iter().copied().collect());
}

#[test]
fn what_people_write_is_read() {
    let plan: TrainingPlan = toml::from_str(
        r#"
        epochs = 3
        target = 30
        loss = "bce"
        class_weights = "balanced"
        seed = 42
        validation = 0.25
        learning_rate = 1
        [early_stopping]
        metric = "auc"
        "#,
    )
    .unwrap();
    plan.check().unwrap();
    assert_eq!(plan.target, [Target::Column(30)]);
    assert_eq!(plan.seed, Seed::from(42));
    assert_eq!(plan.seed.number(), Some(42));
    assert_eq!(plan.validation, Validation::Fraction(real(0.25)));
    assert_eq!(plan.early_stopping.unwrap().patience, 5);
    let none: TrainingPlan = toml::from_str("target = [\"a\", 1, \"name:7\"]\nvalidation = \"none\"").unwrap();
    assert_eq!(none.target, [Target::Name("a".into()), Target::Column(1), Target::Name("7".into())]);
    assert_eq!(none.validation, Validation::None);
    assert_eq!(none.target[2].to_string(), "name:7");
}

#[test]
fn what_is_misspelt_is_named() {
    let refused = |text: &str| toml::from_str::<TrainingPlan>(text).unwrap_err().to_string();
    assert!(refused("epoch = 3").contains("epoch"));
    assert!(refused("optimiser = \"adamW\"").contains("did you mean `adamw`?"));
    assert!(refused("loss = \"hinge\"").contains("known are cross-entropy, bce"));
    assert!(refused("learning_rate = nan").contains("finite"));
    assert!(refused("learning_rate = 1e39").contains("finite"));
    assert!(refused("seed = -1").contains("seed"));
    assert!(refused("seed = \"abc\"").contains("seed"));
    assert!(refused("validation = \"some\"").contains("share"));
    assert!(refused("class_weights = \"even\"").contains("balanced"));
    assert_eq!(nearest("learning-rate", TrainingPlan::MEMBERS), Some("learning_rate"));
    assert_eq!(nearest("quux", TrainingPlan::MEMBERS), None);
}

#[test]
fn numbers_have_one_encoding() {
    assert_eq!(Real::new(-0.0).unwrap().get().to_bits(), 0);
    assert_eq!(Real::new(f32::NAN), None);
    assert_eq!(Real::new(f32::INFINITY), None);
    let mut plan = plan();
    plan.weight_decay = real(0.5);
    let bytes = cbor::encode(&plan);
    // The same number as a half: 0xf9 0x3800.
    let at = bytes.windows(5).position(|window| window == [0xfa, 0x3f, 0, 0, 0]).unwrap();
    let shorter = [&bytes[..at], &[0xf9, 0x38, 0], &bytes[at + 5..]].concat();
    assert!(TrainingPlan::decode(&shorter).is_err());
    let not_finite = [&bytes[..at], &[0xfa, 0x7f, 0xc0, 0, 0], &bytes[at + 5..]].concat();
    assert_eq!(TrainingPlan::decode(&not_finite), Err(cbor::CborError::Malformed));
    let mut long = bytes;
    long.resize(TrainingPlan::MAX_BYTES + 1, 0);
    assert!(matches!(TrainingPlan::decode(&long), Err(cbor::CborError::TooLarge { .. })));
}

#[test]
fn every_member_is_in_the_digest() {
    let mut seen = BTreeSet::from([plan().digest().0]);
    let mut differs = |change: &dyn Fn(&mut TrainingPlan)| {
        let mut changed = plan();
        change(&mut changed);
        assert!(seen.insert(changed.digest().0));
    };
    differs(&|p| p.epochs = 11);
    differs(&|p| p.batch = 33);
    differs(&|p| p.accumulate = 2);
    differs(&|p| p.loss = Loss::Bce);
    differs(&|p| p.scores = Scores::Logits);
    differs(&|p| p.temperature = Some(Real::ONE));
    differs(&|p| p.label_smoothing = Real::ONE);
    differs(&|p| p.class_weights = Some(ClassWeights::Balanced));
    differs(&|p| p.classes = vec!["a".into()]);
    differs(&|p| p.target = vec![Target::Column(0)]);
    differs(&|p| p.output = Some("diagnosis".into()));
    differs(&|p| p.pair_suffix = Some("diagnosis".into()));
    differs(&|p| p.optimiser = Optimiser::Sgd);
    differs(&|p| p.momentum = Some(Real::ONE));
    differs(&|p| p.nesterov = true);
    differs(&|p| p.beta1 = Some(Real::ONE));
    differs(&|p| p.beta2 = Some(Real::ONE));
    differs(&|p| p.epsilon = Some(Real::ONE));
    differs(&|p| p.learning_rate = Real::ONE);
    differs(&|p| p.schedule = Schedule::Cosine);
    differs(&|p| p.warmup = 1);
    differs(&|p| p.step_every = Some(1));
    differs(&|p| p.step_factor = Some(Real::ONE));
    differs(&|p| p.weight_decay = Real::ONE);
    differs(&|p| p.clip_norm = Some(Real::ONE));
    differs(&|p| p.gradient_limit = Real::ONE);
    differs(&|p| p.train = vec!["a".into()]);
    differs(&|p| p.freeze = vec!["a".into()]);
    differs(&|p| p.lora = Some(Lora::default()));
    differs(&|p| p.seed = Seed::from(1));
    differs(&|p| p.threads = 1);
    differs(&|p| p.shuffle = 0);
    differs(&|p| p.validation = Validation::None);
    differs(&|p| p.early_stopping = Some(EarlyStopping::default()));
    differs(&|p| p.metrics = vec![Metric::F1]);
    differs(&|p| p.standardise = true);
    differs(&|p| p.privacy = private().privacy);
    differs(&|p| p.checkpoint_every = 1);
    assert_eq!(seen.len(), TrainingPlan::MEMBERS.len() + 1);
}

/// Each change alone makes the plan one that cannot be followed, and the error names the member.
#[test]
fn contradictions_are_refused() {
    type Change = fn(&mut TrainingPlan);
    let cases: &[(&str, Change)] = &[
        ("epochs", |p| p.epochs = 0),
        ("epochs", |p| p.epochs = 10_001),
        ("batch", |p| p.batch = 0),
        ("batch", |p| p.batch = u32::MAX),
        ("accumulate", |p| p.accumulate = 0),
        ("threads", |p| p.threads = 257),
        ("shuffle", |p| p.shuffle = u32::MAX),
        ("learning_rate", |p| p.learning_rate = Real::ZERO),
        ("learning_rate", |p| p.learning_rate = real(-1.0)),
        ("weight_decay", |p| p.weight_decay = real(1.5)),
        ("weight_decay", |p| {
            p.weight_decay = real(0.5);
            p.learning_rate = real(3.0);
        }),
        ("gradient_limit", |p| p.gradient_limit = Real::ZERO),
        ("gradient_limit", |p| p.gradient_limit = real(1e20)),
        ("batch", |p| {
            p.loss = Loss::Contrastive;
            p.pair_suffix = Some("_b".into());
            p.target = vec![];
            p.batch = 8192;
        }),
        ("clip_norm", |p| p.clip_norm = Some(Real::ZERO)),
        ("validation", |p| p.validation = Validation::Fraction(real(0.6))),
        ("validation", |p| p.validation = Validation::Fraction(Real::ZERO)),
        ("label_smoothing", |p| p.label_smoothing = Real::ONE),
        ("label_smoothing", |p| {
            p.loss = Loss::Mse;
            p.label_smoothing = real(0.1);
        }),
        ("class_weights", |p| {
            p.loss = Loss::Mse;
            p.class_weights = Some(ClassWeights::Balanced);
        }),
        ("class_weights", |p| p.class_weights = Some(ClassWeights::List(vec![]))),
        ("class_weights", |p| p.class_weights = Some(ClassWeights::List(vec![Real::ZERO; 2]))),
        ("class_weights", |p| p.class_weights = Some(ClassWeights::List(vec![real(-1.0), Real::ONE]))),
        ("class_weights", |p| {
            p.classes = vec!["a".into(), "b".into()];
            p.class_weights = Some(ClassWeights::List(vec![Real::ONE; 3]));
        }),
        ("classes", |p| p.classes = vec!["a".into()]),
        ("classes", |p| p.classes = vec!["a".into(), "a".into()]),
        ("classes", |p| p.classes = vec!["a".into(), String::new()]),
        ("scores", |p| {
            p.loss = Loss::Mse;
            p.scores = Scores::Logits;
        }),
        ("temperature", |p| p.temperature = Some(Real::ONE)),
        ("pair_suffix", |p| p.pair_suffix = Some("_b".into())),
        ("pair_suffix", |p| p.loss = Loss::Contrastive),
        ("target", |p| {
            p.loss = Loss::Contrastive;
            p.pair_suffix = Some("_b".into());
        }),
        ("target", |p| p.target = vec![]),
        ("target", |p| p.target = vec![Target::Column(0), Target::Column(1)]),
        ("target", |p| {
            p.loss = Loss::Mse;
            p.target = vec![Target::Column(0), Target::Column(0)];
        }),
        ("momentum", |p| p.momentum = Some(Real::ZERO)),
        ("momentum", |p| {
            p.optimiser = Optimiser::Sgd;
            p.nesterov = true;
        }),
        ("momentum", |p| {
            p.optimiser = Optimiser::Sgd;
            p.momentum = Some(Real::ONE);
        }),
        ("beta1", |p| p.beta1 = Some(Real::ONE)),
        ("beta2", |p| {
            p.optimiser = Optimiser::Sgd;
            p.beta2 = Some(Real::ZERO);
        }),
        ("epsilon", |p| p.epsilon = Some(Real::ZERO)),
        ("step_every", |p| p.step_every = Some(1)),
        ("step_every", |p| p.schedule = Schedule::Step),
        ("step_factor", |p| {
            p.schedule = Schedule::Step;
            p.step_every = Some(1);
            p.step_factor = Some(real(2.0));
        }),
        ("train", |p| p.train = vec!["x".into(); 65]),
        ("freeze", |p| p.freeze = vec!["x".repeat(257)]),
        ("output", |p| p.output = Some(String::new())),
        ("lora.rank", |p| p.lora = Some(Lora { rank: 0, ..Lora::default() })),
        ("lora.alpha", |p| p.lora = Some(Lora { alpha: Real::ZERO, ..Lora::default() })),
        ("metrics", |p| p.metrics = vec![Metric::R2]),
        ("metrics", |p| p.metrics = vec![Metric::F1, Metric::F1]),
        ("early_stopping.metric", |p| {
            p.early_stopping = Some(EarlyStopping { metric: Metric::Rmse, ..EarlyStopping::default() });
        }),
        ("early_stopping.patience", |p| {
            p.early_stopping = Some(EarlyStopping { patience: 0, ..EarlyStopping::default() });
        }),
        ("validation", |p| {
            p.early_stopping = Some(EarlyStopping::default());
            p.validation = Validation::None;
        }),
        ("privacy.noise", |p| p.privacy = private().privacy.map(|it| Privacy { noise: Real::ZERO, ..it })),
        ("privacy.delta", |p| p.privacy = private().privacy.map(|it| Privacy { delta: Real::ONE, ..it })),
        ("privacy.clip", |p| p.privacy = private().privacy.map(|it| Privacy { clip: Real::ZERO, ..it })),
        ("standardise", |p| {
            p.privacy = private().privacy;
            p.standardise = true;
        }),
        ("class_weights", |p| {
            p.privacy = private().privacy;
            p.class_weights = Some(ClassWeights::Balanced);
        }),
        ("early_stopping", |p| {
            p.privacy = private().privacy;
            p.early_stopping = Some(EarlyStopping::default());
        }),
        ("accumulate", |p| {
            p.privacy = private().privacy;
            p.accumulate = 2;
        }),
        ("plan", |p| p.classes = (0..1024).map(|class| format!("{class:0>200}")).collect()),
    ];
    for (field, change) in cases {
        let mut changed = plan();
        change(&mut changed);
        let error = changed.check().unwrap_err();
        let named = match &error {
            PlanError::Range { field, .. }
            | PlanError::Length { field, .. }
            | PlanError::Superfluous { field, .. }
            | PlanError::Missing { field, .. }
            | PlanError::Mismatch { field, .. }
            | PlanError::Twice { field, .. } => field,
        };
        assert_eq!(named, field, "{error}");
    }
}

#[test]
fn stars_stand_for_any_text() {
    for (pattern, name, expected) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("*", "", true),
        ("*", "anything", true),
        ("a*", "abc", true),
        ("*c", "abc", true),
        ("a*c", "abc", true),
        ("a*c", "ac", true),
        ("a*a", "a", false),
        ("*.weight", "layer.0.weight", true),
        ("*.layer.*.weight", "bert.layer.0.x.weight", true),
        ("a*b*c", "a-c-b", false),
        ("*ab*ab", "abab", true),
        ("*ab*ab", "ab", false),
        ("**", "x", true),
    ] {
        assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
    }
    let full = full();
    assert!(full.trains("encoder.0.weight"));
    assert!(!full.trains("encoder.0.bias"));
    assert!(!full.trains("head.weight"));
    assert!(plan().trains("anything"));
}

fn record() -> TrainingRecord {
    let weights = vec![Digest([1; 32]), Digest([2; 32]), Digest([3; 32])];
    TrainingRecord {
        plan: plan().digest(),
        model: Digest([4; 32]),
        data: vec![Digest([5; 32])],
        chain: TrainingRecord::chain(weights[0], &weights[1..]),
        weights,
        best: 2,
        ending: Ending::Completed,
        metrics: Commitment([6; 32]),
        steps: 10,
        rows: 320,
        units: 12_345,
        result: Digest([7; 32]),
        privacy: None,
        seed: TrainingRecord::seed_digest(&Seed::from(3)),
        processor: "x86_64 avx2".into(),
        threads: 2,
    }
}

#[test]
fn records_are_held_against_themselves() {
    let good = record();
    assert_eq!(TrainingRecord::decode(&cbor::encode(&good)).unwrap(), good);
    let refused = |change: fn(&mut TrainingRecord)| {
        let mut changed = record();
        change(&mut changed);
        assert_ne!(changed.digest(), record().digest());
        TrainingRecord::decode(&cbor::encode(&changed)).unwrap_err()
    };
    assert_eq!(refused(|r| r.weights[1].0[0] ^= 1), RecordError::Chain);
    assert_eq!(refused(|r| r.weights.swap(1, 2)), RecordError::Chain);
    assert_eq!(refused(|r| r.weights.truncate(2)), RecordError::Chain);
    assert_eq!(refused(|r| r.weights.truncate(1)), RecordError::NoEpochs);
    assert_eq!(refused(|r| r.chain.0[31] ^= 1), RecordError::Chain);
    assert_eq!(refused(|r| r.best = 3), RecordError::Best);
    assert_eq!(refused(|r| r.best = 0), RecordError::Best);
    assert_eq!(refused(|r| r.data.clear()), RecordError::Length);
    assert_eq!(refused(|r| r.processor = "x".repeat(129)), RecordError::Length);
}

#[test]
fn every_member_of_a_record_is_in_its_digest() {
    let changes: [fn(&mut TrainingRecord); 16] = [
        |r| r.plan.0[0] ^= 1,
        |r| r.model.0[0] ^= 1,
        |r| r.data[0].0[0] ^= 1,
        |r| r.weights[0].0[0] ^= 1,
        |r| r.chain.0[0] ^= 1,
        |r| r.best = 1,
        |r| r.ending = Ending::Early,
        |r| r.metrics.0[0] ^= 1,
        |r| r.steps += 1,
        |r| r.rows += 1,
        |r| r.units += 1,
        |r| r.result.0[0] ^= 1,
        |r| {
            r.privacy = Some(PrivacySpent { epsilon: Real::ONE, delta: real(1e-5), sampling: Sampling::Poisson });
        },
        |r| r.seed.0[0] ^= 1,
        |r| r.processor.push('!'),
        |r| r.threads += 1,
    ];
    let mut seen = BTreeSet::from([record().digest().0]);
    for change in changes {
        let mut changed = record();
        change(&mut changed);
        assert!(seen.insert(changed.digest().0));
    }
}

/// The chain binds order and number, and one vector fixes the bytes for other implementations.
#[test]
fn weights_are_digested_as_little_endian_bytes() {
    let values: Vec<f32> = (0..3000).map(|place| place as f32 * 0.5 - 7.0).collect();
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(TrainingRecord::weights_digest(&values), tagged(b"glacier/weights/v1\0", &[&bytes]));
    assert_ne!(TrainingRecord::weights_digest(&[0.0]), TrainingRecord::weights_digest(&[-0.0]));
    assert_ne!(TrainingRecord::weights_digest(&[]), TrainingRecord::weights_digest(&[0.0]));
}

#[test]
fn metrics_are_committed_with_their_salt() {
    let epochs = vec![EpochMetrics {
        epoch: 1,
        steps: 4,
        loss: real(0.7),
        validation: vec![Measured { metric: Metric::Loss, value: real(0.6) }],
    }];
    let metrics = TrainingMetrics { salt: Nonce([1; 32]), epochs };
    assert_eq!(TrainingMetrics::decode(&cbor::encode(&metrics)).unwrap(), metrics);
    let mut other = metrics.clone();
    other.salt.0[0] ^= 1;
    assert_ne!(other.commitment(), metrics.commitment());
    let mut better = metrics.clone();
    better.epochs[0].loss = real(0.1);
    assert_ne!(better.commitment(), metrics.commitment());
    assert_eq!(metrics.epochs[0].of(Metric::Loss), Some(0.6));
    assert_eq!(metrics.epochs[0].of(Metric::Auc), None);
}

#[test]
fn a_record_is_of_a_run_that_its_plan_allows() {
    let privacy = Privacy {
        noise: real(1.0),
        clip: real(1.0),
        delta: real(1e-5),
        max_epsilon: Some(real(3.0)),
        sampling: Sampling::Poisson,
    };
    let spent = PrivacySpent { epsilon: real(3.0), delta: real(1e-5), sampling: Sampling::Poisson };
    let base = || TrainingPlan { epochs: 2, threads: 2, seed: Seed::from(3), ..plan() };
    let stopping = || TrainingPlan {
        epochs: 10_000,
        early_stopping: Some(EarlyStopping { patience: 2, ..EarlyStopping::default() }),
        ..base()
    };
    let private = || TrainingPlan { privacy: Some(privacy), ..base() };
    let of = |plan: &TrainingPlan, change: fn(&mut TrainingRecord)| {
        let mut changed = TrainingRecord { plan: plan.digest(), ..record() };
        change(&mut changed);
        changed.fits(plan)
    };
    let wrong = |member| Err(RecordError::Plan(member));
    assert_eq!(of(&base(), |_| {}), Ok(()));
    assert_eq!(of(&base(), |r| r.plan.0[0] ^= 1), wrong("plan"));
    assert_eq!(of(&base(), |r| r.seed.0[0] ^= 1), wrong("seed"));
    assert_eq!(of(&base(), |r| r.threads = 1), wrong("threads"));
    assert_eq!(of(&TrainingPlan { threads: 0, ..base() }, |r| r.threads = 7), Ok(()));
    assert_eq!(of(&TrainingPlan { epochs: 10_000, ..base() }, |_| {}), wrong("ending"));
    assert_eq!(of(&base(), |r| r.ending = Ending::Early), wrong("ending"));
    assert_eq!(of(&base(), |r| r.best = 1), wrong("best"));
    assert_eq!(of(&base(), |r| r.steps = 11), wrong("steps"));
    assert_eq!(of(&base(), |r| r.steps = 0), wrong("steps"));
    assert_eq!(of(&stopping(), |r| (r.ending, r.best) = (Ending::Early, 1)), Ok(()));
    assert_eq!(of(&stopping(), |_| {}), wrong("ending"));
    assert_eq!(of(&TrainingPlan { epochs: 2, ..stopping() }, |r| r.best = 1), Ok(()));
    assert_eq!(of(&TrainingPlan { epochs: 2, ..stopping() }, |r| r.ending = Ending::Early), wrong("ending"));
    let impatient = EarlyStopping { patience: 3, ..EarlyStopping::default() };
    let sooner = TrainingPlan { early_stopping: Some(impatient), ..stopping() };
    assert_eq!(of(&sooner, |r| r.ending = Ending::Early), wrong("ending"));

    let spends = |change: fn(&mut PrivacySpent)| {
        let mut spent = spent;
        change(&mut spent);
        let record = TrainingRecord { plan: private().digest(), privacy: Some(spent), ..record() };
        record.fits(&private())
    };
    assert_eq!(spends(|_| {}), Ok(()));
    assert_eq!(spends(|s| s.epsilon = real(3.1)), wrong("privacy"));
    assert_eq!(spends(|s| s.delta = real(1e-6)), wrong("privacy"));
    assert_eq!(spends(|s| s.sampling = Sampling::Shuffle), wrong("privacy"));
    assert_eq!(of(&private(), |_| {}), wrong("privacy"));
    let unasked = TrainingRecord { plan: base().digest(), privacy: Some(spent), ..record() };
    assert_eq!(unasked.fits(&base()), wrong("privacy"));
}
