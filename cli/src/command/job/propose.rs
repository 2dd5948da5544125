//! `glacier job propose`.

use super::{
    Sheet,
    asset::{AssetRef, CodeRef},
};
use crate::{
    args::{NodeArg, PolicyArg, SettleArgs},
    command::train::{read_plan, unfit},
    context::{Context, now},
    door::Door,
    error::{Exit, Failure, Outcome},
    explain,
    units::{Count, Size, Span},
};
use glacier::{Draft, Freshness, Job};
use glacier_wire::{Address, Contribution, Limits, Recipient, UnixTime, Work};
use std::path::PathBuf;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The sealed data: a file, or its digest
    #[arg(long, value_name = "FILE|DIGEST")]
    data: AssetRef,
    /// The sealed model, or app: a file, or its digest
    #[arg(long, value_name = "FILE|DIGEST")]
    model: AssetRef,
    /// Run an app: its component, or what `glacier measure` prints
    #[arg(long, value_name = "FILE|DIGEST", conflicts_with = "train")]
    app: Option<CodeRef>,
    /// Who brings the data [default: you]
    #[arg(long, value_name = "ADDR")]
    data_provider: Option<Address>,
    /// Who brings the model [default: you]
    #[arg(long, value_name = "ADDR")]
    model_provider: Option<Address>,
    /// Who can open the result [default: you, if the data is yours]
    #[arg(long, value_name = "age1...", value_parser = recipient)]
    recipient: Vec<Recipient>,
    /// Train: the plan says how (TOML)
    #[arg(long, value_name = "PLAN")]
    train: Option<PathBuf>,
    /// A further data set to train on, and whose it is; once for each
    #[arg(long, value_name = "ADDR=FILE|DIGEST", value_parser = contribution, requires = "train")]
    contribute: Vec<(Address, AssetRef)>,
    #[command(flatten)]
    node: NodeArg,
    #[command(flatten)]
    policy: PolicyArg,
    /// How often the model may be run
    #[arg(long, value_name = "N", default_value = "1")]
    runs: Count,
    /// How much memory model and data may take
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    memory: Size,
    /// How many multiply-accumulates may be spent
    #[arg(long, value_name = "N", default_value = "10T")]
    units: Count,
    /// How long from now the job may start
    #[arg(long, value_name = "SPAN", default_value = "1h")]
    expires: Span,
    /// Who pays [default: the data provider]
    #[arg(long, value_name = "ADDR")]
    payer: Option<Address>,
    /// What the run pays, in the token's smallest unit, out of a `glacier chain deposit` for the job
    #[arg(long, value_name = "N", default_value = "0")]
    price: u64,
    #[command(flatten)]
    settle: SettleArgs,
    /// Where to write the job
    #[arg(short, long, value_name = "JOB", default_value = "job.json")]
    output: PathBuf,
}

pub(crate) fn recipient(text: &str) -> Result<Recipient, String> {
    glacier_asset::parse_recipient(text)
        .map_err(|_| "a recipient begins with age1; `glacier key show` prints it".to_owned())
}

fn contribution(text: &str) -> Result<(Address, AssetRef), String> {
    let split = text.split_once('=').and_then(|(address, asset)| Some((address.parse().ok()?, asset.parse().ok()?)));
    split.ok_or_else(|| "an address and a sealed file are wanted, such as 0x..=data.csv.age".to_owned())
}

pub(crate) async fn run(args: Args, cx: &Context) -> Outcome {
    let door = Door::find(&args.node, &args.policy, cx)?;
    let me = door.key.address();
    let data_provider = args.data_provider.unwrap_or(me);
    let mut recipients = args.recipient;
    if recipients.is_empty() {
        if data_provider != me {
            let message = "the data is not yours, and nobody is named to open the result";
            let help = "ask the data provider for the age1... line of `glacier key show`, and pass it with --recipient";
            return Err(Failure::trouble("usage", message, help));
        }
        recipients.push(door.key.recipient());
    }
    let (data, model) = (args.data.digest()?, args.model.digest()?);
    let plan = args.train.as_deref().map(read_plan).transpose()?;
    let contributions = args
        .contribute
        .iter()
        .map(|(provider, asset)| Ok::<_, Failure>(Contribution { provider: *provider, data: asset.digest()? }));
    let contributions = contributions.collect::<Result<Vec<_>, _>>()?;
    let session = door.open(Freshness::Cached, cx).await?;
    let not_after = UnixTime(now().0.saturating_add(args.expires.0.as_secs()));
    let mut draft = Draft::inference(
        (data_provider, data),
        (args.model_provider.unwrap_or(me), model),
        session.place().map_err(explain::client)?,
        recipients,
        not_after,
    );
    draft.limits = Limits { memory: args.memory.0, units: args.units.0, runs: args.runs.0, not_after };
    if let Some(plan) = plan {
        plan.check().map_err(|error| unfit(&error))?;
        draft = Draft { work: Work::Training, plan: Some(plan), contributions, ..draft };
    }
    if let Some(app) = &args.app {
        draft = Draft { work: Work::App, code: app.digest()?, ..draft };
    }
    // Zero: the data provider.
    let payer = args.payer.unwrap_or(Address::ZERO);
    let settlement = args.settle.settle().settlement(&door.node, payer, args.price).await;
    draft.settlement = settlement.map_err(explain::node)?;
    let job = Job::propose(draft).map_err(|error| explain::job(&args.output, error))?;
    job.write_new(&args.output).map_err(|error| explain::job(&args.output, error))?;
    cx.output.report(&Sheet::new(&job, args.output.clone(), Some(me)))?;
    cx.output.remark(format_args!("next: each party runs `glacier job sign {}`", args.output.display()));
    Ok(Exit::Yes)
}
