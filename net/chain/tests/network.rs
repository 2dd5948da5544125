//! A whole network: real contracts, quotes of simulated chips, and an operator.

mod common;

use std::time::Instant;

use alloy::{
    primitives::{
        Address, B256, U256,
        aliases::{U40, U88},
    },
    sol_types::SolCall as _,
};
use common::node::{DAY, MANIFEST, MEASUREMENT, Maker, Node, START, World, network};
use glacier_chain::{
    DeployError, Deployment, Operator, OperatorError, Plan, Realm,
    contracts::{GlacierToken, JobEscrow, RewardVault},
};
use glacier_proof::{Checkpoint, Registration};
use glacier_simulator::{Body, Recipe};
use glacier_wire::{Measurement, UnixTime};

#[tokio::test]
async fn a_network_on_the_embedded_chain() {
    whole(World::embedded()).await;
}

#[tokio::test]
async fn a_network_on_a_chain_by_json_rpc() {
    let Some(world) = World::anvil().await else { return };
    whole(world).await;
}

/// From nothing to money, and all that lies between.
async fn whole(world: World) {
    let maker = Maker::new(START);
    let start = Instant::now();
    let sender = world.sender(1);
    let owner = sender.address();
    let operator = network(sender, &maker.plan(owner), &maker.collateral()).await;
    let deployed = start.elapsed();
    let deployment = operator.deployment().clone();
    deployment.check(&world.chain).await.unwrap();
    // All of it is there: nothing is sent twice.
    let head = world.chain.head().await.unwrap().number;
    let again = network(operator.sender().clone(), &maker.plan(owner), &maker.collateral()).await;
    assert_eq!((again.deployment(), world.chain.head().await.unwrap().number), (&deployment, head));

    let mut node = maker.node(1, 11);
    let start = Instant::now();
    node.register(&operator).await;
    println!("deployed in {deployed:.2?}, registered in {:.2?}", start.elapsed());
    let chip = operator.chip(&node.id).await.unwrap();
    assert_eq!((chip.owner, chip.registrations, chip.barred), (owner, 1, false));
    let life = operator.life(&node.key()).await.unwrap();
    assert!(life.earns && life.until > START + 29 * DAY);

    // A log of several proofs, by heads.
    for units in [100, 200, 300] {
        node.work(&deployment, units, Address::ZERO, 0);
    }
    let first = node.head(&deployment);
    operator.settle(&first).await.unwrap().unwrap();
    assert_eq!(operator.settle(&first).await.unwrap(), None);
    for _ in 0..5 {
        node.work(&deployment, 50, Address::ZERO, 0);
    }
    operator.settle(&node.head(&deployment)).await.unwrap().unwrap();
    assert_eq!(operator.settled(&node.key()).await.unwrap(), 8);

    // The epoch is not over: nothing is proposed or claimed.
    assert_eq!(operator.propose().await.unwrap(), None);
    assert!(matches!(operator.claim().await, Err(OperatorError::NothingToClaim)));
    world.at(START + DAY).await;
    assert_eq!(operator.propose().await.unwrap(), Some(1));
    assert_eq!(operator.propose().await.unwrap(), None);
    let emission = deployment.emission(&world.chain, 1).await.unwrap();
    assert_eq!(operator.claim().await.unwrap(), emission);
    assert_eq!(operator.balance(owner).await.unwrap(), emission);
    assert!(matches!(operator.claim().await, Err(OperatorError::NothingToClaim)));

    // Restarted: another key, and within a day the former one's head still counts.
    node.work(&deployment, 7, Address::ZERO, 0);
    let late = node.head(&deployment);
    node.work(&deployment, 7, Address::ZERO, 0);
    let too_late = node.head(&deployment);
    let former = node.key();
    let mut node = node.restarted(12);
    node.register(&operator).await;
    assert_eq!(operator.chip(&node.id).await.unwrap().registrations, 2);
    operator.settle(&late).await.unwrap().unwrap();
    assert_eq!(operator.settled(&former).await.unwrap(), 9);
    world.at(START + 2 * DAY + 3600).await;
    refused(operator.settle(&too_late).await, "Refused(address,uint64,uint8)");
    assert!(!operator.life(&former).await.unwrap().earns);
    assert!(operator.life(&node.key()).await.unwrap().earns);

    // Renewed, by newer collateral.
    let until = operator.life(&node.key()).await.unwrap().until;
    let newer = Recipe::new(UnixTime(START + DAY));
    assert!(operator.bring(&maker.collateral_by(&newer)).await.unwrap() > 0);
    let number = u32::try_from(until).unwrap();
    let quote = node.quote(&node.registration(&deployment, owner, number));
    operator.renew(&node.key(), until, &quote).await.unwrap();
    assert!(operator.life(&node.key()).await.unwrap().until > until);

    // A paid job, twice for the same price.
    for _ in 0..2 {
        deposit(&operator, 1_000, START + 20 * DAY).await;
        let proof = node.work(&deployment, 5, owner, 1_000);
        assert!(operator.release(&proof, owner).await.unwrap());
        let before = operator.balance(owner).await.unwrap();
        assert_eq!(operator.withdraw().await.unwrap(), Some(U256::from(1_000)));
        assert_eq!(operator.balance(owner).await.unwrap(), before + U256::from(1_000));
        assert_eq!(operator.withdraw().await.unwrap(), None);
    }
    assert!(operator.sender().outbox().pending().unwrap().is_empty());
}

