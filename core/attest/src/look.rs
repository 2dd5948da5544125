//! What evidence says of itself, without any check: for choosing endorsements, and for showing people
//! what was refused. Nothing here makes anything [`Genuine`](crate::Genuine).

use crate::{
    amd,
    exposure::Exposure,
    format::Format,
    intel,
    nvidia::{self, Gpu},
    registers::Registers,
};
use alloc::vec::Vec;
use glacier_wire::{PlatformKind, ReportData};

/// What evidence says of itself. Unverified: a stranger may have written every byte.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shown {
    /// What it claims to be.
    pub platform: PlatformKind,
    /// What it says was measured.
    pub registers: Option<Registers>,
    /// Attributes that would let somebody in.
    pub exposures: Vec<Exposure>,
    /// What it carries.
    pub report_data: ReportData,
    /// The chip that it names.
    pub hardware_id: Option<Vec<u8>>,
    /// The device that it speaks of.
    pub gpu: Option<Gpu>,
}

/// Looks at evidence; `None` if it is no known kind or cannot be taken apart. A device's report names
/// no chip without its chain (PEM).
pub fn look(evidence: &[u8], gpu_chain: Option<&[u8]>) -> Option<Shown> {
    match Format::detect(evidence)? {
        Format::SgxQuoteV3 | Format::TdxQuoteV4 | Format::TdxQuoteV5 => intel::look(evidence),
        Format::SnpReport => amd::look(evidence),
        Format::NvidiaReport => nvidia::look(evidence, gpu_chain),
    }
}
