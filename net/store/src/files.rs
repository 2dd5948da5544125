//! Names in the store's folder, and the order of writes that makes them crash-safe.
//!
//! ```text
//! blobs/<digest>                  whole, synced before it got this name
//! parts/<digest>.<length>.<turn>  the beginning of an upload of that many bytes
//! results/<number>                an upload whose digest is not known yet; void after a restart that does not name it
//! lock                            held by the process that uses the folder
//! ```
//!
//! The turn is never used twice, so a late writer to a part that was given up cannot touch its successor.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime},
};

use glacier_wire::Digest;

use crate::error::StoreError;

pub(crate) struct Files {
    dir: PathBuf,
    /// Released by the operating system when the process ends, however it ends.
    _lock: File,
}

/// What the name of a part says.
pub(crate) struct PartName {
    pub(crate) digest: Digest,
    /// Bytes that were announced.
    pub(crate) length: u64,
    pub(crate) turn: u64,
}

/// How long another holder of the lock may take to let go.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(10);

/// Takes the lock. A child that this very process is starting has a copy of every descriptor, and
/// with it of a lock just given up, until it executes its program: so a lock that is held is asked
/// for again before it counts as another process's.
fn take(lock: &File) -> Result<(), StoreError> {
    let begun = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
}

impl Files {
    /// Takes the folder. Of the results that another run began, those of `kept` remain.
    pub(crate) fn open(dir: PathBuf, kept: &[u64]) -> Result<Self, StoreError> {
        for name in ["blobs", "parts", "results"] {
            fs::create_dir_all(dir.join(name))?;
        }
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("lock"))?;
        take(&lock)?;
        let files = Self { dir, _lock: lock };
        let kept: Vec<_> = kept.iter().map(|number| files.result(*number)).collect();
        for entry in fs::read_dir(files.dir.join("results"))? {
            let path = entry?.path();
            if !kept.contains(&path) {
                fs::remove_file(path)?;
            }
        }
        Ok(files)
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.dir.join("blobs").join(digest.to_string())
    }

    pub(crate) fn part(&self, name: &PartName) -> PathBuf {
        self.dir.join("parts").join(format!("{}.{}.{}", name.digest, name.length, name.turn))
    }

    pub(crate) fn result(&self, number: u64) -> PathBuf {
        self.dir.join("results").join(number.to_string())
    }

    /// Digest and size of every blob. Files with other names are not the store's.
    pub(crate) fn blobs(&self) -> io::Result<Vec<(Digest, u64)>> {
        self.list("blobs", |name| name.parse().ok())
    }

    /// Name and present size of every part.
    pub(crate) fn parts(&self) -> io::Result<Vec<(PartName, u64)>> {
        self.list("parts", |name| {
            let (digest, rest) = name.split_once('.')?;
            let (length, turn) = rest.split_once('.')?;
            Some(PartName { digest: digest.parse().ok()?, length: length.parse().ok()?, turn: turn.parse().ok()? })
        })
    }

    /// Gives a complete file its name: content first, then the name, then the folder that holds the name.
    pub(crate) fn publish(&self, file: &File, from: &Path, digest: &Digest) -> io::Result<()> {
        file.sync_all()?;
        fs::rename(from, self.blob(digest))?;
        File::open(self.dir.join("blobs"))?.sync_all()
    }

    fn list<T>(&self, folder: &str, parse: impl Fn(&str) -> Option<T>) -> io::Result<Vec<(T, u64)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.dir.join(folder))? {
            let entry = entry?;
            let meta = entry.metadata()?;
            if let Some(name) = entry.file_name().to_str().and_then(&parse).filter(|_| meta.is_file()) {
                found.push((name, meta.len()));
            }
        }
        Ok(found)
    }
}

/// How long ago the file was written to; zero when the clock was set back.
pub(crate) fn idle(path: &Path) -> io::Result<Duration> {
    Ok(SystemTime::now().duration_since(fs::metadata(path)?.modified()?).unwrap_or_default())
}
