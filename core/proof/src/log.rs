//! The log of one enclave key: an RFC 6962 Merkle tree over the hashes of its Work Proofs, with
//! Keccak-256 where the RFC has SHA-256, so that contracts check it cheaply.
//!
//! | node | hash |
//! |---|---|
//! | leaf `i` | `keccak(0x00 ‖ hash of Work Proof i)` |
//! | inner | `keccak(0x01 ‖ left ‖ right)` |
//! | root of nothing | `keccak("")` |
//!
//! [`Frontier`] is what an enclave keeps, [`Log`] what hosts and watchmen keep. Anyone else holds a
//! [`Head`] and checks paths against it.

use alloc::{vec, vec::Vec};
use glacier_wire::{LogHash, ProofHash, eip712::keccak};

/// How many proofs a log had, and its root then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Head {
    /// Leaves.
    pub size: u64,
    /// Of the tree over them.
    pub root: LogHash,
}

/// Why a log has no such path, or a path does not prove what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// There is no such leaf in a tree of this size.
    #[error("a log of {size} proofs has no proof {index}")]
    NoLeaf {
        /// Asked for.
        index: u64,
        /// Of the tree.
        size: u64,
    },
    /// The log has not so many leaves, or the older head is the larger.
    #[error("a log of {size} proofs never comes before one of {of}")]
    Size {
        /// Asked for, or of the older head.
        size: u64,
        /// Of the log, or of the newer head.
        of: u64,
    },
    /// The path has more or fewer nodes than a tree of this shape has levels.
    #[error("the path has another number of nodes than the tree has levels")]
    PathLength,
    /// The path leads to another root.
    #[error("the path leads to another root")]
    OtherRoot,
    /// 2^64 - 1 leaves.
    #[error("the log is full")]
    Full,
}

/// Hash of a leaf.
pub fn leaf_hash(proof: &ProofHash) -> LogHash {
    let mut bytes = [0u8; 33];
    for (to, from) in bytes.iter_mut().skip(1).zip(proof.0) {
        *to = from;
    }
    LogHash(keccak(&bytes))
}

/// Whether `leaf` is number `index` of the log that had `root` when it had `size` leaves
/// (RFC 9162, 2.1.3.2).
///
/// # Errors
/// [`LogError`] says whether there can be no such leaf, the path has no such shape, or it leads elsewhere.
pub fn verify_inclusion(
    root: &LogHash,
    size: u64,
    index: u64,
    leaf: &ProofHash,
    path: &[LogHash],
) -> Result<(), LogError> {
    ensure(root_of_path(size, index, leaf, path)? == *root, LogError::OtherRoot)
}

