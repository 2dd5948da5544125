//! One attested session with an enclave: nothing is said before the enclave was accepted.

use crate::{
    Boxed,
    memory::{self, StateMemory},
    stream::Outgoing,
    verify::{Judged, Verifier, now},
};
use bytes::Bytes;
use glacier_attest::{Accepted, AppraisalError, Check, CollateralError, Policy};
use glacier_channel::{ChannelError, Client, Freshness};
use glacier_wire::{
    Address, Claims, Evidence, Identity,
    api::{CBOR, EnclaveInfo, Refusal, RefusalCode, StateHead},
    cbor::{self, CborError},
};
use http_body_util::{BodyExt, Limited};
use hyper::{Method, body::Incoming, client::conn::http1::SendRequest, header, http::response::Parts};
use hyper_util::rt::TokioIo;
use std::{io, sync::Arc, time::Duration};
use tokio::{
    net::TcpStream,
    sync::{Mutex, OwnedMutexGuard},
};

/// Why there is no session. Nothing private has left in any of these cases.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nobody answers at the node's address.
    #[error("the node cannot be reached: {0}")]
    Unreachable(io::ErrorKind),
    /// The handshake ended without a session.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The collateral beside the evidence cannot be read.
    #[error("the collateral beside the evidence cannot be read: {0}")]
    Collateral(#[from] CollateralError),
    /// The evidence is not what the policy accepts.
    #[error("{error}")]
    Evidence {
        /// The first check that stands in the way.
        error: AppraisalError,
        /// All checks, for display.
        checks: Vec<Check>,
    },
    /// The session ended before it began.
    #[error("the enclave closed the session")]
    Closed,
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The enclave said no, and why.
    #[error(transparent)]
    Refused(Refusal),
    /// The connection was cut.
    #[error("the session was cut")]
    Cut,
    /// No answer in time.
    #[error("the enclave did not answer in time")]
    Deadline,
    /// The answer is larger than is read.
    #[error("the answer has more than {max} bytes")]
    TooLarge {
        /// Bytes that are read.
        max: usize,
    },
    /// The answer is not the document that this path gives.
    #[error("the answer cannot be read: {0}")]
    Malformed(CborError),
    /// The answer is no refusal and no success.
    #[error("the enclave answered with status {0}")]
    Status(u16),
    /// The path or a header is not HTTP.
    #[error("the request is not HTTP")]
    Request,
    /// The enclave has an older state than it had, or another: its host set it back, or runs it twice. What was
    /// asked may have been done on that state; its answer is not to be relied on.
    #[error("the enclave's state `{name}` was set back, or is another than this side was told of")]
    SetBack {
        /// Which state.
        name: String,
    },
    /// What the enclave said of its state could not be written down.
    #[error("what the enclave said of its state could not be written down: {0}")]
    Memory(io::ErrorKind),
}

/// An answer of the enclave.
#[derive(Debug, Clone)]
pub struct Response {
    /// HTTP status, always a success.
    pub status: u16,
    /// Headers.
    pub headers: header::HeaderMap,
    /// The body, whole.
    pub body: Bytes,
}

impl Response {
    /// A header that is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as a document of at most `max` bytes.
    pub fn cbor<T>(&self, max: usize) -> Result<T, RequestError>
    where
        T: minicbor::Encode<()> + for<'b> minicbor::Decode<'b, ()>,
    {
        cbor::decode(&self.body, max).map_err(RequestError::Malformed)
    }
}

/// A session with an enclave that the policy has accepted. One connection, one request at a time.
pub struct Session {
    party: Address,
    accepted: Accepted,
    checks: Vec<Check>,
    claims: Claims,
    evidence: Evidence,
    post_quantum: bool,
    deadline: Duration,
    enclave: memory::Enclave,
    states: StateMemory,
    sender: Arc<Mutex<SendRequest<Outgoing>>>,
}

impl Session {
    /// How long one request may take, unless [`Session::set_deadline`] says otherwise.
    pub const DEADLINE: Duration = Duration::from_secs(600);
    /// Largest answer that is read.
    pub const MAX_BODY: usize = 256 << 20;

