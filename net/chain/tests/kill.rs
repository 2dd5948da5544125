//! A node that is killed again and again: what it meant to do on the chain happens, and happens once.

mod common;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use alloy::{
    consensus::Transaction as _,
    primitives::{Address, U256, keccak256},
    providers::Provider as _,
    rpc::types::{Filter, Log},
    sol_types::SolEvent,
};
use common::{
    Anvil, key,
    node::{DAY, MEASUREMENT, Maker, Node, START, World, enclave_id, network},
};
use glacier_chain::{
    Chain, Deployment, Operator, OperatorError, Plan,
    contracts::{EnclaveRegistry, RewardVault, WorkLedger},
};

/// More kills than a quick run has: `GLACIER_KILLS=1000`.
fn kills(few: u32) -> u32 {
    std::env::var("GLACIER_KILLS").map_or(few, |kills| kills.parse().unwrap())
}

/// Two owners, each with a chip. The first deploys and proposes.
const OWNERS: [u8; 2] = [1, 2];
/// What making the network takes: 9 contracts that it deploys itself, 3 wires, code, proposer, 6 parts of collateral.
const MAKING: u64 = 20;
/// Rounds for which quotes are made.
const MOST_ROUNDS: u32 = 1500;

/// What an owner's enclave does in a round, by the job.
fn jobs(owner: u8, round: u32) -> [u64; 3] {
    [10 + u64::from(round), 7 * u64::from(owner), 1]
}

fn node(owner: u8, round: u32) -> Node {
    Node::new(enclave_id(owner), keccak256([owner, (round >> 8) as u8, round as u8]).0)
}

/// What the killed process and the one that kills it both know.
struct Life {
    folder: PathBuf,
    port: Option<u16>,
}

impl Life {
    async fn world(&self) -> World {
        match self.port {
            None => World::embedded_in(&self.folder),
            Some(port) => World::remote(&common::remote(port), &self.folder).await,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A file that is there whole or not at all.
    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let draft = self.file(&format!("{name}.new"));
        std::fs::write(&draft, bytes).unwrap();
        std::fs::rename(draft, self.file(name)).unwrap();
    }

    fn deployment(&self) -> Option<Deployment> {
        Some(serde_json::from_slice(&std::fs::read(self.file("network")).ok()?).unwrap())
    }

    /// The rounds that are over.
    fn rounds(&self) -> u32 {
        std::fs::read_to_string(self.file("rounds")).map_or(0, |rounds| rounds.parse().unwrap())
    }

    /// The first half: the network is made. The second: rounds, until there are enough.
    async fn live(&self, enough: u32) {
        let world = self.world().await;
        let Some(deployment) = self.deployment() else {
            let plan = Plan::simulated(std::fs::read(self.file("root")).unwrap(), key(OWNERS[0]).address(), START);
            let collateral = std::fs::read(self.file("collateral")).unwrap();
            let made = network(world.sender(OWNERS[0]), &plan, &collateral).await;
            return self.put("network", serde_json::to_vec(made.deployment()).unwrap());
        };
        let operators = OWNERS.map(|owner| Operator::new(world.sender(owner), deployment.clone()));
        let mut round = self.rounds();
        while round < enough {
            self.round(&world, &operators, round).await;
            round += 1;
            self.put("rounds", round.to_string());
        }
    }

    /// All of it can have happened before.
    async fn round(&self, world: &World, operators: &[Operator; 2], round: u32) {
        world.at(START + u64::from(round) * DAY).await;
        for (owner, operator) in OWNERS.into_iter().zip(operators) {
            let mut node = node(owner, round);
            if operator.chip(&node.id).await.unwrap().registrations == round {
                let quote = std::fs::read(self.file(&format!("quote-{owner}-{round}"))).unwrap();
                operator.register(&node.id, &node.key(), round, &quote).await.unwrap();
            }
            for units in jobs(owner, round) {
                node.work(operator.deployment(), units, Address::ZERO, 0);
                if node.log.size() > 1 {
                    operator.settle(&node.head(operator.deployment())).await.unwrap();
                }
            }
        }
        world.at(START + u64::from(round + 1) * DAY).await;
        operators[0].propose().await.unwrap();
        for operator in operators {
            match operator.claim().await {
                Ok(_) | Err(OperatorError::NothingToClaim) => {}
                Err(other) => panic!("{other}"),
            }
        }
    }

    /// The life in a process of its own.
    fn spawn(&self, enough: u32) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_life", "--nocapture"])
            .env("GLACIER_LIFE", &self.folder)
            .env("GLACIER_LIFE_ROUNDS", enough.to_string())
            .envs(self.port.map(|port| ("GLACIER_LIFE_PORT", port.to_string())))
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Lives for a while, and ends without warning. Tells whether it came to its end by itself.
    fn kill_after(&self, time: Duration) -> bool {
        let mut child = self.spawn(MOST_ROUNDS);
        std::thread::sleep(time);
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "it ended by itself, and badly");
            return true;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        false
    }

