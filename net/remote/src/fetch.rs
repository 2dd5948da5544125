//! From a store to this machine: several pieces at once, taken up again where they were cut.

use crate::{
    AT_ONCE, Progress, Remote, RemoteError,
    part::{Identity, Part},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStoreExt as _};
use std::path::Path;

impl Remote {
    /// Bytes of the file, as the store says.
    ///
    /// # Errors
    /// [`RemoteError::Missing`], [`RemoteError::Denied`], [`RemoteError::Store`].
    pub async fn size(&self) -> Result<u64, RemoteError> {
        Ok(self.store.head(&self.path).await?.size)
    }

    /// Fetches the file into the new file `to`, which is there only once it is whole. A fetch that was cut off, in this
    /// process or another, goes on with what was there (`to.part`), if the store still has the same version.
    /// Returns how many bytes it has.
    ///
    /// # Errors
    /// [`RemoteError`]. [`RemoteError::Changed`]: the file was replaced meanwhile; what was there is gone.
    pub async fn fetch(&self, to: &Path, progress: Progress<'_>) -> Result<u64, RemoteError> {
        if to.symlink_metadata().is_ok() {
            return Err(std::io::Error::from(std::io::ErrorKind::AlreadyExists).into());
        }
        let meta = self.store.head(&self.path).await?;
        let address = blake3::hash(self.address().as_bytes()).to_hex().to_string();
        let mut part = Part::open(to, Identity { address, mark: mark(&meta), size: meta.size })?;
        match self.complete(&meta, &mut part, progress).await {
            Ok(()) => part.keep(to)?,
            Err(RemoteError::Changed) => {
                part.discard();
                return Err(RemoteError::Changed);
            }
            Err(error) => return Err(error),
        }
        Ok(meta.size)
    }

    async fn complete(&self, meta: &ObjectMeta, part: &mut Part, progress: Progress<'_>) -> Result<(), RemoteError> {
        progress(part.have(), meta.size);
        let pieces = stream::iter(part.missing()).map(|(start, length)| self.piece(meta, start, length));
        let mut pieces = pieces.buffer_unordered(AT_ONCE);
        while let Some((start, bytes)) = pieces.try_next().await? {
            part.write(start, &bytes)?;
            progress(part.have(), meta.size);
        }
        Ok(())
    }

    async fn piece(&self, meta: &ObjectMeta, start: u64, length: u64) -> Result<(u64, Bytes), RemoteError> {
        let range = GetRange::Bounded(start..start.saturating_add(length));
        let options = GetOptions { range: Some(range), if_match: meta.e_tag.clone(), ..GetOptions::default() };
        let got = self.store.get_opts(&self.path, options).await.map_err(unranged)?;
        // A store that does not know `If-Match` says which version it gave.
        if got.meta.size != meta.size || mark(&got.meta) != mark(meta) {
            return Err(RemoteError::Changed);
        }
        let bytes = got.bytes().await?;
        if bytes.len() as u64 != length {
            return Err(RemoteError::Store("a piece ended early".to_owned()));
        }
        Ok((start, bytes))
    }
}

/// What tells two versions of a file apart; empty where the store says nothing that would.
fn mark(meta: &ObjectMeta) -> String {
    meta.version.clone().or_else(|| meta.e_tag.clone()).unwrap_or_default()
}

/// A server that does not know ranges answers with the whole file, for each piece anew.
fn unranged(error: object_store::Error) -> RemoteError {
    match RemoteError::from(error) {
        RemoteError::ReadOnly(_) => {
            RemoteError::Store("it knows no ranges (RFC 9110, section 14): fetch the file by other means".to_owned())
        }
        error => error,
    }
}
