//! A host that keeps everything it gets to see.

use glacier_host::danger::{Direction, Meddler};
use glacier_wire::{
    Digest,
    api::{HostReply, HostRequest},
};
use std::{
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
};

/// Remembers every byte that passes, and alters none.
#[derive(Default)]
pub struct Recorder(Mutex<Vec<u8>>);

impl Recorder {
    /// Everything seen so far, in one piece.
    pub fn seen(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn record(&self, bytes: &[u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
    }
}

impl Meddler for Recorder {
    fn relayed(&self, _: u64, _: Direction, bytes: &mut Vec<u8>) {
        self.record(bytes);
    }

    fn called(&self, request: &mut HostRequest) {
        match request {
            HostRequest::Append { data, .. } => self.record(data),
            HostRequest::Publish { proof, checkpoint } => {
                self.record(proof);
                self.record(checkpoint.as_deref().unwrap_or_default());
            }
            HostRequest::Head { checkpoint } => self.record(checkpoint),
            HostRequest::Registered { quote, .. } => self.record(quote),
            HostRequest::Show { evidence } => self.record(evidence),
            _ => {}
        }
    }

    fn answered(&self, _: &HostRequest, reply: &mut HostReply) {
        if let HostReply::Data { data } = reply {
            self.record(data);
        }
    }

    fn uploaded(&self, _: &Digest, bytes: &mut Vec<u8>) {
        self.record(bytes);
    }
}

/// Whether `needle` occurs in `haystack`.
pub fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    // Looks for the first byte by memchr-like scanning; a plain windows() takes minutes over megabytes.
    let mut from = 0;
    while let Some(at) = haystack[from..].iter().position(|byte| *byte == needle[0]) {
        if haystack[from + at..].starts_with(needle) {
            return true;
        }
        from += at + 1;
    }
    false
}

/// Appends the content of every file below a folder.
pub fn read_all(folder: &Path, into: &mut Vec<u8>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        match entry.file_type().expect("the kind of a file") {
            kind if kind.is_dir() => read_all(&entry.path(), into),
            kind if kind.is_file() => into.extend(fs::read(entry.path()).expect("a file")),
            _ => {}
        }
    }
}
