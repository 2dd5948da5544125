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
    metrics::Histogram,
    node::Shared,
};

/// Room for four TLS records of the largest size, each way.
const BUFFER: usize = 64 << 10;

/// Relays until both sides have closed, one of them breaks, or nothing moves for too long.
pub(crate) async fn relay(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut enclave = UnixStream::connect(shared.enclave_socket()).await?;
    let counters = &shared.counters;
    let counted = counters.relaying();
    let (activity, exchange) = (Activity::new(), Exchange::default());
    let (from_client, to_client) = client.split();
    let (from_enclave, to_enclave) = enclave.split();
    let inward = Pump {
        activity: &activity,
        exchange: &exchange,
        answer: &counters.metrics.answer,
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
    exchange: &'a Exchange,
    answer: &'a Histogram,
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
            match self.direction {
                Direction::ToEnclave => self.exchange.asked(self.activity),
                Direction::ToClient => {
                    if let Some(took) = self.exchange.answered(self.activity) {
                        self.answer.record(took);
                    }
                }
            }
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

/// When the enclave was last sent something that it has not answered yet.
#[derive(Default)]
struct Exchange(AtomicU64);

impl Exchange {
    /// Notes the first bytes since the last answer; those that follow them belong to the same question.
    fn asked(&self, activity: &Activity) {
        // One is added, since zero says that nothing was asked.
        let now = activity.micros().saturating_add(1);
        let _ = self.0.compare_exchange(0, now, Relaxed, Relaxed);
    }

    /// How long the answer took whose first bytes are here; `None` for those that follow them.
    fn answered(&self, activity: &Activity) -> Option<Duration> {
        let asked = self.0.swap(0, Relaxed).checked_sub(1)?;
        Some(Duration::from_micros(activity.micros().saturating_sub(asked)))
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

    fn micros(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_timed_from_the_first_bytes_of_its_question_and_once() {
        let (activity, exchange) = (Activity::new(), Exchange::default());
        assert_eq!(exchange.answered(&activity), None);
        exchange.asked(&activity);
        std::thread::sleep(Duration::from_millis(5));
        exchange.asked(&activity);
        let took = exchange.answered(&activity);
        assert!(took.is_some_and(|took| took >= Duration::from_millis(5)), "{took:?}");
        assert_eq!(exchange.answered(&activity), None);
    }
}
