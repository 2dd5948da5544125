//! What a checkout can do besides compile: run the demo, run all tests, check who depends on whom,
//! check licences, fuzz.
//!
//! `cargo xtask COMMAND`, or `cargo run -- COMMAND` at the root of the repository.

mod cargo;
mod clients;
mod contracts;
mod cpio;
mod dashboard;
mod deploy;
mod fuzz;
mod guest;
mod layers;
mod licences;
mod programs;
mod python;
mod scale;
mod tcb;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask demo [ARGS]          build the programs and run `glacier demo ARGS` (also without any command)
cargo xtask build                build the programs: glacier, glacier-chip, glacier-enclave
cargo xtask test [ARGS]          build the programs, then run every test of the workspace
cargo xtask layers [--check]     check who may depend on whom; write docs/TCB.md, or fail when it is stale
cargo xtask licences             check licences and sources of all dependencies against deny.toml
cargo xtask contracts [--write]  compile and test the contracts, compare with the committed artifacts, or write these
cargo xtask dashboard [--write]  rebuild the page's verifier, compare, run the page in a browser; or write verifier and digests
cargo xtask fuzz [--seconds N]   run each fuzz target for N seconds (10)
cargo xtask clients              other people's clients, unmodified, against `glacier proxy` (needs python3 and pip)
cargo xtask deploy-check         hold the files under deploy/ against the tools that are installed
cargo xtask scale [ARGS]         simulate 10 to 1,000,000 nodes (--json, --nodes N, --seed S, --write or --check docs/scale.md)
cargo xtask python [--wheel]      build, type-check and test the Python package, or build its wheel into target/wheels
cargo xtask guest MODULES [OUT]  build the initial file system of a TDX or SNP guest into OUT (target/guest)
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        [] => programs::demo(&[]),
        ["demo", rest @ ..] => programs::demo(rest),
        ["build"] => programs::build(),
        ["test", rest @ ..] => programs::test(rest),
        ["layers"] => layers::check().and_then(|()| tcb::write()),
        ["layers", "--check"] => layers::check().and_then(|()| tcb::check()),
        ["contracts"] => contracts::check(),
        ["contracts", "--write"] => contracts::write(),
        ["dashboard"] | ["dashboard", "--check"] => dashboard::check(),
        ["dashboard", "--write"] => dashboard::write(),
        ["licences"] => licences::check(),
        ["fuzz"] => fuzz::run(10),
        ["fuzz", "--seconds", seconds] => match seconds.parse() {
            Ok(seconds) => fuzz::run(seconds),
            Err(_) => Err(format!("--seconds takes a whole number, not {seconds}")),
        },
        ["clients"] => clients::run(),
        ["deploy-check"] => deploy::check(),
        ["scale", rest @ ..] => scale::run(rest),
        ["python"] => python::check(),
        ["python", "--wheel"] => python::wheel(),
        ["guest", modules] => guest::build(modules.as_ref(), &cargo::root().join("target/guest")),
        ["guest", modules, out] => guest::build(modules.as_ref(), out.as_ref()),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(())
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}
