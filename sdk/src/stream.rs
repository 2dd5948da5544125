//! Requests and answers piece by piece. What was cut is an error, never a shorter body.

use crate::{
    deployment::AnswerProof,
    error::Unproved,
    session::{RequestError, Session},
};
use bytes::Bytes;
use glacier_proof::{SignedProof, WorkProof};
use glacier_wire::{
    Commitment, Committer, ManifestHash, Nonce, Work,
    api::{Refusal, Trailer},
    cbor::{self, CborError},
};
use http_body_util::BodyExt;
use hyper::{
    HeaderMap, Method,
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http1::SendRequest,
};
use std::{
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::sync::{OwnedMutexGuard, mpsc};

/// Where a request's body goes in, piece by piece.
#[derive(Debug)]
pub struct Upload(mpsc::Sender<Option<Bytes>>);

impl Upload {
    /// The two ends of a body: pieces go into the one, the other goes to [`Session::stream`].
    pub fn pair() -> (Self, UploadBody) {
        let (pieces, outgoing) = mpsc::channel(QUEUE);
        (Self(pieces), UploadBody(outgoing))
    }

    /// Sends a piece. Waits while the enclave reads more slowly than this writes.
    ///
    /// # Errors
    /// [`RequestError::Cut`] where nobody reads any more: the answer says why.
    pub async fn write(&mut self, piece: impl Into<Bytes>) -> Result<(), RequestError> {
        let piece = piece.into();
        if piece.is_empty() {
            return Ok(());
        }
        self.0.send(Some(piece)).await.map_err(|_| RequestError::Cut)
    }

    /// Ends the body. An upload that is dropped instead is a body that was cut, and the enclave sees that.
    ///
    /// # Errors
    /// As of [`write`](Self::write).
    pub async fn finish(self) -> Result<(), RequestError> {
        self.0.send(None).await.map_err(|_| RequestError::Cut)
    }
}

/// The other end of an [`Upload`], or a body that is there already.
#[derive(Debug)]
pub struct UploadBody(mpsc::Receiver<Option<Bytes>>);

impl From<Bytes> for UploadBody {
    fn from(whole: Bytes) -> Self {
        let (pieces, outgoing) = mpsc::channel(QUEUE);
        // There is room for both.
        let _ = pieces.try_send(Some(whole).filter(|whole| !whole.is_empty()));
        let _ = pieces.try_send(None);
        Self(outgoing)
    }
}

/// What a request sends.
pub(crate) enum Outgoing {
    Whole(Option<Bytes>),
    Pieces { body: UploadBody, sent: Arc<Mutex<Sent>>, ended: bool },
}

/// What was sent so far.
pub(crate) struct Sent {
    committer: Committer,
    pieces: u64,
    ended: bool,
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut *self {
            Self::Whole(whole) => {
                Poll::Ready(whole.take().filter(|body| !body.is_empty()).map(|body| Ok(Frame::data(body))))
            }
            Self::Pieces { ended: true, .. } => Poll::Ready(None),
            Self::Pieces { body, sent, ended } => Poll::Ready(match ready!(body.0.poll_recv(cx)) {
                Some(Some(piece)) => {
                    let mut sent = lock(sent);
                    sent.committer.update(&piece);
                    sent.pieces = sent.pieces.saturating_add(1);
                    Some(Ok(Frame::data(piece)))
                }
                Some(None) => {
                    (*ended, lock(sent).ended) = (true, true);
                    None
                }
                None => Some(Err(io::ErrorKind::UnexpectedEof.into())),
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.as_ref().is_none_or(Bytes::is_empty),
            Self::Pieces { ended, .. } => *ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => SizeHint::with_exact(whole.as_ref().map_or(0, Bytes::len) as u64),
            Self::Pieces { .. } => SizeHint::default(),
        }
    }
}

/// An answer that comes piece by piece. The session answers nothing else until it is read or dropped; one that
/// is dropped before its end ends the session.
pub struct Streaming<'a> {
    session: &'a Session,
    body: Incoming,
    headers: HeaderMap,
    input_salt: Nonce,
    sent: Arc<Mutex<Sent>>,
    output: Committer,
    read: u64,
    deadline: Duration,
    ended: Option<Ended>,
    _sender: OwnedMutexGuard<SendRequest<Outgoing>>,
}

/// How an answer ended.
#[derive(Debug, Clone)]
struct Ended {
    proof: Option<String>,
}

impl Session {
    /// `POST path` with a body that is sent while the answer is read. `body` is `Bytes`, or from [`Upload::pair`].
    ///
    /// # Errors
    /// The enclave's refusal, where it says no before the first piece; a connection that was cut;
    /// [`RequestError::Deadline`] where for that long neither a piece of the body goes out nor an answer comes.
    pub async fn stream(&self, path: &str, body: impl Into<UploadBody>) -> Result<Streaming<'_>, RequestError> {
        let input_salt = random().ok_or(RequestError::Request)?;
        let sent = Arc::new(Mutex::new(Sent { committer: Committer::new(&input_salt), pieces: 0, ended: false }));
        let body = Outgoing::Pieces { body: body.into(), sent: sent.clone(), ended: false };
        let salt = input_salt.to_string();
        let headers = [("te", "trailers"), ("glacier-input-salt", salt.as_str())];
        let mut begun = pin!(self.begin(Method::POST, path, &headers, body));
        let mut before = 0;
        let (sender, head, body) = loop {
            if let Ok(begun) = tokio::time::timeout(self.deadline(), begun.as_mut()).await {
                break begun?;
            }
            // A long body may take longer than a request; one that stands still may not.
            let pieces = lock(&sent).pieces;
            if pieces == before {
                return Err(RequestError::Deadline);
            }
            before = pieces;
        };
        let salt = head.headers.get("glacier-output-salt").and_then(|salt| salt.to_str().ok()?.parse().ok());
        let output = Committer::new(&salt.unwrap_or(Nonce([0; 32])));
        Ok(Streaming {
            session: self,
            body,
            headers: head.headers,
            input_salt,
            sent,
            output,
            read: 0,
            deadline: self.deadline(),
            ended: None,
            _sender: sender,
        })
    }
}

