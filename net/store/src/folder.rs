//! The store itself, in blocking calls.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use glacier_wire::Digest;

use crate::{
    error::StoreError,
    files::{Files, PartName, idle},
    part::Part,
};

/// How much of an asset is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing.
    Absent,
    /// The first `have` of `length` bytes.
    Partial {
        /// Bytes that are there.
        have: u64,
        /// Bytes that were announced.
        length: u64,
    },
    /// All of it.
    Complete {
        /// Bytes of it.
        bytes: u64,
    },
}

/// One stored asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blob {
    /// Its address.
    pub digest: Digest,
    /// Its size in bytes.
    pub bytes: u64,
}

/// How full the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of blobs, parts and uploads together.
    pub bytes: u64,
    /// Most bytes there may be.
    pub max_bytes: u64,
    /// How many blobs.
    pub blobs: u64,
    /// How many uploads are unfinished.
    pub unfinished: u64,
}

/// Handle of an upload whose digest is not known yet. Void when the store is closed, unless it is opened
/// [keeping](crate::Store::open_keeping) it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UploadId(pub u64);

/// Most uploads of either kind that may be unfinished.
pub(crate) const MAX_UNFINISHED: usize = 256;

pub(crate) struct Folder {
    files: Files,
    max_bytes: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    blobs: BTreeMap<Digest, u64>,
    parts: HashMap<Digest, Unfinished>,
    uploads: HashMap<u64, Arc<Mutex<Slot>>>,
    /// Last number given to an upload or a part.
    last: u64,
    used: u64,
}

impl State {
    fn number(&mut self) -> u64 {
        self.last = self.last.saturating_add(1);
        self.last
    }

    /// Forgets a part, unless another has taken its place.
    fn forget(&mut self, digest: &Digest, part: &Unfinished) {
        if self.parts.get(digest).is_some_and(|entry| Arc::ptr_eq(&entry.slot, &part.slot)) {
            self.parts.remove(digest);
        }
    }
}

#[derive(Clone)]
struct Unfinished {
    length: u64,
    slot: Arc<Mutex<Slot>>,
}

/// Locked for the length of one write, so that writers of one upload take turns and others do not wait.
enum Slot {
    /// Left by an earlier process, with this many bytes.
    Dormant {
        path: PathBuf,
        have: u64,
    },
    Active(Box<Part>),
    /// Completed or given up by whoever held the lock before.
    Gone,
}

impl Slot {
    fn wake(&mut self) -> Result<&mut Part, StoreError> {
        if let Self::Dormant { path, .. } = self {
            *self = Self::Active(Box::new(Part::resume(path.clone())?));
        }
        match self {
            Self::Active(part) => Ok(part),
            _ => Err(StoreError::Missing),
        }
    }

    fn have(&self) -> Option<u64> {
        match self {
            Self::Dormant { have, .. } => Some(*have),
            Self::Active(part) => Some(part.len()),
            Self::Gone => None,
        }
    }

    fn path(&self) -> Option<&Path> {
        match self {
            Self::Dormant { path, .. } => Some(path),
            Self::Active(part) => Some(part.path()),
            Self::Gone => None,
        }
    }
}

impl Folder {
    pub(crate) fn open(dir: PathBuf, max_bytes: u64, kept: &[u64]) -> Result<Self, StoreError> {
        let files = Files::open(dir, kept)?;
        let mut state = State::default();
        for number in kept {
            let path = files.result(*number);
            // What is not there any more is missing to whoever asks for it.
            let Ok(meta) = fs::metadata(&path) else { continue };
            state.used = state.used.saturating_add(meta.len());
            state.last = state.last.max(*number);
            state.uploads.insert(*number, Arc::new(Mutex::new(Slot::Dormant { path, have: meta.len() })));
        }
        for (digest, bytes) in files.blobs()? {
            state.used = state.used.saturating_add(bytes);
            state.blobs.insert(digest, bytes);
        }
        for (name, have) in files.parts()? {
            let path = files.part(&name);
            let PartName { digest, length, turn } = name;
            state.last = state.last.max(turn);
            // Of two parts of one asset, or a part of what is complete, the second is left over from a crash
            // between two steps; so is a part that outgrew its announcement.
            if state.blobs.contains_key(&digest) || state.parts.contains_key(&digest) || have > length {
                fs::remove_file(path)?;
                continue;
            }
            state.used = state.used.saturating_add(have);
            let slot = Arc::new(Mutex::new(Slot::Dormant { path, have }));
            state.parts.insert(digest, Unfinished { length, slot });
        }
        Ok(Self { files, max_bytes, state: Mutex::new(state) })
    }

