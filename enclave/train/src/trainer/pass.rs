//! Batches through the network, and what comes of them.

use super::{Differentiable, StepReport, Trainer};
use crate::{
    error::{Fault, TrainError},
    loss::{Compared, Evaluated, Objective},
    metric::{Meter, real},
    network::Mode,
    seed::{Purpose, planned},
    source::{Batch, Source, Sources},
    tensor::{Tensor, Value},
};
use glacier_engine::onnx::Name;
use glacier_wire::training::Real;

/// The next `wanted` rows, no fewer: `before` rows of so many in all came already.
pub(super) fn exactly(source: &mut dyn Source, wanted: u64, before: u64, all: u64) -> Result<Batch, TrainError> {
    let batch = source.next(usize::try_from(wanted).unwrap_or(usize::MAX))?;
    match batch {
        Some(batch) if batch.rows == wanted => Ok(batch),
        Some(batch) => Err(TrainError::Rows { expected: all, found: before.saturating_add(batch.rows) }),
        None => Err(TrainError::Rows { expected: all, found: before }),
    }
}

/// Reads a pass to its end, of which `before` rows came already: there are so many rows in all, and no more.
pub(super) fn ended(source: &mut dyn Source, before: u64, all: u64) -> Result<(), TrainError> {
    source.skip(all.saturating_sub(before))?;
    match source.next(1)? {
        None => Ok(()),
        Some(_) => Err(TrainError::Rows { expected: all, found: all.saturating_add(1) }),
    }
}

impl<N: Differentiable> Trainer<N> {
    /// One step of the optimiser.
    pub(super) fn learn(&mut self, sources: &mut Sources<'_>) -> Result<StepReport, TrainError> {
        self.stand(sources)?;
        self.gradient.fill(0.0);
        let (sum, weight, norm) =
            if self.plan.privacy.is_some() { self.private_gradient(sources)? } else { self.mean_gradient(sources)? };
        let rate = self.rates.at(self.position.steps);
        if weight > 0.0 || self.plan.privacy.is_some() {
            let number = self.position.moves.saturating_add(1);
            let (team, values) = (self.network.team(), self.weights.values_mut());
            self.learner.step(team, &mut self.moments, (number, rate), &self.gradient, values)?;
            self.position.moves = number;
        }
        let position = &mut self.position;
        position.steps = position.steps.saturating_add(1);
        position.epoch_steps = position.epoch_steps.saturating_add(1);
        position.loss += sum;
        position.weight += weight;
        position.passed = sources.training.passed();
        let every = u64::from(self.plan.checkpoint_every);
        Ok(StepReport {
            epoch: position.epoch.saturating_add(1),
            step: position.steps,
            steps: self.length.steps.saturating_mul(u64::from(self.plan.epochs)),
            loss: (sum / weight.max(f64::MIN_POSITIVE)) as f32,
            rate,
            norm,
            checkpoint: position.steps.checked_rem(every) == Some(0),
        })
    }

    /// Gradient of the mean loss of the step's rows, clipped; the sum of losses, that of their weights, and
    /// the norm before clipping.
    fn mean_gradient(&mut self, sources: &mut Sources<'_>) -> Result<(f64, f64, f64), TrainError> {
        let (mut sum, mut weight) = (0.0, 0.0);
        for _ in 0..self.plan.accumulate {
            let before = self.position.epoch_rows;
            let wanted = self.length.rows.saturating_sub(before).min(u64::from(self.plan.batch));
            if wanted == 0 {
                break;
            }
            let batch = exactly(sources.training, wanted, before, self.length.counted)?;
            let (batch_sum, batch_weight) = self.add_gradient(&batch, before, self.plan.accumulate == 1)?;
            sum += batch_sum;
            weight += batch_weight;
            self.position.epoch_rows = before.saturating_add(wanted);
            self.position.rows = self.position.rows.saturating_add(wanted);
        }
        // A weight of zero: no row of these has a target.
        let mean = match self.plan.accumulate {
            1 => 1.0,
            _ if weight > 0.0 => 1.0 / weight,
            _ => 0.0,
        };
        let norm = self.learner.take(self.network.team(), &self.gradient)?.sqrt() * mean;
        self.check_norm(norm)?;
        let clip = self.plan.clip_norm.map_or(f64::INFINITY, |clip| f64::from(clip.get()));
        let factor = mean * if norm > clip { clip / norm } else { 1.0 };
        if factor != 1.0 {
            self.learner.scale(self.network.team(), factor as f32, &mut self.gradient)?;
        }
        Ok((sum, weight, norm))
    }

    /// Adds the gradient of the summed loss of one batch, or of its mean. Gives the sum of the losses, and that
    /// of their weights.
    pub(super) fn add_gradient(&mut self, batch: &Batch, before: u64, mean: bool) -> Result<(f64, f64), TrainError> {
        self.afford(batch, 3)?;
        let dropout = planned(&self.plan.seed, Purpose::Dropout, self.position.batches);
        let mut outputs = self.network.forward(&mut self.weights, &batch.inputs, Mode::Train { dropout })?;
        self.spend(3);
        self.position.batches = self.position.batches.saturating_add(1);
        let output = self.output_of(&mut outputs)?;
        let Evaluated { sum, weight, mut gradient } = self.evaluate(&self.objective, &output, batch, before)?;
        if !sum.is_finite() {
            return Err(self.not_finite(self.blame(&output, batch)));
        }
        if mean && weight > 0.0 {
            // Here it is a few numbers; after the backward pass, as many as there are weights.
            gradient.data.iter_mut().for_each(|slope| *slope = (f64::from(*slope) / weight) as f32);
        }
        let mut seeds = vec![None; self.network.outputs().len()];
        if let Some(seed) = seeds.get_mut(self.output) {
            *seed = Some(gradient);
        }
        self.network.backward(&self.weights, seeds, &mut self.gradient)?;
        Ok((sum, weight))
    }

