//! Whole graphs against PyTorch: outputs, gradients of all parameters, running statistics.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use glacier_train::{IntTensor, Mode, Network, Settings, SpanKind, Tensor, TrainError, Value};
use proptest::prelude::*;
use std::{collections::BTreeMap, path::Path};
use support::{Attr, FLOAT, INT64, Model, noise};

const TRAIN: Mode = Mode::Train { dropout: [7; 32] };
const NAMES: [&str; 4] = ["perceptron", "convolutions", "encoder", "encoder-14"];

fn file(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap()
}

/// Named arrays, as the script beside this file writes them.
fn arrays(name: &str) -> BTreeMap<String, Value> {
    let bytes = file(&format!("{name}.bin"));
    let mut rest = bytes.as_slice();
    let mut take = |count: usize| {
        let (taken, left) = rest.split_at(count);
        rest = left;
        (taken, left.is_empty())
    };
    let mut arrays = BTreeMap::new();
    loop {
        let mut number = || u32::from_le_bytes(take(4).0.try_into().unwrap()) as usize;
        let length = number();
        let name = String::from_utf8(take(length).0.to_vec()).unwrap();
        let kind = take(1).0[0];
        let mut number = || u32::from_le_bytes(take(4).0.try_into().unwrap()) as usize;
        let rank = number();
        let shape: Vec<usize> = (0..rank).map(|_| number()).collect();
        let count: usize = shape.iter().product();
        let (data, end) = take(count * if kind == 0 { 4 } else { 8 });
        let value = if kind == 0 {
            let data = data.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
            Value::Float(Tensor { shape, data: data.collect() })
        } else {
            let data = data.chunks_exact(8).map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap()));
            Value::Int(IntTensor { shape, data: data.collect() })
        };
        arrays.insert(name, value);
        if end {
            return arrays;
        }
    }
}

fn close(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1e-2f32, |most, value| most.max(value.abs()));
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= 2e-5 * scale, "{what}[{at}]: {found}, PyTorch {expected}");
    }
}

fn inputs(arrays: &BTreeMap<String, Value>) -> Vec<Value> {
    arrays.iter().filter(|(name, _)| name.starts_with("in")).map(|(_, value)| value.clone()).collect()
}

#[test]
fn a_step_is_the_step_of_pytorch() {
    for name in NAMES {
        let arrays = arrays(name);
        let float = |name: &str| arrays[name].float().unwrap().clone();
        let mut before = Vec::new();
        for threads in [1, 2, 3] {
            let settings = Settings { threads, ..Settings::default() };
            let (mut network, mut weights) = Network::with(&file(&format!("{name}.onnx")), &settings).unwrap();
            let frozen = weights.clone();
            let outputs = network.forward(&mut weights, &inputs(&arrays), TRAIN).unwrap();
            close(&format!("{name}: output"), &outputs[0].float().unwrap().data, &float("out").data);
            let mut gradient = vec![0.0; weights.len()];
            network.backward(&weights, vec![Some(float("seed"))], &mut gradient).unwrap();
            let mut compared = 0;
            for span in weights.spans() {
                let place = format!("{name}: {}", span.name);
                match span.kind {
                    SpanKind::Parameter => {
                        let expected = float(&format!("gradient:{}", span.name));
                        close(&place, &gradient[span.range.clone()], &expected.data);
                        assert_eq!(weights.slice(span), frozen.slice(span), "{place} was changed");
                    }
                    _ => {
                        close(&place, weights.slice(span), &float(&format!("statistic:{}", span.name)).data);
                        assert!(gradient[span.range.clone()].iter().all(|g| *g == 0.0));
                    }
                }
                compared += 1;
            }
            let written = arrays.keys().filter(|name| name.contains(':')).count();
            assert_eq!(compared, written, "{name}: every weight is compared");
            let bits: Vec<u32> = gradient.iter().map(|g| g.to_bits()).collect();
            if threads == 1 {
                before = bits;
            } else {
                assert_eq!(before, bits, "{name}: {threads} threads give other bits than one");
            }
        }
    }
}

