//! Side-by-side benchmarks. `cargo run --release -p glacier-bench [quote|evidence|asset|handshake|inference|wasm]…`
//!
//! Each row measures two things in turn, A B A B …, in one process: the machine's mood hits both,
//! so the ratio holds where single times do not. Absolute times are medians.

mod asset;
mod evidence;
mod handshake;
mod inference;
mod quote;
mod row;
mod wasm;

use row::Row;
use std::{error::Error, process::ExitCode};

const BENCHES: [&str; 6] = ["quote", "evidence", "asset", "handshake", "inference", "wasm"];

fn bench(name: &str) -> Result<Vec<Row>, Box<dyn Error>> {
    match name {
        "quote" => quote::run(),
        "evidence" => evidence::run(),
        "asset" => asset::run(),
        "handshake" => handshake::run(),
        "inference" => inference::run(),
        _ => wasm::run(),
    }
}

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = wanted.iter().find(|name| !BENCHES.contains(&name.as_str())) {
        eprintln!(
            "error: there is no benchmark `{unknown}`\nhelp: {}; all of them when none is named",
            BENCHES.join(", ")
        );
        return ExitCode::from(2);
    }
    println!("{}", Row::HEAD);
    for name in BENCHES.iter().filter(|name| wanted.is_empty() || wanted.iter().any(|wanted| wanted == *name)) {
        match bench(name) {
            Ok(rows) => rows.iter().for_each(|row| println!("{row}")),
            Err(fault) => {
                eprintln!("error: {name}: {fault}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
