//! The embedded chain on disk: what was answered is there after any end, and nothing else is.

mod common;

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use alloy::{
    consensus::{SignableTransaction as _, TxEip1559, TxEnvelope, TxLegacy},
    eips::eip2718::Encodable2718 as _,
    network::{Ethereum, NetworkWallet},
    primitives::{Address, B256, TxKind, U256},
    providers::Provider as _,
    signers::{SignerSync as _, local::PrivateKeySigner},
    sol_types::SolCall as _,
};
use common::{Counter, deploy, embedded, genesis, key};
use glacier_chain::{Chain, Embedded, EmbeddedError, Genesis, embedded::Refusal, serve};
use serde_json::{Value, json};

fn transaction(nonce: u64, to: Address, data: Vec<u8>) -> TxEip1559 {
    TxEip1559 {
        chain_id: Genesis::CHAIN_ID,
        nonce,
        gas_limit: 200_000,
        max_fee_per_gas: 2_000_000_000,
        max_priority_fee_per_gas: 1,
        to: TxKind::Call(to),
        value: U256::ZERO,
        access_list: Default::default(),
        input: data.into(),
    }
}

async fn raw(number: u8, transaction: TxEip1559) -> Vec<u8> {
    let wallet = key(number).wallet();
    let signed = NetworkWallet::<Ethereum>::sign_transaction(&wallet, transaction.into()).await.unwrap();
    signed.encoded_2718()
}

fn add(item: u64) -> Vec<u8> {
    Counter::addCall { item: U256::from(item) }.abi_encode()
}

#[tokio::test]
async fn the_file_is_one_chain_of_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let first = embedded(dir.path());
    let path = dir.path().join("chain");
    assert!(matches!(Embedded::open(&path, &genesis()), Err(EmbeddedError::InUse)));
    drop(first);
    let other = Genesis::funding([key(1).address()]);
    assert!(matches!(Embedded::open(&path, &other), Err(EmbeddedError::Genesis { .. })));
    let other = Genesis { chain_id: 5, ..genesis() };
    assert!(matches!(Embedded::open(&path, &other), Err(EmbeddedError::Genesis { .. })));
    let twice = Genesis::funding([key(1).address(), key(1).address()]);
    assert!(matches!(Embedded::open(&dir.path().join("other"), &twice), Err(EmbeddedError::Twice(_))));
    let turned = Genesis::funding([key(2).address(), key(1).address()]);
    assert_eq!(Embedded::open(&path, &turned).unwrap().head().unwrap().0, 0);
    std::fs::write(dir.path().join("rubbish"), [7; 5000]).unwrap();
    assert!(matches!(Embedded::open(&dir.path().join("rubbish"), &genesis()), Err(EmbeddedError::Io(_))));
}

