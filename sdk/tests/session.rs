//! An accepted enclave that lies afterwards: nothing it says is believed without a proof that fits.
//!
//! The enclave is played here, on SIMULATED evidence, so that it can say what an honest one never would.

use bytes::Bytes;
use glacier::{
    Actor, Draft, Error, Freshness, Job, Key, Node, Place, Policy, Release, Session, Unproved, Upload,
    proof::{Bundle, WorkProof},
    session::{ConnectError, RequestError},
    verify::now,
    wire::{
        Address, Claims, Commitment, Digest, EnclaveId, Evidence, FileKey, Identity, ManifestHash, Measurement, Nonce,
        PlatformKind, ProofHash, Purpose, Recipient, Role, Settlement, SignedManifest, Tensor, Work,
        api::{JobStatus, Phase, Refusal, RefusalCode},
        cbor,
    },
};
use glacier_channel::{Attester, ChannelKey, NoQuote, Server};
use glacier_simulator::{Body, Chip, Hardware, Recipe, Seed, Vendor};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::net::TcpListener;

const CODE: Measurement = Measurement([0xc0; 32]);

/// What the played enclave does, and what it has been asked.
struct Enclave {
    chip: Chip,
    channel_key: [u8; 32],
    identity: Identity,
    collateral: String,
    cached: Arc<Evidence>,
    lie: Mutex<fn(&mut WorkProof)>,
    bundle: Mutex<Option<Bundle>>,
    requests: AtomicUsize,
}

impl Enclave {
    fn evidence(&self, nonce: Option<[u8; 32]>) -> Evidence {
        evidence(&self.chip, self.channel_key, self.identity.address(), nonce, &self.collateral)
    }

    fn statement(&self) -> WorkProof {
        WorkProof {
            enclave_id: self.chip.enclave_id(),
            enclave_key: self.identity.address(),
            measurement: CODE,
            platform: PlatformKind::Simulated,
            work: Work::Deployment,
            manifest: DEPLOYMENT,
            model: Digest([4; 32]),
            input: Commitment::ZERO,
            output: Commitment::ZERO,
            units: 1,
            sequence: 0,
            previous: ProofHash::ZERO,
            settlement: Settlement { chain_id: 0, ledger: Address::ZERO, payer: Address::ZERO, price: 0 },
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let path = request.uri().path().to_owned();
        if path == "/silent" {
            std::future::pending::<()>().await;
        }
        let input = request.into_body().collect().await.unwrap().to_bytes();
        if path.ends_with("/infer") {
            let output = br#"{"outputs":[{"name":"p","shape":[0],"datatype":"FP32"}]}"#;
            let (input_salt, output_salt) = (Nonce([1; 32]), Nonce([2; 32]));
            let mut proof = self.statement();
            proof.input = Commitment::to_body(&input_salt, &input);
            proof.output = Commitment::to_body(&output_salt, output);
            (self.lie.lock().unwrap())(&mut proof);
            return Response::builder()
                .header(
                    "glacier-proof",
                    hex::encode(cbor::encode(&proof.sign(&self.identity.expose_secret()).unwrap())),
                )
                .header("glacier-input-salt", input_salt.to_string())
                .header("glacier-output-salt", output_salt.to_string())
                .body(Bytes::from_static(output).into())
                .unwrap();
        }
        if path.ends_with("/result") {
            let bundle = self.bundle.lock().unwrap().clone().unwrap();
            return Response::new(Bytes::from(cbor::encode(&bundle)).into());
        }
        if path.contains("/jobs/") {
            let status = JobStatus {
                manifest: DEPLOYMENT,
                phase: Phase::Refused,
                waiting_for: vec![],
                loaded: (0, 0),
                rows: 0,
                events: vec![],
                refusal: Some(Refusal::new(RefusalCode::AssetKey, "no")),
            };
            return Response::new(Bytes::from(cbor::encode(&status)).into());
        }
        let refusal = Refusal::new(RefusalCode::NotFound, "there is nothing at this path");
        Response::builder().status(404).body(Bytes::from(cbor::encode(&refusal)).into()).unwrap()
    }
}

impl Attester for Enclave {
    fn cached(&self) -> Arc<Evidence> {
        self.cached.clone()
    }

