//! One small model for each way to be wrong, and real models with random damage.

mod onnx;

use glacier_engine::{
    DataError, Engine, Limits, Model, Rten, RunError,
    meter::Plan,
    onnx::{Graph as Checked, ModelError, Name},
};
use glacier_wire::Tensor;
use onnx::{FLOAT, Graph, INT64, int, longs, new, node, tensor, value, weight};
use proptest::prelude::*;

fn name(text: &str) -> Name {
    Name::new(text)
}

fn bundled() -> Vec<u8> {
    std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/breast-cancer/model.onnx")).unwrap()
}

const LIMITS: Limits = Limits { units: 1 << 20, threads: 1, window: 1, memory: 64 << 20 };

fn load(graph: &Graph) -> Result<Model, RunError> {
    Model::load(&Rten, graph.model().0, &LIMITS)
}

fn refused(graph: &Graph) -> RunError {
    load(graph).map(|_| ()).unwrap_err()
}

#[test]
fn the_small_model_without_a_defect_runs() {
    let mut model = load(&Graph::small()).unwrap();
    let input = Tensor::from_f32("x", vec![2, 4], &[1.0; 8]).unwrap();
    let (outputs, units) = model.run(vec![input], 24, 1 << 20).unwrap();
    assert_eq!((outputs[0].shape.as_slice(), units), (&[2, 3][..], 24));
    assert_eq!(Rten.name(), model.info().engine);
}

#[test]
fn no_graph() {
    assert_eq!(Checked::read(&[]), Err(ModelError::NoGraph));
    assert_eq!(Checked::read(&new().int(1, 8).0), Err(ModelError::NoGraph));
}

#[test]
fn two_graphs() {
    let model = Graph::small().model().message(7, Graph::small().message());
    assert_eq!(Checked::read(&model.0), Err(ModelError::Repeated { message: "ModelProto", number: 7 }));
}

#[test]
fn no_outputs() {
    assert_eq!(Graph { outputs: vec![], ..Graph::small() }.read(), Err(ModelError::NoOutputs));
}

#[test]
fn operator_sets() {
    let graph = Graph::small().message();
    let missing = new().message(7, graph.clone());
    assert_eq!(Checked::read(&missing.0), Err(ModelError::Opset { found: 0, min: 7, max: 25 }));
    let future = new().message(7, graph).message(8, new().int(2, 99));
    assert_eq!(Checked::read(&future.0), Err(ModelError::Opset { found: 99, min: 7, max: 25 }));
}

#[test]
fn functions_training_and_sparse_weights() {
    let model = Graph::small().model();
    assert_eq!(Checked::read(&model.clone().message(25, new()).0), Err(ModelError::Feature("functions")));
    assert_eq!(Checked::read(&model.message(20, new()).0), Err(ModelError::Feature("training graphs")));
    let sparse = Graph::small().message().message(15, new());
    let model = new().message(7, sparse).message(8, new().int(2, 17));
    assert_eq!(Checked::read(&model.0), Err(ModelError::Feature("sparse weights")));
}

#[test]
fn weights_in_another_file() {
    let weight = new().int(1, 4).int(1, 3).int(2, FLOAT).bytes(8, "w").int(14, 1);
    let graph = Graph { weights: vec![weight.clone()], ..Graph::small() };
    assert_eq!(graph.read(), Err(ModelError::ExternalData(name("w"))));
    let location = new().bytes(1, "location").bytes(2, "/etc/passwd");
    let graph = Graph { weights: vec![weight.message(13, location)], ..Graph::small() };
    assert_eq!(graph.read(), Err(ModelError::ExternalData(name("w"))));
}

