//! Transactions that are submitted once, whatever stops in between.
//!
//! An [`Intent`] has a key; whoever submits the same key again gets the first one. What happens to it
//! is written down before it is done:
//!
//! ```text
//! queued ── nonce, fees and signature on disk ──> sent ── deep enough ──> mined | reverted
//!    └── would revert, and nothing is before it ──> refused
//! ```
//!
//! - **Nothing twice.** A nonce is used once on a chain. What was signed for it is on disk before anyone
//!   sees it; after a crash the same bytes are sent again. A replacement with higher fees has the same
//!   nonce. An intent gets another nonce only after the transaction that took its nonce was found in a
//!   final block, with this key's signature, and is none of its own.
//! - **Nothing lost.** What is on disk is followed until it is as deep as the chain's
//!   [`confirmations`](crate::Chain::confirmations) ask. What a reorganisation drops is sent again.
//! - **Nothing believed that contradicts.** An answer that cannot be true together with what was signed,
//!   or with what was final, is a [`Contradiction`], and changes nothing.
//!
//! One key belongs to one outbox, and one outbox to one chain. What a service says that contradicts
//! nothing is believed: who lies consistently about which blocks there are can say that something is mined.

mod drive;
mod fees;
mod record;
mod verify;

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use alloy::primitives::{Address, B256, Bytes, U256};
use serde::{Deserialize, Serialize};
use tokio::{sync::Notify, time::Instant};

use crate::{chain::ChainError, key::OperatorKey};

pub use verify::Contradiction;

use record::{Record, State, Store};

/// What shall happen on the chain, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Names it: what has one key happens once. For example `checkpoint/<enclave key>/<size>`. At most 256
    /// bytes of printable ASCII, and not beginning with `outbox/`.
    pub key: String,
    /// Who is called; none deploys a contract.
    pub to: Option<Address>,
    /// Calldata, or the code that deploys. At most 120 KiB.
    pub data: Bytes,
    /// Wei that go along.
    pub value: U256,
    /// The most gas. Without it the chain is asked, and a quarter added.
    pub gas: Option<u64>,
}

impl Intent {
    /// A call without value.
    pub fn call(key: impl Into<String>, to: Address, data: impl Into<Bytes>) -> Self {
        Self { key: key.into(), to: Some(to), data: data.into(), value: U256::ZERO, gas: None }
    }

    /// A contract by its creation code, arguments included.
    pub fn deploy(key: impl Into<String>, code: impl Into<Bytes>) -> Self {
        Self { key: key.into(), to: None, data: code.into(), value: U256::ZERO, gas: None }
    }
}

/// An intent in an outbox, in the order of submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IntentId(pub u64);

/// What came of an intent. It does not change any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Outcome {
    /// Done.
    Mined(Mined),
    /// In a block, without effect: the contract reverted.
    Reverted {
        /// Where.
        mined: Mined,
        /// With what, as far as the chain tells: no consensus covers it.
        data: Bytes,
        /// The data in words, where it holds any.
        reason: Option<String>,
    },
    /// Never signed: by the chain's estimate it would revert, and nothing that could help is before it.
    Refused {
        /// With what.
        data: Bytes,
        /// The data in words, where it holds any, or the chain's message.
        reason: String,
    },
}

/// Where a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mined {
    /// Its hash.
    pub transaction: B256,
    /// The number of its block.
    pub block: u64,
    /// The hash of its block.
    pub block_hash: B256,
    /// Gas that it used.
    pub gas_used: u64,
    /// The contract that it deployed.
    pub contract: Option<Address>,
}

/// An intent that is not final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Its id.
    pub id: IntentId,
    /// Its key.
    pub key: String,
    /// Its nonce, once it is signed.
    pub nonce: Option<u64>,
    /// What was signed for it, the newest last.
    pub transactions: Vec<B256>,
    /// The block in which it is, not deep enough.
    pub block: Option<u64>,
}

