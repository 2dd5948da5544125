//! `glacier-enclave`: the program that is measured, attested and trusted with other people's models
//! and data.
//!
//! The path of a job, in the order of these files:
//!
//! 1. [`service`]: an authenticated party's request arrives.
//! 2. [`ceremony`]: the party joins a job with its signed manifest, its grant and the key of its asset;
//!    when every party has, the job starts.
//! 3. [`job`]: load, run, return, wipe, prove. A batch job from start to end.
//! 4. [`training`]: the same for a model that is refined, which may outlive workers and the enclave itself.
//!    What its owner is told of it is its [`course`].
//! 5. [`deployment`]: a model that stays loaded and answers many data providers, over the
//!    Open Inference Protocol ([`oip`]).
//! 6. [`app`]: a sandboxed app, a WebAssembly component of one party, over a data set of another or for callers.
//!
//! Sessions, evidence and the chain of proofs belong to the frame, `glacier-app`; what models do
//! belongs to `glacier-engine` and `glacier-train`, and what apps do to `glacier-wasm`, which run in a [`worker`] process for each job.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod app;
mod ceremony;
mod course;
mod deployment;
mod federation;
mod job;
mod oip;
mod service;
mod training;
mod worker;

use glacier_app::CountingAllocator;
use std::process::ExitCode;

/// Counts what a job's worker holds, and ends that worker where its manifest's limit is passed.
#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn main() -> ExitCode {
    glacier_app::serve_with_worker(service::AiService::default(), worker::work)
}
