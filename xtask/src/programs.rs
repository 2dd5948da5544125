//! The three programs: built together, so that the demo finds all of them side by side.

use crate::cargo;
use std::{os::unix::process::CommandExt, process::Command};

const PACKAGES: [&str; 6] = ["-p", "glacier-cli", "-p", "glacier-simulator", "-p", "glacier-enclave"];

/// Builds `glacier`, `glacier-chip` and `glacier-enclave` into `target/release`.
pub(crate) fn build() -> Result<(), String> {
    cargo::run(&[&["build", "--release", "--bins"], PACKAGES.as_slice()].concat())
}

/// Builds the programs and becomes `glacier demo ARGS`. Returns only when that cannot be started.
pub(crate) fn demo(args: &[&str]) -> Result<(), String> {
    build()?;
    let glacier = cargo::metadata()?.target_directory.join("release/glacier");
    let error = Command::new(&glacier).arg("demo").args(args).exec();
    Err(format!("{} did not start: {error}", glacier.display()))
}

/// Runs every test: unit, integration and documentation tests of all packages. Tests that start
/// processes find the programs beside them, so these are built first.
pub(crate) fn test(args: &[&str]) -> Result<(), String> {
    build()?;
    cargo::run(&[&["test", "--release", "--workspace"], args].concat())
}