/// On the embedded chain, with a node that is not registered.
async fn rig() -> (World, Maker, Operator, Node) {
    let (world, maker) = (World::embedded(), Maker::new(START));
    let sender = world.sender(1);
    let plan = maker.plan(sender.address());
    let operator = network(sender, &plan, &maker.collateral()).await;
    let node = maker.node(1, 11);
    (world, maker, operator, node)
}

#[track_caller]
fn refused<T: std::fmt::Debug>(found: Result<T, OperatorError>, why: &str) {
    let error = found.unwrap_err().to_string();
    assert!(error.contains(why), "{error}, and not {why}");
}

/// A registration of the node that was changed after all else was right.
async fn register_wrongly(change: impl FnOnce(&mut Registration), why: &str) {
    let (_world, _maker, operator, node) = rig().await;
    let mut registration = node.registration(operator.deployment(), operator.sender().address(), 0);
    change(&mut registration);
    let quote = node.quote(&registration);
    refused(operator.register(&node.id, &node.key(), 0, &quote).await, why);
    // Refused, and not stuck: the right one passes under the same name.
    node.register(&operator).await;
}

#[tokio::test]
async fn a_quote_for_another_number_is_refused() {
    register_wrongly(|registration| registration.number = 1, "ReportData(bytes32,bytes32)").await;
}

#[tokio::test]
async fn a_quote_for_another_owner_is_refused() {
    let change = |registration: &mut Registration| registration.owner.0[0] ^= 1;
    register_wrongly(change, "ReportData(bytes32,bytes32)").await;
}

#[tokio::test]
async fn a_quote_for_another_registry_is_refused() {
    let change = |registration: &mut Registration| registration.registry.0[0] ^= 1;
    register_wrongly(change, "ReportData(bytes32,bytes32)").await;
}

#[tokio::test]
async fn a_quote_with_a_changed_bit_is_refused() {
    let (_world, _maker, operator, node) = rig().await;
    let mut quote = node.quote(&node.registration(operator.deployment(), operator.sender().address(), 0));
    // Of the measurement: the signature is of another.
    quote[48 + 64] ^= 1;
    let found = operator.register(&node.id, &node.key(), 0, &quote).await;
    assert!(matches!(found, Err(OperatorError::Send(glacier_chain::SendError::Refused { .. }))), "{found:?}");
    assert_eq!(operator.chip(&node.id).await.unwrap().registrations, 0);
}

#[tokio::test]
async fn a_quote_under_stale_collateral_is_refused() {
    let (world, maker, operator, node) = rig().await;
    world.at(START + 31 * DAY).await;
    let quote = node.quote(&node.registration(operator.deployment(), operator.sender().address(), 0));
    refused(operator.register(&node.id, &node.key(), 0, &quote).await, "CollateralOver(uint256)");
    // Nor is it brought once more.
    assert_eq!(operator.bring(&maker.collateral()).await.unwrap(), 0);
    operator.bring(&maker.collateral_by(&Recipe::new(UnixTime(START + 31 * DAY)))).await.unwrap();
    node.register(&operator).await;
}

#[tokio::test]
async fn code_that_was_not_announced_is_refused() {
    let (_world, _maker, operator, node) = rig().await;
    let registration = node.registration(operator.deployment(), operator.sender().address(), 0);
    let body = Body::new(Measurement([8; 32]), registration.report_data());
    let quote = node.chip.as_ref().unwrap().quote(&body).unwrap();
    refused(operator.register(&node.id, &node.key(), 0, &quote).await, "UnknownMeasurement(bytes32)");
}

