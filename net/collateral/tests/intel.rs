//! Intel's collateral, served as recorded, and in every way wrong.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod common;

use std::time::{Duration, Instant};

use common::{Set, Time, client, encode, hasty, intel, server::*, vectors};
use glacier_attest::{CheckId, Collateral, Reason};
use glacier_collateral::*;
use glacier_wire::UnixTime;

/// Platform CA, FMSPC 00606A000000. Valid 2026-07-30 to 2026-08-22.
const SET: &str = "sgx/sgx-606a-svr2-2026/collateral-2026-07-30-eval21.json";
const NOW: u64 = 1_786_432_758;

/// One client of one server that answers as `answers` says, given what is recorded.
struct Bench {
    set: Set,
    server: Server,
    client: Client,
    request: IntelCollateralRequest,
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn new(answers: impl Fn(&Set, &Asked) -> Reply + Send + Sync + 'static) -> Option<Self> {
        vectors()?;
        let set = Set::read(SET);
        let recorded = set.clone();
        let server = Server::start(move |request| answers(&recorded, request)).await;
        let folder = tempfile::tempdir().unwrap();
        let client = client(&server.base, folder.path(), &Time::at(NOW));
        let request = set.request(Tee::Sgx, PckCa::Platform);
        Some(Self { set, server, client, request, _folder: folder })
    }

    async fn get(&self) -> Result<Answer, FetchError> {
        self.client.get(&self.request, &intel()).await
    }
}

/// The fault when one path is answered otherwise.
async fn fault(part: &'static str, other: impl Fn(Reply) -> Reply + Send + Sync + 'static) -> Option<FetchError> {
    let answers = move |set: &Set, request: &Asked| {
        let reply = set.pcs(request);
        if request.target.contains(part) { other(reply) } else { reply }
    };
    Some(Bench::new(answers).await?.get().await.unwrap_err())
}

/// The fault when a member of the set is another.
async fn fault_of(change: impl FnOnce(Set) -> Set) -> Option<FetchError> {
    vectors()?;
    let set = change(Set::read(SET));
    Some(Bench::new(move |_, request| set.pcs(request)).await?.get().await.unwrap_err())
}

