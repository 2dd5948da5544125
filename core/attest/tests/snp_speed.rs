//! Time for an SNP report: `cargo test --release -p glacier-attest --test snp_speed -- --ignored --nocapture`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common {
    pub(crate) mod snp;
}

use common::snp::*;
use glacier_attest::{Anchors, appraise_checked};
use glacier_wire::UnixTime;
use std::{hint::black_box, time::Instant};

#[test]
#[ignore = "a measurement, not a test"]
fn report_verify() {
    for entry in entries() {
        let (report, given, at) = (entry.report(), entry.endorsements(), UnixTime(entry.eval_time));
        let checked = given.check(&Anchors::vendor(), at);
        let cached = median_us(|| appraise_checked(&report, &checked, at).into_result().unwrap());
        let chain = median_us(|| given.check(&Anchors::vendor(), at));
        println!("{:20} report under a checked chain {cached:>7.1} us, chain {chain:>7.1} us", entry.id);
    }
}

fn median_us<T>(mut work: impl FnMut() -> T) -> f64 {
    let mut times: Vec<_> = (0..1000)
        .map(|_| {
            let start = Instant::now();
            black_box(work());
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
