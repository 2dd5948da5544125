//! What a device says of itself, once believed.

use super::{chain::Device, opaque::Fields, report::Report};
use alloc::{string::String, vec::Vec};

/// A GPU or a switch whose evidence is genuine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gpu {
    /// Family of the chip.
    pub architecture: Architecture,
    /// Driver that runs it; `None` on a switch.
    pub driver: Option<String>,
    /// VBIOS, or a switch's firmware.
    pub vbios: String,
    /// Serial number of the leaf certificate, in decimal, as NVIDIA's tools show it. Changes with firmware.
    pub ueid: String,
    /// Serial number of the boot-ROM certificate: family byte, then the fused PDI.
    pub device_id: Vec<u8>,
    /// How it is attached; `None` where old firmware does not say.
    pub mode: Option<GpuMode>,
    /// The nonce it answered.
    pub nonce: [u8; 32],
    /// Whether OCSP answers covered its chain and its manifests' chains.
    pub revocation_checked: bool,
    /// PDIs at the other ends of its links, in the byte order of those devices' own; empty where not told.
    pub linked: Vec<[u8; 8]>,
}

impl Gpu {
    /// As report and certificates say it, nobody asked about revocation.
    pub(crate) fn unchecked(report: &Report<'_>, device: &Device, fields: &Fields) -> Self {
        Self {
            architecture: device.architecture,
            driver: fields.driver.clone(),
            vbios: fields.vbios.clone(),
            ueid: device.ueid(),
            device_id: device.id.to_vec(),
            mode: fields.mode,
            nonce: *report.nonce,
            revocation_checked: false,
            linked: fields.linked.clone(),
        }
    }
}

/// Family of a chip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Architecture {
    /// GH100: H100, H200.
    Hopper,
    /// GB100 and its kin: B200.
    Blackwell,
    /// LS10 and its kin: NVSwitch.
    Switch,
}

/// How a GPU is attached to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum GpuMode {
    /// One GPU, passed through.
    Single,
    /// Several GPUs, passed through, with encrypted links between them.
    Multi,
    /// Several GPUs behind protected PCIe: their links are not encrypted.
    ProtectedPcie,
}
