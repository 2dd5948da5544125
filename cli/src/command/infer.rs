//! `glacier infer`: rows in, labels out, with a proof.

use super::{
    job::result::{Collected, require_format},
    serve::require_plain,
    verify::Proven,
};
use crate::{
    args::{NodeArg, PolicyArg, SettleArgs},
    checks::{self, Line},
    context::{Context, now},
    door::Door,
    error::{Exit, Failure, Outcome},
    explain, files,
    output::{DIM, Report, field, simulated},
    units::{Count, Size, grouped},
    watch::Watcher,
};
use glacier::{AnswerProof, Freshness, Options, Policy, Results, Session, Step, input::read_tensors};
use glacier_attest::Verdict;
use glacier_proof::WorkProof;
use glacier_wire::{ManifestHash, PlatformKind, SignedManifest};
use serde::Serialize;
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    str::FromStr,
};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    node: NodeArg,
    /// A deployment (the name that `glacier serve` printed), or a model file of yours
    #[arg(long, value_name = "NAME|FILE|URL")]
    model: ModelRef,
    /// The rows: .csv .npy .npz
    #[arg(long, value_name = "FILE|URL")]
    input: PathBuf,
    #[command(flatten)]
    policy: PolicyArg,
    /// Where to write the answer: .csv .json .npy .npz [default: print it]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where to write the Work Proof with its evidence and what the model's owner signed
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    /// Have the chip make a new quote for this session
    #[arg(long)]
    fresh: bool,
    /// How much memory model and data may take; for a model file of yours
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    memory: Size,
    /// How many multiply-accumulates may be spent; for a model file of yours
    #[arg(long, value_name = "N", default_value = "10T")]
    units: Count,
    #[command(flatten)]
    settle: SettleArgs,
}

/// A model as people name it.
#[derive(Debug, Clone)]
enum ModelRef {
    Deployment(ManifestHash),
    File(PathBuf),
}

impl FromStr for ModelRef {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.parse().map_or_else(|_| Self::File(text.into()), Self::Deployment))
    }
}

pub(crate) async fn run(args: Args, cx: &Context) -> Outcome {
    // What can be found out before anything is sent is found out first.
    args.output.as_deref().map(require_format).transpose()?;
    files::require_absent([args.output.as_ref(), args.proof.as_ref()])?;
    let door = Door::find(&args.node, &args.policy, cx)?;
    let input = cx.bring(&args.input).await?;
    let args = Args { input: input.to_path_buf(), ..args };
    match args.model.clone() {
        ModelRef::Deployment(name) => ask(name, args, &door, cx).await,
        ModelRef::File(model) => bring(&cx.bring(&model).await?, args, &door, cx).await,
    }
}

/// Asks a model that somebody serves.
async fn ask(name: ManifestHash, args: Args, door: &Door, cx: &Context) -> Outcome {
    let session = door.open(freshness(args.fresh), cx).await?;
    let model = session.model(&name).await.map_err(explain::client)?;
    let rows = read_tensors(&args.input, model.features()).map_err(|error| explain::input(&args.input, error))?;
    let rows = model.fit(rows).map_err(|error| explain::input(&args.input, error))?;
    // Before the rows are sent: an answer whose proof is no file would have to be paid for again.
    let manifest = match &args.proof {
        Some(_) => Some(session.served(&name).await.map_err(explain::client)?),
        None => None,
    };
    let spinner = crate::progress::spinner(cx.output, "asking");
    let answer = session.infer(&name, &rows).await;
    spinner.finish_and_clear();
    let answer = answer.map_err(explain::client)?;
    write(&answer.results, args.output.as_deref())?;
    let proven = keep(&answer.proof, &session, manifest, args.proof.as_deref(), &door.policy)?;
    cx.output.report(&Answered {
        platform: session.accepted().platform(),
        checks: checks::lines(session.appraisal()),
        labels: answer.results.labels.clone(),
        collected: Collected { job: Some(name), proven, ..Collected::new(&answer.results, args.output, args.proof) },
        proof: answer.proof.signed().proof.clone(),
    })?;
    Ok(Exit::Yes)
}

