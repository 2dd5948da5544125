//! The SDK for TEE applications: implement [`App`], hand it to [`main!`], and the program is
//! an enclave. Everything in and out is encrypted to an authenticated user, and an answer becomes a
//! Work Proof with one call.
//!
//! ```no_run
//! use glacier_app::{App, Context, Refusal, Request, Response, Shared};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize)]
//! struct Vote {
//!     yes: bool,
//! }
//! #[derive(Default, Clone, Serialize)]
//! struct Count {
//!     yes: u64,
//!     no: u64,
//! }
//!
//! #[derive(Default)]
//! struct Poll(Shared<Count>);
//!
//! impl App for Poll {
//!     const NAME: &'static str = "poll";
//!
//!     async fn handle(&self, _: &Context, request: Request) -> Result<Response, Refusal> {
//!         let mut count = self.0.lock();
//!         match request.route() {
//!             ("POST", "/votes") => request.answer(|vote: Vote| {
//!                 *(if vote.yes { &mut count.yes } else { &mut count.no }) += 1;
//!                 Ok(())
//!             }),
//!             ("POST", "/result") => Ok(request.answer(|()| Ok(count.clone()))?.proved(1)),
//!             _ => Err(request.no_such_path()),
//!         }
//!     }
//! }
//!
//! glacier_app::main!(Poll::default());
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

/// The `main` of an enclave program: runs the application, on the allocator that wipes what is freed.
#[macro_export]
macro_rules! main {
    ($app:expr) => {
        #[global_allocator]
        static ALLOCATOR: $crate::CountingAllocator = $crate::CountingAllocator;

        fn main() -> ::std::process::ExitCode {
            $crate::serve($app)
        }
    };
}

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
mod outbound;
mod prover;
mod publisher;
mod sealed;
mod serve;
mod session;
mod shared;
mod state;
mod stream;
mod tally;

pub use app::{App, Request, Response, Worked, refuse};
pub use asset::{AssetReader, ResultWriter, SealedResult};
pub use checkpoint::{Checkpoint, Checkpoints};
pub use context::Context;
pub use glacier_attest::Policy;
pub use glacier_platform::{CountingAllocator, Ending, Leash, Worker};
pub use glacier_proof::{AnchorAt, AttestedPeer, Batch, SignedBatch};
pub use glacier_wire::{
    Address, Signature,
    api::{Refusal, RefusalCode, StateHead},
    eip712::keccak,
};
pub use outbound::Outbound;
pub use prover::Statement;
pub use sealed::SealedState;
pub use serve::{serve, serve_with_worker};
pub use shared::Shared;
pub use state::SessionState;
pub use stream::{BodyStream, Finished, StreamWriter};
