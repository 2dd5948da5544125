//! The SGX report body: 384 bytes, of enclaves and of the quoting enclave alike.

use crate::{bytes::Bytes, genuine::Signer};
use glacier_wire::{Measurement, ReportData};

/// Report body, as far as anything is judged by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) misc_select: [u8; 4],
    pub(crate) attributes: [u8; 16],
    pub(crate) measurement: Measurement,
    pub(crate) signer: Signer,
    pub(crate) product_id: u16,
    pub(crate) svn: u16,
    pub(crate) report_data: ReportData,
}

/// Bytes of a report body.
pub(crate) const REPORT_BYTES: usize = 384;
/// Bit of the first attribute byte.
const DEBUG: u8 = 1 << 1;

impl Report {
    pub(crate) fn read(bytes: &[u8; REPORT_BYTES]) -> Option<Self> {
        let mut bytes = Bytes(bytes);
        let _cpu_svn = bytes.array::<16>()?;
        let misc_select = *bytes.array()?;
        let _reserved_and_extended_product_id = bytes.array::<28>()?;
        let attributes = *bytes.array()?;
        let measurement = Measurement(*bytes.array()?);
        let _reserved = bytes.array::<32>()?;
        let signer = Signer(*bytes.array()?);
        let _reserved_and_config_id = bytes.array::<96>()?;
        let product_id = bytes.u16()?;
        let svn = bytes.u16()?;
        let _config_svn_reserved_and_family_id = bytes.array::<60>()?;
        let report_data = *bytes.array()?;
        bytes.0.is_empty().then_some(Self {
            misc_select,
            attributes,
            measurement,
            signer,
            product_id,
            svn,
            report_data,
        })
    }

    /// Whether the host can read the enclave's memory.
    pub(crate) fn debug(&self) -> bool {
        self.attributes.first().is_none_or(|flags| flags & DEBUG != 0)
    }
}