/// What one step did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Became final, in whatever way.
    pub closed: Vec<IntentId>,
    /// Signed for the first time, or again after another transaction took the nonce.
    pub signed: Vec<IntentId>,
    /// Signed again with higher fees.
    pub bumped: Vec<IntentId>,
    /// Were in a block that is no longer there.
    pub dropped: Vec<IntentId>,
    /// Would be replaced, but for the cap on fees.
    pub capped: Vec<IntentId>,
    /// Not taken when they were sent, and why; they are sent again.
    pub refused: Vec<(IntentId, String)>,
    /// Not final yet.
    pub pending: usize,
}

/// What an outbox may spend, and when it becomes impatient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// The most that is offered for one unit of gas, in wei: 500 gwei.
    pub most_per_gas: u64,
    /// How long a transaction waits before it is replaced by one with higher fees: 90 s.
    pub bump_after: Duration,
    /// How long before it is told again to a chain that may have forgotten it: 30 s.
    pub repeat_after: Duration,
    /// How many are signed and not final at a time: 16.
    pub in_flight: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            most_per_gas: 500_000_000_000,
            bump_after: Duration::from_secs(90),
            repeat_after: Duration::from_secs(30),
            in_flight: 16,
        }
    }
}

/// See the [module](self).
pub struct Outbox {
    store: Arc<Store>,
    key: OperatorKey,
    settings: Settings,
    /// One step at a time.
    step: tokio::sync::Mutex<()>,
    /// When which transaction was last told to the chain by this process.
    told: Mutex<HashMap<B256, Instant>>,
    closed: Notify,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").field("key", &self.key).field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Outbox {
    /// Opens the outbox in `path`, or makes it.
    ///
    /// # Errors
    ///
    /// The file belongs to another key, is used by another process, or cannot be read or written.
    pub fn open(path: &Path, key: OperatorKey) -> Result<Self, OutboxError> {
        Self::open_with(path, key, Settings::default())
    }

    /// [`Outbox::open`] with settings.
    ///
    /// # Errors
    ///
    /// As [`Outbox::open`].
    pub fn open_with(path: &Path, key: OperatorKey, settings: Settings) -> Result<Self, OutboxError> {
        let store = Arc::new(Store::open(path, key.address())?);
        let (step, told, closed) = Default::default();
        Ok(Self { store, key, settings, step, told, closed })
    }

    /// Who signs and pays.
    pub fn address(&self) -> Address {
        self.key.address()
    }

    /// Takes an intent. It is on disk when this returns; [`Outbox::drive`] carries it out. The same key
    /// with the same content is the same intent, however far it is. Blocks while the disk is written.
    ///
    /// # Errors
    ///
    /// The key names another intent already, or something is too large.
    pub fn submit(&self, intent: Intent) -> Result<IntentId, OutboxError> {
        check(&intent)?;
        self.store.submit(intent)
    }

    /// [`Outbox::submit`] for what may be tried anew: an intent with this key that is open or has succeeded stays, whatever
    /// its content; one that failed gives its key away. So does one that succeeded in block `since` or before. Tells whether
    /// a new intent was taken.
    ///
    /// # Errors
    ///
    /// Something is too large, or the file cannot be read or written.
    pub fn submit_anew(&self, intent: Intent, since: Option<u64>) -> Result<(IntentId, bool), OutboxError> {
        check(&intent)?;
        self.store.submit_anew(intent, since)
    }

    /// What came of an intent; none while it is open.
    ///
    /// # Errors
    ///
    /// There is no such intent, or the file cannot be read.
    pub fn outcome(&self, id: IntentId) -> Result<Option<Outcome>, OutboxError> {
        match self.store.record(id)?.state {
            State::Done(outcome) => Ok(Some(outcome)),
            _ => Ok(None),
        }
    }

