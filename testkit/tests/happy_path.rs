//! The main job, whole: one owner brings model and data, and gets labels it can trust.

use glacier::{Options, infer, proof::Registration, wire::Address};
use glacier_testkit::{Rig, breast_cancer};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_hospital_gets_labels_with_a_proof() {
    let rig = Rig::start().await;
    let key = rig.party("hospital");
    let (model, data) = (breast_cancer::model(), breast_cancer::data());
    let node = rig.node();
    let inference = infer(&node, rig.policy(), &key, &model, &data, &Options::default(), &mut |_| ()).await;
    let inference = inference.expect("the job runs");
    assert_eq!(inference.finished.results.rows(), 569);
    let proof = inference.finished.proof.proof();
    assert_eq!(proof.sequence, 0);
    assert!(proof.units > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proof_stands_in_a_log_that_the_host_can_settle() {
    let rig = Rig::start().await;
    let key = rig.party("hospital");
    let (model, data) = (breast_cancer::model(), breast_cancer::data());
    let node = rig.node();
    let inference = infer(&node, rig.policy(), &key, &model, &data, &Options::default(), &mut |_| ()).await;
    let finished = inference.expect("the job runs").finished;
    let proof = finished.proof.proof();
    let checkpoint = finished.proof.checkpoint().expect("the enclave gives the head with the proof");
    assert_eq!((checkpoint.size, checkpoint.units), (1, proof.units));

    // The host says where it settles when the proof is long made: it gets the very head that the party has.
    let (enclave_key, at) = (proof.enclave_key, (checkpoint.chain_id, checkpoint.ledger));
    let head = async || rig.host().logs().head(enclave_key, Some(at)).await.expect("the proof is here");
    let before = head().await;
    assert_eq!((before.size, before.root, before.checkpoint), (1, checkpoint.root, None));
    rig.host().order_settlement(at.0, at.1);
    let settled = async {
        loop {
            if let Some(signed) = head().await.checkpoint {
                return signed;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let settled = tokio::time::timeout(Duration::from_secs(20), settled).await.expect("the enclave takes orders");
    assert_eq!((&settled.checkpoint, settled.verify()), (checkpoint, Ok(())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_comes_to_the_host_with_the_head_that_settles_it() {
    let rig = Rig::start().await;
    let (chain_id, ledger) = (31_337, Address([9; 20]));
    rig.host().order_settlement(chain_id, ledger);
    // Answered after the order before it was taken.
    rig.host().registration(chain_id, Address([1; 20]), Address([2; 20]), 0).await.expect("the chip quotes");
    let key = rig.party("hospital");
    let (model, data) = (breast_cancer::model(), breast_cancer::data());
    let inference = infer(&rig.node(), rig.policy(), &key, &model, &data, &Options::default(), &mut |_| ()).await;
    let finished = inference.expect("the job runs").finished;
    // Who has the proof knows that the host had it, and with it what settles it.
    let head = rig.host().logs().head(finished.proof.proof().enclave_key, Some((chain_id, ledger))).await;
    let signed = head.expect("the proof is here").checkpoint.expect("its head came along");
    assert_eq!((signed.verify(), signed.checkpoint.size), (Ok(()), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_quote_speaks_of_this_key_this_owner_and_this_registry() {
    let rig = Rig::start().await;
    let (registry, owner) = (Address([1; 20]), Address([2; 20]));
    let quoted = rig.host().registration(31_337, registry, owner, 4).await.expect("the chip quotes");
    let session = rig.session(&rig.party("hospital")).await;
    assert_eq!(quoted.enclave_key, session.claims().enclave_key);
    let enclave_key = quoted.enclave_key;
    let data = Registration { chain_id: 31_337, registry, enclave_key, owner, number: 4 }.report_data();
    assert!(quoted.quote.windows(data.len()).any(|window| window == data), "the quote is over the registration");
    assert!(quoted.collateral.is_some_and(|collateral| !collateral.is_empty()));
}
