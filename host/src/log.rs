//! The logs of a node's enclaves, one for each enclave key that published here.

use glacier_proof::{Frontier, Head, SignedCheckpoint, SignedProof};
use glacier_wire::{Address, LogHash, ProofHash, api::SettlementOrder};

use crate::proofs::{ProofError, Proofs};

/// Looks into the logs. Whatever it answers was said by an enclave and stored by this host; the paths are
/// checked against a signed head.
#[derive(Clone)]
pub struct Logs(Proofs);

/// `GET /log/{key}/head`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct HeadPage {
    /// Proofs that are here.
    pub size: u64,
    /// Root over them.
    pub root: LogHash,
    /// The newest head that the enclave signed: for the ledger that was asked for, else for any. Of as many
    /// proofs as are here, or fewer.
    pub checkpoint: Option<SignedCheckpoint>,
}

/// `GET /log/{key}/inclusion?sequence=&size=`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct InclusionPage {
    /// The proof's number.
    pub sequence: u64,
    /// Size of the tree.
    pub size: u64,
    /// Hash of the proof, as [`SignedProof::verify`] returns it.
    pub proof: ProofHash,
    /// Audit path, nearest first (RFC 6962, 2.1.1).
    pub path: Vec<LogHash>,
}

/// `GET /log/{key}/consistency?from=&to=`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ConsistencyPage {
    /// Size of the older tree.
    pub from: u64,
    /// Size of the newer tree.
    pub to: u64,
    /// Consistency path (RFC 6962, 2.1.2).
    pub path: Vec<LogHash>,
}

impl Logs {
    pub(crate) fn new(proofs: Proofs) -> Self {
        Self(proofs)
    }

    /// Every enclave key of which there are proofs, by address.
    ///
    /// # Errors
    /// [`ProofError`] if the table cannot be read.
    pub async fn keys(&self) -> Result<Vec<Address>, ProofError> {
        self.0.keys().await
    }

    /// The newest signed heads for a ledger, one of each key that has any. No log is read for them.
    ///
    /// # Errors
    /// [`ProofError`] if the table cannot be read.
    pub async fn signed_heads(&self, chain_id: u64, ledger: Address) -> Result<Vec<SignedCheckpoint>, ProofError> {
        self.0.checkpoints(SettlementOrder { chain_id, ledger }).await
    }

    /// The head of a key's log, and the newest that was signed: for this chain and ledger, or for any.
    ///
    /// # Errors
    /// [`ProofError::NoLog`] if no proof of the key is here.
    pub async fn head(&self, key: Address, at: Option<(u64, Address)>) -> Result<HeadPage, ProofError> {
        let at = at.map(|(chain_id, ledger)| SettlementOrder { chain_id, ledger });
        // In this order: the log is never behind the signed head.
        let checkpoint = self.0.checkpoint(key, at).await?;
        let Head { size, root } = self.0.log(key, |log| Ok(log.head())).await?;
        Ok(HeadPage { size, root, checkpoint })
    }

    /// Proof `sequence` and its audit path among the first `size`.
    ///
    /// # Errors
    /// [`ProofError::NoLog`], or [`ProofError::Log`] if the log has no such place.
    pub async fn inclusion(&self, key: Address, sequence: u64, size: u64) -> Result<InclusionPage, ProofError> {
        let path = self.0.log(key, move |log| log.inclusion(sequence, size)).await?;
        let signed = self.0.proof(key, sequence).await?.ok_or(ProofError::Corrupted)?;
        Ok(InclusionPage { sequence, size, proof: signed.proof.hash(), path })
    }

    /// That the log of `to` proofs begins with the log of `from`.
    ///
    /// # Errors
    /// [`ProofError::NoLog`], or [`ProofError::Log`] if the log never had these sizes.
    pub async fn consistency(&self, key: Address, from: u64, to: u64) -> Result<ConsistencyPage, ProofError> {
        let path = self.0.log(key, move |log| log.consistency(from, to)).await?;
        Ok(ConsistencyPage { from, to, path })
    }

    /// The frontier of the log when it had `size` proofs: what a ledger needs to append the next one.
    ///
    /// # Errors
    /// [`ProofError::NoLog`], or [`ProofError::Log`] if the log never had this size.
    pub async fn frontier(&self, key: Address, size: u64) -> Result<Frontier, ProofError> {
        self.0.log(key, move |log| log.frontier(size)).await
    }

    /// Proof `sequence` of a key; `None` if it is not here.
    ///
    /// # Errors
    /// [`ProofError`] if the table cannot be read.
    pub async fn proof(&self, key: Address, sequence: u64) -> Result<Option<SignedProof>, ProofError> {
        self.0.proof(key, sequence).await
    }
}
