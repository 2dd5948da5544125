//! `glacier job pause`, `continue` and `withdraw`: what parties may ask of a training under way.

use super::status::Status;
use crate::{
    args::{NodeArg, PolicyArg},
    context::Context,
    door::Door,
    error::{Exit, Outcome},
    explain,
};
use glacier::{Freshness, Job};
use std::path::PathBuf;

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
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Wish {
    Pause,
    Continue,
    Withdraw,
}

pub(crate) async fn run(args: Args, wish: Wish, cx: &Context) -> Outcome {
    let door = Door::find(&args.node, &args.policy, cx)?;
    let job = Job::read(&args.job).map_err(|error| explain::job(&args.job, error))?;
    let session = door.open(Freshness::Cached, cx).await?;
    let status = match wish {
        Wish::Pause => session.pause(&job.hash(), true).await,
        Wish::Continue => session.pause(&job.hash(), false).await,
        Wish::Withdraw => session.withdraw(&job.hash()).await,
    };
    cx.output.report(&Status::from(&status.map_err(explain::client)?))?;
    Ok(Exit::Yes)
}