    fn finish(&self, enough: u32) {
        assert!(self.spawn(enough).wait().unwrap().success());
    }
}

/// Not a test of its own: what the tests kill.
#[tokio::test]
async fn a_life() {
    let Ok(folder) = std::env::var("GLACIER_LIFE") else { return };
    let port = std::env::var("GLACIER_LIFE_PORT").ok().map(|port| port.parse().unwrap());
    let rounds = std::env::var("GLACIER_LIFE_ROUNDS").unwrap().parse().unwrap();
    Life { folder: folder.into(), port }.live(rounds).await;
}

#[tokio::test]
async fn a_node_that_is_killed_on_the_embedded_chain_does_all_of_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let life = Life { folder: dir.path().into(), port: None };
    killed(&life, kills(48)).await;
}

#[tokio::test]
async fn a_node_that_is_killed_beside_a_chain_by_json_rpc_does_all_of_it_once() {
    let Some(anvil) = Anvil::start(&["--timestamp", &START.to_string()]).await else { return };
    let dir = tempfile::tempdir().unwrap();
    let life = Life { folder: dir.path().into(), port: Some(anvil.port) };
    killed(&life, kills(12)).await;
}

async fn killed(life: &Life, kills: u32) {
    let started = Instant::now();
    let mut dice = Dice::new();
    let maker = Maker::new(START);
    life.put("root", maker.vendor.root_der());
    life.put("collateral", maker.lasting_collateral());
    let (mut making, mut living) = (0, 0);
    while making < kills / 4 && life.deployment().is_none() {
        making += u32::from(!life.kill_after(dice.millis(250)));
    }
    if life.deployment().is_none() {
        life.finish(0);
    }
    let deployment = life.deployment().unwrap();
    prepare(life, &maker, &deployment);
    while making + living < kills {
        assert!(!life.kill_after(dice.millis(600)), "not enough rounds were prepared");
        living += 1;
        // What is there is whole at any moment.
        let world = life.world().await;
        let facts = Facts::read(&world.chain, &deployment).await;
        facts.check(life.rounds());
    }
    let rounds = life.rounds() + 2;
    life.finish(rounds);
    let world = life.world().await;
    let facts = Facts::read(&world.chain, &deployment).await;
    facts.check(rounds);
    facts.check_end(&world, &deployment, rounds).await;
    println!("killed {making} times while deploying, {living} times in {rounds} rounds: {:.1?}", started.elapsed());
}

/// The quotes of all rounds: their chips are not in the process that is killed.
fn prepare(life: &Life, maker: &Maker, deployment: &Deployment) {
    for owner in OWNERS {
        let chip = maker.node(owner, 1).chip;
        for round in 0..MOST_ROUNDS {
            let mut node = node(owner, round);
            node.chip.clone_from(&chip);
            let registration = node.registration(deployment, key(owner).address(), round);
            life.put(&format!("quote-{owner}-{round}"), node.quote(&registration));
        }
    }
}

/// What happened, as the chain tells it.
struct Facts {
    registered: Vec<EnclaveRegistry::Registered>,
    settled: Vec<WorkLedger::Settled>,
    claimed: Vec<RewardVault::Claimed>,
    proposed: Vec<RewardVault::RootProposed>,
}

async fn events<E: SolEvent>(chain: &Chain, address: Address) -> Vec<E> {
    let filter = Filter::new().address(address).event_signature(E::SIGNATURE_HASH).from_block(0);
    let logs: Vec<Log> = chain.provider().get_logs(&filter).await.unwrap();
    logs.iter().map(|log| E::decode_log(&log.inner).unwrap().data).collect()
}

impl Facts {
    async fn read(chain: &Chain, deployment: &Deployment) -> Self {
        Self {
            registered: events(chain, deployment.registry).await,
            settled: events(chain, deployment.ledger).await,
            claimed: events(chain, deployment.vault).await,
            proposed: events(chain, deployment.vault).await,
        }
    }

