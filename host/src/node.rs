//! The node: one port, one enclave, one store.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use glacier_store::Store;
use glacier_wire::{
    Address,
    api::{RegistrationOrder, SettlementOrder},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tracing::{debug, info, warn};

use crate::{
    checkpoints::Checkpoints,
    config::NodeConfig,
    danger::Meddler,
    enclave::{ChipInfo, Enclave},
    error::HostError,
    http,
    log::Logs,
    orders::{Desk, RegistrationQuote},
    port::Service,
    proofs::Proofs,
    relay::relay,
    samples::{self, Samples},
    showcase::Showcase,
    status::{ChainStanding, Counters, EnclaveState, Settles, Status},
};

/// First byte of a TLS handshake record: no HTTP method begins with it.
const TLS: u8 = 0x16;
/// How long a connection may take to send its first byte.
const FIRST_BYTE: Duration = Duration::from_secs(10);
/// Pause before an enclave that ended is started again; doubled up to the limit each time it fails at once.
const BACKOFF: Duration = Duration::from_millis(250);
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// An enclave that lived this long had nothing wrong with its start.
const LIVED: Duration = Duration::from_secs(60);
/// How often abandoned uploads are looked for.
const SWEEP: Duration = Duration::from_secs(600);

/// A running node. Dropping it ends it without ceremony; [`shutdown`](Self::shutdown) lets what is under way end.
pub struct Node {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: JoinHandle<()>,
    supervising: JoinHandle<()>,
}

/// What every part of the node sees.
pub(crate) struct Shared {
    pub(crate) config: NodeConfig,
    pub(crate) service: Service,
    pub(crate) counters: Arc<Counters>,
    pub(crate) samples: Samples,
    pub(crate) meddler: Option<Arc<dyn Meddler>>,
    socket: PathBuf,
    enclave: watch::Sender<Option<ChipInfo>>,
    chain: watch::Sender<Option<ChainStanding>>,
    stop: watch::Sender<bool>,
}

impl Node {
    /// Starts a node: its folder, its store, its enclave, its port.
    ///
    /// # Errors
    /// [`HostError`] says which of these failed. An enclave that ends *later* is started again.
    pub async fn start(config: NodeConfig) -> Result<Self, HostError> {
        Self::start_with(config, None).await
    }

    pub(crate) async fn start_with(config: NodeConfig, meddler: Option<Arc<dyn Meddler>>) -> Result<Self, HostError> {
        let socket = prepare(&config.home)?;
        let store = Store::open(config.home.join("store"), config.max_store_bytes).await?;
        let proofs = Proofs::open(&config.home.join("proofs.redb"))?;
        let checkpoints = Checkpoints::open(&config.home.join("checkpoints"), store.clone())
            .map_err(|error| HostError::Home(error.kind()))?;
        let unable = |error: io::Error| HostError::Listen { address: config.listen, kind: error.kind() };
        // Before the enclave: a port that is taken is found out at once.
        let listener = TcpListener::bind(config.listen).await.map_err(unable)?;
        let address = listener.local_addr().map_err(unable)?;
        let (dial, meddling) = (config.dial.clone().into(), meddler.clone());
        let showcase = Showcase::open(&config.home.join("evidence")).map_err(|error| HostError::Home(error.kind()))?;
        let counters = Arc::new(Counters::new());
        let service = Service {
            store,
            proofs,
            checkpoints,
            desk: Desk::default(),
            dial,
            showcase,
            counters: Arc::clone(&counters),
            meddler: meddling,
        };
        let enclave = Enclave::launch(&config, &socket, service.clone()).await?;
        let shared = Arc::new(Shared {
            config,
            service,
            counters,
            samples: Samples::default(),
            chain: watch::Sender::new(None),
            meddler,
            socket,
            enclave: watch::Sender::new(Some(enclave.info.clone())),
            stop: watch::Sender::new(false),
        });
        info!(%address, "the node listens");
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        let supervising = tokio::spawn(supervise(enclave, Arc::clone(&shared)));
        tokio::spawn(sample(Arc::clone(&shared)));
        Ok(Self { shared, address, accepting, supervising })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the chip announced; `None` while the enclave is being started again.
    pub fn info(&self) -> Option<ChipInfo> {
        self.shared.enclave.borrow().clone()
    }

    /// Returns when the enclave that runs, or the next one, is another than `pid`, with what it is.
    pub async fn restarted(&self, pid: u32) -> Option<ChipInfo> {
        let mut changes = self.shared.enclave.subscribe();
        let other = changes.wait_for(|info| info.as_ref().is_some_and(|info| info.pid != pid)).await;
        other.ok().and_then(|info| info.clone())
    }

    /// What `GET /status` answers.
    pub async fn status(&self) -> Status {
        self.shared.status().await
    }

    /// Has this enclave, and each that follows, sign the heads of its log for this ledger; it begins at
    /// once and counts the units of all its proofs. One ledger at a time: a new order replaces the one before.
    pub fn order_settlement(&self, chain_id: u64, ledger: Address) {
        self.shared.service.desk.settle(SettlementOrder { chain_id, ledger });
    }

    /// Has the enclave's hardware quote its key for a registry. Waits for a new enclave if this one ends.
    ///
    /// # Errors
    /// [`HostError::Registration`]: not in time, refused by the enclave, or too many wait.
    pub async fn registration(
        &self,
        chain_id: u64,
        registry: Address,
        owner: Address,
        number: u32,
    ) -> Result<RegistrationQuote, HostError> {
        let order = RegistrationOrder { chain_id, registry, owner, number };
        Ok(self.shared.service.desk.register(order).await?)
    }

    /// What the page and `GET /status` say of the chain from now on: this node's host knows none.
    pub fn report_chain(&self, standing: Option<ChainStanding>) {
        self.shared.chain.send_replace(standing);
    }

    /// The logs of this node's enclaves, former ones included.
    pub fn logs(&self) -> Logs {
        self.shared.logs()
    }

    /// Returns when the node has been told to end.
    pub async fn wait(&self) {
        let mut stop = self.shared.stop.subscribe();
        let _ = stop.wait_for(|stop| *stop).await;
    }

    /// Takes no new connections, lets open ones end for [`NodeConfig::drain_seconds`], ends the enclave and waits for it.
    pub async fn shutdown(mut self) {
        self.shared.stop.send_replace(true);
        let _ = (&mut self.accepting).await;
        let _ = (&mut self.supervising).await;
        info!("the node has ended");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shared.stop.send_replace(true);
    }
}

impl Shared {
    pub(crate) fn enclave_socket(&self) -> &Path {
        &self.socket
    }

    /// Completes when the node is to end.
    pub(crate) async fn stopped(&self) {
        let mut stop = self.stop.subscribe();
        let _ = stop.wait_for(|stop| *stop).await;
    }

    pub(crate) fn logs(&self) -> Logs {
        Logs::new(self.service.proofs.clone())
    }

    pub(crate) async fn status(&self) -> Status {
        let enclave = self.enclave.borrow().clone();
        let usage = self.service.store.usage();
        let counters = &self.counters;
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            state: if enclave.is_some() { EnclaveState::Up } else { EnclaveState::Down },
            enclave,
            restarts: counters.restarts.load(Relaxed),
            uptime_seconds: counters.started.elapsed().as_secs(),
            relayed_now: counters.relayed_now.load(Relaxed),
            relayed_connections: counters.relayed_connections.load(Relaxed),
            bytes_to_enclave: counters.bytes_to_enclave.load(Relaxed),
            bytes_to_clients: counters.bytes_to_clients.load(Relaxed),
            store_bytes: usage.bytes,
            store_max_bytes: usage.max_bytes,
            blobs: usage.blobs,
            uploads: usage.unfinished,
            proofs: self.service.proofs.count().await.unwrap_or_default(),
            settles: self
                .service
                .desk
                .settled_at()
                .map(|SettlementOrder { chain_id, ledger }| Settles { chain_id, ledger }),
            chain: self.chain.borrow().clone(),
        }
    }
}

/// Makes the node's folder, private to its user, and says where the enclave's socket goes.
fn prepare(home: &Path) -> Result<PathBuf, HostError> {
    let private = |dir: &Path| {
        fs::create_dir_all(dir)?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
    };
    let run = home.join("run");
    private(home).and_then(|()| private(&run)).map_err(|error| HostError::Home(error.kind()))?;
    let socket = run.join("enclave.sock");
    // sockaddr_un has room for 107 bytes and a zero.
    if socket.as_os_str().len() > 107 {
        return Err(HostError::HomeTooLong);
    }
    Ok(socket)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Three pools, so that neither silence nor slow HTTP keeps anybody from the enclave.
    let [silent, relayed, served] = [(); 3].map(|()| Arc::new(Semaphore::new(shared.config.max_connections)));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.stopped() => break,
        };
        while connections.try_join_next().is_some() {}
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: it passes when connections end.
                warn!(error = %error.kind(), "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(waiting) = Arc::clone(&silent).try_acquire_owned() else {
            shared.counters.turned_away();
            continue;
        };
        let (shared, relayed, served) = (Arc::clone(&shared), Arc::clone(&relayed), Arc::clone(&served));
        connections.spawn(async move {
            let first = first_byte(&stream).await;
            drop(waiting);
            match first {
                Some(TLS) => {
                    let Ok(_permit) = relayed.try_acquire() else { return shared.counters.turned_away() };
                    if let Err(error) = relay(stream, &shared).await {
                        debug!(error = %error.kind(), "a relayed connection broke");
                    }
                }
                Some(_) => {
                    let Ok(_permit) = served.try_acquire() else { return shared.counters.turned_away() };
                    http::serve(stream, &shared).await;
                }
                None => {}
            }
        });
    }
    drop(listener);
    let rest = async { while connections.join_next().await.is_some() {} };
    if timeout(shared.config.drain(), rest).await.is_err() {
        debug!("connections that did not end are closed");
    }
    connections.shutdown().await;
}

