//! Models that are written: what changes, what stays, and what is refused.

mod onnx;

use glacier_engine::{
    Dim, Engine as _, Rten,
    onnx::{Attr, Graph, ModelError, Name, Standard, Writer, list, patch, set_metadata, standardise},
};
use glacier_wire::{Dtype, Tensor};
use onnx::{FLOAT, Message, new, node, tensor, value};
use proptest::prelude::*;
use std::collections::HashMap;

const CANCER: &[u8] = include_bytes!("../../../models/breast-cancer/model.onnx");

fn le(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn values<'a>(pairs: &[(&'a str, &'a [f32])]) -> HashMap<&'a str, &'a [f32]> {
    pairs.iter().copied().collect()
}

/// `y = x · w + b`, with `b` as given.
fn affine(weights: Vec<Message>, first: Option<Message>, ir: i64) -> Message {
    let gemm = node("Gemm", &["x", "w", "b"], &["y"]);
    let graph = onnx::Graph {
        nodes: first.into_iter().chain([gemm]).collect(),
        weights,
        inputs: vec![value("x", FLOAT, &[-1, 2])],
        outputs: vec![value("y", FLOAT, &[-1, 1])],
    };
    new().int(1, ir).message(7, graph.message()).message(8, new().bytes(1, "").int(2, 13)).bytes(2, "somebody else")
}

fn plain() -> Message {
    affine(vec![tensor("w", FLOAT, &[2, 1], &le(&[1.0, 2.0])), tensor("b", FLOAT, &[1], &le(&[3.0]))], None, 8)
}

fn run(model: &[u8], input: &str, shape: &[u64], data: &[f32]) -> Vec<f32> {
    let graph = Graph::read(model).unwrap();
    let session = Rten.load(&graph, model.to_vec(), 1).unwrap();
    assert_eq!(graph.inputs.len(), 1);
    let outputs = session.run(vec![Tensor::from_f32(input, shape.to_vec(), data).unwrap()]).unwrap();
    outputs[0].to_f32().unwrap()
}

#[test]
fn only_the_values_change() {
    let old = plain().0;
    let new = patch(&old, &values(&[("w", &[5.0, 7.0])])).unwrap();
    assert_eq!(new.len(), old.len());
    let differ: Vec<usize> = (0..old.len()).filter(|at| old[*at] != new[*at]).collect();
    let at = old.windows(8).position(|bytes| bytes == le(&[1.0, 2.0])).unwrap();
    assert!(!differ.is_empty() && differ.iter().all(|place| (at..at + 8).contains(place)));
    assert_eq!(run(&new, "x", &[1, 2], &[1.0, 10.0]), [78.0]);
}

#[test]
fn the_same_values_give_the_same_bytes() {
    let old = plain().0;
    assert_eq!(patch(&old, &values(&[("w", &[1.0, 2.0]), ("b", &[3.0])])).unwrap(), old);
    assert_eq!(patch(CANCER, &HashMap::new()).unwrap(), CANCER);
}

#[test]
fn typed_data_becomes_raw() {
    let typed = |field: u32, code: i64, packed: Vec<u8>| {
        new().int(1, 2).int(1, 1).int(2, code).bytes(field, packed).bytes(8, "w")
    };
    let bias = || tensor("b", FLOAT, &[1], &le(&[0.0]));
    let single = affine(vec![typed(4, FLOAT, le(&[1.0, 2.0])), bias()], None, 8).0;
    let raw =
        affine(vec![new().int(1, 2).int(1, 1).int(2, FLOAT).bytes(9, le(&[4.0, 5.0])).bytes(8, "w"), bias()], None, 8)
            .0;
    assert_eq!(patch(&single, &values(&[("w", &[4.0, 5.0])])).unwrap(), raw);
}

#[test]
fn halves_and_doubles_keep_their_type() {
    let graph = |code, raw: &[u8]| {
        let mut graph = onnx::Graph::small();
        graph.weights = vec![tensor("h", code, &[2], raw), onnx::weight("w", &[4, 3])];
        graph.model().0
    };
    let halves = patch(&graph(10, &[0; 4]), &values(&[("h", &[1.0, -0.333_333_34])])).unwrap();
    assert_eq!(halves, graph(10, &[0x00, 0x3c, 0x55, 0xb5]));
    let doubles = [0.1f32, 2.0].iter().flat_map(|value| f64::from(*value).to_le_bytes()).collect::<Vec<_>>();
    assert_eq!(patch(&graph(11, &[0; 16]), &values(&[("h", &[0.1, 2.0])])).unwrap(), graph(11, &doubles));
    let large = patch(&graph(10, &[0; 4]), &values(&[("h", &[1e6, 0.0])]));
    assert_eq!(large, Err(ModelError::Half(Name::new("h"))));
    let integers = patch(&graph(6, &[0; 8]), &values(&[("h", &[1.0, 0.0])]));
    assert_eq!(integers, Err(ModelError::Dtype { value: Name::new("h"), code: 6 }));
}

