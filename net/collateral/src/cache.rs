//! Answers on disk, one file each. Nothing here is trusted: what is read is verified again.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant, SystemTime},
};

use glacier_wire::UnixTime;

use crate::error::FetchError;

/// A folder that processes may share.
pub(crate) struct Cache {
    folder: PathBuf,
}

/// What a file says. Only the verifier knows whether it is true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    /// When it was fetched; decides when to refresh, and nothing else.
    pub(crate) fetched: UnixTime,
    pub(crate) answer: Vec<u8>,
}

impl Cache {
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// `None` if there is no such file, or it is none of ours.
    pub(crate) fn read(&self, key: &str) -> io::Result<Option<Stored>> {
        let path = self.folder.join(key);
        // Not a link, a pipe or a folder that somebody has put there.
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() && metadata.len() <= MAX_FILE => {}
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
        let mut bytes = Vec::new();
        match File::open(&path) {
            Ok(file) => file.take(MAX_FILE).read_to_end(&mut bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(parse(key, &bytes))
    }

    /// Replaces the file of `key` whole or not at all, if `may_replace` agrees to what is there. No
    /// other process writes between the question and the deed.
    pub(crate) fn replace(
        &self,
        key: &str,
        stored: &Stored,
        may_replace: impl FnOnce(Option<Stored>) -> Result<(), FetchError>,
    ) -> Result<(), FetchError> {
        let _lock = self.lock()?;
        may_replace(self.read(key)?)?;
        self.make_room(key)?;
        // One writer at a time: a file that an interrupted one left is written over.
        let unfinished = self.folder.join(UNFINISHED);
        let mut file = File::create(&unfinished)?;
        file.write_all(header(key, stored.fetched).as_bytes())?;
        file.write_all(&stored.answer)?;
        file.sync_all()?;
        fs::rename(&unfinished, self.folder.join(key))?;
        File::open(&self.folder)?.sync_all()?;
        Ok(())
    }

    /// A process that stands still with the lock costs the others their cache, not their answers.
    fn lock(&self) -> io::Result<File> {
        let lock = File::create(self.folder.join(LOCK))?;
        let begun = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::WouldBlock) if begun.elapsed() < LONGEST_WAIT => sleep(BETWEEN_TRIES),
                Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::TimedOut.into()),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    /// Removes the file that was written longest ago when there are too many: what strangers' evidence
    /// asks for must not fill the disk.
    fn make_room(&self, key: &str) -> io::Result<()> {
        let mut files = 0_usize;
        let mut oldest: Option<(SystemTime, PathBuf)> = None;
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == key {
                return Ok(());
            }
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            files = files.saturating_add(1);
            let written = entry.metadata()?.modified()?;
            if oldest.as_ref().is_none_or(|(time, _)| written < *time) {
                oldest = Some((written, entry.path()));
            }
        }
        match oldest {
            Some((_, path)) if files >= MAX_FILES => fs::remove_file(path),
            _ => Ok(()),
        }
    }
}

/// The first line names the format, the time and the key.
fn header(key: &str, fetched: UnixTime) -> String {
    format!("{FORMAT} {} {key}\n", fetched.0)
}

fn parse(key: &str, bytes: &[u8]) -> Option<Stored> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (line, answer) = bytes.split_at_checked(end)?;
    let line = std::str::from_utf8(line).ok()?;
    let (fetched, name) = line.strip_prefix(FORMAT)?.strip_prefix(' ')?.split_once(' ')?;
    let stored = Stored { fetched: UnixTime(fetched.parse().ok()?), answer: answer.get(1..)?.to_vec() };
    (name == key).then_some(stored)
}

