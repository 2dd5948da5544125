//! Work Proofs as they arrived, kept for settlement; by enclave key they form logs.

use std::{
    collections::VecDeque,
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError, RwLock},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use glacier_proof::{Frontier, Log, LogError, SignedCheckpoint, SignedProof};
use glacier_wire::{Address, ProofHash, api::SettlementOrder, cbor};
use redb::{
    Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, TableDefinition,
    WriteTransaction,
};
use tokio::sync::Semaphore;

/// Number of arrival -> (seconds since 1970, encoded proof).
const PROOFS: TableDefinition<'_, u64, (u64, &[u8])> = TableDefinition::new("proofs");
/// (Enclave key, sequence number) -> (number of arrival, hash of the proof). No gaps: a number is taken
/// when all before it are.
const PLACES: TableDefinition<'_, ([u8; 20], u64), (u64, [u8; 32])> = TableDefinition::new("places");
/// Key, chain, ledger.
type HeadPlace = ([u8; 20], u64, [u8; 20]);

/// (Enclave key, chain id, ledger) -> newest signed head.
const HEADS: TableDefinition<'_, HeadPlace, &[u8]> = TableDefinition::new("heads");

/// How long another holder of the table may take to let go.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(10);
/// Logs of former enclaves in memory, 64 bytes a proof.
const MAX_LOGS: usize = 4;
/// Logs that are read from the disk at once. Anybody can ask for any log: who waits for one waits outside the threads that
/// publishing needs.
const MAX_READING: usize = 2;

/// One proof as it was published.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StoredProof {
    /// Number of arrival at this host, from zero and without gaps. Not the proof's own sequence.
    pub number: u64,
    /// When it arrived, in seconds since 1970 by this host's clock.
    pub arrived: u64,
    /// `glacier_proof::SignedProof`, encoded, in hexadecimal.
    pub proof: String,
}

/// Why a proof was not kept or not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// No proof of this key is here.
    #[error("no proof of this key is here")]
    NoLog,
    /// The key's log has no such path.
    #[error("{0}")]
    Log(#[from] LogError),
    /// Another process uses the table.
    #[error("another process uses the table of proofs")]
    InUse,
    /// The table is damaged.
    #[error("the table of proofs is damaged")]
    Corrupted,
    /// The disk failed.
    #[error("the disk failed: {0}")]
    Io(io::ErrorKind),
}

impl From<redb::Error> for ProofError {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::InUse,
            redb::Error::Io(error) => Self::Io(error.kind()),
            _ => Self::Corrupted,
        }
    }
}

#[derive(Clone)]
pub(crate) struct Proofs(Arc<Inner>);

struct Inner {
    database: Database,
    /// Of the enclave that publishes now.
    current: RwLock<Option<(Address, Log)>>,
    /// Of others that were asked for, the last first.
    former: Mutex<VecDeque<(Address, Arc<Log>)>>,
    /// Logs that are being read from the disk, whole.
    reading: Semaphore,
}

/// What an enclave publishes at once: a proof, a head of the log, or a proof and the head at it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Publication {
    pub(crate) proof: Option<Vec<u8>>,
    pub(crate) checkpoint: Option<Vec<u8>>,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    /// Of each publication: whether its proof is kept, or its head where it has no proof.
    pub(crate) kept: Vec<bool>,
    /// Whose proofs they are, once that is known.
    pub(crate) speaker: Option<Address>,
}

impl Proofs {
    /// Most proofs in one answer.
    pub(crate) const PAGE: usize = 256;

    pub(crate) fn open(path: &Path) -> Result<Self, ProofError> {
        let begun = Instant::now();
        let database = loop {
            match Database::create(path) {
                Ok(database) => break database,
                // A child that is being started holds a copy of a lock just given up, for a moment.
                Err(DatabaseError::DatabaseAlreadyOpen) if begun.elapsed() < PATIENCE => thread::sleep(PAUSE),
                Err(error) => return Err(redb::Error::from(error).into()),
            }
        };
        // So that readers need not care whether there was a first proof yet.
        create_tables(&database)?;
        let (current, former, reading) = (RwLock::default(), Mutex::default(), Semaphore::new(MAX_READING));
        Ok(Self(Arc::new(Inner { database, current, former, reading })))
    }

