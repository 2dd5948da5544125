//! Once, and not less: through faults, lies, foreign transactions, reorganisations and replacements.

mod common;

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use alloy::{
    network::TransactionBuilder as _,
    primitives::{Address, B256, U256},
    providers::Provider as _,
    rpc::types::TransactionRequest,
    sol_types::{SolCall as _, SolError as _},
};
use common::{
    Anvil, Counter, counter_code, deploy, embedded, key,
    proxy::{Fault, Proxy},
};
use glacier_chain::{
    Chain, ChainError, Intent, Outbox, OutboxError, Outcome,
    outbox::{Contradiction, Settings},
};
use serde_json::{Value, json};

const PAUSE: Duration = Duration::from_millis(2);

fn add(counter: Address, item: u64) -> Intent {
    Intent::call(format!("add/{item}"), counter, Counter::addCall { item: U256::from(item) }.abi_encode())
}

async fn times(chain: &Chain, counter: Address, item: u64) -> u64 {
    Counter::new(counter, chain.provider()).times(U256::from(item)).call().await.unwrap().to()
}

async fn total(chain: &Chain, counter: Address) -> u64 {
    Counter::new(counter, chain.provider()).total().call().await.unwrap().to()
}

fn outbox(folder: &Path) -> Outbox {
    Outbox::open(&folder.join("outbox"), key(1)).unwrap()
}

/// A chain with a counter on it, a faulty way to it, and an outbox that knows only that way.
struct Set {
    _dir: tempfile::TempDir,
    honest: Chain,
    counter: Address,
    proxy: Proxy,
    chain: Chain,
    outbox: Outbox,
}

async fn set() -> Set {
    let dir = tempfile::tempdir().unwrap();
    let embedded = embedded(dir.path());
    let proxy = Proxy::before_embedded(embedded.clone()).await;
    let honest = Chain::embedded(embedded);
    let counter = deploy(&honest.signing(key(2).wallet())).await;
    let chain = Chain::connect(&proxy.remote(1)).await.unwrap();
    let outbox = outbox(dir.path());
    Set { _dir: dir, honest, counter, proxy, chain, outbox }
}

#[tokio::test]
async fn an_intent_happens_once_however_often_it_is_submitted() {
    let set = set().await;
    let id = set.outbox.submit(add(set.counter, 1)).unwrap();
    assert_eq!(set.outbox.submit(add(set.counter, 1)).unwrap(), id);
    let outcome = set.outbox.settle(&set.chain, id, PAUSE).await.unwrap();
    let Outcome::Mined(mined) = &outcome else { panic!("{outcome:?}") };
    let receipt = set.honest.provider().get_transaction_receipt(mined.transaction).await.unwrap().unwrap();
    assert_eq!((receipt.block_hash, receipt.gas_used), (Some(mined.block_hash), mined.gas_used));
    assert_eq!(set.outbox.submit(add(set.counter, 1)).unwrap(), id);
    assert_eq!(set.outbox.find("add/1").unwrap(), Some(id));
    assert_eq!(set.outbox.wait(id).await.unwrap(), outcome);
    set.outbox.drive(&set.chain).await.unwrap();
    assert_eq!(times(&set.honest, set.counter, 1).await, 1);
    assert_eq!(set.outbox.pending().unwrap(), []);

    let other = Intent { value: U256::from(1), ..add(set.counter, 1) };
    assert!(matches!(set.outbox.submit(other), Err(OutboxError::KeyReused(key)) if key == "add/1"));
    for key in ["", "a b", "outbox/gap/1", &"x".repeat(257)] {
        let intent = Intent { key: key.into(), ..add(set.counter, 1) };
        assert!(matches!(set.outbox.submit(intent), Err(OutboxError::Key)), "{key}");
    }
}

#[tokio::test]
async fn a_contract_is_deployed_once_and_its_address_told() {
    let set = set().await;
    let id = set.outbox.submit(Intent::deploy("deploy/counter", counter_code())).unwrap();
    let outcome = set.outbox.settle(&set.chain, id, PAUSE).await.unwrap();
    let Outcome::Mined(mined) = outcome else { panic!("{outcome:?}") };
    let id = set.outbox.submit(add(mined.contract.unwrap(), 5)).unwrap();
    set.outbox.settle(&set.chain, id, PAUSE).await.unwrap();
    assert_eq!(times(&set.honest, mined.contract.unwrap(), 5).await, 1);
}

