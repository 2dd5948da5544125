//! One node, and parties to call it.

use crate::program;
use glacier::{Freshness, Key, KeyName, Keystore, Node, Policy, Session, policy::simulated_policy};
use glacier_host::{
    NodeConfig,
    danger::{self, Meddler},
};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};
use tempfile::TempDir;

/// A node with everything it started. Ends with it.
pub struct Rig {
    host: Option<glacier_host::Node>,
    config: NodeConfig,
    meddler: Option<Arc<dyn Meddler>>,
    home: TempDir,
    policy: Policy,
}

impl Rig {
    /// The AI enclave behind an honest host.
    pub async fn start() -> Self {
        Self::with(program("glacier-enclave"), None).await
    }

    /// The AI enclave behind a hostile host.
    pub async fn hostile(meddler: Arc<dyn Meddler>) -> Self {
        Self::with(program("glacier-enclave"), Some(meddler)).await
    }

    /// Any enclave program.
    pub async fn with(enclave: PathBuf, meddler: Option<Arc<dyn Meddler>>) -> Self {
        let home = TempDir::new().expect("a temporary folder");
        Self::at(home, LOOPBACK, enclave, meddler, Vec::new()).await
    }

    /// Any enclave program, whose host connects to these addresses when the enclave wants it to.
    pub async fn dialling(enclave: PathBuf, addresses: Vec<String>) -> Self {
        let home = TempDir::new().expect("a temporary folder");
        Self::at(home, LOOPBACK, enclave, None, addresses).await
    }

    async fn at(
        home: TempDir,
        listen: SocketAddr,
        enclave: PathBuf,
        meddler: Option<Arc<dyn Meddler>>,
        dial: Vec<String>,
    ) -> Self {
        let (chip, node) = (program("glacier-chip"), home.path().join("node"));
        let mut config = NodeConfig { listen, chip, enclave, dial, ..NodeConfig::new(node) };
        let host = start(&config, meddler.as_ref()).await;
        // The same address again after a restart.
        config.listen = host.address();
        let info = host.info().expect("a node that has started knows its chip");
        let root = info.root_fingerprint.to_string().parse().expect("a fingerprint");
        let policy = simulated_policy(&root, &info.measurement, &info.enclave_id);
        let policy = glacier::parse_policy(&policy).expect("the suggested policy is one");
        Self { host: Some(host), config, meddler, home, policy }
    }

    /// Ends the node. What is on its disk waits.
    pub async fn stop(mut self) -> Stopped {
        if let Some(host) = self.host.take() {
            host.shutdown().await;
        }
        Stopped { home: self.home, policy: self.policy, address: self.config.listen }
    }

    /// Ends the enclave at once, as a hostile operator or a power cut would. The host starts another.
    pub async fn kill_enclave(&self) {
        let pid = self.host().info().expect("an enclave runs").pid;
        crate::kill(pid);
        self.host().restarted(pid).await.expect("the host starts another");
    }

    /// The host's side of the node.
    pub fn host(&self) -> &glacier_host::Node {
        self.host.as_ref().expect("the node runs")
    }

    /// Ends the node, enclave included, and starts it again in the same folder and at the same address.
    pub async fn restart(&mut self) {
        if let Some(host) = self.host.take() {
            host.shutdown().await;
        }
        self.host = Some(start(&self.config, self.meddler.as_ref()).await);
    }

    /// Where clients call.
    pub fn url(&self) -> String {
        format!("http://{}", self.host().address())
    }

    /// The node as clients see it.
    pub fn node(&self) -> Node {
        Node::at(&self.url()).expect("the node's address is a URL")
    }

    /// Accepts this node's code on this node's chip, and says that it is simulated.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// A folder for a test's own files, and what the host wrote below `node/`.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A party with a key store of its own.
    pub fn party(&self, name: &str) -> Key {
        let keystore = Keystore::open(self.home.path().join(name)).expect("a new key store");
        keystore.load_or_create(&KeyName::default_key()).expect("a new key")
    }

    /// An attested session of a party.
    pub async fn session(&self, key: &Key) -> Session {
        let session = self.node().connect(&self.policy, key.identity(), Freshness::Cached).await;
        session.expect("an honest enclave is accepted")
    }
}

/// A node that does not run.
pub struct Stopped {
    home: TempDir,
    policy: Policy,
    address: SocketAddr,
}

impl Stopped {
    /// The same node again: its disk, its chip, its address; other keys.
    pub async fn start(self) -> Rig {
        let rig = Rig::at(self.home, self.address, program("glacier-enclave"), None, Vec::new()).await;
        assert_eq!(rig.policy, self.policy, "the chip is the same");
        rig
    }
}

/// Any free port of this machine.
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

async fn start(config: &NodeConfig, meddler: Option<&Arc<dyn Meddler>>) -> glacier_host::Node {
    let started = match meddler {
        Some(meddler) => danger::start(config.clone(), Arc::clone(meddler)).await,
        None => glacier_host::Node::start(config.clone()).await,
    };
    started.expect("the node starts")
}
