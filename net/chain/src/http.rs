//! alloy's transport to a JSON-RPC service: bounded answers, time limits, and patience with what may pass.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use alloy::{
    rpc::json_rpc::{RequestPacket, ResponsePacket},
    transports::{TransportError, TransportErrorKind, TransportFut},
};
use reqwest::{
    Client, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
    redirect::Policy,
};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs::default_provider};
use tokio::time::{sleep, timeout};
use tower::Service;
use url::Url;

use crate::chain::{ChainError, Remote};

/// A JSON-RPC service under a URL. The URL may hold a secret, so no message names it.
#[derive(Clone)]
pub(crate) struct Http(Arc<Settings>);

struct Settings {
    client: Client,
    url: Url,
    timeout: Duration,
    attempts: u32,
}

impl Http {
    pub(crate) fn new(remote: &Remote) -> Result<Self, ChainError> {
        let client = Client::builder()
            .tls_backend_preconfigured(tls()?)
            .connect_timeout(remote.timeout)
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .user_agent(concat!("glacier-chain/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|_| ChainError::Tls)?;
        let (url, timeout, attempts) = (remote.url.clone(), remote.timeout, remote.attempts.max(1));
        Ok(Self(Arc::new(Settings { client, url, timeout, attempts })))
    }

    async fn ask(self, packet: RequestPacket) -> Result<ResponsePacket, TransportError> {
        let body = serde_json::to_vec(&packet).map_err(TransportError::ser_err)?;
        let mut pause = FIRST_PAUSE;
        let mut left = self.0.attempts;
        loop {
            left = left.saturating_sub(1);
            let fault = match timeout(self.0.timeout, self.attempt(body.clone())).await {
                Ok(Ok(answer)) if left == 0 || !asks_for_patience(&answer) => return Ok(answer),
                Ok(Ok(_)) => Fault { error: TransportErrorKind::custom_str("rate limit"), passes: true, pause: None },
                Ok(Err(fault)) => fault,
                Err(_) => {
                    Fault { error: TransportErrorKind::custom_str("no answer in time"), passes: true, pause: None }
                }
            };
            if left == 0 || !fault.passes {
                return Err(fault.error);
            }
            sleep(fault.pause.unwrap_or_else(|| jitter(pause)).min(LONGEST_PAUSE)).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    async fn attempt(&self, body: Vec<u8>) -> Result<ResponsePacket, Fault> {
        let request = self.0.client.post(self.0.url.clone()).header(CONTENT_TYPE, "application/json").body(body);
        let mut response = request.send().await.map_err(Fault::connection)?;
        let status = response.status();
        let pause = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(Fault::connection)? {
            if text.len().saturating_add(chunk.len()) > MAX_ANSWER {
                return Err(Fault::lasting(TransportErrorKind::non_retryable_str("the answer is too large")));
            }
            text.extend_from_slice(&chunk);
        }
        // Some services put errors of JSON-RPC under an HTTP status of their own.
        match serde_json::from_slice(&text) {
            Ok(answer) if status.is_success() || is_failure(&answer) && !passes(status) => Ok(answer),
            _ if !status.is_success() => Err(Fault {
                error: TransportErrorKind::http_error(status.as_u16(), String::new()),
                passes: passes(status),
                pause: pause.map(Duration::from_secs),
            }),
            Ok(_) => Err(Fault::lasting(TransportErrorKind::non_retryable_str("unexpected answer"))),
            Err(error) => Err(Fault::lasting(TransportError::deser_err(error, ""))),
        }
    }
}

impl Service<RequestPacket> for Http {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        Box::pin(self.clone().ask(packet))
    }
}

struct Fault {
    error: TransportError,
    passes: bool,
    pause: Option<Duration>,
}

impl Fault {
    fn connection(error: reqwest::Error) -> Self {
        Self { error: TransportErrorKind::custom(error.without_url()), passes: true, pause: None }
    }

    fn lasting(error: TransportError) -> Self {
        Self { error, passes: false, pause: None }
    }
}

fn passes(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502..=504)
}

fn is_failure(answer: &ResponsePacket) -> bool {
    answer.as_error().is_some()
}

fn asks_for_patience(answer: &ResponsePacket) -> bool {
    answer.as_error().is_some_and(|error| error.is_retry_err())
}

/// aws-lc-rs and the machine's list of authorities; without such a list only plain http works.
pub(crate) fn tls() -> Result<ClientConfig, ChainError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|_| ChainError::Tls)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Between half and all of it, so that those who failed together do not come back together.
fn jitter(pause: Duration) -> Duration {
    let mut random = [0; 1];
    // Without randomness the pause is the longest, which is no harm.
    let random = getrandom::fill(&mut random).map_or(u8::MAX, |()| random[0]);
    pause.mul_f64(0.5 + f64::from(random) / 510.0)
}

/// Bytes of one answer: ten thousand logs fit.
const MAX_ANSWER: usize = 32 << 20;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
