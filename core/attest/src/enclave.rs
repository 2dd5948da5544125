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
    nvidia,
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
    let platform = appraise_checked(&evidence.quote, endorsements, at);
    let claims = Claims::decode(&evidence.claims);
    if evidence.devices.is_empty() && claims.as_ref().is_ok_and(|claims| claims.devices.is_none()) {
        return platform;
    }
    let mut steps = Steps { checks: platform.checks().to_vec() };
    let mut facts = platform.into_result().ok().map(|genuine| genuine.facts);
    let claims = claims.ok();
    steps.step(CheckId::DeviceBinding, binding(&evidence.devices, claims.as_ref(), facts.as_ref()));
    for (index, device) in (0..).zip(evidence.devices.iter().take(Device::MAX)) {
        let of_device = |check: Check| Check { device: Some(index), ..check };
        let chain = nvidia::DeviceChain::read(&device.chain, &endorsements.anchors);
        let endorsements = CheckedEndorsements { gpu_chain: Some(chain), ..endorsements.clone() };
        let appraisal = match Format::detect(&device.report) {
            Some(Format::NvidiaReport) => nvidia::appraise(&device.report, &endorsements, at),
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
