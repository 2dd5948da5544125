//! The SDK for TEE applications: implement [`App`], call [`serve`] from `main`, and the program is
//! an enclave. Everything in and out is encrypted to an authenticated user, and an answer becomes a
//! Work Proof with one call.
//!
//! ```no_run
//! use glacier_app::{App, Context, Refusal, Request, Response, serve};
//!
//! struct Echo;
//!
//! impl App for Echo {
//!     const NAME: &'static str = "echo";
//!
//!     async fn handle(&self, _: &Context, request: Request) -> Result<Response, Refusal> {
//!         Ok(Response::bytes(request.body().to_vec()).proved(1))
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     serve(Echo)
//! }
//! ```
//!
//! The frame around the application lives here: it enters the platform's sandbox, makes the keys of
//! this epoch and has them quoted, accepts attested sessions and keeps the log of Work Proofs.
//! The AI service of the node (`enclave/runtime`) is an `App` like any other.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod app;
mod asset;
mod checkpoint;
mod context;
mod epoch;
mod host;
#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
mod hostile_host;
mod mailbox;
mod orders;
mod prover;
mod publisher;
mod serve;
mod session;
mod tally;

pub use app::{App, Request, Response, Worked};
pub use asset::{AssetReader, ResultWriter, SealedResult};
pub use checkpoint::{Checkpoint, Checkpoints};
pub use context::Context;
pub use glacier_platform::{CountingAllocator, Ending, Leash, Worker};
pub use glacier_wire::{
    Address,
    api::{Refusal, RefusalCode},
};
pub use prover::Statement;
pub use serve::{serve, serve_with_worker};
