//! Work Proofs as they arrived, kept for settlement.

use std::{
    io,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use redb::{
    Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, TableDefinition,
};

/// Number of arrival -> (seconds since 1970, encoded proof).
const PROOFS: TableDefinition<'_, u64, (u64, &[u8])> = TableDefinition::new("proofs");

/// How long another holder of the table may take to let go.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(10);

/// One proof as it was published.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StoredProof {
    /// Number of arrival at this host, from zero and without gaps. Not the proof's own sequence.
    pub number: u64,
    /// When it arrived, in seconds since 1970 by this host's clock.
    pub arrived: u64,
    /// `glacier_proof::WorkProof`, encoded, in hexadecimal.
    pub proof: String,
}

/// Why a proof was not kept or not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// Larger than [`Proofs::MAX_BYTES`], or empty.
    #[error("not of a proof's size")]
    Size,
    /// Another process uses the table.
    #[error("another process uses the table of proofs")]
    InUse,
    /// The table is damaged.
    #[error("the table of proofs is damaged")]
    Corrupted,
    /// The disk failed.
    #[error("the disk failed: {0}")]
    Io(io::ErrorKind),
}

impl From<redb::Error> for ProofError {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::InUse,
            redb::Error::Io(error) => Self::Io(error.kind()),
            _ => Self::Corrupted,
        }
    }
}

#[derive(Clone)]
pub(crate) struct Proofs {
    database: Arc<Database>,
}

impl Proofs {
    /// Largest proof that is kept.
    pub(crate) const MAX_BYTES: usize = 64 << 10;
    /// Most proofs in one answer.
    pub(crate) const PAGE: usize = 256;

    pub(crate) fn open(path: &Path) -> Result<Self, ProofError> {
        let begun = Instant::now();
        let database = loop {
            match Database::create(path) {
                Ok(database) => break database,
                // A child that is being started holds a copy of a lock just given up, for a moment.
                Err(DatabaseError::DatabaseAlreadyOpen) if begun.elapsed() < PATIENCE => thread::sleep(PAUSE),
                Err(error) => return Err(redb::Error::from(error).into()),
            }
        };
        let proofs = Self { database: Arc::new(database) };
        // So that readers need not care whether there was a first proof yet.
        proofs.write(|_| Ok(()))?;
        Ok(proofs)
    }

    /// Whether this can be a proof.
    pub(crate) fn check(proof: &[u8]) -> Result<(), ProofError> {
        if proof.is_empty() || proof.len() > Self::MAX_BYTES { Err(ProofError::Size) } else { Ok(()) }
    }

    /// Keeps proofs, in this order and under one sync: they are on the disk when this returns.
    pub(crate) async fn publish(&self, batch: Vec<Vec<u8>>) -> Result<(), ProofError> {
        batch.iter().try_for_each(|proof| Self::check(proof))?;
        let proofs = self.clone();
        blocking(move || {
            let arrived = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            proofs.write(|table| {
                let first = table.last()?.map_or(0, |(number, _)| number.value().saturating_add(1));
                for (number, proof) in (first..).zip(&batch) {
                    table.insert(number, (arrived, proof.as_slice()))?;
                }
                Ok(())
            })
        })
        .await
    }

    /// At most [`PAGE`](Self::PAGE) proofs from number `from` on.
    pub(crate) async fn page(&self, from: u64) -> Result<Vec<StoredProof>, ProofError> {
        let proofs = self.clone();
        blocking(move || Ok(proofs.read_page(from)?)).await
    }

    pub(crate) async fn count(&self) -> Result<u64, ProofError> {
        let proofs = self.clone();
        blocking(move || Ok(proofs.read_count()?)).await
    }

