//! Reference integrity manifests.

use crate::{anchors::Anchors, appraisal::Appraisal, registers::Register, window::Window};
use alloc::{string::String, vec::Vec};
use glacier_wire::{PlatformKind, UnixTime};

/// A manifest as it came: bounded and of the right shape, no signature checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rim {
    xml: Vec<u8>,
}

/// Of which firmware a manifest speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum RimKind {
    /// A GPU's driver.
    Driver,
    /// A GPU's VBIOS.
    Vbios,
    /// A switch's firmware.
    Switch,
}

/// A manifest whose signature held. Made by [`Rim::check`] alone.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckedRim {
    pub(crate) kind: RimKind,
    pub(crate) platform: PlatformKind,
    pub(crate) version: String,
    pub(crate) window: Window,
    /// Index and values of the active measurements, ascending by index.
    pub(crate) golden: Vec<(u8, Vec<Register>)>,
    /// DER, signer first.
    pub(crate) chain: Vec<Vec<u8>>,
}

impl Rim {
    /// Largest document that is read.
    pub const MAX_BYTES: usize = 256 << 10;

    /// Reads a manifest.
    pub fn parse(xml: &[u8]) -> Result<Self, RimFault> {
        let _ = xml;
        Err(RimFault::Malformed)
    }

    /// Checks XML signature, chain and dates.
    pub fn check(&self, _anchors: &Anchors, _at: UnixTime) -> Appraisal<CheckedRim> {
        let _ = &self.xml;
        Appraisal::new(Vec::new(), None)
    }
}

/// Why a reference manifest is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RimFault {
    /// Not a manifest of the expected shape.
    #[error("malformed")]
    Malformed,
}

impl CheckedRim {
    /// Of which firmware it speaks.
    pub fn kind(&self) -> RimKind {
        self.kind
    }

    /// Of which version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// First and last second at which it is current.
    pub fn validity(&self) -> (UnixTime, UnixTime) {
        (self.window.from, self.window.until)
    }

    /// Index and values of the active measurements, ascending by index.
    pub fn golden(&self) -> &[(u8, Vec<Register>)] {
        &self.golden
    }
}
