//! A local endpoint in front of a Glacier node, for clients that know nothing of Glacier.
//!
//! It runs on the user's own machine. It attests the node's enclave under the user's policy, speaks to it
//! through the attested channel, and checks the Work Proof of each answer before it hands the answer out.
//! To its own callers it speaks the Open Inference Protocol (REST and gRPC) and OpenAI's embeddings.
//!
//! What fails is closed: while no enclave is accepted, every request gets an error that says why, and
//! nothing of it has left.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod attestation;
mod body;
mod config;
mod embedding;
mod fault;
mod grpc;
mod guard;
mod models;
mod oip;
mod openai;
mod pool;
mod proofs;
mod proxy;
mod server;
mod tensors;

/// Messages and service of the gRPC interface, as `proto/inference.proto` says; written by `tests/generated.rs`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#[rustfmt::skip]
mod inference;

pub use config::{Config, ModelName, NotAModelName, Pooling, Text};
pub use embedding::TextError;
pub use fault::Fault;
pub use proofs::Kept;
pub use server::{Running, StartError, start};
