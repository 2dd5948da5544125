//! The TD report body: what the TDX module says of a domain, 584 bytes in version 1.0 and 648 in 1.5.

use crate::{
    bytes::Bytes,
    exposure::Exposure,
    registers::{Register, TdRegisters},
};
use alloc::vec::Vec;
use glacier_wire::ReportData;

/// Report body of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TdReport {
    pub(crate) registers: TdRegisters,
    /// Attributes of the TDX module.
    pub(crate) seam_attributes: [u8; 8],
    pub(crate) report_data: ReportData,
    /// TEE_TCB_SVN2: the module's level when the report was made. Version 1.5 only.
    pub(crate) current_tcb_svn: Option<[u8; 16]>,
}

/// Bytes of a body of version 1.0.
pub(crate) const TD_REPORT_10_BYTES: usize = 584;
/// Bytes of a body of version 1.5: that of 1.0, TEE_TCB_SVN2 and MRSERVICETD.
pub(crate) const TD_REPORT_15_BYTES: usize = 648;

impl TdReport {
    /// Reads a body of either version, told apart by its length.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let mut bytes = Bytes(body);
        let tee_tcb_svn = *bytes.array()?;
        let mrseam = register(&mut bytes)?;
        let mrsignerseam = register(&mut bytes)?;
        let seam_attributes = *bytes.array()?;
        let attributes = u64::from_le_bytes(*bytes.array()?);
        let xfam = u64::from_le_bytes(*bytes.array()?);
        let mrtd = register(&mut bytes)?;
        let mrconfigid = register(&mut bytes)?;
        let mrowner = register(&mut bytes)?;
        let mrownerconfig = register(&mut bytes)?;
        let rtmr = [register(&mut bytes)?, register(&mut bytes)?, register(&mut bytes)?, register(&mut bytes)?];
        let report_data = *bytes.array()?;
        let (current_tcb_svn, mrservicetd) = match body.len() {
            TD_REPORT_10_BYTES => (None, None),
            _ => (Some(*bytes.array()?), Some(register(&mut bytes)?)),
        };
        bytes.0.is_empty().then_some(Self {
            registers: TdRegisters {
                mrtd,
                rtmr,
                mrconfigid,
                mrowner,
                mrownerconfig,
                mrseam,
                mrsignerseam,
                mrservicetd,
                attributes,
                xfam,
                tee_tcb_svn,
            },
            seam_attributes,
            report_data,
            current_tcb_svn,
        })
    }

    /// Attributes that let somebody in: sorted, each once.
    pub(crate) fn exposures(&self) -> Vec<Exposure> {
        let has = |bits| self.registers.attributes & bits != 0;
        // SERVTD_EXT says that service domains may be bound; a report that cannot show which is no
        // reason to believe that there are none.
        let bound = self.registers.mrservicetd.is_some_and(|register| register != Register::ZERO);
        [
            (has(DEBUG | PROFILING), Exposure::Debug),
            (has(MIGRATABLE), Exposure::Migratable),
            (!has(SEPT_VE_DISABLE), Exposure::SeptVeDisableClear),
            (bound || has(SERVTD_EXT), Exposure::ServiceTd),
            (has(!KNOWN), Exposure::UnknownAttributes),
        ]
        .into_iter()
        .filter_map(|(found, exposure)| found.then_some(exposure))
        .collect()
    }
}

/// Bits of TDATTRIBUTES (Intel TDX module ABI specification, table of that name).
const DEBUG: u64 = 1;
const PROFILING: u64 = 0x70;
const ICSSD: u64 = 1 << 16;
const SERVTD_EXT: u64 = 1 << 17;
const LASS: u64 = 1 << 27;
const SEPT_VE_DISABLE: u64 = 1 << 28;
const MIGRATABLE: u64 = 1 << 29;
const PKS: u64 = 1 << 30;
const KEY_LOCKER: u64 = 1 << 31;
const TPA: u64 = 1 << 62;
const PERFMON: u64 = 1 << 63;
const KNOWN: u64 =
    DEBUG | PROFILING | ICSSD | SERVTD_EXT | LASS | SEPT_VE_DISABLE | MIGRATABLE | PKS | KEY_LOCKER | TPA | PERFMON;

fn register(bytes: &mut Bytes<'_>) -> Option<Register> {
    bytes.array().map(|value| Register(*value))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    fn exposed(attributes: u64, service: u8) -> Vec<Exposure> {
        let mut body = [0; TD_REPORT_15_BYTES];
        body[120..128].copy_from_slice(&attributes.to_le_bytes());
        body[600] = service;
        TdReport::read(&body).unwrap().exposures()
    }

    #[test]
    fn each_attribute_that_lets_somebody_in_is_reported() {
        for (attributes, expected) in [
            (SEPT_VE_DISABLE, None),
            (SEPT_VE_DISABLE | ICSSD | LASS | PKS | KEY_LOCKER | TPA | PERFMON, None),
            (0, Some(Exposure::SeptVeDisableClear)),
            (SEPT_VE_DISABLE | 1, Some(Exposure::Debug)),
            (SEPT_VE_DISABLE | 1 << 4, Some(Exposure::Debug)),
            (SEPT_VE_DISABLE | 1 << 6, Some(Exposure::Debug)),
            (SEPT_VE_DISABLE | 1 << 29, Some(Exposure::Migratable)),
            (SEPT_VE_DISABLE | 1 << 17, Some(Exposure::ServiceTd)),
        ] {
            assert_eq!(exposed(attributes, 0), Vec::from_iter(expected), "{attributes:#x}");
        }
        assert_eq!(exposed(SEPT_VE_DISABLE, 1), [Exposure::ServiceTd]);
    }

    #[test]
    fn every_bit_without_a_name_is_reported() {
        for bit in (0..64).filter(|bit| KNOWN >> bit & 1 == 0) {
            assert_eq!(exposed(SEPT_VE_DISABLE | 1 << bit, 0), [Exposure::UnknownAttributes], "bit {bit}");
        }
    }

    #[test]
    fn a_body_of_another_length_is_not_read() {
        for length in [0, 583, 585, 647, 649, 885] {
            assert_eq!(TdReport::read(&alloc::vec![0; length]), None, "{length}");
        }
        assert_eq!(TdReport::read(&[0; 584]).unwrap().current_tcb_svn, None);
    }
}
