//! The closed list of checks, what each found, and why.

use crate::{
    anchors::Fingerprint,
    format::Format,
    intel::{DocumentError, QuoteError, QuotingEnclaveError, TcbStatus},
    window::Part,
    x509::CertificateError,
};
use alloc::{string::String, vec::Vec};
use core::fmt;
use glacier_wire::{EnclaveId, Measurement, PlatformKind, UnixTime};

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
    /// A TCB level fits the chip, and neither it nor the quoting enclave's is revoked.
    TcbLevel = "tcb-level",
    /// Policy: the kind of platform, and for simulated ones the root.
    PolicyPlatform = "policy-platform",
    /// Policy: the one chip, where pinned.
    PolicyEnclaveId = "policy-enclave-id",
    /// Policy: the code that runs.
    PolicyCode = "policy-code",
    /// Policy: debug enclaves.
    PolicyDebug = "policy-debug",
    /// Policy: floor of the TCB status.
    PolicyTcbStatus = "policy-tcb-status",
    /// Policy: advisories that are open on the platform.
    PolicyAdvisories = "policy-advisories",
    /// Policy: floor of the TCB evaluation number.
    PolicyTcbEvaluation = "policy-tcb-evaluation",
    /// Policy: age of the collateral.
    PolicyCollateralAge = "policy-collateral-age",
    /// Policy: age of the evidence.
    PolicyEvidenceAge = "policy-evidence-age",
    /// Evidence carries the report data that the relying party expects.
    ReportData = "report-data",
}

impl CheckId {
    /// The checks of [`appraise`](crate::appraise).
    pub fn of_evidence() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|id| *id < Self::PolicyPlatform)
    }

    /// The checks of [`Collateral::check`](crate::Collateral::check).
    pub fn of_collateral() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|id| (Self::TrustAnchor..=Self::CollateralCurrent).contains(id))
    }

    /// The checks that [`Genuine::judge`](crate::Genuine::judge) adds.
    pub fn of_policy() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|id| *id >= Self::PolicyPlatform)
    }
}

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
    /// Every check passed.
    Accepted,
    /// A check failed.
    Rejected,
    /// No check failed, but at least one could not be evaluated.
    Undetermined,
}

impl Verdict {
    pub(crate) fn of(checks: &[Check]) -> Self {
        let any = |outcome| checks.iter().any(|check| check.outcome == outcome);
        match (any(Outcome::Fail), any(Outcome::Skip)) {
            (true, _) => Self::Rejected,
            (false, true) => Self::Undetermined,
            (false, false) => Self::Accepted,
        }
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
        Check { id, outcome: Outcome::Skip, reason }
    }

    /// [`Steps::step`] with a reason to show when it passes.
    pub(crate) fn step_because<T>(&mut self, id: CheckId, outcome: Result<(T, Reason), Stop>) -> Option<T> {
        let (check, value) = match outcome {
            Ok((value, reason)) => (Check { id, outcome: Outcome::Pass, reason }, Some(value)),
            Err(Stop::Fail(reason)) => (Check { id, outcome: Outcome::Fail, reason }, None),
            Err(Stop::Skip(reason)) => (Check { id, outcome: Outcome::Skip, reason }, None),
        };
        self.checks.push(check);
        value
    }
}

/// What an earlier check yielded, or that it is needed.
pub(crate) fn needs<T>(id: CheckId, earlier: Option<T>) -> Result<T, Stop> {
    earlier.ok_or(Stop::Skip(Reason::Needs(id)))
}

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
    /// The policy asks for nothing here.
    NotRestricted,

    // Why it could not be evaluated.
    /// An earlier check has to pass first.
    Needs(CheckId),
    /// No collateral was given.
    NoCollateral,
    /// A known kind of evidence that this verifier does not read yet.
    Unsupported(Format),
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
    SignerNotListed(crate::genuine::Signer),
    /// A debug enclave: its host can read its memory.
    DebugEnabled,
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
            Self::NotRestricted => f.write_str("not restricted by the policy"),
            Self::Needs(id) => write!(f, "needs {id}"),
            Self::NoCollateral => f.write_str("no collateral"),
            Self::Unsupported(format) => write!(f, "{format} is not read yet"),
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
            Self::OtherModel => f.write_str("TCB info is for another processor model"),
            Self::OtherProvisioning => f.write_str("TCB info is for another provisioning enclave"),
            Self::NoLevel => f.write_str("older than every level of the TCB info"),
            Self::LevelRevoked(part) => write!(f, "the vendor withdrew the level of the {part}"),
            Self::PlatformNotListed(kind) => write!(f, "platform {kind} is not allowed by the policy"),
            Self::RootNotListed(root) => write!(f, "simulated root {root} is not listed in the policy"),
            Self::EnclaveIdNotPinned(id) => write!(f, "enclave {id} is not one of those pinned"),
            Self::NoCodeNamed => f.write_str("the policy names neither measurements nor signers"),
            Self::MeasurementNotListed(found) => write!(f, "measurement {found} is not listed in the policy"),
            Self::SignerNotListed(found) => write!(f, "signer {found} is not listed in the policy"),
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
