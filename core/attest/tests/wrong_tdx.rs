//! One small test per way to be wrong, for what TDX has and SGX has not.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::arithmetic_side_effects)]

mod common {
    pub(crate) mod forge;
}

use common::forge::*;
use glacier_attest::{
    Appraisal, CheckId, Collateral, DocumentError, Exposure, Genuine, IntelTcb, Outcome, Part, QuoteError,
    QuotingEnclaveError, Reason, Register, Registers, Tcb, TcbStatus, TdModuleError, Verdict, appraise,
};
use glacier_wire::{PlatformKind, UnixTime};
use serde_json::json;

fn appraised(shape: Shape, change: impl FnOnce(&mut World)) -> Appraisal<Genuine> {
    let mut world = World::tdx(shape);
    change(&mut world);
    world.appraise()
}

/// The first check that fails once `change` was made.
fn refused(shape: Shape, change: impl FnOnce(&mut World)) -> (CheckId, Reason) {
    first_failed(&appraised(shape, change))
}

fn first_failed(appraisal: &Appraisal<Genuine>) -> (CheckId, Reason) {
    assert_eq!(appraisal.verdict(), Verdict::Rejected);
    assert!(appraisal.value().is_none());
    let check = appraisal.checks().iter().find(|check| check.outcome == Outcome::Fail).unwrap();
    (check.id, check.reason.clone())
}

fn tcb(shape: Shape, change: impl FnOnce(&mut World)) -> IntelTcb {
    match appraised(shape, change).into_result().unwrap().tcb() {
        Tcb::Intel(tcb) => tcb.clone(),
        other => panic!("{other:?}"),
    }
}

fn malformed() -> Reason {
    Reason::Document { part: Part::TcbInfo, error: DocumentError::Malformed }
}

#[test]
fn unchanged_it_is_genuine_in_every_shape() {
    for shape in Shape::DOMAINS {
        let genuine = appraised(shape, |_| ()).into_result().unwrap();
        assert_eq!(genuine.platform(), PlatformKind::Simulated);
        assert_eq!(genuine.tcb_status(), Some(TcbStatus::UpToDate));
        assert_eq!(genuine.exposures(), []);
        assert_eq!(&genuine.report_data()[..6], b"hello\0");
        let Registers::Tdx(td) = genuine.registers() else { panic!("{shape:?}") };
        assert_eq!((td.mrtd, td.mrconfigid), (Register([1; 48]), Register([2; 48])));
        assert_eq!((td.mrowner, td.mrownerconfig), (Register([3; 48]), Register([4; 48])));
        assert_eq!(td.rtmr, [5, 6, 7, 8].map(|byte| Register([byte; 48])));
        assert_eq!((td.mrseam, td.mrsignerseam), (Register([0x5e; 48]), Register::ZERO));
        assert_eq!((td.attributes, td.xfam), (1 << 28, 0xe7));
        assert_eq!(td.tee_tcb_svn[..4], [5, 1, 7, 0]);
        assert_eq!(td.mrservicetd, (shape == Shape::V5Later).then_some(Register::ZERO));
    }
}

#[test]
fn an_enclave_in_a_later_version_is_judged_as_an_enclave() {
    for shape in [Shape::V4Enclave, Shape::V5Enclave] {
        let world = World { shape, ..World::new() };
        let appraisal = world.appraise();
        let module = appraisal.checks().iter().find(|check| check.id == CheckId::TdModule).unwrap();
        assert_eq!((module.outcome, &module.reason), (Outcome::Pass, &Reason::NoModule));
        let genuine = appraisal.into_result().unwrap();
        let original = World::new().appraise().into_result().unwrap();
        assert_eq!(genuine.registers(), original.registers());
        assert_eq!(genuine.tcb(), original.tcb());
        let mut other = World { shape, ..World::tdx(Shape::V4) };
        other.qe_report[256] = 1;
        assert_eq!(first_failed(&other.appraise()), (CheckId::PlatformModel, Reason::OtherTee));
    }
}

macro_rules! wrong {
    ($($name:ident: $shapes:expr, |$world:ident| $change:expr => $id:ident, $reason:expr;)+) => {$(
        #[test]
        fn $name() {
            for shape in $shapes {
                let found = refused(shape, |$world| { $change; });
                assert_eq!(found, (CheckId::$id, $reason), "{shape:?}");
            }
        }
    )+};
}