    /// With `rounds` that are over, and perhaps one that is not.
    fn check(&self, rounds: u32) {
        let epochs: Vec<u32> = self.proposed.iter().map(|event| event.epoch).collect();
        assert_eq!(epochs, (1..=epochs.len() as u32).collect::<Vec<_>>());
        assert!([rounds, rounds + 1].contains(&(epochs.len() as u32)));
        for owner in OWNERS {
            let registered: Vec<_> =
                self.registered.iter().filter(|event| event.enclaveId.0 == enclave_id(owner).0).collect();
            let count = registered.len() as u32;
            assert!([rounds, rounds + 1].contains(&count), "{count} registrations in {rounds} rounds");
            for (round, event) in (0..).zip(registered) {
                let node = node(owner, round);
                assert_eq!(event.enclaveKey.0, node.key().0);
                assert_eq!((event.owner, event.number), (key(owner).address(), round + 1));
                // Each head once, in order, as it was signed.
                let jobs = jobs(owner, round);
                let expected = [(2, jobs[0] + jobs[1]), (3, jobs.iter().sum())];
                let settled: Vec<(u64, u64)> = self
                    .settled
                    .iter()
                    .filter(|settled| settled.key == event.enclaveKey)
                    .map(|settled| (u64::from_be_bytes(settled.head.0[24..].try_into().unwrap()), settled.units))
                    .collect();
                assert!(expected.starts_with(&settled), "{settled:?}");
                assert!(round >= rounds || settled.len() == 2);
            }
            let claimed: Vec<_> = self.claimed.iter().filter(|event| event.account == key(owner).address()).collect();
            assert!([rounds, rounds + 1].contains(&(claimed.len() as u32)));
            assert!(claimed.windows(2).all(|pair| pair[0].cumulative < pair[1].cumulative));
        }
    }

    /// After the last round, when nobody is killed any more.
    async fn check_end(&self, world: &World, deployment: &Deployment, rounds: u32) {
        let mut earned: BTreeMap<u8, U256> = BTreeMap::new();
        for round in 0..rounds {
            let emission = deployment.emission(&world.chain, round + 1).await.unwrap();
            let units = OWNERS.map(|owner| jobs(owner, round).iter().sum::<u64>());
            for (owner, part) in OWNERS.into_iter().zip(units) {
                *earned.entry(owner).or_default() += emission * U256::from(part) / U256::from(units[0] + units[1]);
            }
        }
        let nonces = nonces(&world.chain).await;
        for owner in OWNERS {
            let operator = Operator::new(world.sender(owner), deployment.clone());
            let account = key(owner).address();
            assert_eq!(operator.balance(account).await.unwrap(), earned[&owner]);
            assert!(operator.sender().outbox().pending().unwrap().is_empty());
            assert_eq!(operator.chip(&enclave_id(owner)).await.unwrap().registrations, rounds);
            let last = node(owner, rounds - 1);
            assert_eq!(operator.settled(&last.key()).await.unwrap(), 3);
            // Registration, two heads and a claim, and of the first the proposal: nothing more was sent, nothing in vain.
            let expected = if owner == OWNERS[0] { MAKING + 5 * u64::from(rounds) } else { 4 * u64::from(rounds) };
            assert_eq!(nonces[&account], (0..expected).collect::<Vec<_>>(), "owner {owner}");
        }
        let entry = glacier_chain::contracts::MeasurementPolicy::new(deployment.policy, world.chain.provider());
        assert_eq!(entry.entryOf(MEASUREMENT.0.into()).call().await.unwrap().index, 1);
        deployment.check(&world.chain).await.unwrap();
    }
}

/// The nonces of all transactions, by sender, in the order of the chain.
async fn nonces(chain: &Chain) -> BTreeMap<Address, Vec<u64>> {
    let mut nonces: BTreeMap<Address, Vec<u64>> = BTreeMap::new();
    for number in 0..=chain.head().await.unwrap().number {
        let block = chain.provider().get_block_by_number(number.into()).full().await.unwrap().unwrap();
        for transaction in block.transactions.as_transactions().unwrap_or_default() {
            nonces.entry(transaction.inner.signer()).or_default().push(transaction.nonce());
        }
    }
    nonces
}

/// Random times, told so that they can be had again: `GLACIER_DICE`.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let time = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        let seed = std::env::var("GLACIER_DICE").map_or(time, |seed| seed.parse().unwrap());
        println!("GLACIER_DICE={seed}");
        Self(seed)
    }

    fn millis(&mut self, below: u64) -> Duration {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Duration::from_micros((self.0 >> 33) % (below * 1000))
    }
}
