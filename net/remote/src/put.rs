//! From this machine to a store, several pieces at once.

use crate::{AT_ONCE, PIECE, Progress, Remote, RemoteError};
use object_store::{ObjectStoreExt as _, WriteMultipart};
use std::path::Path;
use tokio::{fs::File, io::AsyncReadExt as _};

impl Remote {
    /// Brings a file to its address; what was there is replaced once all of it is there, and kept where it is not.
    /// Returns how many bytes it has.
    ///
    /// # Errors
    /// [`RemoteError::ReadOnly`] for a server that takes no files, [`RemoteError::Denied`], [`RemoteError::Store`].
    pub async fn put(&self, from: &Path, progress: Progress<'_>) -> Result<u64, RemoteError> {
        let mut file = File::open(from).await?;
        let total = file.metadata().await?.len();
        progress(0, total);
        // Small files in one request: a store in parts costs three.
        if total <= PIECE {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).await?;
            self.store.put(&self.path, bytes.into()).await?;
            progress(total, total);
            return Ok(total);
        }
        let upload = self.store.put_multipart(&self.path).await?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PIECE as usize);
        match send(&mut file, &mut upload, total, progress).await {
            Ok(()) => {
                upload.finish().await?;
                Ok(total)
            }
            Err(error) => {
                // A store charges for parts that nobody finishes.
                let _ = upload.abort().await;
                Err(error)
            }
        }
    }
}

async fn send(
    file: &mut File,
    upload: &mut WriteMultipart,
    total: u64,
    progress: Progress<'_>,
) -> Result<(), RemoteError> {
    let mut sent = 0u64;
    loop {
        upload.wait_for_capacity(AT_ONCE).await?;
        let mut piece = Vec::with_capacity(PIECE as usize);
        if (&mut *file).take(PIECE).read_to_end(&mut piece).await? == 0 {
            break;
        }
        sent = sent.saturating_add(piece.len() as u64);
        upload.put(piece.into());
        progress(sent.min(total), total);
    }
    if sent != total {
        return Err(RemoteError::Store("the file changed while it was read".to_owned()));
    }
    Ok(())
}
