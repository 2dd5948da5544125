//! The chain that a proof is looked up on.

use crate::{
    error::Failure,
    network,
    output::{Output, field},
    progress,
};
use glacier_chain::{Deployment, Live, LiveCheck, NodeLog, Observer, Question, Realm};
use glacier_proof::Bundle;
use serde::Serialize;
use std::{
    io::{self, Write},
    path::PathBuf,
};
use url::Url;

use crate::checks::{self, Line};
use glacier_attest::Verdict;

/// Which network, and who is asked about it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ChainArgs {
    /// The network's contracts, as its deployment wrote them (JSON)
    #[arg(long, value_name = "FILE", env = "GLACIER_CHAIN", hide_env_values = true)]
    pub(crate) chain: Option<PathBuf>,
    /// JSON-RPC of the network's chain [default: what the file `rpc` beside the contracts says, or http://127.0.0.1:8545]
    #[arg(long, value_name = "URL", env = "GLACIER_RPC", hide_env_values = true, requires = "chain")]
    pub(crate) rpc: Option<Url>,
}

/// The log of a node.
pub(crate) fn node_log(url: &Url) -> Result<NodeLog, Failure> {
    NodeLog::at(url)
        .map_err(|error| Failure::trouble("node", error.to_string(), "pass an address such as http://127.0.0.1:8480"))
}

/// The chain gave no answer.
pub(crate) fn silent(error: impl std::fmt::Display) -> Failure {
    Failure::trouble(
        "chain",
        error.to_string(),
        "check --rpc and --chain; `glacier verify proof` without --chain checks what needs no chain",
    )
}

/// What the chain said of a proof.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Found {
    pub(crate) verdict: Verdict,
    realm: Realm,
    chain_id: u64,
    checks: Vec<Line>,
    quote: Vec<Line>,
    /// Until when the key is live, seconds since 1970.
    live_until: Option<u64>,
    /// Who is paid for its work.
    owner: Option<String>,
    #[serde(skip)]
    pub(crate) live: Live,
}

/// Asks the chain.
pub(crate) async fn look_up(
    args: &ChainArgs,
    node: Option<&Url>,
    bundle: &Bundle,
    question: Question<'_>,
    output: Output,
) -> Result<Option<Found>, Failure> {
    let Some(file) = &args.chain else { return Ok(None) };
    let node = node.map(node_log).transpose()?;
    let spinner = progress::spinner(output, "asking the chain");
    let found = async {
        let (chain, deployment) = network::open(file, args.rpc.as_ref(), None).await?;
        let observer = Observer::new(chain, deployment);
        let live = observer.look_up(bundle, Question { node: node.as_ref(), ..question }).await.map_err(silent)?;
        Ok(Found::new(live, observer.deployment()))
    };
    let found = found.await;
    spinner.finish_and_clear();
    found.map(Some)
}

impl Found {
    fn new(live: Live, deployment: &Deployment) -> Self {
        Self {
            verdict: live.verdict(),
            realm: deployment.realm,
            chain_id: deployment.chain_id,
            checks: live.checks.iter().map(line).collect(),
            quote: checks::lines(&live.quote),
            live_until: live.status.map(|status| status.live_until),
            owner: live.status.map(|status| status.owner.to_string()),
            live,
        }
    }

    pub(crate) fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        let simulated = if self.realm == Realm::Simulated { " (SIMULATED network)" } else { "" };
        writeln!(page, "on chain {}{simulated}", self.chain_id)?;
        checks::tree(page, &self.checks, Some(("chain-quote", &self.quote)))
    }

    pub(crate) fn facts(&self, page: &mut dyn Write) -> io::Result<()> {
        if let Some(owner) = &self.owner {
            field(page, "paid to", owner)?;
        }
        Ok(())
    }
}

fn line(check: &LiveCheck) -> Line {
    let reason = check.fault.as_ref().map(ToString::to_string).unwrap_or_default();
    Line { device: None, id: check.id.as_str(), outcome: check.outcome(), reason }
}
