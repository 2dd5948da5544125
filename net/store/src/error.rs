//! Every way the store says no.

use std::io;

/// Why the store did not do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no such blob, part or upload.
    #[error("no such asset or upload")]
    Missing,
    /// The offset lies beyond the end.
    #[error("the asset ends at {end}")]
    Range {
        /// Where.
        end: u64,
    },
    /// The upload continues elsewhere: it was begun, continued or restarted meanwhile.
    #[error("the upload continues at {expected}")]
    Offset {
        /// Where.
        expected: u64,
    },
    /// The upload was begun with another length, or more came than was announced.
    #[error("the upload was announced with {announced} bytes")]
    Length {
        /// As announced.
        announced: u64,
    },
    /// The bytes that came do not have the digest; they are gone.
    #[error("the bytes do not have this digest")]
    DigestMismatch,
    /// The bytes would not fit.
    #[error("the store is full")]
    Full,
    /// As many uploads as may be open are open.
    #[error("too many uploads are open")]
    TooManyUploads,
    /// Another process uses this folder.
    #[error("another process uses this store")]
    InUse,
    /// The disk failed.
    #[error("the disk failed: {0}")]
    Io(io::ErrorKind),
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            kind => Self::Io(kind),
        }
    }
}