    fn fresh(&self, nonce: [u8; 32]) -> Pin<Box<dyn Future<Output = Result<Evidence, NoQuote>> + Send + '_>> {
        Box::pin(async move { Ok(self.evidence(Some(nonce))) })
    }
}

fn evidence(chip: &Chip, key: [u8; 32], enclave: Address, nonce: Option<[u8; 32]>, collateral: &str) -> Evidence {
    let claims = Claims {
        purpose: Purpose::Channel,
        channel_key: key,
        enclave_key: enclave,
        issued_at: now(),
        nonce,
        devices: None,
    };
    let quote = chip.quote(&Body::new(CODE, claims.report_data())).unwrap();
    Evidence::new(quote, claims.encode(), collateral.as_bytes().to_vec())
}

const DEPLOYMENT: ManifestHash = ManifestHash([9; 32]);

struct Scene {
    enclave: Arc<Enclave>,
    node: Node,
    policy: Policy,
    key: Key,
}

impl Scene {
    async fn new() -> Self {
        let vendor = Vendor::generate(now()).unwrap();
        let chip = vendor.chip(Hardware::new(Seed::random()), now()).unwrap();
        let collateral = vendor.collateral(chip.hardware(), &Recipe::new(now())).unwrap().to_json();
        let policy = Policy {
            platforms: vec![PlatformKind::Simulated],
            simulated_roots: vec![vendor.root_fingerprint()],
            measurements: vec![CODE.into()],
            enclave_ids: vec![chip.enclave_id()],
            ..Policy::default()
        };
        let channel_key = ChannelKey::generate().unwrap();
        let spki = channel_key.spki_sha256();
        let identity = Identity::from_secret(&[5; 32]).unwrap();
        let cached = Arc::new(evidence(&chip, spki, identity.address(), None, &collateral));
        let enclave = Arc::new(Enclave {
            chip,
            channel_key: spki,
            identity,
            collateral,
            cached: cached.clone(),
            lie: Mutex::new(|_| {}),
            bundle: Mutex::new(None),
            requests: AtomicUsize::new(0),
        });
        let server = Arc::new(Server::new(channel_key, &cached, enclave.clone()).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let node = Node::at(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let serving = enclave.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (server, enclave) = (server.clone(), serving.clone());
                tokio::spawn(async move {
                    let Ok(session) = server.accept(stream).await else { return };
                    let service = service_fn(move |request| {
                        let enclave = enclave.clone();
                        async move { Ok::<_, Infallible>(enclave.answer(request).await) }
                    });
                    let stream = TokioIo::new(session.into_stream());
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await;
                });
            }
        });
        Self { enclave, node, policy, key: Key::generate("party".parse().unwrap()).unwrap() }
    }

    async fn session(&self) -> Session {
        self.node.connect(&self.policy, self.key.identity(), Freshness::Cached).await.unwrap()
    }

    /// Asks the deployment while the enclave lies in its proof.
    async fn asked(&self, lie: fn(&mut WorkProof)) -> Result<(), Error> {
        *self.enclave.lie.lock().unwrap() = lie;
        let input = Tensor::from_f32("x", vec![1, 1], &[1.0]).unwrap();
        self.session().await.infer(&DEPLOYMENT, &[input]).await.map(|_| ())
    }

    fn job(&self, measurement: Measurement, enclave_id: EnclaveId) -> SignedManifest {
        let mine = self.key.address();
        let mut job = Job::propose(Draft::inference(
            (mine, Digest([3; 32])),
            (mine, Digest([4; 32])),
            (measurement, enclave_id),
            vec![Recipient([7; 32])],
            glacier::wire::UnixTime(now().0 + 60),
        ))
        .unwrap();
        job.sign(self.key.identity()).unwrap();
        job.complete().unwrap().clone()
    }
}

fn release(manifest: &SignedManifest) -> Release<'_> {
    let not_after = manifest.manifest.limits.not_after;
    Release { role: Role::Data, manifest, file_key: FileKey::new([1; 16]), uses: 1, not_after }
}

