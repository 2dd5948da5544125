//! NVIDIA GPUs and switches.

mod c14n;
mod chain;
mod dsig;
mod fabric;
mod fault;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
pub(crate) mod forge;
mod gpu;
mod look;
mod manifests;
mod measurements;
mod ocsp;
mod opaque;
mod report;
mod revocation;
mod rim;
mod spdm;
mod swid;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod wrong;
mod xml;

pub use fabric::{FabricFault, fabric};
pub use fault::GpuFault;
pub use gpu::{Architecture, Gpu, GpuMode};
pub use ocsp::{OcspFault, check_ocsp};
pub use rim::{CheckedRim, Rim, RimFault, RimKind};

pub(crate) use chain::DeviceChain;
pub(crate) use look::look;
pub(crate) use spdm::appraise;