#[tokio::test]
async fn what_reverts_is_told_with_its_data_and_never_as_done() {
    let set = set().await;
    let refuse = Counter::refuseCall { item: U256::from(4) }.abi_encode();
    let data = Counter::Refused { item: U256::from(4) }.abi_encode();
    // By its estimate: nothing is sent.
    let id = set.outbox.submit(Intent::call("refuse/1", set.counter, refuse.clone())).unwrap();
    let outcome = set.outbox.settle(&set.chain, id, PAUSE).await.unwrap();
    assert!(matches!(&outcome, Outcome::Refused { data: found, .. } if **found == data), "{outcome:?}");
    assert_eq!(set.honest.provider().get_transaction_count(key(1).address()).await.unwrap(), 0);
    // With a limit of its own it is sent without one, and fails in its block.
    let intent = Intent { gas: Some(100_000), ..Intent::call("refuse/2", set.counter, refuse) };
    let id = set.outbox.submit(intent).unwrap();
    let outcome = set.outbox.settle(&set.chain, id, PAUSE).await.unwrap();
    assert!(matches!(&outcome, Outcome::Reverted { data: found, reason: None, .. } if **found == data), "{outcome:?}");
    let words = Counter::refuseInWordsCall {}.abi_encode();
    let intent = Intent { gas: Some(100_000), ..Intent::call("refuse/3", set.counter, words) };
    let id = set.outbox.submit(intent).unwrap();
    let outcome = set.outbox.settle(&set.chain, id, PAUSE).await.unwrap();
    assert!(
        matches!(&outcome, Outcome::Reverted { reason: Some(reason), .. } if reason.contains("not today")),
        "{outcome:?}"
    );
    // The nonces of failed ones are used, and the next intent gets the next.
    let id = set.outbox.submit(add(set.counter, 1)).unwrap();
    assert!(matches!(set.outbox.settle(&set.chain, id, PAUSE).await.unwrap(), Outcome::Mined(_)));
}

#[tokio::test]
async fn whatever_is_lost_on_the_way_nothing_is_lost_or_doubled() {
    let set = set().await;
    faults(&set.proxy, &set.chain, &set.honest, &set.outbox, set.counter).await;
    if let Some(anvil) = Anvil::start(&[]).await {
        let dir = tempfile::tempdir().unwrap();
        let honest = Chain::connect(&anvil.remote()).await.unwrap();
        let counter = deploy(&honest.signing(key(2).wallet())).await;
        let proxy = Proxy::before(&anvil.remote()).await;
        let chain = Chain::connect(&proxy.remote(1)).await.unwrap();
        faults(&proxy, &chain, &honest, &outbox(dir.path()), counter).await;
    }
}

async fn faults(proxy: &Proxy, chain: &Chain, honest: &Chain, outbox: &Outbox, counter: Address) {
    const ITEMS: u64 = 40;
    for item in 0..ITEMS {
        outbox.submit(add(counter, item)).unwrap();
    }
    let mut state = 7u64;
    proxy.rule(move |method, _| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let send = method == "eth_sendRawTransaction";
        match state >> 60 {
            0 => Fault::Before,
            1 => Fault::After,
            2 | 3 if send => Fault::After,
            4 if send => Fault::Error(-32000, "internal trouble"),
            5 | 6 if send => Fault::Twice,
            7 if !send => Fault::Twice,
            8 if method == "eth_getTransactionReceipt" => Fault::Edit(Box::new(|answer| *answer = Value::Null)),
            _ => Fault::None,
        }
    });
    let mut steps = 0;
    while !outbox.pending().unwrap().is_empty() {
        match outbox.drive(chain).await {
            // A receipt that was withheld once is told as what it is, and asked for again.
            Ok(_)
            | Err(
                OutboxError::Chain(ChainError::Rpc(_)) | OutboxError::Contradiction(Contradiction::Withheld { .. }),
            ) => {}
            Err(other) => panic!("{other}"),
        }
        steps += 1;
        assert!(steps < 5_000, "{:?}", outbox.pending());
    }
    for item in 0..ITEMS {
        assert_eq!(times(honest, counter, item).await, 1, "item {item}");
        let outcome = outbox.outcome(outbox.find(&format!("add/{item}")).unwrap().unwrap()).unwrap().unwrap();
        assert!(matches!(outcome, Outcome::Mined(_)), "{outcome:?}");
    }
    assert_eq!(total(honest, counter).await, ITEMS);
    assert_eq!(honest.provider().get_transaction_count(key(1).address()).await.unwrap(), ITEMS);
}

