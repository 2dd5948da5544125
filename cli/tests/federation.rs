//! Two sites and an aggregator, each party in a process with a key store of its own, on commands as people type
//! them. *SIMULATED* platform.

mod support;

use serde_json::Value;
use std::{fs, process::Stdio};
use support::{Node, Party, text};

/// Rows with two columns and a class that follows from them; `shift` makes the sites' rows differ.
fn table(shift: f64) -> String {
    let rows = (0..60).map(|row| {
        let (a, b) = (f64::from(row % 12) / 6.0 - 1.0, f64::from(row % 7) / 3.5 - 1.0 + shift);
        format!("{a:.3},{b:.3},{}\n", u8::from(a + b > 0.1))
    });
    format!("a,b,class\n{}", rows.collect::<String>())
}

#[test]
fn two_sites_and_an_aggregator_end_with_one_model_and_one_proof() {
    let (aggregator, north_node, south_node) = (Node::start(), Node::start(), Node::start());
    let (firm, north, south) = (Party::new(), Party::new(), Party::new());
    for party in [&firm, &north, &south] {
        party.json("key new", 0);
    }
    // The firm's initial model is one that it has trained on rows of its own.
    fs::write(firm.path("own.csv"), table(0.3)).unwrap();
    let own = format!("train --data own.csv --target class --epochs 1 --output initial.onnx {}", aggregator.door());
    firm.json(&own, 0);
    firm.json("seal initial.onnx -o model.age", 0);
    for (site, node, shift) in [(&north, &north_node, -0.2), (&south, &south_node, 0.2)] {
        fs::write(site.path("rows.csv"), table(shift)).unwrap();
        site.json("seal rows.csv -o rows.age", 0);
        let seated = site.json(&format!("federation seat --data rows.age -o site.json {}", node.door()), 0);
        assert_eq!(text(&seated, "platform"), "simulated");
    }
    fs::copy(north.path("site.json"), firm.path("north.json")).unwrap();
    fs::copy(south.path("site.json"), firm.path("south.json")).unwrap();

    let propose = format!(
        "federation propose --model model.age --site north.json south.json --rounds 2 --epochs 2 --target class --validation 0.2 {}",
        aggregator.door()
    );
    let proposed = firm.json(&propose, 0);
    assert_eq!((&proposed["work"], &proposed["federation"]["rounds"]), (&"federation".into(), &2.into()));
    // A job that not everybody has signed is not led.
    firm.json(&format!("federation lead job.json --asset model.age -o model.onnx {}", aggregator.door()), 2);
    firm.json("job sign job.json", 0);
    for (from, to) in [(&firm, &north), (&north, &south)] {
        fs::copy(from.path("job.json"), to.path("job.json")).unwrap();
        to.json("job sign job.json", 0);
    }
    for to in [&firm, &north] {
        fs::copy(south.path("job.json"), to.path("job.json")).unwrap();
    }

    let parts = [(&north, &north_node), (&south, &south_node)].map(|(site, node)| {
        let policy = aggregator.party.path("policy.toml");
        let take_part = format!(
            "--json federation take-part job.json --asset rows.age --proofs proofs --aggregator {} --aggregator-policy {} {}",
            aggregator.url(),
            policy.display(),
            node.door()
        );
        site.command(&take_part).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    });
    let lead = "federation lead job.json --asset model.age -o model.onnx --proof proof.cbor";
    let led = firm.json(&format!("{lead} {}", aggregator.door()), 0);
    assert_eq!(text(&led, "platform"), "simulated");
    let rounds = led["record"]["rounds"].as_array().unwrap();
    assert!(rounds.iter().all(|round| round["updates"].as_array().unwrap().len() == 2), "{rounds:?}");
    for part in parts {
        let output = part.wait_with_output().unwrap();
        let taken: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{taken}");
        assert_eq!(taken["rounds"].as_array().unwrap().len(), 2);
    }

    let policy = aggregator.party.path("policy.toml");
    let verified = firm.json(&format!("verify proof proof.cbor --policy {}", policy.display()), 0);
    assert_eq!(text(&verified, "verdict"), "accepted");
    let verified = north.json(
        &format!("verify proof proofs/round-1.cbor --policy {}", north_node.party.path("policy.toml").display()),
        0,
    );
    assert_eq!(text(&verified, "verdict"), "accepted");
    // The model is one like any other.
    let infer = format!("infer --model model.onnx --input own.csv --output out.csv {}", aggregator.door());
    firm.json(&infer, 0);
}
