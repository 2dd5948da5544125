//! SIMULATED hardware. No chip protects anything here: this crate plays the vendor that certifies
//! chips and the chip that measures, launches and quotes enclave programs, so that the whole path
//! runs on any Linux machine and the verifier meets evidence of the true format.
//!
//! What it makes is kept apart from real evidence by the trust anchor alone: a root certificate that
//! is made on each machine, named *SIMULATED*, and refused unless a policy names its fingerprint.
//!
//! The program `glacier-chip` is how a host uses it. Tests that need evidence, good or defective,
//! start from [`Vendor::generate`], [`Vendor::chip`] and [`Vendor::collateral`].

#![cfg(target_os = "linux")]

mod chip;
mod collateral;
mod extension;
mod home;
mod image;
mod key;
mod measure;
mod port;
mod profile;
mod vendor;

pub use chip::{Attributes, Body, Chip, Hardware, Seed};
pub use collateral::{Collateral, Recipe, Serial};
pub use home::{Home, HomeError};
pub use image::Image;
pub use measure::{measure, measure_file};
pub use port::{Port, Started};
pub use vendor::{Vendor, VendorError};
