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
    sync::{Mutex, watch},
    time::timeout,
};

use crate::handover::Pause;

/// The open connections of one enclave, and where it may have more of them opened.
pub(crate) struct Lines {
    allowed: Arc<[String]>,
    open: StdMutex<HashMap<u64, Arc<Line>>>,
    /// The name of the last one.
    last: AtomicU64,
}

struct Line {
    reader: Mutex<OwnedReadHalf>,
    writer: Mutex<OwnedWriteHalf>,
    /// Hung up: whoever still reads or writes lets go of it.
    over: watch::Sender<bool>,
}

impl Line {
    fn new(stream: TcpStream) -> Self {
        let (reader, writer) = stream.into_split();
        Self { reader: Mutex::new(reader), writer: Mutex::new(writer), over: watch::Sender::new(false) }
    }

    /// Returns when it is hung up.
    async fn hung_up(&self) {
        let mut over = self.over.subscribe();
        let _ = over.wait_for(|over| *over).await;
    }

    fn whole(self) -> Option<TcpStream> {
        self.reader.into_inner().reunite(self.writer.into_inner()).ok()
    }
}

impl Lines {
    /// With those that the run before had opened, and the name of its last one.
    pub(crate) fn new(allowed: Arc<[String]>, last: u64, open: Vec<(u64, TcpStream)>) -> Self {
        let open = open.into_iter().map(|(name, stream)| (name, Arc::new(Line::new(stream)))).collect();
        Self { allowed, open: StdMutex::new(open), last: AtomicU64::new(last) }
    }

    /// The name of the last one, and those that are open, once nobody uses them.
    pub(crate) fn close(self) -> Option<(u64, Vec<(u64, TcpStream)>)> {
        let open = self.open.into_inner().unwrap_or_else(PoisonError::into_inner);
        let whole = open.into_iter().map(|(name, line)| Some((name, Arc::into_inner(line)?.whole()?)));
        Some((self.last.into_inner(), whole.collect::<Option<_>>()?))
    }

    /// Whether this is for here.
    pub(crate) fn takes(request: &HostRequest) -> bool {
        use HostRequest::{Dial, Hangup, Receive, Send};
        matches!(request, Dial { .. } | Send { .. } | Receive { .. } | Hangup { .. })
    }

    /// Does it; `None` where a pause came before anything was done. Of one connection there is one reading and
    /// one writing at a time.
    pub(crate) async fn answer(&self, request: &HostRequest, pause: &Pause) -> Option<Result<HostReply, HostFault>> {
        match request {
            HostRequest::Dial { address } => tokio::select! {
                dialled = self.dial(address) => Some(dialled),
                () = pause.begun() => None,
            },
            HostRequest::Receive { connection } => tokio::select! {
                received = self.receive(*connection) => Some(received),
                () = pause.begun() => None,
            },
            HostRequest::Send { connection, data } => Some(tokio::select! {
                sent = self.send(*connection, data) => sent,
                // Some of it may have been sent: the connection is of no use to anybody now.
                () = pause.lasted() => self.hang_up(*connection).and(Err(HostFault::Io)),
            }),
            HostRequest::Hangup { connection } => Some(self.hang_up(*connection)),
            _ => Some(Err(HostFault::Bad)),
        }
    }

    async fn send(&self, connection: u64, data: &[u8]) -> Result<HostReply, HostFault> {
        let line = self.line(connection)?;
        let mut writer = line.writer.try_lock().map_err(|_| HostFault::Bad)?;
        tokio::select! {
            sent = timeout(PATIENCE, writer.write_all(data)) => sent.map_err(|_| HostFault::Io)?.map_err(|_| HostFault::Io)?,
            () = line.hung_up() => return Err(HostFault::Missing),
        }
        Ok(HostReply::Done)
    }

    fn hang_up(&self, connection: u64) -> Result<HostReply, HostFault> {
        let line = self.lock().remove(&connection).ok_or(HostFault::Missing)?;
        line.over.send_replace(true);
        Ok(HostReply::Done)
    }

    async fn receive(&self, connection: u64) -> Result<HostReply, HostFault> {
        let line = self.line(connection)?;
        let mut reader = line.reader.try_lock().map_err(|_| HostFault::Bad)?;
        let mut data = vec![0; PIECE];
        let read = tokio::select! {
            read = reader.read(&mut data) => read.map_err(|_| HostFault::Io)?,
            () = line.hung_up() => return Err(HostFault::Missing),
        };
        data.truncate(read);
        Ok(HostReply::Data { data })
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
        let connection = self.last.fetch_add(1, Relaxed).saturating_add(1);
        let mut open = self.lock();
        if open.len() >= MOST {
            return Err(HostFault::Full);
        }
        open.insert(connection, Arc::new(Line::new(stream)));
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
/// Calls for connections under way at once: more are refused, so that they hold up nothing else.
pub(crate) const MAX_CALLS: usize = 4 * MOST;
/// Most bytes of one answer.
const PIECE: usize = 64 << 10;
const DIALLING: Duration = Duration::from_secs(10);
/// For a peer that does not read.
const PATIENCE: Duration = Duration::from_secs(60);