/// Writes the proof of an answer where somebody wants it, and judges what was written as others will.
pub(crate) fn keep(
    proof: &AnswerProof,
    session: &Session,
    manifest: Option<SignedManifest>,
    path: Option<&Path>,
    policy: &Policy,
) -> Result<Option<Proven>, Failure> {
    let Some(path) = path else { return Ok(None) };
    let bundle = proof.bundle(session, manifest);
    let proven = Proven::judge(&bundle, Some(policy), now());
    if proven.verdict != Verdict::Accepted {
        let message = "the proof of the answer does not fit what was signed of the model or app: it was not written";
        return Err(Failure::no("unproved", message, "show this message to the node's operator"));
    }
    files::write_new(path, &glacier_wire::cbor::encode(&bundle))?;
    Ok(Some(proven))
}

/// Runs a model of the caller's own, once.
async fn bring(model: &Path, args: Args, door: &Door, cx: &Context) -> Outcome {
    require_plain(model)?;
    require_plain(&args.input)?;
    let options = Options {
        memory: args.memory.0,
        units: args.units.0,
        freshness: freshness(args.fresh),
        settle: args.settle.settle(),
        ..Options::default()
    };
    let (mut watcher, mut seen) = (Watcher::new(cx.output), Vec::new());
    let inference = glacier::infer(&door.node, &door.policy, &door.key, model, &args.input, &options, &mut |step| {
        if let Step::Accepted(session) = &step {
            seen = checks::lines(session.appraisal());
        }
        watcher.see(&step);
    })
    .await;
    watcher.finish();
    let finished = inference.map_err(explain::client)?.finished;
    write(&finished.results, args.output.as_deref())?;
    if let Some(path) = &args.proof {
        files::write_new(path, &glacier_wire::cbor::encode(&finished.bundle))?;
    }
    let proof = finished.proof.proof().clone();
    cx.output.report(&Answered {
        platform: proof.platform,
        checks: seen,
        labels: finished.results.labels.clone(),
        collected: Collected {
            job: Some(proof.manifest),
            sealed_bytes: Some(finished.sealed_bytes),
            proven: Some(Proven::judge(&finished.bundle, Some(&door.policy), now())),
            ..Collected::new(&finished.results, args.output, args.proof)
        },
        proof,
    })?;
    Ok(Exit::Yes)
}

fn freshness(fresh: bool) -> Freshness {
    if fresh { Freshness::Fresh } else { Freshness::Cached }
}

fn write(results: &Results, to: Option<&Path>) -> Result<(), Failure> {
    to.map_or(Ok(()), |path| results.write_file(path).map_err(|error| explain::output(path, error)))
}

#[derive(Serialize)]
struct Answered {
    platform: PlatformKind,
    checks: Vec<Line>,
    labels: Option<Vec<String>>,
    #[serde(flatten)]
    collected: Collected,
    proof: WorkProof,
}

/// Most labels that are printed where no output file is named.
const SHOWN: usize = 20;

impl Report for Answered {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(page, "the enclave was accepted{}", simulated(self.platform))?;
        checks::tree(page, &self.checks, None)?;
        if let (None, Some(labels)) = (&self.collected.output, &self.labels) {
            labels.iter().take(SHOWN).try_for_each(|label| writeln!(page, "{label}"))?;
            if labels.len() > SHOWN {
                writeln!(page, "{DIM}… and {} more: name an --output{DIM:#}", labels.len() - SHOWN)?;
            }
        }
        self.collected.human(page)?;
        if self.collected.proven.is_none() {
            field(page, "proof", format_args!("Work Proof {}, checked against this exchange", self.proof.sequence))?;
            field(page, "units", format_args!("{} multiply-accumulates", grouped(self.proof.units)))?;
        }
        Ok(())
    }
}
