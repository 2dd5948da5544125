//! Evidence of a forged vendor, wrong in one way each.

use super::{
    forge::*,
    gpu::{Architecture, GpuMode},
    ocsp::OcspFault,
    rim::{CheckedRim, RimKind},
    *,
};
use crate::{
    appraisal::Appraisal,
    check::{Check, CheckId, Outcome, Steps, Verdict},
    format::Format,
    genuine::Genuine,
    reason::Reason,
    registers::{Register, Registers},
    window::{Part, Window},
    x509::CertificateError,
};
use alloc::{vec, vec::Vec};
use glacier_wire::{PlatformKind, UnixTime};
use sha2::Digest as _;

/// The one check that fails: those behind it may only be skipped for its sake.
fn fails(world: &World) -> (CheckId, Reason) {
    let appraisal = world.appraise();
    assert_eq!(appraisal.verdict(), Verdict::Rejected, "{:?}", appraisal.checks());
    let mut failed = appraisal.checks().iter().filter(|check| check.outcome == Outcome::Fail);
    let Check { id, reason, .. } = failed.next().unwrap().clone();
    assert!(failed.next().is_none(), "{:?}", appraisal.checks());
    (id, reason)
}

fn genuine(world: &World) -> Genuine {
    world.appraise().into_result().unwrap()
}

fn outcome<T>(appraisal: &Appraisal<T>, id: CheckId) -> (Outcome, Reason) {
    let check = appraisal.checks().iter().find(|check| check.id == id).unwrap();
    (check.outcome, check.reason.clone())
}

fn chain_fails(change: impl FnOnce(&mut Vec<Cert>)) -> CertificateError {
    let mut world = World::gpu();
    change(&mut world.certs);
    let (id, reason) = fails(&world);
    assert_eq!(id, CheckId::DeviceChain);
    let Reason::Certificate { part: Part::Device, error } = reason else { panic!("{reason:?}") };
    error
}

#[test]
fn a_forged_gpu_is_genuine_and_simulated() {
    let genuine = genuine(&World::gpu());
    assert_eq!(genuine.platform(), PlatformKind::Simulated);
    let [gpu] = genuine.gpus() else { panic!() };
    assert_eq!((gpu.architecture, gpu.mode, gpu.nonce), (Architecture::Hopper, None, [0x77; 32]));
    assert_eq!((gpu.driver.as_deref(), gpu.vbios.as_str()), (Some("550.90.07"), "96.00.9F.00.01"));
    assert_eq!((gpu.ueid.as_str(), gpu.device_id.as_slice()), ("4386", &[0x41, 1, 2, 3, 4, 5, 6, 7, 8][..]));
    assert_eq!(genuine.validity(), (UnixTime(NOW - 1000), UnixTime(NOW + 1000)));
    let Registers::Gpu(registers) = genuine.registers() else { panic!() };
    assert_eq!(registers.vouched.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 1, 2, 7, 21, 22]);
}

#[test]
fn a_forged_switch_is_genuine() {
    let genuine = genuine(&World::switch());
    assert_eq!(genuine.gpus()[0].architecture, Architecture::Switch);
}

#[test]
fn all_checks_are_listed_in_order() {
    let ids: Vec<_> = World::gpu().appraise().checks().iter().map(|check| check.id).collect();
    assert_eq!(ids, CheckId::of_evidence(Format::NvidiaReport));
}

#[test]
fn a_chain_of_another_length_is_refused() {
    let (mut short, mut long) = (World::gpu(), World::gpu());
    short.certs.remove(2);
    long.certs.insert(0, long.certs[0].clone());
    for world in [short, long] {
        let expected = Reason::Certificate { part: Part::Device, error: CertificateError::Pem };
        assert_eq!(fails(&world), (CheckId::TrustAnchor, expected));
    }
}

#[test]
fn a_root_that_only_has_the_name_is_refused() {
    let mut world = World::gpu();
    let anchors = world.anchors();
    world.certs[4].serial = vec![42];
    let chain = DeviceChain::read(&pem(&world.certs.iter().map(Cert::der).collect::<Vec<_>>()), &anchors);
    assert!(matches!(chain.root, Err(Reason::UntrustedRoot(_))));
    assert!(chain.device.is_none());
    assert!(DeviceChain::read(&[], &anchors).device.is_none());
}

