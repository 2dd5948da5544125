//! The host's own API: ciphertext by digest, proofs, status. Plain HTTP/1.1, because nothing in it is
//! secret and nothing in it is believed. Every answer carries the policy of the page.
//!
//! | request | answer |
//! |---|---|
//! | `GET /`, `GET /dashboard/{file}` | the page for people, see [`dashboard`] |
//! | `GET /status` | [`Status`](crate::Status) as JSON |
//! | `GET /metrics` | counters in Prometheus' text format |
//! | `GET /samples?from=N` | [`SamplePage`](crate::SamplePage) as JSON: the last hour |
//! | `GET /evidence?key=` | [`EvidencePage`](crate::EvidencePage) as JSON: of a key, or of the enclave that runs |
//! | `GET /proofs?from=N` | [`ProofPage`] as JSON |
//! | `GET /log/{key}/head` | [`HeadPage`](crate::HeadPage) of an enclave key's log; `?chain_id=&ledger=` asks for the head signed for that ledger |
//! | `GET /log/{key}/inclusion?sequence=&size=` | [`InclusionPage`](crate::InclusionPage): a proof and its audit path among the first `size` |
//! | `GET /log/{key}/consistency?from=&to=` | [`ConsistencyPage`](crate::ConsistencyPage): that the log at `to` begins with the log at `from` |
//! | `HEAD /blobs/{digest}` | 200 with `Content-Length` when complete; else 404, with `Upload-Offset` and `Upload-Length` when an upload has begun |
//! | `GET /blobs/{digest}` | 200, or 206 for one `Range` in bytes; 404, 416 |
//! | `PUT /blobs/{digest}` | the whole body, `Content-Length` required; discards what an unfinished upload left |
//! | `PATCH /blobs/{digest}` | the body from `Upload-Offset` on, of `Upload-Length` in all; begins an upload at offset 0 |
//!
//! Below `/log`, 404 says that no proof of the key is here, 416 that its log has no such place, 400 that a
//! number or an address is none.
//!
//! `PUT` and `PATCH` answer 201 when the asset is complete and has its digest, 200 when it was there
//! before, 204 with `Upload-Offset` when more is to come. 409 with `Upload-Offset` says where the
//! upload continues, 422 that the bytes do not have the digest and are gone, 507 that the store is
//! full, 408 that nothing came for too long. What came before a connection broke is kept: ask with
//! `HEAD`, go on with `PATCH`.

use std::{
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{MatchedPath, Path, Query, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use glacier_store::{Progress, StoreError};
use glacier_wire::{Address, Digest};
use http_body_util::{BodyExt as _, channel::Channel};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tracing::{Instrument as _, debug, field::Empty, info_span};

use crate::{
    dashboard,
    log::{ConsistencyPage, HeadPage, InclusionPage},
    metrics,
    node::Shared,
    proofs::{ProofError, Proofs, StoredProof},
    relay::Activity,
    samples::SamplePage,
    showcase::EvidencePage,
};

/// Header: how many bytes of an upload are there, or at which byte a body begins.
pub const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
/// Header: how many bytes an upload has in all.
pub const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");

/// Bytes that are read from or appended to the store at once.
const PIECE: usize = 1 << 20;
/// A connection on which nothing moves for so long is closed.
const IDLE: Duration = Duration::from_secs(30);
/// Most bytes of an unwanted body that are read before the connection is closed.
const DRAINED: usize = 16 << 20;
const MAX_HEADER_BYTES: usize = 16 << 10;
const MAX_HEADERS: usize = 64;

/// `GET /proofs?from=N`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ProofPage {
    /// At most 256, in the order of their arrival.
    pub proofs: Vec<StoredProof>,
    /// Ask from here for those that follow.
    pub next: u64,
}

/// Serves one connection until it ends, stalls, or the node ends.
pub(crate) async fn serve(stream: TcpStream, shared: &Arc<Shared>) {
    let activity = Arc::new(Activity::new());
    let io = TokioIo::new(Watched { stream, activity: Arc::clone(&activity) });
    let mut server = hyper::server::conn::http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEADER_BYTES);
    let connection = server.serve_connection(io, TowerToHyperService::new(router(Arc::clone(shared))));
    tokio::pin!(connection);
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    debug!(%error, "an HTTP connection broke");
                }
                return;
            }
            () = activity.idle_for(IDLE.saturating_mul(2)) => return,
            () = shared.stopped(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(dashboard::index))
        .route("/dashboard/{file}", get(dashboard::named))
        .route("/status", get(status))
        .route("/metrics", get(metrics_text))
        .route("/samples", get(samples))
        .route("/evidence", get(evidence))
        .route("/proofs", get(proofs))
        .route("/log/{key}/head", get(log_head))
        .route("/log/{key}/inclusion", get(log_inclusion))
        .route("/log/{key}/consistency", get(log_consistency))
        .route("/blobs/{digest}", get(read_blob).head(head_blob).put(put_blob).patch(patch_blob))
        .layer(middleware::from_fn(dashboard::confine))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), measure))
        .with_state(shared)
}

