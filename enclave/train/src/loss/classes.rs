//! Losses over classes.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "lengths are compared before each loop, and classes before they index"
)]

use super::{Compared, Evaluated, IGNORED, Objective, class_shape};
use crate::{error::TrainError, kernel::Team, source::Targets, tensor::Tensor};

/// Least probability that a logarithm is taken of.
const FLOOR: f64 = 1e-30;
/// Half of the smallest step below 1 in single precision: a probability of 1 says no more than this.
const NEAR_ONE: f64 = 1.0 / (1 << 25) as f64;
/// Elements that are worth another thread.
const GRAIN: usize = 4096;

/// Weighted cross-entropy with smoothed labels as PyTorch defines it: the smoothed part is weighted class by
/// class, and the mean is over the weights of the true classes.
pub(super) fn cross_entropy(
    objective: &Objective,
    team: &Team,
    compared: &Compared<'_>,
) -> Result<Evaluated, TrainError> {
    let Targets::Classes(targets) = &compared.batch.targets else {
        return Err(compared.unfit("classes as targets"));
    };
    let output = compared.output;
    let Some((elements, classes)) = class_shape(&output.shape).filter(|(_, classes)| *classes >= 2) else {
        return Err(compared.unfit("an output with one column for each of two or more classes"));
    };
    if targets.len() != elements {
        return Err(compared.unfit("one class for each row"));
    }
    let weights = objective.weights.as_deref();
    if weights.is_some_and(|weights| weights.len() != classes) {
        return Err(TrainError::Unfit("`class_weights` has another number of classes than the output"));
    }
    let per_row = (elements / output.shape[0].max(1)).max(1);
    for (place, class) in targets.iter().enumerate() {
        if *class != IGNORED && !usize::try_from(*class).is_ok_and(|class| class < classes) {
            return Err(TrainError::Label { row: compared.row(place / per_row), classes: classes as u64 });
        }
    }
    let mut gradient = vec![0.0f32; output.data.len()];
    let piece = GRAIN.div_ceil(classes);
    let mut pieces: Vec<(&mut [f32], f64, f64)> =
        gradient.chunks_mut(piece * classes).map(|gradient| (gradient, 0.0, 0.0)).collect();
    team.pieces(&mut pieces, 1, |index, pieces| {
        for (gradient, sum, weight) in pieces {
            let first = index * piece;
            for (offset, gradient) in gradient.chunks_exact_mut(classes).enumerate() {
                let Ok(class) = usize::try_from(targets[first + offset]) else { continue };
                let output = &output.data[(first + offset) * classes..][..classes];
                let row = Row { class, weights, smoothing: objective.smoothing };
                *sum += if objective.probabilities {
                    row.of_probabilities(output, gradient)
                } else {
                    row.of_logits(output, gradient)
                };
                *weight += row.weight(class);
            }
        }
    });
    let (sum, weight) = pieces.iter().fold((0.0, 0.0), |(sum, weight), piece| (sum + piece.1, weight + piece.2));
    Ok(Evaluated { sum, weight, gradient: Tensor { shape: output.shape.clone(), data: gradient } })
}

/// One row's target.
struct Row<'a> {
    class: usize,
    weights: Option<&'a [f64]>,
    smoothing: f64,
}

