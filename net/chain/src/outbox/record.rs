//! What the outbox's file holds. It holds signed transactions, and no key.

use std::path::Path;

use alloy::primitives::{Address, B256, Bytes};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::{Intent, IntentId, Mined, OutboxError, Outcome};
use crate::file;

/// An intent and how far it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) intent: Intent,
    pub(crate) state: State,
    /// What was signed under nonces that transactions of others took: they can never be mined.
    pub(crate) superseded: Vec<B256>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum State {
    Queued,
    Sent(Sent),
    Done(Outcome),
}

/// What was signed, all under one nonce: at most one of them is ever mined.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sent {
    pub(crate) nonce: u64,
    pub(crate) gas: u64,
    /// The chain's last block before any of it was told to anyone.
    pub(crate) since: u64,
    /// The newest last.
    pub(crate) versions: Vec<Version>,
    /// Where it is, while that may change.
    pub(crate) mined: Option<Mined>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Version {
    pub(crate) hash: B256,
    pub(crate) raw: Bytes,
    pub(crate) fee: u64,
    pub(crate) tip: u64,
    /// Seconds since 1970.
    pub(crate) signed_at: u64,
}

/// What is final on the chain, as far as this outbox knows: no honest answer is below it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Floor {
    /// All nonces below it are used.
    pub(crate) nonce: u64,
    /// The highest block that held something final.
    pub(crate) block: u64,
}

pub(crate) struct Store(Database);

impl Store {
    pub(crate) fn open(path: &Path, owner: Address) -> Result<Self, OutboxError> {
        if !path.try_exists()? {
            file::in_place(path, |draft| create(draft, owner))?;
        }
        let database = Database::open(path)?;
        let read = database.begin_read()?;
        let meta = read.open_table(META)?;
        if meta.get("format")?.map(|found| found.value()) != Some(FORMAT) {
            return Err(OutboxError::Format);
        }
        let found = read.open_table(OWNER)?.get(())?.map(|found| Address::from(found.value()));
        let found = found.ok_or(OutboxError::Damaged)?;
        if found != owner {
            return Err(OutboxError::Owner { found, expected: owner });
        }
        drop((meta, read));
        Ok(Self(database))
    }

    /// Binds the outbox to a chain for good.
    pub(crate) fn bind(&self, chain: u64) -> Result<(), OutboxError> {
        let found = self.0.begin_read()?.open_table(META)?.get("chain")?.map(|found| found.value());
        match found {
            Some(found) if found == chain => Ok(()),
            Some(found) => Err(OutboxError::OtherChain { found, expected: chain }),
            None => {
                let write = self.0.begin_write()?;
                write.open_table(META)?.insert("chain", chain)?;
                Ok(write.commit()?)
            }
        }
    }

    pub(crate) fn submit(&self, intent: Intent) -> Result<IntentId, OutboxError> {
        let write = self.0.begin_write()?;
        if let Some(id) = known(&write, &intent.key)? {
            let same = self.record(id)?.intent == intent;
            return if same { Ok(id) } else { Err(OutboxError::KeyReused(intent.key)) };
        }
        let id = append(&write, intent)?;
        write.commit()?;
        Ok(id)
    }

    /// The intent of this key that is open or has succeeded, in a block after `since` where that is given; else a new one,
    /// to which the key belongs from now on. Tells whether it is new.
    pub(crate) fn submit_anew(&self, intent: Intent, since: Option<u64>) -> Result<(IntentId, bool), OutboxError> {
        let write = self.0.begin_write()?;
        if let Some(id) = known(&write, &intent.key)? {
            let mut record = self.record(id)?;
            match &record.state {
                State::Queued | State::Sent(_) => return Ok((id, false)),
                State::Done(Outcome::Mined(mined)) if since.is_none_or(|since| mined.block > since) => {
                    return Ok((id, false));
                }
                State::Done(Outcome::Refused { .. }) => {
                    // Nobody ever saw it. Refusals may be many, and are not kept at length.
                    record.intent.data = Bytes::new();
                    put(&write, id, &record)?;
                }
                State::Done(_) => {}
            }
        }
        let id = append(&write, intent)?;
        write.commit()?;
        Ok((id, true))
    }

    pub(crate) fn find(&self, key: &str) -> Result<Option<IntentId>, OutboxError> {
        Ok(self.0.begin_read()?.open_table(KEYS)?.get(key)?.map(|id| IntentId(id.value())))
    }

