//! The whole path on a SIMULATED node, with a real model and real data: one owner, three parties, a deployment.

use glacier::{
    Draft, Format, Freshness, Job, Key, KeyName, Keystore, Node, Options, Release, Results, Settle, Step, ask,
    attest::{Fingerprint, Outcome},
    infer, parse_policy,
    policy::{Policy, simulated_policy},
    seal_for, serve,
    verify::now,
    wire::{
        Address, Commitment, PlatformKind, Role, UnixTime, Work,
        api::{Event, Phase},
    },
};
use glacier_host::NodeConfig;
use std::path::{Path, PathBuf};

/// A node of this test's own, and what a party needs to accept it.
struct Scene {
    host: glacier_host::Node,
    node: Node,
    policy: Policy,
    folder: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = NodeConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            chip: program("glacier-chip"),
            enclave: program("glacier-enclave"),
            ..NodeConfig::new(folder.path().join("node"))
        };
        let host = glacier_host::Node::start(config).await.unwrap();
        let info = host.info().unwrap();
        assert!(info.simulated);
        let root: Fingerprint = info.root_fingerprint.parse().unwrap();
        let policy = parse_policy(&simulated_policy(&root, &info.measurement, &info.enclave_id)).unwrap();
        let node = Node::at(&format!("http://{}", host.address())).unwrap();
        Self { host, node, policy, folder }
    }

    fn party(&self, name: &str) -> (Keystore, Key) {
        let keystore = Keystore::open(self.folder.path().join(name)).unwrap();
        let key = keystore.create(&KeyName::default_key()).unwrap();
        (keystore, key)
    }
}

/// Built beside the tests by a build of the whole workspace.
fn program(name: &str) -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let path = this.ancestors().nth(2).unwrap().join(name);
    assert!(path.is_file(), "build {name} first: cargo build --release");
    path
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/breast-cancer").join(name)
}

/// Share of held-out rows that got the known label.
fn accuracy(results: &Results) -> f64 {
    let labels = results.labels.as_ref().unwrap();
    let known = std::fs::read_to_string(example("labels.csv")).unwrap();
    let rows: Vec<_> = known.lines().skip(1).map(|line| line.split_once(',').unwrap()).collect();
    assert_eq!(rows.len(), labels.len());
    let held_out: Vec<_> = rows.iter().zip(labels).filter(|((_, held_out), _)| *held_out == "1").collect();
    let right = held_out.iter().filter(|((known, _), label)| known == label).count();
    right as f64 / held_out.len() as f64
}

#[tokio::test]
async fn one_owner_gets_proved_labels_in_one_call() {
    let scene = Scene::new().await;
    let (_, key) = scene.party("owner");
    let mut steps = Vec::new();
    let done = infer(
        &scene.node,
        &scene.policy,
        &key,
        &example("model.onnx"),
        &example("data.csv"),
        &Options::default(),
        &mut |step| {
            steps.push(match step {
                Step::Accepted(session) => {
                    assert!(session.appraisal().iter().all(|check| check.outcome == Outcome::Pass));
                    "accepted"
                }
                Step::Sealing(..) => "sealing",
                Step::Uploading(..) => "uploading",
                Step::Signed(_) => "signed",
                Step::Joined(_) => "joined",
                Step::Status(_) => "status",
                Step::Fetching(..) => "fetching",
                _ => "other",
            })
        },
    )
    .await
    .unwrap();
    assert!(accuracy(&done.finished.results) > 0.96);
    let proof = done.finished.proof.proof();
    assert_eq!(proof.platform, PlatformKind::Simulated);
    assert_eq!(proof.work, Work::Inference);
    assert_eq!(proof.manifest, done.manifest.manifest.hash());
    assert_eq!(proof.input, Commitment::from(done.manifest.manifest.data));
    assert!(proof.units > 0);
    assert!(done.events.iter().any(|event| matches!(event, Event::Wiped)));
    assert!(done.events.iter().any(|event| matches!(event, Event::Ran { rows: 569, .. })));
    steps.dedup();
    assert_eq!(steps.first(), Some(&"accepted"));
    assert_eq!(steps.last(), Some(&"fetching"));

    // What goes to a file comes back as a table of as many rows.
    let out = scene.folder.path().join("labels.csv");
    done.finished.results.write_file(&out).unwrap();
    assert_eq!(std::fs::read_to_string(&out).unwrap().lines().count(), 570);
    assert!(done.finished.results.to_bytes(Format::Npz).is_ok());
    scene.host.shutdown().await;
}

