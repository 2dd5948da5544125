//! What an application implements, and what it is asked and answers.

use crate::{
    BodyStream, Context, SessionState,
    stream::{Finished, Producer, StreamWriter},
};
use bytes::Bytes;
use glacier_wire::{
    Address, Digest, ManifestHash, Settlement, Work,
    api::{CBOR, Refusal, RefusalCode},
    cbor,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{future::Future, pin::Pin};

/// A program that runs inside an enclave and answers authenticated parties.
pub trait App: Send + Sync + 'static {
    /// Name that the enclave shows to its users.
    const NAME: &'static str;

    /// Largest request body in bytes. One that announces more is refused before it is read, one that turns out
    /// larger once it does. All that are under way share a gigabyte, or one of the largest if that is more; beyond
    /// that, and 64 KiB of its own, a body is refused with [`RefusalCode::Busy`].
    const MAX_BODY: usize = 64 << 20;

    /// For paths whose body this application reads as a stream ([`Request::take_stream`]): most bytes of it. All
    /// other bodies are read whole before [`handle`](Self::handle) is called.
    fn streams(&self, method: &str, path: &str) -> Option<u64> {
        let _ = (method, path);
        None
    }

    /// Called once, before the first session, for work that goes on beside requests.
    fn start(&self, cx: &Context) {
        let _ = cx;
    }

    /// Answers one request. Paths below `/glacier/v1/enclave` are the frame's own.
    fn handle(&self, cx: &Context, request: Request) -> impl Future<Output = Result<Response, Refusal>> + Send;
}

/// An application as the frame sees it: so the frame is compiled once, here, and not anew with each application.
pub(crate) trait Served: Send + Sync {
    fn name(&self) -> &'static str;
    fn max_body(&self) -> usize;
    fn streams(&self, method: &str, path: &str) -> Option<u64>;
    fn start(&self, cx: &Context);
    fn handle<'a>(&'a self, cx: &'a Context, request: Request) -> Answering<'a>;
}

/// An answer under way.
pub(crate) type Answering<'a> = Pin<Box<dyn Future<Output = Result<Response, Refusal>> + Send + 'a>>;

impl<A: App> Served for A {
    fn name(&self) -> &'static str {
        A::NAME
    }

    fn max_body(&self) -> usize {
        A::MAX_BODY
    }

    fn streams(&self, method: &str, path: &str) -> Option<u64> {
        App::streams(self, method, path)
    }

    fn start(&self, cx: &Context) {
        App::start(self, cx);
    }

    fn handle<'a>(&'a self, cx: &'a Context, request: Request) -> Answering<'a> {
        Box::pin(App::handle(self, cx, request))
    }
}

/// One request of one authenticated party.
#[derive(Debug)]
pub struct Request {
    pub(crate) peer: Address,
    pub(crate) method: hyper::Method,
    pub(crate) uri: hyper::Uri,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) stream: Option<BodyStream>,
    pub(crate) session: SessionState,
}

impl Request {
    /// Who asks: the address whose key signed this channel.
    pub fn peer(&self) -> Address {
        self.peer
    }

    /// What is kept for this session, and wiped when it ends. One session is one connection of one party.
    pub fn session(&self) -> &SessionState {
        &self.session
    }

    /// `GET`, `POST`, …
    pub fn method(&self) -> &str {
        self.method.as_str()
    }

    /// The path, without query.
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// Method and path, to match on: `("POST", "/bids")`.
    pub fn route(&self) -> (&str, &str) {
        (self.method(), self.path())
    }

    /// The path's segments: `/a/b` is `["a", "b"]`.
    pub fn segments(&self) -> Vec<&str> {
        self.path().split('/').filter(|segment| !segment.is_empty()).collect()
    }

    /// A number from the query string.
    pub fn query(&self, name: &str) -> Option<u64> {
        let pairs = self.uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(key, _)| *key == name).and_then(|(_, value)| value.parse().ok())
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as it comes in, on a path that [`App::streams`]; once.
    pub fn take_stream(&mut self) -> Option<BodyStream> {
        self.stream.take()
    }

    /// The body; empty where it is a stream.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Hands the body, read as JSON, to `handler`, and answers with what that makes of it, as JSON. Types decide:
    /// a handler that wants nothing takes `()`, which an empty body is as well.
    ///
    /// # Errors
    /// [`RefusalCode::BadRequest`] where the body is not what `handler` takes; whatever `handler` says.
    pub fn answer<I, O>(&self, handler: impl FnOnce(I) -> Result<O, Refusal>) -> Result<Response, Refusal>
    where
        I: DeserializeOwned,
        O: Serialize,
    {
        Response::json(&handler(self.json()?)?)
    }