const ALL: [Shape; 3] = Shape::DOMAINS;

wrong! {
    another_tee_type: ALL, |w| w.tee_type = Some(0x82)
        => Structure, Reason::Quote(QuoteError::TeeType(0x82));
    a_domain_in_version_3: [Shape::V3], |w| w.tee_type = Some(0x81)
        => Structure, Reason::Quote(QuoteError::TeeType(0x81));
    a_domains_body_under_an_enclaves_header: [Shape::V5, Shape::V5Later], |w| w.tee_type = Some(0)
        => Structure, Reason::Quote(QuoteError::TeeType(0));
    an_enclaves_body_under_a_domains_header: [Shape::V5Enclave], |w| w.tee_type = Some(0x81)
        => Structure, Reason::Quote(QuoteError::TeeType(0x81));
    an_unknown_body_type: [Shape::V5, Shape::V5Later], |w| w.body_type = Some(9)
        => Structure, Reason::Quote(QuoteError::BodyType(9));
    an_extended_body: [Shape::V5Later], |w| w.body_type = Some(4)
        => Structure, Reason::Quote(QuoteError::ExtendedBody);
    a_body_type_of_another_length: [Shape::V5Later], |w| w.body_type = Some(2)
        => Structure, Reason::Quote(QuoteError::Length);
    a_body_longer_than_its_type: [Shape::V5, Shape::V5Later], |w| w.body_length = Some(885)
        => Structure, Reason::Quote(QuoteError::Length);
    another_outer_certification_type: ALL, |w| w.outer_type = 5
        => Structure, Reason::Quote(QuoteError::CertificationType(5));

    tcb_info_for_sgx: ALL, |w| w.tcb_info["id"] = "SGX".into()
        => QeIdentity, Reason::Document { part: Part::QeIdentity, error: DocumentError::Kind };
    qe_identity_for_sgx: ALL, |w| w.qe_identity["id"] = "QE".into()
        => QeIdentity, Reason::Document { part: Part::QeIdentity, error: DocumentError::Kind };
    both_documents_for_sgx: ALL, |w| { w.tcb_info["id"] = "SGX".into(); w.qe_identity["id"] = "QE".into(); }
        => PlatformModel, Reason::OtherTee;
    tcb_info_without_a_module: ALL, |w| { w.tcb_info.as_object_mut().unwrap().remove("tdxModule"); }
        => TcbInfo, malformed();
    tcb_info_without_tdx_components: ALL, |w| {
        w.tcb_info["tcbLevels"][1]["tcb"].as_object_mut().unwrap().remove("tdxtcbcomponents");
    } => TcbInfo, malformed();
    tcb_info_with_fifteen_tdx_components: ALL, |w| {
        w.tcb_info["tcbLevels"][0]["tcb"]["tdxtcbcomponents"].as_array_mut().unwrap().pop();
    } => TcbInfo, malformed();
    tcb_info_with_a_short_module_signer: ALL, |w| w.tcb_info["tdxModuleIdentities"][0]["mrsigner"] = "00".into()
        => TcbInfo, malformed();
    tcb_info_with_a_module_of_no_version: ALL, |w| w.tcb_info["tdxModuleIdentities"][0]["id"] = "TDX".into()
        => TcbInfo, malformed();
    tcb_info_with_a_platforms_status_for_a_module: ALL, |w| {
        w.tcb_info["tdxModuleIdentities"][0]["tcbLevels"][0]["tcbStatus"] = "SWHardeningNeeded".into();
    } => TcbInfo, malformed();

    the_quoting_enclave_of_sgx: ALL, |w| w.qe_report[256] = 1
        => QuotingEnclave, Reason::QuotingEnclave(QuotingEnclaveError::Product);
    quote_by_a_stranger: ALL, |w| w.attestation.2 = STRANGER
        => QuoteSignature, Reason::BadSignature(Part::Quote);
    another_processor_model: ALL, |w| w.chip.as_mut().unwrap().fmspc[1] = 0x90
        => PlatformModel, Reason::OtherModel;

    module_of_another_signer: ALL, |w| w.td_report[64] = 1
        => TdModule, Reason::TdModule(TdModuleError::Signer);
    module_of_another_signer_than_the_first: ALL, |w| { w.td_report[1] = 0; w.td_report[111] = 1; }
        => TdModule, Reason::TdModule(TdModuleError::Signer);
    module_with_other_attributes: ALL, |w| w.td_report[112] = 1
        => TdModule, Reason::TdModule(TdModuleError::Attributes);
    module_with_attributes_outside_the_mask: ALL, |w| {
        w.tcb_info["tdxModuleIdentities"][0]["attributesMask"] = "00".repeat(8).into();
        w.td_report[119] = 0x80;
    } => TdModule, Reason::TdModule(TdModuleError::Attributes);
    module_of_an_unknown_version: ALL, |w| w.td_report[1] = 2
        => TdModule, Reason::TdModule(TdModuleError::Version(2));
    module_below_every_level: ALL, |w| w.td_report[0] = 2
        => TdModule, Reason::TdModule(TdModuleError::NoLevel);
    module_level_revoked: ALL, |w| w.td_report[0] = 3
        => TdModule, Reason::LevelRevoked(Part::TdModule);
    module_now_of_an_unknown_version: [Shape::V5Later], |w| w.td_report[585] = 3
        => TdModule, Reason::TdModule(TdModuleError::Version(3));
    module_now_below_every_level: [Shape::V5Later], |w| w.td_report[584] = 2
        => TdModule, Reason::TdModule(TdModuleError::NoLevel);
    module_level_now_revoked: [Shape::V5Later], |w| w.td_report[584] = 3
        => TdModule, Reason::LevelRevoked(Part::TdModule);

    platform_below_every_level: ALL, |w| w.td_report[2] = 4
        => TcbLevel, Reason::NoLevel;
    platform_now_below_every_level: [Shape::V5Later], |w| w.td_report[586] = 4
        => TcbLevel, Reason::NoLevel;
    platform_level_revoked: ALL, |w| w.tcb_info["tcbLevels"][0]["tcbStatus"] = "Revoked".into()
        => TcbLevel, Reason::LevelRevoked(Part::Pck);
    platform_level_now_revoked: [Shape::V5Later], |w| {
        w.tcb_info["tcbLevels"][1]["tcbStatus"] = "Revoked".into();
        w.td_report[586] = 5;
    } => TcbLevel, Reason::LevelRevoked(Part::Pck);
    first_module_below_every_level: ALL, |w| {
        // The first two components are the platform's to judge while the module has no levels.
        w.td_report[..3].copy_from_slice(&[1, 0, 7]);
        w.tcb_info["tcbLevels"] = json!([td_level(level(1, 13, "UpToDate", &[]), &[2, 0, 7])]);
    } => TcbLevel, Reason::NoLevel;
}

