//! A keeper left alone: it registers, settles, claims and collects, each once.

mod common;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use alloy::{
    primitives::{Address, U256},
    sol_types::SolCall as _,
};
use common::{
    key,
    node::{DAY, MANIFEST, Maker, Node, START, World, network},
    proxy::{Fault, Proxy},
};
use glacier_chain::{
    Chain, Deployment, DepositTerms, Enclave, Keeper, KeeperError, Operator, Outbox, Quoted, Running, Sender, Terms,
    contracts::{GlacierToken, JobEscrow},
};
use glacier_proof::{SignedCheckpoint, SignedProof};
use glacier_wire::{EnclaveId, LogHash, api::RegistrationOrder};

/// A node whose work a test orders.
#[derive(Clone)]
struct Worker(Arc<Mutex<State>>);

struct State {
    node: Node,
    network: Deployment,
    proofs: Vec<SignedProof>,
    start: u64,
    /// What ran before, and its proofs.
    former: Vec<(Node, Vec<SignedProof>)>,
    /// The enclave ends while it is asked for a quote, and the next one, with this key, answers.
    restart_at_quote: Option<u8>,
    no_quotes: bool,
    no_proofs: bool,
}

impl State {
    fn restart(&mut self, secret: u8) {
        let next = self.node.restarted(secret);
        self.start += 1;
        self.former.push((std::mem::replace(&mut self.node, next), std::mem::take(&mut self.proofs)));
    }

    fn logs(&self) -> impl Iterator<Item = (&Node, &Vec<SignedProof>)> {
        self.former.iter().map(|(node, proofs)| (node, proofs)).chain([(&self.node, &self.proofs)])
    }

    fn log(&self, key: glacier_wire::Address) -> Option<(&Node, &Vec<SignedProof>)> {
        self.logs().find(|(node, _)| node.key() == key)
    }
}

impl Worker {
    fn state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    fn work(&self, units: u64, payer: Address, price: u64) {
        self.state(|state| {
            let proof = state.node.work(&state.network, units, payer, price);
            state.proofs.push(proof);
        });
    }

    fn enclave_id(&self) -> EnclaveId {
        self.state(|state| state.node.id)
    }

    fn key(&self) -> glacier_wire::Address {
        self.state(|state| state.node.key())
    }
}

impl Enclave for Worker {
    async fn running(&self) -> Option<Running> {
        Some(self.state(|state| Running { enclave_id: state.node.id, start: state.start }))
    }

    fn settle_at(&self, _: u64, _: glacier_wire::Address) {}

    async fn quote(&self, order: RegistrationOrder) -> Result<Quoted, String> {
        self.state(|state| {
            if state.no_quotes {
                return Err("no quotes today".into());
            }
            if let Some(secret) = state.restart_at_quote.take() {
                state.restart(secret);
            }
            let registration = state.node.registration(&state.network, order.owner.0.into(), order.number);
            Ok(Quoted { enclave_key: state.node.key(), quote: state.node.quote(&registration), collateral: None })
        })
    }

    async fn heads(&self, _: u64, _: glacier_wire::Address) -> Result<Vec<SignedCheckpoint>, String> {
        self.state(|state| {
            let logs = state.logs().filter(|(_, proofs)| !proofs.is_empty());
            Ok(logs.map(|(node, _)| node.head(&state.network)).collect())
        })
    }

    async fn proof(&self, key: glacier_wire::Address, sequence: u64) -> Result<Option<SignedProof>, String> {
        let sequence = usize::try_from(sequence).unwrap();
        self.state(|state| match state.no_proofs {
            true => Err("the table of proofs is damaged".into()),
            false => Ok(state.log(key).and_then(|(_, proofs)| proofs.get(sequence)).cloned()),
        })
    }

    async fn path(&self, key: glacier_wire::Address, sequence: u64, size: u64) -> Result<Option<Vec<LogHash>>, String> {
        self.state(|state| Ok(state.log(key).and_then(|(node, _)| node.log.inclusion(sequence, size).ok())))
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
        let state = State {
            node: maker.node(1, 11),
            network: operator.deployment().clone(),
            proofs: Vec::new(),
            start: 1,
            former: Vec::new(),
            restart_at_quote: None,
            no_quotes: false,
            no_proofs: false,
        };
        let worker = Worker(Arc::new(Mutex::new(state)));
        let keeper = Arc::new(Keeper::new(operator, worker.clone(), Self::terms(claim)));
        Self { world, keeper, worker, emission }
    }

    fn terms(claim: Option<Duration>) -> Terms {
        Terms { proofs: 1, pause: SOON, claim, collect: Some(1000), ..Terms::default() }
    }

    /// A day on, with the pay for a first job: something to pay others with.
    async fn paid() -> Self {
        let rig = Self::new(None).await;
        rig.keeper.register().await.unwrap();
        rig.worker.work(10, Address::ZERO, 0);
        rig.keeper.settle(true).await.unwrap();
        rig.world.at(START + DAY).await;
        rig.keeper.claim().await.unwrap();
        rig
    }

