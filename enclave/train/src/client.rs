//! The enclave's end of a training worker.

use crate::protocol::{Order, Progress, Report};
use glacier_engine::{
    EngineError,
    frame::{CHUNK, Header, Kind},
    link::{Inbox, put},
};
use tokio::{
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
};
use zeroize::Zeroizing;

/// Content on its way to the worker.
pub type Pieces = mpsc::Receiver<Zeroizing<Vec<u8>>>;

/// What a training worker says.
#[derive(Debug)]
pub enum News {
    /// The model can be trained.
    Ready,
    /// It waits for data set `source` from its start: [`Feeder::feed`] it.
    Pass {
        /// Place in the order's list.
        source: usize,
    },
    /// How it goes.
    Progress(Progress),
    /// A state that it can be started from again.
    Checkpoint {
        /// Rises from 1.
        number: u64,
        /// Opaque, and as secret as the model.
        state: Zeroizing<Vec<u8>>,
    },
    /// It is done.
    Trained {
        /// How it went.
        report: Box<Report>,
        /// The refined model, or the adapter.
        result: Zeroizing<Vec<u8>>,
    },
}

/// Speaks to a training worker.
pub struct Feeder(OwnedWriteHalf);

/// Hears a training worker.
pub struct Listener {
    read: OwnedReadHalf,
    inbox: Inbox,
    /// Data sets in the order.
    sources: usize,
    /// Most bytes of a state or a model: what the worker may hold at all.
    memory: u64,
    number: u64,
}

/// Both directions of a stream to a worker, used side by side: a worker that is fed may speak at any time.
pub fn split(stream: UnixStream, order: &Order) -> (Feeder, Listener) {
    let (read, write) = stream.into_split();
    let (sources, memory) = (order.data.len(), order.limits.memory);
    (Feeder(write), Listener { read, inbox: Inbox::new(), sources, memory, number: 0 })
}

impl Feeder {
    /// Gives the order, with a model of `len` bytes and the state to go on from.
    ///
    /// # Errors
    /// As [`feed`](Self::feed).
    pub async fn order(
        &mut self,
        order: &Order,
        len: u64,
        model: &mut Pieces,
        state: Option<&[u8]>,
    ) -> Result<(), EngineError> {
        let state = state.unwrap_or_default();
        let mut payload = Vec::new();
        let _ = minicbor::encode(order, &mut payload); // writing to a Vec is infallible
        let header = Header { kind: Kind::Train, len: payload.len(), x: len, y: state.len() as u64 };
        put(&mut self.0, header, &payload).await?;
        self.feed(len, model).await?;
        for piece in state.chunks(CHUNK) {
            put(&mut self.0, Header::new(Kind::Chunk, piece.len()), piece).await?;
        }
        put(&mut self.0, Header::new(Kind::End, 0), &[]).await
    }

    /// Sends content of `len` bytes, and its end.
    ///
    /// # Errors
    /// [`EngineError::Cut`] where the pieces are not `len` bytes, [`EngineError::Gone`] where the worker has ended.
    pub async fn feed(&mut self, len: u64, pieces: &mut Pieces) -> Result<(), EngineError> {
        let mut left = len;
        while left > 0 {
            let piece = pieces.recv().await.ok_or(EngineError::Cut)?;
            left = left.checked_sub(piece.len() as u64).ok_or(EngineError::Cut)?;
            for chunk in piece.chunks(CHUNK) {
                put(&mut self.0, Header::new(Kind::Chunk, chunk.len()), chunk).await?;
            }
        }
        put(&mut self.0, Header::new(Kind::End, 0), &[]).await
    }
}

impl Listener {
    /// What the worker says next.
    ///
    /// # Errors
    /// [`EngineError::Refused`] where it says no, [`EngineError::Gone`] where it has ended,
    /// [`EngineError::Protocol`] where it says what it must not say.
    pub async fn next(&mut self) -> Result<News, EngineError> {
        let (header, payload) = self.inbox.frame(&mut self.read).await?;
        match header.kind {
            Kind::Refused => Err(minicbor::decode(&payload).map_or(EngineError::Protocol, EngineError::Refused)),
            Kind::Ready => Ok(News::Ready),
            Kind::Pass => {
                let source = usize::try_from(header.x).ok().filter(|source| *source < self.sources);
                Ok(News::Pass { source: source.ok_or(EngineError::Protocol)? })
            }
            Kind::Progress => Ok(News::Progress(decode(&payload)?)),
            Kind::Checkpoint if header.x > self.number => {
                self.number = header.x;
                Ok(News::Checkpoint { number: header.x, state: self.content(header.y).await? })
            }
            Kind::Trained => {
                Ok(News::Trained { report: Box::new(decode(&payload)?), result: self.content(header.x).await? })
            }
            _ => Err(EngineError::Protocol),
        }
    }

    /// Content of exactly `len` bytes, in chunks.
    async fn content(&mut self, len: u64) -> Result<Zeroizing<Vec<u8>>, EngineError> {
        let len = usize::try_from(len).ok().filter(|_| len <= self.memory).ok_or(EngineError::Protocol)?;
        let mut content = Zeroizing::new(Vec::new());
        // The enclave must not abort where the host gives it no memory.
        content.try_reserve_exact(len).map_err(|_| EngineError::Protocol)?;
        loop {
            let (header, payload) = self.inbox.frame(&mut self.read).await?;
            match header.kind {
                Kind::Chunk if content.len().saturating_add(payload.len()) <= len => {
                    content.extend_from_slice(&Zeroizing::new(payload));
                }
                Kind::End if content.len() == len => return Ok(content),
                _ => return Err(EngineError::Protocol),
            }
        }
    }
}

fn decode<T: for<'b> minicbor::Decode<'b, ()>>(payload: &[u8]) -> Result<T, EngineError> {
    minicbor::decode(payload).map_err(|_| EngineError::Protocol)
}
