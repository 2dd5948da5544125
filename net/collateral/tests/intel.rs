//! Intel's collateral, served as recorded, and in every way wrong.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod common;

use common::{Set, Time, client, intel, server::*, vectors};
use glacier_attest::Collateral;
use glacier_collateral::*;

/// Platform CA, one TCB info of 2026. Valid 2026-07-30 to 2026-08-22.
const SET: &str = "sgx/sgx-606a-svr2-2026/collateral-2026-07-30-eval21.json";
const NOW: u64 = 1_786_432_758;

#[tokio::test]
async fn what_intel_serves_becomes_collateral_that_the_verifier_reads() {
    let Some(_) = vectors() else { return };
    let set = Set::read(SET);
    let recorded = set.clone();
    let server = Server::start(move |request| set.pcs(request)).await;
    let folder = tempfile::tempdir().unwrap();
    let client = client(&server.base, folder.path(), &Time::at(NOW));
    let request = recorded.request(Tee::Sgx, PckCa::Platform);
    let answer = client.get(&request, &intel()).await.unwrap();
    assert_eq!((answer.freshness, answer.fault), (Freshness::Fetched, None));
    assert_eq!(Collateral::parse(&answer.bytes), Collateral::parse(recorded.json.to_string().as_bytes()));
    let again = client.get(&request, &intel()).await.unwrap();
    assert_eq!((again.freshness, again.bytes), (Freshness::Cached, answer.bytes));
    assert_eq!(server.hits("/"), 4);
}
