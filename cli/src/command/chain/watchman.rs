//! `glacier chain grant-watchman`: who may veto a root.

use super::fault;
use crate::{
    context::Context,
    error::{Exit, Outcome},
    network::NetworkArgs,
    output::{Report, field},
};
use alloy::primitives::Address;
use serde::Serialize;
use std::io::{self, Write};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Who shall be able to veto: the key that `glacier verifier --act` runs with
    #[arg(value_name = "ADDR")]
    watchman: Address,
    #[command(flatten)]
    network: NetworkArgs,
}

pub(super) async fn grant(args: Args, cx: &Context) -> Outcome {
    let account = args.network.account(cx).await?;
    let (network, watchman) = (account.deployment(), args.watchman);
    let granted = network.allow_vetoing(account.sender(), watchman).await.map_err(fault)?;
    cx.output.report(&Granted { watchman, vault: network.vault, granted })?;
    Ok(Exit::Yes)
}

#[derive(Serialize)]
struct Granted {
    watchman: Address,
    vault: Address,
    /// Whether it was not allowed to before.
    granted: bool,
}

impl Report for Granted {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        field(page, "watchman", self.watchman)?;
        field(page, "of", self.vault)?;
        field(page, "may veto", if self.granted { "from now on" } else { "as before" })
    }
}
