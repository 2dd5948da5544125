//! The three programs: built together, so that the demo finds all of them side by side.

use crate::cargo;
use std::{os::unix::process::CommandExt, process::Command};

/// Builds `glacier`, `glacier-chip` and `glacier-enclave` into `target/release`.
///
/// The enclave is built by a command of its own: cargo gives crates that are built together the sum
/// of the features they ask of a dependency, and so the measurement would depend on the company.
///
/// With `GLACIER_PROGRAMS=as-built` in the environment it takes those that [`test`] has built: a run of all checks has no
/// time to compile everything three times over.
pub(crate) fn build() -> Result<(), String> {
    if std::env::var_os("GLACIER_PROGRAMS").is_some_and(|wanted| wanted == "as-built") && are_there()? {
        return Ok(());
    }
    cargo::run(&["build", "--release", "--bins", "-p", "glacier-cli", "-p", "glacier-simulator"])?;
    enclave()
}

fn enclave() -> Result<(), String> {
    cargo::run(&["build", "--release", "--bins", "-p", "glacier-enclave"])
}

/// Builds the programs and becomes `glacier demo ARGS`. Returns only when that cannot be started.
pub(crate) fn demo(args: &[&str]) -> Result<(), String> {
    build()?;
    let glacier = cargo::metadata()?.target_directory.join("release/glacier");
    let error = Command::new(&glacier).arg("demo").args(args).exec();
    Err(format!("{} did not start: {error}", glacier.display()))
}

/// Runs every test: unit, integration and documentation tests of all packages. Tests that start
/// processes find the programs beside them, so these are built first, together with the tests: one set of compiled
/// dependencies serves both.
pub(crate) fn test(args: &[&str]) -> Result<(), String> {
    cargo::run(&["build", "--release", "--workspace", "--bins", "--tests"])?;
    enclave()?;
    cargo::run(&[&["test", "--release", "--workspace"], args].concat())
}

fn are_there() -> Result<bool, String> {
    let folder = cargo::metadata()?.target_directory.join("release");
    Ok(["glacier", "glacier-chip", "glacier-enclave"].iter().all(|program| folder.join(program).is_file()))
}