    pub(crate) fn size(&self, digest: &Digest) -> Result<u64, StoreError> {
        self.state().blobs.get(digest).copied().ok_or(StoreError::Missing)
    }

    pub(crate) fn read(&self, digest: &Digest, offset: u64, len: usize) -> Result<Vec<u8>, StoreError> {
        let end = self.size(digest)?;
        let left = end.checked_sub(offset).ok_or(StoreError::Range { end })?;
        let file = File::open(self.files.blob(digest))?;
        if offset == 0 {
            // Whoever reads it still has a use for it. Where that cannot be noted it only ends sooner.
            let _ = file.set_modified(SystemTime::now());
        }
        let mut bytes = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(len)];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    pub(crate) fn progress(&self, digest: &Digest) -> Progress {
        let part = {
            let state = self.state();
            if let Some(bytes) = state.blobs.get(digest) {
                return Progress::Complete { bytes: *bytes };
            }
            state.parts.get(digest).cloned()
        };
        let have = part.as_ref().and_then(|part| lock(&part.slot).have());
        match part.zip(have) {
            Some((part, have)) => Progress::Partial { have, length: part.length },
            // A part that has gone meanwhile may have become a blob.
            None => self.size(digest).map_or(Progress::Absent, |bytes| Progress::Complete { bytes }),
        }
    }

    pub(crate) fn begin(&self, digest: &Digest, length: u64) -> Result<Progress, StoreError> {
        {
            let mut state = self.state();
            if let Some(bytes) = state.blobs.get(digest) {
                return Ok(Progress::Complete { bytes: *bytes });
            }
            match state.parts.get(digest) {
                Some(part) if part.length != length => return Err(StoreError::Length { announced: part.length }),
                Some(_) => {}
                None => {
                    if length > self.for_clients().saturating_sub(state.used) {
                        return Err(StoreError::Full);
                    }
                    if state.parts.len() >= MAX_UNFINISHED {
                        return Err(StoreError::TooManyUploads);
                    }
                    let name = PartName { digest: *digest, length, turn: state.number() };
                    let slot = Arc::new(Mutex::new(Slot::Active(Box::new(Part::create(self.files.part(&name))?))));
                    state.parts.insert(*digest, Unfinished { length, slot });
                }
            }
        }
        Ok(self.progress(digest))
    }

    pub(crate) fn restart(&self, digest: &Digest, length: u64) -> Result<Progress, StoreError> {
        let given_up = self.state().parts.remove(digest);
        if let Some(part) = given_up {
            self.discard(&mut lock(&part.slot))?;
        }
        self.begin(digest, length)
    }

    pub(crate) fn append(&self, digest: &Digest, offset: u64, bytes: &[u8]) -> Result<u64, StoreError> {
        let part = self.state().parts.get(digest).cloned().ok_or(StoreError::Missing)?;
        let mut slot = lock(&part.slot);
        let writer = slot.wake()?;
        if writer.len() != offset {
            return Err(StoreError::Offset { expected: writer.len() });
        }
        if part.length.checked_sub(offset).is_none_or(|left| left < bytes.len() as u64) {
            return Err(StoreError::Length { announced: part.length });
        }
        self.write(writer, bytes, self.for_clients())
    }

    pub(crate) fn complete(&self, digest: &Digest) -> Result<u64, StoreError> {
        let part = self.state().parts.get(digest).cloned();
        // Where the part or its content has gone, somebody else was faster.
        let Some(part) = part else { return self.size(digest) };
        let mut slot = lock(&part.slot);
        let writer = match slot.wake() {
            Ok(writer) => writer,
            Err(StoreError::Missing) => return self.size(digest),
            Err(error) => return Err(error),
        };
        if writer.len() != part.length {
            return Err(StoreError::Offset { expected: writer.len() });
        }
        let result = self.settle(&mut slot, digest);
        if slot.have().is_none() {
            self.state().forget(digest, &part);
        }
        result
    }

    pub(crate) fn create_upload(&self) -> Result<UploadId, StoreError> {
        let mut state = self.state();
        if state.uploads.len() >= MAX_UNFINISHED {
            return Err(StoreError::TooManyUploads);
        }
        let number = state.number();
        let part = Part::create(self.files.result(number))?;
        state.uploads.insert(number, Arc::new(Mutex::new(Slot::Active(Box::new(part)))));
        Ok(UploadId(number))
    }

    pub(crate) fn append_upload(&self, upload: UploadId, bytes: &[u8]) -> Result<u64, StoreError> {
        let slot = self.upload(upload)?;
        let mut slot = lock(&slot);
        self.write(slot.wake()?, bytes, self.max_bytes)
    }

