//! One way to any chain: the embedded one, or whatever answers JSON-RPC under a URL.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use alloy::{
    eips::BlockNumberOrTag,
    network::EthereumWallet,
    primitives::B256,
    providers::{DynProvider, Provider as _, ProviderBuilder},
    rpc::client::{ClientBuilder, RpcClient},
    transports::TransportError,
};
use url::Url;

use crate::{
    Boxed,
    embedded::{Embedded, EmbeddedError, Transport},
    http::Http,
};

/// Where a chain is asked that other machines keep.
#[derive(Clone)]
#[non_exhaustive]
pub struct Remote {
    /// `http` or `https`. May hold an access key; no message names it.
    pub url: Url,
    /// What `eth_chainId` must answer, and all signatures name.
    pub chain_id: u64,
    /// How many blocks, its own included, a transaction must be deep to be final: 12.
    pub confirmations: u64,
    /// For one attempt of one request: 10 s.
    pub timeout: Duration,
    /// Attempts of a request, where the fault may pass: 4.
    pub attempts: u32,
    /// Between two looks at the head, where a provider waits for a receipt: 2 s.
    pub poll: Duration,
}

impl Remote {
    /// With the defaults that the fields name.
    pub fn new(url: Url, chain_id: u64) -> Self {
        let (timeout, poll) = (Duration::from_secs(10), Duration::from_secs(2));
        Self { url, chain_id, confirmations: 12, timeout, attempts: 4, poll }
    }
}

/// A chain. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Chain {
    provider: DynProvider,
    client: RpcClient,
    id: u64,
    confirmations: u64,
    embedded: Option<Embedded>,
    highest: Arc<AtomicU64>,
}

/// The last block of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: B256,
    /// Its time in seconds since 1970.
    pub timestamp: u64,
    /// Gas that its transactions used.
    pub gas_used: u64,
}

impl Chain {
    /// A chain in this process. What it answers is final.
    pub fn embedded(chain: Embedded) -> Self {
        let client = ClientBuilder::default().transport(Transport::new(chain.clone()), true);
        client.set_poll_interval(Duration::from_millis(10));
        Self::over(client, chain.chain_id(), 1, Some(chain))
    }

    /// Connects, and asks whether it is the chain that was named.
    ///
    /// # Errors
    ///
    /// Nobody answers, or another chain does.
    pub fn connect<'a>(remote: &'a Remote) -> Boxed<'a, Result<Self, ChainError>> {
        Box::pin(async move {
            if !matches!(remote.url.scheme(), "http" | "https") {
                return Err(ChainError::Scheme);
            }
            let client = ClientBuilder::default().transport(Http::new(remote)?, false);
            client.set_poll_interval(remote.poll);
            let chain = Self::over(client, remote.chain_id, remote.confirmations.max(1), None);
            chain.check_id().await?;
            Ok(chain)
        })
    }

    /// Which chain answers there.
    ///
    /// # Errors
    ///
    /// Nobody answers.
    pub fn ask_id<'a>(remote: &'a Remote) -> Boxed<'a, Result<u64, ChainError>> {
        Box::pin(async move {
            let client = ClientBuilder::default().transport(Http::new(remote)?, false);
            Ok(Self::over(client, remote.chain_id, 1, None).provider.get_chain_id().await?)
        })
    }

    fn over(client: RpcClient, id: u64, confirmations: u64, embedded: Option<Embedded>) -> Self {
        let provider = ProviderBuilder::new().connect_client(client.clone()).erased();
        Self { provider, client, id, confirmations, embedded, highest: Arc::default() }
    }

    /// Reads; fills nonces and fees, and signs nothing.
    pub fn provider(&self) -> &DynProvider {
        &self.provider
    }

    /// Signs what it is asked to send, by the wallet's keys: for deploying and tests.
    pub fn signing(&self, wallet: EthereumWallet) -> DynProvider {
        // Nonces are asked for each time: one that was remembered leaves a gap where an estimate fails.
        ProviderBuilder::default()
            .with_gas_estimation()
            .with_simple_nonce_management()
            .fetch_chain_id()
            .wallet(wallet)
            .connect_client(self.client.clone())
            .erased()
    }

    /// The EIP-155 id that was checked.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// How many blocks, its own included, a transaction must be deep to be final.
    pub fn confirmations(&self) -> u64 {
        self.confirmations
    }

    /// The embedded chain, if this is it.
    pub fn as_embedded(&self) -> Option<&Embedded> {
        self.embedded.as_ref()
    }

    /// Between two looks at what changes there.
    pub(crate) fn poll(&self) -> Duration {
        self.client.poll_interval()
    }

    /// Asks again which chain this is.
    ///
    /// # Errors
    ///
    /// No answer, or the name of another chain.
    pub async fn check_id(&self) -> Result<(), ChainError> {
        let found = self.provider.get_chain_id().await?;
        if found != self.id {
            return Err(ChainError::ChainId { expected: self.id, found });
        }
        Ok(())
    }

    /// The last block.
    ///
    /// # Errors
    ///
    /// No answer, or one that lies further back than a reorganisation may: a service that was reset, or lies.
    pub fn head(&self) -> Boxed<'_, Result<Head, ChainError>> {
        Box::pin(async move {
            let block = self.provider.get_block_by_number(BlockNumberOrTag::Latest).await?;
            let header = block.ok_or(ChainError::NoHead)?.header;
            let highest = self.highest.fetch_max(header.number, Ordering::Relaxed);
            if header.number.saturating_add(self.confirmations) <= highest {
                return Err(ChainError::WentBack { seen: highest, now: header.number });
            }
            Ok(Head {
                number: header.number,
                hash: header.hash,
                timestamp: header.timestamp,
                gas_used: header.gas_used,
            })
        })
    }
}

/// Why a chain cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// Not `http` or `https`.
    #[error("a chain's URL begins with http or https")]
    Scheme,
    /// TLS could not be set up.
    #[error("TLS could not be set up")]
    Tls,
    /// Another chain answers.
    #[error("this is chain {found}, not {expected}")]
    ChainId {
        /// The id that was named.
        expected: u64,
        /// The id that was answered.
        found: u64,
    },
    /// There is no last block.
    #[error("the chain has no last block")]
    NoHead,
    /// The last block is further back than a reorganisation may bring it.
    #[error("the chain went back from block {seen} to {now}")]
    WentBack {
        /// The highest that was seen.
        seen: u64,
        /// The last block now.
        now: u64,
    },
    /// No answer, or an error.
    #[error("the chain does not answer: {0}")]
    Rpc(#[from] TransportError),
    /// The embedded chain failed.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
}