    /// Keeps proofs and heads under one sync: they are on the disk when this returns, all or none.
    ///
    /// An enclave has one key, `speaker`, known from its first proof on; proofs of another key, or with another
    /// number than the key's next, are not kept. Nor is a head that is not of the log at its proof, is not
    /// signed, or is for another ledger than `settled_at`. So what an enclave can fill this with is proofs.
    pub(crate) async fn publish(
        &self,
        speaker: Option<Address>,
        settled_at: Option<SettlementOrder>,
        batch: Vec<Publication>,
    ) -> Result<Published, ProofError> {
        let proofs = self.clone();
        blocking(move || proofs.0.publish(speaker, settled_at, &batch)).await
    }

    /// At most [`PAGE`](Self::PAGE) proofs from number `from` on.
    pub(crate) async fn page(&self, from: u64) -> Result<Vec<StoredProof>, ProofError> {
        let proofs = self.clone();
        blocking(move || Ok(proofs.0.page(from)?)).await
    }

    pub(crate) async fn count(&self) -> Result<u64, ProofError> {
        let proofs = self.clone();
        blocking(move || Ok(proofs.0.count()?)).await
    }

    /// Every key of which there are proofs.
    pub(crate) async fn keys(&self) -> Result<Vec<Address>, ProofError> {
        let proofs = self.clone();
        blocking(move || Ok(proofs.0.keys()?)).await
    }

    /// Looks something up in the log of a key.
    pub(crate) async fn log<T: Send + 'static>(
        &self,
        key: Address,
        look: impl FnOnce(&Log) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, ProofError> {
        let proofs = self.clone();
        let look = match blocking(move || Ok(proofs.0.look(key, look))).await? {
            Ok(seen) => return seen,
            Err(look) => look,
        };
        let _permit = self.0.reading.acquire().await.map_err(|_| ProofError::Io(io::ErrorKind::Other))?;
        let proofs = self.clone();
        blocking(move || {
            // Whoever held the permit before may have read this one.
            let look = match proofs.0.look(key, look) {
                Ok(seen) => return seen,
                Err(look) => look,
            };
            let log = Arc::new(proofs.0.load(key)?);
            proofs.0.remember(key, &log);
            seen(&log, look)
        })
        .await
    }

    /// The newest signed heads of all keys for a ledger.
    pub(crate) async fn checkpoints(&self, at: SettlementOrder) -> Result<Vec<SignedCheckpoint>, ProofError> {
        let proofs = self.clone();
        blocking(move || proofs.0.checkpoints(at)).await
    }

    /// The newest signed head of a key for a ledger, or for whichever has the newest.
    pub(crate) async fn checkpoint(
        &self,
        key: Address,
        at: Option<SettlementOrder>,
    ) -> Result<Option<SignedCheckpoint>, ProofError> {
        let proofs = self.clone();
        blocking(move || proofs.0.checkpoint(key, at)).await
    }

    /// Proof `sequence` of a key.
    pub(crate) async fn proof(&self, key: Address, sequence: u64) -> Result<Option<SignedProof>, ProofError> {
        let proofs = self.clone();
        blocking(move || proofs.0.proof(key, sequence)).await
    }
}

impl Inner {
    fn publish(
        &self,
        speaker: Option<Address>,
        settled_at: Option<SettlementOrder>,
        batch: &[Publication],
    ) -> Result<Published, ProofError> {
        let read: Vec<_> = batch.iter().map(Read::new).collect();
        let first = || read.iter().find_map(|item| Some(item.proof.as_ref()?.proof.enclave_key));
        let Some(key) = speaker.or_else(first) else {
            return Ok(Published { kept: vec![false; batch.len()], speaker: None });
        };
        // A commit is durable by default: it returns after the files were synced. One writer at a time.
        let transaction = self.database.begin_write().map_err(redb::Error::from)?;
        let mut judge = Judge { key, settled_at, log: self.resume(key)?, news: Vec::new(), head: None };
        let before = judge.log.size();
        let kept: Vec<_> = read.iter().map(|item| judge.judge(item, |at| place(&transaction, key, at))).collect();
        let kept = kept.into_iter().collect::<Result<Vec<_>, _>>()?;
        if judge.news.is_empty() && judge.head.is_none() {
            let known = kept.contains(&true);
            return Ok(Published { kept, speaker: speaker.or(known.then_some(key)) });
        }
        write(&transaction, key, before, &judge)?;
        // Held over the commit, so that nobody reads a head from the disk whose log is not in memory yet.
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        transaction.commit().map_err(redb::Error::from)?;
        if let Some((_, log)) = current.as_mut() {
            judge.news.iter().for_each(|(hash, _)| log.append(hash));
        }
        Ok(Published { kept, speaker: Some(key) })
    }

