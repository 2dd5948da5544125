//! A keeper left alone: it registers, settles, claims and collects, each once.

mod common;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use alloy::primitives::{Address, U256};
use common::node::{DAY, MANIFEST, Maker, Node, START, World, network};
use glacier_chain::{Deployment, DepositTerms, Enclave, Keeper, Quoted, Running, Terms, contracts::JobEscrow};
use glacier_proof::{SignedCheckpoint, SignedProof};
use glacier_wire::{EnclaveId, api::RegistrationOrder};

/// A node whose work a test orders.
#[derive(Clone)]
struct Worker(Arc<Mutex<State>>);

struct State {
    node: Node,
    network: Deployment,
    proofs: Vec<SignedProof>,
}

impl Worker {
    fn work(&self, units: u64, payer: Address, price: u64) {
        let mut state = self.0.lock().unwrap();
        let network = state.network.clone();
        let proof = state.node.work(&network, units, payer, price);
        state.proofs.push(proof);
    }

    fn enclave_id(&self) -> EnclaveId {
        self.0.lock().unwrap().node.id
    }
}

impl Enclave for Worker {
    fn running(&self) -> Option<Running> {
        Some(Running { enclave_id: self.enclave_id(), start: 1 })
    }

    fn settle_at(&self, _: u64, _: glacier_wire::Address) {}

    async fn quote(&self, order: RegistrationOrder) -> Result<Quoted, String> {
        let state = self.0.lock().unwrap();
        let registration = state.node.registration(&state.network, order.owner.0.into(), order.number);
        Ok(Quoted { enclave_key: state.node.key(), quote: state.node.quote(&registration), collateral: None })
    }

    async fn heads(&self, _: u64, _: glacier_wire::Address) -> Result<Vec<SignedCheckpoint>, String> {
        let state = self.0.lock().unwrap();
        Ok((!state.proofs.is_empty()).then(|| state.node.head(&state.network)).into_iter().collect())
    }

    async fn proof(&self, _: glacier_wire::Address, sequence: u64) -> Result<Option<SignedProof>, String> {
        let sequence = usize::try_from(sequence).unwrap();
        Ok(self.0.lock().unwrap().proofs.get(sequence).cloned())
    }
}

struct Rig {
    world: World,
    keeper: Arc<Keeper<Worker>>,
    worker: Worker,
    emission: U256,
}

const SOON: Duration = Duration::from_millis(5);

impl Rig {
    async fn new(claim: Option<Duration>) -> Self {
        let (world, maker) = (World::embedded(), Maker::new(START));
        let sender = world.sender(1);
        let plan = maker.plan(sender.address());
        let operator = network(sender, &plan, &maker.lasting_collateral()).await;
        let emission = operator.deployment().emission(&world.chain, 1).await.unwrap();
        let state = State { node: maker.node(1, 11), network: operator.deployment().clone(), proofs: Vec::new() };
        let worker = Worker(Arc::new(Mutex::new(state)));
        let terms = Terms { proofs: 1, pause: SOON, claim, collect: Some(1000), ..Terms::default() };
        let keeper = Arc::new(Keeper::new(operator, worker.clone(), terms));
        Self { world, keeper, worker, emission }
    }

    /// The keeper at work. It ends with the test.
    fn leave_alone(&self) {
        let keeper = Arc::clone(&self.keeper);
        tokio::spawn(async move { keeper.run().await });
    }

    async fn balance(&self) -> U256 {
        let operator = self.keeper.operator();
        operator.balance(operator.sender().address()).await.unwrap()
    }

    async fn settled(&self) -> u64 {
        let key = self.worker.0.lock().unwrap().node.key();
        self.keeper.operator().settled(&key).await.unwrap()
    }

    async fn block(&self) -> u64 {
        self.world.chain.head().await.unwrap().number
    }
}

async fn until(what: &str, mut reached: impl AsyncFnMut() -> bool) {
    for _ in 0..4000 {
        if reached().await {
            return;
        }
        tokio::time::sleep(SOON).await;
    }
    panic!("{what} did not come");
}

