//! What a host can, and cannot, make the enclave say of its log.

use crate::{
    Statement,
    host::HostPort,
    orders,
    prover::{Proved, Prover, Standing},
    publisher,
};
use glacier_platform::{LockedKey, Platform, PlatformError, SealingPurpose};
use glacier_proof::{Head, Log, Registration, SignedCheckpoint, SignedProof, verify_consistency};
use glacier_wire::{
    Address, Commitment, Digest, EnclaveId, ManifestHash, Measurement, PlatformKind, ReportData, Settlement, Work,
    api::{
        HOST_FRAME, HostAnswer, HostCall, HostFault, HostOrder, HostReply, HostRequest, OrderFault, RegistrationOrder,
        SettlementOrder,
    },
    cbor,
};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    runtime::Builder,
    time::timeout,
};

const SOON: Duration = Duration::from_secs(10);

/// Its quotes are the data that they are over.
struct Chip;

impl Platform for Chip {
    fn kind(&self) -> PlatformKind {
        PlatformKind::Simulated
    }

    fn measurement(&self) -> Measurement {
        Measurement([1; 32])
    }

    fn enclave_id(&self) -> EnclaveId {
        EnclaveId([2; 32])
    }

    fn quote(&self, report_data: &ReportData) -> Result<Vec<u8>, PlatformError> {
        // Registration number 13 is the one at which this chip fails.
        let unlucky = Registration { enclave_key: KEY.get().copied().unwrap_or(Address::ZERO), ..registration(13) };
        if *report_data == unlucky.report_data() { Err(PlatformError::Busy) } else { Ok(report_data.to_vec()) }
    }

    fn collateral(&self) -> Result<Vec<u8>, PlatformError> {
        Err(PlatformError::CollateralFromHost)
    }

    fn sealing_key(&self, _: SealingPurpose) -> Result<LockedKey<32>, PlatformError> {
        Err(PlatformError::Busy)
    }
}

static KEY: std::sync::OnceLock<Address> = std::sync::OnceLock::new();

fn registration(number: u32) -> Registration {
    Registration {
        chain_id: 5,
        registry: Address([3; 20]),
        enclave_key: Address::ZERO,
        owner: Address([4; 20]),
        number,
    }
}

fn order(number: u32) -> RegistrationOrder {
    let Registration { chain_id, registry, owner, number, .. } = registration(number);
    RegistrationOrder { chain_id, registry, owner, number }
}

fn ledger(chain_id: u64) -> SettlementOrder {
    SettlementOrder { chain_id, ledger: Address([8; 20]) }
}

fn statement(chain_id: u64, units: u64) -> Statement {
    Statement {
        work: Work::App,
        manifest: ManifestHash::ZERO,
        model: Digest::ZERO,
        input: Commitment([5; 32]),
        output: Commitment([6; 32]),
        units,
        settlement: Settlement { chain_id, ledger: Address([8; 20]), payer: Address([9; 20]), price: 1 },
    }
}

/// The enclave's tasks, and a host port in the test's own hands.
struct Scene {
    prover: Arc<Prover>,
    port: UnixStream,
}

impl Scene {
    fn new() -> Self {
        let platform: Arc<dyn Platform> = Arc::new(Chip);
        let prover = Arc::new(Prover::new(&*platform).unwrap());
        let (ours, theirs) = UnixStream::pair().unwrap();
        let host = HostPort::new(theirs);
        let (publishing, following, port) = (prover.clone(), prover.clone(), host.clone());
        tokio::spawn(async move { publisher::publish_all(&publishing, &port).await });
        tokio::spawn(async move { orders::follow(&following, &platform, &host).await });
        Self { prover, port: ours }
    }

    async fn call(&mut self) -> HostCall {
        let call = async {
            let len = self.port.read_u32_le().await.unwrap();
            let mut bytes = vec![0; len as usize];
            self.port.read_exact(&mut bytes).await.unwrap();
            cbor::decode(&bytes, HOST_FRAME).unwrap()
        };
        timeout(SOON, call).await.unwrap()
    }

    async fn answer(&mut self, id: u32, reply: HostReply) {
        let bytes = cbor::encode(&HostAnswer { id, reply });
        self.port.write_all(&(bytes.len() as u32).to_le_bytes()).await.unwrap();
        self.port.write_all(&bytes).await.unwrap();
    }

