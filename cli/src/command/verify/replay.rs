//! `glacier verify proof --replay`: the owner trains again, and compares.

use crate::{
    checks::{self, Line},
    command::train::{Initial, plain},
    error::Failure,
    output::{Output, Report},
    progress,
};
use glacier_attest::{Outcome as Found, Verdict};
use glacier_proof::Bundle;
use glacier_train::{
    TrainError,
    data::Passes,
    protocol::{Limits, Order},
    run::{Watch, foresee, processor, train},
    trainer::{Foreseen, StepReport},
};
use glacier_wire::{
    Nonce,
    training::{EpochMetrics, TrainingRecord},
};
use indicatif::ProgressBar;
use serde::Serialize;
use std::{
    fs::File,
    io::{self, Read, Write},
    path::PathBuf,
};

/// What was typed.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ReplayArgs {
    /// Train again on this machine with files of yours, and compare each epoch's weights with the record
    #[arg(long, requires = "model", requires = "data")]
    replay: bool,
    /// The initial model, as it was given to `glacier train`
    #[arg(long, value_name = "FILE|KIND", requires = "replay")]
    model: Option<Initial>,
    /// The data files, in the same order; a file of validation rows last
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "replay")]
    data: Vec<PathBuf>,
}

impl ReplayArgs {
    /// As if typed.
    pub(crate) fn of(model: Initial, data: Vec<PathBuf>) -> Self {
        Self { replay: true, model: Some(model), data }
    }
}

/// What the second training showed.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Replayed {
    pub(crate) verdict: Verdict,
    pub(crate) checks: Vec<Line>,
}

/// Trains again, where that was asked for.
pub(crate) fn replay(args: &ReplayArgs, bundle: &Bundle, output: Output) -> Result<Option<Replayed>, Failure> {
    let Some(model) = args.model.as_ref().filter(|_| args.replay) else { return Ok(None) };
    let not_training = || {
        let help = "only a training can be repeated: for other work, run it again and compare the outputs";
        Failure::trouble("usage", "this proof is of no training", help)
    };
    let record = bundle.training.as_ref().ok_or_else(not_training)?;
    let signed = bundle.manifest.as_ref().ok_or_else(not_training)?;
    let plan = signed.plan.clone().ok_or_else(not_training)?;
    if args.data.len() != record.data.len() {
        let message = format!("the training read {} data sets, {} files are named", record.data.len(), args.data.len());
        return Err(Failure::trouble("usage", message, "name them all after --data, in the order of the training"));
    }
    let scratch = tempfile::tempdir().map_err(|error| Failure::writing(&std::env::temp_dir(), &error))?;
    let data = args.data.iter().map(|file| plain(file, scratch.path())).collect::<Result<Vec<_>, _>>()?;
    // What a model made from nothing changes of the plan was signed already.
    let model = model.file(&data, &mut plan.clone(), scratch.path())?;
    let model = std::fs::read(&model).map_err(|error| Failure::reading(&model, &error))?;
    let mut lens = Vec::new();
    for (digest, file) in record.data.iter().zip(&data) {
        let length = std::fs::metadata(file).map_err(|error| Failure::reading(file, &error))?.len();
        lens.push((*digest, length));
    }
    let limits = signed.manifest.limits;
    // The same bits come out with any number of threads: the record's may be more than this machine has.
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get().try_into().unwrap_or(1));
    let limits = Limits { units: limits.units, memory: limits.memory, threads, window: Limits::WINDOW };
    let order =
        Order { plan, limits, model: record.model, data: lens, salt: Nonce([0; 32]), noise: None, averaged: false };
    again(&order, &model, data, record, output).map(Some)
}

/// Trains again and compares; of a private run, what can be told without its noise.
fn again(
    order: &Order,
    model: &[u8],
    data: Vec<PathBuf>,
    record: &TrainingRecord,
    output: Output,
) -> Result<Replayed, Failure> {
    let cannot = |error: TrainError| {
        let help = "pass the very files that were trained on, in their order";
        Failure::no("replay", format!("the training cannot be repeated: {error}"), help)
    };
    let files = Files { paths: data, open: None };
    if order.plan.privacy.is_some() {
        let foreseen = foresee(order, model, files).map_err(cannot)?;
        return Ok(compare_private(record, &foreseen));
    }
    let bar = progress::steps(output, record.steps);
    let trained = train(order, model, files, None, &mut Again { bar: &bar, output });
    bar.finish_and_clear();
    let (report, _) = trained.map_err(cannot)?;
    Ok(compare(record, &report.record))
}

