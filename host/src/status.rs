//! What a node says of itself.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Instant,
};

use glacier_wire::Address;

use crate::{enclave::ChipInfo, metrics::Metrics};

/// `GET /status`. Said by the host, so worth as much as the host: believe evidence.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Status {
    /// Version of the host.
    pub version: String,
    /// Whether there is an enclave now.
    pub state: EnclaveState,
    /// What the chip announced; absent while the enclave is down.
    pub enclave: Option<ChipInfo>,
    /// How often the enclave was started again. Each time, what was granted before became void.
    pub restarts: u64,
    /// Seconds since the node was started.
    pub uptime_seconds: u64,
    /// Connections that are relayed now.
    pub relayed_now: u64,
    /// Connections relayed since the start.
    pub relayed_connections: u64,
    /// Bytes from clients to the enclave.
    pub bytes_to_enclave: u64,
    /// Bytes from the enclave to clients.
    pub bytes_to_clients: u64,
    /// Bytes in the store.
    pub store_bytes: u64,
    /// Most bytes there may be in the store.
    pub store_max_bytes: u64,
    /// Assets in the store.
    pub blobs: u64,
    /// Uploads that are not complete.
    pub uploads: u64,
    /// Work Proofs kept.
    pub proofs: u64,
    /// Where the node settles; absent for one that does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settles: Option<Settles>,
    /// How the operator stands there; absent until it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<ChainStanding>,
}

/// How a node's operator stands on the chain. The host has no chain: whoever started the node tells it, by
/// [`Node::report_chain`](crate::Node::report_chain). Amounts are decimal, in units of 10^-18 tokens.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ChainStanding {
    /// Whether the network trusts a root that somebody made: its token is worth nothing.
    pub simulated: bool,
    /// Who is paid.
    pub owner: Address,
    /// The key that is registered.
    pub enclave_key: Option<Address>,
    /// Until when it is registered, in seconds since 1970; absent where it is not.
    pub live_until: Option<u64>,
    /// Whether its work is settled now.
    pub earns: bool,
    /// Proofs of that key that are settled.
    pub settled: u64,
    /// Units of that key that are settled.
    pub units: u64,
    /// Tokens of the owner.
    pub balance: String,
    /// Tokens behind the chip.
    pub bond: String,
    /// Transactions that are under way.
    pub under_way: u64,
    /// Whether what was tried last has failed and is tried again. What failed is for the operator's eyes.
    pub waits: bool,
    /// When this was so, in seconds since 1970.
    pub asked_at: u64,
}

/// Where a node's work counts: what a manifest names for its proof to be paid here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Settles {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// The contract, `WorkLedger`.
    pub ledger: Address,
}

/// Whether there is an enclave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EnclaveState {
    /// It runs.
    Up,
    /// It ended and is being started again.
    Down,
}

pub(crate) struct Counters {
    pub(crate) started: Instant,
    pub(crate) restarts: AtomicU64,
    pub(crate) relayed_now: AtomicU64,
    pub(crate) relayed_connections: AtomicU64,
    pub(crate) bytes_to_enclave: AtomicU64,
    pub(crate) bytes_to_clients: AtomicU64,
    pub(crate) metrics: Metrics,
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            restarts: AtomicU64::new(0),
            relayed_now: AtomicU64::new(0),
            relayed_connections: AtomicU64::new(0),
            bytes_to_enclave: AtomicU64::new(0),
            bytes_to_clients: AtomicU64::new(0),
            metrics: Metrics::default(),
        }
    }

    /// A connection was closed at once.
    pub(crate) fn turned_away(&self) {
        self.metrics.turned_away.fetch_add(1, Relaxed);
    }

    /// Counts a relayed connection until the guard is dropped, and says which it is.
    pub(crate) fn relaying(&self) -> Relaying<'_> {
        self.relayed_now.fetch_add(1, Relaxed);
        let number = self.relayed_connections.fetch_add(1, Relaxed).saturating_add(1);
        Relaying { counters: self, number }
    }
}

pub(crate) struct Relaying<'a> {
    counters: &'a Counters,
    pub(crate) number: u64,
}

impl Drop for Relaying<'_> {
    fn drop(&mut self) {
        self.counters.relayed_now.fetch_sub(1, Relaxed);
    }
}
