//! Attested TLS 1.3: a party knows which code on which chip it talks to before it says anything.
//!
//! TLS alone proves only that *some* key holder is at the other end. Evidence in a certificate can be
//! relayed by whoever terminates TLS with a key of their own, so what counts here happens inside the
//! finished TLS session:
//!
//! | party | | enclave |
//! |---|---|---|
//! | nonce | → | |
//! | | ← | evidence, and the channel key's signature over the nonce and this session's exporter |
//! | *appraises the evidence* | | |
//! | identity key's signature over this session's exporter | → | *knows who calls* |
//! | first request | → | |
//!
//! The quote commits to the channel key, so it may be cached for as long as that key lives; only the
//! signature is made anew. Each step is a type with the methods that are legal there: [`Client::offer`]
//! yields [`Offered`], and only [`Offered::accept`], which insists on a [`glacier_attest::Accepted`]
//! for exactly this evidence, yields a [`ClientSession`] that can carry data.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod binding;
mod certificate;
mod client;
mod error;
mod frame;
mod key;
mod message;
mod server;
mod tls;

#[cfg(test)]
mod hostile;

pub use client::{Client, ClientSession, Offered};
pub use error::{CertificateFault, ChannelError, NoQuote};
pub use key::ChannelKey;
pub use message::Freshness;
pub use server::{Attester, Server, ServerSession, ServerStream};

/// The only ALPN protocol of the channel.
pub const ALPN: &[u8] = b"glacier/1";

/// How long a handshake may take in all, unless the caller says otherwise.
pub const DEADLINE: std::time::Duration = std::time::Duration::from_secs(10);
