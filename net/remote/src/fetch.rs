//! From a store to this machine: several pieces at once, taken up again where they were cut.

use crate::{
    AT_ONCE, MAX, PIECE, Progress, Remote, RemoteError,
    part::{Identity, Part},
};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStoreExt as _};
use std::path::Path;

impl Remote {
    /// Bytes of the file, as the store says.
    ///
    /// # Errors
    /// [`RemoteError::Missing`], [`RemoteError::Denied`], [`RemoteError::Store`].
    pub async fn size(&self) -> Result<u64, RemoteError> {
        Ok(self.meta().await?.size)
    }

    /// Fetches the file into the new file `to`, which is there only once it is whole. A fetch that was cut off, in this
    /// process or another, goes on with what was there (`to.part`), if the store still has the same version.
    /// Returns how many bytes it has. Two fetches to one place at a time spoil each other: the caller sees to that.
    ///
    /// # Errors
    /// [`RemoteError`]. [`RemoteError::Changed`]: the file was replaced meanwhile; what was there is gone.
    pub async fn fetch(&self, to: &Path, progress: Progress<'_>) -> Result<u64, RemoteError> {
        if to.symlink_metadata().is_ok() {
            return Err(std::io::Error::from(std::io::ErrorKind::AlreadyExists).into());
        }
        let meta = self.meta().await?;
        if meta.size > MAX {
            return Err(RemoteError::TooLarge { max: MAX });
        }
        let mut part = Part::open(to, Identity { address: self.identity(), mark: mark(&meta), size: meta.size })?;
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

    async fn meta(&self) -> Result<ObjectMeta, RemoteError> {
        match self.store.head(&self.path).await.map_err(RemoteError::from) {
            // An address that is signed for reading is not signed for asking; the answer's body is left where it is.
            Err(RemoteError::Denied(_)) if self.signed => Ok(self.store.get(&self.path).await?.meta),
            asked => asked,
        }
    }

    async fn complete(&self, meta: &ObjectMeta, part: &mut Part, progress: Progress<'_>) -> Result<(), RemoteError> {
        progress(part.have(), meta.size);
        if mark(meta).is_empty() {
            return self.whole(meta, part, progress).await;
        }
        let missing: Vec<_> = part.missing().collect();
        let pieces = stream::iter(missing).map(|(start, length)| self.piece(meta, start, length));
        let mut pieces = pieces.buffer_unordered(AT_ONCE);
        while let Some((start, bytes)) = pieces.try_next().await? {
            part.write(start, &bytes)?;
            progress(part.have(), meta.size);
        }
        Ok(())
    }

    async fn piece(&self, meta: &ObjectMeta, start: u64, length: u64) -> Result<(u64, Bytes), RemoteError> {
        let range = GetRange::Bounded(start..start.saturating_add(length));
        let options = GetOptions { range: Some(range), if_match: strong(meta), ..GetOptions::default() };
        let got = self.store.get_opts(&self.path, options).await.map_err(unranged)?;
        // A store that does not know `If-Match` says which version it gave.
        if got.meta.size != meta.size || mark(&got.meta) != mark(meta) {
            return Err(RemoteError::Changed);
        }
        let mut body = Body::new(got.into_stream());
        let bytes = body.take(length).await?;
        body.end().await?;
        Ok((start, bytes))
    }

    /// All of it in one answer: of two answers nobody could tell whether they are of one version.
    async fn whole(&self, meta: &ObjectMeta, part: &mut Part, progress: Progress<'_>) -> Result<(), RemoteError> {
        let got = self.store.get(&self.path).await?;
        if got.meta.size != meta.size {
            return Err(RemoteError::Changed);
        }
        let mut body = Body::new(got.into_stream());
        for (start, length) in part.pieces() {
            part.write(start, &body.take(length).await?)?;
            progress(part.have(), meta.size);
        }
        body.end().await
    }
}

/// An answer's body, of which no more is held than was asked for, whatever the server sends.
struct Body<S> {
    chunks: S,
    rest: Bytes,
}

impl<S: Stream<Item = object_store::Result<Bytes>> + Unpin> Body<S> {
    fn new(chunks: S) -> Self {
        Self { chunks, rest: Bytes::new() }
    }

    /// The next `length` bytes, at most [`PIECE`].
    async fn take(&mut self, length: u64) -> Result<Bytes, RemoteError> {
        let length = usize::try_from(length.min(PIECE)).unwrap_or_default();
        let mut bytes = BytesMut::with_capacity(length);
        while bytes.len() < length {
            if self.rest.is_empty() {
                let ended = || RemoteError::Store("a piece ended early".to_owned());
                self.rest = self.chunks.try_next().await?.ok_or_else(ended)?;
            }
            let wanted = length.saturating_sub(bytes.len()).min(self.rest.len());
            bytes.extend_from_slice(&self.rest.split_to(wanted));
        }
        Ok(bytes.freeze())
    }

    /// Nothing follows.
    async fn end(mut self) -> Result<(), RemoteError> {
        while self.rest.is_empty() {
            match self.chunks.try_next().await? {
                None => return Ok(()),
                Some(chunk) => self.rest = chunk,
            }
        }
        Err(RemoteError::Store("it sends more bytes than were asked for".to_owned()))
    }
}

/// The mark that names these very bytes. A weak one (`W/`) names what looks alike, and no `If-Match` matches it.
fn strong(meta: &ObjectMeta) -> Option<String> {
    meta.e_tag.clone().filter(|tag| !tag.starts_with("W/"))
}

/// What tells two versions of a file apart; empty where the store says nothing that would.
fn mark(meta: &ObjectMeta) -> String {
    if let Some(mark) = meta.version.clone().or_else(|| strong(meta)) {
        return mark;
    }
    // What a store does not say reads as the beginning of time.
    match meta.last_modified.timestamp() {
        0 => String::new(),
        changed => format!("{changed} {}", meta.e_tag.as_deref().unwrap_or_default()),
    }
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
