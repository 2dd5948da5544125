//! Composite evidence: a CPU's quote that commits to the evidence of the devices that the enclave
//! uses, so that a device's evidence cannot be borrowed from another machine.
//!
//! Neither a quote nor a device's report names the other's chip. Measured software binds them: the
//! device answers a nonce that is derived from the enclave's keys ([`Claims::device_nonce`]), and the
//! quote's report data is the hash of claims that name exactly these reports and chains
//! ([`Device::digest`]). What that does not prove is said in `docs/attestation.md`.

use crate::{
    anchors::Anchors,
    appraisal::Appraisal,
    appraise::appraise_checked,
    check::{Check, CheckId, Steps, Stop},
    endorsements::{CheckedEndorsements, Endorsements},
    format::Format,
    genuine::{Facts, Genuine},
    intel::{Collateral, CollateralError},
    nvidia::{self, DeviceChain},
    reason::Reason,
};
use alloc::vec::Vec;
use glacier_wire::{Claims, Device, DocumentKind, Evidence, PlatformKind, UnixTime};

impl Endorsements {
    /// What an enclave handed out beside its quote. No collateral at all is none, not an error: the
    /// relying party may have its own.
    pub fn of_enclave(evidence: &Evidence) -> Result<Self, CollateralError> {
        let mut endorsements = Self::default();
        if !evidence.collateral.is_empty() {
            endorsements.collateral = Some(Collateral::parse(&evidence.collateral)?);
        }
        for document in &evidence.documents {
            let bytes = document.bytes.clone();
            match document.kind {
                DocumentKind::Vek => endorsements.vek = Some(bytes),
                DocumentKind::AmdAuthority => endorsements.amd_authorities.push(bytes),
                DocumentKind::AmdCrl => endorsements.amd_crls.push(bytes),
                DocumentKind::Rim => endorsements.rims.push(bytes),
                DocumentKind::Ocsp => endorsements.ocsp.push(bytes),
                _ => {}
            }
        }
        Ok(endorsements)
    }
}

/// Whether everything that an enclave shows is authentic at the time `at`: its quote, and the
/// evidence of its devices, each bound to the other.
pub fn appraise_enclave(
    evidence: &Evidence,
    endorsements: &Endorsements,
    anchors: &Anchors,
    at: UnixTime,
) -> Appraisal<Genuine> {
    appraise_enclave_checked(evidence, &endorsements.check(anchors, at), at)
}

/// [`appraise_enclave`] with endorsements that were checked before.
pub fn appraise_enclave_checked(
    evidence: &Evidence,
    endorsements: &CheckedEndorsements,
    at: UnixTime,
) -> Appraisal<Genuine> {
    with_devices(appraise_checked(&evidence.quote, endorsements, at), evidence, endorsements, at)
}

/// The platform's appraisal, and that of each device.
fn with_devices(
    platform: Appraisal<Genuine>,
    evidence: &Evidence,
    endorsements: &CheckedEndorsements,
    at: UnixTime,
) -> Appraisal<Genuine> {
    let claims = Claims::decode(&evidence.claims);
    if evidence.devices.is_empty() && claims.as_ref().is_ok_and(|claims| claims.devices.is_none()) {
        return platform;
    }
    let mut steps = Steps { checks: platform.checks().to_vec() };
    let mut facts = platform.into_result().ok().map(|genuine| genuine.facts);
    let claims = claims.ok();
    steps.step(CheckId::DeviceBinding, binding(&evidence.devices, claims.as_ref(), facts.as_ref()));
    let devices = || evidence.devices.iter().take(Device::MAX);
    let chains: Vec<_> = devices().map(|device| DeviceChain::read(&device.chain, &endorsements.anchors)).collect();
    for (index, (device, chain)) in (0..).zip(devices().zip(&chains)) {
        let of_device = |check: Check| Check { device: Some(index), ..check };
        let appraisal = match Format::detect(&device.report) {
            Some(Format::NvidiaReport) => nvidia::appraise(&device.report, Some(chain), &chains, endorsements, at),
            _ => refused(),
        };
        steps.checks.extend(appraisal.checks().iter().cloned().map(of_device));
        let device = appraisal.into_result().ok().map(|genuine| genuine.facts);
        let mut answered = Steps::default();
        answered.step(CheckId::DeviceNonce, nonce(device.as_ref(), claims.as_ref()));
        steps.checks.extend(answered.checks.into_iter().map(of_device));
        facts = facts.zip(device).map(|(enclave, device)| joined(enclave, device));
    }
    let checks = steps.checks;
    Appraisal::new(checks.clone(), facts.map(|facts| Genuine { checks, facts }))
}

