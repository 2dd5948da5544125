//! What people see, word for word. `SNAPSHOTS=overwrite cargo test --release -p glacier-cli` renews the files.

mod support;

use snapbox::{assert_data_eq, file};
use std::fs;
use support::Party;

#[test]
fn help() {
    let party = Party::new();
    let pages = [
        "--help",
        "seal --help",
        "key --help",
        "job --help",
        "job propose --help",
        "verify --help",
        "verify evidence --help",
        "node run --help",
        "demo --help",
        "measure --help",
        "chain --help",
        "chain deposit --help",
        "chain bond --help",
        "infer --help",
    ];
    assert_data_eq!(party.transcript(&pages), file!["golden/help.txt"]);
}

#[test]
fn misuse() {
    let party = Party::new();
    fs::write(party.path("x"), "x").unwrap();
    let lines = [
        "sael x",
        "seal",
        "seal x --otput y",
        "--json seal",
        "--key ../up key show",
        "job propose --memory 5parsec",
        "verify evidence --evidence x",
        "verify evidence --evidence x --at yesterday",
        "verify evidence --evidence x --at 2026-01-15T00:00:00Z --expect-report-data 00",
    ];
    assert_data_eq!(party.transcript(&lines), file!["golden/misuse.txt"]);
}

#[test]
fn doctor() {
    let party = Party::new();
    let file = |path: &str, text: &str| {
        let path = party.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    for machine in ["laptop", "guest"] {
        file(&format!("{machine}/proc/sys/kernel/osrelease"), "6.12.4\n");
        file(&format!("{machine}/proc/sys/kernel/seccomp/actions_avail"), "errno log allow\n");
        file(&format!("{machine}/sys/kernel/security/lsm"), "landlock,yama");
        file(&format!("{machine}/proc/self/limits"), "Max locked memory  8388608  8388608  bytes\n");
    }
    file("laptop/proc/cpuinfo", "flags : fpu sgx\n");
    file("guest/proc/cpuinfo", "flags : fpu hypervisor tdx_guest\n");
    file("guest/proc/mounts", "none /sys/kernel/config configfs rw 0 0\n");
    file("guest/sys/kernel/config/tsm/report/entry/provider", "tdx_guest\n");
    let lines = [
        "node doctor --root laptop",
        "node doctor --root guest",
        "--json node doctor --root guest",
        "node doctor --root nowhere",
    ];
    assert_data_eq!(party.transcript(&lines), file!["golden/doctor.txt"]);
}

#[test]
fn keys() {
    let party = Party::new();
    let lines = [
        "key list",
        "key show",
        "key new",
        "key new",
        "key new lab",
        "key list",
        "key show lab",
        "--json key show lab",
        "--json key show nobody",
    ];
    assert_data_eq!(party.transcript(&lines), file!["golden/keys.txt"]);
}

#[test]
fn seal_and_open() {
    let party = Party::new();
    fs::write(party.path("data.csv"), "a,b\n1,2\n").unwrap();
    fs::write(party.path("short.age"), "age-encryption.org/v1\n").unwrap();
    let lines = [
        "seal data.csv",
        "key new",
        "key new other",
        "seal data.csv",
        "seal data.csv",
        "seal nothing.csv",
        "open data.csv.age",
        "open data.csv.age -o again.csv",
        "--key other open data.csv.age -o stolen.csv",
        "open data.csv",
        "open data.csv -o plain.csv",
        "open short.age",
        "--json seal data.csv -o second.age",
    ];
    assert_data_eq!(party.transcript(&lines), file!["golden/seal.txt"]);
    assert_eq!(fs::read(party.path("again.csv")).unwrap(), b"a,b\n1,2\n");
    assert!(!party.path("stolen.csv").exists());
}

#[test]
fn documents_that_are_none() {
    let party = Party::new();
    fs::write(party.path("bad.toml"), "mesurements = []\n").unwrap();
    fs::write(party.path("worse.toml"), "measurements = 7\n").unwrap();
    fs::write(party.path("job.json"), "{}").unwrap();
    fs::write(party.path("x"), "x").unwrap();
    let lines = [
        "key new",
        "job sign job.json",
        "job sign nothing.json",
        "verify proof x",
        "verify proof x --policy bad.toml",
        "verify proof x --policy worse.toml",
        "verify proof x --policy nothing.toml",
        "verify evidence --evidence x --at 2026-01-15T00:00:00Z",
        "--json verify evidence --evidence x --at 2026-01-15T00:00:00Z",
        "verify evidence --evidence x --at 2026-01-15T00:00:00Z --collateral x",
        "verify evidence --evidence x --at 2026-01-15T00:00:00Z --trust-root x",
        "measure nothing",
    ];
    assert_data_eq!(party.transcript(&lines), file!["golden/documents.txt"]);
}

#[test]
fn completions_are_for_every_shell() {
    let party = Party::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = party.run(&format!("completions {shell}"));
        assert_eq!(output.status.code(), Some(0));
        let script = String::from_utf8(output.stdout).unwrap();
        for word in ["glacier", "propose", "trust-root"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

/// A terminal is asked for nothing here: no colour, no bar, on pipes.
#[test]
fn pipes_get_plain_text() {
    let party = Party::new();
    fs::write(party.path("x"), "x").unwrap();
    for args in ["key new", "seal x", "key list", "open nothing.age"] {
        let output = party.run(args);
        assert!(!output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b), "{args}");
    }
}