fn failed_check(error: FetchError) -> CheckId {
    match error {
        FetchError::Refused(Fault::Appraisal(error)) => error.check,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_intel_serves_becomes_collateral_that_the_verifier_reads() {
    let Some(bench) = Bench::new(Set::pcs).await else { return };
    let answer = bench.get().await.unwrap();
    assert_eq!((answer.freshness, answer.fault), (Freshness::Fetched, None));
    assert_eq!(Collateral::parse(&answer.bytes), Collateral::parse(bench.set.json.to_string().as_bytes()));
    assert_eq!(answer.validity.edition[..2], [21, 21]);
    let again = bench.get().await.unwrap();
    assert_eq!((again.freshness, again.bytes), (Freshness::Cached, answer.bytes));
    for path in [
        "/sgx/certification/v4/pckcrl?ca=platform&encoding=der",
        "/sgx/certification/v4/tcb?fmspc=00606A000000&update=standard",
        "/sgx/certification/v4/qe/identity?update=standard",
        "/IntelSGXRootCA.der",
    ] {
        assert_eq!(bench.server.hits(path), 1, "{path}");
    }
    assert_eq!(bench.server.hits("/"), 4);
}

#[tokio::test]
async fn the_early_evaluation_is_another_question() {
    let Some(bench) = Bench::new(Set::pcs).await else { return };
    bench.get().await.unwrap();
    let early = IntelCollateralRequest { update: Update::Early, ..bench.request };
    assert_eq!(bench.client.get(&early, &intel()).await.unwrap().freshness, Freshness::Fetched);
    assert_eq!(bench.server.hits("update=early"), 2);
}

#[tokio::test]
async fn every_recorded_set_of_sgx_passes_at_its_time() {
    let Some(path) = vectors() else { return };
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(path.join("sgx/manifest.json")).unwrap()).unwrap();
    let server = Server::start(|_| Reply::status(404)).await;
    let mut sets = 0;
    for entry in manifest["entries"].as_array().unwrap() {
        for case in entry["cases"].as_array().unwrap() {
            let set = Set::read(&format!("sgx/{}", case["collateral"].as_str().unwrap()));
            let ca = if entry["pck_issuer"] == "processor" { PckCa::Processor } else { PckCa::Platform };
            let request = set.request(Tee::Sgx, ca);
            let recorded = set.json.to_string();
            server.answer(move |request| set.pcs(request));
            let folder = tempfile::tempdir().unwrap();
            let client = client(&server.base, folder.path(), &Time::at(case["eval_time"].as_u64().unwrap()));
            let answer = client.get(&request, &intel()).await.unwrap();
            assert_eq!(Collateral::parse(&answer.bytes), Collateral::parse(recorded.as_bytes()));
            assert_eq!(answer.validity.until, UnixTime(case["valid_to"].as_u64().unwrap()));
            sets += 1;
        }
    }
    assert_eq!(sets, 20);
}

#[tokio::test]
async fn a_pccs_serves_the_same_in_its_own_way() {
    let Some(_) = vectors() else { return };
    let set = Set::read(SET);
    let (recorded, request) = (set.json.to_string(), set.request(Tee::Sgx, PckCa::Platform));
    let server = Server::start(move |request| set.pccs(request)).await;
    let folder = tempfile::tempdir().unwrap();
    for (hits, tail) in ["", "/", "/sgx/certification/v4/"].into_iter().enumerate() {
        let base = format!("{}{tail}", server.base);
        let client = hasty(Client::builder(folder.path())).pccs(base).clock(Time::at(NOW)).build().unwrap();
        let answer = client.refresh(&request, &intel()).await.unwrap();
        assert_eq!(answer.fault, None);
        assert_eq!(Collateral::parse(&answer.bytes), Collateral::parse(recorded.as_bytes()));
        assert_eq!(server.hits("/sgx/certification/v4/rootcacrl"), hits + 1);
    }
}

/// What speaks for TDX's shapes here is their text; their signatures are the verifier's matter.
#[tokio::test]
async fn tdx_is_asked_for_below_its_own_path() {
    let Some(_) = vectors() else { return };
    let set = Set::read("tdx/tdx5-90c0-google/collateral-2026-03-16-eval18.json");
    let (recorded, request) = (set.json.clone(), set.request(Tee::Tdx, PckCa::Platform));
    let server = Server::start(move |request| set.pcs(request)).await;
    let folder = tempfile::tempdir().unwrap();
    let client = client(&server.base, folder.path(), &Time::at(1_774_995_607));
    let verifier = std::sync::Arc::new(move |request: &IntelCollateralRequest, answer: &[u8], at: UnixTime| {
        let found: serde_json::Value = serde_json::from_slice(answer).map_err(|_| Fault::Malformed)?;
        let members = recorded.as_object().unwrap();
        let same =
            |(name, value): (&String, &serde_json::Value)| name == "pck_certificate_chain" || found[name] == *value;
        if request.tee != Tee::Tdx || !members.iter().all(same) {
            return Err(Fault::Signature);
        }
        Ok(Validity { from: UnixTime(at.0 - 1), until: UnixTime(at.0 + 1000), edition: vec![18] })
    });
    client.get(&request, &verifier).await.unwrap();
    assert_eq!(server.hits("/tdx/certification/v4/tcb?fmspc=90C06F000000&update=standard"), 1);
    assert_eq!(server.hits("/tdx/certification/v4/qe/identity"), 1);
    assert_eq!(server.hits("/sgx/certification/v4/pckcrl?ca=platform"), 1);
}

#[tokio::test]
async fn another_processor_model_is_refused() {
    let Some(bench) = Bench::new(Set::pcs).await else { return };
    let request = IntelCollateralRequest { fmspc: [0, 0xa0, 0x67, 0x11, 0, 0], ..bench.request };
    let refused = bench.client.get(&request, &intel()).await;
    assert_eq!(refused, Err(FetchError::Refused(Fault::Other("processor model"))));
}

#[tokio::test]
async fn the_list_of_another_ca_is_refused() {
    let Some(bench) = Bench::new(Set::pcs).await else { return };
    let request = IntelCollateralRequest { ca: PckCa::Processor, ..bench.request };
    assert_eq!(bench.client.get(&request, &intel()).await, Err(FetchError::Refused(Fault::Other("PCK CA"))));
}

#[tokio::test]
async fn documents_of_another_tee_are_refused() {
    let Some(bench) = Bench::new(Set::pcs).await else { return };
    let request = IntelCollateralRequest { tee: Tee::Tdx, ..bench.request };
    assert_eq!(bench.client.get(&request, &intel()).await, Err(FetchError::Refused(Fault::Other("TEE"))));
}

#[tokio::test]
async fn what_was_refused_is_not_in_the_folder() {
    let Some(bench) = Bench::new(Set::pcs).await else { return };
    let request = IntelCollateralRequest { tee: Tee::Tdx, ..bench.request };
    bench.client.get(&request, &intel()).await.unwrap_err();
    assert_eq!(std::fs::read_dir(bench._folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_broken_signature_is_refused() {
    let broken = |set: Set| {
        let signature = set.text("tcb_info_signature").to_owned();
        let flipped = if signature.starts_with('0') { "1" } else { "0" };
        set.with("tcb_info_signature", format!("{flipped}{}", &signature[1..]))
    };
    let Some(fault) = fault_of(broken).await else { return };
    assert_eq!(failed_check(fault), CheckId::TcbInfo);
}

#[tokio::test]
async fn a_changed_document_is_refused() {
    let changed = |set: Set| {
        let text = set.text("qe_identity").replace("UpToDate", "OutOfDate");
        set.with("qe_identity", text)
    };
    let Some(fault) = fault_of(changed).await else { return };
    assert_eq!(failed_check(fault), CheckId::QeIdentity);
}

#[tokio::test]
async fn a_document_that_was_read_and_written_again_is_refused() {
    let Some(fault) = fault("/tcb", |reply| {
        let text = String::from_utf8(reply.body).unwrap();
        Reply { body: text.replace("\"version\":3", "\"version\": 3").into(), ..reply }
    })
    .await
    else {
        return;
    };
    assert_eq!(failed_check(fault), CheckId::TcbInfo);
}

#[tokio::test]
async fn a_page_instead_of_a_list_is_malformed() {
    let Some(fault) = fault("IntelSGXRootCA", |_| Reply::ok("<html>")).await else { return };
    assert_eq!(fault, FetchError::Malformed(Malformed::Der));
}

#[tokio::test]
async fn a_page_instead_of_a_document_is_malformed() {
    let Some(fault) = fault("/tcb", |reply| Reply { body: "<html>".into(), ..reply }).await else { return };
    assert_eq!(fault, FetchError::Malformed(Malformed::Json));
}

#[tokio::test]
async fn a_missing_issuer_chain_is_named() {
    let Some(fault) = fault("/pckcrl", |reply| Reply { headers: Vec::new(), ..reply }).await else { return };
    assert_eq!(fault, FetchError::Malformed(Malformed::NoHeader("sgx-pck-crl-issuer-chain")));
}

#[tokio::test]
async fn a_twice_encoded_issuer_chain_is_refused() {
    let Some(fault) = fault("/qe/identity", |mut reply| {
        for (_, value) in &mut reply.headers {
            *value = encode(value);
        }
        reply
    })
    .await
    else {
        return;
    };
    assert_eq!(fault, FetchError::Malformed(Malformed::Header("sgx-enclave-identity-issuer-chain")));
}

#[tokio::test]
async fn an_endless_answer_is_cut() {
    let Some(fault) = fault("/tcb", |reply| Reply { body: vec![b' '; 4096], ..reply }.body_is(Body::Endless)).await
    else {
        return;
    };
    assert_eq!(fault, FetchError::TooLarge { max: 128 << 10 });
}

#[tokio::test]
async fn an_oversized_answer_is_refused() {
    let Some(fault) = fault("/tcb", |mut reply| {
        reply.body.resize(1 + (128 << 10), b' ');
        reply
    })
    .await
    else {
        return;
    };
    assert_eq!(fault, FetchError::TooLarge { max: 128 << 10 });
}

#[tokio::test]
async fn an_oversized_header_is_refused() {
    let chain = |length: usize| {
        move |reply: Reply| Reply { headers: Vec::new(), ..reply }.header("TCB-Info-Issuer-Chain", "A".repeat(length))
    };
    let Some(long) = fault("/tcb", chain(20 << 10)).await else { return };
    assert_eq!(long, FetchError::Malformed(Malformed::Header("tcb-info-issuer-chain")));
    let Some(endless) = fault("/tcb", chain(4 << 20)).await else { return };
    assert_eq!(endless, FetchError::Unreachable(Unreachable::Broken));
}

#[tokio::test]
async fn a_truncated_answer_is_no_answer() {
    let Some(fault) = fault("/tcb", |reply| reply.body_is(Body::CutOff)).await else { return };
    assert_eq!(fault, FetchError::Unreachable(Unreachable::Broken));
}

#[tokio::test]
async fn a_slow_answer_meets_its_limit() {
    let begun = Instant::now();
    let Some(fault) = fault("/tcb", |reply| reply.after(Duration::from_secs(60))).await else { return };
    assert_eq!(fault, FetchError::Unreachable(Unreachable::Timeout));
    assert!(begun.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn an_answer_that_drips_meets_its_limit() {
    let begun = Instant::now();
    let Some(fault) = fault("/tcb", |reply| reply.body_is(Body::Dripping)).await else { return };
    assert_eq!(fault, FetchError::Unreachable(Unreachable::Timeout));
    assert!(begun.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn an_unknown_model_is_not_found_and_not_asked_for_again_at_once() {
    let missing = |set: &Set, request: &Asked| {
        if request.target.contains("/tcb") { Reply::status(404) } else { set.pcs(request) }
    };
    let Some(bench) = Bench::new(missing).await else { return };
    assert_eq!(bench.get().await, Err(FetchError::NotFound));
    assert_eq!(bench.get().await, Err(FetchError::NotFound));
    assert_eq!(bench.server.hits("/tcb"), 1);
}

#[tokio::test]
async fn a_refusal_is_not_asked_again() {
    let Some(bench) = Bench::new(|_, _| Reply::status(403)).await else { return };
    assert_eq!(bench.get().await, Err(FetchError::Status(403)));
    assert!(bench.server.hits("/tcb") <= 1);
}

#[tokio::test]
async fn nobody_is_sent_elsewhere() {
    let Some(fault) = fault("/tcb", |_| Reply::status(302).header("Location", "http://127.0.0.1:1/")).await else {
        return;
    };
    assert_eq!(fault, FetchError::Status(302));
}

#[tokio::test]
async fn a_failure_that_passes_is_waited_out() {
    let at_first = |set: &Set, request: &Asked| {
        if request.before < 2 { Reply::status(500) } else { set.pcs(request) }
    };
    let Some(bench) = Bench::new(at_first).await else { return };
    assert_eq!(bench.get().await.unwrap().fault, None);
    assert_eq!(bench.server.hits("/tcb"), 3);
}

#[tokio::test]
async fn a_failure_that_stays_is_reported_after_the_last_attempt_and_then_rests() {
    let Some(bench) = Bench::new(|_, _| Reply::status(503)).await else { return };
    assert_eq!(bench.get().await, Err(FetchError::Status(503)));
    let asked = bench.server.hits("/");
    assert_eq!(bench.get().await, Err(FetchError::Status(503)));
    assert_eq!(bench.server.hits("/"), asked);
    let set = bench.set.clone();
    bench.server.answer(move |request| set.pcs(request));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(bench.get().await.unwrap().freshness, Freshness::Fetched);
}

#[tokio::test]
async fn a_short_rest_is_granted() {
    let busy = |set: &Set, request: &Asked| {
        if request.target.contains("/tcb") && request.before == 0 {
            return Reply::status(429).header("Retry-After", "1");
        }
        set.pcs(request)
    };
    let Some(bench) = Bench::new(busy).await else { return };
    let begun = Instant::now();
    assert_eq!(bench.get().await.unwrap().freshness, Freshness::Fetched);
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_long_rest_is_reported_and_kept_for_every_question() {
    let Some(bench) = Bench::new(|_, _| Reply::status(429).header("Retry-After", "600")).await else { return };
    let limited = |found| matches!(found, Err(FetchError::RateLimited { seconds: 590..=600 }));
    assert!(limited(bench.get().await));
    let asked = bench.server.hits("/");
    let other = IntelCollateralRequest { update: Update::Early, ..bench.request };
    assert!(limited(bench.client.get(&other, &intel()).await));
    assert_eq!(bench.server.hits("/"), asked);
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let Some(bench) = Bench::new(Set::pcs).await else { return };
    let folder = tempfile::tempdir().unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = client(&format!("http://{closed}"), folder.path(), &Time::at(NOW));
    let fault = client.get(&bench.request, &intel()).await;
    assert_eq!(fault, Err(FetchError::Unreachable(Unreachable::Connect)));
}

#[tokio::test]
async fn collateral_that_is_expired_where_it_comes_from_is_refused() {
    let Some(bench) = Bench::new(Set::pcs).await else { return };
    let folder = tempfile::tempdir().unwrap();
    let client = client(&bench.server.base, folder.path(), &Time::at(NOW + 365 * 86_400));
    let Err(FetchError::Refused(Fault::Appraisal(error))) = client.get(&bench.request, &intel()).await else {
        panic!("served")
    };
    assert_eq!(error.check, CheckId::CollateralCurrent);
    assert!(matches!(error.reason, Reason::Expired { .. }));
}
