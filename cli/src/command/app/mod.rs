//! `glacier app`: applications of one's own, from the first line to the first proved answer.

mod call;
mod new;

use crate::{context::Context, error::Outcome};

/// Start an application of your own, or call one.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Write a small application that builds, runs, and is attested and proven as it stands
    New(new::Args),
    /// Send JSON to an application, once its enclave is accepted
    Call(call::Args),
}

pub(crate) async fn run(command: Command, cx: &Context) -> Outcome {
    match command {
        Command::New(args) => new::run(&args, cx.output),
        Command::Call(args) => call::run(args, cx).await,
    }
}
