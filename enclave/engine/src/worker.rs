//! The worker's end: one model, then data sets and requests, until the enclave hangs up.

use crate::{
    client::{Answer, encode},
    engine::{Engine, Model, RunError},
    frame::{HEADER, Header, Kind, TENSORS},
    info::Limits,
    ingest::{self, Sink},
    link::{Chunks, Link, protocol},
    onnx::{Graph, ModelError},
};
use glacier_wire::{
    Outputs, Tensor,
    api::{Refusal, RefusalCode},
};
use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
};

/// Serves one enclave over `stream` with the built-in engine, until the other end closes it.
///
/// Runs inside a process of its own, after it has locked itself down: it needs no file, no clock and
/// no network, only memory and threads. It returns when there is nothing left to do; what it refuses
/// it says, and what it does not survive the platform sees.
#[cfg(feature = "rten")]
pub fn work(stream: UnixStream) {
    work_with(stream, &crate::Rten);
}

/// [`work`] with another engine.
pub fn work_with(stream: UnixStream, engine: &dyn Engine) {
    let mut link = Link::new(stream);
    // Errors are the enclave's end of the stream: nobody is left to be told.
    let Ok(Some((mut model, limits))) = load(&mut link, engine) else { return };
    let mut left = limits.units;
    model.enter(&mut |model| {
        let _ = serve(&mut link, model, &limits, &mut left);
    });
}

/// Reads the model, however often it takes; `None` when the enclave hangs up first.
fn load(link: &mut Link, engine: &dyn Engine) -> io::Result<Option<(Model, Limits)>> {
    loop {
        let Some((header, payload)) = link.frame()? else { return Ok(None) };
        if header.kind != Kind::Load {
            return Err(protocol());
        }
        let limits: Limits = minicbor::decode(&payload).map_err(|_| protocol())?;
        let mut chunks = Chunks::new(link, header.x);
        let loaded = receive(&mut chunks, &limits).and_then(|bytes| Ok(Model::load(engine, bytes, &limits)?));
        chunks.drain()?;
        match loaded {
            Ok(model) => {
                link.send(Header::new(Kind::Loaded, 0), &encode(model.info()))?;
                return Ok(Some((model, limits)));
            }
            Err(refusal) => link.refuse(refusal)?,
        }
    }
}

fn receive(chunks: &mut Chunks<'_>, limits: &Limits) -> Result<Vec<u8>, Refusal> {
    if chunks.left() > Graph::MAX_BYTES {
        return Err(ModelError::TooLarge { what: "bytes", max: Graph::MAX_BYTES }.into());
    }
    let memory = |needed| Refusal::from(RunError::Memory { needed, limit: limits.memory });
    // The model is held twice while it is loaded: as it came, and as the engine keeps it.
    let needed = chunks.left().saturating_mul(2);
    if needed > limits.memory {
        return Err(memory(needed));
    }
    let len = usize::try_from(chunks.left()).map_err(|_| memory(needed))?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| memory(needed))?;
    chunks.read_to_end(&mut bytes).map_err(|_| Refusal::from(ModelError::Truncated))?;
    Ok(bytes)
}

fn serve(link: &mut Link, model: &mut Model, limits: &Limits, left: &mut u64) -> io::Result<()> {
    while let Some((header, payload)) = link.frame()? {
        match header.kind {
            Kind::Rows => {
                let (done, dead) = rows(link, header.x, model, limits, left);
                dead?;
                match done {
                    Ok((x, y)) => link.send(Header { kind: Kind::Done, len: 0, x, y }, &[])?,
                    Err(refusal) => link.refuse(refusal)?,
                }
            }
            Kind::Infer => match infer(&payload, model, limits, left) {
                Ok((answer, units)) => {
                    // Encoded behind its header: one write.
                    let mut out = vec![0; HEADER];
                    let _ = minicbor::encode(&answer, &mut out);
                    let header = Header { kind: Kind::Answer, len: out.len().saturating_sub(HEADER), x: 0, y: units };
                    match (header.encode(), out.first_chunk_mut()) {
                        (Ok(header), Some(start)) => {
                            *start = header;
                            link.stream.write_all(&out)?;
                        }
                        _ => link.refuse(too_large())?,
                    }
                }
                Err(refusal) => link.refuse(refusal)?,
            },
            _ => return Err(protocol()),
        }
    }
    Ok(())
}

