//! Initial models for those who have none, with weights drawn from a seed.

use crate::{
    error::TrainError,
    seed::{Purpose, Stream, key},
};
use glacier_engine::{
    Dim,
    onnx::{Attr, ModelError, Writer, list},
};
use glacier_wire::Dtype;

/// What a model reads of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Columns<'a> {
    /// Columns by name, wherever they stand.
    Named(&'a [String]),
    /// That many columns, in the order of the data.
    Count(u64),
}

/// What a model gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task<'a> {
    /// Output `probabilities` over classes of these names.
    Labels(&'a [String]),
    /// Output `probabilities` over that many classes.
    Classes(u64),
    /// Output `value` of that many numbers.
    Values(u64),
}

/// Input `features`, fully connected layers of `hidden` units with ReLU between them, and the output of the task.
///
/// # Errors
/// No columns, no outputs, layers of no units, more than [`MAX_PARAMETERS`], names that are not distinct.
pub fn mlp(columns: Columns<'_>, hidden: &[u64], task: Task<'_>, seed: &[u8; 32]) -> Result<Vec<u8>, TrainError> {
    let inputs = columns.count();
    let widths: Vec<u64> = [inputs].into_iter().chain(hidden.iter().copied()).chain([task.count()]).collect();
    let sizes = widths.windows(2).map(|pair| pair.iter().try_fold(1u64, |product, width| product.checked_mul(*width)));
    bounded(sizes)?;
    let mut model = Building::new("mlp", seed);
    model.writer.input("features", Dtype::Fp32, &[rows(), Dim::Fixed { extent: inputs }]);
    let mut value = "features".to_owned();
    for (at, pair) in widths.windows(2).enumerate() {
        let [from, to] = pair else { continue };
        let last = at == hidden.len();
        let name = if last { "output".to_owned() } else { format!("hidden.{at}") };
        let made = if last { task.last().to_owned() } else { format!("{name}.sum") };
        model.dense(&name, &value, &made, *from, *to, if last { Start::Glorot } else { Start::Kaiming });
        value = made;
        if !last {
            let active = format!("{name}.active");
            model.writer.node(&active, "Relu", &[&value], &[&active], &[]);
            value = active;
        }
    }
    if let Columns::Named(names) = columns {
        model.writer.metadata("glacier.features", &list(names));
    }
    model.finish(task)
}

/// Logistic regression: one layer, for classes or numbers.
pub fn logistic(columns: Columns<'_>, task: Task<'_>, seed: &[u8; 32]) -> Result<Vec<u8>, TrainError> {
    mlp(columns, &[], task, seed)
}

/// Input `image` of `[rows, channels, height, width]`, two 3x3 convolutions of 16 and 32 channels with
/// ReLU, 2x2 max pooling, and one fully connected layer.
///
/// # Errors
/// Images of less than 2x2, no channels or outputs, more than [`MAX_PARAMETERS`].
pub fn cnn(height: u64, width: u64, channels: u64, task: Task<'_>, seed: &[u8; 32]) -> Result<Vec<u8>, TrainError> {
    const FILTERS: [u64; 2] = [16, 32];
    let [first, second] = FILTERS;
    let halves = |extent: u64| extent / 2;
    let flat = second.checked_mul(halves(height)).and_then(|flat| flat.checked_mul(halves(width)));
    let flat = flat.ok_or(TrainError::Size { max: MAX_PARAMETERS })?;
    let taps = |from: u64, to: u64| from.checked_mul(9).and_then(|taps| taps.checked_mul(to));
    let sizes = [taps(channels, first), taps(first, second), flat.checked_mul(task.count())];
    bounded(sizes.into_iter())?;
    let mut model = Building::new("cnn", seed);
    let extent = |extent| Dim::Fixed { extent };
    model.writer.input("image", Dtype::Fp32, &[rows(), extent(channels), extent(height), extent(width)]);
    model.convolution("first", "image", channels, first);
    model.convolution("second", "first.active", first, second);
    let pool = [("kernel_shape", Attr::Ints(vec![2, 2])), ("strides", Attr::Ints(vec![2, 2]))];
    model.writer.node("pool", "MaxPool", &["second.active"], &["pooled"], &pool);
    model.writer.node("flatten", "Flatten", &["pooled"], &["flat"], &[("axis", Attr::Int(1))]);
    model.dense("output", "flat", task.last(), flat, task.count(), Start::Glorot);
    model.finish(task)
}

/// Most weights of a model that is made here.
pub const MAX_PARAMETERS: u64 = 1 << 26;

impl Columns<'_> {
    fn count(self) -> u64 {
        match self {
            Self::Named(names) => names.len() as u64,
            Self::Count(count) => count,
        }
    }
}