    pub(crate) fn record(&self, id: IntentId) -> Result<Record, OutboxError> {
        let read = self.0.begin_read()?;
        let record = read.open_table(RECORDS)?.get(id.0)?.ok_or(OutboxError::Unknown(id))?;
        decode(record.value())
    }

    /// All that is not final, by id.
    pub(crate) fn open_records(&self) -> Result<Vec<(IntentId, Record)>, OutboxError> {
        let read = self.0.begin_read()?;
        let records = read.open_table(RECORDS)?;
        let open = read.open_table(OPEN)?;
        open.iter()?
            .map(|entry| {
                let id = entry?.0.value();
                let record = records.get(id)?.ok_or(OutboxError::Damaged)?;
                Ok((IntentId(id), decode(record.value())?))
            })
            .collect()
    }

    pub(crate) fn floor(&self) -> Result<Floor, OutboxError> {
        let read = self.0.begin_read()?;
        let meta = read.open_table(META)?;
        let value = |name| Ok::<_, OutboxError>(meta.get(name)?.map_or(0, |found| found.value()));
        Ok(Floor { nonce: value("nonce")?, block: value("block")? })
    }

    /// Writes all of it or nothing; durable when it returns.
    pub(crate) fn save(&self, records: &[(IntentId, Record)], floor: Floor) -> Result<(), OutboxError> {
        let write = self.0.begin_write()?;
        for (id, record) in records {
            put(&write, *id, record)?;
        }
        {
            let mut meta = write.open_table(META)?;
            meta.insert("nonce", floor.nonce)?;
            meta.insert("block", floor.block)?;
        }
        Ok(write.commit()?)
    }
}

fn create(path: &Path, owner: Address) -> Result<(), OutboxError> {
    let write = Database::create(path)?;
    let write = write.begin_write()?;
    write.open_table(META)?.insert("format", FORMAT)?;
    write.open_table(OWNER)?.insert((), owner.into_array())?;
    write.open_table(RECORDS)?;
    write.open_table(OPEN)?;
    write.open_table(KEYS)?;
    Ok(write.commit()?)
}

fn known(write: &WriteTransaction, key: &str) -> Result<Option<IntentId>, OutboxError> {
    Ok(write.open_table(KEYS)?.get(key)?.map(|id| IntentId(id.value())))
}

fn append(write: &WriteTransaction, intent: Intent) -> Result<IntentId, OutboxError> {
    let last = write.open_table(RECORDS)?.last()?.map(|(id, _)| id.value());
    let id = IntentId(last.map_or(Some(0), |last| last.checked_add(1)).ok_or(OutboxError::Damaged)?);
    write.open_table(KEYS)?.insert(intent.key.as_str(), id.0)?;
    put(write, id, &Record { intent, state: State::Queued, superseded: vec![] })?;
    Ok(id)
}

fn put(write: &WriteTransaction, id: IntentId, record: &Record) -> Result<(), OutboxError> {
    let bytes = serde_json::to_vec(record).map_err(|_| OutboxError::Damaged)?;
    write.open_table(RECORDS)?.insert(id.0, bytes.as_slice())?;
    let mut open = write.open_table(OPEN)?;
    match record.state {
        State::Done(_) => drop(open.remove(id.0)?),
        _ => drop(open.insert(id.0, ())?),
    }
    Ok(())
}

fn decode(bytes: &[u8]) -> Result<Record, OutboxError> {
    serde_json::from_slice(bytes).map_err(|_| OutboxError::Damaged)
}

impl From<std::io::Error> for OutboxError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

macro_rules! from_redb {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for OutboxError {
            fn from(error: redb::$error) -> Self {
                match redb::Error::from(error) {
                    redb::Error::DatabaseAlreadyOpen => Self::InUse,
                    redb::Error::Corrupted(_) => Self::Damaged,
                    other => Self::Io(other.to_string()),
                }
            }
        }
    )*};
}

from_redb!(DatabaseError, TransactionError, TableError, StorageError, CommitError);

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const OWNER: TableDefinition<'_, (), [u8; 20]> = TableDefinition::new("owner");
/// Every intent there ever was, as JSON: they are what makes a key happen once.
const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("intents");
/// Those that are not final.
const OPEN: TableDefinition<'_, u64, ()> = TableDefinition::new("open");
const KEYS: TableDefinition<'_, &str, u64> = TableDefinition::new("keys");

const FORMAT: u64 = 1;
