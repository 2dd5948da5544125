//! What kind of evidence bytes are, decided by content in this one place.

use core::fmt;

/// Kinds of evidence that are known by sight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// Intel DCAP quote version 3: SGX.
    SgxQuoteV3,
    /// Intel DCAP quote version 4: TDX.
    TdxQuoteV4,
    /// Intel DCAP quote version 5: TDX.
    TdxQuoteV5,
    /// AMD SEV-SNP attestation report.
    SnpReport,
    /// NVIDIA GPU or switch attestation report: an SPDM measurements response.
    NvidiaReport,
}

/// QE vendor of every DCAP quote, at offset 12 of the header.
pub(crate) const INTEL_VENDOR: [u8; 16] =
    [0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07];
/// Bytes of an SNP report, all versions.
const SNP_REPORT_BYTES: usize = 1184;
/// First bytes of an SPDM 1.1 GET_MEASUREMENTS request, which NVIDIA puts in front of the response.
const SPDM_GET_MEASUREMENTS: [u8; 2] = [0x11, 0xe0];

impl Format {
    /// What `evidence` is by its first bytes and length; `None` if nothing known. Says nothing
    /// about whether it is well-formed or authentic.
    pub fn detect(evidence: &[u8]) -> Option<Self> {
        let (version, _) = evidence.split_first_chunk::<2>()?;
        if evidence.get(12..28) == Some(&INTEL_VENDOR) {
            return match u16::from_le_bytes(*version) {
                3 => Some(Self::SgxQuoteV3),
                4 => Some(Self::TdxQuoteV4),
                5 => Some(Self::TdxQuoteV5),
                _ => None,
            };
        }
        // Of any version, so that the reader can name those it does not know.
        if evidence.len() == SNP_REPORT_BYTES && matches!(evidence.first_chunk::<4>(), Some([1..=u8::MAX, 0, 0, 0])) {
            return Some(Self::SnpReport);
        }
        if *version == SPDM_GET_MEASUREMENTS {
            return Some(Self::NvidiaReport);
        }
        None
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SgxQuoteV3 => "Intel DCAP quote version 3 (SGX)",
            Self::TdxQuoteV4 => "Intel DCAP quote version 4 (TDX)",
            Self::TdxQuoteV5 => "Intel DCAP quote version 5 (TDX)",
            Self::SnpReport => "AMD SEV-SNP report",
            Self::NvidiaReport => "NVIDIA attestation report",
        })
    }
}
