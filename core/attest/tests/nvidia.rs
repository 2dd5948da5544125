//! Evidence of real GPUs and switches gets the verdict that it was recorded with.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "common/nvidia.rs"]
mod common;

use common::*;
use glacier_attest::{
    Anchors, Architecture, CheckId, Endorsements, GpuFault, GpuMode, Outcome, Part, Reason, Registers, Verdict,
    appraise,
};
use glacier_wire::{PlatformKind, UnixTime};

#[test]
fn a_complete_set_is_genuine() {
    let Some(_) = vectors() else { return };
    let genuine = Set::with_rims(H100).appraise(RIMS_CURRENT).into_result().unwrap();
    assert_eq!(genuine.platform(), PlatformKind::Nvidia);
    assert_eq!(hex::encode(genuine.hardware_id().unwrap()), "41431d480fe5e87274");
    let [gpu] = genuine.gpus() else { panic!("{} devices", genuine.gpus().len()) };
    assert_eq!(gpu.architecture, Architecture::Hopper);
    assert_eq!(gpu.driver.as_deref(), Some("550.90.07"));
    assert_eq!(gpu.vbios, "96.00.9F.00.01");
    assert_eq!(gpu.ueid, "478176379286082186618948445787393647364802107249");
    assert_eq!(hex::encode(gpu.nonce), "931d8dd0add203ac3d8b4fbde75e115278eefcdceac5b87671a748f32364dfcb");
    assert_eq!(gpu.mode, Some(GpuMode::Single));
    assert!(!gpu.revocation_checked);
    assert_eq!(genuine.report_data()[..32], gpu.nonce);
    assert_eq!(genuine.report_data()[32..], [0; 32]);
    let Registers::Gpu(registers) = genuine.registers() else { panic!("{:?}", genuine.registers()) };
    let indices: Vec<u8> = registers.vouched.iter().map(|(index, _)| *index).collect();
    // Index 35 is the video decoder's, which is off.
    let expected: Vec<u8> = (0..=12).chain(21..=40).filter(|index| *index != 35).collect();
    assert_eq!(indices, expected);
    // The VBIOS manifest is the first to expire: 2026-02-22T23:59:59Z at the latest.
    let (from, until) = genuine.validity();
    assert!(from.0 < RIMS_CURRENT && until.0 > RIMS_CURRENT && until.0 < 1_771_891_200, "{from:?} {until:?}");
}

#[test]
fn a_switch_is_genuine_without_a_driver() {
    let Some(_) = vectors() else { return };
    let appraisal = Set::with_rims(LS10).appraise(1_767_225_600);
    assert_eq!(check(&appraisal, CheckId::DriverRim).reason, Reason::NoDriver);
    assert_eq!(check(&appraisal, CheckId::FirmwareId).reason, Reason::NoFirmwareId);
    let genuine = appraisal.into_result().unwrap();
    let [switch] = genuine.gpus() else { panic!("{} devices", genuine.gpus().len()) };
    assert_eq!(switch.architecture, Architecture::Switch);
    assert_eq!(switch.driver, None);
    assert_eq!(switch.vbios, "96.10.55.00.01");
    assert_eq!(hex::encode(&switch.device_id), "50203eb31ad9ed0008");
    assert_eq!(switch.linked.len(), 7);
    assert!(switch.linked.contains(&[0x6b, 0x81, 0x16, 0x87, 0xa0, 0xa7, 0xee, 0x7c]));
}

#[test]
fn the_order_of_manifests_says_nothing() {
    let Some(_) = vectors() else { return };
    let mut set = Set::with_rims(H100);
    set.rims.reverse();
    assert_eq!(set.appraise(RIMS_CURRENT).verdict(), Verdict::Accepted);
}