#[test]
fn the_first_module_has_no_levels_of_its_own() {
    for shape in Shape::DOMAINS {
        let found = tcb(shape, |world| {
            world.td_report[..3].copy_from_slice(&[2, 0, 7]);
            world.tcb_info["tcbLevels"] = json!([td_level(level(1, 13, "UpToDate", &[]), &[2, 0, 7])]);
            world.tcb_info["tdxModuleIdentities"][0]["mrsigner"] = "01".repeat(48).into();
            // The one that runs now has some, and its own signer is not the launched one's.
            world.td_report[584] = 5;
        });
        assert_eq!(found.status, TcbStatus::UpToDate);
    }
}

#[test]
fn a_module_behind_folds_into_the_platform() {
    for shape in Shape::DOMAINS {
        let found = tcb(shape, |world| {
            world.td_report[0] = 4;
            world.td_report[584] = 4;
        });
        assert_eq!((found.platform_status, found.status), (TcbStatus::OutOfDate, TcbStatus::OutOfDate));
        assert_eq!(found.advisories, ["INTEL-SA-00004"]);
        assert_eq!(found.date, UnixTime(1_709_251_200));
    }
}

#[test]
fn a_tdx_component_short_falls_to_the_next_level() {
    for shape in Shape::DOMAINS {
        let found = tcb(shape, |world| {
            world.td_report[2] = 6;
            world.td_report[586] = 6;
        });
        assert_eq!(found.status, TcbStatus::OutOfDate);
        assert_eq!(found.advisories, ["INTEL-SA-00002"]);
    }
}

