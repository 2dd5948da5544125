//! `glacier node reload`: the node executes itself anew, and its enclave goes on.

use super::signals;
use crate::{
    context::Context,
    error::{Exit, Failure, Outcome},
    output::{Output, Report, field},
};
use glacier_host::{Handover, Presence, Stage};
use serde::Serialize;
use signal_hook::consts::SIGUSR2;
use std::{
    env, io,
    io::Write,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use tokio::sync::mpsc::UnboundedReceiver;
use tracing::warn;

/// Which node of this machine.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder of the running node [default: `node` in the home]
    #[arg(long, value_name = "DIR")]
    node_home: Option<PathBuf>,
}

/// Says to a new run that the one before has left something.
pub(super) const FLAG: &str = "take-over";

/// How long a new run may take to be there: connections drain, the chain's part ends and starts.
const PATIENCE: Duration = Duration::from_secs(120);
/// A node that is not there for so long is not between two runs.
const GONE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

/// What came of it.
#[derive(Serialize)]
struct Reloaded {
    pid: u32,
    /// Whether the enclave that ran goes on.
    enclave_kept: bool,
}

impl Report for Reloaded {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(page, "the node has begun anew")?;
        field(page, "process", self.pid)?;
        let enclave = match self.enclave_kept {
            true => "the same, with its keys, registration, grants and sessions",
            false => "another one: it registers anew, and grants are given anew",
        };
        field(page, "enclave", enclave)
    }
}

pub(super) async fn run(args: Args, cx: &Context) -> Outcome {
    let home = args.node_home.unwrap_or_else(|| cx.home.join("node"));
    let look = || Presence::of(&home).map_err(|error| Failure::reading(&home, &error));
    let before = look()?.ok_or_else(|| {
        Failure::trouble(
            "node-not-running",
            format!("no node runs in {}", home.display()),
            "start it with `glacier node run`, or name its folder with --node-home",
        )
    })?;
    before.tell_to_reload().map_err(|error| {
        Failure::trouble("system", format!("cannot signal process {}: {error}", before.pid), "ask as the node's user")
    })?;
    let asked = Instant::now();
    let mut seen = asked;
    while asked.elapsed() < PATIENCE && seen.elapsed() < GONE {
        tokio::time::sleep(PAUSE).await;
        let Some(now) = look()? else { continue };
        seen = Instant::now();
        match now.stage {
            _ if now.at == before.at => {}
            Stage::Starting => {}
            Stage::Refused(why) => {
                let message = format!("the node goes on as it was: {why}");
                return Err(Failure::no("node-reload", message, "mend that, and ask again"));
            }
            Stage::Up => {
                cx.output.report(&Reloaded { pid: now.pid, enclave_kept: now.runs > before.runs })?;
                return Ok(Exit::Yes);
            }
        }
    }
    let what = if seen.elapsed() < GONE { "has not begun anew in time" } else { "has ended" };
    Err(Failure::trouble("node-reload", format!("the node {what}"), "what it says on its stderr tells why"))
}

/// Tells each time that a new run is asked for.
pub(super) fn asked() -> Result<UnboundedReceiver<()>, Failure> {
    signals(&[SIGUSR2])
}

/// What the run before has left, unless it is not to be understood.
pub(super) fn found(output: Output) -> Option<Handover> {
    Handover::find()
        .inspect_err(|error| {
            warn!(%error, "an enclave is started anew");
            output.remark(format_args!("nothing is taken over: {error}"));
        })
        .ok()
}

/// Whether the program that is there now runs on this machine at all.
pub(super) fn try_out(program: &Path) -> Result<(), Failure> {
    let help = "put a program there that runs; this one goes on";
    let unfit = |why: String| Failure::trouble("node-reload", format!("{}: {why}", program.display()), help);
    let tried = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    match tried.map_err(|error| unfit(error.to_string()))?.status {
        status if status.success() => Ok(()),
        status => Err(unfit(status.to_string())),
    }
}

/// Becomes the next run. Returns only where that fails.
pub(super) fn execute(program: &Path, left: Option<&Handover>) -> Failure {
    let flag = format!("--{FLAG}");
    let mut command = Command::new(program);
    command.args(env::args_os().skip(1).filter(|arg| *arg != *flag));
    if let Some(left) = left {
        match left.leave() {
            Ok(stdin) => drop(command.arg(flag).stdin(stdin)),
            Err(error) => return Failure::trouble("node-reload", error.to_string(), "this run goes on"),
        }
    }
    let error = command.exec();
    Failure::trouble("node-reload", format!("{}: {error}", program.display()), "this run goes on")
}
