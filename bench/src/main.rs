//! Side-by-side benchmarks. `cargo run --release -p glacier-bench [quote|asset|handshake|inference]…`
//!
//! Each row measures two things in turn, A B A B …, in one process: the machine's mood hits both,
//! so the ratio holds where single times do not. Absolute times are medians.

mod asset;
mod handshake;
mod inference;
mod quote;
mod row;

use row::Row;
use std::{error::Error, process::ExitCode};

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let benches: [(&str, fn() -> Result<Vec<Row>, Box<dyn Error>>); 4] =
        [("quote", quote::run), ("asset", asset::run), ("handshake", handshake::run), ("inference", inference::run)];
    if let Some(unknown) = wanted.iter().find(|name| !benches.iter().any(|(known, _)| known == name)) {
        eprintln!(
            "error: there is no benchmark `{unknown}`\nhelp: quote, asset, handshake, inference; all of them when none is named"
        );
        return ExitCode::from(2);
    }
    println!("{}", Row::HEAD);
    for (name, bench) in benches.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| w == name)) {
        match bench() {
            Ok(rows) => rows.iter().for_each(|row| println!("{row}")),
            Err(fault) => {
                eprintln!("error: {name}: {fault}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
