//! Foreign bytes: nothing panics, and what is signed cannot be changed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod common;

use common::{forge, read, vectors};
use dcap_qvl::{QuoteCollateralV3, verify::QuoteVerifier};
use forge::World;
use glacier_attest::{Anchors, Collateral, CollateralError, Endorsements, Verdict, appraise, appraise_checked};
use glacier_wire::UnixTime;
use proptest::prelude::*;
use std::sync::LazyLock;

const NOW: UnixTime = UnixTime(forge::NOW);

/// Quote, collateral and anchors of our own vendor: no vectors needed.
static OURS: LazyLock<(Vec<u8>, Vec<u8>, Anchors)> = LazyLock::new(|| {
    let world = World::new();
    (world.quote(), world.collateral_json(), world.anchors())
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Header and body, attestation key, quoting enclave's report and its signature, authentication data.
    #[test]
    fn dcap_qvl_refuses_what_we_refuse_in_signed_bytes(at in 0..1046usize, bit in 0..8u32) {
        if vectors().is_none() { return Ok(()) }
        let path = "sgx/sgx-606a-svr2-2026";
        let json = read(&format!("{path}/collateral-2026-07-30-eval21.json"));
        let mut quote = read(&format!("{path}/quote.bin"));
        quote[at] ^= 1 << bit;
        let time = 1_786_432_758;
        let collateral = Collateral::parse(&json).unwrap();
        let ours = appraise(&quote, &collateral.into(), &Anchors::vendor(), UnixTime(time));
        let theirs: QuoteCollateralV3 = serde_json::from_slice(&json).unwrap();
        let theirs = QuoteVerifier::new_prod().allow_debug(true).verify(&quote, &theirs, time);
        prop_assert!(ours.value().is_none());
        prop_assert!(theirs.is_err());
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
