//! Intel DCAP quotes of versions 3, 4 and 5: the frame, read strictly and without trusting any of it.

use super::{
    endorsement::Tee,
    report::{REPORT_BYTES, Report},
    td_report::{TD_REPORT_10_BYTES, TD_REPORT_15_BYTES, TdReport},
};
use crate::{
    bytes::Bytes,
    exposure::Exposure,
    registers::{Registers, SgxRegisters},
};
use alloc::{boxed::Box, vec::Vec};
use glacier_wire::ReportData;

/// A quote, taken apart.
#[derive(Debug, Clone)]
pub(crate) struct Quote<'a> {
    /// Header and report body: what the attestation key signs.
    pub(crate) signed: &'a [u8],
    pub(crate) body: Body,
    pub(crate) signature: &'a [u8; 64],
    pub(crate) attestation_key: &'a [u8; 64],
    /// What the PCK key signs.
    pub(crate) qe_report_bytes: &'a [u8; REPORT_BYTES],
    pub(crate) qe_report: Report,
    pub(crate) qe_report_signature: &'a [u8; 64],
    pub(crate) authentication_data: &'a [u8],
    pub(crate) certification: Certification<'a>,
}

/// What the quote speaks of.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    /// An SGX enclave.
    Enclave(Report),
    /// A TDX domain.
    Domain(Box<TdReport>),
}

impl Body {
    pub(crate) fn tee(&self) -> Tee {
        match self {
            Self::Enclave(_) => Tee::Sgx,
            Self::Domain(_) => Tee::Tdx,
        }
    }

    /// What was measured, what lets somebody in, and what the enclave put there.
    pub(super) fn said(&self) -> (Registers, Vec<Exposure>, ReportData) {
        match self {
            Self::Enclave(report) => {
                let registers = SgxRegisters {
                    mrenclave: report.measurement,
                    mrsigner: report.signer,
                    product_id: report.product_id,
                    svn: report.svn,
                };
                let exposures = report.debug().then_some(Exposure::Debug).into_iter().collect();
                (Registers::Sgx(registers), exposures, report.report_data)
            }
            Self::Domain(report) => {
                (Registers::Tdx(Box::new(report.registers.clone())), report.exposures(), report.report_data)
            }
        }
    }
}

/// How the quote names the chip's PCK certificate.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Certification<'a> {
    /// Type 5: the PEM chain itself.
    Chain(&'a [u8]),
    /// Types 1 to 4: a name of the certificate, or the certificate without its chain.
    Other(u16),
}

/// Why bytes are not a quote.
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
    /// Another version than 3, 4 and 5.
    #[error("quote version {0}")]
    Version(u16),
    /// Another attestation key type than P-256.
    #[error("attestation key type {0}")]
    KeyType(u16),
    /// Another TEE type than SGX and TDX, or one that the version or the body does not go with.
    #[error("TEE type {0:#x}")]
    TeeType(u32),
    /// Version 5: a body of a type that is not known.
    #[error("body of type {0}")]
    BodyType(u16),
    /// Version 5: the body of a domain that was migrated, or has service domains of its own (type 4).
    /// It names a second platform, of which nothing here could be judged.
    #[error("extended body of a domain (type 4), which is not read")]
    ExtendedBody,
    /// Another quoting enclave vendor than Intel.
    #[error("another vendor's quoting enclave")]
    Vendor,
    /// A length field that does not fit the bytes: some are missing, or left over.
    #[error("a length field does not fit the bytes")]
    Length,
    /// Certification data of a type that does not belong where it is.
    #[error("certification data of type {0}")]
    CertificationType(u16),
}

/// Largest quote that is read. Genuine ones have 4 to 5 KiB.
const MAX_BYTES: usize = 32 << 10;

