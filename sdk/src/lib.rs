//! Client of Glacier nodes.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod file;
pub mod input;
pub mod job;
pub mod keystore;
pub mod output;
pub mod policy;
pub mod seal;

pub use file::FileError;
pub use glacier_wire as wire;
