//! `glacier federation propose`.

use super::seat::Site;
use crate::{
    args::{NodeArg, PolicyArg, SettleArgs},
    command::{
        job::{AssetRef, Sheet},
        train::PlanArgs,
    },
    context::{Context, now},
    door::Door,
    error::{Exit, Failure, Outcome},
    explain,
    units::{Count, Size, Span},
};
use glacier::{Draft, Freshness, Job};
use glacier_wire::{
    Address, Contribution, Limits, UnixTime,
    federation::{FederationPlan, Weighting},
};
use std::path::PathBuf;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The sealed initial model: a file, or its digest
    #[arg(long, value_name = "FILE|DIGEST")]
    model: AssetRef,
    /// Who brings the model, and can open the last one [default: you]
    #[arg(long, value_name = "ADDR", requires = "recipient")]
    model_provider: Option<Address>,
    /// Who can open the last model [default: you]
    #[arg(long, value_name = "age1...", value_parser = crate::command::job::recipient)]
    recipient: Vec<glacier_wire::Recipient>,
    /// What each site wrote with `glacier federation seat`
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    site: Vec<PathBuf>,
    #[command(flatten)]
    node: NodeArg,
    #[command(flatten)]
    policy: PolicyArg,
    /// How often the sites' weights are averaged
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: u32,
    /// Sites without which no round ends [default: all]
    #[arg(long, value_name = "N")]
    quorum: Option<u32>,
    /// How long a round waits for the other sites after its first update
    #[arg(long, value_name = "SPAN", default_value = "1h")]
    wait: Span,
    /// How much a site counts: as its rows, or as much as any other
    #[arg(long, value_enum, default_value_t)]
    weighting: WeightingArg,
    #[command(flatten)]
    plan: PlanArgs,
    /// How much memory model and rows may take at a site
    #[arg(long, value_name = "SIZE", default_value = "2GiB")]
    memory: Size,
    /// How many multiply-accumulates a site may spend in a round
    #[arg(long, value_name = "N", default_value = "1000T")]
    units: Count,
    /// How long from now rounds may begin
    #[arg(long, value_name = "SPAN", default_value = "24h")]
    expires: Span,
    #[command(flatten)]
    settle: SettleArgs,
    /// Where to write the job
    #[arg(short, long, value_name = "JOB", default_value = "job.json")]
    output: PathBuf,
}

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum WeightingArg {
    #[default]
    Rows,
    Equal,
}

pub(crate) async fn run(args: Args, cx: &Context) -> Outcome {
    let sites = args.site.iter().map(|path| Site::read(path)).collect::<Result<Vec<_>, _>>()?;
    let local = args.plan.plan()?;
    if args.plan.validation_file().is_some() {
        let message = "--validation names a file, and a federation's sites each hold out rows of their own";
        return Err(Failure::trouble("usage", message, "give a share of each site's rows, such as 0.2, or none"));
    }
    let door = Door::find(&args.node, &args.policy, cx)?;
    let model = args.model.digest()?;
    let session = door.open(Freshness::Cached, cx).await?;
    let plan = FederationPlan {
        rounds: args.rounds,
        local,
        quorum: args.quorum.unwrap_or(sites.len().try_into().unwrap_or(u32::MAX)),
        patience: args.wait.0.as_secs().try_into().unwrap_or(u32::MAX),
        weighting: match args.weighting {
            WeightingArg::Rows => Weighting::Rows,
            WeightingArg::Equal => Weighting::Equal,
        },
        aggregator: session.seat().map_err(explain::client)?,
        sites: sites.iter().map(|site| site.seat.clone()).collect(),
    };
    plan.check().map_err(|error| {
        Failure::trouble("plan", error.to_string(), "change that flag, that line of the plan, or that site's file")
    })?;
    let me = door.key.address();
    let recipients = if args.recipient.is_empty() { vec![door.key.recipient()] } else { args.recipient };
    let not_after = UnixTime(now().0.saturating_add(args.expires.0.as_secs()));
    let contributions = sites.into_iter().map(|Site { provider, data, .. }| Contribution { provider, data }).collect();
    let provider = (args.model_provider.unwrap_or(me), model);
    let mut draft = Draft::federation(provider, contributions, plan, recipients, not_after);
    draft.limits = Limits { memory: args.memory.0, units: args.units.0, ..draft.limits };
    draft.settlement = args.settle.settle().settlement(&door.node, Address::ZERO, 0).await.map_err(explain::node)?;
    let job = Job::propose(draft).map_err(|error| explain::job(&args.output, error))?;
    job.write_new(&args.output).map_err(|error| explain::job(&args.output, error))?;
    cx.output.report(&Sheet::new(&job, args.output.clone(), Some(me)))?;
    cx.output.remark(format_args!("next: each party runs `glacier job sign {}`", args.output.display()));
    Ok(Exit::Yes)
}
