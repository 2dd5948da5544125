//! What an SNP report says of itself.

use super::report::Report;
use crate::{look::Shown, registers::Registers};
use alloc::boxed::Box;
use glacier_wire::PlatformKind;

/// See [`look`](crate::look()). A chip id of zeros names no chip.
pub(crate) fn look(evidence: &[u8]) -> Option<Shown> {
    let report = Report::read(evidence).ok()?;
    Some(Shown {
        platform: PlatformKind::Snp,
        exposures: report.exposures(),
        registers: Some(Registers::Snp(Box::new(report.registers))),
        report_data: report.report_data,
        hardware_id: Some(report.chip_id).filter(|id| **id != [0; 64]).map(|id| id.to_vec()),
        gpu: None,
    })
}
