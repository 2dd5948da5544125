//! One component: refused or compiled, then called.

use crate::{budget::Budget, engine};
use wasmtime::{
    Engine, Store, Trap,
    component::{self, ComponentExportIndex, InstancePre, Linker, types::ComponentItem},
};

/// A compiled component.
pub struct Component {
    engine: Engine,
    instance: InstancePre<Budget>,
    handle: ComponentExportIndex,
}

/// What a component is asked.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Who asks.
    pub caller: &'a str,
    /// What for.
    pub path: &'a str,
    /// About what.
    pub body: &'a [u8],
}

/// What one call may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Units of fuel.
    pub fuel: u64,
    /// Bytes of linear memories and tables.
    pub memory: u64,
    /// Bytes of the answer.
    pub answer: usize,
}

/// What a component says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The answer.
    Response(Vec<u8>),
    /// Why there is none.
    Refusal(String),
}

/// How a call went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Called {
    /// The component's word, if it came to one.
    pub answer: Result<Answer, WasmError>,
    /// Fuel it took, however it went.
    pub fuel: u64,
}

/// Why a component does not run, or did not end well. None of this quotes what the component has read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WasmError {
    /// Another file.
    #[error("this is no WebAssembly")]
    NotWasm,
    /// A module of the core language, which has no interface.
    #[error("this is a WebAssembly module and no component: wrap it, as with `wasm-tools component new`")]
    Module,
    /// Larger than is read.
    #[error("a component has at most {} bytes", Component::MAX_BYTES)]
    TooLarge,
    /// Not valid, or with features that are off here.
    #[error("the component is not valid, or needs a feature that this engine does not have")]
    Invalid,
    /// It wants what no app gets.
    #[error("the component imports `{0}`, and an app is offered nothing to import")]
    Import(String),
    /// It does not export the function that is called, or as something else.
    #[error("the component does not export `handle` as the world glacier:app/app has it")]
    NoHandle,
    /// The engine could not be set up.
    #[error("the engine could not be set up")]
    Engine,
    /// It used all fuel it was given.
    #[error("the app used up its fuel")]
    Fuel,
    /// It wanted more memory than it may have.
    #[error("the app wanted more memory than it may have")]
    Memory,
    /// It called itself too deeply.
    #[error("the app used up its stack")]
    Stack,
    /// It gave up, or did what no program may.
    #[error("the app trapped")]
    Trapped,
    /// Its answer is too large, or does not lie in its memory.
    #[error("the app's answer is larger than an answer may be, or malformed")]
    Answer,
}

type Request<'a> = (&'a str, &'a str, &'a [u8]);
type Response = (Result<Vec<u8>, String>,);

impl Component {
    /// Largest component that is read.
    pub const MAX_BYTES: usize = 16 << 20;
    /// Most bytes of an import's name that a refusal quotes.
    const QUOTED: usize = 128;

    /// Compiles a component, or says why it may not run. Runs nothing of it.
    ///
    /// # Errors
    /// Of [`WasmError`] those above `Fuel`.
    pub fn compile(bytes: &[u8]) -> Result<Self, WasmError> {
        if bytes.len() > Self::MAX_BYTES {
            return Err(WasmError::TooLarge);
        }
        match bytes.first_chunk::<8>() {
            Some(b"\0asm\x0d\0\x01\0") => {}
            Some(b"\0asm\x01\0\0\0") => return Err(WasmError::Module),
            _ => return Err(WasmError::NotWasm),
        }
        let engine = engine::engine().map_err(|_| WasmError::Engine)?;
        let component = component::Component::from_binary(&engine, bytes).map_err(|_| WasmError::Invalid)?;
        let kind = component.component_type();
        if let Some((name, _)) = kind.imports(&engine).next() {
            return Err(WasmError::Import(name.chars().filter(|c| !c.is_control()).take(Self::QUOTED).collect()));
        }
        let export = kind.get_export(&engine, "handle").map(|export| export.ty);
        let Some(ComponentItem::ComponentFunc(function)) = export else { return Err(WasmError::NoHandle) };
        function.typecheck::<Request<'_>, Response>(&kind.instance_type()).map_err(|_| WasmError::NoHandle)?;
        let handle = component.get_export_index(None, "handle").ok_or(WasmError::NoHandle)?;
        let instance = Linker::new(&engine).instantiate_pre(&component).map_err(|_| WasmError::Invalid)?;
        Ok(Self { engine, instance, handle })
    }

    /// Calls it once, in an instance that knows nothing of other calls.
    pub fn call(&self, call: &Call<'_>, limits: &Limits) -> Called {
        let mut store = Store::new(&self.engine, Budget::new(limits.memory));
        store.limiter(|budget| budget);
        store.set_hostcall_fuel(limits.answer);
        if store.set_fuel(limits.fuel).is_err() {
            return Called { answer: Err(WasmError::Engine), fuel: 0 };
        }
        let answer = self.run(&mut store, call, limits);
        let fuel = limits.fuel.saturating_sub(store.get_fuel().unwrap_or(0));
        Called { answer, fuel }
    }

    fn run(&self, store: &mut Store<Budget>, call: &Call<'_>, limits: &Limits) -> Result<Answer, WasmError> {
        let started = self.instance.instantiate(&mut *store);
        let instance = started.map_err(|error| fault(&error, store.data(), WasmError::Trapped))?;
        let handle = instance.get_typed_func::<Request<'_>, Response>(&mut *store, &self.handle);
        let handle = handle.map_err(|_| WasmError::NoHandle)?;
        let (answer,) = handle
            .call(&mut *store, (call.caller, call.path, call.body))
            .map_err(|error| fault(&error, store.data(), WasmError::Answer))?;
        let answer = match answer {
            Ok(bytes) => Answer::Response(bytes),
            Err(text) => Answer::Refusal(text),
        };
        if answer.len() > limits.answer {
            return Err(WasmError::Answer);
        }
        Ok(answer)
    }
}

impl Answer {
    /// Bytes of it.
    fn len(&self) -> usize {
        match self {
            Self::Response(bytes) => bytes.len(),
            Self::Refusal(text) => text.len(),
        }
    }
}

/// What ended a call; `otherwise` where nothing of the component did.
fn fault(error: &wasmtime::Error, budget: &Budget, otherwise: WasmError) -> WasmError {
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => WasmError::Fuel,
        // Most programs give up when they get no memory: say why.
        _ if budget.denied() => WasmError::Memory,
        Some(Trap::StackOverflow) => WasmError::Stack,
        Some(_) => WasmError::Trapped,
        None => otherwise,
    }
}
