//! `glacier chain deploy`: a network's contracts on a chain that others keep.

use super::{fault, part};
use crate::{
    context::{Context, now},
    error::{Exit, Failure, Outcome},
    network::{self, FLOOR},
    output::{Output, Report, WARN, field, paint},
};
use glacier_chain::{Deployment, Outbox, Plan, Realm, Sender};
use glacier_host::NodeConfig;
use glacier_wire::Measurement;
use serde::Serialize;
use std::{
    io::{self, Write},
    path::PathBuf,
};
use url::Url;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// JSON-RPC of the chain (http or https)
    #[arg(long, value_name = "URL", env = "GLACIER_RPC", hide_env_values = true)]
    rpc: Url,
    /// Trust the root of this home's simulated chip instead of Intel's: a SIMULATED network, which says so everywhere
    #[arg(long)]
    simulated: bool,
    /// The same with another root
    #[arg(long, value_name = "PEM", conflicts_with = "simulated")]
    simulated_root: Option<PathBuf>,
    /// Code that may earn; on a production network two days later [default on simulated ones: the enclave beside this program]
    #[arg(long, value_name = "HEX")]
    measurement: Vec<Measurement>,
    /// Blocks until a transaction is final, its own included
    #[arg(long, value_name = "N", default_value_t = 12)]
    confirmations: u64,
    /// Where to write the addresses
    #[arg(short, long, value_name = "FILE", default_value = "deployment.json")]
    output: PathBuf,
}

pub(super) async fn run(args: Args, cx: &Context) -> Outcome {
    if args.output.exists() {
        let help = "move it away, or name another output with -o";
        return Err(Failure::trouble("file-write", format!("{} exists already", args.output.display()), help));
    }
    let key = cx.key()?;
    let chain = network::connect(args.rpc, None, args.confirmations).await?;
    // What was under way when this was killed goes on from here.
    let mut journal = args.output.clone().into_os_string();
    journal.push(".outbox");
    let journal = PathBuf::from(journal);
    let outbox = Outbox::open(&journal, network::operator_key(&key)?).map_err(fault)?;
    let sender = Sender::new(chain, outbox);
    let owner = sender.address();
    let root = match &args.simulated_root {
        Some(path) => Some(part::simulated_root(path)?),
        None if args.simulated => Some(own_root(cx)?),
        None => None,
    };
    let mut measurements = args.measurement;
    if root.is_some() && measurements.is_empty() {
        let program = NodeConfig::new(cx.home.join("node")).enclave;
        let measured = glacier_simulator::measure_file(&program);
        measurements.push(measured.map_err(|error| Failure::reading(&program, &error))?);
    }
    // Days begin at midnight UTC, and a deployment that is taken up again has the same plan.
    let now = sender.chain().head().await.map_err(fault)?.timestamp;
    let begins = now - now % 86_400;
    let plan = match root {
        Some(root) => Plan::simulated(root, owner, begins),
        None => Plan::production(owner, owner, begins),
    };
    let deployment = Deployment::deploy(&sender, &plan).await.map_err(fault)?;
    deployment.check(sender.chain()).await.map_err(fault)?;
    for measurement in &measurements {
        deployment.announce(&sender, measurement.0, FLOOR).await.map_err(fault)?;
    }
    if deployment.realm == Realm::Simulated {
        deployment.allow_proposing(&sender, owner).await.map_err(fault)?;
    }
    network::write(&args.output, &deployment)?;
    drop(sender);
    let _ = std::fs::remove_file(&journal);
    report(cx.output, &args.output, deployment)
}

/// The root of the chip that a node of this home has; made where there is none.
fn own_root(cx: &Context) -> Result<Vec<u8>, Failure> {
    let folder = cx.home.join("node").join("chip");
    let home = glacier_simulator::Home::open(&folder, now());
    let home = home.map_err(|error| {
        Failure::trouble(
            "simulated-hardware",
            format!("{}: {error}", folder.display()),
            "remove the folder to make new hardware",
        )
    })?;
    Ok(home.vendor.root_der().to_vec())
}

fn report(output: Output, file: &std::path::Path, deployment: Deployment) -> Outcome {
    output.report(&Deployed { file: file.to_owned(), deployment })?;
    Ok(Exit::Yes)
}

#[derive(Serialize)]
struct Deployed {
    file: PathBuf,
    #[serde(flatten)]
    deployment: Deployment,
}

impl Report for Deployed {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        let deployment = &self.deployment;
        field(page, "chain", deployment.chain_id)?;
        for (name, address) in [
            ("collateral", deployment.collateral),
            ("verifier", deployment.verifier),
            ("router", deployment.router),
            ("policy", deployment.policy),
            ("registry", deployment.registry),
            ("ledger", deployment.ledger),
            ("vault", deployment.vault),
            ("token", deployment.token),
            ("escrow", deployment.escrow),
            ("anchor", deployment.anchor),
        ] {
            field(page, name, address)?;
        }
        if deployment.realm == Realm::Simulated {
            field(page, "network", paint(WARN, "SIMULATED: it trusts the root that was named, not Intel's"))?;
        }
        field(page, "written to", self.file.display())
    }
}
