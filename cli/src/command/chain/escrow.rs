//! `glacier chain deposit` and `refund`: what a job pays, held by the escrow.

use super::{fault, tokens};
use crate::{
    context::{Context, now},
    error::{Exit, Failure, Outcome},
    explain,
    network::NetworkArgs,
    output::{Report, field},
    units::{Span, grouped, rfc3339},
};
use alloy::primitives::U256;
use glacier::Job;
use glacier_chain::{DepositTerms, Held, Operator, Realm};
use glacier_wire::{Address, ManifestHash, UnixTime};
use serde::Serialize;
use std::{
    io::{self, Write},
    path::PathBuf,
    str::FromStr,
};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct DepositArgs {
    /// The job: its file, or the name of a job or of a deployment
    #[arg(value_name = "JOB|NAME")]
    job: JobRef,
    /// For how many runs the deposit shall be good
    #[arg(long, value_name = "N", default_value = "1")]
    runs: u32,
    /// What a run pays, in the token's smallest unit [default: as the job's file says]
    #[arg(long, value_name = "N")]
    price: Option<u64>,
    /// Whom the job names as payer [default: as the job's file says, or you]
    #[arg(long, value_name = "ADDR")]
    payer: Option<Address>,
    /// When what is left goes back
    #[arg(long = "for", value_name = "SPAN", default_value = "7d")]
    lasts: Span,
    #[command(flatten)]
    network: NetworkArgs,
}

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct RefundArgs {
    /// The job: its file, or the name of a job or of a deployment
    #[arg(value_name = "JOB|NAME")]
    job: JobRef,
    #[command(flatten)]
    network: NetworkArgs,
}

/// A job as people name it.
#[derive(Debug, Clone)]
enum JobRef {
    Name(ManifestHash),
    File(PathBuf),
}

impl FromStr for JobRef {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.parse().map_or_else(|_| Self::File(text.into()), Self::Name))
    }
}

impl JobRef {
    fn job(&self) -> Result<Option<Job>, Failure> {
        match self {
            Self::Name(_) => Ok(None),
            Self::File(path) => Job::read(path).map(Some).map_err(|error| explain::job(path, error)),
        }
    }

    fn name(&self) -> Result<ManifestHash, Failure> {
        match self {
            Self::Name(name) => Ok(*name),
            Self::File(path) => Job::read(path).map(|job| job.hash()).map_err(|error| explain::job(path, error)),
        }
    }
}

pub(super) async fn deposit(args: DepositArgs, cx: &Context) -> Outcome {
    let job = args.job.job()?;
    let manifest = job.as_ref().map(Job::manifest);
    let said = manifest.map(|manifest| manifest.settlement.price);
    let price = args.price.or(said).ok_or_else(|| {
        Failure::trouble("usage", "a name does not say what a run pays", "pass --price, as the job was made with it")
    })?;
    if price == 0 || said.is_some_and(|said| said != price) {
        let message =
            format!("the job pays {} a run, and a deposit of another price is never released", said.unwrap_or(0));
        return Err(Failure::trouble("usage", message, "make the job with a --price, and pay in that"));
    }
    let account = args.network.account(cx).await?;
    let network = account.deployment();
    if let Some(settlement) = manifest.map(|manifest| manifest.settlement)
        && (settlement.chain_id, settlement.ledger.0) != (network.chain_id, *network.ledger.0)
    {
        let message = format!("the job counts at ledger {} of chain {}", settlement.ledger, settlement.chain_id);
        return Err(Failure::trouble("usage", message, "name that network's contracts with --deployment"));
    }
    let me = account.sender().address();
    let payer = args.payer.or(manifest.map(|manifest| manifest.settlement.payer));
    let terms = DepositTerms {
        manifest: args.job.name()?,
        payer: payer.map_or(me, |payer| payer.0.into()),
        price,
        enclave_id: manifest.map(|manifest| manifest.enclave_id),
    };
    // The chain's time counts, and a quiet chain has not said it for long.
    let time = account.sender().chain().head().await.map_err(fault)?.timestamp.max(now().0);
    let expiry = time.saturating_add(args.lasts.0.as_secs());
    let held = account.deposit(&terms, args.runs, expiry).await.map_err(fault)?;
    cx.output.report(&Deposited {
        job: terms.manifest,
        account: me.to_string(),
        held,
        simulated: simulated(&account),
    })?;
    Ok(Exit::Yes)
}

pub(super) async fn refund(args: RefundArgs, cx: &Context) -> Outcome {
    let job = args.job.name()?;
    let account = args.network.account(cx).await?;
    if account.held(&job).await.map_err(fault)?.is_none() {
        let message = format!("the escrow holds nothing of {} for job {job}", account.sender().address());
        return Err(Failure::no("no-deposit", message, "check --key, --deployment, and the job's name"));
    }
    let received = account
        .refund(&job)
        .await
        .map_err(|error| Failure::no("not-refunded", error.to_string(), "a deposit goes back once its time is over"))?;
    let balance = account.balance(account.sender().address()).await.map_err(fault)?;
    cx.output.report(&Refunded { job, received, balance, simulated: simulated(&account) })?;
    Ok(Exit::Yes)
}

fn simulated(account: &Operator) -> bool {
    account.deployment().realm == Realm::Simulated
}

#[derive(Serialize)]
struct Deposited {
    job: ManifestHash,
    account: String,
    #[serde(flatten)]
    held: Held,
    simulated: bool,
}

impl Report for Deposited {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        let Held { price, runs, expiry } = self.held;
        let whole = U256::from(price) * U256::from(runs);
        field(page, "job", self.job)?;
        field(page, "from", &self.account)?;
        let held = tokens(whole, self.simulated);
        field(page, "held", format_args!("{held}: {} runs at {} of 10^-18", grouped(runs.into()), grouped(price)))?;
        field(page, "until", rfc3339(UnixTime(expiry)))
    }
}

#[derive(Serialize)]
struct Refunded {
    job: ManifestHash,
    received: U256,
    balance: U256,
    simulated: bool,
}

impl Report for Refunded {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        field(page, "job", self.job)?;
        field(page, "received", tokens(self.received, self.simulated))?;
        field(page, "balance", tokens(self.balance, self.simulated))
    }
}