async fn first_byte(stream: &TcpStream) -> Option<u8> {
    stream.set_nodelay(true).ok()?;
    let mut first = [0];
    let peeked = timeout(FIRST_BYTE, stream.peek(&mut first)).await.ok()?.ok()?;
    (peeked == 1).then_some(first[0])
}

/// Takes a sample now and then until the node ends.
async fn sample(shared: Arc<Shared>) {
    let mut due = tokio::time::interval(samples::INTERVAL);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = due.tick() => {}
            () = shared.stopped() => return,
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        shared.samples.take(now, &shared.status().await, &shared.counters.metrics);
    }
}

/// Keeps an enclave running until the node ends.
async fn supervise(mut enclave: Enclave, shared: Arc<Shared>) {
    let mut sweep = tokio::time::interval(SWEEP);
    let mut backoff = BACKOFF;
    let mut begun = tokio::time::Instant::now();
    loop {
        let why = tokio::select! {
            why = enclave.ended() => why,
            () = shared.stopped() => return enclave.stop().await,
            _ = sweep.tick() => {
                match shared.service.store.sweep(shared.config.upload_age()).await {
                    Ok(0) => {}
                    Ok(removed) => info!(removed, "abandoned uploads removed"),
                    Err(error) => warn!(%error, "abandoned uploads not removed"),
                }
                continue;
            }
        };
        let pid = enclave.info.pid;
        shared.enclave.send_replace(None);
        shared.service.showcase.close();
        warn!(pid, %why, "the enclave is gone: its keys died with it, and every grant made to it is void");
        enclave.stop().await;
        if begun.elapsed() > LIVED {
            backoff = BACKOFF;
        }
        enclave = loop {
            tokio::select! {
                () = tokio::time::sleep(backoff) => {}
                () = shared.stopped() => return,
            }
            backoff = backoff.saturating_mul(2).min(MAX_BACKOFF);
            match Enclave::launch(&shared.config, &shared.socket, shared.service.clone()).await {
                Ok(enclave) => break enclave,
                Err(error) => warn!(%error, "the enclave was not started again; the next try follows"),
            }
        };
        begun = tokio::time::Instant::now();
        shared.counters.restarts.fetch_add(1, Relaxed);
        shared.enclave.send_replace(Some(enclave.info.clone()));
    }
}
