//! The questions of a page, answered about a simulated enclave: one way to be wrong after the other.

use glacier_proof::{Checkpoint, Log, SignedCheckpoint, SignedProof, WorkProof};
use glacier_simulator::{Attributes, Body, Chip, Hardware, Recipe, Seed, Vendor};
use glacier_wire::{
    Address, Claims, Commitment, Digest, Evidence, Identity, ManifestHash, Measurement, PlatformKind, ProofHash,
    Purpose, Settlement, UnixTime, Work, cbor,
};
use serde_json::{Value, json};
use std::sync::LazyLock;

const NOW: u64 = 1_800_000_000;
const CODE: Measurement = Measurement([7; 32]);
const SECRET: [u8; 32] = [11; 32];

struct Scene {
    root: String,
    chip: Chip,
    collateral: Vec<u8>,
}

static SCENE: LazyLock<Scene> = LazyLock::new(|| {
    let vendor = Vendor::generate(UnixTime(NOW)).unwrap();
    let chip = vendor.chip(Hardware::new(Seed::new([1; 32])), UnixTime(NOW)).unwrap();
    let collateral = vendor.collateral(chip.hardware(), &Recipe::new(UnixTime(NOW))).unwrap().to_json().into_bytes();
    Scene { root: vendor.root_fingerprint().to_string(), chip, collateral }
});

fn key() -> Address {
    Identity::from_secret(&SECRET).unwrap().address()
}

fn evidence(purpose: Purpose) -> Evidence {
    let claims = Claims {
        purpose,
        channel_key: [1; 32],
        enclave_key: key(),
        issued_at: UnixTime(NOW),
        nonce: None,
        devices: None,
    };
    let quote = SCENE.chip.quote(&Body::new(CODE, claims.report_data())).unwrap();
    Evidence::new(quote, claims.encode(), SCENE.collateral.clone())
}

fn page(evidence: &Evidence) -> String {
    json!({ "enclave_key": key(), "current": true, "evidence": evidence }).to_string()
}

fn ask(question: &Value) -> Value {
    serde_json::from_slice(&glacier_web::answer(question.to_string().as_bytes())).unwrap()
}

fn asked(evidence: &Evidence, at: u64) -> Value {
    ask(&json!({ "ask": "evidence", "page": page(evidence), "at": at }))
}

fn outcome<'a>(answer: &'a Value, id: &str) -> &'a str {
    let checks = answer["checks"].as_array().unwrap();
    checks.iter().find(|check| check["id"] == id).and_then(|check| check["outcome"].as_str()).unwrap()
}

fn proof(sequence: u64, previous: ProofHash) -> SignedProof {
    let proof = WorkProof {
        enclave_id: SCENE.chip.enclave_id(),
        enclave_key: key(),
        measurement: CODE,
        platform: PlatformKind::Simulated,
        work: Work::Inference,
        manifest: ManifestHash([5; 32]),
        model: Digest([6; 32]),
        input: Commitment([7; 32]),
        output: Commitment([8; 32]),
        units: u64::MAX,
        sequence,
        previous,
        settlement: Settlement { chain_id: 1, ledger: Address([9; 20]), payer: Address::ZERO, price: 0 },
    };
    proof.sign(&SECRET).unwrap()
}

fn history(length: u64) -> (Vec<SignedProof>, Log) {
    let (mut proofs, mut log, mut previous) = (Vec::new(), Log::new(), ProofHash::ZERO);
    for sequence in 0..length {
        let signed = proof(sequence, previous);
        previous = signed.proof.hash();
        log.append(&previous);
        proofs.push(signed);
    }
    (proofs, log)
}

fn head(log: &Log, secret: &[u8; 32]) -> SignedCheckpoint {
    let head = log.head();
    let checkpoint = Checkpoint {
        enclave_id: SCENE.chip.enclave_id(),
        enclave_key: key(),
        size: head.size,
        root: head.root,
        units: 3,
        chain_id: 1,
        ledger: Address([9; 20]),
    };
    checkpoint.sign(secret).unwrap()
}

fn head_page(checkpoint: Option<&SignedCheckpoint>) -> String {
    json!({ "size": 9, "root": ProofHash::ZERO, "checkpoint": checkpoint }).to_string()
}

fn proof_question(signed: &SignedProof) -> Value {
    json!({ "ask": "proof", "proof": hex::encode(cbor::encode(signed)), "evidence": page(&evidence(Purpose::Channel)),
        "simulated_root": SCENE.root, "head": null, "inclusion": null, "at": NOW })
}

