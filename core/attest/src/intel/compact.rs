//! The compact form of a quote: what a contract reads.
//!
//! Calldata is paid by the byte, and every byte that nobody signs is one that somebody else can
//! change. So the compact form keeps what is signed or what signs, at fixed places, and leaves out
//! what follows from it:
//!
//! | part | bytes, SGX version 3 | bytes, TDX version 4 |
//! |---|---|---|
//! | header and body, which the attestation key signs | 432 | 632 |
//! | signature of the quote, r ‖ s | 64 | 64 |
//! | attestation key, x ‖ y | 64 | 64 |
//! | report of the quoting enclave, which the PCK key signs | 384 | 384 |
//! | signature of that report, r ‖ s | 64 | 64 |
//! | authentication data, which that report hashes | 32 | 32 |
//! | all | 1,040 | 1,240 |
//!
//! Left out: every length and certification type. Beside it goes the PCK certificate in its lean form,
//! what differs from certificate to certificate (619 bytes or fewer in place of 1,270). Its two issuers
//! are known to whoever keeps collateral.

use super::{
    lean::{lean, rebuild},
    quote::{Body, Certification, Quote, QuoteError},
};
use crate::x509::{CertificateError, pem};
use alloc::vec::Vec;

/// A quote of version 3 (SGX) or 4 (TDX) without what a verifier can work out. Nothing in it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compact {
    quote: Vec<u8>,
    /// Lean.
    pck: Vec<u8>,
    pck_der: Vec<u8>,
    issuers: [Vec<u8>; 2],
    signed_bytes: usize,
}

