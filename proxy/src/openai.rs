//! The OpenAI shapes: embeddings, and the list of models.

use crate::{
    embedding::{Embedder, Shape},
    fault::Fault,
    oip,
    proxy::{Proved, Proxy, said_of_proved},
    tensors,
};
use axum::{
    Json, Router,
    extract::{Path, Request, State, rejection::PathRejection},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Most inputs of one request.
const MAX_INPUTS: usize = 2048;
/// Most inputs that go to the model at once.
const BATCH: usize = 32;

type Outcome = Result<Response, Fault>;

pub(crate) fn routes() -> Router<Arc<Proxy>> {
    Router::new()
        .route("/v1/models", get(models))
        .route("/v1/models/{model}", get(model))
        .route("/v1/embeddings", post(embeddings))
        .route("/v1/{*rest}", axum::routing::any(no_language_model))
        .method_not_allowed_fallback(no_language_model)
}

/// A fault in OpenAI's form.
pub(crate) fn error(fault: &Fault) -> Response {
    let kind = if fault.status < 500 { "invalid_request_error" } else { "api_error" };
    let said = json!({"error": {"message": fault.to_string(), "type": kind, "param": null, "code": fault.code}});
    (oip::status(fault), [("glacier-fault", fault.code)], Json(said)).into_response()
}

fn or_error(outcome: Outcome) -> Response {
    outcome.unwrap_or_else(|fault| error(&fault))
}

async fn no_language_model() -> Response {
    let message =
        "this node serves no language model: there are embeddings (POST /v1/embeddings) and models (GET /v1/models)";
    error(&Fault::new(404, "model_not_found", message, "for other models use /v2, the Open Inference Protocol"))
}

fn described(name: &str) -> Value {
    json!({"id": name, "object": "model", "created": 0, "owned_by": "glacier"})
}

async fn models(State(proxy): State<Arc<Proxy>>) -> Response {
    let listed = proxy.models.list(&proxy.pool).await;
    let said = |list: Vec<crate::ModelName>| {
        let data: Vec<Value> = list.iter().map(|model| described(&model.name)).collect();
        Json(json!({"object": "list", "data": data})).into_response()
    };
    or_error(listed.map(said))
}

async fn model(State(proxy): State<Arc<Proxy>>, name: Result<Path<String>, PathRejection>) -> Response {
    let found = async {
        let Path(name) = name.map_err(|_| Fault::bad("the path is no text"))?;
        let deployment = proxy.models.resolve(&proxy.pool, &name).await?;
        proxy.metadata(&deployment).await?;
        Ok(Json(described(&name)).into_response())
    };
    or_error(found.await)
}

#[derive(Deserialize)]
struct Asked {
    model: String,
    input: Input,
    #[serde(default)]
    encoding_format: Format,
    dimensions: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<i64>),
    Rows(Vec<Vec<i64>>),
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Float,
    Base64,
}

async fn embeddings(State(proxy): State<Arc<Proxy>>, request: Request) -> Response {
    or_error(embed(&proxy, request).await)
}

async fn embed(proxy: &Proxy, request: Request) -> Outcome {
    let (parts, body) = request.into_parts();
    let (body, _room) = proxy.body(&parts.headers, body).await?;
    let asked: Asked = serde_json::from_slice(&body).map_err(|fault| {
        Fault::bad(format!("the body is no request for embeddings (line {}, column {})", fault.line(), fault.column()))
    })?;
    let embedder = proxy.text.as_ref().ok_or_else(|| {
        let message = "this proxy has no tokenizer";
        Fault::new(422, "no-tokenizer", message, "start it with --tokenizer FILE, the tokenizer.json of the model")
    })?;
    if asked.dimensions.is_some() {
        let message = "`dimensions` is not served: vectors are as long as the model makes them";
        return Err(Fault::new(400, "unsupported_parameter", message, "leave it out"));
    }
    let deployment = proxy.models.resolve(&proxy.pool, &asked.model).await?;
    let rows = tokens(embedder, asked.input)?;
    let (_, metadata) = proxy.metadata(&deployment).await?;
    let shape: Shape = serde_json::from_slice(&metadata.body).map_err(|_| oip::unreadable())?;
    let (mut proved, mut data): (Vec<Proved>, Vec<Value>) = (Vec::new(), Vec::new());
    for batch in rows.chunks(BATCH) {
        let (body, length) = tensors::write(&Embedder::inputs(&shape, batch)?, &[]);
        let headers = [("content-type", "application/octet-stream"), (tensors::JSON_LENGTH, length.as_str())];
        let answer = proxy.infer(&deployment, &headers, body).await?;
        for vector in embedder.vectors(&tensors::read(&answer.response)?, batch)? {
            let vector = match asked.encoding_format {
                Format::Float => json!(vector),
                Format::Base64 => {
                    json!(STANDARD.encode(vector.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>()))
                }
            };
            data.push(json!({"object": "embedding", "index": data.len(), "embedding": vector}));
        }
        proved.push(answer);
    }
    let used: usize = rows.iter().map(Vec::len).sum();
    let said = json!({
        "object": "list",
        "data": data,
        "model": asked.model,
        "usage": {"prompt_tokens": used, "total_tokens": used},
    });
    Ok((said_of_proved(&proved), Json(said)).into_response())
}

fn tokens(embedder: &Embedder, input: Input) -> Result<Vec<Vec<i64>>, Fault> {
    let count = match &input {
        Input::Text(_) | Input::Tokens(_) => 1,
        Input::Texts(texts) => texts.len(),
        Input::Rows(rows) => rows.len(),
    };
    if count == 0 || count > MAX_INPUTS {
        return Err(Fault::bad(format!("a request has 1 to {MAX_INPUTS} inputs")));
    }
    match input {
        Input::Text(text) => Ok(vec![embedder.tokens(&text)?]),
        Input::Texts(texts) => texts.iter().map(|text| embedder.tokens(text)).collect(),
        Input::Tokens(tokens) => Ok(vec![embedder.bounded(tokens)?]),
        Input::Rows(rows) => rows.into_iter().map(|row| embedder.bounded(row)).collect(),
    }
}
