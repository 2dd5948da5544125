//! Files that commands read, wherever people keep them: on this machine, or in a store that a URL names.

use crate::{
    context::Context,
    error::{Exit, Failure},
    progress,
};
use glacier_remote::{Remote, RemoteError};
use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs::{self, DirBuilder, File, TryLockError},
    io,
    ops::Deref,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// A file that is on this machine for as long as this lives.
#[derive(Debug)]
pub(crate) struct Local {
    path: PathBuf,
    /// Where it was fetched to: then it goes when the command ends, and what people keep elsewhere stays there.
    place: Option<Place>,
}

impl Context {
    /// The file that was typed; fetched first, in pieces and resumably, where that is a URL.
    pub(crate) async fn bring(&self, typed: &Path) -> Result<Local, Failure> {
        let Some(remote) = remote(typed)? else { return Ok(Local { path: typed.to_owned(), place: None }) };
        let place = Place::take(&self.home, &remote.identity())
            .map_err(|error| Failure::writing(&self.home.join(FETCHED), &error))?;
        let local = Local { path: place.folder.join(remote.name()), place: Some(place) };
        let mut fetched = self.fetch(&remote, &local.path).await;
        // Once: a file that is replaced all the time is never whole.
        if matches!(fetched, Err(RemoteError::Changed)) {
            fetched = self.fetch(&remote, &local.path).await;
        }
        fetched.map_err(|error| explain(&remote, error))?;
        Ok(local)
    }

    async fn fetch(&self, remote: &Remote, to: &Path) -> Result<u64, RemoteError> {
        let bar = progress::bytes(self.output, "fetching", 0);
        let fetched = remote.fetch(to, &mut progress::follow(&bar)).await;
        bar.finish_and_clear();
        fetched
    }

    /// Brings a file to the store that a URL names.
    pub(crate) async fn put(&self, file: &Path, remote: &Remote) -> Result<(), Failure> {
        let bar = progress::bytes(self.output, "storing", 0);
        let put = remote.put(file, &mut progress::follow(&bar)).await;
        bar.finish_and_clear();
        put.map(|_| ()).map_err(|error| explain(remote, error))
    }
}

/// The file in a store that a URL names; `None` for a path.
pub(crate) fn remote(typed: &Path) -> Result<Option<Remote>, Failure> {
    let Some(address) = typed.to_str().filter(|text| Remote::is_meant(text)) else { return Ok(None) };
    Remote::at(address).map(Some).map_err(|error| failure(error.to_string(), &error))
}

impl Deref for Local {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if let Some(place) = &self.place {
            let _ = fs::remove_file(&self.path);
            let _ = fs::remove_dir(&place.folder);
        }
    }
}

/// In the folder of `--home`: what is fetched, in a folder for each address, and beside each folder its lock.
const FETCHED: &str = "fetched";

/// A folder that no other command uses while this lives.
#[derive(Debug)]
struct Place {
    folder: PathBuf,
    /// Gone with everything in it, while it is still locked: another command was at the same address.
    _own: Option<tempfile::TempDir>,
    /// Let go by the system where a command is killed.
    _lock: File,
}

impl Place {
    /// The folder of an address, with the parts of an earlier fetch; a new one where another command is at it.
    /// What commands that were killed have left of whole files is removed first.
    fn take(home: &Path, identity: &str) -> io::Result<Self> {
        let all = home.join(FETCHED);
        private_folder(&all)?;
        // One at a time: otherwise one could hold a lock that another has just removed, and a third its successor.
        let gate = lock_file(&home.join("fetched.lock"))?;
        gate.lock()?;
        sweep(&all)?;
        let folder = all.join(identity.get(..16).unwrap_or(identity));
        if let Some(lock) = try_lock(&folder)? {
            private_folder(&folder)?;
            return Ok(Self { folder, _own: None, _lock: lock });
        }
        let own = tempfile::Builder::new().prefix("own-").tempdir_in(&all)?;
        let folder = own.path().to_owned();
        let lock = try_lock(&folder)?.ok_or(io::ErrorKind::WouldBlock)?;
        Ok(Self { folder, _own: Some(own), _lock: lock })
    }
}