    fn write<T>(
        &self,
        change: impl FnOnce(&mut redb::Table<'_, u64, (u64, &'static [u8])>) -> Result<T, redb::StorageError>,
    ) -> Result<T, ProofError> {
        // A commit is durable by default: it returns after the file was synced.
        let transaction = self.database.begin_write().map_err(redb::Error::from)?;
        let result = {
            let mut table = transaction.open_table(PROOFS).map_err(redb::Error::from)?;
            change(&mut table).map_err(redb::Error::from)?
        };
        transaction.commit().map_err(redb::Error::from)?;
        Ok(result)
    }

    fn read_page(&self, from: u64) -> Result<Vec<StoredProof>, redb::Error> {
        let table = self.database.begin_read()?.open_table(PROOFS)?;
        let mut page = Vec::new();
        for entry in table.range(from..)?.take(Self::PAGE) {
            let (number, value) = entry?;
            let (arrived, proof) = value.value();
            page.push(StoredProof { number: number.value(), arrived, proof: hex::encode(proof) });
        }
        Ok(page)
    }

    fn read_count(&self) -> Result<u64, redb::Error> {
        Ok(self.database.begin_read()?.open_table(PROOFS)?.len()?)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ProofError> + Send + 'static,
) -> Result<T, ProofError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(ProofError::Io(io::ErrorKind::Other)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::{
        process::{Command, Stdio},
        time::Duration,
    };

    #[tokio::test]
    async fn proofs_are_numbered_as_they_arrive() {
        let dir = tempfile::tempdir().unwrap();
        let proofs = Proofs::open(&dir.path().join("p")).unwrap();
        for n in (0..300u16).step_by(3) {
            let batch = (n..n + 3).map(|n| n.to_be_bytes().to_vec()).collect();
            assert_eq!(proofs.publish(batch).await, Ok(()));
        }
        assert_eq!(proofs.count().await, Ok(300));
        let page = proofs.page(0).await.unwrap();
        assert_eq!((page.len(), page.last().unwrap().number), (Proofs::PAGE, 255));
        assert_eq!(proofs.page(299).await.unwrap().first().unwrap().proof, "012b");
        assert_eq!(proofs.page(300).await, Ok(vec![]));
    }

    #[tokio::test]
    async fn what_cannot_be_a_proof_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let proofs = Proofs::open(&dir.path().join("p")).unwrap();
        assert_eq!(proofs.publish(vec![vec![1], vec![]]).await, Err(ProofError::Size));
        assert_eq!(proofs.publish(vec![vec![0; Proofs::MAX_BYTES + 1]]).await, Err(ProofError::Size));
        assert_eq!(proofs.count().await, Ok(0));
    }

    #[tokio::test]
    async fn a_table_has_one_process() {
        let dir = tempfile::tempdir().unwrap();
        let _proofs = Proofs::open(&dir.path().join("p")).unwrap();
        assert_eq!(Proofs::open(&dir.path().join("p")).err(), Some(ProofError::InUse));
    }

    /// Not a test of its own: what the next test kills.
    #[tokio::test]
    async fn endless_publishing() {
        let Ok(dir) = std::env::var("GLACIER_PROOFS_KILLED") else { return };
        let proofs = Proofs::open(&Path::new(&dir).join("p")).unwrap();
        loop {
            proofs.publish(vec![vec![7; 500]]).await.unwrap();
            let number = proofs.count().await.unwrap() - 1;
            // Whoever asked has been told that this proof is kept.
            std::fs::write(Path::new(&dir).join("told"), number.to_be_bytes()).unwrap();
        }
    }

    #[tokio::test]
    async fn a_killed_process_loses_no_proof_that_was_answered() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "proofs::tests::endless_publishing"])
            .env("GLACIER_PROOFS_KILLED", dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let told = || {
            std::fs::read(dir.path().join("told")).ok().and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes)
        };
        while told().is_none_or(|number| number < 20) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let proofs = Proofs::open(&dir.path().join("p")).unwrap();
        let count = proofs.count().await.unwrap();
        // An empty file was caught between two steps of the witness, not of the table.
        assert!(told().is_none_or(|number| count > number), "{count} kept, {:?} told", told());
        assert!(count > 20);
    }
}
