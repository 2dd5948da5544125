//! The store for asynchronous callers.

use std::{collections::HashSet, io, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use glacier_wire::Digest;

use crate::{
    error::StoreError,
    folder::{Blob, Folder, Progress, UploadId, Usage},
};

/// A folder of ciphertext by digest, with a ceiling in bytes, an eighth of which uploads by digest cannot fill. Clones share it; one process at a time uses a folder.
///
/// A call whose future is dropped still runs to its end.
#[derive(Clone)]
pub struct Store {
    folder: Arc<Folder>,
}

impl Store {
    /// Opens or makes the folder. Parts of uploads are kept, uploads without a digest are removed.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while another process has the folder open; [`StoreError::Io`].
    pub async fn open(dir: impl AsRef<Path>, max_bytes: u64) -> Result<Self, StoreError> {
        Self::open_keeping(dir, max_bytes, &[]).await
    }

    /// [Opens](Self::open) it, and keeps these uploads without a digest: whoever made them goes on with them.
    ///
    /// # Errors
    /// As of [`open`](Self::open).
    pub async fn open_keeping(dir: impl AsRef<Path>, max_bytes: u64, uploads: &[UploadId]) -> Result<Self, StoreError> {
        let dir = dir.as_ref().to_owned();
        let kept: Vec<u64> = uploads.iter().map(|upload| upload.0).collect();
        let folder = blocking(move || Folder::open(dir, max_bytes, &kept)).await?;
        Ok(Self { folder: Arc::new(folder) })
    }

    /// Bytes of a blob.
    ///
    /// # Errors
    /// [`StoreError::Missing`].
    pub fn size(&self, digest: &Digest) -> Result<u64, StoreError> {
        self.folder.size(digest)
    }

    /// At most `len` bytes of a blob from `offset`; fewer only where it ends.
    ///
    /// # Errors
    /// [`StoreError::Missing`]; [`StoreError::Range`] for an offset beyond the end; [`StoreError::Io`].
    pub async fn read(&self, digest: &Digest, offset: u64, len: usize) -> Result<Vec<u8>, StoreError> {
        let digest = *digest;
        self.run(move |folder| folder.read(&digest, offset, len)).await
    }

    /// How much of an asset is there.
    pub async fn progress(&self, digest: &Digest) -> Result<Progress, StoreError> {
        let digest = *digest;
        self.run(move |folder| Ok(folder.progress(&digest))).await
    }

    /// Begins or resumes the upload of an asset of `length` bytes: the answer says where it continues.
    ///
    /// # Errors
    /// [`StoreError::Length`] when it was begun with another length; [`StoreError::Full`] when so much
    /// would not fit now; [`StoreError::TooManyUploads`].
    pub async fn begin(&self, digest: &Digest, length: u64) -> Result<Progress, StoreError> {
        let digest = *digest;
        self.run(move |folder| folder.begin(&digest, length)).await
    }

    /// Begins an upload anew; what was there of an unfinished one is gone. The remedy when somebody's
    /// upload under this digest was of other bytes.
    ///
    /// # Errors
    /// As of [`begin`](Self::begin), but for the length.
    pub async fn restart(&self, digest: &Digest, length: u64) -> Result<Progress, StoreError> {
        let digest = *digest;
        self.run(move |folder| folder.restart(&digest, length)).await
    }

    /// Appends to a begun upload, all of `bytes` or nothing. Returns how many bytes are there now.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when it was not begun; [`StoreError::Offset`] when it continues elsewhere;
    /// [`StoreError::Length`] when more comes than was announced; [`StoreError::Full`]; [`StoreError::Io`].
    pub async fn append(&self, digest: &Digest, offset: u64, bytes: impl Into<Bytes>) -> Result<u64, StoreError> {
        let (digest, bytes) = (*digest, bytes.into());
        self.run(move |folder| folder.append(&digest, offset, &bytes)).await
    }

    /// Makes a blob of a complete upload. Returns its size. Succeeds again for what is complete already.
    ///
    /// # Errors
    /// [`StoreError::Offset`] when bytes are missing; [`StoreError::DigestMismatch`] when they are others,
    /// in which case they are gone; [`StoreError::Missing`]; [`StoreError::Io`].
    pub async fn complete(&self, digest: &Digest) -> Result<u64, StoreError> {
        let digest = *digest;
        self.run(move |folder| folder.complete(&digest)).await
    }

    /// Begins an upload whose digest will be known at its end.
    ///
    /// # Errors
    /// [`StoreError::TooManyUploads`]; [`StoreError::Io`].
    pub async fn create_upload(&self) -> Result<UploadId, StoreError> {
        self.run(|folder| folder.create_upload()).await
    }

    /// Appends to it. Returns how many bytes are there now.
    ///
    /// # Errors
    /// [`StoreError::Missing`]; [`StoreError::Full`]; [`StoreError::Io`].
    pub async fn append_upload(&self, upload: UploadId, bytes: impl Into<Bytes>) -> Result<u64, StoreError> {
        let bytes = bytes.into();
        self.run(move |folder| folder.append_upload(upload, &bytes)).await
    }

    /// Ends it: a blob with this digest, or nothing. Returns its size.
    ///
    /// # Errors
    /// [`StoreError::DigestMismatch`]; [`StoreError::Missing`]; [`StoreError::Io`].
    pub async fn commit_upload(&self, upload: UploadId, digest: &Digest) -> Result<u64, StoreError> {
        let digest = *digest;
        self.run(move |folder| folder.commit_upload(upload, &digest)).await
    }

    /// Gives it up.
    ///
    /// # Errors
    /// [`StoreError::Missing`]; [`StoreError::Io`].
    pub async fn abort_upload(&self, upload: UploadId) -> Result<(), StoreError> {
        self.run(move |folder| folder.abort_upload(upload)).await
    }

    /// Removes a blob. Reads that have begun end well.
    ///
    /// # Errors
    /// [`StoreError::Missing`]; [`StoreError::Io`].
    pub async fn delete(&self, digest: &Digest) -> Result<(), StoreError> {
        let digest = *digest;
        self.run(move |folder| folder.delete(&digest)).await
    }

    /// All blobs, in the order of their digests.
    pub fn list(&self) -> Vec<Blob> {
        self.folder.list()
    }

    /// How full it is.
    pub fn usage(&self) -> Usage {
        self.folder.usage()
    }

    /// Removes parts that nobody has written to for this long. Returns how many.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub async fn sweep(&self, older: Duration) -> Result<usize, StoreError> {
        self.run(move |folder| folder.sweep(older)).await
    }

    /// Removes blobs, but for these, that nobody has read from their beginning or brought for so long. Returns how many.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub async fn expire(&self, older: Duration, but: HashSet<Digest>) -> Result<usize, StoreError> {
        self.run(move |folder| folder.expire(older, &but)).await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let folder = Arc::clone(&self.folder);
        blocking(move || work(&folder)).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(StoreError::Io(io::ErrorKind::Other)))
}
