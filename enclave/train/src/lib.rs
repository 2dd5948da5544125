//! Trains ONNX graphs, the same that inference takes.
//!
//! No IO and no clock: bytes of a model and of data go in, refined weights come out, and the same
//! model, data and plan give the same bits again on one kind of processor. So the owner of the data can
//! repeat what the enclave did.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

pub mod build;
pub mod client;
pub mod data;
mod error;
pub mod kernel;
pub mod lora;
pub mod loss;
pub mod metric;
mod network;
mod op;
pub mod optimiser;
pub mod privacy;
pub mod protocol;
pub mod run;
pub mod scale;
pub mod schedule;
pub mod seed;
pub mod source;
mod tensor;
pub mod trainer;
mod weights;
pub mod worker;

pub use error::{Fault, TrainError};
pub use network::{Mode, Network, Settings};
pub use op::DIFFERENTIABLE;
pub use tensor::{IntTensor, Tensor, Value, volume};
pub use weights::{Span, SpanKind, Weights};
