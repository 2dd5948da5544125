//! Device files that do what plain ones cannot: short and interrupted reads, errors at a read, report
//! entries with a counter that others move.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use glacier_devices::{Access, File, Files, paths};
use rustix::io::Errno;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

/// A machine's files. Attributes of report entries stand under [`entry`], whatever the entry's name.
#[derive(Clone, Default)]
pub(crate) struct Fake(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: HashMap<String, Vec<u8>>,
    closed: HashMap<String, Errno>,
    failing: HashMap<String, Errno>,
    interruptions: HashMap<String, u32>,
    taking: HashMap<String, usize>,
    written: HashMap<String, Vec<Vec<u8>>>,
    chunk: Option<usize>,
    tsm: Option<Result<(), Errno>>,
    generation: u64,
    others: u64,
    dropping: bool,
    register: Option<String>,
    made: Vec<String>,
    removed: Vec<String>,
}

/// Where the fake keeps an attribute of every report entry.
pub(crate) fn entry(attribute: &str) -> String {
    format!("{}/*/{attribute}", paths::TSM_REPORT)
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn with(self, change: impl FnOnce(&mut State)) -> Self {
        change(&mut self.0.lock().unwrap());
        self
    }

    pub(crate) fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.with(|state| drop(state.files.insert(path.to_owned(), content.as_ref().to_vec())))
    }

    /// configfs-tsm with this provider and this answer.
    pub(crate) fn tsm(self, provider: &str, outblob: impl AsRef<[u8]>) -> Self {
        self.with(|state| state.tsm = Some(Ok(())))
            .file(&entry("provider"), format!("{provider}\n"))
            .file(&entry("inblob"), [])
            .file(&entry("generation"), [])
            .file(&entry("outblob"), outblob)
    }

    /// configfs-tsm in which no entry can be made.
    pub(crate) fn tsm_without_entries(self, errno: Errno) -> Self {
        self.with(|state| state.tsm = Some(Err(errno)))
    }

    /// Others have written to our entry before we do.
    pub(crate) fn generation(self, start: u64) -> Self {
        self.with(|state| state.generation = start)
    }

    /// Others write to our entry while the quote is made.
    pub(crate) fn others_write(self, times: u64) -> Self {
        self.with(|state| state.others = times)
    }

    /// The kernel takes nothing that is written to an entry, and says so to nobody.
    pub(crate) fn dropping_writes(self) -> Self {
        self.with(|state| state.dropping = true)
    }

    /// A register that a write extends, as TDX's do: SHA-384 over the old value and what is written.
    pub(crate) fn register(self, path: &str) -> Self {
        let path = path.to_owned();
        let fake = self.file(&path, [0; 48]);
        fake.with(|state| state.register = Some(path))
    }

    pub(crate) fn closed(self, path: &str, errno: Errno) -> Self {
        self.with(|state| {
            state.closed.insert(path.to_owned(), errno);
        })
    }

    pub(crate) fn failing(self, path: &str, errno: Errno) -> Self {
        self.with(|state| {
            state.failing.insert(path.to_owned(), errno);
        })
    }

    pub(crate) fn interrupted(self, path: &str, times: u32) -> Self {
        self.with(|state| {
            state.interruptions.insert(path.to_owned(), times);
        })
    }

    /// No read gives more than this.
    pub(crate) fn chunked(self, bytes: usize) -> Self {
        self.with(|state| state.chunk = Some(bytes))
    }

    /// No write takes more than this.
    pub(crate) fn taking(self, path: &str, bytes: usize) -> Self {
        self.with(|state| {
            state.taking.insert(path.to_owned(), bytes);
        })
    }

    pub(crate) fn written(&self, path: &str) -> Vec<Vec<u8>> {
        self.0.lock().unwrap().written.get(path).cloned().unwrap_or_default()
    }

    /// Names of the entries that were made; panics when one of them is still there.
    pub(crate) fn entries(&self) -> Vec<String> {
        let state = self.0.lock().unwrap();
        assert_eq!(state.made, state.removed, "an entry was left behind");
        state.made.clone()
    }
}

/// The path with an entry's own name replaced.
fn common(path: &str) -> String {
    let attribute = path.strip_prefix(paths::TSM_REPORT).and_then(|rest| rest.strip_prefix('/')?.split_once('/'));
    attribute.map_or_else(|| path.to_owned(), |(_, attribute)| entry(attribute))
}

impl Files for Fake {
    fn open(&self, path: &str, access: Access) -> Result<Box<dyn File>, Errno> {
        let path = common(path);
        let state = self.0.lock().unwrap();
        if let Some(errno) = state.closed.get(&path) {
            return Err(*errno);
        }
        if !state.files.contains_key(&path) {
            return Err(Errno::NOENT);
        }
        drop(state);
        Ok(Box::new(Handle { files: self.clone(), path, access, at: 0 }))
    }

    fn make_dir(&self, path: &str) -> Result<(), Errno> {
        let mut state = self.0.lock().unwrap();
        state.tsm.ok_or(Errno::NOENT)??;
        state.made.push(path.to_owned());
        Ok(())
    }

    fn remove_dir(&self, path: &str) -> Result<(), Errno> {
        self.0.lock().unwrap().removed.push(path.to_owned());
        Ok(())
    }

    fn list(&self, path: &str) -> Result<Vec<String>, Errno> {
        let tsm = path == paths::TSM_REPORT && self.0.lock().unwrap().tsm.is_some();
        if tsm { Ok(Vec::new()) } else { Err(Errno::NOENT) }
    }
}

struct Handle {
    files: Fake,
    path: String,
    access: Access,
    at: usize,
}

impl File for Handle {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        assert_ne!(self.access, Access::Write);
        let mut state = self.files.0.lock().unwrap();
        if let Some(times) = state.interruptions.get_mut(&self.path)
            && *times > 0
        {
            *times -= 1;
            return Err(Errno::INTR);
        }
        if let Some(errno) = state.failing.get(&self.path) {
            return Err(*errno);
        }
        if self.path == entry("outblob") {
            state.generation += std::mem::take(&mut state.others);
        }
        let mut content = state.files.get(&self.path).ok_or(Errno::NOENT)?.clone();
        if self.path == entry("generation") && content.is_empty() {
            content = format!("{}\n", state.generation).into_bytes();
        }
        let rest = &content[self.at..];
        let len = rest.len().min(buffer.len()).min(state.chunk.unwrap_or(usize::MAX));
        buffer[..len].copy_from_slice(&rest[..len]);
        self.at += len;
        Ok(len)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        assert_ne!(self.access, Access::Read);
        let mut state = self.files.0.lock().unwrap();
        let taken = bytes.len().min(state.taking.get(&self.path).copied().unwrap_or(usize::MAX));
        state.written.entry(self.path.clone()).or_default().push(bytes[..taken].to_vec());
        if self.path == entry("inblob") && !state.dropping {
            state.generation += 1;
        }
        if state.register.as_deref() == Some(&self.path) && !state.dropping {
            let both = [state.files[&self.path].as_slice(), bytes].concat();
            let extended = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA384, &both);
            state.files.insert(self.path.clone(), extended.as_ref().to_vec());
        }
        Ok(taken)
    }
}
