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
    /// What it is at.
    pub stage: Stage,
    /// When it has said so.
    pub at: SystemTime,
}

/// What a node is at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Not all of it is there.
    Starting,
    /// All of it is there.
    Up,
    /// It was told to begin anew, and goes on as it was, for this reason.
    Refused(String),
}

impl Presence {
    /// The node that runs in this folder now, if one does.
    ///
    /// # Errors
    /// The folder cannot be read.
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
        let mut words = text.trim_end().splitn(4, ' ');
        let numbers =
            words.next().and_then(|pid| pid.parse().ok()).zip(words.next().and_then(|runs| runs.parse().ok()));
        let stage = match (words.next(), words.next()) {
            (Some("up"), _) => Stage::Up,
            (Some("refused"), why) => Stage::Refused(why.unwrap_or_default().to_owned()),
            _ => Stage::Starting,
        };
        // Who reads between two words of a writer looks again.
        Ok(numbers.map(|(pid, runs)| Self { pid, runs, stage, at }))
    }

    /// Has it begin anew around its enclave.
    ///
    /// # Errors
    /// It is another user's.
    pub fn tell_to_reload(&self) -> io::Result<()> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
        Ok(kill_process(pid, Signal::USR2)?)
    }

    /// Takes the place of the node of this folder, until the file is closed.
    pub(crate) fn take(home: &Path, runs: u64) -> io::Result<File> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path(home))?;
        // The store's lock keeps two nodes apart; one that only looks lets go at once.
        file.lock()?;
        Self::say(&file, runs, &Stage::Starting)?;
        Ok(file)
    }

    /// Says what it is at.
    pub(crate) fn say(mut file: &File, runs: u64, stage: &Stage) -> io::Result<()> {
        let stage = match stage {
            Stage::Starting => "starting".to_owned(),
            Stage::Up => "up".to_owned(),
            Stage::Refused(why) => format!("refused {}", why.replace('\n', " ")),
        };
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(format!("{} {runs} {stage}\n", std::process::id()).as_bytes())
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
            let file = Presence::take(home.path(), runs).unwrap();
            for stage in [Stage::Starting, Stage::Up, Stage::Refused("two lines".into())] {
                Presence::say(&file, runs, &stage).unwrap();
                let found = Presence::of(home.path()).unwrap().unwrap();
                assert_eq!((found.pid, found.runs, found.stage), (std::process::id(), runs, stage));
            }
            drop(file);
            assert_eq!(Presence::of(home.path()).unwrap(), None);
        }
    }
}