#[test]
fn every_link_of_the_chain_is_checked() {
    for place in 0..4 {
        assert_eq!(chain_fails(|certs| certs[place].signer = STRANGER), CertificateError::Signature, "{place}");
    }
    for place in 1..4 {
        assert_eq!(chain_fails(|certs| certs[place].authority = false), CertificateError::NotAuthority, "{place}");
        assert_eq!(chain_fails(|certs| certs[place].usage = 0x80), CertificateError::KeyUsage, "{place}");
    }
    assert_eq!(chain_fails(|certs| certs[0].authority = true), CertificateError::NotLeaf);
    assert_eq!(chain_fails(|certs| certs[0].usage = 0x06), CertificateError::KeyUsage);
    assert_eq!(chain_fails(|certs| certs[0].issuer = certs[3].issuer.clone()), CertificateError::Issuer);
}

#[test]
fn certificates_out_of_their_place_are_refused() {
    assert_eq!(chain_fails(|certs| certs[0].common = "GH100 A01 GSP BROM"), CertificateError::Role);
    assert_eq!(chain_fails(|certs| certs[0].common = "GB100 A01 GSP FMC LF"), CertificateError::Role);
    let rename = |to| {
        let mut world = World::new(["GH100 A01 GSP FMC LF", to], 0x41, 64);
        world.opaque = World::gpu().opaque;
        fails(&world).1
    };
    let role = Reason::Certificate { part: Part::Device, error: CertificateError::Role };
    assert_eq!(rename("GH100 A01 GSP FMC"), role);
    assert_eq!(rename("XX100 A01 GSP BROM"), role);
}

#[test]
fn a_boot_rom_without_one_identity_is_refused() {
    for (serial, number) in [
        (vec![0x41, 1, 2, 3, 4, 5, 6, 7, 8], None),
        (vec![0x41, 1, 2, 3, 4, 5, 6, 7, 8], Some("410102030405060709")),
        (vec![0x41, 1, 2, 3, 4, 5, 6, 7], Some("4101020304050607")),
    ] {
        let mut world = World::gpu();
        world.certs[1].serial = serial;
        world.certs[1].number = number.map(Into::into);
        // The leaf names its issuer, so it has to follow.
        world.certs[0].issuer = world.certs[1].subject();
        assert_eq!(fails(&world).1, Reason::Certificate { part: Part::Device, error: CertificateError::Role });
    }
}

#[test]
fn an_expired_certificate_is_refused() {
    for place in 0..4 {
        let mut world = World::gpu();
        world.certs[place].until = "260101000000Z";
        assert!(matches!(fails(&world).1, Reason::Expired { part: Part::Device, .. }));
    }
    let early = World { now: 1_600_000_000, ..World::gpu() };
    assert!(matches!(fails(&early), (CheckId::DeviceChain, Reason::NotYetValid { part: Part::Device, .. })));
}

#[test]
fn another_firmware_than_the_certified_is_refused() {
    let gpu = |fault| (CheckId::FirmwareId, Reason::Gpu(fault));
    assert_eq!(fails(&World::gpu().field(20, &[0xf2; 48])), gpu(GpuFault::OtherFirmware));
    assert_eq!(fails(&World::gpu().field(20, &[0xf1; 47])), gpu(GpuFault::Field(20)));
    let with = |extra| {
        let mut world = World::gpu();
        world.certs[0].extra = extra;
        world
    };
    assert_eq!(fails(&with(vec![])), gpu(GpuFault::NoFirmwareId));
    genuine(&with(vec![(TCB_INFO.to_vec(), tcb_info(&[&FWID, &[0; 48]]))]));
    let first = with(vec![(TCB_INFO.to_vec(), tcb_info(&[&[0; 48], &FWID]))]);
    assert_eq!(fails(&first), gpu(GpuFault::OtherFirmware));
    for extra in [
        vec![(COMPOSITE.to_vec(), composite(2, &FWID))],
        vec![(COMPOSITE.to_vec(), composite(1, &[0xf1; 32]))],
        vec![(COMPOSITE.to_vec(), [composite(1, &FWID), vec![0]].concat())],
        vec![(TCB_INFO.to_vec(), tcb_info(&[]))],
        vec![(COMPOSITE.to_vec(), composite(1, &FWID)), (TCB_INFO.to_vec(), tcb_info(&[&FWID]))],
    ] {
        assert!(matches!(fails(&with(extra)), (CheckId::FirmwareId, Reason::Certificate { part: Part::Device, .. })));
    }
    let silent = World::gpu().without(20).appraise();
    assert_eq!(outcome(&silent, CheckId::FirmwareId), (Outcome::Pass, Reason::NoFirmwareId));
    assert_eq!(silent.verdict(), Verdict::Accepted);
}

