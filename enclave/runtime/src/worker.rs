//! Worker processes: what each is for, and how it ended.

use crate::app;
use glacier_app::{Context, Ending, Leash, Refusal, RefusalCode, Worker};
use glacier_engine::EngineError;
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream as StdUnixStream,
    sync::Arc,
};
use tokio::net::UnixStream;

/// What a worker is for. The first byte on its socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Inference = 0,
    Training = 1,
    Merging = 2,
    App = 3,
}

/// What every worker process does with its socket, once it has locked itself down.
pub(crate) fn work(mut stream: StdUnixStream) {
    let mut role = [0];
    match stream.read_exact(&mut role) {
        Ok(()) if role == [Role::Inference as u8] => glacier_engine::worker::work(stream),
        Ok(()) if role == [Role::Training as u8] => glacier_train::worker::work(stream),
        Ok(()) if role == [Role::Merging as u8] => glacier_train::merge::work(stream),
        Ok(()) if role == [Role::App as u8] => app::worker::work(stream),
        _ => {}
    }
}

/// A worker process. Dropping it kills it.
pub(crate) struct Process(Arc<Leash>);

impl Process {
    /// Starts one that may hold `memory` bytes.
    pub(crate) fn start(cx: &Context, role: Role, memory: u64) -> Result<(UnixStream, Self), Refusal> {
        let broken = |_| Refusal::new(RefusalCode::Platform, "the worker's socket could not be used");
        let Worker { mut stream, leash } = cx.worker(memory)?;
        stream.write_all(&[role as u8]).map_err(broken)?;
        stream.set_nonblocking(true).map_err(broken)?;
        Ok((UnixStream::from_std(stream).map_err(broken)?, Self(Arc::new(leash))))
    }

    /// Ends it, now.
    pub(crate) fn kill(&self) {
        self.0.kill();
    }

    /// Ends it and waits until it has. Its memory goes back to the kernel, which clears it before anybody
    /// else gets it.
    pub(crate) async fn end(self) {
        self.0.kill();
        let _ = self.ending().await;
    }

    async fn ending(&self) -> Option<Ending> {
        let leash = self.0.clone();
        tokio::task::spawn_blocking(move || leash.ending()).await.ok()
    }

    /// Turns a worker's silence into the reason for it.
    pub(crate) async fn explain<T>(&self, outcome: Result<T, EngineError>) -> Result<T, Refusal> {
        match outcome {
            Ok(value) => Ok(value),
            Err(EngineError::Refused(refusal)) => Err(refusal),
            Err(EngineError::Gone) => Err(match self.ending().await {
                Some(Ending::MemoryLimit) => {
                    Refusal::new(RefusalCode::MemoryLimit, "the job needs more memory than its manifest allows")
                }
                _ => Refusal::new(RefusalCode::EngineCrashed, "the engine did not survive this input"),
            }),
            Err(EngineError::Cut) => Err(Refusal::new(RefusalCode::AssetMalformed, "the asset ended early")),
            Err(fault) => Err(Refusal::new(RefusalCode::EngineCrashed, fault.to_string())),
        }
    }
}
