//! The enclave's end of a worker: load a model, run a data set through it, answer requests.

use crate::{
    frame::{CHUNK, HEADER, Header, Kind, TENSORS},
    info::{Limits, ModelInfo},
    link::{Inbox, put},
};
use glacier_wire::{
    Tensor,
    api::{Refusal, RefusalCode},
};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::{
    io::AsyncWriteExt,
    net::{UnixStream, unix::WriteHalf},
    sync::{Notify, mpsc},
};
use zeroize::{Zeroize, Zeroizing};

/// Why a worker gave no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The worker says no; after a refused run it still answers.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The worker process has ended. The platform knows how.
    #[error("the worker has ended")]
    Gone,
    /// The worker said what it must not say, or an earlier call was given up halfway: end it.
    #[error("the worker does not keep to its protocol")]
    Protocol,
    /// The chunks ended before, or went on after, the announced length.
    #[error("the input has another length than announced")]
    Cut,
    /// Nobody takes the results any more.
    #[error("the results are no longer wanted")]
    Unwanted,
}

/// What a run over a data set came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunReport {
    /// Rows answered.
    pub rows: u64,
    /// Multiply-accumulates spent.
    pub units: u64,
}

/// Result of one request: outputs in the graph's order, labels if the model has them, units spent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inference {
    /// The graph's outputs.
    pub tensors: Vec<Tensor>,
    /// Name of the class of each row.
    pub labels: Option<Vec<String>>,
    /// Multiply-accumulates spent.
    pub units: u64,
}

/// One worker. Calls are made one after the other; a call that is dropped before it is done leaves
/// the worker unusable (every later call is [`EngineError::Protocol`]).
pub struct Client {
    stream: UnixStream,
    inbox: Inbox,
    outbox: Zeroizing<Vec<u8>>,
    /// In a call, or given up in one.
    busy: bool,
}

impl Client {
    /// Speaks to the worker at the other end of `stream`.
    pub fn new(stream: UnixStream) -> Self {
        Self { stream, inbox: Inbox::new(), outbox: Zeroizing::new(Vec::new()), busy: false }
    }

    /// Hands over a model of `len` bytes; the chunks may have any size.
    pub async fn load(
        &mut self,
        len: u64,
        chunks: &mut mpsc::Receiver<Zeroizing<Vec<u8>>>,
        limits: Limits,
    ) -> Result<ModelInfo, EngineError> {
        self.begin()?;
        let opening = Opening { kind: Kind::Load, len, payload: encode(&limits) };
        let mut info = None;
        let result = exchange(&mut self.stream, &mut self.inbox, opening, chunks, None, |header, payload| {
            if header.kind != Kind::Loaded {
                return Err(EngineError::Protocol);
            }
            info = Some(minicbor::decode(&payload).map_err(|_| EngineError::Protocol)?);
            Ok(Flow::End)
        })
        .await;
        self.end(&result);
        result?;
        info.ok_or(EngineError::Protocol)
    }

    /// Runs a data set of `len` bytes. `out` receives the result piece by piece: the pieces, one after
    /// the other, are a CBOR sequence of [`glacier_wire::Outputs`]. `progress` is told the rows so far.
    pub async fn rows(
        &mut self,
        len: u64,
        chunks: &mut mpsc::Receiver<Zeroizing<Vec<u8>>>,
        out: mpsc::Sender<Vec<u8>>,
        mut progress: impl FnMut(u64),
    ) -> Result<RunReport, EngineError> {
        self.begin()?;
        let opening = Opening { kind: Kind::Rows, len, payload: Vec::new() };
        let mut report = RunReport { rows: 0, units: 0 };
        let result = exchange(&mut self.stream, &mut self.inbox, opening, chunks, Some(&out), |header, payload| {
            match header.kind {
                Kind::Window => {
                    report.rows = report.rows.saturating_add(header.x);
                    report.units = report.units.saturating_add(header.y);
                    // A row is at least one byte of data: a worker cannot answer without end.
                    if header.x == 0 || report.rows > len {
                        return Err(EngineError::Protocol);
                    }
                    progress(report.rows);
                    Ok(Flow::Forward(payload))
                }
                Kind::Done if header.x == report.rows && header.y == report.units => Ok(Flow::End),
                _ => Err(EngineError::Protocol),
            }
        })
        .await;
        self.end(&result);
        result.map(|()| report)
    }

