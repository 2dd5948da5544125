//! Who may depend on whom. The tree is the trust map; this is where it is enforced.
//!
//! Development dependencies are free: tests may stand anywhere.

use crate::cargo::{self, Metadata};
use std::{collections::BTreeSet, path::Path};

const WIRE: &str = "glacier-wire";
const ASSET: &str = "glacier-asset";
const ATTEST: &str = "glacier-attest";
const PROOF: &str = "glacier-proof";
const MEASURE: &str = "glacier-measure";
const CHANNEL: &str = "glacier-channel";
const APP: &str = "glacier-app";
const ENGINE: &str = "glacier-engine";
const DEVICES: &str = "glacier-devices";
const PLATFORM: &str = "glacier-platform";
const TRAIN: &str = "glacier-train";
const WASM: &str = "glacier-wasm";
const ENCLAVE: &str = "glacier-enclave";
const SIMULATOR: &str = "glacier-simulator";
const TABLE: &str = "glacier-table";
const STORE: &str = "glacier-store";
const REMOTE: &str = "glacier-remote";
const COLLATERAL: &str = "glacier-collateral";
const CHAIN: &str = "glacier-chain";
const HOST: &str = "glacier-host";
const WEB: &str = "glacier-web";
const SDK: &str = "glacier";
const PROXY: &str = "glacier-proxy";
const CLI: &str = "glacier-cli";
const PYTHON: &str = "glacier-python";
const TESTKIT: &str = "glacier-testkit";

/// One crate and those of ours that it may name under `[dependencies]`.
struct Layer {
    name: &'static str,
    may_use: &'static [&'static str],
}

const LAYERS: &[Layer] = &[
    Layer { name: WIRE, may_use: &[] },
    Layer { name: ASSET, may_use: &[WIRE] },
    Layer { name: ATTEST, may_use: &[WIRE] },
    Layer { name: PROOF, may_use: &[WIRE, ATTEST] },
    Layer { name: MEASURE, may_use: &[] },
    Layer { name: CHANNEL, may_use: &[WIRE, ATTEST] },
    // Reads device files and nothing else: the enclave picks its hardware by it, the command line explains by it.
    Layer { name: DEVICES, may_use: &[] },
    Layer { name: PLATFORM, may_use: &[WIRE, ASSET, ATTEST, PROOF, DEVICES] },
    Layer { name: ENGINE, may_use: &[WIRE, ASSET, ATTEST, PROOF] },
    // A pure function of model, data and plan: the enclave trains by it, the owner of the data repeats it.
    Layer { name: TRAIN, may_use: &[WIRE, ENGINE] },
    Layer { name: APP, may_use: &[WIRE, ASSET, ATTEST, PROOF, CHANNEL, PLATFORM] },
    // Runs what nobody trusts; a compiler and an interpreter that nothing else needs.
    Layer { name: WASM, may_use: &[] },
    Layer { name: ENCLAVE, may_use: &[WIRE, ASSET, ATTEST, PROOF, PLATFORM, ENGINE, TRAIN, WASM, APP] },
    Layer { name: SIMULATOR, may_use: &[WIRE, ASSET, ATTEST, PROOF, PLATFORM] },
    // Parsers of two large formats, on the owner's machine and nowhere else.
    Layer { name: TABLE, may_use: &[] },
    Layer { name: STORE, may_use: &[WIRE, ASSET, ATTEST, PROOF] },
    // Clients of four kinds of store, with TLS: for the command line, and never for the host.
    Layer { name: REMOTE, may_use: &[] },
    Layer { name: COLLATERAL, may_use: &[WIRE, ATTEST] },
    // Carries transactions; what they mean is for whoever hands them in.
    Layer { name: CHAIN, may_use: &[WIRE, ATTEST, PROOF] },
    // Of core/proof what keeps logs and heads; what judges evidence is a feature, and its primitives are shut out below.
    Layer { name: HOST, may_use: &[WIRE, PROOF, STORE] },
    // The verifier for browsers, in a build of its own: nothing links it.
    Layer { name: WEB, may_use: &[WIRE, ATTEST, PROOF] },
    Layer { name: SDK, may_use: &[WIRE, ASSET, ATTEST, PROOF, CHANNEL, STORE, COLLATERAL] },
    // Speaks other people's protocols on the user's machine; what is trusted, the SDK decides.
    Layer { name: PROXY, may_use: &[SDK] },
    // The simulator measures enclave binaries for `glacier measure`.
    Layer {
        name: CLI,
        may_use: &[
            WIRE, ASSET, ATTEST, PROOF, MEASURE, DEVICES, SDK, PROXY, HOST, STORE, REMOTE, COLLATERAL, CHAIN,
            SIMULATOR, TABLE, TRAIN,
        ],
    },
    // Binds the front door, and makes initial models for those who bring none. Nothing is ported.
    Layer { name: PYTHON, may_use: &[SDK, TRAIN] },
    Layer {
        name: TESTKIT,
        may_use: &[
            WIRE, ASSET, ATTEST, PROOF, CHANNEL, PLATFORM, ENGINE, TRAIN, APP, ENCLAVE, SIMULATOR, STORE, HOST, SDK,
            CLI,
        ],
    },
    // Programs at the edge: the front door, and the SDK for applications.
    Layer { name: "glacier-examples", may_use: &[WIRE, APP, SDK] },
    Layer {
        name: "glacier-bench",
        may_use: &[
            WIRE, ASSET, ATTEST, PROOF, CHANNEL, PLATFORM, ENGINE, TRAIN, WASM, APP, ENCLAVE, SIMULATOR, STORE, HOST,
            SDK, CLI, TESTKIT,
        ],
    },
    Layer { name: "glacier-fuzz-bodies", may_use: &[WIRE, ASSET, ATTEST, PROOF, MEASURE, PLATFORM, ENGINE, TRAIN] },
    // Process 1 of a measured guest: it relays bytes, and knows nothing of what they say.
    Layer { name: "glacier-guest-init", may_use: &[] },
    Layer { name: "xtask", may_use: &[] },
];