    /// Another account, with a part of the tokens.
    async fn second(&self) -> Operator {
        let operator = self.keeper.operator();
        let second = Operator::new(self.world.sender(2), operator.deployment().clone());
        let call = GlacierToken::transferCall { to: second.sender().address(), value: U256::from(100_000) };
        operator.sender().call("give", operator.deployment().token, call.abi_encode()).await.unwrap();
        second
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
        self.keeper.operator().settled(&self.worker.key()).await.unwrap()
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
    let mut rig = Rig::paid().await;
    let operator = rig.keeper.operator().clone();
    rig.keeper = Arc::new(Keeper::new(operator.clone(), rig.worker.clone(), Rig::terms(Some(SOON))));
    let payer = operator.sender().address();
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

#[tokio::test]
async fn a_key_that_is_gone_is_paid_for_what_it_settled_and_keeps_nobody_from_the_rest() {
    let rig = Rig::paid().await;
    let operator = rig.keeper.operator();
    let payer = operator.sender().address();
    let terms = DepositTerms { manifest: MANIFEST, payer, price: 1000, enclave_id: None };
    operator.deposit(&terms, 5, START + 20 * DAY).await.unwrap();
    rig.worker.work(1, payer, 1000);
    assert_eq!(rig.keeper.settle(true).await.unwrap(), 1);
    // Nobody settles this one any more.
    rig.worker.work(1, payer, 1000);
    rig.worker.state(|state| state.restart(12));
    rig.keeper.register().await.unwrap();
    rig.world.at(START + 3 * DAY).await;
    rig.worker.work(1, payer, 1000);

    assert_eq!(rig.keeper.collect(0, false).await.unwrap(), 2);
    assert_eq!(rig.keeper.collect(0, true).await.unwrap(), 0);
    assert_eq!(rig.keeper.withdraw().await.unwrap(), U256::from(2000));
    assert_eq!(operator.held(&MANIFEST).await.unwrap().unwrap().runs, 3);
}

#[tokio::test]
async fn a_deposit_whose_terms_were_changed_stands_in_nobodys_way() {
    let rig = Rig::paid().await;
    let (first, second) = (rig.keeper.operator().clone(), rig.second().await);
    let payer = first.sender().address();
    // Depositors are tried by address.
    let (stranger, honest) = if payer < second.sender().address() { (&first, &second) } else { (&second, &first) };
    let terms = DepositTerms { manifest: MANIFEST, payer, price: 1000, enclave_id: None };
    stranger.deposit(&terms, 1, START + 2 * DAY).await.unwrap();
    rig.world.at(START + 2 * DAY).await;
    stranger.refund(&MANIFEST).await.unwrap();
    stranger.deposit(&DepositTerms { price: 7, ..terms }, 1, START + 20 * DAY).await.unwrap();
    honest.deposit(&terms, 1, START + 20 * DAY).await.unwrap();
    for _ in 0..2 {
        rig.worker.work(1, payer, 1000);
    }
    assert_eq!(rig.keeper.collect(0, true).await.unwrap(), 1);
    assert_eq!((honest.held(&MANIFEST).await.unwrap(), rig.keeper.withdraw().await.unwrap()), (None, U256::from(1000)));
    assert_eq!(stranger.held(&MANIFEST).await.unwrap().unwrap().runs, 1);
}

#[tokio::test]
async fn two_deposits_pay_one_after_the_other() {
    let rig = Rig::paid().await;
    let second = rig.second().await;
    let payer = second.sender().address();
    let terms = DepositTerms { manifest: MANIFEST, payer, price: 1000, enclave_id: None };
    for by in [rig.keeper.operator(), &second] {
        by.deposit(&terms, 1, START + 20 * DAY).await.unwrap();
    }
    for _ in 0..3 {
        rig.worker.work(1, payer, 1000);
    }
    assert_eq!(rig.keeper.collect(0, false).await.unwrap(), 2);
    // What comes later is found too: by the next look at everything.
    second.deposit(&terms, 1, START + 20 * DAY).await.unwrap();
    assert_eq!(rig.keeper.collect(0, false).await.unwrap(), 0);
    assert_eq!(rig.keeper.withdraw().await.unwrap(), U256::from(3000));
}

#[tokio::test]
async fn what_is_credited_is_taken_out_though_no_proof_can_be_read() {
    let rig = Rig::paid().await;
    let operator = rig.keeper.operator();
    let payer = operator.sender().address();
    let terms = DepositTerms { manifest: MANIFEST, payer, price: 1000, enclave_id: None };
    operator.deposit(&terms, 1, START + 20 * DAY).await.unwrap();
    rig.worker.work(1, payer, 1000);
    assert_eq!(rig.keeper.collect(0, false).await.unwrap(), 1);
    rig.worker.state(|state| state.no_proofs = true);
    assert!(matches!(rig.keeper.collect(0, true).await, Err(KeeperError::Node(_))));
    assert_eq!(rig.keeper.withdraw().await.unwrap(), U256::from(1000));
}

#[tokio::test]
async fn a_quote_of_another_enclave_than_the_one_that_was_asked_registers_none() {
    let rig = Rig::new(None).await;
    rig.worker.state(|state| state.restart_at_quote = Some(12));
    let registered = rig.keeper.register().await.unwrap();
    assert_eq!(registered, rig.worker.key());
    let chip = rig.keeper.operator().chip(&rig.worker.enclave_id()).await.unwrap();
    assert_eq!((chip.registrations, rig.keeper.register().await.unwrap()), (1, registered));
    let standing = rig.keeper.standing().await.unwrap();
    assert_eq!((standing.enclave_key, standing.earns), (Some(registered), true));
}

#[tokio::test]
async fn a_key_that_is_registered_already_is_not_registered_again() {
    let rig = Rig::new(None).await;
    let key = rig.keeper.register().await.unwrap();
    let block = rig.block().await;
    // The host was started again around the living enclave.
    let operator = rig.keeper.operator().clone();
    let again = Keeper::new(operator, rig.worker.clone(), Rig::terms(None));
    assert_eq!((again.register().await.unwrap(), rig.block().await), (key, block));
    let other = Operator::new(rig.world.sender(2), rig.keeper.operator().deployment().clone());
    let other = Keeper::new(other, rig.worker.clone(), Rig::terms(None));
    assert!(matches!(other.register().await, Err(KeeperError::KeySpent)));
    // Nor where the key was the chip's, and is not any more.
    rig.worker.state(|state| state.restart(12));
    rig.keeper.register().await.unwrap();
    rig.worker.state(|state| state.restart(11));
    assert!(matches!(rig.keeper.register().await, Err(KeeperError::KeySpent)));
}

#[tokio::test]
async fn a_registration_that_fails_holds_up_no_former_keys_work() {
    let rig = Rig::new(None).await;
    let former = rig.keeper.register().await.unwrap();
    rig.worker.work(10, Address::ZERO, 0);
    rig.worker.state(|state| {
        state.restart(12);
        state.no_quotes = true;
    });
    rig.leave_alone();
    let operator = rig.keeper.operator();
    until("the settlement", async || operator.settled(&former).await.unwrap() == 1).await;
    until("the fault", async || rig.keeper.standing().await.unwrap().fault.is_some()).await;
    assert_eq!(rig.keeper.standing().await.unwrap().enclave_key, None, "what runs is not registered");
}

#[tokio::test]
async fn a_keeper_with_nothing_to_do_asks_little_and_reads_no_block_twice() {
    let rig = Rig::new(None).await;
    let proxy = Proxy::before_embedded(rig.world.chain.as_embedded().unwrap().clone()).await;
    let mut remote = proxy.remote(1);
    remote.poll = SOON;
    let outbox = Outbox::open(&rig.world.folder.join("outbox-remote"), key(1)).unwrap();
    let sender = Sender::new(Chain::connect(&remote).await.unwrap(), outbox);
    let operator = Operator::new(sender, rig.keeper.operator().deployment().clone());
    let keeper = Arc::new(Keeper::new(operator, rig.worker.clone(), Rig::terms(None)));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noting = Arc::clone(&asked);
    proxy.rule(move |method, params| {
        noting.lock().unwrap().push((method.to_owned(), params.clone()));
        Fault::None
    });
    let first_blocks = || -> Vec<u64> {
        let asked = std::mem::take(&mut *asked.lock().unwrap());
        let logs = asked.iter().filter(|(method, _)| method == "eth_getLogs");
        let block = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
        logs.map(|(_, params)| block(params[0]["fromBlock"].as_str().unwrap())).collect()
    };

    // A former key and a present one, both settled.
    for secret in [12, 13] {
        keeper.register().await.unwrap();
        rig.worker.work(10, Address::ZERO, 0);
        keeper.settle(false).await.unwrap();
        if secret == 12 {
            rig.worker.state(|state| state.restart(secret));
        }
    }
    first_blocks();
    assert_eq!(keeper.standing().await.unwrap().units, 10);
    assert_eq!(first_blocks(), [keeper.operator().deployment().block]);
    rig.worker.work(10, Address::ZERO, 0);
    assert_eq!(keeper.settle(false).await.unwrap(), 1);
    first_blocks();
    let head = rig.block().await;
    assert_eq!(keeper.standing().await.unwrap().units, 20);
    assert_eq!(first_blocks(), [head], "the block of the settlement, and none before it");

    let running = Arc::clone(&keeper);
    tokio::spawn(async move { running.run().await });
    a_while().await;
    asked.lock().unwrap().clear();
    a_while().await;
    assert_eq!(asked.lock().unwrap().len(), 0, "{:?}", asked.lock().unwrap());
}