/// Lets one intent through a service that lies by `rule`, until the lie shows; then the service is honest.
async fn lie(rule: impl FnMut(&str, &Value) -> Fault + Send + 'static) -> OutboxError {
    let set = set().await;
    // Something final from before.
    let first = set.outbox.submit(add(set.counter, 1)).unwrap();
    set.outbox.settle(&set.chain, first, PAUSE).await.unwrap();
    let id = set.outbox.submit(add(set.counter, 2)).unwrap();
    set.proxy.rule(rule);
    let mut found = None;
    for _ in 0..20 {
        match set.outbox.drive(&set.chain).await {
            Ok(_) => assert_eq!(set.outbox.outcome(id).unwrap(), None, "a lie was believed"),
            Err(error) => {
                found = Some(error);
                break;
            }
        }
    }
    assert_eq!(set.outbox.outcome(id).unwrap(), None);
    set.proxy.honest();
    assert!(matches!(set.outbox.settle(&set.chain, id, PAUSE).await.unwrap(), Outcome::Mined(_)));
    assert_eq!(times(&set.honest, set.counter, 2).await, 1);
    assert_eq!(total(&set.honest, set.counter).await, 2);
    found.expect("no lie was found")
}

fn edit(
    method: &'static str,
    by: impl Fn(&mut Value) + Copy + Send + 'static,
) -> impl FnMut(&str, &Value) -> Fault + Send + 'static {
    move |asked, _| if asked == method { Fault::Edit(Box::new(by)) } else { Fault::None }
}

fn edit_receipt(by: fn(&mut Value)) -> impl FnMut(&str, &Value) -> Fault + Send + 'static {
    edit("eth_getTransactionReceipt", move |answer| {
        if !answer.is_null() {
            by(answer);
        }
    })
}

#[tokio::test]
async fn every_lie_has_a_name_and_is_no_success() {
    use Contradiction as C;
    use OutboxError::Contradiction as Lie;

    let error = lie(edit("eth_chainId", |answer| *answer = json!("0x1"))).await;
    assert!(matches!(error, OutboxError::Chain(ChainError::ChainId { found: 1, .. })), "{error}");
    let error = lie(edit("eth_sendRawTransaction", |answer| *answer = json!(B256::repeat_byte(1)))).await;
    assert!(matches!(error, Lie(C::Hash { .. })), "{error}");
    let error = lie(edit_receipt(|answer| answer["transactionHash"] = json!(B256::repeat_byte(1)))).await;
    assert!(matches!(error, Lie(C::Receipt { .. })), "{error}");
    let error = lie(edit_receipt(|answer| answer["from"] = json!(Address::repeat_byte(1)))).await;
    assert!(matches!(error, Lie(C::Receipt { .. })), "{error}");
    let error = lie(edit_receipt(|answer| answer["to"] = json!(Address::repeat_byte(1)))).await;
    assert!(matches!(error, Lie(C::Receipt { .. })), "{error}");
    let error = lie(edit("eth_getTransactionCount", |answer| *answer = json!("0x0"))).await;
    assert!(matches!(error, Lie(C::NonceWentBack { last: 1, now: 0 })), "{error}");
    let error = lie(edit("eth_getTransactionCount", |answer| *answer = json!("0x1"))).await;
    assert!(matches!(error, Lie(C::NonceUnused { nonce: 1, .. })), "{error}");
    let error = lie(edit("eth_getTransactionReceipt", |answer| *answer = Value::Null)).await;
    assert!(matches!(error, Lie(C::Withheld { .. })), "{error}");
    // Blocks without the transaction, with and without the receipt.
    let error = lie(edit("eth_getBlockByNumber", |answer| answer["transactions"] = json!([]))).await;
    assert!(matches!(error, Lie(C::NotInBlock { .. })), "{error}");
    let error = lie(|method, _| match method {
        "eth_getBlockByNumber" => Fault::Edit(Box::new(|answer| answer["transactions"] = json!([]))),
        "eth_getTransactionReceipt" => Fault::Edit(Box::new(|answer| *answer = Value::Null)),
        _ => Fault::None,
    })
    .await;
    assert!(matches!(error, Lie(C::NonceUsedByNone { nonce: 1 })), "{error}");
    let error = lie(edit("eth_getBlockByNumber", |answer| answer["number"] = json!("0x0"))).await;
    assert!(matches!(error, OutboxError::Chain(ChainError::WentBack { now: 0, .. })), "{error}");
}

