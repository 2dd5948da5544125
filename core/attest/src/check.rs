//! The closed list of checks, and what each found.

use crate::{format::Format, reason::Reason};
use alloc::vec::Vec;
use core::fmt;

macro_rules! check_ids {
    ($($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)?) => {
        /// Every check there is, in the order in which an appraisal lists them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum CheckId {
            $($(#[$doc])* $variant,)+
        }

        impl CheckId {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word that outputs use.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
}

check_ids! {
    /// Evidence is of a known and supported kind.
    Format = "format",
    /// Evidence is well-formed: exact lengths, constants, nothing left over.
    Structure = "structure",
    /// All chains of the collateral end in one trusted root.
    TrustAnchor = "trust-anchor",
    /// The root's revocation list is signed by the root.
    RootCrl = "root-crl",
    /// The PCK issuer's revocation list is signed by a PCK CA that the root issued and did not revoke.
    PckCrl = "pck-crl",
    /// The TCB info is signed by a signer that the root issued and did not revoke.
    TcbInfo = "tcb-info",
    /// The QE identity is signed by a signer that the root issued and did not revoke.
    QeIdentity = "qe-identity",
    /// Every signed part of the collateral is current at the time of evaluation.
    CollateralCurrent = "collateral-current",
    /// The chip's PCK certificate comes from a PCK CA under a trusted root and is current.
    PckChain = "pck-chain",
    /// The chip's PCK certificate is not revoked.
    PckRevocation = "pck-revocation",
    /// The quoting enclave's report is signed by the chip's PCK key.
    QeReport = "qe-report",
    /// The attestation key is the one that the quoting enclave vouches for.
    AttestationKey = "attestation-key",
    /// The quoting enclave is the vendor's.
    QuotingEnclave = "quoting-enclave",
    /// The report is signed by the attestation key.
    QuoteSignature = "quote-signature",
    /// The TCB info speaks of this processor model.
    PlatformModel = "platform-model",
    /// TDX: the module that runs the domain is the vendor's, at a level that is not revoked.
    TdModule = "td-module",
    /// A TCB level fits the chip, and neither it nor the quoting enclave's is revoked.
    TcbLevel = "tcb-level",
    /// SNP: the key that signs reports comes from AMD's authority for its product, and is current.
    VekChain = "vek-chain",
    /// SNP: AMD's revocation list, where given, does not name the authorities of that key.
    VekRevocation = "vek-revocation",
    /// SNP: that key's certificate is for this chip at this firmware.
    VekBinding = "vek-binding",
    /// NVIDIA: the attestation key comes from the device's boot-ROM key, and that from NVIDIA.
    DeviceChain = "device-chain",
    /// NVIDIA: OCSP answers, where given, say that nothing of the device's chain is revoked.
    DeviceRevocation = "device-revocation",
    /// NVIDIA: the key is certified for the firmware that the report names.
    FirmwareId = "firmware-id",
    /// SNP, NVIDIA: the report is signed by the chip's key.
    ReportSignature = "report-signature",
    /// NVIDIA: versions, mode and further fields of the report have values that are understood.
    ReportFields = "report-fields",
    /// NVIDIA: a reference manifest for this driver, signed by NVIDIA and current.
    DriverRim = "driver-rim",
    /// NVIDIA: a reference manifest for this VBIOS, signed by NVIDIA and current.
    VbiosRim = "vbios-rim",
    /// NVIDIA: OCSP answers, where given, say that nothing of the manifests' chains is revoked.
    RimRevocation = "rim-revocation",
    /// One manifest: the certificate of its signer comes from a trusted root of manifests.
    RimChain = "rim-chain",
    /// One manifest: signed by that signer, over the document as it is.
    RimSignature = "rim-signature",
    /// One manifest: every certificate of the chain is valid at the time of evaluation.
    RimCurrent = "rim-current",
    /// NVIDIA: every measurement that the manifests name has a value that they name.
    Measurements = "measurements",
    /// Composite: the CPU's quote commits to exactly these devices' evidence.
    DeviceBinding = "device-binding",
    /// Composite: the device answered a nonce that was derived from the enclave's keys.
    DeviceNonce = "device-nonce",
    /// Policy: the kind of platform, and for simulated ones the root.
    PolicyPlatform = "policy-platform",
    /// Policy: the one chip, where pinned.
    PolicyEnclaveId = "policy-enclave-id",
    /// Policy: the code that runs.
    PolicyCode = "policy-code",
    /// Policy: debug enclaves.
    PolicyDebug = "policy-debug",
    /// Policy: other attributes that let somebody in.
    PolicyExposure = "policy-exposure",
    /// Policy: floor of the TCB status, for SNP of the firmware's versions.
    PolicyTcbStatus = "policy-tcb-status",
    /// Policy: advisories that are open on the platform.
    PolicyAdvisories = "policy-advisories",
    /// Policy: floor of the TCB evaluation number.
    PolicyTcbEvaluation = "policy-tcb-evaluation",
    /// Policy: age of the collateral.
    PolicyCollateralAge = "policy-collateral-age",
    /// Policy: age of the evidence.
    PolicyEvidenceAge = "policy-evidence-age",
    /// Policy: GPUs.
    PolicyGpu = "policy-gpu",
    /// Evidence carries the report data that the relying party expects.
    ReportData = "report-data",
}

impl CheckId {
    /// The checks of [`appraise`](crate::appraise) for evidence of this kind.
    pub fn of_evidence(format: Format) -> &'static [Self] {
        match format {
            Format::SgxQuoteV3 => SGX,
            Format::TdxQuoteV4 | Format::TdxQuoteV5 => TDX,
            Format::SnpReport => SNP,
            Format::NvidiaReport => NVIDIA,
        }
    }

    /// The checks of [`Collateral::check`](crate::Collateral::check).
    pub fn of_collateral() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|id| (Self::TrustAnchor..=Self::CollateralCurrent).contains(id))
    }

    /// The checks of [`Rim::check`](crate::Rim::check).
    pub fn of_manifest() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|id| (Self::RimChain..=Self::RimCurrent).contains(id))
    }

    /// The checks that [`Genuine::judge`](crate::Genuine::judge) adds.
    pub fn of_policy() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|id| *id >= Self::PolicyPlatform)
    }

    /// Whether nothing is accepted without it. Revocation that a vendor answers online only is the
    /// exception: given, it must hold; absent, the check is listed as skipped and policy judges that.
    pub fn is_required(self) -> bool {
        !matches!(self, Self::VekRevocation | Self::DeviceRevocation | Self::RimRevocation)
    }
}

