//! Foreign bytes in place of an SNP report or of what comes beside it: nothing panics, and nothing
//! changed is taken for what was signed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod common {
    pub(crate) mod forge_snp;
}

use common::forge_snp::*;
use glacier_attest::{
    Anchors, CheckedEndorsements, Endorsements, Genuine, Outcome, Verdict, appraise, appraise_checked,
};
use glacier_wire::UnixTime;
use proptest::prelude::*;
use std::sync::LazyLock;

struct Ours {
    evidence: Vec<u8>,
    given: Endorsements,
    checked: CheckedEndorsements,
    anchors: Anchors,
    genuine: Genuine,
}

static OURS: LazyLock<Ours> = LazyLock::new(|| {
    let mut world = World::milan();
    world.listed(|_| ());
    let (evidence, given, anchors) = (world.evidence(), world.endorsements(), world.anchors());
    let checked = given.check(&anchors, UnixTime(NOW));
    let genuine = appraise_checked(&evidence, &checked, UnixTime(NOW)).into_result().unwrap();
    Ours { evidence, given, checked, anchors, genuine }
});

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..most)
}

/// A change of one byte, a cut, or bytes after the end.
fn changed(mut from: Vec<u8>, at: prop::sample::Index, flip: u8, kind: u8) -> Vec<u8> {
    let at = at.index(from.len());
    match kind {
        0 => from[at] ^= flip,
        1 => from.truncate(at),
        _ => from.extend(vec![flip; at + 1]),
    }
    from
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_random_report_is_never_accepted(version in 0..8u8, body in prop::collection::vec(any::<u8>(), 1180)) {
        let report = [&[version, 0, 0, 0], &body[..]].concat();
        let appraisal = appraise_checked(&report, &OURS.checked, UnixTime(NOW));
        prop_assert_eq!(appraisal.verdict(), Verdict::Rejected);
        prop_assert!(appraise(&report, &Endorsements::default(), &OURS.anchors, UnixTime(NOW)).value().is_none());
    }

    #[test]
    fn a_changed_report_is_never_accepted(at: prop::sample::Index, flip in 1..=255u8, kind in 0..3u8) {
        let report = changed(OURS.evidence.clone(), at, flip, kind);
        let appraisal = appraise_checked(&report, &OURS.checked, UnixTime(NOW));
        prop_assert_eq!(appraisal.verdict(), Verdict::Rejected);
    }

    #[test]
    fn a_changed_certificate_is_never_accepted(
        which in 0..3usize, at: prop::sample::Index, flip in 1..=255u8, kind in 0..3u8,
    ) {
        let mut given = OURS.given.clone();
        let certificate = match which {
            0 => given.vek.as_mut().unwrap(),
            other => &mut given.amd_authorities[other - 1],
        };
        *certificate = changed(certificate.clone(), at, flip, kind);
        let appraisal = appraise(&OURS.evidence, &given, &OURS.anchors, UnixTime(NOW));
        prop_assert_eq!(appraisal.verdict(), Verdict::Rejected);
    }

    /// Under another issuer's name it says nothing: the same as if it were not there.
    #[test]
    fn a_changed_list_never_counts(at: prop::sample::Index, flip in 1..=255u8, kind in 0..3u8) {
        let mut given = OURS.given.clone();
        given.amd_crls[0] = changed(given.amd_crls[0].clone(), at, flip, kind);
        let appraisal = appraise(&OURS.evidence, &given, &OURS.anchors, UnixTime(NOW));
        given.amd_crls.clear();
        let without = appraise(&OURS.evidence, &given, &OURS.anchors, UnixTime(NOW));
        match appraisal.value() {
            Some(genuine) => prop_assert_eq!(Some(genuine), without.value()),
            None => prop_assert_eq!(appraisal.verdict(), Verdict::Rejected),
        }
    }

    #[test]
    fn random_endorsements_change_nothing_or_stand_in_the_way(
        authorities in prop::collection::vec(bytes(400), 0..14), lists in prop::collection::vec(bytes(400), 0..3),
    ) {
        let mut given = OURS.given.clone();
        given.amd_authorities.splice(0..0, authorities);
        given.amd_crls.extend(lists);
        let appraisal = appraise(&OURS.evidence, &given, &OURS.anchors, UnixTime(NOW));
        match appraisal.value() {
            Some(genuine) => prop_assert_eq!(genuine, &OURS.genuine),
            None => prop_assert!(appraisal.checks().iter().any(|check| check.outcome == Outcome::Fail)),
        }
    }

    #[test]
    fn a_random_certificate_of_the_key_is_never_accepted(vek in bytes(2000)) {
        let given = Endorsements { vek: Some(vek), ..OURS.given.clone() };
        let appraisal = appraise(&OURS.evidence, &given, &OURS.anchors, UnixTime(NOW));
        prop_assert_eq!(appraisal.verdict(), Verdict::Rejected);
    }
}

#[test]
fn what_is_too_large_is_not_read() {
    let with = |bytes: usize| {
        let mut world = World::milan();
        world.vek.extra.push(extension(&[1, 2, 3], false, &vec![0; bytes]));
        world.appraise().verdict()
    };
    assert_eq!(with(7 << 10), Verdict::Accepted);
    assert_eq!(with(8 << 10), Verdict::Rejected);
}
