//! The contracts: compiled, tested, and compared with what is committed.
//!
//! Rust reads `contracts/artifacts` and nothing else, so it builds without any of the tools used here.
//! They come from one place, the package registry that `npm` asks, in the versions of the lock file.

use crate::cargo;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What is deployed or called from Rust: one committed artifact each.
const DEPLOYED: &[&str] = &[
    "AgentAdapter",
    "DcapVerifier",
    "DeviceAnchor",
    "EnclaveRegistry",
    "GlacierToken",
    "IntelCollateral",
    "JobEscrow",
    "MeasurementPolicy",
    "QuoteRouter",
    "RewardVault",
    "SimulatedCollateral",
    "WorkLedger",
];

/// Compiles, fails where a committed artifact is not what the source gives, checks the layout, runs every test.
pub(crate) fn check() -> Result<(), String> {
    let Some(tools) = Tools::install()? else { return Ok(()) };
    let built = tools.build()?;
    for (name, text) in &built {
        let file = artifact(name);
        if fs::read_to_string(&file).ok().as_ref() != Some(text) {
            return Err(format!("{} is stale: run `cargo xtask contracts --write` and commit it", file.display()));
        }
    }
    println!("contracts: {} artifacts are what the sources give", built.len());
    tools.forge(&["fmt", "--check"])?;
    tools.forge(&["test"])
}

/// Compiles and writes the artifacts.
pub(crate) fn write() -> Result<(), String> {
    let Some(tools) = Tools::install()? else { return Err("npm is needed to compile the contracts".into()) };
    for (name, text) in tools.build()? {
        let file = artifact(&name);
        fs::create_dir_all(file.parent().unwrap_or(Path::new("."))).map_err(|error| error.to_string())?;
        fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(())
}

/// The program itself: the script that npm puts before it answers success whatever the program says.
fn native(tool: &str) -> PathBuf {
    let system = if cfg!(target_os = "macos") { "darwin" } else { "linux" };
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    folder().join(format!("node_modules/@foundry-rs/{tool}-{system}-{machine}/bin/{tool}"))
}

fn folder() -> PathBuf {
    cargo::root().join("contracts")
}

fn artifact(name: &str) -> PathBuf {
    folder().join("artifacts").join(format!("{name}.json"))
}

struct Tools;

impl Tools {
    /// None, with a remark, where there is no npm.
    fn install() -> Result<Option<Self>, String> {
        if Command::new("npm").arg("--version").output().is_err() {
            println!("contracts: skipped: no npm");
            return Ok(None);
        }
        // Not `npm ci`: it wants the packages of every operating system in the lock file, and not every registry has them.
        let status = Command::new("npm")
            .args(["install", "--no-save", "--silent", "--no-audit", "--no-fund"])
            .current_dir(folder())
            .status()
            .map_err(|error| format!("npm did not start: {error}"))?;
        if status.success() { Ok(Some(Self)) } else { Err(format!("npm install: {status}")) }
    }

    fn forge(&self, args: &[&str]) -> Result<(), String> {
        let status = Command::new(native("forge"))
            .args(args)
            .current_dir(folder())
            .status()
            .map_err(|error| format!("forge did not start: {error}"))?;
        if status.success() { Ok(()) } else { Err(format!("forge {}: {status}", args.join(" "))) }
    }

    /// Name -> committed form: interface and creation code, and nothing that depends on where it was compiled.
    fn build(&self) -> Result<BTreeMap<String, String>, String> {
        self.forge(&["build", "--force", "src"])?;
        DEPLOYED
            .iter()
            .map(|name| {
                let file = folder().join(format!("out/{name}.sol/{name}.json"));
                let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
                let output: Value =
                    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?;
                let code = output["bytecode"]["object"].as_str().unwrap_or_default();
                // A placeholder for a library's address would stand in it as `__$…$__`.
                if code.len() <= 2
                    || !code.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
                {
                    return Err(format!("{name} has no code that can be deployed"));
                }
                let mut abi = output["abi"].clone();
                number_enums(&mut abi);
                let trimmed = serde_json::json!({ "abi": abi, "bytecode": { "object": code } });
                let text = serde_json::to_string_pretty(&trimmed).map_err(|error| error.to_string())?;
                Ok(((*name).to_owned(), text + "\n"))
            })
            .collect()
    }
}

/// Enums that several contracts share stand in no contract's interface: to Rust they are the numbers that they are on the wire.
fn number_enums(abi: &mut Value) {
    match abi {
        Value::Array(items) => items.iter_mut().for_each(number_enums),
        Value::Object(members) => {
            let is_enum =
                members.get("internalType").and_then(Value::as_str).is_some_and(|name| name.starts_with("enum "));
            if is_enum {
                let plain = members.get("type").cloned().unwrap_or_default();
                members.insert("internalType".into(), plain);
            }
            members.values_mut().for_each(number_enums);
        }
        _ => {}
    }
}