fn infer(payload: &[u8], model: &mut Model, limits: &Limits, left: &mut u64) -> Result<(Answer, u64), Refusal> {
    let malformed = |_| Refusal::new(RefusalCode::BadRequest, "the request is not a list of tensors");
    let inputs: Vec<Tensor> = minicbor::decode(payload).map_err(malformed)?;
    let (tensors, units) = model.run(inputs, *left, limits.memory)?;
    *left = left.saturating_sub(units);
    let labels = model.labels(&tensors)?;
    Ok((Answer { tensors, labels }, units))
}

/// Runs a data set; gives rows and units, and apart from that whether the stream still lives.
fn rows(
    link: &mut Link,
    len: u64,
    model: &mut Model,
    limits: &Limits,
    left: &mut u64,
) -> (Result<(u64, u64), Refusal>, io::Result<()>) {
    let writer = match link.stream.try_clone() {
        Ok(stream) => Link::new(stream),
        Err(error) => return (Ok((0, 0)), Err(error)),
    };
    let info = model.info().clone();
    let mut chunks = Chunks::new(link, len);
    let mut run = Run { model, limits, left, writer, units: 0 };
    let done = ingest::read(&mut chunks, &info, &mut run).map_err(|Stop(refusal)| refusal);
    let units = run.units;
    let done = match done {
        // Bytes that no format asked for, or fewer than announced.
        Ok(_) if chunks.left() > 0 => Err(crate::DataError::Trailing.into()),
        Ok(rows) => Ok((rows, units)),
        Err(refusal) => Err(refusal),
    };
    (done, chunks.drain())
}

/// A run over a data set, window by window.
struct Run<'a> {
    model: &'a mut Model,
    limits: &'a Limits,
    left: &'a mut u64,
    writer: Link,
    units: u64,
}

/// Why a run ends early.
struct Stop(Refusal);

impl<E: Into<Refusal>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl Run<'_> {
    /// Bytes of values that one window may need: what a processor's caches and the enclave's pages bear well.
    const WINDOW_BYTES: u64 = 64 << 20;
}

impl Sink for Run<'_> {
    type Error = Stop;

    fn begin(&mut self, row: &[Vec<u64>], rows: Option<u64>) -> Result<usize, Stop> {
        let wanted = u64::from(self.limits.window.max(1));
        let first = |port: &crate::Port| port.dims.as_deref().and_then(|dims| dims.first()).and_then(crate::Dim::fixed);
        let batch = self.model.info().inputs.iter().find_map(first);
        let at_once = batch.unwrap_or(1);
        let shapes = row.iter().map(|row| std::iter::once(at_once).chain(row.iter().copied()).collect()).collect();
        let plan = self.model.plan(shapes)?;
        // Before anything runs, where the format says how much there is.
        let runs = rows.unwrap_or(at_once).div_ceil(at_once.max(1)).max(1);
        let needed = plan.units.saturating_mul(runs);
        if needed > *self.left {
            return Err(RunError::Units { needed, left: *self.left }.into());
        }
        self.model.afford(&plan, *self.left, self.limits.memory)?;
        let room = self.limits.memory.saturating_sub(self.model.weight_bytes().saturating_mul(2)) / 4;
        let fit = Self::WINDOW_BYTES.min(room).checked_div(plan.peak).unwrap_or(wanted);
        Ok(usize::try_from(wanted.min(fit).max(1)).unwrap_or(1))
    }

    fn window(&mut self, rows: u64, inputs: Vec<Tensor>) -> Result<(), Stop> {
        let (tensors, units) = self.model.run(inputs, *self.left, self.limits.memory)?;
        *self.left = self.left.saturating_sub(units);
        self.units = self.units.saturating_add(units);
        let labels = self.model.labels(&tensors)?;
        let payload = encode(&Outputs { tensors, labels });
        if payload.len() > TENSORS {
            return Err(Stop(too_large()));
        }
        // A broken stream shows at the next read; there is nobody to tell here.
        let header = Header { kind: Kind::Window, len: 0, x: rows, y: units };
        self.writer.send(header, &payload).map_err(|_| Stop(too_large()))
    }
}

fn too_large() -> Refusal {
    Refusal::new(RefusalCode::TooLarge, "the result is larger than one answer may be")
}
