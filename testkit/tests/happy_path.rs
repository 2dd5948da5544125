//! The main job, whole: one owner brings model and data, and gets labels it can trust.

use glacier::{Options, infer};
use glacier_testkit::{Rig, breast_cancer};

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