/// The root that a log of `size` proofs has if `leaf` is its number `index` and `path` the audit path: for
/// whoever knows only a part of the root.
///
/// # Errors
/// [`LogError`] says whether there can be no such leaf, or the path has no such shape.
pub fn root_of_path(size: u64, index: u64, leaf: &ProofHash, path: &[LogHash]) -> Result<LogHash, LogError> {
    if index >= size {
        return Err(LogError::NoLeaf { index, size });
    }
    let (mut at, mut last) = (index, size.saturating_sub(1));
    let mut hash = leaf_hash(leaf);
    for sibling in path {
        if last == 0 {
            return Err(LogError::PathLength);
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(sibling, &hash);
            // Up to the level at which the subtree is a right child: it has no sibling before.
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    ensure(last == 0, LogError::PathLength)?;
    Ok(hash)
}

/// Whether the log with head `new` begins with the log with head `old` (RFC 9162, 2.1.4.2).
///
/// Every log begins with the empty one, and equal heads need no path.
///
/// # Errors
/// [`LogError`] says whether the sizes are the wrong way round, the path has no such shape, or one of
/// its two ends is another root.
pub fn verify_consistency(old: &Head, new: &Head, path: &[LogHash]) -> Result<(), LogError> {
    if old.size > new.size {
        return Err(LogError::Size { size: old.size, of: new.size });
    }
    if old.size == 0 || old.size == new.size {
        ensure(path.is_empty(), LogError::PathLength)?;
        let begins = if old.size == new.size { old.root == new.root } else { old.root == empty_root() };
        return ensure(begins, LogError::OtherRoot);
    }
    // A complete subtree is its own first node.
    let mut nodes = path.iter();
    let first = if old.size.is_power_of_two() { &old.root } else { nodes.next().ok_or(LogError::PathLength)? };
    let (mut at, mut last) = (old.size.saturating_sub(1), new.size.saturating_sub(1));
    while at & 1 == 1 {
        (at, last) = (at >> 1, last >> 1);
    }
    let (mut old_hash, mut new_hash) = (*first, *first);
    for node in nodes {
        if last == 0 {
            return Err(LogError::PathLength);
        }
        if at & 1 == 1 || at == last {
            old_hash = node_hash(node, &old_hash);
            new_hash = node_hash(node, &new_hash);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            new_hash = node_hash(&new_hash, node);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    ensure(last == 0, LogError::PathLength)?;
    ensure(old_hash == old.root && new_hash == new.root, LogError::OtherRoot)
}

/// The right edge of a tree: enough to append and to know the root, in O(log n).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    peaks: Vec<LogHash>,
}

impl Frontier {
    /// Of an empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes up a frontier that was kept as its peaks.
    ///
    /// # Errors
    /// [`LogError::PathLength`] if a tree of this size has another number of peaks.
    pub fn from_peaks(size: u64, peaks: Vec<LogHash>) -> Result<Self, LogError> {
        ensure(usize::try_from(size.count_ones()) == Ok(peaks.len()), LogError::PathLength)?;
        Ok(Self { size, peaks })
    }

    /// Appends a proof.
    ///
    /// # Errors
    /// [`LogError::Full`] after 2^64 - 1 of them.
    pub fn append(&mut self, proof: &ProofHash) -> Result<(), LogError> {
        let grown = self.size.checked_add(1).ok_or(LogError::Full)?;
        let mut hash = leaf_hash(proof);
        // As adding one carries through the low ones of the size, so a leaf merges with the last peaks.
        for _ in 0..self.size.trailing_ones() {
            let Some(peak) = self.peaks.pop() else { break };
            hash = node_hash(&peak, &hash);
        }
        self.peaks.push(hash);
        self.size = grown;
        Ok(())
    }

    /// Leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Root of the tree.
    pub fn root(&self) -> LogHash {
        fold(&self.peaks)
    }

    /// Size and root.
    pub fn head(&self) -> Head {
        Head { size: self.size, root: self.root() }
    }

    /// Roots of the complete subtrees, from the left and so from the largest: one for each bit that
    /// is set in the size, the highest bit first.
    pub fn peaks(&self) -> &[LogHash] {
        &self.peaks
    }

    /// The audit path that the next leaf will have, as long as it is the last: the peaks, nearest first.
    pub fn path_of_next(&self) -> Vec<LogHash> {
        self.peaks.iter().rev().copied().collect()
    }
}

/// A whole log. Root, frontier and paths at any size that it had cost O(log n).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// `levels[k][i]` is the root of the complete subtree over the leaves from `i << k` on.
    levels: Vec<Vec<LogHash>>,
}

impl Default for Log {
    fn default() -> Self {
        Self { levels: vec![Vec::new()] }
    }
}

impl Log {
    /// An empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a proof.
    pub fn append(&mut self, proof: &ProofHash) {
        let mut hash = leaf_hash(proof);
        for level in &mut self.levels {
            level.push(hash);
            match level.as_slice() {
                [.., left, right] if level.len() & 1 == 0 => hash = node_hash(left, right),
                _ => return,
            }
        }
        // The tree has grown by a level.
        self.levels.push(vec![hash]);
    }

    /// Leaves.
    pub fn size(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| leaves.len() as u64)
    }

    /// Size and root now.
    pub fn head(&self) -> Head {
        let size = self.size();
        Head { size, root: fold(&self.peaks(0, size)) }
    }

    /// The root that the log had at `size`.
    ///
    /// # Errors
    /// [`LogError::Size`] if it never had that size yet.
    pub fn root(&self, size: u64) -> Result<LogHash, LogError> {
        self.had(size)?;
        Ok(fold(&self.peaks(0, size)))
    }

    /// The frontier that the log had at `size`.
    ///
    /// # Errors
    /// [`LogError::Size`] if it never had that size yet.
    pub fn frontier(&self, size: u64) -> Result<Frontier, LogError> {
        self.had(size)?;
        Ok(Frontier { size, peaks: self.peaks(0, size) })
    }

    /// The audit path of leaf `index` in the tree of the first `size` leaves (RFC 6962, 2.1.1).
    ///
    /// # Errors
    /// [`LogError::Size`] if the log never had that size yet, [`LogError::NoLeaf`] if the leaf came later.
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Vec<LogHash>, LogError> {
        self.had(size)?;
        ensure(index < size, LogError::NoLeaf { index, size })?;
        let mut path = Vec::new();
        // Down from the root, the sibling of each step noted.
        let (mut from, mut to) = (0u64, size);
        while to.saturating_sub(from) > 1 {
            let middle = from.saturating_add(split(to.saturating_sub(from)));
            if index < middle {
                path.push(self.subtree(middle, to));
                to = middle;
            } else {
                path.push(self.subtree(from, middle));
                from = middle;
            }
        }
        path.reverse();
        Ok(path)
    }

    /// The path that shows that the tree of `new` leaves begins with the tree of `old` (RFC 6962, 2.1.2).
    /// Empty where there is nothing to show.
    ///
    /// # Errors
    /// [`LogError::Size`] if the log never had these sizes yet, or had them the other way round.
    pub fn consistency(&self, old: u64, new: u64) -> Result<Vec<LogHash>, LogError> {
        self.had(new)?;
        ensure(old <= new, LogError::Size { size: old, of: new })?;
        let mut path = Vec::new();
        if old == 0 || old == new {
            return Ok(path);
        }
        let (mut from, mut to) = (0u64, new);
        while to != old {
            let middle = from.saturating_add(split(to.saturating_sub(from)));
            if old <= middle {
                path.push(self.subtree(middle, to));
                to = middle;
            } else {
                path.push(self.subtree(from, middle));
                from = middle;
            }
        }
        // The whole of the old tree is known to whoever asks, a part of it is not.
        if from != 0 {
            path.push(self.subtree(from, to));
        }
        path.reverse();
        Ok(path)
    }

    fn had(&self, size: u64) -> Result<(), LogError> {
        ensure(size <= self.size(), LogError::Size { size, of: self.size() })
    }

    /// Hash over the leaves `from..to`, where `from` is where a subtree of that many leaves can begin.
    fn subtree(&self, from: u64, to: u64) -> LogHash {
        fold(&self.peaks(from, to))
    }

    fn peaks(&self, from: u64, to: u64) -> Vec<LogHash> {
        let count = to.saturating_sub(from);
        let mut at = from;
        let mut peaks = Vec::new();
        for (level, nodes) in self.levels.iter().enumerate().rev() {
            let leaves = 1u64.checked_shl(u32::try_from(level).unwrap_or(u32::MAX)).unwrap_or(0);
            if count & leaves == 0 {
                continue;
            }
            let index = usize::try_from(at >> level).ok();
            // All subtrees of sizes that the log had are there.
            peaks.extend(index.and_then(|index| nodes.get(index)).copied());
            at = at.saturating_add(leaves);
        }
        peaks
    }
}

impl FromIterator<ProofHash> for Log {
    fn from_iter<I: IntoIterator<Item = ProofHash>>(proofs: I) -> Self {
        let mut log = Self::new();
        proofs.into_iter().for_each(|proof| log.append(&proof));
        log
    }
}

/// Root of the empty log.
pub fn empty_root() -> LogHash {
    LogHash(keccak(&[]))
}

fn node_hash(left: &LogHash, right: &LogHash) -> LogHash {
    let mut bytes = [1u8; 65];
    for (to, from) in bytes.iter_mut().skip(1).zip(left.0.iter().chain(&right.0)) {
        *to = *from;
    }
    LogHash(keccak(&bytes))
}

/// Root over complete subtrees, the largest first.
fn fold(peaks: &[LogHash]) -> LogHash {
    let mut peaks = peaks.iter().rev();
    let Some(last) = peaks.next() else { return empty_root() };
    peaks.fold(*last, |hash, peak| node_hash(peak, &hash))
}

/// The largest power of two below `leaves`, of which there are at least two.
fn split(leaves: u64) -> u64 {
    leaves.saturating_sub(1).checked_ilog2().and_then(|bits| 1u64.checked_shl(bits)).unwrap_or(0)
}

fn ensure(holds: bool, error: LogError) -> Result<(), LogError> {
    if holds { Ok(()) } else { Err(error) }
}
