//! Cargo, asked in its own words.

use serde::Deserialize;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

/// The part of `cargo metadata` that is read here.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) workspace_members: Vec<String>,
    pub(crate) target_directory: PathBuf,
}

/// One package, ours or not.
#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    /// Where it was fetched from; none for a path.
    pub(crate) source: Option<String>,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a package's dependency table.
#[derive(Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// None for a normal dependency, else `dev` or `build`.
    pub(crate) kind: Option<String>,
}

impl Metadata {
    /// The packages of this workspace.
    pub(crate) fn ours(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.workspace_members.contains(&package.id))
    }

    /// Everybody else's.
    pub(crate) fn theirs(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| !self.workspace_members.contains(&package.id))
    }
}

impl Package {
    /// The folder with its `Cargo.toml`.
    pub(crate) fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(Path::new("."))
    }
}

/// A line of `cargo tree`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Node {
    /// 0 for the package that was asked about.
    pub(crate) depth: usize,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: String,
}

/// The workspace with all its dependencies, for every target and every kind of dependency.
pub(crate) fn metadata() -> Result<Metadata, String> {
    let text = output(&["metadata", "--format-version", "1"])?;
    serde_json::from_str(&text).map_err(|error| format!("cargo metadata is not as expected: {error}"))
}

/// What a build of `packages` links (with build scripts and procedural macros when `built_with`):
/// resolved features, this target, no development dependencies. One tree after the other.
pub(crate) fn tree(packages: &[&str], built_with: bool) -> Result<Vec<Node>, String> {
    let edges = if built_with { "normal,build" } else { "normal,no-proc-macro" };
    let mut args = vec!["--no-dedupe", "--edges", edges];
    args.extend(packages.iter().flat_map(|package| ["--package", package]));
    nodes(&args)
}

/// Every crate that any build or test of the workspace compiles for one of `targets`.
pub(crate) fn compiled(targets: &[String]) -> Result<BTreeSet<(String, String)>, String> {
    let mut args = vec!["--workspace", "--edges", "normal,build,dev"];
    args.extend(targets.iter().flat_map(|target| ["--target", target.as_str()]));
    Ok(nodes(&args)?.into_iter().map(|node| (node.name, node.version)).collect())
}

fn nodes(args: &[&str]) -> Result<Vec<Node>, String> {
    output(&[&["tree", "--prefix", "depth", "--format", "|{p}|{l}"], args].concat())?
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| node(line).ok_or_else(|| format!("cargo tree said: {line}")))
        .collect()
}

/// `DEPTH|NAME vVERSION (…)|LICENCE`
fn node(line: &str) -> Option<Node> {
    let (depth, rest) = line.split_once('|')?;
    // A crate whose dependencies were shown before carries a star at the end.
    let (package, license) = rest.trim_end_matches(" (*)").split_once('|')?;
    let (name, rest) = package.split_once(" v")?;
    let version = rest.split(' ').next()?;
    Some(Node { depth: depth.parse().ok()?, name: name.into(), version: version.into(), license: license.into() })
}

/// Runs cargo with its output on ours.
pub(crate) fn run(args: &[&str]) -> Result<(), String> {
    let status = command(args).status().map_err(|error| format!("cargo did not start: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("cargo {}: {status}", args.join(" "))) }
}

fn output(args: &[&str]) -> Result<String, String> {
    let output = command(args).output().map_err(|error| format!("cargo did not start: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo {}:\n{}", args.join(" "), String::from_utf8_lossy(&output.stderr)));
    }
    String::from_utf8(output.stdout).map_err(|_| "cargo did not write UTF-8".into())
}

fn command(args: &[&str]) -> Command {
    // Cargo tells what it runs which cargo that was: the same one builds.
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root());
    command
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_line_is_read() {
        let expected =
            Node { depth: 2, name: "der".into(), version: "0.8.3".into(), license: "Apache-2.0 OR MIT".into() };
        assert_eq!(node("2|der v0.8.3|Apache-2.0 OR MIT"), Some(expected));
        assert_eq!(node("2|der v0.8.3|MIT (*)").map(|node| node.license), Some("MIT".into()));
        assert_eq!(node("0|glacier v0.1.0 (/a b/sdk)|MIT").map(|node| node.version), Some("0.1.0".into()));
    }

    #[test]
    fn another_line_is_not_taken_for_a_crate() {
        assert_eq!(node("[build-dependencies]"), None);
    }
}
