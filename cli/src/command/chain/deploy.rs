//! `glacier chain deploy`: a network's contracts on a chain that others keep.

use super::{fault, part};
use crate::{
    context::{Context, now},
    error::{Exit, Failure, Outcome},
    output::{Output, Report, WARN, field, paint},
};
use glacier_chain::{Deployment, Outbox, Plan, Realm, Sender};
use glacier_wire::Measurement;
use serde::Serialize;
use std::{
    io::{self, Write},
    path::PathBuf,
};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// JSON-RPC of the chain (http or https)
    #[arg(long, value_name = "URL", env = "GLACIER_RPC", hide_env_values = true)]
    rpc: String,
    /// Trust this root instead of Intel's: the network is then a SIMULATED one, and says so everywhere
    #[arg(long, value_name = "PEM")]
    simulated_root: Option<PathBuf>,
    /// Code that may earn from the beginning; on a production network two days later
    #[arg(long, value_name = "HEX")]
    measurement: Vec<Measurement>,
    /// Blocks until a transaction is final, its own included
    #[arg(long, value_name = "N", default_value_t = 12)]
    confirmations: u64,
    /// Where to write the addresses
    #[arg(short, long, value_name = "FILE", default_value = "deployment.json")]
    output: PathBuf,
}

/// Worst standing that announced code may run on: `ConfigurationAndSWHardeningNeeded`.
const FLOOR: u8 = 3;

pub(super) async fn run(args: Args, cx: &Context) -> Outcome {
    if args.output.exists() {
        let help = "move it away, or name another output with -o";
        return Err(Failure::trouble("file-write", format!("{} exists already", args.output.display()), help));
    }
    let key = cx.key()?;
    let chain = part::connect(&args.rpc, None, args.confirmations).await?;
    // What was under way when this was killed goes on from here.
    let mut journal = args.output.clone().into_os_string();
    journal.push(".outbox");
    let journal = PathBuf::from(journal);
    let outbox = Outbox::open(&journal, part::operator_key(&key)?).map_err(fault)?;
    let sender = Sender::new(chain, outbox);
    let owner = sender.address();
    let plan = match &args.simulated_root {
        Some(path) => Plan::simulated(part::simulated_root(path)?, owner, now().0),
        None => Plan::production(owner, owner, now().0),
    };
    let deployment = Deployment::deploy(&sender, &plan).await.map_err(fault)?;
    deployment.check(sender.chain()).await.map_err(fault)?;
    for measurement in &args.measurement {
        deployment.announce(&sender, measurement.0, FLOOR).await.map_err(fault)?;
    }
    if deployment.realm == Realm::Simulated {
        deployment.allow_proposing(&sender, owner).await.map_err(fault)?;
    }
    part::write_deployment(&args.output, &deployment)?;
    drop(sender);
    let _ = std::fs::remove_file(&journal);
    report(cx.output, &args.output, deployment)
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