/// Many looks.
async fn a_while() {
    tokio::time::sleep(60 * SOON).await;
}

#[tokio::test]
async fn what_was_earned_is_claimed_by_itself_and_once() {
    let rig = Rig::new(Some(SOON)).await;
    rig.leave_alone();
    rig.worker.work(10, Address::ZERO, 0);
    until("the settlement", async || rig.settled().await == 1).await;
    a_while().await;
    assert_eq!(rig.balance().await, U256::ZERO, "the day is not over");

    rig.world.at(START + DAY).await;
    until("the first day's pay", async || rig.balance().await == rig.emission).await;
    // A day without work: nothing is proposed, claimed, or paid for.
    let block = rig.block().await;
    rig.world.at(START + 2 * DAY).await;
    a_while().await;
    assert_eq!((rig.block().await, rig.balance().await), (block, rig.emission));

    rig.worker.work(10, Address::ZERO, 0);
    until("the settlement", async || rig.settled().await == 2).await;
    rig.world.at(START + 3 * DAY).await;
    until("the third day's pay", async || rig.balance().await == rig.emission * U256::from(2)).await;
    let standing = rig.keeper.standing().await.unwrap();
    assert_eq!((standing.settled, standing.units, standing.fault), (2, 20, None));
}

#[tokio::test]
async fn a_keeper_that_is_told_not_to_claim_leaves_it() {
    let rig = Rig::new(None).await;
    rig.leave_alone();
    rig.worker.work(10, Address::ZERO, 0);
    until("the settlement", async || rig.settled().await == 1).await;
    rig.world.at(START + DAY).await;
    a_while().await;
    assert_eq!(rig.balance().await, U256::ZERO);
    assert_eq!(rig.keeper.claim().await.unwrap(), rig.emission);
}

#[tokio::test]
async fn what_jobs_pay_is_collected_by_itself_and_once() {
    let rig = Rig::new(Some(SOON)).await;
    let operator = rig.keeper.operator();
    let payer = operator.sender().address();
    // Something to pay with.
    rig.keeper.register().await.unwrap();
    rig.worker.work(10, Address::ZERO, 0);
    rig.keeper.settle(true).await.unwrap();
    rig.world.at(START + DAY).await;
    rig.keeper.claim().await.unwrap();

    let terms = DepositTerms { manifest: MANIFEST, payer, price: 1000, enclave_id: Some(rig.worker.enclave_id()) };
    let held = operator.deposit(&terms, 3, START + 9 * DAY).await.unwrap();
    assert_eq!(operator.deposit(&terms, 3, START + 5 * DAY).await.unwrap(), held, "it is there already");
    assert_eq!((held.runs, rig.balance().await), (3, rig.emission - U256::from(3000)));
    assert!(operator.deposit(&DepositTerms { price: 7, ..terms }, 1, START + 9 * DAY).await.is_err());

    rig.leave_alone();
    for (price, of) in [(1000, payer), (999, payer), (1000, Address::ZERO), (1000, payer)] {
        rig.worker.work(1, of, price);
    }
    let escrow = JobEscrow::new(operator.deployment().escrow, rig.world.chain.provider());
    let owed = async || escrow.balanceOf(payer).call().await.unwrap();
    until("the pay of two jobs", async || owed().await == U256::from(2000)).await;
    a_while().await;
    assert_eq!(operator.held(&MANIFEST).await.unwrap().unwrap().runs, 1, "two of four are what the deposit is for");
    assert_eq!(rig.keeper.withdraw().await.unwrap(), U256::from(2000));
    assert_eq!(rig.keeper.withdraw().await.unwrap(), U256::ZERO);

    // What is left goes back after its time, and a proof that comes then is not paid.
    rig.world.at(START + 9 * DAY).await;
    rig.worker.work(1, payer, 1000);
    until("the settlement", async || rig.settled().await == 6).await;
    assert_eq!(operator.refund(&MANIFEST).await.unwrap(), U256::from(1000));
    assert_eq!(rig.keeper.collect(0, true).await.unwrap(), 0);
}
