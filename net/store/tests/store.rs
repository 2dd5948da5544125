//! What the store promises its operator, and one test for each way to misuse it.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use glacier_store::{Progress, Store, StoreError, UploadId};
use glacier_wire::Digest;
use proptest::prelude::*;
use tempfile::TempDir;

const ROOMY: u64 = 1 << 30;

fn content(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7) as u8 ^ seed).collect()
}

fn digest(bytes: &[u8]) -> Digest {
    Digest(*blake3::hash(bytes).as_bytes())
}

async fn fresh(max: u64) -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), max).await.unwrap();
    (dir, store)
}

async fn put(store: &Store, bytes: &[u8]) -> Digest {
    let digest = digest(bytes);
    store.begin(&digest, bytes.len() as u64).await.unwrap();
    store.append(&digest, 0, bytes.to_vec()).await.unwrap();
    store.complete(&digest).await.unwrap();
    digest
}

fn disk_bytes(dir: &Path) -> u64 {
    ["blobs", "parts", "results"]
        .iter()
        .flat_map(|name| std::fs::read_dir(dir.join(name)).unwrap())
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum()
}

#[tokio::test]
async fn what_was_put_is_read_in_ranges() {
    let (_dir, store) = fresh(ROOMY).await;
    let bytes = content(1, 100_000);
    let digest = put(&store, &bytes).await;
    assert_eq!(store.size(&digest), Ok(100_000));
    assert_eq!(store.read(&digest, 0, usize::MAX).await.unwrap(), bytes);
    assert_eq!(store.read(&digest, 99_000, 5000).await.unwrap(), &bytes[99_000..]);
    assert_eq!(store.read(&digest, 50, 10).await.unwrap(), &bytes[50..60]);
    assert_eq!(store.read(&digest, 100_000, 10).await, Ok(vec![]));
    assert_eq!(store.read(&digest, 100_001, 10).await, Err(StoreError::Range { end: 100_000 }));
    assert_eq!(store.list().len(), 1);
    assert_eq!(store.progress(&digest).await, Ok(Progress::Complete { bytes: 100_000 }));
}

#[tokio::test]
async fn what_is_not_there_is_missing() {
    let (_dir, store) = fresh(ROOMY).await;
    let nothing = Digest([9; 32]);
    assert_eq!(store.size(&nothing), Err(StoreError::Missing));
    assert_eq!(store.read(&nothing, 0, 1).await, Err(StoreError::Missing));
    assert_eq!(store.append(&nothing, 0, vec![1]).await, Err(StoreError::Missing));
    assert_eq!(store.complete(&nothing).await, Err(StoreError::Missing));
    assert_eq!(store.delete(&nothing).await, Err(StoreError::Missing));
    assert_eq!(store.progress(&nothing).await, Ok(Progress::Absent));
    assert_eq!(store.append_upload(UploadId(7), vec![1]).await, Err(StoreError::Missing));
    assert_eq!(store.commit_upload(UploadId(7), &nothing).await, Err(StoreError::Missing));
    assert_eq!(store.abort_upload(UploadId(7)).await, Err(StoreError::Missing));
}

#[tokio::test]
async fn an_upload_goes_on_where_the_last_process_stopped() {
    let bytes = content(2, 300_000);
    let digest = digest(&bytes);
    let (dir, store) = fresh(ROOMY).await;
    store.begin(&digest, 300_000).await.unwrap();
    store.append(&digest, 0, bytes[..123_456].to_vec()).await.unwrap();
    drop(store);
    let store = Store::open(dir.path(), ROOMY).await.unwrap();
    assert_eq!(store.begin(&digest, 300_000).await, Ok(Progress::Partial { have: 123_456, length: 300_000 }));
    assert_eq!(store.usage().bytes, 123_456);
    assert_eq!(store.append(&digest, 123_456, bytes[123_456..].to_vec()).await, Ok(300_000));
    assert_eq!(store.complete(&digest).await, Ok(300_000));
    assert_eq!(store.complete(&digest).await, Ok(300_000));
    assert_eq!(store.read(&digest, 0, usize::MAX).await.unwrap(), bytes);
    assert_eq!(disk_bytes(dir.path()), store.usage().bytes);
}

