//! SIMULATED networks on embedded chains, enclave keys that can be made to lie, and nodes that show what they are told.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use alloy::primitives::U256;
use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    routing::get,
};
use glacier_attest::Policy;
use glacier_chain::{Chain, Deployment, Embedded, Genesis, NodeLog, Operator, OperatorKey, Outbox, Plan, Sender};
use glacier_proof::{Bundle, Checkpoint, Log, Registration, SignedCheckpoint, SignedProof, WorkProof};
use glacier_simulator::{Body, Chip, Hardware, Recipe, Seed, Vendor};
use glacier_wire::{
    Address, Commitment, Digest, Evidence, Identity, ManifestHash, Measurement, PlatformKind, ProofHash, Settlement,
    UnixTime, Work, cbor,
};
use serde_json::{Value, json};
use zeroize::Zeroizing;

pub const NOW: u64 = 1_800_000_000;
pub const DAY: u64 = 86_400;
pub const CODE: Measurement = Measurement([2; 32]);

pub struct Network {
    pub folder: tempfile::TempDir,
    pub chain: Chain,
    pub clock: Arc<AtomicU64>,
    pub deployment: Deployment,
    pub operator: Operator,
    pub vendor: Vendor,
    pub chip: Chip,
    pub collateral: Vec<u8>,
}

pub fn operator_key(number: u8) -> OperatorKey {
    OperatorKey::from_bytes(&Zeroizing::new([number; 32])).unwrap()
}

impl Network {
    pub async fn new() -> Self {
        Self::with(|_| ()).await
    }

    /// Deployed by key 1, which owns it; key 2 has ether too.
    pub async fn with(change: impl FnOnce(&mut Plan)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(AtomicU64::new(NOW));
        let time = clock.clone();
        let genesis = Genesis::funding([1, 2].map(|number| operator_key(number).address()));
        let tick = Arc::new(move || time.load(Ordering::Relaxed));
        let embedded = Embedded::open_with_clock(&folder.path().join("chain"), &genesis, tick).unwrap();
        let chain = Chain::embedded(embedded);
        let vendor = Vendor::generate(UnixTime(NOW)).unwrap();
        let chip = vendor.chip(Hardware::new(Seed::new([7; 32])), UnixTime(NOW)).unwrap();
        let collateral = vendor.collateral(chip.hardware(), &Recipe::new(UnixTime(NOW))).unwrap();
        let outbox = Outbox::open(&folder.path().join("outbox-1"), operator_key(1)).unwrap();
        let sender = Sender::new(chain.clone(), outbox);
        let mut plan = Plan::simulated(vendor.root_der().to_vec(), sender.address(), NOW);
        change(&mut plan);
        let deployment = Deployment::deploy(&sender, &plan).await.unwrap();
        deployment.check(&chain).await.unwrap();
        deployment.announce(&sender, CODE.0, 3).await.unwrap();
        deployment.allow_proposing(&sender, sender.address()).await.unwrap();
        let operator = Operator::new(sender, deployment.clone());
        let collateral = collateral.to_json().into_bytes();
        operator.bring(&collateral).await.unwrap();
        Self { folder, chain, clock, deployment, operator, vendor, chip, collateral }
    }

    pub fn now(&self) -> UnixTime {
        UnixTime(self.clock.load(Ordering::Relaxed))
    }

    pub fn pass(&self, seconds: u64) {
        self.clock.fetch_add(seconds, Ordering::Relaxed);
    }

    pub fn sender(&self, number: u8) -> Sender {
        let path = self.folder.path().join(format!("outbox-{number}"));
        Sender::new(self.chain.clone(), Outbox::open(&path, operator_key(number)).unwrap())
    }

    pub fn ledger(&self) -> Address {
        Address(*self.deployment.ledger.0)
    }

    pub fn policy(&self) -> Policy {
        Policy {
            platforms: vec![PlatformKind::Simulated],
            simulated_roots: vec![self.vendor.root_fingerprint()],
            measurements: vec![CODE.into()],
            ..Policy::default()
        }
    }

    /// Collateral of now, changed.
    pub fn recipe(&self, change: impl FnOnce(&mut Recipe)) -> Vec<u8> {
        let mut recipe = Recipe { evaluation: 2, ..Recipe::new(self.now()) };
        change(&mut recipe);
        self.vendor.collateral(self.chip.hardware(), &recipe).unwrap().to_json().into_bytes()
    }

    /// Registers the key with this secret for the chip.
    pub async fn register(&self, secret: u8) -> Enclave {
        let enclave = self.enclave(secret);
        let number = self.operator.chip(&self.chip.enclave_id()).await.unwrap().registrations;
        let registration = Registration {
            chain_id: self.deployment.chain_id,
            registry: Address(*self.deployment.registry.0),
            enclave_key: enclave.key(),
            owner: Address(*self.operator.sender().address().0),
            number,
        };
        let quote = self.chip.quote(&Body::new(CODE, registration.report_data())).unwrap();
        self.operator.register(&self.chip.enclave_id(), &enclave.key(), number, &quote).await.unwrap();
        enclave
    }

    /// A key that nobody has registered.
    pub fn enclave(&self, secret: u8) -> Enclave {
        let (chain_id, ledger) = (self.deployment.chain_id, self.ledger());
        Enclave { secret: [secret; 32], enclave_id: self.chip.enclave_id(), chain_id, ledger }
    }
}

