//! A run: plan, weights and position, moved on one step at a time.
//!
//! A run is a function of model, data, plan and (for a private plan) the noise's key. It can be put down
//! between any two steps as [`Trainer::state`] and taken up by [`Trainer::resume`], and ends in the same bits.
//! A step that fails leaves everything as it was before it.

mod learner;
mod model;
mod pass;
mod private;
mod result;
mod start;
mod state;

use crate::{
    error::TrainError,
    kernel::Team,
    loss::Objective,
    metric::Meter,
    network::Mode,
    optimiser::Moments,
    privacy::Noise,
    schedule::Rates,
    source::Sources,
    tensor::{Tensor, Value},
    weights::Weights,
};
use glacier_engine::Port;
use glacier_wire::{
    Digest,
    training::{Ending, EpochMetrics, PrivacySpent, TrainingPlan, TrainingRecord},
};
use learner::Learner;

pub use model::Model;
pub use result::{Facts, Finished, Foreseen};
pub(crate) use start::trained_output;

/// A graph that gives outputs and gradients: [`Model`], or a small one of a test's own.
pub trait Differentiable {
    /// What it takes, in its order.
    fn inputs(&self) -> &[Port];
    /// What it gives, in its order.
    fn outputs(&self) -> &[Port];
    /// The threads that work.
    fn team(&self) -> &Team;
    /// Says which spans take no gradient, by their order.
    fn freeze(&mut self, frozen: &[bool]) -> Result<(), TrainError>;
    /// The outputs of a whole batch.
    fn forward(&mut self, weights: &mut Weights, inputs: &[Value], mode: Mode) -> Result<Vec<Value>, TrainError>;
    /// Adds the gradient of the last forward pass to `gradient`.
    fn backward(
        &mut self,
        weights: &Weights,
        seeds: Vec<Option<Tensor>>,
        gradient: &mut [f32],
    ) -> Result<(), TrainError>;
    /// Multiply-accumulates of the last forward pass.
    fn macs(&self) -> u64;
    /// At least what [`macs`](Self::macs) will be after a forward pass over inputs of these shapes.
    fn cost(&mut self, inputs: &[Vec<u64>]) -> Result<u64, TrainError>;
    /// Whether an output, by its place, ends in a Softmax or Sigmoid.
    fn gives_probabilities(&self, output: usize) -> bool;
}

/// What a run may use. A run that would use more is refused before it starts, where that can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Multiply-accumulates: one for each of a forward pass, two for a backward pass.
    pub units: u64,
    /// Passes over the data.
    pub epochs: u32,
    /// Bytes of weights, gradients, moments and their copies; what the network and the data hold is theirs
    /// to bound.
    pub memory: u64,
}

/// What a call of [`Trainer::step`] did.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// One step of the optimiser.
    Step(StepReport),
    /// The epoch is over: validation was measured.
    Epoch {
        /// How good the model is now.
        metrics: EpochMetrics,
        /// [`TrainingRecord::weights_digest`] of the weights now.
        weights: Digest,
        /// Whether a checkpoint is due.
        checkpoint: bool,
    },
    /// The run has ended: [`Trainer::finish`] has the result.
    Done(Ending),
}

/// One step of the optimiser.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// From 1.
    pub epoch: u32,
    /// Of the run, from 1.
    pub step: u64,
    /// Steps that the plan comes to.
    pub steps: u64,
    /// Mean loss of the step's rows.
    pub loss: f32,
    /// Learning rate.
    pub rate: f32,
    /// Norm of the gradient before it was clipped; with `privacy`, of the noised mean.
    pub norm: f64,
    /// Whether a checkpoint is due.
    pub checkpoint: bool,
}

/// A run.
pub struct Trainer<N> {
    plan: TrainingPlan,
    network: N,
    weights: Weights,
    learner: Learner,
    moments: Moments,
    objective: Objective,
    /// Place of the output that the loss is of.
    output: usize,
    rates: Rates,
    length: Length,
    limits: Limits,
    noise: Option<Noise>,
    /// Gradient of all weights.
    gradient: Vec<f32>,
    position: Position,
    history: History,
    best: Option<Best>,
    /// Whether the source stands where `position` says.
    placed: bool,
    /// Names the rows that the run is over, those that are only measured too.
    content: Digest,
}