#[tokio::test]
async fn a_service_that_was_reset_is_found_out_after_a_restart_too() {
    let set = set().await;
    let id = set.outbox.submit(add(set.counter, 1)).unwrap();
    set.outbox.settle(&set.chain, id, PAUSE).await.unwrap();
    let empty = tempfile::tempdir().unwrap();
    let reset = Chain::embedded(embedded(empty.path()));
    let error = set.outbox.drive(&reset).await.unwrap_err();
    assert!(matches!(error, OutboxError::Contradiction(Contradiction::NonceWentBack { last: 1, now: 0 })), "{error}");
}

#[tokio::test]
async fn an_intent_gets_another_nonce_only_when_a_foreign_transaction_is_proven() {
    let set = set().await;
    let id = set.outbox.submit(add(set.counter, 1)).unwrap();
    // Signed, and told to nobody.
    set.proxy.rule(|method, _| if method == "eth_sendRawTransaction" { Fault::Before } else { Fault::None });
    set.outbox.drive(&set.chain).await.unwrap_err();
    let first = set.outbox.pending().unwrap().remove(0);
    assert_eq!((first.nonce, first.transactions.len()), (Some(0), 1));
    // Somebody else with the same key takes the nonce.
    let foreign = set.honest.signing(key(1).wallet());
    let transfer = TransactionRequest::default().with_to(Address::ZERO).with_value(U256::from(1));
    foreign.send_transaction(transfer).await.unwrap().get_receipt().await.unwrap();
    // A block in which the foreign transaction is not signed by this key proves nothing.
    set.proxy.rule(|method, params| match (method, &params[1]) {
        ("eth_getBlockByNumber", Value::Bool(true)) => Fault::Edit(Box::new(|answer| {
            if let Some(transaction) = answer["transactions"].get_mut(0) {
                transaction["value"] = json!("0x2");
            }
        })),
        _ => Fault::None,
    });
    let error = set.outbox.drive(&set.chain).await.unwrap_err();
    assert!(matches!(error, OutboxError::Contradiction(Contradiction::NonceUsedByNone { nonce: 0 })), "{error}");
    assert_eq!(set.outbox.pending().unwrap()[0], first);
    set.proxy.honest();
    assert!(matches!(set.outbox.settle(&set.chain, id, PAUSE).await.unwrap(), Outcome::Mined(_)));
    assert_eq!(times(&set.honest, set.counter, 1).await, 1);
    assert_eq!(set.honest.provider().get_transaction_count(key(1).address()).await.unwrap(), 2);
}

#[tokio::test]
async fn an_outbox_has_one_key_one_chain_and_one_process() {
    let set = set().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("outbox");
    let first = Outbox::open(&path, key(1)).unwrap();
    assert!(matches!(Outbox::open(&path, key(1)), Err(OutboxError::InUse)));
    let id = first.submit(add(set.counter, 1)).unwrap();
    first.settle(&set.chain, id, PAUSE).await.unwrap();
    drop(first);
    assert!(matches!(Outbox::open(&path, key(2)), Err(OutboxError::Owner { .. })));
    let bytes = std::fs::read(&path).unwrap();
    assert!(!bytes.windows(32).any(|window| window == [1; 32]), "the key is in the file");
    let text = format!("{:?}", Outbox::open(&path, key(1)).unwrap());
    assert!(text.contains(&key(1).address().to_string()) && !text.contains("0101010101"), "{text}");
    if let Some(anvil) = Anvil::start(&[]).await {
        let other = Chain::connect(&anvil.remote()).await.unwrap();
        let error = Outbox::open(&path, key(1)).unwrap().drive(&other).await.unwrap_err();
        assert!(matches!(error, OutboxError::OtherChain { .. }), "{error}");
        let mut wrong = anvil.remote();
        wrong.chain_id = 1;
        let error = Chain::connect(&wrong).await.unwrap_err();
        assert!(matches!(error, ChainError::ChainId { expected: 1, found: 31337 }), "{error}");
    }
}

