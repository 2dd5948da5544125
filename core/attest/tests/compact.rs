//! The compact form of a quote says what the quote says, and is refused where there is none.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::arithmetic_side_effects)]

mod common;

use common::*;
use forge::{NOW, Shape, World};
use glacier_attest::{Anchors, Collateral, Compact, CompactError, Endorsements, QuoteError, Verdict, appraise};
use glacier_wire::UnixTime;
use proptest::prelude::*;
use std::sync::LazyLock;

fn worlds() -> [(Shape, World); 2] {
    [(Shape::V3, World::new()), (Shape::V4, World::tdx(Shape::V4))]
}

static FULL: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| worlds().map(|(_, world)| world.quote()));

#[test]
fn every_recorded_quote_of_version_3_and_4_says_the_same_after_it_was_compact() {
    let Some(_) = vectors() else { return };
    let (mut same, mut refused) = (0, 0);
    for entry in quotes() {
        let full = read(&entry.file);
        let compact = Compact::of(&full);
        match full[0] {
            3 if entry.cases.is_empty() => {
                assert_eq!(compact, Err(CompactError::NoChain), "{}", entry.id);
                continue;
            }
            3 | 4 => {}
            _ => {
                assert_eq!(compact, Err(CompactError::Unsupported), "{}", entry.id);
                refused += 1;
                continue;
            }
        }
        let compact = compact.unwrap();
        assert_eq!(compact.quote().len(), if full[0] == 3 { 1040 } else { 1240 });
        let restored = compact.restore();
        assert_eq!(Compact::of(&restored).unwrap(), compact);
        for case in &entry.cases {
            let judge = |quote: &[u8]| {
                appraise(quote, &collateral(&case.collateral), &Anchors::vendor(), UnixTime(case.eval_time))
            };
            let (before, after) = (judge(&full), judge(&restored));
            assert_eq!(before.checks(), after.checks(), "{}", case.collateral);
            let facts = |genuine: &glacier_attest::Genuine| {
                (
                    genuine.enclave_id(),
                    genuine.registers().clone(),
                    *genuine.report_data(),
                    genuine.tcb_status(),
                    genuine.validity(),
                )
            };
            assert_eq!(before.value().map(facts), after.value().map(facts), "{}", case.collateral);
            same += 1;
        }
    }
    assert_eq!((same, refused), (20 + 25, 5));
}

#[test]
fn its_parts_are_those_that_a_contract_is_given_alone() {
    for (shape, world) in worlds() {
        let full = world.quote();
        let compact = Compact::of(&full).unwrap();
        let signed = if shape == Shape::V3 { 432 } else { 632 };
        assert_eq!(compact.signed(), &full[..signed]);
        assert_eq!(compact.signature(), &full[signed + 4..][..64]);
        assert_eq!(compact.attestation_key(), &full[signed + 68..][..64]);
        let parts = (compact.quote().to_vec(), compact.pck().to_vec(), compact.issuers().clone());
        assert_eq!(Compact::new(parts.0, parts.1, parts.2).unwrap(), compact);
    }
}

#[test]
fn other_kinds_of_quotes_have_no_compact_form() {
    for shape in [Shape::V4Enclave, Shape::V5Enclave, Shape::V5, Shape::V5Later] {
        let world = if Shape::DOMAINS.contains(&shape) { World::tdx(shape) } else { World { shape, ..World::new() } };
        assert_eq!(Compact::of(&world.quote()), Err(CompactError::Unsupported), "{shape:?}");
    }
    assert_eq!(Compact::of(b""), Err(CompactError::Quote(QuoteError::Truncated)));
}

#[test]
fn authentication_data_of_another_length_has_no_compact_form() {
    let full = World::new().quote();
    // 31 bytes in place of 32; both lengths around it follow.
    let place = 432 + 4 + 128 + 448;
    let mut shorter = [&full[..place], &[31, 0], &full[place + 2..place + 33], &full[place + 34..]].concat();
    let length = u32::from_le_bytes(full[432..436].try_into().unwrap()) - 1;
    shorter[432..436].copy_from_slice(&length.to_le_bytes());
    assert_eq!(Compact::of(&shorter), Err(CompactError::AuthenticationData(31)));
}

#[test]
fn parts_of_another_length_are_not_put_together() {
    let compact = Compact::of(&World::new().quote()).unwrap();
    let new = |quote: &[u8], pck: &[u8]| Compact::new(quote.to_vec(), pck.to_vec(), compact.issuers().clone());
    for found in [1039, 1041, 1240] {
        let mut quote = compact.quote().to_vec();
        quote.resize(found, 0);
        assert_eq!(new(&quote, compact.pck()), Err(CompactError::Length { found, expected: 1040 }));
    }
    let mut other = compact.quote().to_vec();
    other[0] = 5;
    assert_eq!(new(&other, compact.pck()), Err(CompactError::Unsupported));
    assert_eq!(new(&[], compact.pck()), Err(CompactError::Unsupported));
    let large = vec![0; 8193];
    assert_eq!(new(compact.quote(), &large), Err(CompactError::Certificate { found: 8193, max: 8192 }));
}

#[test]
fn a_restored_quote_is_judged_like_the_first() {
    for (shape, world) in worlds() {
        let full = world.quote();
        let restored = Compact::of(&full).unwrap().restore();
        let given = Endorsements::from(Collateral::parse(&world.collateral_json()).unwrap());
        let judge = |quote: &[u8]| appraise(quote, &given, &world.anchors(), UnixTime(NOW));
        let (before, after) = (judge(&full), judge(&restored));
        assert_eq!(before.verdict(), Verdict::Accepted, "{shape:?}");
        assert_eq!(before.checks(), after.checks());
    }
}

proptest! {
    #[test]
    fn whatever_has_a_compact_form_comes_back_to_it(
        place in any::<prop::sample::Index>(), bytes in prop::collection::vec(any::<u8>(), 0..8), domain: bool, cut: bool
    ) {
        let mut full = FULL[usize::from(domain)].clone();
        let place = place.index(full.len());
        for (changed, byte) in full[place..].iter_mut().zip(&bytes) {
            *changed = *byte;
        }
        if cut {
            full.truncate(place);
        }
        if let Ok(compact) = Compact::of(&full) {
            prop_assert_eq!(Compact::of(&compact.restore()), Ok(compact));
        }
    }

    #[test]
    fn any_bytes_of_the_right_length_come_back(
        mut quote in prop::collection::vec(any::<u8>(), 1240), domain: bool, certificates: [Vec<u8>; 3]
    ) {
        let version = if domain { 4 } else { quote.truncate(1040); 3 };
        quote[..2].copy_from_slice(&[version, 0]);
        let [pck, issuer, root] = certificates;
        let compact = Compact::new(quote, pck, [issuer, root]).unwrap();
        let restored = compact.restore();
        let signed = compact.signed().len();
        let length = u32::from_le_bytes(restored[signed..signed + 4].try_into().unwrap());
        prop_assert_eq!(restored.len(), signed + 4 + length as usize);
        prop_assert_eq!(&restored[..signed], compact.signed());
    }
}