    async fn prove(&self, chain_id: u64, units: u64) -> Proved {
        timeout(SOON, self.prover.prove(&statement(chain_id, units), Standing::Told)).await.unwrap().unwrap()
    }
}

/// What the enclave has told its host, checked as it comes.
#[derive(Default)]
struct Told {
    log: Log,
    heads: HashMap<(u64, SettlementOrder), Vec<u8>>,
    units: HashMap<SettlementOrder, u64>,
}

impl Told {
    fn proof(&mut self, bytes: &[u8]) {
        let signed: SignedProof = cbor::decode(bytes, SignedProof::MAX_BYTES).unwrap();
        assert_eq!(signed.proof.sequence, self.log.size(), "proofs come in their order");
        let Settlement { chain_id, ledger, .. } = signed.proof.settlement;
        *self.units.entry(SettlementOrder { chain_id, ledger }).or_default() += signed.proof.units;
        self.log.append(&signed.verify().unwrap());
    }

    fn head(&mut self, bytes: &[u8]) -> SignedCheckpoint {
        let signed = SignedCheckpoint::decode(bytes).unwrap();
        signed.verify().unwrap();
        let said = &signed.checkpoint;
        let at = SettlementOrder { chain_id: said.chain_id, ledger: said.ledger };
        assert_eq!(said.head(), self.log.head());
        assert_eq!(said.units, self.units.get(&at).copied().unwrap_or_default());
        let before = self.heads.insert((said.size, at), bytes.to_vec());
        assert!(before.is_none_or(|before| before == bytes), "two heads of one size");
        signed
    }
}

fn run(test: impl Future<Output = ()>) {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test);
}

#[test]
fn whatever_the_host_orders_a_log_of_one_size_has_one_head_for_one_ledger() {
    run(async {
        let mut scene = Scene::new();
        let (mut told, mut orders) = (Told::default(), 0u64);
        let mut held = Vec::new();
        for number in 0..12 {
            held.push(scene.prove(number % 3, 10 + number).await);
        }
        // Until it has heard of each ledger twice, and proofs were made in between.
        while orders < 12 || told.log.size() < 24 {
            let HostCall { id, request } = scene.call().await;
            let reply = match request {
                HostRequest::Orders => {
                    orders += 1;
                    held.push(scene.prove(orders % 4, orders).await);
                    // The fourth of them is named by few proofs, the fifth by none.
                    HostReply::Order { order: HostOrder::Settle(ledger(orders % 5)) }
                }
                HostRequest::Publish { proof, checkpoint } => {
                    told.proof(&proof);
                    if let Some(checkpoint) = checkpoint {
                        told.head(&checkpoint);
                    }
                    HostReply::Done
                }
                HostRequest::Head { checkpoint } => {
                    told.head(&checkpoint);
                    HostReply::Done
                }
                other => panic!("{other:?}"),
            };
            scene.answer(id, reply).await;
        }
        assert!(told.heads.len() > 4, "{} heads", told.heads.len());
        // What the parties hold are heads of the same log.
        let now = told.log.head();
        for Proved { proof, logged, .. } in held.iter().filter(|held| held.proof.proof.sequence < now.size) {
            let logged = logged.as_ref().unwrap();
            assert_eq!((logged.checkpoint.verify(), logged.includes(proof)), (Ok(()), Ok(())));
            let said = &logged.checkpoint.checkpoint;
            assert_eq!((said.size, said.chain_id), (proof.proof.sequence + 1, proof.proof.settlement.chain_id));
            let path = told.log.consistency(said.size, now.size).unwrap();
            assert_eq!(verify_consistency(&Head { size: said.size, root: said.root }, &now, &path), Ok(()));
            let at = SettlementOrder { chain_id: said.chain_id, ledger: said.ledger };
            if let Some(published) = told.heads.get(&(said.size, at)) {
                assert_eq!(*published, cbor::encode(&logged.checkpoint));
            }
        }
    });
}

#[test]
fn a_host_that_gives_no_orders_or_nonsense_still_gets_its_proofs() {
    for nonsense in [
        None,
        Some(HostReply::Done),
        Some(HostReply::Data { data: vec![1; 100] }),
        Some(HostReply::Failed { fault: HostFault::Bad }),
    ] {
        run(async {
            let mut scene = Scene::new();
            let mut told = Told::default();
            let proved = [scene.prove(1, 1).await, scene.prove(1, 2).await];
            while told.log.size() < 2 {
                let HostCall { id, request } = scene.call().await;
                match request {
                    HostRequest::Orders => {
                        if let Some(reply) = nonsense.clone() {
                            scene.answer(id, reply).await;
                        }
                    }
                    HostRequest::Publish { proof, checkpoint: None } => {
                        told.proof(&proof);
                        scene.answer(id, HostReply::Done).await;
                    }
                    other => panic!("{other:?}"),
                }
            }
            for proved in proved {
                // The sender is dropped when the host has answered.
                let _ = timeout(SOON, proved.published).await.unwrap();
            }
        });
    }
}