/// Crates that must not be linked into a package, however far down.
struct Closed {
    name: &'static str,
    to: &'static [&'static str],
    why: &'static str,
}

const IO: &[&str] = &["tokio", "mio", "async-std", "hyper", "reqwest", "axum", "rustls", "redb"];
const ORACLES: &[&str] = &["age", "dcap-qvl", "alloy-sol-types", "alloy-primitives", "proptest", TESTKIT];

const CLOSED: &[Closed] = &[
    Closed {
        name: HOST,
        to: &[
            "rustls",
            "tokio-rustls",
            "aws-lc-rs",
            "aws-lc-sys",
            "ring",
            "openssl",
            "native-tls",
            "age",
            "aes-gcm",
            "chacha20poly1305",
            "x25519-dalek",
            "rten",
            "wasmtime",
            ASSET,
            CHANNEL,
            ENGINE,
            TRAIN,
            APP,
            PLATFORM,
            ENCLAVE,
            SDK,
        ],
        why: "the host relays bytes and has nothing that could open them",
    },
    Closed { name: WIRE, to: IO, why: "core has no IO" },
    Closed { name: ASSET, to: IO, why: "core has no IO" },
    Closed { name: ATTEST, to: IO, why: "core has no IO" },
    Closed { name: PROOF, to: IO, why: "core has no IO" },
    Closed { name: MEASURE, to: IO, why: "core has no IO" },
    Closed { name: WEB, to: IO, why: "a page's verifier answers and does nothing else" },
    Closed {
        name: ENCLAVE,
        to: &[SIMULATOR, HOST, STORE, SDK, CLI],
        why: "the enclave holds no code of the other side",
    },
    Closed {
        name: HOST,
        to: &[COLLATERAL, CHAIN, ATTEST],
        why: "the host relays bytes; whoever judges fetches endorsements",
    },
    Closed {
        name: ENCLAVE,
        to: &[TABLE, "parquet", "arrow-ipc", "arrow-array"],
        why: "large formats are converted before they are sealed",
    },
    Closed {
        name: ENCLAVE,
        to: &[PROXY, "tonic", "prost", "tokenizers"],
        why: "other people's protocols end on the user's machine",
    },
    Closed { name: ENCLAVE, to: ORACLES, why: "oracles and harnesses are for tests" },
    // Alloy is no oracle there: it speaks to chains.
    Closed { name: CLI, to: &["age", "dcap-qvl", "proptest", TESTKIT], why: "oracles and harnesses are for tests" },
    Closed { name: SIMULATOR, to: ORACLES, why: "oracles and harnesses are for tests" },
];

