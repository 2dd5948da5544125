//! Models and data, as far as they are read before an engine sees them.

use glacier_engine::{
    DataError, Dim, ModelInfo, Port,
    ingest::{self, Sink},
    meter::Plan,
    onnx::Graph,
};
use glacier_wire::{Dtype, Tensor};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_the_seeds_are_read() {
        let rows =
            rows_seeds().into_iter().map(|seed| ingest::read(seed.as_slice(), &model_info(), &mut Windows::default()));
        assert_eq!(rows.map(Result::ok).collect::<Vec<_>>(), [Some(3), Some(2)]);
    }
}
