//! Whether GPUs and switches are one fabric, by what each says of the other ends of its links.

use super::gpu::{Architecture, Gpu};

/// Why devices are not one fabric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FabricFault {
    /// No GPU, or no switch.
    #[error("a fabric has GPUs and switches")]
    Incomplete,
    /// The same device twice.
    #[error("device {0} is there twice")]
    Twice(usize),
    /// A GPU that lists other switches than those attested, or a switch that lists other GPUs.
    #[error("device {0} is linked to other devices than those attested")]
    Linked(usize),
}

/// Whether every GPU is linked to exactly the switches among `devices`, and every switch to exactly
/// the GPUs: then none of them is linked to a device that was not attested. Faults name a device by
/// its place in the list.
pub fn fabric(devices: &[Gpu]) -> Result<(), FabricFault> {
    let side = |switches: bool| {
        let of_side = devices.iter().filter(move |device| (device.architecture == Architecture::Switch) == switches);
        let mut pdis: alloc::vec::Vec<&[u8]> = of_side.map(pdi).collect();
        pdis.sort_unstable();
        pdis
    };
    let (gpus, switches) = (side(false), side(true));
    if gpus.is_empty() || switches.is_empty() {
        return Err(FabricFault::Incomplete);
    }
    for (place, device) in devices.iter().enumerate() {
        let is_switch = device.architecture == Architecture::Switch;
        let (own, others) = if is_switch { (&switches, &gpus) } else { (&gpus, &switches) };
        if own.iter().filter(|other| **other == pdi(device)).count() > 1 {
            return Err(FabricFault::Twice(place));
        }
        // Sorted and each once, on both sides.
        if !device.linked.iter().map(<[u8; 8]>::as_slice).eq(others.iter().copied()) {
            return Err(FabricFault::Linked(place));
        }
    }
    Ok(())
}

/// The device's id without its family byte.
fn pdi(device: &Gpu) -> &[u8] {
    device.device_id.get(1..).unwrap_or_default()
}
