//! Intel DCAP quote version 3: the frame, read strictly and without trusting any of it.

use super::report::{REPORT_BYTES, Report};
use crate::bytes::Bytes;

/// A quote, taken apart.
#[derive(Debug, Clone)]
pub(crate) struct Quote<'a> {
    /// Header and report body: what the attestation key signs.
    pub(crate) signed: &'a [u8],
    pub(crate) report: Report,
    pub(crate) signature: &'a [u8; 64],
    pub(crate) attestation_key: &'a [u8; 64],
    /// What the PCK key signs.
    pub(crate) qe_report_bytes: &'a [u8; REPORT_BYTES],
    pub(crate) qe_report: Report,
    pub(crate) qe_report_signature: &'a [u8; 64],
    pub(crate) authentication_data: &'a [u8],
    pub(crate) certification: Certification<'a>,
}

/// How the quote names the chip's PCK certificate.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Certification<'a> {
    /// Type 5: the PEM chain itself.
    Chain(&'a [u8]),
    /// Types 1 to 4: a name of the certificate, or the certificate without its chain.
    Other(u16),
}

/// Why bytes are not a quote of version 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuoteError {
    /// Larger than is read.
    #[error("{found} bytes, at most {max} are read")]
    TooLarge {
        /// Bytes that came.
        found: usize,
        /// Bytes that are read.
        max: usize,
    },
    /// Ends before its last field.
    #[error("ends before its last field")]
    Truncated,
    /// Another version than 3.
    #[error("quote version {0}")]
    Version(u16),
    /// Another attestation key type than P-256.
    #[error("attestation key type {0}")]
    KeyType(u16),
    /// Another TEE type than SGX.
    #[error("TEE type {0:#x}")]
    TeeType(u32),
    /// Another quoting enclave vendor than Intel.
    #[error("another vendor's quoting enclave")]
    Vendor,
    /// A length field that does not fit the bytes: some are missing, or left over.
    #[error("a length field does not fit the bytes")]
    Length,
    /// Certification data of a type that a quote of version 3 does not carry.
    #[error("certification data of type {0}")]
    CertificationType(u16),
}

/// Largest quote that is read. Genuine ones have 4 to 5 KiB.
const MAX_BYTES: usize = 32 << 10;
const ATTESTATION_KEY_P256: u16 = 2;
const TEE_SGX: u32 = 0;
const PEM_CHAIN: u16 = 5;

impl<'a> Quote<'a> {
    pub(crate) fn read(evidence: &'a [u8]) -> Result<Self, QuoteError> {
        if evidence.len() > MAX_BYTES {
            return Err(QuoteError::TooLarge { found: evidence.len(), max: MAX_BYTES });
        }
        let mut bytes = Bytes(evidence);
        let report = read_signed(&mut bytes.clone())?;
        let signed = bytes.take(HEADER_BYTES + REPORT_BYTES).ok_or(QuoteError::Truncated)?;
        let length = bytes.length().ok_or(QuoteError::Truncated)?;
        if length != bytes.0.len() {
            return Err(QuoteError::Length);
        }
        let (signature, attestation_key, qe_report_bytes, qe_report_signature) =
            read_signatures(&mut bytes).ok_or(QuoteError::Truncated)?;
        let (authentication_data, kind, certification) = read_certification(&mut bytes).ok_or(QuoteError::Length)?;
        Ok(Self {
            signed,
            report,
            signature,
            attestation_key,
            qe_report_bytes,
            qe_report: Report::read(qe_report_bytes).ok_or(QuoteError::Truncated)?,
            qe_report_signature,
            authentication_data,
            certification: match kind {
                PEM_CHAIN => Certification::Chain(certification),
                1..=4 => Certification::Other(kind),
                _ => return Err(QuoteError::CertificationType(kind)),
            },
        })
    }
}

const HEADER_BYTES: usize = 48;

/// Header and report body.
fn read_signed(bytes: &mut Bytes<'_>) -> Result<Report, QuoteError> {
    let version = bytes.u16().ok_or(QuoteError::Truncated)?;
    let key_type = bytes.u16().ok_or(QuoteError::Truncated)?;
    let tee_type = bytes.u32().ok_or(QuoteError::Truncated)?;
    let _qe_and_pce_svn = bytes.u32().ok_or(QuoteError::Truncated)?;
    let vendor: &[u8; 16] = bytes.array().ok_or(QuoteError::Truncated)?;
    let _user_data: &[u8; 20] = bytes.array().ok_or(QuoteError::Truncated)?;
    if version != 3 {
        return Err(QuoteError::Version(version));
    }
    if key_type != ATTESTATION_KEY_P256 {
        return Err(QuoteError::KeyType(key_type));
    }
    if tee_type != TEE_SGX {
        return Err(QuoteError::TeeType(tee_type));
    }
    if *vendor != crate::format::INTEL_VENDOR {
        return Err(QuoteError::Vendor);
    }
    bytes.array().and_then(Report::read).ok_or(QuoteError::Truncated)
}

type Signatures<'a> = (&'a [u8; 64], &'a [u8; 64], &'a [u8; REPORT_BYTES], &'a [u8; 64]);

/// Quote signature, attestation key, quoting enclave's report and its signature.
fn read_signatures<'a>(bytes: &mut Bytes<'a>) -> Option<Signatures<'a>> {
    Some((bytes.array()?, bytes.array()?, bytes.array()?, bytes.array()?))
}

/// Authentication data, certification type and data; nothing may be left over.
fn read_certification<'a>(bytes: &mut Bytes<'a>) -> Option<(&'a [u8], u16, &'a [u8])> {
    let length = bytes.u16()?;
    let authentication_data = bytes.take(length.into())?;
    let kind = bytes.u16()?;
    let length = bytes.length()?;
    let data = bytes.take(length)?;
    bytes.0.is_empty().then_some((authentication_data, kind, data))
}