#[test]
fn reports_without_manifests_are_undetermined_unless_the_report_is_wrong() {
    let Some(_) = vectors() else { return };
    let mut entries = manifest().entries;
    entries.retain(|entry| entry.report.is_some());
    assert_eq!(entries.len(), 14);
    for entry in entries {
        let appraisal = Set::bare(&entry.id).appraise(RIMS_CURRENT);
        let expected = if entry.report_signature_ok == Some(true) { Verdict::Undetermined } else { Verdict::Rejected };
        assert_eq!(appraisal.verdict(), expected, "{}: {:?}", entry.id, failed(&appraisal));
        let ids: Vec<_> = appraisal.checks().iter().map(|check| check.id).collect();
        assert_eq!(ids, CheckId::of_evidence(glacier_attest::Format::NvidiaReport));
        if expected == Verdict::Undetermined {
            let missing = check(&appraisal, CheckId::VbiosRim);
            assert!(matches!(&missing.reason, Reason::NoRim { part: Part::VbiosRim, .. }), "{missing:?}");
        }
    }
}

#[test]
fn a_report_without_its_chain_is_undetermined() {
    let Some(_) = vectors() else { return };
    let report = Set::bare(H100).report;
    let appraisal = appraise(&report, &Endorsements::default(), &Anchors::vendor(), UnixTime(RIMS_CURRENT));
    assert_eq!(appraisal.verdict(), Verdict::Undetermined);
    assert_eq!(check(&appraisal, CheckId::Structure).outcome, Outcome::Pass);
    assert!(matches!(check(&appraisal, CheckId::TrustAnchor).reason, Reason::NoChain(_)));
}

#[test]
fn a_chain_of_another_gpu_is_refused_twice() {
    let Some(_) = vectors() else { return };
    let appraisal = Set::bare("h100-badsig-560.00").appraise(RIMS_CURRENT);
    assert_eq!(check(&appraisal, CheckId::FirmwareId).reason, Reason::Gpu(GpuFault::OtherFirmware));
    assert_eq!(check(&appraisal, CheckId::ReportSignature).reason, Reason::BadSignature(Part::DeviceReport));
}

#[test]
fn a_measurement_that_differs_is_found_though_a_manifest_is_missing() {
    let Some(_) = vectors() else { return };
    // 2025-08-21: inside the dates of its VBIOS manifest.
    let appraisal = Set::with_rims("h100-sdk-580.159.03").appraise(DEVICE_CURRENT);
    assert!(matches!(check(&appraisal, CheckId::DriverRim).reason, Reason::NoRim { part: Part::DriverRim, .. }));
    assert_eq!(check(&appraisal, CheckId::Measurements).reason, Reason::Gpu(GpuFault::Measurement(9)));
    assert_eq!(appraisal.verdict(), Verdict::Rejected);
}

#[test]
fn a_manifest_edited_after_signing_is_refused() {
    let Some(_) = vectors() else { return };
    let appraisal = Set::with_rims("h100-sdk-535.86.09").appraise(RIMS_CURRENT);
    assert_eq!(check(&appraisal, CheckId::DriverRim).outcome, Outcome::Fail);
    assert_eq!(check(&appraisal, CheckId::Measurements).reason, Reason::Gpu(GpuFault::Measurement(9)));
}

#[test]
fn answers_for_the_device_are_checked() {
    let Some(_) = vectors() else { return };
    let set = Set::with_rims(H100).with_ocsp(&DEVICE_ANSWERS);
    let appraisal = set.appraise(DEVICE_CURRENT);
    assert_eq!(check(&appraisal, CheckId::DeviceRevocation).outcome, Outcome::Pass);
    assert_eq!(check(&appraisal, CheckId::RimRevocation).reason, Reason::RevocationNotChecked);
    let genuine = appraisal.into_result().unwrap();
    // What relies on answers of a day holds for a day.
    assert!(genuine.validity().1.0 - genuine.validity().0.0 <= 24 * 60 * 60);
    assert!(!genuine.gpus()[0].revocation_checked);
    let late = set.appraise(DEVICE_CURRENT + 24 * 60 * 60);
    assert!(matches!(failed(&late).unwrap().reason, Reason::Expired { part: Part::Ocsp, .. }));
    let early = set.appraise(DEVICE_CURRENT - 24 * 60 * 60);
    assert!(matches!(failed(&early).unwrap().reason, Reason::NotYetValid { part: Part::Ocsp, .. }));
}

