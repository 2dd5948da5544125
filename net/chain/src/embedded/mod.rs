//! A chain in this process: a real EVM, one transaction a block, one file.
//!
//! The rules are Osaka's, so the P-256 precompile answers at 0x100. What differs from other chains:
//!
//! - A transaction is a block of its own, mined when it arrives, final when it is answered. There is
//!   no pool: a nonce that leaves a gap is refused.
//! - The base fee is constant, and nobody earns what is paid.
//! - Headers hold true roots of transaction and receipt; the state root is a digest chained over all
//!   changes of the state, not the root of a trie, so `eth_getProof` is not answered. `PREVRANDAO` is
//!   made of the parent's hash and is no randomness.
//! - Calls run as in the next block, at the present time. The state of earlier blocks is not kept.
//! - Blob transactions are refused. Nothing is called at the start of a block.
//!
//! What was answered is on disk: a receipt, a balance or a log is read from what is durable, and a
//! transaction's hash is returned after its block is. Transactions that wait at the same time share
//! one write.

mod answer;
mod evm;
mod methods;
mod store;
mod transport;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use alloy::{
    consensus::{Header, TxEnvelope},
    eips::eip2718::Decodable2718 as _,
    primitives::{Address, B256, U256},
};
use revm::state::{Account, AccountInfo, EvmState};
use tokio::sync::oneshot;

pub use methods::RpcError;
pub use transport::Transport;

use crate::file;
use store::{Block, Store};

/// What block 0 of a chain holds. The same genesis makes the same hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// EIP-155 id, part of every signature.
    pub chain_id: u64,
    /// Accounts and what they own, in wei.
    pub balances: Vec<(Address, U256)>,
}

impl Genesis {
    /// The id of embedded chains; no public chain has it.
    pub const CHAIN_ID: u64 = 0x676c_6163; // "glac"

    /// Gives each account a million ether, which buys nothing elsewhere.
    pub fn funding(accounts: impl IntoIterator<Item = Address>) -> Self {
        let balance = U256::from(10).pow(U256::from(24));
        Self { chain_id: Self::CHAIN_ID, balances: accounts.into_iter().map(|account| (account, balance)).collect() }
    }
}

/// Tells seconds since 1970. Any `Fn() -> u64` is one.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// A chain in this process. Clones share it; the file is free again when the last is dropped.
#[derive(Clone)]
pub struct Embedded(Arc<Inner>);

struct Inner {
    store: Arc<Store>,
    chain_id: u64,
    clock: Clock,
    /// None once the chain shuts down.
    jobs: Option<mpsc::SyncSender<Job>>,
    miner: Option<thread::JoinHandle<()>>,
    path: PathBuf,
}

impl Drop for Inner {
    /// Lets the miner finish what it was given, so that the file is free afterwards.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(miner) = self.miner.take() {
            let _ = miner.join();
        }
    }
}

/// A transaction that waits for its block.
struct Job {
    transaction: TxEnvelope,
    answer: Answer,
}

/// Where somebody waits for the hash.
type Answer = oneshot::Sender<Result<B256, Refusal>>;

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded")
            .field("path", &self.0.path)
            .field("chain_id", &self.0.chain_id)
            .finish_non_exhaustive()
    }
}

impl Embedded {
    /// Opens the chain in `path`, at its last durable block; makes it where there is none.
    ///
    /// # Errors
    ///
    /// The file is used by another process, was made with another genesis, or cannot be read or written.
    pub fn open(path: &Path, genesis: &Genesis) -> Result<Self, EmbeddedError> {
        Self::open_with_clock(path, genesis, Arc::new(system_time))
    }

    /// [`Embedded::open`] with a time of one's own. Blocks still grow younger: each is at least a second
    /// later than its parent.
    pub fn open_with_clock(path: &Path, genesis: &Genesis, clock: Clock) -> Result<Self, EmbeddedError> {
        if !path.try_exists()? {
            file::in_place(path, |draft| create(draft, genesis))?;
        }
        let store = Arc::new(Store::open(path)?);
        let read = store.read()?;
        let (_, found) = read.header(0)?.ok_or(EmbeddedError::Damaged)?;
        let (head, hash) = read.head()?.ok_or(EmbeddedError::Damaged)?;
        if read.number_of_block(hash)? != Some(head.number) {
            return Err(EmbeddedError::Damaged);
        }
        let expected = genesis_block(genesis)?.0.hash;
        if found != expected {
            return Err(EmbeddedError::Genesis { found, expected });
        }
        let (jobs, queue) = mpsc::sync_channel(QUEUE);
        let (writer, chain_id, time) = (store.clone(), genesis.chain_id, clock.clone());
        let miner = thread::Builder::new()
            .name("chain".into())
            .spawn(move || Miner { store: writer, chain_id, clock: time }.run(&queue))?;
        let (jobs, miner) = (Some(jobs), Some(miner));
        Ok(Self(Arc::new(Inner { store, chain_id, clock, jobs, miner, path: path.into() })))
    }

