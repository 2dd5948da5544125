//! Inference engines behind one trait; models and data are bounded and validated before an engine sees them.
//!
//! The enclave talks to a [`Client`]; [`worker::work`] answers at the other end of a socket pair,
//! inside a process of its own that may die of what it is fed. In the worker a model's bytes are
//! first read by [`onnx`] (our own bounded reader), then metered by [`meter`], and only then handed
//! to an [`Engine`]; data bytes become windows of rows in [`ingest`].

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod client;
mod data;
mod engine;
pub mod frame;
mod info;
pub mod ingest;
pub mod link;
pub mod meter;
pub mod onnx;
#[cfg(feature = "rten")]
mod rten;
pub mod worker;

pub use client::{Client, EngineError, Inference, RunReport};
pub use data::{CellFault, DataError};
pub use engine::{Engine, Model, RunError, Session};
pub use info::{Dim, Limits, ModelInfo, Port};
#[cfg(feature = "rten")]
pub use rten::Rten;