impl<'a> Quote<'a> {
    pub(crate) fn read(evidence: &'a [u8]) -> Result<Self, QuoteError> {
        if evidence.len() > MAX_BYTES {
            return Err(QuoteError::TooLarge { found: evidence.len(), max: MAX_BYTES });
        }
        let mut bytes = Bytes(evidence);
        let header = Header::read(&mut bytes)?;
        let body = read_body(&header, &mut bytes)?;
        let signed_bytes = evidence.len().checked_sub(bytes.0.len()).ok_or(QuoteError::Length)?;
        let signed = evidence.get(..signed_bytes).ok_or(QuoteError::Length)?;
        exact_length(&mut bytes)?;
        let signature = bytes.array().ok_or(QuoteError::Truncated)?;
        let attestation_key = bytes.array().ok_or(QuoteError::Truncated)?;
        if header.version != 3 {
            read_outer_certification(&mut bytes)?;
        }
        let qe_report_bytes = bytes.array().ok_or(QuoteError::Truncated)?;
        let qe_report_signature = bytes.array().ok_or(QuoteError::Truncated)?;
        let (authentication_data, kind, certification) = read_certification(&mut bytes).ok_or(QuoteError::Length)?;
        Ok(Self {
            signed,
            body,
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

/// The first 48 bytes, as far as anything is judged by them.
struct Header {
    version: u16,
    tee: u32,
}

impl Header {
    fn read(bytes: &mut Bytes<'_>) -> Result<Self, QuoteError> {
        let version = bytes.u16().ok_or(QuoteError::Truncated)?;
        let key_type = bytes.u16().ok_or(QuoteError::Truncated)?;
        let tee = bytes.u32().ok_or(QuoteError::Truncated)?;
        let _qe_and_pce_svn = bytes.u32().ok_or(QuoteError::Truncated)?;
        let vendor: &[u8; 16] = bytes.array().ok_or(QuoteError::Truncated)?;
        let _user_data: &[u8; 20] = bytes.array().ok_or(QuoteError::Truncated)?;
        if !(3..=5).contains(&version) {
            return Err(QuoteError::Version(version));
        }
        if key_type != ATTESTATION_KEY_P256 {
            return Err(QuoteError::KeyType(key_type));
        }
        if *vendor != crate::format::INTEL_VENDOR {
            return Err(QuoteError::Vendor);
        }
        Ok(Self { version, tee })
    }
}

/// The report body. Its kind follows from the header in versions 3 and 4, and from a descriptor that
/// has to go with the header in version 5.
fn read_body(header: &Header, bytes: &mut Bytes<'_>) -> Result<Body, QuoteError> {
    let (tee, length) = match header.version {
        3 => (TEE_SGX, REPORT_BYTES),
        4 if header.tee == TEE_TDX => (TEE_TDX, TD_REPORT_10_BYTES),
        4 => (TEE_SGX, REPORT_BYTES),
        _ => {
            let kind = bytes.u16().ok_or(QuoteError::Truncated)?;
            let length = bytes.length().ok_or(QuoteError::Truncated)?;
            let expected = match kind {
                1 => (TEE_SGX, REPORT_BYTES),
                2 => (TEE_TDX, TD_REPORT_10_BYTES),
                3 => (TEE_TDX, TD_REPORT_15_BYTES),
                4 => return Err(QuoteError::ExtendedBody),
                _ => return Err(QuoteError::BodyType(kind)),
            };
            if expected.1 != length {
                return Err(QuoteError::Length);
            }
            expected
        }
    };
    if header.tee != tee {
        return Err(QuoteError::TeeType(header.tee));
    }
    let body = bytes.take(length).ok_or(QuoteError::Truncated)?;
    if tee == TEE_TDX {
        return TdReport::read(body).map(Box::new).map(Body::Domain).ok_or(QuoteError::Truncated);
    }
    body.try_into().ok().and_then(Report::read).map(Body::Enclave).ok_or(QuoteError::Truncated)
}

/// Versions 4 and 5 put the quoting enclave's report and what follows into certification data of a
/// type of its own.
fn read_outer_certification(bytes: &mut Bytes<'_>) -> Result<(), QuoteError> {
    let kind = bytes.u16().ok_or(QuoteError::Truncated)?;
    if kind != QE_REPORT {
        return Err(QuoteError::CertificationType(kind));
    }
    exact_length(bytes)
}

/// A length that has to be that of everything after it.
fn exact_length(bytes: &mut Bytes<'_>) -> Result<(), QuoteError> {
    let length = bytes.length().ok_or(QuoteError::Truncated)?;
    if length == bytes.0.len() { Ok(()) } else { Err(QuoteError::Length) }
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

const ATTESTATION_KEY_P256: u16 = 2;
const TEE_SGX: u32 = 0;
const TEE_TDX: u32 = 0x81;
const PEM_CHAIN: u16 = 5;
const QE_REPORT: u16 = 6;