/// Why a quote has no compact form, or bytes are not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompactError {
    /// Not a quote.
    #[error(transparent)]
    Quote(#[from] QuoteError),
    /// Neither an SGX quote of version 3 nor a TDX quote of version 4.
    #[error("neither an SGX quote of version 3 nor a TDX quote of version 4")]
    Unsupported,
    /// The chip's certificate is not in the quote (certification data of types 1 to 4).
    #[error("the chip's certificate is not in the quote")]
    NoChain,
    /// The certificates in the quote are not readable.
    #[error("certificates: {0}")]
    Chain(#[from] CertificateError),
    /// A PCK certificate of another shape than Intel's, or bytes that are not the lean form of one.
    #[error("not a PCK certificate of the shape that has a lean form")]
    PckShape,
    /// Authentication data of another length than 32.
    #[error("{0} bytes of authentication data, the compact form has 32")]
    AuthenticationData(usize),
    /// Another length than the version has.
    #[error("{found} bytes, the compact form of this version has {expected}")]
    Length {
        /// Bytes that came.
        found: usize,
        /// Bytes of the form.
        expected: usize,
    },
    /// A certificate larger than is kept.
    #[error("a certificate of {found} bytes, at most {max} are kept")]
    Certificate {
        /// Bytes that came.
        found: usize,
        /// Bytes that are kept.
        max: usize,
    },
}

impl Compact {
    /// Takes a quote with its PEM chain apart.
    pub fn of(quote: &[u8]) -> Result<Self, CompactError> {
        let read = Quote::read(quote)?;
        let Certification::Chain(chain) = read.certification else { return Err(CompactError::NoChain) };
        let [pck, issuer, root] = pem::certificates(chain)?;
        if !matches!((quote.first(), &read.body), (Some(3), Body::Enclave(_)) | (Some(4), Body::Domain(_))) {
            return Err(CompactError::Unsupported);
        }
        if read.authentication_data.len() != AUTHENTICATION_BYTES {
            return Err(CompactError::AuthenticationData(read.authentication_data.len()));
        }
        let parts: [&[u8]; 6] = [
            read.signed,
            read.signature,
            read.attestation_key,
            read.qe_report_bytes,
            read.qe_report_signature,
            read.authentication_data,
        ];
        Self::new(parts.concat(), lean(&pck).ok_or(CompactError::PckShape)?, [issuer, root])
    }

    /// Puts one together from its parts: the compact bytes and the lean PCK certificate, as a contract was given them, and
    /// the certificates of the PCK CA and of the root in DER.
    pub fn new(quote: Vec<u8>, pck: Vec<u8>, issuers: [Vec<u8>; 2]) -> Result<Self, CompactError> {
        let signed_bytes = match quote.first_chunk() {
            Some([3, 0]) => SGX_SIGNED_BYTES,
            Some([4, 0]) => TDX_SIGNED_BYTES,
            _ => return Err(CompactError::Unsupported),
        };
        let expected = signed_bytes.saturating_add(SIGNATURE_DATA_BYTES);
        if quote.len() != expected {
            return Err(CompactError::Length { found: quote.len(), expected });
        }
        for certificate in issuers.iter().chain([&pck]) {
            if certificate.len() > MAX_CERTIFICATE_BYTES {
                return Err(CompactError::Certificate { found: certificate.len(), max: MAX_CERTIFICATE_BYTES });
            }
        }
        let pck_der = rebuild(&pck).ok_or(CompactError::PckShape)?;
        Ok(Self { quote, pck, pck_der, issuers, signed_bytes })
    }

    /// The compact bytes: `quote` of the contract's `verify`.
    pub fn quote(&self) -> &[u8] {
        &self.quote
    }

    /// The PCK certificate in the lean form: `pck` of the contract's `verify` and `revoked`.
    pub fn pck(&self) -> &[u8] {
        &self.pck
    }

    /// The PCK certificate, DER.
    pub fn pck_der(&self) -> &[u8] {
        &self.pck_der
    }

    /// Certificates of the PCK CA and of the root, DER.
    pub fn issuers(&self) -> &[Vec<u8>; 2] {
        &self.issuers
    }

    /// Header and body: `quote` of the contract's `verifyKept`.
    pub fn signed(&self) -> &[u8] {
        self.parts().0
    }

    /// Signature over [`Compact::signed`], r ‖ s.
    pub fn signature(&self) -> &[u8] {
        self.parts().1
    }

    /// Attestation key, x ‖ y.
    pub fn attestation_key(&self) -> &[u8] {
        self.parts().2
    }

    /// The quote with its chain, as verifiers off the chain read it. It says the same as the one that
    /// [`Compact::of`] took apart; the bytes of the PEM text that nobody signs can differ.
    pub fn restore(&self) -> Vec<u8> {
        let (signed, signature, key, rest) = self.parts();
        let (reports, authentication) = rest.split_at_checked(QE_BYTES).unwrap_or_default();
        let chain: Vec<u8> = [&self.pck_der]
            .into_iter()
            .chain(&self.issuers)
            .flat_map(|certificate| pem::block_of(certificate))
            .collect();
        let mut certification = Vec::new();
        certification.extend_from_slice(reports);
        certification.extend_from_slice(&AUTHENTICATION_LENGTH);
        certification.extend_from_slice(authentication);
        certification.extend_from_slice(&PEM_CHAIN);
        certification.extend_from_slice(&length(&chain));
        certification.extend_from_slice(&chain);
        if self.signed_bytes == TDX_SIGNED_BYTES {
            let length = length(&certification);
            certification.splice(..0, QE_REPORT.into_iter().chain(length));
        }
        let data = [signature, key, &certification].concat();
        [signed, &length(&data), &data].concat()
    }

    /// Signed bytes, signature, attestation key, and what follows.
    fn parts(&self) -> (&[u8], &[u8], &[u8], &[u8]) {
        let (signed, rest) = self.quote.split_at_checked(self.signed_bytes).unwrap_or_default();
        let (signature, rest) = rest.split_at_checked(64).unwrap_or_default();
        let (key, rest) = rest.split_at_checked(64).unwrap_or_default();
        (signed, signature, key, rest)
    }
}

/// Little-endian, of bytes whose number is bounded by what a [`Compact`] holds.
fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes()
}

const SGX_SIGNED_BYTES: usize = 48 + 384;
const TDX_SIGNED_BYTES: usize = 48 + 584;
/// Report of the quoting enclave, and its signature.
const QE_BYTES: usize = 384 + 64;
const AUTHENTICATION_BYTES: usize = 32;
const AUTHENTICATION_LENGTH: [u8; 2] = [32, 0];
const SIGNATURE_DATA_BYTES: usize = 64 + 64 + QE_BYTES + AUTHENTICATION_BYTES;
const PEM_CHAIN: [u8; 2] = [5, 0];
const QE_REPORT: [u8; 2] = [6, 0];
/// Genuine ones have 0.6 to 1.3 KiB.
const MAX_CERTIFICATE_BYTES: usize = 8 << 10;
