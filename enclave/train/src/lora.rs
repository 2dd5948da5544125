//! Adapters of low rank: `W + alpha / rank · A·B` learns through `A` and `B` (Hu et al. 2021).
//!
//! A weight is taken as it lies in the file, `[rows, columns]`, whichever of the two is its input: `A` is
//! `[rows, rank]` and starts random, `B` is `[rank, columns]` and starts at zero, so the first forward pass
//! is the model's own.

mod npz;

use crate::{
    error::TrainError,
    kernel::{Bias, Team, View, gemm},
    seed::{Purpose, Stream, planned},
    weights::{Span, SpanKind, Weights},
};
use glacier_wire::training::{Lora, Seed};
use std::ops::Range;

/// The adapters of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapters {
    list: Vec<Adapter>,
    rank: usize,
    scale: f32,
    /// All `A` and `B`, adapter by adapter.
    factors: Vec<f32>,
    /// The adapted weights as they were, adapter by adapter.
    base: Vec<f32>,
}

/// One adapted weight.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Adapter {
    name: String,
    weight: Range<usize>,
    rows: usize,
    columns: usize,
    a: Range<usize>,
    b: Range<usize>,
    base: Range<usize>,
}

impl Adapters {
    /// Adapters for these spans of two dimensions.
    pub fn new(lora: &Lora, seed: &Seed, weights: &Weights, spans: &[&Span]) -> Result<Self, TrainError> {
        let rank = lora.rank as usize;
        let mut this = Self {
            list: Vec::new(),
            rank,
            scale: lora.alpha.get() / lora.rank as f32,
            factors: Vec::new(),
            base: Vec::new(),
        };
        for (number, span) in spans.iter().enumerate() {
            let (SpanKind::Parameter, [rows, columns]) = (span.kind, span.shape.as_slice()) else {
                return Err(TrainError::Layout);
            };
            let mut stream = Stream::new(&planned(seed, Purpose::Adapter, number as u64));
            // Uniform within the bound that PyTorch gives a linear layer.
            let bound = 1.0 / libm::sqrt((*rows).max(1) as f64);
            let (a, b) = (rows.checked_mul(rank), rank.checked_mul(*columns));
            let (Some(a), Some(b)) = (a, b) else { return Err(TrainError::Layout) };
            let a = grow(&mut this.factors, a, || ((2.0 * stream.unit() - 1.0) * bound) as f32);
            let b = grow(&mut this.factors, b, || 0.0);
            let mut values = weights.slice(span).iter().copied();
            let base = grow(&mut this.base, span.range.len(), || values.next().unwrap_or_default());
            let (name, weight) = (span.name.clone(), span.range.clone());
            this.list.push(Adapter { name, weight, rows: *rows, columns: *columns, a, b, base });
        }
        Ok(this)
    }

    /// Values that learn.
    pub fn factors(&self) -> &[f32] {
        &self.factors
    }

    /// Values that learn, to be moved.
    pub fn factors_mut(&mut self) -> &mut [f32] {
        &mut self.factors
    }

    /// The adapted weights as they were.
    pub fn base(&self) -> &[f32] {
        &self.base
    }

    /// Factors and base, to read a checkpoint back to.
    pub(crate) fn vectors_mut(&mut self) -> [&mut [f32]; 2] {
        [&mut self.factors, &mut self.base]
    }

    /// Writes each adapted weight: what it was, and the product of its factors.
    pub fn apply(&self, team: &Team, values: &mut [f32]) -> Result<(), TrainError> {
        for adapter in &self.list {
            let weight = values.get_mut(adapter.weight.clone()).ok_or(TrainError::Layout)?;
            weight.copy_from_slice(self.base.get(adapter.base.clone()).ok_or(TrainError::Layout)?);
            let (a, b) = self.views(adapter)?;
            gemm(team, self.scale, a, b, 1.0, weight, Bias::None);
        }
        Ok(())
    }

    /// Sets `into`, laid out like the factors, to their gradient, from that of all weights.
    pub fn gradient(&self, team: &Team, gradient: &[f32], into: &mut [f32]) -> Result<(), TrainError> {
        for adapter in &self.list {
            let by_weight = gradient.get(adapter.weight.clone()).ok_or(TrainError::Layout)?;
            let by_weight = View::new(by_weight, adapter.rows, adapter.columns);
            let (a, b) = self.views(adapter)?;
            let by_a = into.get_mut(adapter.a.clone()).ok_or(TrainError::Layout)?;
            gemm(team, self.scale, by_weight, b.transposed(), 0.0, by_a, Bias::None);
            let by_b = into.get_mut(adapter.b.clone()).ok_or(TrainError::Layout)?;
            gemm(team, self.scale, a.transposed(), by_weight, 0.0, by_b, Bias::None);
        }
        Ok(())
    }

    /// As `.npz`: of each weight `NAME` the arrays `NAME.A` and `NAME.B`; the refined weight is
    /// `NAME + NAME.A @ NAME.B`, the scale being in `B` already.
    pub fn export(&self) -> Result<Vec<u8>, TrainError> {
        let mut archive = npz::Writer::default();
        for adapter in &self.list {
            let a = self.factors.get(adapter.a.clone()).ok_or(TrainError::Layout)?;
            let b = self.factors.get(adapter.b.clone()).ok_or(TrainError::Layout)?;
            let b: Vec<f32> = b.iter().map(|value| value * self.scale).collect();
            archive.add(&format!("{}.A", adapter.name), [adapter.rows, self.rank], a)?;
            archive.add(&format!("{}.B", adapter.name), [self.rank, adapter.columns], &b)?;
        }
        archive.finish()
    }