#[test]
fn a_report_signed_by_another_key_is_refused() {
    for signer in [STRANGER, 4] {
        let world = World { signer, ..World::gpu() };
        assert_eq!(fails(&world), (CheckId::ReportSignature, Reason::BadSignature(Part::DeviceReport)));
    }
}

#[test]
fn fields_that_are_not_understood_are_refused() {
    let gpu = World::gpu;
    for (world, fault) in [
        (gpu().without(3), GpuFault::Missing(3)),
        (gpu().without(6), GpuFault::Missing(6)),
        (gpu().without(11), GpuFault::Missing(11)),
        (gpu().field(3, b"550 90"), GpuFault::Field(3)),
        (gpu().field(3, b"\0\0"), GpuFault::Field(3)),
        (gpu().field(6, &[0; 7]), GpuFault::Field(6)),
        (gpu().field(11, &[0xab]), GpuFault::Field(11)),
        (gpu().field(21, &[0]), GpuFault::Field(21)),
        (gpu().field(22, &[0; 9]), GpuFault::Field(22)),
        (gpu().field(34, &[2, 0]), GpuFault::OpaqueVersion(2)),
        (gpu().field(34, &[1]), GpuFault::Field(34)),
        (gpu().field(35, b"GB100\0"), GpuFault::OtherChip),
        (gpu().field(36, &[0, 0]), GpuFault::Field(36)),
        (gpu().field(34, &[0, 0]).field(36, &[0, 0]), GpuFault::Field(36)),
        (gpu().field(34, &[1, 0]).field(36, &[3, 0]), GpuFault::Field(36)),
        (gpu().field(34, &[1, 0]).field(36, &[0, 0]).field(21, &[0xaa]), GpuFault::Field(21)),
        (gpu().field(34, &[1, 0]).field(36, &[2, 0]).field(21, &[0x55]), GpuFault::Field(21)),
        (World::switch().field(3, b"1.2"), GpuFault::Field(3)),
        (World::switch().field(22, &[9; 8]), GpuFault::OtherChip),
        (World::switch().field(26, &[9; 8]), GpuFault::Field(26)),
        (World::switch().without(6), GpuFault::Missing(6)),
    ] {
        assert_eq!(fails(&world), (CheckId::ReportFields, Reason::Gpu(fault)));
    }
}

#[test]
fn the_mode_is_read_from_either_field() {
    let mode = |world: World| genuine(&world).gpus()[0].mode;
    assert_eq!(mode(World::gpu().field(21, &[0x55])), Some(GpuMode::Single));
    assert_eq!(mode(World::gpu().field(21, &[0xaa])), Some(GpuMode::ProtectedPcie));
    for (flag, expected) in [(0, GpuMode::Single), (1, GpuMode::Multi), (2, GpuMode::ProtectedPcie)] {
        assert_eq!(mode(World::gpu().field(34, &[1, 0]).field(36, &[flag, 0])), Some(expected));
    }
}

#[test]
fn a_gpus_certificates_do_not_vouch_for_a_switch() {
    let mut world = World::switch();
    world.certs = World::gpu().certs;
    assert_eq!(fails(&world), (CheckId::ReportFields, Reason::Gpu(GpuFault::OtherChip)));
}

fn with_rims(change: impl FnOnce(&World) -> Vec<Appraisal<CheckedRim>>) -> World {
    let mut world = World::gpu();
    world.rims = change(&world);
    world
}

#[test]
fn a_missing_manifest_leaves_it_open() {
    for missing in 0..2 {
        let mut world = World::gpu();
        drop(world.rims.remove(missing));
        let appraisal = world.appraise();
        assert_eq!(appraisal.verdict(), Verdict::Undetermined);
        assert!(appraisal.value().is_none());
    }
}

