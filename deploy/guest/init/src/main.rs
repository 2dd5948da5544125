//! The first process of a measured TDX or SEV-SNP guest, and but for the enclave the only one.
//!
//! It mounts what the enclave's platform code reads, loads the modules that the image lists and no
//! other ever, starts `/bin/glacier-enclave` with its two ports, copies bytes between these and the
//! host's vsock, and powers the machine off when the enclave ends. There is no shell, no network, no
//! disk, no configuration: it takes neither arguments nor environment from whoever boots the machine.
//!
//! What it copies is ciphertext of the attested channel, and calls that the enclave makes to its host.
//! Not run on TDX or SEV-SNP hardware.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
#![cfg(target_os = "linux")]

mod enclave;
mod machine;
mod relay;

use machine::BootError;
use std::io::Write;

fn main() {
    if std::process::id() != 1 {
        say("is the first process of a guest, and is no program to run");
        std::process::exit(2);
    }
    match run() {
        Ok(status) => say(format_args!("the enclave ended: {status}")),
        Err(error) => say(format_args!("cannot go on: {error}")),
    }
    machine::power_off();
}

fn run() -> Result<std::process::ExitStatus, BootError> {
    machine::mount()?;
    for refused in machine::load_modules()? {
        say(format_args!("not loaded: {refused}"));
    }
    machine::mount_configfs()?;
    enclave::run()
}

/// To the console, which the host reads: stations of the boot, and nothing from inside the enclave.
fn say(what: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "glacier-guest-init: {what}");
}