/// Not a test of its own: what the next test kills.
#[tokio::test]
async fn endless_uploads() {
    let Ok(dir) = std::env::var("GLACIER_STORE_KILLED") else { return };
    let store = Store::open(dir, ROOMY).await.unwrap();
    for round in 0.. {
        let bytes = content(round, 4 << 20);
        let digest = digest(&bytes);
        store.begin(&digest, bytes.len() as u64).await.unwrap();
        for (at, part) in bytes.chunks(10_000).enumerate() {
            store.append(&digest, at as u64 * 10_000, part.to_vec()).await.unwrap();
        }
        store.complete(&digest).await.unwrap();
    }
}

#[tokio::test]
async fn a_killed_process_leaves_whole_blobs_and_resumable_parts() {
    for delay in [60, 110, 170, 230] {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "endless_uploads"])
            .env("GLACIER_STORE_KILLED", dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while !dir.path().join("parts").exists() || disk_bytes(dir.path()) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(delay)).await;
        child.kill().unwrap();
        child.wait().unwrap();

        let store = Store::open(dir.path(), ROOMY).await.unwrap();
        assert_eq!(disk_bytes(dir.path()), store.usage().bytes);
        for blob in store.list() {
            assert_eq!(digest(&store.read(&blob.digest, 0, usize::MAX).await.unwrap()), blob.digest);
        }
        for round in 0..=store.list().len() as u8 {
            let bytes = content(round, 4 << 20);
            let digest = digest(&bytes);
            match store.begin(&digest, bytes.len() as u64).await.unwrap() {
                Progress::Complete { .. } => {}
                Progress::Partial { have, .. } => {
                    store.append(&digest, have, bytes[have as usize..].to_vec()).await.unwrap();
                    store.complete(&digest).await.unwrap();
                }
                Progress::Absent => panic!("it was begun"),
            }
        }
    }
}

#[tokio::test]
async fn other_bytes_than_the_digest_says_are_thrown_away() {
    let (dir, store) = fresh(ROOMY).await;
    let wanted = digest(b"wanted");
    store.begin(&wanted, 5).await.unwrap();
    store.append(&wanted, 0, b"other".to_vec()).await.unwrap();
    assert_eq!(store.complete(&wanted).await, Err(StoreError::DigestMismatch));
    assert_eq!(store.progress(&wanted).await, Ok(Progress::Absent));
    let upload = store.create_upload().await.unwrap();
    store.append_upload(upload, b"other".to_vec()).await.unwrap();
    assert_eq!(store.commit_upload(upload, &wanted).await, Err(StoreError::DigestMismatch));
    assert_eq!((store.usage().bytes, disk_bytes(dir.path())), (0, 0));
}

#[tokio::test]
async fn an_upload_is_not_complete_before_its_length() {
    let (_dir, store) = fresh(ROOMY).await;
    let wanted = digest(b"wanted");
    store.begin(&wanted, 6).await.unwrap();
    store.append(&wanted, 0, b"wan".to_vec()).await.unwrap();
    assert_eq!(store.complete(&wanted).await, Err(StoreError::Offset { expected: 3 }));
    assert_eq!(store.append(&wanted, 2, b"nted".to_vec()).await, Err(StoreError::Offset { expected: 3 }));
    assert_eq!(store.append(&wanted, 3, b"teds".to_vec()).await, Err(StoreError::Length { announced: 6 }));
    assert_eq!(store.begin(&wanted, 7).await, Err(StoreError::Length { announced: 6 }));
    assert_eq!(store.append(&wanted, 3, b"ted".to_vec()).await, Ok(6));
    assert_eq!(store.complete(&wanted).await, Ok(6));
}

