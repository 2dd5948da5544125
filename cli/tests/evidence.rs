//! `glacier verify evidence` over recorded evidence of real chips: each verdict, in the words that
//! the command line promises.

mod support;

use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};
use support::Party;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Recorded evidence lies outside the repository; there may be none.
fn vectors(kind: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors").join(kind);
    if !folder.exists() {
        println!("skipped: no vectors");
        return None;
    }
    Some(folder)
}

fn at(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap().format(&Rfc3339).unwrap()
}

fn verify(party: &Party, evidence: &Path, more: &str, status: i32) -> Value {
    party.json(&format!("verify evidence --evidence {} {more}", evidence.display()), status)
}

#[test]
fn recorded_sgx_quotes_have_their_known_status() {
    let Some(folder) = vectors("sgx") else { return };
    let party = Party::new();
    let manifest: Value = serde_json::from_slice(&fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let mut cases = 0;
    for entry in manifest["entries"].as_array().unwrap().iter().filter(|entry| entry["tee"] == "SGX") {
        let quote = folder.join(entry["file"].as_str().unwrap());
        for case in entry["cases"].as_array().into_iter().flatten() {
            let collateral = folder.join(case["collateral"].as_str().unwrap());
            let ask = |seconds: i64| format!("--collateral {} --at {}", collateral.display(), at(seconds));
            let answer = verify(&party, &quote, &ask(case["eval_time"].as_i64().unwrap()), 0);
            assert_eq!(answer["verdict"], "accepted");
            assert_eq!(answer["platform"], "sgx");
            assert_eq!(answer["tcb_status"], case["expected"]["tcb_status"], "{}", quote.display());
            assert_eq!(answer["measurement"], entry["mrenclave"]);
            assert_eq!(answer["hardware_id"], entry["ppid"]);
            assert_eq!(answer["report_data"], entry["report_data"]);
            assert_eq!(answer["debug"], entry["debug"]);
            let words = |list: &Value| {
                let mut words: Vec<_> =
                    list.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect();
                words.sort();
                words
            };
            assert_eq!(words(&answer["advisories"]), words(&case["expected"]["advisories"]));
            for outside in [case["valid_from"].as_i64().unwrap() - 1, case["valid_to"].as_i64().unwrap() + 1] {
                assert_eq!(verify(&party, &quote, &ask(outside), 1)["verdict"], "rejected");
            }
            cases += 1;
        }
    }
    assert!(cases >= 20, "{cases} cases");
}

#[test]
fn hex_is_read_like_bytes_and_collateral_is_needed() {
    let Some(folder) = vectors("sgx/sgx-606a-debug") else { return };
    let party = Party::new();
    let quote = fs::read(folder.join("quote.bin")).unwrap();
    fs::write(party.path("quote.hex"), format!("0x{}\n", hex::encode(&quote))).unwrap();
    let time = at(1_756_530_546);
    let collateral = folder.join("collateral-2025-08-15-eval17.json");
    let given = format!("--collateral {} --at {time}", collateral.display());
    let answer = verify(&party, &party.path("quote.hex"), &given, 0);
    assert_eq!(answer["debug"], true);
    let without = verify(&party, &party.path("quote.hex"), &format!("--at {time}"), 2);
    assert_eq!(without["verdict"], "undetermined");

    let data = answer["report_data"].as_str().unwrap().to_owned();
    verify(&party, &party.path("quote.hex"), &format!("{given} --expect-report-data {data}"), 0);
    let other =
        verify(&party, &party.path("quote.hex"), &format!("{given} --expect-report-data {}", "00".repeat(64)), 1);
    assert_eq!(failed(&other), ["report-data"]);

    // Genuine, and yet not accepted: a debug enclave, behind, under a policy that allows neither.
    fs::write(party.path("policy.toml"), format!("measurements = [{}]\n", answer["measurement"])).unwrap();
    let judged = verify(&party, &party.path("quote.hex"), &format!("{given} --policy policy.toml"), 1);
    assert_eq!(failed(&judged), ["policy-debug", "policy-tcb-status", "policy-advisories"]);
    assert_eq!(judged["tcb_status"], "OutOfDate");
}

#[test]
fn a_quote_with_one_changed_bit_is_rejected() {
    let Some(folder) = vectors("sgx/sgx-a067-cfgsw") else { return };
    let party = Party::new();
    let mut quote = fs::read(folder.join("quote.bin")).unwrap();
    quote[117] ^= 0x80;
    fs::write(party.path("quote.bin"), quote).unwrap();
    let collateral = folder.join("collateral-2025-06-19-eval17.json");
    let given = format!("--collateral {} --at {}", collateral.display(), at(1_751_624_924));
    assert_eq!(failed(&verify(&party, &party.path("quote.bin"), &given, 1)), ["quote-signature"]);
}

#[test]
fn a_simulated_quote_counts_only_under_its_own_root() {
    let Some(folder) = vectors("simulated/base") else { return };
    let party = Party::new();
    let (quote, time) = (folder.join("quote3.bin"), at(1_768_435_200));
    let given = format!("--collateral {} --at {time}", folder.join("collateral-sgx.json").display());
    assert_eq!(failed(&verify(&party, &quote, &given, 1))[0], "trust-anchor");
    let trusted = format!("{given} --trust-root {}", folder.join("root.der").display());
    let answer = verify(&party, &quote, &trusted, 0);
    assert_eq!((&answer["platform"], &answer["tcb_status"]), (&"simulated".into(), &"UpToDate".into()));
    assert_eq!(answer["trust_root"], answer["root"]);
}

#[test]
fn formats_that_are_not_read_yet_are_undetermined() {
    let Some(folder) = vectors("simulated/base") else { return };
    let party = Party::new();
    let answer = verify(&party, &folder.join("quote4.bin"), &format!("--at {}", at(1_768_435_200)), 2);
    assert_eq!((&answer["verdict"], &answer["platform"]), (&"undetermined".into(), &"tdx".into()));
}

fn failed(answer: &Value) -> Vec<&str> {
    let checks = answer["checks"].as_array().unwrap().iter();
    checks.filter(|check| check["outcome"] == "fail").map(|check| check["id"].as_str().unwrap()).collect()
}