/// The quote's report data is that of the claims, and they name exactly these devices.
fn binding(devices: &[Device], claims: Option<&Claims>, facts: Option<&Facts>) -> Result<(), Stop> {
    let claims = claims.ok_or(Reason::DevicesDiffer)?;
    if devices.len() > Device::MAX || claims.devices != Some(Device::digest(devices)) {
        return Err(Reason::DevicesDiffer.into());
    }
    let facts = facts.ok_or(Stop::Skip(Reason::Needs(CheckId::ReportSignature)))?;
    if facts.report_data != claims.report_data() {
        return Err(Reason::ReportDataDiffers.into());
    }
    Ok(())
}

fn nonce(device: Option<&Facts>, claims: Option<&Claims>) -> Result<(), Stop> {
    let device = device.ok_or(Stop::Skip(Reason::Needs(CheckId::ReportSignature)))?;
    let expected = claims.map(Claims::device_nonce).ok_or(Reason::DeviceNonceDiffers)?;
    if !device.gpus.iter().all(|gpu| gpu.nonce == expected) {
        return Err(Reason::DeviceNonceDiffers.into());
    }
    Ok(())
}

/// A device that shows something else than a device's report.
fn refused() -> Appraisal<Genuine> {
    let mut steps = Steps::default();
    steps.step::<()>(CheckId::Format, Err(Reason::Unrecognised.into()));
    Appraisal::new(steps.checks, None)
}

