//! An app that answers callers.

use crate::scene::{MOODS, cohort, native, open, table, text};
use bytes::Bytes;
use glacier::{
    Options,
    component::code_digest,
    wire::{
        Commitment, Work,
        api::RefusalCode,
        app::{AppResult, padded},
    },
};
use glacier_testkit::{Rig, refused};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn whoever_accepts_the_enclave_may_call() {
    let rig = Rig::start().await;
    let (firm, hospital) = (rig.party("firm"), rig.party("hospital"));
    let app = open(&rig, &firm, &cohort(), &Options::default()).await.expect("the app runs");
    let session = rig.session(&hospital).await;
    let info = session.app(&app).await.expect("it says what it is");
    assert_eq!((info.app, info.owner), (app, firm.address()));
    assert_eq!(Ok(info.code), code_digest(&cohort()));
    let mut units = Vec::new();
    for _ in 0..2 {
        let answer = session.call_app(&app, "/", table().into()).await.expect("an answer");
        assert_eq!(answer.result, AppResult::Answer(native::answer("/", &table()).expect("a table")));
        let proof = &answer.proof.signed().proof;
        assert_eq!((proof.work, proof.manifest, proof.model), (Work::App, app, info.asset));
        units.push(proof.units);
    }
    assert_eq!(session.served(&app).await.expect("what its owner signed").manifest.plan, info.code);
    assert_eq!(units[0], units[1]);
    let one = session.call_app(&app, "/mean_area", table().into()).await.expect("one column");
    assert_eq!(one.result, AppResult::Answer(native::answer("/mean_area", &table()).expect("there is such a column")));
    // The app's own refusal, to the caller.
    let refusal = session.call_app(&app, "/", bytes(b"a,b\n1,2\n")).await.expect("a refusal is an answer");
    assert_eq!(refusal.result, AppResult::Refusal(native::answer("/", b"a,b\n1,2\n").expect_err("one row")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_as_long_as_an_answer_and_proved_like_one() {
    let rig = Rig::start().await;
    let (firm, hospital) = (rig.party("firm"), rig.party("hospital"));
    let moods = text(&rig, "moods.wasm", MOODS);
    let app = open(&rig, &firm, &moods, &Options::default()).await.expect("the app runs");
    let session = rig.session(&hospital).await;
    // More than the text of an enclave's own refusal may have.
    let refusing = [b"r".to_vec(), vec![b'x'; 40_000]].concat();
    let said = session.call_app(&app, "/", refusing.clone().into()).await.expect("a refusal is an answer");
    assert_eq!(said.result, AppResult::Refusal(String::from_utf8(refusing).expect("text")));
    let proof = &said.proof.signed().proof;
    assert_eq!((proof.work, proof.manifest), (Work::App, app));
    assert!(proof.units > 0 && proof.output != Commitment::ZERO);

    // What a host counts on the line: the same for a byte and for nine hundred, for yes and for no.
    let path = format!("/apps/{app}/");
    for body in [b"a".to_vec(), vec![b'a'; 900], b"r".to_vec(), vec![b'r'; 900]] {
        let answer = session.request("POST".try_into().expect("a method"), &path, &[], body.into()).await;
        let answer = answer.expect("both are a success");
        assert_eq!((answer.status, answer.body.len() as u64), (200, padded(1)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_callers_mishap_is_nobody_elses() {
    let rig = Rig::start().await;
    let (firm, hospital) = (rig.party("firm"), rig.party("hospital"));
    let moods = text(&rig, "moods.wasm", MOODS);
    let options = Options { memory: 64 << 20, ..Options::default() };
    let app = open(&rig, &firm, &moods, &options).await.expect("the app runs");
    let session = rig.session(&hospital).await;
    let cases = [
        (&b"m"[..], RefusalCode::MemoryLimit),
        (b"t", RefusalCode::App),
        (b"d", RefusalCode::App),
        (b"b", RefusalCode::App),
    ];
    for (body, code) in cases {
        assert_eq!(refused(session.call_app(&app, "/", bytes(body)).await), code, "{body:?}");
        let answer = session.call_app(&app, "/", bytes(b"hello")).await.expect("it still answers");
        assert_eq!(answer.result, AppResult::Answer(b"hello".to_vec()));
    }
    // More than its memory holds, though less than a request may have.
    let large = vec![b'a'; 20 << 20].into();
    assert_eq!(refused(session.call_app(&app, "/", large).await), RefusalCode::MemoryLimit);
    assert!(session.call_app(&app, "/", bytes(b"hello")).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_loop_takes_the_apps_own_fuel_and_no_others() {
    let rig = Rig::start().await;
    let (firm, hospital) = (rig.party("firm"), rig.party("hospital"));
    let moods = text(&rig, "moods.wasm", MOODS);
    let small = Options { units: 50_000_000, ..Options::default() };
    let (looping, other) = (open(&rig, &firm, &moods, &small).await, open(&rig, &firm, &moods, &small).await);
    let (looping, other) = (looping.expect("the app runs"), other.expect("another too"));
    let session = rig.session(&hospital).await;
    assert_eq!(refused(session.call_app(&looping, "/", bytes(b"l")).await), RefusalCode::UnitLimit);
    // All of its fuel is burnt.
    assert_eq!(refused(session.call_app(&looping, "/", bytes(b"hello")).await), RefusalCode::UnitLimit);
    assert!(session.call_app(&other, "/", bytes(b"hello")).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_up_before_its_turn_takes_no_use() {
    let rig = Rig::start().await;
    let (firm, hospital) = (rig.party("firm"), rig.party("hospital"));
    let moods = text(&rig, "moods.wasm", MOODS);
    let app = open(&rig, &firm, &moods, &Options { runs: 3, units: 1_000_000_000, ..Options::default() }).await;
    let app = app.expect("the app runs");
    let (slow, patient) = (rig.session(&hospital).await, rig.session(&hospital).await);
    let looping = tokio::spawn(async move { refused(slow.call_app(&app, "/", bytes(b"l")).await) });
    tokio::time::sleep(Duration::from_millis(50)).await;
    for _ in 0..3 {
        let hasty = rig.session(&hospital).await;
        let called = hasty.call_app(&app, "/", vec![b'a'; 1 << 20].into());
        assert!(tokio::time::timeout(Duration::from_millis(30), called).await.is_err(), "the loop goes on");
    }
    assert!(!looping.is_finished());
    assert_eq!(looping.await.unwrap(), RefusalCode::UnitLimit);
    // All of its fuel is burnt; what counts here is that there are two uses more.
    for _ in 0..2 {
        assert_eq!(refused(patient.call_app(&app, "/", bytes(b"hello")).await), RefusalCode::UnitLimit);
    }
    assert_eq!(refused(patient.call_app(&app, "/", bytes(b"hello")).await), RefusalCode::GrantExhausted);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_answers_as_often_as_its_grant_allows() {
    let rig = Rig::start().await;
    let (firm, hospital) = (rig.party("firm"), rig.party("hospital"));
    let moods = text(&rig, "moods.wasm", MOODS);
    let app = open(&rig, &firm, &moods, &Options { runs: 1, ..Options::default() }).await.expect("the app runs");
    let session = rig.session(&hospital).await;
    assert!(session.call_app(&app, "/", bytes(b"hello")).await.is_ok());
    assert_eq!(refused(session.call_app(&app, "/", bytes(b"hello")).await), RefusalCode::GrantExhausted);
}

fn bytes(body: &[u8]) -> Bytes {
    Bytes::copy_from_slice(body)
}