#[tokio::test]
async fn a_spoiled_upload_can_be_begun_anew() {
    let (_dir, store) = fresh(ROOMY).await;
    let wanted = digest(b"wanted");
    store.begin(&wanted, 9).await.unwrap();
    store.append(&wanted, 0, b"junk".to_vec()).await.unwrap();
    assert_eq!(store.restart(&wanted, 6).await, Ok(Progress::Partial { have: 0, length: 6 }));
    assert_eq!(store.usage().bytes, 0);
    store.append(&wanted, 0, b"wanted".to_vec()).await.unwrap();
    assert_eq!(store.complete(&wanted).await, Ok(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_uploaders_of_one_asset_make_one_blob() {
    let (dir, store) = fresh(ROOMY).await;
    let bytes = content(3, 1 << 20);
    let digest = digest(&bytes);
    let uploaders = (0..8).map(|which| {
        let (store, bytes) = (store.clone(), bytes.clone());
        tokio::spawn(async move {
            let mut at = match store.begin(&digest, bytes.len() as u64).await.unwrap() {
                Progress::Partial { have, .. } => have,
                _ => return,
            };
            while at < bytes.len() as u64 {
                let end = (at as usize + 1000 * (which + 1)).min(bytes.len());
                match store.append(&digest, at, bytes[at as usize..end].to_vec()).await {
                    Ok(have) => at = have,
                    Err(StoreError::Offset { expected }) => at = expected,
                    Err(StoreError::Missing) => return,
                    Err(error) => panic!("{error}"),
                }
            }
            store.complete(&digest).await.unwrap();
        })
    });
    for uploader in uploaders.collect::<Vec<_>>() {
        uploader.await.unwrap();
    }
    assert_eq!(store.read(&digest, 0, usize::MAX).await.unwrap(), bytes);
    assert_eq!((store.usage().bytes, disk_bytes(dir.path())), (1 << 20, 1 << 20));
}

#[tokio::test]
async fn the_ceiling_holds_and_room_comes_back() {
    let (_dir, store) = fresh(1000).await;
    let first = put(&store, &content(1, 600)).await;
    let second = content(2, 500);
    assert_eq!(store.begin(&digest(&second), 500).await, Err(StoreError::Full));
    let upload = store.create_upload().await.unwrap();
    store.append_upload(upload, second[..400].to_vec()).await.unwrap();
    assert_eq!(store.append_upload(upload, vec![0; 1]).await, Err(StoreError::Full));
    assert_eq!(store.usage().bytes, 1000);
    store.abort_upload(upload).await.unwrap();
    store.delete(&first).await.unwrap();
    assert_eq!(store.usage().bytes, 0);
    put(&store, &second).await;
}

#[tokio::test]
async fn the_same_blob_twice_counts_once() {
    let (dir, store) = fresh(ROOMY).await;
    let bytes = content(5, 777);
    let digest = digest(&bytes);
    store.begin(&digest, 777).await.unwrap();
    store.append(&digest, 0, bytes.clone()).await.unwrap();
    let upload = store.create_upload().await.unwrap();
    store.append_upload(upload, bytes).await.unwrap();
    assert_eq!(store.commit_upload(upload, &digest).await, Ok(777));
    assert_eq!(store.complete(&digest).await, Ok(777));
    assert_eq!((store.usage().bytes, disk_bytes(dir.path())), (777, 777));
    assert_eq!(store.begin(&digest, 777).await, Ok(Progress::Complete { bytes: 777 }));
}

#[tokio::test]
async fn unfinished_uploads_are_counted() {
    let (_dir, store) = fresh(ROOMY).await;
    for _ in 0..256 {
        store.create_upload().await.unwrap();
    }
    assert_eq!(store.create_upload().await, Err(StoreError::TooManyUploads));
    for n in 0..256u32 {
        store.begin(&digest(&n.to_le_bytes()), 4).await.unwrap();
    }
    assert_eq!(store.begin(&digest(b"more"), 4).await, Err(StoreError::TooManyUploads));
    assert_eq!(store.usage().unfinished, 512);
    assert_eq!(store.sweep(Duration::from_secs(60)).await, Ok(0));
    assert_eq!(store.sweep(Duration::ZERO).await, Ok(256));
    store.begin(&digest(b"more"), 4).await.unwrap();
}

#[tokio::test]
async fn what_nobody_has_used_for_long_goes_and_what_must_stay_stays() {
    let (dir, store) = fresh(ROOMY).await;
    for name in ["old", "read", "kept", "new"] {
        let upload = store.create_upload().await.unwrap();
        store.append_upload(upload, name.as_bytes().to_vec()).await.unwrap();
        store.commit_upload(upload, &digest(name.as_bytes())).await.unwrap();
        if name != "new" {
            let file = std::fs::File::open(dir.path().join("blobs").join(digest(name.as_bytes()).to_string())).unwrap();
            file.set_modified(std::time::SystemTime::now() - Duration::from_secs(100)).unwrap();
        }
    }
    store.read(&digest(b"read"), 0, 1).await.unwrap();
    let but = HashSet::from([digest(b"kept")]);
    assert_eq!(store.expire(Duration::from_secs(50), but).await, Ok(1));
    let mut left: Vec<_> = [b"read", b"kept"].map(|name| digest(name)).to_vec();
    left.push(digest(b"new"));
    left.sort();
    assert_eq!(store.list().iter().map(|blob| blob.digest).collect::<Vec<_>>(), left);
    assert_eq!(store.usage().bytes, 11);
}

#[tokio::test]
async fn uploads_by_digest_leave_room_for_results() {
    let (_dir, store) = fresh(800).await;
    assert_eq!(store.begin(&digest(b"too much"), 701).await, Err(StoreError::Full));
    let bytes = content(1, 700);
    store.begin(&digest(&bytes), 700).await.unwrap();
    store.append(&digest(&bytes), 0, bytes.clone()).await.unwrap();
    let result = store.create_upload().await.unwrap();
    assert_eq!(store.append_upload(result, vec![1; 100]).await, Ok(100));
    assert_eq!(store.append_upload(result, vec![1]).await, Err(StoreError::Full));
}

#[tokio::test]
async fn a_folder_has_one_process() {
    let (dir, _store) = fresh(ROOMY).await;
    assert_eq!(Store::open(dir.path(), ROOMY).await.err(), Some(StoreError::InUse));
}

#[tokio::test]
async fn uploads_without_a_digest_end_with_the_process() {
    let (dir, store) = fresh(ROOMY).await;
    let upload = store.create_upload().await.unwrap();
    store.append_upload(upload, vec![1; 100]).await.unwrap();
    drop(store);
    let store = Store::open(dir.path(), ROOMY).await.unwrap();
    assert_eq!((store.usage().bytes, disk_bytes(dir.path())), (0, 0));
    assert_eq!(store.append_upload(upload, vec![1]).await, Err(StoreError::Missing));
}

#[tokio::test]
async fn an_upload_without_a_digest_that_is_kept_goes_on() {
    let (dir, store) = fresh(ROOMY).await;
    let [kept, left] = [store.create_upload().await.unwrap(), store.create_upload().await.unwrap()];
    store.append_upload(kept, b"one ".to_vec()).await.unwrap();
    store.append_upload(left, vec![1; 100]).await.unwrap();
    drop(store);
    // Of one that never was nothing is made.
    let store = Store::open_keeping(dir.path(), ROOMY, &[kept, UploadId(77)]).await.unwrap();
    assert_eq!((store.usage().bytes, store.usage().unfinished, disk_bytes(dir.path())), (4, 1, 4));
    assert_eq!(store.append_upload(left, vec![1]).await, Err(StoreError::Missing));
    assert_eq!(store.append_upload(UploadId(77), vec![1]).await, Err(StoreError::Missing));
    assert_eq!(store.append_upload(kept, b"two".to_vec()).await, Ok(7));
    assert_eq!(store.commit_upload(kept, &digest(b"one two")).await, Ok(7));
    assert!(store.create_upload().await.unwrap().0 > kept.0);
}

#[tokio::test]
async fn foreign_files_in_the_folder_are_left_alone() {
    let (dir, store) = fresh(ROOMY).await;
    drop(store);
    std::fs::write(dir.path().join("blobs/README"), "mine").unwrap();
    let store = Store::open(dir.path(), ROOMY).await.unwrap();
    assert_eq!(store.list(), []);
    assert!(dir.path().join("blobs/README").exists());
}

#[derive(Debug, Clone)]
enum Step {
    Begin(u8),
    Restart(u8),
    Append(u8, usize),
    Complete(u8),
    Delete(u8),
    Result(u8),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let which = 0u8..4;
    prop::collection::vec(
        prop_oneof![
            1 => which.clone().prop_map(Step::Begin),
            1 => which.clone().prop_map(Step::Restart),
            4 => (which.clone(), 1usize..600).prop_map(|(which, len)| Step::Append(which, len)),
            2 => which.clone().prop_map(Step::Complete),
            1 => which.clone().prop_map(Step::Delete),
            1 => which.prop_map(Step::Result),
            1 => Just(Step::Reopen),
        ],
        1..60,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever is called in whatever order: the accounts match the disk and the ceiling, and blobs their digests.
    #[test]
    fn accounts_and_digests_stay_true(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (dir, store) = fresh(2500).await;
            let mut store = Some(store);
            let mut complete = BTreeMap::new();
            for step in steps {
                let now = store.as_ref().unwrap();
                let asset = |which: u8| { let bytes = content(which, 300 + 300 * which as usize); (digest(&bytes), bytes) };
                match step {
                    Step::Begin(which) => { let (digest, bytes) = asset(which); let _ = now.begin(&digest, bytes.len() as u64).await; }
                    Step::Restart(which) => { let (digest, bytes) = asset(which); let _ = now.restart(&digest, bytes.len() as u64).await; }
                    Step::Append(which, len) => {
                        let (digest, bytes) = asset(which);
                        if let Progress::Partial { have, .. } = now.progress(&digest).await.unwrap() {
                            let end = (have as usize + len).min(bytes.len());
                            let _ = now.append(&digest, have, bytes[have as usize..end].to_vec()).await;
                        }
                    }
                    Step::Complete(which) => {
                        let (digest, bytes) = asset(which);
                        if now.complete(&digest).await.is_ok() { complete.insert(digest, bytes); }
                    }
                    Step::Delete(which) => {
                        let (digest, _) = asset(which);
                        prop_assert_eq!(now.delete(&digest).await.is_ok(), complete.remove(&digest).is_some());
                    }
                    Step::Result(which) => {
                        let (digest, bytes) = asset(which);
                        let upload = now.create_upload().await.unwrap();
                        if now.append_upload(upload, bytes.clone()).await.is_ok() {
                            now.commit_upload(upload, &digest).await.unwrap();
                            complete.insert(digest, bytes);
                        } else {
                            now.abort_upload(upload).await.unwrap();
                        }
                    }
                    Step::Reopen => {
                        drop(store.take());
                        store = Some(Store::open(dir.path(), 2500).await.unwrap());
                    }
                }
                let now = store.as_ref().unwrap();
                prop_assert_eq!(now.usage().bytes, disk_bytes(dir.path()));
                prop_assert!(now.usage().bytes <= 2500);
                for (digest, bytes) in &complete {
                    prop_assert_eq!(&now.read(digest, 0, usize::MAX).await.unwrap(), bytes);
                }
                prop_assert_eq!(now.list().len(), complete.len());
            }
            Ok(())
        })?;
    }
}