#[tokio::test]
async fn what_cannot_be_mined_is_refused_by_name_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let chain = embedded(dir.path());
    let to = Address::repeat_byte(1);
    let good = raw(1, transaction(0, to, vec![])).await;
    let head = chain.head().unwrap();
    let refused = async |raw: &[u8]| chain.send_raw(raw).await.unwrap_err();
    assert!(matches!(refused(&[]).await, Refusal::Encoding));
    assert!(matches!(refused(&good[..good.len() - 1]).await, Refusal::Encoding));
    assert!(matches!(refused(&[good.clone(), vec![0]].concat()).await, Refusal::Encoding));
    assert!(matches!(refused(&vec![2; 200_000]).await, Refusal::Size { .. }));
    let gap = raw(1, transaction(1, to, vec![])).await;
    assert!(matches!(refused(&gap).await, Refusal::NonceTooHigh { transaction: 1, account: 0 }));
    let elsewhere = raw(1, TxEip1559 { chain_id: 1, ..transaction(0, to, vec![]) }).await;
    assert!(matches!(refused(&elsewhere).await, Refusal::ChainId));
    let poor = raw(9, transaction(0, to, vec![])).await;
    assert!(matches!(refused(&poor).await, Refusal::Funds { .. }));
    let cheap = TxEip1559 { max_fee_per_gas: 1, ..transaction(0, to, vec![]) };
    assert!(matches!(refused(&raw(1, cheap).await).await, Refusal::Invalid(_)));
    let hungry = TxEip1559 { gas_limit: (1 << 24) + 1, ..transaction(0, to, vec![]) };
    assert!(matches!(refused(&raw(1, hungry).await).await, Refusal::Invalid(_)));
    // Signed for every chain: EIP-155 is asked for.
    let signer = PrivateKeySigner::from_bytes(&B256::repeat_byte(1)).unwrap();
    let legacy = TxLegacy { gas_price: 2_000_000_000, gas_limit: 21_000, to: TxKind::Call(to), ..Default::default() };
    let signature = signer.sign_hash_sync(&legacy.signature_hash()).unwrap();
    let legacy = TxEnvelope::from(legacy.into_signed(signature)).encoded_2718();
    assert!(matches!(refused(&legacy).await, Refusal::ChainId));
    assert_eq!(chain.head().unwrap(), head);
    chain.send_raw(&good).await.unwrap();
    assert!(matches!(refused(&good).await, Refusal::Known));
    let used = raw(1, transaction(0, Address::repeat_byte(2), vec![])).await;
    assert!(matches!(refused(&used).await, Refusal::NonceTooLow { transaction: 0, account: 1 }));
    assert_eq!(chain.head().unwrap().0, 1);
}

#[tokio::test]
async fn the_same_transactions_at_the_same_times_make_the_same_chain() {
    let mut heads = Vec::new();
    for _ in 0..2 {
        let dir = tempfile::tempdir().unwrap();
        let time = Arc::new(AtomicU64::new(5_000));
        let clock = time.clone();
        let clock = Arc::new(move || clock.load(Ordering::Relaxed));
        let chain = Embedded::open_with_clock(&dir.path().join("chain"), &genesis(), clock).unwrap();
        let chain = Chain::embedded(chain);
        let provider = chain.signing(key(1).wallet());
        let counter = Counter::new(deploy(&provider).await, provider);
        assert_eq!(chain.head().await.unwrap().timestamp, 5_000);
        // A clock that stands or goes back makes no block older than its parent.
        time.store(1, Ordering::Relaxed);
        counter.add(U256::from(1)).send().await.unwrap().get_receipt().await.unwrap();
        assert_eq!(chain.head().await.unwrap().timestamp, 5_001);
        time.store(9_000, Ordering::Relaxed);
        let around = counter.surroundings().call().await.unwrap();
        assert_eq!((around.chain.to::<u64>(), around.number.to::<u64>()), (Genesis::CHAIN_ID, 3));
        assert_eq!((around.time.to::<u64>(), around.parent), (9_000, chain.head().await.unwrap().hash));
        counter.add(U256::from(2)).send().await.unwrap().get_receipt().await.unwrap();
        heads.push(chain.head().await.unwrap());
    }
    assert_eq!(heads[0], heads[1]);
}

/// Not a test of its own: what the next test kills.
#[tokio::test(flavor = "multi_thread")]
async fn endless_mining() {
    let Ok(dir) = std::env::var("GLACIER_CHAIN_KILLED") else { return };
    let dir = Path::new(&dir);
    let chain = embedded(dir);
    let counter: Address = std::fs::read_to_string(dir.join("counter")).unwrap().parse().unwrap();
    let accounts = [key(1).address(), key(2).address()];
    let mut nonces = Vec::new();
    for account in accounts {
        let nonce = chain.request("eth_getTransactionCount", Some(&json!([account]).to_string())).await.unwrap();
        nonces.push(serde_json::from_value::<U256>(nonce).unwrap().to::<u64>());
    }
    // Two at a time, so that some share a write.
    for step in 0.. {
        let both = (
            raw(1, transaction(nonces[0] + step, counter, add(1))).await,
            raw(2, transaction(nonces[1] + step, counter, add(2))).await,
        );
        let (first, second) = tokio::join!(chain.send_raw(&both.0), chain.send_raw(&both.1));
        let told = [first.unwrap(), second.unwrap()].concat();
        std::fs::write(dir.join("told.new"), told).unwrap();
        std::fs::rename(dir.join("told.new"), dir.join("told")).unwrap();
    }
}