    /// Adds a batch of validation rows to the meter.
    pub(super) fn measure(
        &mut self,
        objective: &Objective,
        meter: &mut Meter,
        batch: &Batch,
        before: u64,
    ) -> Result<(), TrainError> {
        self.afford(batch, 1)?;
        let mut outputs = self.network.forward(&mut self.weights, &batch.inputs, Mode::Evaluate)?;
        self.spend(1);
        let output = self.output_of(&mut outputs)?;
        let evaluated = self.evaluate(objective, &output, batch, before)?;
        if !evaluated.sum.is_finite() {
            return Err(self.not_finite(self.blame(&output, batch)));
        }
        let compared = Compared { output: &output, name: self.output_name(), batch, before };
        meter.add(&compared, evaluated.sum, evaluated.weight)
    }

    /// Whether `times` a forward pass over this batch may still be spent.
    fn afford(&mut self, batch: &Batch, times: u64) -> Result<(), TrainError> {
        let extents = |value: &Value| value.shape().iter().map(|extent| *extent as u64).collect();
        let shapes: Vec<Vec<u64>> = batch.inputs.iter().map(extents).collect();
        let cost = self.network.cost(&shapes)?.saturating_mul(times);
        let needed = self.position.units.saturating_add(cost);
        if needed > self.limits.units {
            return Err(TrainError::Units { needed, limit: self.limits.units });
        }
        Ok(())
    }

    fn spend(&mut self, times: u64) {
        let spent = self.network.macs().saturating_mul(times);
        self.position.units = self.position.units.saturating_add(spent);
    }

    fn output_of(&self, outputs: &mut Vec<Value>) -> Result<Tensor, TrainError> {
        if self.output >= outputs.len() {
            return Err(TrainError::Layout);
        }
        match outputs.swap_remove(self.output) {
            Value::Float(output) => Ok(output),
            Value::Int(_) => Err(TrainError::Unfit("the output to train on is not floating point")),
        }
    }

    fn output_name(&self) -> &str {
        self.network.outputs().get(self.output).map_or("", |port| port.name.as_str())
    }

    fn evaluate(
        &self,
        objective: &Objective,
        output: &Tensor,
        batch: &Batch,
        before: u64,
    ) -> Result<Evaluated, TrainError> {
        objective.evaluate(self.network.team(), &Compared { output, name: self.output_name(), batch, before })
    }

    /// What made a loss that is not finite.
    fn blame(&self, output: &Tensor, batch: &Batch) -> Fault {
        for (value, port) in batch.inputs.iter().zip(self.network.inputs()) {
            if let Some(column) = value.float().and_then(bad_column) {
                return Fault::Input { input: Name::new(&port.name), column };
            }
        }
        match bad_column(output) {
            Some(column) => Fault::Output { output: Name::new(self.output_name()), column },
            None => Fault::Loss,
        }
    }

    /// An error that says where the run is.
    pub(super) fn not_finite(&self, fault: Fault) -> TrainError {
        let (epoch, batch, step) = self.place();
        TrainError::NotFinite { epoch, batch, step, fault }
    }

    /// Refuses a gradient that is not finite or larger than the plan allows.
    pub(super) fn check_norm(&self, norm: f64) -> Result<(), TrainError> {
        if !norm.is_finite() {
            return Err(self.not_finite(self.learner.fault(&self.gradient, &self.weights)));
        }
        if norm > f64::from(self.plan.gradient_limit.get()) {
            let (epoch, batch, step) = self.place();
            let norm = real(norm).unwrap_or(Real::ZERO);
            return Err(TrainError::Exploded { epoch, batch, step, norm, limit: self.plan.gradient_limit });
        }
        Ok(())
    }

    /// Refuses weights that are not finite.
    pub(super) fn check_weights(&self) -> Result<(), TrainError> {
        let spans = self.weights.spans().iter();
        let mut bad = spans.filter(|span| self.weights.slice(span).iter().any(|value| !value.is_finite()));
        match bad.next() {
            Some(span) => Err(self.not_finite(Fault::Weight { weight: Name::new(&span.name) })),
            None => Ok(()),
        }
    }

    /// Epoch, batch of it and step, each from 1: where the run is.
    fn place(&self) -> (u32, u64, u64) {
        let batches = self.position.epoch_rows.div_ceil(u64::from(self.plan.batch).max(1));
        let epoch = self.position.epoch.saturating_add(1);
        (epoch, batches.saturating_add(1), self.position.steps.saturating_add(1))
    }
}

/// Place in its row of the first element that is not finite.
fn bad_column(tensor: &Tensor) -> Option<u64> {
    let place = tensor.data.iter().position(|value| !value.is_finite())?;
    let rows = tensor.shape.first().copied().unwrap_or(1).max(1);
    let width = tensor.data.len().checked_div(rows).unwrap_or(1).max(1);
    place.checked_rem(width).map(|column| column as u64)
}