/// Fails with every dependency that points the wrong way.
pub(crate) fn check() -> Result<(), String> {
    let metadata = cargo::metadata()?;
    let mut faults = direct(&metadata);
    faults.extend(lints(&metadata)?);
    for closed in CLOSED {
        let linked: BTreeSet<String> = cargo::tree(&[closed.name], false)?.into_iter().map(|node| node.name).collect();
        let open = closed.to.iter().filter(|name| linked.contains(**name));
        faults.extend(open.map(|name| format!("{} links {name}, but {}", closed.name, closed.why)));
    }
    if faults.is_empty() {
        println!("layers: {} crates depend on what they may, and on nothing else of ours", LAYERS.len());
        return Ok(());
    }
    Err(format!("dependencies point the wrong way\n  {}", faults.join("\n  ")))
}

fn direct(metadata: &Metadata) -> Vec<String> {
    let ours: BTreeSet<&str> = metadata.ours().map(|package| package.name.as_str()).collect();
    let mut faults = Vec::new();
    for package in metadata.ours() {
        let Some(layer) = LAYERS.iter().find(|layer| layer.name == package.name) else {
            faults.push(format!("{} has no layer: give it one in xtask/src/layers.rs", package.name));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|dependency| dependency.kind.as_deref() != Some("dev")) {
            let name = dependency.name.as_str();
            if ours.contains(name) && !layer.may_use.contains(&name) {
                faults.push(format!("{} may not depend on {name}", package.name));
            }
        }
    }
    faults
}

/// The lints are policy, and `unsafe` belongs to one crate.
fn lints(metadata: &Metadata) -> Result<Vec<String>, String> {
    let mut faults = Vec::new();
    for package in metadata.ours().filter(|package| package.name != PLATFORM) {
        let path = &package.manifest_path;
        if package.name == WEB {
            faults.extend(exports(path)?);
            continue;
        }
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let manifest: toml::Table = text.parse().map_err(|error| format!("{}: {error}", path.display()))?;
        let inherits = manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
        if inherits != Some(true) {
            faults.push(format!("{} does not take the workspace's lints; only {PLATFORM} may differ", package.name));
        }
    }
    Ok(faults)
}

/// A page finds functions by name, and to give one counts as unsafe: one file does, and has nothing else of it.
fn exports(manifest: &Path) -> Result<Vec<String>, String> {
    let mut faults = Vec::new();
    let folder = manifest.with_file_name("src");
    let text = |path: &Path| std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
    if !text(manifest)?.contains("\nunsafe_code = \"deny\"\n") {
        faults.push(format!("{WEB} does not deny unsafe_code"));
    }
    for entry in std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))? {
        let path = entry.map_err(|error| error.to_string())?.path();
        let text = text(&path)?;
        let allowed = path.file_name().is_some_and(|name| name == "exports.rs");
        let named = text.replace("#[unsafe(no_mangle)]", "").replace("#![allow(unsafe_code)]", "");
        let code =
            named.lines().filter(|line| !line.trim_start().starts_with("//")).any(|line| line.contains("unsafe"));
        if code || (!allowed && text.contains("unsafe(")) || (!allowed && text.contains("allow(unsafe_code)")) {
            faults.push(format!("{}: unsafe beyond the names of exports", path.display()));
        }
    }
    Ok(faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(name: &str, dependency: &str, kind: Option<&str>) -> Metadata {
        let package = |name: &str, dependencies: serde_json::Value| {
            serde_json::json!({"id": name, "name": name, "version": "0", "license": null, "source": null,
                "manifest_path": "/x/Cargo.toml", "dependencies": dependencies})
        };
        let uses = serde_json::json!([{"name": dependency, "kind": kind}]);
        serde_json::from_value(serde_json::json!({
            "packages": [package(name, uses), package(dependency, serde_json::json!([]))],
            "workspace_members": [name, dependency],
            "target_directory": "/x",
        }))
        .unwrap()
    }

    #[test]
    fn the_host_may_not_name_the_channel() {
        assert_eq!(direct(&workspace(HOST, CHANNEL, None)), ["glacier-host may not depend on glacier-channel"]);
        assert_eq!(direct(&workspace(HOST, CHANNEL, Some("build"))).len(), 1);
    }

    #[test]
    fn tests_may_stand_anywhere() {
        assert!(direct(&workspace(WIRE, ATTEST, Some("dev"))).is_empty());
    }

    #[test]
    fn a_crate_without_a_layer_is_a_fault() {
        assert_eq!(direct(&workspace("glacier-new", WIRE, None)).len(), 1);
    }

    #[test]
    fn what_a_layer_may_use_comes_before_it() {
        let below = |name: &str| LAYERS.iter().position(|layer| layer.name == name).unwrap();
        for layer in LAYERS {
            for used in layer.may_use {
                assert!(below(used) < below(layer.name), "{} uses {used}, which stands above it", layer.name);
            }
        }
    }
}