#[test]
fn weights_of_another_length() {
    for bytes in [44, 52] {
        let graph = Graph { weights: vec![tensor("w", FLOAT, &[4, 3], &vec![0; bytes])], ..Graph::small() };
        let expected = ModelError::DataLength { tensor: name("w"), expected: 48, found: bytes as u64 };
        assert_eq!(graph.read(), Err(expected));
    }
    // In the typed field, one too few.
    let typed = (0..11).fold(new().int(1, 4).int(1, 3).int(2, FLOAT).bytes(8, "w"), |w, _| w.float(4, 0.0));
    let expected = ModelError::DataLength { tensor: name("w"), expected: 48, found: 44 };
    assert_eq!(Graph { weights: vec![typed], ..Graph::small() }.read(), Err(expected));
}

#[test]
fn dimensions_that_overflow() {
    for dims in [&[-1, 3][..], &[1 << 40, 1 << 40], &[i64::MAX, 0], &[1; 17]] {
        let error = Graph { weights: vec![tensor("w", FLOAT, dims, &[])], ..Graph::small() }.read().unwrap_err();
        assert!(matches!(error, ModelError::Dims(_) | ModelError::TooLarge { .. }), "{error:?}");
    }
}

#[test]
fn element_types_that_are_not_supported() {
    let graph = Graph { weights: vec![tensor("w", 8, &[1], b"x")], ..Graph::small() };
    assert_eq!(graph.read(), Err(ModelError::Dtype { value: name("w"), code: 8 }));
    let graph = Graph { inputs: vec![value("x", 10, &[-1, 4])], ..Graph::small() };
    assert_eq!(graph.read(), Err(ModelError::Dtype { value: name("x"), code: 10 }));
}

#[test]
fn inputs_that_are_no_tensors_or_have_no_shape() {
    let sequence = new().bytes(1, "x").message(2, new().message(4, new()));
    assert_eq!(Graph { inputs: vec![sequence], ..Graph::small() }.read(), Err(ModelError::NotTensor(name("x"))));
    let bare = new().bytes(1, "x").message(2, new().message(1, new().int(1, FLOAT)));
    assert_eq!(Graph { inputs: vec![bare], ..Graph::small() }.read(), Err(ModelError::NoShape(name("x"))));
}

#[test]
fn a_value_made_twice() {
    let mut graph = Graph::small();
    graph.nodes.push(node("Relu", &["x"], &["y"]));
    assert_eq!(graph.read(), Err(ModelError::DuplicateValue(name("y"))));
    let graph = Graph { weights: vec![weight("w", &[4, 3]), weight("w", &[4, 3])], ..Graph::small() };
    assert_eq!(graph.read(), Err(ModelError::DuplicateValue(name("w"))));
}

#[test]
fn a_value_made_never() {
    let graph = Graph { nodes: vec![node("MatMul", &["x", "v"], &["y"])], ..Graph::small() };
    assert_eq!(graph.read(), Err(ModelError::UnknownValue { node: name("y"), value: name("v") }));
    let graph = Graph { outputs: vec![value("z", FLOAT, &[-1, 3])], ..Graph::small() };
    assert_eq!(graph.read(), Err(ModelError::UnknownOutput(name("z"))));
}

#[test]
fn a_cycle() {
    let nodes = vec![node("Add", &["x", "b"], &["a"]), node("Relu", &["a"], &["b"]), node("Relu", &["b"], &["y"])];
    assert_eq!(Graph { nodes, ..Graph::small() }.read(), Err(ModelError::Cycle(name("a"))));
    let nodes = vec![node("Add", &["x", "y"], &["y"])];
    assert_eq!(Graph { nodes, ..Graph::small() }.read(), Err(ModelError::Cycle(name("y"))));
}

#[test]
fn nodes_out_of_order() {
    let nodes = vec![node("Relu", &["a"], &["y"]), node("Relu", &["x"], &["a"])];
    let expected = ModelError::Order { node: name("y"), value: name("a") };
    assert_eq!(Graph { nodes, ..Graph::small() }.read(), Err(expected));
}