/// Removes what is of no use to anybody: whole files that nobody reads any more. What people put there themselves, such
/// as a folder, stays.
fn sweep(all: &Path) -> io::Result<()> {
    let mut folders = BTreeSet::new();
    for entry in fs::read_dir(all)? {
        // A lock has the name of its folder.
        folders.insert(entry?.path().with_extension(""));
    }
    for folder in folders {
        let Some(_lock) = try_lock(&folder)? else { continue };
        let names: BTreeSet<OsString> =
            fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect();
        for name in names.iter().filter(|name| !is_part(name, &names)) {
            let _ = fs::remove_file(folder.join(name));
        }
        // A folder with parts in it stays, and its lock with it.
        if !folder.exists() || fs::remove_dir(&folder).is_ok() {
            let _ = fs::remove_file(lock_of(&folder));
        }
    }
    Ok(())
}

/// Whether a file is one of the two that a fetch goes on with: the bytes, and the note of which came.
fn is_part(name: &OsStr, all: &BTreeSet<OsString>) -> bool {
    let Some(text) = name.to_str() else { return false };
    match text.strip_suffix(".json") {
        Some(bytes) => bytes.ends_with(".part") && all.contains(OsStr::new(bytes)),
        None => text.ends_with(".part") && all.contains(OsStr::new(&format!("{text}.json"))),
    }
}

/// The lock of a folder; `None` while somebody has it.
fn try_lock(folder: &Path) -> io::Result<Option<File>> {
    let file = lock_file(&lock_of(folder))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn lock_of(folder: &Path) -> PathBuf {
    folder.with_extension("lock")
}

fn lock_file(path: &Path) -> io::Result<File> {
    File::options().write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn explain(remote: &Remote, error: RemoteError) -> Failure {
    failure(format!("{}: {error}", remote.address()), &error)
}

fn failure(message: String, error: &RemoteError) -> Failure {
    let (code, help) = match error {
        RemoteError::Address(_) | RemoteError::Part(_) => ("usage", "such as s3://BUCKET/rows.age"),
        RemoteError::Settings(_) => ("store-settings", "set them as `docs/assets.md` lists, such as AWS_REGION"),
        RemoteError::Missing => ("store-missing", "check bucket and name"),
        RemoteError::Denied(_) => ("store-denied", "check the credentials in the environment, and what they may do"),
        RemoteError::Changed => ("store-changed", "run the command again: it fetches what is there now"),
        RemoteError::ReadOnly(_) => ("store-read-only", "name a store that takes files: s3://, gs:// or az://"),
        RemoteError::TooLarge { .. } => ("store-size", "check that this is the file you mean, or split it"),
        RemoteError::File(_) => ("file", "check the disk, and the folder that --home names"),
        _ => ("store", "check the address, and the endpoint in the environment; what came is kept for the next try"),
    };
    Failure { exit: Exit::Trouble, ..Failure::trouble(code, message, help) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn local(place: Place) -> Local {
        let path = place.folder.join("rows.csv");
        fs::write(&path, b"rows").unwrap();
        Local { path, place: Some(place) }
    }

    #[test]
    fn two_commands_at_one_address_have_a_folder_each() {
        let home = tempfile::tempdir().unwrap();
        let first = local(Place::take(home.path(), "aa").unwrap());
        let second = local(Place::take(home.path(), "aa").unwrap());
        assert_ne!(first.path, second.path);
        let (one, other) = (first.path.clone(), second.path.clone());
        drop(second);
        assert!(one.exists() && !other.parent().unwrap().exists());
        drop(first);
        assert!(!one.exists());
        // The first's place is free again.
        assert_eq!(Place::take(home.path(), "aa").unwrap().folder.join("rows.csv"), one);
    }

    #[test]
    fn what_a_killed_command_left_is_removed_and_parts_are_kept() {
        let home = tempfile::tempdir().unwrap();
        let used = local(Place::take(home.path(), "used").unwrap());
        let left = home.path().join("fetched/left");
        let whole = home.path().join("fetched/whole");
        for folder in [&left, &whole] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("rows.csv"), b"rows").unwrap();
        }
        let parts = ["rows.csv.part", "rows.csv.part.json"].map(|name| left.join(name));
        parts.iter().for_each(|part| fs::write(part, b"{}").unwrap());
        // Bytes without a note of which they are.
        fs::write(whole.join("other.part"), b"rows").unwrap();
        let next = Place::take(home.path(), "next").unwrap();
        assert!(used.path.exists(), "somebody reads it");
        assert!(!left.join("rows.csv").exists() && parts.iter().all(|part| part.exists()));
        assert!(!whole.exists() && !lock_of(&whole).exists());
        drop((used, next));
        drop(Place::take(home.path(), "left").unwrap());
        let stay: BTreeSet<_> =
            fs::read_dir(home.path().join("fetched")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(stay, ["left", "left.lock"].map(OsString::from).into());
    }
}
