//! The story of a GPU's or switch's report, from vendor roots to verdict.
//!
//! Who signs what: NVIDIA's device root signs the authority of a product line, that the one of a
//! factory line, that the key in each device's boot ROM. The boot ROM signs, at every boot, a key for
//! the firmware it started, and that key signs the report. What firmware that may be is said by two
//! manifests, of driver and VBIOS, under NVIDIA's other root: the report names their versions.

use super::{
    chain::{Device, DeviceChain},
    fault::GpuFault,
    gpu::{Architecture, Gpu},
    manifests::Wanted,
    measurements,
    opaque::Fields,
    report::Report,
    revocation::Answers,
    rim::{CheckedRim, RimKind},
};
use crate::{
    anchors::Fingerprint,
    appraisal::Appraisal,
    check::{CheckId, Steps, Stop, needs},
    endorsements::CheckedEndorsements,
    format::Format,
    genuine::{Facts, Genuine, Tcb},
    reason::Reason,
    registers::{GpuRegisters, Register, Registers},
    window::{Part, Window},
    x509::CertificateError,
};
use alloc::{vec, vec::Vec};
use glacier_wire::{PlatformKind, UnixTime};

/// Whether a report is authentic at the time `at`, for the price of one P-384 verification and two
/// for each OCSP answer. `beside` are the chains of other devices of the same enclave: an answer may be
/// about one of them.
pub(crate) fn appraise(
    evidence: &[u8],
    chain: Option<&DeviceChain>,
    beside: &[DeviceChain],
    given: &CheckedEndorsements,
    at: UnixTime,
) -> Appraisal<Genuine> {
    let mut steps = Steps::default();
    steps.step_because(CheckId::Format, Ok(((), Reason::Recognised(Format::NvidiaReport))));
    let report = steps.step(CheckId::Structure, Report::read(evidence).map_err(|fault| Reason::Gpu(fault).into()));
    let report = report.as_ref();
    let answers = Answers::read(&given.ocsp, at);

    let root = steps.step_because(CheckId::TrustAnchor, trust_anchor(chain));
    let device = steps.step(CheckId::DeviceChain, device_chain(root, chain, at));
    let device_current = steps.step(CheckId::DeviceRevocation, device_revocation(&answers, device));
    steps.step_because(CheckId::FirmwareId, firmware_id(report, device));
    let signed = steps.step(CheckId::ReportSignature, report_signature(report, device));
    let fields = steps.step(CheckId::ReportFields, report_fields(report, device, signed));
    let fields = fields.as_ref();

    let driver = steps.step_because(CheckId::DriverRim, driver_rim(fields, root, device, given, at));
    let firmware = steps.step_because(CheckId::VbiosRim, firmware_rim(fields, root, device, given, at));
    let manifests = [driver.flatten(), firmware];
    let all_manifests = driver.and(firmware).is_some();
    let rims_current =
        steps.step(CheckId::RimRevocation, rim_revocation(&answers, device, beside, given, manifests, all_manifests));
    let vouched = steps.step(CheckId::Measurements, compared(report, fields, driver, firmware));

    let facts = (|| {
        let (report, device, root, fields) = (report?, device?, root?, fields?);
        let current = device_current.zip(rims_current);
        let windows =
            manifests.iter().flatten().map(|manifest| manifest.window).chain(device_current).chain(rims_current);
        let window = windows.fold(device.window(), Window::and);
        Some(facts(report, device, root, fields, vouched?, current.is_some(), window))
    })();
    let checks = steps.checks;
    Appraisal::new(checks.clone(), facts.map(|facts| Genuine { checks, facts }))
}

type Root = (Fingerprint, PlatformKind);

fn trust_anchor(chain: Option<&DeviceChain>) -> Result<(Root, Reason), Stop> {
    let chain = chain.ok_or(Stop::Skip(Reason::NoChain(Format::NvidiaReport)))?;
    let (root, platform) = chain.root.clone()?;
    Ok(((root, platform), Reason::Anchored { root, platform }))
}

fn device_chain(root: Option<Root>, chain: Option<&DeviceChain>, at: UnixTime) -> Result<&Device, Stop> {
    needs(CheckId::TrustAnchor, root)?;
    let device = needs(CheckId::TrustAnchor, chain.and_then(|chain| chain.device.as_ref()))?;
    let device = device.as_ref().map_err(Clone::clone)?;
    device.current(at)?;
    Ok(device)
}

fn device_revocation(answers: &Answers<'_>, device: Option<&Device>) -> Result<Window, Stop> {
    answers.of_device(needs(CheckId::DeviceChain, device)?)
}

/// The report's firmware id is not believed here, only compared: that nobody took it out shows when
/// the signature holds.
fn firmware_id(report: Option<&Report<'_>>, device: Option<&Device>) -> Result<((), Reason), Stop> {
    let report = needs(CheckId::Structure, report)?;
    let device = needs(CheckId::DeviceChain, device)?;
    let Some(named) = report.opaque.firmware_id().map_err(Reason::Gpu)? else {
        return Ok(((), Reason::NoFirmwareId));
    };
    let malformed = |error: CertificateError| Reason::Certificate { part: Part::Device, error };
    match device.firmware_id().map_err(malformed)? {
        None => Err(Reason::Gpu(GpuFault::NoFirmwareId).into()),
        Some(certified) if certified != *named => Err(Reason::Gpu(GpuFault::OtherFirmware).into()),
        Some(_) => Ok(((), Reason::Holds)),
    }
}