    /// Makes a key's log the current one, and says where it goes on.
    fn resume(&self, key: Address) -> Result<Frontier, ProofError> {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_none_or(|(of, _)| *of != key) {
            // What is kept of a log that grows would be stale.
            self.former.lock().unwrap_or_else(PoisonError::into_inner).retain(|(of, _)| *of != key);
            *current = Some((key, self.load(key)?));
        }
        let Some((_, log)) = current.as_ref() else { return Err(ProofError::NoLog) };
        Ok(log.frontier(log.size())?)
    }

    /// Looks into a log that is in memory; gives `look` back where it is not.
    fn look<T, F: FnOnce(&Log) -> Result<T, LogError>>(
        &self,
        key: Address,
        look: F,
    ) -> Result<Result<T, ProofError>, F> {
        {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, log)) = current.as_ref().filter(|(of, _)| *of == key) {
                return Ok(seen(log, look));
            }
        }
        let former = {
            let mut former = self.former.lock().unwrap_or_else(PoisonError::into_inner);
            let found = former.iter().position(|(of, _)| *of == key).and_then(|at| former.remove(at));
            if let Some(found) = &found {
                former.push_front(found.clone());
            }
            found
        };
        match former {
            Some((_, log)) => Ok(seen(&log, look)),
            None => Err(look),
        }
    }

    /// Keeps a log that was read, unless it grows again: its key may have become the current one meanwhile.
    fn remember(&self, key: Address, log: &Arc<Log>) {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        if log.size() == 0 || current.as_ref().is_some_and(|(of, _)| *of == key) {
            return;
        }
        let mut former = self.former.lock().unwrap_or_else(PoisonError::into_inner);
        former.retain(|(of, _)| *of != key);
        former.push_front((key, Arc::clone(log)));
        former.truncate(MAX_LOGS);
    }

    fn load(&self, key: Address) -> Result<Log, redb::Error> {
        let places = self.database.begin_read()?.open_table(PLACES)?;
        let mut log = Log::new();
        for entry in places.range((key.0, 0)..=(key.0, u64::MAX))? {
            log.append(&ProofHash(entry?.1.value().1));
        }
        Ok(log)
    }

    fn keys(&self) -> Result<Vec<Address>, redb::Error> {
        let places = self.database.begin_read()?.open_table(PLACES)?;
        // Every log begins with number zero, so a key is found by leaping over the one before.
        let (mut keys, mut from) = (Vec::new(), Some(([0; 20], 0)));
        while let Some(start) = from {
            let Some(entry) = places.range(start..)?.next() else { break };
            let (key, _) = entry?.0.value();
            keys.push(Address(key));
            from = successor(key).map(|key| (key, 0));
        }
        Ok(keys)
    }

    fn checkpoint(&self, key: Address, at: Option<SettlementOrder>) -> Result<Option<SignedCheckpoint>, ProofError> {
        let read = || -> Result<Vec<Vec<u8>>, redb::Error> {
            let heads = self.database.begin_read()?.open_table(HEADS)?;
            let (from, to) = match at {
                Some(at) => ((key.0, at.chain_id, at.ledger.0), (key.0, at.chain_id, at.ledger.0)),
                None => ((key.0, 0, [0; 20]), (key.0, u64::MAX, [0xff; 20])),
            };
            heads.range(from..=to)?.map(|entry| Ok(entry?.1.value().to_vec())).collect()
        };
        let heads = read()?.iter().map(|head| SignedCheckpoint::decode(head)).collect::<Result<Vec<_>, _>>();
        let heads = heads.map_err(|_| ProofError::Corrupted)?;
        Ok(heads.into_iter().max_by_key(|head| head.checkpoint.size))
    }

    fn checkpoints(&self, at: SettlementOrder) -> Result<Vec<SignedCheckpoint>, ProofError> {
        let read = || -> Result<Vec<Vec<u8>>, redb::Error> {
            let heads = self.database.begin_read()?.open_table(HEADS)?;
            let mut found = Vec::new();
            for entry in heads.iter()? {
                let (place, head) = entry?;
                let (_, chain_id, ledger) = place.value();
                if (chain_id, ledger) == (at.chain_id, at.ledger.0) {
                    found.push(head.value().to_vec());
                }
            }
            Ok(found)
        };
        let heads = read()?.iter().map(|head| SignedCheckpoint::decode(head)).collect::<Result<_, _>>();
        heads.map_err(|_| ProofError::Corrupted)
    }

    fn proof(&self, key: Address, sequence: u64) -> Result<Option<SignedProof>, ProofError> {
        let read = || -> Result<Option<Vec<u8>>, redb::Error> {
            let transaction = self.database.begin_read()?;
            let Some(place) = transaction.open_table(PLACES)?.get((key.0, sequence))? else { return Ok(None) };
            let proof = transaction.open_table(PROOFS)?.get(place.value().0)?;
            Ok(proof.map(|proof| proof.value().1.to_vec()))
        };
        let Some(bytes) = read()? else { return Ok(None) };
        cbor::decode(&bytes, SignedProof::MAX_BYTES).map(Some).map_err(|_| ProofError::Corrupted)
    }

    fn page(&self, from: u64) -> Result<Vec<StoredProof>, redb::Error> {
        let table = self.database.begin_read()?.open_table(PROOFS)?;
        let mut page = Vec::new();
        for entry in table.range(from..)?.take(Proofs::PAGE) {
            let (number, value) = entry?;
            let (arrived, proof) = value.value();
            page.push(StoredProof { number: number.value(), arrived, proof: hex::encode(proof) });
        }
        Ok(page)
    }

    fn count(&self) -> Result<u64, redb::Error> {
        Ok(self.database.begin_read()?.open_table(PROOFS)?.len()?)
    }
}