    /// Runs the model once. Inputs may come in any order; an empty name means the input at that place.
    pub async fn infer(&mut self, inputs: &[Tensor]) -> Result<Inference, EngineError> {
        self.begin()?;
        let result = self.infer_once(inputs).await;
        self.outbox.zeroize();
        self.busy = !matches!(result, Ok(_) | Err(EngineError::Refused(_)));
        result
    }

    async fn infer_once(&mut self, inputs: &[Tensor]) -> Result<Inference, EngineError> {
        // Grown once, so that no half-filled copy of somebody's input stays behind in freed memory.
        let room = inputs.iter().map(|tensor| tensor.data.len().saturating_add(tensor.name.len()).saturating_add(256));
        let room = room.fold(HEADER.saturating_add(16), usize::saturating_add);
        if room > TENSORS {
            self.busy = false;
            return Err(too_large());
        }
        self.outbox.clear();
        self.outbox.reserve_exact(room);
        self.outbox.resize(HEADER, 0);
        let _ = minicbor::encode(inputs, &mut *self.outbox);
        let header = Header::new(Kind::Infer, self.outbox.len().saturating_sub(HEADER));
        let header = header.encode().map_err(|_| too_large())?;
        if let Some(start) = self.outbox.first_chunk_mut() {
            *start = header;
        }
        let (mut read, mut write) = self.stream.split();
        write.write_all(&self.outbox).await.map_err(|_| EngineError::Gone)?;
        let (header, payload) = self.inbox.frame(&mut read).await?;
        match header.kind {
            Kind::Answer => {
                let answer: Answer = minicbor::decode(&payload).map_err(|_| EngineError::Protocol)?;
                if answer.tensors.iter().any(|tensor| tensor.check().is_err()) {
                    return Err(EngineError::Protocol);
                }
                Ok(Inference { tensors: answer.tensors, labels: answer.labels, units: header.y })
            }
            Kind::Refused => Err(refused(&payload)),
            _ => Err(EngineError::Protocol),
        }
    }

    fn begin(&mut self) -> Result<(), EngineError> {
        if self.busy {
            return Err(EngineError::Protocol);
        }
        self.busy = true;
        Ok(())
    }

    fn end(&mut self, result: &Result<(), EngineError>) {
        self.busy = matches!(result, Err(EngineError::Gone | EngineError::Protocol));
    }
}

/// Payload of [`Kind::Answer`].
#[derive(minicbor::Encode, minicbor::Decode)]
pub(crate) struct Answer {
    #[n(0)]
    pub(crate) tensors: Vec<Tensor>,
    #[n(1)]
    pub(crate) labels: Option<Vec<String>>,
}

/// How an exchange begins.
struct Opening {
    kind: Kind,
    /// Bytes that will follow in chunks.
    len: u64,
    payload: Vec<u8>,
}

/// What to do after an answer.
enum Flow {
    /// It was of no use; another follows.
    More,
    /// Hand this on; another answer follows.
    Forward(Vec<u8>),
    /// It was the last.
    End,
}

