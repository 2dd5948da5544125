//! Connections that the enclave asks for: it has no network of its own. What passes is the enclaves' TLS.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex as StdMutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use glacier_wire::api::{HostFault, HostReply, HostRequest};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Mutex,
    time::timeout,
};

/// The open connections of one enclave, and where it may have more of them opened.
pub(crate) struct Lines {
    allowed: Arc<[String]>,
    open: StdMutex<HashMap<u64, Arc<Line>>>,
    next: AtomicU64,
}

struct Line {
    reader: Mutex<OwnedReadHalf>,
    writer: Mutex<OwnedWriteHalf>,
}

impl Lines {
    pub(crate) fn new(allowed: Arc<[String]>) -> Self {
        Self { allowed, open: StdMutex::default(), next: AtomicU64::new(1) }
    }

    /// Whether this is for here.
    pub(crate) fn takes(request: &HostRequest) -> bool {
        use HostRequest::{Dial, Hangup, Receive, Send};
        matches!(request, Dial { .. } | Send { .. } | Receive { .. } | Hangup { .. })
    }

    /// Does it. Of one connection there is one reading and one writing at a time.
    pub(crate) async fn answer(&self, request: &HostRequest) -> Result<HostReply, HostFault> {
        match request {
            HostRequest::Dial { address } => self.dial(address).await,
            HostRequest::Send { connection, data } => {
                let line = self.line(*connection)?;
                let mut writer = line.writer.try_lock().map_err(|_| HostFault::Bad)?;
                let sent = timeout(PATIENCE, writer.write_all(data)).await;
                sent.map_err(|_| HostFault::Io)?.map_err(|_| HostFault::Io)?;
                Ok(HostReply::Done)
            }
            HostRequest::Receive { connection } => {
                let line = self.line(*connection)?;
                let mut reader = line.reader.try_lock().map_err(|_| HostFault::Bad)?;
                let mut data = vec![0; PIECE];
                let read = reader.read(&mut data).await.map_err(|_| HostFault::Io)?;
                data.truncate(read);
                Ok(HostReply::Data { data })
            }
            HostRequest::Hangup { connection } => {
                self.lock().remove(connection).ok_or(HostFault::Missing)?;
                Ok(HostReply::Done)
            }
            _ => Err(HostFault::Bad),
        }
    }

    async fn dial(&self, address: &str) -> Result<HostReply, HostFault> {
        if !self.allowed.iter().any(|allowed| allowed == address) {
            return Err(HostFault::Forbidden);
        }
        if self.lock().len() >= MOST {
            return Err(HostFault::Full);
        }
        let stream = timeout(DIALLING, TcpStream::connect(address)).await;
        let stream = stream.map_err(|_| HostFault::Io)?.map_err(|_| HostFault::Io)?;
        let _ = stream.set_nodelay(true);
        let (reader, writer) = stream.into_split();
        let connection = self.next.fetch_add(1, Relaxed);
        let mut open = self.lock();
        if open.len() >= MOST {
            return Err(HostFault::Full);
        }
        open.insert(connection, Arc::new(Line { reader: Mutex::new(reader), writer: Mutex::new(writer) }));
        Ok(HostReply::Dialed { connection })
    }

    fn line(&self, connection: u64) -> Result<Arc<Line>, HostFault> {
        self.lock().get(&connection).cloned().ok_or(HostFault::Missing)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Line>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connections at once.
const MOST: usize = 16;
/// Calls for connections under way at once: more wait.
pub(crate) const MAX_CALLS: usize = 4 * MOST;
/// Most bytes of one answer.
const PIECE: usize = 64 << 10;
const DIALLING: Duration = Duration::from_secs(10);
/// For a peer that does not read.
const PATIENCE: Duration = Duration::from_secs(60);
