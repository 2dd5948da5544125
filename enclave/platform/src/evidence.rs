//! What a platform's answer is over: the 64 bytes of report data, read at the place that each format
//! gives them, and compared with those that were asked for.
//!
//! This is no verification. It catches a driver, a runtime or a neighbour that answered somebody else's
//! question; who signed the answer is for the verifier to say.

use crate::platform::PlatformError;
use glacier_wire::ReportData;
use std::ops::Range;

/// Formats in which platforms answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// DCAP quote, version 3, of an SGX enclave.
    Sgx,
    /// DCAP quote, version 4 or 5, of a TD.
    Tdx,
    /// SEV-SNP attestation report, version 2 to 5.
    Snp,
}

impl Format {
    /// Passes on `evidence` that is of this format and over exactly `asked`.
    pub(crate) fn over(self, evidence: Vec<u8>, asked: &ReportData) -> Result<Vec<u8>, PlatformError> {
        if evidence.is_empty() {
            return Err(PlatformError::Empty);
        }
        let place = match self {
            Self::Sgx => sgx(&evidence),
            Self::Tdx => tdx(&evidence),
            Self::Snp => snp(&evidence),
        };
        let found = place.and_then(|place| evidence.get(place)).ok_or(PlatformError::Malformed)?;
        if found != asked.as_slice() {
            return Err(PlatformError::OtherReportData);
        }
        Ok(evidence)
    }
}

/// Header of 48 bytes, then the report body, whose field stands at 320.
fn sgx(quote: &[u8]) -> Option<Range<usize>> {
    (u16_at(quote, 0)? == 3 && u32_at(quote, 4)? == TEE_SGX).then_some(368..432)
}

/// Version 4: the body follows the header. Version 5: after a type and a size of six bytes; type 2 is
/// TDX 1.0, type 3 is TDX 1.5, whose body begins alike.
fn tdx(quote: &[u8]) -> Option<Range<usize>> {
    if u32_at(quote, 4)? != TEE_TDX {
        return None;
    }
    match (u16_at(quote, 0)?, u16_at(quote, 48)?, u32_at(quote, 50)?) {
        (4, _, _) => Some(568..632),
        (5, 2, 584) | (5, 3, 648) => Some(574..638),
        _ => None,
    }
}

fn snp(report: &[u8]) -> Option<Range<usize>> {
    let version = u32_at(report, 0)?;
    (report.len() == SNP_REPORT && (2..=5).contains(&version)).then_some(0x50..0x90)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_le_bytes)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

/// Length of a SEV-SNP report.
pub(crate) const SNP_REPORT: usize = 1184;
const TEE_SGX: u32 = 0;
const TEE_TDX: u32 = 0x81;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::recorded;
    use proptest::prelude::*;

    #[test]
    fn every_recorded_quote_is_over_what_its_manifest_says() {
        for (kind, format) in [("sgx", Format::Sgx), ("tdx", Format::Tdx), ("snp", Format::Snp)] {
            for (evidence, report_data) in recorded::all(kind) {
                assert_eq!(format.over(evidence.clone(), &report_data), Ok(evidence));
            }
        }
    }

    #[test]
    fn a_quote_over_other_data_is_refused() {
        for (kind, format) in [("sgx", Format::Sgx), ("tdx", Format::Tdx), ("snp", Format::Snp)] {
            for (evidence, mut report_data) in recorded::all(kind) {
                report_data[63] ^= 1;
                assert_eq!(format.over(evidence, &report_data), Err(PlatformError::OtherReportData));
            }
        }
    }

    #[test]
    fn another_platforms_evidence_is_malformed() {
        for (evidence, report_data) in recorded::all("sgx") {
            assert_eq!(Format::Tdx.over(evidence, &report_data), Err(PlatformError::Malformed));
        }
        for (evidence, report_data) in recorded::all("tdx") {
            assert_eq!(Format::Sgx.over(evidence, &report_data), Err(PlatformError::Malformed));
        }
    }

    #[test]
    fn a_report_of_another_length_is_malformed() {
        let mut report = vec![0; SNP_REPORT];
        report[0] = 2;
        assert_eq!(Format::Snp.over(report.clone(), &[0; 64]), Ok(report.clone()));
        report.pop();
        assert_eq!(Format::Snp.over(report, &[0; 64]), Err(PlatformError::Malformed));
    }

    #[test]
    fn an_empty_answer_is_named() {
        assert_eq!(Format::Tdx.over(Vec::new(), &[0; 64]), Err(PlatformError::Empty));
    }

    proptest! {
        #[test]
        fn bytes_that_pass_carry_the_report_data(
            bytes in proptest::collection::vec(any::<u8>(), 0..1300),
            version in 0u8..8,
            tdx in any::<bool>(),
        ) {
            let mut bytes = bytes;
            if let Some(header) = bytes.first_chunk_mut::<8>() {
                *header = [version, 0, 0, 0, if tdx { 0x81 } else { 0 }, 0, 0, 0];
            }
            for format in [Format::Sgx, Format::Tdx, Format::Snp] {
                if let Ok(passed) = format.over(bytes.clone(), &[7; 64]) {
                    prop_assert!(passed.windows(64).any(|window| window == [7; 64]));
                }
            }
        }
    }
}