/// Counts a request and the time until its answer began. Its span names the route, not the digest or the key in it.
async fn measure(
    State(shared): State<Arc<Shared>>,
    route: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let begun = Instant::now();
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let span = info_span!(
        "request",
        http.request.method = %request.method(),
        http.route = route,
        http.response.status_code = Empty
    );
    let response = next.run(request).instrument(span.clone()).await;
    span.record("http.response.status_code", response.status().as_u16());
    let metrics = &shared.counters.metrics;
    metrics.request.record(begun.elapsed());
    let class = usize::from(response.status().as_u16().div_euclid(100).saturating_sub(1));
    if let Some(count) = metrics.classes.get(class) {
        count.fetch_add(1, Relaxed);
    }
    response
}

/// A refusal: its status, a stable word as JSON, and where an upload continues.
#[derive(Debug)]
struct Fault {
    status: StatusCode,
    error: &'static str,
    header: Option<(HeaderName, u64)>,
}

impl Fault {
    const fn new(status: StatusCode, error: &'static str) -> Self {
        Self { status, error, header: None }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(serde_json::json!({ "error": self.error }))).into_response();
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value.into());
        }
        response
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Missing => Self::new(StatusCode::NOT_FOUND, "missing"),
            StoreError::Range { .. } => Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "range"),
            StoreError::Offset { expected } => {
                Self { header: Some((UPLOAD_OFFSET, expected)), ..Self::new(StatusCode::CONFLICT, "offset") }
            }
            StoreError::Length { announced } => {
                Self { header: Some((UPLOAD_LENGTH, announced)), ..Self::new(StatusCode::CONFLICT, "length") }
            }
            StoreError::DigestMismatch => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "digest-mismatch"),
            StoreError::Full => Self::new(StatusCode::INSUFFICIENT_STORAGE, "full"),
            StoreError::TooManyUploads => Self::new(StatusCode::SERVICE_UNAVAILABLE, "too-many-uploads"),
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "io"),
        }
    }
}

impl From<ProofError> for Fault {
    fn from(error: ProofError) -> Self {
        match error {
            ProofError::NoLog => Self::new(StatusCode::NOT_FOUND, "missing"),
            ProofError::Log(_) => Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "range"),
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "io"),
        }
    }
}

async fn status(State(shared): State<Arc<Shared>>) -> Response {
    Json(shared.status().await).into_response()
}

async fn metrics_text(State(shared): State<Arc<Shared>>) -> Response {
    let text = metrics::text(&shared.status().await, &shared.counters.metrics);
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
}

async fn samples(State(shared): State<Arc<Shared>>, Query(Asked { from }): Query<Asked>) -> Json<SamplePage> {
    Json(shared.samples.page(from))
}

#[derive(serde::Deserialize)]
struct AskedEvidence {
    key: Option<Address>,
}

