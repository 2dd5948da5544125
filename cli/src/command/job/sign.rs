//! `glacier job sign`.

use super::Sheet;
use crate::{
    context::Context,
    error::{Exit, Outcome},
    explain,
};
use glacier::Job;
use std::path::PathBuf;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job
    #[arg(value_name = "JOB")]
    job: PathBuf,
    /// Take over the signatures of another copy of the same job
    #[arg(long, value_name = "JOB")]
    merge: Vec<PathBuf>,
    /// Show what the job says, and sign nothing
    #[arg(long)]
    show: bool,
}

pub(crate) fn run(args: &Args, cx: &Context) -> Outcome {
    let key = cx.key()?;
    let mut job = Job::read(&args.job).map_err(|error| explain::job(&args.job, error))?;
    for path in &args.merge {
        let copy = Job::read(path).map_err(|error| explain::job(path, error))?;
        job.merge(&copy).map_err(|error| explain::job(path, error))?;
    }
    if args.show {
        cx.output.report(&Sheet::new(&job, args.job.clone(), Some(key.address())))?;
        return Ok(Exit::Yes);
    }
    job.sign(key.identity()).map_err(|error| explain::job(&args.job, error))?;
    job.update(&args.job).map_err(|error| explain::job(&args.job, error))?;
    let next = match job.missing().first() {
        Some(party) => format!("next: send {} to {party} to sign", args.job.display()),
        None => "next: each provider runs `glacier job join`".to_owned(),
    };
    cx.output.report(&Sheet::new(&job, args.job.clone(), Some(key.address())))?;
    cx.output.remark(next);
    Ok(Exit::Yes)
}
