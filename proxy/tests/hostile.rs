//! What fails, fails closed: a request gets an error that says why, or a proved answer, and nothing between.

mod scene;

use glacier::{attest::Age, wire::Measurement};
use glacier_host::danger::{Direction, Meddler};
use glacier_testkit::Rig;
use scene::{Scene, rows};
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{io::AsyncWriteExt, net::TcpStream};

/// Counts what goes to the enclave, and spoils or withholds what comes back when it is told to.
#[derive(Default)]
struct Relay {
    spoil: AtomicBool,
    /// Answers of connections up to this one do not come.
    silent: AtomicU64,
    latest: AtomicU64,
    sent: AtomicU64,
}

impl Meddler for Relay {
    fn relayed(&self, connection: u64, direction: Direction, bytes: &mut Vec<u8>) {
        self.latest.fetch_max(connection, Ordering::Relaxed);
        if direction == Direction::ToEnclave {
            self.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        } else if connection <= self.silent.load(Ordering::Relaxed) {
            bytes.clear();
        } else if self.spoil.load(Ordering::Relaxed)
            && let Some(last) = bytes.last_mut()
        {
            *last ^= 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_the_policy_does_not_name_gets_nothing() {
    let relay = Arc::new(Relay::default());
    let rig = Rig::hostile(relay.clone()).await;
    let scene = Scene::on(rig, |policy| policy.measurements = vec![Measurement([0xbd; 32]).into()], |_| ()).await;
    let before = relay.sent.load(Ordering::Relaxed);
    let secret = rows(2000);
    for path in ["/v2/models/cancer/infer", "/v2/repository/index", "/v2/models/cancer/versions/1/infer"] {
        let answer = scene.post(path, if path.ends_with("infer") { secret.clone() } else { json!({}) }).await;
        // The names were given at the start: listing them asks for their state.
        assert_eq!(answer.fault(), (503, "evidence-rejected".to_owned()), "{path}");
        assert!(
            answer.text().contains("measurement") && answer.text().contains("nothing was sent"),
            "{}",
            answer.text()
        );
    }
    for path in ["/v2/health/ready", "/v2/models/cancer", "/v2/models/cancer/ready", "/v1/models/cancer"] {
        assert_eq!(scene.get(path).await.fault(), (503, "evidence-rejected".to_owned()), "{path}");
    }
    let attestation = scene.get("/glacier/v1/attestation").await;
    assert_eq!((attestation.status, &attestation.json()["accepted"]), (503, &json!(false)));
    let checks = attestation.json()["checks"].clone();
    assert!(checks.as_array().unwrap().iter().any(|check| check["outcome"] == "fail"), "{checks}");
    // Only handshakes went out: less than the rows of one request.
    let sent = relay.sent.load(Ordering::Relaxed) - before;
    assert!(sent < secret.to_string().len() as u64 / 2, "{sent} bytes went out");
    // The proxy itself lives, and says so.
    assert_eq!(scene.get("/v2/health/live").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_alters_bytes_is_an_error_and_no_answer() {
    let relay = Arc::new(Relay::default());
    let scene = Scene::hostile(relay.clone()).await;
    assert_eq!(scene.post("/v2/models/cancer/infer", rows(1)).await.status, 200);
    relay.spoil.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        let (status, code) = scene.post("/v2/models/cancer/infer", rows(1)).await.fault();
        assert!(status == 503 && (code == "session-cut" || code == "channel" || code == "node"), "{status} {code}");
    }
    relay.spoil.store(false, Ordering::Relaxed);
    assert_eq!(scene.post("/v2/models/cancer/infer", rows(1)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_fall_silent_are_given_up_at_once() {
    let relay = Arc::new(Relay::default());
    let scene = Scene::hostile(relay.clone()).await;
    let (one, other) = (scene.post("/v2/models/cancer/infer", rows(1)), scene.post("/v2/models/cancer/infer", rows(1)));
    let (one, other) = tokio::join!(one, other);
    assert_eq!((one.status, other.status), (200, 200));
    relay.silent.store(relay.latest.load(Ordering::Relaxed), Ordering::Relaxed);
    // Older than a session that is taken to stand.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let asked = scene.post("/v2/models/cancer/infer", rows(1));
    let answer = tokio::time::timeout(Duration::from_secs(30), asked).await;
    assert_eq!(answer.expect("a request's own deadline is ten minutes").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_bodies_are_read_than_there_is_room_for() {
    let scene = Scene::new(|config| config.sessions = 1).await;
    let begin = async || {
        let mut caller = TcpStream::connect(scene.proxy.address()).await.unwrap();
        let head = "POST /v2/models/cancer/infer HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{";
        caller.write_all(head.as_bytes()).await.unwrap();
        caller
    };
    let slow = [begin().await, begin().await];
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut third = std::pin::pin!(scene.post("/v2/models/cancer/infer", rows(1)));
    let early = tokio::time::timeout(Duration::from_secs(2), &mut third).await;
    assert!(early.is_err(), "its body waits where it is");
    drop(slow);
    assert_eq!(third.await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_is_an_error_and_its_successor_is_attested_anew() {
    let mut scene = Scene::new(|_| ()).await;
    let before = scene.post("/v2/models/cancer/infer", rows(1)).await;
    let key = |scene: &Scene| {
        let url = scene.url("/glacier/v1/attestation");
        async move {
            reqwest::get(url).await.unwrap().json::<serde_json::Value>().await.unwrap()["claims"]["enclave_key"].clone()
        }
    };
    let old = key(&scene).await;
    scene.rig.kill_enclave().await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    // The next enclave has other keys, and serves nothing yet.
    let after = scene.post("/v2/models/cancer/infer", rows(1)).await;
    assert_eq!((before.status, after.fault()), (200, (404, "not-found".to_owned())));
    assert_ne!(key(&scene).await, old);
    scene.rig.restart().await;
    assert_eq!(scene.get("/v2/health/ready").await.status, 200);
    let Scene { rig, proxy, .. } = scene;
    let url = format!("http://{}/v2/health/ready", proxy.address());
    rig.stop().await;
    // A session that was used a moment ago is taken to stand; one that is older is asked.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let gone = reqwest::get(url).await.unwrap();
    assert_eq!(gone.status(), 503);
    assert_eq!(gone.headers()["glacier-fault"], "node-unreachable");
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_ages_under_an_open_session() {
    let young = |policy: &mut glacier::Policy| policy.max_evidence_age = Some(Age(4));
    let scene = Scene::on(Rig::start().await, young, |_| ()).await;
    // The quote was made when the enclave started: by now, or soon, it is older than that.
    let mut last = scene.post("/v2/models/cancer/infer", rows(1)).await;
    for _ in 0..60 {
        if last.status != 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        last = scene.post("/v2/models/cancer/infer", rows(1)).await;
    }
    assert_eq!(last.fault(), (503, "evidence-rejected".to_owned()));
    // Whoever has the chip make a quote for each session is served on.
    let fresh = Scene::on(Rig::start().await, young, |config| config.freshness = glacier::Freshness::Fresh).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(fresh.post("/v2/models/cancer/infer", rows(1)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_its_time() {
    let scene = Scene::new(|config| config.reattest = Duration::ZERO).await;
    for _ in 0..2 {
        // A session of before would be older than a second by now.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        assert_eq!(scene.get("/glacier/v1/attestation").await.json()["session"]["age_seconds"], 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_refused_in_the_protocols_own_words() {
    let scene = Scene::new(|config| config.max_body = 4096).await;
    let infer = "/v2/models/cancer/infer";
    type Case<'a> = (&'a str, Vec<u8>, &'a [(&'a str, &'a str)], u16);
    let cases: [Case<'_>; 9] = [
        (infer, vec![b' '; 4097], &[], 413),
        (infer, b"{".to_vec(), &[], 400),
        (infer, b"{}".to_vec(), &[], 400),
        (infer, b"{}".to_vec(), &[("content-encoding", "br")], 415),
        (infer, b"not gzip".to_vec(), &[("content-encoding", "gzip")], 400),
        (infer, b"{}".to_vec(), &[("inference-header-content-length", "-1")], 400),
        ("/v2/models/none/infer", b"{}".to_vec(), &[], 404),
        ("/v2/models/cancer/versions/2/infer", b"{}".to_vec(), &[], 404),
        ("/v2/nothing", b"{}".to_vec(), &[], 404),
    ];
    for (path, body, headers, status) in cases {
        assert_eq!(scene.post_bytes(path, body, headers).await.fault().0, status, "{path} {headers:?}");
    }
    assert_eq!(scene.get(infer).await.fault().0, 405);
    let data: Vec<u8> = vec![0; 64];
    let wrong = json!({"inputs": [{"name": "features", "shape": [1, 16], "datatype": "FP32", "data": data}]});
    assert_eq!(scene.post(infer, wrong).await.fault().0, 422);
    assert_eq!(
        scene.post_bytes(infer, b"{}".to_vec(), &[("host", "evil.example")]).await.fault(),
        (403, "host".to_owned())
    );
    assert_eq!(
        scene.post_bytes(infer, b"{}".to_vec(), &[("origin", "https://evil.example")]).await.fault(),
        (403, "origin".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_may_call_unless_that_is_said() {
    let rig = Rig::start().await;
    let config = glacier_proxy::Config { listen: "0.0.0.0:0".parse().unwrap(), ..Default::default() };
    let refused = glacier_proxy::start(rig.node(), rig.policy().clone(), rig.party("firm"), config.clone()).await;
    assert!(matches!(refused, Err(glacier_proxy::StartError::Exposed(_))));
    let config = glacier_proxy::Config { danger_listen_anywhere: true, ..config };
    let config = glacier_proxy::Config { names: vec!["proxy.example".to_owned()], ..config };
    let proxy = glacier_proxy::start(rig.node(), rig.policy().clone(), rig.party("firm"), config).await.unwrap();
    let live = format!("http://127.0.0.1:{}/v2/health/live", proxy.address().port());
    for (host, status) in [("10.0.0.1:8484", 200), ("proxy.example:8484", 200), ("evil.example:8484", 403)] {
        let asked = reqwest::Client::new().get(&live).header("host", host).send().await.unwrap();
        assert_eq!(asked.status(), status, "{host}");
    }
    proxy.shutdown().await;
}
