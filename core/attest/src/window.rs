//! Spans of validity, and the signed parts that have one.

use crate::reason::Reason;
use core::fmt;
use glacier_wire::UnixTime;

/// A signed part of evidence or collateral.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Part {
    /// The root certificate.
    Root,
    /// The root's revocation list.
    RootCrl,
    /// The certificate of the PCK issuer: Platform or Processor CA.
    PckCa,
    /// The PCK issuer's revocation list.
    PckCrl,
    /// The certificate that signs the TCB info.
    TcbInfoSigner,
    /// The TCB info.
    TcbInfo,
    /// The certificate that signs the QE identity.
    QeIdentitySigner,
    /// The QE identity.
    QeIdentity,
    /// The chip's PCK certificate.
    Pck,
    /// The quoting enclave's report.
    QeReport,
    /// The quote.
    Quote,
    /// TDX: the module that runs the domain.
    TdModule,
    /// AMD's signing authority: ASK or ASVK.
    AmdAuthority,
    /// The revocation list of AMD's root.
    AmdCrl,
    /// The certificate of the chip's key that signs SNP reports: VCEK or VLEK.
    Vek,
    /// The SNP report.
    SnpReport,
    /// A certificate of the GPU's or switch's chain below the root.
    Device,
    /// The GPU's or switch's report.
    DeviceReport,
    /// A reference manifest that does not say of what.
    Rim,
    /// The driver's reference manifest.
    DriverRim,
    /// The VBIOS's, or a switch's firmware's, reference manifest.
    VbiosRim,
    /// A certificate that signs a reference manifest, or one above it.
    RimSigner,
    /// An OCSP answer.
    Ocsp,
    /// The certificate that signs an OCSP answer.
    OcspResponder,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "root certificate",
            Self::RootCrl => "root revocation list",
            Self::PckCa => "PCK CA certificate",
            Self::PckCrl => "PCK revocation list",
            Self::TcbInfoSigner => "certificate of the TCB info's signer",
            Self::TcbInfo => "TCB info",
            Self::QeIdentitySigner => "certificate of the QE identity's signer",
            Self::QeIdentity => "QE identity",
            Self::Pck => "PCK certificate",
            Self::QeReport => "quoting enclave report",
            Self::Quote => "quote",
            Self::TdModule => "TDX module",
            Self::AmdAuthority => "AMD signing authority's certificate",
            Self::AmdCrl => "revocation list of AMD's root",
            Self::Vek => "certificate of the report's signing key",
            Self::SnpReport => "SNP report",
            Self::Device => "certificate of the device",
            Self::DeviceReport => "device's report",
            Self::Rim => "reference manifest",
            Self::DriverRim => "driver's reference manifest",
            Self::VbiosRim => "VBIOS reference manifest",
            Self::RimSigner => "certificate of the reference manifest's signer",
            Self::Ocsp => "OCSP answer",
            Self::OcspResponder => "certificate of the OCSP responder",
        })
    }
}

/// First and last second of validity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) from: UnixTime,
    pub(crate) until: UnixTime,
}

impl Window {
    /// Fails before the first and after the last second, and for a window that is empty.
    pub(crate) fn check(&self, part: Part, at: UnixTime) -> Result<(), Reason> {
        if at < self.from {
            return Err(Reason::NotYetValid { part, from: self.from });
        }
        if at > self.until {
            return Err(Reason::Expired { part, until: self.until });
        }
        Ok(())
    }

    /// What both allow.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { from: self.from.max(other.from), until: self.until.min(other.until) }
    }
}
