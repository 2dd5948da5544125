//! What the proxy costs: the same rows to the same deployment, straight over a session and through the proxy, in turn.
//! Build the programs first (`cargo xtask build`); SIMULATED hardware.

use glacier::{Options, serve, wire::Tensor};
use glacier_proxy::{Config, ModelName, start};
use glacier_testkit::{Rig, breast_cancer};
use std::time::{Duration, Instant};

const ROUNDS: usize = 300;
const WARM: usize = 20;

#[tokio::main(flavor = "multi_thread")]
async fn main() {
    let rig = Rig::start().await;
    let key = rig.party("firm");
    let options = Options { units: 1 << 50, ..Options::default() };
    let served = serve(&rig.node(), rig.policy(), &key, &breast_cancer::model(), &options, &mut |_| ()).await;
    let deployment = served.expect("the model serves").name;
    let config = Config {
        listen: "127.0.0.1:0".parse().expect("an address"),
        models: vec![ModelName { name: "cancer".to_owned(), deployment }],
        ..Config::default()
    };
    let key_of_proxy = rig.party("firm");
    let proxy = start(rig.node(), rig.policy().clone(), key_of_proxy, config).await.expect("the proxy starts");
    let url = format!("http://{}/v2/models/cancer/infer", proxy.address());
    let (session, http) = (rig.session(&key).await, reqwest::Client::new());
    println!("rows  direct ms  proxy ms  ratio (medians of {ROUNDS}, in turn)");
    for rows in [1usize, 569, 20_000] {
        let values: Vec<f32> = (0..rows * 30).map(|at| (at % 7) as f32).collect();
        let tensor = Tensor::from_f32("features", vec![rows as u64, 30], &values).expect("a tensor");
        let head = serde_json::json!({
            "inputs": [{"name": "features", "shape": [rows, 30], "datatype": "FP32",
                        "parameters": {"binary_data_size": tensor.data.len()}}],
            "parameters": {"binary_data_output": true},
        });
        let mut body = head.to_string().into_bytes();
        let length = body.len();
        body.extend(&tensor.data);
        let inputs = [tensor];
        let (mut direct, mut through) = (Vec::new(), Vec::new());
        for round in 0..WARM + ROUNDS {
            let since = Instant::now();
            session.infer(&deployment, &inputs).await.expect("an answer");
            let one = since.elapsed();
            let since = Instant::now();
            let request = http.post(&url).header("inference-header-content-length", length).body(body.clone());
            let response = request.send().await.expect("an answer");
            assert_eq!(response.status(), 200);
            response.bytes().await.expect("the whole answer");
            let other = since.elapsed();
            if round >= WARM {
                direct.push(one);
                through.push(other);
            }
        }
        let (direct, through) = (median(direct), median(through));
        println!("{rows:<5} {direct:>9.3} {through:>9.3} {:>6.2}", through / direct);
    }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}
