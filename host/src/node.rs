//! The node: one port, one enclave, one store.

use std::{
    collections::VecDeque,
    fs, io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use glacier_store::{Store, UploadId};
use glacier_wire::{
    Address,
    api::{RegistrationOrder, SettlementOrder},
    cbor,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, oneshot, watch},
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tracing::{debug, info, warn};

use crate::{
    checkpoints::Checkpoints,
    config::NodeConfig,
    danger::Meddler,
    enclave::{self, ChipInfo, Enclave},
    error::HostError,
    handover::{Handover, HandoverError, Known, Pause, Taken},
    http,
    log::Logs,
    orders::{Desk, RegistrationQuote},
    port::Service,
    presence::{Presence, Stage},
    proofs::Proofs,
    relay,
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
/// How long those who carry bytes may take to come to rest, peers that do not read included.
const AT_REST: Duration = Duration::from_secs(3);
/// How long what still uses the node's folder may take to let go of it at the end of a run.
const LETTING_GO: Duration = Duration::from_secs(2);
/// How often abandoned uploads are looked for.
const SWEEP: Duration = Duration::from_secs(600);

/// A running node. Dropping it ends it without ceremony; [`shutdown`](Self::shutdown) lets what is under way end.
pub struct Node {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: JoinHandle<Accepted>,
    supervising: JoinHandle<Option<enclave::Resting>>,
    /// How many runs there were before this one.
    runs: u64,
    presence: fs::File,
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
    phase: watch::Sender<Phase>,
    pausing: watch::Sender<bool>,
    pause: Pause,
}

/// What a node is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Ending,
    /// Ending, but for the enclave and those who are connected with it.
    HandingOver,
}

/// What is left of the port: the socket, and relayed connections at rest.
type Accepted = (TcpListener, Vec<relay::Resting>);

impl Node {
    /// Starts a node: its folder, its store, its enclave, its port.
    ///
    /// # Errors
    /// [`HostError`] says which of these failed. An enclave that ends *later* is started again.
    pub async fn start(config: NodeConfig) -> Result<Self, HostError> {
        Self::start_with(config, None).await
    }

    pub(crate) async fn start_with(config: NodeConfig, meddler: Option<Arc<dyn Meddler>>) -> Result<Self, HostError> {
        Self::begin(config, meddler, None).await
    }

    /// Starts a node around the enclave that an earlier run has [handed over](Self::hand_over). What it has of settings is for
    /// the next enclave; it listens where the earlier run did, unless they say another address.
    ///
    /// # Errors
    /// [`HostError`]. The enclave has ended then.
    pub async fn resume(config: NodeConfig, handover: Handover) -> Result<Self, HostError> {
        Self::begin(config, None, Some(handover)).await
    }

    /// Boxed, so that all of a node is compiled here and not anew in every program that starts one.
    fn begin(
        config: NodeConfig,
        meddler: Option<Arc<dyn Meddler>>,
        handover: Option<Handover>,
    ) -> Pin<Box<dyn Future<Output = Result<Self, HostError>> + Send>> {
        Box::pin(async move {
            let socket = prepare(&config.home)?;
            let uploads = handover.iter().flat_map(|handover| &handover.state.port.uploads);
            let uploads: Vec<_> = uploads.map(|upload| UploadId(*upload)).collect();
            let store = Store::open_keeping(config.home.join("store"), config.max_store_bytes, &uploads).await?;
            let runs = handover.as_ref().map_or(0, |handover| handover.state.runs.saturating_add(1));
            // Since the store is ours, the folder is.
            let in_home = |error: io::Error| HostError::Home(error.kind());
            let presence = Presence::take(&config.home, runs).map_err(in_home)?;
            let proofs = Proofs::open(&config.home.join("proofs.redb"))?;
            let checkpoints = Checkpoints::open(&config.home.join("checkpoints"), store.clone()).map_err(in_home)?;
            let unable = |error: io::Error| HostError::Listen { address: config.listen, kind: error.kind() };
            let taken = handover.map(Taken::apart).transpose()?;
            let (listener, resting, relays, known) = match taken {
                Some(Taken { listener, enclave, relays, known }) => (Some(listener), Some(enclave), relays, known),
                None => (None, None, Vec::new(), Known::default()),
            };
            let same = |listener: &TcpListener| listener.local_addr().is_ok_and(|now| serves(config.listen, now));
            // Before the enclave: a port that is taken is found out at once.
            let listener = match listener.filter(same) {
                Some(listener) => listener,
                None => TcpListener::bind(config.listen).await.map_err(unable)?,
            };
            let address = listener.local_addr().map_err(unable)?;
            let (dial, meddling) = (config.dial.clone().into(), meddler.clone());
            let showcase = Showcase::open(&config.home.join("evidence")).map_err(in_home)?;
            if let Some(evidence) = known.evidence {
                // Without it the page shows less.
                let _ = showcase.show(evidence).await;
            }
            let counters = Arc::new(Counters::new());
            counters.restarts.store(known.restarts, Relaxed);
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
            let (pausing, pause) = Pause::new();
            let enclave = match resting {
                Some(resting) => Enclave::resume(resting, service.clone(), pause.clone()),
                None => Enclave::launch(&config, &socket, service.clone(), pause.clone()).await?,
            };
            let shared = Arc::new(Shared {
                config,
                service,
                counters,
                samples: Samples::default(),
                chain: watch::Sender::new(None),
                meddler,
                socket,
                enclave: watch::Sender::new(Some(enclave.info.clone())),
                phase: watch::Sender::new(Phase::Running),
                pausing,
                pause,
            });
            info!(%address, "the node listens");
            let accepting = tokio::spawn(accept(listener, relays, Arc::clone(&shared)));
            let supervising = tokio::spawn(supervise(enclave, Arc::clone(&shared)));
            tokio::spawn(sample(Arc::clone(&shared)));
            Ok(Self { shared, address, accepting, supervising, runs, presence })
        })
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
        self.shared.stopped().await;
    }

    /// Tells whoever looks into the node's folder what it is at: [`Stage::Starting`] until something else is said.
    pub fn say(&self, stage: &Stage) {
        if let Err(error) = Presence::say(&self.presence, self.runs, stage) {
            warn!(%error, "what the node is at is not to be read in its folder");
        }
    }

    /// Takes no new connections, lets open ones end for [`NodeConfig::drain_seconds`], ends the enclave and waits for it.
    pub async fn shutdown(mut self) {
        self.shared.phase.send_replace(Phase::Ending);
        let _ = (&mut self.accepting).await;
        let _ = (&mut self.supervising).await;
        info!("the node has ended");
    }

    /// Ends this run, and leaves the enclave, its registration, grants, jobs and sessions to the next: see
    /// [`resume`](Self::resume). HTTP requests have [`NodeConfig::drain_seconds`] to end; who connects meanwhile waits.
    ///
    /// # Errors
    /// [`HandoverError::NoEnclave`]; the node has ended then.
    pub async fn hand_over(mut self) -> Result<Handover, HandoverError> {
        self.shared.phase.send_replace(Phase::HandingOver);
        let accepted = (&mut self.accepting).await;
        let enclave = (&mut self.supervising).await;
        let (listener, relays) = accepted.map_err(|_| HandoverError::NoEnclave)?;
        let enclave = enclave.ok().flatten().ok_or(HandoverError::NoEnclave)?;
        let evidence = self.shared.service.showcase.page(None).await;
        let known = Known {
            runs: self.runs,
            restarts: self.shared.counters.restarts.load(Relaxed),
            evidence: evidence.map(|page| cbor::encode(&page.evidence)),
        };
        let handover = Taken { listener, enclave, relays, known }.together()?;
        // What streams an answer to somebody who has gone lets go of the store and the proofs when it notices.
        let alone = async {
            while Arc::strong_count(&self.shared) > 1 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let _ = timeout(LETTING_GO, alone).await;
        info!("the enclave is left to the next run");
        Ok(handover)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shared.phase.send_replace(Phase::Ending);
    }
}

impl Shared {
    /// For those who carry bytes.
    pub(crate) fn pause(&self) -> &Pause {
        &self.pause
    }

    pub(crate) fn enclave_socket(&self) -> &Path {
        &self.socket
    }

    /// Completes when the node is to end.
    pub(crate) async fn stopped(&self) {
        let mut phase = self.phase.subscribe();
        let _ = phase.wait_for(|phase| *phase != Phase::Running).await;
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

/// Whether a socket that listens at `now` is one that settings ask for.
fn serves(asked: SocketAddr, now: SocketAddr) -> bool {
    asked.ip() == now.ip() && (asked.port() == 0 || asked.port() == now.port())
}

async fn accept(listener: TcpListener, relays: Vec<relay::Resting>, shared: Arc<Shared>) -> Accepted {
    // Apart, so that slow HTTP keeps nobody from the enclave.
    let [relayed, served] = [(); 2].map(|()| Arc::new(Semaphore::new(shared.config.max_connections)));
    // Those that have said nothing yet, the oldest first: who speaks at once is not kept out by who does not.
    let mut silent: VecDeque<oneshot::Sender<()>> = VecDeque::new();
    let mut connections = JoinSet::new();
    for resting in relays {
        let (shared, relayed) = (Arc::clone(&shared), Arc::clone(&relayed));
        connections.spawn(async move {
            let _permit = relayed.try_acquire().ok()?;
            carry(resting, &shared).await
        });
    }
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
        silent.retain(|one| !one.is_closed());
        if silent.len() >= shared.config.max_connections {
            silent.pop_front();
            shared.counters.turned_away();
        }
        let (keep, kept) = oneshot::channel();
        silent.push_back(keep);
        let (shared, relayed, served) = (Arc::clone(&shared), Arc::clone(&relayed), Arc::clone(&served));
        connections.spawn(async move {
            let first = tokio::select! {
                first = first_byte(&stream) => first,
                _ = kept => None,
            };
            match first {
                Some(TLS) => {
                    let Ok(_permit) = relayed.try_acquire() else {
                        shared.counters.turned_away();
                        return None;
                    };
                    match relay::begin(stream, &shared).await {
                        Ok(begun) => return carry(begun, &shared).await,
                        Err(error) => debug!(error = %error.kind(), "the enclave takes no connection"),
                    }
                }
                Some(_) => match served.try_acquire() {
                    Ok(_permit) => http::serve(stream, &shared).await,
                    Err(_) => shared.counters.turned_away(),
                },
                None => {}
            }
            None
        });
    }
    let mut resting = Vec::new();
    if *shared.phase.borrow() == Phase::HandingOver {
        // First those who end, then those who go on. Who connects meanwhile waits for the next run to accept.
        let all = u32::try_from(shared.config.max_connections).unwrap_or(u32::MAX);
        let _ = timeout(shared.config.drain(), served.acquire_many(all)).await;
        shared.pausing.send_replace(true);
        let rest = async {
            while let Some(left) = connections.join_next().await {
                resting.extend(left.ok().flatten());
            }
        };
        let _ = timeout(AT_REST, rest).await;
    } else {
        let rest = async { while connections.join_next().await.is_some() {} };
        if timeout(shared.config.drain(), rest).await.is_err() {
            debug!("connections that did not end are closed");
        }
    }
    connections.shutdown().await;
    (listener, resting)
}

async fn carry(resting: relay::Resting, shared: &Shared) -> Option<relay::Resting> {
    let relayed = relay::relay(resting, shared).await;
    relayed.inspect_err(|error| debug!(error = %error.kind(), "a relayed connection broke")).ok().flatten()
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

/// Removes what nobody wants any more.
async fn tidy(shared: &Shared) {
    let Service { store, checkpoints, .. } = &shared.service;
    match store.sweep(shared.config.upload_age()).await {
        Ok(0) => {}
        Ok(removed) => info!(removed, "abandoned uploads removed"),
        Err(error) => warn!(%error, "abandoned uploads not removed"),
    }
    let Some(age) = shared.config.blob_age() else { return };
    let expired = match checkpoints.kept().await {
        Ok(kept) => store.expire(age, kept).await,
        Err(error) => Err(error.into()),
    };
    match expired {
        Ok(0) => {}
        Ok(removed) => info!(removed, "ciphertext that nobody has used removed"),
        Err(error) => warn!(%error, "ciphertext that nobody has used not removed"),
    }
}

/// Keeps an enclave running until the node ends.
async fn supervise(mut enclave: Enclave, shared: Arc<Shared>) -> Option<enclave::Resting> {
    let mut sweep = tokio::time::interval(SWEEP);
    let mut backoff = BACKOFF;
    let mut begun = tokio::time::Instant::now();
    loop {
        let why = tokio::select! {
            // First: a port that was paused for the next run has closed as well.
            biased;
            () = shared.stopped() => {
                if *shared.phase.borrow() == Phase::HandingOver {
                    return enclave.rest().await;
                }
                enclave.stop().await;
                return None;
            }
            why = enclave.ended() => why,
            _ = sweep.tick() => {
                tidy(&shared).await;
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
                () = shared.stopped() => return None,
            }
            backoff = backoff.saturating_mul(2).min(MAX_BACKOFF);
            let pause = shared.pause.clone();
            match Enclave::launch(&shared.config, &shared.socket, shared.service.clone(), pause).await {
                Ok(enclave) => break enclave,
                Err(error) => warn!(%error, "the enclave was not started again; the next try follows"),
            }
        };
        begun = tokio::time::Instant::now();
        shared.counters.restarts.fetch_add(1, Relaxed);
        shared.enclave.send_replace(Some(enclave.info.clone()));
    }
}
