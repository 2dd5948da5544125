//! The evidence that enclaves show to whoever asks, by the key that signs their Work Proofs.
//!
//! It is what every client is given inside the channel as well, and it is worth what its signatures are
//! worth. That of former enclaves is kept too: their proofs are still to be checked.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use glacier_wire::{
    Address, Claims, Evidence,
    cbor::{self, CborError},
};

/// `GET /evidence` and `GET /evidence?key=`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EvidencePage {
    /// The key that the evidence says it is about: the one that signs Work Proofs.
    pub enclave_key: Address,
    /// Whether the enclave that showed it runs now.
    pub current: bool,
    /// As the enclave showed it, byte strings in hexadecimal.
    pub evidence: Evidence,
}

/// Why evidence is not shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShowcaseError {
    #[error("it is not evidence: {0}")]
    Malformed(#[from] CborError),
    #[error("the disk failed: {0}")]
    Io(#[from] io::Error),
}

#[derive(Clone)]
pub(crate) struct Showcase(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    current: RwLock<Option<(Address, Evidence)>>,
}

impl Showcase {
    /// Evidence of as many former enclaves is kept, the newest.
    const KEPT: usize = 32;

    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self(Arc::new(Inner { folder: folder.to_owned(), current: RwLock::default() })))
    }

    /// What the enclave shows from now on.
    pub(crate) async fn show(&self, encoded: Vec<u8>) -> Result<(), ShowcaseError> {
        let evidence: Evidence = cbor::decode(&encoded, Evidence::MAX_BYTES)?;
        let key = Claims::decode(&evidence.claims)?.enclave_key;
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = Some((key, evidence));
        let folder = self.0.folder.clone();
        tokio::task::spawn_blocking(move || keep(&folder, key, &encoded)).await.map_err(io::Error::other)??;
        Ok(())
    }

    /// The enclave is gone.
    pub(crate) fn close(&self) {
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Of this key, or of the enclave that runs.
    pub(crate) async fn page(&self, key: Option<Address>) -> Option<EvidencePage> {
        let current = self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        match (current, key) {
            (Some((enclave_key, evidence)), asked) if asked.is_none_or(|key| key == enclave_key) => {
                Some(EvidencePage { enclave_key, current: true, evidence })
            }
            (_, Some(enclave_key)) => {
                let file = file(&self.0.folder, enclave_key);
                let encoded = tokio::task::spawn_blocking(move || fs::read(file)).await.ok()?.ok()?;
                let evidence = cbor::decode(&encoded, Evidence::MAX_BYTES).ok()?;
                Some(EvidencePage { enclave_key, current: false, evidence })
            }
            (_, None) => None,
        }
    }
}

fn file(folder: &Path, key: Address) -> PathBuf {
    folder.join(format!("{key}.cbor"))
}

/// Writes beside and moves into place. Nothing is lost for good if this fails: a former enclave's proofs are
/// then shown without what stands behind their key.
fn keep(folder: &Path, key: Address, encoded: &[u8]) -> io::Result<()> {
    let place = file(folder, key);
    let beside = place.with_extension("new");
    fs::write(&beside, encoded)?;
    fs::rename(&beside, &place)?;
    let mut all = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        all.push((entry.metadata()?.modified()?, entry.path()));
    }
    all.sort();
    let surplus = all.len().saturating_sub(Showcase::KEPT.saturating_add(1));
    all.iter().take(surplus).try_for_each(|(_, path)| fs::remove_file(path))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use glacier_wire::{Purpose, UnixTime};

    fn evidence(number: u8) -> Evidence {
        let claims = Claims {
            purpose: Purpose::Channel,
            channel_key: [1; 32],
            enclave_key: Address([number; 20]),
            issued_at: UnixTime(1),
            nonce: None,
            devices: None,
        };
        Evidence::new(vec![number], claims.encode(), b"{}".to_vec())
    }

    #[tokio::test]
    async fn the_current_is_shown_and_former_ones_by_their_key() {
        let dir = tempfile::tempdir().unwrap();
        let showcase = Showcase::open(dir.path()).unwrap();
        assert_eq!(showcase.page(None).await, None);
        for number in 1..=2 {
            showcase.show(cbor::encode(&evidence(number))).await.unwrap();
        }
        let current = EvidencePage { enclave_key: Address([2; 20]), current: true, evidence: evidence(2) };
        assert_eq!(showcase.page(None).await.as_ref(), Some(&current));
        assert_eq!(showcase.page(Some(Address([2; 20]))).await, Some(current));
        let former = EvidencePage { enclave_key: Address([1; 20]), current: false, evidence: evidence(1) };
        assert_eq!(showcase.page(Some(Address([1; 20]))).await, Some(former.clone()));
        assert_eq!(showcase.page(Some(Address([3; 20]))).await, None);
        // Also after a restart, when nothing is current.
        let showcase = Showcase::open(dir.path()).unwrap();
        assert_eq!(showcase.page(None).await, None);
        assert_eq!(showcase.page(Some(Address([1; 20]))).await, Some(former));
    }

    #[tokio::test]
    async fn what_is_no_evidence_is_not_shown_and_the_folder_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let showcase = Showcase::open(dir.path()).unwrap();
        assert!(matches!(showcase.show(vec![1, 2, 3]).await, Err(ShowcaseError::Malformed(_))));
        let nameless = Evidence::new(vec![1], vec![2], vec![]);
        assert!(matches!(showcase.show(cbor::encode(&nameless)).await, Err(ShowcaseError::Malformed(_))));
        for number in 0..40 {
            showcase.show(cbor::encode(&evidence(number))).await.unwrap();
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), Showcase::KEPT + 1);
    }
}
