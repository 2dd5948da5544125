//! `glacier`: the command line over the client library, the host daemon and the verifier. It decides
//! nothing about trust itself; it finds files, asks, and tells.

mod args;
mod checks;
mod command;
mod context;
mod door;
mod error;
mod explain;
mod files;
mod network;
mod output;
mod progress;
mod source;
mod units;
mod watch;

use args::{Cli, Command};
use clap::Parser;
use command::{
    app, chain, completions, dashboard, demo, federation, infer, job, key, measure, node, proxy, seal, serve, train,
    verifier, verify,
};
use context::Context;
use error::{Exit, Failure, Outcome};
use output::Output;
use std::{process::ExitCode, time::Duration};
use tokio::{sync::oneshot, time::timeout};

fn main() -> ExitCode {
    let (output, outcome) = match Cli::try_parse() {
        Ok(cli) => {
            let output = Output { json: cli.global.json, quiet: cli.global.quiet };
            (output, run(cli, output))
        }
        // --help, --version, and `glacier` alone.
        Err(error) if !error.use_stderr() || error.kind() == SHORT_HELP => {
            let _ = error.print();
            return ExitCode::from(error.exit_code() as u8);
        }
        Err(error) => (Output { json: asked_for_json(), quiet: false }, Err(error.into())),
    };
    let exit = outcome.unwrap_or_else(|failure| {
        output.failure(&failure);
        failure.exit
    });
    ExitCode::from(exit as u8)
}

const SHORT_HELP: clap::error::ErrorKind = clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;

/// A command line that cannot be parsed still says how its error is wanted.
fn asked_for_json() -> bool {
    std::env::args_os().take_while(|arg| arg != "--").any(|arg| arg == "--json")
}

fn run(cli: Cli, output: Output) -> Outcome {
    let cx = Context::resolve(cli.global, output)?;
    match cli.command {
        Command::Key(command) => key::run(&command, &cx),
        Command::Seal(args) => interruptible(seal::seal(args, &cx)),
        Command::Open(args) => interruptible(seal::open(args, &cx)),
        Command::Measure(args) => measure::run(&args, output),
        Command::Completions(args) => completions::run(&args, output),
        Command::Demo(args) => wait(demo::run(args, &cx)),
        Command::Node(command) => wait(node::run(command, &cx)),
        Command::Job(command) => interruptible(job::run(command, &cx)),
        Command::Infer(args) => interruptible(infer::run(args, &cx)),
        Command::Train(args) => interruptible(train::run(*args, &cx)),
        Command::Federation(command) => interruptible(federation::run(command, &cx)),
        Command::Serve(args) => interruptible(serve::run(args, &cx)),
        Command::App(command) => wait(app::run(command, &cx)),
        Command::Proxy(args) => wait(proxy::run(*args, &cx)),
        Command::Dashboard(args) => wait(dashboard::run(args, &cx)),
        Command::Verify(command) => wait(verify::run(command, &cx)),
        Command::Chain(command) => wait(chain::run(command, &cx)),
        Command::Verifier(args) => wait(verifier::run(*args, &cx)),
    }
}

/// Runs what talks to the network.
fn wait(work: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Failure::trouble(
            "system",
            format!("cannot start threads: {error}"),
            "check the limits of this user (ulimit -u)",
        )
    })?;
    let outcome = runtime.block_on(work);
    if matches!(outcome, Ok(Exit::Interrupted)) {
        runtime.shutdown_timeout(PATIENCE);
    }
    outcome
}

/// How long what was asked to end may take to see it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs what may hold files that were fetched for it alone: asked to end, it is dropped, and they go with it.
fn interruptible(work: impl Future<Output = Outcome>) -> Outcome {
    wait(async {
        let mut asked = node::asked_to_end()?;
        let (tell, told) = oneshot::channel();
        tokio::spawn(async move {
            asked.recv().await;
            let _ = tell.send(());
            // Work that computes sees nothing of it. Who asks twice does not want to wait.
            let _ = timeout(PATIENCE, asked.recv()).await;
            std::process::exit(Exit::Interrupted as i32);
        });
        tokio::select! {
            outcome = work => outcome,
            _ = told => Ok(Exit::Interrupted),
        }
    })
}