#[test]
fn a_host_whose_disk_failed_gets_what_it_did_not_keep_again_and_in_order() {
    run(async {
        let mut scene = Scene::new();
        let mut told = Told::default();
        let mut failed = 0;
        for _ in 0..5 {
            scene.prove(1, 1).await;
        }
        while told.log.size() < 5 {
            let HostCall { id, request } = scene.call().await;
            match request {
                HostRequest::Publish { proof, .. } => {
                    let signed: SignedProof = cbor::decode(&proof, SignedProof::MAX_BYTES).unwrap();
                    let reply = if signed.proof.sequence == 2 && failed < 2 {
                        failed += 1;
                        HostReply::Failed { fault: HostFault::Io }
                    } else if signed.proof.sequence == told.log.size() {
                        told.proof(&proof);
                        HostReply::Done
                    } else {
                        HostReply::Failed { fault: HostFault::Bad }
                    };
                    scene.answer(id, reply).await;
                }
                HostRequest::Orders => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(failed, 2);
    });
}

#[test]
fn a_registration_is_quoted_over_this_key_and_a_chip_that_fails_is_reported() {
    run(async {
        let mut scene = Scene::new();
        let enclave_key = *KEY.get_or_init(|| scene.prover.address());
        for number in [0, 13, u32::MAX] {
            let HostCall { id, request } = scene.call().await;
            assert_eq!(request, HostRequest::Orders);
            let told = HostOrder::Register(order(number));
            scene.answer(id, HostReply::Order { order: told }).await;
            let HostCall { id, request } = scene.call().await;
            let quote = Registration { enclave_key, ..registration(number) }.report_data().to_vec();
            let expected = if number == 13 {
                HostRequest::Refused { order: told, fault: OrderFault::Platform }
            } else {
                HostRequest::Registered { order: order(number), enclave_key, quote, collateral: None }
            };
            assert_eq!(request, expected);
            scene.answer(id, HostReply::Done).await;
        }
    });
}

#[test]
fn a_ledger_whose_units_were_not_all_counted_never_gets_a_head() {
    run(async {
        let mut scene = Scene::new();
        for chain_id in 0..300 {
            assert_eq!(scene.prove(chain_id, 1).await.logged.is_some(), chain_id < 256);
        }
        let mut refused = false;
        while !refused {
            let HostCall { id, request } = scene.call().await;
            let reply = match request {
                HostRequest::Orders => HostReply::Order { order: HostOrder::Settle(ledger(299)) },
                HostRequest::Publish { checkpoint: None, .. } => HostReply::Done,
                HostRequest::Refused { order, fault } => {
                    assert_eq!((order, fault), (HostOrder::Settle(ledger(299)), OrderFault::TooManyLedgers));
                    refused = true;
                    HostReply::Done
                }
                other => panic!("{other:?}"),
            };
            scene.answer(id, reply).await;
        }
    });
}

/// Prints what a proof costs. Not a limit: the machine decides.
#[test]
fn the_cost_of_a_proof_is_a_signature_and_little_more() {
    const COUNT: u32 = 2000;
    let platform = Chip;
    for standing in [Standing::Untold, Standing::Told] {
        run(async {
            let prover = Prover::new(&platform).unwrap();
            let begun = std::time::Instant::now();
            for number in 0..COUNT {
                prover.prove(&statement(u64::from(number % 3), 1), standing).await.unwrap();
            }
            println!("{standing:?}: {:?} a proof", begun.elapsed() / COUNT);
            assert_eq!(prover.count(), u64::from(COUNT));
            prover.settle(ledger(1)).unwrap();
            let begun = std::time::Instant::now();
            let burst = prover.unpublished().await;
            println!("a head of {}: {:?}", burst.proofs.len(), begun.elapsed());
            assert_eq!(burst.head.unwrap().checkpoint.size, u64::from(COUNT));
        });
    }
}
