//! Gradients against finite differences.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod support;

use glacier_train::{DIFFERENTIABLE, Mode, Network, Settings, SpanKind, Tensor, TrainError, Value, Weights};
use support::{Attr, FLOAT, Model, noise};

const TRAIN: Mode = Mode::Train { dropout: [7; 32] };

/// The sum of all float outputs, weighted with fixed noise, in double precision.
fn loss(network: &mut Network, weights: &mut Weights, inputs: &[Value]) -> (f64, Vec<Option<Tensor>>) {
    let outputs = network.forward(weights, inputs, TRAIN).unwrap_or_else(|error| panic!("{error}"));
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
fn compare(name: &str, model: &[u8], inputs: &[Value]) -> Result<(), String> {
    for threads in [1, 2] {
        let settings = Settings { threads, ..Default::default() };
        let (mut network, weights) = Network::with(model, &settings).map_err(|error| format!("{name}: {error}"))?;
        let mut gradient = vec![0.25; weights.len()];
        let (_, seeds) = loss(&mut network, &mut weights.clone(), inputs);
        network.backward(&weights, seeds, &mut gradient).map_err(|error| format!("{name}: {error}"))?;
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
                if (found - expected).abs() > 2e-3 * expected.abs().max(1.0) || !found.is_finite() {
                    let element = at - span.range.start;
                    let shape = format!("element {element} of {}", span.name);
                    return Err(format!("{name}: {shape}: gradient {found}, differences say {expected}"));
                }
            }
        }
    }
    Ok(())
}

/// What a case gives its operator.
#[derive(Debug, Clone)]
enum In {
    /// A parameter with values between -1 and 1.
    Any(Vec<usize>),
    /// Between 0.4 and 1.6.
    Positive(Vec<usize>),
    /// At least 0.2 away from zero, so that no difference crosses a kink there.
    Away(Vec<usize>),
    /// No two closer than 0.05, so that no difference changes their order.
    Distinct(Vec<usize>),
    Ints(Vec<usize>, Vec<i64>),
    Bools(Vec<usize>, Vec<bool>),
    /// A constant of rank 0.
    Scalar(f32),
    Missing,
}

use In::{Any, Away, Bools, Distinct, Ints, Missing, Positive, Scalar};

#[derive(Debug)]
struct Case {
    op: &'static str,
    opset: i64,
    inputs: Vec<In>,
    attrs: Vec<(&'static str, Attr)>,
    outputs: usize,
}

impl Case {
    fn new(op: &'static str, inputs: Vec<In>) -> Self {
        Self { op, opset: 18, inputs, attrs: Vec::new(), outputs: 1 }
    }

    fn with(mut self, name: &'static str, value: Attr) -> Self {
        self.attrs.push((name, value));
        self
    }

    fn ints(self, name: &'static str, values: &[i64]) -> Self {
        self.with(name, Attr::Ints(values.to_vec()))
    }

    fn int(self, name: &'static str, value: i64) -> Self {
        self.with(name, Attr::Int(value))
    }

    fn opset(mut self, opset: i64) -> Self {
        self.opset = opset;
        self
    }

    fn outputs(mut self, outputs: usize) -> Self {
        self.outputs = outputs;
        self
    }

