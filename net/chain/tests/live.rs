//! Proofs against a live chain with the real contracts.

mod deployed;

use alloy::primitives::B256;
use deployed::{Network, Show, bundle, node};
use glacier_attest::{Outcome, Verdict};
use glacier_chain::{Deployment, Live, LiveCheckId, LiveFault, NodeLog, Observer, Question, contracts::WorkLedger};
use glacier_proof::{Bundle, Judge, Logged, SettlementFault};
use glacier_wire::{Address, EnclaveId, Measurement};

async fn look_up(network: &Network, bundle: &Bundle, node: Option<&NodeLog>) -> Live {
    let policy = network.policy();
    let question = Question { judge: Judge::Policy(&policy), at: network.now(), collateral: &network.collateral, node };
    let live = observer(network).look_up(bundle, question).await.unwrap();
    assert_eq!(live.checks.iter().map(|check| check.id).collect::<Vec<_>>(), LiveCheckId::ALL);
    live
}

fn observer(network: &Network) -> Observer {
    Observer::new(network.chain.clone(), network.deployment.clone())
}

fn fault(live: &Live, id: LiveCheckId) -> Option<LiveFault> {
    live.checks.iter().find(|check| check.id == id).unwrap().fault.clone()
}

#[tokio::test]
async fn a_settled_proof_is_led_to_the_vendors_root_on_the_chain_and_then_without_it() {
    let network = Network::new().await;
    let enclave = network.register(3).await;
    let history = enclave.work(5, 1);
    let signed = history.proofs[2].clone();
    let (node, _) = node(Show { history: history.clone(), ..Show::default() }).await;

    let unsettled = look_up(&network, &bundle(signed.clone()), Some(&node)).await;
    assert_eq!(unsettled.verdict(), Verdict::Rejected);
    let expected = LiveFault::NotSettled { size: 0, sequence: 2 };
    assert_eq!(fault(&unsettled, LiveCheckId::Settled), Some(expected));

    network.operator.settle(&enclave.head(&history.log, 5)).await.unwrap();
    let mut held = bundle(signed.clone());
    let live = look_up(&network, &held, Some(&node)).await;
    assert_eq!(live.verdict(), Verdict::Accepted, "{:?}", live.checks);
    assert!(live.quote.iter().any(|check| check.outcome == Outcome::Pass));
    assert!(live.status.is_some_and(|status| status.earns && status.registration == 1));

    // Without a node nobody shows the path; with the head and path in the bundle none is needed.
    let alone = look_up(&network, &held, None).await;
    assert_eq!(alone.verdict(), Verdict::Undetermined);
    let path = history.log.inclusion(2, 5).unwrap();
    held.logged = Some(Logged { checkpoint: enclave.head(&history.log, 5), path: path.clone() });
    assert_eq!(look_up(&network, &held, None).await.verdict(), Verdict::Accepted);

    // What was found there stands without the chain.
    held.settled = live.settled;
    let policy = network.policy();
    let offline = held.verify_settlement(Judge::Policy(&policy), network.now()).unwrap();
    assert_eq!(offline.verdict(), Verdict::Accepted, "{:?}", offline.checks);
    assert_eq!(offline.into_result().unwrap().registration().enclave_key, enclave.key());

    // The reader's rule for paths is the contract's.
    let ledger = WorkLedger::new(network.deployment.ledger, network.chain.provider());
    for (index, signed) in history.proofs.iter().enumerate() {
        let path = history.log.inclusion(index as u64, 5).unwrap();
        let words: Vec<B256> = path.iter().map(|node| B256::from(node.0)).collect();
        for sequence in 0..6 {
            let (key, digest) = (enclave.key().0.into(), signed.proof.hash().0.into());
            let theirs = ledger.isSettled(key, digest, sequence, words.clone()).call().await.unwrap();
            let mut claimed = signed.proof.clone();
            claimed.sequence = sequence;
            let ours = observer(&network).is_settled(&claimed, &path).await.unwrap();
            assert_eq!((ours, theirs), (sequence == index as u64, sequence == index as u64));
        }
    }
}

