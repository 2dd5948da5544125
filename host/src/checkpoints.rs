//! Which sealed checkpoint of a job is the newest. The host keeps them for the enclave and can read none.

use std::{
    collections::HashSet,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use glacier_store::{Store, StoreError};
use glacier_wire::{Digest, ManifestHash};
use tokio::sync::Mutex;
use tracing::warn;

/// A folder with a small file for each job that has a checkpoint.
#[derive(Clone)]
pub(crate) struct Checkpoints {
    store: Store,
    /// Held while a pointer and the blobs behind it change.
    folder: Arc<Mutex<PathBuf>>,
}

impl Checkpoints {
    pub(crate) fn open(folder: &Path, store: Store) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self { store, folder: Arc::new(Mutex::new(folder.to_owned())) })
    }

    /// Points to `asset`, and removes what was pointed to before. On the disk when this returns: a host that
    /// is killed in between has the one or the other, and at worst a blob too many.
    pub(crate) async fn keep(&self, job: ManifestHash, asset: Digest) -> io::Result<()> {
        let folder = self.folder.lock().await;
        let before = read(&folder, job)?;
        let to = folder.clone();
        tokio::task::spawn_blocking(move || point(&to, job, asset)).await.map_err(io::Error::other)??;
        if let Some(before) = before.filter(|before| *before != asset) {
            self.remove(before).await;
        }
        Ok(())
    }

    pub(crate) async fn recall(&self, job: ManifestHash) -> io::Result<Option<Digest>> {
        read(&self.folder.lock().await, job)
    }

    pub(crate) async fn forget(&self, job: ManifestHash) -> io::Result<()> {
        let folder = self.folder.lock().await;
        let Some(asset) = read(&folder, job)? else { return Ok(()) };
        fs::remove_file(folder.join(job.to_string()))?;
        self.remove(asset).await;
        Ok(())
    }

    /// All that is pointed to: what must not be removed for its age.
    pub(crate) async fn kept(&self) -> io::Result<HashSet<Digest>> {
        let folder = self.folder.lock().await.clone();
        tokio::task::spawn_blocking(move || {
            let names = fs::read_dir(&folder)?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
            names.filter_map(|job| read(&folder, job).transpose()).collect()
        })
        .await
        .map_err(io::Error::other)?
    }

    async fn remove(&self, asset: Digest) {
        match self.store.delete(&asset).await {
            Ok(()) | Err(StoreError::Missing) => {}
            Err(error) => warn!(%error, "an old checkpoint remains"),
        }
    }
}

fn read(folder: &Path, job: ManifestHash) -> io::Result<Option<Digest>> {
    match fs::read_to_string(folder.join(job.to_string())) {
        Ok(text) => text.trim().parse().map(Some).map_err(|_| io::ErrorKind::InvalidData.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes beside and moves into place, so that there is never half a pointer.
fn point(folder: &Path, job: ManifestHash, asset: Digest) -> io::Result<()> {
    let place = folder.join(job.to_string());
    let beside = place.with_extension("new");
    let mut file = fs::File::create(&beside)?;
    file.write_all(asset.to_string().as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, &place)?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    async fn blob(store: &Store, content: &[u8]) -> Digest {
        let upload = store.create_upload().await.unwrap();
        store.append_upload(upload, content.to_vec()).await.unwrap();
        let digest = Digest(*blake3::hash(content).as_bytes());
        store.commit_upload(upload, &digest).await.unwrap();
        digest
    }

    #[tokio::test]
    async fn the_newest_is_recalled_also_after_a_restart_and_older_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store"), 1 << 20).await.unwrap();
        let (one, two) = (blob(&store, b"one").await, blob(&store, b"two").await);
        let job = ManifestHash([7; 32]);
        let checkpoints = Checkpoints::open(&dir.path().join("checkpoints"), store.clone()).unwrap();
        assert_eq!(checkpoints.recall(job).await.unwrap(), None);
        checkpoints.keep(job, one).await.unwrap();
        checkpoints.keep(job, two).await.unwrap();
        let checkpoints = Checkpoints::open(&dir.path().join("checkpoints"), store.clone()).unwrap();
        assert_eq!(checkpoints.recall(job).await.unwrap(), Some(two));
        assert_eq!(store.size(&one), Err(StoreError::Missing));
        checkpoints.forget(job).await.unwrap();
        assert_eq!(checkpoints.recall(job).await.unwrap(), None);
        assert_eq!(store.size(&two), Err(StoreError::Missing));
    }
}
