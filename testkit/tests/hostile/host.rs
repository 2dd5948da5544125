//! The host alters, drops, replays, swaps and kills.

use crate::scene::{Scene, refused};
use glacier::{
    Error, Freshness,
    attest::CheckId,
    session::ConnectError,
    wire::{
        Digest, Role,
        api::{HostReply, HostRequest, RefusalCode},
    },
};
use glacier_host::danger::Meddler;
use glacier_testkit::{Rig, program};
use std::sync::{Arc, Mutex};

#[tokio::test(flavor = "multi_thread")]
async fn another_program_in_the_enclaves_place_is_not_accepted() {
    let swapped = Rig::with(program("sealed-bid-auction"), None).await;
    let honest = measurement_of_the_ai_service();
    // The relying party names the AI service's measurement and, generously, this very chip.
    let mut policy = swapped.policy().clone();
    policy.measurements = vec![honest.into()];
    let party = swapped.party("hospital");
    match swapped.node().connect(&policy, party.identity(), Freshness::Cached).await {
        Err(ConnectError::Evidence { error, .. }) => assert_eq!(error.check, CheckId::PolicyCode),
        other => panic!("{:?}", other.map(|_| "a session")),
    }
}

fn measurement_of_the_ai_service() -> glacier::wire::Measurement {
    glacier_simulator::measure_file(&program("glacier-enclave")).expect("the enclave program can be read")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chip_under_another_root_is_not_accepted() {
    let (meant, other) = (Rig::start().await, Rig::start().await);
    let party = other.party("hospital");
    match other.node().connect(meant.policy(), party.identity(), Freshness::Cached).await {
        Err(ConnectError::Evidence { error, .. }) => assert_eq!(error.check, CheckId::TrustAnchor),
        other => panic!("{:?}", other.map(|_| "a session")),
    }
}

/// Changes what the enclave reads of one asset.
struct Reader<F>(Mutex<Option<Digest>>, F);

impl<F: Fn(u64, &mut HostReply) + Send + Sync + 'static> Meddler for Reader<F> {
    fn answered(&self, request: &HostRequest, reply: &mut HostReply) {
        let target = *self.0.lock().unwrap();
        match request {
            HostRequest::Read { asset, offset, .. } if Some(*asset) == target => (self.1)(*offset, reply),
            HostRequest::Size { asset } if Some(*asset) == target => (self.1)(u64::MAX, reply),
            _ => {}
        }
    }
}

async fn with_data_read_as(change: impl Fn(u64, &mut HostReply) + Send + Sync + 'static) -> RefusalCode {
    let reader = Arc::new(Reader(Mutex::new(None), change));
    let scene = Scene::set(Rig::hostile(reader.clone()).await).await;
    *reader.0.lock().unwrap() = Some(scene.job.manifest.data);
    refused(scene.play().await)
}

#[tokio::test(flavor = "multi_thread")]
async fn altered_ciphertext_is_refused() {
    let code = with_data_read_as(|_, reply| {
        if let HostReply::Data { data } = reply {
            let at = data.len() / 2;
            data[at] ^= 1;
        }
    });
    assert_eq!(code.await, RefusalCode::AssetDigest);
}

#[tokio::test(flavor = "multi_thread")]
async fn truncated_ciphertext_is_refused() {
    // One whole chunk of 64 KiB is kept, so the cut falls where a careless reader sees an end.
    let code = with_data_read_as(|_, reply| match reply {
        HostReply::Size { bytes } => *bytes = 65_000,
        HostReply::Data { data } => data.truncate(65_000),
        _ => {}
    });
    assert_eq!(code.await, RefusalCode::AssetDigest);
}

#[tokio::test(flavor = "multi_thread")]
async fn reordered_ciphertext_is_refused() {
    let code = with_data_read_as(|_, reply| {
        if let HostReply::Data { data } = reply {
            let (first, second) = (20_000, 90_000);
            for at in 0..1000 {
                data.swap(first + at, second + at);
            }
        }
    });
    assert_eq!(code.await, RefusalCode::AssetDigest);
}

/// Answers every request for one asset with the other.
#[derive(Default)]
struct Swapper(Mutex<Option<(Digest, Digest)>>);

