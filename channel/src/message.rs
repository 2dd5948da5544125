//! What the two sides say to each other inside TLS before the first request.

use glacier_wire::{Address, Evidence, Nonce, Signature};

/// Which quote a session is to be bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum Freshness {
    /// The quote of the enclave's key epoch. This session's signature is fresh all the same.
    #[n(0)]
    Cached,
    /// A new quote over this session's nonce. Hardware takes its time for it.
    #[n(1)]
    Fresh,
}

/// Party to enclave, first frame.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub(crate) struct Hello {
    #[n(0)]
    pub(crate) nonce: Nonce,
    #[n(1)]
    pub(crate) freshness: Freshness,
    /// SHA-256 of collateral that need not be sent again.
    #[n(2)]
    pub(crate) held: Vec<Nonce>,
}

impl Hello {
    pub(crate) const MAX_HELD: usize = 8;
    /// The nonce, and at most [`Self::MAX_HELD`] digests, each with two bytes in front.
    pub(crate) const MAX_BYTES: usize = 512;
}

/// Enclave to party, second frame.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub(crate) enum Offer {
    #[n(0)]
    Evidence {
        #[n(0)]
        evidence: Evidence,
        /// SHA-256 of the collateral, when it was left out because the party holds it.
        #[n(1)]
        held: Option<Nonce>,
        /// ASN.1 ECDSA signature by the channel key: see [`crate::binding::session`].
        #[n(2)]
        #[cbor(with = "minicbor::bytes")]
        signature: Vec<u8>,
    },
    #[n(1)]
    NoQuote,
}

impl Offer {
    pub(crate) const MAX_BYTES: usize = Evidence::MAX_BYTES + 256;
}

/// Party to enclave, third frame.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub(crate) struct Proof {
    #[n(0)]
    pub(crate) address: Address,
    /// Over [`crate::binding::party`].
    #[n(1)]
    pub(crate) signature: Signature,
}

impl Proof {
    pub(crate) const MAX_BYTES: usize = 128;
}

/// Enclave to party, fourth frame. Always of one length, so that it can be read while data flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub(crate) enum Welcome {
    #[n(0)]
    Known,
    #[n(1)]
    Refused,
}
