//! Runs the binary as people do, and writes down what they see.

#![allow(dead_code, clippy::unwrap_used)] // each test binary uses its part

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;

/// The binary under test.
pub(crate) const GLACIER: &str = env!("CARGO_BIN_EXE_glacier");

/// The folder of the built programs.
pub(crate) fn programs() -> &'static Path {
    Path::new(GLACIER).parent().unwrap()
}

/// Fails with the instruction where the programs beside `glacier` are not built.
pub(crate) fn need_programs() {
    for name in ["glacier-chip", "glacier-enclave"] {
        let path = programs().join(name);
        assert!(path.exists(), "{} is missing: run `cargo xtask test`, which builds it first", path.display());
    }
}

/// A party: a folder of its own and a key store of its own.
pub(crate) struct Party {
    pub(crate) folder: tempfile::TempDir,
}

impl Party {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `glacier ARGS` in this party's folder. Words are split at spaces.
    pub(crate) fn command(&self, args: &str) -> Command {
        let mut command = Command::new(GLACIER);
        command
            .args(args.split_whitespace())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .env_clear()
            .env("GLACIER_HOME", self.path("home"))
            .env("COLUMNS", "100");
        command
    }

    pub(crate) fn run(&self, args: &str) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs with `--json`, insists on the exit status, and reads the one object.
    pub(crate) fn json(&self, args: &str, status: i32) -> serde_json::Value {
        let output = self.run(&format!("--json {args}"));
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "glacier {args}\n{stdout}\n{stderr}");
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("glacier {args}: {error}\n{stdout}\n{stderr}"))
    }

    /// What a person sees of these commands, one after the other, with what changes from run to run
    /// taken out.
    pub(crate) fn transcript(&self, lines: &[&str]) -> String {
        let mut text = String::new();
        for args in lines {
            let output = self.run(args);
            writeln!(text, "$ glacier {args}").unwrap();
            text.push_str(&String::from_utf8(output.stdout).unwrap());
            for line in String::from_utf8(output.stderr).unwrap().lines() {
                writeln!(text, "stderr: {line}").unwrap();
            }
            writeln!(text, "exit {}\n", output.status.code().unwrap()).unwrap();
        }
        self.redact(&text)
    }

    /// Takes out keys, digests, folders and addresses of this run.
    pub(crate) fn redact(&self, text: &str) -> String {
        let text = text
            .replace(self.folder.path().to_str().unwrap(), "[HERE]")
            .replace(env!("CARGO_PKG_VERSION"), "[VERSION]");
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some(start) = rest.find(|c: char| c.is_ascii_alphanumeric()) {
            let (before, tail) = rest.split_at(start);
            let end = tail.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(tail.len());
            let (word, tail) = tail.split_at(end);
            out.push_str(before);
            out.push_str(&redact_word(word));
            rest = tail;
        }
        out.push_str(rest);
        out
    }
}

/// A node in a process of its own, ended with the test.
pub(crate) struct Node {
    pub(crate) child: Child,
    pub(crate) facts: Value,
    pub(crate) party: Party,
}

impl Node {
    pub(crate) fn start() -> Self {
        Self::of(Party::new(), "")
    }

    /// With more on the command line.
    pub(crate) fn of(party: Party, more: &str) -> Self {
        need_programs();
        let run = format!("--json node run --listen 127.0.0.1:0 --write-policy policy.toml {more}");
        let command = party.command(&run);
        let (child, facts) = begun(command);
        Self { child, facts, party }
    }

    pub(crate) fn url(&self) -> &str {
        self.facts["address"].as_str().unwrap()
    }

    /// Where, and what is accepted there: the end of every command line that talks to it.
    pub(crate) fn door(&self) -> String {
        format!("--node {} --policy {}", self.url(), self.party.path("policy.toml").display())
    }
}

/// Starts a command that goes on, and reads the one object that it says first.
pub(crate) fn begun(mut command: Command) -> (Child, Value) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    // It ends with the line that closes it.
    let mut text = String::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        text.push_str(&line);
        if line == "}" {
            break;
        }
    }
    (child, serde_json::from_str(&text).unwrap())
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

/// A classifier, and the folder with its data.
pub(crate) fn model_and_data() -> (&'static Path, &'static Path) {
    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/breast-cancer/");
    (Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/breast-cancer/model.onnx")), Path::new(FOLDER))
}

pub(crate) fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_else(|| panic!("{member} in {value}"))
}

fn redact_word(word: &str) -> String {
    let hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match word.strip_prefix("0x").unwrap_or(word) {
        digits if digits.len() == 40 && hex(digits) => "[ADDRESS]".to_owned(),
        digits if digits.len() >= 32 && hex(digits) => "[HEX]".to_owned(),
        _ if word.starts_with("age1") && word.len() == 62 => "[RECIPIENT]".to_owned(),
        _ => word.to_owned(),
    }
}
