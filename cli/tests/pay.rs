//! Work from the command line, and what its node is paid for it. *SIMULATED* platform.

mod support;

use alloy::{
    primitives::{Address, U256},
    sol_types::SolCall as _,
};
use glacier::{KeyName, Keystore};
use glacier_chain::{
    Chain, Deployment, Embedded, Genesis, OperatorKey, Outbox, Plan, Sender, Service, contracts::GlacierToken, serve,
};
use glacier_wire::UnixTime;
use serde_json::Value;
use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{SystemTime, UNIX_EPOCH},
};
use support::{Node, Party, model_and_data, text};

const DAY: u64 = 86_400;

fn infer(party: &Party, node: &Node, more: &str) -> Value {
    let (model, folder) = model_and_data();
    let (model, data) = (model.display(), folder.join("data.csv"));
    party.json(&format!("infer --model {model} --input {} {more} {}", data.display(), node.door()), 0)
}

fn ledger(document: &Value) -> (u64, String) {
    (document["chain_id"].as_u64().unwrap(), text(document, "ledger").to_lowercase())
}

#[test]
fn work_from_the_command_line_counts_where_the_node_settles() {
    let node = Node::start();
    let owner = Party::new();
    owner.json("key new", 0);
    let settles = ledger(&node.facts["settles"]);
    assert_eq!(ledger(&owner.json(&format!("node status --node {}", node.url()), 0)["settles"]), settles);

    let answer = infer(&owner, &node, "");
    assert_eq!(ledger(&answer["proof"]["settlement"]), settles);
    node.party.json("chain register", 0);
    let standing = node.party.json("chain checkpoint", 0);
    assert_eq!((&standing["settled_now"], &standing["settled"]), (&1.into(), &1.into()));
    assert_eq!(standing["units"], answer["proof"]["units"]);

    // A proof that counts nowhere, or elsewhere, adds to the log and not to the pay.
    let nowhere = infer(&owner, &node, "--no-settle");
    assert_eq!(nowhere["proof"]["settlement"]["chain_id"], 0);
    let elsewhere = format!("--chain-id 5 --ledger 0x{}", "11".repeat(20));
    assert_eq!(infer(&owner, &node, &elsewhere)["proof"]["settlement"]["chain_id"], 5);
    let standing = node.party.json("chain checkpoint", 0);
    assert_eq!((&standing["settled"], &standing["units"]), (&3.into(), &answer["proof"]["units"]));
    // The day is not over.
    assert_eq!(node.party.json("chain claim", 1)["error"]["code"], "chain");

    // A job that is written down names the same; half a ledger is refused.
    let digest = "ab".repeat(32);
    let propose = |more: &str, status| {
        owner.json(&format!("job propose --data {digest} --model {digest} {more} {}", node.door()), status)
    };
    assert_eq!(ledger(&propose("", 0)), settles);
    assert_eq!(propose("--chain-id 5 -o other.json", 2)["error"]["code"], "usage");
}

/// A network on a chain of this test's own, whose clock it moves, deployed by the operator of the node that joins it.
struct World {
    node: Node,
    payer: Party,
    ahead: Arc<AtomicU64>,
    sender: Sender,
    deployment: Deployment,
    _service: Service,
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn key(home: &Path) -> OperatorKey {
    let key = Keystore::open(home).unwrap().load_or_create(&KeyName::default_key()).unwrap();
    OperatorKey::from_bytes(&key.identity().expose_secret()).unwrap()
}

impl World {
    async fn new() -> Self {
        support::need_programs();
        let (operator, payer) = (Party::new(), Party::new());
        let home = operator.path("home");
        let (key, payers) = (key(&home), key(&payer.path("home")).address());
        let ahead = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&ahead);
        let clock = Arc::new(move || now() + clock.load(Relaxed));
        let genesis = Genesis::funding([key.address(), payers]);
        let embedded = Embedded::open_with_clock(&operator.path("chain"), &genesis, clock).unwrap();
        let service = serve(embedded.clone(), "127.0.0.1:0".parse().unwrap(), Vec::new()).await.unwrap();
        let sender = Sender::new(Chain::embedded(embedded), Outbox::open(&operator.path("outbox"), key).unwrap());
        let chip = glacier_simulator::Home::open(&home.join("node").join("chip"), UnixTime(now())).unwrap();
        let plan = Plan::simulated(chip.vendor.root_der().to_vec(), sender.address(), now() - now() % DAY);
        let deployment = Deployment::deploy(&sender, &plan).await.unwrap();
        let code = glacier_simulator::measure_file(&support::programs().join("glacier-enclave")).unwrap();
        deployment.announce(&sender, code.0, 3).await.unwrap();
        deployment.allow_proposing(&sender, sender.address()).await.unwrap();
        drop(chip);
        for party in [&operator, &payer] {
            fs::create_dir(party.path("network")).unwrap();
            fs::write(party.path("network/deployment.json"), serde_json::to_vec(&deployment).unwrap()).unwrap();
            // As a node's own chain leaves it: nobody needs to name the chain, nor wait for blocks that do not come.
            fs::write(party.path("network/rpc"), format!("http://{}\n", service.address())).unwrap();
        }
        let config = format!("home = '{}'\n[chain]\nclaim = false\n", home.join("node").display());
        fs::write(operator.path("node.toml"), config).unwrap();
        let run = format!(
            "--config node.toml --rpc http://{} --deployment network/deployment.json --confirmations 1",
            service.address()
        );
        let node = tokio::task::block_in_place(|| Node::of(operator, &run));
        Self { node, payer, ahead, sender, deployment, _service: service }
    }