fn seen<T>(log: &Log, look: impl FnOnce(&Log) -> Result<T, LogError>) -> Result<T, ProofError> {
    if log.size() == 0 { Err(ProofError::NoLog) } else { Ok(look(log)?) }
}

/// A publication, as far as it could be read.
struct Read<'a> {
    bytes: &'a [u8],
    proof: Option<SignedProof>,
    head: Option<SignedCheckpoint>,
    alone: bool,
}

impl<'a> Read<'a> {
    fn new(Publication { proof, checkpoint }: &'a Publication) -> Self {
        let bytes = proof.as_deref().unwrap_or_default();
        Self {
            bytes,
            proof: cbor::decode(bytes, SignedProof::MAX_BYTES).ok(),
            head: checkpoint.as_ref().and_then(|head| SignedCheckpoint::decode(head).ok()),
            alone: proof.is_none(),
        }
    }
}

/// Decides what of a batch is kept.
struct Judge<'a> {
    key: Address,
    settled_at: Option<SettlementOrder>,
    log: Frontier,
    news: Vec<(ProofHash, &'a [u8])>,
    head: Option<SignedCheckpoint>,
}

impl<'a> Judge<'a> {
    fn judge(
        &mut self,
        item: &Read<'a>,
        stored: impl FnOnce(u64) -> Result<Option<ProofHash>, redb::Error>,
    ) -> Result<bool, redb::Error> {
        let mut kept = false;
        if let Some(signed) = item.proof.as_ref().filter(|signed| signed.proof.enclave_key == self.key) {
            let (hash, sequence) = (signed.proof.hash(), signed.proof.sequence);
            if sequence == self.log.size() {
                kept = self.log.append(&hash).is_ok();
                if kept {
                    self.news.push((hash, item.bytes));
                }
            } else {
                // What comes again is kept already.
                let known = self.log.size().saturating_sub(self.news.len() as u64);
                let recent = sequence.checked_sub(known).and_then(|at| usize::try_from(at).ok());
                kept = match recent.map(|at| self.news.get(at)) {
                    Some(recent) => recent.is_some_and(|(there, _)| *there == hash),
                    None => stored(sequence)? == Some(hash),
                };
            }
        }
        if !kept && !item.alone {
            return Ok(false);
        }
        let fits = item.head.as_ref().is_some_and(|head| self.fits(head));
        if fits {
            self.head.clone_from(&item.head);
        }
        Ok(kept || fits)
    }