impl Task<'_> {
    fn count(self) -> u64 {
        match self {
            Self::Labels(labels) => labels.len() as u64,
            Self::Classes(count) | Self::Values(count) => count,
        }
    }

    /// What the last layer makes.
    fn last(self) -> &'static str {
        match self {
            Self::Labels(_) | Self::Classes(_) => "logits",
            Self::Values(_) => "value",
        }
    }
}

/// How far from zero weights begin.
#[derive(Clone, Copy)]
enum Start {
    /// He et al. 2015, uniform: keeps the variance through a ReLU.
    Kaiming,
    /// Glorot and Bengio 2010, uniform: keeps it through a linear layer, both ways.
    Glorot,
}

struct Building<'a> {
    writer: Writer,
    seed: &'a [u8; 32],
    /// Tensors that were drawn.
    drawn: u64,
}

impl<'a> Building<'a> {
    fn new(name: &str, seed: &'a [u8; 32]) -> Self {
        Self { writer: Writer::new(name), seed, drawn: 0 }
    }

    fn dense(&mut self, name: &str, from: &str, to: &str, inputs: u64, outputs: u64, start: Start) {
        let [weight, bias] = self.weights(name, &[outputs, inputs], inputs, outputs, start);
        self.writer.node(name, "Gemm", &[from, &weight, &bias], &[to], &[("transB", Attr::Int(1))]);
    }

    fn convolution(&mut self, name: &str, from: &str, inputs: u64, outputs: u64) {
        let fan_in = inputs.saturating_mul(9);
        let [weight, bias] = self.weights(name, &[outputs, inputs, 3, 3], fan_in, outputs, Start::Kaiming);
        let attributes = [("kernel_shape", Attr::Ints(vec![3, 3])), ("pads", Attr::Ints(vec![1, 1, 1, 1]))];
        let [sum, active] = ["sum", "active"].map(|what| format!("{name}.{what}"));
        self.writer.node(name, "Conv", &[from, &weight, &bias], &[&sum], &attributes);
        self.writer.node(&active, "Relu", &[&sum], &[&active], &[]);
    }

    /// Drawn weights of `dims` and a bias of zeros for each of their first extent.
    fn weights(&mut self, name: &str, dims: &[u64], fan_in: u64, fan_out: u64, start: Start) -> [String; 2] {
        let names = ["weight", "bias"].map(|what| format!("{name}.{what}"));
        let [weight, bias] = &names;
        let fan = match start {
            Start::Kaiming => fan_in,
            Start::Glorot => fan_in.saturating_add(fan_out),
        };
        let bound = (6.0 / fan.max(1) as f64).sqrt();
        let mut stream = Stream::new(&key(self.seed, Purpose::Weights, self.drawn));
        self.drawn = self.drawn.saturating_add(1);
        let count = dims.iter().fold(1u64, |count, dim| count.saturating_mul(*dim));
        let values: Vec<f32> = (0..count).map(|_| ((stream.unit() * 2.0 - 1.0) * bound) as f32).collect();
        self.writer.floats(weight, dims, &values);
        let outputs = dims.first().copied().unwrap_or(0);
        self.writer.floats(bias, &[outputs], &vec![0.0; usize::try_from(outputs).unwrap_or(0)]);
        names
    }

    fn finish(mut self, task: Task<'_>) -> Result<Vec<u8>, TrainError> {
        let extent = Dim::Fixed { extent: task.count() };
        let output = if let Task::Values(_) = task {
            task.last()
        } else {
            self.writer.node("normalise", "Softmax", &[task.last()], &["probabilities"], &[("axis", Attr::Int(1))]);
            "probabilities"
        };
        self.writer.output(output, Dtype::Fp32, &[rows(), extent]);
        if let Task::Labels(labels) = task {
            self.writer.metadata("glacier.labels", &list(labels));
        }
        self.writer.finish().map_err(TrainError::from)
    }
}

fn rows() -> Dim {
    Dim::Free { name: "rows".into() }
}