#[test]
fn units_are_those_that_inference_counts() {
    for name in NAMES {
        let model = file(&format!("{name}.onnx"));
        let arrays = arrays(name);
        let (mut network, mut weights) = Network::read(&model).unwrap();
        network.forward(&mut weights, &inputs(&arrays), Mode::Evaluate).unwrap();
        let graph = glacier_engine::onnx::Graph::read(&model).unwrap();
        let dims: Vec<Vec<u64>> =
            inputs(&arrays).iter().map(|value| value.shape().iter().map(|extent| *extent as u64).collect()).collect();
        assert_eq!(network.macs(), glacier_engine::meter::Plan::new(&graph, &dims).unwrap().units, "{name}");
    }
}

#[test]
fn frozen_weights_take_no_gradient_and_the_others_keep_theirs() {
    for name in NAMES {
        let arrays = arrays(name);
        let seed = arrays["seed"].float().unwrap().clone();
        let (mut network, weights) = Network::read(&file(&format!("{name}.onnx"))).unwrap();
        let mut step = |frozen: &[bool]| {
            network.freeze(frozen).unwrap();
            let mut gradient = vec![0.0; weights.len()];
            network.forward(&mut weights.clone(), &inputs(&arrays), TRAIN).unwrap();
            network.backward(&weights, vec![Some(seed.clone())], &mut gradient).unwrap();
            gradient
        };
        let all = step(&[]);
        // Statistics stay free, so that batch normalisation is the same.
        let frozen: Vec<bool> = weights
            .spans()
            .iter()
            .enumerate()
            .map(|(at, span)| at % 2 == 0 && span.kind == SpanKind::Parameter)
            .collect();
        let some = step(&frozen);
        for (span, frozen) in weights.spans().iter().zip(frozen) {
            let (all, some) = (&all[span.range.clone()], &some[span.range.clone()]);
            if frozen {
                assert!(some.iter().all(|g| *g == 0.0), "{name}: {}", span.name);
            } else {
                assert_eq!(all, some, "{name}: {}", span.name);
            }
        }
    }
}

#[test]
fn frozen_statistics_stay() {
    let arrays = arrays("convolutions");
    let (mut network, mut weights) = Network::read(&file("convolutions.onnx")).unwrap();
    let frozen: Vec<bool> = weights.spans().iter().map(|span| span.kind == SpanKind::Statistic).collect();
    network.freeze(&frozen).unwrap();
    let before = weights.clone();
    let trained = network.forward(&mut weights, &inputs(&arrays), TRAIN).unwrap();
    let evaluated = network.forward(&mut weights, &inputs(&arrays), Mode::Evaluate).unwrap();
    assert_eq!(weights, before);
    assert_eq!(trained, evaluated);
}

#[test]
fn evaluation_changes_nothing_and_keeps_nothing() {
    let arrays = arrays("convolutions");
    let (mut network, mut weights) = Network::read(&file("convolutions.onnx")).unwrap();
    let before = weights.clone();
    network.forward(&mut weights, &inputs(&arrays), Mode::Evaluate).unwrap();
    assert_eq!(weights, before);
    let mut gradient = vec![0.0; weights.len()];
    assert_eq!(network.backward(&weights, vec![None], &mut gradient), Err(TrainError::Backward));
}

#[test]
fn a_backward_pass_belongs_to_one_forward_pass() {
    let arrays = arrays("perceptron");
    let (mut network, mut weights) = Network::read(&file("perceptron.onnx")).unwrap();
    let seed = arrays["seed"].float().unwrap().clone();
    let mut gradient = vec![0.0; weights.len()];
    network.forward(&mut weights, &inputs(&arrays), TRAIN).unwrap();
    let other = Tensor { shape: vec![1], data: vec![1.0] };
    assert_eq!(network.backward(&weights, vec![Some(other)], &mut gradient), Err(TrainError::Backward));
    network.forward(&mut weights, &inputs(&arrays), TRAIN).unwrap();
    assert_eq!(network.backward(&weights, vec![Some(seed.clone())], &mut gradient[1..]), Err(TrainError::Layout));
    network.forward(&mut weights, &inputs(&arrays), TRAIN).unwrap();
    assert_eq!(network.backward(&weights, vec![Some(seed.clone())], &mut gradient), Ok(()));
    assert_eq!(network.backward(&weights, vec![Some(seed)], &mut gradient), Err(TrainError::Backward));
}

