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
    run::{Watch, processor, train},
    trainer::StepReport,
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
    let mut plan = signed.plan.clone().ok_or_else(not_training)?;
    if plan.privacy.is_some() {
        let reason = "its noise is nobody's to repeat: believe the enclave's measurement, or do not".to_owned();
        let check = Line { device: None, id: "replay", outcome: Found::Skip, reason };
        return Ok(Some(Replayed { verdict: Verdict::Undetermined, checks: vec![check] }));
    }
    if args.data.len() != record.data.len() {
        let message = format!("the training read {} data sets, {} files are named", record.data.len(), args.data.len());
        return Err(Failure::trouble("usage", message, "name them all after --data, in the order of the training"));
    }
    let scratch = tempfile::tempdir().map_err(|error| Failure::writing(&std::env::temp_dir(), &error))?;
    let data = args.data.iter().map(|file| plain(file, scratch.path())).collect::<Result<Vec<_>, _>>()?;
    // What a model made from nothing changes of the plan was signed already.
    let model = model.file(&data, &mut plan.clone(), scratch.path())?;
    let model = std::fs::read(&model).map_err(|error| Failure::reading(&model, &error))?;
    plan.threads = record.threads;
    let mut lens = Vec::new();
    for (digest, file) in record.data.iter().zip(&data) {
        let length = std::fs::metadata(file).map_err(|error| Failure::reading(file, &error))?.len();
        lens.push((*digest, length));
    }
    let limits = signed.manifest.limits;
    let limits = Limits { units: limits.units, memory: limits.memory, threads: record.threads, window: Limits::WINDOW };
    let order = Order { plan, limits, model: record.model, data: lens, salt: Nonce([0; 32]), noise: None };
    let bar = progress::steps(output, record.steps);
    let mut again = Again { bar: &bar, output };
    let trained = train(&order, &model, Files { paths: data, open: None }, None, &mut again);
    bar.finish_and_clear();
    let (report, _) = trained.map_err(|error| {
        let help = "pass the very files that were trained on, in their order";
        Failure::no("replay", format!("the training cannot be repeated: {error}"), help)
    })?;
    Ok(Some(compare(record, &report.record)))
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
    check("replay-units", counts, Found::Fail, format!("{} steps, {} multiply-accumulates", found.steps, found.units));
    check("replay-result", said.result == found.result, differs, String::new());
    let any = |outcome| checks.iter().any(|check| check.outcome == outcome);
    let failed = any(Found::Fail);
    let missing = checks.iter().any(|check| check.outcome == Found::Skip && check.id != "replay-processor");
    let verdict = match (failed, missing) {
        (true, _) => Verdict::Rejected,
        (false, true) => Verdict::Undetermined,
        (false, false) => Verdict::Accepted,
    };
    Replayed { verdict, checks }
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