    /// Whether this is the signed head of the log as it is now, and of use here.
    fn fits(&self, head: &SignedCheckpoint) -> bool {
        let said = &head.checkpoint;
        let at = SettlementOrder { chain_id: said.chain_id, ledger: said.ledger };
        said.enclave_key == self.key
            && self.settled_at == Some(at)
            && said.head() == self.log.head()
            && said.size > 0
            && head.verify().is_ok()
    }
}

fn create_tables(database: &Database) -> Result<(), ProofError> {
    let create = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        transaction.open_table(PROOFS)?;
        transaction.open_table(PLACES)?;
        transaction.open_table(HEADS)?;
        Ok(transaction.commit()?)
    };
    Ok(create()?)
}

fn place(transaction: &WriteTransaction, key: Address, at: u64) -> Result<Option<ProofHash>, redb::Error> {
    Ok(transaction.open_table(PLACES)?.get((key.0, at))?.map(|place| ProofHash(place.value().1)))
}

fn write(transaction: &WriteTransaction, key: Address, before: u64, judge: &Judge<'_>) -> Result<(), redb::Error> {
    let arrived = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut proofs = transaction.open_table(PROOFS)?;
    let mut places = transaction.open_table(PLACES)?;
    let first = proofs.last()?.map_or(0, |(number, _)| number.value().saturating_add(1));
    for ((number, sequence), (hash, bytes)) in (first..).zip(before..).zip(&judge.news) {
        proofs.insert(number, (arrived, *bytes))?;
        places.insert((key.0, sequence), (number, hash.0))?;
    }
    if let Some(head) = &judge.head {
        let said = &head.checkpoint;
        let place = (key.0, said.chain_id, said.ledger.0);
        transaction.open_table(HEADS)?.insert(place, cbor::encode(head).as_slice())?;
    }
    Ok(())
}

