//! The worker's end: one app, then calls, until the enclave hangs up.

use glacier_app::{Refusal, RefusalCode};
use glacier_engine::{
    frame::{Header, Kind},
    link::{Chunks, Link},
};
use glacier_wasm::{Answer, Call, Component, Limits, WasmError};
use glacier_wire::{app::AppResult, cbor};
use std::{
    io::{self, Read},
    os::unix::net::UnixStream,
};
use zeroize::Zeroizing;

/// What an app may use.
#[derive(Debug, Clone, Copy, minicbor::Encode, minicbor::Decode)]
pub(super) struct Order {
    /// Bytes that the worker may hold.
    #[n(0)]
    pub(super) memory: u64,
    /// Fuel of all calls together.
    #[n(1)]
    pub(super) fuel: u64,
}

impl Order {
    /// Most fuel for one caller's request, so that no caller spends what the others came for.
    pub(super) const ANSWER_FUEL: u64 = 4_000_000_000;
    const MAX_BYTES: usize = 64;
}

/// Who calls an app, and for what; the body follows.
#[derive(Debug, minicbor::Encode, minicbor::Decode)]
pub(super) struct Summons {
    #[n(0)]
    pub(super) caller: String,
    #[n(1)]
    pub(super) path: String,
    /// Most that this call may take of the fuel that is left.
    #[n(2)]
    pub(super) fuel: u64,
}

impl Summons {
    pub(super) const MAX_PATH: usize = 8 << 10;
    const MAX_BYTES: usize = 16 << 10;
}

/// Serves one enclave over `stream` until the other end closes it. What it refuses it says, and what it does not
/// survive the platform sees.
pub(crate) fn work(stream: UnixStream) {
    // Errors are the enclave's end of the stream: nobody is left to be told.
    let _ = serve(&mut Link::new(stream));
}

fn serve(link: &mut Link) -> io::Result<()> {
    let Some((header, payload)) = link.frame()? else { return Ok(()) };
    if header.kind != Kind::Load {
        return Err(broken());
    }
    let mut order: Order = cbor::decode(&payload, Order::MAX_BYTES).map_err(|_| broken())?;
    let bytes = content(link, header.x, (Component::MAX_BYTES as u64).min(order.memory))?;
    let component = match bytes.ok_or(WasmError::TooLarge).and_then(|bytes| Component::compile(&bytes)) {
        Ok(component) => component,
        Err(fault) => return link.refuse(refusal(&fault)),
    };
    link.send(Header::new(Kind::Loaded, 0), &[])?;
    while let Some((header, payload)) = link.frame()? {
        if header.kind != Kind::Call {
            return Err(broken());
        }
        let summons: Summons = cbor::decode(&payload, Summons::MAX_BYTES).map_err(|_| broken())?;
        match content(link, header.x, share(order.memory))? {
            Some(body) => call(link, &component, &summons, &body, &mut order)?,
            None => link.refuse(refusal(&WasmError::Memory))?,
        }
    }
    Ok(())
}

/// The app's own part of the worker's memory, and the most that a body may have. The rest is for the room into which
/// a memory that grows is moved (as much again), a body on its way, the compiled code, and the answer: an app that
/// wants too much is to be told so, and not to take the worker with it.
fn share(memory: u64) -> u64 {
    memory / 4
}

fn answer_share(memory: u64) -> usize {
    usize::try_from(memory / 8).unwrap_or(usize::MAX).min(AppResult::MAX_BYTES)
}

fn call(link: &mut Link, component: &Component, summons: &Summons, body: &[u8], order: &mut Order) -> io::Result<()> {
    let limits =
        Limits { fuel: summons.fuel.min(order.fuel), memory: share(order.memory), answer: answer_share(order.memory) };
    let call = Call { caller: &summons.caller, path: &summons.path, body };
    let called = component.call(&call, &limits);
    order.fuel = order.fuel.saturating_sub(called.fuel);
    let (x, said) = match called.answer {
        Ok(Answer::Response(bytes)) => (0, Zeroizing::new(bytes)),
        Ok(Answer::Refusal(text)) => (1, Zeroizing::new(text.into_bytes())),
        Err(fault) => return link.refuse(refusal(&fault)),
    };
    link.send(Header { kind: Kind::Answer, len: 0, x, y: called.fuel }, &said)
}

/// Content of `len` bytes; `None` where that is more than `most`. It is read to its end in any case.
fn content(link: &mut Link, len: u64, most: u64) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let mut chunks = Chunks::new(link, len);
    let mut bytes = Zeroizing::new(Vec::new());
    let room = usize::try_from(len).ok().filter(|_| len <= most);
    let fits = room.is_some_and(|room| bytes.try_reserve_exact(room).is_ok());
    if fits {
        chunks.read_to_end(&mut bytes)?;
    }
    chunks.drain()?;
    Ok(fits.then_some(bytes))
}

/// Who is to act on it. The details of a trap stay here: in a batch job all parties read a refusal, and a component
/// chooses how it ends.
fn refusal(fault: &WasmError) -> Refusal {
    let code = match fault {
        WasmError::NotWasm | WasmError::Module | WasmError::Invalid | WasmError::NoHandle => RefusalCode::ModelInvalid,
        WasmError::Import(_) => RefusalCode::ModelUnsupported,
        WasmError::TooLarge => RefusalCode::TooLarge,
        WasmError::Fuel => RefusalCode::UnitLimit,
        WasmError::Memory => RefusalCode::MemoryLimit,
        WasmError::Stack | WasmError::Trapped | WasmError::Answer => {
            return Refusal::new(RefusalCode::App, WasmError::Trapped.to_string());
        }
        _ => RefusalCode::Platform,
    };
    Refusal::new(code, fault.to_string())
}

fn broken() -> io::Error {
    io::ErrorKind::InvalidData.into()
}
