//! `glacier job result`: believed only when proved.

use crate::{
    args::{NodeArg, PolicyArg},
    checks,
    command::{train::Trained, verify::Proven},
    context::{Context, now},
    door::Door,
    error::{Exit, Outcome},
    explain, files,
    output::{Report, field},
    progress,
    units::{Size, grouped},
};
use glacier::{Format, Freshness, Job, Refinement, Results, output::OutputError};
use glacier_wire::{Digest, ManifestHash, SignedManifest, Work, app::AppResult};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job
    #[arg(value_name = "JOB")]
    job: PathBuf,
    #[command(flatten)]
    node: NodeArg,
    #[command(flatten)]
    policy: PolicyArg,
    /// Where to write the labels (.csv .json .npy .npz), the refined model, or the app's answer
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Where to write the Work Proof with its evidence, for others to verify
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
}

pub(crate) async fn run(args: Args, cx: &Context) -> Outcome {
    files::require_absent([Some(&args.output), args.proof.as_ref()])?;
    let job = Job::read(&args.job).map_err(|error| explain::job(&args.job, error))?;
    let manifest = job.complete().map_err(|error| explain::unsigned(&args.job, error))?;
    if manifest.plan.is_some() {
        return refined(args, &job, manifest, cx).await;
    }
    if manifest.manifest.work == Work::App {
        return computed(args, &job, manifest, cx).await;
    }
    require_format(&args.output)?;
    let door = Door::find(&args.node, &args.policy, cx)?;
    let session = door.open(Freshness::Cached, cx).await?;
    let bar = progress::bytes(cx.output, "fetching", 0);
    let finished = session.collect(&door.node, manifest, &door.key, &door.policy, &mut progress::follow(&bar)).await;
    bar.finish_and_clear();
    let finished = finished.map_err(explain::client)?;
    finished.results.write_file(&args.output).map_err(|error| explain::output(&args.output, error))?;
    if let Some(path) = &args.proof {
        files::write_new(path, &glacier_wire::cbor::encode(&finished.bundle))?;
    }
    cx.output.report(&Collected {
        job: Some(job.hash()),
        sealed_bytes: Some(finished.sealed_bytes),
        proven: Some(Proven::judge(&finished.bundle, Some(&door.policy), now())),
        ..Collected::new(&finished.results, Some(args.output), args.proof)
    })?;
    Ok(Exit::Yes)
}

/// An app's result is whatever it says: it is written as it is.
async fn computed(args: Args, job: &Job, manifest: &SignedManifest, cx: &Context) -> Outcome {
    let door = Door::find(&args.node, &args.policy, cx)?;
    let session = door.open(Freshness::Cached, cx).await?;
    let bar = progress::bytes(cx.output, "fetching", 0);
    let finished =
        session.collect_app(&door.node, manifest, &door.key, &door.policy, &mut progress::follow(&bar)).await;
    bar.finish_and_clear();
    let finished = finished.map_err(explain::client)?;
    if let Some(path) = &args.proof {
        files::write_new(path, &glacier_wire::cbor::encode(&finished.bundle))?;
    }
    let answer = match &finished.result {
        AppResult::Answer(answer) => answer,
        AppResult::Refusal(text) => return Err(explain::app_refusal(text)),
    };
    files::write_private(&args.output, answer)?;
    cx.output.report(&Computed {
        job: job.hash(),
        app: manifest.manifest.plan,
        bytes: answer.len() as u64,
        output: args.output,
        proof_file: args.proof,
        sealed_bytes: finished.sealed_bytes,
        proven: Proven::judge(&finished.bundle, Some(&door.policy), now()),
    })?;
    Ok(Exit::Yes)
}

/// What a party has of an app.
#[derive(Serialize)]
struct Computed {
    job: ManifestHash,
    app: Digest,
    bytes: u64,
    output: PathBuf,
    proof_file: Option<PathBuf>,
    sealed_bytes: u64,
    proven: Proven,
}

impl Report for Computed {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(page, "{}", self.output.display())?;
        field(page, "component", self.app)?;
        field(page, "answer", Size(self.bytes))?;
        field(page, "fetched", format_args!("{} of ciphertext, only you can open it", Size(self.sealed_bytes)))?;
        if let Some(file) = &self.proof_file {
            field(page, "proof", file.display())?;
        }
        self.proven.human(page)
    }
}

/// A training's result is a model.
async fn refined(args: Args, job: &Job, manifest: &SignedManifest, cx: &Context) -> Outcome {
    let door = Door::find(&args.node, &args.policy, cx)?;
    let session = door.open(Freshness::Cached, cx).await?;
    let page = session.course(&job.hash(), 0, 0).await.map_err(explain::client)?;
    let bar = progress::bytes(cx.output, "fetching", 0);
    let refined = session.refinement(&door.node, manifest, &door.key, &door.policy, &mut progress::follow(&bar)).await;
    bar.finish_and_clear();
    let refined = refined.map_err(explain::client)?;
    files::write_private(&args.output, &refined.model)?;
    if let Some(path) = &args.proof {
        files::write_new(path, &glacier_wire::cbor::encode(&refined.bundle))?;
    }
    // On disk now: the enclave need not be able to make it again.
    session.collected(&job.hash()).await.map_err(explain::client)?;
    let refined = Refinement { points: page.points, ..refined };
    let checks = checks::lines(session.appraisal());
    cx.output.report(&Trained::new(refined, checks, args.output, args.proof, None))?;
    Ok(Exit::Yes)
}

/// A name that no format is known by is found out before anything is fetched.
pub(crate) fn require_format(path: &Path) -> Result<(), crate::error::Failure> {
    Format::of(path).map(|_| ()).ok_or_else(|| explain::output(path, OutputError::Format))
}

/// What a party has now.
#[derive(Serialize)]
pub(crate) struct Collected {
    pub(crate) job: Option<ManifestHash>,
    pub(crate) rows: u64,
    /// How many rows have which label.
    pub(crate) label_counts: Option<BTreeMap<String, u64>>,
    pub(crate) output: Option<PathBuf>,
    pub(crate) proof_file: Option<PathBuf>,
    pub(crate) sealed_bytes: Option<u64>,
    pub(crate) proven: Option<Proven>,
}

impl Collected {
    pub(crate) fn new(results: &Results, output: Option<PathBuf>, proof_file: Option<PathBuf>) -> Self {
        let label_counts = results.labels.as_ref().map(|labels| {
            let mut counts = BTreeMap::new();
            labels.iter().for_each(|label| *counts.entry(label.clone()).or_default() += 1);
            counts
        });
        Self { job: None, rows: results.rows(), label_counts, output, proof_file, sealed_bytes: None, proven: None }
    }
}

impl Report for Collected {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        if let Some(file) = &self.output {
            writeln!(page, "{}", file.display())?;
        }
        field(page, "rows", grouped(self.rows))?;
        for (label, rows) in self.label_counts.iter().flatten() {
            field(page, "", format_args!("{} {label}", grouped(*rows)))?;
        }
        if let Some(bytes) = self.sealed_bytes {
            field(page, "fetched", format_args!("{} of ciphertext, only you can open it", Size(bytes)))?;
        }
        if let Some(file) = &self.proof_file {
            field(page, "proof", file.display())?;
        }
        match &self.proven {
            Some(proven) => proven.human(page),
            None => Ok(()),
        }
    }
}