#[tokio::test]
async fn an_enclave_that_the_policy_names_is_accepted() {
    let scene = Scene::new().await;
    for freshness in [Freshness::Cached, Freshness::Cached, Freshness::Fresh] {
        let session = scene.node.connect(&scene.policy, scene.key.identity(), freshness).await.unwrap();
        assert_eq!(session.accepted().measurement(), CODE);
        assert_eq!(session.accepted().platform(), PlatformKind::Simulated);
        assert_eq!(session.claims().enclave_key, scene.enclave.identity.address());
        assert_eq!(session.claims().nonce.is_some(), freshness == Freshness::Fresh);
        assert_eq!(session.party(), scene.key.address());
        assert!(session.post_quantum());
        assert!(session.appraisal().iter().all(|check| check.outcome == glacier::attest::Outcome::Pass));
        // Collateral that was left out on the second handshake is in the evidence all the same.
        assert_eq!(session.evidence().collateral, scene.enclave.collateral.as_bytes());
    }
}

#[tokio::test]
async fn what_was_judged_before_is_judged_again_by_another_policy() {
    let mut scene = Scene::new().await;
    scene.session().await;
    let good = scene.policy.clone();
    let worse: [fn(&mut Policy); 4] = [
        |policy| policy.measurements = vec![Measurement([0xbd; 32]).into()],
        |policy| policy.enclave_ids = vec![EnclaveId([0xbd; 32])],
        |policy| policy.simulated_roots = vec![],
        |policy| policy.platforms = vec![],
    ];
    for change in worse {
        scene.policy = good.clone();
        change(&mut scene.policy);
        let error = scene.node.connect(&scene.policy, scene.key.identity(), Freshness::Cached).await.err();
        assert!(matches!(error, Some(ConnectError::Evidence { .. })), "{error:?}");
    }
    assert_eq!(scene.enclave.requests.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_refusal_comes_out_as_one() {
    let scene = Scene::new().await;
    let error = Error::from(scene.session().await.get("/nowhere").await.unwrap_err());
    assert_eq!(error.refusal().unwrap().code, RefusalCode::NotFound);
    assert_eq!(error.actor(), Actor::Caller);
}

#[tokio::test]
async fn an_enclave_that_says_nothing_to_a_stream_is_given_up() {
    let scene = Scene::new().await;
    let mut session = scene.session().await;
    session.set_deadline(Duration::from_millis(200));
    let silent = session.stream("/silent", Bytes::from_static(b"x"));
    let silent = tokio::time::timeout(Duration::from_secs(20), silent).await.expect("the wait ends");
    assert_eq!(silent.map(|_| ()), Err(RequestError::Deadline));
}

#[tokio::test]
async fn a_body_that_moves_on_may_take_longer_than_a_request() {
    let scene = Scene::new().await;
    let mut session = scene.session().await;
    session.set_deadline(Duration::from_millis(600));
    let (mut upload, body) = Upload::pair();
    let slow = async {
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(150)).await;
            upload.write(&b"piece"[..]).await.unwrap();
        }
        upload.finish().await.unwrap();
    };
    let (answer, ()) = tokio::join!(session.stream("/nowhere", body), slow);
    let Err(RequestError::Refused(refusal)) = answer.map(|_| ()) else { panic!("it was read to its end") };
    assert_eq!(refusal.code, RefusalCode::NotFound);
}

#[tokio::test]
async fn a_refused_job_ends_the_wait() {
    let scene = Scene::new().await;
    let mut seen = 0;
    let error = scene.session().await.wait(&DEPLOYMENT, &mut |_| seen += 1).await.unwrap_err();
    assert_eq!(error, Error::Refused(Refusal::new(RefusalCode::AssetKey, "no")));
    assert_eq!(seen, 1);
}