impl Meddler for Swapper {
    fn called(&self, request: &mut HostRequest) {
        let Some((a, b)) = *self.0.lock().unwrap() else { return };
        if let HostRequest::Size { asset } | HostRequest::Read { asset, .. } = request {
            *asset = if *asset == a { b } else { a };
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn swapped_assets_are_refused() {
    let swapper = Arc::new(Swapper::default());
    let scene = Scene::set(Rig::hostile(swapper.clone()).await).await;
    *swapper.0.lock().unwrap() = Some((scene.job.manifest.data, scene.job.manifest.model));
    assert_eq!(refused(scene.play().await), RefusalCode::AssetDigest);
}

/// Says that it has never seen an asset.
struct Forgetful;

impl Meddler for Forgetful {
    fn called(&self, request: &mut HostRequest) {
        if let HostRequest::Size { asset } = request {
            *asset = Digest::ZERO;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn withheld_ciphertext_is_missing_and_costs_no_run() {
    let scene = Scene::set(Rig::hostile(Arc::new(Forgetful)).await).await;
    assert_eq!(refused(scene.play().await), RefusalCode::AssetMissing);
    // The job has not run: its parties may grant again.
    scene.grant(Role::Model).await.expect("a fresh grant is taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_result_in_the_place_of_this_one_is_not_believed() {
    let scene = Scene::set(Rig::start().await).await;
    let earlier = scene.play().await.expect("the first job runs");
    let next = Scene::set(scene.rig).await;
    let session = next.rig.session(&next.hospital).await;
    let hash = next.job.manifest.hash();
    // A snapshot of the store from before, and a bundle from before: whole, signed, and stale.
    let believed = session.believe(&earlier.bundle, &hash, next.policy());
    assert!(matches!(believed, Err(glacier::Unproved::OtherJob)), "{believed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_exchanged_in_the_store_is_not_opened() {
    let scene = Scene::set(Rig::start().await).await;
    scene.grant(Role::Model).await.unwrap();
    scene.grant(Role::Data).await.unwrap();
    let session = scene.rig.session(&scene.hospital).await;
    let hash = scene.job.manifest.hash();
    session.wait(&hash, &mut |_| ()).await.unwrap();
    let result = session.result(&hash).await.unwrap().proof.proof.output.to_string();
    let stored = find(&scene.rig.home().join("node"), &result).expect("the result is in the store");
    std::fs::copy(&scene.data, &stored).expect("the host may write its own store");
    let collected = session.collect(&scene.node(), &scene.job, &scene.hospital, scene.policy(), &mut |_, _| ()).await;
    assert!(matches!(collected, Err(Error::Node(_) | Error::Seal(_))), "{collected:?}");
}

fn find(folder: &std::path::Path, name: &str) -> Option<std::path::PathBuf> {
    std::fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
        let path = entry.path();
        if path.is_dir() { find(&path, name) } else { (entry.file_name().to_str()? == name).then_some(path) }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_enclave_ends_the_session_and_voids_its_grants() {
    let scene = Scene::set(Rig::start().await).await;
    let session = scene.rig.session(&scene.firm).await;
    let old = scene.join(&session, Role::Model, |_| ());
    scene.send(&session, &old).await.expect("the grant is taken");
    let before = scene.rig.host().info().expect("an enclave runs");
    let killed = std::process::Command::new("kill").args(["-9", &before.pid.to_string()]).status();
    assert!(killed.expect("kill runs").success());
    assert!(matches!(session.status(&scene.job.manifest.hash()).await, Err(Error::Request(_))));
    scene.rig.host().restarted(before.pid).await.expect("the host starts it again");

    // A new epoch: the old grant, recorded by the host, is for a key that no longer exists.
    let session = scene.rig.session(&scene.firm).await;
    assert_eq!(refused(scene.send(&session, &old).await), RefusalCode::GrantElsewhere);
    assert_eq!(refused(session.status(&scene.job.manifest.hash()).await), RefusalCode::NotFound);
    // Nothing was lost: the signed manifest and the ciphertext are still good.
    assert_eq!(scene.play().await.expect("the job runs after all").results.rows(), 569);
}
