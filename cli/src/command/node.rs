use crate::{
    context::Context,
    error::{Exit, Outcome},
};
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {}
pub(crate) async fn run(_: Command, _: &Context) -> Outcome {
    Ok(Exit::Yes)
}
