//! `glacier demo --train`: a model is refined where its data cannot be seen.

use super::{
    host_view::{self, HostView, Stored},
    stage::{Folder, Stage},
    story::{Story, short},
};
use crate::{
    checks::{self, mark},
    command::{
        train::{Initial, draw, plain, sparkline},
        verify::{Proven, ReplayArgs, Replayed, replay},
    },
    context::now,
    error::Failure,
    explain, files,
    output::{BOLD, Output, Report, WARN, paint},
    progress,
    units::{Size, grouped},
};
use glacier::{Material, Options, Refinement, Step};
use glacier_attest::{Outcome, Verdict};
use glacier_wire::{
    api::Event,
    training::{EpochMetrics, Metric, Real, Target, TrainingPlan, TrainingRecord, Validation},
};
use serde::Serialize;
use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
};

/// The hospital's measurements, and their diagnoses.
const DATA: &str = include_str!("../../../../models/breast-cancer/data.csv");
const KNOWN: &str = include_str!("../../../../models/breast-cancer/labels.csv");
/// Column that holds the diagnoses.
const DIAGNOSIS: &str = "diagnosis";

/// What somebody brings of their own.
pub(super) struct Own {
    pub(super) data: Option<PathBuf>,
    pub(super) target: Option<String>,
    pub(super) output: Option<PathBuf>,
}

/// What was seen, for programs. The story tells the same.
#[derive(Serialize)]
pub(super) struct Facts {
    simulated: bool,
    record: TrainingRecord,
    epochs: Vec<EpochMetrics>,
    events: Vec<Event>,
    proof: Proven,
    replay: Option<Replayed>,
    host: HostView,
    enclave_ended: bool,
    output: Option<PathBuf>,
    kept_in: Option<PathBuf>,
    pub(super) seconds: f64,
}

impl Facts {
    /// Whether everything came out as it must.
    pub(super) fn good(&self) -> bool {
        self.proof.verdict == Verdict::Accepted
            && self.replay.as_ref().is_some_and(|again| again.verdict == Verdict::Accepted)
            && self.host.clean()
            && self.enclave_ended
    }
}

/// Plays all of it and returns what was seen.
pub(super) async fn play(folder: &Folder, own: Own, output: Output) -> Result<Facts, Failure> {
    let mut story = Story::new(output);
    story.say(paint(BOLD, "Private training"));
    story.say(
        "An owner of data refines a model inside an enclave. Whoever runs the computer sees neither data nor model, and \
         the refined weights come back to the owner alone, with a proof of how they came about.",
    );
    let simulated = paint(WARN, "*SIMULATED*");
    story.say(format_args!(
        "{simulated}: a program on this machine plays the security chip, so nothing here is protected by hardware. \
         All else is the real path."
    ));
    let stage = Stage::set(folder).await?;
    let owner = &stage.hospital;

    story.section("What is brought");
    let (data, plan) = material(folder, &own)?;
    let mut plan = TrainingPlan { target: vec![plan], ..plan_of_the_demo() };
    let table = plain(&data, &folder.scratch()?)?;
    let initial = Initial::Mlp(vec![16]);
    let model = initial.file(std::slice::from_ref(&table), &mut plan, &folder.scratch()?)?;
    plan.check().map_err(|error| crate::command::train::unfit(&error))?;
    let bytes = fs::metadata(&table).map_err(|error| Failure::reading(&table, &error))?.len();
    story.row("data", format_args!("{}, {}", data.display(), Size(bytes)));
    story.row("model", "one hidden layer of 16, its weights drawn at random");
    story.row("plan", format_args!("{} epochs of {}, {} rows a step", plan.epochs, plan.loss, plan.batch));
    story.row("", "a quarter of the rows is held out, columns are standardised inside");

    story.section("Attested, sealed, signed, trained");
    let bar = progress::spinner(output, "training");
    let mut pages = 0u64;
    let options = Options::default();
    let material = Material { model: (&model).into(), data: &[(&table).into()], validation: None };
    let refined = glacier::train(&owner.node, &stage.policy, &owner.key, material, plan, &options, &mut |step| {
        if let Step::Course(page) = step {
            pages += 1;
            bar.set_message(format!("training: {} points of the course so far", page.points.len()));
        }
    })
    .await;
    bar.finish_and_clear();
    let refined = refined.map_err(explain::client)?;
    for event in &refined.events {
        story.say(format_args!("{} {}", mark(Outcome::Pass), crate::command::job::status::tell(event)));
    }
    story.say(format_args!(
        "The loss of each step went to the owner alone, inside the channel: {pages} pages of one length, at one pace."
    ));

    story.section("What came of it");
    tell_result(&story, &refined);
    let file = own.output.clone().unwrap_or_else(|| folder.file("refined.onnx"));
    files::write_private(&file, &refined.model)?;
    files::write_new(&folder.file("course.svg"), draw(&refined.points, &refined.metrics.epochs).as_bytes())?;
    story.row("model", format_args!("{} of ONNX, opens in any runtime", Size(refined.model.len() as u64)));

    story.section("The Work Proof, and the same training again");
    files::write_new(&folder.file("proof.cbor"), &glacier_wire::cbor::encode(&refined.bundle))?;
    let proof = Proven::judge(&refined.bundle, Some(&stage.policy), now());
    story.tree(&proof.checks);
    let again = ReplayArgs::of(initial, vec![table.clone()]);
    let replay = replay(&again, &refined.bundle, Output { quiet: true, ..output })?;
    if let Some(replay) = &replay {
        story.tree(&replay.checks);
        story.say(format_args!(
            "{}: the owner trained again on this machine, outside of the enclave, and came to the same bits.",
            checks::verdict(replay.verdict)
        ));
    }

    story.section("What the host saw");
    let host = look(&stage, &refined, &table, &model)?;
    host.tell(&story);
    let events = refined.events.clone();
    let enclave_ended = stage.end().await;
    Ok(Facts {
        simulated: true,
        record: refined.record,
        epochs: refined.metrics.epochs,
        events,
        proof,
        replay,
        host,
        enclave_ended,
        output: own.output,
        kept_in: folder.kept(),
        seconds: 0.0,
    })
}

