//! A node that executes itself anew while its enclave, its registration and its sessions go on.

mod support;

use serde_json::Value;
use std::{fs, process::Child};
use support::{Node, Party, begun, model_and_data};

fn status(node: &Node) -> Value {
    Party::new().json(&format!("node status --node {}", node.url()), 0)
}

/// Has the node begin anew, and says what came of it.
fn reload(node: &Node) -> Value {
    node.party.json("node reload", 0)
}

/// A model that is served, until it is dropped.
struct Served {
    child: Child,
    deployment: String,
}

impl Served {
    fn begin(party: &Party, node: &Node) -> Self {
        let (model, _) = model_and_data();
        let serve = format!("--json serve --model {} {}", model.display(), node.door());
        let (child, said) = begun(party.command(&serve));
        Self { child, deployment: said["deployment"].as_str().unwrap().to_owned() }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn registration_deployment_and_log_outlive_the_program() {
    let node = Node::start();
    let (party, (_, data)) = (Party::new(), model_and_data());
    party.json("key new", 0);
    let served = Served::begin(&party, &node);
    let infer = |output: &str| {
        let input = data.join("data.csv");
        let ask = format!("infer --model {} --input {}", served.deployment, input.display());
        party.json(&format!("{ask} --output {output} {}", node.door()), 0)
    };
    infer("before.csv");
    let registered = node.party.json("chain register", 0);
    let before = status(&node);

    for run in 1..=2 {
        let reloaded = reload(&node);
        assert_eq!(reloaded["enclave_kept"], true, "{reloaded}");
        assert_eq!(reloaded["pid"], node.child.id(), "the process is the same for whoever supervises it");
        let after = status(&node);
        assert_eq!(after["enclave"], before["enclave"]);
        assert_eq!(after["restarts"], 0);
        infer(&format!("after{run}.csv"));
        assert_eq!(
            fs::read(party.path("before.csv")).unwrap(),
            fs::read(party.path(&format!("after{run}.csv"))).unwrap()
        );
        // The chain knows the key, and was not asked to take it again.
        let again = node.party.json("chain register", 0);
        for same in ["enclave_key", "live_until"] {
            assert_eq!(again[same], registered[same], "{same}");
        }
    }
    assert_eq!(status(&node)["proofs"].as_u64(), before["proofs"].as_u64().map(|proofs| proofs + 2));
    // What was proved before and after is one log under one key.
    let settled = node.party.json("chain checkpoint", 0);
    assert_eq!(settled["settled"].as_u64(), status(&node)["proofs"].as_u64(), "{settled}");
}

#[test]
fn settings_that_are_none_do_not_end_a_node() {
    let party = Party::new();
    let home = party.path("home/node");
    let write = |more: &str| {
        fs::write(party.path("node.toml"), format!("home = {home:?}\nlisten = \"127.0.0.1:0\"\n{more}")).unwrap();
    };
    write("[chain]\nenabled = false\n");
    let file = party.path("node.toml");
    let node = Node::of(party, &format!("--config {}", file.display()));
    let before = status(&node);
    fs::write(&file, "home = 7").unwrap();
    let refused = node.party.json("node reload", 1);
    assert_eq!(refused["error"]["code"], "node-reload");
    assert_eq!(status(&node)["enclave"], before["enclave"]);
    // Mended, and with another setting, it begins anew.
    fs::write(
        &file,
        format!("home = {home:?}\nlisten = \"127.0.0.1:0\"\nmax_store_bytes = 4096\n[chain]\nenabled = false\n"),
    )
    .unwrap();
    assert_eq!(reload(&node)["enclave_kept"], true);
    assert_eq!(status(&node)["store_max_bytes"], 4096);
    let nobody = Party::new().json("node reload", 2);
    assert_eq!(nobody["error"]["code"], "node-not-running");
}