/// A network where the node has settled two proofs, and a head of three that was changed before it was signed.
async fn settle_wrongly(change: impl FnOnce(&mut Checkpoint), secret: [u8; 32], why: &str) {
    let (_world, _maker, operator, mut node) = rig().await;
    node.register(&operator).await;
    let deployment = operator.deployment();
    node.work(deployment, 5, Address::ZERO, 0);
    node.work(deployment, 5, Address::ZERO, 0);
    operator.settle(&node.head(deployment)).await.unwrap().unwrap();
    node.work(deployment, 5, Address::ZERO, 0);
    let mut head = node.checkpoint(deployment);
    change(&mut head);
    refused(operator.settle(&head.sign(&secret).unwrap()).await, why);
    operator.settle(&node.head(deployment)).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_head_for_another_ledger_is_refused() {
    settle_wrongly(|head| head.ledger.0[0] ^= 1, [11; 32], "the checkpoint is not this network's").await;
}

#[tokio::test]
async fn a_head_for_another_chain_is_refused() {
    settle_wrongly(|head| head.chain_id += 1, [11; 32], "the checkpoint is not this network's").await;
}

#[tokio::test]
async fn a_head_that_another_key_signed_is_refused() {
    settle_wrongly(|_| (), [12; 32], "the checkpoint is not this network's").await;
}

#[tokio::test]
async fn a_head_for_another_chip_is_refused() {
    settle_wrongly(|head| head.enclave_id.0[0] ^= 1, [11; 32], "Refused(address,uint64,uint8)").await;
}

#[tokio::test]
async fn a_head_of_a_key_that_is_not_registered_is_refused() {
    let (_world, _maker, operator, mut node) = rig().await;
    node.work(operator.deployment(), 5, Address::ZERO, 0);
    refused(operator.settle(&node.head(operator.deployment())).await, "Refused(address,uint64,uint8)");
}

#[tokio::test]
async fn a_smaller_head_is_settled_already() {
    let (world, _maker, operator, mut node) = rig().await;
    node.register(&operator).await;
    node.work(operator.deployment(), 5, Address::ZERO, 0);
    let small = node.head(operator.deployment());
    node.work(operator.deployment(), 5, Address::ZERO, 0);
    operator.settle(&node.head(operator.deployment())).await.unwrap().unwrap();
    let head = world.chain.head().await.unwrap();
    assert_eq!(operator.settle(&small).await.unwrap(), None);
    assert_eq!((world.chain.head().await.unwrap(), operator.settled(&node.key()).await.unwrap()), (head, 2));
}

#[tokio::test]
async fn a_false_root_is_told_and_corrected() {
    let (world, _maker, operator, mut node) = rig().await;
    node.register(&operator).await;
    node.work(operator.deployment(), 5, Address::ZERO, 0);
    operator.settle(&node.head(operator.deployment())).await.unwrap().unwrap();
    world.at(START + DAY).await;
    // What the schedule allows, to somebody else.
    let total = operator.deployment().emission(&world.chain, 1).await.unwrap();
    let call = RewardVault::proposeCall { epoch: 1, root: B256::repeat_byte(5), total: U88::from(total) };
    operator.sender().call("false", operator.deployment().vault, call.abi_encode()).await.unwrap();
    let found = operator.claim().await;
    assert!(matches!(found, Err(OperatorError::FalseRoot { found, .. }) if found == B256::repeat_byte(5)), "{found:?}");
    // Its total is the right one: the root is what differs.
    world.at(START + 2 * DAY).await;
    assert_eq!(operator.propose().await.unwrap(), Some(2));
    assert_eq!(operator.claim().await.unwrap(), total);
}

#[tokio::test]
async fn a_vetoed_root_is_proposed_again() {
    let (world, maker) = (World::embedded(), Maker::new(START));
    let sender = world.sender(1);
    let owner = sender.address();
    let plan = Plan { challenge: 3600, ..maker.plan(owner) };
    let operator = network(sender, &plan, &maker.collateral()).await;
    let deployment = operator.deployment().clone();
    let mut node = maker.node(1, 11);
    node.register(&operator).await;
    node.work(&deployment, 5, Address::ZERO, 0);
    operator.settle(&node.head(&deployment)).await.unwrap().unwrap();
    world.at(START + DAY).await;
    assert_eq!(operator.propose().await.unwrap(), Some(1));
    let vault = RewardVault::new(deployment.vault, world.chain.provider());
    let role = vault.WATCHMAN_ROLE().call().await.unwrap();
    let call = RewardVault::grantRoleCall { role, account: owner };
    operator.sender().call("watch", deployment.vault, call.abi_encode()).await.unwrap();
    let call = RewardVault::vetoCall { epoch: 1 };
    operator.sender().call("veto", deployment.vault, call.abi_encode()).await.unwrap();
    assert_eq!(vault.pending().call().await.unwrap().epoch, 0);
    assert_eq!(operator.propose().await.unwrap(), Some(1));
    assert_eq!(vault.pending().call().await.unwrap().epoch, 1);
    // It can still be vetoed: nobody is paid by it.
    assert!(matches!(operator.claim().await, Err(OperatorError::NothingToClaim)));
    world.at(START + DAY + 3700).await;
    assert_eq!(operator.claim().await.unwrap(), deployment.emission(&world.chain, 1).await.unwrap());
}

#[tokio::test]
async fn a_new_list_of_the_root_prolongs_what_depends_on_it() {
    let (world, maker) = (World::embedded(), Maker::new(START));
    let sender = world.sender(1);
    let plan = maker.plan(sender.address());
    let good = maker.collateral();
    let with_root_list_of = |recipe: Recipe| {
        let mut mixed: serde_json::Value = serde_json::from_slice(&good).unwrap();
        let other: serde_json::Value = serde_json::from_slice(&maker.collateral_by(&recipe)).unwrap();
        mixed["root_ca_crl"] = other["root_ca_crl"].clone();
        mixed.to_string().into_bytes()
    };
    let short = Recipe { next_update: UnixTime(START + 10 * DAY), ..Recipe::new(UnixTime(START - 5)) };
    let operator = network(sender, &plan, &with_root_list_of(short)).await;
    let node = maker.node(1, 11);
    node.register(&operator).await;
    assert!(operator.life(&node.key()).await.unwrap().until <= START + 10 * DAY + 1);
    // The same list of the CA and the same documents: each is sent again.
    assert_eq!(operator.bring(&good).await.unwrap(), 4);
    assert_eq!(operator.bring(&good).await.unwrap(), 0);
    let node = node.restarted(12);
    node.register(&operator).await;
    assert!(operator.life(&node.key()).await.unwrap().until > START + 29 * DAY);
}

#[tokio::test]
async fn terms_that_changed_are_announced_again() {
    let (_world, _maker, operator, _node) = rig().await;
    let (sender, deployment) = (operator.sender(), operator.deployment());
    let block = async || sender.chain().head().await.unwrap().number;
    let before = block().await;
    deployment.announce(sender, MEASUREMENT.0, 0).await.unwrap();
    assert_eq!(block().await, before);
    for (floor, sent) in [(3, 1), (0, 2), (3, 3)] {
        deployment.announce(sender, MEASUREMENT.0, floor).await.unwrap();
        assert_eq!(block().await, before + sent);
    }
}

#[tokio::test]
async fn an_outbox_makes_two_networks_that_are_not_mixed_up() {
    let (world, maker, operator, mut node) = rig().await;
    let plan = Plan { epoch: 3600, ..maker.plan(operator.sender().address()) };
    let other = network(operator.sender().clone(), &plan, &maker.collateral()).await;
    other.deployment().check(&world.chain).await.unwrap();
    for network in [&operator, &other] {
        node.register(network).await;
        assert_eq!(network.chip(&node.id).await.unwrap().registrations, 1);
        node = node.restarted(11);
        node.work(network.deployment(), 5, Address::ZERO, 0);
        network.settle(&node.head(network.deployment())).await.unwrap().unwrap();
        assert_eq!(network.settled(&node.key()).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn a_deployment_that_names_another_contract_is_refused() {
    let (world, maker, operator, _node) = rig().await;
    let plan = Plan { epoch: 3600, ..maker.plan(operator.sender().address()) };
    let other = Deployment::deploy(operator.sender(), &plan).await.unwrap();
    let good = operator.deployment();
    type Change = fn(&mut Deployment, &Deployment);
    let changes: [Change; 10] = [
        |one, other| one.collateral = other.collateral,
        |one, other| one.verifier = other.verifier,
        |one, other| one.router = other.router,
        |one, other| one.policy = other.policy,
        |one, other| one.registry = other.registry,
        |one, other| one.ledger = other.ledger,
        |one, other| one.vault = other.vault,
        |one, other| one.token = other.token,
        |one, other| one.escrow = other.escrow,
        |one, other| one.anchor = other.anchor,
    ];
    for change in changes {
        let mut mixed = good.clone();
        change(&mut mixed, &other);
        let found = mixed.check(&world.chain).await;
        assert!(matches!(found, Err(DeployError::Other(_))), "{found:?}");
    }
    let other = Deployment { realm: Realm::Production, ..good.clone() };
    assert!(matches!(other.check(&world.chain).await, Err(DeployError::Other(_))));
    let other = Deployment { chain_id: 5, ..good.clone() };
    assert!(matches!(other.check(&world.chain).await, Err(DeployError::Chain(_))));
    let nobody = Deployment { escrow: Address::repeat_byte(9), ..good.clone() };
    assert!(nobody.check(&world.chain).await.is_err());
}

/// A chip of the second owner in the network of the first.
async fn neighbour(world: &World, maker: &Maker, operator: &Operator) -> (Operator, Node) {
    let other = Operator::new(world.sender(2), operator.deployment().clone());
    let node = maker.node(2, 21);
    node.register(&other).await;
    (other, node)
}

#[tokio::test]
async fn units_that_fall_and_rise_again_are_not_counted_twice() {
    let (world, maker, operator, mut node) = rig().await;
    let (other, mut honest) = neighbour(&world, &maker, &operator).await;
    let deployment = operator.deployment();
    node.register(&operator).await;
    for units in [100, 50, 100] {
        node.work(deployment, 0, Address::ZERO, 0);
        let head = Checkpoint { units, ..node.checkpoint(deployment) };
        operator.settle(&head.sign(&node.secret).unwrap()).await.unwrap().unwrap();
    }
    honest.work(deployment, 100, Address::ZERO, 0);
    other.settle(&honest.head(deployment)).await.unwrap().unwrap();
    world.at(START + DAY).await;
    let (_, earnings) = operator.earnings().await.unwrap().unwrap();
    let half = deployment.emission(&world.chain, 1).await.unwrap() / U256::from(2);
    assert_eq!(earnings.of(&operator.sender().address()), half);
    assert_eq!(earnings.of(&other.sender().address()), half);
}

#[tokio::test]
async fn a_root_that_is_proposed_twice_still_pays() {
    let (world, maker, operator, mut node) = rig().await;
    let (other, mut neighbour) = neighbour(&world, &maker, &operator).await;
    let deployment = operator.deployment();
    node.register(&operator).await;
    for (by, node, units) in [(&operator, &mut node, 1), (&other, &mut neighbour, 3)] {
        node.work(deployment, units, Address::ZERO, 0);
        by.settle(&node.head(deployment)).await.unwrap().unwrap();
    }
    world.at(START + DAY).await;
    operator.propose().await.unwrap().unwrap();
    let emission = deployment.emission(&world.chain, 1).await.unwrap();
    assert_eq!(operator.claim().await.unwrap(), emission / U256::from(4));
    // Work of the second epoch that the proposer leaves out.
    node.work(deployment, 1, Address::ZERO, 0);
    operator.settle(&node.head(deployment)).await.unwrap().unwrap();
    world.at(START + 2 * DAY).await;
    let current = RewardVault::new(deployment.vault, world.chain.provider()).current().call().await.unwrap();
    let call = RewardVault::proposeCall { epoch: 2, root: current.root, total: U88::from(current.total) };
    operator.sender().call("again", deployment.vault, call.abi_encode()).await.unwrap();
    assert_eq!(other.claim().await.unwrap(), emission * U256::from(3) / U256::from(4));
}

async fn deposit(operator: &Operator, price: u64, expiry: u64) {
    let (sender, network) = (operator.sender(), operator.deployment());
    let head = sender.chain().head().await.unwrap().number;
    let approve = GlacierToken::approveCall { spender: network.escrow, value: U256::from(price) };
    sender.call(&format!("approve/{head}"), network.token, approve.abi_encode()).await.unwrap();
    let deposit = JobEscrow::depositCall {
        manifest: MANIFEST.0.into(),
        payer: sender.address(),
        price,
        runs: 1,
        expiry: U40::from(expiry),
        enclaveId: B256::ZERO,
    };
    sender.call(&format!("deposit/{head}"), network.escrow, deposit.abi_encode()).await.unwrap();
}