/// What does not hang on the noise must come out the same; the rest is believed or not.
fn compare_private(said: &TrainingRecord, found: &Foreseen) -> Replayed {
    let mut checks = Vec::new();
    let mut check = |id, holds: bool, reason: String| {
        let outcome = if holds { Found::Pass } else { Found::Fail };
        checks.push(Line { device: None, id, outcome, reason });
    };
    check("replay-initial-weights", said.weights.first() == Some(&found.weights), String::new());
    check("replay-units", said.steps == found.steps, format!("{} steps", found.steps));
    let epsilon = found.privacy.map(|spent| format!("these rows and this plan spend an epsilon of {}", spent.epsilon));
    check("replay-privacy", said.privacy == found.privacy, epsilon.unwrap_or_default());
    let reason = "its noise is nobody's to repeat: believe the enclave's measurement, or do not".to_owned();
    checks.push(Line { device: None, id: "replay-weights", outcome: Found::Skip, reason });
    Replayed::new(checks)
}

/// Each member that must come out the same.
fn compare(said: &TrainingRecord, found: &TrainingRecord) -> Replayed {
    let same_processor = said.processor == found.processor;
    let differs = if same_processor { Found::Fail } else { Found::Skip };
    let mut checks = Vec::new();
    let mut check = |id, holds: bool, outcome, reason: String| {
        let outcome = if holds { Found::Pass } else { outcome };
        checks.push(Line { device: None, id, outcome, reason });
    };
    let reason =
        if same_processor { String::new() } else { format!("{} there, {} here", said.processor, found.processor) };
    check("replay-processor", same_processor, Found::Skip, reason);
    check("replay-initial-weights", said.weights.first() == found.weights.first(), Found::Fail, String::new());
    let epochs = said.weights.iter().zip(&found.weights).take_while(|(said, found)| said == found).count();
    let all = epochs == said.weights.len() && said.weights.len() == found.weights.len();
    let reason = match all {
        true => format!("after each of {} epochs, bit for bit", said.weights.len().saturating_sub(1)),
        false => format!("the weights differ after epoch {epochs}"),
    };
    check("replay-weights", all, differs, reason);
    check("replay-ending", (said.best, said.ending) == (found.best, found.ending), differs, String::new());
    let counts = (said.steps, said.rows, said.units) == (found.steps, found.rows, found.units);
    check("replay-units", counts, differs, format!("{} steps, {} multiply-accumulates", found.steps, found.units));
    check("replay-result", said.result == found.result, differs, String::new());
    Replayed::new(checks)
}

impl Replayed {
    fn new(checks: Vec<Line>) -> Self {
        let failed = checks.iter().any(|check| check.outcome == Found::Fail);
        let missing = checks.iter().any(|check| check.outcome == Found::Skip && check.id != "replay-processor");
        let verdict = match (failed, missing) {
            (true, _) => Verdict::Rejected,
            (false, true) => Verdict::Undetermined,
            (false, false) => Verdict::Accepted,
        };
        Self { verdict, checks }
    }
}

impl Report for Replayed {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(page, "trained again on this machine")?;
        checks::tree(page, &self.checks, None)
    }
}

/// The owner's files.
struct Files {
    paths: Vec<PathBuf>,
    open: Option<File>,
}

impl Passes for Files {
    fn sources(&self) -> usize {
        self.paths.len()
    }

    fn open(&mut self, source: usize) -> Result<(), TrainError> {
        let file = self.paths.get(source).and_then(|path| File::open(path).ok());
        self.open = Some(file.ok_or(TrainError::Gone)?);
        Ok(())
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.open.as_mut().map_or(Ok(0), |file| file.read(into))
    }
}

/// Moves a bar.
struct Again<'a> {
    bar: &'a ProgressBar,
    output: Output,
}

