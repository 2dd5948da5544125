//! Whether genuine evidence is what a relying party accepts.

use crate::{
    appraisal::Appraisal,
    check::{CheckId, Outcome, Steps, Stop},
    exposure::Exposure,
    genuine::{Genuine, Tcb},
    nvidia::{Architecture, Gpu, GpuMode, fabric},
    policy::{Age, CodeName, GpuPolicy, Policy, RegisterPins, SnpPolicy},
    reason::Reason,
    registers::{Register, Registers},
};
use alloc::string::{String, ToString};
use glacier_wire::{Claims, PlatformKind, ReportData, UnixTime};

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
            CheckId::PolicyExposure => {
                let refused = |found: &&Exposure| **found != Exposure::Debug && !policy.allow_exposures.contains(found);
                match self.exposures().iter().find(refused) {
                    Some(exposure) => Err(Stop::Fail(Reason::Exposed(*exposure))),
                    None => Ok(Reason::Holds),
                }
            }
            CheckId::PolicyGpu => self.gpus_allowed(policy),
            CheckId::PolicyTcbStatus => match self.tcb() {
                Tcb::Intel(tcb) if tcb.status >= policy.min_tcb => Ok(Reason::Level(tcb.status)),
                Tcb::Intel(tcb) => Err(Stop::Fail(Reason::StatusBelow { found: tcb.status, floor: policy.min_tcb })),
                Tcb::Amd(_) => self.firmware_allowed(policy.snp.as_ref()),
                // Each version of NVIDIA's firmware has a manifest of its own, whose end is its floor.
                Tcb::Nvidia => Ok(Reason::NotRestricted),
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
        if policy.measurements.is_empty() && policy.registers.is_empty() && policy.signers.is_empty() {
            return match self.registers() {
                // NVIDIA's manifests say which firmware it is; whose guest uses the GPU is the quote's to say.
                Registers::Gpu(_) => Ok(Reason::NotRestricted),
                _ => Err(Stop::Fail(Reason::NoCodeNamed)),
            };
        }
        let named = |name: &CodeName| match (name, self.registers()) {
            (CodeName::Name(name), registers) => *name == registers.name(),
            (CodeName::Launch(digest), Registers::Snp(snp)) => *digest == snp.measurement,
            (CodeName::Launch(_), _) => false,
        };
        if !policy.measurements.is_empty() && !policy.measurements.iter().any(named) {
            return Err(Stop::Fail(Reason::MeasurementNotListed(self.measurement())));
        }
        if !policy.registers.is_empty() && !policy.registers.iter().any(|pins| pins.fit(self.registers())) {
            return Err(Stop::Fail(Reason::RegistersNotListed));
        }
        match self.signer() {
            _ if policy.signers.is_empty() => Ok(Reason::Holds),
            Some(signer) if policy.signers.contains(&signer) => Ok(Reason::Holds),
            signer => Err(Stop::Fail(Reason::SignerNotListed(signer))),
        }
    }

    fn firmware_allowed(&self, policy: Option<&SnpPolicy>) -> Result<Reason, Stop> {
        let (Some(policy), Tcb::Amd(tcb)) = (policy, self.tcb()) else {
            return Err(Stop::Fail(Reason::NoFloorNamed));
        };
        let (found, floor) = (&tcb.reported, &policy.min_tcb);
        let parts = [
            ("FMC firmware", found.fmc.unwrap_or(0), floor.fmc.unwrap_or(0)),
            ("boot loader", found.bootloader, floor.bootloader),
            ("TEE firmware", found.tee, floor.tee),
            ("SNP firmware", found.snp, floor.snp),
            ("microcode", found.microcode, floor.microcode),
        ];
        if let Some((part, found, floor)) = parts.into_iter().find(|(_, found, floor)| found < floor) {
            return Err(below(part, found.to_string(), floor.to_string()));
        }
        let checked =
            self.checks().iter().any(|check| check.id == CheckId::VekRevocation && check.outcome == Outcome::Pass);
        if !checked && !policy.allow_unchecked_revocation {
            return Err(Stop::Fail(Reason::RevocationNotChecked));
        }
        Ok(Reason::Holds)
    }

    fn gpus_allowed(&self, policy: &Policy) -> Result<Reason, Stop> {
        if !self.gpus().iter().any(|gpu| gpu.architecture != Architecture::Switch) {
            return match &policy.gpu {
                Some(gpu) if gpu.required => Err(Stop::Fail(Reason::GpuMissing)),
                _ => Ok(Reason::NotRestricted),
            };
        }
        let strict = GpuPolicy::default();
        let policy = policy.gpu.as_ref().unwrap_or(&strict);
        self.gpus().iter().try_for_each(|gpu| policy.allows(gpu))?;
        // Nothing encrypts the links of this mode: what is at their other ends has to be attested, too.
        if self.gpus().iter().any(|gpu| gpu.mode == Some(GpuMode::ProtectedPcie)) {
            fabric(self.gpus()).map_err(|fault| Stop::Fail(Reason::Fabric(fault)))?;
        }
        Ok(Reason::Holds)
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

fn below(part: &'static str, found: String, floor: String) -> Stop {
    Stop::Fail(Reason::FirmwareBelow { part, found, floor })
}

impl GpuPolicy {
    fn allows(&self, gpu: &Gpu) -> Result<(), Stop> {
        let refused = |what| Err(Stop::Fail(Reason::GpuNotAllowed(what)));
        if !self.architectures.is_empty() && !self.architectures.contains(&gpu.architecture) {
            return refused("architecture");
        }
        let mode = match (&gpu.mode, self.modes.as_slice()) {
            // Firmware that does not say knows of no way to share.
            (None | Some(GpuMode::Single | GpuMode::Multi), []) => true,
            (Some(GpuMode::ProtectedPcie), []) => false,
            (None, modes) => modes.contains(&GpuMode::Single),
            (Some(mode), modes) => modes.contains(mode),
        };
        if !mode && gpu.architecture != Architecture::Switch {
            return refused("mode");
        }
        if let (Some(floor), Some(driver)) = (&self.min_driver, &gpu.driver)
            && !reaches(driver, floor, 10)
        {
            return Err(below("GPU driver", driver.clone(), floor.clone()));
        }
        if let Some(floor) = self.min_vbios.as_ref().filter(|_| gpu.architecture != Architecture::Switch)
            && !reaches(&gpu.vbios, floor, 16)
        {
            return Err(below("VBIOS", gpu.vbios.clone(), floor.clone()));
        }
        if !gpu.revocation_checked && !self.allow_unchecked_revocation {
            return Err(Stop::Fail(Reason::RevocationNotChecked));
        }
        Ok(())
    }
}

/// Whether a dotted version is at least `floor`, number by number; a missing number counts as zero.
/// Where no number comes first that differs, what is not one reaches nothing.
fn reaches(version: &str, floor: &str, radix: u32) -> bool {
    let mut versions = version.split('.').map(|part| u64::from_str_radix(part, radix));
    let mut floors = floor.split('.').map(|part| u64::from_str_radix(part, radix));
    loop {
        match (versions.next(), floors.next()) {
            (None, None) => return true,
            (Some(Err(_)), _) | (_, Some(Err(_))) => return false,
            (version, floor) => {
                let (version, floor) =
                    (version.and_then(Result::ok).unwrap_or(0), floor.and_then(Result::ok).unwrap_or(0));
                if version != floor {
                    return version > floor;
                }
            }
        }
    }
}

impl RegisterPins {
    fn fit(&self, registers: &Registers) -> bool {
        let td = [
            &self.mrtd,
            &self.rtmr0,
            &self.rtmr1,
            &self.rtmr2,
            &self.rtmr3,
            &self.mrconfigid,
            &self.mrowner,
            &self.mrownerconfig,
            &self.mrseam,
        ];
        let snp = [&self.measurement, &self.id_key_digest];
        let named = |pins: &[&Option<Register>]| pins.iter().any(|pin| pin.is_some());
        let fits = |pins: &[&Option<Register>], found: &[&Register]| {
            pins.iter().zip(found).all(|(pin, found)| pin.as_ref().is_none_or(|pin| pin == *found))
        };
        match registers {
            Registers::Tdx(found) => {
                let [rtmr0, rtmr1, rtmr2, rtmr3] = &found.rtmr;
                let values = [
                    &found.mrtd,
                    rtmr0,
                    rtmr1,
                    rtmr2,
                    rtmr3,
                    &found.mrconfigid,
                    &found.mrowner,
                    &found.mrownerconfig,
                    &found.mrseam,
                ];
                named(&td) && !named(&snp) && self.host_data.is_none() && fits(&td, &values)
            }
            Registers::Snp(found) => {
                (named(&snp) || self.host_data.is_some())
                    && !named(&td)
                    && fits(&snp, &[&found.measurement, &found.id_key_digest])
                    && self.host_data.is_none_or(|pin| pin.0 == found.host_data)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{anchors::Fingerprint, genuine::Facts, nvidia::FabricFault, registers::GpuRegisters};
    use alloc::{vec, vec::Vec};

    fn gpu() -> Gpu {
        Gpu {
            architecture: Architecture::Hopper,
            driver: Some("550.90.07".into()),
            vbios: "96.00.9F.00.01".into(),
            ueid: "1".into(),
            device_id: vec![0x41, 1, 1, 1, 1, 1, 1, 1, 1],
            mode: Some(GpuMode::Single),
            nonce: [7; 32],
            revocation_checked: true,
            linked: vec![],
        }
    }

    /// What the policy says of these devices; `None` if it allows them.
    fn refused(gpus: Vec<Gpu>, policy: Option<GpuPolicy>) -> Option<Reason> {
        let facts = Facts {
            platform: PlatformKind::Nvidia,
            anchor: Fingerprint([1; 32]),
            registers: Registers::Gpu(GpuRegisters { vouched: vec![] }),
            exposures: vec![],
            report_data: [0; 64],
            hardware_id: None,
            tcb: Tcb::Nvidia,
            gpus,
            valid_from: UnixTime(0),
            valid_until: UnixTime(u64::MAX),
        };
        let genuine = Genuine { checks: vec![], facts };
        match genuine.gpus_allowed(&Policy { gpu: policy, ..Policy::default() }) {
            Err(Stop::Fail(reason)) => Some(reason),
            _ => None,
        }
    }

    #[test]
    fn a_gpu_is_judged_strictly_by_a_policy_that_says_nothing_of_it() {
        assert_eq!(refused(vec![gpu()], None), None);
        let unchecked = Gpu { revocation_checked: false, ..gpu() };
        assert_eq!(refused(vec![unchecked.clone()], None), Some(Reason::RevocationNotChecked));
        let relaxed = GpuPolicy { allow_unchecked_revocation: true, ..GpuPolicy::default() };
        assert_eq!(refused(vec![unchecked], Some(relaxed)), None);
    }

    #[test]
    fn each_floor_and_list_is_asked() {
        let ask = |policy: GpuPolicy| refused(vec![gpu()], Some(policy));
        let text = |text: &str| Some(text.into());
        let below = |policy| matches!(ask(policy), Some(Reason::FirmwareBelow { .. }));
        assert!(below(GpuPolicy { min_driver: text("550.90.08"), ..GpuPolicy::default() }));
        assert!(below(GpuPolicy { min_vbios: text("96.00.A0"), ..GpuPolicy::default() }));
        assert_eq!(ask(GpuPolicy { min_driver: text("550.90"), min_vbios: text("96"), ..GpuPolicy::default() }), None);
        let blackwell = GpuPolicy { architectures: vec![Architecture::Blackwell], ..GpuPolicy::default() };
        assert_eq!(ask(blackwell), Some(Reason::GpuNotAllowed("architecture")));
        let multi = GpuPolicy { modes: vec![GpuMode::Multi], ..GpuPolicy::default() };
        assert_eq!(ask(multi), Some(Reason::GpuNotAllowed("mode")));
    }

    #[test]
    fn protected_pcie_needs_to_be_listed_and_its_switches_shown() {
        let (gpu_pdi, switch_pdi) = ([1; 8], [2; 8]);
        let shared = Gpu { mode: Some(GpuMode::ProtectedPcie), linked: vec![switch_pdi], ..gpu() };
        let switch = Gpu {
            architecture: Architecture::Switch,
            driver: None,
            device_id: [&[0x50][..], &switch_pdi].concat(),
            mode: None,
            linked: vec![gpu_pdi],
            ..gpu()
        };
        let listed = || Some(GpuPolicy { modes: vec![GpuMode::ProtectedPcie], ..GpuPolicy::default() });
        assert_eq!(refused(vec![shared.clone(), switch.clone()], None), Some(Reason::GpuNotAllowed("mode")));
        assert_eq!(refused(vec![shared.clone()], listed()), Some(Reason::Fabric(FabricFault::Incomplete)));
        let elsewhere = Gpu { linked: vec![[3; 8]], ..switch.clone() };
        assert_eq!(refused(vec![shared.clone(), elsewhere], listed()), Some(Reason::Fabric(FabricFault::Linked(1))));
        assert_eq!(refused(vec![shared, switch], listed()), None);
    }

    #[test]
    fn versions_are_compared_number_by_number() {
        assert!(reaches("550.90.07", "550.90.07", 10));
        assert!(reaches("550.90.07", "550", 10));
        assert!(reaches("550.100", "550.90.07", 10));
        assert!(!reaches("550.90", "550.90.07", 10));
        assert!(!reaches("90.9", "550", 10));
        assert!(reaches("96.00.9F.00.01", "96.00.74", 16));
        assert!(!reaches("", "1", 10));
        assert!(!reaches("550.x", "550.1", 10));
        assert!(!reaches("550", "newest", 10));
    }
}
