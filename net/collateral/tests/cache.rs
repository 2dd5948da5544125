//! What is kept, for how long, and what becomes of it when somebody tampers with it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod common;

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use common::{Set, Time, client, intel, server::*, vectors};
use glacier_collateral::*;
use glacier_wire::UnixTime;
use tokio::time::sleep;

/// Processor CA, FMSPC 00906ED50000, two evaluations of one day. Both valid 2025-06-03 to 2025-06-26.
const EVALUATION_17: &str = "sgx/sgx-906ed5-mobilecoin/collateral-2025-05-27-eval17.json";
const EVALUATION_19: &str = "sgx/sgx-906ed5-mobilecoin/collateral-2025-05-27-eval19.json";
const EARLY: u64 = 1_749_000_000;
const LATE: u64 = 1_750_900_000;
const EXPIRED: u64 = 1_751_000_000;

struct Bench {
    server: Server,
    client: Client,
    time: Time,
    request: IntelCollateralRequest,
    folder: tempfile::TempDir,
}

impl Bench {
    /// With one answer fetched while it was new.
    async fn new(set: &str) -> Option<Self> {
        vectors()?;
        let set = Set::read(set);
        let request = set.request(Tee::Sgx, PckCa::Processor);
        let server = Server::start(move |request| set.pcs(request)).await;
        let folder = tempfile::tempdir().unwrap();
        let time = Time::at(EARLY);
        let client = client(&server.base, folder.path(), &time);
        let bench = Self { server, client, time, request, folder };
        let answer = bench.get().await.unwrap();
        assert_eq!((answer.freshness, bench.server.hits("/")), (Freshness::Fetched, 4));
        Some(bench)
    }

    async fn get(&self) -> Result<Answer, FetchError> {
        self.client.get(&self.request, &intel()).await
    }

    fn serve(&self, set: &str) {
        let set = Set::read(set);
        self.server.answer(move |request| set.pcs(request));
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("intel-sgx-00906ed50000-processor-standard")
    }

