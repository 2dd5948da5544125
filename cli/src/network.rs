//! A network: its contracts as a file names them, and whoever answers for its chain.

use crate::{command::chain::fault, context::Context, error::Failure, files};
use glacier::Key;
use glacier_chain::{Chain, Deployment, Operator, OperatorKey, Outbox, Remote, Sender};
use std::path::{Path, PathBuf};
use url::Url;

/// Which network, for whoever acts there by a key of this home.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct NetworkArgs {
    /// The network's contracts, as `glacier chain deploy` wrote them [default: those of the node in the home]
    #[arg(long, value_name = "FILE", env = "GLACIER_CHAIN", hide_env_values = true)]
    deployment: Option<PathBuf>,
    /// JSON-RPC of the network's chain [default: what the file `rpc` beside the contracts says, or http://127.0.0.1:8545]
    #[arg(long, value_name = "URL", env = "GLACIER_RPC", hide_env_values = true)]
    rpc: Option<Url>,
    /// Blocks until a transaction is final, its own included [default: 12; 1 on a node's own chain]
    #[arg(long, value_name = "N")]
    confirmations: Option<u64>,
}

impl NetworkArgs {
    /// The key that `--key` names, at work there. What an earlier call had under way goes on.
    pub(crate) async fn account(&self, cx: &Context) -> Result<Operator, Failure> {
        let key = operator_key(&cx.key()?)?;
        let own = || cx.home.join("node").join("chain").join(DEPLOYMENT);
        let file = self.deployment.clone().unwrap_or_else(own);
        let (chain, deployment) = open(&file, self.rpc.as_ref(), self.confirmations).await?;
        deployment.check(&chain).await.map_err(fault)?;
        let outbox = cx.home.join(format!("account-{}-{}", chain.id(), key.address()));
        let outbox = Outbox::open(&outbox, key).map_err(fault)?;
        Ok(Operator::new(Sender::new(chain, outbox), deployment))
    }
}

/// Beside a deployment: where the node's own chain answers.
pub(crate) const RPC: &str = "rpc";
/// The contracts of the node's own chain.
pub(crate) const DEPLOYMENT: &str = "deployment.json";
/// Worst standing that announced code may run on: `ConfigurationAndSWHardeningNeeded`.
pub(crate) const FLOOR: u8 = 3;
/// Where a chain is looked for that nobody names.
const LOCAL: &str = "http://127.0.0.1:8545";
/// The largest deployment that is read.
const MAX_DEPLOYMENT: u64 = 64 << 10;
/// The longest address that is read.
const MAX_ADDRESS: u64 = 1 << 10;

/// The contracts in a file, and their chain: at `rpc`, else where a file beside it says, else on this machine.
pub(crate) async fn open(
    file: &Path,
    rpc: Option<&Url>,
    confirmations: Option<u64>,
) -> Result<(Chain, Deployment), Failure> {
    let deployment = read(file)?;
    let beside = if rpc.is_none() { beside(file)? } else { None };
    // What a node's own chain has answered is final.
    let least = if beside.is_some() { 1 } else { DEEP };
    let url = match rpc.cloned().or(beside) {
        Some(url) => url,
        None => url(LOCAL)?,
    };
    let chain = connect(url, Some(deployment.chain_id), confirmations.unwrap_or(least)).await?;
    Ok((chain, deployment))
}

/// Blocks until a transaction is final, on a chain of others.
const DEEP: u64 = 12;

/// Connects to a chain that others keep. Without `expected` its own word for its id is taken.
pub(crate) async fn connect(url: Url, expected: Option<u64>, confirmations: u64) -> Result<Chain, Failure> {
    let mut remote = Remote::new(url, expected.unwrap_or_default());
    remote.confirmations = confirmations;
    if expected.is_none() {
        remote.chain_id = Chain::ask_id(&remote).await.map_err(fault)?;
    }
    Chain::connect(&remote).await.map_err(fault)
}

/// A chain's address.
pub(crate) fn url(text: &str) -> Result<Url, Failure> {
    text.parse().map_err(|_| Failure::trouble("usage", "--rpc is no URL", "pass an http or https URL"))
}

/// A deployment file.
pub(crate) fn read(path: &Path) -> Result<Deployment, Failure> {
    let text = files::read(path, MAX_DEPLOYMENT)?;
    serde_json::from_slice(&text)
        .map_err(|error| Failure::not_a("a deployment", path, error, "pass the file that `glacier chain deploy` wrote"))
}

/// Writes a new deployment file.
pub(crate) fn write(path: &Path, deployment: &Deployment) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(deployment).map_err(fault)?;
    files::write_new(path, text.as_bytes())
}

/// The signing half of a key.
pub(crate) fn operator_key(key: &Key) -> Result<OperatorKey, Failure> {
    OperatorKey::from_bytes(&key.identity().expose_secret()).map_err(fault)
}

/// The address in the file beside a deployment, while a node's own chain answers there.
fn beside(deployment: &Path) -> Result<Option<Url>, Failure> {
    let path = deployment.with_file_name(RPC);
    if !path.exists() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&files::read(&path, MAX_ADDRESS)?).into_owned();
    let parsed = text.trim().parse();
    parsed
        .map(Some)
        .map_err(|error| Failure::not_a("the address of a chain", &path, error, "name the chain with --rpc"))
}