#[test]
fn data_that_does_not_fit_is_an_error() {
    let (mut network, mut weights) = Network::read(&file("perceptron.onnx")).unwrap();
    let float =
        |shape: &[usize]| Value::Float(Tensor { shape: shape.to_vec(), data: vec![0.5; shape.iter().product()] });
    let mut run = |inputs: &[Value]| network.forward(&mut weights, inputs, TRAIN).map(drop).unwrap_err();
    assert_eq!(run(&[]), TrainError::Inputs { expected: 1, found: 0 });
    assert_eq!(run(&[float(&[5, 7])]), TrainError::Input("in0".into()));
    assert_eq!(run(&[float(&[6])]), TrainError::Input("in0".into()));
    assert_eq!(
        run(&[Value::Float(Tensor { shape: vec![5, 6], data: vec![0.0; 29] })]),
        TrainError::Input("in0".into())
    );
    assert_eq!(run(&[Value::Int(IntTensor { shape: vec![5, 6], data: vec![0; 30] })]), TrainError::Input("in0".into()));
    // A free dimension that the graph cannot follow.
    let (mut network, mut weights) = Network::read(&file("encoder.onnx")).unwrap();
    let int = |shape: &[usize], value: i64| {
        Value::Int(IntTensor { shape: shape.to_vec(), data: vec![value; shape.iter().product()] })
    };
    let mut run = |inputs: &[Value]| network.forward(&mut weights, inputs, TRAIN).map(drop).unwrap_err();
    assert!(matches!(run(&[int(&[2, 5], 1), int(&[2, 4], 1)]), TrainError::Shape(_)));
    // No such word, and more places than there are.
    assert!(matches!(run(&[int(&[2, 5], 11), int(&[2, 5], 1)]), TrainError::Index(_)));
    assert!(matches!(run(&[int(&[2, 17], 1), int(&[2, 17], 1)]), TrainError::Index(_) | TrainError::Shape(_)));
}

#[test]
fn more_memory_than_allowed_is_an_error() {
    let model = Model::new()
        .input("x", FLOAT, &[-1, 4])
        .floats("w", &[4, 4], &noise(1, 16))
        .ints("wide", &[2], &[1 << 20, 1 << 15])
        .node("MatMul", &["x", "w"], &["m"], &[])
        .node("ReduceSum", &["m"], &["s"], &[])
        .node("Expand", &["s", "wide"], &["y"], &[])
        .output("y", FLOAT)
        .bytes(18);
    let settings = Settings { memory: 1 << 24, ..Settings::default() };
    let (mut network, mut weights) = Network::with(&model, &settings).unwrap();
    let x = Value::Float(Tensor { shape: vec![2, 4], data: noise(2, 8) });
    assert_eq!(network.forward(&mut weights, &[x], TRAIN), Err(TrainError::Memory { limit: 1 << 24 }));
    // The same in constants, which are computed when the model is read.
    let model = Model::new()
        .input("x", FLOAT, &[-1, 4])
        .floats("w", &[4, 4], &noise(1, 16))
        .ints("wide", &[2], &[1 << 20, 1 << 15])
        .node("ConstantOfShape", &["wide"], &["c"], &[])
        .node("ReduceSum", &["c"], &["s"], &[])
        .node("MatMul", &["x", "w"], &["m"], &[])
        .node("Add", &["m", "s"], &["y"], &[])
        .output("y", FLOAT)
        .bytes(18);
    assert!(matches!(Network::read(&model).map(drop), Err(TrainError::Memory { .. })));
}