/// An enclave key in the hands of a test.
#[derive(Clone, Copy)]
pub struct Enclave {
    secret: [u8; 32],
    enclave_id: glacier_wire::EnclaveId,
    chain_id: u64,
    ledger: Address,
}

/// A log with all its proofs.
#[derive(Clone, Default)]
pub struct History {
    pub proofs: Vec<SignedProof>,
    pub log: Log,
}

impl Enclave {
    pub fn key(&self) -> Address {
        Identity::from_secret(&self.secret).unwrap().address()
    }

    /// Proofs that all say `output`, each of ten units.
    pub fn work(&self, count: u64, output: u8) -> History {
        let mut history = History::default();
        let mut previous = ProofHash::ZERO;
        for sequence in 0..count {
            let signed = self.proof(sequence, previous, output);
            previous = signed.proof.hash();
            history.log.append(&previous);
            history.proofs.push(signed);
        }
        history
    }

    pub fn proof(&self, sequence: u64, previous: ProofHash, output: u8) -> SignedProof {
        let proof = WorkProof {
            enclave_id: self.enclave_id,
            enclave_key: self.key(),
            measurement: CODE,
            platform: PlatformKind::Simulated,
            work: Work::App,
            manifest: ManifestHash::ZERO,
            model: Digest::ZERO,
            input: Commitment([4; 32]),
            output: Commitment([output; 32]),
            units: 10,
            sequence,
            previous,
            settlement: Settlement { chain_id: self.chain_id, ledger: self.ledger, payer: Address([9; 20]), price: 5 },
        };
        proof.sign(&self.secret).unwrap()
    }

    pub fn head(&self, log: &Log, size: u64) -> SignedCheckpoint {
        let checkpoint = Checkpoint {
            enclave_id: self.enclave_id,
            enclave_key: self.key(),
            size,
            root: log.root(size).unwrap(),
            units: 10 * size,
            chain_id: self.chain_id,
            ledger: self.ledger,
        };
        checkpoint.sign(&self.secret).unwrap()
    }
}

pub fn bundle(proof: SignedProof) -> Bundle {
    Bundle {
        proof,
        evidence: Evidence::new(vec![], vec![], vec![]),
        manifest: None,
        logged: None,
        settled: None,
        training: None,
        federation: None,
    }
}

pub fn tokens(whole: u64) -> U256 {
    U256::from(whole) * U256::from(10).pow(U256::from(18))
}

/// What a node shows of one key.
#[derive(Clone, Default)]
pub struct Show {
    pub history: History,
    pub checkpoint: Option<SignedCheckpoint>,
    pub proofs: Vec<SignedProof>,
}

/// A node that shows what it is told, in the form of real ones.
pub async fn node(show: Show) -> (NodeLog, Arc<Mutex<Show>>) {
    let show = Arc::new(Mutex::new(show));
    let router = Router::new()
        .route("/proofs", get(proofs))
        .route("/log/{key}/head", get(head))
        .route("/log/{key}/inclusion", get(inclusion))
        .route("/log/{key}/consistency", get(consistency))
        .with_state(show.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (NodeLog::at(&url).unwrap(), show)
}

type Shared = State<Arc<Mutex<Show>>>;
type Answer = Result<Json<Value>, StatusCode>;

fn of(show: &Shared, key: &str) -> Result<Show, StatusCode> {
    let show = show.lock().unwrap().clone();
    let key: Address = key.parse().map_err(|_| StatusCode::BAD_REQUEST)?;
    let whose = show.history.proofs.first().map(|signed| signed.proof.enclave_key);
    if whose == Some(key) { Ok(show) } else { Err(StatusCode::NOT_FOUND) }
}

async fn head(show: Shared, Path(key): Path<String>) -> Answer {
    let show = of(&show, &key)?;
    let head = show.history.log.head();
    Ok(Json(json!({"size": head.size, "root": head.root, "checkpoint": show.checkpoint})))
}

#[derive(serde::Deserialize)]
struct Place {
    sequence: u64,
    size: u64,
}

async fn inclusion(show: Shared, Path(key): Path<String>, Query(at): Query<Place>) -> Answer {
    let show = of(&show, &key)?;
    let path = show.history.log.inclusion(at.sequence, at.size).map_err(|_| StatusCode::RANGE_NOT_SATISFIABLE)?;
    let proof = show.history.proofs[at.sequence as usize].proof.hash();
    Ok(Json(json!({"sequence": at.sequence, "size": at.size, "proof": proof, "path": path})))
}

#[derive(serde::Deserialize)]
struct Range {
    from: u64,
    to: u64,
}

async fn consistency(show: Shared, Path(key): Path<String>, Query(range): Query<Range>) -> Answer {
    let show = of(&show, &key)?;
    let path = show.history.log.consistency(range.from, range.to).map_err(|_| StatusCode::RANGE_NOT_SATISFIABLE)?;
    Ok(Json(json!({"from": range.from, "to": range.to, "path": path})))
}

#[derive(serde::Deserialize)]
struct From {
    from: u64,
}

async fn proofs(show: Shared, Query(at): Query<From>) -> Json<Value> {
    let show = show.lock().unwrap().clone();
    let page = show.proofs.iter().enumerate().skip(at.from as usize).map(
        |(number, signed)| json!({"number": number, "arrived": NOW, "proof": alloy::hex::encode(cbor::encode(signed))}),
    );
    let page: Vec<Value> = page.collect();
    let next = at.from + page.len() as u64;
    Json(json!({"proofs": page, "next": next}))
}