/// How much there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Length {
    /// Rows that an epoch learns from, and that there are.
    rows: u64,
    counted: u64,
    /// Validation rows that are measured, and that there are.
    validation: u64,
    validation_counted: u64,
    /// Steps of an epoch.
    steps: u64,
}

/// How far a run is. All that a step may change beside weights and moments.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Position {
    /// Epochs that are over.
    epoch: u32,
    /// Steps and rows of this epoch.
    epoch_steps: u64,
    epoch_rows: u64,
    /// Batches and rows of the run.
    batches: u64,
    rows: u64,
    /// Steps of the run, and those of them that moved something.
    steps: u64,
    moves: u64,
    /// Weighted sum of this epoch's losses, and sum of the weights.
    loss: f64,
    weight: f64,
    units: u64,
    /// Epochs since the watched metric was better.
    waited: u32,
    ending: Option<Ending>,
    /// What this epoch's pass had read when its last step was over: [`Source::passed`](crate::source::Source::passed).
    passed: Digest,
}

impl Position {
    const START: Self = Self {
        epoch: 0,
        epoch_steps: 0,
        epoch_rows: 0,
        batches: 0,
        rows: 0,
        steps: 0,
        moves: 0,
        loss: 0.0,
        weight: 0.0,
        units: 0,
        waited: 0,
        ending: None,
        passed: Digest::ZERO,
    };
}

/// What the record will say of the epochs.
#[derive(Debug, Clone, PartialEq)]
struct History {
    /// Of the weights before the first epoch and after each.
    weights: Vec<Digest>,
    epochs: Vec<EpochMetrics>,
}

/// The best weights so far.
#[derive(Debug, Clone, PartialEq)]
struct Best {
    epoch: u32,
    value: f32,
    weights: Vec<f32>,
    factors: Vec<f32>,
}

impl<N: Differentiable> Trainer<N> {
    /// Moves on: one step, the end of an epoch, or the end of the run.
    ///
    /// # Errors
    /// Each names where. Everything is as before the step; tried again it fails again, unless source or
    /// limits were to blame.
    pub fn step(&mut self, sources: &mut Sources<'_>) -> Result<Event, TrainError> {
        if self.position.ending.is_some() {
            return Err(TrainError::Ended);
        }
        if let Some(ending) = self.ending() {
            self.position.ending = Some(ending);
            return Ok(Event::Done(ending));
        }
        let before = self.position;
        let statistics = self.learner.statistics(self.weights.values());
        let over = self.position.epoch_steps >= self.length.steps;
        let done = if over { self.end_epoch(sources) } else { self.learn(sources).map(Event::Step) };
        if done.is_err() {
            self.position = before;
            self.placed = false;
            self.learner.restore(&statistics, self.weights.values_mut());
        }
        done
    }

    /// The weights as they are now.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The plan.
    pub fn plan(&self) -> &TrainingPlan {
        &self.plan
    }

    /// Multiply-accumulates so far.
    pub fn units(&self) -> u64 {
        self.position.units
    }

