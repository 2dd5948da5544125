#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod hostile;
mod kinds;
mod resume;
mod tiny;

use super::*;
use crate::error::Fault;
use glacier_engine::onnx::Name;
use glacier_wire::{
    Nonce,
    training::{
        ClassWeights, EarlyStopping, Lora, LoraResult, Loss, Metric, Optimiser, Privacy, Real, Sampling, Schedule,
        Seed, Target, TrainingMetrics, Validation,
    },
};
use tiny::{Rows, Tiny};

const LIMITS: Limits = Limits { units: u64::MAX, epochs: u32::MAX, memory: u64::MAX };

fn real(value: f32) -> Real {
    Real::new(value).unwrap()
}

fn plan() -> TrainingPlan {
    TrainingPlan {
        epochs: 5,
        batch: 8,
        learning_rate: real(0.05),
        target: vec![Target::Column(0)],
        validation: Validation::Fraction(real(0.2)),
        ..TrainingPlan::default()
    }
}

/// Runs to the end.
fn run(plan: &TrainingPlan, network: Tiny, training: &mut Rows, validation: &mut Rows) -> (Finished, Vec<Event>) {
    let weights = network.weights();
    let mut sources = Sources { training, validation: Some(validation) };
    let noise = plan.privacy.map(|_| [7; 32]);
    let mut trainer = Trainer::new(plan.clone(), network, weights, &mut sources, LIMITS, noise).unwrap();
    let events = to_the_end(&mut trainer, &mut sources);
    (trainer.finish().unwrap(), events)
}

fn to_the_end(trainer: &mut Trainer<Tiny>, sources: &mut Sources<'_>) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        events.push(trainer.step(sources).unwrap());
        if matches!(events.last(), Some(Event::Done(_))) {
            return events;
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn last(finished: &Finished, metric: Metric) -> f32 {
    finished.epochs.last().unwrap().of(metric).unwrap()
}
