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
    time::timeout,
};
use tracing::{Span, debug, field::Empty, instrument};

use crate::{
    danger::{Direction, Meddler},
    handover::Pause,
    metrics::Histogram,
    node::Shared,
};

/// Room for four TLS records of the largest size, each way.
const BUFFER: usize = 64 << 10;

/// A relayed connection at rest, to go on where it was.
pub(crate) struct Resting {
    pub(crate) client: TcpStream,
    pub(crate) enclave: UnixStream,
    /// Which directions have ended: to the enclave, to the client.
    pub(crate) ended: [bool; 2],
}

/// Connects a client with the enclave.
pub(crate) async fn begin(client: TcpStream, shared: &Shared) -> io::Result<Resting> {
    let enclave = UnixStream::connect(shared.enclave_socket()).await?;
    Ok(Resting { client, enclave, ended: [false; 2] })
}

/// How long a client may take to close after the enclave has.
const LINGER: Duration = Duration::from_secs(2);

/// Relays until both sides have closed, one of them breaks, or nothing moves for too long. One that was paused before
/// is given back.
#[instrument(skip_all, fields(to_enclave = Empty, to_client = Empty, paused = Empty, error = Empty))]
pub(crate) async fn relay(mut resting: Resting, shared: &Shared) -> io::Result<Option<Resting>> {
    let counters = &shared.counters;
    let counted = counters.relaying();
    let (activity, exchange, moved) = (Activity::new(), Exchange::default(), [const { AtomicU64::new(0) }; 2]);
    let (from_client, to_client) = resting.client.split();
    let (from_enclave, to_enclave) = resting.enclave.split();
    let inward = Pump {
        activity: &activity,
        exchange: &exchange,
        answer: &counters.metrics.answer,
        bytes: [&counters.bytes_to_enclave, &moved[0]],
        connection: counted.number,
        direction: Direction::ToEnclave,
        meddler: shared.meddler.as_ref(),
        pause: shared.pause(),
        ended: resting.ended[0],
    };
    let bytes = [&counters.bytes_to_clients, &moved[1]];
    let (direction, ended) = (Direction::ToClient, resting.ended[1]);
    let outward = Pump { bytes, direction, ended, ..inward };
    debug!(connection = counted.number, "relaying");
    let both = async {
        let (inward, outward) = (inward.run(from_client, to_enclave), outward.run(from_enclave, to_client));
        tokio::pin!(inward, outward);
        tokio::select! {
            inward = &mut inward => io::Result::Ok((inward?, outward.await?)),
            outward = &mut outward => match outward? {
                false => Ok((inward.await?, false)),
                // An enclave that has closed hears nothing: a client that stays must not keep its place.
                true => match timeout(LINGER, inward).await {
                    Ok(inward) => Ok((inward?, true)),
                    Err(_) => Err(io::ErrorKind::TimedOut.into()),
                },
            },
        }
    };
    let result = tokio::select! {
        both = both => both,
        () = activity.idle_for(shared.config.idle()) => Err(io::ErrorKind::TimedOut.into()),
    };
    let span = Span::current();
    span.record("to_enclave", moved[0].load(Relaxed)).record("to_client", moved[1].load(Relaxed));
    match &result {
        Ok(ended) => span.record("paused", *ended != (true, true)),
        Err(error) => span.record("error", tracing::field::display(error.kind())),
    };
    debug!(connection = counted.number, ended = ?result.as_ref().err().map(io::Error::kind), "relayed");
    let (inward, outward) = result?;
    resting.ended = [inward, outward];
    Ok((resting.ended != [true; 2]).then_some(resting))
}

#[derive(Clone, Copy)]
struct Pump<'a> {
    activity: &'a Activity,
    exchange: &'a Exchange,
    answer: &'a Histogram,
    /// Of all connections, and of this one.
    bytes: [&'a AtomicU64; 2],
    connection: u64,
    direction: Direction,
    meddler: Option<&'a Arc<dyn Meddler>>,
    pause: &'a Pause,
    ended: bool,
}

impl Pump<'_> {
    /// Until there is no more to come, or a pause: whether it is the former. When one side has no more to say the other
    /// is told so, and may still answer.
    async fn run(self, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<bool> {
        if self.ended {
            return Ok(true);
        }
        let mut buffer = vec![0; BUFFER];
        let paused = self.pause.begun();
        tokio::pin!(paused);
        loop {
            let read = tokio::select! {
                biased;
                () = &mut paused => return Ok(false),
                read = from.read(&mut buffer) => read?,
            };
            let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
            self.activity.mark();
            for bytes in self.bytes {
                bytes.fetch_add(read as u64, Relaxed);
            }
            match self.direction {
                Direction::ToEnclave => self.exchange.asked(self.activity),
                Direction::ToClient => {
                    if let Some(took) = self.exchange.answered(self.activity) {
                        self.answer.record(took);
                    }
                }
            }
            let mut altered = Vec::new();
            let bytes = match self.meddler {
                None => bytes,
                Some(meddler) => {
                    altered.extend_from_slice(bytes);
                    meddler.relayed(self.connection, self.direction, &mut altered);
                    altered.as_slice()
                }
            };
            tokio::select! {
                biased;
                written = to.write_all(bytes) => written?,
                () = self.pause.lasted() => return Err(io::ErrorKind::TimedOut.into()),
            }
            self.activity.mark();
        }
        // The other side may have gone already; there is nobody left to tell.
        let _ = to.shutdown().await;
        Ok(true)
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