    pub(crate) fn commit_upload(&self, upload: UploadId, digest: &Digest) -> Result<u64, StoreError> {
        let slot = self.upload(upload)?;
        let result = self.settle(&mut lock(&slot), digest);
        self.state().uploads.remove(&upload.0);
        result
    }

    pub(crate) fn abort_upload(&self, upload: UploadId) -> Result<(), StoreError> {
        let slot = self.state().uploads.remove(&upload.0).ok_or(StoreError::Missing)?;
        self.discard(&mut lock(&slot))
    }

    pub(crate) fn delete(&self, digest: &Digest) -> Result<(), StoreError> {
        let mut state = self.state();
        let bytes = state.blobs.get(digest).copied().ok_or(StoreError::Missing)?;
        fs::remove_file(self.files.blob(digest))?;
        state.blobs.remove(digest);
        state.used = state.used.saturating_sub(bytes);
        Ok(())
    }

    pub(crate) fn list(&self) -> Vec<Blob> {
        self.state().blobs.iter().map(|(digest, bytes)| Blob { digest: *digest, bytes: *bytes }).collect()
    }

    pub(crate) fn usage(&self) -> Usage {
        let state = self.state();
        let unfinished = state.parts.len().saturating_add(state.uploads.len()) as u64;
        Usage { bytes: state.used, max_bytes: self.max_bytes, blobs: state.blobs.len() as u64, unfinished }
    }

    pub(crate) fn sweep(&self, older: Duration) -> Result<usize, StoreError> {
        let parts: Vec<_> = self.state().parts.iter().map(|(digest, part)| (*digest, part.clone())).collect();
        let mut swept = 0usize;
        for (digest, part) in parts {
            // Whoever holds the lock writes to it: not idle.
            let Ok(mut slot) = part.slot.try_lock() else { continue };
            if slot.path().is_none_or(|path| idle(path).is_ok_and(|idle| idle < older)) {
                continue;
            }
            self.state().forget(&digest, &part);
            self.discard(&mut slot)?;
            swept = swept.saturating_add(1);
        }
        Ok(swept)
    }

    pub(crate) fn expire(&self, older: Duration, but: &HashSet<Digest>) -> Result<usize, StoreError> {
        let blobs: Vec<_> = self.state().blobs.keys().filter(|digest| !but.contains(*digest)).copied().collect();
        let mut expired = 0usize;
        for digest in blobs {
            if idle(&self.files.blob(&digest)).is_ok_and(|idle| idle >= older) {
                match self.delete(&digest) {
                    Ok(()) => expired = expired.saturating_add(1),
                    Err(StoreError::Missing) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(expired)
    }

    /// What uploads by digest may fill. The rest is for results and checkpoints: strangers who fill the store must not
    /// keep jobs from ending.
    fn for_clients(&self) -> u64 {
        self.max_bytes.saturating_sub(self.max_bytes / 8)
    }

    fn upload(&self, upload: UploadId) -> Result<Arc<Mutex<Slot>>, StoreError> {
        self.state().uploads.get(&upload.0).cloned().ok_or(StoreError::Missing)
    }

    /// Room first, then bytes: however many write at once, the ceiling holds.
    fn write(&self, part: &mut Part, bytes: &[u8], ceiling: u64) -> Result<u64, StoreError> {
        let len = bytes.len() as u64;
        {
            let mut state = self.state();
            state.used = state.used.checked_add(len).filter(|used| *used <= ceiling).ok_or(StoreError::Full)?;
        }
        part.append(bytes).inspect_err(|_| self.free(len))?;
        Ok(part.len())
    }

    /// Makes a blob of complete bytes that have the digest, and nothing of others.
    fn settle(&self, slot: &mut Slot, digest: &Digest) -> Result<u64, StoreError> {
        let part = slot.wake()?;
        let len = part.len();
        if part.digest() != *digest {
            self.discard(slot)?;
            return Err(StoreError::DigestMismatch);
        }
        self.files.publish(part.file(), part.path(), digest)?;
        *slot = Slot::Gone;
        let mut state = self.state();
        if state.blobs.insert(*digest, len).is_some() {
            // The same bytes were there already: they count once.
            state.used = state.used.saturating_sub(len);
        }
        Ok(len)
    }

    /// Takes the upload away from all who hold the slot, and its file from the disk.
    fn discard(&self, slot: &mut Slot) -> Result<(), StoreError> {
        if let Some((path, have)) = slot.path().map(Path::to_owned).zip(slot.have()) {
            *slot = Slot::Gone;
            fs::remove_file(path)?;
            self.free(have);
        }
        Ok(())
    }

    fn free(&self, bytes: u64) {
        let mut state = self.state();
        state.used = state.used.saturating_sub(bytes);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Every change under these locks is complete before anything can panic, so a poisoned one is as good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
