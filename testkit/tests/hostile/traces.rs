//! What stays behind: nothing readable with the host, nothing at all in the enclave.

use crate::scene::Scene;
use glacier::wire::Role;
use glacier_testkit::{Recorder, Rig, breast_cancer, contains, read_all};
use std::{fs, sync::Arc};

/// Patterns of at least 16 bytes that would give model, data, keys or result away.
fn secrets(scene: &Scene, result: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut secrets = Vec::new();
    for (what, file) in [("data", breast_cancer::data()), ("model", breast_cancer::model())] {
        let bytes = fs::read(file).unwrap();
        for at in [0, bytes.len() / 3, bytes.len() / 2, bytes.len() - 64] {
            secrets.push((what, bytes[at..at + 48].to_vec()));
        }
    }
    secrets.push(("result", result[result.len() / 2..][..48].to_vec()));
    for (what, role) in [("data key", Role::Data), ("model key", Role::Model)] {
        secrets.push((what, scene.file_key(role).expose().to_vec()));
    }
    for (what, key) in [("hospital's key", &scene.hospital), ("firm's key", &scene.firm)] {
        secrets.push((what, key.identity().expose_secret().to_vec()));
    }
    secrets
}

#[tokio::test(flavor = "multi_thread")]
async fn no_plaintext_ever_passes_or_stays_with_the_host() {
    let recorder = Arc::new(Recorder::default());
    let scene = Scene::set(Rig::hostile(recorder.clone()).await).await;
    let finished = scene.play().await.expect("the job runs");
    let result =
        finished.results.to_bytes(glacier::Format::Npy).or_else(|_| finished.results.to_bytes(glacier::Format::Npz));
    let mut seen = recorder.seen();
    read_all(&scene.rig.home().join("node"), &mut seen);
    let ciphertext = fs::read(&scene.data).unwrap();
    assert!(contains(&seen, &ciphertext[1000..1048]), "the recorder must see what passes");
    for (what, pattern) in secrets(&scene, &result.unwrap()) {
        assert!(!contains(&seen, &pattern), "the host saw the {what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_model_and_data_are_gone_from_the_enclaves_memory() {
    let scene = Scene::set(Rig::start().await).await;
    let pid = scene.rig.host().info().expect("an enclave runs").pid;
    let finished = scene.play().await.expect("the job runs");
    let result = finished.results.to_bytes(glacier::Format::Npz).unwrap();
    let mut left = Vec::new();
    // Sessions end after their parties have: give the enclave a moment to notice.
    for _ in 0..20 {
        let Some(memory) = memory_of(pid) else {
            // The enclave is not dumpable: only root can look.
            println!("skipped: needs root to read the enclave's memory");
            return;
        };
        // What the enclave must still hold is found: the search does search.
        assert!(contains(&memory, &scene.job.manifest.hash().0), "the job's hash is kept");
        let secrets = secrets(&scene, &result);
        left = secrets.iter().filter(|(_, bytes)| contains(&memory, bytes)).map(|(what, _)| *what).collect();
        if left.is_empty() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the enclave kept {left:?}");
}

fn memory_of(pid: u32) -> Option<Vec<u8>> {
    use std::os::unix::fs::FileExt;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let memory = fs::File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut bytes = Vec::new();
    for line in maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|flags| flags.starts_with("rw"))) {
        let (from, to) = line.split_once(' ')?.0.split_once('-')?;
        let (from, to) = (u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?);
        let mut region = vec![0; usize::try_from(to - from).ok()?];
        // Secret pages cannot be read even by root: that is the point of them.
        if memory.read_exact_at(&mut region, from).is_ok() {
            bytes.append(&mut region);
        }
    }
    Some(bytes)
}
