//! The auction, end to end: attested sessions, sealed bids, a proved result.

use glacier_testkit::{Rig, program, refused};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn the_highest_bidder_pays_the_second_price_and_no_other_bid_is_told() {
    let rig = Rig::with(program("sealed-bid-auction"), None).await;
    let (seller, alice, bob) = (rig.party("seller"), rig.party("alice"), rig.party("bob"));
    let session = rig.session(&seller).await;
    session.call::<_, ()>("/lots", &json!({"reserve": 50})).await.unwrap();
    for (bids, (bidder, amount)) in (1u64..).zip([(&alice, 120), (&bob, 100)]) {
        let bidding = rig.session(bidder).await;
        assert_eq!(bidding.call::<_, u64>("/bids", &json!({"amount": amount})).await.unwrap(), bids);
        for (path, body) in [("/bids", json!({"amount": 1})), ("/lots/close", json!(null)), ("/lots", json!({}))] {
            refused(bidding.call::<_, Value>(path, &body).await);
        }
    }

    // It comes out only with a Work Proof about exactly this answer, by exactly this enclave.
    let sale = session.call_proved::<_, Value>("/lots/close", &()).await.unwrap();
    assert_eq!(sale.value, json!({"winner": alice.address(), "price": 100}));
    assert_eq!(sale.proof.signed().proof.units, 1);
}
