//! Which process uses a node's folder: for those who want to tell it something.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustix::process::{Pid, Signal, kill_process};

/// A node that runs in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// Its process.
    pub pid: u32,
    /// How often this process has begun anew around its enclave.
    pub runs: u64,
    /// Why it has not begun anew when it was told to last.
    pub refused: Option<String>,
    /// When it has said so.
    pub at: SystemTime,
}

impl Presence {
    /// The node that runs in this folder now, if one does.
    ///
    /// # Errors
    /// The folder cannot be read, or what is in it is not a node's.
    pub fn of(home: &Path) -> io::Result<Option<Self>> {
        let mut file = match File::open(path(home)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // Whoever has said so holds the lock as long as it is true.
        match file.try_lock_shared() {
            Ok(()) => return Ok(None),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let at = file.metadata()?.modified()?;
        let (first, second) = text.split_once('\n').unwrap_or((&text, ""));
        let refused = Some(second.trim().to_owned()).filter(|why| !why.is_empty());
        let numbers = first.split_once(' ').and_then(|(pid, runs)| Some((pid.parse().ok()?, runs.parse().ok()?)));
        Ok(numbers.map(|(pid, runs)| Self { pid, runs, refused, at }))
    }

    /// Has it begin anew around its enclave.
    ///
    /// # Errors
    /// It is another user's.
    pub fn tell_to_reload(&self) -> io::Result<()> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
        Ok(kill_process(pid, Signal::USR2)?)
    }

    /// Says so, until the file is closed.
    pub(crate) fn say(home: &Path, runs: u64) -> io::Result<File> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path(home))?;
        // The store's lock keeps two nodes apart; one that only looks lets go at once.
        file.lock()?;
        Self::write(&file, runs, "")?;
        Ok(file)
    }

    /// Says why this run goes on.
    pub(crate) fn refuse(file: &File, runs: u64, why: &str) -> io::Result<()> {
        Self::write(file, runs, why)
    }

    fn write(mut file: &File, runs: u64, why: &str) -> io::Result<()> {
        file.set_len(0)?;
        file.rewind()?;
        // In one write: who reads has all of it.
        file.write_all(format!("{} {runs}\n{}\n", std::process::id(), why.replace('\n', " ")).as_bytes())
    }
}

fn path(home: &Path) -> PathBuf {
    home.join("run").join("node.pid")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_there_as_long_as_it_says_so() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(Presence::of(home.path()).unwrap(), None);
        std::fs::create_dir(home.path().join("run")).unwrap();
        for runs in [12_345, 3] {
            let said = Presence::say(home.path(), runs).unwrap();
            let found = Presence::of(home.path()).unwrap().unwrap();
            assert_eq!((found.pid, found.runs, found.refused), (std::process::id(), runs, None));
            Presence::refuse(&said, runs, "two\nlines").unwrap();
            let found = Presence::of(home.path()).unwrap().unwrap();
            assert_eq!(
                (found.pid, found.runs, found.refused.as_deref()),
                (std::process::id(), runs, Some("two lines"))
            );
            drop(said);
            assert_eq!(Presence::of(home.path()).unwrap(), None);
        }
    }
}
