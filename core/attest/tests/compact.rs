//! The compact form of a quote says what the quote says, and is refused where there is none.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::arithmetic_side_effects)]

mod common;

use common::*;
use forge::{Shape, World};
use glacier_attest::{Anchors, Compact, CompactError, QuoteError, appraise};
use glacier_wire::UnixTime;
use proptest::prelude::*;
use std::sync::LazyLock;

/// SIMULATED evidence whose certificate has the shape of genuine ones; the tests of the contracts have it too.
static FULL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let fixtures: serde_json::Value = serde_json::from_str(FIXTURES).unwrap();
    hex::decode(&fixtures["chips"][0]["full"].as_str().unwrap()[2..]).unwrap()
});
const FIXTURES: &str = include_str!("../../../contracts/test/fixtures/simulated.json");

/// The same as version 3, and with a domain's body, which its signature is not for.
fn both() -> [Compact; 2] {
    let enclave = Compact::of(&FULL).unwrap();
    let rest = &enclave.quote()[432..];
    let head = [&[4, 0, 2, 0, 0x81, 0, 0, 0], &enclave.quote()[8..48], &[7; 584], rest].concat();
    let domain = Compact::new(head, enclave.pck().to_vec(), enclave.issuers().clone()).unwrap();
    [enclave, domain]
}

#[test]
fn what_the_contracts_are_tested_with_is_what_is_made_here() {
    let fixtures: serde_json::Value = serde_json::from_str(FIXTURES).unwrap();
    for chip in fixtures["chips"].as_array().unwrap() {
        let bytes = |name: &str| hex::decode(&chip[name].as_str().unwrap()[2..]).unwrap();
        let compact = Compact::of(&bytes("full")).unwrap();
        assert_eq!(compact.quote(), bytes("quote"));
        assert_eq!(compact.pck(), bytes("pck"));
        assert_eq!(compact.pck_der(), bytes("pckDer"));
    }
}

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
    for (compact, signed) in both().into_iter().zip([432, 632]) {
        let full = compact.restore();
        assert_eq!(compact.signed(), &full[..signed]);
        assert_eq!(compact.signature(), &full[signed + 4..][..64]);
        assert_eq!(compact.attestation_key(), &full[signed + 68..][..64]);
        let parts = (compact.quote().to_vec(), compact.pck().to_vec(), compact.issuers().clone());
        assert_eq!(Compact::new(parts.0, parts.1, parts.2).unwrap(), compact);
        assert_eq!(Compact::of(&full).unwrap(), compact);
    }
}

#[test]
fn a_certificate_of_another_shape_has_no_lean_form() {
    // The names of this vendor are neither Intel's nor the simulator's.
    assert_eq!(Compact::of(&World::new().quote()), Err(CompactError::PckShape));
    let compact = Compact::of(&FULL).unwrap();
    let new = |pck: Vec<u8>| Compact::new(compact.quote().to_vec(), pck, compact.issuers().clone());
    for length in [0, 273, 300, 400] {
        assert_eq!(new(compact.pck()[..length].to_vec()), Err(CompactError::PckShape), "{length}");
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
    let full = FULL.clone();
    // 31 bytes in place of 32; both lengths around it follow.
    let place = 432 + 4 + 128 + 448;
    let mut shorter = [&full[..place], &[31, 0], &full[place + 2..place + 33], &full[place + 34..]].concat();
    let length = u32::from_le_bytes(full[432..436].try_into().unwrap()) - 1;
    shorter[432..436].copy_from_slice(&length.to_le_bytes());
    assert_eq!(Compact::of(&shorter), Err(CompactError::AuthenticationData(31)));
}

#[test]
fn parts_of_another_length_are_not_put_together() {
    let compact = Compact::of(&FULL).unwrap();
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

proptest! {
    #[test]
    fn whatever_has_a_compact_form_comes_back_to_it(
        place in any::<prop::sample::Index>(), bytes in prop::collection::vec(any::<u8>(), 0..8), domain: bool, cut: bool
    ) {
        let mut full = both()[usize::from(domain)].restore();
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
    fn whatever_a_contract_is_given_comes_back(
        mut quote in prop::collection::vec(any::<u8>(), 1240), domain: bool, varied in prop::collection::vec(any::<u8>(), 246),
        issuers in prop::array::uniform2(prop::collection::vec(any::<u8>(), 1..600))
    ) {
        let version = if domain { 4 } else { quote.truncate(1040); 3 };
        let tee = if domain { 0x81 } else { 0 };
        quote[..8].copy_from_slice(&[version, 0, 2, 0, tee, 0, 0, 0]);
        quote[12..28].copy_from_slice(&both()[0].quote()[12..28]);
        let pck = [&varied, &both()[0].pck()[246..]].concat();
        let compact = Compact::new(quote, pck, issuers).unwrap();
        prop_assert_eq!(Compact::of(&compact.restore()), Ok(compact));
    }

    #[test]
    fn nothing_that_is_given_as_a_certificate_panics(pck in prop::collection::vec(any::<u8>(), 0..700), prefix in 0usize..619) {
        let compact = &both()[0];
        let changed = [&compact.pck()[..prefix], &pck].concat();
        if let Ok(found) = Compact::new(compact.quote().to_vec(), changed, compact.issuers().clone()) {
            prop_assert!(found.pck_der().len() > 600);
        }
    }
}
