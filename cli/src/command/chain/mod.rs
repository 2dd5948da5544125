//! `glacier chain`: where nodes register and are paid.

pub(crate) mod control;
mod deploy;
mod escrow;
pub(crate) mod part;
mod watchman;

use crate::{
    context::Context,
    error::{Exit, Failure, Outcome},
    output::{Report, WARN, field, paint},
    units::{grouped, rfc3339},
};
use alloy::primitives::{
    U256,
    utils::{format_units, parse_units},
};
use control::{Answer, Ask};
use glacier_chain::Standing;
use glacier_wire::UnixTime;
use serde::{Deserialize, Serialize};
use std::{
    io::{self, Write},
    path::PathBuf,
    str::FromStr,
};

/// Deploy a network's contracts, or act on the chain for a node that runs on this machine.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Put a network's contracts on a chain
    Deploy(deploy::Args),
    /// Register the node's enclave now; a running node does so by itself
    Register(NodeArgs),
    /// How the node stands: registration, settled work, balance
    Status(NodeArgs),
    /// Settle all work that waits, now
    Checkpoint(NodeArgs),
    /// Claim what was earned in the epochs that are over
    Claim(NodeArgs),
    /// Take out what jobs have paid, and what was bonded and is free again
    Withdraw(NodeArgs),
    /// Bond the operator's tokens behind the node's chip: lost if the chip signs two histories
    Bond(BondArgs),
    /// Begin to release the bond; `withdraw` takes it out when the network's period is over
    Unbond(UnbondArgs),
    /// Pay in for a job; the escrow gives it to whoever proves the job's work
    Deposit(escrow::DepositArgs),
    /// Take back what is left of a deposit whose time is over
    Refund(escrow::RefundArgs),
    /// Let somebody veto roots of what was earned; by the key that deployed the network
    GrantWatchman(watchman::Args),
}

/// Which node of this machine.
#[derive(Debug, clap::Args)]
pub(crate) struct NodeArgs {
    /// Folder of the running node [default: `node` in the home]
    #[arg(long, value_name = "DIR")]
    node_home: Option<PathBuf>,
}

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct BondArgs {
    /// How much shall stand behind the chip, in tokens, what stands there included
    #[arg(value_name = "TOKENS")]
    amount: Tokens,
    #[command(flatten)]
    node: NodeArgs,
}

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct UnbondArgs {
    /// How much shall go on standing behind the chip, in tokens
    #[arg(long, value_name = "TOKENS", default_value = "0")]
    keep: Tokens,
    #[command(flatten)]
    node: NodeArgs,
}

/// An amount as people write it: `12`, `0.5`.
#[derive(Debug, Clone, Copy)]
struct Tokens(U256);

impl FromStr for Tokens {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let amount = parse_units(text, 18).ok().filter(|_| digits);
        amount.map(|amount| Self(amount.get_absolute())).ok_or("write an amount of tokens such as 12 or 0.5")
    }
}

pub(crate) async fn run(command: Command, cx: &Context) -> Outcome {
    let (args, ask) = match command {
        Command::Deploy(args) => return deploy::run(args, cx).await,
        Command::Register(args) => (args, Ask::Register),
        Command::Status(args) => (args, Ask::Status),
        Command::Checkpoint(args) => (args, Ask::Checkpoint),
        Command::Claim(args) => (args, Ask::Claim),
        Command::Withdraw(args) => (args, Ask::Withdraw),
        Command::Bond(args) => (args.node, Ask::Bond { amount: args.amount.0 }),
        Command::Unbond(args) => (args.node, Ask::Unbond { keep: args.keep.0 }),
        Command::Deposit(args) => return escrow::deposit(args, cx).await,
        Command::Refund(args) => return escrow::refund(args, cx).await,
        Command::GrantWatchman(args) => return watchman::grant(args, cx).await,
    };
    let home = args.node_home.unwrap_or_else(|| cx.home.join("node"));
    let done = control::ask(&home, ask).await?;
    cx.output.report(&done)?;
    Ok(Exit::Yes)
}

/// What was done, and how things stand after it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Done {
    /// Proofs that were settled by this.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) settled_now: Option<u64>,
    /// Tokens that were claimed or taken out by this, in units of 10^-18.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) received: Option<U256>,
    #[serde(flatten)]
    pub(crate) standing: Standing,
}

impl Report for Done {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        let standing = &self.standing;
        if let Some(proofs) = self.settled_now {
            field(page, "settled now", format_args!("{} proofs", grouped(proofs)))?;
        }
        if let Some(received) = self.received {
            field(page, "received", tokens(received, standing.simulated))?;
        }
        field(page, "chain", standing.chain_id)?;
        field(page, "ledger", standing.ledger)?;
        field(page, "owner", standing.owner)?;
        if let Some(enclave_id) = &standing.enclave_id {
            field(page, "enclave id", enclave_id)?;
        }
        match (&standing.enclave_key, standing.live_until) {
            (Some(key), Some(until)) => {
                field(page, "enclave key", key)?;
                field(page, "live until", rfc3339(UnixTime(until)))?;
            }
            _ => field(page, "enclave key", paint(WARN, "not registered yet"))?,
        }
        let (proofs, units) = (grouped(standing.settled), grouped(standing.units));
        field(page, "settled", format_args!("{proofs} proofs, {units} units"))?;
        field(page, "balance", tokens(standing.balance, standing.simulated))?;
        let bond = &standing.bond;
        if !bond.active.is_zero() {
            field(page, "bond", tokens(bond.active, standing.simulated))?;
        }
        if !bond.unbonding.is_zero() {
            let (amount, until) = (tokens(bond.unbonding, standing.simulated), rfc3339(UnixTime(bond.release_at)));
            field(page, "unbonding", format_args!("{amount}, until {until}"))?;
        }
        if standing.under_way > 0 {
            field(page, "under way", format_args!("{} transactions", standing.under_way))?;
        }
        if let Some(fault) = &standing.fault {
            field(page, "waits", paint(WARN, fault))?;
        }
        if standing.simulated {
            field(
                page,
                "network",
                paint(WARN, "SIMULATED: it trusts a root that somebody made; its token is worth nothing"),
            )?;
        }
        Ok(())
    }
}

/// An amount with its unit.
pub(crate) fn tokens(amount: U256, simulated: bool) -> String {
    let text = format_units(amount, 18).unwrap_or_default();
    let text = match text.split_once('.') {
        Some((whole, part)) => {
            let part: String = part.chars().take(4).collect();
            format!("{}.{part}", whole.parse().map_or_else(|_| whole.to_owned(), grouped))
        }
        None => text,
    };
    format!("{text} {}", if simulated { "sGLC (SIMULATED)" } else { "GLC" })
}

/// A fault of chain or contracts.
pub(crate) fn fault(error: impl std::fmt::Display) -> Failure {
    Failure::trouble(
        "chain",
        error.to_string(),
        "check --rpc and the deployment file; `glacier chain status` tells how things stand",
    )
}

impl From<Answer> for Result<Done, Failure> {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Done(done) => Ok(*done),
            Answer::Failed { message } => {
                Err(Failure::no("chain", message, "`glacier chain status` tells how things stand"))
            }
        }
    }
}
