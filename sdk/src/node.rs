//! A node from outside: its untrusted host, which stores ciphertext, and the way to its enclave.

use crate::{
    file::{FileError, NewFile},
    seal::Progress,
    session::{ConnectError, Session},
    verify::Verifier,
};
use glacier_attest::Policy;
use glacier_channel::{Client, Freshness};
use glacier_wire::{Digest, Identity};
use reqwest::{Method, StatusCode, header};
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
    time::Duration,
};
use tokio::net::TcpStream;

/// What the host of a node does not do, or does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// Not the address of a node.
    #[error("not the address of a node: http://HOST:PORT is")]
    Address,
    /// Nobody answers there, or not for long enough.
    #[error("the node cannot be reached")]
    Unreachable,
    /// The host has no such asset.
    #[error("the node has no asset {0}")]
    Missing(Digest),
    /// The host's store is full.
    #[error("the node's store is full")]
    Full,
    /// What the host sent or stored is not the asset of that digest.
    #[error("what the node sent is not asset {0}")]
    Digest(Digest),
    /// The answer is none of this protocol.
    #[error("the node answered with status {0}")]
    Status(u16),
    /// The answer cannot be read.
    #[error("the node's answer cannot be read")]
    Malformed,
    /// The local file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Bytes of one piece of an upload: what a cut connection costs at most.
const PIECE: usize = 4 << 20;
/// How often a cut transfer is taken up again before it is given up.
const ATTEMPTS: u32 = 5;
/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);
/// Largest status that is read.
const MAX_STATUS: usize = 1 << 20;

/// One node. Keep it: it remembers collateral and quotes, so a second session is cheaper.
pub struct Node {
    base: reqwest::Url,
    http: reqwest::Client,
    channel: Client,
    verifier: Verifier,
}

impl Node {
    /// The node at `http://HOST:PORT`. Nothing is sent yet.
    pub fn at(url: &str) -> Result<Self, NodeError> {
        let base: reqwest::Url = url.parse().map_err(|_| NodeError::Address)?;
        let plain = base.scheme() == "http" && base.has_host() && base.query().is_none() && base.path() == "/";
        if !plain {
            return Err(NodeError::Address);
        }
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|_| NodeError::Address)?;
        let channel = Client::new().map_err(|_| NodeError::Address)?;
        Ok(Self { base, http, channel, verifier: Verifier::default() })
    }

    /// Its address.
    pub fn url(&self) -> &str {
        self.base.as_str()
    }

    /// What the host says of itself: a JSON object. Nothing in it is to be believed.
    pub async fn status(&self) -> Result<serde_json::Value, NodeError> {
        let response = self.send(self.http.get(self.path("status")?)).await?;
        let bytes = small(response, MAX_STATUS).await?;
        serde_json::from_slice(&bytes).map_err(|_| NodeError::Malformed)
    }

    /// Opens a session with the node's enclave, if `policy` accepts it. `identity` is who the enclave
    /// will know this side as. Nothing private is sent before the enclave is accepted.
    pub async fn connect(
        &self,
        policy: &Policy,
        identity: &Identity,
        freshness: Freshness,
    ) -> Result<Session, ConnectError> {
        let address = self.base.socket_addrs(|| None).map_err(|error| ConnectError::Unreachable(error.kind()))?;
        let stream = tokio::time::timeout(CONNECT, TcpStream::connect(address.as_slice()))
            .await
            .map_err(|_| ConnectError::Unreachable(io::ErrorKind::TimedOut))?
            .map_err(|error| ConnectError::Unreachable(error.kind()))?;
        Session::open(stream, &self.channel, &self.verifier, policy, identity, freshness).await
    }

    /// Brings a sealed file to the host. What is there already is not sent again: an upload that was
    /// cut goes on where it stopped, also in another process.
    pub async fn upload(&self, asset: &Digest, file: &Path, progress: Progress<'_>) -> Result<(), NodeError> {
        let mut source = File::open(file).map_err(FileError::from)?;
        let total = source.metadata().map_err(FileError::from)?.len();
        let mut piece = Vec::new();
        let mut failures = 0;
        loop {
            match self.upload_from(asset, &mut source, total, &mut piece, progress).await {
                // Each piece that arrives earns new patience.
                Err(Cut::Again { moved }) if failures < ATTEMPTS || moved => {
                    failures = if moved { 1 } else { failures.saturating_add(1) };
                    pause(failures).await;
                }
                Err(Cut::Again { .. }) => return Err(NodeError::Unreachable),
                Err(Cut::Final(error)) => return Err(error),
                Ok(()) => return Ok(()),
            }
        }
    }
}
