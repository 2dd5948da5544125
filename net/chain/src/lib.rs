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
//! - [`Observer`]: what anybody can read there. [`NodeLog`]: what a node publishes, to be held against it.
//! - [`Watchman`]: looks at all of it, again and again, and acts on what it finds.

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
mod funds;
mod http;
mod keeper;
mod key;
mod live;
mod material;
mod node_log;
mod observer;
mod operator;
pub mod outbox;
mod release;
mod revert;
mod sender;
mod serve;
mod watch;

/// What the calls of this crate give. An `async fn` is compiled anew in every program that waits for it, with all of the chain's
/// provider that is below; this is compiled once, here.
pub type Boxed<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

pub use chain::{Chain, ChainError, Head, Remote};
pub use deployment::{DeployError, Deployment, Plan, Realm};
pub use earnings::{ClaimTree, Earnings};
pub use embedded::{Embedded, EmbeddedError, Genesis};
pub use funds::{Bond, DepositTerms, Held};
pub use keeper::{Enclave, Keeper, KeeperError, Quoted, Running, Standing, Terms};
pub use key::{KeyError, OperatorKey};
pub use live::{Live, LiveCheck, LiveCheckId, LiveFault, Question};
pub use material::{Material, MaterialError};
pub use node_log::{Inclusion, NodeHead, NodeLog, NodeLogError};
pub use observer::{Entry, KeyStatus, Observer, ObserverError, SettledHead, Shown};
pub use operator::{Chip, Life, Operator, OperatorError};
pub use outbox::{Intent, IntentId, Mined, Outbox, OutboxError, Outcome};
pub use sender::{SendError, Sender};
pub use serve::{ServeError, Service, serve};
pub use watch::{Act, Contradiction, Finding, Histories, MemoryError, Round, Unknown, WatchError, Watchman};
