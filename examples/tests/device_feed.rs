//! Readings that devices signed, batched in an enclave and anchored on a SIMULATED chain with the real contracts.

use alloy::sol_types::SolCall as _;
use glacier::{
    proof::{AnchorAt, Log, SignedBatch},
    wire::{Address, Identity, LogHash, ProofHash, api::RefusalCode, eip712::keccak},
};
use glacier_chain::{
    Chain, Deployment, Embedded, Genesis, Operator, OperatorKey, Outbox, Plan, Sender, contracts::DeviceAnchor,
};
use glacier_testkit::{Rig, program, refused};
use serde_json::{Value, json};
use zeroize::Zeroizing;

#[derive(serde::Deserialize)]
struct Closed {
    number: u64,
    batch: SignedBatch,
    readings: Vec<String>,
}

fn device(number: u8) -> Identity {
    Identity::from_secret(&[number; 32]).unwrap()
}

fn reading(device: &Identity, text: &str) -> Value {
    json!({"reading": text, "signature": device.sign(&keccak(text.as_bytes()))})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_devices_signed_is_batched_and_anchored() {
    let mut rig = Rig::with(program("device-feed"), None).await;
    let (owner, carrier) = (rig.party("owner"), rig.party("carrier"));
    let (feed, anybody) = (rig.session(&owner).await, rig.session(&carrier).await);
    let (known, unknown) = (device(5), device(6));
    feed.call::<_, ()>("/devices", &known.address()).await.unwrap();
    refused(anybody.call::<_, ()>("/devices", &unknown.address()).await);

    for (count, text) in (1u64..).zip(["0 1800000000 20.5", "1 1800000060 20.6", "7 1800000120 20.4"]) {
        assert_eq!(anybody.call::<_, u64>("/readings", &reading(&known, text)).await.unwrap(), count);
    }
    let altered = json!({"reading": "8 1800000180 99", "signature": known.sign(&keccak(b"8 1800000180 20"))});
    for wrong in [reading(&known, "7 1800000120 20.4"), reading(&unknown, "0 1 2"), reading(&known, "x"), altered] {
        assert_eq!(refused(anybody.call::<_, u64>("/readings", &wrong).await), RefusalCode::App);
    }

    // A network of this test's own, which trusts the root of this rig's chip, and on which its key is registered.
    let network = network(&rig).await;
    let at = AnchorAt { chain_id: network.deployment().chain_id, contract: Address(*network.deployment().anchor.0) };
    let close = |anchored: Option<u64>| json!({"at": at, "anchored": anchored});
    assert_eq!(refused(anybody.call_proved::<_, Value>("/batches", &close(None)).await), RefusalCode::App);
    let lost = feed.call_proved::<_, Closed>("/batches", &close(None)).await.unwrap().value;
    // Its answer was lost. What comes meanwhile waits for the next batch, and this one is the same again.
    assert_eq!(anybody.call::<_, u64>("/readings", &reading(&known, "8 1800000180 20.2")).await.unwrap(), 1);
    let closed = feed.call_proved::<_, Closed>("/batches", &close(None)).await.unwrap().value;
    assert_eq!((closed.number, closed.batch), (lost.number, lost.batch));
    assert_eq!(closed.readings.len(), 3);
    closed.batch.verify().unwrap();
    assert_eq!(closed.batch.batch.signer, feed.claims().enclave_key);
    let batch = DeviceAnchor::Batch {
        enclaveId: closed.batch.batch.enclave_id.0.into(),
        signer: closed.batch.batch.signer.0.into(),
        sequence: closed.batch.batch.sequence,
        root: closed.batch.batch.root.0.into(),
        count: closed.batch.batch.count,
    };
    let call = DeviceAnchor::anchorCall { batch, signature: closed.batch.signature.0.to_vec().into() };
    network.sender().call("batch-0", network.deployment().anchor, call.abi_encode()).await.unwrap();

    // Who has a reading can show on chain that it stands there.
    let mut log = Log::new();
    let hashes: Vec<_> = closed.readings.iter().map(|reading| ProofHash(keccak(reading.as_bytes()))).collect();
    hashes.iter().for_each(|hash| log.append(hash));
    let path: Vec<_> = log.inclusion(1, 3).unwrap().iter().map(|LogHash(node)| (*node).into()).collect();
    let contract = DeviceAnchor::new(network.deployment().anchor, network.sender().chain().provider());
    let signer = closed.batch.batch.signer.0.into();
    let there = async |hash: &ProofHash| {
        contract.isAnchored(signer, 0, hash.0.into(), 1, 3, path.clone()).call().await.unwrap()
    };
    assert!(there(&hashes[1]).await);
    assert!(!there(&hashes[2]).await, "another reading does not stand there");

    // The next one, which nobody has anchored when the enclave ends: another key signs it, in a series of its own.
    let second = feed.call_proved::<_, Closed>("/batches", &close(Some(0))).await.unwrap().value;
    assert_eq!((second.number, second.batch.batch.sequence), (1, 1));
    assert_eq!(second.readings, ["8 1800000180 20.2"]);
    rig.restart().await;
    let (feed, anybody) = (rig.session(&owner).await, rig.session(&carrier).await);
    refused(anybody.call::<_, ()>("/devices", &unknown.address()).await);
    for taken in ["7 1800000120 20.4", "8 1800000180 20.2"] {
        assert_eq!(refused(anybody.call::<_, u64>("/readings", &reading(&known, taken)).await), RefusalCode::App);
    }
    let again = feed.call_proved::<_, Closed>("/batches", &close(Some(0))).await.unwrap().value;
    assert_eq!((again.number, &again.readings), (1, &second.readings));
    assert_eq!((again.batch.batch.root, again.batch.batch.sequence), (second.batch.batch.root, 0));
    assert_eq!(again.batch.batch.signer, feed.claims().enclave_key);
    assert_eq!(
        refused(feed.call::<_, Value>("/batches", &close(Some(1))).await),
        RefusalCode::BadRequest,
        "all is out"
    );
}

async fn network(rig: &Rig) -> Operator {
    let key = || OperatorKey::from_bytes(&Zeroizing::new([1; 32])).unwrap();
    let chain = Embedded::open(&rig.home().join("chain"), &Genesis::funding([key().address()])).unwrap();
    let outbox = Outbox::open(&rig.home().join("outbox"), key()).unwrap();
    let sender = Sender::new(Chain::embedded(chain), outbox);
    let pem = std::fs::read(rig.home().join("node/chip/simulated-root.pem")).unwrap();
    let (_, root) = der::pem::decode_vec(&pem).unwrap();
    let now = glacier::verify::now().0;
    let plan = Plan::simulated(root, sender.address(), now - now % 86_400);
    let deployment = Deployment::deploy(&sender, &plan).await.unwrap();
    let info = rig.host().info().unwrap();
    deployment.announce(&sender, info.measurement.0, 3).await.unwrap();
    let operator = Operator::new(sender, deployment);
    let (registry, owner) = (operator.deployment().registry, operator.sender().address());
    let (registry, owner) = (Address(*registry.0), Address(*owner.0));
    let chain_id = operator.deployment().chain_id;
    let quoted = rig.host().registration(chain_id, registry, owner, 0).await.unwrap();
    operator.bring(&quoted.collateral.unwrap()).await.unwrap();
    operator.register(&info.enclave_id, &quoted.enclave_key, 0, &quoted.quote).await.unwrap();
    operator
}
