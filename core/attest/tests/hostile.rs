//! Foreign bytes: nothing panics, and what is signed cannot be changed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod common;

use common::forge;
use forge::{Shape, World};
use glacier_attest::{
    Anchors, CheckedEndorsements, Collateral, CollateralError, Endorsements, Verdict, appraise, appraise_checked,
};
use glacier_wire::UnixTime;
use proptest::prelude::*;
use std::sync::LazyLock;

const NOW: UnixTime = UnixTime(forge::NOW);

/// Quote, collateral and anchors of our own vendor: no vectors needed.
static OURS: LazyLock<(Vec<u8>, Vec<u8>, Anchors)> = LazyLock::new(|| {
    let world = World::new();
    (world.quote(), world.collateral_json(), world.anchors())
});

/// The same of domains: quote, collateral, and where the PEM text begins.
static DOMAINS: LazyLock<Vec<(Vec<u8>, CheckedEndorsements, usize)>> = LazyLock::new(|| {
    let domain = |shape| {
        let world = World::tdx(shape);
        let quote = world.quote();
        let pem = (0..quote.len()).find(|at| quote[*at..].starts_with(b"-----BEGIN")).unwrap();
        let collateral = Endorsements::from(Collateral::parse(&world.collateral_json()).unwrap());
        (quote, collateral.check(&world.anchors(), NOW), pem)
    };
    Shape::DOMAINS.map(domain).into()
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_domains_quote_changed_anywhere_says_the_same_or_nothing(
        which in 0..3usize,
        at in any::<prop::sample::Index>(),
        flip in 1..=255u8,
    ) {
        let (quote, checked, pem) = &DOMAINS[which];
        let mut changed = quote.clone();
        let at = at.index(changed.len());
        changed[at] ^= flip;
        if let Some(genuine) = appraise_checked(&changed, checked, NOW).value() {
            let original = appraise_checked(quote, checked, NOW);
            prop_assert_eq!(Some(genuine), original.value());
            prop_assert!(at >= *pem, "signed bytes changed at {}", at);
        }
    }

    #[test]
    fn a_domains_quote_changed_in_several_places_is_refused(
        which in 0..3usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), 1..=255u8), 1..8),
    ) {
        let (quote, checked, pem) = &DOMAINS[which];
        let mut changed = quote.clone();
        for (at, flip) in &changes {
            changed[at.index(*pem)] ^= flip;
        }
        prop_assume!(changed != *quote);
        prop_assert_eq!(appraise_checked(&changed, checked, NOW).verdict(), Verdict::Rejected);
    }

    #[test]
    fn a_domains_quote_cut_or_drawn_out_is_refused(
        which in 0..3usize,
        at in any::<prop::sample::Index>(),
        tail in prop::collection::vec(any::<u8>(), 1..64),
    ) {
        let (quote, checked, _) = &DOMAINS[which];
        let cut = &quote[..at.index(quote.len())];
        prop_assert_eq!(appraise_checked(cut, checked, NOW).verdict(), Verdict::Rejected);
        let longer = [&quote[..], &tail].concat();
        prop_assert_eq!(appraise_checked(&longer, checked, NOW).verdict(), Verdict::Rejected);
    }

    /// Beginning like a quote of each kind, so that the reader gets past its first questions.
    #[test]
    fn random_bytes_behind_a_genuine_beginning_are_refused(
        which in 0..3usize,
        kept in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 0..2048),
    ) {
        let (quote, checked, pem) = &DOMAINS[which];
        let evidence = [&quote[..kept.index(*pem)], &bytes].concat();
        prop_assert_eq!(appraise_checked(&evidence, checked, NOW).verdict(), Verdict::Rejected);
    }

    #[test]
    fn random_evidence_is_never_accepted(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        let appraisal = appraise(&bytes, &Endorsements::default(), &OURS.2, NOW);
        prop_assert_ne!(appraisal.verdict(), Verdict::Accepted);
    }

    #[test]
    fn random_collateral_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        let _ = Collateral::parse(&bytes);
    }

    #[test]
    fn a_quote_changed_anywhere_says_the_same_or_nothing(at in any::<prop::sample::Index>(), flip in 1..=255u8) {
        let (quote, json, anchors) = &*OURS;
        let checked = Endorsements::from(Collateral::parse(json).unwrap()).check(anchors, NOW);
        let mut changed = quote.clone();
        let at = at.index(changed.len());
        changed[at] ^= flip;
        let appraisal = appraise_checked(&changed, &checked, NOW);
        // A line end of the PEM text may become another; whatever is accepted says the same.
        if let Some(genuine) = appraisal.value() {
            let original = appraise_checked(quote, &checked, NOW);
            prop_assert_eq!(Some(genuine), original.value());
            prop_assert!(at >= 1046, "signed bytes changed at {}", at);
        }
        prop_assert_ne!(appraise(&changed, &Endorsements::default(), anchors, NOW).verdict(), Verdict::Accepted);
    }

    #[test]
    fn a_quote_cut_anywhere_is_refused(at in any::<prop::sample::Index>()) {
        let (quote, json, anchors) = &*OURS;
        let collateral = Collateral::parse(json).unwrap();
        let cut = &quote[..at.index(quote.len())];
        prop_assert_eq!(appraise(cut, &collateral.into(), anchors, NOW).verdict(), Verdict::Rejected);
    }

    #[test]
    fn collateral_changed_anywhere_gives_the_same_or_nothing(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let (quote, json, anchors) = &*OURS;
        let mut changed = json.clone();
        let at = at.index(changed.len());
        changed[at] = byte;
        let original = Endorsements::from(Collateral::parse(json).unwrap());
        let Ok(collateral) = Collateral::parse(&changed) else { return Ok(()) };
        let appraisal = appraise(quote, &collateral.into(), anchors, NOW);
        if let Some(genuine) = appraisal.value() {
            let original = appraise(quote, &original, anchors, NOW);
            prop_assert_eq!(Some(genuine), original.value());
        }
    }

    #[test]
    fn certificates_changed_anywhere_are_refused(which in 0..3usize, at in any::<prop::sample::Index>(), flip in 1..=255u8) {
        let mut world = World::new();
        let mut above = vec![world.pck_ca.der(), world.root.der()];
        let flip_one = |der: &mut Vec<u8>| {
            let at = at.index(der.len());
            der[at] ^= flip;
        };
        match which {
            0 => flip_one(&mut above[0]),
            1 => flip_one(&mut above[1]),
            // Both at once.
            _ => above.iter_mut().for_each(flip_one),
        }
        world.chain_above = Some(above);
        prop_assert_eq!(world.appraise().verdict(), Verdict::Rejected);
        // Without collateral the chain inside the quote stands alone.
        prop_assert_eq!(appraise(&world.quote(), &Endorsements::default(), &world.anchors(), NOW).verdict(), Verdict::Rejected);
    }

    #[test]
    fn random_certificates_are_refused(der in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut world = World::new();
        world.chain_above = Some(vec![der, world.root.der()]);
        prop_assert_eq!(appraise(&world.quote(), &Endorsements::default(), &world.anchors(), NOW).verdict(), Verdict::Rejected);
    }

    #[test]
    fn a_malformed_chip_extension_never_panics(content in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut world = World::new();
        world.chip = None;
        world.pck.extra.push(forge::extension(&[1, 2, 840, 113741, 1, 13, 1], false, &content));
        prop_assert_eq!(appraise(&world.quote(), &Endorsements::default(), &world.anchors(), NOW).verdict(), Verdict::Rejected);
    }
}

