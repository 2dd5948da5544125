//! One small test per way to be wrong: evidence of our own vendor that is right but for one thing.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::arithmetic_side_effects)]

mod common {
    pub(crate) mod forge;
}

use common::forge::*;
use glacier_attest::{
    CertificateError as C, CheckId, DocumentError, Outcome, Part, QuotingEnclaveError as Q, Reason, Tcb, TcbStatus,
    Verdict,
};
use serde_json::json;

/// The first check that fails once `change` was made.
fn refused(change: impl FnOnce(&mut World)) -> (CheckId, Reason) {
    let mut world = World::new();
    change(&mut world);
    let appraisal = world.appraise();
    assert_eq!(appraisal.verdict(), Verdict::Rejected);
    assert!(appraisal.value().is_none());
    let check = appraisal.checks().iter().find(|check| check.outcome == Outcome::Fail).unwrap();
    (check.id, check.reason.clone())
}

fn certificate(part: Part, error: C) -> Reason {
    Reason::Certificate { part, error }
}

fn document(part: Part, error: DocumentError) -> Reason {
    Reason::Document { part, error }
}

#[test]
fn unchanged_it_is_genuine() {
    let genuine = World::new().appraise().into_result().unwrap();
    assert_eq!(genuine.tcb_status(), Some(TcbStatus::UpToDate));
    assert_eq!(genuine.hardware_id(), Some(&[7; 16][..]));
}

/// Serial of a certificate that was issued again.
const REISSUED: u16 = 77;

/// Puts another certificate of the PCK CA into the quote than the one in the collateral.
fn reissue(world: &mut World, change: impl FnOnce(&mut Cert)) {
    let mut other = World::new();
    other.pck_ca.serial = REISSUED;
    change(&mut other.pck_ca);
    world.chain_above = Some(vec![other.pck_ca.der(), world.root.der()]);
}

#[test]
fn a_pck_ca_that_was_issued_again_is_the_same_and_bounds_the_validity() {
    let mut world = World::new();
    reissue(&mut world, |ca| {
        ca.from = "260110000000Z";
        ca.until = "260120000000Z";
    });
    let genuine = world.appraise().into_result().unwrap();
    assert_eq!(genuine.validity(), (glacier_wire::UnixTime(1_768_003_200), glacier_wire::UnixTime(1_768_867_200)));
    let original = World::new().appraise().into_result().unwrap();
    assert_eq!(genuine.hardware_id(), original.hardware_id());
    assert_ne!(genuine.validity(), original.validity());
}

macro_rules! wrong {
    ($($name:ident: |$world:ident| $change:expr => $id:ident, $reason:expr;)+) => {$(
        #[test]
        fn $name() {
            let found = refused(|$world| { $change; });
            assert_eq!(found, (CheckId::$id, $reason));
        }
    )+};
}

