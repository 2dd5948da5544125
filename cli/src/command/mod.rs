//! One file for each group of commands: what was typed, what it means, what it does.

pub(crate) mod app;
pub(crate) mod chain;
pub(crate) mod completions;
pub(crate) mod dashboard;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod federation;
pub(crate) mod infer;
pub(crate) mod job;
pub(crate) mod key;
pub(crate) mod measure;
pub(crate) mod node;
pub(crate) mod proxy;
pub(crate) mod seal;
pub(crate) mod serve;
pub(crate) mod train;
pub(crate) mod verifier;
pub(crate) mod verify;
