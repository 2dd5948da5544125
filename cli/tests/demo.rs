//! The demo, as a newcomer and as a program sees it.

mod support;

use serde_json::Value;
use snapbox::{assert_data_eq, file};
use support::Party;

#[test]
fn the_demo_shows_what_it_claims() {
    support::need_programs();
    let party = Party::new();
    let facts = party.json("demo --dir kept", 0);
    assert_eq!(facts["simulated"], true);
    assert_eq!(facts["rows"], 569);
    assert!(facts["accuracy_held_out"]["right"].as_u64().unwrap() >= 135, "{facts}");
    assert_eq!(facts["accuracy_held_out"]["of"], 143);
    assert_eq!(facts["proof"]["verdict"], "accepted");
    assert_eq!(facts["other_code_refused_at"], "policy-code");
    assert_eq!(facts["altered_proof_refused_at"], "proof-signature");
    let host = &facts["host"];
    assert!(host["private_pieces"].as_u64().unwrap() > 100_000);
    assert_eq!(host["private_found"], 0);
    assert_eq!(host["ciphertext_found"], host["ciphertext_pieces"]);
    // What was kept is enough to go on with.
    party.json("verify proof kept/proof.cbor --policy kept/policy.toml", 0);
    // Never over what is there.
    assert_eq!(party.json("demo --dir kept", 2)["error"]["code"], "file-write");
}

#[test]
fn the_story_is_told_in_words() {
    support::need_programs();
    let party = Party::new();
    let story = party.transcript(&["demo"]);
    assert!(story.contains("SIMULATED"));
    assert_data_eq!(steady(&story), file!["golden/demo.txt"]);
}

/// Takes out what changes from run to run: sizes of TLS traffic, ports, seconds.
fn steady(story: &str) -> String {
    let mut out = String::new();
    for line in story.lines() {
        let line = match () {
            () if line.contains("http://127.0.0.1:") => "   node           http://127.0.0.1:[PORT]".to_owned(),
            () if line.starts_with("All of it took") => "All of it took [SECONDS] s.".to_owned(),
            () if line.trim_start().starts_with("relayed") || line.contains("connections") => {
                "   relayed        [TRAFFIC]".to_owned()
            }
            () if line.contains("searched all") => {
                line.split("searched all").next().unwrap().to_owned() + "searched all [SIZE] that it stored"
            }
            // One more or less, by the random bytes of the ciphertext; that all are found is the other test's.
            () if line.contains("the same search for the ciphertext") => {
                line.split("works:").next().unwrap().to_owned() + "works: [NUMBER] of [NUMBER] pieces"
            }
            // A signature's zero bytes cost less than others.
            () if line.contains(" gas") || line.ends_with(char::is_numeric) => short_names(&without_gas(line)),
            () => short_names(line),
        };
        out.push_str(&line);
        out.push('\n');
    }
    out
}

/// `0123456789abcdef…` is the beginning of a name of this run.
fn short_names(line: &str) -> String {
    let words = line.split_inclusive(' ').map(|word| {
        let name = word.trim_end().trim_end_matches(['.', ',']);
        match name.strip_suffix('…') {
            Some(digits) if digits.len() == 16 => word.replace(name, "[NAME]"),
            _ if name.starts_with("20") && name.ends_with('Z') => word.replace(name, "[TIME]"),
            _ => word.to_owned(),
        }
    });
    words.collect()
}

/// A program that asks for an object gets one, even where the demo cannot begin.
#[test]
fn the_object_is_there_when_the_folder_is_not() {
    let facts: Value = Party::new().json("demo --dir no/such/folder", 2);
    assert_eq!(facts["error"]["code"], "file-write");
}

/// Takes out amounts of five and six digits, which gas has.
fn without_gas(line: &str) -> String {
    let amount = |word: &str| {
        let digits = word.trim_end_matches(['.', ',']);
        digits.len() >= 6 && digits.contains(',') && digits.chars().all(|c| c.is_ascii_digit() || c == ',')
    };
    line.split(' ').map(|word| if amount(word) { "[GAS]" } else { word }).collect::<Vec<_>>().join(" ")
}
