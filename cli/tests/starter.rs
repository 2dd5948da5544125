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
fn a_component_is_run_and_asked_by_the_line_that_is_printed() {
    need_programs();
    const COHORT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/wasm/cohort.wasm");
    let node = Node::of(Party::new(), "--no-chain");
    let (party, door) = (&node.party, node.door());
    let table = support::model_and_data().1.join("data.csv");
    party.json("key new default", 0);
    let run = party.run(&format!("app run {COHORT} --runs 2 {door}"));
    let said = String::from_utf8(run.stderr).unwrap();
    assert!(run.status.success(), "{said}");
    let printed = said.split('`').nth(1).and_then(|line| line.strip_prefix("glacier ")).expect("what others run");
    let file = |path: &std::path::Path| path.display().to_string();
    let line = printed.replace("--policy P ", &format!("--policy {} ", file(&party.path("policy.toml"))));
    let line = line.replace("--input FILE", &format!("--input {}", file(&table)));
    assert!(line != printed);

    // Nothing goes to code that nobody has named, nor to another than was named.
    let code = text(&party.json(&format!("measure {COHORT}"), 0), "code").to_owned();
    assert!(line.contains(&code), "{line}");
    let without = line.replace(&format!("--code {code} "), "");
    assert_eq!(party.json(&without, 2)["error"]["code"], "usage");
    let other = line.replace(&code, &"00".repeat(32));
    assert_eq!(party.json(&other, 1)["error"]["code"], "other-code");
    // Nor is a run spent on an answer that has no place to go.
    assert_eq!(party.json(&format!("{line} --output policy.toml"), 2)["error"]["code"], "exists");

    let answer = party.json(&format!("{line} --path /mean_area --proof answer.cbor"), 0);
    assert_eq!(answer["proven"]["verdict"], "accepted");
    let summary: serde_json::Value = serde_json::from_str(text(&answer, "answer")).unwrap();
    assert_eq!((&summary["rows"], text(&answer, "code")), (&569.into(), code.as_str()));
    assert_eq!(answer["proof"]["work"], "app");
    let refused = party.json(&format!("{without} --any-code --path /no-such-column --proof refusal.cbor"), 1);
    for proof in ["answer.cbor", "refusal.cbor"] {
        assert_eq!(party.json(&format!("verify proof {proof} --policy policy.toml"), 0)["proof"]["work"], "app");
    }
    assert_eq!(refused["error"]["code"], "app");
    assert!(text(&refused["error"], "message").contains("no such column"), "{refused}");
    assert_eq!(party.json(&line, 1)["error"]["code"], "grant-exhausted");
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
