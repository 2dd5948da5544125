//! Standardisation: what the training rows show, put into the graph.
//!
//! Training computes `(x - mean) / deviation` in 32 bits, and so do the two nodes that the exported graph
//! begins with: it sees what it was trained on.

use crate::error::TrainError;
use glacier_engine::onnx::{Standard, standardise};

/// Means and deviations of the floating-point inputs.
///
/// A row that is a list has one pair a column; an image (`[channels, height, width]`) one a channel;
/// everything else one in all.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    inputs: Vec<Option<Input>>,
}

#[derive(Debug, Clone, PartialEq)]
struct Input {
    name: String,
    /// Of the constants, as they broadcast against the input.
    shape: Vec<u64>,
    /// Neighbouring elements that share a pair.
    run: usize,
    mean: Vec<f32>,
    deviation: Vec<f32>,
}

impl Scale {
    /// Standardises elements of an input, whole rows, in place. An input that is not scaled stays.
    pub fn apply(&self, input: usize, data: &mut [f32]) {
        let Some(Some(input)) = self.inputs.get(input) else { return };
        if input.run == 1 {
            for row in data.chunks_exact_mut(input.mean.len().max(1)) {
                for ((value, mean), deviation) in row.iter_mut().zip(&input.mean).zip(&input.deviation) {
                    *value = (*value - mean) / deviation;
                }
            }
            return;
        }
        let pairs = input.mean.iter().zip(&input.deviation).cycle();
        for (run, (mean, deviation)) in data.chunks_exact_mut(input.run.max(1)).zip(pairs) {
            run.iter_mut().for_each(|value| *value = (*value - mean) / deviation);
        }
    }

    /// The model with this standardisation in front of its inputs.
    ///
    /// # Errors
    /// A graph that standardises an input already, or has none of that name.
    pub fn export(&self, model: &[u8]) -> Result<Vec<u8>, TrainError> {
        let mut model = model.to_vec();
        for Input { name, shape, mean, deviation, .. } in self.inputs.iter().flatten() {
            model = standardise(&model, &Standard { input: name, shape, mean, deviation })?;
        }
        Ok(model)
    }
}

/// Running moments of each input (Welford 1962), in 64 bits.
#[derive(Debug, Clone)]
pub struct Fit {
    inputs: Vec<Option<Moments>>,
}

#[derive(Debug, Clone)]
struct Moments {
    name: String,
    shape: Vec<u64>,
    run: usize,
    count: u64,
    mean: Vec<f64>,
    squares: Vec<f64>,
}