#[tokio::test]
async fn no_key_goes_to_an_enclave_that_the_manifest_does_not_name() {
    let scene = Scene::new().await;
    let session = scene.session().await;
    let chip = scene.enclave.chip.enclave_id();
    let other_code = scene.job(Measurement([1; 32]), chip);
    let other_chip = scene.job(CODE, EnclaveId([1; 32]));
    let join = async |manifest: &SignedManifest| session.join(scene.key.identity(), release(manifest)).await;
    assert_eq!(join(&other_code).await, Err(Error::Elsewhere(Place::Code)));
    assert_eq!(join(&other_chip).await, Err(Error::Elsewhere(Place::Chip)));
    let mut unsigned = scene.job(CODE, chip);
    unsigned.signatures.clear();
    assert!(matches!(join(&unsigned).await, Err(Error::Job(_))));
    assert_eq!(scene.enclave.requests.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn no_key_goes_out_in_a_role_that_is_not_ones_own() {
    let scene = Scene::new().await;
    let session = scene.session().await;
    let manifest = scene.job(CODE, scene.enclave.chip.enclave_id());
    let stranger = Identity::from_secret(&[8; 32]).unwrap();
    assert_eq!(session.join(&stranger, release(&manifest)).await, Err(Error::NotYourRole));
    assert_eq!(scene.enclave.requests.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn an_answer_is_believed_only_with_a_proof_that_fits() {
    let scene = Scene::new().await;
    assert_eq!(scene.asked(|_| {}).await, Ok(()));
    struct Lie(fn(&mut WorkProof), Unproved);
    let lies = [
        Lie(|proof| proof.input.0[0] ^= 1, Unproved::OtherInput),
        Lie(|proof| proof.output.0[0] ^= 1, Unproved::OtherOutput),
        Lie(|proof| proof.manifest.0[0] ^= 1, Unproved::OtherJob),
        Lie(|proof| proof.work = Work::Inference, Unproved::OtherJob),
        Lie(|proof| proof.enclave_id.0[0] ^= 1, Unproved::OtherEnclave),
        Lie(|proof| proof.measurement.0[0] ^= 1, Unproved::OtherEnclave),
        Lie(|proof| proof.platform = PlatformKind::Sgx, Unproved::OtherEnclave),
    ];
    for Lie(lie, expected) in lies {
        assert_eq!(scene.asked(lie).await, Err(Error::Unproved(expected)));
    }
}

#[tokio::test]
async fn a_proof_that_another_key_signed_is_not_believed() {
    let scene = Scene::new().await;
    let asked = scene.asked(|proof| proof.enclave_key = Address([1; 20])).await;
    assert!(matches!(asked, Err(Error::Unproved(Unproved::Signature(_)))), "{asked:?}");
}

#[tokio::test]
async fn a_result_is_fetched_only_when_its_proof_holds() {
    let scene = Scene::new().await;
    let session = scene.session().await;
    let manifest = scene.job(CODE, scene.enclave.chip.enclave_id());
    let other = scene.job(CODE, scene.enclave.chip.enclave_id());
    let bundle = |about: &SignedManifest| {
        let mut proof = scene.enclave.statement();
        proof.work = Work::Inference;
        proof.manifest = about.manifest.hash();
        proof.input = about.manifest.data.into();
        proof.settlement = about.manifest.settlement;
        Bundle {
            proof: proof.sign(&scene.enclave.identity.expose_secret()).unwrap(),
            evidence: scene.enclave.evidence(None),
            manifest: Some(about.clone()),
            logged: None,
            settled: None,
            training: None,
            federation: None,
        }
    };
    let hash = manifest.manifest.hash();
    assert!(session.believe(&bundle(&manifest), &hash, &scene.policy).is_ok());
    assert_eq!(session.believe(&bundle(&other), &hash, &scene.policy).err(), Some(Unproved::OtherJob));

    let mut forged = bundle(&manifest);
    forged.proof.proof.output.0[0] ^= 1;
    *scene.enclave.bundle.lock().unwrap() = Some(forged);
    let collected =
        session.collect(&scene.node, &manifest, &scene.key, &scene.policy, &mut |_, _| panic!("fetched")).await;
    assert!(matches!(collected, Err(Error::Unproved(Unproved::Check { .. }))));

    // Genuine, accepted, for this very job: but by an enclave key of another epoch.
    let stranger = Identity::from_secret(&[6; 32]).unwrap();
    let mut elsewhere = bundle(&manifest);
    elsewhere.proof.proof.enclave_key = stranger.address();
    elsewhere.proof = elsewhere.proof.proof.sign(&stranger.expose_secret()).unwrap();
    elsewhere.evidence =
        evidence(&scene.enclave.chip, scene.enclave.channel_key, stranger.address(), None, &scene.enclave.collateral);
    assert_eq!(session.believe(&elsewhere, &hash, &scene.policy).err(), Some(Unproved::OtherEnclave));
}

#[tokio::test]
async fn what_is_no_path_is_not_sent() {
    let scene = Scene::new().await;
    let session = scene.session().await;
    let error = session.request(hyper::Method::GET, "not a path", &[], Bytes::new()).await.unwrap_err();
    assert_eq!(error, RequestError::Request);
    assert_eq!(scene.enclave.requests.load(Ordering::Relaxed), 0);
}