const FORMAT: &str = "glacier-collateral 1";
const LOCK: &str = ".lock";
const UNFINISHED: &str = ".unfinished";
/// A writer holds the lock for one verification and one write.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
const BETWEEN_TRIES: Duration = Duration::from_millis(5);
/// The largest answer, Intel's, takes up to 1 MiB.
const MAX_FILE: u64 = 2 << 20;
/// Intel knows about a hundred processor models, NVIDIA a few hundred manifests, AMD each chip.
const MAX_FILES: usize = 4096;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stored(answer: &[u8]) -> Stored {
        Stored { fetched: UnixTime(7), answer: answer.to_vec() }
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        assert_eq!(cache.read("a").unwrap(), None);
        cache.replace("a", &stored(b"one\ntwo"), |_| Ok(())).unwrap();
        assert_eq!(cache.read("a").unwrap(), Some(stored(b"one\ntwo")));
        cache.replace("a", &stored(b""), |_| Ok(())).unwrap();
        assert_eq!(cache.read("a").unwrap(), Some(stored(b"")));
    }

    #[test]
    fn a_file_of_another_name_is_none_of_ours() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        cache.replace("a", &stored(b"one"), |_| Ok(())).unwrap();
        fs::rename(folder.path().join("a"), folder.path().join("b")).unwrap();
        assert_eq!(cache.read("b").unwrap(), None);
    }

    #[test]
    fn links_and_folders_are_none_of_ours() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        cache.replace("a", &stored(b"one"), |_| Ok(())).unwrap();
        fs::create_dir(folder.path().join("b")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("a"), folder.path().join("c")).unwrap();
        assert_eq!(cache.read("b").unwrap(), None);
        assert_eq!(cache.read("c").unwrap(), None);
    }

    #[test]
    fn a_refused_replacement_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        cache.replace("a", &stored(b"one"), |_| Ok(())).unwrap();
        let refused = cache.replace("a", &stored(b"two"), |held| {
            assert_eq!(held, Some(stored(b"one")));
            Err(FetchError::RolledBack)
        });
        assert_eq!(refused, Err(FetchError::RolledBack));
        assert_eq!(cache.read("a").unwrap(), Some(stored(b"one")));
    }

    #[test]
    fn a_file_left_half_written_is_not_read_and_does_not_hinder() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        fs::write(folder.path().join(UNFINISHED), "glacier-collateral 1 7 a\non").unwrap();
        assert_eq!(cache.read("a").unwrap(), None);
        cache.replace("a", &stored(b"one"), |_| Ok(())).unwrap();
        assert!(!folder.path().join(UNFINISHED).exists());
    }

    #[test]
    fn a_lock_that_is_never_given_back_is_waited_for_and_then_reported() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let held = cache.lock().unwrap();
        let waits = cache.replace("a", &stored(b"one"), |_| Ok(()));
        assert_eq!(waits, Err(FetchError::Cache(io::ErrorKind::TimedOut)));
        drop(held);
        assert_eq!(cache.replace("a", &stored(b"one"), |_| Ok(())), Ok(()));
    }

    #[test]
    fn the_folder_stays_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        for file in 0..MAX_FILES {
            fs::write(folder.path().join(file.to_string()), "").unwrap();
        }
        cache.replace("a", &stored(b"one"), |_| Ok(())).unwrap();
        cache.replace("a", &stored(b"two"), |_| Ok(())).unwrap();
        let files = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(files, MAX_FILES + 1, "and the lock");
        assert_eq!(cache.read("a").unwrap(), Some(stored(b"two")));
    }

    proptest! {
        #[test]
        fn any_file_is_read_back_the_same_or_is_none_of_ours(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
            if let Some(stored) = parse("a", &bytes) {
                let mut again = header("a", stored.fetched).into_bytes();
                again.extend(stored.answer);
                prop_assert_eq!(again, bytes);
            }
        }

        #[test]
        fn a_file_round_trips(time in any::<u64>(), answer in proptest::collection::vec(any::<u8>(), 0..128)) {
            let mut bytes = header("a", UnixTime(time)).into_bytes();
            bytes.extend(&answer);
            prop_assert_eq!(parse("a", &bytes), Some(Stored { fetched: UnixTime(time), answer }));
        }
    }
}
