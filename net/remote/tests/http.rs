//! Against web servers: one that knows ranges, and one that does not.

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Response, StatusCode, header},
    routing::get,
};
use glacier_remote::{Remote, RemoteError};
use std::fs;

const SIZE: usize = (17 << 20) + 3;

fn content() -> Vec<u8> {
    (0..SIZE).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

/// RFC 9110, section 14: one range of bytes.
async fn ranged(headers: HeaderMap) -> Response<Body> {
    let (content, answer) = (content(), Response::builder().header(header::ETAG, "\"1\""));
    let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok()?.strip_prefix("bytes="));
    let range = range.and_then(|range| {
        let (from, to) = range.split_once('-')?;
        Some((from.parse::<usize>().ok()?, to.parse::<usize>().ok()?))
    });
    let Some((from, to)) = range else { return answer.body(content.into()).unwrap() };
    let told = format!("bytes {from}-{to}/{SIZE}");
    let piece = content[from..=to].to_vec();
    answer.status(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, told).body(piece.into()).unwrap()
}

async fn whole() -> Response<Body> {
    Response::new(content().into())
}

async fn start() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/ranged/rows.age", get(ranged)).route("/whole/rows.age", get(whole));
    tokio::spawn(async move {
        let builder = hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper_util::service::TowerToHyperService::new(router.clone());
            let (builder, stream) = (builder.clone(), hyper_util::rt::TokioIo::new(stream));
            tokio::spawn(async move { builder.serve_connection(stream, service).await.map_err(|_| ()) });
        }
    });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_fetched_in_pieces() {
    let (server, folder) = (start().await, tempfile::tempdir().unwrap());
    let remote = Remote::at(&format!("{server}/ranged/rows.age")).unwrap();
    let to = folder.path().join(remote.name());
    let mut told = Vec::new();
    assert_eq!(remote.fetch(&to, &mut |have, _| told.push(have)).await.unwrap(), SIZE as u64);
    assert!(fs::read(&to).unwrap() == content());
    assert_eq!(told.len(), 4, "three pieces: {told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_ranges_is_said_to_be_one() {
    let (server, folder) = (start().await, tempfile::tempdir().unwrap());
    let remote = Remote::at(&format!("{server}/whole/rows.age")).unwrap();
    let error = remote.fetch(&folder.path().join("rows.age"), &mut |_, _| ()).await.unwrap_err();
    assert!(matches!(&error, RemoteError::Store(why) if why.contains("ranges")), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_server_that_takes_no_files_says_so() {
    let (server, folder) = (start().await, tempfile::tempdir().unwrap());
    let from = folder.path().join("rows.age");
    fs::write(&from, b"rows").unwrap();
    let remote = Remote::at(&format!("{server}/ranged/rows.age")).unwrap();
    assert!(remote.put(&from, &mut |_, _| ()).await.is_err());
}