#[test]
fn operators_that_are_not_supported() {
    for (op, domain, shown) in [("Frobnicate", "", "Frobnicate"), ("ZipMap", "ai.onnx.ml", "ai.onnx.ml/ZipMap")] {
        let nodes = vec![node(op, &["x"], &["y"]).bytes(3, "last").bytes(7, domain)];
        let expected = ModelError::Operator { op: name(shown), node: name("last") };
        assert_eq!(Graph { nodes, ..Graph::small() }.read(), Err(expected));
    }
}

#[test]
fn nested_graphs() {
    let body = new().bytes(1, "then_branch").message(6, Graph::small().message()).int(20, 5);
    let graph = Graph { nodes: vec![node("If", &["x"], &["y"]).message(5, body)], ..Graph::small() };
    assert_eq!(graph.read(), Err(ModelError::Operator { op: name("If"), node: name("y") }));
}

#[test]
fn too_many_nodes() {
    let graph = Graph { nodes: vec![node("Relu", &["x"], &["y"]); Checked::MAX_NODES + 1], ..Graph::small() };
    assert_eq!(graph.read(), Err(ModelError::TooLarge { what: "nodes", max: Checked::MAX_NODES as u64 }));
}

#[test]
fn an_attribute_of_two_kinds() {
    let two = new().bytes(1, "axis").int(3, 1).float(2, 1.0).int(20, 2);
    let graph = Graph { nodes: vec![node("Softmax", &["x"], &["y"]).message(5, two)], ..Graph::small() };
    assert_eq!(graph.read(), Err(ModelError::Field { message: "AttributeProto", number: 20 }));
}

#[test]
fn metadata_that_is_no_list_of_names() {
    for bad in ["malignant", "[]", "[1]", "[\"a\",\"a\"]", "[\"\"]"] {
        let model = Graph::small().model().message(14, new().bytes(1, "glacier.labels").bytes(2, bad));
        assert_eq!(Checked::read(&model.0), Err(ModelError::Metadata("glacier.labels")));
    }
}

#[test]
fn shapes_that_contradict_each_other() {
    let graph = Graph { weights: vec![weight("w", &[5, 3])], ..Graph::small() };
    assert_eq!(refused(&graph), RunError::Model(ModelError::Shape(name("y"))));
}

#[test]
fn work_that_depends_on_the_data() {
    let nodes = vec![
        node("NonZero", &["x"], &["places"]),
        node("Cast", &["places"], &["floats"]).message(5, int("to", FLOAT)),
        node("MatMul", &["floats", "w"], &["y"]),
    ];
    assert_eq!(refused(&Graph { nodes, ..Graph::small() }), RunError::Model(ModelError::Unmetered(name("y"))));
}

#[test]
fn more_memory_or_elements_than_allowed() {
    // The engine would expand a constant while it loads.
    let graph = |extent: i64| Graph {
        nodes: vec![node("Expand", &["one", "shape"], &["big"]), node("Relu", &["big"], &["y"])],
        weights: vec![weight("one", &[1]), longs("shape", &[extent])],
        outputs: vec![value("y", FLOAT, &[extent])],
        ..Graph::small()
    };
    assert!(load(&graph(1 << 10)).is_ok());
    assert!(matches!(refused(&graph(1 << 25)), RunError::Memory { limit: 0x400_0000, .. }));
    assert!(matches!(refused(&graph(1 << 30)), RunError::Units { left: 0x10_0000, .. }));
    let plan = Plan::new(&graph(1 << 30).read().unwrap(), &[vec![1, 4]]).unwrap();
    assert_eq!((plan.units, plan.elements), (0, 2 << 30));
    assert!(plan.peak >= 8 << 30);
    // The same from an extent that the input declares.
    let nodes = vec![
        node("Shape", &["x"], &["shape"]),
        node("Gather", &["shape", "second"], &["four"]),
        node("Mul", &["four", "factor"], &["extent"]),
        node("Expand", &["one", "extent"], &["y"]),
    ];
    let weights = vec![weight("one", &[1]), longs("second", &[1]), longs("factor", &[1 << 27])];
    let declared = Graph { nodes, weights, outputs: vec![value("y", FLOAT, &[-1])], ..Graph::small() };
    assert!(matches!(refused(&declared), RunError::Units { .. }));
    // Elements that no memory has.
    let nodes = vec![node("Expand", &["one", "shape"], &["y"])];
    let graph =
        Graph { nodes, weights: vec![weight("one", &[1]), longs("shape", &[1 << 30, 1 << 30])], ..Graph::small() };
    assert_eq!(refused(&graph), RunError::Model(ModelError::Shape(name("y"))));
}