#[test]
fn constants_that_nodes_make() {
    let weights = || vec![tensor("w", FLOAT, &[2, 1], &le(&[1.0, 2.0]))];
    let made = |attribute: Message| affine(weights(), Some(node("Constant", &[], &["b"]).message(5, attribute)), 8).0;
    let whole = |b: f32| made(new().bytes(1, "value").message(5, tensor("", FLOAT, &[1], &le(&[b]))).int(20, 4));
    let list = |b: f32| made(new().bytes(1, "value_floats").float(7, b).int(20, 6));
    let one = |b: f32| made(new().bytes(1, "value_float").float(2, b).int(20, 1));
    for make in [&whole as &dyn Fn(f32) -> Vec<u8>, &list, &one] {
        assert_eq!(patch(&make(3.0), &values(&[("b", &[9.0])])).unwrap(), make(9.0));
        let long = patch(&make(3.0), &values(&[("b", &[9.0, 9.0])]));
        assert_eq!(long, Err(ModelError::DataLength { tensor: Name::new("b"), expected: 4, found: 8 }));
    }
    let int = made(new().bytes(1, "value_int").int(3, 1).int(20, 2));
    assert_eq!(patch(&int, &values(&[("b", &[9.0])])), Err(ModelError::NoWeights(Name::new("b"))));
}

#[test]
fn weights_that_are_not_there() {
    let found = patch(&plain().0, &values(&[("w", &[1.0, 2.0]), ("x", &[1.0])]));
    assert_eq!(found, Err(ModelError::NoWeights(Name::new("x"))));
    let found = patch(&plain().0, &values(&[("w", &[1.0])]));
    assert_eq!(found, Err(ModelError::DataLength { tensor: Name::new("w"), expected: 8, found: 4 }));
}

#[test]
fn a_standardised_input() {
    let by = Standard { input: "x", shape: &[1, 2], mean: &[1.0, -1.0], deviation: &[2.0, 4.0] };
    let weights = || vec![tensor("w", FLOAT, &[2, 1], &le(&[1.0, 2.0])), tensor("b", FLOAT, &[1], &le(&[3.0]))];
    // As files before IR version 4 are: initializers among the inputs.
    let old = onnx::Graph {
        nodes: vec![node("Gemm", &["x", "w", "b"], &["y"])],
        weights: weights(),
        inputs: vec![value("x", FLOAT, &[-1, 2]), value("w", FLOAT, &[2, 1]), value("b", FLOAT, &[1])],
        outputs: vec![value("y", FLOAT, &[-1, 1])],
    };
    let old = new().int(1, 3).message(7, old.message()).message(8, new().bytes(1, "").int(2, 8));
    for model in [old, affine(weights(), None, 8)] {
        let edited = standardise(&model.0, &by).unwrap();
        let (before, after) = (Graph::read(&model.0).unwrap(), Graph::read(&edited).unwrap());
        assert_eq!(
            before.inputs.iter().map(|(_, port)| port).collect::<Vec<_>>(),
            after.inputs.iter().map(|(_, port)| port).collect::<Vec<_>>()
        );
        assert_eq!(after.nodes.len(), before.nodes.len() + 2);
        assert_eq!(run(&edited, "x", &[2, 2], &[1.0, -1.0, 5.0, 3.0]), [3.0, 7.0]);
        assert_eq!(standardise(&edited, &by), Err(ModelError::Standardised(Name::new("x"))));
    }
}

#[test]
fn an_input_that_is_an_output_as_well_stays_raw() {
    let mut graph = onnx::Graph::small();
    graph.outputs.push(value("x", FLOAT, &[-1, 4]));
    let edited =
        standardise(&graph.model().0, &Standard { input: "x", shape: &[1], mean: &[1.0], deviation: &[2.0] }).unwrap();
    let read = Graph::read(&edited).unwrap();
    assert_eq!(read.outputs[1].0, read.inputs[0].0);
}