#[tokio::test]
async fn doctored_foreign_and_unregistered_proofs_are_refused() {
    let network = Network::new().await;
    let enclave = network.register(3).await;
    let history = enclave.work(5, 1);
    network.operator.settle(&enclave.head(&history.log, 5)).await.unwrap();
    let (node, show) = node(Show { history: history.clone(), ..Show::default() }).await;

    // Signed by the right key, and not what is settled there: the node itself shows what is.
    let doctored = bundle(enclave.proof(2, history.proofs[1].proof.hash(), 9));
    let live = look_up(&network, &doctored, Some(&node)).await;
    assert_eq!(fault(&live, LiveCheckId::Settled), Some(LiveFault::OtherProof));
    assert_eq!(live.verdict(), Verdict::Rejected);

    // A node that shows another log convinces nobody of anything.
    show.lock().unwrap().history = enclave.work(5, 9);
    let live = look_up(&network, &bundle(history.proofs[2].clone()), Some(&node)).await;
    assert_eq!(live.verdict(), Verdict::Undetermined);
    assert!(matches!(fault(&live, LiveCheckId::Settled), Some(LiveFault::NoPath(_))));

    let mut foreign = history.proofs[2].clone();
    foreign.proof.settlement.ledger = Address([8; 20]);
    let live = look_up(&network, &bundle(foreign), None).await;
    assert!(matches!(fault(&live, LiveCheckId::Ledger), Some(LiveFault::ForeignLedger { .. })));
    assert_eq!(live.verdict(), Verdict::Rejected);

    let stranger = network.enclave(4).work(1, 1);
    let live = look_up(&network, &bundle(stranger.proofs[0].clone()), None).await;
    assert_eq!(fault(&live, LiveCheckId::Registered), Some(LiveFault::Unregistered));
    assert_eq!(live.verdict(), Verdict::Rejected);

    let mut elsewhere = history.proofs[2].clone();
    elsewhere.proof.enclave_id = EnclaveId([1; 32]);
    let live = look_up(&network, &bundle(elsewhere), None).await;
    assert_eq!(fault(&live, LiveCheckId::Registered), Some(LiveFault::OtherChip(network.chip.enclave_id())));
    assert_eq!(fault(&live, LiveCheckId::Quote), Some(LiveFault::Quote(SettlementFault::OtherChip)));

    let mut other_code = history.proofs[2].clone();
    other_code.proof.measurement = Measurement([1; 32]);
    let live = look_up(&network, &bundle(other_code), None).await;
    assert_eq!(fault(&live, LiveCheckId::Quote), Some(LiveFault::Quote(SettlementFault::OtherCode)));

    let nowhere = Deployment { registry: network.deployment.token, ..network.deployment.clone() };
    let policy = network.policy();
    let question =
        Question { judge: Judge::Policy(&policy), at: network.now(), collateral: &network.collateral, node: None };
    let observer = Observer::new(network.chain.clone(), nowhere);
    let live = observer.look_up(&bundle(history.proofs[2].clone()), question).await.unwrap();
    assert!(matches!(fault(&live, LiveCheckId::Contracts), Some(LiveFault::Contracts(_))));
    assert_eq!(live.verdict(), Verdict::Rejected);
}

#[tokio::test]
async fn a_quote_that_the_vendor_has_revoked_since_no_longer_registers() {
    let network = Network::new().await;
    let enclave = network.register(3).await;
    let history = enclave.work(1, 1);
    network.operator.settle(&enclave.head(&history.log, 1)).await.unwrap();
    let revoking = network.recipe(|recipe| recipe.revoked_chips = vec![network.chip.serial()]);
    let policy = network.policy();
    let question = Question { judge: Judge::Policy(&policy), at: network.now(), collateral: &revoking, node: None };
    let live = observer(&network).look_up(&bundle(history.proofs[0].clone()), question).await.unwrap();
    assert!(matches!(fault(&live, LiveCheckId::Quote), Some(LiveFault::Quote(SettlementFault::Quote(_)))));
    // One proof is its log's root: no node is needed.
    let question = Question { collateral: b"{}", ..question };
    let live = observer(&network).look_up(&bundle(history.proofs[0].clone()), question).await.unwrap();
    assert_eq!(live.verdict(), Verdict::Undetermined);
}
