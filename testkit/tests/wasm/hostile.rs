//! What is not the component that was signed, or none that may run.

use crate::scene::{MOODS, Scene, cohort, file, open, text};
use glacier::{
    Options,
    wire::{
        Digest,
        api::{HostReply, HostRequest, RefusalCode},
    },
};
use glacier_host::danger::Meddler;
use glacier_testkit::{Rig, breast_cancer, refused};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_run_is_refused_before_it_starts() {
    let rig = Rig::start().await;
    let firm = rig.party("firm");
    let wasi = r#"(component (import "wasi:sockets/tcp@0.2.0" (instance (export "go" (func)))))"#;
    let cases = [
        (text(&rig, "wasi.wasm", wasi), RefusalCode::ModelUnsupported, "wasi:sockets/tcp@0.2.0"),
        (text(&rig, "module.wasm", "(module)"), RefusalCode::ModelInvalid, "module"),
        (text(&rig, "mute.wasm", "(component)"), RefusalCode::ModelInvalid, "handle"),
        (breast_cancer::model(), RefusalCode::ModelInvalid, "no WebAssembly"),
        (file(&rig, "cut.wasm", &std::fs::read(cohort()).unwrap()[..5000]), RefusalCode::ModelInvalid, "not valid"),
    ];
    for (component, code, word) in cases {
        let opened = open(&rig, &firm, &component, &Options::default()).await.expect_err("it is refused");
        let refusal = opened.refusal().expect("by the enclave");
        assert_eq!(refusal.code, code, "{}", component.display());
        assert!(refusal.detail.contains(word), "{}", refusal.detail);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_component_than_was_signed_is_not_run() {
    let rig = Rig::start().await;
    // The firm seals other code than the one whose digest the hospital has looked at.
    let scene = Scene::set(rig, &cohort(), &breast_cancer::data(), |draft| draft.code = Digest([7; 32])).await;
    assert_eq!(refused(scene.play().await), RefusalCode::AssetDigest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_the_host_exchanges_is_not_run() {
    let swap = Arc::new(Swap::default());
    let rig = Rig::hostile(swap.clone()).await;
    let scene = Scene::set(rig, &cohort(), &breast_cancer::data(), |_| ()).await;
    swap.0.store(true, Ordering::Relaxed);
    assert_eq!(refused(scene.play().await), RefusalCode::AssetDigest);
}

/// Alters a byte of what the enclave reads.
#[derive(Default)]
struct Swap(AtomicBool);

impl Meddler for Swap {
    fn answered(&self, _: &HostRequest, reply: &mut HostReply) {
        if let HostReply::Data { data } = reply
            && self.0.load(Ordering::Relaxed)
            && let Some(byte) = data.last_mut()
        {
            *byte ^= 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_takes_its_worker_down_takes_nothing_else() {
    let rig = Rig::start().await;
    let firm = rig.party("firm");
    let moods = text(&rig, "moods.wasm", MOODS);
    let other = open(&rig, &firm, &moods, &Options::default()).await.expect("the app runs");
    // Less memory than its compiler needs: the worker ends where it stands.
    let tight = Options { memory: 1 << 20, ..Options::default() };
    assert_eq!(refused(open(&rig, &firm, &cohort(), &tight).await), RefusalCode::MemoryLimit);
    let session = rig.session(&rig.party("hospital")).await;
    assert!(session.call_app(&other, "/", "hello".into()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_job_ends_with_its_fuel() {
    let rig = Rig::start().await;
    let (app, data) = (text(&rig, "moods.wasm", MOODS), file(&rig, "rows.txt", b"l"));
    let scene = Scene::set(rig, &app, &data, |draft| draft.limits.units = 10_000_000).await;
    assert_eq!(refused(scene.play().await), RefusalCode::UnitLimit);
    // What all parties are told of the end is one of few sentences.
    let status = scene.rig.session(&scene.firm).await.status(&scene.hash()).await.expect("its own job");
    assert_eq!(status.refusal.expect("why").detail, "the app used up its fuel");
}
