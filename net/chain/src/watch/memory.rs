//! What a watchman has seen: one file, which appears whole.

use crate::{Deployment, file, observer::Entry};
use alloy::primitives::Address;
use glacier_proof::SignedCheckpoint;
use glacier_wire::EnclaveId;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// Cannot be read or written.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Not such a file.
    #[error("{} is not what a watchman has written", .0.display())]
    Damaged(PathBuf),
    /// Of another network.
    #[error("{} is about another network", .0.display())]
    OtherNetwork(PathBuf),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Memory {
    chain_id: u64,
    registry: Address,
    /// The last block that was read.
    block: u64,
    keys: BTreeMap<glacier_wire::Address, Known>,
    /// Node by node, the number of the first proof that was not read.
    proofs: BTreeMap<String, u64>,
}

/// A key as the chain showed it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Known {
    /// How it came in, or was last renewed.
    pub(super) entry: Entry,
    /// Heads that it signed for this ledger, settled or shown by nodes, the newest last.
    pub(super) heads: Vec<Seen>,
}

/// A signed head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) signed: SignedCheckpoint,
    pub(super) settled: bool,
}

/// Heads of a key that are kept; of those that were settled the last is always among them.
const HEADS: usize = 64;
/// Largest file that is read.
const MAX_BYTES: u64 = 1 << 30;

impl Memory {
    pub(super) fn open(path: &Path, deployment: &Deployment) -> Result<Self, MemoryError> {
        let io = |error| MemoryError::Io { path: path.into(), error };
        let length = match fs::metadata(path) {
            Ok(found) => found.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::new(deployment)),
            Err(error) => return Err(io(error)),
        };
        if length > MAX_BYTES {
            return Err(MemoryError::Damaged(path.into()));
        }
        let text = fs::read(path).map_err(io)?;
        let memory: Self = serde_json::from_slice(&text).map_err(|_| MemoryError::Damaged(path.into()))?;
        if (memory.chain_id, memory.registry) != (deployment.chain_id, deployment.registry) {
            return Err(MemoryError::OtherNetwork(path.into()));
        }
        Ok(memory)
    }

    fn new(deployment: &Deployment) -> Self {
        Self {
            chain_id: deployment.chain_id,
            registry: deployment.registry,
            block: deployment.block.saturating_sub(1),
            keys: BTreeMap::new(),
            proofs: BTreeMap::new(),
        }
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), MemoryError> {
        let io = |error| MemoryError::Io { path: path.into(), error };
        let text = serde_json::to_vec(self).map_err(|error| io(error.into()))?;
        file::in_place(path, |draft| fs::write(draft, &text)).map_err(io)
    }

    pub(super) fn block(&self) -> u64 {
        self.block
    }

    pub(super) fn read_to(&mut self, block: u64) {
        self.block = block;
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = Known> + use<> {
        self.keys.values().cloned().collect::<Vec<_>>().into_iter()
    }

    pub(super) fn of(&self, key: &glacier_wire::Address) -> Option<&Known> {
        self.keys.get(key)
    }

    /// Keys by chip.
    pub(super) fn chips(&self) -> BTreeMap<EnclaveId, Vec<glacier_wire::Address>> {
        let mut chips: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (key, known) in &self.keys {
            chips.entry(known.entry.enclave_id).or_default().push(*key);
        }
        chips
    }

    pub(super) fn registered(&mut self, entry: Entry) {
        let known = self.keys.entry(entry.registration.enclave_key);
        known.and_modify(|known| known.entry = entry.clone()).or_insert_with(|| Known { entry, heads: Vec::new() });
    }

    pub(super) fn settled(&mut self, signed: SignedCheckpoint) {
        self.seen(Seen { signed, settled: true });
    }

    pub(super) fn shown(&mut self, signed: SignedCheckpoint) {
        self.seen(Seen { signed, settled: false });
    }

    fn seen(&mut self, seen: Seen) {
        let Some(known) = self.keys.get_mut(&seen.signed.checkpoint.enclave_key) else { return };
        if let Some(before) = known.heads.iter_mut().find(|before| before.signed.checkpoint == seen.signed.checkpoint) {
            before.settled |= seen.settled;
            return;
        }
        known.heads.push(seen);
        if known.heads.len() > HEADS {
            let last = known.heads.iter().rposition(|head| head.settled);
            let oldest = (0..known.heads.len()).find(|index| Some(*index) != last);
            oldest.map(|index| known.heads.remove(index));
        }
    }

    pub(super) fn proofs_of(&self, node: &str) -> u64 {
        self.proofs.get(node).copied().unwrap_or_default()
    }

    pub(super) fn read_proofs(&mut self, node: String, next: u64) {
        self.proofs.insert(node, next);
    }
}
