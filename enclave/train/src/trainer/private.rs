//! The gradient of a private step (Abadi et al. 2016, algorithm 1).

use super::{Differentiable, Trainer, pass};
use crate::{
    error::TrainError,
    source::{Batch, Sources},
};
use glacier_wire::training::Privacy;

/// Rows that are fetched at once.
const FETCHED: usize = 256;

impl<N: Differentiable> Trainer<N> {
    /// Sum of the clipped gradients of single rows, noised, over the batch size of the plan (not the number
    /// of rows drawn, which is itself private). The losses' sum and weight, and the norm of that mean.
    pub(super) fn private_gradient(&mut self, sources: &mut Sources<'_>) -> Result<(f64, f64, f64), TrainError> {
        let Some(privacy) = self.plan.privacy else { return Err(TrainError::Layout) };
        let noise = self.noise.clone().ok_or(TrainError::Unfit("`privacy` needs a key for its noise"))?;
        let mut sum = vec![0.0f32; self.learner.len()];
        let (mut loss, mut weight) = (0.0, 0.0);
        if self.samples() {
            let probability = (f64::from(self.plan.batch) / self.length.counted.max(1) as f64).min(1.0);
            let places = noise.sample(self.position.steps, self.length.counted, probability);
            for places in places.chunks(FETCHED) {
                let batch = sources.training.pick(places)?;
                let batch = batch.ok_or(TrainError::Unfit("Poisson sampling needs data that fits the memory"))?;
                if batch.rows != places.len() as u64 {
                    return Err(TrainError::Rows { expected: places.len() as u64, found: batch.rows });
                }
                let (more, heavier) = self.clipped(&batch, &privacy, &mut sum)?;
                loss += more;
                weight += heavier;
            }
        } else {
            let before = self.position.epoch_rows;
            let wanted = self.length.rows.saturating_sub(before).min(u64::from(self.plan.batch));
            let batch = pass::exactly(sources.training, wanted, before, self.length.counted)?;
            (loss, weight) = self.clipped(&batch, &privacy, &mut sum)?;
        }
        let deviation = f64::from(privacy.noise.get()) * f64::from(privacy.clip.get());
        noise.add(self.position.steps, deviation, &mut sum);
        self.learner.scatter(&sum, &mut self.gradient)?;
        let mean = 1.0 / self.plan.batch as f32;
        self.learner.scale(self.network.team(), mean, &mut self.gradient)?;
        let norm = crate::kernel::squared_norm(self.network.team(), &sum).sqrt() * f64::from(mean);
        self.check_norm(norm)?;
        Ok((loss, weight, norm))
    }

    /// Adds the clipped gradient of each row. A row whose loss or gradient is no number adds nothing: a run that
    /// ended for it, or named it, would tell whether the row is there, at no cost in epsilon.
    fn clipped(&mut self, batch: &Batch, privacy: &Privacy, sum: &mut [f32]) -> Result<(f64, f64), TrainError> {
        let clip = f64::from(privacy.clip.get());
        let (mut loss, mut weight) = (0.0, 0.0);
        for place in 0..usize::try_from(batch.rows).unwrap_or(0) {
            let row = batch.row(place).ok_or(TrainError::Layout)?;
            self.gradient.fill(0.0);
            let counted = match self.add_gradient(&row, self.position.epoch_rows, false) {
                Err(
                    TrainError::NotFinite { .. }
                    | TrainError::Target { .. }
                    | TrainError::Label { .. }
                    | TrainError::Index(_),
                ) => None,
                other => Some(other?),
            };
            self.position.epoch_rows = self.position.epoch_rows.saturating_add(1);
            self.position.rows = self.position.rows.saturating_add(1);
            let Some((more, heavier)) = counted else { continue };
            let norm = self.learner.take(self.network.team(), &self.gradient)?.sqrt();
            if !norm.is_finite() {
                continue;
            }
            let factor = if norm > clip { clip / norm } else { 1.0 };
            self.learner.gather(self.network.team(), factor as f32, &self.gradient, sum)?;
            loss += more;
            weight += heavier;
        }
        Ok((loss, weight))
    }
}