    /// The intent with this key.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn find(&self, key: &str) -> Result<Option<IntentId>, OutboxError> {
        self.store.find(key)
    }

    /// All that is not final, in the order of submission.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn pending(&self) -> Result<Vec<Pending>, OutboxError> {
        Ok(self.store.open_records()?.into_iter().map(|(id, record)| pending(id, record)).collect())
    }

    /// Waits until an intent is final. Somebody must [`drive`](Outbox::drive) meanwhile.
    ///
    /// # Errors
    ///
    /// There is no such intent, or the file cannot be read.
    pub async fn wait(&self, id: IntentId) -> Result<Outcome, OutboxError> {
        loop {
            let closed = self.closed.notified();
            tokio::pin!(closed);
            // From here on no news is missed.
            closed.as_mut().enable();
            if let Some(outcome) = self.outcome(id)? {
                return Ok(outcome);
            }
            closed.await;
        }
    }

    fn told(&self) -> std::sync::MutexGuard<'_, HashMap<B256, Instant>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check(intent: &Intent) -> Result<(), OutboxError> {
    let key = &intent.key;
    let printable = key.bytes().all(|byte| byte.is_ascii_graphic());
    if key.is_empty() || key.len() > MAX_KEY || !printable || key.starts_with(OWN_KEYS) {
        return Err(OutboxError::Key);
    }
    if intent.data.len() > MAX_DATA {
        return Err(OutboxError::Data { most: MAX_DATA });
    }
    Ok(())
}

fn pending(id: IntentId, record: Record) -> Pending {
    let sent = match record.state {
        State::Sent(sent) => Some(sent),
        _ => None,
    };
    Pending {
        id,
        key: record.intent.key,
        nonce: sent.as_ref().map(|sent| sent.nonce),
        block: sent.as_ref().and_then(|sent| sent.mined).map(|mined| mined.block),
        transactions: sent.into_iter().flat_map(|sent| sent.versions).map(|version| version.hash).collect(),
    }
}

/// Why an outbox did not do what it was asked. Nothing is lost by any of them: call again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// An intent's key is empty, too long, not printable ASCII, or of those that the outbox gives itself.
    #[error("an intent's key is 1 to 256 bytes of printable ASCII, and does not begin with outbox/")]
    Key,
    /// Too much calldata.
    #[error("an intent has at most {most} bytes of data")]
    Data {
        /// Bytes.
        most: usize,
    },
    /// Two different intents have one key.
    #[error("the key {0} names another intent already")]
    KeyReused(String),
    /// There is no such intent.
    #[error("there is no intent {}", .0.0)]
    Unknown(IntentId),
    /// Another process has the file.
    #[error("the outbox is in use")]
    InUse,
    /// The file is of another key.
    #[error("the outbox belongs to {found}, not to {expected}")]
    Owner {
        /// The file's.
        found: Address,
        /// The key's.
        expected: Address,
    },
    /// The file is of another chain.
    #[error("the outbox belongs to chain {found}, not to {expected}")]
    OtherChain {
        /// The file's.
        found: u64,
        /// The one that was handed in.
        expected: u64,
    },
    /// The file was made by another edition of this program.
    #[error("the outbox has a format that this edition does not read")]
    Format,
    /// The file does not hold what it must.
    #[error("the outbox is damaged")]
    Damaged,
    /// The file cannot be read or written.
    #[error("the outbox: {0}")]
    Io(String),
    /// A transaction could not be signed.
    #[error("the key does not sign")]
    Signing,
    /// The chain cannot be used.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The chain's answer cannot be true.
    #[error("the chain's answer contradicts what is known: {0}")]
    Contradiction(#[from] Contradiction),
}

impl From<alloy::transports::TransportError> for OutboxError {
    fn from(error: alloy::transports::TransportError) -> Self {
        Self::Chain(error.into())
    }
}

/// What the keys of the outbox's own intents begin with.
const OWN_KEYS: &str = "outbox/";
/// Bytes of an intent's key.
const MAX_KEY: usize = 256;
/// Bytes of calldata: with the rest of a transaction within what nodes relay.
const MAX_DATA: usize = 120 * 1024;
