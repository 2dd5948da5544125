//! An upload under way: its file, and the digest of what is in it so far.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use glacier_wire::Digest;

pub(crate) struct Part {
    path: PathBuf,
    file: File,
    hasher: blake3::Hasher,
    len: u64,
}

impl Part {
    /// An empty one; what was there is gone.
    pub(crate) fn create(path: PathBuf) -> io::Result<Self> {
        // Appending, so that the next write lands at the end whatever happened before it.
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        file.set_len(0)?;
        Ok(Self { path, file, hasher: blake3::Hasher::new(), len: 0 })
    }

    /// One that an earlier process left. It is hashed again: what its writer believed died with it.
    pub(crate) fn resume(path: PathBuf) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).open(&path)?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; 1 << 20];
        let mut len = 0u64;
        loop {
            let read = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            hasher.update(buffer.get(..read).unwrap_or_default());
            len = len.saturating_add(read as u64);
        }
        Ok(Self { path, file, hasher, len })
    }

    /// Appends all of `bytes`, or nothing.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(bytes) {
            // Whatever part of it was written must not be there when the next bytes come.
            self.file.set_len(self.len)?;
            return Err(error);
        }
        self.hasher.update(bytes);
        self.len = self.len.saturating_add(bytes.len() as u64);
        Ok(())
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest(*self.hasher.finalize().as_bytes())
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}
