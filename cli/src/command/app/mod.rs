//! `glacier app`: programs that others run inside enclaves.

mod call;
mod run;

use crate::{context::Context, error::Outcome};

/// Programs inside enclaves.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Have an enclave run your WebAssembly component for others to call, on data that you never see
    Run(run::Args),
    /// Send data to an app that somebody runs, get its answer and a Work Proof
    Call(call::Args),
}

pub(crate) async fn run(command: Command, cx: &Context) -> Outcome {
    match command {
        Command::Run(args) => run::run(args, cx).await,
        Command::Call(args) => call::run(args, cx).await,
    }
}
