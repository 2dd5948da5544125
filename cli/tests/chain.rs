//! `glacier verify proof --chain` and `glacier verifier`, over a SIMULATED network with the real contracts.

mod support;

#[path = "../../net/chain/tests/deployed/mod.rs"]
mod deployed;

use deployed::{CODE, Enclave, History, NOW, Network, Show};
use glacier::policy::simulated_policy;
use glacier_chain::{Service, serve};
use glacier_proof::{Bundle, SignedProof};
use glacier_simulator::Body;
use glacier_wire::{Claims, Evidence, Purpose, UnixTime, cbor};
use std::fs;
use support::Party;

/// 1,800,000,000 seconds after 1970.
const AT: &str = "2027-01-15T08:00:00Z";

struct Scene {
    network: Network,
    party: Party,
    enclave: Enclave,
    history: History,
    service: Service,
}

impl Scene {
    async fn new() -> Self {
        let (network, party) = (Network::new().await, Party::new());
        let enclave = network.register(3).await;
        let history = enclave.work(4, 1);
        network.operator.settle(&enclave.head(&history.log, 4)).await.unwrap();
        let embedded = network.chain.as_embedded().unwrap().clone();
        let service = serve(embedded, "127.0.0.1:0".parse().unwrap(), vec![]).await.unwrap();
        fs::write(party.path("network.json"), serde_json::to_vec(&network.deployment).unwrap()).unwrap();
        let policy = simulated_policy(&network.vendor.root_fingerprint(), &CODE, &network.chip.enclave_id());
        fs::write(party.path("policy.toml"), policy).unwrap();
        let scene = Self { network, party, enclave, history, service };
        scene.write("proof", scene.history.proofs[2].clone());
        scene
    }

    /// A proof with evidence of the same chip and code.
    fn write(&self, name: &str, proof: SignedProof) {
        let claims = Claims {
            purpose: Purpose::Channel,
            channel_key: [6; 32],
            enclave_key: proof.proof.enclave_key,
            issued_at: UnixTime(NOW),
            nonce: None,
            devices: None,
        };
        let quote = self.network.chip.quote(&Body::new(CODE, claims.report_data())).unwrap();
        let evidence = Evidence::new(quote, claims.encode(), self.network.collateral.clone());
        let bundle =
            Bundle { proof, evidence, manifest: None, logged: None, settled: None, training: None, federation: None };
        fs::write(self.party.path(name), cbor::encode(&bundle)).unwrap();
    }

    /// Runs beside the services of this test.
    async fn json(&self, args: String, status: i32) -> serde_json::Value {
        tokio::task::block_in_place(|| self.party.json(&args, status))
    }

    fn chain(&self) -> String {
        format!("--chain network.json --rpc http://{} --policy policy.toml", self.service.address())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_is_led_to_the_vendors_root_on_the_chain_and_its_file_is_enough_afterwards() {
    let scene = Scene::new().await;
    let (node, _) = deployed::node(Show { history: scene.history.clone(), ..Show::default() }).await;
    let asked = format!("verify proof proof --at {AT} {} --node {}", scene.chain(), node.name());

    let found = scene.json(format!("{asked} --keep kept"), 0).await;
    assert_eq!((&found["verdict"], &found["chain"]["verdict"]), (&"accepted".into(), &"accepted".into()));
    assert_eq!(found["chain"]["realm"], "simulated");
    assert_eq!(found["chain"]["checks"].as_array().unwrap().len(), 6);
    assert!(found.get("settlement").is_none(), "the file says nothing of it yet");

    let offline = scene.json(format!("verify proof kept --at {AT} --policy policy.toml"), 0).await;
    assert_eq!(offline["settlement"]["verdict"], "accepted");
    assert!(offline.get("chain").is_none());

    // Nobody shows the path: it cannot be told. Another network: it is refused.
    scene.json(format!("verify proof proof --at {AT} {}", scene.chain()), 2).await;
    scene.write("stranger", scene.network.enclave(4).work(1, 1).proofs[0].clone());
    let refused = scene.json(format!("verify proof stranger --at {AT} {}", scene.chain()), 1).await;
    assert_eq!(refused["chain"]["checks"][2]["outcome"], "fail");
    let offline = scene.json(format!("verify proof stranger --at {AT} --policy policy.toml"), 0).await;
    assert_eq!(offline["verdict"], "accepted", "without a chain nobody asked whether it is registered");

    let text = tokio::task::block_in_place(|| scene.party.run(&asked));
    let text = String::from_utf8(text.stdout).unwrap();
    for word in ["SIMULATED", "chain-settled", "chain-quote", "paid to"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watchman_tells_nothing_of_an_honest_network_and_a_fork_by_its_exit_status() {
    let scene = Scene::new().await;
    let (node, shown) = deployed::node(Show { history: scene.history.clone(), ..Show::default() }).await;
    let asked = format!("verifier --once {} --node {}", scene.chain(), node.name());
    let round = scene.json(asked.clone(), 0).await;
    assert_eq!((&round["keys"], &round["findings"]), (&1.into(), &serde_json::json!([])));

    let other = scene.enclave.work(4, 2);
    let checkpoint = Some(scene.enclave.head(&other.log, 4));
    *shown.lock().unwrap() = Show { history: other, checkpoint, ..Show::default() };
    let round = scene.json(asked.clone(), 1).await;
    let kinds: Vec<_> = round["findings"].as_array().unwrap().iter().map(|finding| &finding["finding"]).collect();
    assert_eq!(kinds, ["other-log", "fork"]);

    shown.lock().unwrap().history = History::default();
    // What was found stays found: the two heads are remembered.
    scene.json(asked.clone(), 1).await;
    let refused = scene.json(asked.replace("network.json", "policy.toml"), 2).await;
    assert_eq!(refused["error"]["code"], "file-format");
}
