//! Gradients against finite differences.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use glacier_train::{Mode, Network, SpanKind, Tensor, TrainError, Value, Weights};
use support::{Attr, FLOAT, Model, noise};

const TRAIN: Mode = Mode::Train { dropout: [7; 32] };

/// The sum of all float outputs, weighted with fixed noise, in double precision.
fn loss(network: &mut Network, weights: &mut Weights, inputs: &[Value]) -> (f64, Vec<Option<Tensor>>) {
    let outputs = network.forward(weights, inputs, TRAIN).unwrap();
    let mut sum = 0.0;
    let mut seeds = Vec::new();
    for (at, output) in outputs.iter().enumerate() {
        seeds.push(output.float().map(|tensor| {
            let factors = noise(1000 + at as u64, tensor.data.len());
            sum += tensor.data.iter().zip(&factors).map(|(x, f)| f64::from(*x) * f64::from(*f)).sum::<f64>();
            Tensor { shape: tensor.shape.clone(), data: factors }
        }));
    }
    (sum, seeds)
}

/// Compares the gradient of every parameter with a five-point difference quotient.
fn check(name: &str, model: &[u8], inputs: &[Value]) {
    for threads in [1, 2] {
        let settings = glacier_train::Settings { threads, ..Default::default() };
        let (mut network, weights) = Network::with(model, &settings).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut gradient = vec![0.25; weights.len()];
        let (_, seeds) = loss(&mut network, &mut weights.clone(), inputs);
        network.backward(&weights, seeds, &mut gradient).unwrap_or_else(|error| panic!("{name}: {error}"));
        for span in weights.spans().iter().filter(|span| span.kind == SpanKind::Parameter) {
            for at in span.range.clone() {
                const STEP: f32 = 1.0 / 256.0;
                let mut moved = |steps: f32| {
                    let mut weights = weights.clone();
                    weights.values_mut()[at] += steps * STEP;
                    loss(&mut network, &mut weights, inputs).0
                };
                let difference = 8.0 * (moved(1.0) - moved(-1.0)) - (moved(2.0) - moved(-2.0));
                let expected = difference / (12.0 * f64::from(STEP));
                // What was there must have been added to.
                let found = f64::from(gradient[at]) - 0.25;
                assert!(
                    (found - expected).abs() <= 2e-3 * expected.abs().max(1.0),
                    "{name}: element {} of {}: gradient {found}, differences say {expected}",
                    at - span.range.start,
                    span.name
                );
            }
        }
    }
}

#[test]
fn perceptron() {
    let model = Model::new()
        .input("x", FLOAT, &[-1, 5])
        .floats("w1", &[7, 5], &noise(1, 35))
        .floats("b1", &[7], &noise(2, 7))
        .floats("w2", &[7, 3], &noise(3, 21))
        .floats("b2", &[3], &noise(4, 3))
        .node("Gemm", &["x", "w1", "b1"], &["h"], &[("transB", Attr::Int(1))])
        .node("Relu", &["h"], &["r"], &[])
        .node("MatMul", &["r", "w2"], &["m"], &[])
        .node("Add", &["m", "b2"], &["l"], &[])
        .node("Softmax", &["l"], &["y"], &[])
        .output("y", FLOAT)
        .bytes(17);
    let x = Value::Float(Tensor { shape: vec![4, 5], data: noise(5, 20) });
    check("perceptron", &model, &[x]);
}

#[test]
fn an_operator_without_gradient_is_refused_by_name_and_node() {
    let model = Model::new()
        .input("x", FLOAT, &[-1, 5])
        .floats("w", &[5, 2], &noise(1, 10))
        .node("MatMul", &["x", "w"], &["m"], &[])
        .node("CumSum", &["m", "axis"], &["y"], &[])
        .ints("axis", &[], &[0])
        .output("y", FLOAT)
        .bytes(17);
    let error = Network::read(&model).unwrap_err();
    let known = matches!(error, TrainError::Operator { .. } | TrainError::Gradient { .. });
    assert!(known && error.to_string().contains("\"CumSum\"") && error.to_string().contains("\"node-y\""), "{error}");
}
