//! One small test per way to be wrong: SNP reports of our own vendor that are right but for one thing.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod common {
    pub(crate) mod forge_snp;
}

use common::forge_snp::*;
use glacier_attest::{
    AmdTcb, CertificateError as C, Check, CheckId, Exposure, Fingerprint, Outcome, Part, Reason, SnpFault as S, SnpTcb,
    Tcb, Verdict, appraise, enclave_id,
};
use glacier_wire::{PlatformKind, UnixTime};

/// The first check that fails once `change` was made.
fn refused(mut world: World, change: impl FnOnce(&mut World)) -> (CheckId, Reason) {
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

fn expired(part: Part) -> Reason {
    Reason::Expired { part, until: UnixTime(1_768_003_200) }
}

fn not_yet(part: Part) -> Reason {
    Reason::NotYetValid { part, from: UnixTime(1_768_867_200) }
}

const PAST: &str = "260110000000Z";
const FUTURE: &str = "260120000000Z";

macro_rules! wrong {
    ($($name:ident: $base:ident, |$world:ident| $change:expr => $id:ident, $reason:expr;)+) => {$(
        #[test]
        fn $name() {
            let found = refused(World::$base(), |$world| { $change; });
            assert_eq!(found, (CheckId::$id, $reason));
        }
    )+};
}

wrong! {
    version_6: milan, |w| w.report[0] = 6
        => Structure, Reason::Snp(S::Version(6));
    policy_without_its_fixed_bit: milan, |w| w.report[POLICY + 2] = 0x01
        => Structure, Reason::Snp(S::Policy(0x10000));
    asked_for_by_the_hypervisor: milan, |w| w.report[VMPL..VMPL + 4].fill(0xff)
        => Structure, Reason::Snp(S::Vmpl(u32::MAX));
    another_signature_algorithm: milan, |w| w.report[0x34] = 2
        => Structure, Reason::Snp(S::SignatureAlgorithm(2));
    a_key_that_no_specification_names: milan, |w| w.report[KEY_INFO] = 2 << 2
        => Structure, Reason::Snp(S::SigningKey(2));
    signed_by_no_key: milan, |w| w.report[KEY_INFO] = 7 << 2 | 2
        => Structure, Reason::Snp(S::Unsigned);
    bytes_after_r: milan, |w| w.report[SIGNATURE + 48] = 1
        => Structure, Reason::Snp(S::SignaturePadding);
    bytes_after_s: milan, |w| w.report[SIGNATURE + 143] = 1
        => Structure, Reason::Snp(S::SignaturePadding);
    bytes_after_the_signature: milan, |w| w.report[1183] = 1
        => Structure, Reason::Snp(S::SignaturePadding);

    root_not_trusted: milan, |w| w.root_trusted = false
        => TrustAnchor, Reason::UntrustedRoot(Fingerprint::of(&World::milan().root.der()));
    root_names_another_issuer: milan, |w| w.root.issuer = "ARK-Other"
        => TrustAnchor, Reason::Snp(S::NoAuthority);
    root_is_no_authority: milan, |w| w.root.authority = Some(false)
        => TrustAnchor, certificate(Part::Root, C::NotAuthority);
    root_says_nothing_of_authority: milan, |w| w.root.authority = None
        => TrustAnchor, certificate(Part::Root, C::NotAuthority);
    root_has_no_room_for_an_authority: milan, |w| w.root.path = Some(0)
        => TrustAnchor, certificate(Part::Root, C::NotAuthority);
    root_may_not_sign_certificates: milan, |w| w.root.usage = Some(0x02)
        => TrustAnchor, certificate(Part::Root, C::KeyUsage);
    root_expired: milan, |w| w.root.until = PAST => TrustAnchor, expired(Part::Root);
    root_from_the_future: milan, |w| w.root.from = FUTURE => TrustAnchor, not_yet(Part::Root);
    vek_of_an_unknown_authority: milan, |w| w.vek.issuer = "SEV-Genoa"
        => TrustAnchor, Reason::Snp(S::NoAuthority);
    vek_straight_from_the_root: milan, |w| (w.vek.issuer, w.vek.signer) = ("ARK-Milan", ROOT)
        => TrustAnchor, Reason::Snp(S::NoAuthority);
    authority_of_an_unknown_root: milan, |w| w.authority.issuer = "ARK-Genoa"
        => TrustAnchor, Reason::Snp(S::NoAuthority);
    more_authorities_than_are_read: milan, |w| w.more_authorities = vec![vec![]; 15]
        => TrustAnchor, Reason::Snp(S::TooMany(16));
    more_lists_than_are_read: milan, |w| w.lists = vec![w.list(); 17]
        => TrustAnchor, Reason::Snp(S::TooMany(16));

    root_of_another_product: milan, |w| w.name("ARK-Genoa", "SEV-Milan")
        => VekChain, certificate(Part::Root, C::Role);
    root_of_an_unknown_product: milan, |w| w.name("ARK-Venice", "SEV-Milan")
        => VekChain, certificate(Part::Root, C::Role);
    authority_of_an_unknown_product: milan, |w| w.name("ARK-Milan", "SEV-Venice")
        => VekChain, certificate(Part::AmdAuthority, C::Role);
    authority_by_a_stranger: milan, |w| w.authority.signer = STRANGER
        => VekChain, certificate(Part::AmdAuthority, C::Signature);
    authority_is_none: milan, |w| w.authority.authority = Some(false)
        => VekChain, certificate(Part::AmdAuthority, C::NotAuthority);
    authority_may_not_sign_certificates: milan, |w| w.authority.usage = Some(0x80)
        => VekChain, certificate(Part::AmdAuthority, C::KeyUsage);
    authority_of_another_key: milan, |w| { w.authority.extra.push(key_id(35, 8)); w.root.extra.push(key_id(14, 9)) }
        => VekChain, certificate(Part::AmdAuthority, C::Issuer);
    authority_with_an_extension_nobody_knows: milan, |w| w.authority.extra.push(extension(&[1, 2, 3], true, &[5, 0]))
        => VekChain, certificate(Part::AmdAuthority, C::Extension);
    authority_with_another_algorithm_inside: milan, |w| w.authority.inner = seq(&[oid(&[1, 2, 840, 10045, 4, 3, 3])])
        => VekChain, certificate(Part::AmdAuthority, C::Algorithm);
    authority_with_another_salt_inside: milan, |w| w.authority.inner = pss(32)
        => VekChain, certificate(Part::AmdAuthority, C::Algorithm);
    authority_expired: milan, |w| w.authority.until = PAST => VekChain, expired(Part::AmdAuthority);
    authority_from_the_future: milan, |w| w.authority.from = FUTURE => VekChain, not_yet(Part::AmdAuthority);

    vek_by_a_stranger: milan, |w| w.vek.signer = STRANGER
        => VekChain, certificate(Part::Vek, C::Signature);
    vek_by_the_root: milan, |w| w.vek.signer = ROOT
        => VekChain, certificate(Part::Vek, C::Signature);
    vek_is_an_authority: milan, |w| w.vek.authority = Some(true)
        => VekChain, certificate(Part::Vek, C::NotLeaf);
    vek_of_another_curve: milan, |w| w.vek.key = Key::P256
        => VekChain, certificate(Part::Vek, C::Algorithm);
    vek_with_an_rsa_key: milan, |w| w.vek.key = STRANGER
        => VekChain, certificate(Part::Vek, C::Algorithm);
    vek_of_another_name: milan, |w| w.vek.subject = "SEV-VCEK2"
        => VekChain, certificate(Part::Vek, C::Role);
    vlek_from_the_chips_authority: milan, |w| w.vek.subject = "SEV-VLEK"
        => VekChain, certificate(Part::Vek, C::Role);
    vcek_from_the_providers_authority: provider, |w| w.vek.subject = "SEV-VCEK"
        => VekChain, certificate(Part::Vek, C::Role);
    vek_with_an_extension_nobody_knows: milan, |w| w.vek.extra.push(extension(&[1, 2, 3], true, &[5, 0]))
        => VekChain, certificate(Part::Vek, C::Extension);
    vek_with_a_version_twice: milan, |w| w.chip.tcb.push((3, int(22)))
        => VekChain, certificate(Part::Vek, C::Extension);
    vek_with_another_algorithm_inside: milan, |w| w.vek.inner = pss(32)
        => VekChain, certificate(Part::Vek, C::Algorithm);
    vek_expired: milan, |w| w.vek.until = PAST => VekChain, expired(Part::Vek);
    vek_from_the_future: milan, |w| w.vek.from = FUTURE => VekChain, not_yet(Part::Vek);

    list_by_a_stranger: milan, |w| w.listed(|list| list.signer = STRANGER)
        => VekRevocation, certificate(Part::AmdCrl, C::Signature);
    list_by_the_authority: milan, |w| w.listed(|list| list.signer = AUTHORITY)
        => VekRevocation, certificate(Part::AmdCrl, C::Signature);
    list_of_a_root_that_may_not_sign_lists: milan, |w| { w.root.usage = Some(ISSUE); w.listed(|_| ()) }
        => VekRevocation, certificate(Part::AmdCrl, C::KeyUsage);
    list_names_the_root: milan, |w| w.listed(|list| list.serials = vec![1, 2])
        => VekRevocation, Reason::Revoked(Part::Root);
    list_names_the_authority: milan, |w| w.listed(|list| list.serials = vec![2])
        => VekRevocation, Reason::Revoked(Part::AmdAuthority);
    list_without_end: milan, |w| w.listed(|list| list.until = None)
        => VekRevocation, certificate(Part::AmdCrl, C::Malformed);
    list_is_a_delta: milan, |w| w.listed(|list| list.extra.push(extension(&[2, 5, 29, 27], true, &int(1))))
        => VekRevocation, certificate(Part::AmdCrl, C::Extension);
    list_expired: milan, |w| w.listed(|list| list.until = Some(PAST)) => VekRevocation, expired(Part::AmdCrl);
    list_from_the_future: milan, |w| w.listed(|list| list.from = FUTURE) => VekRevocation, not_yet(Part::AmdCrl);
    last_of_two_lists_expired: milan, |w| { w.listed(|_| ()); w.listed(|list| list.until = Some(PAST)) }
        => VekRevocation, expired(Part::AmdCrl);
    first_of_two_lists_expired: milan, |w| { w.listed(|list| list.until = Some(PAST)); w.listed(|_| ()) }
        => VekRevocation, expired(Part::AmdCrl);

    report_names_a_providers_key: milan, |w| w.report[KEY_INFO] = 1 << 2
        => VekBinding, Reason::Snp(S::OtherKey);
    report_names_a_chips_key: provider, |w| w.report[KEY_INFO] = 0
        => VekBinding, Reason::Snp(S::OtherKey);
    product_missing: milan, |w| w.chip.product = None
        => VekBinding, Reason::Snp(S::ProductExtension);
    product_is_no_text: milan, |w| w.chip.product = Some(int(1))
        => VekBinding, Reason::Snp(S::ProductExtension);
    product_of_another_generation: milan, |w| w.chip.product = product("Genoa")
        => VekBinding, Reason::Snp(S::OtherProduct);
    product_of_no_generation: milan, |w| w.chip.product = product("Milano")
        => VekBinding, Reason::Snp(S::OtherProduct);
    processor_of_another_model: milan, |w| w.report[PROCESSOR + 1] = 0x11
        => VekBinding, Reason::Snp(S::OtherProcessor { family: 0x19, model: 0x11 });
    processor_of_another_family: turin, |w| w.report[PROCESSOR] = 0x19
        => VekBinding, Reason::Snp(S::OtherProcessor { family: 0x19, model: 0x02 });
    version_missing: milan, |w| w.chip.set(8, None)
        => VekBinding, Reason::Snp(S::TcbExtension);
    version_is_no_byte: milan, |w| w.chip.set(8, Some(tlv(0x02, &[1, 0])))
        => VekBinding, Reason::Snp(S::TcbExtension);
    version_of_turin_on_milan: milan, |w| w.chip.set(9, Some(int(0)))
        => VekBinding, Reason::Snp(S::TcbExtension);
    fmc_missing_on_turin: turin, |w| w.chip.set(9, None)
        => VekBinding, Reason::Snp(S::TcbExtension);
    other_bootloader: milan, |w| w.chip.set(1, Some(int(5))) => VekBinding, Reason::Snp(S::OtherTcb);
    other_tee: milan, |w| w.chip.set(2, Some(int(0))) => VekBinding, Reason::Snp(S::OtherTcb);
    other_snp: milan, |w| w.chip.set(3, Some(int(23))) => VekBinding, Reason::Snp(S::OtherTcb);
    other_microcode: milan, |w| w.chip.set(8, Some(int(211))) => VekBinding, Reason::Snp(S::OtherTcb);
    other_fmc: turin, |w| w.chip.set(9, Some(int(8))) => VekBinding, Reason::Snp(S::OtherTcb);
    reported_version_changed: milan, |w| w.report[REPORTED + 6] = 23 => VekBinding, Reason::Snp(S::OtherTcb);
    hardware_id_missing: milan, |w| w.chip.hardware_id = None
        => VekBinding, Reason::Snp(S::HardwareIdExtension);
    hardware_id_short: milan, |w| w.chip.hardware_id = Some(vec![0x77; 63])
        => VekBinding, Reason::Snp(S::HardwareIdExtension);
    hardware_id_of_turin_on_milan: milan, |w| w.chip.hardware_id = Some(vec![0x77; 8])
        => VekBinding, Reason::Snp(S::HardwareIdExtension);
    hardware_id_of_milan_on_turin: turin, |w| w.chip.hardware_id = Some(vec![0x77; 64])
        => VekBinding, Reason::Snp(S::HardwareIdExtension);
    hardware_id_under_a_providers_key: provider, |w| w.chip.hardware_id = Some(vec![0; 64])
        => VekBinding, Reason::Snp(S::HardwareIdExtension);
    another_chip: milan, |w| w.report[CHIP_ID + 63] = 0x78
        => VekBinding, Reason::Snp(S::OtherChip);
    another_chip_of_turin: turin, |w| w.report[CHIP_ID + 7] = 0x78
        => VekBinding, Reason::Snp(S::OtherChip);
    bytes_after_the_chip_id_of_turin: turin, |w| w.report[CHIP_ID + 8] = 1
        => VekBinding, Reason::Snp(S::OtherChip);
    a_chip_under_a_providers_key: provider, |w| w.report[CHIP_ID] = 1
        => VekBinding, Reason::Snp(S::OtherChip);

    signed_by_a_stranger: milan, |w| w.report_signer = 5
        => ReportSignature, Reason::BadSignature(Part::SnpReport);
}

#[test]
fn unchanged_each_is_genuine_and_simulated() {
    for (world, chip) in [
        (World::milan(), Some(vec![0x77; 64])),
        (World::turin(), Some([[0x77; 8].as_slice(), &[0; 56]].concat())),
        (World::provider(), None),
    ] {
        let genuine = world.appraise().into_result().unwrap();
        assert_eq!(genuine.platform(), PlatformKind::Simulated);
        assert_eq!(genuine.anchor(), Fingerprint::of(&world.root.der()));
        assert_eq!(genuine.hardware_id(), chip.as_deref());
        assert_eq!(genuine.enclave_id(), chip.map(|chip| enclave_id(PlatformKind::Simulated, &chip)));
        assert_eq!(genuine.exposures(), []);
    }
}

#[test]
fn versions_are_read_in_the_layout_of_the_product() {
    for (world, fmc) in [(World::milan(), None), (World::turin(), Some(9))] {
        let tcb = |snp| SnpTcb { fmc, bootloader: 4, tee: 1, snp, microcode: 210 };
        let expected = AmdTcb { reported: tcb(22), current: tcb(23), committed: tcb(21), launch: tcb(20) };
        assert_eq!(*world.appraise().into_result().unwrap().tcb(), Tcb::Amd(expected));
    }
}

#[test]
fn a_masked_chip_is_genuine_and_has_no_name() {
    for mut world in [World::milan(), World::turin()] {
        world.report[CHIP_ID..CHIP_ID + 64].fill(0);
        let genuine = world.appraise().into_result().unwrap();
        assert_eq!((genuine.hardware_id(), genuine.enclave_id()), (None, None));
    }
}

#[test]
fn a_report_of_version_2_has_no_processor_to_look_at() {
    let mut world = World::milan();
    world.report[PROCESSOR..PROCESSOR + 3].fill(0);
    assert_eq!(world.appraise().verdict(), Verdict::Rejected);
    world.report[0] = 2;
    assert_eq!(world.appraise().verdict(), Verdict::Accepted);
}

#[test]
fn exposures_are_reported_and_not_refused() {
    let mut world = World::milan();
    world.report[POLICY + 2] |= 0x0c;
    world.report[VMPL] = 2;
    let genuine = world.appraise().into_result().unwrap();
    assert_eq!(genuine.exposures(), [Exposure::Debug, Exposure::MigrationAgent, Exposure::LowerPrivilege]);
    assert!(genuine.debug());
}

#[test]
fn a_list_that_holds_narrows_the_validity() {
    let mut world = World::milan();
    let before = world.appraise();
    assert_eq!(revocation(before.checks()), (Outcome::Skip, Reason::RevocationNotChecked));
    assert_eq!(before.value().unwrap().validity(), (UnixTime(1_735_689_600), UnixTime(2_051_222_400)));
    world.listed(|_| ());
    let after = world.appraise();
    let until = UnixTime(1_769_817_600);
    assert_eq!(revocation(after.checks()), (Outcome::Pass, Reason::CurrentUntil(until)));
    assert_eq!(after.value().unwrap().validity(), (UnixTime(1_767_225_600), until));
}

#[test]
fn a_list_of_another_root_says_nothing() {
    let mut world = World::milan();
    world.listed(|list| (list.issuer, list.signer, list.serials) = ("ARK-Genoa", STRANGER, vec![1, 2]));
    let appraisal = world.appraise();
    assert_eq!(appraisal.verdict(), Verdict::Accepted);
    assert_eq!(revocation(appraisal.checks()), (Outcome::Skip, Reason::RevocationNotChecked));
}

fn revocation(checks: &[Check]) -> (Outcome, Reason) {
    let check = checks.iter().find(|check| check.id == CheckId::VekRevocation).unwrap();
    (check.outcome, check.reason.clone())
}

#[test]
fn an_untrusted_chain_of_the_same_names_does_not_hide_the_trusted_one() {
    let mut world = World::milan();
    let mut other = World::milan();
    (other.root.key, other.root.signer) = (STRANGER, STRANGER);
    other.authority.signer = STRANGER;
    // Another root of that name, the same authority under it, and another authority of that name.
    let mut reissued = World::milan().authority;
    reissued.key = STRANGER;
    world.more_authorities = vec![other.root.der(), other.authority.der(), reissued.der(), vec![0x30], vec![]];
    let genuine = world.appraise().into_result().unwrap();
    assert_eq!(genuine.anchor(), Fingerprint::of(&world.root.der()));
}

#[test]
fn nothing_but_the_certificate_of_the_key_stands_for_it() {
    let world = World::milan();
    let evidence = world.evidence();
    let mut given = world.endorsements();
    let mut verdict = |vek: Option<Vec<u8>>| {
        given.vek = vek;
        let appraisal = appraise(&evidence, &given, &world.anchors(), UnixTime(NOW));
        let check = appraisal.checks().iter().find(|check| check.outcome != Outcome::Pass).unwrap().clone();
        (check.id, check.reason)
    };
    let malformed = (CheckId::TrustAnchor, certificate(Part::Vek, C::Malformed));
    let der = world.vek_der();
    assert_eq!(verdict(Some(vec![])), malformed);
    assert_eq!(verdict(Some(der[..der.len() - 1].to_vec())), malformed);
    assert_eq!(verdict(Some([&der[..], &[0]].concat())), malformed);
    assert_eq!(verdict(Some(world.authority.der())), (CheckId::TrustAnchor, Reason::Snp(S::NoAuthority)));
    assert_eq!(verdict(Some(world.root.der())), (CheckId::TrustAnchor, Reason::Snp(S::NoAuthority)));
}

#[test]
fn a_list_that_cannot_be_read_is_not_passed_over() {
    let world = World::milan();
    let mut given = world.endorsements();
    given.amd_crls = vec![vec![0x30, 0]];
    let appraisal = appraise(&world.evidence(), &given, &world.anchors(), UnixTime(NOW));
    assert_eq!(revocation(appraisal.checks()), (Outcome::Fail, certificate(Part::AmdCrl, C::Malformed)));
    assert_eq!(appraisal.verdict(), Verdict::Rejected);
}

#[test]
fn a_signature_in_the_other_byte_order_does_not_hold() {
    let world = World::milan();
    let mut evidence = world.evidence();
    evidence[SIGNATURE..SIGNATURE + 48].reverse();
    evidence[SIGNATURE + 72..SIGNATURE + 120].reverse();
    let appraisal = appraise(&evidence, &world.endorsements(), &world.anchors(), UnixTime(NOW));
    let check = appraisal.checks().last().unwrap();
    assert_eq!((check.id, check.reason.clone()), (CheckId::ReportSignature, Reason::BadSignature(Part::SnpReport)));
}

#[test]
fn a_wrong_binding_does_not_hide_the_signature_and_a_wrong_chain_does() {
    let last = |world: &World| {
        let appraisal = world.appraise();
        let check = appraisal.checks().last().unwrap();
        (check.id, check.outcome, check.reason.clone())
    };
    let mut world = World::milan();
    world.report[CHIP_ID] = 1;
    assert_eq!(last(&world), (CheckId::ReportSignature, Outcome::Pass, Reason::Holds));
    world.vek.signer = STRANGER;
    assert_eq!(last(&world), (CheckId::ReportSignature, Outcome::Skip, Reason::Needs(CheckId::VekChain)));
}

fn key_id(arc: u32, key: u8) -> Vec<u8> {
    let id = tlv(if arc == 35 { 0x80 } else { 0x04 }, &[key; 20]);
    extension(&[2, 5, 29, arc], false, &if arc == 35 { seq(&[id]) } else { id })
}
