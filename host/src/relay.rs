//! Bytes between a client and the enclave, unread.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
};
use tracing::debug;

use crate::{
    danger::{Direction, Meddler},
    node::Shared,
};

/// Room for four TLS records of the largest size, each way.
const BUFFER: usize = 64 << 10;

/// Relays until both sides have closed, one of them breaks, or nothing moves for too long.
pub(crate) async fn relay(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut enclave = UnixStream::connect(shared.enclave_socket()).await?;
    let counters = &shared.counters;
    let counted = counters.relaying();
    let activity = Activity::new();
    let (from_client, to_client) = client.split();
    let (from_enclave, to_enclave) = enclave.split();
    let inward = Pump {
        activity: &activity,
        bytes: &counters.bytes_to_enclave,
        connection: counted.number,
        direction: Direction::ToEnclave,
        meddler: shared.meddler.as_ref(),
    };
    let outward = Pump { bytes: &counters.bytes_to_clients, direction: Direction::ToClient, ..inward };
    debug!(connection = counted.number, "relaying");
    let result = tokio::select! {
        both = async { tokio::try_join!(inward.run(from_client, to_enclave), outward.run(from_enclave, to_client)) } => both.map(drop),
        () = activity.idle_for(shared.config.idle()) => Err(io::ErrorKind::TimedOut.into()),
    };
    debug!(connection = counted.number, ended = ?result.as_ref().err().map(io::Error::kind), "relayed");
    result
}

#[derive(Clone, Copy)]
struct Pump<'a> {
    activity: &'a Activity,
    bytes: &'a AtomicU64,
    connection: u64,
    direction: Direction,
    meddler: Option<&'a Arc<dyn Meddler>>,
}

impl Pump<'_> {
    /// When one side has no more to say the other is told so, and may still answer.
    async fn run(self, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        loop {
            let read = from.read(&mut buffer).await?;
            let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
            self.activity.mark();
            self.bytes.fetch_add(read as u64, Relaxed);
            match self.meddler {
                None => to.write_all(bytes).await?,
                Some(meddler) => {
                    let mut bytes = bytes.to_vec();
                    meddler.relayed(self.connection, self.direction, &mut bytes);
                    to.write_all(&bytes).await?;
                }
            }
            self.activity.mark();
        }
        // The other side may have gone already; there is nobody left to tell.
        let _ = to.shutdown().await;
        Ok(())
    }
}

/// When something last moved.
pub(crate) struct Activity {
    begun: Instant,
    last: AtomicU64,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), last: AtomicU64::new(0) }
    }

    pub(crate) fn mark(&self) {
        self.last.store(self.millis(), Relaxed);
    }

    /// Returns when nothing has moved for `limit`.
    pub(crate) async fn idle_for(&self, limit: Duration) {
        loop {
            let idle = Duration::from_millis(self.millis().saturating_sub(self.last.load(Relaxed)));
            match limit.checked_sub(idle) {
                None | Some(Duration::ZERO) => return,
                Some(left) => tokio::time::sleep(left).await,
            }
        }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
