//! `glacier train`: an initial model and data in, a refined model out, with a proof of how it came about.

mod bar;
mod fresh;
mod plan;
mod plot;
mod report;

use super::serve::require_plain;
use crate::{
    args::{NodeArg, PolicyArg, SettleArgs},
    checks,
    context::Context,
    door::Door,
    error::{Exit, Failure, Outcome},
    explain, files,
    units::{Count, Size, Span},
};
pub(crate) use fresh::{Initial, plain};
use glacier::{Freshness, Material, Options, Source, Step};
pub(crate) use plan::{PlanArgs, read_plan, unfit};
pub(crate) use plot::draw;
pub(crate) use report::{Trained, sparkline};
use std::path::PathBuf;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    node: NodeArg,
    /// The initial model: an ONNX file of yours, or one made from nothing for your CSV (mlp, mlp:64,32, logistic)
    #[arg(long, value_name = "FILE|URL|KIND", default_value = "mlp")]
    model: Initial,
    /// The rows: .csv .npy .npz .parquet .arrow; several files are read one after the other
    #[arg(long, value_name = "FILE|URL", required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    #[command(flatten)]
    policy: PolicyArg,
    #[command(flatten)]
    plan: PlanArgs,
    /// Where to write the refined model
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Where to write the Work Proof with its evidence and the training record
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    /// Where to draw the course of loss and metrics (.svg)
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Have the chip make a new quote for this session
    #[arg(long)]
    fresh: bool,
    /// How much memory model, rows and the work on them may take
    #[arg(long, value_name = "SIZE", default_value = "2GiB")]
    memory: Size,
    /// How many multiply-accumulates may be spent
    #[arg(long, value_name = "N", default_value = "1000T")]
    units: Count,
    /// How long from now the training may start, or start again after the node was away
    #[arg(long, value_name = "SPAN", default_value = "24h")]
    expires: Span,
    #[command(flatten)]
    settle: SettleArgs,
}

pub(crate) async fn run(args: Args, cx: &Context) -> Outcome {
    // What can be found out before anything is sent is found out first.
    files::require_absent([Some(&args.output), args.proof.as_ref(), args.plot.as_ref()])?;
    let mut fetched = Vec::new();
    for file in &args.data {
        fetched.push(cx.bring(file).await?);
    }
    let validation = match args.plan.validation_file() {
        Some(file) => Some(cx.bring(&file).await?),
        None => None,
    };
    let files: Vec<_> = fetched.iter().map(|file| file.to_path_buf()).collect();
    fetched.iter().chain(&validation).try_for_each(|file| require_plain(file))?;
    let initial = match &args.model {
        Initial::File(path) => Some(cx.bring(path).await?),
        _ => None,
    };
    let initial = initial.as_deref().map_or_else(|| args.model.clone(), |path| Initial::File(path.to_owned()));
    let mut plan = args.plan.plan()?;
    let scratch = tempfile::tempdir().map_err(|error| Failure::writing(&std::env::temp_dir(), &error))?;
    let data = files.iter().map(|file| plain(file, scratch.path())).collect::<Result<Vec<_>, _>>()?;
    let model = initial.file(&data, &mut plan, scratch.path())?;
    plan.check().map_err(|error| plan::unfit(&error))?;
    let door = Door::find(&args.node, &args.policy, cx)?;
    let options = Options {
        memory: args.memory.0,
        units: args.units.0,
        lasts: args.expires.0.as_secs(),
        freshness: if args.fresh { Freshness::Fresh } else { Freshness::Cached },
        settle: args.settle.settle(),
        ..Options::default()
    };
    let data: Vec<_> = data.iter().map(Source::from).collect();
    let validation = validation.as_deref().map(|file| plain(file, scratch.path())).transpose()?;
    let material = Material { model: (&model).into(), data: &data, validation: validation.as_ref().map(Source::from) };
    let (mut bar, mut seen) = (bar::Bar::new(cx.output), Vec::new());
    let trained = glacier::train(&door.node, &door.policy, &door.key, material, plan, &options, &mut |step| {
        if let Step::Accepted(session) = &step {
            seen = checks::lines(session.appraisal());
        }
        bar.see(&step);
    })
    .await;
    bar.finish();
    let refined = trained.map_err(explain::client)?;
    files::write_private(&args.output, &refined.model)?;
    if let Some(path) = &args.proof {
        files::write_new(path, &glacier_wire::cbor::encode(&refined.bundle))?;
    }
    if let Some(path) = &args.plot {
        files::write_new(path, draw(&refined.points, &refined.metrics.epochs).as_bytes())?;
    }
    cx.output.report(&Trained::new(refined, seen, args.output, args.proof, args.plot))?;
    Ok(Exit::Yes)
}
