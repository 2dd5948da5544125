//! `glacier node`: run one, ask one, or ask what this machine lacks for one.

mod log;
mod reload;

use self::log::Log;
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
use glacier_host::{ChipInfo, EnclaveState, Handover, HostError, Node, NodeConfig, Stage, Status};
use serde::Serialize;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{
    env, fs,
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tracing::warn;

/// Run a node, ask one how it is, or ask what this machine lacks for one.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Start an enclave, relay to it, store ciphertext; until Ctrl-C
    Run(RunArgs),
    /// Print a configuration with every setting, what it is for, and its default
    Config,
    /// Have the node of this machine begin anew, with the settings and the program that are there now, around the enclave that runs
    Reload(reload::Args),
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
    /// Root of a collector of OTLP over HTTP to send spans to, instead of what the settings say
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT", hide_env_values = true)]
    traces: Option<String>,
    /// Neither register nor settle anything
    #[arg(long, conflicts_with_all = ["rpc", "deployment"])]
    no_chain: bool,
    /// Go on with what the run before has left at the standard input
    #[arg(long = reload::FLAG, hide = true)]
    take_over: bool,
}

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    node: NodeArg,
}

/// Until the chain's part is tried again around an enclave that runs.
const AGAIN: Duration = Duration::from_secs(5);
/// How long what was given up may take to let go of the node.
const LETTING_GO: Duration = Duration::from_secs(2);
/// The largest configuration that is read.
const MAX_CONFIG: u64 = 64 << 10;

pub(crate) async fn run(command: Command, cx: &Context) -> Outcome {
    match command {
        Command::Run(args) => serve(args, cx).await,
        Command::Config => template(cx.output),
        Command::Reload(args) => reload::run(args, cx).await,
        Command::Status(args) => ask(&args, cx.output).await,
        Command::Doctor(args) => doctor::run(&args, cx.output),
    }
}

impl RunArgs {
    /// The file's settings, or the defaults, and what was typed over them.
    fn settings(&self, cx: &Context) -> Result<NodeConfig, Failure> {
        let mut config = match &self.config {
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
        config.listen = self.listen.unwrap_or(config.listen);
        config.enclave = self.enclave.clone().unwrap_or(config.enclave);
        config.traces = self.traces.clone().or(config.traces);
        config.chain.rpc = self.rpc.clone().or(config.chain.rpc);
        config.chain.deployment = self.deployment.clone().or(config.chain.deployment);
        config.chain.confirmations = self.confirmations.unwrap_or(config.chain.confirmations);
        config.chain.enabled &= !self.no_chain;
        Ok(config)
    }
}

async fn serve(args: RunArgs, cx: &Context) -> Outcome {
    let mut config = args.settings(cx)?;
    let log = Log::begin(cx.output, args.log_json, config.traces.as_deref())?;
    // Before it may be replaced: its place is where the next one will be.
    let program = env::current_exe().map_err(|error| Failure::reading(Path::new("/proc/self/exe"), &error))?;
    // Before the node starts: a signal that comes while it does must not kill it half-way.
    let (mut asked_to_end, mut asked_to_reload) = (asked_to_end()?, reload::asked()?);
    let mut left = args.take_over.then(|| reload::found(cx.output)).flatten();
    loop {
        let (first, drain) = (left.is_none(), config.drain_seconds);
        let up = tokio::select! {
            up = Up::start(config, left.take(), cx) => up?,
            _ = asked_to_end.recv() => return Ok(Exit::Yes),
        };
        if let Some(path) = &args.write_policy {
            leave_policy(path, &up.running.policy)?;
        }
        up.node.say(&Stage::Up);
        match first {
            true => cx.output.report(&up.running)?,
            false => {
                cx.output.remark(format_args!("a new run of the node at {}, the same enclave", up.running.address))
            }
        }
        cx.output.remark("Ctrl-C ends it");
        config = loop {
            tokio::select! {
                _ = asked_to_end.recv() => return up.end(drain, asked_to_end, cx.output).await,
                () = up.node.wait() => return up.end(drain, asked_to_end, cx.output).await,
                Some(()) = asked_to_reload.recv() => {}
            }
            // What cannot run must not cost the enclave its life.
            match args.settings(cx).and_then(|config| reload::try_out(&program).map(|()| config)) {
                Ok(config) => break config,
                Err(failure) => {
                    up.node.say(&Stage::Refused(failure.message.clone()));
                    cx.output.failure(&failure);
                }
            }
        };
        cx.output.remark(format_args!("a new run begins: requests to the host have {drain} s, the enclave goes on"));
        left = up.leave().await;
        log.flush();
        let failure = reload::execute(&program, left.as_ref());
        // The enclave is still here, and this run as good as any.
        cx.output.failure(&failure);
    }
}

/// A node, and the chain's part of it.
struct Up {
    node: Arc<Node>,
    part: Option<Part>,
    running: Running,
}

impl Up {
    async fn start(config: NodeConfig, left: Option<Handover>, cx: &Context) -> Result<Self, Failure> {
        let (home, chain, resumed) = (config.home.clone(), config.chain.clone(), left.is_some());
        let node = match left {
            Some(left) => Node::resume(config, left).await,
            None => Node::start(config).await,
        };
        let node = Arc::new(node.map_err(explain::host)?);
        let mut running = Running::of(&node)?;
        let mut part = None;
        while chain.enabled && part.is_none() {
            let setting = part::Setting {
                node: Arc::clone(&node),
                home: &home,
                config: &chain,
                operator: &cx.operator()?,
                measurement: running.chip.measurement,
                clock: None,
            };
            match Part::start(setting, true).await {
                Ok(started) => part = Some(started),
                // A chain that is away must not cost an enclave its life.
                Err(failure) if resumed => {
                    cx.output.failure(&failure);
                    tokio::time::sleep(AGAIN).await;
                }
                Err(failure) => return Err(failure),
            }
        }
        running.settles = part.as_ref().map(|part| Settles::of(part.keeper.operator().deployment()));
        Ok(Self { node, part, running })
    }

