//! The host port: what the enclave asks of the machine around it. Answers are foreign bytes.

use glacier_wire::{
    Digest,
    api::{HOST_FRAME, HostAnswer, HostCall, HostFault, HostReply, HostRequest, Refusal, RefusalCode},
    cbor,
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Mutex as AsyncMutex, oneshot},
};

/// What went wrong between enclave and host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum HostError {
    /// The host said no.
    #[error("{0}")]
    Fault(HostFault),
    /// The host broke the protocol or closed the port.
    #[error("the host port is broken")]
    Broken,
}

impl From<HostError> for Refusal {
    fn from(error: HostError) -> Self {
        let code = match error {
            HostError::Fault(HostFault::Missing) => RefusalCode::AssetMissing,
            _ => RefusalCode::Host,
        };
        Self::new(code, error.to_string())
    }
}

type Pending = Arc<Mutex<Option<HashMap<u32, oneshot::Sender<HostReply>>>>>;

/// The enclave's end of the port. Calls may overlap; answers come in any order.
pub(crate) struct HostPort {
    writer: AsyncMutex<OwnedWriteHalf>,
    pending: Pending,
    next: AtomicU32,
}

impl HostPort {
    pub(crate) fn new(stream: UnixStream) -> Arc<Self> {
        let (reader, writer) = stream.into_split();
        let pending = Pending::new(Mutex::new(Some(HashMap::new())));
        tokio::spawn(listen(reader, pending.clone()));
        Arc::new(Self { writer: AsyncMutex::new(writer), pending, next: AtomicU32::new(0) })
    }

    pub(crate) async fn call(&self, request: HostRequest) -> Result<HostReply, HostError> {
        self.begin(request).await?.wait().await
    }

    /// Sends a request. Those that one task begins reach the host in that order.
    pub(crate) async fn begin(&self, request: HostRequest) -> Result<Asked, HostError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        match lock(&self.pending).as_mut() {
            Some(pending) => pending.insert(id, sender),
            None => return Err(HostError::Broken),
        };
        let body = cbor::encode(&HostCall { id, request });
        let length = u32::try_from(body.len()).map_err(|_| HostError::Broken)?;
        {
            let mut writer = self.writer.lock().await;
            writer.write_all(&length.to_le_bytes()).await.map_err(|_| HostError::Broken)?;
            writer.write_all(&body).await.map_err(|_| HostError::Broken)?;
        }
        Ok(Asked(receiver))
    }

    pub(crate) async fn size(&self, asset: Digest) -> Result<u64, HostError> {
        match self.call(HostRequest::Size { asset }).await? {
            HostReply::Size { bytes } => Ok(bytes),
            _ => Err(HostError::Broken),
        }
    }

    /// Exactly `len` bytes from `offset`, or an error.
    pub(crate) async fn read(&self, asset: Digest, offset: u64, len: u32) -> Result<Vec<u8>, HostError> {
        match self.call(HostRequest::Read { asset, offset, len }).await? {
            HostReply::Data { data } if data.len() as u64 == u64::from(len) => Ok(data),
            _ => Err(HostError::Broken),
        }
    }
}

/// A request under way.
pub(crate) struct Asked(oneshot::Receiver<HostReply>);

impl Asked {
    pub(crate) async fn wait(self) -> Result<HostReply, HostError> {
        match self.0.await.map_err(|_| HostError::Broken)? {
            HostReply::Failed { fault } => Err(HostError::Fault(fault)),
            reply => Ok(reply),
        }
    }
}

async fn listen(mut reader: OwnedReadHalf, pending: Pending) {
    while let Some(answer) = next_answer(&mut reader).await {
        let waiting = lock(&pending).as_mut().and_then(|pending| pending.remove(&answer.id));
        // An answer nobody asked for is the host's noise.
        if let Some(sender) = waiting {
            let _ = sender.send(answer.reply);
        }
    }
    // Dropping the senders tells every caller, and `None` every later one.
    lock(&pending).take();
}

async fn next_answer(reader: &mut OwnedReadHalf) -> Option<HostAnswer> {
    let mut length = [0u8; 4];
    reader.read_exact(&mut length).await.ok()?;
    let length = usize::try_from(u32::from_le_bytes(length)).ok().filter(|length| *length <= HOST_FRAME)?;
    let mut body = vec![0u8; length];
    reader.read_exact(&mut body).await.ok()?;
    // The host is no party: whether it writes CBOR in the one encoding decides nothing.
    minicbor::decode(&body).ok()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