wrong! {
    root_is_no_authority: |w| w.root.authority = Some(false)
        => TrustAnchor, certificate(Part::Root, C::NotAuthority);
    root_has_no_room_for_a_pck_ca: |w| w.root.path = Some(0)
        => TrustAnchor, certificate(Part::Root, C::NotAuthority);
    root_names_another_issuer: |w| w.root.issuer = "Test Other"
        => TrustAnchor, certificate(Part::Root, C::Issuer);
    root_may_not_sign_certificates: |w| w.root.usage = SIGN
        => TrustAnchor, certificate(Part::Root, C::KeyUsage);
    root_expired: |w| w.root.until = "260110000000Z"
        => CollateralCurrent, Reason::Expired { part: Part::Root, until: glacier_wire::UnixTime(1_768_003_200) };
    root_revoked: |w| w.root_crl.serials = vec![1]
        => RootCrl, Reason::Revoked(Part::Root);

    root_crl_by_a_stranger: |w| w.root_crl.signer = STRANGER
        => RootCrl, certificate(Part::RootCrl, C::Signature);
    root_crl_of_another_issuer: |w| w.root_crl.issuer = "Test Other"
        => RootCrl, certificate(Part::RootCrl, C::Issuer);
    root_crl_of_another_key: |w| w.root_crl.issuer_key = STRANGER
        => RootCrl, certificate(Part::RootCrl, C::Issuer);
    root_crl_without_end: |w| w.root_crl.until = None
        => RootCrl, certificate(Part::RootCrl, C::Malformed);
    root_crl_is_a_delta: |w| w.root_crl.extra.push(extension(&[2, 5, 29, 27], true, &int(1)))
        => RootCrl, certificate(Part::RootCrl, C::Extension);
    root_crl_expired: |w| w.root_crl.until = Some("260110000000Z")
        => CollateralCurrent, Reason::Expired { part: Part::RootCrl, until: glacier_wire::UnixTime(1_768_003_200) };
    root_crl_from_the_future: |w| w.root_crl.from = "260120000000Z"
        => CollateralCurrent, Reason::NotYetValid { part: Part::RootCrl, from: glacier_wire::UnixTime(1_768_867_200) };

    pck_ca_by_a_stranger: |w| w.pck_ca.signer = STRANGER
        => PckCrl, certificate(Part::PckCa, C::Signature);
    pck_ca_names_another_issuer: |w| w.pck_ca.issuer = "Test Other"
        => PckCrl, certificate(Part::PckCa, C::Issuer);
    pck_ca_of_another_root_key: |w| w.pck_ca.issuer_key = STRANGER
        => PckCrl, certificate(Part::PckCa, C::Issuer);
    pck_ca_is_no_authority: |w| w.pck_ca.authority = Some(false)
        => PckCrl, certificate(Part::PckCa, C::NotAuthority);
    pck_ca_without_constraints: |w| w.pck_ca.authority = None
        => PckCrl, certificate(Part::PckCa, C::NotAuthority);
    pck_ca_may_not_sign_certificates: |w| w.pck_ca.usage = SIGN
        => PckCrl, certificate(Part::PckCa, C::KeyUsage);
    pck_ca_says_two_algorithms: |w| w.pck_ca.inner = ecdsa_with_sha384()
        => PckCrl, certificate(Part::PckCa, C::Algorithm);
    pck_ca_is_another_authority: |w| {
        w.pck_ca.subject = "Test Other CA";
        w.pck_crl.issuer = "Test Other CA";
        w.pck.issuer = "Test Other CA";
    } => PckCrl, certificate(Part::PckCa, C::Role);
    pck_ca_revoked: |w| w.root_crl.serials = vec![2]
        => PckCrl, Reason::Revoked(Part::PckCa);
    pck_ca_expired: |w| w.pck_ca.until = "260110000000Z"
        => CollateralCurrent, Reason::Expired { part: Part::PckCa, until: glacier_wire::UnixTime(1_768_003_200) };
    pck_crl_by_the_root: |w| w.pck_crl.signer = ROOT
        => PckCrl, certificate(Part::PckCrl, C::Signature);
    pck_crl_of_another_issuer: |w| w.pck_crl.issuer = "Test Root"
        => PckCrl, certificate(Part::PckCrl, C::Issuer);
    pck_crl_expired: |w| w.pck_crl.until = Some("260110000000Z")
        => CollateralCurrent, Reason::Expired { part: Part::PckCrl, until: glacier_wire::UnixTime(1_768_003_200) };

    tcb_signer_by_the_pck_ca: |w| {
        w.tcb_signer.signer = PCK_CA;
        w.tcb_signer.issuer = "Test PCK Platform CA";
    } => TcbInfo, certificate(Part::TcbInfoSigner, C::Signature);
    tcb_signer_is_an_authority: |w| w.tcb_signer.authority = Some(true)
        => TcbInfo, certificate(Part::TcbInfoSigner, C::NotLeaf);
    tcb_signer_may_not_sign: |w| w.tcb_signer.usage = 0x20
        => TcbInfo, certificate(Part::TcbInfoSigner, C::KeyUsage);
    tcb_signer_is_somebody_else: |w| w.tcb_signer.subject = "Test Something Else"
        => TcbInfo, certificate(Part::TcbInfoSigner, C::Role);
    tcb_signer_revoked: |w| w.root_crl.serials = vec![3]
        => TcbInfo, Reason::Revoked(Part::TcbInfoSigner);
    tcb_signer_expired: |w| w.tcb_signer.until = "260110000000Z"
        => CollateralCurrent, Reason::Expired { part: Part::TcbInfoSigner, until: glacier_wire::UnixTime(1_768_003_200) };

    tcb_info_by_a_stranger: |w| w.tcb_info_signer = STRANGER
        => TcbInfo, document(Part::TcbInfo, DocumentError::Signature);
    tcb_info_for_tdx: |w| w.tcb_info["id"] = "TDX".into()
        => TcbInfo, document(Part::TcbInfo, DocumentError::Malformed);
    tcb_info_for_something_else: |w| w.tcb_info["id"] = "TPM".into()
        => TcbInfo, document(Part::TcbInfo, DocumentError::Kind);
    tcb_info_of_another_version: |w| w.tcb_info["version"] = 2.into()
        => TcbInfo, document(Part::TcbInfo, DocumentError::Kind);
    tcb_info_of_another_comparison: |w| w.tcb_info["tcbType"] = 1.into()
        => TcbInfo, document(Part::TcbInfo, DocumentError::Kind);
    tcb_info_with_an_unknown_status: |w| w.tcb_info["tcbLevels"][0]["tcbStatus"] = "Splendid".into()
        => TcbInfo, document(Part::TcbInfo, DocumentError::Malformed);
    tcb_info_with_a_domains_status: |w| w.tcb_info["tcbLevels"][0]["tcbStatus"] = "TDRelaunchAdvised".into()
        => TcbInfo, document(Part::TcbInfo, DocumentError::Malformed);
    tcb_info_with_fifteen_components: |w| {
        w.tcb_info["tcbLevels"][0]["tcb"]["sgxtcbcomponents"].as_array_mut().unwrap().pop();
    } => TcbInfo, document(Part::TcbInfo, DocumentError::Malformed);
    tcb_info_in_local_time: |w| w.tcb_info["nextUpdate"] = "2026-01-31T00:00:00+01:00".into()
        => TcbInfo, document(Part::TcbInfo, DocumentError::Malformed);
    tcb_info_expired: |w| w.tcb_info["nextUpdate"] = "2026-01-10T00:00:00Z".into()
        => CollateralCurrent, Reason::Expired { part: Part::TcbInfo, until: glacier_wire::UnixTime(1_768_003_200) };
    tcb_info_from_the_future: |w| w.tcb_info["issueDate"] = "2026-01-20T00:00:00Z".into()
        => CollateralCurrent, Reason::NotYetValid { part: Part::TcbInfo, from: glacier_wire::UnixTime(1_768_867_200) };

    qe_identity_by_a_stranger: |w| w.qe_identity_signer = STRANGER
        => QeIdentity, document(Part::QeIdentity, DocumentError::Signature);
    qe_identity_for_tdx: |w| w.qe_identity["id"] = "TD_QE".into()
        => QeIdentity, document(Part::QeIdentity, DocumentError::Kind);
    qe_identity_with_a_short_signer: |w| w.qe_identity["mrsigner"] = "51".into()
        => QeIdentity, document(Part::QeIdentity, DocumentError::Malformed);
    qe_identity_with_a_platforms_status: |w| w.qe_identity["tcbLevels"][0]["tcbStatus"] = "ConfigurationNeeded".into()
        => QeIdentity, document(Part::QeIdentity, DocumentError::Malformed);
    qe_identity_expired: |w| w.qe_identity["nextUpdate"] = "2026-01-10T00:00:00Z".into()
        => CollateralCurrent, Reason::Expired { part: Part::QeIdentity, until: glacier_wire::UnixTime(1_768_003_200) };

    pck_by_the_root: |w| {
        w.pck.signer = ROOT;
        w.pck.issuer = "Test Root";
        w.pck.issuer_key = ROOT;
    } => PckChain, certificate(Part::Pck, C::Signature);
    pck_by_the_root_and_no_ca_between: |w| {
        w.pck.signer = ROOT;
        w.pck.issuer = "Test Root";
        w.pck.issuer_key = ROOT;
        w.chain_above = Some(vec![w.root.der(), w.root.der()]);
    } => PckChain, certificate(Part::PckCa, C::Role);
    pck_ca_in_the_quote_by_a_stranger: |w| reissue(w, |ca| ca.signer = STRANGER)
        => PckChain, certificate(Part::PckCa, C::Signature);
    pck_ca_in_the_quote_of_another_key: |w| reissue(w, |ca| ca.key = STRANGER)
        => PckChain, Reason::OtherIssuer;
    pck_ca_in_the_quote_of_another_name: |w| reissue(w, |ca| ca.subject = "Test PCK Processor CA")
        => PckChain, Reason::OtherIssuer;
    pck_ca_in_the_quote_revoked: |w| { reissue(w, |_| ()); w.root_crl.serials = vec![REISSUED]; }
        => PckChain, Reason::Revoked(Part::PckCa);
    pck_ca_in_the_quote_expired: |w| reissue(w, |ca| ca.until = "260110000000Z")
        => PckChain, Reason::Expired { part: Part::PckCa, until: glacier_wire::UnixTime(1_768_003_200) };
    pck_ca_in_the_quote_from_the_future: |w| reissue(w, |ca| ca.from = "260120000000Z")
        => PckChain, Reason::NotYetValid { part: Part::PckCa, from: glacier_wire::UnixTime(1_768_867_200) };
    root_in_the_quote_reissued: |w| {
        w.root.serial = REISSUED;
        w.chain_above = Some(vec![w.pck_ca.der(), w.root.der()]);
        w.root.serial = 1;
    } => PckChain, Reason::OtherIssuer;
    pck_chain_of_two: |w| w.chain_above = Some(vec![w.pck_ca.der()])
        => PckChain, certificate(Part::Pck, C::Pem);
    pck_chain_of_four: |w| w.chain_above = Some(vec![w.pck_ca.der(), w.root.der(), w.root.der()])
        => PckChain, certificate(Part::Pck, C::Pem);
    pck_names_another_issuer: |w| w.pck.issuer = "Test Root"
        => PckChain, certificate(Part::Pck, C::Issuer);
    pck_is_an_authority: |w| w.pck.authority = Some(true)
        => PckChain, certificate(Part::Pck, C::NotLeaf);
    pck_may_issue: |w| w.pck.usage = SIGN | ISSUE
        => PckChain, certificate(Part::Pck, C::KeyUsage);
    pck_with_an_unknown_critical_extension: |w| w.pck.extra.push(extension(&[2, 5, 29, 54], true, &int(0)))
        => PckChain, certificate(Part::Pck, C::Extension);
    pck_with_an_extension_twice: |w| w.pck.extra.push(extension(&[2, 5, 29, 14], false, &tlv(4, &[1; 20])))
        => PckChain, certificate(Part::Pck, C::Extension);
    pck_expired: |w| w.pck.until = "260110000000Z"
        => PckChain, Reason::Expired { part: Part::Pck, until: glacier_wire::UnixTime(1_768_003_200) };
    pck_from_the_future: |w| w.pck.from = "260120000000Z"
        => PckChain, Reason::NotYetValid { part: Part::Pck, from: glacier_wire::UnixTime(1_768_867_200) };
    pck_without_a_chip: |w| w.chip = None
        => PckChain, certificate(Part::Pck, C::SgxExtension);
    pck_with_a_short_ppid: |w| w.chip.as_mut().unwrap().ppid = vec![7; 15]
        => PckChain, certificate(Part::Pck, C::SgxExtension);
    pck_with_fifteen_components: |w| { w.chip.as_mut().unwrap().components.pop(); }
        => PckChain, certificate(Part::Pck, C::SgxExtension);
    pck_with_a_component_of_two_bytes: |w| w.chip.as_mut().unwrap().components[0] = 256
        => PckChain, certificate(Part::Pck, C::SgxExtension);
    pck_with_two_ppids: |w| w.chip.as_mut().unwrap().extra.push(ChipExtension::member(&[1], tlv(4, &[8; 16])))
        => PckChain, certificate(Part::Pck, C::SgxExtension);
    pck_revoked: |w| w.pck_crl.serials = vec![1, 2, 3, 4, 5]
        => PckRevocation, Reason::Revoked(Part::Pck);

    qe_report_by_a_stranger: |w| w.qe_report_signer = STRANGER
        => QeReport, Reason::BadSignature(Part::QeReport);
    attestation_key_swapped: |w| w.attestation = (STRANGER, ATTESTATION, STRANGER)
        => AttestationKey, Reason::OtherAttestationKey;
    qe_report_data_with_a_tail: |w| w.qe_report_tail[31] = 1
        => AttestationKey, Reason::OtherAttestationKey;
    quote_by_a_stranger: |w| w.attestation.2 = STRANGER
        => QuoteSignature, Reason::BadSignature(Part::Quote);

    quoting_enclave_of_another_signer: |w| w.qe_report[128] ^= 1
        => QuotingEnclave, Reason::QuotingEnclave(Q::Signer);
    quoting_enclave_is_another_product: |w| w.qe_report[256] = 2
        => QuotingEnclave, Reason::QuotingEnclave(Q::Product);
    quoting_enclave_without_provision_key: |w| w.qe_report[48] = 0x01
        => QuotingEnclave, Reason::QuotingEnclave(Q::Attributes);
    quoting_enclave_with_misc_select: |w| w.qe_report[16] = 1
        => QuotingEnclave, Reason::QuotingEnclave(Q::Attributes);
    quoting_enclave_in_debug: |w| w.qe_report[48] |= 2
        => QuotingEnclave, Reason::QuotingEnclave(Q::Attributes);
    quoting_enclave_in_debug_that_the_mask_lets_pass: |w| {
        w.qe_report[48] |= 2;
        w.qe_identity["attributesMask"] = "F9FFFFFFFFFFFFFF0000000000000000".into();
    } => QuotingEnclave, Reason::QuotingEnclave(Q::Debug);
    quoting_enclave_too_old: |w| w.qe_report[258] = 4
        => QuotingEnclave, Reason::QuotingEnclave(Q::NoLevel);
    quoting_enclave_level_revoked: |w| w.qe_report[258] = 5
        => TcbLevel, Reason::LevelRevoked(Part::QeReport);

    another_processor_model: |w| w.chip.as_mut().unwrap().fmspc[1] = 0x90
        => PlatformModel, Reason::OtherModel;
    another_provisioning_enclave: |w| w.chip.as_mut().unwrap().pce_id[0] = 1
        => PlatformModel, Reason::OtherProvisioning;
    chip_below_every_level: |w| w.chip.as_mut().unwrap().pce_svn = 9
        => TcbLevel, Reason::NoLevel;
    chip_level_revoked: |w| w.tcb_info["tcbLevels"] = json!([level(1, 13, "Revoked", &[])])
        => TcbLevel, Reason::LevelRevoked(Part::Pck);
    no_levels_at_all: |w| w.tcb_info["tcbLevels"] = json!([])
        => TcbLevel, Reason::NoLevel;
}

