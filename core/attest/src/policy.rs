//! What a relying party accepts, and the answer to whether genuine evidence is that.

use crate::{
    anchors::{Anchors, Fingerprint},
    appraisal::Appraisal,
    check::{CheckId, Steps, Stop},
    exposure::Exposure,
    genuine::{Genuine, Signer},
    intel::TcbStatus,
    reason::Reason,
};
use alloc::{string::String, vec::Vec};
use core::fmt;
use glacier_wire::{Claims, EnclaveId, Measurement, PlatformKind, ReportData, UnixTime};

/// What a relying party accepts. Everything absent is strict.
///
/// | field | absent means |
/// |---|---|
/// | `platforms` | hardware of any vendor, never simulated |
/// | `simulated_roots` | none |
/// | `measurements`, `signers` | both absent: refused, since nobody said which code. One absent: only the other is asked. Both present: both must hold |
/// | `min_tcb` | `UpToDate` |
/// | `allowed_advisories` | none may be open |
/// | `allow_debug` | no |
/// | `min_tcb_evaluation` | any that the collateral's own validity lets pass |
/// | `max_collateral_age` | as long as the collateral's own validity |
/// | `max_evidence_age` | [`Policy::DEFAULT_EVIDENCE_AGE`] for evidence that says when it was made |
/// | `enclave_ids` | any chip |
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Kinds of platform. Simulated ones need their root in `simulated_roots` as well.
    pub platforms: Vec<PlatformKind>,
    /// Roots of simulated platforms, by the SHA-256 of their certificate.
    pub simulated_roots: Vec<Fingerprint>,
    /// Code, by measurement.
    pub measurements: Vec<Measurement>,
    /// Code, by signer. Vouches for every program and version of that signer.
    pub signers: Vec<Signer>,
    /// Floor of the TCB status, in the order of [`TcbStatus`].
    pub min_tcb: TcbStatus,
    /// Advisories that may be open, as `INTEL-SA-00615`.
    pub allowed_advisories: Vec<String>,
    /// Whether debug enclaves are accepted: their host can read their memory.
    pub allow_debug: bool,
    /// Floor of the TCB evaluation number.
    pub min_tcb_evaluation: Option<u32>,
    /// Largest age of the collateral's oldest monthly part.
    pub max_collateral_age: Option<Age>,
    /// Largest age of the evidence, by the time in its claims.
    pub max_evidence_age: Option<Age>,
    /// Chips: node pins.
    pub enclave_ids: Vec<EnclaveId>,
}

impl Default for Policy {
    /// Accepts nothing: no code is named.
    fn default() -> Self {
        Self {
            platforms: Vec::new(),
            simulated_roots: Vec::new(),
            measurements: Vec::new(),
            signers: Vec::new(),
            min_tcb: TcbStatus::UpToDate,
            allowed_advisories: Vec::new(),
            allow_debug: false,
            min_tcb_evaluation: None,
            max_collateral_age: None,
            max_evidence_age: None,
            enclave_ids: Vec::new(),
        }
    }
}

impl Policy {
    /// Age that evidence with claims may have where the policy is silent: a day.
    pub const DEFAULT_EVIDENCE_AGE: Age = Age(24 * 60 * 60);

    /// How far ahead of ours an enclave's clock may be, in seconds.
    pub const CLOCK_SKEW: u64 = 5 * 60;

    /// The vendors' roots and the simulated ones that this policy names.
    pub fn anchors(&self) -> Anchors {
        self.simulated_roots.iter().copied().fold(Anchors::vendor(), Anchors::with_simulated)
    }
}

/// A span of time, in seconds. In documents a number of seconds or text such as `"90s"`, `"15m"`,
/// `"12h"` or `"30d"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Age(pub u64);

impl serde::Serialize for Age {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Age {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = Age;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of seconds, or a number with one of the units s, m, h, d")
            }

            fn visit_u64<E: serde::de::Error>(self, seconds: u64) -> Result<Age, E> {
                Ok(Age(seconds))
            }

