//! `glacier app`: what it writes builds, runs, and is measured, attested and proven as it stands.

mod support;

use std::process::Command;
use support::{Node, Party, need_programs, programs, text};

#[test]
fn a_starter_is_built_run_and_called_with_proof_without_edits() {
    need_programs();
    let party = Party::new();
    let written = party.json("app new starter-of-a-test", 0);
    assert_eq!(written["name"], "starter-of-a-test");
    // Nothing is written over.
    assert_eq!(party.json("app new starter-of-a-test", 2)["error"]["code"], "file-write");

    let target = programs().parent().unwrap();
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--offline", "--quiet"])
        .current_dir(party.path("starter-of-a-test"))
        .env("CARGO_TARGET_DIR", target)
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let program = programs().join("starter-of-a-test");
    let measured = party.json(&format!("measure {}", program.display()), 0);

    let node = Node::of(party, &format!("--no-chain --enclave {}", program.display()));
    assert_eq!(text(&node.facts, "measurement"), text(&measured, "measurement"));
    let door = node.door();
    for count in 1..3 {
        let called = node.party.json(&format!("app call {door} /hello {{\"name\":\"Ada\"}}"), 0);
        assert_eq!(called["answer"], serde_json::json!({"text": "Hello, Ada", "greeted": count}));
        assert_eq!((&called["proof"]["units"], &called["platform"]), (&1.into(), &"simulated".into()));
    }
    assert_eq!(node.party.json(&format!("app call {door} /hello {{\"name\":\"\"}}"), 1)["error"]["code"], "app");
    assert_eq!(node.party.json(&format!("app call {door} /nothing"), 1)["error"]["code"], "not-found");
    assert_eq!(node.party.json(&format!("app call {door} /hello {{"), 2)["error"]["code"], "usage");
}

#[test]
fn names_that_are_none_write_nothing() {
    let party = Party::new();
    for name in ["Hello", "2nd", "a/b"] {
        assert_eq!(party.json(&format!("app new {name}"), 2)["error"]["code"], "usage");
    }
    let written: Vec<_> = std::fs::read_dir(party.folder.path()).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(written.iter().all(|path| path.ends_with("home")), "{written:?}");
}
