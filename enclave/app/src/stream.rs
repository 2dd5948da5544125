//! Bodies that come and go piece by piece.
//!
//! Requests end where HTTP's last chunk stands, inside the channel: a body that was cut is an error, never a
//! shorter body. Answers end with trailers that say how many bytes there were, and carry the Work Proof over
//! all of them.

use crate::{Context, Statement, Worked, session::hex};
use bytes::Bytes;
use glacier_wire::{
    Commitment, Committer, Nonce,
    api::{Refusal, RefusalCode, Trailer},
    cbor,
};
use http_body_util::BodyExt;
use hyper::{
    HeaderMap,
    body::{Body, Frame, Incoming},
};
use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Poll, ready},
};
use tokio::sync::mpsc;

/// The body of a request, as it comes in.
pub struct BodyStream {
    body: Incoming,
    left: u64,
    read: Arc<Mutex<Read>>,
}

/// What was read so far, for the proof.
pub(crate) struct Read {
    committer: Committer,
    ended: bool,
}

impl BodyStream {
    pub(crate) fn new(body: Incoming, most: u64, salt: &Nonce) -> (Self, Arc<Mutex<Read>>) {
        let read = Arc::new(Mutex::new(Read { committer: Committer::new(salt), ended: false }));
        (Self { body, left: most, read: read.clone() }, read)
    }

    /// The next piece, of any length; `None` at the end.
    ///
    /// # Errors
    /// [`RefusalCode::BadRequest`] where the body was cut, [`RefusalCode::TooLarge`] where it goes on beyond what
    /// [`App::streams`](crate::App::streams) allows.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            let Some(frame) = self.body.frame().await else {
                lock(&self.read).ended = true;
                return Ok(None);
            };
            let frame = frame.map_err(|_| Refusal::new(RefusalCode::BadRequest, "the request body ended early"))?;
            let Ok(piece) = frame.into_data() else { continue };
            let long = || Refusal::new(RefusalCode::TooLarge, "the request body is longer than this path takes");
            self.left = self.left.checked_sub(piece.len() as u64).ok_or_else(long)?;
            lock(&self.read).committer.update(&piece);
            return Ok(Some(piece));
        }
    }
}

impl std::fmt::Debug for BodyStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BodyStream").field("left", &self.left).finish_non_exhaustive()
    }
}

/// Commits to all of a request's body.
pub(crate) fn committed(read: &Mutex<Read>) -> Result<Commitment, Refusal> {
    let read = lock(read);
    if !read.ended {
        return Err(Refusal::new(RefusalCode::App, "the application proves an answer to a body it did not read"));
    }
    Ok(read.committer.finish())
}

/// Where an answer goes, piece by piece.
pub struct StreamWriter {
    pieces: mpsc::Sender<Piece>,
    committer: Committer,
    written: u64,
}

/// A stream that was brought to its end. Made by [`StreamWriter::finish`] and its kin alone, so none is forgotten.
pub struct Finished {
    written: u64,
    output: Commitment,
    worked: Option<Worked>,
}

impl StreamWriter {
    /// Sends a piece. Waits while the caller reads more slowly than this writes.
    ///
    /// # Errors
    /// [`RefusalCode::NotReady`] where the caller has gone; there is nobody left to tell.
    pub async fn write(&mut self, piece: impl Into<Bytes>) -> Result<(), Refusal> {
        let piece = piece.into();
        if piece.is_empty() {
            return Ok(());
        }
        self.committer.update(&piece);
        self.written = self.written.saturating_add(piece.len() as u64);
        let gone = |_| Refusal::new(RefusalCode::NotReady, "the caller has gone");
        self.pieces.send(Piece::Data(piece)).await.map_err(gone)
    }

    /// Ends the answer.
    pub fn finish(self) -> Finished {
        self.end(None)
    }

    /// Ends it with a Work Proof over request and answer, as [`Response::proved`](crate::Response::proved).
    pub fn finish_proved(self, units: u64) -> Finished {
        self.end(Some(Worked::app(units)))
    }

    /// Ends it with a Work Proof, as [`Response::proved_as`](crate::Response::proved_as).
    pub fn finish_proved_as(self, worked: Worked) -> Finished {
        self.end(Some(worked))
    }

    fn end(self, worked: Option<Worked>) -> Finished {
        Finished { written: self.written, output: self.committer.finish(), worked }
    }
}

type Written = Pin<Box<dyn Future<Output = Result<Finished, Refusal>> + Send>>;

/// What writes an answer, once the frame has a place for it.
pub(crate) struct Producer(Box<dyn FnOnce(StreamWriter) -> Written + Send>);

impl Producer {
    pub(crate) fn new<F, W>(writer: F) -> Self
    where
        F: FnOnce(StreamWriter) -> W + Send + 'static,
        W: Future<Output = Result<Finished, Refusal>> + Send + 'static,
    {
        Self(Box::new(|place| Box::pin(writer(place))))
    }

    /// Starts to write. The input is committed to when the writer has ended: it may read while it writes.
    pub(crate) fn start(
        self,
        cx: Context,
        output_salt: Nonce,
        input: impl FnOnce() -> Result<Commitment, Refusal> + Send + 'static,
    ) -> StreamBody {
        let (pieces, outgoing) = mpsc::channel(QUEUE);
        let place = StreamWriter { pieces: pieces.clone(), committer: Committer::new(&output_salt), written: 0 };
        tokio::spawn(async move {
            let ended = async {
                let Finished { written, output, worked } = self.0(place).await?;
                let mut trailers = vec![(Trailer::END, written.to_string())];
                if let Some(worked) = worked {
                    let statement = Statement::of(&worked, input()?, output);
                    trailers.push((Trailer::PROOF, hex(&cbor::encode(&cx.sign(&statement).await?))));
                }
                Ok::<_, Refusal>(trailers)
            };
            let refused = |refusal| vec![(Trailer::REFUSAL, hex(&cbor::encode(&refusal)))];
            let trailers = ended.await.unwrap_or_else(refused);
            // A caller that has gone learns nothing more.
            let _ = pieces.send(Piece::End(trailers)).await;
        });
        StreamBody { outgoing, ended: false }
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Producer(..)")
    }
}

enum Piece {
    Data(Bytes),
    End(Vec<(&'static str, String)>),
}

/// An answer on its way. Whose writer is gone without a word is cut, and the caller sees that.
pub(crate) struct StreamBody {
    outgoing: mpsc::Receiver<Piece>,
    ended: bool,
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(match ready!(self.outgoing.poll_recv(cx)) {
            Some(Piece::Data(piece)) => Ok(Frame::data(piece)),
            Some(Piece::End(trailers)) => {
                self.ended = true;
                let mut map = HeaderMap::new();
                for (name, value) in trailers {
                    map.insert(name, value.parse().map_err(io::Error::other)?);
                }
                Ok(Frame::trailers(map))
            }
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }))
    }
}

fn lock(read: &Mutex<Read>) -> std::sync::MutexGuard<'_, Read> {
    read.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Pieces that wait to be sent.
const QUEUE: usize = 4;