fn report_signature(report: Option<&Report<'_>>, device: Option<&Device>) -> Result<(), Stop> {
    let report = needs(CheckId::Structure, report)?;
    let device = needs(CheckId::DeviceChain, device)?;
    if !device.leaf.key.verifies_p384(report.signed, report.signature) {
        return Err(Reason::BadSignature(Part::DeviceReport).into());
    }
    Ok(())
}

fn report_fields(report: Option<&Report<'_>>, device: Option<&Device>, signed: Option<()>) -> Result<Fields, Stop> {
    let report = needs(CheckId::Structure, report)?;
    let device = needs(CheckId::DeviceChain, device)?;
    needs(CheckId::ReportSignature, signed)?;
    if report.is_switch() != (device.architecture == Architecture::Switch) {
        return Err(Reason::Gpu(GpuFault::OtherChip).into());
    }
    Ok(report.opaque.fields(device.architecture, &device.chip, &device.pdi()).map_err(Reason::Gpu)?)
}

/// The manifest of the driver, on a GPU.
fn driver_rim<'a>(
    fields: Option<&Fields>,
    root: Option<Root>,
    device: Option<&Device>,
    given: &'a CheckedEndorsements,
    at: UnixTime,
) -> Result<(Option<&'a CheckedRim>, Reason), Stop> {
    let fields = needs(CheckId::ReportFields, fields)?;
    let (_, platform) = needs(CheckId::TrustAnchor, root)?;
    let chip = &needs(CheckId::DeviceChain, device)?.chip;
    let Some(version) = &fields.driver else {
        return Ok((None, Reason::NoDriver));
    };
    let manifest = Wanted { kind: RimKind::Driver, version, chip, platform, at }.among(&given.rims)?;
    Ok((Some(manifest), Reason::CurrentUntil(manifest.window.until)))
}

/// The manifest of the VBIOS, or of a switch's firmware.
fn firmware_rim<'a>(
    fields: Option<&Fields>,
    root: Option<Root>,
    device: Option<&Device>,
    given: &'a CheckedEndorsements,
    at: UnixTime,
) -> Result<(&'a CheckedRim, Reason), Stop> {
    let fields = needs(CheckId::ReportFields, fields)?;
    let (_, platform) = needs(CheckId::TrustAnchor, root)?;
    let chip = &needs(CheckId::DeviceChain, device)?.chip;
    let kind = if fields.driver.is_some() { RimKind::Vbios } else { RimKind::Switch };
    let manifest = Wanted { kind, version: &fields.vbios, chip, platform, at }.among(&given.rims)?;
    Ok((manifest, Reason::CurrentUntil(manifest.window.until)))
}

fn rim_revocation(
    answers: &Answers<'_>,
    device: Option<&Device>,
    beside: &[DeviceChain],
    given: &CheckedEndorsements,
    manifests: [Option<&CheckedRim>; 2],
    all_manifests: bool,
) -> Result<Window, Stop> {
    let chosen: Vec<_> = manifests.into_iter().flatten().collect();
    let window = answers.of_manifests(device, beside, given.rims.iter().filter_map(Appraisal::value), &chosen)?;
    if all_manifests { Ok(window) } else { Err(Stop::Skip(Reason::RevocationNotChecked)) }
}

/// Compares also where one manifest is missing: a measurement that differs is a refusal all the same.
fn compared(
    report: Option<&Report<'_>>,
    fields: Option<&Fields>,
    driver: Option<Option<&CheckedRim>>,
    firmware: Option<&CheckedRim>,
) -> Result<Vec<(u8, Register)>, Stop> {
    let report = needs(CheckId::Structure, report)?;
    let decoder = needs(CheckId::ReportFields, fields)?.video_decoder;
    let vouched = measurements::compare(report, decoder, [driver.flatten(), firmware]).map_err(Reason::Gpu)?;
    needs(CheckId::DriverRim, driver)?;
    needs(CheckId::VbiosRim, firmware)?;
    if !measurements::video_decoder_vouched(decoder, &vouched) {
        return Err(Reason::Gpu(GpuFault::VideoDecoder).into());
    }
    Ok(vouched)
}

fn facts(
    report: &Report<'_>,
    device: &Device,
    (anchor, platform): Root,
    fields: &Fields,
    vouched: Vec<(u8, Register)>,
    revocation_checked: bool,
    window: Window,
) -> Facts {
    let gpu = Gpu { revocation_checked, ..Gpu::unchecked(report, device, fields) };
    Facts {
        platform,
        anchor,
        registers: Registers::Gpu(GpuRegisters { vouched }),
        exposures: Vec::new(),
        report_data: report.report_data(),
        hardware_id: Some(device.id.to_vec()),
        tcb: Tcb::Nvidia,
        gpus: vec![gpu],
        valid_from: window.from,
        valid_until: window.until,
    }
}