#[test]
fn a_manifest_that_does_not_fit_is_refused() {
    let window = |from: i64, until: i64| Window {
        from: UnixTime(NOW.saturating_add_signed(from)),
        until: UnixTime(NOW.saturating_add_signed(until)),
    };
    let gpu = |fault| Reason::Gpu(fault);
    let driver = |change: fn(&mut CheckedRim)| {
        with_rims(|world| {
            let mut rim = world.rims[0].value().unwrap().clone();
            change(&mut rim);
            vec![given(rim), world.rims[1].clone()]
        })
    };
    for (world, reason) in [
        (driver(|rim| rim.version = "550.90.08".into()), gpu(GpuFault::ManifestVersion)),
        (driver(|rim| rim.kind = RimKind::Switch), gpu(GpuFault::ManifestKind)),
        (driver(|rim| rim.platform = PlatformKind::Nvidia), gpu(GpuFault::ManifestPlatform)),
        (driver(|rim| rim.product = "GB100".into()), gpu(GpuFault::ManifestChip)),
        (driver(|rim| rim.golden.clear()), gpu(GpuFault::ManifestEmpty)),
    ] {
        assert_eq!(fails(&world), (CheckId::DriverRim, reason));
    }
    let mut dated = World::gpu();
    for (dates, expired) in [(window(-9, -1), true), (window(1, 9), false)] {
        let mut rim = World::gpu().rims[0].value().unwrap().clone();
        rim.window = dates;
        dated.rims[0] = given(rim);
        let (id, reason) = fails(&dated);
        assert_eq!(
            (id, matches!(reason, Reason::Expired { part: Part::DriverRim, .. })),
            (CheckId::DriverRim, expired)
        );
    }
}

#[test]
fn a_refused_manifest_says_why() {
    let refused = || {
        let mut steps = Steps::default();
        steps.step::<()>(CheckId::TrustAnchor, Err(Reason::BadSignature(Part::DriverRim).into()));
        Appraisal::new(steps.checks, None)
    };
    let world = with_rims(|world| vec![refused(), world.rims[1].clone()]);
    assert_eq!(fails(&world), (CheckId::DriverRim, Reason::BadSignature(Part::DriverRim)));
    let world = with_rims(|world| vec![refused(), world.rims[0].clone(), world.rims[1].clone()]);
    assert_eq!(world.appraise().verdict(), Verdict::Accepted);
}

fn measured(golden: Vec<(u8, Vec<Register>)>) -> World {
    with_rims(|world| {
        let rim = world.rims[0].value().unwrap().clone();
        vec![given(CheckedRim { golden, ..rim }), world.rims[1].clone()]
    })
}

#[test]
fn a_measurement_that_no_manifest_names_is_refused() {
    let fault = |world: &World| fails(world);
    let expected = |fault| (CheckId::Measurements, Reason::Gpu(fault));
    assert_eq!(fault(&measured(vec![(9, vec![Register([1; 48])])])), expected(GpuFault::Measurement(9)));
    assert_eq!(fault(&measured(vec![(9, vec![])])), expected(GpuFault::Measurement(9)));
    assert_eq!(fault(&measured(golden(&[64]))), expected(GpuFault::Measurement(64)));
    assert_eq!(fault(&measured(golden(&[2]))), expected(GpuFault::IndexConflict(2)));
    genuine(&measured(golden(&[63])));
    genuine(&measured(vec![(9, vec![Register([1; 48]), Register([10; 48])])]));
}

#[test]
fn the_video_decoder_is_compared_while_it_is_enabled() {
    let on = |world: World| world.field(11, &[0xaa]);
    genuine(&measured(vec![(7, vec![Register([8; 48])]), (35, vec![Register([0; 48])])]));
    let expected = |fault| (CheckId::Measurements, Reason::Gpu(fault));
    assert_eq!(fails(&on(measured(vec![(35, vec![Register([0; 48])])]))), expected(GpuFault::Measurement(35)));
    assert_eq!(fails(&on(measured(golden(&[7])))), expected(GpuFault::VideoDecoder));
    genuine(&on(measured(golden(&[35]))));
}

/// Good answers for every certificate, device's and manifests'.
fn answered() -> World {
    let mut world = World::gpu();
    for place in 1..4 {
        world.ocsp.push(Ocsp::good(&world.certs[place], &world.certs[place + 1]).der());
    }
    for place in 0..3 {
        world.ocsp.push(Ocsp::good(&world.rim_certs[place], &world.rim_certs[place + 1]).der());
    }
    world
}

