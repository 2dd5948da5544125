//! What is there of a file that is not complete: the bytes, and beside them a note of which came.

use crate::PIECE;
use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

/// What a part is a part of. Another object under the same address is another file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Identity {
    /// Digest of the address: the note is host-readable, and an address may say more than its owner wants.
    pub(crate) address: String,
    /// The store's own mark of this version; without one a part is not taken up again.
    pub(crate) mark: String,
    /// Bytes of the whole.
    pub(crate) size: u64,
}

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Note {
    of: Identity,
    /// Places of the pieces that are there.
    there: BTreeSet<u64>,
}

/// A file in the making, in pieces that come in any order.
pub(crate) struct Part {
    file: File,
    path: PathBuf,
    note: PathBuf,
    state: Note,
    have: u64,
}

impl Part {
    /// Takes up what is there of this very file, or begins.
    pub(crate) fn open(to: &Path, of: Identity) -> io::Result<Self> {
        let (path, note) = (beside(to, ".part"), beside(to, ".part.json"));
        let noted = fs::read(&note).ok().and_then(|bytes| serde_json::from_slice::<Note>(&bytes).ok());
        let noted = noted.filter(|noted| noted.of == of && !of.mark.is_empty() && path.is_file());
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(noted.is_none());
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path)?;
        file.set_len(of.size)?;
        let state = noted.unwrap_or(Note { of, there: BTreeSet::new() });
        let mut part = Self { file, path, note, state, have: 0 };
        part.have = part.state.of.size.saturating_sub(part.missing().map(|(_, length)| length).sum());
        Ok(part)
    }

    /// Places and lengths of all pieces.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = (u64, u64)> + use<> {
        let size = self.state.of.size;
        (0..size).step_by(PIECE as usize).map(move |start| (start, PIECE.min(size.saturating_sub(start))))
    }

    /// Places and lengths of the pieces that are missing.
    pub(crate) fn missing(&self) -> impl Iterator<Item = (u64, u64)> {
        self.pieces().filter(|(start, _)| !self.state.there.contains(start))
    }

    /// Bytes that are there.
    pub(crate) fn have(&self) -> u64 {
        self.have
    }

    /// Writes a piece. It counts once it is on the disk.
    pub(crate) fn write(&mut self, start: u64, bytes: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.file, bytes, start)?;
        self.file.sync_data()?;
        if self.state.there.insert(start) {
            self.have = self.have.saturating_add(bytes.len() as u64);
        }
        let text = serde_json::to_vec(&self.state).map_err(io::Error::other)?;
        // Renamed into place: a note that was cut off would make the part worthless.
        let fresh = beside(&self.note, ".new");
        fs::write(&fresh, text)?;
        fs::rename(fresh, &self.note)
    }

    /// The complete file under its own name. One that is there is refused.
    pub(crate) fn keep(self, to: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        fs::hard_link(&self.path, to)?;
        self.discard();
        Ok(())
    }

    /// Forgets what is there.
    pub(crate) fn discard(self) {
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_file(&self.note);
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    fn of(size: u64) -> Identity {
        Identity { address: "a".to_owned(), mark: "1".to_owned(), size }
    }

    #[test]
    fn a_piece_counts_once_and_is_known_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("rows");
        let mut part = Part::open(&to, of(2 * PIECE + 5)).unwrap();
        assert_eq!((part.have(), part.missing().count()), (0, 3));
        part.write(2 * PIECE, b"12345").unwrap();
        part.write(2 * PIECE, b"12345").unwrap();
        assert_eq!((part.have(), part.missing().count()), (5, 2));
        let again = Part::open(&to, of(2 * PIECE + 5)).unwrap();
        assert_eq!((again.have(), again.missing().count()), (5, 2));
        assert_eq!(Part::open(&to, of(2 * PIECE + 4)).unwrap().have(), 0, "another file");
    }
}
