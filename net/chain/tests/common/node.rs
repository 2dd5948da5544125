//! A simulated network, and a node in it: chip, enclave key, log.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use alloy::{primitives::Address, providers::Provider as _};
use glacier_chain::{Chain, Deployment, Embedded, Operator, Outbox, Plan, Remote, Sender};
use glacier_proof::{Checkpoint, Log, Registration, SignedCheckpoint, SignedProof, WorkProof};
use glacier_simulator::{Body, Chip, Hardware, Recipe, Seed, Vendor};
use glacier_wire::{
    Commitment, Digest, EnclaveId, Identity, ManifestHash, Measurement, PlatformKind, ProofHash, Settlement, UnixTime,
    Work,
};

use super::{Anvil, genesis, key};

pub const DAY: u64 = 86_400;
pub const MEASUREMENT: Measurement = Measurement([7; 32]);
pub const MANIFEST: ManifestHash = ManifestHash([9; 32]);

/// Seconds since 1970 at which an embedded chain of a test begins.
pub const START: u64 = 1_900_000_000;

/// A chain whose time a test moves, and a folder.
pub struct World {
    pub chain: Chain,
    pub folder: PathBuf,
    clock: Option<Arc<AtomicU64>>,
    /// Ended and removed with it.
    _owned: (Option<tempfile::TempDir>, Option<Anvil>),
}

impl World {
    pub fn embedded() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut world = Self::embedded_in(dir.path());
        world._owned.0 = Some(dir);
        world
    }

    /// The embedded chain in this folder, at the time that it had.
    pub fn embedded_in(folder: &Path) -> Self {
        let time = std::fs::read_to_string(folder.join("time")).map_or(START, |time| time.parse().unwrap());
        let clock = Arc::new(AtomicU64::new(time));
        let told = Arc::clone(&clock);
        let told = Arc::new(move || told.load(Ordering::Relaxed));
        let chain = Embedded::open_with_clock(&folder.join("chain"), &genesis(), told).unwrap();
        Self { chain: Chain::embedded(chain), folder: folder.into(), clock: Some(clock), _owned: (None, None) }
    }

    /// None where there is no anvil.
    pub async fn anvil() -> Option<Self> {
        let anvil = Anvil::start(&["--timestamp", &START.to_string()]).await?;
        let dir = tempfile::tempdir().unwrap();
        let mut world = Self::remote(&anvil.remote(), dir.path()).await;
        world._owned = (Some(dir), Some(anvil));
        Some(world)
    }

    pub async fn remote(remote: &Remote, folder: &Path) -> Self {
        let chain = Chain::connect(remote).await.unwrap();
        Self { chain, folder: folder.into(), clock: None, _owned: (None, None) }
    }

    /// Lets it be at least this late.
    pub async fn at(&self, time: u64) {
        let Some(clock) = &self.clock else {
            if self.chain.head().await.unwrap().timestamp < time {
                let provider = self.chain.provider();
                let set = provider.raw_request::<_, serde_json::Value>("evm_setNextBlockTimestamp".into(), [time]);
                set.await.unwrap();
                provider.raw_request::<_, serde_json::Value>("evm_mine".into(), ()).await.unwrap();
            }
            return;
        };
        if clock.load(Ordering::Relaxed) < time {
            let draft = self.folder.join("time.new");
            std::fs::write(&draft, time.to_string()).unwrap();
            std::fs::rename(draft, self.folder.join("time")).unwrap();
            clock.store(time, Ordering::Relaxed);
        }
    }

    /// Pays with this key.
    pub fn sender(&self, number: u8) -> Sender {
        let path = self.folder.join(format!("outbox-{number}"));
        Sender::new(self.chain.clone(), Outbox::open(&path, key(number)).unwrap())
    }
}

/// A vendor, and what it says of chips with the usual versions.
pub struct Maker {
    pub vendor: Vendor,
    now: UnixTime,
}

impl Maker {
    pub fn new(now: u64) -> Self {
        Self { vendor: Vendor::generate(UnixTime(now)).unwrap(), now: UnixTime(now) }
    }

    pub fn plan(&self, owner: Address) -> Plan {
        Plan::simulated(self.vendor.root_der().to_vec(), owner, self.now.0)
    }

    /// Good collateral.
    pub fn collateral(&self) -> Vec<u8> {
        self.collateral_by(&Recipe::new(self.now))
    }

    pub fn collateral_by(&self, recipe: &Recipe) -> Vec<u8> {
        let hardware = Hardware::new(Seed::new([0; 32]));
        self.vendor.collateral(&hardware, recipe).unwrap().to_json().into_bytes()
    }