impl Fit {
    /// Starts with the inputs of a graph: name and shape of a row, `None` for inputs of integers.
    pub fn new<'a>(inputs: impl IntoIterator<Item = Option<(&'a str, &'a [usize])>>) -> Self {
        let moments = |(name, row): (&str, &[usize])| {
            let (shape, run) = match row {
                [columns] => (vec![1, *columns as u64], 1),
                [channels, height, width] => (vec![*channels as u64, 1, 1], height.saturating_mul(*width)),
                _ => (vec![1], row.iter().fold(1usize, |product, extent| product.saturating_mul(*extent))),
            };
            let pairs = shape.iter().fold(1u64, |product, extent| product.saturating_mul(*extent));
            let zeros = vec![0.0; usize::try_from(pairs).unwrap_or(0)];
            Moments { name: name.to_owned(), shape, run: run.max(1), count: 0, mean: zeros.clone(), squares: zeros }
        };
        Self { inputs: inputs.into_iter().map(|input| input.map(moments)).collect() }
    }

    /// Takes in the elements of one row of an input.
    pub fn add(&mut self, input: usize, row: &[f32]) {
        let Some(Some(moments)) = self.inputs.get_mut(input) else { return };
        let before = moments.count;
        let pairs = moments.mean.iter_mut().zip(&mut moments.squares);
        for (run, (mean, squares)) in row.chunks_exact(moments.run).zip(pairs) {
            let mut count = before as f64;
            for value in run {
                count += 1.0;
                let value = f64::from(*value);
                let distance = value - *mean;
                *mean += distance / count;
                *squares += distance * (value - *mean);
            }
        }
        moments.count = before.saturating_add(moments.run as u64);
    }

    /// What the rows showed. A column that is always the same is only centred.
    pub fn finish(self) -> Scale {
        let input = |moments: Moments| {
            let count = (moments.count as f64).max(1.0);
            let deviation = |squares: &f64| {
                let deviation = (squares / count).sqrt() as f32;
                if deviation.is_normal() { deviation } else { 1.0 }
            };
            let deviations = moments.squares.iter().map(deviation).collect();
            let mean = moments.mean.iter().map(|mean| *mean as f32).collect();
            Input { name: moments.name, shape: moments.shape, run: moments.run, mean, deviation: deviations }
        };
        Scale { inputs: self.inputs.into_iter().map(|moments| moments.map(input)).collect() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::build::{Columns, Task, mlp};
    use glacier_engine::onnx::{Elements, Graph, ModelError};

    #[test]
    fn columns_by_themselves() {
        let mut fit = Fit::new([Some(("x", &[3usize][..]))]);
        for row in [[1.0, 5.0, 1e8], [3.0, 5.0, 1e8 + 8.0], [5.0, 5.0, 1e8 + 16.0]] {
            fit.add(0, &row);
        }
        let scale = fit.finish();
        let mut data = vec![1.0, 5.0, 1e8, 3.0, 6.0, 1e8 + 8.0];
        scale.apply(0, &mut data);
        let spread = (8.0f32 / 3.0).sqrt();
        assert_eq!(data[..2], [-2.0 / spread, 0.0]);
        assert_eq!(data[3..5], [0.0, 1.0]);
        assert!((data[2] - -(1.5f32.sqrt())).abs() < 1e-6, "{data:?}");
    }

    #[test]
    fn images_by_channel_and_others_as_one() {
        let mut fit = Fit::new([Some(("image", &[2usize, 1, 2][..])), None, Some(("t", &[2usize, 2][..]))]);
        fit.add(0, &[0.0, 2.0, 10.0, 30.0]);
        fit.add(2, &[1.0, 1.0, 3.0, 3.0]);
        let scale = fit.finish();
        let mut image = vec![0.0, 2.0, 10.0, 30.0];
        scale.apply(0, &mut image);
        assert_eq!(image, [-1.0, 1.0, -1.0, 1.0]);
        let mut tensor = vec![1.0, 1.0, 3.0, 3.0];
        scale.apply(2, &mut tensor);
        assert_eq!(tensor, [-1.0, -1.0, 1.0, 1.0]);
        let mut untouched = vec![4.0];
        scale.apply(1, &mut untouched);
        assert_eq!(untouched, [4.0]);
    }

    #[test]
    fn the_exported_graph_has_what_training_used() {
        let model = mlp(Columns::Count(2), &[], Task::Values(1), &[1; 32]).unwrap();
        let mut fit = Fit::new([Some(("features", &[2usize][..]))]);
        fit.add(0, &[1.0, 2.0]);
        fit.add(0, &[3.0, 6.0]);
        let scale = fit.finish();
        let exported = scale.export(&model).unwrap();
        let (graph, literals) = Graph::read_values(&exported).unwrap();
        let of = |name: &str| literals.iter().find(|literal| literal.name == name).map(|literal| &literal.elements);
        assert_eq!(of("glacier.features.mean"), Some(&Elements::Floats(vec![2.0, 4.0])));
        assert_eq!(of("glacier.features.deviation"), Some(&Elements::Floats(vec![1.0, 2.0])));
        let ops: Vec<&str> = graph.nodes.iter().map(|node| node.op.as_str()).collect();
        assert_eq!(ops, ["Sub", "Div", "Gemm"]);
        let again = scale.export(&exported);
        assert_eq!(again, Err(TrainError::Model(ModelError::Standardised("features".into()))));
    }
}