    /// Steps of an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.length.steps
    }

    /// Epochs measured so far, in order.
    pub fn epochs(&self) -> &[EpochMetrics] {
        &self.history.epochs
    }

    /// What the steps so far spend of the rows' privacy, where the plan counts it.
    pub fn privacy_spent(&self) -> Option<PrivacySpent> {
        start::spent(&self.plan, &self.length, self.position.steps)
    }

    fn ending(&self) -> Option<Ending> {
        let patience = self.plan.early_stopping.map(|stopping| stopping.patience);
        match patience {
            _ if self.position.epoch >= self.plan.epochs => Some(Ending::Completed),
            Some(patience) if self.position.waited >= patience => Some(Ending::Early),
            _ => None,
        }
    }

    fn end_epoch(&mut self, sources: &mut Sources<'_>) -> Result<Event, TrainError> {
        self.check_end(sources)?;
        let validation = self.validate(sources)?;
        self.check_weights()?;
        let mean = self.position.loss / self.position.weight.max(f64::MIN_POSITIVE);
        let loss = crate::metric::real(mean).ok_or(TrainError::Unfit("no row of the epoch has a target"))?;
        let metrics =
            EpochMetrics { epoch: self.position.epoch.saturating_add(1), steps: self.position.steps, loss, validation };
        self.watch(&metrics);
        let weights = TrainingRecord::weights_digest(self.weights.values());
        self.history.weights.push(weights);
        self.history.epochs.push(metrics.clone());
        self.position = Position {
            epoch: metrics.epoch,
            epoch_steps: 0,
            epoch_rows: 0,
            loss: 0.0,
            weight: 0.0,
            passed: Digest::ZERO,
            ..self.position
        };
        self.placed = false;
        Ok(Event::Epoch { metrics, weights, checkpoint: true })
    }

    /// Brings the source to where the run is. What it reads again on the way is what was read before, or this is
    /// not the data that the steps so far were made from.
    fn stand(&mut self, sources: &mut Sources<'_>) -> Result<(), TrainError> {
        if self.placed || self.samples() {
            return Ok(());
        }
        sources.training.begin(self.position.epoch)?;
        sources.training.skip(self.position.epoch_rows)?;
        if self.position.epoch_steps > 0 && sources.training.passed() != self.position.passed {
            return Err(TrainError::Checkpoint("it was made from other rows"));
        }
        self.placed = true;
        Ok(())
    }

    /// Whether the source has no more rows than it counted. Also where the run was put down after the last step of
    /// the epoch: the pass that the step was made from has not been read to its end since.
    fn check_end(&mut self, sources: &mut Sources<'_>) -> Result<(), TrainError> {
        if self.samples() {
            return Ok(());
        }
        self.stand(sources)?;
        pass::ended(&mut *sources.training, self.position.epoch_rows, self.length.counted)
    }

    /// Keeps the weights if the watched metric is better than ever.
    fn watch(&mut self, metrics: &EpochMetrics) {
        let Some(stopping) = self.plan.early_stopping else { return };
        let delta = stopping.min_delta.get();
        let value = metrics.of(stopping.metric);
        let better = value.is_some_and(|value| {
            self.best.as_ref().is_none_or(|best| match stopping.metric.lower_is_better() {
                true => value < best.value - delta,
                false => value > best.value + delta,
            })
        });
        let Some(value) = value.filter(|_| better) else {
            self.position.waited = self.position.waited.saturating_add(1);
            return;
        };
        self.position.waited = 0;
        let weights = self.weights.values().to_vec();
        let factors = self.learner.factors().to_vec();
        self.best = Some(Best { epoch: metrics.epoch, value, weights, factors });
    }

    /// Measures the validation rows.
    fn validate(&mut self, sources: &mut Sources<'_>) -> Result<Vec<glacier_wire::training::Measured>, TrainError> {
        let Some(source) = &mut sources.validation else { return Ok(Vec::new()) };
        let plain = self.objective.plain();
        let mut meter = Meter::new(&plain, &start::metrics(&self.plan));
        source.begin(0)?;
        let mut done = 0u64;
        while done < self.length.validation {
            let wanted = self.length.validation.saturating_sub(done).min(u64::from(self.plan.batch));
            let batch = pass::exactly(&mut **source, wanted, done, self.length.validation_counted)?;
            self.measure(&plain, &mut meter, &batch, done)?;
            done = done.saturating_add(wanted);
        }
        pass::ended(&mut **source, done, self.length.validation_counted)?;
        Ok(meter.read())
    }

    /// Whether each step draws its own rows.
    fn samples(&self) -> bool {
        self.plan.privacy.is_some_and(|privacy| privacy.sampling == glacier_wire::training::Sampling::Poisson)
    }
}

#[cfg(test)]
mod tests;
