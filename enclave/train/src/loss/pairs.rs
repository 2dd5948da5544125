//! Losses over pairs: the first halves are the first rows of the output, the second halves follow.

#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "lengths are compared before each loop")]

use super::{
    Compared, Evaluated,
    numbers::{Cosine, NO_DIRECTION},
};
use crate::{error::TrainError, kernel::Team, source::Targets, tensor::Tensor};

/// Squared difference between the cosine of the halves and the target; one minus the cosine without one.
pub(super) fn cosine(compared: &Compared<'_>) -> Result<Evaluated, TrainError> {
    let scores = scores(compared)?;
    let output = compared.output;
    let pairs = output.shape[0] / 2;
    let width = output.data.len() / output.shape[0].max(1);
    let mut gradient = vec![0.0; output.data.len()];
    let (first, second) = output.data.split_at(pairs * width);
    let (first_gradient, second_gradient) = gradient.split_at_mut(pairs * width);
    let mut sum = 0.0;
    for pair in 0..pairs {
        let range = pair * width..(pair + 1) * width;
        let (left, right) = (&first[range.clone()], &second[range.clone()]);
        let cosine = Cosine::of(left, right);
        let (loss, slope) = match scores {
            Some(scores) => {
                let difference = cosine.value - f64::from(scores[pair]);
                (difference * difference, 2.0 * difference)
            }
            None => (1.0 - cosine.value, -1.0),
        };
        sum += loss;
        cosine.add_left(slope, left, right, &mut first_gradient[range.clone()]);
        cosine.turned().add_left(slope, right, left, &mut second_gradient[range]);
    }
    Ok(Evaluated { sum, weight: pairs as f64, gradient: Tensor { shape: output.shape.clone(), data: gradient } })
}

/// InfoNCE both ways: the mean of the cross-entropies of finding the second half by the first among all
/// second halves, and the other way round, over cosines divided by the temperature.
pub(super) fn contrastive(temperature: f64, team: &Team, compared: &Compared<'_>) -> Result<Evaluated, TrainError> {
    scores(compared)?;
    let output = compared.output;
    let pairs = output.shape[0] / 2;
    let width = output.data.len() / output.shape[0].max(1);
    let (units, norms) = normalised(&output.data, width);
    let (first, second) = units.split_at(pairs * width);
    let mut scores = vec![0.0f64; pairs * pairs];
    team.pieces(&mut scores, pairs.max(1), |row, scores| {
        for (column, score) in scores.iter_mut().enumerate() {
            *score = dot(&first[row * width..][..width], &second[column * width..][..width]) / temperature;
        }
    });
    let rows: Vec<f64> = (0..pairs).map(|row| log_sum(pairs, |column| scores[row * pairs + column])).collect();
    let columns: Vec<f64> = (0..pairs).map(|column| log_sum(pairs, |row| scores[row * pairs + column])).collect();
    let own = |pair: usize| scores[pair * pairs + pair];
    let sum = (0..pairs).map(|pair| 0.5 * (rows[pair] + columns[pair]) - own(pair)).sum();
    // By each score: the mean of the two probabilities, less one where a pair belongs together.
    let slope = |row: usize, column: usize| {
        let score = scores[row * pairs + column];
        let found = 0.5 * (libm::exp(score - rows[row]) + libm::exp(score - columns[column]));
        (found - f64::from(u8::from(row == column))) / temperature
    };
    let mut gradient = vec![0.0f32; output.data.len()];
    team.pieces(&mut gradient, width.max(1), |place, gradient| {
        let mut by_unit = vec![0.0f64; width];
        for other in 0..pairs {
            let (slope, others) =
                if place < pairs { (slope(place, other), second) } else { (slope(other, place - pairs), first) };
            for (by_unit, unit) in by_unit.iter_mut().zip(&others[other * width..][..width]) {
                *by_unit += slope * unit;
            }
        }
        if norms[place] < NO_DIRECTION {
            return;
        }
        let unit = &units[place * width..][..width];
        let along = dot(&by_unit, unit);
        for ((gradient, by_unit), unit) in gradient.iter_mut().zip(&by_unit).zip(unit) {
            *gradient = ((by_unit - along * unit) / norms[place]) as f32;
        }
    });
    Ok(Evaluated { sum, weight: pairs as f64, gradient: Tensor { shape: output.shape.clone(), data: gradient } })
}

/// Rows of length one, and how long they were. Those without direction are zero.
fn normalised(rows: &[f32], width: usize) -> (Vec<f64>, Vec<f64>) {
    let mut units: Vec<f64> = rows.iter().map(|value| f64::from(*value)).collect();
    let mut norms = Vec::with_capacity(rows.len() / width.max(1));
    for row in units.chunks_mut(width.max(1)) {
        let norm = dot(row, row).sqrt();
        let factor = if norm < NO_DIRECTION { 0.0 } else { 1.0 / norm };
        row.iter_mut().for_each(|value| *value *= factor);
        norms.push(norm);
    }
    (units, norms)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn log_sum(count: usize, of: impl Fn(usize) -> f64) -> f64 {
    let top = (0..count).map(&of).fold(f64::NEG_INFINITY, f64::max);
    top + libm::log((0..count).map(|place| libm::exp(of(place) - top)).sum())
}

fn scores<'a>(compared: &Compared<'a>) -> Result<Option<&'a [f32]>, TrainError> {
    let Targets::Pairs(scores) = &compared.batch.targets else { return Err(compared.unfit("pairs of rows")) };
    let Some(scores) = scores.as_deref() else { return Ok(None) };
    if scores.len() as u64 != compared.batch.rows {
        return Err(compared.unfit("one number for each pair"));
    }
    match scores.iter().position(|score| !score.is_finite()) {
        Some(place) => Err(TrainError::Target { row: compared.row(place) }),
        None => Ok(Some(scores)),
    }
}