use CheckId as C;
const SGX: &[C] = &[
    C::Format,
    C::Structure,
    C::TrustAnchor,
    C::RootCrl,
    C::PckCrl,
    C::TcbInfo,
    C::QeIdentity,
    C::CollateralCurrent,
    C::PckChain,
    C::PckRevocation,
    C::QeReport,
    C::AttestationKey,
    C::QuotingEnclave,
    C::QuoteSignature,
    C::PlatformModel,
    C::TcbLevel,
];
const TDX: &[C] = &[
    C::Format,
    C::Structure,
    C::TrustAnchor,
    C::RootCrl,
    C::PckCrl,
    C::TcbInfo,
    C::QeIdentity,
    C::CollateralCurrent,
    C::PckChain,
    C::PckRevocation,
    C::QeReport,
    C::AttestationKey,
    C::QuotingEnclave,
    C::QuoteSignature,
    C::PlatformModel,
    C::TdModule,
    C::TcbLevel,
];
const SNP: &[C] =
    &[C::Format, C::Structure, C::TrustAnchor, C::VekChain, C::VekRevocation, C::VekBinding, C::ReportSignature];
const NVIDIA: &[C] = &[
    C::Format,
    C::Structure,
    C::TrustAnchor,
    C::DeviceChain,
    C::DeviceRevocation,
    C::FirmwareId,
    C::ReportSignature,
    C::ReportFields,
    C::DriverRim,
    C::VbiosRim,
    C::RimRevocation,
    C::Measurements,
];

impl fmt::Display for CheckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for CheckId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It holds.
    Pass,
    /// It does not hold.
    Fail,
    /// It could not be evaluated. Never counts as passed.
    Skip,
}

/// What follows from a list of checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every required check passed, and no other failed.
    Accepted,
    /// A check failed.
    Rejected,
    /// No check failed, but at least one that is required could not be evaluated.
    Undetermined,
}

impl Verdict {
    pub(crate) fn of(checks: &[Check]) -> Self {
        if checks.iter().any(|check| check.outcome == Outcome::Fail) {
            return Self::Rejected;
        }
        if checks.iter().any(|check| check.outcome == Outcome::Skip && check.id.is_required()) {
            return Self::Undetermined;
        }
        Self::Accepted
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Undetermined => "undetermined",
        })
    }
}

/// One line of an appraisal.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Check {
    /// Of which device of a composite, from 0; `None` for the platform itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<u8>,
    /// Which check.
    pub id: CheckId,
    /// What it found.
    pub outcome: Outcome,
    /// Why, typed; its text is for people.
    pub reason: Reason,
}

/// An appraisal while it is being made: checks are put on the list in order, each by a step.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    pub(crate) checks: Vec<Check>,
}

/// Why a step did not pass.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It does not hold.
    Fail(Reason),
    /// It cannot be evaluated.
    Skip(Reason),
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Self {
        Self::Fail(reason)
    }
}

impl Steps {
    /// Puts the outcome of one check on the list; what it yields is there only if it passed.
    pub(crate) fn step<T>(&mut self, id: CheckId, outcome: Result<T, Stop>) -> Option<T> {
        self.step_because(id, outcome.map(|value| (value, Reason::Holds)))
    }

    /// The line of a check that is not made at all.
    pub(crate) fn skipped(id: CheckId, reason: Reason) -> Check {
        Check { device: None, id, outcome: Outcome::Skip, reason }
    }

    /// [`Steps::step`] with a reason to show when it passes.
    pub(crate) fn step_because<T>(&mut self, id: CheckId, outcome: Result<(T, Reason), Stop>) -> Option<T> {
        let (check, value) = match outcome {
            Ok((value, reason)) => (Check { device: None, id, outcome: Outcome::Pass, reason }, Some(value)),
            Err(Stop::Fail(reason)) => (Check { device: None, id, outcome: Outcome::Fail, reason }, None),
            Err(Stop::Skip(reason)) => (Check { device: None, id, outcome: Outcome::Skip, reason }, None),
        };
        self.checks.push(check);
        value
    }
}

/// What an earlier check yielded, or that it is needed.
pub(crate) fn needs<T>(id: CheckId, earlier: Option<T>) -> Result<T, Stop> {
    earlier.ok_or(Stop::Skip(Reason::Needs(id)))
}
