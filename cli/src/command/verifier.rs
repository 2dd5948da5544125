//! `glacier verifier`: the watchman of a network.

use crate::{
    command::verify::chain::{node_log, silent},
    context::{Context, now},
    error::{Exit, Failure, Outcome},
    files, network,
    output::{Report, paint},
};
use glacier_chain::{MemoryError, OperatorKey, Outbox, Round, Sender, WatchError, Watchman};
use serde::Serialize;
use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};
use url::Url;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The network's contracts, as its deployment wrote them (JSON)
    #[arg(long, value_name = "FILE", env = "GLACIER_CHAIN", hide_env_values = true)]
    chain: PathBuf,
    /// JSON-RPC of the network's chain [default: what the file `rpc` beside the contracts says, or http://127.0.0.1:8545]
    #[arg(long, value_name = "URL", env = "GLACIER_RPC", hide_env_values = true)]
    rpc: Option<Url>,
    /// Node whose log is held against what is settled; may be repeated
    #[arg(long, value_name = "URL")]
    node: Vec<Url>,
    /// Policy that registrations must meet too; names the root of a simulated network (TOML)
    #[arg(long, value_name = "FILE", env = "GLACIER_POLICY", hide_env_values = true)]
    policy: Option<PathBuf>,
    /// Collateral that judges registrations, with this program's verifier [default: the network's contracts are asked]
    #[arg(long, value_name = "FILE")]
    collateral: Option<PathBuf>,
    /// Act on what is found, paid by the identity of --key: convict, evict, veto
    #[arg(long)]
    act: bool,
    /// Look once
    #[arg(long)]
    once: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 12, conflicts_with = "once")]
    every: u64,
}

pub(crate) async fn run(args: Args, cx: &Context) -> Outcome {
    let (chain, deployment) = network::open(&args.chain, args.rpc.as_ref(), None).await?;
    deployment.check(&chain).await.map_err(silent)?;
    let place = format!("{}-{}", deployment.chain_id, deployment.registry);
    let path = cx.home.join(format!("watched-{place}.json"));
    std::fs::create_dir_all(&cx.home).map_err(|error| Failure::writing(&cx.home, &error))?;
    let nodes = args.node.iter().map(node_log).collect::<Result<Vec<_>, _>>()?;
    let mut watchman = Watchman::open(chain.clone(), deployment, path).map_err(trouble)?.with_nodes(nodes);
    if let Some(path) = &args.policy {
        watchman = watchman.with_policy(files::policy(path)?);
    }
    if let Some(path) = &args.collateral {
        let bytes = files::read(path, glacier_attest::Collateral::MAX_BYTES as u64)?;
        watchman = watchman.with_collateral(bytes).map_err(|error| {
            Failure::not_a("collateral", path, error, "pass one JSON object with the members of QuoteCollateralV3")
        })?;
    }
    if args.act {
        let key = cx.key()?;
        let key = OperatorKey::from_bytes(&key.identity().expose_secret())
            .map_err(|error| Failure::trouble("key", error.to_string(), "pick another identity with --key"))?;
        let path = cx.home.join(format!("watchman-{}-{}", chain.id(), key.address()));
        let outbox = Outbox::open(&path, key).map_err(|error| {
            Failure::trouble("outbox", error.to_string(), "end the other process that acts with this identity")
        })?;
        watchman = watchman.acting(Sender::new(chain, outbox));
    }
    if args.once {
        return once(&mut watchman, cx).await;
    }
    watch(&mut watchman, Duration::from_secs(args.every.max(1)), cx).await
}

async fn once(watchman: &mut Watchman, cx: &Context) -> Outcome {
    let round = watchman.look(now()).await.map_err(trouble)?;
    let exit = match (round.findings.is_empty(), round.unknown.is_empty()) {
        (false, _) => Exit::No,
        (true, false) => Exit::Trouble,
        (true, true) => Exit::Yes,
    };
    cx.output.report(&Looked(round))?;
    Ok(exit)
}

/// Until a signal. What was told is not told again while this process lives.
async fn watch(watchman: &mut Watchman, pause: Duration, cx: &Context) -> Outcome {
    let mut told = BTreeSet::new();
    let mut fault = None;
    loop {
        match watchman.look(now()).await {
            Ok(round) => {
                fault = None;
                for finding in &round.findings {
                    if told.insert(finding.to_string()) {
                        cx.output.line(finding)?;
                    }
                }
                for unknown in &round.unknown {
                    if told.insert(unknown.to_string()) {
                        cx.output.remark(unknown);
                    }
                }
            }
            // A disk that fails does not mend by itself.
            Err(error @ WatchError::Memory(_)) => return Err(trouble(error)),
            Err(error) => {
                let words = error.to_string();
                if fault.as_ref() != Some(&words) {
                    cx.output.remark(format_args!("{words}; trying again"));
                }
                fault = Some(words);
            }
        }
        tokio::time::sleep(pause).await;
    }
}

fn trouble(error: WatchError) -> Failure {
    match &error {
        WatchError::Memory(MemoryError::Io { path, error }) => Failure::writing(path, error),
        WatchError::Memory(_) => {
            Failure::trouble("watched", error.to_string(), "move the file away: everything is read again then")
        }
        _ => silent(error),
    }
}

/// What one look brought.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Looked(Round);

impl Report for Looked {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        let Round { block, keys, findings, unknown, .. } = &self.0;
        for finding in findings {
            writeln!(page, "{} {finding}", paint(crate::output::BAD, "✗"))?;
        }
        for unknown in unknown {
            writeln!(page, "{} {unknown}", paint(crate::output::WARN, "–"))?;
        }
        let found = match findings.len() {
            0 => "nothing found".to_owned(),
            1 => "1 finding".to_owned(),
            count => format!("{count} findings"),
        };
        writeln!(page, "{found}; {keys} keys, up to block {block}")
    }
}