    pub(crate) fn open<'a>(
        stream: TcpStream,
        client: &'a Client,
        verifier: &'a Verifier,
        policy: &'a Policy,
        identity: &'a Identity,
        freshness: Freshness,
        states: StateMemory,
    ) -> Boxed<'a, Result<Self, ConnectError>> {
        Box::pin(async move {
            // Requests are small and each waits for its answer: nothing is gained by waiting for more bytes.
            let _ = stream.set_nodelay(true);
            let offered = client.offer(stream, freshness).await?;
            let Judged { checks, accepted, .. } =
                verifier.judge(offered.evidence(), offered.claims(), policy, now())?;
            let accepted = match accepted {
                Ok(accepted) => accepted,
                Err(error) => return Err(ConnectError::Evidence { error, checks }),
            };
            let (post_quantum, evidence) = (offered.post_quantum(), offered.evidence().clone());
            let mut session = offered.accept(&accepted, identity).await?;
            // Costs a round trip and tells an unknown party so, instead of a cut connection at its first request.
            session.confirm().await?;
            let claims = session.claims().clone();
            let (sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(session)).await.map_err(|_| ConnectError::Closed)?;
            // Ends with the sender; its errors reach whoever waits for an answer.
            tokio::spawn(connection);
            Ok(Self {
                party: identity.address(),
                enclave: memory::Enclave::new(accepted.measurement(), accepted.enclave_id()),
                states,
                accepted,
                checks,
                claims,
                evidence,
                post_quantum,
                deadline: Self::DEADLINE,
                sender: Arc::new(Mutex::new(sender)),
            })
        })
    }

    /// Sets how long one request may take.
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// What was accepted: code, chip, platform.
    pub fn accepted(&self) -> &Accepted {
        &self.accepted
    }

    /// The checks that led to acceptance, in order, for display.
    pub fn appraisal(&self) -> &[Check] {
        &self.checks
    }

    /// What the quote commits to: the enclave's keys of this epoch.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The evidence as it was accepted, collateral included.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// Who this side is to the enclave.
    pub fn party(&self) -> Address {
        self.party
    }

    /// Whether recorded traffic of this session withstands quantum computers.
    pub fn post_quantum(&self) -> bool {
        self.post_quantum
    }

    /// What the enclave says of itself.
    pub async fn enclave(&self) -> Result<EnclaveInfo, RequestError> {
        self.get("/glacier/v1/enclave").await?.cbor(4096)
    }

    /// `GET path`.
    pub async fn get(&self, path: &str) -> Result<Response, RequestError> {
        self.request(Method::GET, path, &[], Bytes::new()).await
    }

    /// `POST path` with a CBOR document.
    pub async fn post<T: minicbor::Encode<()>>(&self, path: &str, body: &T) -> Result<Response, RequestError> {
        self.request(Method::POST, path, &[("content-type", CBOR)], cbor::encode(body).into()).await
    }

    /// Any request. An answer that is no success comes out as the refusal it carries.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Response, RequestError> {
        self.exchange(method, path, headers, body).await
    }

    fn exchange<'a>(
        &'a self,
        method: Method,
        path: &'a str,
        headers: &'a [(&str, &str)],
        body: Bytes,
    ) -> Boxed<'a, Result<Response, RequestError>> {
        Box::pin(async move {
            let asked = async {
                let (_sender, head, body) = self.begin(method, path, headers, Outgoing::Whole(Some(body))).await?;
                collect(head, body).await
            };
            tokio::time::timeout(self.deadline, asked).await.map_err(|_| RequestError::Deadline)?
        })
    }

    /// Sends a request and waits for the head of its answer. An answer that is no success is read whole, and comes
    /// out as the refusal it carries. HTTP/1.1 answers one request at a time: the sender is to be held until the
    /// body is read.
    pub(crate) fn begin<'a>(
        &'a self,
        method: Method,
        path: &'a str,
        headers: &'a [(&str, &str)],
        body: Outgoing,
    ) -> Boxed<'a, Result<Begun, RequestError>> {
        Box::pin(async move {
            let mut request = hyper::Request::builder().method(method).uri(path).header(header::HOST, "enclave");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let mut sender = self.sender.clone().lock_owned().await;
            let seen = self.states.seen(&self.enclave);
            if !seen.is_empty() {
                request = request.header(StateHead::SEEN, StateHead::write_all(&seen));
            }
            let request = request.body(body).map_err(|_| RequestError::Request)?;
            sender.ready().await.map_err(|_| RequestError::Cut)?;
            let response = sender.send_request(request).await.map_err(|_| RequestError::Cut)?;
            let (head, body) = response.into_parts();
            if let Some(told) = head.headers.get(StateHead::TOLD) {
                let told = told.to_str().ok().and_then(StateHead::parse_all);
                let told = told.ok_or(RequestError::Malformed(CborError::Malformed))?;
                self.states.told(&self.enclave, &seen, told)?;
            }
            if head.status.is_success() {
                return Ok((sender, head, body));
            }
            let response = collect(head, body).await?;
            Err(refusal(&response).map_or(RequestError::Status(response.status), RequestError::Refused))
        })
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }
}

