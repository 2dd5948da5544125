//! Runs WebAssembly components that nobody here trusts: the code of one party on the data of another.
//!
//! A [`Component`] is compiled from bytes to the instructions of an interpreter, so that no memory need ever be
//! executable, and each [`Component::call`] makes a fresh instance of it, which is gone when the call ends. What it
//! may use is counted: fuel, which is the same in every run on every machine, and memory. The interface is the world
//! in `wit/app.wit`. It has no imports: a component that wants any is refused before it starts.
//!
//! This crate has no IO. The process around it is expected to be one that may die.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod budget;
mod component;
mod engine;

pub use component::{Answer, Call, Called, Component, Limits, WasmError};