/// The caller's own table, or the hospital's with its diagnoses.
fn material(folder: &Folder, own: &Own) -> Result<(PathBuf, Target), Failure> {
    if let (Some(data), Some(target)) = (&own.data, &own.target) {
        return Ok((data.clone(), Target::from(target.as_str())));
    }
    let labels = KNOWN.lines().map(|line| line.split(',').next().unwrap_or_default());
    let mut table = String::new();
    for (at, (row, label)) in DATA.lines().zip(labels).enumerate() {
        table += row;
        table += ",";
        table += if at == 0 { DIAGNOSIS } else { label };
        table += "\n";
    }
    let file = folder.file("patients.csv");
    files::write_new(&file, table.as_bytes())?;
    Ok((file, Target::from(DIAGNOSIS)))
}

fn plan_of_the_demo() -> TrainingPlan {
    let real = Real::new;
    TrainingPlan {
        epochs: 30,
        standardise: true,
        learning_rate: real(0.005).unwrap_or(Real::ZERO),
        validation: Validation::Fraction(real(0.25).unwrap_or(Real::ZERO)),
        ..TrainingPlan::default()
    }
}

fn tell_result(story: &Story, refined: &Refinement) {
    let losses: Vec<f32> = refined.metrics.epochs.iter().map(|epoch| epoch.loss.get()).collect();
    if let (Some(first), Some(last)) = (losses.first(), losses.last()) {
        story.row("loss", format_args!("{first:.4} to {last:.4}   {}", sparkline(&losses, 32)));
    }
    let best = refined.metrics.epochs.iter().find(|epoch| epoch.epoch == refined.record.best);
    for measured in best.map(|epoch| epoch.validation.as_slice()).unwrap_or_default() {
        if measured.metric != Metric::Loss {
            story.row(measured.metric, format_args!("{:.4} on the rows that were held out", measured.value));
        }
    }
    let record = &refined.record;
    story.row("work", format_args!("{} steps, {} multiply-accumulates", grouped(record.steps), grouped(record.units)));
    story.row("record", format_args!("{}, which the proof names", short(&record.digest().to_string())));
}

/// The search through all that the host had.
fn look(stage: &Stage, refined: &Refinement, table: &PathBuf, model: &PathBuf) -> Result<HostView, Failure> {
    let read = |file: &PathBuf| fs::read(file).map_err(|error| Failure::reading(file, &error));
    let (rows, initial) = (read(table)?, read(model)?);
    let manifest = &refined.manifest.manifest;
    // The store keeps each asset as one file under its digest.
    let mut ciphertext = Vec::new();
    let mut stored = Vec::new();
    for (what, digest) in [("data", manifest.data), ("model", manifest.model)] {
        let bytes = stage.stored(&digest)?;
        stored.push(Stored::new(what, digest, bytes.len() as u64));
        ciphertext.push(bytes);
    }
    host_view::search(stage, vec![&rows, &initial, &refined.model], &ciphertext, stored)
}

impl Report for Facts {
    /// The story has been told; what remains is where to go from here.
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(page, "\nAll of it took {:.1} s.", self.seconds)?;
        writeln!(page, "\nTo go on:")?;
        if let Some(output) = &self.output {
            writeln!(page, "   {} opens in ONNX Runtime, and with glacier infer", output.display())?;
        }
        match &self.kept_in {
            Some(folder) => {
                let folder = folder.display();
                writeln!(page, "   {folder}/refined.onnx, {folder}/course.svg, {folder}/proof.cbor")?;
                writeln!(page, "   glacier verify proof {folder}/proof.cbor --policy {folder}/policy.toml")?;
            }
            None => writeln!(page, "   glacier demo --train --dir demo      keeps every file, for a closer look")?,
        }
        writeln!(page, "   glacier demo --train --data my.csv --target COLUMN --output refined.onnx")?;
        writeln!(page, "   glacier train --help                 the same on a node of your own")
    }
}
