//! `docs/TCB.md`: what a relying party trusts when it trusts the measurement of `glacier-enclave`.

use crate::cargo::{self, Metadata, Node};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// The build that is described: `cargo xtask build`. Features of shared crates are the union of all three.
const BUILD: &[&str] = &["glacier-cli", "glacier-simulator", "glacier-enclave"];
const ENCLAVE: &str = "glacier-enclave";

/// Writes the report.
pub(crate) fn write() -> Result<(), String> {
    fs::write(path(), report()?).map_err(|error| format!("{}: {error}", path().display()))
}

/// Fails when the report in the tree is not the one that would be written now.
pub(crate) fn check() -> Result<(), String> {
    let found = fs::read_to_string(path()).map_err(|error| format!("{}: {error}", path().display()))?;
    if found == report()? {
        return Ok(());
    }
    Err("docs/TCB.md is stale: run `cargo xtask layers` and commit it".into())
}

fn path() -> PathBuf {
    cargo::root().join("docs/TCB.md")
}

/// A crate inside the binary, and which of our crates brought it in.
struct Inside {
    license: String,
    for_the_sake_of: BTreeSet<String>,
}

fn report() -> Result<String, String> {
    let metadata = cargo::metadata()?;
    let inside = inside(&cargo::tree(BUILD, false)?);
    let tools = built_with(&inside)?;
    let ours: BTreeSet<&str> = metadata.ours().map(|package| package.name.as_str()).collect();
    let is_ours = |(name, _): &&(String, String)| ours.contains(name.as_str());

    let mut table = String::new();
    let (mut crates, mut lines) = (0, 0);
    for (name, _) in inside.keys().filter(is_ours) {
        let (folder, count) = size(&metadata, name)?;
        let unsafe_code = if name == "glacier-platform" { "allowed, reason at each use" } else { "forbidden" };
        row(&mut table, &[&format!("`{folder}`"), name, &count.to_string(), unsafe_code]);
        crates += 1;
        lines += count;
    }
    let theirs: Vec<_> = inside.iter().filter(|(key, _)| !is_ours(key)).collect();

    // By custom `-sys` names a wrapper of foreign code; this one only lists the kernel's constants.
    let c = theirs.iter().map(|((name, _), _)| name).filter(|name| name.ends_with("-sys") && *name != "linux-raw-sys");
    let with_c: Vec<String> = c.map(|name| format!("`{name}`")).collect();

    let mut out = format!(
        "# What runs inside the enclave

Written by `cargo xtask layers`; do not edit. CI fails when it is stale.

Trusting the measurement of `glacier-enclave` means trusting this: **{crates} crates of ours with {lines} lines**, and
**{} crates of others**. It describes a Linux x86-64 build by `cargo xtask build`. The Rust standard library is
inside too, and so is what the C compiler makes of {}.

## Ours

Lines are lines of code: without tests, comments and blank lines.

| folder | crate | lines | `unsafe` |
|---|---|---:|---|
{table}
## Others

\"For\" names those of our crates through which a crate comes in.

| crate | version | licence | for |
|---|---|---|---|
",
        theirs.len(),
        with_c.join(" and ")
    );
    for ((name, version), crate_) in &theirs {
        let sake: Vec<&str> = crate_.for_the_sake_of.iter().map(|name| name.trim_start_matches("glacier-")).collect();
        row(&mut out, &[name, version, &crate_.license, &sake.join(", ")]);
    }
    let tools: Vec<String> = tools.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let _ = write!(
        out,
        "
## Runs while the enclave is compiled

Build scripts, procedural macros and what they need: {} crates that are not in the binary but could have changed it.

{}
",
        tools.len(),
        wrap(&tools.join(", "))
    );
    Ok(out)
}

