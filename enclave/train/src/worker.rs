//! The worker's end: one training, told as it goes.

use crate::{
    data::Passes,
    error::TrainError,
    protocol::{Order, Progress},
    run::{Watch, train},
    trainer::StepReport,
};
use glacier_engine::{
    frame::{CHUNK, Header, Kind},
    link::{Chunks, Link},
};
use glacier_wire::{
    api::{Refusal, RefusalCode},
    training::{EpochMetrics, Point, Real},
};
use std::{
    cell::RefCell,
    io::{self, Read},
    os::unix::net::UnixStream,
    rc::Rc,
    time::{Duration, Instant},
};
use zeroize::Zeroizing;

/// Steps of so long are told as one point. What is told depends on the clock; what is trained does not.
const TOLD: Duration = Duration::from_millis(50);

/// Serves one enclave over `stream`: takes an order, trains, hands out the result. What it refuses it says,
/// and what it does not survive the platform sees.
pub fn work(stream: UnixStream) {
    let link = Rc::new(RefCell::new(Link::new(stream)));
    // Errors are the enclave's end of the stream: nobody is left to be told.
    let Ok((order, model, state)) = receive(&link) else { return };
    let lens = order.data.iter().map(|(_, len)| *len).collect();
    let passes = Remote { link: Rc::clone(&link), lens, left: None };
    let mut watch = Teller::new(Rc::clone(&link));
    match train(&order, &model, passes, (!state.is_empty()).then_some(state.as_slice()), &mut watch) {
        Ok((report, result)) => {
            let _ = watch.tell(true);
            let mut link = link.borrow_mut();
            let header = Header { kind: Kind::Trained, len: 0, x: result.len() as u64, y: 0 };
            let _ = link.send(header, &encode(&report)).and_then(|()| content(&mut link, &result));
        }
        Err(error) => {
            let _ = watch.tell(true);
            let _ = link.borrow_mut().refuse(Refusal::from(error));
        }
    }
}

type Shared = Rc<RefCell<Link>>;
type Secret = Zeroizing<Vec<u8>>;

/// The order, the model and the state to go on from.
fn receive(link: &Shared) -> io::Result<(Order, Secret, Secret)> {
    let mut link = link.borrow_mut();
    let Some((header, payload)) = link.frame()? else { return Err(protocol()) };
    if header.kind != Kind::Train {
        return Err(protocol());
    }
    let order: Order = minicbor::decode(&payload).map_err(|_| protocol())?;
    let model = chunks(&mut link, header.x, order.limits.memory)?;
    let state = chunks(&mut link, header.y, order.limits.memory)?;
    Ok((order, model, state))
}

fn chunks(link: &mut Link, len: u64, memory: u64) -> io::Result<Secret> {
    let mut bytes = Zeroizing::new(Vec::new());
    let mut chunks = Chunks::new(link, len);
    let room = usize::try_from(len).ok().filter(|_| len <= memory);
    let Some(room) = room.filter(|room| bytes.try_reserve_exact(*room).is_ok()) else {
        chunks.drain()?;
        let detail = "the model or the checkpoint is larger than the job may hold";
        link.refuse(Refusal::new(RefusalCode::MemoryLimit, detail))?;
        return Err(protocol());
    };
    chunks.read_to_end(&mut bytes)?;
    chunks.drain()?;
    if bytes.len() == room { Ok(bytes) } else { Err(protocol()) }
}

fn content(link: &mut Link, bytes: &[u8]) -> io::Result<()> {
    bytes.chunks(CHUNK).try_for_each(|piece| link.send(Header::new(Kind::Chunk, piece.len()), piece))?;
    link.send(Header::new(Kind::End, 0), &[])
}

/// Data sets that the enclave sends as often as it takes.
struct Remote {
    link: Shared,
    /// Bytes of each.
    lens: Vec<u64>,
    /// Of the pass under way: bytes that it still has, and the chunk that is being read.
    left: Option<Under>,
}

#[derive(Clone, Copy)]
struct Under {
    left: u64,
    piece: usize,
}

impl Passes for Remote {
    fn sources(&self) -> usize {
        self.lens.len()
    }