impl Row<'_> {
    fn weight(&self, class: usize) -> f64 {
        self.weights.map_or(1.0, |weights| weights[class])
    }

    /// Weighted share of the target that is on this class, of so many.
    fn target(&self, class: usize, classes: usize) -> f64 {
        let spread = self.smoothing / classes as f64;
        let share = if class == self.class { 1.0 - self.smoothing + spread } else { spread };
        share * self.weight(class)
    }

    fn of_logits(&self, logits: &[f32], gradient: &mut [f32]) -> f64 {
        let classes = logits.len();
        let top = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let sum: f64 = logits.iter().map(|logit| libm::exp(f64::from(*logit) - top)).sum();
        let shift = top + libm::log(sum);
        let (mut loss, mut total) = (0.0, 0.0);
        for (class, logit) in logits.iter().enumerate() {
            let target = self.target(class, classes);
            total += target;
            // A class without weight costs nothing, even where it is infinitely improbable.
            if target > 0.0 {
                loss += target * (shift - f64::from(*logit));
            }
        }
        for (class, (gradient, logit)) in gradient.iter_mut().zip(logits).enumerate() {
            let probability = libm::exp(f64::from(*logit) - shift);
            *gradient = (total * probability - self.target(class, classes)) as f32;
        }
        if shift.is_finite() { loss } else { f64::NAN }
    }

    fn of_probabilities(&self, probabilities: &[f32], gradient: &mut [f32]) -> f64 {
        let classes = probabilities.len();
        let mut loss = 0.0;
        for (class, (gradient, probability)) in gradient.iter_mut().zip(probabilities).enumerate() {
            let target = self.target(class, classes);
            let probability = f64::from(*probability);
            if probability.is_nan() {
                return f64::NAN;
            }
            let probability = probability.max(FLOOR);
            if target > 0.0 {
                loss -= target * libm::log(probability);
                *gradient = (-target / probability) as f32;
            }
        }
        loss
    }
}

/// Binary cross-entropy of each element. With class weights, those of class 0 and 1 count by their share.
pub(super) fn binary(objective: &Objective, compared: &Compared<'_>) -> Result<Evaluated, TrainError> {
    let output = compared.output;
    let count = output.data.len();
    let width = (count / output.shape[0].max(1)).max(1);
    let weights = match objective.weights.as_deref() {
        None => [1.0, 1.0],
        Some([zero, one]) => [*zero, *one],
        Some(_) => return Err(TrainError::Unfit("`class_weights` of bce are two")),
    };
    let given = match &compared.batch.targets {
        Targets::Classes(classes) => classes.len(),
        Targets::Numbers(numbers) => numbers.data.len(),
        Targets::Pairs(_) => return Err(compared.unfit("classes 0 and 1, or numbers from 0 to 1")),
    };
    if given != count {
        return Err(compared.unfit("one target for each of its elements"));
    }
    let mut evaluated =
        Evaluated { sum: 0.0, weight: 0.0, gradient: Tensor { shape: output.shape.clone(), data: vec![0.0; count] } };
    for (place, (score, gradient)) in output.data.iter().zip(&mut evaluated.gradient.data).enumerate() {
        let target = match &compared.batch.targets {
            Targets::Classes(classes) => match classes[place] {
                IGNORED => continue,
                0 => 0.0,
                1 => 1.0,
                _ => return Err(TrainError::Label { row: compared.row(place / width), classes: 2 }),
            },
            Targets::Numbers(numbers) => f64::from(numbers.data[place]),
            Targets::Pairs(_) => continue,
        };
        if !(0.0..=1.0).contains(&target) {
            return Err(TrainError::Target { row: compared.row(place / width) });
        }
        let weight = target * weights[1] + (1.0 - target) * weights[0];
        let target = target * (1.0 - objective.smoothing) + 0.5 * objective.smoothing;
        let score = f64::from(*score);
        let (loss, slope) =
            if objective.probabilities { of_probability(score, target) } else { of_logit(score, target) };
        evaluated.sum += weight * loss;
        evaluated.weight += weight;
        *gradient = (weight * slope) as f32;
    }
    Ok(evaluated)
}

/// `max(x, 0) - x·y + ln(1 + e^-|x|)`, which never overflows, and its slope.
fn of_logit(logit: f64, target: f64) -> (f64, f64) {
    let small = libm::exp(-logit.abs());
    let loss = logit.max(0.0) - logit * target + libm::log1p(small);
    let sigmoid = if logit >= 0.0 { 1.0 / (1.0 + small) } else { small / (1.0 + small) };
    // `max` drops a NaN.
    if logit.is_nan() { (f64::NAN, f64::NAN) } else { (loss, sigmoid - target) }
}

fn of_probability(probability: f64, target: f64) -> (f64, f64) {
    if probability.is_nan() {
        return (f64::NAN, f64::NAN);
    }
    let (yes, no) = (probability.max(FLOOR), (1.0 - probability).max(NEAR_ONE));
    let loss = -target * libm::log(yes) - (1.0 - target) * libm::log(no);
    (loss, (1.0 - target) / no - target / yes)
}