#[test]
fn standards_that_do_not_fit() {
    let model = plain().0;
    let good = Standard { input: "x", shape: &[1, 2], mean: &[0.0, 0.0], deviation: &[1.0, 1.0] };
    assert!(standardise(&model, &good).is_ok());
    for bad in [
        Standard { input: "y", ..good },
        Standard { shape: &[2, 1], ..good },
        Standard { shape: &[1, 1, 2], ..good },
        Standard { shape: &[3], ..good },
        Standard { mean: &[0.0], ..good },
        Standard { mean: &[0.0, f32::NAN], ..good },
        Standard { deviation: &[1.0], ..good },
        Standard { deviation: &[1.0, 0.0], ..good },
        Standard { deviation: &[1.0, f32::INFINITY], ..good },
        Standard { shape: &[u64::MAX, u64::MAX], ..good },
    ] {
        assert_eq!(standardise(&model, &bad), Err(ModelError::Standard(Name::new(bad.input))), "{bad:?}");
    }
    let mut tokens = onnx::Graph::small();
    tokens.inputs = vec![value("x", onnx::INT64, &[-1, 4])];
    let by = Standard { input: "x", shape: &[1], mean: &[0.0], deviation: &[1.0] };
    assert_eq!(standardise(&tokens.model().0, &by), Err(ModelError::Standard(Name::new("x"))));
}

#[test]
fn metadata_is_replaced_and_added() {
    let names = ["a \"quoted\" name".to_owned(), "é".to_owned()];
    let labels = ["no".to_owned(), "yes".to_owned()];
    let first = set_metadata(&plain().0, &[("glacier.features", &list(&names)), ("note", "kept")]).unwrap();
    let second = set_metadata(&first, &[("glacier.labels", &list(&labels))]).unwrap();
    let third = set_metadata(&second, &[("glacier.labels", &list(&names))]).unwrap();
    let graph = Graph::read(&third).unwrap();
    assert_eq!((graph.features.as_deref(), graph.labels.as_deref()), (Some(&names[..]), Some(&names[..])));
    assert!(third.windows(4).any(|bytes| bytes == b"kept"));
    let bad = set_metadata(&third, &[("glacier.labels", "[]")]);
    assert_eq!(bad, Err(ModelError::Metadata("glacier.labels")));
}

#[test]
fn a_model_from_nothing() {
    let mut writer = Writer::new("from nothing");
    writer.input("x", Dtype::Fp32, &[Dim::Free { name: "rows".into() }, Dim::Fixed { extent: 2 }]);
    writer.output("y", Dtype::Fp32, &[Dim::Free { name: "rows".into() }, Dim::Fixed { extent: 1 }]);
    writer.floats("w", &[1, 2], &[1.0, 2.0]);
    writer.floats("b", &[1], &[0.5]);
    let attributes = [("transB", Attr::Int(1)), ("alpha", Attr::Float(2.0))];
    writer.node("layer", "Gemm", &["x", "w", "b"], &["y"], &attributes);
    writer.metadata("glacier.features", &list(&["a".into(), "b".into()]));
    let model = writer.finish().unwrap();
    assert_eq!(run(&model, "x", &[1, 2], &[3.0, 4.0]), [22.5]);
}

#[test]
fn what_does_not_read_is_not_written() {
    let mut twice = Writer::new("twice");
    twice.input("x", Dtype::Fp32, &[Dim::Fixed { extent: 1 }]);
    twice.output("y", Dtype::Fp32, &[]);
    twice.node("a", "Relu", &["x"], &["y"], &[]);
    twice.node("b", "Relu", &["x"], &["y"], &[]);
    assert_eq!(twice.finish(), Err(ModelError::DuplicateValue(Name::new("y"))));
    assert!(patch(b"\x08\x08", &HashMap::new()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_edited_file_ends_in_a_model_or_an_error(place: prop::sample::Index, byte: u8) {
        let mut bytes = plain().0;
        let place = place.index(bytes.len());
        bytes[place] = byte;
        let by = Standard { input: "x", shape: &[1], mean: &[1.0], deviation: &[2.0] };
        for edited in [
            patch(&bytes, &values(&[("w", &[5.0, 7.0])])),
            standardise(&bytes, &by),
            set_metadata(&bytes, &[("note", "x")]),
        ].into_iter().flatten() {
            prop_assert!(Graph::read(&edited).is_ok());
        }
    }

    #[test]
    fn any_bytes_end(bytes: Vec<u8>) {
        let _ = patch(&bytes, &values(&[("w", &[5.0, 7.0])]));
        let _ = set_metadata(&bytes, &[("note", "x")]);
    }
}
