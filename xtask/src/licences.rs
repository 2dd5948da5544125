//! Licences and sources of all dependencies, against the lists in `deny.toml`.
//!
//! `cargo deny` reads the same file and checks more; this needs no program besides cargo, so it
//! runs everywhere. Advisories need a database from the network: see CONTRIBUTING.

use crate::cargo;
use serde::Deserialize;
use std::fs;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[derive(Deserialize)]
struct Deny {
    graph: Graph,
    licenses: Licenses,
}

#[derive(Deserialize)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
    #[serde(default)]
    exceptions: Vec<Exception>,
}

/// A licence that one crate may have and no other.
#[derive(Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: Vec<String>,
}

/// Fails with every crate whose licence or source is not allowed.
pub(crate) fn check() -> Result<(), String> {
    let text = fs::read_to_string(cargo::root().join("deny.toml")).map_err(|error| format!("deny.toml: {error}"))?;
    let deny: Deny = toml::from_str(&text).map_err(|error| format!("deny.toml: {error}"))?;
    // The lock file also names crates that no feature of ours turns on: those do not count.
    let compiled = cargo::compiled(&deny.graph.targets)?;
    let metadata = cargo::metadata()?;
    let (mut faults, mut count) = (Vec::new(), 0);
    for package in metadata.theirs() {
        if !compiled.contains(&(package.name.clone(), package.version.clone())) {
            continue;
        }
        count += 1;
        let found = package.license.as_deref().unwrap_or_default();
        let also = deny.licenses.exceptions.iter().filter(|exception| exception.name == package.name);
        let allowed: Vec<&str> =
            also.flat_map(|exception| &exception.allow).chain(&deny.licenses.allow).map(String::as_str).collect();
        if !satisfied(found, &allowed) {
            faults.push(format!("{} {} is under {found:?}", package.name, package.version));
        }
        if package.source.as_deref() != Some(CRATES_IO) {
            faults.push(format!("{} {} does not come from crates.io", package.name, package.version));
        }
    }
    if faults.is_empty() {
        println!("licences: {count} crates from crates.io, each under an allowed licence");
        return Ok(());
    }
    Err(format!("not allowed by deny.toml\n  {}", faults.join("\n  ")))
}

/// Whether an SPDX licence expression can be met with allowed licences alone. What is no
/// expression cannot.
fn satisfied(expression: &str, allowed: &[&str]) -> bool {
    // Cargo's old spelling of OR.
    let text = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = Words { words: text.split_whitespace().collect(), next: 0, allowed };
    matches!(words.any_of(), Some(met) if met && words.peek().is_none())
}

struct Words<'a> {
    words: Vec<&'a str>,
    next: usize,
    allowed: &'a [&'a str],
}

impl<'a> Words<'a> {
    fn any_of(&mut self) -> Option<bool> {
        let mut met = self.all_of()?;
        while self.take("OR") {
            met |= self.all_of()?;
        }
        Some(met)
    }

    fn all_of(&mut self) -> Option<bool> {
        let mut met = self.one()?;
        while self.take("AND") {
            met &= self.one()?;
        }
        Some(met)
    }

    fn one(&mut self) -> Option<bool> {
        if self.take("(") {
            let met = self.any_of()?;
            return self.take(")").then_some(met);
        }
        let mut licence = self.word()?.to_owned();
        if ["OR", "AND", "WITH", ")"].contains(&licence.as_str()) {
            return None;
        }
        if self.take("WITH") {
            licence = format!("{licence} WITH {}", self.word()?);
        }
        Some(self.allowed.contains(&licence.as_str()))
    }

    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.next).copied()
    }

    fn word(&mut self) -> Option<&'a str> {
        let word = self.peek()?;
        self.next += 1;
        Some(word)
    }

    fn take(&mut self, word: &str) -> bool {
        let there = self.peek() == Some(word);
        self.next += usize::from(there);
        there
    }
}

#[cfg(test)]
mod tests {
    use super::satisfied;

    #[test]
    fn one_side_of_or_is_enough_and_and_needs_both() {
        assert!(satisfied("MIT OR GPL-3.0", &["MIT"]));
        assert!(satisfied("GPL-3.0/MIT", &["MIT"]));
        assert!(!satisfied("MIT AND GPL-3.0", &["MIT"]));
        assert!(!satisfied("ISC AND (MIT OR GPL-3.0)", &["MIT"]));
        assert!(satisfied("ISC AND (MIT OR GPL-3.0)", &["MIT", "ISC"]));
    }

    #[test]
    fn an_exception_is_part_of_the_licence() {
        assert!(!satisfied("Apache-2.0 WITH LLVM-exception", &["Apache-2.0"]));
        assert!(satisfied("Apache-2.0 WITH LLVM-exception", &["Apache-2.0 WITH LLVM-exception"]));
    }

    #[test]
    fn no_expression_is_not_allowed() {
        for broken in ["", "MIT OR", "(MIT", "MIT)", "MIT MIT", "OR MIT"] {
            assert!(!satisfied(broken, &["MIT"]), "{broken}");
        }
    }
}
