//! The node's page: its verifier rebuilt and compared, its digests, and its tests in a browser.
//!
//! The host embeds `host/dashboard` as it is committed, so users build without WebAssembly's target and
//! without a browser. What is used here comes from `rustup`, and from the registries of `npm`, `pip` and Debian.

use crate::{cargo, programs};
use sha2::{Digest as _, Sha256};
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The files of the page, in the order in which the host lists them.
const LIST: &str = "host/src/dashboard.rs";
const SUMS: &str = "SHA256SUMS";
const VERIFIER: &str = "verifier.wasm";
/// Which compiler made the committed verifier: another makes other bytes.
const COMPILER: &str = "verifier.compiler";
const TARGET: &str = "wasm32-unknown-unknown";

/// Fails where a digest or the verifier is stale, then runs the tests in a browser.
pub(crate) fn check() -> Result<(), String> {
    compare_verifier()?;
    let sums = sums()?;
    if read(&folder().join(SUMS))? != sums.as_bytes() {
        return Err(format!("{SUMS} is stale: run `cargo xtask dashboard --write` and commit it"));
    }
    println!("dashboard: {} files have their digests", sums.lines().count());
    browse()
}

/// Rebuilds the verifier and writes it and the digests.
pub(crate) fn write() -> Result<(), String> {
    if has_target() {
        put(VERIFIER, &build()?)?;
        put(COMPILER, compiler()?.as_bytes())?;
    } else {
        println!("dashboard: the verifier stays as it is: no target {TARGET}");
    }
    put(SUMS, sums()?.as_bytes())
}

fn compare_verifier() -> Result<(), String> {
    if !has_target() {
        println!("dashboard: verifier not rebuilt: skipped: no target {TARGET}");
        return Ok(());
    }
    let (made_by, here) = (read(&folder().join(COMPILER))?, compiler()?);
    if made_by != here.as_bytes() {
        let made_by = String::from_utf8_lossy(&made_by).into_owned();
        println!("dashboard: verifier not compared: skipped: made by {}, here is {}", made_by.trim(), here.trim());
        return build().map(|_| ());
    }
    if build()? != read(&folder().join(VERIFIER))? {
        return Err(format!(
            "{VERIFIER} is not what the sources give: run `cargo xtask dashboard --write` and commit it"
        ));
    }
    println!("dashboard: {VERIFIER} is what the sources give");
    Ok(())
}

/// The verifier's bytes. Where sources and dependencies lie does not stand in them.
fn build() -> Result<Vec<u8>, String> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cargo"))).unwrap_or_default();
    let flags = [
        "--cfg".to_owned(),
        // As in .cargo/config.toml, which these flags replace.
        "getrandom_backend=\"unsupported\"".to_owned(),
        format!("--remap-path-prefix={}=/cargo", home.display()),
        format!("--remap-path-prefix={}=/glacier", cargo::root().display()),
    ];
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "rustc",
            "--quiet",
            "--locked",
            "--profile",
            "web",
            "-p",
            "glacier-web",
            "--lib",
            "--crate-type",
            "cdylib",
        ])
        .args(["--target", TARGET])
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .current_dir(cargo::root())
        .status()
        .map_err(|error| format!("cargo did not start: {error}"))?;
    if !status.success() {
        return Err(format!("the verifier does not build for {TARGET}: {status}"));
    }
    read(&cargo::metadata()?.target_directory.join(TARGET).join("web/glacier_web.wasm"))
}

fn has_target() -> bool {
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output();
    let sysroot = sysroot.ok().and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).is_dir()
}

fn compiler() -> Result<String, String> {
    let output = Command::new("rustc").arg("--version").output().map_err(|error| format!("rustc: {error}"))?;
    String::from_utf8(output.stdout).map_err(|_| "rustc did not write UTF-8".into())
}

/// As `sha256sum` writes them.
fn sums() -> Result<String, String> {
    let list = String::from_utf8_lossy(&read(&cargo::root().join(LIST))?).into_owned();
    let mut sums = String::new();
    for name in names(&list).filter(|name| *name != SUMS) {
        let digest = Sha256::digest(read(&folder().join(name))?);
        for byte in digest {
            let _ = write!(sums, "{byte:02x}");
        }
        let _ = writeln!(sums, "  {name}");
    }
    Ok(sums)
}

/// What stands first on the lines of `files! { … }`.
fn names(source: &str) -> impl Iterator<Item = &str> {
    let block =
        source.split_once("\nfiles! {\n").and_then(|(_, rest)| rest.split_once("\n}")).map_or("", |(block, _)| block);
    block.lines().filter_map(|line| line.trim().strip_prefix('"')?.split_once('"')).map(|(name, _)| name)
}

/// Starts nodes and looks at their pages in Chromium.
fn browse() -> Result<(), String> {
    let chromium = std::env::var_os("CHROMIUM").map_or_else(|| PathBuf::from("/usr/bin/chromium"), PathBuf::from);
    if !chromium.exists() {
        println!("dashboard: browser tests skipped: no {}", chromium.display());
        return Ok(());
    }
    if Command::new("npm").arg("--version").output().is_err() {
        println!("dashboard: browser tests skipped: no npm");
        return Ok(());
    }
    programs::build()?;
    let tests = folder().join("tests");
    // Not `npm ci`: it wants the packages of every operating system in the lock file, and not every registry has them.
    run(Command::new("npm").args(["install", "--no-save", "--silent", "--no-audit", "--no-fund"]).current_dir(&tests))?;
    let target = cargo::metadata()?.target_directory;
    let python = target.join("dashboard-python");
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--upgrade", "--target"])
        .arg(&python)
        .arg("prometheus-client==0.26.0");
    if !python.join("prometheus_client").is_dir() && run(&mut pip).is_err() {
        println!("dashboard: no prometheus-client: the metrics are not parsed");
    }
    let node = Command::new("node")
        .args(["--test", "--test-reporter=spec", "dashboard.test.js"])
        .env("GLACIER_PROGRAMS", target.join("release"))
        .env("CHROMIUM", &chromium)
        .env("PROMETHEUS_CLIENT", &python)
        .current_dir(&tests)
        .status();
    match node {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("the page does not behave: {status}")),
        Err(error) => Err(format!("node did not start: {error}")),
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{}: {status}", command.get_program().display())),
        Err(error) => Err(format!("{} did not start: {error}", command.get_program().display())),
    }
}

fn folder() -> PathBuf {
    cargo::root().join("host/dashboard")
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn put(name: &str, bytes: &[u8]) -> Result<(), String> {
    let path = folder().join(name);
    fs::write(&path, bytes).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_read_off_the_hosts_list() {
        let source = "x\nfiles! {\n    \"a.html\" \"text/html\",\n    \"b.js\" \"c\",\n}\n\"d\" \"e\",\n";
        assert_eq!(names(source).collect::<Vec<_>>(), ["a.html", "b.js"]);
        let list = fs::read_to_string(cargo::root().join(LIST)).unwrap();
        assert!(names(&list).any(|name| name == VERIFIER));
    }
}