    fn views(&self, adapter: &Adapter) -> Result<(View<'_>, View<'_>), TrainError> {
        let a = self.factors.get(adapter.a.clone()).ok_or(TrainError::Layout)?;
        let b = self.factors.get(adapter.b.clone()).ok_or(TrainError::Layout)?;
        Ok((View::new(a, adapter.rows, self.rank), View::new(b, self.rank, adapter.columns)))
    }
}

fn grow(values: &mut Vec<f32>, len: usize, next: impl FnMut() -> f32) -> Range<usize> {
    let start = values.len();
    values.extend(std::iter::repeat_with(next).take(len));
    start..values.len()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    fn weights() -> Weights {
        let span = |name: &str, shape: &[usize], range| Span {
            name: name.into(),
            shape: shape.to_vec(),
            range,
            kind: SpanKind::Parameter,
        };
        let spans = vec![span("bias", &[3], 0..3), span("w", &[3, 4], 3..15), span("v", &[2, 2], 15..19)];
        Weights::new(spans, (0..19).map(|place| (place as f32 * 0.7).sin()).collect()).unwrap()
    }

    fn adapters(weights: &Weights) -> Adapters {
        let lora = Lora { rank: 2, ..Lora::default() };
        Adapters::new(&lora, &Seed::from(5), weights, &[&weights.spans()[1], &weights.spans()[2]]).unwrap()
    }

    #[test]
    fn adapters_change_nothing_at_first() {
        let team = Team::new(1).unwrap();
        let weights = weights();
        let mut values = weights.values().to_vec();
        adapters(&weights).apply(&team, &mut values).unwrap();
        assert_eq!(values, weights.values());
        assert_ne!(adapters(&weights).factors()[..6], [0.0; 6]);
        let other = Adapters::new(&Lora::default(), &Seed::from(6), &weights, &[&weights.spans()[1]]).unwrap();
        assert_ne!(other.factors()[0], adapters(&weights).factors()[0]);
    }

    #[test]
    fn one_dimension_is_refused() {
        let weights = weights();
        let refused = Adapters::new(&Lora::default(), &Seed::from(5), &weights, &[&weights.spans()[0]]);
        assert_eq!(refused, Err(TrainError::Layout));
    }

    /// Gradients of a smooth function of the effective weights, against central differences.
    #[test]
    fn gradients_go_through_the_product() {
        let team = Team::new(1).unwrap();
        let weights = weights();
        let mut adapters = adapters(&weights);
        for (place, factor) in adapters.factors_mut().iter_mut().enumerate() {
            *factor += (place as f32 * 1.3).cos() * 0.3;
        }
        let value = |adapters: &Adapters| -> f64 {
            let mut values = weights.values().to_vec();
            adapters.apply(&team, &mut values).unwrap();
            values
                .iter()
                .enumerate()
                .map(|(place, value)| f64::from(*value).powi(2) * (place as f64 + 1.0) * 0.01)
                .sum()
        };
        let mut values = weights.values().to_vec();
        adapters.apply(&team, &mut values).unwrap();
        let by_weight: Vec<f32> =
            values.iter().enumerate().map(|(place, value)| 2.0 * value * (place as f32 + 1.0) * 0.01).collect();
        let mut found = vec![f32::NAN; adapters.factors().len()];
        adapters.gradient(&team, &by_weight, &mut found).unwrap();
        for (place, found) in found.iter().enumerate() {
            let mut moved = [adapters.clone(), adapters.clone()];
            moved[0].factors_mut()[place] -= 1e-2;
            moved[1].factors_mut()[place] += 1e-2;
            let numeric = (value(&moved[1]) - value(&moved[0])) / 2e-2;
            assert!((numeric - f64::from(*found)).abs() < 2e-3 * numeric.abs().max(1.0), "{place}");
        }
    }

    #[test]
    fn what_is_exported_adds_up_to_the_merged_weights() {
        let team = Team::new(1).unwrap();
        let weights = weights();
        let mut adapters = adapters(&weights);
        adapters.factors_mut().iter_mut().for_each(|factor| *factor += 0.25);
        let mut values = weights.values().to_vec();
        adapters.apply(&team, &mut values).unwrap();
        let arrays = npz::tests::read(&adapters.export().unwrap());
        let names: Vec<&str> = arrays.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["w.A.npy", "w.B.npy", "v.A.npy", "v.B.npy"]);
        assert_eq!((arrays[0].1, arrays[1].1), ([3, 2], [2, 4]));
        for row in 0..3 {
            for column in 0..4 {
                let product: f32 = (0..2).map(|k| arrays[0].2[row * 2 + k] * arrays[1].2[k * 4 + column]).sum();
                let place = 3 + row * 4 + column;
                assert!((weights.values()[place] + product - values[place]).abs() < 1e-5);
            }
        }
    }
}