#[test]
fn collateral_over_its_bound_is_not_read() {
    let found = Collateral::MAX_BYTES + 1;
    assert_eq!(
        Collateral::parse(&vec![b' '; found]),
        Err(CollateralError::TooLarge { found, max: Collateral::MAX_BYTES })
    );
}

#[test]
fn collateral_with_a_short_signature_is_not_read() {
    let mut json: serde_json::Value = serde_json::from_slice(&OURS.1).unwrap();
    json["tcb_info_signature"] = "00".into();
    let error = Collateral::parse(json.to_string().as_bytes());
    assert_eq!(error, Err(CollateralError::Hex("tcb_info_signature")));
}

#[test]
fn collateral_with_a_member_missing_is_not_read() {
    let mut json: serde_json::Value = serde_json::from_slice(&OURS.1).unwrap();
    json.as_object_mut().unwrap().remove("pck_crl");
    assert_eq!(Collateral::parse(json.to_string().as_bytes()), Err(CollateralError::Shape));
}

#[test]
fn evidence_over_its_bound_is_not_read() {
    let mut quote = OURS.0.clone();
    quote.resize(40 << 10, 0);
    assert_eq!(appraise(&quote, &Endorsements::default(), &OURS.2, NOW).verdict(), Verdict::Rejected);
}

#[test]
fn each_byte_that_is_signed_counts() {
    for (quote, checked, _) in DOMAINS.iter() {
        let signed = match (quote[0], quote[48]) {
            (4, _) => 632,
            (_, 3) => 702,
            _ => 638,
        };
        for at in 0..signed {
            let mut changed = quote.clone();
            changed[at] ^= 1 << (at % 8);
            let verdict = appraise_checked(&changed, checked, NOW).verdict();
            assert_eq!(verdict, Verdict::Rejected, "byte {at}");
        }
    }
}
