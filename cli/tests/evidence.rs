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
fn recorded_domains_have_their_known_status_and_registers() {
    let Some(folder) = vectors("tdx") else { return };
    let party = Party::new();
    let manifest: Value = serde_json::from_slice(&fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let mut cases = 0;
    for entry in manifest["entries"].as_array().unwrap() {
        let quote = folder.join(entry["file"].as_str().unwrap());
        for case in entry["cases"].as_array().into_iter().flatten() {
            let collateral = folder.join(case["collateral"].as_str().unwrap());
            let time = at(case["eval_time"].as_i64().unwrap());
            let given = format!("--collateral {} --at {time}", collateral.display());
            if case["expected"]["dcap_qvl_error"] == "No matching TCB level found" {
                assert_eq!(failed(&verify(&party, &quote, &given, 1)), ["tcb-level"]);
                continue;
            }
            let answer = verify(&party, &quote, &given, 0);
            assert_eq!(answer["platform"], "tdx");
            if case["expected"]["verdict"] == "reject" {
                assert_eq!(answer["exposures"], serde_json::json!(["sept-ve-disable-clear"]));
                continue;
            }
            assert_eq!(answer["tcb_status"], case["expected"]["tcb_status"], "{}", quote.display());
            assert_eq!(answer["measurement"]["mrtd"], entry["mrtd"]);
            for index in 0..4 {
                assert_eq!(answer["measurement"][format!("rtmr{index}")], entry["rtmr"][index]);
            }
            assert_eq!(answer["hardware_id"], entry["ppid"]);
            assert_eq!(answer["report_data"], entry["report_data"]);
            assert_eq!(answer["debug"], entry["debug"]);
            cases += 1;
        }
    }
    assert!(cases >= 28, "{cases} cases");
}

#[test]
fn recorded_guests_need_nothing_but_their_key() {
    let Some(folder) = vectors("snp") else { return };
    let party = Party::new();
    let manifest: Value = serde_json::from_slice(&fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    for entry in manifest["entries"].as_array().unwrap() {
        let report = folder.join(entry["file"].as_str().unwrap());
        let time = at(entry["eval_time"].as_i64().unwrap());
        let vek = folder.join(entry["vek"].as_str().unwrap());
        let answer = verify(&party, &report, &format!("--vek {} --at {time}", vek.display()), 0);
        assert_eq!((&answer["platform"], &answer["verdict"]), (&"snp".into(), &"accepted".into()));
        assert_eq!(answer["measurement"], entry["measurement"]);
        assert_eq!(answer["debug"], entry["policy_debug"]);
        if entry["signer"] == "VLEK" {
            assert_eq!((&answer["hardware_id"], &answer["enclave_id"]), (&Value::Null, &Value::Null));
        } else {
            assert_eq!(answer["hardware_id"], entry["chip_id"]);
        }
        let without = verify(&party, &report, &format!("--at {time}"), 2);
        assert_eq!((&without["verdict"], &without["genuine"]), (&"undetermined".into(), &false.into()));
        assert_eq!(without["measurement"], entry["measurement"]);
    }
}

#[test]
fn a_recorded_gpu_needs_both_manifests_and_the_asked_nonce() {
    let Some(folder) = vectors("nvidia/h100-nvtrust-550.90.07") else { return };
    let party = Party::new();
    let file = |name: &str| folder.join(name).display().to_string();
    let report = folder.join("report.bin");
    let bare = format!("--gpu-chain {} --at 2025-10-24T12:00:00Z", file("chain.pem"));
    let undetermined = verify(&party, &report, &bare, 2);
    assert_eq!(undetermined["gpu"]["driver"], "550.90.07");
    let whole = format!("{bare} --rim {} {}", file("driver-rim.xml"), file("vbios-rim.xml"));
    let nonce = "931d8dd0add203ac3d8b4fbde75e115278eefcdceac5b87671a748f32364dfcb";
    let answer = verify(&party, &report, &format!("{whole} --nonce {nonce}"), 0);
    assert_eq!((&answer["platform"], &answer["report_data"]), (&"nvidia".into(), &nonce.into()));
    assert_eq!(answer["hardware_id"], "41431d480fe5e87274");
    assert_eq!(answer["gpu"]["vbios"], "96.00.9F.00.01");
    let other = verify(&party, &report, &format!("{whole} --nonce {}", "00".repeat(32)), 1);
    assert_eq!(failed(&other), ["report-data"]);
    // Not even undetermined: another nonce was answered, whoever signed that.
    verify(&party, &report, &format!("{bare} --nonce {}", "00".repeat(32)), 1);

    let answers =
        ["driver-rim-l3", "driver-rim-l4", "rim-l2", "vbios-l4"].map(|name| file(&format!("ocsp-{name}.der")));
    let asked = verify(&party, &report, &format!("{whole} --ocsp {}", answers.join(" ")), 0);
    let revocation = |id: &str| {
        let checks = asked["checks"].as_array().unwrap();
        checks.iter().find(|check| check["id"] == id).unwrap()["outcome"].clone()
    };
    assert_eq!((revocation("rim-revocation"), revocation("device-revocation")), ("pass".into(), "skip".into()));

    // Nobody asked about the device's certificates, and a policy that does not allow that refuses.
    fs::write(party.path("policy.toml"), "platforms = [\"nvidia\"]\n").unwrap();
    let judged = verify(&party, &report, &format!("{whole} --policy policy.toml"), 1);
    assert_eq!(failed(&judged), ["policy-gpu"]);
    let relaxed = "platforms = [\"nvidia\"]\n[gpu]\nmin_driver = \"550\"\nallow_unchecked_revocation = true\n";
    fs::write(party.path("policy.toml"), relaxed).unwrap();
    verify(&party, &report, &format!("{whole} --policy policy.toml"), 0);
}

#[test]
fn a_manifest_is_judged_on_its_own() {
    let Some(folder) = vectors("nvidia/rims") else { return };
    let party = Party::new();
    let ask = |name: &str, time: &str, status| {
        party.json(&format!("verify rim {} --at {time}", folder.join(name).display()), status)
    };
    let driver = ask("NV_GPU_DRIVER_GH100_550.144.03.xml", "2025-06-15T00:00:00Z", 0);
    assert_eq!((&driver["kind"], &driver["version"]), (&"driver".into(), &"550.144.03".into()));
    assert_eq!(failed(&ask("NV_GPU_DRIVER_GH100_550.144.03.xml", "2027-06-15T00:00:00Z", 1)), ["rim-current"]);
    assert_eq!(failed(&ask("incorrect_signature_driver_rim.xml", "2025-06-15T00:00:00Z", 1)), ["rim-signature"]);
    fs::write(party.path("rim.xml"), "<!DOCTYPE x><x/>").unwrap();
    let hostile = party.json("verify rim rim.xml --at 2025-06-15T00:00:00Z", 1);
    assert_eq!(failed(&hostile), ["rim-structure"]);
}

#[test]
fn what_cannot_be_evidence_is_rejected_and_misuse_is_told() {
    let party = Party::new();
    fs::write(party.path("noise"), [7; 999]).unwrap();
    let answer = verify(&party, Path::new("noise"), "--at 2026-01-01T00:00:00Z", 1);
    assert_eq!(failed(&answer), ["format"]);
    assert_eq!(answer["checks"].as_array().unwrap().len(), 1);
    let misuse = party.json("verify evidence --evidence noise --at 2026-01-01T00:00:00Z --nonce 00", 2);
    assert_eq!(misuse["error"]["code"], "usage");
}

fn failed(answer: &Value) -> Vec<&str> {
    let checks = answer["checks"].as_array().unwrap().iter();
    checks.filter(|check| check["outcome"] == "fail").map(|check| check["id"].as_str().unwrap()).collect()
}
