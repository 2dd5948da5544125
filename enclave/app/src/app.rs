//! What an application implements, and what it is asked and answers.

use crate::Context;
use bytes::Bytes;
use glacier_wire::{
    Address, Digest, ManifestHash, Settlement, Work,
    api::{CBOR, Refusal, RefusalCode},
    cbor,
};
use serde::{Serialize, de::DeserializeOwned};
use std::future::Future;

/// A program that runs inside an enclave and answers authenticated parties.
pub trait App: Send + Sync + 'static {
    /// Name that the enclave shows to its users.
    const NAME: &'static str;

    /// Largest request body in bytes. A larger one is refused before it is read.
    const MAX_BODY: usize = 64 << 20;

    /// Called once, before the first session, for work that goes on beside requests.
    fn start(&self, cx: &Context) {
        let _ = cx;
    }

    /// Answers one request. Paths below `/glacier/v1/enclave` are the frame's own.
    fn handle(&self, cx: &Context, request: Request) -> impl Future<Output = Result<Response, Refusal>> + Send;
}

/// One request of one authenticated party.
#[derive(Debug)]
pub struct Request {
    pub(crate) peer: Address,
    pub(crate) method: hyper::Method,
    pub(crate) uri: hyper::Uri,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: Bytes,
}

impl Request {
    /// Who asks: the address whose key signed this channel.
    pub fn peer(&self) -> Address {
        self.peer
    }

    /// `GET`, `POST`, …
    pub fn method(&self) -> &str {
        self.method.as_str()
    }

    /// The path, without query.
    pub fn path(&self) -> &str {
        self.uri.path()
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

    /// The body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The body as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        serde_json::from_slice(&self.body).map_err(|fault| {
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

/// An answer.
#[derive(Debug)]
pub struct Response {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) worked: Option<Worked>,
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

    fn of(content_type: &'static str, body: Vec<u8>) -> Self {
        Self { status: 200, content_type, headers: Vec::new(), body, worked: None }
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
        let settlement = Settlement { chain_id: 0, ledger: Address::ZERO, payer: Address::ZERO, price: 0 };
        self.proved_as(Worked { work: Work::App, manifest: ManifestHash::ZERO, model: Digest::ZERO, units, settlement })
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
