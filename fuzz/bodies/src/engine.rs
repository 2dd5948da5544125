//! Models and data, as far as they are read before an engine sees them.

use glacier_engine::{
    DataError, Dim, ModelInfo, Port,
    ingest::{self, Answers, Column, Examples, Sink},
    meter::Plan,
    onnx::{Elements, Graph, Standard, patch, set_metadata, standardise},
};
use glacier_wire::{Dtype, Tensor};
use std::collections::HashMap;

/// A graph that is read can be metered, and metering gives the same plan each time.
pub(crate) fn model(bytes: &[u8]) {
    let Ok(graph) = Graph::read(bytes) else { return };
    for free in [1, 3] {
        let extent = |dim: &Dim| dim.fixed().unwrap_or(free);
        let shape = |port: &Port| port.dims.iter().flatten().map(extent).collect::<Vec<_>>();
        let shapes: Vec<_> = graph.inputs.iter().map(|(_, port)| shape(port)).collect();
        assert_eq!(Plan::new(&graph, &shapes), Plan::new(&graph, &shapes));
    }
}

/// Every window has the rows it says, of the shape that was announced, and nothing is lost in between.
pub(crate) fn rows(bytes: &[u8]) {
    let mut windows = Windows::default();
    if let Ok(rows) = ingest::read(bytes, &model_info(), &mut windows) {
        assert_eq!(rows, windows.rows);
        assert!(rows > 0);
    }
}

/// Weights that are put back as they were read read the same; and an edited model is a model.
pub(crate) fn edits(bytes: &[u8]) {
    let Ok((graph, literals)) = Graph::read_values(bytes) else { return };
    let weights = literals.iter().filter_map(|literal| match &literal.elements {
        Elements::Floats(values) => Some((literal.name.as_str(), values.as_slice())),
        _ => None,
    });
    let weights: HashMap<&str, &[f32]> = weights.collect();
    // Bit by bit: a NaN is no more equal to itself than a weight that changed.
    let bits = |literals: &[glacier_engine::onnx::Literal]| -> Vec<Vec<u32>> {
        let of = |elements: &Elements| match elements {
            Elements::Floats(values) | Elements::Converted(values) => values.iter().map(|v| v.to_bits()).collect(),
            Elements::Ints(_) => Vec::new(),
        };
        literals.iter().map(|literal| of(&literal.elements)).collect()
    };
    if let Ok(patched) = patch(bytes, &weights) {
        let (_, again) = Graph::read_values(&patched).expect("what was patched reads");
        assert_eq!(bits(&literals), bits(&again));
    }
    for (_, port) in &graph.inputs {
        let by = Standard { input: &port.name, shape: &[1], mean: &[1.0], deviation: &[2.0] };
        if let Ok(edited) = standardise(bytes, &by) {
            let after = Graph::read(&edited).expect("what was standardised reads");
            assert_eq!(after.nodes.len(), graph.nodes.len() + 2);
            assert!(standardise(&edited, &by).is_err());
        }
    }
    // It fails where the model has all the metadata that is read.
    if let Ok(edited) = set_metadata(bytes, &[("glacier.labels", "[\"a\"]")]) {
        assert_eq!(Graph::read(&edited).ok().and_then(|graph| graph.labels), Some(vec!["a".to_owned()]));
    }
}

/// Every window has rows, and each row as many answers as were announced.
pub(crate) fn examples(bytes: &[u8]) {
    for wanted in [Column::Name("y".into()), Column::Place(0)] {
        let Ok(mut examples) = Examples::open(bytes, &model_info(), &[wanted], 1 << 20) else { continue };
        let width = examples.answers().len() as u64;
        while let Ok(Some(window)) = examples.next(2) {
            assert!((1..=2).contains(&window.rows));
            let answers = match &window.answers {
                Answers::Nothing => panic!("answers are lost"),
                Answers::Cells(cells) => cells.len(),
                Answers::Numbers(numbers) => numbers.len(),
            };
            assert_eq!(answers as u64, window.rows * width);
            for tensor in &window.inputs {
                assert_eq!((tensor.check(), &tensor.shape), (Ok(()), &vec![window.rows, COLUMNS]));
            }
        }
    }
}

#[derive(Default)]
struct Windows {
    rows: u64,
}

impl Sink for Windows {
    type Error = DataError;

    fn begin(&mut self, row: &[Vec<u64>], _: Option<u64>) -> Result<usize, DataError> {
        assert_eq!(row, [vec![COLUMNS]]);
        Ok(2)
    }

    fn window(&mut self, rows: u64, inputs: Vec<Tensor>) -> Result<(), DataError> {
        assert_eq!(inputs.len(), 1);
        for tensor in &inputs {
            assert_eq!(tensor.check(), Ok(()));
            assert_eq!(tensor.shape, [rows, COLUMNS]);
            assert!(tensor.to_f32().is_some_and(|values| values.iter().all(|value| value.is_finite())));
        }
        self.rows += rows;
        Ok(())
    }
}

const COLUMNS: u64 = 3;

fn model_info() -> ModelInfo {
    let free = Dim::Free { name: "rows".into() };
    let dims = Some(vec![free, Dim::Fixed { extent: COLUMNS }]);
    ModelInfo {
        engine: "none".into(),
        inputs: vec![Port { name: "x".into(), dtype: Dtype::Fp32, dims }],
        outputs: vec![],
        features: Some(["a", "b", "c"].map(String::from).into()),
        labels: None,
        parameters: 0,
        units_per_row: None,
    }
}

/// The model of the demo.
pub(crate) fn model_seeds() -> Vec<Vec<u8>> {
    vec![include_bytes!("../../../models/breast-cancer/model.onnx").to_vec()]
}

pub(crate) fn rows_seeds() -> Vec<Vec<u8>> {
    let csv = "b,a,\"c\",spare\r\n1,2,3,x\r\n-4.5e3,\"0.5\",6,\"y,\"\"z\"\"\"\r\n7,8,9,\r\n";
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
    let mut npy = b"\x93NUMPY\x01\x00".to_vec();
    let padded = format!("{header:<117}\n");
    npy.extend_from_slice(&(padded.len() as u16).to_le_bytes());
    npy.extend_from_slice(padded.as_bytes());
    npy.extend((0..6).flat_map(|n| (n as f32).to_le_bytes()));
    vec![csv.into(), npy]
}

pub(crate) fn examples_seeds() -> Vec<Vec<u8>> {
    let csv = "y,b,a,c\r\nyes,1,2,3\r\n\"n,o\",-4.5e3,\"0.5\",6\r\nyes,7,8,9\r\n";
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4), }";
    let mut npy = b"\x93NUMPY\x01\x00".to_vec();
    npy.extend_from_slice(&(header.len() as u16).to_le_bytes());
    npy.extend_from_slice(header.as_bytes());
    npy.extend((0..8).flat_map(|n| (n as f32).to_le_bytes()));
    vec![csv.into(), npy]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_seeds_are_read() {
        for seed in examples_seeds() {
            let mut examples =
                Examples::open(seed.as_slice(), &model_info(), &[Column::Name("y".into())], 1 << 20).unwrap();
            assert!(examples.next(9).unwrap().is_some_and(|window| window.rows > 1));
        }
    }

    #[test]
    fn the_rows_of_the_seeds_are_read() {
        let rows =
            rows_seeds().into_iter().map(|seed| ingest::read(seed.as_slice(), &model_info(), &mut Windows::default()));
        assert_eq!(rows.map(Result::ok).collect::<Vec<_>>(), [Some(3), Some(2)]);
    }
}
