//! demo
use crate::{
    context::Context,
    error::{Exit, Outcome},
};
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}
pub(crate) async fn run(_: Args, _: &Context) -> Outcome {
    Ok(Exit::Yes)
}
