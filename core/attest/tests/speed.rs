//! Speed beside dcap-qvl, in one run on one core: `cargo test --release -p glacier-attest --test speed -- --ignored --nocapture`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::*;
use dcap_qvl::{QuoteCollateralV3, verify::QuoteVerifier};
use glacier_attest::{Anchors, appraise, appraise_checked};
use glacier_wire::UnixTime;
use std::{hint::black_box, time::Instant};

#[test]
#[ignore = "a measurement, not a test"]
fn quote_verify_beside_dcap_qvl() {
    let Some(_) = vectors() else { return };
    let path = "sgx/sgx-606a-svr2-2026";
    let quote = read(&format!("{path}/quote.bin"));
    let json = read(&format!("{path}/collateral-2026-07-30-eval21.json"));
    let at = 1_786_432_758;
    let collateral = collateral(&format!("{path}/collateral-2026-07-30-eval21.json"));
    let anchors = Anchors::vendor();
    let checked = collateral.check(&anchors, UnixTime(at));
    let theirs: QuoteCollateralV3 = serde_json::from_slice(&json).unwrap();
    let verifier = QuoteVerifier::new_prod();

    let cached = median_us(|| appraise_checked(&quote, &checked, UnixTime(at)).into_result().unwrap());
    let direct = median_us(|| appraise(&quote, &collateral, &anchors, UnixTime(at)).into_result().unwrap());
    let oracle = median_us(|| verifier.verify(&quote, &theirs, at).unwrap());
    println!("quote under checked collateral {cached:>8.1} us");
    println!("quote and collateral           {direct:>8.1} us");
    println!("dcap-qvl (both)                {oracle:>8.1} us, {:.1}x of the first", oracle / cached);
}

fn median_us<T>(mut work: impl FnMut() -> T) -> f64 {
    let mut times: Vec<_> = (0..2000)
        .map(|_| {
            let start = Instant::now();
            black_box(work());
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
