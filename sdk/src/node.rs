//! A node from outside: its untrusted host, and the way through it to its enclave.

use crate::{
    Boxed,
    file::FileError,
    memory::StateMemory,
    session::{ConnectError, Session},
    verify::Verifier,
};
use glacier_attest::Policy;
use glacier_channel::{Client, Freshness};
use glacier_wire::{Address, Claims, Digest, Evidence, Identity};
use reqwest::Url;
use std::{io, time::Duration};
use tokio::net::TcpStream;

/// What the host of a node does not do, or does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// Not the address of a node.
    #[error("not the address of a node, which is http://HOST:PORT")]
    Address,
    /// Nobody answers there, or not for long enough.
    #[error("the node cannot be reached")]
    Unreachable,
    /// The host has no such asset.
    #[error("the node has no asset {0}")]
    Missing(Digest),
    /// The host's store is full, or has no room for another upload.
    #[error("the node's store is full")]
    Full,
    /// What the host sent, or got, is not the asset of that digest.
    #[error("the bytes are not those of asset {0}")]
    Digest(Digest),
    /// An answer that this protocol does not have.
    #[error("the node answered with status {0}")]
    Status(u16),
    /// The answer cannot be read.
    #[error("the node's answer cannot be read")]
    Malformed,
    /// The host names, or sends, a longer asset than this can be.
    #[error("the node sends more than the {max} bytes that this asset can have")]
    TooLarge {
        /// Bytes that are taken.
        max: u64,
    },
    /// The local file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Largest status that is read.
const MAX_STATUS: usize = 4 << 20;
/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);

/// One node. Keep it: it remembers collateral and quotes, so that a second session is cheaper.
pub struct Node {
    base: Url,
    pub(crate) http: reqwest::Client,
    channel: Client,
    verifier: Verifier,
    states: StateMemory,
}

impl Node {
    /// The node at `http://HOST:PORT`. Nothing is sent yet.
    ///
    /// Plain HTTP on purpose: the host is not trusted, so there is nothing to protect on the way to it.
    /// What must be protected goes through the session's own TLS, which ends in the enclave.
    pub fn at(url: &str) -> Result<Self, NodeError> {
        let base: Url = url.parse().map_err(|_| NodeError::Address)?;
        let plain = base.scheme() == "http" && base.has_host() && base.path() == "/" && base.query().is_none();
        if !plain {
            return Err(NodeError::Address);
        }
        // Another crate of the same build may give reqwest TLS without a provider: features are united. No TLS is
        // spoken here, but a client without one is not made. Whoever named a provider before keeps it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|_| NodeError::Address)?;
        let channel = Client::new().map_err(|_| NodeError::Address)?;
        Ok(Self { base, http, channel, verifier: Verifier::default(), states: StateMemory::default() })
    }

    /// Remembers what enclaves say of their state there, instead of for as long as this lives: a state that
    /// is set back is then noticed by later processes too.
    pub fn remembering(mut self, states: StateMemory) -> Self {
        self.states = states;
        self
    }

    /// Its address.
    pub fn url(&self) -> &str {
        self.base.as_str()
    }

    /// What the host says of itself: a JSON object. Nothing in it is to be believed.
    pub async fn status(&self) -> Result<serde_json::Value, NodeError> {
        let bytes = self.document(&["status"], MAX_STATUS).await?;
        serde_json::from_slice(&bytes).map_err(|_| NodeError::Malformed)
    }

    /// Chain id and ledger where the node settles, by its host's word; `None` for one that settles nowhere.
    ///
    /// # Errors
    /// No answer, or one that is not of a node.
    pub async fn settles(&self) -> Result<Option<(u64, Address)>, NodeError> {
        #[derive(serde::Deserialize)]
        struct Settles {
            chain_id: u64,
            ledger: Address,
        }
        let mut status = self.status().await?;
        let named = status.get_mut("settles").map(serde_json::Value::take).unwrap_or_default();
        let named: Option<Settles> = serde_json::from_value(named).map_err(|_| NodeError::Malformed)?;
        Ok(named.map(|settles| (settles.chain_id, settles.ledger)))
    }

    /// Opens a session with the node's enclave, if `policy` accepts it. `identity` is who the enclave
    /// will know this side as. Nothing private is sent before the enclave is accepted.
    ///
    /// [`Freshness::Cached`] is bound to this very session all the same, by a signature of the attested
    /// key; [`Freshness::Fresh`] asks for a new quote as well, which says that the chip is there now.
    pub async fn connect(
        &self,
        policy: &Policy,
        identity: &Identity,
        freshness: Freshness,
    ) -> Result<Session, ConnectError> {
        let stream = self.dial().await?;
        let states = self.states.clone();
        Session::open(stream, &self.channel, &self.verifier, policy, identity, freshness, states).await
    }

    /// Looks at what the node's enclave shows to anyone, and hangs up. Nothing is accepted by that, and
    /// nothing is said of the caller.
    pub async fn look(&self, freshness: Freshness) -> Result<Showing, ConnectError> {
        self.offered(self.dial().await?, freshness).await
    }

    fn offered(&self, stream: TcpStream, freshness: Freshness) -> Boxed<'_, Result<Showing, ConnectError>> {
        Box::pin(async move {
            let offered = self.channel.offer(stream, freshness).await?;
            Ok(Showing {
                evidence: offered.evidence().clone(),
                claims: offered.claims().clone(),
                post_quantum: offered.post_quantum(),
            })
        })
    }

    async fn dial(&self) -> Result<TcpStream, ConnectError> {
        // `at` saw to it that there is a host; an IPv6 address stands in brackets.
        let host = self.base.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let address = (host, self.base.port_or_known_default().unwrap_or(80));
        tokio::time::timeout(CONNECT, TcpStream::connect(address))
            .await
            .map_err(|_| ConnectError::Unreachable(io::ErrorKind::TimedOut))?
            .map_err(|error| ConnectError::Unreachable(error.kind()))
    }

    pub(crate) fn path(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.clear().extend(segments);
        }
        url
    }
}

/// What an enclave shows of itself, bound to one session that was then closed. Not judged yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Showing {
    /// Quote and collateral.
    pub evidence: Evidence,
    /// What the quote is said to commit to.
    pub claims: Claims,
    /// Whether the session's key exchange withstands quantum computers.
    pub post_quantum: bool,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("url", &self.url()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_nodes_are_taken() {
        assert_eq!(Node::at("http://127.0.0.1:8480").unwrap().url(), "http://127.0.0.1:8480/");
        for bad in ["127.0.0.1:8480", "https://a", "http://a/b", "http://a?b", "ftp://a", ""] {
            assert_eq!(Node::at(bad).err(), Some(NodeError::Address), "{bad:?}");
        }
    }
}