#[tokio::test]
async fn what_is_stuck_is_replaced_under_the_same_nonce_up_to_the_cap() {
    let Some(anvil) = Anvil::start(&["--no-mining"]).await else { return };
    let chain = Chain::connect(&anvil.remote()).await.unwrap();
    let node = chain.provider();
    let dir = tempfile::tempdir().unwrap();
    let mut settings = Settings::default();
    settings.bump_after = Duration::ZERO;
    settings.most_per_gas = 5_000_000_000;
    let outbox = Outbox::open_with(&dir.path().join("outbox"), key(1), settings).unwrap();
    let id = outbox
        .submit(Intent { value: U256::from(3), gas: Some(21_000), ..Intent::call("pay", Address::repeat_byte(7), []) })
        .unwrap();
    assert_eq!(outbox.drive(&chain).await.unwrap().signed, [id]);
    let progress = outbox.drive(&chain).await.unwrap();
    assert_eq!((progress.bumped, progress.refused), (vec![id], vec![]));
    let pending = outbox.pending().unwrap().remove(0);
    assert_eq!((pending.nonce, pending.transactions.len()), (Some(0), 2));
    let mut capped = false;
    for _ in 0..40 {
        let progress = outbox.drive(&chain).await.unwrap();
        assert_eq!(progress.refused, []);
        capped |= !progress.capped.is_empty();
    }
    assert!(capped);
    let versions = outbox.pending().unwrap().remove(0).transactions;
    let mut fees = Vec::new();
    for hash in &versions {
        if let Some(found) = node.get_transaction_by_hash(*hash).await.unwrap() {
            fees.push(alloy::consensus::Transaction::max_fee_per_gas(&found));
        }
    }
    assert!(fees.iter().all(|fee| *fee <= settings.most_per_gas.into()), "{fees:?}");
    node.raw_request::<_, Value>("evm_mine".into(), ()).await.unwrap();
    let Outcome::Mined(mined) = outbox.settle(&chain, id, PAUSE).await.unwrap() else { panic!() };
    assert_eq!(Some(&mined.transaction), versions.last());
    assert_eq!(node.get_balance(Address::repeat_byte(7)).await.unwrap(), U256::from(3));
    assert_eq!(node.get_transaction_count(key(1).address()).await.unwrap(), 1);
}

#[tokio::test]
async fn what_a_reorganisation_drops_is_sent_again_and_final_only_when_deep() {
    let Some(anvil) = Anvil::start(&[]).await else { return };
    let mut remote = anvil.remote();
    remote.confirmations = 3;
    let chain = Chain::connect(&remote).await.unwrap();
    let node = chain.provider();
    let counter = deploy(&chain.signing(key(2).wallet())).await;
    let mine =
        async |blocks: u64| node.raw_request::<_, Value>("anvil_mine".into(), [U256::from(blocks)]).await.unwrap();
    mine(3).await;
    let dir = tempfile::tempdir().unwrap();
    let outbox = outbox(dir.path());
    let id = outbox.submit(add(counter, 1)).unwrap();
    outbox.drive(&chain).await.unwrap();
    assert_eq!(outbox.drive(&chain).await.unwrap().closed, []);
    assert!(outbox.pending().unwrap()[0].block.is_some());
    mine(1).await;
    node.raw_request::<_, Value>("anvil_reorg".into(), json!({"depth": 2, "tx_block_pairs": []})).await.unwrap();
    assert_eq!(times(&chain, counter, 1).await, 0);
    let progress = outbox.drive(&chain).await.unwrap();
    assert_eq!((progress.dropped, progress.pending), (vec![id], 1));
    // Anvil mines after it has answered.
    for _ in 0..500 {
        if times(&chain, counter, 1).await == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(times(&chain, counter, 1).await, 1);
    mine(1).await;
    assert_eq!(outbox.drive(&chain).await.unwrap().closed, []);
    mine(1).await;
    assert_eq!(outbox.drive(&chain).await.unwrap().closed, [id]);
    assert!(matches!(outbox.outcome(id).unwrap(), Some(Outcome::Mined(_))));
    assert_eq!(times(&chain, counter, 1).await, 1);
    // Further back than final: found out, and nothing is sent.
    let before = node.get_transaction_count(key(1).address()).await.unwrap();
    node.raw_request::<_, Value>("anvil_reorg".into(), json!({"depth": 5, "tx_block_pairs": []})).await.unwrap();
    let second = outbox.submit(add(counter, 2)).unwrap();
    let error = outbox.drive(&chain).await.unwrap_err();
    assert!(matches!(error, OutboxError::Contradiction(Contradiction::NonceWentBack { .. })), "{error}");
    assert_eq!((before, outbox.outcome(second).unwrap()), (1, None));
}

/// Not a test of its own: what the next test kills.
#[tokio::test(flavor = "multi_thread")]
async fn endless_submission() {
    let Ok(dir) = std::env::var("GLACIER_OUTBOX_KILLED") else { return };
    let dir = Path::new(&dir);
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).ok();
    let counter: Address = read("counter").unwrap().parse().unwrap();
    let chain = match read("url") {
        None => Chain::embedded(embedded(dir)),
        Some(url) => {
            let mut remote = glacier_chain::Remote::new(url.parse().unwrap(), read("id").unwrap().parse().unwrap());
            remote.confirmations = 1;
            Chain::connect(&remote).await.unwrap()
        }
    };
    let outbox = outbox(dir);
    let mut item = 0;
    while outbox.find(&format!("add/{item}")).unwrap().is_some() {
        item += 1;
    }
    loop {
        for _ in 0..3 {
            outbox.submit(add(counter, item)).unwrap();
            std::fs::write(dir.join("told.new"), item.to_string()).unwrap();
            std::fs::rename(dir.join("told.new"), dir.join("told")).unwrap();
            item += 1;
        }
        outbox.drive(&chain).await.unwrap();
    }
}

