//! Which confidential hardware this machine offers, as its device files tell.
//!
//! Two readers need the same answer: the enclave, which must pick the code path that talks to its
//! hardware, and `glacier node doctor`, which explains to an operator what is missing. So the probing
//! stands here, once, with no `unsafe`, no key and no network; the enclave's own IO (`glacier-platform`)
//! and the doctor are built on it.
//!
//! Nothing here proves anything. Whoever controls the kernel controls these files; the proof is the
//! verified quote. Written for the real interfaces and tested on faked device trees; not run on hardware.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
#![cfg(target_os = "linux")]

mod detect;
mod files;
mod kernel;
pub mod paths;

pub use detect::{Absent, Detected, Hardware, Probe, Provider, detect};
pub use files::{Access, File, FileError, Files, MAX_NAMES, Root, read, read_text, write_whole};
pub use kernel::Kernel;
/// The operating system's error numbers.
pub use rustix::io::Errno;