fn row(out: &mut String, cells: &[&str]) {
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

/// Everything below the enclave in the trees of the build.
fn inside(nodes: &[Node]) -> BTreeMap<(String, String), Inside> {
    let mut found: BTreeMap<(String, String), Inside> = BTreeMap::new();
    let mut path: Vec<&str> = Vec::new();
    for node in nodes {
        path.truncate(node.depth);
        path.push(&node.name);
        if path.first() != Some(&ENCLAVE) {
            continue;
        }
        let nearest = path.iter().rev().skip(1).find(|name| name.starts_with("glacier"));
        let entry = found
            .entry((node.name.clone(), node.version.clone()))
            .or_insert_with(|| Inside { license: node.license.clone(), for_the_sake_of: BTreeSet::new() });
        entry.for_the_sake_of.extend(nearest.map(|name| (*name).to_owned()));
    }
    found
}

fn built_with(inside: &BTreeMap<(String, String), Inside>) -> Result<BTreeSet<(String, String)>, String> {
    let all = cargo::tree(&[ENCLAVE], true)?.into_iter().map(|node| (node.name, node.version));
    Ok(all.filter(|key| !inside.contains_key(key)).collect())
}

/// The folder of one of our crates and its lines of code.
fn size(metadata: &Metadata, name: &str) -> Result<(String, usize), String> {
    let package = metadata.ours().find(|package| package.name == name).ok_or_else(|| format!("{name} is gone"))?;
    let folder = package.folder().strip_prefix(cargo::root()).unwrap_or(package.folder());
    Ok((folder.display().to_string(), lines_under(&package.folder().join("src"))?))
}

fn lines_under(folder: &Path) -> Result<usize, String> {
    let complain = |error: std::io::Error| format!("{}: {error}", folder.display());
    let (mut lines, mut sources) = (0, Vec::new());
    for entry in fs::read_dir(folder).map_err(complain)? {
        let path = entry.map_err(complain)?.path();
        if path.is_dir() {
            lines += lines_under(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            sources.push((name, fs::read_to_string(&path).map_err(complain)?));
        }
    }
    let tests: Vec<String> = sources.iter().flat_map(|(_, text)| test_modules(text)).collect();
    let code = sources.iter().filter(|(name, _)| !tests.contains(name));
    Ok(lines + code.map(|(_, text)| lines_of_code(text)).sum::<usize>())
}

/// Modules in files of their own that only tests compile.
fn test_modules(text: &str) -> impl Iterator<Item = String> {
    let after = text.split("#[cfg(test)]\nmod ").skip(1).filter_map(|rest| rest.lines().next());
    after.filter_map(|line| line.strip_suffix(';')).map(str::to_owned)
}

/// Relies on rustfmt: an item that starts in the first column ends there.
fn lines_of_code(text: &str) -> usize {
    let mut count = 0;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line == "#[cfg(test)]" {
            let item = lines.find(|line| !line.starts_with("#["));
            if item.is_some_and(|item| !item.ends_with(';') && !item.ends_with('}')) {
                lines.find(|line| *line == "}");
            }
        } else if !line.trim().is_empty() && !line.trim_start().starts_with("//") {
            count += 1;
        }
    }
    count
}

fn wrap(text: &str) -> String {
    let mut out = String::new();
    let mut width = 0;
    for word in text.split(", ") {
        if width > 0 {
            let fits = width + word.len() < 110;
            out.push_str(if fits { ", " } else { ",\n" });
            width = if fits { width + 2 } else { 0 };
        }
        out.push_str(word);
        width += word.len();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_comments_and_blank_lines_do_not_count() {
        let text = "//! Doc.\n\nuse a;\n\n#[cfg(test)]\nmod vectors;\n\n/// Doc.\nfn f() {\n    // Reason.\n    g();\n}\n\n\
            #[cfg(test)]\n#[allow(x)]\nmod tests {\n    use super::*;\n}\n\nfn after() {}\n";
        assert_eq!(lines_of_code(text), 5);
        assert_eq!(test_modules(text).collect::<Vec<_>>(), ["vectors"]);
    }

    #[test]
    fn only_what_is_below_the_enclave_is_inside() {
        let node = |depth, name: &str| Node { depth, name: name.into(), version: "1".into(), license: "MIT".into() };
        let nodes =
            [node(0, "glacier-cli"), node(1, "clap"), node(0, ENCLAVE), node(1, "glacier-app"), node(2, "tokio")];
        let inside = inside(&nodes);
        let names: Vec<&str> = inside.keys().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["glacier-app", ENCLAVE, "tokio"]);
        let tokio = inside.get(&("tokio".into(), "1".into())).unwrap();
        assert_eq!(tokio.for_the_sake_of, BTreeSet::from(["glacier-app".to_owned()]));
    }
}