async fn evidence(
    State(shared): State<Arc<Shared>>,
    Query(AskedEvidence { key }): Query<AskedEvidence>,
) -> Result<Json<EvidencePage>, Fault> {
    let page = shared.service.showcase.page(key).await;
    page.map(Json).ok_or(Fault::new(StatusCode::NOT_FOUND, "missing"))
}

#[derive(serde::Deserialize)]
struct Asked {
    #[serde(default)]
    from: u64,
}

async fn proofs(
    State(shared): State<Arc<Shared>>,
    Query(Asked { from }): Query<Asked>,
) -> Result<Json<ProofPage>, Fault> {
    let proofs = shared.service.proofs.page(from).await?;
    debug_assert!(proofs.len() <= Proofs::PAGE);
    let next = proofs.last().map_or(from, |last| last.number.saturating_add(1));
    Ok(Json(ProofPage { proofs, next }))
}

#[derive(serde::Deserialize)]
struct AskedHead {
    chain_id: Option<u64>,
    ledger: Option<Address>,
}

async fn log_head(
    State(shared): State<Arc<Shared>>,
    Path(key): Path<String>,
    Query(AskedHead { chain_id, ledger }): Query<AskedHead>,
) -> Result<Json<HeadPage>, Fault> {
    let at = match (chain_id, ledger) {
        (Some(chain_id), Some(ledger)) => Some((chain_id, ledger)),
        (None, None) => None,
        _ => return Err(Fault::new(StatusCode::BAD_REQUEST, "ledger")),
    };
    Ok(Json(shared.logs().head(parse_key(&key)?, at).await?))
}

#[derive(serde::Deserialize)]
struct AskedInclusion {
    sequence: u64,
    size: u64,
}

async fn log_inclusion(
    State(shared): State<Arc<Shared>>,
    Path(key): Path<String>,
    Query(AskedInclusion { sequence, size }): Query<AskedInclusion>,
) -> Result<Json<InclusionPage>, Fault> {
    Ok(Json(shared.logs().inclusion(parse_key(&key)?, sequence, size).await?))
}

#[derive(serde::Deserialize)]
struct AskedConsistency {
    from: u64,
    to: u64,
}

async fn log_consistency(
    State(shared): State<Arc<Shared>>,
    Path(key): Path<String>,
    Query(AskedConsistency { from, to }): Query<AskedConsistency>,
) -> Result<Json<ConsistencyPage>, Fault> {
    Ok(Json(shared.logs().consistency(parse_key(&key)?, from, to).await?))
}

fn parse_key(text: &str) -> Result<Address, Fault> {
    text.parse().map_err(|_| Fault::new(StatusCode::BAD_REQUEST, "key"))
}

async fn head_blob(State(shared): State<Arc<Shared>>, Path(digest): Path<String>) -> Result<Response, Fault> {
    let digest = parse(&digest)?;
    Ok(match shared.service.store.progress(&digest).await? {
        Progress::Complete { bytes } => {
            let headers =
                [(header::CONTENT_LENGTH, bytes.into()), (header::ACCEPT_RANGES, HeaderValue::from_static("bytes"))];
            (headers, Body::empty()).into_response()
        }
        Progress::Partial { have, length } => {
            let headers = [(UPLOAD_OFFSET, HeaderValue::from(have)), (UPLOAD_LENGTH, length.into())];
            (StatusCode::NOT_FOUND, headers).into_response()
        }
        Progress::Absent => StatusCode::NOT_FOUND.into_response(),
    })
}