/// The enclave with one device more. One simulated part makes the whole simulated.
fn joined(enclave: Facts, device: Facts) -> Facts {
    let mut gpus: Vec<_> = enclave.gpus;
    gpus.extend(device.gpus);
    let simulated = device.platform == PlatformKind::Simulated;
    Facts {
        platform: if simulated { PlatformKind::Simulated } else { enclave.platform },
        anchor: if simulated && enclave.platform != PlatformKind::Simulated { device.anchor } else { enclave.anchor },
        gpus,
        valid_from: enclave.valid_from.max(device.valid_from),
        valid_until: enclave.valid_until.min(device.valid_until),
        ..enclave
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::{
        anchors::Fingerprint,
        check::{Outcome, Verdict},
        genuine::{Signer, Tcb},
        nvidia::forge::{NOW, World},
        registers::{Registers, SgxRegisters},
    };
    use alloc::{vec, vec::Vec};
    use glacier_wire::{Address, Measurement, Purpose};

    fn claims() -> Claims {
        Claims {
            purpose: Purpose::Channel,
            channel_key: [1; 32],
            enclave_key: Address([2; 20]),
            issued_at: UnixTime(NOW),
            nonce: None,
            devices: None,
        }
    }

    /// A device that answered the nonce of these claims.
    fn device(claims: &Claims) -> (World, Device) {
        let mut world = World::gpu();
        world.nonce = claims.device_nonce();
        let device = Device { report: world.report(), chain: world.chain() };
        (world, device)
    }

    /// Hardware whose quote was judged before, and carries the report data of these claims.
    fn platform(claims: &Claims) -> Appraisal<Genuine> {
        let facts = Facts {
            platform: PlatformKind::Tdx,
            anchor: Fingerprint([3; 32]),
            registers: Registers::Sgx(SgxRegisters {
                mrenclave: Measurement([4; 32]),
                mrsigner: Signer([5; 32]),
                product_id: 0,
                svn: 0,
            }),
            exposures: vec![],
            report_data: claims.report_data(),
            hardware_id: Some(vec![6; 16]),
            tcb: Tcb::Nvidia,
            gpus: vec![],
            valid_from: UnixTime(0),
            valid_until: UnixTime(u64::MAX),
        };
        Appraisal::new(vec![], Some(Genuine { checks: vec![], facts }))
    }

    fn appraise(quoted: &Claims, shown: &Claims, world: &World, devices: Vec<Device>) -> Appraisal<Genuine> {
        let evidence = Evidence { devices, ..Evidence::new(vec![], shown.encode(), vec![]) };
        let mut endorsements = Endorsements::default().check(&world.anchors(), UnixTime(NOW));
        endorsements.rims.clone_from(&world.rims);
        with_devices(platform(quoted), &evidence, &endorsements, UnixTime(NOW))
    }

    fn refused(appraisal: Appraisal<Genuine>) -> (CheckId, Reason) {
        assert_eq!(appraisal.verdict(), Verdict::Rejected);
        let error = appraisal.into_result().unwrap_err();
        (error.check, error.reason)
    }

    fn committed(claims: &Claims, devices: &[Device]) -> Claims {
        Claims { devices: Some(Device::digest(devices)), ..claims.clone() }
    }

    #[test]
    fn a_device_that_is_bound_both_ways_is_part_of_the_enclave() {
        let (world, device) = device(&claims());
        let devices = vec![device];
        let claims = committed(&claims(), &devices);
        let appraisal = appraise(&claims, &claims, &world, devices);
        let genuine = appraisal.value().unwrap();
        assert_eq!(genuine.gpus().len(), 1);
        assert_eq!(genuine.gpus()[0].nonce, claims.device_nonce());
        // Its vendor's root is one of our own: that makes the whole simulated.
        assert_eq!(genuine.platform(), PlatformKind::Simulated);
        let numbered = appraisal.checks().iter().filter(|check| check.device == Some(0)).count();
        assert_eq!(numbered, CheckId::of_evidence(Format::NvidiaReport).len() + 1);
    }

    #[test]
    fn answers_about_one_device_do_not_refuse_the_other() {
        let (one, mut other) = (device(&claims()).0, World::gpu().next());
        other.nonce = one.nonce;
        let devices: Vec<_> =
            [&one, &other].map(|world| Device { report: world.report(), chain: world.chain() }).into();
        let claims = committed(&claims(), &devices);
        let evidence = Evidence { devices, ..Evidence::new(vec![], claims.encode(), vec![]) };
        let given = Endorsements { ocsp: [one.answered(), other.answered()].concat(), ..Endorsements::default() };
        let mut endorsements = given.check(&one.anchors(), UnixTime(NOW));
        endorsements.rims.clone_from(&one.rims);
        let appraisal = with_devices(platform(&claims), &evidence, &endorsements, UnixTime(NOW));
        let genuine = appraisal.into_result().unwrap();
        assert!(genuine.gpus().iter().all(|gpu| gpu.revocation_checked));
        assert_ne!(genuine.gpus()[0].device_id, genuine.gpus()[1].device_id);
    }

    #[test]
    fn an_enclave_without_devices_has_no_further_checks() {
        let (world, _) = device(&claims());
        let appraisal = appraise(&claims(), &claims(), &world, vec![]);
        assert_eq!(appraisal.verdict(), Verdict::Accepted);
        assert!(appraisal.checks().is_empty());
    }

    #[test]
    fn a_device_that_the_quote_does_not_name_is_refused() {
        let (world, device) = device(&claims());
        let expected = (CheckId::DeviceBinding, Reason::DevicesDiffer);
        assert_eq!(refused(appraise(&claims(), &claims(), &world, vec![device.clone()])), expected);
        let other = committed(&claims(), &[Device { report: vec![1], chain: vec![] }]);
        assert_eq!(refused(appraise(&other, &other, &world, vec![device])), expected);
    }

    #[test]
    fn a_device_that_the_quote_names_has_to_be_shown() {
        let (world, device) = device(&claims());
        let claims = committed(&claims(), &[device]);
        let expected = (CheckId::DeviceBinding, Reason::DevicesDiffer);
        assert_eq!(refused(appraise(&claims, &claims, &world, vec![])), expected);
    }

    #[test]
    fn claims_that_the_quote_does_not_carry_bind_nothing() {
        let (world, device) = device(&claims());
        let devices = vec![device];
        let shown = committed(&claims(), &devices);
        let found = refused(appraise(&claims(), &shown, &world, devices));
        assert_eq!(found, (CheckId::DeviceBinding, Reason::ReportDataDiffers));
    }

    #[test]
    fn a_device_that_answered_another_enclave_is_refused() {
        let other = Claims { channel_key: [9; 32], ..claims() };
        let (world, device) = device(&other);
        let devices = vec![device];
        let claims = committed(&claims(), &devices);
        let found = refused(appraise(&claims, &claims, &world, devices));
        assert_eq!(found, (CheckId::DeviceNonce, Reason::DeviceNonceDiffers));
    }

    #[test]
    fn what_is_no_devices_report_is_refused() {
        let (world, _) = device(&claims());
        let devices = vec![Device { report: vec![7; 600], chain: vec![] }];
        let claims = committed(&claims(), &devices);
        let appraisal = appraise(&claims, &claims, &world, devices);
        let failed = appraisal.checks().iter().find(|check| check.outcome == Outcome::Fail).unwrap();
        assert_eq!((failed.device, failed.id, &failed.reason), (Some(0), CheckId::Format, &Reason::Unrecognised));
    }

    #[test]
    fn a_missing_manifest_leaves_the_whole_undetermined() {
        let (mut world, device) = device(&claims());
        world.rims.pop();
        let devices = vec![device];
        let claims = committed(&claims(), &devices);
        assert_eq!(appraise(&claims, &claims, &world, devices).verdict(), Verdict::Undetermined);
    }

    #[test]
    fn more_devices_than_are_read_are_refused() {
        let (world, device) = device(&claims());
        let devices = vec![device; Device::MAX + 1];
        let claims = committed(&claims(), &devices);
        let found = refused(appraise(&claims, &claims, &world, devices));
        assert_eq!(found, (CheckId::DeviceBinding, Reason::DevicesDiffer));
    }
}