    /// Good for long: for tests of many epochs.
    pub fn lasting_collateral(&self) -> Vec<u8> {
        self.collateral_by(&Recipe { next_update: UnixTime(self.now.0 + 2000 * DAY), ..Recipe::new(self.now) })
    }

    /// Chip `seed` with enclave key `secret`.
    pub fn node(&self, seed: u8, secret: u8) -> Node {
        let chip = self.vendor.chip(Hardware::new(Seed::new([seed; 32])), self.now).unwrap();
        Node { chip: Some(chip.into()), ..Node::new(enclave_id(seed), [secret; 32]) }
    }
}

/// The chip that [`Maker::node`] makes of this seed.
pub fn enclave_id(seed: u8) -> EnclaveId {
    glacier_attest::enclave_id(PlatformKind::Simulated, &Hardware::new(Seed::new([seed; 32])).ppid())
}

/// What runs in the enclave.
pub struct Node {
    pub chip: Option<Arc<Chip>>,
    pub id: EnclaveId,
    pub secret: [u8; 32],
    pub log: Log,
    pub units: u64,
    previous: ProofHash,
}

impl Node {
    /// Without a chip it makes no quotes.
    pub fn new(id: EnclaveId, secret: [u8; 32]) -> Self {
        Self { chip: None, id, secret, log: Log::new(), units: 0, previous: ProofHash([0; 32]) }
    }

    /// The same chip, where the enclave starts again with another key.
    pub fn restarted(&self, secret: u8) -> Self {
        Self { chip: self.chip.clone(), ..Self::new(self.id, [secret; 32]) }
    }

    pub fn key(&self) -> glacier_wire::Address {
        Identity::from_secret(&self.secret).unwrap().address()
    }

    /// What a quote is asked to say.
    pub fn registration(&self, network: &Deployment, owner: Address, number: u32) -> Registration {
        Registration {
            chain_id: network.chain_id,
            registry: glacier_wire::Address(*network.registry.0),
            enclave_key: self.key(),
            owner: glacier_wire::Address(*owner.0),
            number,
        }
    }

    pub fn quote(&self, registration: &Registration) -> Vec<u8> {
        self.chip.as_ref().unwrap().quote(&Body::new(MEASUREMENT, registration.report_data())).unwrap()
    }

    /// Does a job.
    pub fn work(&mut self, network: &Deployment, units: u64, payer: Address, price: u64) -> SignedProof {
        let proof = WorkProof {
            enclave_id: self.id,
            enclave_key: self.key(),
            measurement: MEASUREMENT,
            platform: PlatformKind::Simulated,
            work: Work::Inference,
            manifest: MANIFEST,
            model: Digest([1; 32]),
            input: Commitment([2; 32]),
            output: Commitment([3; 32]),
            units,
            sequence: self.log.size(),
            previous: self.previous,
            settlement: Settlement {
                chain_id: network.chain_id,
                ledger: glacier_wire::Address(*network.ledger.0),
                payer: glacier_wire::Address(*payer.0),
                price,
            },
        };
        self.previous = proof.hash();
        self.log.append(&self.previous);
        self.units += units;
        proof.sign(&self.secret).unwrap()
    }

    /// The head of its log.
    pub fn checkpoint(&self, network: &Deployment) -> Checkpoint {
        let head = self.log.head();
        Checkpoint {
            enclave_id: self.id,
            enclave_key: self.key(),
            size: head.size,
            root: head.root,
            units: self.units,
            chain_id: network.chain_id,
            ledger: glacier_wire::Address(*network.ledger.0),
        }
    }

    pub fn head(&self, network: &Deployment) -> SignedCheckpoint {
        self.checkpoint(network).sign(&self.secret).unwrap()
    }

    /// Registers by the number that the registry asks for.
    pub async fn register(&self, operator: &Operator) -> glacier_chain::Mined {
        let number = operator.chip(&self.id).await.unwrap().registrations;
        let quote = self.quote(&self.registration(operator.deployment(), operator.sender().address(), number));
        operator.register(&self.id, &self.key(), number, &quote).await.unwrap()
    }
}

/// A network with announced code, collateral and a proposer, all of one key. Tried again, it goes on where it stopped.
pub async fn network(sender: Sender, plan: &Plan, collateral: &[u8]) -> Operator {
    let network = Deployment::deploy(&sender, plan).await.unwrap();
    network.announce(&sender, MEASUREMENT.0, 0).await.unwrap();
    network.allow_proposing(&sender, sender.address()).await.unwrap();
    let operator = Operator::new(sender, network);
    operator.bring(collateral).await.unwrap();
    operator
}