    fn model(&self) -> Vec<u8> {
        let mut model = Model::new().input("unused", FLOAT, &[1]);
        let names: Vec<String> = (0..self.inputs.len()).map(|at| format!("in{at}")).collect();
        let mut given: Vec<&str> = Vec::new();
        for (at, (input, name)) in self.inputs.iter().zip(&names).enumerate() {
            let seed = at as u64 + 1;
            let floats = |shape: &[usize], f: &dyn Fn(usize, f32) -> f32| -> Vec<f32> {
                noise(seed, shape.iter().product()).into_iter().enumerate().map(|(at, x)| f(at, x)).collect()
            };
            given.push(name);
            model = match input {
                Any(shape) => model.floats(name, shape, &floats(shape, &|_, x| x)),
                Positive(shape) => model.floats(name, shape, &floats(shape, &|_, x| 1.0 + 0.6 * x)),
                Away(shape) => model.floats(name, shape, &floats(shape, &|_, x| x + 0.2f32.copysign(x))),
                Distinct(shape) => {
                    let noise = floats(shape, &|_, x| x);
                    let rank = |x: f32| noise.iter().filter(|other| **other < x).count() as f32;
                    let values: Vec<f32> = noise.iter().map(|x| 0.05 * (rank(*x) - noise.len() as f32 / 2.0)).collect();
                    // Another input of the same kind lies between.
                    let values: Vec<f32> = values.iter().map(|x| x + 0.025 * at as f32).collect();
                    model.floats(name, shape, &values)
                }
                Ints(shape, values) => model.ints(name, shape, values),
                Bools(shape, values) => model.bools(name, shape, values),
                Scalar(value) => model.floats(name, &[], &[*value]),
                Missing => {
                    given.pop();
                    given.push("");
                    model
                }
            };
        }
        let outputs: Vec<String> = (0..self.outputs).map(|at| format!("out{at}")).collect();
        let made: Vec<&str> = outputs.iter().map(String::as_str).collect();
        model = model.node(self.op, &given, &made, &self.attrs);
        for output in &outputs {
            model = model.output(output, FLOAT);
        }
        model.bytes(self.opset)
    }
}

#[rustfmt::skip]
fn cases() -> Vec<Case> {
    let odd = || vec![3, 1, 5];
    let mut all = Vec::new();
    for op in ["Sigmoid", "Tanh", "Exp", "Erf", "Neg", "Sin", "Cos", "Softplus", "Softsign", "Identity", "Dropout"] {
        all.push(Case::new(op, vec![Any(odd())]));
    }
    for op in ["Sqrt", "Log", "Reciprocal"] {
        all.push(Case::new(op, vec![Positive(odd())]));
    }
    for op in ["Relu", "Abs", "LeakyRelu", "Elu", "Selu", "HardSwish", "HardSigmoid"] {
        all.push(Case::new(op, vec![Away(odd())]));
    }
    // Every way in which two shapes can meet: alike, a scalar, rows, channels, columns, both stretched, empty.
    let meetings: &[[&[usize]; 2]] = &[
        [&[2, 3], &[2, 3]],
        [&[2, 3], &[1]],
        [&[1], &[2, 3]],
        [&[4, 3], &[3]],
        [&[2, 3, 4], &[3, 1]],
        [&[2, 3, 4], &[2, 3, 1]],
        [&[3, 1], &[1, 4]],
        [&[2, 1, 3, 1], &[5, 1, 4]],
        [&[0, 3], &[3]],
    ];
    for [a, b] in meetings {
        for op in ["Add", "Sub", "Mul"] {
            all.push(Case::new(op, vec![Any(a.to_vec()), Any(b.to_vec())]));
        }
        for op in ["Div", "Pow"] {
            all.push(Case::new(op, vec![Positive(a.to_vec()), Positive(b.to_vec())]));
        }
        for op in ["Max", "Min"] {
            all.push(Case::new(op, vec![Distinct(a.to_vec()), Distinct(b.to_vec())]));
        }
        all.push(Case::new("Where", vec![Bools(vec![3, 1], vec![true, false, true]), Any([&[1, 1], *a].concat()), Any([&[1], *b].concat())]));
        all.push(Case::new("Sum", vec![Any(a.to_vec()), Any(b.to_vec()), Any(b.to_vec())]));
        all.push(Case::new("Mean", vec![Any(b.to_vec()), Any(a.to_vec()), Any(vec![1])]));
    }
    all.retain(|case| case.op != "Where");
    all.extend([
        Case::new("Where", vec![Bools(vec![3, 1], vec![true, false, true]), Any(vec![3, 4]), Any(vec![2, 1, 4])]),
        Case::new("Where", vec![Bools(vec![4], vec![true, false, true, true]), Any(vec![3, 1]), Any(vec![1])]),
        Case::new("Max", vec![Any(vec![2])]),
        Case::new("Pow", vec![Any(vec![2, 3]), Scalar(2.0)]),
        Case::new("Pow", vec![Any(vec![2, 3]), Scalar(3.0)]),
        Case::new("Pow", vec![Positive(vec![2, 3]), Scalar(0.5)]),
        Case::new("Pow", vec![Positive(vec![2, 3]), Ints(vec![3], vec![2, 0, -1])]),
        Case::new("PRelu", vec![Away(vec![2, 3, 4]), Any(vec![3, 1])]),
        Case::new("PRelu", vec![Away(vec![2, 3]), Any(vec![1])]),
        Case::new("Clip", vec![Distinct(vec![3, 7]), Scalar(-0.212), Scalar(0.313)]),
        Case::new("Clip", vec![Distinct(vec![3, 7]), Missing, Scalar(0.313)]),
        Case::new("Clip", vec![Distinct(vec![3, 7])]).with("min", Attr::Float(-0.212)).opset(9),
        Case::new("LeakyRelu", vec![Away(odd())]).with("alpha", Attr::Float(0.3)),
        Case::new("Gelu", vec![Any(odd())]).opset(20),
        Case::new("Gelu", vec![Any(odd())]).with("approximate", Attr::Text("tanh")).opset(20),
        Case::new("com.microsoft/Gelu", vec![Any(odd())]),
        Case::new("Swish", vec![Any(odd())]).opset(24),
        Case::new("Cast", vec![Any(odd())]).int("to", 1),
        Case::new("Dropout", vec![Any(vec![4, 9]), Scalar(0.25)]),
        Case::new("Dropout", vec![Any(vec![4, 9])]).with("ratio", Attr::Float(0.9)).opset(7),

        Case::new("Gemm", vec![Any(vec![3, 4]), Any(vec![4, 5])]),
        Case::new("Gemm", vec![Any(vec![3, 4]), Any(vec![4, 5]), Any(vec![5])]),
        Case::new("Gemm", vec![Any(vec![4, 3]), Any(vec![5, 4]), Any(vec![3, 1])]).int("transA", 1).int("transB", 1)
            .with("alpha", Attr::Float(0.5)).with("beta", Attr::Float(2.0)),
        Case::new("Gemm", vec![Any(vec![4, 3]), Any(vec![4, 5]), Any(vec![3, 5])]).int("transA", 1),
        Case::new("Gemm", vec![Any(vec![3, 4]), Any(vec![5, 4]), Any(vec![1])]).int("transB", 1),
        Case::new("MatMul", vec![Any(vec![3, 4]), Any(vec![4, 5])]),
        Case::new("MatMul", vec![Any(vec![4]), Any(vec![4])]),
        Case::new("MatMul", vec![Any(vec![2, 3, 4]), Any(vec![4])]),
        Case::new("MatMul", vec![Any(vec![4]), Any(vec![2, 4, 3])]),
        Case::new("MatMul", vec![Any(vec![2, 3, 4]), Any(vec![4, 5])]),
        Case::new("MatMul", vec![Any(vec![2, 3, 4]), Any(vec![2, 4, 5])]),
        Case::new("MatMul", vec![Any(vec![2, 1, 3, 4]), Any(vec![3, 4, 2])]),
        Case::new("MatMul", vec![Any(vec![3, 4]), Any(vec![2, 4, 2])]),
        Case::new("MatMul", vec![Any(vec![3, 4]), Any(vec![1, 1, 4, 2])]),

        Case::new("Softmax", vec![Any(vec![3, 5])]),
        Case::new("Softmax", vec![Any(vec![2, 3, 4])]).int("axis", 1),
        Case::new("Softmax", vec![Any(vec![2, 3, 4])]).int("axis", 1).opset(11),
        Case::new("LogSoftmax", vec![Any(vec![3, 5])]),
        Case::new("LogSoftmax", vec![Any(vec![2, 3, 4])]).int("axis", 0),
        Case::new("LayerNormalization", vec![Any(vec![2, 3, 7]), Any(vec![7]), Any(vec![7])]),
        Case::new("LayerNormalization", vec![Any(vec![2, 3, 4]), Any(vec![3, 4])]).int("axis", 1),
        Case::new("BatchNormalization", vec![Any(vec![4, 3, 2, 2]), Any(vec![3]), Any(vec![3]), Any(vec![3]), Positive(vec![3])]),
        Case::new("BatchNormalization", vec![Any(vec![9, 3]), Any(vec![3]), Any(vec![3]), Any(vec![3]), Positive(vec![3])]),
        Case::new("BatchNormalization", vec![Any(vec![1, 3]), Any(vec![3]), Any(vec![3]), Any(vec![3]), Positive(vec![3])]),
        Case::new("InstanceNormalization", vec![Any(vec![2, 3, 2, 5]), Any(vec![3]), Any(vec![3])]),

        Case::new("ReduceSum", vec![Any(vec![2, 3, 4]), Ints(vec![2], vec![0, 2])]),
        Case::new("ReduceSum", vec![Any(vec![2, 3, 4])]).int("keepdims", 0),
        Case::new("ReduceSum", vec![Any(vec![2, 3])]).int("noop_with_empty_axes", 1),
        Case::new("ReduceMean", vec![Any(vec![2, 3, 4])]).ints("axes", &[-1]),
        Case::new("ReduceMean", vec![Any(vec![2, 3, 4])]).ints("axes", &[1]).int("keepdims", 0),
        Case::new("ReduceMean", vec![Any(vec![2, 3, 4, 2])]).ints("axes", &[0, 2]),
        Case::new("ReduceMax", vec![Distinct(vec![2, 3, 4])]).ints("axes", &[1]),
        Case::new("ReduceMin", vec![Distinct(vec![2, 3, 4])]).ints("axes", &[2]).int("keepdims", 0),
        Case::new("ReduceL1", vec![Away(vec![2, 3, 4])]).ints("axes", &[1]),
        Case::new("ReduceL2", vec![Any(vec![2, 3, 4])]).ints("axes", &[-1]),
        Case::new("ReduceSumSquare", vec![Any(vec![2, 3, 4])]).ints("axes", &[0]),
        Case::new("GlobalAveragePool", vec![Any(vec![2, 3, 4, 5])]),
        Case::new("GlobalMaxPool", vec![Distinct(vec![2, 3, 7])]),

        Case::new("Conv", vec![Any(vec![2, 3, 5, 6]), Any(vec![4, 3, 3, 2]), Any(vec![4])]),
        Case::new("Conv", vec![Any(vec![2, 4, 7, 6]), Any(vec![6, 2, 3, 3]), Any(vec![6])]).int("group", 2)
            .ints("strides", &[2, 1]).ints("pads", &[1, 0, 2, 1]).ints("dilations", &[1, 2]),
        Case::new("Conv", vec![Any(vec![1, 3, 5, 5]), Any(vec![3, 1, 3, 3])]).int("group", 3).with("auto_pad", Attr::Text("SAME_UPPER")),
        Case::new("Conv", vec![Any(vec![1, 2, 5, 4]), Any(vec![3, 2, 2, 2])]).ints("strides", &[2, 3]).with("auto_pad", Attr::Text("SAME_LOWER")),
        Case::new("Conv", vec![Any(vec![2, 3, 5, 4]), Any(vec![4, 3, 1, 1]), Any(vec![4])]).with("auto_pad", Attr::Text("VALID")),
        Case::new("Conv", vec![Any(vec![2, 3, 9]), Any(vec![4, 3, 3]), Any(vec![4])]).ints("strides", &[2]).ints("pads", &[1, 2]),
        Case::new("MaxPool", vec![Distinct(vec![2, 2, 4, 6])]).ints("kernel_shape", &[2, 2]).ints("strides", &[2, 2]),
        Case::new("MaxPool", vec![Distinct(vec![1, 2, 5, 5])]).ints("kernel_shape", &[3, 2]).ints("pads", &[1, 0, 1, 1]),
        Case::new("MaxPool", vec![Distinct(vec![1, 2, 5, 5])]).ints("kernel_shape", &[2, 2]).ints("strides", &[2, 2]).int("ceil_mode", 1),
        Case::new("MaxPool", vec![Distinct(vec![2, 2, 9])]).ints("kernel_shape", &[3]).ints("dilations", &[2]),
        Case::new("AveragePool", vec![Any(vec![2, 2, 4, 6])]).ints("kernel_shape", &[2, 2]).ints("strides", &[2, 2]),
        Case::new("AveragePool", vec![Any(vec![1, 2, 5, 5])]).ints("kernel_shape", &[3, 3]).ints("pads", &[1, 1, 1, 1]).int("count_include_pad", 1),
        Case::new("AveragePool", vec![Any(vec![1, 2, 5, 5])]).ints("kernel_shape", &[3, 3]).ints("pads", &[1, 1, 1, 1]).ints("strides", &[2, 2]),
        Case::new("AveragePool", vec![Any(vec![2, 2, 9])]).ints("kernel_shape", &[3]).ints("strides", &[2]),

        Case::new("Gather", vec![Any(vec![5, 3]), Ints(vec![2, 3], vec![0, 4, 4, -1, 2, 0])]),
        Case::new("Gather", vec![Any(vec![2, 5, 3]), Ints(vec![2], vec![1, 1])]).int("axis", 1),
        Case::new("Gather", vec![Any(vec![2, 5]), Ints(vec![], vec![3])]).int("axis", -1),
        Case::new("GatherElements", vec![Any(vec![3, 4]), Ints(vec![3, 2], vec![0, -1, 2, 2, 1, 3])]).int("axis", 1),
        Case::new("GatherElements", vec![Any(vec![3, 4]), Ints(vec![2, 3], vec![0, 2, 2, 1, 2, 0])]).int("axis", 0),
        Case::new("Reshape", vec![Any(vec![2, 3, 4]), Ints(vec![3], vec![0, -1, 2])]),
        Case::new("Flatten", vec![Any(vec![2, 3, 4])]).int("axis", 2),
        Case::new("Squeeze", vec![Any(vec![2, 1, 3, 1]), Ints(vec![1], vec![-1])]),
        Case::new("Squeeze", vec![Any(vec![2, 1, 3, 1])]),
        Case::new("Unsqueeze", vec![Any(vec![2, 3]), Ints(vec![2], vec![0, -1])]),
        Case::new("Unsqueeze", vec![Any(vec![2, 3])]).ints("axes", &[1]).opset(11),
        Case::new("Transpose", vec![Any(vec![2, 3, 4])]),
        Case::new("Transpose", vec![Any(vec![2, 3, 4, 5])]).ints("perm", &[0, 2, 1, 3]),
        Case::new("Transpose", vec![Any(vec![2, 3, 4])]).ints("perm", &[2, 0, 1]),
        Case::new("Concat", vec![Any(vec![2, 1, 3]), Any(vec![2, 4, 3]), Any(vec![2, 0, 3])]).int("axis", 1),
        Case::new("Concat", vec![Any(vec![2]), Any(vec![3])]).int("axis", -1),
        Case::new("Slice", vec![Any(vec![5, 6]), Ints(vec![2], vec![1, -1]), Ints(vec![2], vec![4, i64::MIN]), Ints(vec![2], vec![0, 1]), Ints(vec![2], vec![2, -2])]),
        Case::new("Slice", vec![Any(vec![5, 6])]).ints("starts", &[1]).ints("ends", &[i64::MAX]).ints("axes", &[1]).opset(9),
        Case::new("Split", vec![Any(vec![2, 7]), Ints(vec![3], vec![2, 4, 1])]).int("axis", 1).outputs(3),
        Case::new("Split", vec![Any(vec![6, 2])]).int("num_outputs", 2).outputs(2),
        Case::new("Split", vec![Any(vec![6, 2])]).ints("split", &[1, 5]).outputs(2).opset(11),
        Case::new("Expand", vec![Any(vec![3, 1]), Ints(vec![3], vec![2, 1, 4])]),
        Case::new("Tile", vec![Any(vec![2, 3]), Ints(vec![2], vec![2, 3])]),
        Case::new("DepthToSpace", vec![Any(vec![2, 8, 2, 3])]).int("blocksize", 2),
        Case::new("DepthToSpace", vec![Any(vec![2, 8, 2, 3])]).int("blocksize", 2).with("mode", Attr::Text("CRD")),
        Case::new("Pad", vec![Any(vec![2, 3]), Ints(vec![4], vec![1, 0, -1, 2])]),
        Case::new("Pad", vec![Any(vec![2, 3]), Ints(vec![2], vec![2, 1]), Missing, Ints(vec![1], vec![-1])]).with("mode", Attr::Text("reflect")),
        Case::new("Pad", vec![Any(vec![2, 3]), Ints(vec![4], vec![0, 1, 1, 2])]).with("mode", Attr::Text("edge")),
        Case::new("Pad", vec![Any(vec![2, 3]), Ints(vec![4], vec![0, 1, 0, 2])]).with("mode", Attr::Text("wrap")).opset(19),
        Case::new("Pad", vec![Any(vec![2, 3])]).ints("pads", &[0, 1, 1, 0]).opset(9),
    ]);
    all
}

#[test]
fn every_operator_with_a_gradient_has_a_case() {
    let cases = cases();
    for op in DIFFERENTIABLE {
        assert!(cases.iter().any(|case| case.op == *op), "no case for {op}");
    }
    for case in cases {
        assert!(DIFFERENTIABLE.contains(&case.op), "{} is not listed", case.op);
    }
}

#[test]
fn gradients_are_those_of_difference_quotients() {
    let unused = [Value::Float(Tensor { shape: vec![1], data: vec![0.0] })];
    let compared = cases().into_iter().map(|case| compare(&format!("{case:?}"), &case.model(), &unused));
    let wrong: Vec<String> = compared.filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
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
    assert_eq!(compare("perceptron", &model, &[x]), Ok(()));
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
