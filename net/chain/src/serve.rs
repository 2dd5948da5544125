//! The embedded chain for other processes of this machine: JSON-RPC over HTTP on loopback.
//!
//! A web page can send requests to loopback, under a name that it lets point there. So the Host must be
//! loopback's, an Origin must be among those that were named, and the body must say that it is JSON, which
//! no page can say across origins without being asked first.

use crate::Boxed;
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{
        HeaderMap, StatusCode,
        header::{CONTENT_TYPE, HOST, ORIGIN},
    },
    response::{IntoResponse as _, Response},
    routing::post,
};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::embedded::{Embedded, RpcError};

/// A running service. It ends when this is dropped.
#[derive(Debug)]
pub struct Service {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Service {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves the chain on a loopback address; port 0 takes a free one. `origins` are those of pages and
/// browser extensions that may ask, as `https://wallet.example` or `chrome-extension://…`; programs need none.
///
/// # Errors
///
/// The address is not loopback, or taken.
pub fn serve(
    chain: Embedded,
    address: SocketAddr,
    origins: Vec<String>,
) -> Boxed<'static, Result<Service, ServeError>> {
    Box::pin(async move {
        if !address.ip().is_loopback() {
            return Err(ServeError::NotLoopback(address));
        }
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let app = Router::new()
            .route("/", post(answer))
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(Arc::new(Served { chain, origins }));
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                tracing::error!(%error, "the chain's service ended");
            }
        });
        Ok(Service { address, task })
    })
}

/// Why a chain is not served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Other machines could ask.
    #[error("{0} is not a loopback address")]
    NotLoopback(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen: {0}")]
    Listen(#[from] std::io::Error),
}

struct Served {
    chain: Embedded,
    origins: Vec<String>,
}

async fn answer(State(served): State<Arc<Served>>, headers: HeaderMap, body: Bytes) -> Response {
    if !names_loopback(&headers) || !served.admits(&headers) {
        return StatusCode::FORBIDDEN.into_response();
    }
    if !is_json(&headers) {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    let answer = if first == Some(&b'[') { served.batch(&body).await } else { served.text(&body).await };
    // What asks for no answer gets none.
    answer.map_or_else(|| StatusCode::NO_CONTENT.into_response(), |answer| axum::Json(answer).into_response())
}

impl Served {
    fn admits(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(ORIGIN).iter();
        origins.all(|origin| self.origins.iter().any(|admitted| admitted.as_bytes() == origin.as_bytes()))
    }

    async fn batch(&self, body: &[u8]) -> Option<Value> {
        let Ok(requests) = serde_json::from_slice::<Vec<&RawValue>>(body) else {
            return Some(failure(&Value::Null, -32700, "parse error"));
        };
        if requests.is_empty() || requests.len() > MAX_BATCH {
            return Some(failure(&Value::Null, -32600, "a batch has 1 to 100 requests"));
        }
        let mut answers = Vec::new();
        for request in requests {
            answers.extend(self.text(request.get().as_bytes()).await);
        }
        (!answers.is_empty()).then(|| json!(answers))
    }

    async fn text(&self, text: &[u8]) -> Option<Value> {
        let request: Request<'_> = match serde_json::from_slice(text) {
            Ok(request) => request,
            Err(error) if error.is_data() => return Some(failure(&Value::Null, -32600, "invalid request")),
            Err(_) => return Some(failure(&Value::Null, -32700, "parse error")),
        };
        let id = request.id.as_ref();
        if request.jsonrpc != "2.0" || id.is_some_and(|id| id.is_object() || id.is_array() || id.is_boolean()) {
            return Some(failure(&Value::Null, -32600, "invalid request"));
        }
        let params = request.params.map(RawValue::get);
        let result = self.chain.request(&request.method, params).await;
        let id = id?;
        Some(match result {
            Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
            Err(RpcError { code, message, data: None }) => failure(id, code, &message),
            Err(RpcError { code, message, data }) => {
                json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message, "data": data}})
            }
        })
    }
}

#[derive(Deserialize)]
struct Request<'a> {
    jsonrpc: String,
    method: String,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    /// Absent in a notification.
    id: Option<Value>,
}

fn failure(id: &Value, code: i64, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}

fn names_loopback(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// Bytes of one body: the largest transaction in hex, and more.
const MAX_BODY: usize = 1 << 20;
const MAX_BATCH: usize = 100;