/// Sends opening, chunks and end while it reads answers, so that neither end waits for the other's
/// full buffers. Whatever happens, the exchange is read to its end: only then may another begin.
async fn exchange(
    stream: &mut UnixStream,
    inbox: &mut Inbox,
    opening: Opening,
    chunks: &mut mpsc::Receiver<Zeroizing<Vec<u8>>>,
    out: Option<&mpsc::Sender<Vec<u8>>>,
    mut answer: impl FnMut(Header, Vec<u8>) -> Result<Flow, EngineError>,
) -> Result<(), EngineError> {
    let (mut read, mut write) = stream.split();
    let (stop, stopped) = (Notify::new(), AtomicBool::new(false));
    let sending = send(&mut write, opening, chunks, &stop, &stopped);
    let reading = async {
        let mut verdict = Ok(());
        loop {
            let (header, payload) = inbox.frame(&mut read).await?;
            let flow = match header.kind {
                Kind::Refused => Err(refused(&payload)),
                Kind::Window | Kind::Done | Kind::Loaded if verdict.is_ok() => answer(header, payload),
                Kind::Window => Ok(Flow::More),
                // The worker ended in its own way what was given up here.
                _ => Ok(Flow::End),
            };
            let last = !matches!(header.kind, Kind::Window);
            let flow = match flow {
                Ok(Flow::Forward(payload)) => match out {
                    Some(out) => out.send(payload).await.map(|()| Flow::More).map_err(|_| EngineError::Unwanted),
                    None => Err(EngineError::Protocol),
                },
                flow => flow,
            };
            match flow {
                Ok(Flow::More | Flow::Forward(_)) => {}
                Ok(Flow::End) => break,
                Err(EngineError::Protocol) => return Err(EngineError::Protocol),
                Err(error) => {
                    // What was found first is the reason; a refusal that follows is its echo.
                    if verdict.is_ok() {
                        verdict = Err(error);
                    }
                    stopped.store(true, Ordering::Relaxed);
                    stop.notify_one();
                    if last {
                        break;
                    }
                }
            }
        }
        // Whoever answers before all was sent wants no more of it.
        stopped.store(true, Ordering::Relaxed);
        stop.notify_one();
        verdict
    };
    let (sent, verdict) = tokio::join!(sending, reading);
    match (sent, verdict) {
        // The worker's refusal of input that ends early is the echo of the cut.
        (Err(EngineError::Cut), Ok(()) | Err(EngineError::Refused(_))) => Err(EngineError::Cut),
        // A refusal outlives the worker that gave it.
        (_, Err(error)) => Err(error),
        (sent, Ok(())) => sent,
    }
}

/// Writes the opening, exactly the announced bytes, and the end.
async fn send(
    write: &mut WriteHalf<'_>,
    opening: Opening,
    chunks: &mut mpsc::Receiver<Zeroizing<Vec<u8>>>,
    stop: &Notify,
    stopped: &AtomicBool,
) -> Result<(), EngineError> {
    let header = Header { kind: opening.kind, len: opening.payload.len(), x: opening.len, y: 0 };
    put(write, header, &opening.payload).await?;
    let mut left = opening.len;
    let mut result = Ok(());
    while left > 0 && !stopped.load(Ordering::Relaxed) {
        let chunk = tokio::select! {
            chunk = chunks.recv() => chunk,
            () = stop.notified() => break,
        };
        let Some(chunk) = chunk else {
            result = Err(EngineError::Cut);
            break;
        };
        match left.checked_sub(chunk.len() as u64) {
            Some(rest) => left = rest,
            None => {
                result = Err(EngineError::Cut);
                break;
            }
        }
        for piece in chunk.chunks(CHUNK) {
            put(write, Header::new(Kind::Chunk, piece.len()), piece).await?;
        }
    }
    put(write, Header::new(Kind::End, 0), &[]).await?;
    result
}

pub(crate) fn encode<T: minicbor::Encode<()>>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    let _ = minicbor::encode(value, &mut out); // writing to a Vec is infallible
    out
}

fn refused(payload: &[u8]) -> EngineError {
    minicbor::decode(payload).map_or(EngineError::Protocol, EngineError::Refused)
}

fn too_large() -> EngineError {
    EngineError::Refused(Refusal::new(RefusalCode::TooLarge, "the request is larger than the engine takes at once"))
}
