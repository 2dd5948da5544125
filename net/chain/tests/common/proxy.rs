//! A JSON-RPC service that loses, breaks and lies as a test tells it to.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::post,
};
use glacier_chain::{Embedded, Remote};
use serde_json::{Value, json};

/// What becomes of one request.
pub enum Fault {
    None,
    /// It never arrives.
    Before,
    /// It arrives, and its answer does not.
    After,
    /// It arrives twice.
    Twice,
    /// Its answer is changed.
    Edit(Box<dyn FnOnce(&mut Value) + Send>),
    /// It is answered with this error.
    Error(i64, &'static str),
}

type Rule = Box<dyn FnMut(&str, &Value) -> Fault + Send>;

/// The honest chain behind it.
#[derive(Clone)]
enum Behind {
    Embedded(Embedded),
    Url(reqwest::Client, String),
}

impl Behind {
    /// The answer's body, without version and id.
    async fn ask(&self, method: &str, params: &Value) -> Value {
        match self {
            Self::Embedded(chain) => match chain.request(method, Some(&params.to_string())).await {
                Ok(result) => json!({ "result": result }),
                Err(error) => json!({ "error": {"code": error.code, "message": error.message, "data": error.data} }),
            },
            Self::Url(client, url) => {
                let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
                client.post(url).json(&body).send().await.unwrap().json().await.unwrap()
            }
        }
    }
}

#[derive(Clone)]
pub struct Proxy {
    rule: Arc<Mutex<Rule>>,
    behind: Behind,
    port: u16,
    chain_id: u64,
}

impl Proxy {
    pub async fn before_embedded(chain: Embedded) -> Self {
        let chain_id = chain.chain_id();
        Self::start(Behind::Embedded(chain), chain_id).await
    }

    pub async fn before(remote: &Remote) -> Self {
        let client = super::client();
        Self::start(Behind::Url(client, remote.url.to_string()), remote.chain_id).await
    }

    async fn start(behind: Behind, chain_id: u64) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let rule: Rule = Box::new(|_, _| Fault::None);
        let proxy = Self { rule: Arc::new(Mutex::new(rule)), behind, port, chain_id };
        let app = Router::new().route("/", post(answer)).with_state(proxy.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        proxy
    }

    pub fn rule(&self, rule: impl FnMut(&str, &Value) -> Fault + Send + 'static) {
        *self.rule.lock().unwrap() = Box::new(rule);
    }

    pub fn honest(&self) {
        self.rule(|_, _| Fault::None);
    }

    /// One attempt, so that each fault is seen.
    pub fn remote(&self, confirmations: u64) -> Remote {
        let mut remote = Remote::new(format!("http://127.0.0.1:{}", self.port).parse().unwrap(), self.chain_id);
        (remote.confirmations, remote.attempts) = (confirmations, 1);
        remote
    }
}

async fn answer(State(proxy): State<Proxy>, body: String) -> Response {
    let request: Value = serde_json::from_str(&body).unwrap();
    let (method, none) = (request["method"].as_str().unwrap(), json!([]));
    let params = request.get("params").unwrap_or(&none);
    let fault = (proxy.rule.lock().unwrap())(method, params);
    let mut answer = match fault {
        Fault::Before => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Fault::After => {
            proxy.behind.ask(method, params).await;
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        Fault::Twice => {
            proxy.behind.ask(method, params).await;
            proxy.behind.ask(method, params).await
        }
        Fault::None => proxy.behind.ask(method, params).await,
        Fault::Edit(edit) => {
            let mut answer = proxy.behind.ask(method, params).await;
            edit(&mut answer["result"]);
            answer
        }
        Fault::Error(code, message) => json!({ "error": {"code": code, "message": message} }),
    };
    answer["jsonrpc"] = "2.0".into();
    answer["id"] = request["id"].clone();
    axum::Json(answer).into_response()
}
