//! Why a check came out as it did: typed, so that tests and callers match the variant; the text is
//! for people.

use crate::{
    amd::SnpFault,
    anchors::Fingerprint,
    check::CheckId,
    exposure::Exposure,
    format::Format,
    intel::{DocumentError, QuoteError, QuotingEnclaveError, TcbStatus, TdModuleError},
    nvidia::{FabricFault, GpuFault, OcspFault, RimFault},
    window::Part,
    x509::CertificateError,
};
use alloc::string::String;
use core::fmt;
use glacier_wire::{EnclaveId, Measurement, PlatformKind, UnixTime};

/// Why a check came out as it did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    // Why it holds.
    /// It holds, and there is no more to say.
    Holds,
    /// The kind of evidence.
    Recognised(Format),
    /// The trusted root.
    Anchored {
        /// Which one.
        root: Fingerprint,
        /// [`PlatformKind::Simulated`] for every root that is no vendor's.
        platform: PlatformKind,
    },
    /// Until when.
    CurrentUntil(UnixTime),
    /// The level found: platform and quoting enclave folded.
    Level(TcbStatus),
    /// An enclave in a quote of version 4 or 5: no TDX module runs it.
    NoModule,
    /// The policy asks for nothing here.
    NotRestricted,
    /// NVIDIA: the report names no firmware id, as old firmware and switches do.
    NoFirmwareId,
    /// NVIDIA: a switch, which has no driver of its own.
    NoDriver,

    // Why it could not be evaluated.
    /// An earlier check has to pass first.
    Needs(CheckId),
    /// No collateral was given.
    NoCollateral,
    /// Evidence of this kind, under which no certificate of the key that signs it was given.
    NoChain(Format),
    /// No reference manifest was given for what the report names.
    NoRim {
        /// Driver or VBIOS.
        part: Part,
        /// Its version.
        version: String,
    },
    /// The vendor was not asked whether it revoked something; only policy can ask for that.
    RevocationNotChecked,
    /// The quote names its PCK certificate (types 1 to 3) or carries it without chain (type 4);
    /// only a chain inside the quote (type 5) is read.
    UnsupportedCertification(u16),
    /// Not reached.
    NotEvaluated,
    /// The policy limits the evidence's age, and nothing says when it was made.
    AgeUnknown,

    // Why it fails.
    /// No known kind of evidence.
    Unrecognised,
    /// The quote's frame.
    Quote(QuoteError),
    /// A root that nobody said to trust.
    UntrustedRoot(Fingerprint),
    /// Chains of the collateral that end in different roots.
    RootsDiffer,
    /// A certificate or revocation list.
    Certificate {
        /// Which one.
        part: Part,
        /// What is wrong with it.
        error: CertificateError,
    },
    /// A certificate that its issuer revoked.
    Revoked(Part),
    /// A signed document.
    Document {
        /// Which one.
        part: Part,
        /// What is wrong with it.
        error: DocumentError,
    },
    /// Past its last second.
    Expired {
        /// Which part.
        part: Part,
        /// Its last second.
        until: UnixTime,
    },
    /// Before its first second.
    NotYetValid {
        /// Which part.
        part: Part,
        /// Its first second.
        from: UnixTime,
    },
    /// The PCK certificate comes from another issuer than the collateral speaks of.
    OtherIssuer,
    /// A signature that does not hold.
    BadSignature(Part),
    /// The quoting enclave vouches for another attestation key.
    OtherAttestationKey,
    /// The quoting enclave.
    QuotingEnclave(QuotingEnclaveError),
    /// TDX: the module that runs the domain.
    TdModule(TdModuleError),
    /// The SNP report, or its binding to the key's certificate.
    Snp(SnpFault),
    /// The NVIDIA report.
    Gpu(GpuFault),
    /// A reference manifest.
    Rim {
        /// Driver's or VBIOS's.
        part: Part,
        /// What is wrong with it.
        fault: RimFault,
    },
    /// An OCSP answer.
    Ocsp(OcspFault),
    /// A composite's quote commits to other devices than those shown.
    DevicesDiffer,
    /// A device answered another nonce than the one derived from the enclave's keys.
    DeviceNonceDiffers,
    /// The collateral speaks of SGX and the quote of TDX, or the other way round.
    OtherTee,
    /// The TCB info is for another processor model (FMSPC).
    OtherModel,
    /// The TCB info is for another provisioning enclave (PCEID).
    OtherProvisioning,
    /// The chip is older than every level of the TCB info.
    NoLevel,
    /// The vendor withdrew the level of this part.
    LevelRevoked(Part),

    /// Evidence comes from another kind of platform than the policy lists.
    PlatformNotListed(PlatformKind),
    /// Simulated evidence under a root that the policy does not list.
    RootNotListed(Fingerprint),
    /// The chip is none of the pinned ones.
    EnclaveIdNotPinned(EnclaveId),
    /// The policy lists neither measurements nor signers, so nobody said which code.
    NoCodeNamed,
    /// The code is none of those listed.
    MeasurementNotListed(Measurement),
    /// The code's signer is none of those listed.
    SignerNotListed(Option<crate::genuine::Signer>),
    /// A debug enclave: its host can read its memory.
    DebugEnabled,
    /// An attribute that lets somebody in.
    Exposed(Exposure),
    /// No entry of the policy's registers fits.
    RegistersNotListed,
    /// The policy names no floor for firmware of which the vendor publishes no status.
    NoFloorNamed,
    /// Firmware below the policy's floor.
    FirmwareBelow {
        /// Which.
        part: &'static str,
        /// Its version.
        found: String,
        /// What the policy asks for.
        floor: String,
    },
    /// The policy requires a GPU.
    GpuMissing,
    /// The policy pins a chip, and the evidence names none.
    NoChipIdentity,
    /// GPUs behind protected PCIe whose links do not end at the attested switches.
    Fabric(FabricFault),
    /// A property of the GPU that the policy does not allow.
    GpuNotAllowed(&'static str),
    /// The TCB status is below the policy's floor.
    StatusBelow {
        /// What the platform has.
        found: TcbStatus,
        /// What the policy asks for.
        floor: TcbStatus,
    },
    /// An advisory is open that the policy does not allow.
    AdvisoryNotAllowed(String),
    /// The collateral comes from an older TCB evaluation than the policy asks for.
    EvaluationBelow {
        /// Of the collateral: the smaller of TCB info's and QE identity's.
        found: u32,
        /// What the policy asks for.
        floor: u32,
    },
    /// Older than the policy allows.
    TooOld {
        /// Seconds.
        age: u64,
        /// Seconds.
        max: u64,
    },
    /// Was genuine until then, under the collateral that it was appraised with.
    NoLongerGenuine {
        /// Its last second.
        until: UnixTime,
    },
    /// Says that it was made in the future.
    FromTheFuture(UnixTime),
    /// Carries other report data than expected.
    ReportDataDiffers,
    /// Nothing was bound because the caller asked for that.
    Unbound,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holds => f.write_str("holds"),
            Self::Recognised(format) => write!(f, "{format}"),
            Self::Anchored { root, platform: PlatformKind::Simulated } => {
                write!(f, "root {root}, simulated: no hardware stands behind it")
            }
            Self::Anchored { root, .. } => write!(f, "vendor root {root}"),
            Self::CurrentUntil(until) => write!(f, "current until {}", until.0),
            Self::Level(status) => write!(f, "{status}"),
            Self::NoModule => f.write_str("an enclave, which no TDX module runs"),
            Self::NotRestricted => f.write_str("not restricted by the policy"),
            Self::Needs(id) => write!(f, "needs {id}"),
            Self::NoFirmwareId => f.write_str("the report names no firmware id"),
            Self::NoDriver => f.write_str("a switch has no driver of its own"),
            Self::NoCollateral => f.write_str("no collateral"),
            Self::NoChain(format) => write!(f, "no certificate was given of the key that signs this {format}"),
            Self::NoRim { part, version } => write!(f, "no {part} was given for version {version}"),
            Self::RevocationNotChecked => f.write_str("not checked: no answer of the vendor was given"),
            Self::TdModule(error) => write!(f, "TDX module: {error}"),
            Self::Snp(fault) => write!(f, "{fault}"),
            Self::Gpu(fault) => write!(f, "{fault}"),
            Self::Rim { part, fault } => write!(f, "{part}: {fault}"),
            Self::Ocsp(fault) => write!(f, "OCSP answer: {fault}"),
            Self::DevicesDiffer => f.write_str("the quote commits to other devices than those shown"),
            Self::DeviceNonceDiffers => f.write_str("the device answered another nonce than the enclave's"),
            Self::Exposed(exposure) => write!(f, "{exposure}"),
            Self::RegistersNotListed => f.write_str("no entry of the policy's registers fits"),
            Self::NoFloorNamed => f.write_str("the policy names no floor for this platform's firmware"),
            Self::FirmwareBelow { part, found, floor } => {
                write!(f, "{part} {found}, the policy asks for {floor} or later")
            }
            Self::GpuMissing => f.write_str("the policy requires a GPU, and the evidence has none"),
            Self::NoChipIdentity => f.write_str("the evidence names no chip"),
            Self::Fabric(fault) => write!(f, "protected PCIe: {fault}"),
            Self::GpuNotAllowed(what) => write!(f, "GPU {what} is not allowed by the policy"),
            Self::UnsupportedCertification(kind) => {
                write!(f, "certification data of type {kind} carries no certificate chain and is not read")
            }
            Self::NotEvaluated => f.write_str("not evaluated"),
            Self::AgeUnknown => f.write_str("the policy limits the age of evidence, and nothing says when it was made"),
            Self::Unrecognised => f.write_str("no known kind of evidence"),
            Self::Quote(error) => write!(f, "{error}"),
            Self::UntrustedRoot(root) => write!(f, "root {root} is not trusted"),
            Self::RootsDiffer => f.write_str("chains of the collateral end in different roots"),
            Self::Certificate { part, error } => write!(f, "{part}: {error}"),
            Self::Revoked(part) => write!(f, "{part} is revoked"),
            Self::Document { part, error } => write!(f, "{part}: {error}"),
            Self::Expired { part, until } => write!(f, "{part} expired after {}", until.0),
            Self::NotYetValid { part, from } => write!(f, "{part} is not valid before {}", from.0),
            Self::OtherIssuer => f.write_str("PCK certificate of another issuer than the collateral speaks of"),
            Self::BadSignature(part) => write!(f, "signature of the {part} does not hold"),
            Self::OtherAttestationKey => f.write_str("the quoting enclave vouches for another attestation key"),
            Self::QuotingEnclave(error) => write!(f, "quoting enclave: {error}"),
            Self::OtherTee => f.write_str("collateral is for SGX and the quote for TDX, or the other way round"),
            Self::OtherModel => f.write_str("TCB info is for another processor model"),
            Self::OtherProvisioning => f.write_str("TCB info is for another provisioning enclave"),
            Self::NoLevel => f.write_str("older than every level of the TCB info"),
            Self::LevelRevoked(part) => write!(f, "the vendor withdrew the level of the {part}"),
            Self::PlatformNotListed(kind) => write!(f, "platform {kind} is not allowed by the policy"),
            Self::RootNotListed(root) => write!(f, "simulated root {root} is not listed in the policy"),
            Self::EnclaveIdNotPinned(id) => write!(f, "enclave {id} is not one of those pinned"),
            Self::NoCodeNamed => f.write_str("the policy names neither measurements nor signers"),
            Self::MeasurementNotListed(found) => write!(f, "measurement {found} is not listed in the policy"),
            Self::SignerNotListed(Some(found)) => write!(f, "signer {found} is not listed in the policy"),
            Self::SignerNotListed(None) => f.write_str("the platform names no signer, and the policy asks for one"),
            Self::DebugEnabled => f.write_str("debug enclave: its host can read its memory"),
            Self::StatusBelow { found, floor } => write!(f, "{found}, the policy asks for {floor} or better"),
            Self::AdvisoryNotAllowed(id) => write!(f, "{id} is open and not allowed by the policy"),
            Self::EvaluationBelow { found, floor } => write!(f, "TCB evaluation {found}, the policy asks for {floor}"),
            Self::TooOld { age, max } => write!(f, "{age} s old, the policy allows {max} s"),
            Self::NoLongerGenuine { until } => write!(f, "its collateral expired after {}", until.0),
            Self::FromTheFuture(at) => write!(f, "made in the future, at {}", at.0),
            Self::ReportDataDiffers => f.write_str("report data differs from what is expected"),
            Self::Unbound => f.write_str("not bound to anything, as asked"),
        }
    }
}

impl serde::Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
