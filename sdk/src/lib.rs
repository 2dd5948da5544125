//! Client of Glacier nodes: connect, attest, run, check the proof.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

pub mod ceremony;
pub mod deployment;
mod error;
mod file;
pub mod infer;
pub mod input;
pub mod job;
pub mod keystore;
pub mod node;
pub mod output;
pub mod policy;
pub mod seal;
pub mod session;
mod transfer;
pub mod verify;

pub use ceremony::{Finished, Release};
pub use error::{Actor, Error, Place, Unproved};
pub use file::FileError;
pub use glacier_asset as asset;
pub use glacier_attest as attest;
pub use glacier_channel::Freshness;
pub use glacier_proof as proof;
pub use glacier_wire as wire;
pub use infer::{Deployment, Inference, Options, Step, infer, serve};
pub use job::{Draft, Job};
pub use keystore::{Key, KeyName, Keystore};
pub use node::Node;
pub use output::{Format, Results};
pub use policy::{Policy, parse_policy, read_policy};
pub use seal::{open_file, seal_file, seal_for};
pub use session::Session;
