//! The chain beside a node: opened, deployed where it is the node's own, and kept.

use super::{control::Control, fault};
use crate::{
    error::Failure,
    files,
    network::{self, DEPLOYMENT, FLOOR, RPC},
};
use glacier::Key;
use glacier_chain::{
    Chain, Deployment, Embedded, Enclave, Genesis, Keeper, KeeperError, Operator, Outbox, Plan, Quoted, Running,
    Sender, Service, Standing, Terms, embedded::Clock, serve,
};
use glacier_host::{ChainConfig, ChainStanding, Node, ProofError};
use glacier_proof::{SignedCheckpoint, SignedProof};
use glacier_wire::{Address, LogHash, Measurement, api::RegistrationOrder};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::task::JoinHandle;

/// A keeper of a node of this process.
pub(crate) type NodeKeeper = Keeper<NodeEnclave>;

/// The node, as a keeper asks it.
pub(crate) struct NodeEnclave(Arc<Node>);

impl Enclave for NodeEnclave {
    async fn running(&self) -> Option<Running> {
        let status = self.0.status().await;
        // Numbers of processes come again.
        let start = |pid: u32| status.restarts.wrapping_shl(u32::BITS) | u64::from(pid);
        status.enclave.map(|chip| Running { enclave_id: chip.enclave_id, start: start(chip.pid) })
    }

    fn settle_at(&self, chain_id: u64, ledger: Address) {
        self.0.order_settlement(chain_id, ledger);
    }

    async fn quote(&self, order: RegistrationOrder) -> Result<Quoted, String> {
        let RegistrationOrder { chain_id, registry, owner, number } = order;
        let quoted = self.0.registration(chain_id, registry, owner, number).await.map_err(|error| error.to_string())?;
        Ok(Quoted { enclave_key: quoted.enclave_key, quote: quoted.quote, collateral: quoted.collateral })
    }

    async fn heads(&self, chain_id: u64, ledger: Address) -> Result<Vec<SignedCheckpoint>, String> {
        self.0.logs().signed_heads(chain_id, ledger).await.map_err(|error| error.to_string())
    }

    async fn proof(&self, key: Address, sequence: u64) -> Result<Option<SignedProof>, String> {
        self.0.logs().proof(key, sequence).await.map_err(|error| error.to_string())
    }

