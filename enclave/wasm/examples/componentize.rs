//! Makes a component of the module that a compiler wrote: `componentize MODULE.wasm COMPONENT.wasm`.
//!
//! `wasm-tools component new` does the same; this one needs nothing that is not in the workspace.

use std::{env, fs, process::ExitCode};
use wit_component::ComponentEncoder;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [from, to] = arguments.as_slice() else {
        eprintln!("usage: componentize MODULE.wasm COMPONENT.wasm");
        return ExitCode::from(2);
    };
    match fs::read(from).map_err(|error| error.to_string()).and_then(|module| componentize(&module)) {
        Ok(component) => match fs::write(to, component) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(to, &error.to_string()),
        },
        Err(error) => fail(from, &error),
    }
}

fn componentize(module: &[u8]) -> Result<Vec<u8>, String> {
    let encoder = ComponentEncoder::default().validate(true).module(module);
    encoder.and_then(|mut encoder| encoder.encode()).map_err(|error| format!("{error:#}"))
}

fn fail(file: &str, error: &str) -> ExitCode {
    eprintln!("error: {file}: {error}");
    ExitCode::FAILURE
}