#[test]
fn one_component_short_falls_to_the_next_level() {
    let mut world = World::new();
    world.chip.as_mut().unwrap().components[9] = 0;
    let genuine = world.appraise().into_result().unwrap();
    assert_eq!(genuine.tcb_status(), Some(TcbStatus::OutOfDate));
    assert_eq!(genuine.advisories(), ["INTEL-SA-00002"]);
}

#[test]
fn levels_count_best_first_in_whatever_order_they_come() {
    let mut world = World::new();
    world.tcb_info["tcbLevels"].as_array_mut().unwrap().reverse();
    world.qe_identity["tcbLevels"].as_array_mut().unwrap().reverse();
    assert_eq!(world.appraise().into_result().unwrap().tcb_status(), Some(TcbStatus::UpToDate));
}

#[test]
fn a_quoting_enclave_behind_folds_into_the_status() {
    use TcbStatus::*;
    for (platform, folded) in [
        (UpToDate, OutOfDate),
        (SWHardeningNeeded, OutOfDate),
        (ConfigurationNeeded, OutOfDateConfigurationNeeded),
        (ConfigurationAndSWHardeningNeeded, OutOfDateConfigurationNeeded),
        (OutOfDate, OutOfDate),
        (OutOfDateConfigurationNeeded, OutOfDateConfigurationNeeded),
    ] {
        let mut world = World::new();
        world.tcb_info["tcbLevels"] = json!([level(1, 13, platform.as_str(), &["INTEL-SA-00002", "INTEL-SA-00009"])]);
        world.qe_report[258] = 6;
        let genuine = world.appraise().into_result().unwrap();
        let Tcb::Intel(tcb) = genuine.tcb() else { panic!("{:?}", genuine.tcb()) };
        assert_eq!((tcb.platform_status, tcb.qe_status, tcb.status), (platform, OutOfDate, folded));
        assert_eq!(genuine.advisories(), ["INTEL-SA-00001", "INTEL-SA-00002", "INTEL-SA-00009"]);
    }
}

#[test]
fn the_smaller_evaluation_number_counts() {
    let mut world = World::new();
    world.qe_identity["tcbEvaluationDataNumber"] = 18.into();
    let genuine = world.appraise().into_result().unwrap();
    assert!(matches!(genuine.tcb(), Tcb::Intel(tcb) if tcb.evaluation == 18));
}

#[test]
fn a_leaf_may_leave_its_constraints_out() {
    let mut world = World::new();
    world.pck.authority = None;
    world.tcb_signer.authority = None;
    assert_eq!(world.appraise().verdict(), Verdict::Accepted);
}