    /// The EIP-155 id.
    pub fn chain_id(&self) -> u64 {
        self.0.chain_id
    }

    /// Number and hash of the last durable block.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn head(&self) -> Result<(u64, B256), EmbeddedError> {
        let (head, hash) = self.0.store.read()?.head()?.ok_or(EmbeddedError::Damaged)?;
        Ok((head.number, hash))
    }

    /// Mines a signed transaction, given in the network's form (EIP-2718). Returns its hash when its
    /// block is durable.
    ///
    /// # Errors
    ///
    /// The reason for which it is not in the chain. One that was executed and reverted is in the chain.
    pub async fn send_raw(&self, raw: &[u8]) -> Result<B256, Refusal> {
        if raw.len() > MAX_TRANSACTION {
            return Err(Refusal::Size { most: MAX_TRANSACTION });
        }
        let mut rest = raw;
        let transaction = TxEnvelope::decode_2718(&mut rest).map_err(|_| Refusal::Encoding)?;
        if !rest.is_empty() {
            return Err(Refusal::Encoding);
        }
        let (answer, answered) = oneshot::channel();
        let jobs = self.0.jobs.as_ref().ok_or(EmbeddedError::Stopped)?;
        jobs.try_send(Job { transaction, answer }).map_err(|error| match error {
            mpsc::TrySendError::Full(_) => Refusal::Busy,
            mpsc::TrySendError::Disconnected(_) => Refusal::File(EmbeddedError::Stopped),
        })?;
        answered.await.unwrap_or(Err(Refusal::File(EmbeddedError::Stopped)))
    }

    /// The time that the next block would have.
    fn next_time(&self, parent: &Header) -> u64 {
        next_time(&self.0.clock, parent)
    }
}

/// Owns the right to write.
struct Miner {
    store: Arc<Store>,
    chain_id: u64,
    clock: Clock,
}

impl Miner {
    fn run(self, queue: &mpsc::Receiver<Job>) {
        while let Ok(first) = queue.recv() {
            let jobs = std::iter::once(first).chain(queue.try_iter().take(BATCH)).collect();
            self.serve(jobs);
        }
    }

    /// Mines what waits, and answers when all of it is durable.
    fn serve(&self, jobs: Vec<Job>) {
        let mut answers = Vec::with_capacity(jobs.len());
        let written = self.write(jobs, &mut answers);
        if let Err(error) = &written {
            tracing::error!(%error, "the chain's file was not written");
        }
        for (answer, result) in answers {
            let result = match (&written, result) {
                (Err(error), Ok(_)) => Err(Refusal::File(error.clone())),
                (_, result) => result,
            };
            // Who no longer waits reads the receipt.
            let _ = answer.send(result);
        }
    }

    fn write(&self, jobs: Vec<Job>, answers: &mut Vec<(Answer, Result<B256, Refusal>)>) -> Result<(), EmbeddedError> {
        let mut jobs = jobs.into_iter();
        let outcome = self.write_all(&mut jobs, answers);
        if let Err(error) = &outcome {
            answers.extend(jobs.map(|job| (job.answer, Err(Refusal::File(error.clone())))));
        }
        outcome
    }

    fn write_all(
        &self,
        jobs: &mut impl Iterator<Item = Job>,
        answers: &mut Vec<(Answer, Result<B256, Refusal>)>,
    ) -> Result<(), EmbeddedError> {
        let writer = self.store.write()?;
        let (mut head, mut hash) = writer.head()?.ok_or(EmbeddedError::Damaged)?;
        for job in jobs {
            let time = next_time(&self.clock, &head);
            let transaction = *job.transaction.tx_hash();
            match evm::mine(&writer, self.chain_id, (&head, hash), time, job.transaction) {
                Ok(block) => {
                    (head, hash) = (block.header, block.hash);
                    answers.push((job.answer, Ok(transaction)));
                }
                // Half a block may be written: none of this batch is kept.
                Err(Refusal::File(error)) => {
                    answers.push((job.answer, Err(Refusal::File(error.clone()))));
                    return Err(error);
                }
                Err(refusal) => answers.push((job.answer, Err(refusal))),
            }
        }
        writer.commit()
    }
}

fn create(path: &Path, genesis: &Genesis) -> Result<(), EmbeddedError> {
    let store = Store::create(path)?;
    let (block, state) = genesis_block(genesis)?;
    let writer = store.write()?;
    writer.apply(&state)?;
    writer.append(&block)?;
    writer.commit()
}

