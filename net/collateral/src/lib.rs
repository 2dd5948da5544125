//! Vendors' endorsements: fetched, verified before they are cached, never served stale as good.

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

pub use amd::{AmdChainRequest, AmdCrlRequest, AmdProduct, AmdSigner, VcekRequest};
pub use builder::{BuildError, Builder, Retry, Service, Timeouts};
pub use client::{Answer, Client, Freshness};
pub use clock::Clock;
pub use error::{Fault, FetchError, Malformed, Unreachable};
pub use intel::{IntelCollateralRequest, PckCa, Tee, Update};
pub use nvidia::RimId;
pub use ocsp::OcspRequest;
pub use request::{Request, RequestError};
pub use verify::{IntelVerifier, Validity, Verify};
