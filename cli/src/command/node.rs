//! `glacier node`: run one, ask one, or ask what this machine lacks for one.

use crate::{
    args::NodeArg,
    command::{
        chain::part::{self, Part},
        doctor,
    },
    context::Context,
    door,
    error::{Exit, Failure, Outcome},
    explain, files,
    output::{GOOD, Output, Report, WARN, field, paint},
    units::{Size, grouped},
};
use glacier::policy::{simulated_policy, write_policy};
use glacier_attest::Fingerprint;
use glacier_chain::{Deployment, Realm};
use glacier_host::{ChipInfo, EnclaveState, HostError, Node, NodeConfig, Status};
use serde::Serialize;
use std::{
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
};
use tokio::sync::mpsc;
use tracing_subscriber::EnvFilter;

/// Run a node, ask one how it is, or ask what this machine lacks for one.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Start an enclave, relay to it, store ciphertext; until Ctrl-C
    Run(RunArgs),
    /// Print a configuration with every setting, what it is for, and its default
    Config,
    /// What a node's host says of itself: worth as much as the host
    Status(StatusArgs),
    /// What this machine lacks to run an enclave on confidential hardware
    Doctor(doctor::Args),
}

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Settings of the node (TOML) [default: all defaults, in the folder `node` of the home]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen, instead of what the settings say; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// The enclave program, instead of what the settings say: an application of your own
    #[arg(long, value_name = "FILE")]
    enclave: Option<PathBuf>,
    /// Write a policy that accepts exactly this node's enclave
    #[arg(long, value_name = "FILE")]
    write_policy: Option<PathBuf>,
    /// JSON-RPC of the chain to settle on, instead of what the settings say [default: a chain of the node's own]
    #[arg(long, value_name = "URL", env = "GLACIER_RPC", hide_env_values = true)]
    rpc: Option<String>,
    /// The contracts on that chain, as `glacier chain deploy` wrote them
    #[arg(long, value_name = "FILE")]
    deployment: Option<PathBuf>,
    /// Blocks on that chain, its own included, until a transaction is final, instead of what the settings say
    #[arg(long, value_name = "N")]
    confirmations: Option<u64>,
    /// Write the log as lines of JSON, for collectors
    #[arg(long)]
    log_json: bool,
    /// Neither register nor settle anything
    #[arg(long, conflicts_with_all = ["rpc", "deployment"])]
    no_chain: bool,
}

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    node: NodeArg,
}

/// The largest configuration that is read.
const MAX_CONFIG: u64 = 64 << 10;

pub(crate) async fn run(command: Command, cx: &Context) -> Outcome {
    match command {
        Command::Run(args) => serve(args, cx).await,
        Command::Config => template(cx.output),
        Command::Status(args) => ask(&args, cx.output).await,
        Command::Doctor(args) => doctor::run(&args, cx.output),
    }
}

async fn serve(args: RunArgs, cx: &Context) -> Outcome {
    let mut config = match &args.config {
        Some(path) => {
            let text = String::from_utf8_lossy(&files::read(path, MAX_CONFIG)?).into_owned();
            let manual = "`glacier node config` prints all of them, with their defaults";
            NodeConfig::from_toml(&text).map_err(|error| match error {
                HostError::Config(error) => {
                    explain::settings("config", path, &text, &error, NodeConfig::MEMBERS, manual)
                }
                error => explain::host(error),
            })?
        }
        None => NodeConfig::new(cx.home.join("node")),
    };
    config.listen = args.listen.unwrap_or(config.listen);
    config.enclave = args.enclave.unwrap_or(config.enclave);
    config.chain.rpc = args.rpc.or(config.chain.rpc);
    config.chain.deployment = args.deployment.or(config.chain.deployment);
    config.chain.confirmations = args.confirmations.unwrap_or(config.chain.confirmations);
    config.chain.enabled &= !args.no_chain;
    log_to_stderr(cx.output, args.log_json);
    // Before the node starts: a signal that comes while it does must not kill it half-way.
    let mut asked_to_end = asked_to_end()?;
    let (home, chain, drain) = (config.home.clone(), config.chain.clone(), config.drain_seconds);
    let node = Arc::new(Node::start(config).await.map_err(explain::host)?);
    let mut running = Running::of(&node)?;
    let part = if chain.enabled {
        let setting = part::Setting {
            node: Arc::clone(&node),
            home: &home,
            config: &chain,
            operator: &cx.operator()?,
            measurement: running.chip.measurement,
            clock: None,
        };
        Some(Part::start(setting, true).await?)
    } else {
        None
    };
    running.settles = part.as_ref().map(|part| Settles::of(part.keeper.operator().deployment()));
    if let Some(path) = &args.write_policy {
        write_policy(path, &running.policy).map_err(|error| explain::policy(path, error))?;
    }
    cx.output.report(&running)?;
    cx.output.remark("Ctrl-C ends it");
    tokio::select! {
        _ = asked_to_end.recv() => {}
        () = node.wait() => {}
    }
    cx.output.remark(format_args!("ending: open connections have {drain} s; Ctrl-C again ends it at once"));
    let ending = async {
        if let Some(part) = part {
            part.end().await;
        }
        if let Ok(node) = Arc::try_unwrap(node) {
            node.shutdown().await;
        }
    };
    tokio::select! {
        () = ending => {}
        _ = asked_to_end.recv() => cx.output.remark("ended without waiting"),
    }
    Ok(Exit::Yes)
}

