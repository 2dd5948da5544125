//! Verifying a quote, beside dcap-qvl on the same quote and collateral.

use crate::row::{Row, pair};
use dcap_qvl::{QuoteCollateralV3, verify::QuoteVerifier};
use glacier_attest::{Anchors, Collateral, Endorsements, appraise, appraise_checked};
use glacier_simulator::{Body, Hardware, Recipe, Seed, Vendor};
use glacier_wire::{Measurement, UnixTime};
use std::error::Error;

const ROUNDS: usize = 1000;

pub(crate) fn run() -> Result<Vec<Row>, Box<dyn Error>> {
    let now = glacier::verify::now();
    let vendor = Vendor::generate(now)?;
    let hardware = Hardware::new(Seed::random());
    let collateral = vendor.collateral(&hardware, &Recipe::new(now))?.to_json();
    let chip = vendor.chip(hardware, now)?;
    let quote = chip.quote(&Body::new(Measurement([7; 32]), [9; 64]))?;

    let at = UnixTime(now.0 + 60);
    let anchors = Anchors::vendor().with_simulated(vendor.root_fingerprint());
    let ours = Endorsements::from(Collateral::parse(collateral.as_bytes())?);
    let checked = ours.check(&anchors, at);
    let theirs: QuoteCollateralV3 = serde_json::from_str(&collateral)?;
    let verifier = QuoteVerifier::new(vendor.root_der().to_vec());
    verifier.verify(&quote, &theirs, at.0).map_err(|fault| format!("dcap-qvl refuses: {fault:?}"))?;

    let (cached, oracle) = pair(
        ROUNDS,
        || appraise_checked(&quote, &checked, at).into_result().is_ok(),
        || verifier.verify(&quote, &theirs, at.0).is_ok(),
    );
    let (whole, oracle_again) = pair(
        ROUNDS,
        || appraise(&quote, &ours, &anchors, at).into_result().is_ok(),
        || verifier.verify(&quote, &theirs, at.0).is_ok(),
    );
    let row = |what: &str, ours, theirs, aim| Row {
        what: what.to_owned(),
        ours,
        beside: Some(("dcap-qvl".to_owned(), theirs)),
        aim,
    };
    Ok(vec![
        row("quote verify, collateral checked before", cached, oracle, "<= 200 µs, <= 0.33"),
        row("quote verify, collateral and all", whole, oracle_again, ""),
    ])
}