#[test]
fn arithmetic_that_an_engine_does_in_other_widths_predicts_nothing() {
    // 2^31 is a number in 64 bits and none in 32: shapes that come of it are not believed.
    let nodes = vec![
        node("Mul", &["half", "two"], &["whole"]),
        node("Expand", &["one", "whole"], &["big"]),
        node("MatMul", &["big", "w"], &["y"]),
    ];
    let weights =
        vec![weight("w", &[4, 3]), weight("one", &[1, 1]), longs("half", &[1 << 30, 4]), longs("two", &[2, 1])];
    assert_eq!(
        refused(&Graph { nodes, weights, ..Graph::small() }),
        RunError::Model(ModelError::Unmetered(name("big")))
    );
}

#[test]
fn indices_past_the_end_are_data_that_does_not_fit() {
    let graph = Graph {
        nodes: vec![node("Gather", &["w", "x"], &["y"])],
        inputs: vec![value("x", INT64, &[-1])],
        outputs: vec![value("y", FLOAT, &[-1, 3])],
        ..Graph::small()
    };
    let mut model = load(&graph).unwrap();
    let at = |index: i64| Tensor::new("x", glacier_wire::Dtype::Int64, vec![1], index.to_le_bytes().to_vec()).unwrap();
    assert!(model.run(vec![at(3)], 1, 1 << 20).is_ok());
    assert_eq!(model.run(vec![at(4)], 1, 1 << 20), Err(RunError::Data(DataError::Incomputable)));
    assert_eq!(model.run(vec![at(1 << 40)], 1, 1 << 20), Err(RunError::Data(DataError::Range(name("x")))));
}

#[test]
fn every_prefix_of_a_real_model_ends_without_a_panic() {
    let model = bundled();
    let accepted = (0..model.len()).filter(|len| Checked::read(&model[..*len]).is_ok()).count();
    // Cut exactly before or between its metadata, a model is a model without metadata.
    assert!(accepted <= 2, "{accepted}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_real_model_is_refused_or_runs(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        let mut model = bundled();
        for (place, byte) in damage {
            let place = place.index(model.len());
            model[place] = byte;
        }
        if !whole {
            model.truncate(cut.index(model.len()));
        }
        if let Ok(mut model) = Model::load(&Rten, model, &LIMITS) {
            let shape = |port: &glacier_engine::Port| port.dims.iter().flatten().map(|d| d.fixed().unwrap_or(1)).collect();
            let input = |port: &glacier_engine::Port| {
                let shape: Vec<u64> = shape(port);
                let bytes = shape.iter().product::<u64>() as usize * port.dtype.size();
                Tensor { name: port.name.clone(), dtype: port.dtype, shape, data: vec![0; bytes] }
            };
            let inputs: Vec<Tensor> = model.info().inputs.iter().map(input).collect();
            if let Err(RunError::Crashed) = model.run(inputs, 1 << 20, 1 << 26) {
                prop_assert!(false, "the engine panicked on a model that was checked");
            }
        }
    }

    #[test]
    fn any_bytes_are_refused(bytes: Vec<u8>) {
        prop_assert!(Checked::read(&bytes).is_err());
    }
}
