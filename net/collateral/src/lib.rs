//! Vendors' endorsements: fetched, verified before they are cached, never served expired.
//!
//! To judge evidence, a verifier needs what the vendor says about the hardware: is its firmware
//! current, is its key revoked, which measurements are right. This crate brings those statements
//! from the vendors' services and keeps them. It is **untrusted**: every answer passes a verifier
//! before it is cached, and again, at the time of the call, before it is given out. So network,
//! proxy, PCCS and cache folder can keep an answer from you, and cannot make you take a false one.
//! Judging evidence stays in [`glacier_attest`], which does no IO.
//!
//! ```no_run
//! use std::sync::Arc;
//! use glacier_attest::{Anchors, Collateral};
//! use glacier_collateral::{Client, Freshness, IntelCollateralRequest, IntelVerifier, PckCa, Tee};
//!
//! # async fn example(fmspc: [u8; 6]) -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder("/var/cache/glacier/collateral").build()?;
//! let verifier = Arc::new(IntelVerifier::new(Anchors::vendor()));
//! let request = IntelCollateralRequest::new(Tee::Sgx, fmspc, PckCa::Platform);
//! let answer = client.get(&request, &verifier).await?;
//! if let (Freshness::Stale, Some(fault)) = (answer.freshness, &answer.fault) {
//!     eprintln!("good until {}, but not renewed: {fault}", answer.validity.until.0);
//! }
//! let collateral = Collateral::parse(&answer.bytes)?;
//! # Ok(())
//! # }
//! ```
//!
//! # What can be asked
//!
//! | request | service | answer |
//! |---|---|---|
//! | [`IntelCollateralRequest`] | Intel PCS version 4, or a PCCS | one JSON object in the names of `QuoteCollateralV3`: TCB info and QE identity as the text that was signed, issuer chains, two revocation lists |
//! | [`RimId`] | NVIDIA RIM service | the XML of the reference manifest |
//! | [`OcspRequest`] | NVIDIA OCSP responder | `OCSPResponse` in DER |
//! | [`VcekRequest`] | AMD KDS | the chip's certificate in DER |
//! | [`AmdChainRequest`] | AMD KDS | PEM: signing key's certificate, root |
//! | [`AmdCrlRequest`] | AMD KDS | revocation list in DER |
//!
//! Each is asked with [`Client::get`] and a [`Verify`] for its kind: [`IntelVerifier`],
//! [`NvidiaVerifier`], [`AmdVerifier`], or any function that judges the bytes and says until when they
//! hold. [`AmdChainRequest`] has none here: the verifier of evidence has AMD's authorities built in, and
//! others are judged together with the certificate below them.
//!
//! # What is promised
//!
//! - **Verified, twice.** Nothing is cached that the verifier refuses, and nothing leaves the cache
//!   that it refuses now. A cut, edited or swapped file counts as absent and is mended.
//! - **Current.** An answer is served within its validity and never after. Past half of it, it is
//!   [`Freshness::Stale`]: served at once, and renewed behind the caller's back.
//! - **No way back.** A genuine answer of an older edition (a lower TCB evaluation number, an earlier
//!   revocation list) does not replace one that is still valid: [`FetchError::RolledBack`].
//! - **Honest about faults.** If renewal fails, the answer that is still valid comes with the fault.
//! - **Bounded.** Each kind of answer has a largest size, counted while it comes in; each request has
//!   limits of time; the folder has a largest number of files.
//! - **Polite.** Many callers make one fetch. Only what may pass is tried again, after growing pauses
//!   with jitter; `Retry-After` is kept; a question that failed rests; AMD is asked one thing at a time.
//! - **Shared.** Processes may use one folder: files are replaced whole, under a lock.
//!
//! # What is not
//!
//! Whoever controls the network sees which processor models, chips and drivers you ask about, unless
//! TLS hides it. They can also hold a newer edition back for as long as the older one is valid: who
//! minds asks the policy for a `max_collateral_age` or a minimum evaluation number. HTTP proxies and
//! redirects are not followed; where the vendors are out of reach, run a PCCS.
//!
//! The services' forms were tested against recorded statements of the vendors, served on this machine;
//! not against the services themselves.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod amd;
mod builder;
mod cache;
mod client;
mod clock;
mod error;
mod flight;
mod http;
mod intel;
mod nvidia;
mod ocsp;
mod request;
mod tls;
mod verify;

pub use amd::{AmdChainRequest, AmdCrlRequest, AmdProduct, AmdSigner, AmdVerifier, VcekRequest};
pub use builder::{BuildError, Builder, Retry, Service, Timeouts};
pub use client::{Answer, Client, Freshness};
pub use clock::Clock;
pub use error::{Fault, FetchError, Malformed, Unreachable};
pub use intel::{IntelCollateralRequest, PckCa, Tee, Update};
pub use nvidia::RimId;
pub use ocsp::OcspRequest;
pub use request::{Request, RequestError};
pub use verify::{IntelVerifier, NvidiaVerifier, Validity, Verify};