            fn visit_i64<E: serde::de::Error>(self, seconds: i64) -> Result<Age, E> {
                seconds.try_into().map(Age).map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(seconds), &self))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Age, E> {
                Age::parse(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl Age {
    fn parse(text: &str) -> Option<Self> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match text.strip_prefix(digits)? {
            "s" => 1,
            "m" => 60,
            "h" => 60 * 60,
            "d" => 24 * 60 * 60,
            _ => return None,
        };
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        digits.parse::<u64>().ok()?.checked_mul(unit).map(Self)
    }
}

/// What the report data must be.
#[derive(Debug, Clone, Copy)]
pub enum Binding<'a> {
    /// The hash of these claims; their time is the evidence's age.
    Claims(&'a Claims),
    /// Exactly these bytes. If the policy sets `max_evidence_age`, the answer is undetermined,
    /// because bare report data says nothing of time.
    ReportData(&'a ReportData),
    /// Anything. The named relaxation for looking at evidence; a channel never uses it, and
    /// [`Accepted::bound_report_data`] tells.
    Unbound,
}

/// Genuine evidence that a policy accepts.
///
/// Made by [`Genuine::judge`] alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    genuine: Genuine,
    bound: bool,
}

impl Accepted {
    /// What was accepted.
    pub fn genuine(&self) -> &Genuine {
        &self.genuine
    }

    /// The report data, if the relying party said what it must be; `None` under [`Binding::Unbound`].
    pub fn bound_report_data(&self) -> Option<&ReportData> {
        self.bound.then(|| self.genuine.report_data())
    }
}

impl core::ops::Deref for Accepted {
    type Target = Genuine;

    fn deref(&self) -> &Genuine {
        &self.genuine
    }
}

impl Genuine {
    /// Whether `policy` accepts this evidence, bound as `binding` says, at the time `at`. The
    /// checks that made it genuine come first in the list, then the policy's.
    pub fn judge(self, policy: &Policy, binding: Binding<'_>, at: UnixTime) -> Appraisal<Accepted> {
        let mut steps = Steps { checks: self.checks().to_vec() };
        for id in CheckId::of_policy() {
            steps.step_because(id, self.meets(id, policy, binding, at).map(|reason| ((), reason)));
        }
        let bound = !matches!(binding, Binding::Unbound);
        Appraisal::new(steps.checks, Some(Accepted { genuine: self, bound }))
    }

    fn meets(&self, id: CheckId, policy: &Policy, binding: Binding<'_>, at: UnixTime) -> Result<Reason, Stop> {
        match id {
            CheckId::PolicyPlatform => self.platform_allowed(policy),
            CheckId::PolicyEnclaveId => self.chip_allowed(policy),
            CheckId::PolicyCode => self.code_allowed(policy),
            CheckId::PolicyDebug => match (self.debug(), policy.allow_debug) {
                (true, false) => Err(Stop::Fail(Reason::DebugEnabled)),
                _ => Ok(Reason::Holds),
            },
            CheckId::PolicyExposure => match self.exposures().iter().find(|found| **found != Exposure::Debug) {
                Some(exposure) => Err(Stop::Fail(Reason::Exposed(*exposure))),
                None => Ok(Reason::Holds),
            },
            CheckId::PolicyGpu => Ok(Reason::NotRestricted),
            CheckId::PolicyTcbStatus => match self.tcb_status() {
                Some(found) if found >= policy.min_tcb => Ok(Reason::Level(found)),
                Some(found) => Err(Stop::Fail(Reason::StatusBelow { found, floor: policy.min_tcb })),
                None => Err(Stop::Fail(Reason::NoFloorNamed)),
            },
            CheckId::PolicyAdvisories => {
                match self.advisories().iter().find(|id| !policy.allowed_advisories.contains(id)) {
                    Some(id) => Err(Stop::Fail(Reason::AdvisoryNotAllowed(id.clone()))),
                    None => Ok(Reason::Holds),
                }
            }
            CheckId::PolicyTcbEvaluation => match (policy.min_tcb_evaluation, self.intel().map(|tcb| tcb.evaluation)) {
                (None, _) | (_, None) => Ok(Reason::NotRestricted),
                (Some(floor), Some(found)) if found >= floor => Ok(Reason::Holds),
                (Some(floor), Some(found)) => Err(Stop::Fail(Reason::EvaluationBelow { found, floor })),
            },
            // Judged at another time than appraised: what made it genuine has to hold now, too.
            CheckId::PolicyCollateralAge if at < self.validity().0 => {
                Err(Stop::Fail(Reason::FromTheFuture(self.validity().0)))
            }
            CheckId::PolicyCollateralAge if at > self.validity().1 => {
                Err(Stop::Fail(Reason::NoLongerGenuine { until: self.validity().1 }))
            }
            CheckId::PolicyCollateralAge => match (policy.max_collateral_age, self.intel()) {
                (None, _) | (_, None) => Ok(Reason::NotRestricted),
                (Some(max), Some(tcb)) => age_within(tcb.collateral_issued, 0, max, at),
            },
            CheckId::PolicyEvidenceAge => match (binding, policy.max_evidence_age) {
                (Binding::Claims(claims), max) => {
                    age_within(claims.issued_at, Policy::CLOCK_SKEW, max.unwrap_or(Policy::DEFAULT_EVIDENCE_AGE), at)
                }
                (_, Some(_)) => Err(Stop::Skip(Reason::AgeUnknown)),
                (_, None) => Ok(Reason::NotRestricted),
            },
            CheckId::ReportData => match binding {
                Binding::Claims(claims) => self.carries(&claims.report_data()),
                Binding::ReportData(expected) => self.carries(expected),
                Binding::Unbound => Ok(Reason::Unbound),
            },
            // Not a policy's check; `of_policy` yields none of these.
            _ => Err(Stop::Skip(Reason::NotEvaluated)),
        }
    }

    fn platform_allowed(&self, policy: &Policy) -> Result<Reason, Stop> {
        let simulated = self.platform() == PlatformKind::Simulated;
        let listed = match policy.platforms.as_slice() {
            [] => !simulated,
            platforms => platforms.contains(&self.platform()),
        };
        if !listed {
            return Err(Stop::Fail(Reason::PlatformNotListed(self.platform())));
        }
        if simulated && !policy.simulated_roots.contains(&self.anchor()) {
            return Err(Stop::Fail(Reason::RootNotListed(self.anchor())));
        }
        Ok(Reason::Anchored { root: self.anchor(), platform: self.platform() })
    }

    fn chip_allowed(&self, policy: &Policy) -> Result<Reason, Stop> {
        match self.enclave_id() {
            _ if policy.enclave_ids.is_empty() => Ok(Reason::NotRestricted),
            Some(id) if policy.enclave_ids.contains(&id) => Ok(Reason::Holds),
            Some(id) => Err(Stop::Fail(Reason::EnclaveIdNotPinned(id))),
            None => Err(Stop::Fail(Reason::NoChipIdentity)),
        }
    }

    fn code_allowed(&self, policy: &Policy) -> Result<Reason, Stop> {
        if policy.measurements.is_empty() && policy.signers.is_empty() {
            return Err(Stop::Fail(Reason::NoCodeNamed));
        }
        if !policy.measurements.is_empty() && !policy.measurements.contains(&self.measurement()) {
            return Err(Stop::Fail(Reason::MeasurementNotListed(self.measurement())));
        }
        match self.signer() {
            _ if policy.signers.is_empty() => Ok(Reason::Holds),
            Some(signer) if policy.signers.contains(&signer) => Ok(Reason::Holds),
            signer => Err(Stop::Fail(Reason::SignerNotListed(signer))),
        }
    }

    fn carries(&self, expected: &ReportData) -> Result<Reason, Stop> {
        if self.report_data() == expected { Ok(Reason::Holds) } else { Err(Stop::Fail(Reason::ReportDataDiffers)) }
    }
}

fn age_within(made: UnixTime, skew: u64, max: Age, at: UnixTime) -> Result<Reason, Stop> {
    if made.0 > at.0.saturating_add(skew) {
        return Err(Stop::Fail(Reason::FromTheFuture(made)));
    }
    match at.0.saturating_sub(made.0) {
        age if age > max.0 => Err(Stop::Fail(Reason::TooOld { age, max: max.0 })),
        _ => Ok(Reason::Holds),
    }
}
