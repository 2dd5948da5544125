//! Work Proofs of the answers that were handed out.

use crate::fault::Fault;
use glacier::{
    AnswerProof,
    proof::{Bundle, WorkProof},
    wire::{Nonce, ProofHash, cbor},
    write_new,
};
use serde::Serialize;
use std::{
    collections::VecDeque,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// The latest proofs in memory, and all of them in a folder where there is one.
pub(crate) struct Proofs {
    latest: Mutex<VecDeque<Arc<Kept>>>,
    folder: Option<PathBuf>,
}

/// A proof, checked, with what opens its commitments.
#[derive(Debug, Clone, Serialize)]
pub struct Kept {
    /// Its name.
    pub hash: ProofHash,
    /// The statement.
    pub statement: WorkProof,
    /// Opens the commitment to the request's body, as the enclave got it.
    pub input_salt: Nonce,
    /// Opens the commitment to the answer's body, as the enclave sent it.
    pub output_salt: Nonce,
    /// Statement, signature, evidence and manifest: what `glacier verify proof` reads.
    #[serde(skip)]
    pub file: Vec<u8>,
}

/// How many are kept in memory: each has its evidence, some ten thousand bytes.
const LATEST: usize = 256;

impl Proofs {
    /// The folder is made where it is not there.
    pub(crate) fn open(folder: Option<PathBuf>) -> io::Result<Self> {
        if let Some(folder) = &folder {
            fs::create_dir_all(folder)?;
        }
        Ok(Self { latest: Mutex::default(), folder })
    }

    /// Keeps the proof of an answer. Fails where the caller wants it on disk and it does not get there.
    pub(crate) async fn keep(&self, bundle: Bundle, proof: &AnswerProof) -> Result<Arc<Kept>, Fault> {
        let kept = Arc::new(Kept {
            hash: proof.signed().proof.hash(),
            statement: proof.signed().proof.clone(),
            input_salt: proof.input_salt(),
            output_salt: proof.output_salt(),
            file: cbor::encode(&bundle),
        });
        if let Some(folder) = &self.folder {
            let (folder, kept) = (folder.clone(), kept.clone());
            let written = tokio::task::spawn_blocking(move || write(&folder, &kept)).await;
            if !matches!(written, Ok(Ok(()))) {
                let message = "the proof could not be written into the folder of --proofs, and its answer is kept back";
                return Err(Fault::new(500, "proof-not-kept", message, "make room there, and let this user write"));
            }
        }
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.len() >= LATEST {
            latest.pop_front();
        }
        latest.push_back(kept.clone());
        Ok(kept)
    }

    /// By hash, or by its number in its enclave key's log; of several keys the latest one's.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Kept>> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(sequence) = name.parse::<u64>() {
            return latest.iter().rev().find(|kept| kept.statement.sequence == sequence).cloned();
        }
        let hash: ProofHash = name.parse().ok()?;
        latest.iter().find(|kept| kept.hash == hash).cloned()
    }

    /// The latest first.
    pub(crate) fn list(&self) -> Vec<Arc<Kept>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().cloned().collect()
    }
}

/// For their owner alone: what opens a commitment lets a guess at rows be checked.
fn write(folder: &Path, kept: &Kept) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(kept)?;
    for (suffix, bytes) in [("proof", &kept.file), ("json", &text)] {
        write_new(&folder.join(format!("{}.{suffix}", kept.hash)), bytes).map_err(io::Error::other)?;
    }
    Ok(())
}
