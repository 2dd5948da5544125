//! One app over one data set.

use crate::scene::{MOODS, Scene, cohort, file, native, table, text};
use glacier::wire::{
    Commitment, Work,
    api::{Event, Phase, RefusalCode},
    app::{AppResult, coarse},
};
use glacier_testkit::{Recorder, Rig, breast_cancer, contains, read_all, refused};
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread")]
async fn the_code_of_one_party_runs_on_the_data_of_another() {
    let scene = Scene::set(Rig::start().await, &cohort(), &breast_cancer::data(), |_| ()).await;
    let finished = scene.play().await.expect("the job runs");
    assert_eq!(finished.result, AppResult::Answer(native::answer("/", &table()).expect("a table")));
    let (proof, manifest) = (finished.proof.proof(), &scene.job.manifest);
    assert_eq!((proof.work, proof.manifest), (Work::App, scene.hash()));
    // What the proof names: the sealed app by its digest, the component itself by the manifest's.
    assert_eq!((proof.model, proof.input), (manifest.model, Commitment::from(manifest.data)));
    assert_eq!(scene.code().0, *blake3::hash(&std::fs::read(cohort()).unwrap()).as_bytes());
    assert!(proof.units > 0 && proof.units == coarse(proof.units));

    // The firm sees that it ran, and nothing of what came out.
    let firm = scene.rig.session(&scene.firm).await;
    assert_eq!(refused(firm.result(&scene.hash()).await), RefusalCode::NotYours);
    firm.proof(&scene.hash()).await.expect("the proof is for every party");
    let status = firm.status(&scene.hash()).await.expect("its own job");
    assert_eq!((status.phase, status.rows), (Phase::Done, 0));
    assert!(status.events.contains(&Event::Ran { rows: 0, units: proof.units }));
    assert!(status.events.contains(&Event::Wiped));
}

#[tokio::test(flavor = "multi_thread")]
async fn fuel_is_the_same_in_every_run() {
    let mut units = Vec::new();
    for _ in 0..2 {
        let scene = Scene::set(Rig::start().await, &cohort(), &breast_cancer::data(), |_| ()).await;
        units.push(scene.play().await.expect("the job runs").proof.proof().units);
    }
    assert_eq!(units[0], units[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_sees_neither_code_nor_data_nor_result() {
    let recorder = Arc::new(Recorder::default());
    let scene = Scene::set(Rig::hostile(recorder.clone()).await, &cohort(), &breast_cancer::data(), |_| ()).await;
    let finished = scene.play().await.expect("the job runs");
    let AppResult::Answer(answer) = finished.result else { panic!("{:?}", finished.result) };
    let mut seen = recorder.seen();
    read_all(&scene.rig.home().join("node"), &mut seen);
    let (code, data) = (std::fs::read(cohort()).unwrap(), table());
    for (what, secret) in [("code", &code[..]), ("data", &data[..]), ("result", &answer[..])] {
        let piece = &secret[secret.len() / 2..][..32];
        assert!(!contains(&seen, piece), "the host has seen {what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_app_says_when_it_refuses_is_for_the_recipients() {
    let rig = Rig::start().await;
    let secret = b"r: the patient in row 7 is called Ada";
    let (app, data) = (text(&rig, "moods.wasm", MOODS), file(&rig, "rows.txt", secret));
    let scene = Scene::set(rig, &app, &data, |_| ()).await;
    let finished = scene.play().await.expect("a refusal is a result");
    assert_eq!(finished.result, AppResult::Refusal(String::from_utf8(secret.to_vec()).unwrap()));
    let status = scene.rig.session(&scene.firm).await.status(&scene.hash()).await.expect("its own job");
    assert_eq!((status.phase, status.refusal), (Phase::Done, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn how_much_an_app_says_shows_in_steps() {
    let mut sizes = Vec::new();
    for rows in [b"a".to_vec(), vec![b'a'; 900]] {
        let rig = Rig::start().await;
        let (app, data) = (text(&rig, "moods.wasm", MOODS), file(&rig, "rows.txt", &rows));
        let finished = Scene::set(rig, &app, &data, |_| ()).await.play().await.expect("the job runs");
        assert_eq!(finished.result, AppResult::Answer(rows));
        sizes.push(finished.sealed_bytes);
    }
    assert_eq!(sizes[0], sizes[1]);
}