/// The next key in the table's order.
fn successor(mut key: [u8; 20]) -> Option<[u8; 20]> {
    for byte in key.iter_mut().rev() {
        let (next, carried) = byte.overflowing_add(1);
        *byte = next;
        if !carried {
            return Some(key);
        }
    }
    None
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ProofError> + Send + 'static,
) -> Result<T, ProofError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(ProofError::Io(io::ErrorKind::Other)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
pub(crate) mod tests {
    use super::*;
    use glacier_proof::{Checkpoint, Head, WorkProof, empty_root, verify_consistency, verify_inclusion};
    use glacier_wire::{
        Commitment, Digest, EnclaveId, Identity, ManifestHash, Measurement, PlatformKind, Settlement, Work,
    };
    use std::{
        process::{Command, Stdio},
        time::Duration,
    };

    pub(crate) const LEDGER: SettlementOrder = SettlementOrder { chain_id: 31_337, ledger: Address([8; 20]) };

    /// An enclave's side: signs proofs and heads.
    pub(crate) struct Signer {
        secret: [u8; 32],
        output: u8,
        log: Log,
    }

    impl Signer {
        pub(crate) fn new(secret: u8) -> Self {
            Self { secret: [secret; 32], output: 5, log: Log::new() }
        }

        pub(crate) fn key(&self) -> Address {
            Identity::from_secret(&self.secret).unwrap().address()
        }

        pub(crate) fn proof(&mut self) -> Vec<u8> {
            let sequence = self.log.size();
            let proof = WorkProof {
                enclave_id: EnclaveId([1; 32]),
                enclave_key: self.key(),
                measurement: Measurement([2; 32]),
                platform: PlatformKind::Simulated,
                work: Work::App,
                manifest: ManifestHash::ZERO,
                model: Digest::ZERO,
                input: Commitment([4; 32]),
                output: Commitment([self.output; 32]),
                units: 10,
                sequence,
                previous: if sequence == 0 { ProofHash::ZERO } else { ProofHash([6; 32]) },
                settlement: Settlement {
                    chain_id: LEDGER.chain_id,
                    ledger: LEDGER.ledger,
                    payer: Address([9; 20]),
                    price: 5,
                },
            };
            self.log.append(&proof.hash());
            cbor::encode(&proof.sign(&self.secret).unwrap())
        }

        pub(crate) fn head_for(&self, at: SettlementOrder) -> SignedCheckpoint {
            let Head { size, root } = self.log.head();
            let checkpoint = Checkpoint {
                enclave_id: EnclaveId([1; 32]),
                enclave_key: self.key(),
                size,
                root,
                units: 10 * size,
                chain_id: at.chain_id,
                ledger: at.ledger,
            };
            checkpoint.sign(&self.secret).unwrap()
        }

        fn head(&self) -> Vec<u8> {
            cbor::encode(&self.head_for(LEDGER))
        }
    }

    fn proof(bytes: Vec<u8>) -> Publication {
        Publication { proof: Some(bytes), checkpoint: None }
    }

    fn opened() -> (tempfile::TempDir, Proofs) {
        let dir = tempfile::tempdir().unwrap();
        let proofs = Proofs::open(&dir.path().join("p")).unwrap();
        (dir, proofs)
    }

    impl Proofs {
        async fn keep(&self, batch: Vec<Publication>) -> Vec<bool> {
            self.publish(None, Some(LEDGER), batch).await.unwrap().kept
        }
    }

    #[tokio::test]
    async fn proofs_are_numbered_as_they_arrive() {
        let (_dir, proofs) = opened();
        let mut signer = Signer::new(1);
        let sent: Vec<_> = (0..300).map(|_| signer.proof()).collect();
        for batch in sent.chunks(3) {
            assert_eq!(proofs.keep(batch.iter().cloned().map(proof).collect()).await, [true; 3]);
        }
        assert_eq!(proofs.count().await, Ok(300));
        let page = proofs.page(0).await.unwrap();
        assert_eq!((page.len(), page.last().unwrap().number), (Proofs::PAGE, 255));
        assert_eq!(proofs.page(299).await.unwrap().first().unwrap().proof, hex::encode(&sent[299]));
        assert_eq!(proofs.page(300).await, Ok(vec![]));
        assert_eq!(cbor::encode(&proofs.proof(signer.key(), 7).await.unwrap().unwrap()), sent[7]);
        assert_eq!(proofs.proof(signer.key(), 300).await, Ok(None));
    }

    #[tokio::test]
    async fn what_is_no_proof_or_not_the_next_one_is_not_kept() {
        let (_dir, proofs) = opened();
        let (mut signer, mut other) = (Signer::new(1), Signer::new(2));
        let sent: Vec<_> = (0..4).map(|_| signer.proof()).collect();
        for garbage in [vec![], vec![7; 100], vec![0; 1 << 20], sent[0][1..].to_vec()] {
            let published = proofs.publish(None, Some(LEDGER), vec![proof(garbage)]).await.unwrap();
            assert_eq!(published, Published { kept: vec![false], speaker: None });
        }
        let batch = [&sent[1], &sent[0], &sent[2], &other.proof(), &sent[1]].map(|bytes| proof(bytes.clone()));
        let published = proofs.publish(None, Some(LEDGER), batch.to_vec()).await.unwrap();
        // A gap; the first; a gap; another key; what fills the gap.
        assert_eq!(published, Published { kept: vec![false, true, false, false, true], speaker: Some(signer.key()) });
        // Once more, in the batch and after it: kept already, and kept once.
        assert_eq!(proofs.keep(vec![proof(sent[2].clone()), proof(sent[2].clone())]).await, [true, true]);
        assert_eq!(proofs.keep(vec![proof(sent[0].clone())]).await, [true]);
        // Another proof of a number that is taken.
        let mut fork = Signer { output: 6, ..Signer::new(1) };
        fork.log.append(&ProofHash::ZERO);
        assert_eq!(proofs.keep(vec![proof(fork.proof())]).await, [false]);
        // Who has spoken speaks for one key.
        let mut stranger = Signer::new(3);
        let published = proofs.publish(published.speaker, None, vec![proof(stranger.proof())]).await.unwrap();
        assert_eq!(published.kept, [false]);
        assert_eq!((proofs.count().await, proofs.keys().await), (Ok(3), Ok(vec![signer.key()])));
    }

    #[tokio::test]
    async fn a_head_is_kept_if_it_is_the_logs_signed_and_for_the_ledger_of_this_node() {
        let (_dir, proofs) = opened();
        let mut signer = Signer::new(1);
        let mut batch = vec![proof(signer.proof()), proof(signer.proof())];
        batch[1].checkpoint = Some(signer.head());
        let alone = |head: &SignedCheckpoint| Publication { proof: None, checkpoint: Some(cbor::encode(head)) };
        let stored = async || proofs.checkpoint(signer.key(), Some(LEDGER)).await.unwrap();

        // Of a log whose proofs are not here.
        assert_eq!(proofs.keep(vec![alone(&signer.head_for(LEDGER))]).await, [false]);
        assert_eq!(proofs.keep(batch).await, [true, true]);
        let good = signer.head_for(LEDGER);
        assert_eq!(stored().await, Some(good.clone()));

        let mut unsigned = good.clone();
        unsigned.checkpoint.units += 1;
        let mut forged = good.clone();
        forged.checkpoint.root = empty_root();
        let elsewhere = signer.head_for(SettlementOrder { chain_id: 1, ..LEDGER });
        let mut old = Signer::new(1);
        old.proof();
        for bad in [&unsigned, &forged.checkpoint.sign(&[1; 32]).unwrap(), &elsewhere, &old.head_for(LEDGER)] {
            let published = proofs.publish(Some(signer.key()), Some(LEDGER), vec![alone(bad)]).await.unwrap();
            assert_eq!(published.kept, [false], "{bad:?}");
        }
        assert_eq!(stored().await, Some(good));
        // A bad head takes nothing from the proof that came with it.
        let with = Publication { proof: Some(signer.proof()), checkpoint: Some(cbor::encode(&elsewhere)) };
        assert_eq!(proofs.keep(vec![with]).await, [true]);
        assert_eq!(proofs.checkpoint(signer.key(), None).await.unwrap().unwrap().checkpoint.size, 2);
        // The head alone, when the ledger was named after the proofs.
        let late = signer.head_for(LEDGER);
        let published = proofs.publish(Some(signer.key()), Some(LEDGER), vec![alone(&late)]).await.unwrap();
        assert_eq!((published.kept, proofs.checkpoint(signer.key(), None).await), (vec![true], Ok(Some(late))));
    }

    #[tokio::test]
    async fn logs_of_all_keys_answer_paths_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut heads = Vec::new();
        {
            let proofs = Proofs::open(&dir.path().join("p")).unwrap();
            for secret in 1..=MAX_LOGS as u8 + 3 {
                let mut signer = Signer::new(secret);
                let batch = (0..10 + u64::from(secret)).map(|_| proof(signer.proof())).collect();
                proofs.keep(batch).await;
                heads.push((signer.key(), signer.log.head()));
            }
        }
        let proofs = Proofs::open(&dir.path().join("p")).unwrap();
        let mut keys = heads.iter().map(|(key, _)| *key).collect::<Vec<_>>();
        keys.sort();
        assert_eq!(proofs.keys().await, Ok(keys));
        for (key, head) in heads.iter().chain(&heads) {
            let size = head.size;
            assert_eq!(proofs.log(*key, |log| Ok(log.head())).await, Ok(*head));
            let path = proofs.log(*key, move |log| log.inclusion(3, size)).await.unwrap();
            let signed = proofs.proof(*key, 3).await.unwrap().unwrap();
            assert_eq!(verify_inclusion(&head.root, size, 3, &signed.verify().unwrap(), &path), Ok(()));
            let (old, path) = proofs.log(*key, move |log| Ok((log.root(4)?, log.consistency(4, size)?))).await.unwrap();
            assert_eq!(verify_consistency(&Head { size: 4, root: old }, head, &path), Ok(()));
        }
        assert!(proofs.0.former.lock().unwrap().len() <= MAX_LOGS);
        assert_eq!(proofs.log(Address([7; 20]), |log| Ok(log.size())).await, Err(ProofError::NoLog));
        let none = proofs.log(heads[0].0, |log| log.inclusion(99, 11)).await;
        assert_eq!(none, Err(ProofError::Log(LogError::NoLeaf { index: 99, size: 11 })));
    }

    #[tokio::test]
    async fn the_signed_heads_of_all_keys_are_there_without_their_logs() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = SettlementOrder { chain_id: 1, ..LEDGER };
        let mut expected = Vec::new();
        {
            let proofs = Proofs::open(&dir.path().join("p")).unwrap();
            for secret in 1..=MAX_LOGS as u8 + 2 {
                let mut signer = Signer::new(secret);
                for at in [LEDGER, elsewhere, LEDGER] {
                    let with = Publication {
                        proof: Some(signer.proof()),
                        checkpoint: Some(cbor::encode(&signer.head_for(at))),
                    };
                    assert_eq!(proofs.publish(None, Some(at), vec![with]).await.unwrap().kept, [true]);
                }
                expected.push(signer.head_for(LEDGER));
            }
        }
        let proofs = Proofs::open(&dir.path().join("p")).unwrap();
        let mut found = proofs.checkpoints(LEDGER).await.unwrap();
        let key = |head: &SignedCheckpoint| head.checkpoint.enclave_key;
        expected.sort_by_key(key);
        found.sort_by_key(key);
        assert_eq!(found, expected);
        assert!(proofs.checkpoints(elsewhere).await.unwrap().iter().all(|head| head.checkpoint.size == 2));
        assert!(proofs.0.former.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn who_waits_for_a_former_log_keeps_nobody_from_publishing() {
        let dir = tempfile::tempdir().unwrap();
        let (mut old, mut new) = (Signer::new(1), Signer::new(2));
        {
            let proofs = Proofs::open(&dir.path().join("p")).unwrap();
            assert_eq!(proofs.keep(vec![proof(old.proof())]).await, [true]);
        }
        let proofs = Proofs::open(&dir.path().join("p")).unwrap();
        let busy = proofs.0.reading.acquire_many(u32::try_from(MAX_READING).unwrap()).await.unwrap();
        // More than there are threads for what blocks.
        let readers: Vec<_> = (0..600)
            .map(|_| {
                let (proofs, key) = (proofs.clone(), old.key());
                tokio::spawn(async move { proofs.log(key, |log| Ok(log.size())).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(proofs.keep(vec![proof(new.proof())]).await, [true]);
        assert_eq!(proofs.log(new.key(), |log| Ok(log.size())).await, Ok(1));
        assert!(readers.iter().all(|reader| !reader.is_finished()));
        drop(busy);
        for reader in readers {
            assert_eq!(reader.await.unwrap(), Ok(1));
        }
    }

    #[tokio::test]
    async fn a_table_has_one_process() {
        let (dir, _proofs) = opened();
        assert_eq!(Proofs::open(&dir.path().join("p")).err(), Some(ProofError::InUse));
    }

    /// Not a test of its own: what the next test kills.
    #[tokio::test]
    async fn endless_publishing() {
        let Ok(dir) = std::env::var("GLACIER_PROOFS_KILLED") else { return };
        let proofs = Proofs::open(&Path::new(&dir).join("p")).unwrap();
        let mut signer = Signer::new(1);
        loop {
            let mut batch: Vec<_> = (0..3).map(|_| proof(signer.proof())).collect();
            batch[2].checkpoint = Some(signer.head());
            assert_eq!(proofs.keep(batch).await, [true; 3]);
            // Whoever asked has been told that these proofs are kept.
            std::fs::write(Path::new(&dir).join("told"), signer.log.size().to_be_bytes()).unwrap();
        }
    }

    #[tokio::test]
    async fn a_killed_process_loses_no_proof_that_was_answered_and_no_head_without_its_proofs() {
        for round in 0..5u64 {
            let dir = tempfile::tempdir().unwrap();
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "proofs::tests::endless_publishing"])
                .env("GLACIER_PROOFS_KILLED", dir.path())
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            let told = || {
                let bytes = std::fs::read(dir.path().join("told")).ok()?;
                bytes.try_into().ok().map(u64::from_be_bytes)
            };
            while told().is_none_or(|size| size < 10) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            tokio::time::sleep(Duration::from_micros(700 * round)).await;
            child.kill().unwrap();
            child.wait().unwrap();
            let proofs = Proofs::open(&dir.path().join("p")).unwrap();
            let key = Signer::new(1).key();
            let log = proofs.log(key, |log| Ok(log.head())).await.unwrap();
            // An empty file was caught between two steps of the witness, not of the table.
            assert!(told().is_none_or(|size| log.size >= size), "{} kept, {:?} told", log.size, told());
            assert_eq!(proofs.count().await, Ok(log.size));
            let head = proofs.checkpoint(key, Some(LEDGER)).await.unwrap().unwrap();
            assert_eq!((head.checkpoint.head(), head.verify()), (log, Ok(())));
        }
    }
}
