//! A party, or somebody who would like to be one, does not keep to the agreement.

use crate::scene::{Scene, refused, soon};
use glacier::{
    Draft, Error, Job, Release, Session,
    attest::Verdict,
    judgement::judge_proof,
    verify::now,
    wire::{
        Address, ManifestHash, Role, Tensor, UnixTime,
        api::{Event, Phase, RefusalCode},
    },
};
use glacier_testkit::{Rig, breast_cancer};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_cannot_join() {
    let mut scene = Scene::set(Rig::start().await).await;
    let stranger = scene.rig.party("stranger");
    let session = scene.rig.session(&stranger).await;
    let file_key = scene.file_key(Role::Model);
    scene.firm = stranger;
    let mut join = scene.join(&session, Role::Data, |grant| grant.role = Role::Model);
    join.file_key = file_key;
    assert_eq!(refused(scene.send(&session, &join).await), RefusalCode::NotYours);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_party_cannot_grant_in_the_others_name() {
    let scene = Scene::set(Rig::start().await).await;
    // The firm calls, with a grant that only the hospital could sign.
    let session = scene.rig.session(&scene.firm).await;
    let join = scene.join(&session, Role::Model, |_| ());
    let mut forged = scene.join(&session, Role::Model, |_| ());
    forged.grant.signature = scene.hospital.identity().sign(&join.grant.grant.digest(&scene.job.manifest.domain()));
    assert_eq!(refused(scene.send(&session, &forged).await), RefusalCode::GrantSignature);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_grant_is_refused() {
    let scene = Scene::set(Rig::start().await).await;
    let session = scene.rig.session(&scene.firm).await;
    let join = scene.join(&session, Role::Model, |_| ());
    scene.send(&session, &join).await.expect("the first time is fine");
    assert_eq!(refused(scene.send(&session, &join).await), RefusalCode::GrantReplayed);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_grant_is_refused() {
    let scene = Scene::set(Rig::start().await).await;
    let session = scene.rig.session(&scene.firm).await;
    let join = scene.join(&session, Role::Model, |grant| grant.not_after = UnixTime(1));
    assert_eq!(refused(scene.send(&session, &join).await), RefusalCode::GrantExpired);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_for_another_key_epoch_is_refused() {
    let scene = Scene::set(Rig::start().await).await;
    let session = scene.rig.session(&scene.firm).await;
    let join = scene.join(&session, Role::Model, |grant| grant.enclave_key = Address([7; 20]));
    assert_eq!(refused(scene.send(&session, &join).await), RefusalCode::GrantElsewhere);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_runs_as_often_as_it_was_granted_and_no_more() {
    let scene = Scene::set(Rig::start().await).await;
    scene.play().await.expect("once");
    assert_eq!(refused(scene.grant(Role::Model).await), RefusalCode::GrantExhausted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_differs_in_one_bit_is_refused() {
    let scene = Scene::set(Rig::start().await).await;
    scene.grant(Role::Model).await.expect("the firm joins");
    let session = scene.rig.session(&scene.hospital).await;
    let mut join = scene.join(&session, Role::Data, |_| ());
    join.manifest.manifest.limits.memory ^= 1;
    assert_eq!(refused(scene.send(&session, &join).await), RefusalCode::ManifestInvalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_for_other_code_or_another_chip_is_refused() {
    for spoil in [|draft: &mut Draft| draft.measurement.0[0] ^= 1, |draft: &mut Draft| draft.enclave_id.0[0] ^= 1] {
        let scene = Scene::with(Rig::start().await, &breast_cancer::model(), &breast_cancer::data(), spoil).await;
        let session = scene.rig.session(&scene.firm).await;
        let join = scene.join(&session, Role::Model, |_| ());
        assert_eq!(refused(scene.send(&session, &join).await), RefusalCode::ManifestElsewhere);
        // The SDK does not even let it come to that.
        assert!(matches!(scene.grant(Role::Model).await, Err(Error::Elsewhere(_))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_result_is_the_data_providers_alone() {
    let scene = Scene::set(Rig::start().await).await;
    scene.play().await.expect("the job runs");
    let hash = scene.job.manifest.hash();
    let firm = scene.rig.session(&scene.firm).await;
    assert_eq!(refused(firm.result(&hash).await), RefusalCode::NotYours);
    firm.proof(&hash).await.expect("the proof is for every party");
    let stranger = scene.rig.session(&scene.rig.party("stranger")).await;
    assert_eq!(refused(stranger.status(&hash).await), RefusalCode::NotFound);
    // Nor does a stranger learn who signed what; a party may read it again.
    assert_eq!(refused(stranger.served(&hash).await), RefusalCode::NotFound);
    assert_eq!(firm.served(&hash).await.expect("its own").manifest, scene.job.manifest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_answers_as_often_as_its_grant_allows() {
    let rig = Rig::start().await;
    let firm = rig.party("firm");
    let options = glacier::Options { runs: 2, ..glacier::Options::default() };
    let (node, model) = (rig.node(), breast_cancer::model());
    let served =
        glacier::serve(&node, rig.policy(), &firm, &model, &options, &mut |_| ()).await.expect("the model is served");
    assert_eq!(served.status.phase, Phase::Serving);
    let hospital = rig.session(&rig.party("hospital")).await;
    let row = Tensor::from_f32("", vec![1, 30], &[1.0; 30]).unwrap();
    let model = hospital.model(&served.name).await.expect("its metadata is public");
    let inputs = model.fit(vec![row]).unwrap();
    let signed = hospital.served(&served.name).await.expect("what its owner signed is, too");
    for sequence in 0..2 {
        let answer = hospital.infer(&served.name, &inputs).await.expect("within the grant");
        assert_eq!(answer.proof.signed().proof.sequence, sequence);
        assert_eq!(answer.results.rows(), 1);
        let judged = judge_proof(&answer.proof.bundle(&hospital, Some(signed.clone())), Some(rig.policy()), now());
        assert_eq!(judged.proof.verdict(), Verdict::Accepted, "{:?}", judged.proof.checks);
        // Without what was signed nobody can say what the model was.
        let bare = judge_proof(&answer.proof.bundle(&hospital, None), Some(rig.policy()), now());
        assert_ne!(bare.proof.verdict(), Verdict::Accepted);
    }
    // Nobody can use it any more: it is wiped, without another call.
    over(&rig.session(&firm).await, &served.name).await;
    assert_eq!(refused(hospital.infer(&served.name, &inputs).await), RefusalCode::GrantExhausted);
    assert_eq!(refused(hospital.model(&served.name).await.map(drop)), RefusalCode::NotFound);
}

/// Waits until a deployment has ended, and asks nothing of it.
async fn over(session: &Session, job: &ManifestHash) {
    let mut status = session.status(job).await.unwrap();
    for _ in 0..200 {
        if status.phase == Phase::Done {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        status = session.status(job).await.unwrap();
    }
    assert_eq!((status.phase, status.events.last()), (Phase::Done, Some(&Event::Wiped)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_ends_at_its_time_though_nobody_calls() {
    let rig = Rig::start().await;
    let firm = rig.party("firm");
    let options = glacier::Options { lasts: 4, ..glacier::Options::default() };
    let (node, model) = (rig.node(), breast_cancer::model());
    let served = glacier::serve(&node, rig.policy(), &firm, &model, &options, &mut |_| ()).await.unwrap();
    let session = rig.session(&firm).await;
    let inputs = session.model(&served.name).await.unwrap();
    let inputs = inputs.fit(vec![Tensor::from_f32("", vec![1, 30], &[1.0; 30]).unwrap()]).unwrap();
    over(&session, &served.name).await;
    assert_eq!(refused(session.infer(&served.name, &inputs).await), RefusalCode::JobExpired);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_hangs_up_takes_nothing_from_the_others() {
    let rig = Rig::start().await;
    let firm = rig.party("firm");
    let options = glacier::Options { runs: 1000, ..glacier::Options::default() };
    let (node, model) = (rig.node(), breast_cancer::model());
    let served = glacier::serve(&node, rig.policy(), &firm, &model, &options, &mut |_| ()).await.unwrap();
    let caller = rig.party("caller");
    // Enough work for one request that many of these end in the middle of it.
    let rows = 20_000;
    let input = Tensor::from_f32("", vec![rows, 30], &vec![1.0; 30 * rows as usize]).unwrap();
    let patient = rig.session(&caller).await;
    let inputs = patient.model(&served.name).await.unwrap().fit(vec![input]).unwrap();
    for wait in 0..30 {
        let hasty = rig.session(&caller).await;
        let limit = std::time::Duration::from_micros(500 * wait);
        let _ = tokio::time::timeout(limit, hasty.infer(&served.name, &inputs)).await;
    }
    let answer = patient.infer(&served.name, &inputs).await.expect("the deployment serves on");
    assert_eq!(answer.results.rows(), rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_file_key_is_named_as_such() {
    let scene = Scene::set(Rig::start().await).await;
    let firm = scene.rig.session(&scene.firm).await;
    let release = Release {
        role: Role::Model,
        manifest: &scene.job,
        file_key: glacier::wire::FileKey::new([7; 16]),
        uses: 1,
        not_after: soon(),
    };
    firm.join(scene.firm.identity(), release).await.expect("nobody can tell yet");
    scene.grant(Role::Data).await.expect("the hospital joins");
    let waited = firm.wait(&scene.job.manifest.hash(), &mut |_| ()).await;
    assert_eq!(refused(waited), RefusalCode::AssetKey);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsigned_manifest_starts_nothing() {
    let mut scene = Scene::set(Rig::start().await).await;
    let unsigned = Job::new(scene.job.clone()).unwrap();
    scene.job.signatures.truncate(1);
    let session = scene.rig.session(&scene.hospital).await;
    let join = scene.join(&session, Role::Data, |_| ());
    assert_eq!(refused(scene.send(&session, &join).await), RefusalCode::ManifestInvalid);
    assert!(unsigned.signed().verify().is_ok(), "the whole one is good: it is the missing signature that counts");
}
