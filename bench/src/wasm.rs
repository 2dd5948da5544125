//! A sandboxed app beside the same arithmetic compiled into the program: in this process, and through a whole node.

use crate::row::{Row, pair, pair_async, runtimes};
use bytes::Bytes;
use glacier::{
    Options, run_app,
    wire::{ManifestHash, app::AppResult},
};
use glacier_testkit::{Rig, breast_cancer, program};
use glacier_wasm::{Call, Component, Limits};
use hyper::Method;
use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
};
use wasmtime::{Config, Engine, Store, component};

#[path = "../../examples/wasm/cohort/src/cohort.rs"]
mod native;

const LIMITS: Limits = Limits { fuel: u64::MAX >> 1, memory: 256 << 20, answer: 64 << 20 };
const SMALL: &[u8] = b"a,b\n1,2\n3,4\n5,6\n7,8\n9,10\n";

type Request<'a> = (&'a str, &'a str, &'a [u8]);
type Response = (Result<Vec<u8>, String>,);

pub(crate) fn run() -> Result<Vec<Row>, Box<dyn Error>> {
    let file: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "examples", "wasm", "cohort.wasm"].iter().collect();
    let (code, table) = (fs::read(&file)?, fs::read(breast_cancer::data())?);
    let mut rows = vec![compile(&code)?];
    rows.push(call(&code, "five rows: instantiate and call", SMALL, 2000)?);
    rows.push(call(&code, "569 rows of 30 columns", &table, 60)?);
    rows.push(machine_code(&code, &table)?);
    rows.push(nodes("five rows", &file, SMALL, 1000)?);
    rows.push(nodes("569 rows of 30 columns", &file, &table, 60)?);
    Ok(rows)
}

fn compile(code: &[u8]) -> Result<Row, Box<dyn Error>> {
    Component::compile(code)?;
    let engine = machine()?;
    let (ours, theirs) =
        pair(10, || Component::compile(code).is_ok(), || component::Component::from_binary(&engine, code).is_ok());
    let what = format!("wasm: compile a component of {} KiB for the interpreter", code.len() / 1024);
    Ok(Row { what, ours, beside: Some(("for this processor".to_owned(), theirs)), aim: "<= 1 s" })
}

fn call(code: &[u8], what: &str, body: &[u8], rounds: usize) -> Result<Row, Box<dyn Error>> {
    let component = Component::compile(code)?;
    let call = Call { caller: "0x00", path: "/", body };
    let fuel = component.call(&call, &LIMITS).fuel;
    let (ours, theirs) =
        pair(rounds, || component.call(&call, &LIMITS).answer.is_ok(), || native::answer("/", body).is_ok());
    let what = format!("wasm: {what}, {fuel} units");
    Ok(Row { what, ours, beside: Some(("the same code, native".to_owned(), theirs)), aim: "" })
}

/// What an engine would do that may make memory executable, with fuel counted as well.
fn machine_code(code: &[u8], table: &[u8]) -> Result<Row, Box<dyn Error>> {
    let ours = Component::compile(code)?;
    let engine = machine()?;
    let theirs = component::Component::from_binary(&engine, code)?;
    let linker = component::Linker::<()>::new(&engine);
    let request = Call { caller: "0x00", path: "/", body: table };
    let compiled = || -> wasmtime::Result<bool> {
        let mut store = Store::new(&engine, ());
        store.set_fuel(LIMITS.fuel)?;
        let instance = linker.instantiate(&mut store, &theirs)?;
        let handle = instance.get_typed_func::<Request<'_>, Response>(&mut store, "handle")?;
        Ok(handle.call(&mut store, ("0x00", "/", table))?.0.is_ok())
    };
    let (ours, theirs) =
        pair(60, || ours.call(&request, &LIMITS).answer.is_ok(), || compiled().is_ok_and(|answered| answered));
    let what = "wasm: 569 rows of 30 columns, interpreted".to_owned();
    Ok(Row { what, ours, beside: Some(("compiled to machine code".to_owned(), theirs)), aim: "" })
}

fn machine() -> wasmtime::Result<Engine> {
    Engine::new(Config::new().consume_fuel(true).cranelift_nan_canonicalization(true))
}

/// Through client, host, channel and enclave, with a checked Work Proof: the sandbox of the node's own enclave beside an
/// enclave program that has the arithmetic built in.
fn nodes(what: &str, file: &Path, body: &[u8], rounds: usize) -> Result<Row, Box<dyn Error>> {
    let body = Bytes::copy_from_slice(body);
    let (host, client) = runtimes()?;
    let (sandbox, built_in) = host.block_on(async { (Rig::start().await, Rig::with(program("cohort"), None).await) });
    let (ours, theirs) = client.block_on(async {
        let (node, owner) = (sandbox.node(), sandbox.party("owner"));
        let options = Options { runs: u64::MAX >> 1, units: u64::MAX >> 1, ..Options::default() };
        let app = run_app(&node, sandbox.policy(), &owner, file, &options, &mut |_| ()).await?.name;
        let session = sandbox.session(&owner).await;
        let AppResult::Answer(_) = session.call_app(&app, "/", body.clone()).await?.result else {
            return Err("the app refuses the table".into());
        };
        let other = built_in.session(&built_in.party("owner")).await;
        let ask = async || -> Result<(), Box<dyn Error>> {
            let response = other.request(Method::POST, "/", &[], body.clone()).await?;
            other.check_answer(glacier_wire::Work::App, &ManifestHash::ZERO, &body, &response)?;
            Ok(())
        };
        ask().await?;
        let pair = pair_async(
            rounds,
            async || session.call_app(&app, "/", body.clone()).await.is_ok(),
            async || ask().await.is_ok(),
        );
        Ok::<_, Box<dyn Error>>(pair.await)
    })?;
    let what = format!("wasm: {what}, end to end with proof (+{:.0} µs)", ours - theirs);
    Ok(Row { what, ours, beside: Some(("a native app in an enclave of its own".to_owned(), theirs)), aim: "" })
}
