//! `glacier job`: three parties, one enclave.

mod asset;
mod control;
mod join;
mod propose;
pub(crate) mod result;
mod sheet;
mod sign;
pub(crate) mod status;
pub(crate) mod told;

use crate::{context::Context, error::Outcome};

pub(crate) use asset::AssetRef;
pub(crate) use join::{holds, signed};
pub(crate) use propose::recipient;
pub(crate) use sheet::Sheet;

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
    /// Stop a training for now; the owner of the data may
    Pause(control::Args),
    /// Have a paused training go on from its last checkpoint
    Continue(control::Args),
    /// Take your grant back: a training ends, and nothing is kept of it
    Withdraw(control::Args),
}

pub(crate) async fn run(command: Command, cx: &Context) -> Outcome {
    match command {
        Command::Propose(args) => propose::run(*args, cx).await,
        Command::Sign(args) => sign::run(&args, cx),
        Command::Join(args) => join::run(args, cx).await,
        Command::Status(args) => status::run(args, cx).await,
        Command::Result(args) => result::run(args, cx).await,
        Command::Pause(args) => control::run(args, control::Wish::Pause, cx).await,
        Command::Continue(args) => control::run(args, control::Wish::Continue, cx).await,
        Command::Withdraw(args) => control::run(args, control::Wish::Withdraw, cx).await,
    }
}
