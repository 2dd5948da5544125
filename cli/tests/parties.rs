//! Three parties in three processes with three key stores, and a node that none of them trusts: each
//! command typed as the README shows it. *SIMULATED* platform.

mod support;

use serde_json::Value;
use std::{fs, io::Read, process::Command};
use support::{Node, Party, model_and_data, text};

/// Keys, sealed assets and a job that all three have signed, as `job.json` in each folder.
fn signed_job(node: &Node, hospital: &Party, firm: &Party, payer: &Party) -> String {
    let (model, folder) = model_and_data();
    for party in [hospital, firm, payer] {
        party.json("key new", 0);
    }
    fs::copy(folder.join("data.csv"), hospital.path("data.csv")).unwrap();
    fs::copy(model, firm.path("model.onnx")).unwrap();
    let data = hospital.json("seal data.csv", 0);
    let model = firm.json("seal model.onnx", 0);
    let (hospital_key, firm_key) = (hospital.json("key show", 0), firm.json("key show", 0));

    // The payer proposes: it has neither file, and knows both by digest.
    let proposed = payer.json(
        &format!(
            "job propose --data {} --model {} --data-provider {} --model-provider {} --recipient {} --payer {} --memory 512MiB --expires 1h {}",
            text(&data, "digest"),
            text(&model, "digest"),
            text(&hospital_key, "address"),
            text(&firm_key, "address"),
            text(&hospital_key, "recipient"),
            text(&payer.json("key show", 0), "address"),
            node.door(),
        ),
        0,
    );
    assert_eq!(proposed["measurement"], node.facts["measurement"]);
    assert_eq!(proposed["enclave_id"], node.facts["enclave_id"]);

    // The file goes from hand to hand.
    payer.json("job sign job.json", 0);
    fs::copy(payer.path("job.json"), hospital.path("job.json")).unwrap();
    hospital.json("job sign job.json", 0);
    fs::copy(hospital.path("job.json"), firm.path("job.json")).unwrap();
    let signed = firm.json("job sign job.json", 0);
    assert_eq!(signed["waiting_for"], Value::Array(Vec::new()));
    for party in [hospital, payer] {
        fs::copy(firm.path("job.json"), party.path("job.json")).unwrap();
    }
    text(&signed, "job").to_owned()
}

#[test]
fn three_parties_end_with_labels_and_a_proof() {
    let node = Node::start();
    let (hospital, firm, payer) = (Party::new(), Party::new(), Party::new());
    let job = signed_job(&node, &hospital, &firm, &payer);

    let joined = firm.json(&format!("job join job.json --role model --asset model.onnx.age {}", node.door()), 0);
    assert_eq!((text(&joined, "platform"), &joined["status"]["phase"]), ("simulated", &"waiting".into()));
    // Not all are there: there is no result yet, and that is a no.
    let early = hospital.json(&format!("job result job.json -o labels.csv {}", node.door()), 1);
    assert_eq!(early["error"]["code"], "not-ready");
    let joined =
        hospital.json(&format!("job join job.json --role data --asset data.csv.age --wait {}", node.door()), 0);
    assert_eq!(joined["status"]["phase"], "done");

    // Each party may ask how far it is; a stranger may not, and the result is the hospital's alone.
    for party in [&hospital, &firm, &payer] {
        assert_eq!(party.json(&format!("job status job.json {}", node.door()), 0)["phase"], "done");
    }
    let refused = firm.json(&format!("job result job.json -o stolen.csv {}", node.door()), 1);
    assert_eq!(refused["error"]["code"], "not-yours");

    let result = hospital.json(&format!("job result job.json -o labels.csv --proof proof.cbor {}", node.door()), 0);
    assert_eq!((&result["rows"], text(&result, "job")), (&569.into(), job.as_str()));
    assert_eq!(result["proven"]["verdict"], "accepted");
    let labels = fs::read_to_string(hospital.path("labels.csv")).unwrap();
    let known = fs::read_to_string(model_and_data().1.join("labels.csv")).unwrap();
    let first = |line: &str| line.split(',').next().unwrap().to_owned();
    let right = labels.lines().zip(known.lines()).skip(1).filter(|(said, known)| first(said) == first(known)).count();
    assert!(right >= 555, "{right} of 569 right");

    // Anyone verifies the proof offline; under the strict default it is refused, because it is simulated.
    let policy = node.party.path("policy.toml");
    let proof = hospital.path("proof.cbor");
    let verified = payer.json(&format!("verify proof {} --policy {}", proof.display(), policy.display()), 0);
    assert_eq!(
        (text(&verified["proof"], "manifest"), &verified["proof"]["platform"]),
        (job.as_str(), &"simulated".into())
    );
    assert_eq!(payer.json(&format!("verify proof {}", proof.display()), 1)["verdict"], "rejected");
}