#[test]
fn what_lies_beside_the_parameters_needs_no_gradient() {
    // The logits train; the label and a rounded copy of the input only run.
    let model = Model::new()
        .input("x", FLOAT, &[-1, 4])
        .floats("w", &[4, 3], &noise(1, 12))
        .node("Floor", &["x"], &["f"], &[])
        .node("Add", &["x", "f"], &["a"], &[])
        .node("MatMul", &["a", "w"], &["y"], &[])
        .node("ArgMax", &["y"], &["label"], &[("axis", Attr::Int(1))])
        .output("y", FLOAT)
        .output("label", INT64)
        .bytes(18);
    let (mut network, mut weights) = Network::read(&model).unwrap();
    let x = Value::Float(Tensor { shape: vec![2, 4], data: noise(2, 8) });
    let outputs = network.forward(&mut weights, &[x], TRAIN).unwrap();
    assert_eq!(outputs[1].shape(), [2, 1]);
    let seed = Tensor { shape: vec![2, 3], data: vec![1.0; 6] };
    let mut gradient = vec![0.0; weights.len()];
    network.backward(&weights, vec![Some(seed), None], &mut gradient).unwrap();
    assert!(gradient.iter().any(|g| *g != 0.0));
}

/// Rounded logits beside the logits: which output is trained decides.
#[test]
fn a_step_function_is_refused_only_on_a_trained_path() {
    let model = Model::new()
        .input("x", FLOAT, &[-1, 4])
        .floats("w", &[4, 3], &noise(1, 12))
        .node("MatMul", &["x", "w"], &["y"], &[])
        .node("Round", &["y"], &["rounded"], &[])
        .output("y", FLOAT)
        .output("rounded", FLOAT)
        .bytes(18);
    let refused = TrainError::Gradient { op: "Round".into(), node: "node-rounded".into() };
    assert_eq!(Network::read(&model).map(drop), Err(refused));
    let settings = Settings { trained: Some(vec!["y".to_owned()]), ..Settings::default() };
    assert!(Network::with(&model, &settings).is_ok());
}

#[test]
fn weights_in_other_types_are_refused_by_name() {
    let model = Model::new()
        .input("x", FLOAT, &[-1, 4])
        .halves("w", &[4, 1], &[0x3c00; 4])
        .node("MatMul", &["x", "w"], &["y"], &[])
        .output("y", FLOAT)
        .bytes(18);
    assert_eq!(Network::read(&model).map(drop), Err(TrainError::Stored("w".into())));
}

#[test]
fn a_model_without_parameters_is_refused() {
    let model = Model::new().input("x", FLOAT, &[-1, 4]).node("Relu", &["x"], &["y"], &[]).output("y", FLOAT).bytes(18);
    assert_eq!(Network::read(&model).map(drop), Err(TrainError::NoParameters));
}

/// Reads whatever it is given and runs a step of it with inputs that its declarations allow.
fn run(model: &[u8]) {
    let settings = Settings { memory: 1 << 24, ..Settings::default() };
    let Ok((mut network, mut weights)) = Network::with(model, &settings) else { return };
    let inputs: Vec<Value> = network
        .inputs()
        .iter()
        .map(|port| {
            let extent = |dim: &glacier_engine::Dim| dim.fixed().map_or(3, |extent| extent.min(64) as usize);
            let shape: Vec<usize> = port.dims.iter().flatten().map(extent).collect();
            let count = glacier_train::volume(&shape).unwrap_or(0).min(1 << 16);
            match port.dtype {
                glacier_wire::Dtype::Fp32 | glacier_wire::Dtype::Fp64 => {
                    Value::Float(Tensor { shape, data: noise(9, count) })
                }
                _ => Value::Int(IntTensor { shape, data: vec![1; count] }),
            }
        })
        .collect();
    let Ok(outputs) = network.forward(&mut weights, &inputs, TRAIN) else { return };
    let seeds = outputs.iter().map(|output| output.float().cloned()).collect();
    let mut gradient = vec![0.0; weights.len()];
    let _ = network.backward(&weights, seeds, &mut gradient);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn mutated_models_end_in_an_error_and_never_in_a_panic(
        which in 0..NAMES.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut model = file(&format!("{}.onnx", NAMES[which]));
        for (at, value) in changes {
            let at = at.index(model.len());
            model[at] = value;
        }
        run(&model);
    }
}
