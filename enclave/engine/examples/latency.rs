//! What the worker adds to a small model: `infer` over the socket pair against the same run in-process.
//!
//! `latency [MODEL COLUMNS]`; the bundled tabular model without arguments.

use glacier_engine::{Client, Limits, Model, Rten, worker};
use glacier_wire::Tensor;
use std::time::Instant;
use zeroize::Zeroizing;

const RUNS: usize = 5000;

fn median(mut micros: Vec<f64>) -> f64 {
    micros.sort_by(f64::total_cmp);
    micros[micros.len() / 2]
}

fn main() {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/breast-cancer/model.onnx");
    let model = std::env::args().nth(1).unwrap_or(model.to_owned());
    let columns: usize = std::env::args().nth(2).map_or(30, |text| text.parse().expect("a number"));
    let model = std::fs::read(model).expect("the model");
    let limits = Limits { units: u64::MAX, threads: 1, window: 1, memory: 1 << 30 };
    let input = Tensor::from_f32("", vec![1, columns as u64], &vec![1.0; columns]).expect("a tensor");

    let mut inside = Model::load(&Rten, model.clone(), &limits).expect("a model that runs");
    let mut plain = Vec::new();
    inside.enter(&mut |inside| {
        for _ in 0..RUNS {
            let (input, start) = (input.clone(), Instant::now());
            inside.run(vec![input], u64::MAX, u64::MAX).expect("a run");
            plain.push(start.elapsed().as_secs_f64() * 1e6);
        }
    });

    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let through = runtime.block_on(async {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
        ours.set_nonblocking(true).expect("a socket");
        std::thread::spawn(move || worker::work(theirs));
        let mut client = Client::new(tokio::net::UnixStream::from_std(ours).expect("a socket"));
        let (sender, mut chunks) = tokio::sync::mpsc::channel(1);
        let len = model.len() as u64;
        sender.send(Zeroizing::new(model)).await.expect("room");
        client.load(len, &mut chunks, limits).await.expect("a model that runs");
        let task = tokio::spawn(async move {
            let mut through = Vec::new();
            for _ in 0..RUNS {
                let start = Instant::now();
                client.infer(std::slice::from_ref(&input)).await.expect("a run");
                through.push(start.elapsed().as_secs_f64() * 1e6);
            }
            through
        });
        task.await.expect("no panic")
    });
    let (plain, through) = (median(plain), median(through));
    println!("in-process {plain:.1} us, through the worker {through:.1} us, added {:.1} us", through - plain);
}