#[test]
fn sound_evidence_under_a_root_of_nobody_is_accepted_as_simulated_and_never_as_hardware() {
    let answer = asked(&evidence(Purpose::Channel), NOW);
    assert_eq!((&answer["verdict"], &answer["verdict_of_hardware"]), (&json!("accepted"), &json!("rejected")));
    assert_eq!((&answer["simulated_root"], &answer["said"]["platform"]), (&json!(SCENE.root), &json!("simulated")));
    assert_eq!(answer["said"]["measurement"], json!(CODE));
    assert_eq!(answer["claims"]["enclave_key"], json!(key()));
    assert_eq!(outcome(&answer, "report-data"), "pass");
}

#[test]
fn altered_evidence_is_rejected_and_says_nothing_that_is_believed() {
    let mut altered = evidence(Purpose::Channel);
    altered.quote[112] ^= 1;
    let answer = asked(&altered, NOW);
    assert_eq!((&answer["verdict"], &answer["said"]), (&json!("rejected"), &Value::Null));
    assert_eq!((outcome(&answer, "quote-signature"), outcome(&answer, "report-data")), ("fail", "skip"));
}

#[test]
fn other_claims_another_purpose_another_time_and_no_collateral_are_not_accepted() {
    let mut swapped = evidence(Purpose::Channel);
    swapped.claims = evidence(Purpose::App).claims;
    let answer = asked(&swapped, NOW);
    assert_eq!((&answer["verdict"], outcome(&answer, "report-data")), (&json!("rejected"), "fail"));
    let answer = asked(&evidence(Purpose::App), NOW);
    assert_eq!((&answer["verdict"], outcome(&answer, "evidence-purpose")), (&json!("rejected"), "fail"));
    assert_eq!(asked(&evidence(Purpose::Channel), NOW + 40 * 365 * 86_400)["verdict"], json!("rejected"));
    let bare = Evidence { collateral: Vec::new(), ..evidence(Purpose::Channel) };
    assert_eq!(asked(&bare, NOW)["verdict"], json!("undetermined"));
}

#[test]
fn a_proof_is_judged_with_its_enclave_and_without_its_parties_manifest() {
    let (proofs, _) = history(1);
    let answer = ask(&proof_question(&proofs[0]));
    assert_eq!((&answer["verdict"], &answer["units"]), (&json!("accepted"), &json!(u64::MAX.to_string())));
    assert_eq!((outcome(&answer, "evidence"), outcome(&answer, "manifest-binding")), ("pass", "skip"));
    assert_eq!(outcome(&answer, "log-inclusion"), "skip");
}

#[test]
fn a_proof_without_evidence_is_undetermined_and_under_a_root_that_nobody_admitted_rejected() {
    let (proofs, _) = history(1);
    let mut question = proof_question(&proofs[0]);
    question["evidence"] = Value::Null;
    let answer = ask(&question);
    assert_eq!((&answer["verdict"], outcome(&answer, "proof-signature")), (&json!("undetermined"), "pass"));
    let mut question = proof_question(&proofs[0]);
    question["simulated_root"] = Value::Null;
    assert_eq!(ask(&question)["verdict"], json!("rejected"));
}

#[test]
fn debug_is_told_and_not_judged() {
    let told = |debug: bool| {
        let mut claims = Claims::decode(&evidence(Purpose::Channel).claims).unwrap();
        claims.enclave_key = key();
        let body = Body::new(CODE, claims.report_data());
        let attributes = if debug { Attributes::DEBUG } else { Attributes::PRODUCTION };
        let body = Body { attributes, ..body };
        let evidence = Evidence::new(SCENE.chip.quote(&body).unwrap(), claims.encode(), SCENE.collateral.clone());
        let answer = asked(&evidence, NOW);
        assert_eq!(answer["verdict"], json!("accepted"));
        (answer["said"]["debug"].clone(), answer["said"]["exposures"].as_array().unwrap().len())
    };
    assert_eq!((told(false), told(true)), ((json!(false), 0), (json!(true), 1)));
}

