//! `glacier app`: applications of one's own, and programs of others in a sandbox inside.

mod ask;
mod call;
mod new;
mod run;

use crate::{context::Context, error::Outcome};

/// Programs inside enclaves: your own, or a WebAssembly component of somebody's.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Write a small application that builds, runs, and is attested and proven as it stands
    New(new::Args),
    /// Send JSON to an application, once its enclave is accepted
    Call(call::Args),
    /// Have an enclave run your WebAssembly component for others to ask, on data that you never see
    Run(run::Args),
    /// Send data to a component that somebody runs, get its answer and a Work Proof
    Ask(ask::Args),
}

pub(crate) async fn run(command: Command, cx: &Context) -> Outcome {
    match command {
        Command::New(args) => new::run(&args, cx.output),
        Command::Call(args) => call::run(args, cx).await,
        Command::Run(args) => run::run(args, cx).await,
        Command::Ask(args) => ask::run(args, cx).await,
    }
}