    /// The refusal of what no route takes.
    pub fn no_such_path(&self) -> Refusal {
        Refusal::new(RefusalCode::NotFound, "this application has no such path")
    }

    /// The body as JSON; an empty one is `null`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        let body: &[u8] = if self.body.is_empty() { b"null" } else { &self.body };
        serde_json::from_slice(body).map_err(|fault| {
            // The position, not the text: a message may quote a private value.
            let place = format!("line {}, column {}", fault.line(), fault.column());
            Refusal::new(RefusalCode::BadRequest, format!("the body is not the JSON this path takes ({place})"))
        })
    }

    /// The body as deterministic CBOR of at most `max` bytes.
    pub fn cbor<T>(&self, max: usize) -> Result<T, Refusal>
    where
        T: minicbor::Encode<()> + for<'b> minicbor::Decode<'b, ()>,
    {
        cbor::decode(&self.body, max).map_err(|fault| match fault {
            cbor::CborError::TooLarge { .. } => Refusal::new(RefusalCode::TooLarge, fault.to_string()),
            _ => Refusal::new(RefusalCode::BadRequest, format!("the body is not the CBOR this path takes: {fault}")),
        })
    }
}

/// The application says no: one sentence for the caller, without a value in it that is not the caller's.
pub fn refuse(why: impl Into<String>) -> Refusal {
    Refusal::new(RefusalCode::App, why)
}

/// What was done for an answer, when the answer is to carry a Work Proof.
#[derive(Debug, Clone, Copy)]
pub struct Worked {
    /// Kind of work.
    pub work: Work,
    /// Manifest it was done under; zero where there is none.
    pub manifest: ManifestHash,
    /// Model asset it was done with; zero where there is none.
    pub model: Digest,
    /// Metered units.
    pub units: u64,
    /// Where the proof counts.
    pub settlement: Settlement,
}

impl Worked {
    /// Work of an application that has neither manifest nor model, and that counts on no chain.
    pub fn app(units: u64) -> Self {
        let settlement = Settlement { chain_id: 0, ledger: Address::ZERO, payer: Address::ZERO, price: 0 };
        Self { work: Work::App, manifest: ManifestHash::ZERO, model: Digest::ZERO, units, settlement }
    }
}

/// An answer.
#[derive(Debug)]
pub struct Response {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) worked: Option<Worked>,
    pub(crate) producer: Option<Producer>,
}

impl Response {
    /// JSON.
    pub fn json<T: Serialize>(value: &T) -> Result<Self, Refusal> {
        let body = serde_json::to_vec(value)
            .map_err(|_| Refusal::new(RefusalCode::App, "the answer cannot be written as JSON"))?;
        Ok(Self::of("application/json", body))
    }

    /// Deterministic CBOR.
    pub fn cbor<T: minicbor::Encode<()>>(value: &T) -> Self {
        Self::of(CBOR, cbor::encode(value))
    }

    /// Raw bytes.
    pub fn bytes(body: Vec<u8>) -> Self {
        Self::of("application/octet-stream", body)
    }

    /// An answer that `writer` writes piece by piece, while the caller reads it. The writer ends it with
    /// [`StreamWriter::finish`] or [`StreamWriter::finish_proved`]; what ends otherwise is an error to the caller.
    /// [`Response::proved`] says nothing of such an answer.
    pub fn stream<F, W>(writer: F) -> Self
    where
        F: FnOnce(StreamWriter) -> W + Send + 'static,
        W: Future<Output = Result<Finished, Refusal>> + Send + 'static,
    {
        let mut response = Self::bytes(Vec::new());
        response.producer = Some(Producer::new(writer));
        response
    }

    fn of(content_type: &'static str, body: Vec<u8>) -> Self {
        Self { status: 200, content_type, headers: Vec::new(), body, worked: None, producer: None }
    }

    /// Another media type.
    pub fn with_content_type(mut self, content_type: &'static str) -> Self {
        self.content_type = content_type;
        self
    }

    /// Another status.
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// One more header.
    pub fn with_header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Makes the answer carry a Work Proof over request and response, for an application that has
    /// neither manifest nor model.
    pub fn proved(self, units: u64) -> Self {
        self.proved_as(Worked::app(units))
    }

    /// Makes the answer carry a Work Proof over request and response.
    pub fn proved_as(mut self, worked: Worked) -> Self {
        self.worked = Some(worked);
        self
    }
}

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Self {
        let header = ("glacier-refusal", refusal.code.as_str().to_owned());
        let mut response = Self::cbor(&refusal).with_status(refusal.code.status());
        response.headers.push(header);
        response
    }
}