#[test]
fn a_proof_whose_evidence_has_expired_since_is_undetermined_and_what_else_fails_still_rejects_it() {
    let (proofs, _) = history(1);
    let later = NOW + 40 * 86_400;
    let aged = |signed: &SignedProof| {
        let mut question = proof_question(signed);
        question["at"] = json!(later);
        question
    };
    let answer = ask(&aged(&proofs[0]));
    assert_eq!((&answer["verdict"], outcome(&answer, "evidence")), (&json!("undetermined"), "skip"), "{answer}");
    let until = answer["genuine_until"].as_u64().unwrap();
    assert!((NOW + 1..later).contains(&until));
    assert_eq!(outcome(&answer, "measurement"), "pass");
    let mut fresh = aged(&proofs[0]);
    fresh["at"] = json!(until);
    let fresh = ask(&fresh);
    assert_eq!((&fresh["verdict"], &fresh["genuine_until"]), (&json!("accepted"), &Value::Null));

    let mut altered = proofs[0].clone();
    altered.proof.units = 1;
    let mut other_code = proofs[0].clone();
    other_code.proof.measurement = Measurement([8; 32]);
    for wrong in [altered, other_code.proof.sign(&SECRET).unwrap()] {
        let answer = ask(&aged(&wrong));
        assert_eq!((&answer["verdict"], &answer["genuine_until"]), (&json!("rejected"), &Value::Null));
    }
    let mut elsewhere = aged(&proofs[0]);
    elsewhere["simulated_root"] = Value::Null;
    assert_eq!(ask(&elsewhere)["verdict"], json!("rejected"));
}

#[test]
fn an_altered_proof_is_rejected() {
    let (mut proofs, _) = history(1);
    proofs[0].proof.units = 1;
    let answer = ask(&proof_question(&proofs[0]));
    assert_eq!((&answer["verdict"], outcome(&answer, "proof-signature")), (&json!("rejected"), "fail"));
}

#[test]
fn a_proof_stands_in_its_log_or_is_rejected() {
    let (proofs, log) = history(5);
    let mut question = proof_question(&proofs[3]);
    question["head"] = json!(head_page(Some(&head(&log, &SECRET))));
    question["inclusion"] = json!(json!({ "path": log.inclusion(3, 5).unwrap() }).to_string());
    let answer = ask(&question);
    assert_eq!((&answer["verdict"], outcome(&answer, "log-inclusion")), (&json!("accepted"), "pass"));
    question["inclusion"] = json!(json!({ "path": log.inclusion(2, 5).unwrap() }).to_string());
    assert_eq!(ask(&question)["verdict"], json!("rejected"));
    question["head"] = json!(head_page(Some(&head(&log, &[12; 32]))));
    assert_eq!(outcome(&ask(&question), "checkpoint-signature"), "fail");
}

#[test]
fn a_log_continues_what_was_seen_of_it_or_is_rejected() {
    let (_, log) = history(5);
    let before = history(3).1.head();
    let path = json!({ "path": log.consistency(3, 5).unwrap() }).to_string();
    let question = json!({ "ask": "log", "key": key(), "head": head_page(Some(&head(&log, &SECRET))), "before": before, "consistency": path });
    let with = |member: &str, value: Value| {
        let mut question = question.clone();
        question[member] = value;
        ask(&question)
    };
    let answer = ask(&question);
    assert_eq!((&answer["verdict"], &answer["head"]["size"]), (&json!("accepted"), &json!(5)));
    assert_eq!(outcome(&with("before", Value::Null), "log-consistency"), "skip");
    for fork in [
        with("before", json!({ "size": 3, "root": "ab".repeat(32) })),
        with("before", json!({ "size": 6, "root": "ab".repeat(32) })),
        with("consistency", Value::Null),
        with("head", json!(head_page(Some(&head(&log, &[12; 32]))))),
        with("head", json!(head_page(None))),
        with("key", json!(Address([1; 20]))),
    ] {
        assert_eq!((&fork["verdict"], &fork["head"]), (&json!("rejected"), &Value::Null), "{fork}");
    }
    let first =
        ask(&json!({ "ask": "log", "key": key(), "head": head_page(None), "before": null, "consistency": null }));
    assert_eq!(first["verdict"], json!("undetermined"));
}

#[test]
fn what_cannot_be_read_is_an_error_and_no_verdict() {
    for question in [
        json!(7),
        json!({ "ask": "oracle" }),
        json!({ "ask": "evidence", "page": "{}", "at": 0 }),
        json!({ "ask": "evidence", "page": page(&Evidence::new(vec![], vec![1], vec![])), "at": 0 }),
        json!({ "ask": "evidence", "page": page(&evidence(Purpose::Channel)), "at": 0, "trust": "all" }),
        json!({ "ask": "log", "key": key(), "head": "[]", "before": null, "consistency": null }),
    ] {
        let answer = ask(&question);
        assert!(answer["error"].is_string() && answer["verdict"].is_null(), "{question} {answer}");
    }
    let long = vec![b' '; glacier_web::MAX_QUESTION + 1];
    assert!(glacier_web::answer(&long).starts_with(b"{\"error\""));
}