#[test]
fn good_answers_for_everything_count_as_checked() {
    assert!(genuine(&answered()).gpus()[0].revocation_checked);
    assert!(!genuine(&World::gpu()).gpus()[0].revocation_checked);
    for missing in 0..6 {
        let mut world = answered();
        world.ocsp.remove(missing);
        assert!(!genuine(&world).gpus()[0].revocation_checked, "{missing}");
    }
}

#[test]
fn an_answer_that_does_not_hold_is_refused() {
    for (id, part, place) in
        [(CheckId::DeviceRevocation, Part::Device, 1), (CheckId::RimRevocation, Part::RimSigner, 0)]
    {
        let answer = |change: &dyn Fn(&mut Ocsp)| {
            let mut world = World::gpu();
            let certs = if part == Part::Device { &world.certs } else { &world.rim_certs };
            let mut answer = Ocsp::good(&certs[place], &certs[place + 1]);
            change(&mut answer);
            world.ocsp = vec![answer.der()];
            let (found, reason) = fails(&world);
            assert_eq!(found, id);
            reason
        };
        let responder = |error| Reason::Certificate { part: Part::OcspResponder, error };
        assert_eq!(answer(&|ocsp| ocsp.status = tlv(0xa1, &tlv(0x18, b"20260101000000Z"))), Reason::Revoked(part));
        assert_eq!(answer(&|ocsp| ocsp.status = vec![0x82, 0]), Reason::Ocsp(OcspFault::Unknown));
        assert_eq!(answer(&|ocsp| ocsp.signer = STRANGER), Reason::BadSignature(Part::Ocsp));
        assert_eq!(answer(&|ocsp| ocsp.named = 51), Reason::Ocsp(OcspFault::Responder));
        assert_eq!(answer(&|ocsp| ocsp.responder.signer = STRANGER), responder(CertificateError::Signature));
        assert_eq!(answer(&|ocsp| ocsp.responder.extra.clear()), responder(CertificateError::KeyUsage));
        assert_eq!(answer(&|ocsp| ocsp.responder.authority = true), responder(CertificateError::NotLeaf));
        assert!(matches!(
            answer(&|ocsp| ocsp.responder.until = "260101000000Z"),
            Reason::Expired { part: Part::OcspResponder, .. }
        ));
        assert!(matches!(
            answer(&|ocsp| ocsp.until = Some("20260114235959Z")),
            Reason::Expired { part: Part::Ocsp, .. }
        ));
        assert!(matches!(answer(&|ocsp| ocsp.from = "20260115000001Z"), Reason::NotYetValid { part: Part::Ocsp, .. }));
    }
}

#[test]
fn an_answer_that_belongs_nowhere_is_refused() {
    let answer = |change: &dyn Fn(&mut Ocsp)| {
        let mut world = World::gpu();
        let mut answer = Ocsp::good(&world.certs[1], &world.certs[2]);
        change(&mut answer);
        world.ocsp = vec![answer.der()];
        let (id, reason) = fails(&world);
        assert_eq!(id, CheckId::RimRevocation);
        reason
    };
    let md5 = vec![0x06, 0x08, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x05];
    assert_eq!(answer(&|ocsp| ocsp.serial = vec![9]), Reason::Ocsp(OcspFault::Unasked));
    assert_eq!(answer(&|ocsp| ocsp.issuer.key = STRANGER), Reason::Ocsp(OcspFault::Unasked));
    assert_eq!(answer(&|ocsp| ocsp.issuer.common = "Other"), Reason::Ocsp(OcspFault::Unasked));
    assert_eq!(answer(&|ocsp| ocsp.hash.oid.clone_from(&md5)), Reason::Ocsp(OcspFault::Algorithm));
    assert_eq!(answer(&|ocsp| ocsp.envelope = vec![0x0a, 1, 6]), Reason::Ocsp(OcspFault::Unsuccessful));
    assert_eq!(answer(&|ocsp| ocsp.until = None), Reason::Ocsp(OcspFault::Malformed));
    assert_eq!(answer(&|ocsp| ocsp.after = vec![5, 0]), Reason::Ocsp(OcspFault::Malformed));
    assert_eq!(answer(&|ocsp| ocsp.status = vec![0x80, 1, 0]), Reason::Ocsp(OcspFault::Malformed));
}

