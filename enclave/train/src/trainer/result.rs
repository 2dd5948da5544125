//! What comes of a run.

use super::{Differentiable, Trainer};
use crate::{error::TrainError, weights::Weights};
use glacier_wire::{
    Digest,
    training::{Ending, EpochMetrics, LoraResult, PrivacySpent, TrainingMetrics, TrainingRecord},
};

/// A run that has ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Refined weights; those of the best epoch where the plan stops early. Adapters are merged into them.
    pub weights: Weights,
    /// The adapters by themselves, as `.npz`, where the plan wants those as the result.
    pub adapter: Option<Vec<u8>>,
    /// How good the model was after each epoch.
    pub epochs: Vec<EpochMetrics>,
    /// How it ended.
    pub ending: Ending,
    /// Epoch whose weights these are, from 1.
    pub best: u32,
    /// What it cost the rows' privacy, where the plan counts it.
    pub privacy: Option<PrivacySpent>,
    plan: Digest,
    seed: Digest,
    digests: Vec<Digest>,
    steps: u64,
    rows: u64,
    units: u64,
}

/// What a run comes to that follows from plan, model and data before anything is learnt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Foreseen {
    /// [`TrainingRecord::weights_digest`] of the initial weights.
    pub weights: Digest,
    /// Steps, where nothing stops it early.
    pub steps: u64,
    /// What so many steps spend of the rows' privacy, where the plan counts it.
    pub privacy: Option<PrivacySpent>,
}

/// What the record says that a run does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts<'a> {
    /// The model asset.
    pub model: Digest,
    /// The data assets, in the record's order.
    pub data: Vec<Digest>,
    /// This run's metrics, under their salt.
    pub metrics: &'a TrainingMetrics,
    /// BLAKE3 of the result as it is handed over.
    pub result: Digest,
    /// Kind of processor.
    pub processor: String,
    /// Threads that worked.
    pub threads: u32,
}

impl<N: Differentiable> Trainer<N> {
    /// What the whole run comes to.
    pub fn foreseen(&self) -> Foreseen {
        let steps = self.length.steps.saturating_mul(u64::from(self.plan.epochs));
        let privacy = super::start::spent(&self.plan, &self.length, steps);
        Foreseen { weights: TrainingRecord::weights_digest(self.weights.values()), steps, privacy }
    }

    /// The result of a run that has ended.
    pub fn finish(mut self) -> Result<Finished, TrainError> {
        let ending = self.position.ending.ok_or(TrainError::Unfit("the run has not ended"))?;
        let mut best = self.position.epoch;
        if let Some(kept) = self.best.take() {
            best = kept.epoch;
            restore(self.weights.values_mut(), &kept.weights)?;
            if let Some(adapters) = self.learner.adapters_mut() {
                restore(adapters.factors_mut(), &kept.factors)?;
            }
        }
        let wanted = self.plan.lora.as_ref().is_some_and(|lora| lora.result == LoraResult::Adapter);
        let adapter = match self.learner.adapters().filter(|_| wanted) {
            Some(adapters) => Some(adapters.export()?),
            None => None,
        };
        let privacy = self.privacy_spent();
        Ok(Finished {
            adapter,
            ending,
            best,
            privacy,
            plan: self.plan.digest(),
            seed: TrainingRecord::seed_digest(&self.plan.seed),
            weights: self.weights,
            epochs: self.history.epochs,
            digests: self.history.weights,
            steps: self.position.steps,
            rows: self.position.rows,
            units: self.position.units,
        })
    }
}

impl Finished {
    /// Optimiser's steps.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Rows that were learnt from, each counted in each epoch.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Multiply-accumulates.
    pub fn units(&self) -> u64 {
        self.units
    }

    /// What the Work Proof commits to.
    pub fn record(&self, facts: Facts<'_>) -> Result<TrainingRecord, TrainError> {
        let Facts { model, data, metrics, result, processor, threads } = facts;
        if metrics.epochs != self.epochs {
            return Err(TrainError::Unfit("the metrics are of another run"));
        }
        let (initial, epochs) = self.digests.split_first().ok_or(TrainError::Layout)?;
        Ok(TrainingRecord {
            plan: self.plan,
            model,
            data,
            chain: TrainingRecord::chain(*initial, epochs),
            weights: self.digests.clone(),
            best: self.best,
            ending: self.ending,
            metrics: metrics.commitment(),
            steps: self.steps,
            rows: self.rows,
            units: self.units,
            result,
            privacy: self.privacy,
            seed: self.seed,
            processor,
            threads,
        })
    }
}

fn restore(values: &mut [f32], kept: &[f32]) -> Result<(), TrainError> {
    if values.len() != kept.len() {
        return Err(TrainError::Layout);
    }
    values.copy_from_slice(kept);
    Ok(())
}
