//! Where private bytes lie before they are sealed.

use crate::{file::FileError, seal::SealError};
use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// What a caller brings to a job: a file, or bytes that never were on a disk and need not be.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source<'a> {
    /// A file, read in a stream.
    File(&'a Path),
    /// The content itself.
    Bytes(&'a [u8]),
}

impl<'a> From<&'a Path> for Source<'a> {
    fn from(path: &'a Path) -> Self {
        Self::File(path)
    }
}

impl<'a> From<&'a PathBuf> for Source<'a> {
    fn from(path: &'a PathBuf) -> Self {
        Self::File(path)
    }
}

impl<'a> From<&'a [u8]> for Source<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

// Content is private: a log may say how much there is, and no more.
impl fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
        }
    }
}

impl<'a> Source<'a> {
    /// A reader from the beginning, and how many bytes it is thought to give.
    pub(crate) fn open(self) -> Result<(Reader<'a>, u64), SealError> {
        match self {
            Self::Bytes(bytes) => Ok((Reader::Bytes(bytes), bytes.len() as u64)),
            Self::File(path) => {
                let file = File::open(path).map_err(|error| SealError::Read(error.into()))?;
                let metadata = file.metadata().map_err(|error| SealError::Read(error.into()))?;
                if metadata.is_dir() {
                    return Err(SealError::Read(FileError::Io(io::ErrorKind::IsADirectory)));
                }
                Ok((Reader::File(file), metadata.len()))
            }
        }
    }
}

/// A source that is being read.
pub(crate) enum Reader<'a> {
    File(File),
    Bytes(&'a [u8]),
}

impl Read for Reader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(into),
            Self::Bytes(bytes) => bytes.read(into),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_files_are_read_alike() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        std::fs::write(&path, b"private").unwrap();
        for source in [Source::from(&path), Source::from(&b"private"[..])] {
            let (mut reader, total) = source.open().unwrap();
            let mut content = Vec::new();
            reader.read_to_end(&mut content).unwrap();
            assert_eq!((content.as_slice(), total), (&b"private"[..], 7));
        }
        assert!(matches!(Source::from(folder.path()).open(), Err(SealError::Read(_))));
    }

    #[test]
    fn content_is_not_printed() {
        assert_eq!(format!("{:?}", Source::Bytes(b"private")), "Bytes(7)");
    }
}