/// Kills the submitting process at random instants, and settles what it left.
async fn kill(dir: &Path, rounds: u64) -> Vec<u64> {
    let mut told = Vec::new();
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "endless_submission"])
            .env("GLACIER_OUTBOX_KILLED", dir)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(40 + round * 61 % 250)).await;
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
        told.extend(std::fs::read_to_string(dir.join("told")).ok().map(|told| told.parse::<u64>().unwrap()));
    }
    told
}

async fn nothing_lost_nothing_doubled(dir: &Path, chain: &Chain, counter: Address, told: &[u64]) {
    let last = *told.last().expect("it was always killed before it began");
    assert!(told.is_sorted());
    let outbox = outbox(dir);
    let left = outbox.pending().unwrap();
    for pending in &left {
        outbox.settle(chain, pending.id, PAUSE).await.unwrap();
    }
    let mut items = 0;
    while let Some(id) = outbox.find(&format!("add/{items}")).unwrap() {
        assert!(matches!(outbox.outcome(id).unwrap(), Some(Outcome::Mined(_))));
        assert_eq!(times(chain, counter, items).await, 1, "item {items}");
        items += 1;
    }
    assert!(items > last, "{last} was told, and {items} are there");
    assert_eq!(total(chain, counter).await, items);
    assert_eq!(chain.provider().get_transaction_count(key(1).address()).await.unwrap(), items);
    println!("{items} intents, {} open after the last kill, in {} lives", left.len(), told.len());
}

#[tokio::test]
async fn killed_with_its_chain_an_outbox_loses_and_doubles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let chain = Chain::embedded(embedded(dir.path()));
    let counter = deploy(&chain.signing(key(2).wallet())).await;
    drop(chain);
    std::fs::write(dir.path().join("counter"), counter.to_string()).unwrap();
    let told = kill(dir.path(), 20).await;
    let chain = Chain::embedded(embedded(dir.path()));
    nothing_lost_nothing_doubled(dir.path(), &chain, counter, &told).await;
}

#[tokio::test]
async fn killed_beside_its_chain_an_outbox_loses_and_doubles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let behind = embedded(dir.path());
    let chain = Chain::embedded(behind.clone());
    let proxy = Proxy::before_embedded(behind).await;
    killed_beside(dir.path(), &chain, &proxy).await;
    if let Some(anvil) = Anvil::start(&[]).await {
        let dir = tempfile::tempdir().unwrap();
        let chain = Chain::connect(&anvil.remote()).await.unwrap();
        killed_beside(dir.path(), &chain, &Proxy::before(&anvil.remote()).await).await;
    }
}

async fn killed_beside(dir: &Path, chain: &Chain, proxy: &Proxy) {
    let counter = deploy(&chain.signing(key(2).wallet())).await;
    // Now and then a submission's answer is lost; the client asks again, by the same bytes.
    let mut sends = 0;
    proxy.rule(move |method, _| {
        sends += u64::from(method == "eth_sendRawTransaction");
        if method == "eth_sendRawTransaction" && sends % 5 == 0 { Fault::After } else { Fault::None }
    });
    std::fs::write(dir.join("counter"), counter.to_string()).unwrap();
    std::fs::write(dir.join("url"), proxy.remote(1).url.to_string()).unwrap();
    std::fs::write(dir.join("id"), chain.id().to_string()).unwrap();
    let told = kill(dir, 20).await;
    nothing_lost_nothing_doubled(dir, chain, counter, &told).await;
}