impl Streaming<'_> {
    /// A header that is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The next piece; `None` once the answer has come to its end, and the enclave has said so.
    ///
    /// # Errors
    /// [`RequestError::Cut`] for an answer that ends without that; the enclave's refusal, where it broke off.
    pub async fn next(&mut self) -> Result<Option<Bytes>, RequestError> {
        while self.ended.is_none() {
            let frame = tokio::time::timeout(self.deadline, self.body.frame()).await;
            let Some(frame) = frame.map_err(|_| RequestError::Deadline)? else {
                if self.headers.contains_key(TRAILER) {
                    return Err(RequestError::Cut);
                }
                // It was no stream: its length stood before it, and HTTP has held it against that.
                self.ended = Some(Ended { proof: self.header(Trailer::PROOF).map(str::to_owned) });
                break;
            };
            match frame.map_err(|_| RequestError::Cut)?.into_data() {
                Ok(piece) => {
                    self.read = self.read.saturating_add(piece.len() as u64);
                    self.output.update(&piece);
                    return Ok(Some(piece));
                }
                Err(frame) => {
                    let trailers = frame.into_trailers().map_err(|_| RequestError::Cut)?;
                    self.ended = Some(end(&trailers, self.read)?);
                }
            }
        }
        Ok(None)
    }

    /// All pieces in one, of at most `max` bytes.
    ///
    /// # Errors
    /// Those of [`next`](Self::next); [`RequestError::TooLarge`].
    pub async fn whole(&mut self, max: usize) -> Result<Vec<u8>, RequestError> {
        let mut whole = Vec::new();
        while let Some(piece) = self.next().await? {
            if whole.len().saturating_add(piece.len()) > max {
                return Err(RequestError::TooLarge { max });
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }

    /// Checks the Work Proof behind the answer: of this session's enclave, about all that was sent and all that
    /// came. To be called after the last piece.
    ///
    /// # Errors
    /// [`Unproved`], also where the answer was not read to its end or the request not sent to its end.
    pub fn check(&self) -> Result<AnswerProof, Unproved> {
        let missing = || Unproved::Unreadable(CborError::Malformed);
        let proof = self.ended.as_ref().and_then(|ended| ended.proof.as_ref()).ok_or_else(missing)?;
        let signed = hex::decode(proof).map_err(|_| missing())?;
        let signed: SignedProof = cbor::decode(&signed, WorkProof::MAX_BYTES).map_err(Unproved::Unreadable)?;
        let output_salt = self.header("glacier-output-salt").and_then(|salt| salt.parse().ok()).ok_or_else(missing)?;
        let salts = (self.input_salt, output_salt);
        let sent = lock(&self.sent);
        if !sent.ended {
            return Err(Unproved::OtherInput);
        }
        let (input, output): (Commitment, Commitment) = (sent.committer.finish(), self.output.finish());
        self.session.check_commitments(Work::App, &ManifestHash::ZERO, signed, salts, (input, output))
    }
}

impl std::fmt::Debug for Streaming<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streaming").field("read", &self.read).finish_non_exhaustive()
    }
}

fn end(trailers: &HeaderMap, read: u64) -> Result<Ended, RequestError> {
    let text = |name| trailers.get(name).and_then(|value| value.to_str().ok());
    if let Some(refusal) = text(Trailer::REFUSAL) {
        let refusal = hex::decode(refusal).map_err(|_| RequestError::Malformed(CborError::Malformed))?;
        let refusal: Refusal = cbor::decode(&refusal, MAX_REFUSAL).map_err(RequestError::Malformed)?;
        return Err(RequestError::Refused(refusal));
    }
    match text(Trailer::END).and_then(|length| length.parse::<u64>().ok()) {
        Some(length) if length == read => Ok(Ended { proof: text(Trailer::PROOF).map(str::to_owned) }),
        _ => Err(RequestError::Cut),
    }
}

fn random() -> Option<Nonce> {
    let mut bytes = [0; 32];
    let (one, other) = bytes.split_at_mut(16);
    one.copy_from_slice(glacier_asset::generate_file_key().ok()?.expose());
    other.copy_from_slice(glacier_asset::generate_file_key().ok()?.expose());
    Some(Nonce(bytes))
}

fn lock(sent: &Mutex<Sent>) -> std::sync::MutexGuard<'_, Sent> {
    sent.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says that the answer is a stream, and ends with trailers.
const TRAILER: &str = "trailer";
/// Pieces that wait to be sent.
const QUEUE: usize = 4;
/// Bytes of a refusal in a trailer.
const MAX_REFUSAL: usize = 4 << 10;