#[tokio::test]
async fn a_killed_chain_comes_back_at_its_last_durable_block() {
    let dir = tempfile::tempdir().unwrap();
    let chain = Chain::embedded(embedded(dir.path()));
    let counter = deploy(&chain.signing(key(1).wallet())).await;
    drop(chain);
    std::fs::write(dir.path().join("counter"), counter.to_string()).unwrap();
    let mut last = 1;
    for round in 0u64..12 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "endless_mining"])
            .env("GLACIER_CHAIN_KILLED", dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let _ = std::fs::remove_file(dir.path().join("told"));
        // The first ones are killed while they open the file.
        tokio::time::sleep(Duration::from_millis(round * 37 % 300)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let opened = embedded(dir.path());
        let chain = Chain::embedded(opened.clone());
        let told = std::fs::read(dir.path().join("told")).unwrap_or_default();
        for hash in told.chunks(32) {
            let receipt = chain.provider().get_transaction_receipt(B256::from_slice(hash)).await.unwrap();
            assert!(receipt.expect("it was answered").status());
        }
        // The state is that after exactly these blocks.
        let head = opened.head().unwrap().0;
        assert!(head >= last);
        last = head;
        let counter = Counter::new(counter, chain.provider());
        let total: u64 = counter.total().call().await.unwrap().to();
        assert_eq!(total, head - 1);
        let mut parts = [0, 0];
        for (part, number) in parts.iter_mut().zip([1u8, 2]) {
            *part = counter.times(U256::from(number)).call().await.unwrap().to::<u64>();
            let nonce = chain.provider().get_transaction_count(key(number).address()).await.unwrap();
            assert_eq!(nonce, *part + u64::from(number == 1));
        }
        assert_eq!(parts[0] + parts[1], total);
        assert_eq!(counter.Added_filter().from_block(0).query().await.unwrap().len() as u64, total);
        let mut parent = chain.provider().get_block_by_number(0.into()).await.unwrap().unwrap();
        for number in 1..=head {
            let block = chain.provider().get_block_by_number(number.into()).await.unwrap().unwrap();
            assert_eq!(block.header.parent_hash, parent.header.hash);
            parent = block;
        }
    }
    assert!(last > 20, "only {last} blocks were mined between all the killing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_transactions() {
    const COUNT: u64 = 1_000;
    let dir = tempfile::tempdir().unwrap();
    let opened = embedded(dir.path());
    let chain = Chain::embedded(opened.clone());
    let counter = deploy(&chain.signing(key(2).wallet())).await;
    let mut signed = Vec::new();
    for nonce in 0..2 * COUNT {
        signed.push(raw(1, transaction(nonce, counter, add(nonce))).await);
    }
    let start = Instant::now();
    let (one_by_one, together) = signed.split_at(COUNT as usize);
    for raw in one_by_one {
        opened.send_raw(raw).await.unwrap();
    }
    let alone = start.elapsed();
    let start = Instant::now();
    let mut waiting = Vec::new();
    for raw in together {
        let mut sent = Box::pin({
            let (opened, raw) = (opened.clone(), raw.clone());
            async move { opened.send_raw(&raw).await }
        });
        // In the queue before the next is: their nonces are in order.
        assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(sent.as_mut().poll(cx).is_pending())).await);
        waiting.push(sent);
    }
    for sent in waiting {
        sent.await.unwrap();
    }
    let grouped = start.elapsed();
    drop((chain, opened));
    let start = Instant::now();
    let opened = embedded(dir.path());
    let reopened = start.elapsed();
    assert_eq!(opened.head().unwrap().0, 2 * COUNT + 1);
    let size = std::fs::metadata(dir.path().join("chain")).unwrap().len();
    println!("{COUNT} transactions, each durable before the next: {alone:.2?}; sent together: {grouped:.2?}");
    println!("reopened after {} blocks in {reopened:.2?}; {size} bytes", 2 * COUNT + 1);
}