    /// Until the answer fits, or too long.
    async fn until(&self, fits: impl Fn(&Answer) -> bool) -> Answer {
        let begun = Instant::now();
        loop {
            let answer = self.get().await.unwrap();
            if fits(&answer) {
                return answer;
            }
            assert!(begun.elapsed() < Duration::from_secs(5), "{answer:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn a_new_client_finds_what_an_earlier_one_kept() {
    let Some(bench) = Bench::new(EVALUATION_17).await else { return };
    let again = client("http://127.0.0.1:1", bench.folder.path(), &bench.time);
    assert_eq!(again.get(&bench.request, &intel()).await.unwrap().freshness, Freshness::Cached);
}

#[tokio::test]
async fn a_stale_answer_is_given_at_once_and_refreshed_behind() {
    let Some(bench) = Bench::new(EVALUATION_17).await else { return };
    let newer = Set::read(EVALUATION_19);
    bench.server.answer(move |request| newer.pcs(request).after(Duration::from_millis(800)));
    bench.time.set(LATE);
    let begun = Instant::now();
    let answer = bench.get().await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(700));
    assert_eq!((answer.freshness, answer.validity.edition[0], answer.fault), (Freshness::Stale, 17, None));
    let answer = bench.until(|answer| answer.freshness == Freshness::Cached).await;
    assert_eq!((answer.validity.edition[0], answer.fetched), (19, UnixTime(LATE)));
    assert_eq!(bench.server.hits("/tcb"), 2);
}

#[tokio::test]
async fn what_is_fetched_late_is_not_fetched_again_on_each_call() {
    let Some(bench) = Bench::new(EVALUATION_17).await else { return };
    bench.time.set(LATE);
    bench.until(|answer| answer.freshness == Freshness::Cached).await;
    for _ in 0..5 {
        assert_eq!(bench.get().await.unwrap().freshness, Freshness::Cached);
    }
    assert_eq!(bench.server.hits("/tcb"), 2);
}

#[tokio::test]
async fn an_expired_answer_is_never_served() {
    let Some(bench) = Bench::new(EVALUATION_17).await else { return };
    bench.server.answer(|_| Reply::status(503));
    bench.time.set(EXPIRED);
    assert_eq!(bench.get().await, Err(FetchError::Status(503)));
    assert_eq!(bench.client.refresh(&bench.request, &intel()).await, Err(FetchError::Status(503)));
}

#[tokio::test]
async fn a_source_that_is_down_is_reported_beside_what_is_still_valid() {
    let Some(bench) = Bench::new(EVALUATION_17).await else { return };
    bench.server.answer(|_| Reply::status(503));
    let refreshed = bench.client.refresh(&bench.request, &intel()).await.unwrap();
    assert_eq!((refreshed.freshness, refreshed.fault), (Freshness::Cached, Some(FetchError::Status(503))));
    bench.time.set(LATE);
    let answer = bench.until(|answer| answer.fault.is_some()).await;
    assert_eq!((answer.freshness, answer.fault), (Freshness::Stale, Some(FetchError::Status(503))));
    let asked = bench.server.hits("/");
    bench.get().await.unwrap();
    assert_eq!(bench.server.hits("/"), asked, "no question while it rests");
}

#[tokio::test]
async fn a_source_that_lies_is_reported_beside_what_is_still_valid() {
    let Some(bench) = Bench::new(EVALUATION_17).await else { return };
    let set = Set::read(EVALUATION_19);
    let signature = set.text("qe_identity_signature").to_owned();
    let forged = set.with("tcb_info_signature", signature);
    bench.server.answer(move |request| forged.pcs(request));
    let answer = bench.client.refresh(&bench.request, &intel()).await.unwrap();
    assert!(matches!(answer.fault, Some(FetchError::Refused(Fault::Appraisal(_)))));
    assert_eq!(answer.validity.edition[0], 17);
}

#[tokio::test]
async fn a_lower_evaluation_number_does_not_replace_a_higher_one() {
    let Some(bench) = Bench::new(EVALUATION_19).await else { return };
    bench.serve(EVALUATION_17);
    let answer = bench.client.refresh(&bench.request, &intel()).await.unwrap();
    assert_eq!((answer.validity.edition[0], answer.fault), (19, Some(FetchError::RolledBack)));
    assert_eq!(bench.get().await.unwrap().validity.edition[0], 19);
}

#[tokio::test]
async fn a_higher_evaluation_number_replaces_a_lower_one() {
    let Some(bench) = Bench::new(EVALUATION_17).await else { return };
    bench.serve(EVALUATION_19);
    let answer = bench.client.refresh(&bench.request, &intel()).await.unwrap();
    assert_eq!((answer.freshness, answer.validity.edition[0]), (Freshness::Fetched, 19));
    assert_eq!(bench.get().await.unwrap().validity.edition[0], 19);
}

#[tokio::test]
async fn an_older_revocation_list_does_not_replace_a_newer_one() {
    let Some(path) = vectors() else { return };
    let list = |entries: u32| {
        hex::encode(fs::read(path.join(format!("sgx/roots/crl-pck-platform-20260716-{entries}.der"))).unwrap())
    };
    // The list of 57 entries is three hours younger than that of 129; both say number 1.
    let set = Set::read("sgx/sgx-606a-svr2-2026/collateral-2026-07-30-eval21.json");
    let (older, newer) = (set.clone().with("pck_crl", list(129)), set.clone().with("pck_crl", list(57)));
    let request = set.request(Tee::Sgx, PckCa::Platform);
    let server = Server::start(move |request| newer.pcs(request)).await;
    let folder = tempfile::tempdir().unwrap();
    let client = client(&server.base, folder.path(), &Time::at(1_786_432_758));
    let first = client.get(&request, &intel()).await.unwrap();
    server.answer(move |request| older.pcs(request));
    let answer = client.refresh(&request, &intel()).await.unwrap();
    assert_eq!((answer.bytes, answer.fault), (first.bytes, Some(FetchError::RolledBack)));
}

#[tokio::test]
async fn an_older_edition_replaces_one_that_is_no_longer_valid() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|_| Reply::ok(r#"{"id":"A","rim":"Mg=="}"#)).await;
    let time = Time::at(10);
    let client =
        common::hasty(Client::builder(folder.path())).nvidia_rim(&server.base).clock(time.clone()).build().unwrap();
    // Edition 2 holds until 100 and edition 1 until 1000.
    let verifier = Arc::new(|_: &RimId, answer: &[u8], at: UnixTime| {
        let edition = u64::from(answer[0] - b'0');
        let until = UnixTime(if edition == 2 { 100 } else { 1000 });
        let validity = Validity { from: UnixTime(0), until, edition: vec![edition] };
        if at <= until { Ok(validity) } else { Err(Fault::NotCurrent) }
    });
    let id = RimId::new("A").unwrap();
    assert_eq!(client.get(&id, &verifier).await.unwrap().bytes, "2");
    server.answer(|_| Reply::ok(r#"{"id":"A","rim":"MQ=="}"#));
    assert_eq!(client.refresh(&id, &verifier).await.unwrap().fault, Some(FetchError::RolledBack));
    time.set(101);
    assert_eq!(client.refresh(&id, &verifier).await.unwrap().bytes, "1");
}

#[tokio::test]
async fn many_callers_make_one_fetch() {
    let Some(_) = vectors() else { return };
    let set = Set::read(EVALUATION_17);
    let request = set.request(Tee::Sgx, PckCa::Processor);
    let server = Server::start(move |request| set.pcs(request).after(Duration::from_millis(50))).await;
    let folder = tempfile::tempdir().unwrap();
    let client = client(&server.base, folder.path(), &Time::at(EARLY));
    let callers: Vec<_> = (0..64)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.get(&request, &intel()).await })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    assert_eq!(server.hits("/"), 4);
}

#[tokio::test]
async fn a_fetch_goes_on_when_its_caller_leaves() {
    let Some(_) = vectors() else { return };
    let set = Set::read(EVALUATION_17);
    let request = set.request(Tee::Sgx, PckCa::Processor);
    let server = Server::start(move |request| set.pcs(request).after(Duration::from_millis(50))).await;
    let folder = tempfile::tempdir().unwrap();
    let client = client(&server.base, folder.path(), &Time::at(EARLY));
    let verifier = intel();
    let left = tokio::time::timeout(Duration::from_millis(20), client.get(&request, &verifier)).await;
    assert!(left.is_err());
    client.get(&request, &verifier).await.unwrap();
    assert_eq!(server.hits("/"), 4);
}

#[tokio::test]
async fn each_caller_gets_only_what_its_own_verifier_accepts() {
    let Some(bench) = Bench::new(EVALUATION_17).await else { return };
    let strict = Arc::new(|_: &IntelCollateralRequest, _: &[u8], _: UnixTime| Err::<Validity, _>(Fault::Chain));
    assert_eq!(bench.client.get(&bench.request, &strict).await, Err(FetchError::Refused(Fault::Chain)));
    assert_eq!(bench.get().await.unwrap().freshness, Freshness::Cached, "and leaves what others keep");
}

/// The file of an answer, altered: noticed, fetched anew and mended.
async fn mended(alter: impl FnOnce(&Bench)) {
    let Some(bench) = Bench::new(EVALUATION_17).await else { return };
    let whole = fs::read(bench.file()).unwrap();
    alter(&bench);
    let answer = bench.get().await.unwrap();
    assert_eq!((answer.freshness, answer.fault), (Freshness::Fetched, None));
    assert_eq!(fs::read(bench.file()).unwrap(), whole);
}

#[tokio::test]
async fn a_file_that_was_cut_is_noticed() {
    mended(|bench| {
        let bytes = fs::read(bench.file()).unwrap();
        fs::write(bench.file(), &bytes[..bytes.len() / 2]).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_file_that_was_emptied_is_noticed() {
    mended(|bench| fs::write(bench.file(), "").unwrap()).await;
}

#[tokio::test]
async fn a_file_that_was_edited_is_noticed() {
    mended(|bench| {
        let text = fs::read_to_string(bench.file()).unwrap();
        let edited = text.replacen("OutOfDate", "UpToDate", 1);
        assert_ne!(text, edited);
        fs::write(bench.file(), edited).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_file_with_another_models_collateral_is_noticed() {
    mended(|bench| {
        let line = fs::read_to_string(bench.file()).unwrap().lines().next().unwrap().to_owned();
        let other = Set::read("sgx/sgx-a067-cfgsw/collateral-2025-06-19-eval17.json");
        fs::write(bench.file(), format!("{line}\n{}", other.json)).unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_file_that_is_gone_is_fetched_anew() {
    mended(|bench| fs::remove_file(bench.file()).unwrap()).await;
}

#[tokio::test]
async fn a_folder_that_fails_is_reported_and_keeps_no_answer_back() {
    let Some(bench) = Bench::new(EVALUATION_17).await else { return };
    fs::remove_dir_all(bench.folder.path()).unwrap();
    let answer = bench.get().await.unwrap();
    assert_eq!(
        (answer.freshness, answer.fault),
        (Freshness::Fetched, Some(FetchError::Cache(std::io::ErrorKind::NotFound)))
    );
}

/// Six processes ask and refresh over one folder at one time. Whatever they do to each other, none of them ever
/// gets a fault of the cache or a damaged answer, and what remains is whole.
#[tokio::test(flavor = "multi_thread")]
async fn processes_share_a_folder() {
    let Some(bench) = Bench::new(EVALUATION_17).await else { return };
    let children: Vec<_> = (0..6)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["one_of_the_processes", "--exact", "--ignored", "--quiet"])
                .env("COLLATERAL_FOLDER", bench.folder.path())
                .env("COLLATERAL_BASE", &bench.server.base)
                .spawn()
                .unwrap()
        })
        .collect();
    let ends = children.into_iter().map(|mut child| tokio::task::spawn_blocking(move || child.wait()));
    for end in ends.collect::<Vec<_>>() {
        assert!(end.await.unwrap().unwrap().success());
    }
    assert!(bench.server.hits("/tcb") > 6);
    assert_eq!(bench.get().await.unwrap().freshness, Freshness::Cached);
    let mut names: Vec<_> =
        fs::read_dir(bench.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [".lock", "intel-sgx-00906ed50000-processor-standard"]);
}

#[tokio::test]
#[ignore = "started by processes_share_a_folder"]
async fn one_of_the_processes() {
    let (folder, base) = (std::env::var("COLLATERAL_FOLDER").unwrap(), std::env::var("COLLATERAL_BASE").unwrap());
    let client = client(&base, folder.as_ref(), &Time::at(EARLY));
    let request = Set::read(EVALUATION_17).request(Tee::Sgx, PckCa::Processor);
    for _ in 0..20 {
        assert_eq!(client.refresh(&request, &intel()).await.unwrap().fault, None);
        assert_eq!(client.get(&request, &intel()).await.unwrap().freshness, Freshness::Cached);
    }
}

#[tokio::test]
#[ignore = "a measurement, not a test"]
async fn what_an_answer_costs() {
    let Some(bench) = Bench::new(EVALUATION_17).await else { return };
    let verifier = intel();
    for (what, force) in [("from the cache", false), ("from a source on this machine", true)] {
        let mut times: Vec<_> = Vec::new();
        for _ in 0..200 {
            let begun = Instant::now();
            if force {
                bench.client.refresh(&bench.request, &verifier).await.unwrap();
            } else {
                bench.client.get(&bench.request, &verifier).await.unwrap();
            }
            times.push(begun.elapsed());
        }
        times.sort();
        println!("{what}: {:?} at the median, {:?} at the 99th percentile", times[100], times[198]);
    }
}
