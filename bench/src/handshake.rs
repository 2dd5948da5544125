//! The whole attested handshake through the host: TCP, relay, TLS 1.3, evidence, appraisal,
//! identity, acknowledgement.

use crate::row::{Row, pair_async, runtimes};
use glacier::Freshness;
use glacier_simulator::{Body, Hardware, Seed, Vendor};
use glacier_testkit::Rig;
use glacier_wire::Measurement;
use std::{error::Error, hint::black_box, time::Instant};

const ROUNDS: usize = 200;

pub(crate) fn run() -> Result<Vec<Row>, Box<dyn Error>> {
    let (host, client) = runtimes()?;
    let rig = host.block_on(Rig::start());
    let (cached, fresh) = client.block_on(async {
        let (node, key) = (rig.node(), rig.party("party"));
        pair_async(
            ROUNDS,
            async || node.connect(rig.policy(), key.identity(), Freshness::Cached).await.is_ok(),
            async || node.connect(rig.policy(), key.identity(), Freshness::Fresh).await.is_ok(),
        )
        .await
    });
    let quote = quote()?;
    let row = |what: &str, ours, aim| Row { what: what.to_owned(), ours, beside: None, aim };
    Ok(vec![
        row("attested handshake, evidence cached per key", cached, "<= 3 ms"),
        row("attested handshake, fresh quote (simulated chip's time included)", fresh, "<= 10 ms"),
        row("of which one simulated quote", quote, ""),
    ])
}

/// What the simulated chip takes for one quote, in microseconds. Hardware takes milliseconds.
fn quote() -> Result<f64, Box<dyn Error>> {
    let now = glacier::verify::now();
    let chip = Vendor::generate(now)?.chip(Hardware::new(Seed::random()), now)?;
    let start = Instant::now();
    for _ in 0..ROUNDS {
        black_box(chip.quote(&Body::new(Measurement([7; 32]), [9; 64]))?);
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / ROUNDS as f64)
}