async fn read_blob(
    State(shared): State<Arc<Shared>>,
    Path(digest): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let digest = parse(&digest)?;
    let size = shared.service.store.size(&digest)?;
    let range =
        match headers.get(header::RANGE).and_then(|range| range.to_str().ok()).map(|text| parse_range(text, size)) {
            None | Some(Range::Whole) => None,
            Some(Range::Part { from, len }) => Some((from, len)),
            Some(Range::Outside) => {
                let all = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
                return Ok((StatusCode::RANGE_NOT_SATISFIABLE, all).into_response());
            }
        };
    let (from, len) = range.unwrap_or((0, size));
    let body = Body::new(stream_blob(shared, digest, from, len));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CONTENT_LENGTH, len.into()),
        (header::ACCEPT_RANGES, HeaderValue::from_static("bytes")),
    ];
    let Some((from, len)) = range else { return Ok((headers, body).into_response()) };
    let part = format!("bytes {from}-{}/{size}", from.saturating_add(len).saturating_sub(1));
    Ok((StatusCode::PARTIAL_CONTENT, headers, [(header::CONTENT_RANGE, part)], body).into_response())
}

/// One piece is read ahead of the one that is being sent.
fn stream_blob(shared: Arc<Shared>, digest: Digest, from: u64, len: u64) -> Channel<Bytes, io::Error> {
    let (mut sender, body) = Channel::new(1);
    tokio::spawn(async move {
        let mut at = from;
        let end = from.saturating_add(len);
        while at < end {
            let piece = usize::try_from(end.saturating_sub(at)).unwrap_or(PIECE).min(PIECE);
            match shared.service.store.read(&digest, at, piece).await {
                Ok(bytes) if !bytes.is_empty() => {
                    at = at.saturating_add(bytes.len() as u64);
                    if sender.send_data(bytes.into()).await.is_err() {
                        return; // the client has gone
                    }
                }
                _ => return sender.abort(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    });
    body
}

async fn put_blob(
    State(shared): State<Arc<Shared>>,
    Path(digest): Path<String>,
    headers: HeaderMap,
    mut body: Body,
) -> Result<Response, Fault> {
    let result = put(&shared, &digest, &headers, &mut body).await;
    drain(&mut body).await;
    result
}

async fn put(shared: &Shared, digest: &str, headers: &HeaderMap, body: &mut Body) -> Result<Response, Fault> {
    let digest = parse(digest)?;
    let length = number(headers, &header::CONTENT_LENGTH)?;
    match shared.service.store.restart(&digest, length).await? {
        Progress::Complete { .. } => Ok(StatusCode::OK.into_response()),
        _ => receive(shared, &digest, 0, length, body).await,
    }
}

async fn patch_blob(
    State(shared): State<Arc<Shared>>,
    Path(digest): Path<String>,
    headers: HeaderMap,
    mut body: Body,
) -> Result<Response, Fault> {
    let result = patch(&shared, &digest, &headers, &mut body).await;
    drain(&mut body).await;
    result
}

async fn patch(shared: &Shared, digest: &str, headers: &HeaderMap, body: &mut Body) -> Result<Response, Fault> {
    let digest = parse(digest)?;
    let offset = number(headers, &UPLOAD_OFFSET)?;
    let length = number(headers, &UPLOAD_LENGTH)?;
    match shared.service.store.begin(&digest, length).await? {
        Progress::Complete { .. } => Ok(StatusCode::OK.into_response()),
        Progress::Partial { have, .. } if have != offset => Err(StoreError::Offset { expected: have }.into()),
        _ => receive(shared, &digest, offset, length, body).await,
    }
}

/// Appends a body as it comes, and completes the upload when it was the last.
async fn receive(
    shared: &Shared,
    digest: &Digest,
    offset: u64,
    length: u64,
    body: &mut Body,
) -> Result<Response, Fault> {
    let store = &shared.service.store;
    let mut at = offset;
    let mut piece = Vec::new();
    loop {
        let (data, ended) = match timeout(IDLE, body.frame()).await {
            Ok(Some(Ok(frame))) => (frame.into_data().unwrap_or_default(), None),
            Ok(None) => (Bytes::new(), Some(Ok(()))),
            Ok(Some(Err(_))) => (Bytes::new(), Some(Err(Fault::new(StatusCode::BAD_REQUEST, "body")))),
            Err(_) => (Bytes::new(), Some(Err(Fault::new(StatusCode::REQUEST_TIMEOUT, "stalled")))),
        };
        piece.extend_from_slice(&data);
        // What came before the body broke is kept.
        if piece.len() >= PIECE || (ended.is_some() && !piece.is_empty()) {
            let mut bytes = std::mem::take(&mut piece);
            if let Some(meddler) = &shared.meddler {
                meddler.uploaded(digest, &mut bytes);
            }
            at = store.append(digest, at, bytes).await?;
        }
        if let Some(ended) = ended {
            ended?;
            break;
        }
    }
    if at < length {
        return Ok((StatusCode::NO_CONTENT, [(UPLOAD_OFFSET, HeaderValue::from(at))]).into_response());
    }
    store.complete(digest).await?;
    Ok(StatusCode::CREATED.into_response())
}

/// Reads what is left of a body that nobody wants: a client that still sends does not see an answer
/// before a connection that is closed on it. Whoever sends more than [`DRAINED`] should have asked with `HEAD`.
async fn drain(body: &mut Body) {
    let mut left = DRAINED;
    while let Ok(Some(Ok(frame))) = timeout(IDLE, body.frame()).await {
        match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
            Some(less) => left = less,
            None => return,
        }
    }
}

fn parse(digest: &str) -> Result<Digest, Fault> {
    digest.parse().map_err(|_| Fault::new(StatusCode::BAD_REQUEST, "digest"))
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Result<u64, Fault> {
    let value = headers.get(name).ok_or(Fault::new(StatusCode::LENGTH_REQUIRED, "length-required"))?;
    value.to_str().ok().and_then(|text| text.parse().ok()).ok_or(Fault::new(StatusCode::BAD_REQUEST, "length"))
}

#[derive(Debug, PartialEq, Eq)]
enum Range {
    /// Not a range that is understood: RFC 9110 lets a server ignore it.
    Whole,
    Part {
        from: u64,
        len: u64,
    },
    Outside,
}

/// RFC 9110 §14.1.2: `bytes=a-b`, `bytes=a-`, `bytes=-n`.
fn parse_range(text: &str, size: u64) -> Range {
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|spec| spec.split_once('-')) else {
        return Range::Whole;
    };
    let (from, to) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => (first, last),
        (Ok(first), Err(_)) if last.is_empty() => (first, u64::MAX),
        (Err(_), Ok(suffix)) if first.is_empty() => match suffix {
            0 => return Range::Outside,
            _ => (size.saturating_sub(suffix), u64::MAX),
        },
        _ => return Range::Whole,
    };
    if from >= size {
        return Range::Outside;
    }
    let to = to.min(size.saturating_sub(1));
    Range::Part { from, len: to.saturating_sub(from).saturating_add(1) }
}

/// A stream that notes when something moves.
struct Watched {
    stream: TcpStream,
    activity: Arc<Activity>,
}

impl Watched {
    fn note<T>(&self, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.activity.mark();
        }
        poll
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.note(poll)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        for (text, range) in [
            ("bytes=0-0", Range::Part { from: 0, len: 1 }),
            ("bytes=2-5", Range::Part { from: 2, len: 4 }),
            ("bytes=2-500", Range::Part { from: 2, len: 98 }),
            ("bytes=90-", Range::Part { from: 90, len: 10 }),
            ("bytes=-7", Range::Part { from: 93, len: 7 }),
            ("bytes=-700", Range::Part { from: 0, len: 100 }),
            ("bytes=100-", Range::Outside),
            ("bytes=-0", Range::Outside),
            ("bytes=5-2", Range::Whole),
            ("bytes=1-2,4-5", Range::Whole),
            ("bytes=-", Range::Whole),
            ("lines=1-2", Range::Whole),
            ("bytes=99999999999999999999-", Range::Whole),
        ] {
            assert_eq!(parse_range(text, 100), range, "{text}");
        }
        assert_eq!(parse_range("bytes=0-", 0), Range::Outside);
    }
}