    /// Ends the chain's part; the node is nobody else's then.
    async fn alone(self) -> Option<Node> {
        if let Some(part) = self.part {
            part.end().await;
        }
        let (mut node, begun) = (self.node, Instant::now());
        loop {
            match Arc::try_unwrap(node) {
                Ok(alone) => return Some(alone),
                // A request to the chain's part that has just been given up.
                Err(shared) if begun.elapsed() < LETTING_GO => node = shared,
                Err(_) => return None,
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends all of it, at once if that is asked for a second time.
    async fn end(self, drain: u64, mut again: UnboundedReceiver<()>, output: Output) -> Outcome {
        output.remark(format_args!("ending: open connections have {drain} s; Ctrl-C again ends it at once"));
        let ending = async {
            if let Some(node) = self.alone().await {
                node.shutdown().await;
            }
        };
        tokio::select! {
            () = ending => {}
            _ = again.recv() => output.remark("ended without waiting"),
        }
        Ok(Exit::Yes)
    }

    /// Ends all but the enclave. `None` where the next run has to start one.
    async fn leave(self) -> Option<Handover> {
        let node = self.alone().await?;
        node.hand_over().await.inspect_err(|error| warn!(%error, "the next run starts an enclave of its own")).ok()
    }
}

/// Writes it, unless a run before has left the very same there.
fn leave_policy(path: &Path, policy: &str) -> Result<(), Failure> {
    if fs::read_to_string(path).is_ok_and(|there| there == policy) {
        return Ok(());
    }
    write_policy(path, policy).map_err(|error| explain::policy(path, error))
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
pub(crate) fn asked_to_end() -> Result<UnboundedReceiver<()>, Failure> {
    signals(&[SIGINT, SIGTERM, SIGHUP])
}

/// Tells each time that one of these signals comes.
fn signals(which: &[i32]) -> Result<UnboundedReceiver<()>, Failure> {
    let (asked, receiver) = mpsc::unbounded_channel();
    let mut signals = Signals::new(which).map_err(|error| {
        Failure::trouble("system", format!("cannot listen for signals: {error}"), "check the limits of this user")
    })?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if asked.send(()).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
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