#[test]
fn a_certificate_may_be_named_by_any_of_three_hashes() {
    let sha1 = vec![0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a];
    let sha256 = vec![0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
    let hashes = [
        Hash { oid: sha1, of: |bytes| sha1::Sha1::digest(bytes).to_vec() },
        Hash { oid: sha256, of: |bytes| sha2::Sha256::digest(bytes).to_vec() },
    ];
    for hash in hashes {
        let mut world = answered();
        world.ocsp[0] = Ocsp { hash, ..Ocsp::good(&world.certs[1], &world.certs[2]) }.der();
        assert!(genuine(&world).gpus()[0].revocation_checked);
    }
}

#[test]
fn gpus_and_switches_that_list_each_other_are_a_fabric() {
    let device = |world: World, pdi: u8, linked: &[u8]| {
        let mut device = genuine(&world).gpus()[0].clone();
        device.device_id[1..].fill(pdi);
        device.linked = linked.iter().map(|pdi| [*pdi; 8]).collect();
        device
    };
    let gpu = |pdi, linked: &[u8]| device(World::gpu(), pdi, linked);
    let switch = |pdi, linked: &[u8]| device(World::switch(), pdi, linked);
    let whole = [gpu(1, &[5, 6]), gpu(2, &[5, 6]), switch(5, &[1, 2]), switch(6, &[1, 2])];
    assert_eq!(fabric(&whole), Ok(()));
    assert_eq!(fabric(&whole[..2]), Err(FabricFault::Incomplete));
    assert_eq!(fabric(&whole[..3]), Err(FabricFault::Linked(0)));
    assert_eq!(fabric(&whole[1..]), Err(FabricFault::Linked(1)));
    assert_eq!(fabric(&[gpu(1, &[5]), gpu(1, &[5]), switch(5, &[1])]), Err(FabricFault::Twice(0)));
}

mod frames {
    use super::*;
    use crate::nvidia::{ocsp::Answer, opaque::Opaque, report::Report};
    use proptest::prelude::*;

    fn changed(at: usize, to: u8) -> GpuFault {
        let mut report = World::gpu().report();
        assert_ne!(report[at], to);
        report[at] = to;
        Report::read(&report).unwrap_err()
    }

    #[test]
    fn every_constant_and_length_of_a_report_is_checked() {
        for (at, to) in [(0, 0x12), (1, 0xe1), (2, 0), (3, 1), (36, 1), (37, 0x12), (38, 0x61), (39, 1), (40, 1)] {
            assert_eq!(changed(at, to), GpuFault::Header, "{at}");
        }
        assert_eq!(changed(41, 63), GpuFault::Blocks(63));
        assert_eq!(changed(41, 31), GpuFault::Length);
        for (at, to) in [(42, 0xc1), (43, 0xff), (44, 1)] {
            assert_eq!(changed(at, to), GpuFault::Length, "{at}");
        }
        for (at, to) in [(45, 2), (46, 0), (47, 0x34), (48, 1), (49, 2), (50, 0x31), (51, 1)] {
            assert_eq!(changed(at, to), GpuFault::Block(1), "{at}");
        }
        assert_eq!(changed(45 + 63 * 55, 10), GpuFault::Block(64));
        assert_eq!(changed(45 + 64 * 55 + 32, 0xff), GpuFault::Length);
    }

    #[test]
    fn a_report_that_is_cut_or_goes_on_is_refused() {
        let report = World::gpu().report();
        for length in 0..report.len() {
            assert!(Report::read(&report[..length]).is_err(), "{length}");
        }
        assert_eq!(Report::read(&[&report[..], &[0]].concat()).unwrap_err(), GpuFault::Length);
        let huge = vec![0x11; 20_000];
        assert!(matches!(Report::read(&huge).unwrap_err(), GpuFault::TooLarge { found: 20_000, .. }));
    }

    #[test]
    fn opaque_data_that_are_no_fields_are_refused() {
        assert_eq!(Opaque::read(&[1, 0, 1, 0, 9, 1, 0, 0, 0]).unwrap_err(), GpuFault::Repeated(1));
        assert_eq!(Opaque::read(&[1, 0, 2, 0, 9]).unwrap_err(), GpuFault::Opaque);
        assert_eq!(Opaque::read(&[1, 0, 0]).unwrap_err(), GpuFault::Opaque);
        let many: Vec<u8> = (0..65u16).flat_map(|kind| [kind as u8, 1, 0, 0]).collect();
        assert_eq!(Opaque::read(&many).unwrap_err(), GpuFault::Opaque);
        assert!(Opaque::read(&[]).is_ok());
    }

    fn answer() -> Vec<u8> {
        let world = World::gpu();
        Ocsp::good(&world.certs[1], &world.certs[2]).der()
    }

    #[test]
    fn an_answer_that_is_cut_or_goes_on_is_refused() {
        let der = answer();
        assert!(Answer::read(&der).is_ok());
        for length in 0..der.len() {
            assert!(Answer::read(&der[..length]).is_err(), "{length}");
        }
        assert_eq!(Answer::read(&[&der[..], &[0]].concat()).unwrap_err(), OcspFault::Malformed);
        assert!(matches!(Answer::read(&vec![0x30; 20_000]).unwrap_err(), OcspFault::TooLarge { .. }));
    }

    proptest! {
        #[test]
        fn reports_of_any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(Report::read(&bytes).is_err());
        }

        #[test]
        fn a_changed_report_is_split_the_same_way_or_refused(at in any::<prop::sample::Index>(), to: u8) {
            let mut bytes = World::switch().report();
            let at = at.index(bytes.len());
            bytes[at] = to;
            if let Ok(report) = Report::read(&bytes) {
                prop_assert_eq!(&[report.signed, report.signature].concat(), &bytes);
                prop_assert!(report.is_switch() && report.measurement(30).is_some() && report.measurement(31).is_none());
            }
        }

        #[test]
        fn opaque_data_of_any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(opaque) = Opaque::read(&bytes) {
                let _ = opaque.firmware_id();
                let _ = opaque.fields(Architecture::Hopper, "GH100", &[0; 8]);
                let _ = opaque.fields(Architecture::Switch, "LS_10", &[0; 8]);
            }
        }

        #[test]
        fn fields_of_any_values_are_read_or_refused(
            fields in prop::collection::btree_map(0..40u16, prop::collection::vec(any::<u8>(), 0..20), 0..20),
        ) {
            let mut bytes = vec![];
            for (kind, value) in &fields {
                bytes.extend(kind.to_le_bytes());
                bytes.extend((value.len() as u16).to_le_bytes());
                bytes.extend(value);
            }
            let opaque = Opaque::read(&bytes).unwrap();
            let read = opaque.fields(Architecture::Blackwell, "GB100", &[0; 8]);
            prop_assert!(read.is_err() || fields.contains_key(&3) && fields.contains_key(&6));
        }

        #[test]
        fn answers_of_any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Answer::read(&bytes).is_err());
        }

        #[test]
        fn a_changed_answer_is_read_or_refused(at in any::<prop::sample::Index>(), to: u8) {
            let mut bytes = answer();
            let at = at.index(bytes.len());
            bytes[at] = to;
            let _ = Answer::read(&bytes);
        }

        #[test]
        fn chains_of_any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let world = World::gpu();
            prop_assert!(DeviceChain::read(&bytes, &world.anchors()).device.is_none());
        }

        #[test]
        fn a_changed_certificate_is_refused(place in 0..5usize, at in any::<prop::sample::Index>(), flip in 1u8..) {
            let world = World::gpu();
            let mut chain: Vec<_> = world.certs.iter().map(Cert::der).collect();
            let at = at.index(chain[place].len());
            chain[place][at] ^= flip;
            let read = DeviceChain::read(&pem(&chain), &world.anchors());
            prop_assert!(!matches!(read.device, Some(Ok(_))));
        }

        #[test]
        fn firmware_ids_of_any_bytes_are_read_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..200), composite: bool,
        ) {
            let mut world = World::gpu();
            let oid = if composite { COMPOSITE } else { TCB_INFO };
            world.certs[0].extra = vec![(oid.to_vec(), bytes)];
            let text = pem(&world.certs.iter().map(Cert::der).collect::<Vec<_>>());
            let read = DeviceChain::read(&text, &world.anchors()).device.unwrap().unwrap();
            prop_assert!(read.firmware_id().is_err());
        }

        #[test]
        fn serial_numbers_are_shown_in_decimal(number: u128) {
            prop_assert_eq!(crate::nvidia::chain::decimal(&number.to_be_bytes()), alloc::format!("{number}"));
        }
    }
}
