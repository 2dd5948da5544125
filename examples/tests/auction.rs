//! The auction, end to end: attested sessions, sealed bids, a proved result.

use glacier::{
    Key, Session,
    wire::{Address, Commitment, Nonce, cbor},
};
use glacier_testkit::{Rig, program};
use serde_json::{Value, json};

async fn post(session: &Session, path: &str, body: &Value) -> Result<glacier::session::Response, glacier::Error> {
    let body = serde_json::to_vec(body).unwrap();
    Ok(session.request("POST".try_into().unwrap(), path, &[], body.into()).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_highest_bidder_pays_the_second_price_and_no_losing_bid_is_told() {
    let rig = Rig::with(program("sealed-bid-auction"), None).await;
    let party = |name: &str| -> Key { rig.party(name) };
    let (seller, alice, bob) = (party("seller"), party("alice"), party("bob"));
    let session = rig.session(&seller).await;
    post(&session, "/lots", &json!({"reserve": 50})).await.unwrap();
    for (bidder, amount) in [(&alice, 120), (&bob, 100)] {
        let bidding = rig.session(bidder).await;
        post(&bidding, "/bids", &json!({"amount": amount})).await.unwrap();
        assert!(post(&bidding, "/bids", &json!({"amount": 1})).await.is_err(), "one bid each");
        assert!(post(&bidding, "/lots/close", &json!({})).await.is_err(), "only the seller closes");
    }

    let closed = post(&session, "/lots/close", &json!({})).await.unwrap();
    let sale: Value = serde_json::from_slice(&closed.body).unwrap();
    let winner: Address = sale["winner"].as_str().unwrap().parse().unwrap();
    assert_eq!((winner, &sale["price"]), (alice.address(), &json!(100)));

    // The Work Proof is about exactly this answer, by exactly this enclave.
    let signed = hex::decode(closed.header("glacier-proof").unwrap()).unwrap();
    let signed: glacier::proof::SignedProof = cbor::decode(&signed, 4096).unwrap();
    signed.verify().unwrap();
    let salt: Nonce = closed.header("glacier-output-salt").unwrap().parse().unwrap();
    assert_eq!(signed.proof.output, Commitment::to_body(&salt, &closed.body));
    assert_eq!(signed.proof.enclave_key, session.claims().enclave_key);
    assert_eq!(signed.proof.measurement, session.accepted().measurement());
}
