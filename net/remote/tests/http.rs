//! Against web servers: good ones, poor ones, and some that lie.

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Query, Request, State},
    http::{HeaderMap, Method, Response, StatusCode, header},
    routing::get,
};
use futures_util::{StreamExt as _, stream};
use glacier_remote::{Remote, RemoteError};
use std::{
    collections::HashMap,
    convert::Infallible,
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

const SIZE: usize = (17 << 20) + 3;

fn content() -> Vec<u8> {
    (0..SIZE).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

/// First and last byte that are asked for.
fn range(headers: &HeaderMap) -> Option<(usize, usize)> {
    let (from, to) = headers.get(header::RANGE)?.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
    Some((from.parse().ok()?, to.parse().ok()?))
}

/// RFC 9110, section 14: one range of bytes.
fn part(content: &[u8], headers: &HeaderMap, mark: (header::HeaderName, String)) -> Response<Body> {
    let answer = Response::builder().header(mark.0, mark.1);
    let Some((from, to)) = range(headers) else { return answer.body(content.to_vec().into()).unwrap() };
    let told = format!("bytes {from}-{to}/{}", content.len());
    let piece = content[from..=to].to_vec();
    answer.status(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, told).body(piece.into()).unwrap()
}

async fn ranged(headers: HeaderMap) -> Response<Body> {
    part(&content(), &headers, (header::ETAG, "\"1\"".to_owned()))
}

/// No ranges, and nothing that tells versions apart.
async fn whole() -> Response<Body> {
    Response::new(content().into())
}

/// No ranges.
async fn marked() -> Response<Body> {
    Response::builder().header(header::ETAG, "\"1\"").body(content().into()).unwrap()
}

/// Each file by its number.
async fn by_query(Query(query): Query<HashMap<String, String>>) -> String {
    format!("file {}", query["id"])
}

/// An address that is good for reading alone.
async fn signed(request: Request) -> Response<Body> {
    let status = |status| Response::builder().status(status).body(Body::empty()).unwrap();
    if request.method() == Method::HEAD || request.uri().query() != Some("signature=good") {
        return status(StatusCode::FORBIDDEN);
    }
    ranged(request.headers().clone()).await
}

/// The second request of a piece finds another file of the same size; the dates alone say so.
async fn replaced(State(asked): State<Arc<AtomicUsize>>, headers: HeaderMap) -> Response<Body> {
    let first = range(&headers).is_none() || asked.fetch_add(1, Ordering::SeqCst) == 0;
    let (bytes, second) = if first { (content(), 1) } else { (vec![0; SIZE], 2) };
    part(&bytes, &headers, (header::LAST_MODIFIED, format!("Wed, 21 Oct 2015 07:28:0{second} GMT")))
}

/// Pieces that have no end.
async fn endless(headers: HeaderMap) -> Response<Body> {
    let Some((from, to)) = range(&headers) else { return ranged(headers).await };
    let chunks = stream::iter(0..80).map(|_| Ok::<_, Infallible>(Bytes::from(vec![0; 1 << 20])));
    Response::builder()
        .status(StatusCode::PARTIAL_CONTENT)
        .header(header::ETAG, "\"1\"")
        .header(header::CONTENT_RANGE, format!("bytes {from}-{to}/{SIZE}"))
        .header(header::CONTENT_LENGTH, u64::from(u32::MAX))
        .body(Body::from_stream(chunks.chain(stream::pending())))
        .unwrap()
}

/// More than any disk has.
async fn huge() -> Response<Body> {
    let answer = Response::builder().header(header::ETAG, "\"1\"").header(header::CONTENT_LENGTH, 1u64 << 50);
    answer.body(Body::from_stream(stream::pending::<Result<Bytes, Infallible>>())).unwrap()
}

async fn start() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .route("/ranged/rows.age", get(ranged))
        .route("/whole/rows.age", get(whole))
        .route("/marked/rows.age", get(marked))
        .route("/get", get(by_query))
        .route("/signed/rows.age", get(signed))
        .route("/replaced/rows.age", get(replaced))
        .route("/endless/rows.age", get(endless))
        .route("/huge/rows.age", get(huge))
        .with_state(Arc::default());
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

/// What comes of an address, within a time that nothing honest needs.
async fn fetched(path: &str) -> Result<Vec<u8>, RemoteError> {
    let (server, folder) = (start().await, tempfile::tempdir().unwrap());
    let remote = Remote::at(&format!("{server}/{path}")).unwrap();
    let to = folder.path().join(remote.name());
    let fetched = tokio::time::timeout(Duration::from_secs(60), remote.fetch(&to, &mut |_, _| ())).await;
    let size = fetched.expect("it takes too long")?;
    let bytes = fs::read(to).unwrap();
    assert_eq!(bytes.len() as u64, size);
    Ok(bytes)
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
async fn a_file_whose_versions_nobody_can_tell_apart_comes_in_one_answer() {
    assert!(fetched("whole/rows.age").await.unwrap() == content());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_ranges_is_said_to_be_one() {
    let error = fetched("marked/rows.age").await.unwrap_err();
    assert!(matches!(&error, RemoteError::Store(why) if why.contains("ranges")), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_query_is_part_of_the_address() {
    assert_eq!(fetched("get?id=7").await.unwrap(), b"file 7");
    assert_eq!(fetched("get?id=8").await.unwrap(), b"file 8");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_signed_for_reading_is_read() {
    assert!(fetched("signed/rows.age?signature=good").await.unwrap() == content());
    let error = fetched("signed/rows.age?signature=bad-secret").await.unwrap_err();
    assert!(matches!(error, RemoteError::Denied(_)), "{error:?}");
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_of_two_versions_are_not_joined() {
    let error = fetched("replaced/rows.age").await.unwrap_err();
    assert!(matches!(error, RemoteError::Changed), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_held_than_was_asked_for() {
    let error = fetched("endless/rows.age").await.unwrap_err();
    assert!(matches!(&error, RemoteError::Store(why) if why.contains("more bytes")), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_nobody_has_is_not_believed() {
    let error = fetched("huge/rows.age").await.unwrap_err();
    assert!(matches!(error, RemoteError::TooLarge { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_server_that_takes_no_files_says_so() {
    let (server, folder) = (start().await, tempfile::tempdir().unwrap());
    let from = folder.path().join("rows.age");
    fs::write(&from, b"rows").unwrap();
    let remote = Remote::at(&format!("{server}/ranged/rows.age")).unwrap();
    assert!(remote.put(&from, &mut |_, _| ()).await.is_err());
}
