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
    for (kind, directory, documents, at) in [
        ("SGX v3", "sgx/sgx-606a-svr2-2026", "collateral-2026-07-30-eval21.json", 1_786_432_758),
        ("TDX v4", "tdx/tdx4-b0c0-phala", "collateral-2025-06-19-eval17.json", 1_751_624_191),
        ("TDX v5", "tdx/tdx5-90c0-google", "collateral-2026-02-01-eval18.json", 1_771_028_279),
    ] {
        let quote = read(&format!("{directory}/quote.bin"));
        let json = read(&format!("{directory}/{documents}"));
        let collateral = collateral(&format!("{directory}/{documents}"));
        let anchors = Anchors::vendor();
        let checked = collateral.check(&anchors, UnixTime(at));
        let theirs: QuoteCollateralV3 = serde_json::from_slice(&json).unwrap();
        let verifier = QuoteVerifier::new_prod();

        let cached = median_us(|| appraise_checked(&quote, &checked, UnixTime(at)).into_result().unwrap());
        let direct = median_us(|| appraise(&quote, &collateral, &anchors, UnixTime(at)).into_result().unwrap());
        let oracle = median_us(|| verifier.verify(&quote, &theirs, at).unwrap());
        println!("{kind}, quote under checked collateral {cached:>8.1} us");
        println!("{kind}, quote and collateral           {direct:>8.1} us");
        println!("{kind}, dcap-qvl (both)                {oracle:>8.1} us, {:.1}x of the first", oracle / cached);
    }
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