fn genesis_block(genesis: &Genesis) -> Result<(Block, EvmState), EmbeddedError> {
    let mut state = EvmState::default();
    let mut listed = Vec::new();
    for (address, balance) in &genesis.balances {
        let account = Account::default().with_info(AccountInfo::from_balance(*balance)).with_touched_mark();
        if state.insert(*address, account).is_some() {
            return Err(EmbeddedError::Twice(*address));
        }
        listed.push((*address, *balance));
    }
    listed.sort_unstable();
    let digest: Vec<u8> = listed
        .iter()
        .flat_map(|(address, balance)| address.into_array().into_iter().chain(balance.to_be_bytes::<32>()))
        .collect();
    let header = evm::genesis_header(genesis.chain_id, alloy::primitives::keccak256(digest));
    let hash = header.hash_slow();
    Ok((Block { header, hash, body: None }, state))
}

fn next_time(clock: &Clock, parent: &Header) -> u64 {
    clock().max(parent.timestamp.saturating_add(1))
}

fn system_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Why the embedded chain cannot go on, or not be opened.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// Another process has the file.
    #[error("the chain's file is in use")]
    InUse,
    /// The file was made by another edition of this program.
    #[error("the chain's file has a format that this edition does not read")]
    Format,
    /// The file holds another chain.
    #[error("the chain's file has genesis {found}, not {expected}")]
    Genesis {
        /// Hash of the file's block 0.
        found: B256,
        /// Hash of the block 0 that was asked for.
        expected: B256,
    },
    /// A genesis names an account twice.
    #[error("the genesis names {0} twice")]
    Twice(Address),
    /// The file does not hold what it must.
    #[error("the chain's file is damaged")]
    Damaged,
    /// The chain was shut down by an earlier fault.
    #[error("the chain has stopped")]
    Stopped,
    /// The file cannot be read or written.
    #[error("the chain's file: {0}")]
    Io(Arc<str>),
}

impl From<std::io::Error> for EmbeddedError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error.to_string().into())
    }
}

macro_rules! from_redb {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for EmbeddedError {
            fn from(error: redb::$error) -> Self {
                match redb::Error::from(error) {
                    redb::Error::DatabaseAlreadyOpen => Self::InUse,
                    redb::Error::Corrupted(_) => Self::Damaged,
                    other => Self::Io(other.to_string().into()),
                }
            }
        }
    )*};
}

from_redb!(DatabaseError, TransactionError, TableError, StorageError, CommitError, SetDurabilityError);

/// Why a transaction is not in the chain.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It is in the chain already.
    #[error("already known")]
    Known,
    /// Its nonce was used.
    #[error("nonce too low: next nonce {account}, tx nonce {transaction}")]
    NonceTooLow {
        /// The transaction's.
        transaction: u64,
        /// The account's next.
        account: u64,
    },
    /// Transactions before it are missing, and this chain keeps none waiting.
    #[error("nonce too high: next nonce {account}, tx nonce {transaction}")]
    NonceTooHigh {
        /// The transaction's.
        transaction: u64,
        /// The account's next.
        account: u64,
    },
    /// The sender cannot pay.
    #[error("insufficient funds for gas * price + value: balance {balance}, tx cost {needed}")]
    Funds {
        /// At most, in wei.
        needed: U256,
        /// In wei.
        balance: U256,
    },
    /// It was signed for another chain, or for all.
    #[error("invalid chain id for signer")]
    ChainId,
    /// Nobody signed it.
    #[error("invalid sender")]
    Signature,
    /// Blobs, and mixtures of kinds.
    #[error("transaction type not supported")]
    Kind,
    /// It does not decode.
    #[error("rlp: malformed transaction")]
    Encoding,
    /// It is too large.
    #[error("oversized data: at most {most} bytes")]
    Size {
        /// Bytes.
        most: usize,
    },
    /// The chain's numbers are used up.
    #[error("the chain is full")]
    Full,
    /// Too many wait.
    #[error("too many transactions wait")]
    Busy,
    /// Against the rules of the machine.
    #[error("{0}")]
    Invalid(String),
    /// The file failed.
    #[error(transparent)]
    File(#[from] EmbeddedError),
}

/// Gas that a block, and so a call, may use. A transaction may use 2^24 (EIP-7825).
const BLOCK_GAS: u64 = 60_000_000;
/// Wei per gas.
const BASE_FEE: u64 = 1_000_000_000;
/// Bytes of a signed transaction: what other nodes relay.
const MAX_TRANSACTION: usize = 128 * 1024;
/// Transactions that wait at most.
const QUEUE: usize = 4096;
/// Transactions that share one write at most.
const BATCH: usize = 256;
