//! Losses over numbers.

#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "lengths are compared before each loop")]

use super::{Compared, Evaluated};
use crate::{error::TrainError, source::Targets, tensor::Tensor};

/// Norms below this have no direction.
pub(super) const NO_DIRECTION: f64 = 1e-12;

/// Sum over all elements of a function of `output - target`, which gives value and slope.
pub(super) fn differences(compared: &Compared<'_>, of: impl Fn(f64) -> (f64, f64)) -> Result<Evaluated, TrainError> {
    let targets = targets(compared)?;
    let output = compared.output;
    let mut gradient = vec![0.0; output.data.len()];
    let mut sum = 0.0;
    for ((gradient, output), target) in gradient.iter_mut().zip(&output.data).zip(targets) {
        let (loss, slope) = of(f64::from(*output) - f64::from(*target));
        sum += loss;
        *gradient = slope as f32;
    }
    let weight = output.data.len() as f64;
    Ok(Evaluated { sum, weight, gradient: Tensor { shape: output.shape.clone(), data: gradient } })
}

/// Sum over rows of one minus the cosine of output and target.
pub(super) fn cosine(compared: &Compared<'_>) -> Result<Evaluated, TrainError> {
    let targets = targets(compared)?;
    let output = compared.output;
    let rows = output.shape[0];
    let width = output.data.len() / rows.max(1);
    let mut gradient = vec![0.0; output.data.len()];
    let mut sum = 0.0;
    for row in 0..rows {
        let range = row * width..(row + 1) * width;
        let cosine = Cosine::of(&output.data[range.clone()], &targets[range.clone()]);
        sum += 1.0 - cosine.value;
        cosine.add_left(-1.0, &output.data[range.clone()], &targets[range.clone()], &mut gradient[range]);
    }
    Ok(Evaluated { sum, weight: rows as f64, gradient: Tensor { shape: output.shape.clone(), data: gradient } })
}

/// The cosine of two vectors. One without direction has a cosine of 0 with everything, and no gradient.
pub(super) struct Cosine {
    pub(super) value: f64,
    left: f64,
    right: f64,
}

impl Cosine {
    pub(super) fn of(left: &[f32], right: &[f32]) -> Self {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let (left_norm, right_norm) = (dot(left, left).sqrt(), dot(right, right).sqrt());
        if left_norm < NO_DIRECTION || right_norm < NO_DIRECTION {
            return Self { value: 0.0, left: 0.0, right: 0.0 };
        }
        Self { value: dot(left, right) / (left_norm * right_norm), left: left_norm, right: right_norm }
    }

    /// Adds `factor` times the gradient by the left vector.
    pub(super) fn add_left(&self, factor: f64, left: &[f32], right: &[f32], gradient: &mut [f32]) {
        if self.left == 0.0 {
            return;
        }
        for ((gradient, left), right) in gradient.iter_mut().zip(left).zip(right) {
            let slope = (f64::from(*right) / self.right - self.value * f64::from(*left) / self.left) / self.left;
            *gradient += (factor * slope) as f32;
        }
    }

    /// The same cosine seen from the other side.
    pub(super) fn turned(&self) -> Self {
        Self { value: self.value, left: self.right, right: self.left }
    }
}

/// Finite numbers, as many as the output has.
fn targets<'a>(compared: &Compared<'a>) -> Result<&'a [f32], TrainError> {
    let Targets::Numbers(targets) = &compared.batch.targets else {
        return Err(compared.unfit("numbers as targets"));
    };
    let output = compared.output;
    if targets.data.len() != output.data.len() || targets.shape.first() != output.shape.first() {
        return Err(compared.unfit("as many numbers in a row as it has"));
    }
    let width = (output.data.len() / output.shape[0].max(1)).max(1);
    match targets.data.iter().position(|target| !target.is_finite()) {
        Some(place) => Err(TrainError::Target { row: compared.row(place / width) }),
        None => Ok(&targets.data),
    }
}
