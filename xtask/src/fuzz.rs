//! Each fuzz target for a few seconds, so that targets do not rot.

use crate::cargo;
use std::{fs, process::Command};

/// Runs every target in `fuzz/fuzz_targets`. Needs a nightly compiler and `cargo-fuzz`; says so and
/// succeeds where these are missing (the same bodies run on stable in `cargo xtask test`).
pub(crate) fn run(seconds: u32) -> Result<(), String> {
    let present = cargo_fuzz(&["--version"]).output().is_ok_and(|output| output.status.success());
    if !present {
        println!("fuzz: skipped: no cargo-fuzz (or no nightly compiler)");
        return Ok(());
    }
    let folder = cargo::root().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut targets: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.path().file_stem()?.to_str().map(str::to_owned)).collect();
    targets.sort();
    cargo::run(&["run", "--quiet", "--release", "-p", "glacier-fuzz-bodies", "--example", "seeds", "fuzz/corpus"])?;
    let built = cargo_fuzz(&["build"]).status().map_err(|error| format!("cargo fuzz did not start: {error}"))?;
    if !built.success() {
        return Err(format!("cargo fuzz build: {built}"));
    }
    for target in &targets {
        println!("fuzz: {target} for {seconds} s");
        let time = format!("-max_total_time={seconds}");
        // Half of the default memory limit: a parser of bounded input has no use for more.
        let args = ["run", target, "--", &time, "-rss_limit_mb=1024", "-verbosity=0", "-print_final_stats=1"];
        let status = cargo_fuzz(&args).status().map_err(|error| format!("cargo fuzz did not start: {error}"))?;
        if !status.success() {
            return Err(format!("fuzz target {target}: {status}; the input is in fuzz/artifacts/{target}"));
        }
    }
    println!("fuzz: {} targets, no finding", targets.len());
    Ok(())
}

fn cargo_fuzz(args: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    // `cargo run` names its own toolchain to what it starts; the fuzzer needs another.
    command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO").arg("+nightly").arg("fuzz").args(args);
    command.current_dir(cargo::root());
    command
}
