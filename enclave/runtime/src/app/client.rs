//! The enclave's end of an app's worker.

use super::worker::{Order, Summons};
use crate::worker::{Process, Role};
use glacier_app::{Address, Context, Refusal, RefusalCode};
use glacier_engine::{
    EngineError,
    frame::{CHUNK, Header, Kind},
    link::{Inbox, put},
};
use glacier_wire::{Digest, Limits, app::AppResult};
use std::time::Duration;
use tokio::{net::UnixStream, sync::mpsc, time::timeout};
use zeroize::Zeroizing;

/// How long a component may take to be compiled. Its size is bounded, and nobody pays for this in fuel.
const COMPILE: Duration = Duration::from_secs(60);
/// How long a caller may keep the others waiting, whatever fuel is left.
const ANSWER: Duration = Duration::from_secs(60);
/// How long one data set may take.
const RUN: Duration = Duration::from_secs(3600);

/// What an app said, and what fuel it took.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) result: AppResult,
    pub(super) fuel: u64,
}

/// A worker process with an app in it. Dropping it kills the process.
pub(super) struct Client {
    stream: UnixStream,
    inbox: Inbox,
    process: Process,
    order: Order,
    /// Whether the worker takes another call.
    alive: bool,
}

/// Content on its way to the worker.
type Pieces = mpsc::Receiver<Zeroizing<Vec<u8>>>;

impl Client {
    /// Starts the worker.
    pub(super) fn start(cx: &Context, limits: &Limits) -> Result<Self, Refusal> {
        let (stream, process) = Process::start(cx, Role::App, limits.memory)?;
        let order = Order { memory: limits.memory, fuel: limits.units };
        Ok(Self { stream, inbox: Inbox::new(), process, order, alive: true })
    }

    /// Hands over a component of `len` bytes, if it is the one whose digest was signed.
    pub(super) async fn load(&mut self, len: u64, pieces: Pieces, code: Digest) -> Result<(), Refusal> {
        let loaded = self.load_all(len, pieces, code).await;
        self.process.explain(loaded).await
    }

    async fn load_all(&mut self, len: u64, mut pieces: Pieces, code: Digest) -> Result<(), EngineError> {
        let payload = glacier_wire::cbor::encode(&self.order);
        self.open(Kind::Load, len, &payload).await?;
        let mut digest = blake3::Hasher::new();
        self.feed(len, &mut pieces, |piece| {
            digest.update(piece);
        })
        .await?;
        if Digest(*digest.finalize().as_bytes()) != code {
            let detail = "the sealed file is another component than the manifest names";
            return Err(Refusal::new(RefusalCode::AssetDigest, detail).into());
        }
        self.close().await?;
        let (header, payload) = self.heard(COMPILE).await?;
        match header.kind {
            Kind::Loaded => Ok(()),
            kind => Err(refused(kind, &payload)),
        }
    }

    /// Runs the app over a data set of `len` bytes.
    pub(super) async fn run(&mut self, caller: Address, len: u64, mut pieces: Pieces) -> Result<Said, Refusal> {
        let said = self.call(caller, "/", self.order.fuel, len, &mut pieces, RUN).await;
        self.process.explain(said).await
    }

    /// Asks the app for an answer to one request.
    pub(super) async fn answer(&mut self, caller: Address, path: &str, body: &[u8]) -> Result<Said, Refusal> {
        let (sender, mut pieces) = mpsc::channel(1);
        if !body.is_empty() {
            // There is room for one.
            let _ = sender.try_send(Zeroizing::new(body.to_vec()));
        }
        let (fuel, len) = (Order::ANSWER_FUEL, body.len() as u64);
        let said = self.call(caller, path, fuel, len, &mut pieces, ANSWER).await;
        self.alive &= matches!(said, Ok(_) | Err(EngineError::Refused(_)));
        self.process.explain(said).await
    }

    /// Whether the worker takes another call. What it refuses it survives.
    pub(super) fn alive(&self) -> bool {
        self.alive
    }

    async fn call(
        &mut self,
        caller: Address,
        path: &str,
        fuel: u64,
        len: u64,
        pieces: &mut Pieces,
        limit: Duration,
    ) -> Result<Said, EngineError> {
        if path.len() > Summons::MAX_PATH {
            return Err(Refusal::new(RefusalCode::BadRequest, "the path is too long").into());
        }
        let summons = Summons { caller: caller.to_string(), path: path.to_owned(), fuel };
        self.open(Kind::Call, len, &glacier_wire::cbor::encode(&summons)).await?;
        self.feed(len, pieces, |_| ()).await?;
        self.close().await?;
        let (header, payload) = self.heard(limit).await?;
        if header.kind != Kind::Answer {
            return Err(refused(header.kind, &payload));
        }
        if payload.len() > AppResult::MAX_BYTES {
            return Err(EngineError::Protocol);
        }
        let result = match header.x {
            0 => AppResult::Answer(payload),
            1 => AppResult::Refusal(String::from_utf8(payload).map_err(|_| EngineError::Protocol)?),
            _ => return Err(EngineError::Protocol),
        };
        Ok(Said { result, fuel: header.y })
    }

    /// Ends the process and waits until it has.
    pub(super) async fn end(self) {
        self.process.end().await;
    }

    async fn open(&mut self, kind: Kind, len: u64, payload: &[u8]) -> Result<(), EngineError> {
        put(&mut self.stream, Header { kind, len: payload.len(), x: len, y: 0 }, payload).await
    }

    /// Sends content of `len` bytes. The worker reads it to its end before it says anything.
    async fn feed(&mut self, len: u64, pieces: &mut Pieces, mut see: impl FnMut(&[u8])) -> Result<(), EngineError> {
        let mut left = len;
        while left > 0 {
            let piece = pieces.recv().await.ok_or(EngineError::Cut)?;
            left = left.checked_sub(piece.len() as u64).ok_or(EngineError::Cut)?;
            see(&piece);
            for chunk in piece.chunks(CHUNK) {
                put(&mut self.stream, Header::new(Kind::Chunk, chunk.len()), chunk).await?;
            }
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<(), EngineError> {
        put(&mut self.stream, Header::new(Kind::End, 0), &[]).await
    }

    /// What the worker says within a time; after that it is killed, and says nothing more.
    async fn heard(&mut self, limit: Duration) -> Result<(Header, Vec<u8>), EngineError> {
        match timeout(limit, self.inbox.frame(&mut self.stream)).await {
            Ok(frame) => frame,
            Err(_) => {
                self.alive = false;
                self.process.kill();
                let detail = format!("the app was stopped after {} seconds", limit.as_secs());
                Err(Refusal::new(RefusalCode::EngineCrashed, detail).into())
            }
        }
    }
}

fn refused(kind: Kind, payload: &[u8]) -> EngineError {
    match kind {
        Kind::Refused => minicbor::decode(payload).map_or(EngineError::Protocol, EngineError::Refused),
        _ => EngineError::Protocol,
    }
}
