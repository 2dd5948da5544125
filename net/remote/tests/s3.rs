//! Against a real S3-compatible server (the crate `s3s-fs`, on a folder of its own), over loopback.

use glacier_remote::{Remote, RemoteError};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use std::{fs, net::SocketAddr, path::PathBuf};
use tempfile::TempDir;
use tokio::net::TcpListener;

struct Server {
    folder: TempDir,
    address: SocketAddr,
}

impl Server {
    /// With one bucket, `clinic`, for one caller.
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("clinic")).unwrap();
        let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder.path()).unwrap());
        service.set_auth(SimpleAuth::from_single("hospital", "not-a-secret"));
        let service = service.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { folder, address }
    }

    fn at(&self, key: &str) -> Remote {
        self.with(key, "not-a-secret")
    }

    fn with(&self, key: &str, secret: &str) -> Remote {
        let endpoint = format!("http://{}", self.address);
        let settings = [
            ("AWS_ENDPOINT", endpoint.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "hospital"),
            ("AWS_SECRET_ACCESS_KEY", secret),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Remote::with(&format!("s3://clinic/{key}"), settings).unwrap()
    }

    /// A file here, of bytes that do not repeat with the pieces.
    fn file(&self, name: &str, size: usize) -> PathBuf {
        let bytes: Vec<u8> = (0..size).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_is_fetched() {
    let server = Server::start().await;
    for size in [0, 1000, 8 << 20, (20 << 20) + 17] {
        let (from, remote) = (server.file("here", size), server.at(&format!("study/rows-{size}.age")));
        assert_eq!(remote.put(&from, &mut |_, _| ()).await.unwrap(), size as u64);
        assert_eq!(remote.size().await.unwrap(), size as u64);
        let to = server.folder.path().join(format!("back-{size}"));
        let mut last = (0, 0);
        assert_eq!(remote.fetch(&to, &mut |have, of| last = (have, of)).await.unwrap(), size as u64);
        assert_eq!(last, (size as u64, size as u64));
        assert!(fs::read(&to).unwrap() == fs::read(&from).unwrap(), "{size}");
        assert!(!to.with_file_name(format!("back-{size}.part")).exists());
    }
}

/// Begins a fetch and cuts it off once some of it is there.
async fn cut_off(remote: &Remote, to: &std::path::Path) {
    let (enough, mut wait) = tokio::sync::mpsc::unbounded_channel();
    let mut tell = move |have: u64, _: u64| {
        if have > 0 {
            let _ = enough.send(());
        }
    };
    tokio::select! {
        biased;
        _ = wait.recv() => {}
        done = remote.fetch(to, &mut tell) => panic!("it was to be cut off: {done:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_was_cut_off_goes_on() {
    let server = Server::start().await;
    let (from, remote) = (server.file("here", 120 << 20), server.at("rows.age"));
    remote.put(&from, &mut |_, _| ()).await.unwrap();
    let to = server.folder.path().join("back");
    cut_off(&remote, &to).await;
    assert!(!to.exists(), "only a whole file has its name");
    let mut first = None;
    remote.fetch(&to, &mut |have, _| first = first.or(Some(have))).await.unwrap();
    assert!(first.unwrap() >= 8 << 20, "{first:?}");
    assert!(fs::read(&to).unwrap() == fs::read(&from).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_replaced_is_fetched_anew() {
    let server = Server::start().await;
    let (from, remote) = (server.file("here", 120 << 20), server.at("rows.age"));
    remote.put(&from, &mut |_, _| ()).await.unwrap();
    let to = server.folder.path().join("back");
    cut_off(&remote, &to).await;
    let other = server.file("other", 120 << 20);
    let mut bytes = fs::read(&other).unwrap();
    bytes.reverse();
    fs::write(&other, bytes).unwrap();
    remote.put(&other, &mut |_, _| ()).await.unwrap();
    let mut first = None;
    remote.fetch(&to, &mut |have, _| first = first.or(Some(have))).await.unwrap();
    assert_eq!(first, Some(0));
    assert!(fs::read(&to).unwrap() == fs::read(&other).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_missing() {
    let server = Server::start().await;
    let to = server.folder.path().join("back");
    assert!(matches!(server.at("rows.age").fetch(&to, &mut |_, _| ()).await, Err(RemoteError::Missing)));
    assert!(!to.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_said_to_be_so() {
    let server = Server::start().await;
    let from = server.file("here", 10);
    let error = server.with("rows.age", "wrong").put(&from, &mut |_, _| ()).await.unwrap_err();
    assert!(matches!(error, RemoteError::Denied(_)), "{error:?}");
    assert!(!error.to_string().contains("wrong"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_there_is_not_written_over() {
    let server = Server::start().await;
    let (from, remote) = (server.file("here", 10), server.at("rows.age"));
    remote.put(&from, &mut |_, _| ()).await.unwrap();
    assert!(matches!(remote.fetch(&from, &mut |_, _| ()).await, Err(RemoteError::File(_))));
}