impl Watch for Again<'_> {
    fn begun(&mut self, _: u64) -> Result<(), TrainError> {
        self.output.remark(format_args!("training again, on {}", processor()));
        Ok(())
    }

    fn stepped(&mut self, step: &StepReport) -> Result<(), TrainError> {
        self.bar.set_position(step.step);
        Ok(())
    }

    fn measured(&mut self, epoch: &EpochMetrics) -> Result<(), TrainError> {
        self.bar.set_message(format!("epoch {}", epoch.epoch));
        Ok(())
    }

    fn checkpoint(&mut self, _: u64, _: &[u8]) -> Result<(), TrainError> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;
    use glacier_train::build::{Columns, Task, logistic};
    use glacier_wire::{
        Digest,
        training::{Privacy, Real, Sampling, Target, TrainingPlan, Validation},
    };

    fn real(value: f32) -> Real {
        Real::new(value).unwrap()
    }

    /// An enclave's training on a table of this machine, and what it says of it.
    struct Scene {
        _dir: tempfile::TempDir,
        data: Vec<PathBuf>,
        model: Vec<u8>,
        order: Order,
        record: TrainingRecord,
    }

    impl Scene {
        fn new(privacy: Option<Privacy>) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("rows.csv");
            let rows = (0..200).map(|row| format!("{},{},{}\n", row % 13, row % 7, u8::from(row % 13 > 6)));
            std::fs::write(&file, "a,b,y\n".to_owned() + &rows.collect::<String>()).unwrap();
            let names = ["a".to_owned(), "b".to_owned()];
            let model = logistic(Columns::Named(&names), Task::Classes(2), &[1; 32]).unwrap();
            let plan = TrainingPlan {
                epochs: 2,
                batch: 20,
                target: vec![Target::Name("y".into())],
                validation: Validation::None,
                privacy,
                ..TrainingPlan::default()
            };
            let order = Order {
                plan,
                limits: Limits { units: 1 << 40, memory: 1 << 28, threads: 1, window: Limits::WINDOW },
                model: Digest([1; 32]),
                data: vec![(Digest([2; 32]), std::fs::metadata(&file).unwrap().len())],
                salt: Nonce([3; 32]),
                noise: Some(Nonce([4; 32])),
                averaged: false,
            };
            let files = || Files { paths: vec![file.clone()], open: None };
            let (report, _) = train(&order, &model, files(), None, &mut ()).unwrap();
            Self { _dir: dir, data: vec![file], model, order, record: report.record }
        }

        fn replay(&self, record: &TrainingRecord) -> Replayed {
            // Whoever repeats it knows neither the salt of the metrics nor the noise.
            let order = Order { salt: Nonce([0; 32]), noise: None, ..self.order.clone() };
            let quiet = Output { json: false, quiet: true };
            again(&order, &self.model, self.data.clone(), record, quiet).unwrap()
        }

        /// The checks that say no to a record that differs in one thing.
        fn failed(&self, change: fn(&mut TrainingRecord)) -> Vec<&'static str> {
            let mut record = self.record.clone();
            change(&mut record);
            let replayed = self.replay(&record);
            assert_eq!(replayed.verdict, Verdict::Rejected);
            let failed = replayed.checks.iter().filter(|check| check.outcome == Found::Fail);
            failed.map(|check| check.id).collect()
        }
    }

    #[test]
    fn a_run_that_went_as_it_says_is_accepted_whatever_its_threads() {
        let scene = Scene::new(None);
        assert_eq!(scene.replay(&scene.record).verdict, Verdict::Accepted);
        let more = TrainingRecord { threads: 512, ..scene.record.clone() };
        assert_eq!(scene.replay(&more).verdict, Verdict::Accepted);
    }

    #[test]
    fn a_run_that_did_not_is_rejected() {
        let scene = Scene::new(None);
        assert_eq!(scene.failed(|r| r.weights[0].0[0] ^= 1), ["replay-initial-weights", "replay-weights"]);
        assert_eq!(scene.failed(|r| r.weights[2].0[0] ^= 1), ["replay-weights"]);
        assert_eq!(scene.failed(|r| r.best = 1), ["replay-ending"]);
        assert_eq!(scene.failed(|r| r.units += 1), ["replay-units"]);
        assert_eq!(scene.failed(|r| r.rows += 1), ["replay-units"]);
        assert_eq!(scene.failed(|r| r.result.0[0] ^= 1), ["replay-result"]);
    }

    #[test]
    fn other_rows_are_another_run() {
        let scene = Scene::new(None);
        let text = std::fs::read_to_string(&scene.data[0]).unwrap();
        std::fs::write(&scene.data[0], text.replacen("0,0,0", "0,0,1", 1)).unwrap();
        assert_eq!(scene.replay(&scene.record).verdict, Verdict::Rejected);
    }

    #[test]
    fn on_another_processor_nothing_that_differs_is_held_against_the_enclave() {
        let scene = Scene::new(None);
        let mut there = TrainingRecord { processor: "another".into(), ..scene.record.clone() };
        there.weights[1].0[0] ^= 1;
        there.units += 1;
        assert_eq!(scene.replay(&there).verdict, Verdict::Undetermined);
    }

    #[test]
    fn of_a_private_run_all_that_does_not_hang_on_the_noise_is_compared() {
        for sampling in [Sampling::Poisson, Sampling::Shuffle] {
            let (noise, clip, delta) = (real(1.0), real(1.0), real(1e-3));
            let scene = Scene::new(Some(Privacy { noise, clip, delta, max_epsilon: None, sampling }));
            assert_eq!(scene.replay(&scene.record).verdict, Verdict::Undetermined);
            let smaller = |r: &mut TrainingRecord| r.privacy.as_mut().unwrap().epsilon = real(0.01);
            assert_eq!(scene.failed(smaller), ["replay-privacy"]);
            assert_eq!(scene.failed(|r| r.weights[0].0[0] ^= 1), ["replay-initial-weights"]);
            assert_eq!(scene.failed(|r| r.steps += 2), ["replay-units"]);
        }
    }
}
