//! `glacier job status`, and how a job is watched.

use super::told;
use crate::{
    args::{NodeArg, PolicyArg},
    checks::mark,
    context::Context,
    door::Door,
    error::{Exit, Outcome},
    explain,
    output::{BAD, GOOD, Output, Report, WARN, field, paint},
    progress,
    units::{Size, grouped},
};
use glacier::{Freshness, Job};
use glacier_attest::Outcome as Found;
use glacier_wire::api::{Event, JobStatus, Phase};
use indicatif::ProgressBar;
use serde::Serialize;
use std::{
    io::{self, Write},
    path::PathBuf,
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
}

/// Asks the enclave, not the host. A job that was refused is a *no*.
pub(crate) async fn run(args: Args, cx: &Context) -> Outcome {
    let door = Door::find(&args.node, &args.policy, cx)?;
    let job = Job::read(&args.job).map_err(|error| explain::job(&args.job, error))?;
    let session = door.open(Freshness::Cached, cx).await?;
    let status = session.status(&job.hash()).await.map_err(explain::client)?;
    if job.signed().plan.is_some() && job.manifest().data_provider == session.party() {
        let page = session.course(&job.hash(), 0, 0).await.map_err(explain::client)?;
        told::remember(cx, &job.hash(), page.checkpoint)?;
    }
    cx.output.report(&Status::from(&status))?;
    Ok(if status.phase == Phase::Refused { Exit::No } else { Exit::Yes })
}

/// A job's state.
#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct Status<'a>(&'a JobStatus);

impl<'a> From<&'a JobStatus> for Status<'a> {
    fn from(status: &'a JobStatus) -> Self {
        Self(status)
    }
}

impl Report for Status<'_> {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        let status = self.0;
        let style = match status.phase {
            Phase::Done | Phase::Serving => GOOD,
            Phase::Refused => BAD,
            _ => WARN,
        };
        field(page, "job", status.manifest)?;
        field(page, "phase", paint(style, phase(status.phase)))?;
        for role in &status.waiting_for {
            field(page, "waiting for", format_args!("the {} provider", role.as_str()))?;
        }
        for event in &status.events {
            writeln!(page, "  {} {}", mark(Found::Pass), tell(event))?;
        }
        if let Some(refusal) = &status.refusal {
            writeln!(page, "  {} {refusal}", mark(Found::Fail))?;
        }
        Ok(())
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Waiting => "waiting",
        Phase::Loading => "loading",
        Phase::Running => "running",
        Phase::Serving => "serving",
        Phase::Done => "done",
        Phase::Refused => "refused",
        Phase::Paused => "paused",
    }
}

/// An event as a sentence.
pub(crate) fn tell(event: &Event) -> String {
    match event {
        Event::Granted { role } => format!("the {} provider's grant and key were accepted", role.as_str()),
        Event::Opened { role, bytes } => {
            format!("{} opened inside: {} of ciphertext, digest as signed", role.as_str(), Size(*bytes))
        }
        // An app counts fuel, and no rows.
        Event::Ran { rows: 0, units } => format!("the app has run, on {} units of fuel", grouped(*units)),
        Event::Ran { rows, units } => {
            format!("{} rows answered, {} multiply-accumulates", grouped(*rows), grouped(*units))
        }
        Event::Sealed { bytes } => format!("result encrypted to its recipients: {}", Size(*bytes)),
        Event::Wiped => "keys overwritten; the process that held model and data has ended".to_owned(),
        Event::Proved { sequence } => format!("Work Proof {sequence} signed"),
        Event::Resumed { checkpoint } => format!("training goes on from checkpoint {checkpoint}"),
        Event::Trained { steps, units } => {
            format!("trained in {} steps, {} multiply-accumulates", grouped(*steps), grouped(*units))
        }
        Event::Merged { round, sites } => format!("round {round} closed: the updates of {sites} sites averaged"),
    }
}

/// A bar that follows a job from phase to phase.
pub(crate) struct Progress {
    output: Output,
    bar: ProgressBar,
}

impl Progress {
    pub(crate) fn new(output: Output) -> Self {
        Self { output, bar: progress::spinner(output, "waiting") }
    }

    pub(crate) fn show(&self, status: &JobStatus) {
        let text = match status.phase {
            Phase::Waiting => {
                let missing: Vec<_> = status.waiting_for.iter().map(|role| role.as_str()).collect();
                format!("waiting for the {} provider", missing.join(" and "))
            }
            Phase::Loading => format!("loading: {} of {}", Size(status.loaded.0), Size(status.loaded.1)),
            Phase::Running => format!("running: {} rows", grouped(status.rows)),
            other => phase(other).to_owned(),
        };
        if !self.output.quiet {
            self.bar.set_message(text);
        }
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