#[test]
fn levels_that_differ_in_tdx_components_alone_count_best_first() {
    let found = tcb(Shape::V5, |world| {
        world.tcb_info["tcbLevels"] = json!([
            td_level(level(1, 13, "OutOfDate", &[]), &[0, 0, 5]),
            td_level(level(1, 13, "UpToDate", &[]), &[0, 0, 7]),
        ]);
        world.tcb_info["tdxModuleIdentities"][0]["tcbLevels"].as_array_mut().unwrap().reverse();
    });
    assert_eq!(found.status, TcbStatus::UpToDate);
}

#[test]
fn behind_at_launch_and_current_now_advises_a_relaunch() {
    use TcbStatus::*;
    for (level_now, status) in [
        ("UpToDate", TDRelaunchAdvised),
        ("SWHardeningNeeded", TDRelaunchAdvised),
        ("ConfigurationNeeded", TDRelaunchAdvisedConfigurationNeeded),
        ("ConfigurationAndSWHardeningNeeded", TDRelaunchAdvisedConfigurationNeeded),
        ("OutOfDate", OutOfDate),
        ("OutOfDateConfigurationNeeded", OutOfDate),
    ] {
        let found = tcb(Shape::V5Later, |world| {
            world.td_report[2] = 6;
            world.tcb_info["tcbLevels"][0]["tcbStatus"] = level_now.into();
        });
        assert_eq!((found.platform_status, found.status), (OutOfDate, status), "{level_now}");
    }
}

#[test]
fn a_module_updated_under_the_domain_advises_a_relaunch() {
    use TcbStatus::*;
    let found = tcb(Shape::V5Later, |world| world.td_report[0] = 4);
    assert_eq!((found.platform_status, found.status), (OutOfDate, TDRelaunchAdvised));
    let found = tcb(Shape::V5Later, |world| {
        world.td_report[0] = 4;
        world.tcb_info["tcbLevels"][0]["tcbStatus"] = "ConfigurationNeeded".into();
    });
    assert_eq!(found.status, TDRelaunchAdvisedConfigurationNeeded);
}

#[test]
fn a_relaunch_does_not_help_against_a_quoting_enclave_that_is_behind() {
    let found = tcb(Shape::V5Later, |world| {
        world.td_report[0] = 4;
        world.qe_report[258] = 6;
    });
    assert_eq!((found.qe_status, found.status), (TcbStatus::OutOfDate, TcbStatus::OutOfDate));
}

#[test]
fn attributes_are_reported_and_never_refused() {
    for (at, value, expected) in [
        (120, 0x01, Exposure::Debug),
        (120, 0x10, Exposure::Debug),
        (120, 0x02, Exposure::UnknownAttributes),
        (123, 0x30, Exposure::Migratable),
        (123, 0x00, Exposure::SeptVeDisableClear),
        (600, 0x01, Exposure::ServiceTd),
    ] {
        let genuine = appraised(Shape::V5Later, |world| world.td_report[at] = value).into_result().unwrap();
        assert_eq!(genuine.exposures(), [expected]);
        assert_eq!(genuine.debug(), expected == Exposure::Debug);
    }
}

/// A quote of which bytes were changed after it was made.
fn patched(shape: Shape, patch: impl FnOnce(&mut Vec<u8>)) -> (CheckId, Reason) {
    let world = World::tdx(shape);
    let mut quote = world.quote();
    patch(&mut quote);
    let collateral = Collateral::parse(&world.collateral_json()).unwrap();
    first_failed(&appraise(&quote, &collateral.into(), &world.anchors(), UnixTime(NOW)))
}

#[test]
fn bytes_left_over_are_refused_whichever_length_counts_them() {
    let length_at = |shape| match shape {
        Shape::V4 => 632,
        Shape::V5 => 638,
        _ => 702,
    };
    for shape in Shape::DOMAINS {
        let expected = (CheckId::Structure, Reason::Quote(QuoteError::Length));
        let data = length_at(shape);
        assert_eq!(patched(shape, |quote| quote.push(0)), expected);
        let counted = |lengths: &'static [usize]| {
            patched(shape, |quote| {
                quote.push(0);
                for at in lengths {
                    let at = data + at;
                    let length = u32::from_le_bytes(quote[at..at + 4].try_into().unwrap());
                    quote[at..at + 4].copy_from_slice(&(length + 1).to_le_bytes());
                }
            })
        };
        // Of the signature data; and of the certification data inside, 134 bytes on.
        assert_eq!(counted(&[0]), expected);
        assert_eq!(counted(&[134]), expected);
        assert_eq!(counted(&[0, 134]), expected);
    }
}
