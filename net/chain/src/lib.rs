//! The chain that a node settles on.
//!
//! It is **untrusted** as all of `net`: what a chain says about hardware is worth what its contracts
//! check, and what a service says about a chain is compared with what was signed.
//!
//! - [`embedded`]: a chain in this process, in one file; the default.
//! - [`Chain`]: that one, or any EVM by JSON-RPC, behind one provider.
//! - [`serve()`]: the embedded chain for wallets and other processes of this machine.
//! - [`Outbox`]: transactions that are submitted once, whatever stops in between.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod chain;
pub mod embedded;
mod file;
mod http;
mod key;
pub mod outbox;
mod revert;
mod serve;

pub use chain::{Chain, ChainError, Head, Remote};
pub use embedded::{Embedded, EmbeddedError, Genesis};
pub use key::{KeyError, OperatorKey};
pub use outbox::{Intent, IntentId, Outbox, OutboxError, Outcome};
pub use serve::{ServeError, Service, serve};
