//! What is made small: the value of each loss and its gradient by the output.
//!
//! A loss is a weighted sum over rows and the sum of the weights, so that means over several batches can be
//! taken exactly. Gradients are those of the sum. Values are computed in double precision.

mod classes;
mod numbers;
mod pairs;

use crate::{
    error::TrainError,
    kernel::Team,
    source::{Batch, Targets},
    tensor::Tensor,
};
use glacier_engine::onnx::Name;
use glacier_wire::training::{Loss, TrainingPlan};

/// A loss with its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    loss: Loss,
    probabilities: bool,
    smoothing: f64,
    weights: Option<Vec<f64>>,
    temperature: f64,
}

/// A loss of some rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluated {
    /// Weighted sum of the losses of all rows (elements, where these have a loss each).
    pub sum: f64,
    /// Sum of the weights: the mean is one by the other.
    pub weight: f64,
    /// Gradient of the sum by the output, in its shape.
    pub gradient: Tensor,
}

/// What an output is compared with, and how both are called in errors.
#[derive(Debug, Clone, Copy)]
pub struct Compared<'a> {
    /// The output, rows along the first dimension.
    pub output: &'a Tensor,
    /// Its name.
    pub name: &'a str,
    /// The batch it came of.
    pub batch: &'a Batch,
    /// Rows of the epoch before this batch.
    pub before: u64,
}

impl Compared<'_> {
    fn unfit(&self, needed: &'static str) -> TrainError {
        TrainError::Targets { output: Name::new(self.name), needed }
    }

    fn row(&self, place: usize) -> u64 {
        self.batch.number(place, self.before)
    }
}

/// A class that stands for an element that is not learnt from, as PyTorch has it.
pub const IGNORED: i64 = -100;

impl Objective {
    /// The plan's loss over an output of logits or of probabilities, with a weight for each class or none.
    pub fn new(plan: &TrainingPlan, probabilities: bool, weights: Option<Vec<f64>>) -> Self {
        let temperature = plan.temperature.map_or(0.05, |temperature| f64::from(temperature.get()));
        Self { loss: plan.loss, probabilities, smoothing: f64::from(plan.label_smoothing.get()), weights, temperature }
    }

    /// The same without smoothing of labels, as validation measures it.
    pub fn plain(&self) -> Self {
        Self { smoothing: 0.0, ..self.clone() }
    }

    /// Which loss.
    pub fn loss(&self) -> Loss {
        self.loss
    }

    /// Weights of the classes, if they have any.
    pub fn weights(&self) -> Option<&[f64]> {
        self.weights.as_deref()
    }

    /// Whether outputs are probabilities.
    pub fn probabilities(&self) -> bool {
        self.probabilities
    }

    /// Value and gradient.
    ///
    /// # Errors
    /// Targets of another kind or shape than this loss takes, labels that are no class, targets that are no
    /// finite number.
    pub fn evaluate(&self, team: &Team, compared: &Compared<'_>) -> Result<Evaluated, TrainError> {
        let pairs = matches!(compared.batch.targets, Targets::Pairs(_));
        let rows = usize::try_from(compared.batch.rows).unwrap_or(usize::MAX);
        let expected = if pairs { rows.checked_mul(2) } else { Some(rows) };
        if compared.output.shape.first().copied() != expected {
            return Err(compared.unfit("an output with one row for each row of the data"));
        }
        match self.loss {
            Loss::CrossEntropy => classes::cross_entropy(self, team, compared),
            Loss::Bce => classes::binary(self, compared),
            Loss::Mse => numbers::differences(compared, |difference| (difference * difference, 2.0 * difference)),
            Loss::Mae => numbers::differences(compared, |difference| {
                (difference.abs(), if difference == 0.0 { 0.0 } else { difference.signum() })
            }),
            Loss::Cosine if pairs => pairs::cosine(compared),
            Loss::Cosine => numbers::cosine(compared),
            Loss::Contrastive => pairs::contrastive(self.temperature, team, compared),
            _ => Err(compared.unfit("a loss that is known here")),
        }
    }
}

/// Rows and classes of an output of classes: `[rows, classes]`, or `[rows, …, classes]` where each element
/// of a row has a class of its own; trailing extents of 1 (of pooled images) do not count.
pub(crate) fn class_shape(shape: &[usize]) -> Option<(usize, usize)> {
    let mut shape = shape;
    while let [rest @ .., 1] = shape
        && rest.len() >= 2
    {
        shape = rest;
    }
    let (classes, elements) = shape.split_last()?;
    (!elements.is_empty()).then(|| (elements.iter().product(), *classes))
}

#[cfg(test)]
mod tests;