#[tokio::test]
async fn loopback_answers_programs_and_no_web_page() {
    let dir = tempfile::tempdir().unwrap();
    let chain = embedded(dir.path());
    let refused = serve(chain.clone(), "0.0.0.0:0".parse().unwrap(), vec![]).await;
    assert!(matches!(refused, Err(glacier_chain::ServeError::NotLoopback(_))));
    let origins = vec!["https://wallet.example".to_owned()];
    let service = serve(chain.clone(), "127.0.0.1:0".parse().unwrap(), origins).await.unwrap();
    let url = format!("http://{}", service.address());
    let client = common::client();
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": "eth_chainId"});
    let ask = |headers: &[(&str, &str)], body: String| {
        let mut request = client.post(&url).header("content-type", "application/json").body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        async { request.send().await.unwrap() }
    };
    let answer: Value = ask(&[], body.to_string()).await.json().await.unwrap();
    assert_eq!(answer, json!({"jsonrpc": "2.0", "id": 7, "result": format!("{:#x}", Genesis::CHAIN_ID)}));
    for (headers, status) in [
        (&[("host", "attacker.example")][..], 403),
        (&[("host", "127.0.0.1.attacker.example:80")], 403),
        (&[("host", "localhost:9")], 200),
        (&[("host", "[::1]")], 200),
        (&[("origin", "https://attacker.example")], 403),
        (&[("origin", "null")], 403),
        (&[("origin", "https://wallet.example")], 200),
    ] {
        assert_eq!(ask(headers, body.to_string()).await.status(), status, "{headers:?}");
    }
    let plain = client.post(&url).header("content-type", "text/plain").body(body.to_string()).send().await.unwrap();
    assert_eq!(plain.status(), 415);
    assert_eq!(client.get(&url).send().await.unwrap().status(), 405);
    assert_eq!(ask(&[], " ".repeat(2 << 20)).await.status(), 413);
    let code = async |body: &str| -> i64 {
        let answer: Value = ask(&[], body.to_owned()).await.json().await.unwrap();
        answer["error"]["code"].as_i64().unwrap()
    };
    assert_eq!(code("{").await, -32700);
    assert_eq!(code("{}").await, -32600);
    assert_eq!(code("[]").await, -32600);
    assert_eq!(code(r#"{"jsonrpc":"1.0","id":1,"method":"eth_chainId"}"#).await, -32600);
    assert_eq!(code(r#"{"jsonrpc":"2.0","id":1,"method":"eth_mine"}"#).await, -32601);
    assert_eq!(
        code(r#"{"jsonrpc":"2.0","id":1,"method":"eth_getLogs","params":[{"topics":[null],"fromBlock":true}]}"#).await,
        -32602
    );
    assert_eq!(code(&json!(vec![body.clone(); 101]).to_string()).await, -32600);
    let both: Value = ask(&[], json!([body, body]).to_string()).await.json().await.unwrap();
    assert_eq!(both.as_array().unwrap().len(), 2);
    assert_eq!(ask(&[], r#"{"jsonrpc":"2.0","method":"eth_chainId"}"#.into()).await.status(), 204);
    // The provider of another process sees the same chain.
    let remote = glacier_chain::Remote::new(url.parse().unwrap(), Genesis::CHAIN_ID);
    let other = Chain::connect(&remote).await.unwrap();
    deploy(&other.signing(key(1).wallet())).await;
    assert_eq!(chain.head().unwrap().0, 1);
}
