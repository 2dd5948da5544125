//! Who may do what to a training.

use crate::scene::{Scene, Table, blobs, checkpoints, endless, eventually, plan, workers, write};
use glacier::{
    Options,
    wire::{
        Role,
        api::{Phase, RefusalCode},
        training::TrainingPage,
    },
};
use glacier_testkit::{Rig, refused};

#[tokio::test(flavor = "multi_thread")]
async fn a_party_that_withdraws_ends_it_and_nothing_is_kept() {
    for firm in [true, false] {
        let scene = Scene::of_two(Rig::start().await, endless()).await;
        scene.begin().await;
        let hospital = scene.under_way().await;
        let hash = scene.job.manifest.hash();
        assert_eq!(checkpoints(&scene.rig).len(), 1, "the search finds what is there");
        assert_eq!(workers(&scene.rig).len(), 1);
        let party = if firm { scene.firm() } else { scene.hospital() };
        scene.rig.session(party).await.withdraw(&hash).await.expect("any party may");
        for key in [scene.hospital(), scene.firm()] {
            assert_eq!(refused(scene.end(key).await), RefusalCode::Withdrawn);
        }
        eventually("the worker is gone", || workers(&scene.rig).is_empty()).await;
        eventually("the checkpoint is gone", || checkpoints(&scene.rig).is_empty()).await;
        // One that was on its way when the end came may be left: sealed, and with nobody who points to it.
        eventually("its blob is gone", || blobs(&scene.rig).len() <= scene.parts.len() + 1).await;
        assert_eq!(refused(hospital.result(&hash).await), RefusalCode::Withdrawn);
        // Neither a pause nor its end brings it back.
        hospital.pause(&hash, false).await.expect("the owner may ask");
        assert_eq!(hospital.status(&hash).await.unwrap().phase, Phase::Refused);
        assert!(workers(&scene.rig).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_training_can_be_granted_anew() {
    let scene = Scene::of_two(Rig::start().await, plan()).await;
    scene.begin().await;
    let session = scene.under_way().await;
    session.withdraw(&scene.job.manifest.hash()).await.expect("any party may");
    assert_eq!(refused(scene.end(scene.hospital()).await), RefusalCode::Withdrawn);
    // Everybody has to: a party that withdrew is not held to its old grant.
    scene.grant(&scene.parts[0], 0).await.expect("a fresh grant is taken");
    assert_eq!(session.status(&scene.job.manifest.hash()).await.unwrap().phase, Phase::Waiting);
    scene.grant(&scene.parts[1], 0).await.expect("a fresh grant is taken");
    let status = scene.end(scene.hospital()).await.expect("the training runs");
    assert_eq!(status.phase, Phase::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_was_taken_back_before_the_start_starts_nothing() {
    let scene = Scene::of_two(Rig::start().await, plan()).await;
    let [hospital, firm] = &scene.parts[..] else { panic!("two parties") };
    let hash = scene.job.manifest.hash();
    scene.grant(firm, 0).await.expect("a party of the job");
    scene.rig.session(scene.firm()).await.withdraw(&hash).await.expect("a party may");
    let status = scene.grant(hospital, 0).await.expect("a party of the job");
    assert_eq!((status.phase, status.waiting_for), (Phase::Waiting, vec![Role::Model]));
    scene.grant(firm, 0).await.expect("it may grant anew");
    scene.end(&hospital.key).await.expect("and then the job runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_course_is_the_owners_and_has_one_length() {
    let scene = Scene::of_two(Rig::start().await, endless()).await;
    scene.begin().await;
    let hash = scene.job.manifest.hash();
    let hospital = scene.rig.session(scene.hospital()).await;
    // From before the first step on, from places that there are and that there are not.
    let (mut points, mut told) = (0, 0);
    for turn in 0..10 {
        let from = if turn % 3 == 2 { u64::MAX } else { points };
        let path = format!("/glacier/v1/jobs/{hash}/training?points={from}&epochs={told}");
        let page = hospital.get(&path).await.expect("the owner may");
        assert_eq!(page.body.len(), TrainingPage::BYTES);
        let page = TrainingPage::read(&page.body).expect("a page");
        (points, told) = (points + page.points.len() as u64, told + page.epochs.len() as u64);
    }
    assert!(points > 0 && told > 0, "there was something to tell");

    let firm = scene.rig.session(scene.firm()).await;
    let stranger = scene.rig.session(&scene.rig.party("stranger")).await;
    for pause in [true, false] {
        assert_eq!(refused(firm.pause(&hash, pause).await), RefusalCode::NotYours);
        assert_eq!(refused(stranger.pause(&hash, pause).await), RefusalCode::NotFound);
    }
    assert_eq!(refused(firm.course(&hash, 0, 0).await), RefusalCode::NotYours);
    assert_eq!(refused(stranger.course(&hash, 0, 0).await), RefusalCode::NotFound);
    assert_eq!(refused(stranger.status(&hash).await), RefusalCode::NotFound);
    assert_eq!(refused(stranger.withdraw(&hash).await), RefusalCode::NotFound);
    // The firm sees that work goes on, and of how it goes nothing.
    let status = firm.status(&hash).await.expect("a party may");
    assert_eq!((status.phase, status.rows), (Phase::Running, 0));
    hospital.withdraw(&hash).await.expect("the owner may");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hospitals_train_one_model_and_neither_has_the_others_rows() {
    let table = Table::read();
    let halves = [table.share(0, 2), table.share(1, 2)];
    let scene = Scene::set(Rig::start().await, plan(), &halves).await;
    let [first, second, firm] = &scene.parts[..] else { panic!("three parties") };
    let hash = scene.job.manifest.hash();

    // Nobody can release, or point at, what is another's.
    let session = scene.rig.session(&second.key).await;
    let theirs = scene.join(&session, first, &second.key);
    assert_eq!(refused(scene.send(&session, &theirs).await), RefusalCode::NotYours);
    let mut crossed = scene.join(&session, second, &second.key);
    crossed.asset = first.asset;
    assert_eq!(refused(scene.send(&session, &crossed).await), RefusalCode::NotYours);
    let session = scene.rig.session(&first.key).await;
    let theirs = scene.join(&session, second, &first.key);
    assert_eq!(refused(scene.send(&session, &theirs).await), RefusalCode::NotYours);
    let mut forged = scene.join(&session, first, &first.key);
    forged.grant = scene.join(&session, first, &second.key).grant;
    assert_eq!(refused(scene.send(&session, &forged).await), RefusalCode::GrantSignature);

    // It waits for each of them.
    scene.grant(firm, 0).await.expect("a party of the job");
    let status = scene.grant(second, 0).await.expect("a party of the job");
    assert_eq!((status.phase, status.waiting_for.len()), (Phase::Waiting, 1));
    scene.grant(first, 0).await.expect("a party of the job");
    scene.end(&second.key).await.expect("a contributor may wait");

    let contributor = scene.rig.session(&second.key).await;
    assert_eq!(refused(contributor.course(&hash, 0, 0).await), RefusalCode::NotYours);
    assert_eq!(refused(contributor.result(&hash).await), RefusalCode::NotYours);
    assert_eq!(refused(contributor.pause(&hash, true).await), RefusalCode::NotYours);
    contributor.proof(&hash).await.expect("the proof is for every party");

    let (node, policy) = (scene.rig.node(), scene.rig.policy());
    let owner = scene.rig.session(&first.key).await;
    let refined = owner.refinement(&node, &scene.job, &first.key, policy, &mut |_, _| ()).await;
    let refined = refined.expect("the first hospital gets the result");
    assert_eq!(refined.record.data, [first.asset, second.asset]);
    // Of all epochs over all rows but those that validate.
    let all = halves.iter().map(|half| half.lines().count() as u64 - 1).sum::<u64>();
    let learnt = refined.record.rows / u64::from(plan().epochs);
    assert!(learnt > all * 8 / 10 && learnt < all, "{learnt} of {all} rows");

    let (rows, classes) = table.held_out();
    let rig = &scene.rig;
    let (model, data) = (write(rig, "refined.onnx", &refined.model), write(rig, "held-out.csv", rows.as_bytes()));
    let inference = glacier::infer(&node, policy, &first.key, &model, &data, &Options::default(), &mut |_| ()).await;
    let labels = inference.expect("the refined model runs").finished.results.labels.expect("the classes have names");
    let right = labels.iter().zip(&classes).filter(|(found, wanted)| found == *wanted).count();
    assert!(right * 100 >= classes.len() * 94, "{right} of {} held-out rows", classes.len());
}
