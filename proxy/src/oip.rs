//! The Open Inference Protocol over REST. Bodies of inferences pass through to the byte, in both directions: that is
//! what their proofs commit to.

use crate::{
    body::{self, Encoding},
    fault::Fault,
    proxy::{Proved, Proxy, said_of, said_of_proved},
    tensors::JSON_LENGTH,
};
use axum::{
    Json, Router,
    extract::{Path, Request, State, rejection::PathRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::{Arc, atomic::Ordering};

/// What the service calls itself.
pub(crate) const NAME: &str = "glacier-proxy";
/// The only version of each model: a deployment never changes.
pub(crate) const VERSION: &str = "1";
/// What is understood beyond the protocol's core.
pub(crate) const EXTENSIONS: &[&str] = &["binary_tensor_data", "model_configuration", "model_repository", "statistics"];

type Outcome = Result<Response, Fault>;

pub(crate) fn routes() -> Router<Arc<Proxy>> {
    Router::new()
        .route("/v2", get(server))
        .route("/v2/", get(server))
        .route("/v2/health/live", get(live))
        .route("/v2/health/ready", get(ready))
        .route("/v2/repository/index", post(index))
        .merge(model("/v2/models/{model}"))
        .merge(model("/v2/models/{model}/versions/{version}"))
}

fn model(base: &str) -> Router<Arc<Proxy>> {
    let about = |about| {
        get(async move |State(proxy): State<Arc<Proxy>>, path: Named| or_error(tell(&proxy, path, about).await))
    };
    Router::new()
        .route(base, about(About::Metadata))
        .route(&format!("{base}/ready"), about(About::Ready))
        .route(&format!("{base}/config"), about(About::Config))
        .route(&format!("{base}/stats"), about(About::Stats))
        .route(&format!("{base}/infer"), post(infer))
}

/// Nothing is at the path.
pub(crate) async fn nowhere() -> Response {
    error(&Fault::nowhere())
}

/// Something is at the path, but not for this method.
pub(crate) async fn no_such_method() -> Response {
    error(&Fault::new(405, "method", "this path has no such method", "/openapi.json lists the paths"))
}

/// A fault in the protocol's own form.
pub(crate) fn error(fault: &Fault) -> Response {
    let said = Json(json!({"error": fault.to_string(), "code": fault.code}));
    (status(fault), [("glacier-fault", fault.code)], said).into_response()
}

pub(crate) fn status(fault: &Fault) -> StatusCode {
    StatusCode::from_u16(fault.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn or_error(outcome: Outcome) -> Response {
    outcome.unwrap_or_else(|fault| error(&fault))
}

async fn server() -> Json<Value> {
    Json(json!({"name": NAME, "version": env!("CARGO_PKG_VERSION"), "extensions": EXTENSIONS}))
}

/// The proxy runs. Says nothing about the enclave.
async fn live() -> Json<Value> {
    Json(json!({"live": true}))
}

/// An enclave is accepted now.
async fn ready(State(proxy): State<Arc<Proxy>>) -> Response {
    match proxy.pool.take().await {
        Ok(lease) => {
            let headers = said_of(&lease.session());
            proxy.pool.give_back(lease);
            (headers, Json(json!({"ready": true}))).into_response()
        }
        Err(fault) => error(&fault),
    }
}

#[derive(Deserialize, Default)]
struct IndexRequest {
    #[serde(default)]
    ready: bool,
}

async fn index(State(proxy): State<Arc<Proxy>>, request: Request) -> Response {
    let answered = async {
        let (parts, body) = request.into_parts();
        let body = body::read(&parts.headers, body, 4096).await?;
        let wish: IndexRequest = match &body[..] {
            b"" => IndexRequest::default(),
            text => serde_json::from_slice(text).map_err(|_| Fault::bad("the body is no {\"ready\": …}"))?,
        };
        let mut listed = Vec::new();
        for model in proxy.models.list(&proxy.pool).await? {
            let state = proxy.metadata(&model.deployment).await.map(|_| ());
            match state {
                Ok(()) => listed.push(json!({"name": model.name, "version": VERSION, "state": "READY", "reason": ""})),
                Err(fault) if fault.status == 503 => return Err(fault),
                Err(_) if wish.ready => {}
                Err(fault) => listed.push(
                    json!({"name": model.name, "version": VERSION, "state": "UNAVAILABLE", "reason": fault.message}),
                ),
            }
        }
        Ok(Json(listed).into_response())
    };
    or_error(answered.await)
}

/// A model as the path names it.
#[derive(Deserialize)]
struct Segments {
    model: String,
    version: Option<String>,
}

type Named = Result<Path<Segments>, PathRejection>;

/// The name, where the version beside it is the one that there is.
fn named(path: Named) -> Result<String, Fault> {
    let Path(Segments { model, version }) = path.map_err(|_| Fault::bad("the path is no text"))?;
    require_version(version.as_deref().unwrap_or_default())?;
    Ok(model)
}

#[derive(Clone, Copy)]
enum About {
    Metadata,
    Ready,
    Config,
    Stats,
}

/// The only version may be named or left out.
pub(crate) fn require_version(version: &str) -> Result<(), Fault> {
    if version.is_empty() || version == VERSION {
        return Ok(());
    }
    Err(Fault::new(404, "not-found", "the model has no such version", "leave the version out, or ask for version 1"))
}

async fn tell(proxy: &Proxy, path: Named, about: About) -> Outcome {
    let model = named(path)?;
    let deployment = proxy.models.resolve(&proxy.pool, &model).await?;
    let (session, metadata) = proxy.metadata(&deployment).await?;
    let headers = said_of(&session);
    let said = match about {
        About::Ready => return Ok((headers, Json(json!({"name": model, "ready": true}))).into_response()),
        About::Stats => stats(proxy, &model),
        About::Metadata | About::Config => {
            let mut metadata: Value = serde_json::from_slice(&metadata.body).map_err(|_| unreadable())?;
            let named = metadata.get_mut("name").ok_or_else(unreadable)?;
            *named = model.into();
            if let About::Config = about { config(&metadata).ok_or_else(unreadable)? } else { metadata }
        }
    };
    Ok((headers, Json(said)).into_response())
}

pub(crate) fn unreadable() -> Fault {
    Fault::new(502, "node", "the enclave's description of the model cannot be read", "compare `glacier --version`")
}

/// The configuration that Triton would have for it.
fn config(metadata: &Value) -> Option<Value> {
    let ports = |key| -> Option<Vec<Value>> {
        let port = |port: &Value| {
            let datatype = format!("TYPE_{}", port.get("datatype")?.as_str()?);
            Some(json!({"name": port.get("name")?, "data_type": datatype, "dims": port.get("shape")?}))
        };
        metadata.get(key)?.as_array()?.iter().map(port).collect()
    };
    Some(json!({
        "name": metadata.get("name")?,
        "platform": metadata.get("platform")?,
        "backend": "glacier",
        "max_batch_size": 0,
        "input": ports("inputs")?,
        "output": ports("outputs")?,
    }))
}

/// Counted here, over all models: the enclave counts for the node's operator, not for its callers.
fn stats(proxy: &Proxy, model: &str) -> Value {
    let counts = &proxy.counts;
    let answered = counts.answered.load(Ordering::Relaxed);
    let failed = counts.failed.load(Ordering::Relaxed);
    let spent = counts.nanoseconds.load(Ordering::Relaxed);
    json!({"model_stats": [{
        "name": model,
        "version": VERSION,
        "inference_count": answered,
        "execution_count": answered,
        "inference_stats": {"success": {"count": answered, "ns": spent}, "fail": {"count": failed, "ns": 0}},
    }]})
}

async fn infer(State(proxy): State<Arc<Proxy>>, path: Named, request: Request) -> Response {
    or_error(try_infer(&proxy, path, request).await)
}

async fn try_infer(proxy: &Proxy, path: Named, request: Request) -> Outcome {
    let model = named(path)?;
    let (parts, body) = request.into_parts();
    let (body, _room) = proxy.body(&parts.headers, body).await?;
    let json = match parts.headers.get(JSON_LENGTH) {
        Some(value) => Some(value.to_str().map_err(|_| Fault::bad("the header of the JSON's length is no number"))?),
        None => None,
    };
    let deployment = proxy.models.resolve(&proxy.pool, &model).await?;
    let mut headers = vec![("content-type", "application/octet-stream")];
    headers.extend(json.map(|length| (JSON_LENGTH, length)));
    let proved = proxy.infer(&deployment, &headers, body).await?;
    hand_out(proved, Encoding::wanted(&parts.headers))
}

fn hand_out(proved: Proved, encoding: Option<Encoding>) -> Outcome {
    let mut headers = said_of_proved(std::slice::from_ref(&proved));
    let response = proved.response;
    let kind = match response.headers.get(JSON_LENGTH) {
        Some(length) => {
            headers.insert(JSON_LENGTH, length.clone());
            "application/octet-stream"
        }
        None => "application/json",
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let Some(encoding) = encoding else { return Ok((headers, response.body).into_response()) };
    let packed = encoding.encode(&response.body);
    let packed =
        packed.map_err(|_| Fault::new(500, "encoding", "the answer cannot be compressed", "ask for it plain"))?;
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding.as_str()));
    Ok((headers, packed).into_response())
}
