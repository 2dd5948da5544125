//! What a confidential virtual machine measures to, computed from its files before it is started.
//!
//! | platform | function | answers |
//! |---|---|---|
//! | AMD SEV-SNP | [`launch_digest`] | the `measurement` of the report: firmware, kernel hashes, processors |
//! | Intel TDX | [`mrtd`] | MRTD: the firmware |
//! | Intel TDX | [`DirectBoot`] | RTMR1 and RTMR2 of a kernel that QEMU hands to the firmware |
//! | Intel TDX | [`EventLog`] | RTMR0 to RTMR3 as a running machine's own log explains them |
//!
//! RTMR0 holds the memory layout and the ACPI tables that the virtual machine monitor made: it
//! depends on firmware, monitor and memory size, and is taken from a log or given by hand.
//!
//! No IO, no clock: files come in as slices. They are foreign bytes all the same.

#![no_std]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod authenticode;
mod boot;
mod error;
mod event_log;
mod firmware;
mod kernel_hashes;
mod launch;
mod reader;
mod register;
mod save_area;
mod tdvf;
mod vcpu;

#[cfg(test)]
#[path = "../tests/support/mod.rs"]
mod support;

pub use authenticode::authenticode;
pub use boot::{Boot, DirectBoot};
pub use error::{FirmwareFault, KernelFault, LogFault, MeasureError};
pub use event_log::{Event, EventKind, EventLog, Replay};
pub use launch::{Guest, launch_digest};
pub use register::{ParseRegisterError, Register};
pub use tdvf::{PageOrder, mrtd};
pub use vcpu::{ParseVcpuError, Vcpu};
