//! The host port: what the enclave asks of the machine around it. Answers are foreign bytes.

use glacier_wire::{
    Digest,
    api::{HOST_FRAME, HostAnswer, HostCall, HostFault, HostReply, HostRequest, Refusal, RefusalCode},
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

/// The enclave's end of the port. Calls may overlap; answers come in any order. A call may be dropped at any
/// point: the host then still gets whole frames, and its answer is nobody's.
pub(crate) struct HostPort {
    writer: AsyncMutex<Writer>,
    pending: Pending,
    next: AtomicU32,
}

impl HostPort {
    pub(crate) fn new(stream: UnixStream) -> Arc<Self> {
        let (reader, writer) = stream.into_split();
        let pending = Pending::new(Mutex::new(Some(HashMap::new())));
        tokio::spawn(listen(reader, pending.clone()));
        Arc::new(Self { writer: AsyncMutex::new(Writer::new(writer)), pending, next: AtomicU32::new(0) })
    }

    pub(crate) async fn call(&self, request: HostRequest) -> Result<HostReply, HostError> {
        self.begin(request).await?.wait().await
    }

    /// Sends a request. Those that one task begins reach the host in that order.
    pub(crate) async fn begin(&self, request: HostRequest) -> Result<Asked, HostError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        match lock(&self.pending).as_mut() {
            Some(pending) => pending.insert(id, sender),
            None => return Err(HostError::Broken),
        };
        let asked = Asked { id, answer, pending: self.pending.clone() };
        let frame = frame(&HostCall { id, request }).ok_or(HostError::Broken)?;
        let mut writer = self.writer.lock().await;
        writer.finish().await?;
        (writer.frame, writer.written) = (frame, 0);
        writer.finish().await?;
        Ok(asked)
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

/// The frame that is being written. Whoever is dropped halfway leaves the rest of it to the next.
struct Writer {
    stream: OwnedWriteHalf,
    frame: Vec<u8>,
    written: usize,
}

impl Writer {
    fn new(stream: OwnedWriteHalf) -> Self {
        Self { stream, frame: Vec::new(), written: 0 }
    }

    async fn finish(&mut self) -> Result<(), HostError> {
        while let Some(rest @ [_, ..]) = self.frame.get(self.written..) {
            match self.stream.write(rest).await {
                Ok(count @ 1..) => self.written = self.written.saturating_add(count),
                _ => return Err(HostError::Broken),
            }
        }
        // A megabyte of somebody's result is not kept until the next call.
        (self.frame, self.written) = (Vec::new(), 0);
        Ok(())
    }
}

/// A request under way. Dropping it gives up the answer, not the request.
pub(crate) struct Asked {
    id: u32,
    answer: oneshot::Receiver<HostReply>,
    pending: Pending,
}

impl Asked {
    pub(crate) async fn wait(mut self) -> Result<HostReply, HostError> {
        match (&mut self.answer).await.map_err(|_| HostError::Broken)? {
            HostReply::Failed { fault } => Err(HostError::Fault(fault)),
            reply => Ok(reply),
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(pending) = lock(&self.pending).as_mut() {
            pending.remove(&self.id);
        }
    }
}

/// Length and body, to be written at once.
fn frame(call: &HostCall) -> Option<Vec<u8>> {
    const PREFIX: usize = size_of::<u32>();
    let mut frame = vec![0; PREFIX];
    minicbor::encode(call, &mut frame).ok()?;
    let length = u32::try_from(frame.len().checked_sub(PREFIX)?).ok()?;
    frame.first_chunk_mut::<PREFIX>()?.copy_from_slice(&length.to_le_bytes());
    Some(frame)
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use glacier_wire::{
        api::HOST_CHUNK,
        cbor::{self, decode},
    };
    use std::time::Duration;
    use tokio::time::{sleep, timeout};

    async fn heard(port: &mut UnixStream) -> HostCall {
        let len = port.read_u32_le().await.unwrap();
        assert!(len as usize <= HOST_FRAME, "a frame of {len} bytes is announced");
        let mut bytes = vec![0; len as usize];
        port.read_exact(&mut bytes).await.unwrap();
        decode(&bytes, HOST_FRAME).unwrap()
    }

    async fn answer(port: &mut UnixStream, id: u32, reply: HostReply) {
        let bytes = cbor::encode(&HostAnswer { id, reply });
        port.write_all(&(bytes.len() as u32).to_le_bytes()).await.unwrap();
        port.write_all(&bytes).await.unwrap();
    }

    fn append(byte: u8) -> HostRequest {
        HostRequest::Append { upload: 1, data: vec![byte; HOST_CHUNK] }
    }

    #[tokio::test]
    async fn a_call_that_is_dropped_in_the_middle_of_its_frame_leaves_a_port_that_works() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let host = HostPort::new(theirs);
        for byte in 0..3 {
            // Nobody reads: the frame is longer than what the socket holds.
            let dropped = timeout(Duration::from_millis(20), host.call(append(byte))).await;
            assert!(dropped.is_err(), "{byte}");
        }
        let calling = tokio::spawn({
            let host = host.clone();
            async move { host.size(Digest([7; 32])).await }
        });
        // Of the others not one byte was written when they were dropped.
        assert_eq!(heard(&mut ours).await.request, append(0));
        let HostCall { id, request } = heard(&mut ours).await;
        assert_eq!(request, HostRequest::Size { asset: Digest([7; 32]) });
        answer(&mut ours, 0, HostReply::Done).await;
        answer(&mut ours, id, HostReply::Size { bytes: 5 }).await;
        assert_eq!(timeout(Duration::from_secs(10), calling).await.unwrap().unwrap(), Ok(5));
    }

    #[tokio::test]
    async fn nothing_is_remembered_of_calls_that_were_dropped() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let host = HostPort::new(theirs);
        let waiting = || lock(&host.pending).as_ref().map(HashMap::len);
        let asked = host.begin(HostRequest::Create).await.unwrap();
        assert!(timeout(Duration::from_millis(20), host.call(HostRequest::Create)).await.is_err());
        assert_eq!(waiting(), Some(1));
        drop(asked);
        assert_eq!(waiting(), Some(0));
        for upload in 0..2 {
            let HostCall { id, .. } = heard(&mut ours).await;
            answer(&mut ours, id, HostReply::Created { upload }).await;
        }
        drop(ours);
        while waiting().is_some() {
            sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(host.call(HostRequest::Create).await, Err(HostError::Broken));
    }
}