#[test]
fn answers_for_the_manifests_are_checked() {
    let Some(_) = vectors() else { return };
    let appraisal = Set::with_rims(H100).with_ocsp(&RIM_ANSWERS).appraise(RIMS_CURRENT);
    assert_eq!(check(&appraisal, CheckId::RimRevocation).outcome, Outcome::Pass, "{:?}", failed(&appraisal));
    assert_eq!(check(&appraisal, CheckId::DeviceRevocation).reason, Reason::RevocationNotChecked);
    assert_eq!(appraisal.verdict(), Verdict::Accepted);
    let some = Set::with_rims(H100).with_ocsp(&RIM_ANSWERS[..3]).appraise(RIMS_CURRENT);
    assert_eq!(check(&some, CheckId::RimRevocation).reason, Reason::RevocationNotChecked);
    assert_eq!(some.verdict(), Verdict::Accepted);
}

#[test]
fn stale_answers_are_refused_beside_fresh_ones() {
    let Some(_) = vectors() else { return };
    let set = Set::with_rims(H100).with_ocsp(&DEVICE_ANSWERS).with_ocsp(&RIM_ANSWERS);
    for at in [DEVICE_CURRENT, RIMS_CURRENT] {
        assert_eq!(set.appraise(at).verdict(), Verdict::Rejected);
    }
}

#[test]
fn an_answer_about_something_else_is_refused() {
    let Some(_) = vectors() else { return };
    // The chain of another product line and answers about the H100's.
    let appraisal = Set::with_rims("b200-sdk-575.32").with_ocsp(&["certificate-l4"]).appraise(DEVICE_CURRENT);
    assert_eq!(check(&appraisal, CheckId::DeviceRevocation).reason, Reason::RevocationNotChecked);
    assert_eq!(check(&appraisal, CheckId::RimRevocation).reason, Reason::Ocsp(glacier_attest::OcspFault::Unasked));
}

#[test]
fn any_changed_bit_of_a_report_is_refused() {
    let Some(_) = vectors() else { return };
    let set = Set::with_rims(H100);
    let checked = set.endorsements().check(&Anchors::vendor(), UnixTime(RIMS_CURRENT));
    let mut report = set.report;
    for at in 0..report.len() {
        for bit in [1, 0x80] {
            report[at] ^= bit;
            let verdict = glacier_attest::appraise_checked(&report, &checked, UnixTime(RIMS_CURRENT)).verdict();
            assert_eq!(verdict, Verdict::Rejected, "byte {at} bit {bit:#x}");
            report[at] ^= bit;
        }
    }
}

#[test]
fn any_changed_bit_of_an_answer_is_refused() {
    let Some(_) = vectors() else { return };
    let mut set = Set::with_rims(H100).with_ocsp(&["certificate-l4"]);
    for at in 0..set.ocsp[0].len() {
        set.ocsp[0][at] ^= 1;
        assert_eq!(set.appraise(DEVICE_CURRENT).verdict(), Verdict::Rejected, "byte {at}");
        set.ocsp[0][at] ^= 1;
    }
}

/// `cargo test --release -p glacier-attest --test nvidia -- --ignored --nocapture`
#[test]
#[ignore = "a measurement, not a test"]
fn time_of_a_report() {
    let Some(_) = vectors() else { return };
    let set = Set::with_rims(H100);
    let (anchors, at) = (Anchors::vendor(), UnixTime(RIMS_CURRENT));
    let endorsements = set.endorsements();
    let checked = endorsements.check(&anchors, at);
    let chain_only = Endorsements { gpu_chain: endorsements.gpu_chain.clone(), ..Endorsements::default() };
    let median = |work: &dyn Fn()| {
        let mut times: Vec<_> = (0..300)
            .map(|_| {
                let start = std::time::Instant::now();
                work();
                start.elapsed().as_secs_f64() * 1e6
            })
            .collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let report = median(&|| drop(glacier_attest::appraise_checked(&set.report, &checked, at).into_result().unwrap()));
    let chain = median(&|| drop(chain_only.check(&anchors, at)));
    let all = median(&|| drop(appraise(&set.report, &endorsements, &anchors, at).into_result().unwrap()));
    let manifests =
        median(&|| endorsements.rims.iter().for_each(|xml| drop(glacier_attest::Rim::appraise(xml, &anchors, at))));
    println!("report under checked endorsements {report:>8.1} us");
    println!("chain of the device               {chain:>8.1} us");
    println!("both manifests                    {manifests:>8.1} us");
    println!("report, chain and both manifests  {all:>8.1} us");
}
