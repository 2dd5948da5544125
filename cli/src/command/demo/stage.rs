//! What the ceremony needs: a folder, a node behind a recording relay, three parties.

use super::wire::Wire;
use crate::{
    command::{
        chain::part::{Part, Setting},
        node::root,
    },
    error::Failure,
    explain,
};
use glacier::{Freshness, Key, Keystore, Node, Policy, Session, policy, session::ConnectError};
use glacier_host::{LaunchError, NodeConfig};
use glacier_wire::{Digest, EnclaveId, Measurement};
use std::{
    fs, io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{SystemTime, UNIX_EPOCH},
};
use zeroize::Zeroizing;

/// Where everything is kept; removed at the end unless the caller named it.
pub(super) struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    pub(super) fn make(named: Option<PathBuf>) -> Result<Self, Failure> {
        let keep = named.is_some();
        let path = named.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            std::env::temp_dir().join(format!("glacier-demo-{}-{}", std::process::id(), now.as_nanos()))
        });
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Failure::trouble(
                "file-write",
                format!("{} exists already", path.display()),
                "name a new folder: keys are never mixed with older ones",
            ),
            _ => Failure::writing(&path, &error),
        })?;
        Ok(Self { path, keep })
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A folder for what is made on the way.
    pub(super) fn scratch(&self) -> Result<PathBuf, Failure> {
        let path = self.path.join("made");
        fs::create_dir_all(&path).map_err(|error| Failure::writing(&path, &error))?;
        Ok(path)
    }

    pub(super) fn kept(&self) -> Option<PathBuf> {
        self.keep.then(|| self.path.clone())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// A party: its own key store, its own way to the node.
pub(super) struct Party {
    pub(super) name: &'static str,
    pub(super) keys: Keystore,
    pub(super) key: Key,
    pub(super) node: Node,
}

impl Party {
    fn new(name: &'static str, folder: &Folder, node: &str) -> Result<Self, Failure> {
        let keys = Keystore::open(folder.file(name)).map_err(explain::keystore)?;
        let key = keys.load_or_create(&glacier::KeyName::default_key()).map_err(explain::keystore)?;
        Ok(Self { name, keys, key, node: Node::at(node).map_err(explain::node)? })
    }

    pub(super) async fn connect(&self, policy: &Policy, freshness: Freshness) -> Result<Session, ConnectError> {
        self.node.connect(policy, self.key.identity(), freshness).await
    }
}

/// The set stage.
pub(super) struct Stage {
    pub(super) hospital: Party,
    pub(super) firm: Party,
    pub(super) operator: Party,
    /// Where the parties reach the node: the recording relay in front of it.
    pub(super) address: String,
    pub(super) wire: Wire,
    /// Everything that the host keeps on disk.
    pub(super) state: PathBuf,
    pub(super) policy: Policy,
    pub(super) measurement: Measurement,
    pub(super) enclave_id: EnclaveId,
    /// Where the node registers and is paid: a chain of its own.
    pub(super) part: Part,
    /// Seconds by which that chain's clock is ahead.
    ahead: Arc<AtomicU64>,
    secrets: Mutex<Vec<Zeroizing<Vec<u8>>>>,
    running: Arc<glacier_host::Node>,
}

impl Stage {
    /// Starts the node and the relay in front of it, and gives each party its keys. What the parties
    /// accept comes from their own copy of the enclave program, not from the node.
    pub(super) async fn set(folder: &Folder) -> Result<Self, Failure> {
        let state = folder.file("node");
        let mut config = NodeConfig::new(&state);
        config.listen.set_port(0);
        let (program, chain) = (config.enclave.clone(), config.chain.clone());
        let running = Arc::new(glacier_host::Node::start(config).await.map_err(explain::host)?);
        let measurement =
            glacier_simulator::measure_file(&program).map_err(|error| Failure::reading(&program, &error))?;
        let chip = running.info().ok_or_else(|| explain::host(LaunchError::Ended.into()))?;

        let (wire, relay) = Wire::tap(running.address()).await.map_err(|error| {
            Failure::trouble("port", format!("cannot listen on this machine: {error}"), "check the limits of this user")
        })?;
        let address = format!("http://{relay}");
        let text = policy::simulated_policy(&root(&chip)?, &measurement, &chip.enclave_id);
        let file = folder.file("policy.toml");
        policy::write_policy(&file, &text).map_err(|error| explain::policy(&file, error))?;
        let operator = Party::new("operator", folder, &address)?;
        let ahead = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&ahead);
        let setting = Setting {
            node: Arc::clone(&running),
            home: &state,
            config: &chain,
            operator: &operator.key,
            measurement,
            clock: Some(Arc::new(move || crate::context::now().0 + clock.load(Relaxed))),
        };
        let part = Part::start(setting, false).await?;
        let stage = Self {
            hospital: Party::new("hospital", folder, &address)?,
            firm: Party::new("firm", folder, &address)?,
            operator,
            address,
            wire,
            state,
            policy: policy::parse_policy(&text).map_err(|error| explain::policy(&file, error))?,
            measurement,
            enclave_id: chip.enclave_id,
            part,
            ahead,
            secrets: Mutex::default(),
            running,
        };
        for party in [&stage.hospital, &stage.firm, &stage.operator] {
            stage.keep_from_host(party.key.identity().expose_secret().as_slice());
            stage.keep_from_host(party.key.age().expose());
        }
        Ok(stage)
    }

    /// An asset as the host has it.
    pub(super) fn stored(&self, asset: &Digest) -> Result<Vec<u8>, Failure> {
        let path = self.state.join("store").join("blobs").join(asset.to_string());
        fs::read(&path).map_err(|error| Failure::reading(&path, &error))
    }

    /// Notes a key that the host must never see.
    pub(super) fn keep_from_host(&self, key: &[u8]) {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner).push(Zeroizing::new(key.to_vec()));
    }

    /// All such keys.
    pub(super) fn secrets(&self) -> Vec<Zeroizing<Vec<u8>>> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts the clock of the node's chain forward by a day: an epoch.
    pub(super) fn pass_a_day(&self) {
        self.ahead.fetch_add(86_400, Relaxed);
    }

    /// Stops the node. Tells whether its enclave's process has ended.
    pub(super) async fn end(self) -> bool {
        let Self { hospital, firm, operator, part, running, .. } = self;
        let enclave = running.info().map(|chip| PathBuf::from(format!("/proc/{}", chip.pid)));
        // Connections that are kept for more requests would have the node wait for them.
        drop((hospital, firm, operator));
        part.end().await;
        if let Ok(running) = Arc::try_unwrap(running) {
            running.shutdown().await;
        }
        enclave.is_some_and(|process| !process.exists())
    }
}