#[tokio::test]
async fn three_parties_meet_each_with_its_own_keystore() {
    let scene = Scene::new().await;
    let (hospital_store, hospital) = scene.party("hospital");
    let (firm_store, firm) = scene.party("firm");
    let (_, payer) = scene.party("payer");

    // Each seals what is its own, and brings it.
    let mut sealed = Vec::new();
    for (keystore, key, file) in [(&hospital_store, &hospital, "data.csv"), (&firm_store, &firm, "model.onnx")] {
        let to = scene.folder.path().join(format!("{file}.age"));
        let asset = seal_for(keystore, key, &example(file), &to, &mut |_, _| {}).unwrap();
        scene.node.upload(&asset.digest, &to, &mut |_, _| {}).await.unwrap();
        sealed.push(asset.digest);
    }

    // The firm looks where the job shall run, and writes it down; all three sign copies of the document.
    let session = scene.node.connect(&scene.policy, firm.identity(), Freshness::Fresh).await.unwrap();
    let place = session.place().unwrap();
    let mut draft = Draft::inference(
        (hospital.address(), sealed[0]),
        (firm.address(), sealed[1]),
        place,
        vec![hospital.recipient()],
        UnixTime(now().0 + 600),
    );
    draft.settlement.payer = payer.address();
    let mut job = Job::propose(draft).unwrap();
    for key in [&hospital, &firm, &payer] {
        let mut copy = Job::from_json(&job.to_json()).unwrap();
        copy.sign(key.identity()).unwrap();
        job.merge(&copy).unwrap();
    }
    let manifest = job.complete().unwrap();

    // The firm grants first; nothing runs before the hospital has granted too.
    let not_after = manifest.manifest.limits.not_after;
    let model_key = firm_store.file_key(&manifest.manifest.model).unwrap();
    let release = Release { role: Role::Model, manifest, file_key: model_key, uses: 1, not_after };
    let status = session.join(firm.identity(), release).await.unwrap();
    assert_eq!((status.phase, status.waiting_for.as_slice()), (Phase::Waiting, &[Role::Data][..]));
    let hospital_session = scene.node.connect(&scene.policy, hospital.identity(), Freshness::Cached).await.unwrap();
    let data_key = hospital_store.file_key(&manifest.manifest.data).unwrap();
    let release = Release { role: Role::Data, manifest, file_key: data_key, uses: 1, not_after };
    hospital_session.join(hospital.identity(), release).await.unwrap();

    let status = hospital_session.wait(&job.hash(), &mut |_| {}).await.unwrap();
    assert_eq!(status.phase, Phase::Done);
    let finished =
        hospital_session.collect(&scene.node, manifest, &hospital, &scene.policy, &mut |_, _| {}).await.unwrap();
    assert!(accuracy(&finished.results) > 0.96);

    // The firm gets the proof, and neither the result nor a way to open it.
    let proof = session.proof(&job.hash()).await.unwrap();
    assert_eq!(proof, finished.bundle);
    assert!(session.believe(&proof, &job.hash(), &scene.policy).is_ok());
    assert!(session.result(&job.hash()).await.is_err());
    scene.host.shutdown().await;
}

#[tokio::test]
async fn work_counts_where_the_host_says_unless_its_owner_says_otherwise() {
    let scene = Scene::new().await;
    let (_, key) = scene.party("owner");
    let (model, data) = (example("model.onnx"), example("data.csv"));
    let counted = async |settle: Settle| {
        let options = Options { settle, price: 3, ..Options::default() };
        let done = infer(&scene.node, &scene.policy, &key, &model, &data, &options, &mut |_| {}).await.unwrap();
        let settlement = done.finished.proof.proof().settlement;
        assert_eq!((settlement.payer, settlement.price), (key.address(), 3));
        (settlement.chain_id, settlement.ledger)
    };
    // A node that settles nowhere.
    assert_eq!(counted(Settle::AsNode).await, (0, Address::ZERO));
    let (said, other) = ((5, Address([1; 20])), (6, Address([2; 20])));
    scene.host.order_settlement(said.0, said.1);
    assert_eq!(counted(Settle::AsNode).await, said);
    assert_eq!(counted(Settle::At { chain_id: other.0, ledger: other.1 }).await, other);
    assert_eq!(counted(Settle::Nowhere).await, (0, Address::ZERO));
    let settle = Options { runs: 1, ..Options::default() };
    let served = serve(&scene.node, &scene.policy, &key, &model, &settle, &mut |_| {}).await.unwrap();
    assert_eq!((served.manifest.manifest.settlement.chain_id, served.manifest.manifest.settlement.ledger), said);
    scene.host.shutdown().await;
}

#[tokio::test]
async fn a_deployment_answers_strangers_with_a_proof_each() {
    let scene = Scene::new().await;
    let (_, firm) = scene.party("firm");
    let (_, hospital) = scene.party("hospital");
    let options = Options { runs: 2, ..Options::default() };
    let served = serve(&scene.node, &scene.policy, &firm, &example("model.onnx"), &options, &mut |_| {}).await.unwrap();
    assert_eq!(served.status.phase, Phase::Serving);
    let question = || {
        let options = Options::default();
        let (scene, hospital, name) = (&scene, &hospital, served.name);
        async move { ask(&scene.node, &scene.policy, hospital, &name, &example("data.csv"), &options, &mut |_| {}).await }
    };
    let first = question().await.unwrap();
    assert!(accuracy(&first.results) > 0.96);
    let second = question().await.unwrap();
    assert_eq!(first.results, second.results);
    let (one, two) = (&first.proof.signed().proof, &second.proof.signed().proof);
    assert_eq!(two.sequence, one.sequence + 1);
    assert_ne!(one.output, two.output, "equal answers are not recognised as equal");
    // The third is more than the manifest allows.
    assert!(question().await.unwrap_err().refusal().is_some());
    scene.host.shutdown().await;
}