    async fn path(&self, key: Address, sequence: u64, size: u64) -> Result<Option<Vec<LogHash>>, String> {
        match self.0.logs().inclusion(key, sequence, size).await {
            Ok(page) => Ok(Some(page.path)),
            Err(ProofError::NoLog | ProofError::Log(_)) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The chain's part of a running node. It ends when this is dropped; what was under way goes on with the next run.
pub(crate) struct Part {
    pub(crate) keeper: Arc<NodeKeeper>,
    chain: PathBuf,
    task: Option<JoinHandle<()>>,
    telling: JoinHandle<()>,
    control: Control,
    _rpc: Option<Service>,
}

impl Part {
    /// Ends, and lets go of the node.
    pub(crate) async fn end(mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
        self.telling.abort();
        // So that it has let go of the node when this returns.
        let _ = (&mut self.telling).await;
        self.control.end().await;
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        self.telling.abort();
        let _ = fs::remove_file(self.chain.join(RPC));
    }
}

/// The largest root that is read.
const MAX_ROOT: u64 = 64 << 10;

/// Everything that the chain beside a node needs.
pub(crate) struct Setting<'a> {
    pub(crate) node: Arc<Node>,
    /// The node's folder.
    pub(crate) home: &'a Path,
    pub(crate) config: &'a ChainConfig,
    /// Who pays and is paid.
    pub(crate) operator: &'a Key,
    /// The code that the node runs: on a network of the node's own it may earn.
    pub(crate) measurement: Measurement,
    /// The time of the node's own chain, where it is not the machine's.
    pub(crate) clock: Option<Clock>,
}

impl Part {
    /// Opens or deploys, and begins to keep. `background` has it register, renew, settle and claim by itself.
    pub(crate) async fn start(setting: Setting<'_>, background: bool) -> Result<Self, Failure> {
        let folder = setting.home.join("chain");
        fs::create_dir_all(&folder).map_err(|error| Failure::writing(&folder, &error))?;
        let config = setting.config;
        let key = network::operator_key(setting.operator)?;
        let file = config.deployment.clone().unwrap_or_else(|| folder.join(DEPLOYMENT));
        let (chain, rpc) = match &config.rpc {
            Some(url) => {
                let deployment = network::read(&file)?;
                (network::connect(network::url(url)?, Some(deployment.chain_id), config.confirmations).await?, None)
            }
            None => {
                let (path, genesis) = (folder.join("chain.redb"), Genesis::funding([key.address()]));
                let opened = match setting.clock {
                    Some(clock) => Embedded::open_with_clock(&path, &genesis, clock),
                    None => Embedded::open(&path, &genesis),
                };
                let embedded = opened.map_err(|error| {
                    let help = "a chain belongs to the key that made it: name that with --key, or move the folder away";
                    Failure::trouble("chain", format!("{}: {error}", path.display()), help)
                })?;
                let rpc = serve(embedded.clone(), config.listen, Vec::new()).await.map_err(fault)?;
                let address = folder.join(RPC);
                fs::write(&address, format!("http://{}", rpc.address()))
                    .map_err(|error| Failure::writing(&address, &error))?;
                (Chain::embedded(embedded), Some(rpc))
            }
        };
        let outbox = Outbox::open(&folder.join("outbox.redb"), key).map_err(fault)?;
        let sender = Sender::new(chain.clone(), outbox);
        let deployment = if config.rpc.is_none() && !file.exists() {
            let deployment = deploy_own(&sender, setting.home).await?;
            network::write(&file, &deployment)?;
            deployment
        } else {
            network::read(&file)?
        };
        deployment.check(&chain).await.map_err(fault)?;
        if config.rpc.is_none() {
            deployment.announce(&sender, setting.measurement.0, FLOOR).await.map_err(fault)?;
            deployment.allow_proposing(&sender, sender.address()).await.map_err(fault)?;
        }
        let terms = Terms {
            proofs: config.checkpoint_proofs,
            wait: Duration::from_secs(config.checkpoint_seconds),
            ..Terms::default()
        };
        let terms = Terms { claim: terms.claim.filter(|_| config.claim), collect: config.collect_price, ..terms };
        let pause = if config.rpc.is_some() { PAUSE } else { terms.pause };
        let terms = Terms { pause, ..terms };
        let operator = Operator::new(sender, deployment);
        let keeper = Arc::new(Keeper::new(operator, NodeEnclave(Arc::clone(&setting.node)), terms));
        let control = Control::listen(setting.home, Arc::clone(&keeper)).map_err(|error| {
            Failure::trouble(
                "chain",
                format!("cannot listen in {}: {error}", folder.display()),
                "use a home with a shorter path",
            )
        })?;
        let task = background.then(|| {
            let keeper = Arc::clone(&keeper);
            tokio::spawn(async move { keeper.run().await })
        });
        let pause = if config.rpc.is_none() { LOOK_OWN } else { LOOK };
        let telling = tokio::spawn(tell(Arc::clone(&keeper), setting.node, pause));
        Ok(Self { keeper, chain: folder, task, telling, control, _rpc: rpc })
    }
}

/// Between two looks at how the operator stands: on the node's own chain, and on one of others, where each costs
/// a handful of questions to somebody's service.
const LOOK_OWN: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_secs(60);

/// Between two looks of the keeper at a chain of others: about one of its blocks.
const PAUSE: Duration = Duration::from_secs(12);

/// Tells the host, for its page, what it has no chain to ask.
async fn tell(keeper: Arc<NodeKeeper>, node: Arc<Node>, pause: Duration) {
    let mut last = None;
    loop {
        last = told(keeper.standing().await, last);
        node.report_chain(last.clone());
        tokio::time::sleep(pause).await;
    }
}

/// What is told of this standing. While the chain does not answer, what was said last stands there with its time, and that it
/// waits.
fn told(found: Result<Standing, KeeperError>, last: Option<ChainStanding>) -> Option<ChainStanding> {
    let Ok(standing) = found else {
        return last.map(|last| ChainStanding { waits: true, ..last });
    };
    Some(ChainStanding {
        simulated: standing.simulated,
        owner: Address(standing.owner.into_array()),
        enclave_key: standing.enclave_key,
        live_until: standing.live_until.filter(|until| *until > 0),
        earns: standing.earns,
        settled: standing.settled,
        units: standing.units,
        balance: standing.balance.to_string(),
        bond: standing.bond.active.to_string(),
        under_way: standing.under_way,
        // The words may name an address that is the operator's own.
        waits: standing.fault.is_some(),
        asked_at: crate::context::now().0,
    })
}

/// A network on the node's own chain: it trusts the root of this machine's simulated vendor.
async fn deploy_own(sender: &Sender, home: &Path) -> Result<Deployment, Failure> {
    let root = simulated_root(&home.join("chip").join("simulated-root.pem"))?;
    let now = sender.chain().head().await.map_err(fault)?.timestamp.max(crate::context::now().0);
    // Days begin at midnight UTC, and a deployment that is taken up again has the same plan.
    Deployment::deploy(sender, &Plan::simulated(root, sender.address(), now - now % 86_400)).await.map_err(fault)
}

/// The DER of a PEM file with one certificate.
pub(super) fn simulated_root(path: &Path) -> Result<Vec<u8>, Failure> {
    let text = files::read(path, MAX_ROOT)?;
    let not = |error: der::pem::Error| {
        Failure::not_a("a certificate", path, error, "pass the simulated root that the node wrote, in PEM")
    };
    der::pem::decode_vec(&text).map(|(_, der)| der).map_err(not)
}

#[cfg(test)]
mod tests {
    use super::*;
    use glacier_chain::Bond;

    #[test]
    fn while_the_chain_does_not_answer_the_last_standing_waits_with_its_time() {
        let standing = Standing {
            simulated: true,
            chain_id: 1,
            ledger: [1; 20].into(),
            owner: [2; 20].into(),
            enclave_id: None,
            enclave_key: None,
            live_until: Some(0),
            earns: true,
            settled: 3,
            units: 4,
            balance: "5".parse().unwrap_or_default(),
            bond: Bond::default(),
            under_way: 0,
            fault: None,
        };
        let down = || Err(KeeperError::Node("the chain does not answer".into()));
        assert_eq!(told(down(), None), None);
        let well = told(Ok(standing.clone()), None);
        assert_eq!(well.as_ref().map(|well| (well.waits, well.settled, well.live_until)), Some((false, 3, None)));
        let out = told(down(), well.clone());
        assert_eq!(out, well.clone().map(|well| ChainStanding { waits: true, ..well }));
        assert_eq!(told(Ok(standing), out).map(|back| back.waits), Some(false));
    }
}
