//! `glacier job`: three parties, one enclave.

mod asset;
mod join;
mod propose;
pub(crate) mod result;
mod sheet;
mod sign;
pub(crate) mod status;

use crate::{context::Context, error::Outcome};

use sheet::Sheet;

/// The three-party path.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Write a job for all parties to sign; asks the node which enclave would run it
    Propose(Box<propose::Args>),
    /// Show what a job says and add your signature
    Sign(sign::Args),
    /// Bring your asset, attest the enclave, and release your key to it
    Join(join::Args),
    /// How far the job is
    Status(status::Args),
    /// Fetch the result, open it, and check its Work Proof
    Result(result::Args),
}

pub(crate) async fn run(command: Command, cx: &Context) -> Outcome {
    match command {
        Command::Propose(args) => propose::run(*args, cx).await,
        Command::Sign(args) => sign::run(&args, cx),
        Command::Join(args) => join::run(args, cx).await,
        Command::Status(args) => status::run(args, cx).await,
        Command::Result(args) => result::run(args, cx).await,
    }
}
