//! Whole runs over the bundled data set: table and graph in, refined graph out.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use glacier_engine::{
    ingest::Column,
    onnx::{Graph, patch},
};
use glacier_train::{
    Mode, Network, Settings, Value, build,
    data::{Bytes, Examples, Goal, Reading},
    source::{Source as _, Sources, Targets},
    trainer::{Event, Finished, Limits, Model, Trainer},
};
use glacier_wire::training::{Metric, Real, Schedule, Target, TrainingPlan, Validation};

const DATA: &str = include_str!("../../../models/breast-cancer/data.csv");
const LABELS: &str = include_str!("../../../models/breast-cancer/labels.csv");
const LIMITS: Limits = Limits { units: 1 << 40, epochs: 1000, memory: 1 << 28 };

fn real(value: f32) -> Real {
    Real::new(value).unwrap()
}

/// The rows to learn from, or those held out, with their diagnosis.
fn table(held_out: bool) -> Vec<u8> {
    let mut lines = DATA.lines();
    let mut table = format!("{},diagnosis\n", lines.next().unwrap());
    for (row, label) in lines.zip(LABELS.lines().skip(1)) {
        let (label, held) = label.split_once(',').unwrap();
        if (held == "1") == held_out {
            table.push_str(&format!("{row},{label}\n"));
        }
    }
    table.into_bytes()
}

fn names() -> Vec<String> {
    DATA.lines().next().unwrap().split(',').map(str::to_owned).collect()
}

fn reading(plan: &TrainingPlan) -> Reading {
    let validation = match plan.validation {
        Validation::Fraction(share) => f64::from(share.get()),
        _ => 0.0,
    };
    Reading {
        wanted: vec![Column::Name("diagnosis".into())],
        goal: Goal::Classes { count: Some(2) },
        labels: None,
        unnamed: None,
        pair_suffix: None,
        validation,
        seed: plan.seed.0,
        shuffle: plan.shuffle,
        standardise: plan.standardise,
        memory: 1 << 28,
    }
}

fn plan() -> TrainingPlan {
    TrainingPlan {
        epochs: 40,
        batch: 32,
        target: vec![Target::Name("diagnosis".into())],
        learning_rate: real(0.01),
        schedule: Schedule::Cosine,
        weight_decay: real(1e-3),
        standardise: true,
        metrics: vec![Metric::Accuracy, Metric::Auc],
        ..TrainingPlan::default()
    }
}

fn model(hidden: &[u64]) -> Vec<u8> {
    let labels = ["malignant".to_owned(), "benign".to_owned()];
    build::mlp(build::Columns::Named(&names()), hidden, build::Task::Labels(&labels), &[1; 32]).unwrap()
}

/// Trains, and gives the model as its owner gets it. After each event, a coin says whether the run is put
/// down and taken up by a new process.
fn train(plan: &TrainingPlan, model: &[u8], threads: usize, interrupt: impl Fn(usize) -> bool) -> (Vec<u8>, Finished) {
    let settings = Settings { threads, ..Settings::default() };
    let graph = Graph::read(model).unwrap();
    let mut state: Option<(Vec<u8>, usize)> = None;
    loop {
        let examples = Examples::open(Bytes::new(vec![table(false)]), &graph, reading(plan)).unwrap();
        let (network, weights) = Model::read(model, &settings).unwrap();
        let (mut training, mut validation) = (examples.training(), examples.validation());
        let mut sources =
            Sources { training: &mut training, validation: validation.as_mut().map(|rows| rows as &mut _) };
        let mut trainer = match &state {
            None => Trainer::new(plan.clone(), network, weights, &mut sources, LIMITS, None),
            Some((state, _)) => Trainer::resume(plan.clone(), network, weights, &mut sources, LIMITS, state),
        }
        .unwrap();
        let mut events = state.as_ref().map_or(0, |(_, events)| *events);
        loop {
            let event = trainer.step(&mut sources).unwrap();
            events += 1;
            if let Event::Done(_) = event {
                let finished = trainer.finish().unwrap();
                let spans = finished.weights.spans().iter();
                let values = spans.map(|span| (span.name.as_str(), finished.weights.slice(span))).collect();
                return (examples.export(&patch(model, &values).unwrap()).unwrap(), finished);
            }
            if interrupt(events) {
                state = Some((trainer.state().to_vec(), events));
                break;
            }
        }
    }
}

/// Share of the held-out rows, raw as the hospital has them, that a model says right.
fn accuracy(model: &[u8]) -> f64 {
    let plan = TrainingPlan { validation: Validation::None, standardise: false, shuffle: 0, ..plan() };
    let graph = Graph::read(model).unwrap();
    let examples = Examples::open(Bytes::new(vec![table(true)]), &graph, reading(&plan)).unwrap();
    let mut rows = examples.training();
    rows.begin(0).unwrap();
    let batch = rows.next(1000).unwrap().unwrap();
    assert_eq!(batch.rows, 143);
    let (mut network, mut weights) = Network::read(model).unwrap();
    let outputs = network.forward(&mut weights, &batch.inputs, Mode::Evaluate).unwrap();
    let Value::Float(output) = &outputs[0] else { panic!() };
    let Targets::Classes(classes) = &batch.targets else { panic!() };
    let right =
        output.data.as_chunks::<2>().0.iter().zip(classes).filter(|([a, b], class)| i64::from(b > a) == **class);
    right.count() as f64 / 143.0
}

/// scikit-learn reaches 0.965 on the held-out rows with this network and with logistic regression.
#[test]
fn the_bundled_data_is_learnt_to_its_known_accuracy() {
    for hidden in [&[16][..], &[]] {
        let (refined, finished) = train(&plan(), &model(hidden), 2, |_| false);
        let found = accuracy(&refined);
        assert!(found >= 0.955, "{hidden:?}: {found}, {:?}", finished.epochs.last());
        let end = finished.epochs.last().unwrap();
        assert!(end.of(Metric::Auc).unwrap() > 0.98, "{end:?}");
        assert!(end.loss.get() < 0.3 * finished.epochs[0].loss.get());
    }
}

#[test]
fn interruptions_and_threads_change_no_bit() {
    let plan = TrainingPlan { epochs: 3, ..plan() };
    let model = model(&[8]);
    let (whole, one) = train(&plan, &model, 1, |_| false);
    let (pieces, other) = train(&plan, &model, 2, |events| events % 3 == 1);
    assert!(whole == pieces);
    assert_eq!(one.epochs, other.epochs);
    assert_eq!((one.steps(), one.units()), (other.steps(), other.units()));
    // 30 x 8 and 8 x 2 a row: three times over the rows that learn, once over the others.
    let validation = 426 - one.rows() / 3;
    assert_eq!(one.units(), 3 * 256 * (one.rows() + validation));
}
