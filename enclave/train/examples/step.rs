//! Times a step of training: forward, loss, backward, optimiser.
//!
//! `bench/training/pytorch.py --export DIRECTORY` writes the models; the same script times the same steps in PyTorch.
//!
//! ```text
//! cargo run --release -p glacier-train --example step -- DIRECTORY [THREADS [SCALE [MODEL]]]
//! ```
//!
//! Prints milliseconds of a step: the median and the least by the clock, and the mean of processor time over all
//! threads.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a program for developers, which stops at the first surprise"
)]

use std::time::Instant;

use glacier_train::kernel::{self, AdamStep, SgdStep, Team};
use glacier_train::{Mode, Network, Settings, Tensor, Value};

struct Model {
    name: &'static str,
    shape: &'static [usize],
    classes: usize,
    adam: bool,
    steps: usize,
}

const MODELS: [Model; 3] = [
    Model { name: "mlp", shape: &[64, 784], classes: 10, adam: false, steps: 400 },
    Model { name: "cnn", shape: &[64, 1, 28, 28], classes: 10, adam: false, steps: 60 },
    Model { name: "transformer", shape: &[8, 128, 384], classes: 2, adam: true, steps: 12 },
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let directory = arguments.first().map_or(".", String::as_str);
    let threads = arguments.get(1).map_or(1, |threads| threads.parse().unwrap());
    let scale: f64 = arguments.get(2).map_or(1.0, |scale| scale.parse().unwrap());
    for model in MODELS {
        if arguments.get(3).is_none_or(|name| name == model.name) {
            measure(directory, &model, threads, scale);
        }
    }
}

fn measure(directory: &str, model: &Model, threads: usize, scale: f64) {
    let bytes = std::fs::read(format!("{directory}/{}.onnx", model.name)).unwrap();
    let settings = Settings { threads, ..Settings::default() };
    let (mut network, mut weights) = Network::with(&bytes, &settings).unwrap();
    let team = network.team().clone();
    let count: usize = model.shape.iter().product();
    let x: Vec<f32> = (0..count).map(|i| ((i * 7919 % 2001) as f32 - 1000.0) / 1000.0).collect();
    let inputs = [Value::Float(Tensor::new(model.shape.to_vec(), x).unwrap())];
    let labels: Vec<usize> = (0..model.shape[0]).map(|i| i * 31 % model.classes).collect();
    let mut gradient = vec![0.0; weights.values().len()];
    let [mut first, mut second] = [(); 2].map(|()| vec![0.0; gradient.len()]);
    let steps = 3.max((model.steps as f64 * scale) as usize);
    let mut times = Vec::with_capacity(steps);
    let mut processor = 0.0;
    let mut loss = 0.0;
    team.install(|| {
        for step in 0..steps + WARM {
            if step == WARM {
                processor = processor_ms();
            }
            let start = Instant::now();
            gradient.fill(0.0);
            let mode = Mode::Train { dropout: [0; 32] };
            let outputs = network.forward(&mut weights, &inputs, mode).unwrap();
            let seed;
            (loss, seed) = cross_entropy(&team, outputs[0].float().unwrap(), &labels);
            network.backward(&weights, vec![Some(seed)], &mut gradient).unwrap();
            let values = weights.values_mut();
            if model.adam {
                let step = AdamStep {
                    step: step as u64 + 1,
                    rate: 1e-4,
                    beta1: 0.9,
                    beta2: 0.999,
                    epsilon: 1e-8,
                    weight_decay: 0.01,
                    decoupled: true,
                };
                kernel::adam_step(&team, &step, &gradient, &mut first, &mut second, values);
            } else {
                let step = SgdStep { rate: 0.1, momentum: 0.0, nesterov: false, weight_decay: 0.0 };
                kernel::sgd_step(&team, &step, &gradient, &mut first, values);
            }
            if step >= WARM {
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
        }
    });
    let processor = (processor_ms() - processor) / steps as f64;
    times.sort_by(f64::total_cmp);
    println!(
        "glacier {} threads={threads} median_ms={:.3} least_ms={:.3} cpu_ms={processor:.3} loss={loss:.6}",
        model.name,
        times[steps / 2],
        times[0],
    );
}

/// Steps that are not counted.
const WARM: usize = 3;

/// The mean cross entropy of a batch and its gradient.
fn cross_entropy(team: &Team, logits: &Tensor, labels: &[usize]) -> (f64, Tensor) {
    let width = logits.shape[1];
    let mut data = vec![0.0; logits.data.len()];
    kernel::log_softmax(team, width, &logits.data, &mut data);
    let mut loss = 0.0;
    for (row, &label) in data.chunks_exact_mut(width).zip(labels) {
        loss -= f64::from(row[label]);
        row.iter_mut().for_each(|value| *value = value.exp() / labels.len() as f32);
        row[label] -= 1.0 / labels.len() as f32;
    }
    (loss / labels.len() as f64, Tensor::new(logits.shape.clone(), data).unwrap())
}

/// Processor time of all threads so far, in milliseconds; 0 where the system does not tell.
fn processor_ms() -> f64 {
    let of = |task: std::fs::DirEntry| -> Option<f64> {
        let line = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1e6)
    };
    std::fs::read_dir("/proc/self/task").map_or(0.0, |tasks| tasks.flatten().filter_map(of).sum())
}
