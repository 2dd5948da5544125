//! Calls by name: once, again when they failed, and again when they are due again.

mod common;

use alloy::{
    primitives::{Address, U256},
    sol_types::SolCall as _,
};
use common::{Counter, deploy, embedded, key};
use glacier_chain::{Chain, Intent, Outbox, Outcome, SendError, Sender};

async fn set() -> (tempfile::TempDir, Sender, Address) {
    let dir = tempfile::tempdir().unwrap();
    let chain = Chain::embedded(embedded(dir.path()));
    let counter = deploy(&chain.signing(key(2).wallet())).await;
    let outbox = Outbox::open(&dir.path().join("outbox"), key(1)).unwrap();
    (dir, Sender::new(chain, outbox), counter)
}

fn add(item: u64) -> Vec<u8> {
    Counter::addCall { item: U256::from(item) }.abi_encode()
}

fn refuse() -> Vec<u8> {
    Counter::refuseCall { item: U256::from(1) }.abi_encode()
}

async fn times(sender: &Sender, counter: Address, item: u64) -> u64 {
    Counter::new(counter, sender.chain().provider()).times(U256::from(item)).call().await.unwrap().to()
}

#[tokio::test]
async fn a_call_that_succeeded_is_not_made_again_whatever_it_carries() {
    let (_dir, sender, counter) = set().await;
    let first = sender.call("a", counter, add(1)).await.unwrap();
    assert_eq!(sender.call("a", counter, add(2)).await.unwrap(), first);
    assert_eq!((times(&sender, counter, 1).await, times(&sender, counter, 2).await), (1, 0));
}

#[tokio::test]
async fn a_call_that_is_refused_a_thousand_times_succeeds_once_it_can() {
    let (_dir, sender, counter) = set().await;
    for _ in 0..1001 {
        assert!(
            matches!(sender.call("a", counter, refuse()).await, Err(SendError::Refused { what, .. }) if what == "a")
        );
    }
    sender.call("a", counter, add(1)).await.unwrap();
    assert_eq!(times(&sender, counter, 1).await, 1);
}

#[tokio::test]
async fn a_call_that_reverted_in_a_block_is_made_anew() {
    let (_dir, sender, counter) = set().await;
    // With gas given, nobody estimates: it is mined, and reverts there.
    let intent = Intent { gas: Some(100_000), ..Intent::call("a", counter, refuse()) };
    let id = sender.outbox().submit(intent).unwrap();
    sender.call("a", counter, add(1)).await.unwrap();
    assert!(matches!(sender.outbox().outcome(id).unwrap(), Some(Outcome::Reverted { .. })));
    assert_eq!(times(&sender, counter, 1).await, 1);
}

#[tokio::test]
async fn a_call_that_is_due_again_is_made_again_and_one_under_way_is_followed() {
    let (_dir, sender, counter) = set().await;
    let first = sender.call_since(0, "a", counter, add(1)).await.unwrap();
    assert_eq!(sender.call_since(first.block - 1, "a", counter, add(1)).await.unwrap(), first);
    let second = sender.call_since(first.block, "a", counter, add(1)).await.unwrap();
    assert!(second.block > first.block);
    assert_eq!(times(&sender, counter, 1).await, 2);
    // Under way from before: it is this one that happens, and no other.
    sender.outbox().submit(Intent::call("b", counter, add(2))).unwrap();
    let head = sender.chain().head().await.unwrap().number;
    sender.call_since(head, "b", counter, add(2)).await.unwrap();
    assert_eq!(times(&sender, counter, 2).await, 1);
}

#[tokio::test]
async fn one_name_called_from_many_places_at_once_is_one_call() {
    let (_dir, sender, counter) = set().await;
    let calls = (0..20).map(|_| {
        let sender = sender.clone();
        tokio::spawn(async move { sender.call("a", counter, add(1)).await.unwrap() })
    });
    let mut found = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        found.push(call.await.unwrap());
    }
    assert!(found.iter().all(|mined| *mined == found[0]));
    assert_eq!(times(&sender, counter, 1).await, 1);
}