/// Before any weight is drawn.
fn bounded(sizes: impl Iterator<Item = Option<u64>>) -> Result<(), TrainError> {
    let mut total = 0u64;
    for size in sizes {
        let size = size.ok_or(TrainError::Size { max: MAX_PARAMETERS })?;
        if size == 0 {
            return Err(ModelError::NoOutputs.into());
        }
        total = total.saturating_add(size);
    }
    if total > MAX_PARAMETERS {
        return Err(TrainError::Size { max: MAX_PARAMETERS });
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use glacier_engine::onnx::{Elements, Graph};

    const SEED: [u8; 32] = [7; 32];

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|at| format!("column {at}")).collect()
    }

    fn floats(model: &[u8], name: &str) -> Vec<f32> {
        let (_, literals) = Graph::read_values(model).unwrap();
        let literal = literals.into_iter().find(|literal| literal.name == name).unwrap();
        let Elements::Floats(values) = literal.elements else { panic!("{name} is not of floats") };
        values
    }

    #[test]
    fn a_classifier_says_what_it_reads_and_gives() {
        let (features, labels) = (names(30), names(2));
        let model = mlp(Columns::Named(&features), &[16, 8], Task::Labels(&labels), &SEED).unwrap();
        let graph = Graph::read(&model).unwrap();
        assert_eq!((graph.features, graph.labels), (Some(features), Some(labels)));
        let ops: Vec<&str> = graph.nodes.iter().map(|node| node.op.as_str()).collect();
        assert_eq!(ops, ["Gemm", "Relu", "Gemm", "Relu", "Gemm", "Softmax"]);
        assert_eq!(graph.parameters, 30 * 16 + 16 + 16 * 8 + 8 + 8 * 2 + 2);
        assert_eq!(graph.outputs[0].1.name, "probabilities");
    }

    #[test]
    fn a_regression_has_no_softmax() {
        let model = logistic(Columns::Count(4), Task::Values(1), &SEED).unwrap();
        let graph = Graph::read(&model).unwrap();
        assert_eq!((graph.nodes.len(), graph.outputs[0].1.name.as_str()), (1, "value"));
        assert_eq!((graph.features, graph.labels), (None, None));
    }

    #[test]
    fn weights_begin_where_the_papers_say() {
        let model = mlp(Columns::Count(100), &[600], Task::Values(1), &SEED).unwrap();
        let weights = floats(&model, "hidden.0.weight");
        let bound = (6.0f32 / 100.0).sqrt();
        assert!(weights.iter().all(|weight| weight.abs() <= bound));
        let variance = weights.iter().map(|weight| weight * weight).sum::<f32>() / weights.len() as f32;
        assert!((variance / (2.0 / 100.0) - 1.0).abs() < 0.02, "{variance}");
        let mean = weights.iter().sum::<f32>() / weights.len() as f32;
        assert!(mean.abs() < 0.005, "{mean}");
        assert!(floats(&model, "output.weight").iter().all(|weight| weight.abs() <= (6.0f32 / 601.0).sqrt()));
        assert!(floats(&model, "hidden.0.bias").iter().all(|bias| *bias == 0.0));
    }

    #[test]
    fn one_seed_one_file() {
        let make = |seed: [u8; 32]| cnn(8, 8, 1, Task::Classes(10), &seed).unwrap();
        assert_eq!(make(SEED), make(SEED));
        assert_ne!(make(SEED), make([8; 32]));
        // Layers of one shape do not begin with the same weights.
        let model = mlp(Columns::Count(4), &[4, 4], Task::Values(1), &SEED).unwrap();
        assert_ne!(floats(&model, "hidden.0.weight"), floats(&model, "hidden.1.weight"));
    }

    #[test]
    fn an_image_model() {
        let graph = Graph::read(&cnn(28, 28, 1, Task::Classes(10), &SEED).unwrap()).unwrap();
        let ops: Vec<&str> = graph.nodes.iter().map(|node| node.op.as_str()).collect();
        assert_eq!(ops, ["Conv", "Relu", "Conv", "Relu", "MaxPool", "Flatten", "Gemm", "Softmax"]);
    }

    #[test]
    fn impossible_models() {
        let task = Task::Values(1);
        let none = Err(TrainError::Model(ModelError::NoOutputs));
        let large = Err(TrainError::Size { max: MAX_PARAMETERS });
        assert_eq!(mlp(Columns::Count(0), &[], task, &SEED), none);
        assert_eq!(mlp(Columns::Count(3), &[0], task, &SEED), none);
        assert_eq!(mlp(Columns::Count(3), &[], Task::Classes(0), &SEED), none);
        assert_eq!(mlp(Columns::Count(u64::MAX), &[2], task, &SEED), large);
        assert_eq!(mlp(Columns::Count(1 << 20), &[65], task, &SEED), large);
        assert_eq!(cnn(1, 8, 1, task, &SEED), none);
        assert_eq!(cnn(u64::MAX, u64::MAX, 1, task, &SEED), large);
        let twice = ["a".to_owned(), "a".to_owned()];
        let found = mlp(Columns::Named(&twice), &[], task, &SEED);
        assert_eq!(found, Err(TrainError::Model(ModelError::Metadata("glacier.features"))));
    }
}