    fn pass(&self, seconds: u64) {
        self.ahead.fetch_add(seconds, Relaxed);
    }

    /// The operator's, beside the chain that this process serves.
    fn operator(&self, args: &str, status: i32) -> Value {
        tokio::task::block_in_place(|| self.node.party.json(args, status))
    }

    fn payer(&self, args: &str, status: i32) -> Value {
        tokio::task::block_in_place(|| self.payer.json(args, status))
    }
}

fn tokens(document: &Value, member: &str) -> U256 {
    text(document, member).parse().unwrap()
}

fn whole(amount: u64) -> U256 {
    U256::from(amount) * U256::from(10).pow(U256::from(18))
}

const NETWORK: &str = "--deployment network/deployment.json";

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_paid_for_its_work_and_by_those_who_asked_for_it() {
    let world = World::new().await;
    tokio::task::block_in_place(|| infer(&world.payer, &world.node, ""));
    world.operator("chain register", 0);
    assert_eq!(world.operator("chain checkpoint", 0)["settled_now"], 1);

    // The emission of a day, to the only one who worked in it.
    world.pass(DAY);
    let claimed = world.operator("chain claim", 0);
    let earned = tokens(&claimed, "received");
    assert_eq!((earned, tokens(&claimed, "balance")), (whole(50_000), whole(50_000)));
    assert_eq!(world.operator("chain claim", 1)["error"]["message"], "there is nothing to claim");

    // A bond: said twice it is there once.
    for _ in 0..2 {
        let bonded = world.operator("chain bond 100", 0);
        assert_eq!(tokens(&bonded["bond"], "active"), whole(100));
        assert_eq!(tokens(&bonded, "balance"), whole(49_900));
    }
    let freed = world.operator("chain unbond --keep 40.5", 0);
    assert_eq!(tokens(&freed["bond"], "active"), whole(405) / U256::from(10));
    assert_eq!(tokens(&freed["bond"], "unbonding"), whole(595) / U256::from(10));
    assert_eq!(tokens(&world.operator("chain withdraw", 0), "received"), whole(595) / U256::from(10));
    assert_eq!(tokens(&world.operator("chain withdraw", 0), "received"), U256::ZERO);
    assert_eq!(world.operator("chain bond a-lot", 2)["error"]["code"], "usage");
    assert_eq!(world.operator("chain bond 60000", 1)["error"]["code"], "chain");

    // Somebody pays for answers: the node gets the price of each, once.
    let (door, (model, folder)) = (world.node.door(), model_and_data());
    let served = world.payer(&format!("serve --model {} --price 1000 --for 10m {door}", model.display()), 0);
    let name = text(&served, "deployment").to_owned();
    let deposit = format!("chain deposit {name} --price 1000 --runs 3 {NETWORK}");
    assert!(text(&world.payer(&deposit, 2)["error"], "message").contains("the account has 0.0"));
    let payer = key(&world.payer.path("home")).address();
    let transfer = GlacierToken::transferCall { to: payer, value: U256::from(5000) };
    world.sender.call("gift", world.deployment.token, transfer.abi_encode()).await.unwrap();
    for _ in 0..2 {
        let held = world.payer(&deposit, 0);
        assert_eq!((&held["runs"], &held["price"]), (&3.into(), &1000.into()));
        assert_eq!(balance(&world, payer).await, U256::from(2000));
    }
    for _ in 0..2 {
        world.payer(&format!("infer --model {name} --input {} {door}", folder.join("data.csv").display()), 0);
    }
    // An answer does not wait until its proof is with the host.
    let mut received = U256::ZERO;
    while received < U256::from(2000) {
        received += tokens(&world.operator("chain withdraw", 0), "received");
    }
    assert_eq!(tokens(&world.operator("chain withdraw", 0), "received"), U256::ZERO);
    assert_eq!(received, U256::from(2000));

    // The rest goes back, when its time is over.
    let refund = format!("chain refund {name} {NETWORK}");
    assert_eq!(world.payer(&refund, 1)["error"]["code"], "not-refunded");
    world.pass(8 * DAY);
    assert_eq!(tokens(&world.payer(&refund, 0), "received"), U256::from(1000));
    assert_eq!(balance(&world, payer).await, U256::from(3000));
    assert_eq!(world.payer(&refund, 1)["error"]["code"], "no-deposit");

    // A job that is written down says itself what it pays, and a job that pays nothing takes no deposit.
    let digest = "cd".repeat(32);
    for (price, status) in [(7, 0), (0, 2)] {
        let file = format!("job{price}.json");
        let propose = format!("job propose --data {digest} --model {digest} --price {price} -o {file} {door}");
        world.payer(&propose, 0);
        let deposited = world.payer(&format!("chain deposit {file} {NETWORK}"), status);
        assert_eq!(deposited.get("price"), (price > 0).then_some(&Value::from(price)));
    }

    // Who deployed the network names its watchmen, and nobody else does.
    let grant = format!("chain grant-watchman {payer} {NETWORK}");
    assert_eq!(world.payer(&grant, 2)["error"]["code"], "chain");
    assert_eq!(world.operator(&grant, 0)["granted"], true);
    assert_eq!(world.operator(&grant, 0)["granted"], false);
}

async fn balance(world: &World, account: Address) -> U256 {
    let token = GlacierToken::new(world.deployment.token, world.sender.chain().provider());
    token.balanceOf(account).call().await.unwrap()
}