    fn open(&mut self, source: usize) -> Result<(), TrainError> {
        let left = *self.lens.get(source).ok_or(TrainError::Unfit("there is no such data set"))?;
        let asked = self.close().and_then(|()| {
            self.link.borrow_mut().send(Header { kind: Kind::Pass, len: 0, x: source as u64, y: 0 }, &[])
        });
        asked.map_err(|_| TrainError::Gone)?;
        self.left = Some(Under { left, piece: 0 });
        Ok(())
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(under) = &mut self.left else { return Ok(0) };
        if into.is_empty() {
            return Ok(0);
        }
        let mut link = self.link.borrow_mut();
        while under.piece == 0 {
            let header = link.header()?.ok_or_else(protocol)?;
            match header.kind {
                Kind::Chunk => under.piece = header.len,
                Kind::End if under.left == 0 => {
                    self.left = None;
                    return Ok(0);
                }
                _ => return Err(protocol()),
            }
        }
        let room = into.len().min(under.piece);
        let read = link.read(into.get_mut(..room).unwrap_or_default())?;
        if read == 0 {
            return Err(protocol());
        }
        under.piece = under.piece.saturating_sub(read);
        under.left = under.left.checked_sub(read as u64).ok_or_else(protocol)?;
        Ok(read)
    }

    fn close(&mut self) -> io::Result<()> {
        let mut scrap = [0; 16 << 10];
        while self.left.is_some() {
            self.read(&mut scrap)?;
        }
        Ok(())
    }
}

/// Tells the enclave how it goes, not more often than people look.
struct Teller {
    link: Shared,
    told: Instant,
    progress: Progress,
    /// Steps since the last point.
    gathered: Option<Gathered>,
}

struct Gathered {
    last: StepReport,
    loss: f64,
    norm: f64,
    steps: u32,
}

impl Teller {
    fn new(link: Shared) -> Self {
        Self { link, told: Instant::now(), progress: Progress::default(), gathered: None }
    }

    fn tell(&mut self, now: bool) -> Result<(), TrainError> {
        if !now && self.told.elapsed() < TOLD {
            return Ok(());
        }
        self.told = Instant::now();
        if let Some(gathered) = self.gathered.take() {
            let mean = gathered.loss / f64::from(gathered.steps.max(1));
            self.progress.points.push(Point {
                step: gathered.last.step,
                loss: real(mean),
                rate: real(f64::from(gathered.last.rate)),
                norm: real(gathered.norm),
            });
        }
        let progress = std::mem::take(&mut self.progress);
        self.progress.steps_per_epoch = progress.steps_per_epoch;
        if progress.points.is_empty() && progress.epochs.is_empty() {
            return Ok(());
        }
        let mut link = self.link.borrow_mut();
        link.send(Header::new(Kind::Progress, 0), &encode(&progress)).map_err(|_| TrainError::Gone)
    }
}

impl Watch for Teller {
    fn begun(&mut self, steps_per_epoch: u64) -> Result<(), TrainError> {
        self.progress.steps_per_epoch = steps_per_epoch;
        self.link.borrow_mut().send(Header::new(Kind::Ready, 0), &[]).map_err(|_| TrainError::Gone)
    }

    fn stepped(&mut self, step: &StepReport) -> Result<(), TrainError> {
        let gathered = self.gathered.get_or_insert(Gathered { last: *step, loss: 0.0, norm: 0.0, steps: 0 });
        gathered.last = *step;
        gathered.loss += f64::from(step.loss);
        gathered.norm = gathered.norm.max(step.norm);
        gathered.steps = gathered.steps.saturating_add(1);
        self.tell(false)
    }

    fn measured(&mut self, epoch: &EpochMetrics) -> Result<(), TrainError> {
        self.progress.epochs.push(epoch.clone());
        self.tell(true)
    }

    fn checkpoint(&mut self, number: u64, state: &[u8]) -> Result<(), TrainError> {
        self.tell(true)?;
        let mut link = self.link.borrow_mut();
        let header = Header { kind: Kind::Checkpoint, len: 0, x: number, y: state.len() as u64 };
        link.send(header, &[]).and_then(|()| content(&mut link, state)).map_err(|_| TrainError::Gone)
    }
}

fn real(value: f64) -> Real {
    Real::new(value as f32).unwrap_or(Real::ZERO)
}

fn encode<T: minicbor::Encode<()>>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    let _ = minicbor::encode(value, &mut out); // writing to a Vec is infallible
    out
}

fn protocol() -> io::Error {
    io::ErrorKind::InvalidData.into()
}
