//! The log that a node publishes. Nothing it says is believed: paths are checked against signed or settled heads.

use crate::{ChainError, http};
use alloy::hex;
use glacier_proof::{Head, SignedCheckpoint, SignedProof};
use glacier_wire::{Address, LogHash, ProofHash};
use reqwest::{Client, StatusCode, redirect::Policy};
use serde::{Deserialize, de::DeserializeOwned};
use std::time::Duration;
use url::Url;

/// A node's log, over HTTP. Clones share the connection.
#[derive(Debug, Clone)]
pub struct NodeLog {
    client: Client,
    url: Url,
}

/// What a node says that it has of a key's log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NodeHead {
    /// Proofs.
    pub size: u64,
    /// Root over them.
    pub root: LogHash,
    /// The newest head that the enclave signed for the ledger that was asked for.
    pub checkpoint: Option<SignedCheckpoint>,
}

impl NodeHead {
    /// Size and root.
    pub fn head(&self) -> Head {
        Head { size: self.size, root: self.root }
    }
}

/// A proof's place, as a node says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Inclusion {
    /// Hash of the proof.
    pub proof: ProofHash,
    /// Audit path, nearest first.
    pub path: Vec<LogHash>,
}

#[derive(Deserialize)]
struct Consistency {
    path: Vec<LogHash>,
}

#[derive(Deserialize)]
struct Page {
    proofs: Vec<Stored>,
    next: u64,
}

#[derive(Deserialize)]
struct Stored {
    proof: String,
}

/// A node that does not answer as nodes do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeLogError {
    /// Not `http` or `https`, or no address of a host.
    #[error("a node's URL begins with http or https")]
    Scheme,
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] ChainError),
    /// No answer.
    #[error("the node does not answer: {0}")]
    Silent(reqwest::Error),
    /// An answer that is none.
    #[error("the node answers {what} with status {status} or in another form")]
    Answer {
        /// Asked for.
        what: &'static str,
        /// HTTP's.
        status: u16,
    },
}

/// Largest answer that is read: a page of proofs.
const MAX_ANSWER: usize = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(10);

impl NodeLog {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// The URL is none of a node, or TLS cannot be set up.
    pub fn at(url: &Url) -> Result<Self, NodeLogError> {
        if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
            return Err(NodeLogError::Scheme);
        }
        let client = Client::builder()
            .tls_backend_preconfigured(http::tls()?)
            .timeout(PATIENCE)
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .build()
            .map_err(|_| NodeLogError::Tls(ChainError::Tls))?;
        Ok(Self { client, url: url.clone() })
    }

    /// Where it is, without what else the address may hold.
    pub fn name(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    /// The head of a key's log, and the newest signed one for a ledger; `None` if the node has no such log.
    ///
    /// # Errors
    /// No answer, or none of this form.
    pub async fn head(
        &self,
        key: &Address,
        (chain_id, ledger): (u64, Address),
    ) -> Result<Option<NodeHead>, NodeLogError> {
        self.get("head", key, &[("chain_id", chain_id.to_string()), ("ledger", ledger.to_string())]).await
    }

    /// Where proof `sequence` stands among the first `size`; `None` if the node has no such log or not so much of it.
    ///
    /// # Errors
    /// No answer, or none of this form.
    pub async fn inclusion(&self, key: &Address, sequence: u64, size: u64) -> Result<Option<Inclusion>, NodeLogError> {
        self.get("inclusion", key, &[("sequence", sequence.to_string()), ("size", size.to_string())]).await
    }

    /// Path that shows that the log of `to` begins with the log of `from`; `None` as for [`NodeLog::inclusion`].
    ///
    /// # Errors
    /// No answer, or none of this form.
    pub async fn consistency(&self, key: &Address, from: u64, to: u64) -> Result<Option<Vec<LogHash>>, NodeLogError> {
        let page: Option<Consistency> =
            self.get("consistency", key, &[("from", from.to_string()), ("to", to.to_string())]).await?;
        Ok(page.map(|page| page.path))
    }

    /// The proofs that arrived at the node from number `from` on, one page, and the number that the next page begins
    /// with. No signature is checked; what cannot be read is left out.
    ///
    /// # Errors
    /// No answer, or none of this form.
    pub async fn proofs(&self, from: u64) -> Result<(Vec<SignedProof>, u64), NodeLogError> {
        let mut url = self.url.clone();
        url.set_path("/proofs");
        let page: Option<Page> = self.ask("proofs", url, &[("from", from.to_string())]).await?;
        let Some(page) = page else { return Ok((Vec::new(), from)) };
        let read = |stored: &Stored| {
            let bytes = hex::decode(&stored.proof).ok()?;
            glacier_wire::cbor::decode::<SignedProof>(&bytes, SignedProof::MAX_BYTES).ok()
        };
        Ok((page.proofs.iter().filter_map(read).collect(), page.next))
    }

    async fn get<T: DeserializeOwned>(
        &self,
        what: &'static str,
        key: &Address,
        query: &[(&str, String)],
    ) -> Result<Option<T>, NodeLogError> {
        let mut url = self.url.clone();
        url.set_path(&format!("/log/{key}/{what}"));
        self.ask(what, url, query).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        what: &'static str,
        mut url: Url,
        query: &[(&str, String)],
    ) -> Result<Option<T>, NodeLogError> {
        url.query_pairs_mut().clear().extend_pairs(query);
        let silent = |error: reqwest::Error| NodeLogError::Silent(error.without_url());
        let mut response = self.client.get(url).send().await.map_err(silent)?;
        let status = response.status();
        if matches!(status, StatusCode::NOT_FOUND | StatusCode::RANGE_NOT_SATISFIABLE) {
            return Ok(None);
        }
        let refused = || NodeLogError::Answer { what, status: status.as_u16() };
        if !status.is_success() {
            return Err(refused());
        }
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(silent)? {
            if text.len().saturating_add(chunk.len()) > MAX_ANSWER {
                return Err(refused());
            }
            text.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&text).map(Some).map_err(|_| refused())
    }
}
