//! The chain that a node settles on.
//!
//! It is **untrusted** as all of `net`: what a chain says about hardware is worth what its contracts
//! check, and what a service says about a chain is compared with what was signed.
//!
//! - [`embedded`]: a chain in this process, in one file; the default.
//! - [`Chain`]: that one, or any EVM by JSON-RPC, behind one provider.
//! - [`serve()`]: the embedded chain for wallets and other processes of this machine.
//! - [`Outbox`]: transactions that are submitted once, whatever stops in between.
//! - [`Deployment`]: the contracts of a network. [`Operator`]: what a node's owner does there.
//!   [`Keeper`]: does it, beside a node.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod authority;
mod chain;
pub mod contracts;
mod deployment;
mod earnings;
pub mod embedded;
mod events;
mod file;
mod http;
mod keeper;
mod key;
mod material;
mod operator;
pub mod outbox;
mod revert;
mod sender;
mod serve;

pub use chain::{Chain, ChainError, Head, Remote};
pub use deployment::{DeployError, Deployment, Plan, Realm};
pub use earnings::{ClaimTree, Earnings};
pub use embedded::{Embedded, EmbeddedError, Genesis};
pub use keeper::{Enclave, Keeper, KeeperError, Quoted, Running, Standing, Terms};
pub use key::{KeyError, OperatorKey};
pub use material::{Material, MaterialError};
pub use operator::{Chip, Life, Operator, OperatorError};
pub use outbox::{Intent, IntentId, Mined, Outbox, OutboxError, Outcome};
pub use sender::{SendError, Sender};
pub use serve::{ServeError, Service, serve};
