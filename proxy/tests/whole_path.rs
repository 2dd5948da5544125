//! The whole path: a node of this machine on SIMULATED hardware, a served model, the proxy, and clients in front of it.

mod scene;

use glacier::{attest::Verdict, judgement::judge_proof, verify::now};
use glacier_host::danger::{Direction, Meddler};
use glacier_testkit::Rig;
use scene::{Scene, rows};
use serde_json::{Value, json};
use std::{
    os::unix::fs::PermissionsExt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_says_which_enclave_gave_it_and_proves_it() {
    let scene = Scene::new(|_| ()).await;
    let answer = scene.post("/v2/models/cancer/infer", rows(3)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("glacier-platform"), "simulated");
    assert_eq!(answer.header("glacier-measurement"), scene.rig.host().info().unwrap().measurement.to_string());
    assert_eq!(answer.json()["outputs"][0]["shape"][0], 3);

    let attestation = scene.get("/glacier/v1/attestation").await.json();
    assert_eq!((&attestation["accepted"], &attestation["simulated"]), (&json!(true), &json!(true)));
    assert!(attestation["checks"].as_array().unwrap().iter().all(|check| check["outcome"] == "pass"));

    // The file of the proof says the same as the headers of the answer, by hash and by number.
    let hash = answer.header("glacier-proof");
    let by_hash = scene.get(&format!("/glacier/v1/proofs/{hash}")).await;
    let by_number = scene.get(&format!("/glacier/v1/proofs/{}", answer.header("glacier-proof-sequence"))).await;
    assert_eq!((by_hash.status, &by_hash.body), (200, &by_number.body));
    let bundle: glacier::proof::Bundle = glacier::wire::cbor::decode(&by_hash.body, 1 << 20).unwrap();
    assert_eq!(bundle.proof.verify().unwrap().to_string(), hash);
    // Whoever gets the file needs nothing else to judge it, down to which model its owner had signed.
    let judged = judge_proof(&bundle, Some(scene.rig.policy()), now());
    assert_eq!(judged.proof.verdict(), Verdict::Accepted, "{:?}", judged.proof.checks);
    assert_eq!(bundle.manifest.unwrap().manifest.model, bundle.proof.proof.model);
    // Its commitments open to the very bytes that went in and came out.
    let salt = |name: &str| by_hash.header(name).parse().unwrap();
    let opened = |salt, body: &[u8]| glacier::wire::Commitment::to_body(&salt, body);
    assert_eq!(bundle.proof.proof.input, opened(salt("glacier-input-salt"), rows(3).to_string().as_bytes()));
    assert_eq!(bundle.proof.proof.output, opened(salt("glacier-output-salt"), &answer.body));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_ones_own_needs_no_name_and_others_need_one() {
    let mut scene = Scene::new(|config| config.models.clear()).await;
    let index = scene.post("/v2/repository/index", json!({})).await.json();
    assert_eq!(index, json!([{"name": "default", "version": "1", "state": "READY", "reason": ""}]));
    assert_eq!(scene.post("/v2/models/default/infer", rows(1)).await.status, 200);
    let own = format!("/v2/models/{}", scene.deployment);
    assert_eq!(scene.get(&own).await.json()["name"], scene.deployment.to_string());
    // Another party learns no name, and is served if it was told one.
    scene.restart("stranger", |config| config.models.clear()).await;
    assert_eq!(scene.post("/v2/repository/index", json!({})).await.json(), json!([]));
    assert_eq!(scene.post("/v2/models/default/infer", rows(1)).await.status, 404);
    assert_eq!(scene.post(&format!("{own}/infer"), rows(1)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_at_once_are_all_answered_over_few_sessions() {
    let relay = Arc::new(Connections::default());
    let scene = Scene::on(Rig::hostile(relay.clone()).await, |_| (), |config| config.sessions = 3).await;
    // Those of the scene itself came before.
    let before = relay.0.load(Ordering::Relaxed);
    let asked = (1..=24).map(|n| scene.post("/v2/models/cancer/infer", rows(n)));
    let answers = futures_of(asked).await;
    for (n, answer) in (1..=24).zip(answers) {
        assert_eq!((answer.status, &answer.json()["outputs"][0]["shape"][0]), (200, &json!(n)));
    }
    let opened = relay.0.load(Ordering::Relaxed) - before;
    assert!((1..=3).contains(&opened), "{opened} sessions");
}

/// Counts connections to the enclave.
#[derive(Default)]
struct Connections(AtomicU64);

impl Meddler for Connections {
    fn relayed(&self, connection: u64, _: Direction, _: &mut Vec<u8>) {
        self.0.fetch_max(connection, Ordering::Relaxed);
    }
}

async fn futures_of<T: Send + 'static>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut all: Vec<_> = all.map(Box::pin).collect();
    let mut done: Vec<Option<T>> = all.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (future, done) in all.iter_mut().zip(&mut done).filter(|(_, done)| done.is_none()) {
            if let std::task::Poll::Ready(value) = future.as_mut().poll(cx) {
                *done = Some(value);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_proof_is_a_file_where_that_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene::new(|config| config.proofs = Some(folder.path().join("proofs"))).await;
    let hash = scene.post("/v2/models/cancer/infer", rows(1)).await.header("glacier-proof");
    let file = std::fs::read(folder.path().join(format!("proofs/{hash}.proof"))).unwrap();
    assert_eq!(file, scene.get(&format!("/glacier/v1/proofs/{hash}")).await.body);
    let salts: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join(format!("proofs/{hash}.json"))).unwrap()).unwrap();
    assert_eq!(salts["hash"], hash);
    for file in std::fs::read_dir(folder.path().join("proofs")).unwrap() {
        let mode = file.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "what opens commitments is its owner's alone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openai_shapes_say_what_there_is_not() {
    let scene = Scene::new(|_| ()).await;
    let chat = scene.post("/v1/chat/completions", json!({"model": "cancer", "messages": []})).await;
    assert_eq!((chat.status, &chat.json()["error"]["code"]), (404, &json!("model_not_found")));
    assert!(chat.text().contains("no language model"));
    assert_eq!(scene.get("/v1/models").await.json()["data"][0]["id"], "cancer");
    let embedding = scene.post("/v1/embeddings", json!({"model": "cancer", "input": "x"})).await;
    assert_eq!((embedding.status, &embedding.json()["error"]["code"]), (422, &json!("no-tokenizer")));
}