/// Settings to begin with.
fn template(output: Output) -> Outcome {
    #[derive(Serialize)]
    struct Template {
        toml: &'static str,
    }
    impl Report for Template {
        fn human(&self, page: &mut dyn Write) -> io::Result<()> {
            write!(page, "{}", self.toml)
        }
    }
    output.report(&Template { toml: NodeConfig::TEMPLATE })?;
    Ok(Exit::Yes)
}

/// Tells of Ctrl-C and of being asked to terminate.
pub(crate) fn asked_to_end() -> Result<mpsc::UnboundedReceiver<()>, Failure> {
    let (asked, receiver) = mpsc::unbounded_channel();
    let set = ctrlc::set_handler(move || {
        let _ = asked.send(());
    });
    set.map_err(|error| {
        Failure::trouble("system", format!("cannot listen for signals: {error}"), "check the limits of this user")
    })?;
    Ok(receiver)
}

/// The daemon's log: warnings, or what RUST_LOG asks for.
fn log_to_stderr(output: Output, json: bool) {
    let quietest = if output.quiet { "error" } else { "warn" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(quietest));
    // Fails only where a log was set up before; then that one stays.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let _ = if json { log.json().flatten_event(true).try_init() } else { log.try_init() };
}

/// What a started node is.
#[derive(Serialize)]
pub(crate) struct Running {
    pub(crate) address: String,
    #[serde(flatten)]
    pub(crate) chip: ChipInfo,
    /// A policy that accepts exactly this enclave.
    policy: String,
    /// Where it registers and is paid; absent for a node that does neither.
    #[serde(skip_serializing_if = "Option::is_none")]
    settles: Option<Settles>,
}

/// Where a node's work counts: what manifests name.
#[derive(Serialize)]
struct Settles {
    chain_id: u64,
    ledger: alloy::primitives::Address,
    simulated: bool,
}

impl Settles {
    fn of(deployment: &Deployment) -> Self {
        let simulated = deployment.realm == Realm::Simulated;
        Self { chain_id: deployment.chain_id, ledger: deployment.ledger, simulated }
    }
}

impl Running {
    pub(crate) fn of(node: &Node) -> Result<Self, Failure> {
        let chip = node.info().ok_or_else(|| explain::host(glacier_host::LaunchError::Ended.into()))?;
        let policy = simulated_policy(&root(&chip)?, &chip.measurement, &chip.enclave_id);
        Ok(Self { address: format!("http://{}", node.address()), chip, policy, settles: None })
    }
}

/// The root that the chip announces.
pub(crate) fn root(chip: &ChipInfo) -> Result<Fingerprint, Failure> {
    chip.root_fingerprint.parse().map_err(|_| explain::host(glacier_host::LaunchError::Announcement.into()))
}

impl Report for Running {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(page, "node {}", self.address)?;
        describe(page, &self.chip)?;
        if let Some(settles) = &self.settles {
            field(page, "chain", settles.chain_id)?;
            field(page, "ledger", settles.ledger)?;
        }
        Ok(())
    }
}

fn describe(page: &mut dyn Write, chip: &ChipInfo) -> io::Result<()> {
    field(page, "measurement", chip.measurement)?;
    field(page, "enclave id", chip.enclave_id)?;
    field(page, "root", &chip.root_fingerprint)?;
    if chip.simulated {
        field(page, "platform", paint(WARN, "SIMULATED: no hardware protects what is given to this enclave"))?;
    }
    Ok(())
}

async fn ask(args: &StatusArgs, output: Output) -> Outcome {
    let node = door::node(&args.node.node)?;
    let status = node.status().await.map_err(explain::node)?;
    let status: Status =
        serde_json::from_value(status).map_err(|_| explain::node(glacier::node::NodeError::Malformed))?;
    output.report(&Said(status))?;
    Ok(Exit::Yes)
}

#[derive(Serialize)]
#[serde(transparent)]
struct Said(Status);

impl Report for Said {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        let status = &self.0;
        writeln!(page, "the host says:")?;
        match status.state {
            EnclaveState::Up => field(page, "enclave", paint(GOOD, "up"))?,
            EnclaveState::Down => field(page, "enclave", paint(WARN, "down, being started again"))?,
        }
        if let Some(chip) = &status.enclave {
            describe(page, chip)?;
        }
        field(page, "restarts", status.restarts)?;
        field(page, "up for", format_args!("{} s", grouped(status.uptime_seconds)))?;
        field(
            page,
            "relayed",
            format_args!(
                "{} connections, {} now; {} in, {} out",
                grouped(status.relayed_connections),
                status.relayed_now,
                Size(status.bytes_to_enclave),
                Size(status.bytes_to_clients)
            ),
        )?;
        field(
            page,
            "store",
            format_args!(
                "{} assets, {} of {}; {} unfinished uploads",
                grouped(status.blobs),
                Size(status.store_bytes),
                Size(status.store_max_bytes),
                status.uploads
            ),
        )?;
        field(page, "proofs", grouped(status.proofs))?;
        match &status.settles {
            Some(settles) => field(page, "settles", format_args!("on {}, chain {}", settles.ledger, settles.chain_id)),
            None => field(page, "settles", "nowhere"),
        }
    }
}
