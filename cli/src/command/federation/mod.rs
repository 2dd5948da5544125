//! `glacier federation`: one model trained at several sites, each on rows that never leave it.

mod lead;
mod propose;
mod seat;
mod take_part;

use crate::{context::Context, error::Outcome};

/// Training across sites: each owner of rows has a node of its own, and an aggregator averages.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Say where your rows are trained on: attests your own node, and writes what `propose` takes
    Seat(seat::Args),
    /// Write the job that all parties sign with `glacier job sign`; --node is the aggregator's
    Propose(Box<propose::Args>),
    /// Bring the initial model to the aggregator, stay with the rounds, and fetch the last model with its proof
    Lead(lead::Args),
    /// Have your own node train on your rows in each round, until the last
    TakePart(take_part::Args),
}

pub(crate) async fn run(command: Command, cx: &Context) -> Outcome {
    match command {
        Command::Seat(args) => seat::run(args, cx).await,
        Command::Propose(args) => propose::run(*args, cx).await,
        Command::Lead(args) => lead::run(args, cx).await,
        Command::TakePart(args) => take_part::run(args, cx).await,
    }
}