#[test]
fn what_must_be_refused_is_refused_by_name() {
    let node = Node::start();
    let (hospital, firm, payer) = (Party::new(), Party::new(), Party::new());
    signed_job(&node, &hospital, &firm, &payer);
    let join = |party: &Party, more: &str, status| {
        let answer = party.json(&format!("job join job.json {more} {}", node.door()), status);
        answer["error"]["code"].as_str().unwrap_or_default().to_owned()
    };

    // The wrong role, the wrong file, a key store that has not sealed it.
    assert_eq!(join(&firm, "--role data --asset model.onnx.age", 2), "asset-digest");
    fs::copy(hospital.path("data.csv.age"), firm.path("data.csv.age")).unwrap();
    assert_eq!(join(&firm, "--role data --asset data.csv.age", 2), "asset-unknown");

    // A policy that expects other code: nothing is sent.
    let policy = fs::read_to_string(node.party.path("policy.toml")).unwrap();
    let measurement = text(&node.facts, "measurement");
    fs::write(firm.path("other.toml"), policy.replace(measurement, &"5a".repeat(32))).unwrap();
    let refused = firm.json(
        &format!("job join job.json --role model --asset model.onnx.age --node {} --policy other.toml", node.url()),
        1,
    );
    assert_eq!(refused["error"]["code"], "evidence-rejected");
    let failed: Vec<_> =
        refused["error"]["checks"].as_array().unwrap().iter().filter(|check| check["outcome"] == "fail").collect();
    assert_eq!((failed.len(), &failed[0]["id"]), (1, &"policy-code".into()));

    // A second grant for the same job.
    assert_eq!(join(&firm, "--role model --asset model.onnx.age", 0), "");
    assert_eq!(join(&firm, "--role model --asset model.onnx.age", 1), "grant-replayed");

    // A job that was changed after it was signed.
    let changed = fs::read_to_string(hospital.path("job.json")).unwrap().replace("\"price\": 0", "\"price\": 1");
    fs::write(hospital.path("job.json"), changed).unwrap();
    assert_eq!(join(&hospital, "--role data --asset data.csv.age", 2), "job-invalid");
}

#[test]
fn a_served_model_answers_others() {
    let node = Node::start();
    let (firm, hospital) = (Party::new(), Party::new());
    firm.json("key new", 0);
    hospital.json("key new", 0);
    let (model, folder) = model_and_data();
    let served = firm.json(&format!("serve --model {} --for 10m {}", model.display(), node.door()), 0);
    let ask = |more: &str, status| {
        hospital.json(&format!("infer --model {} {more} {}", text(&served, "deployment"), node.door()), status)
    };
    let rows = folder.join("data.csv");
    let answer = ask(&format!("--input {} --output labels.json --proof answer.cbor", rows.display()), 0);
    // Others need the file and nothing else.
    let policy = node.party.path("policy.toml");
    let file = hospital.path("answer.cbor");
    let judged = firm.json(&format!("verify proof {} --policy {}", file.display(), policy.display()), 0);
    assert_eq!((&judged["verdict"], &judged["proof"]), (&"accepted".into(), &answer["proof"]));
    // What is there stays there: nothing is asked, and no run is spent.
    assert_eq!(ask(&format!("--input {} --proof answer.cbor", rows.display()), 2)["error"]["code"], "exists");
    assert_eq!((&answer["rows"], &answer["proof"]["work"]), (&569.into(), &"deployment".into()));
    assert_eq!(answer["labels"].as_array().unwrap().len(), 569);
    assert!(hospital.path("labels.json").exists());
    fs::write(hospital.path("short.csv"), "a,b\n1,2\n").unwrap();
    assert_eq!(ask("--input short.csv", 2)["error"]["code"], "input");
}

#[test]
fn one_owner_of_both_needs_one_command() {
    let node = Node::start();
    let owner = Party::new();
    owner.json("key new", 0);
    let (model, folder) = model_and_data();
    let answer = owner.json(
        &format!(
            "infer --model {} --input {} --output labels.npz --proof proof.cbor {}",
            model.display(),
            folder.join("data.csv").display(),
            node.door()
        ),
        0,
    );
    assert_eq!((&answer["rows"], &answer["proven"]["verdict"]), (&569.into(), &"accepted".into()));
    let policy = node.party.path("policy.toml");
    owner.json(&format!("verify proof proof.cbor --policy {}", policy.display()), 0);
}

#[test]
fn a_node_is_looked_at_without_a_key() {
    let node = Node::start();
    let stranger = Party::new();
    // Simulated: refused by default, and what it shows is said all the same.
    let looked = stranger.json(&format!("verify node {}", node.url()), 1);
    assert_eq!((text(&looked, "verdict"), text(&looked["shown"], "platform")), ("rejected", "simulated"));
    assert_eq!(looked["shown"]["measurement"], node.facts["measurement"]);
    fs::write(stranger.path("policy.toml"), text(&looked["shown"], "policy")).unwrap();
    assert_eq!(stranger.json(&format!("verify node {} --policy policy.toml", node.url()), 0)["verdict"], "accepted");
    let measured = stranger.json(&format!("measure {}", support::programs().join("glacier-enclave").display()), 0);
    assert_eq!(measured["measurement"], node.facts["measurement"]);
    assert_eq!(stranger.json(&format!("node status --node {}", node.url()), 0)["state"], "up");
    assert!(!stranger.path("home/keys").exists());
}

#[test]
fn ctrl_c_ends_a_node_and_its_enclave() {
    let mut node = Node::start();
    let enclave = node.facts["pid"].as_u64().unwrap();
    Command::new("kill").args(["-INT", &node.child.id().to_string()]).status().unwrap();
    assert!(node.child.wait().unwrap().success());
    let mut state = String::new();
    if let Ok(mut file) = fs::File::open(format!("/proc/{enclave}/stat")) {
        file.read_to_string(&mut state).unwrap();
    }
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
}