/// The sender, until the body is read; the head; the body.
pub(crate) type Begun = (OwnedMutexGuard<SendRequest<Outgoing>>, Parts, Incoming);

async fn collect(head: Parts, body: Incoming) -> Result<Response, RequestError> {
    let body = Limited::new(body, Session::MAX_BODY).collect().await.map_err(|fault| {
        if fault.is::<http_body_util::LengthLimitError>() {
            RequestError::TooLarge { max: Session::MAX_BODY }
        } else {
            RequestError::Cut
        }
    })?;
    Ok(Response { status: head.status.as_u16(), headers: head.headers, body: body.to_bytes() })
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("party", &self.party).field("claims", &self.claims).finish_non_exhaustive()
    }
}

/// Largest refusal that is read.
const MAX_REFUSAL: usize = 16 << 10;

/// Reads a refusal: CBOR, or on `/v2` paths the protocol's JSON. Both come with the code in a header,
/// so the body tells which it is; no JSON object is CBOR of this shape.
fn refusal(response: &Response) -> Option<Refusal> {
    if response.body.len() > MAX_REFUSAL {
        return None;
    }
    if let Ok(refusal) = cbor::decode(&response.body, MAX_REFUSAL) {
        return Some(refusal);
    }
    #[derive(serde::Deserialize)]
    struct Body {
        error: String,
    }
    let code: RefusalCode = serde_json::from_value(response.header("glacier-refusal")?.into()).ok()?;
    let body: Body = serde_json::from_slice(&response.body).ok()?;
    let detail = body.error.strip_prefix(code.as_str()).and_then(|rest| rest.strip_prefix(": "));
    Some(Refusal::new(code, detail.unwrap_or(&body.error)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    fn response(headers: &[(&'static str, &str)], body: &[u8]) -> Response {
        let mut map = header::HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        Response { status: 422, headers: map, body: Bytes::copy_from_slice(body) }
    }

    #[test]
    fn a_refusal_is_read_in_both_forms() {
        let said = Refusal::new(RefusalCode::DataInvalid, "the column `age` is missing");
        let code = [("glacier-refusal", "data-invalid")];
        assert_eq!(refusal(&response(&code, &cbor::encode(&said))), Some(said.clone()));
        assert_eq!(refusal(&response(&[], &cbor::encode(&said))), Some(said.clone()));
        let json = serde_json::json!({"error": said.to_string()}).to_string();
        assert_eq!(refusal(&response(&code, json.as_bytes())), Some(said));
    }

    #[test]
    fn what_is_no_refusal_is_none() {
        assert_eq!(refusal(&response(&[], b"oops")), None);
        assert_eq!(refusal(&response(&[("glacier-refusal", "no-such-word")], b"{\"error\":\"x\"}")), None);
        assert_eq!(refusal(&response(&[], &vec![0; MAX_REFUSAL + 1])), None);
    }
}
