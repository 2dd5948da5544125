//! How gradients become steps.

use crate::{
    error::TrainError,
    kernel::{AdamStep, SgdStep, Team, adam_step, sgd_step},
};
use glacier_wire::training::{Optimiser, TrainingPlan};

/// A rule and what it remembers of the steps before.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    rule: Rule,
    decay: f32,
    first: Vec<f32>,
    second: Vec<f32>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Rule {
    Sgd { momentum: f32, nesterov: bool },
    Adam { beta1: f32, beta2: f32, epsilon: f32, decoupled: bool },
}

/// Values that learn, with their gradient.
#[derive(Debug)]
pub struct Part<'a> {
    /// What moves.
    pub values: &'a mut [f32],
    /// As many.
    pub gradient: &'a [f32],
    /// Place of the first of them among all that learns.
    pub at: usize,
    /// Whether weight decay touches them.
    pub decays: bool,
}

impl Moments {
    /// The plan's rule for so many values, with nothing remembered.
    pub fn new(plan: &TrainingPlan, len: usize) -> Self {
        let real = |value: Option<glacier_wire::training::Real>, default| value.map_or(default, |value| value.get());
        let rule = match plan.optimiser {
            Optimiser::Sgd => Rule::Sgd { momentum: real(plan.momentum, 0.0), nesterov: plan.nesterov },
            other => Rule::Adam {
                beta1: real(plan.beta1, 0.9),
                beta2: real(plan.beta2, 0.999),
                epsilon: real(plan.epsilon, 1e-8),
                decoupled: other == Optimiser::AdamW,
            },
        };
        let (first, second) = rule.needs();
        let memory = |needed: bool| vec![0.0; if needed { len } else { 0 }];
        Self { rule, decay: plan.weight_decay.get(), first: memory(first), second: memory(second) }
    }

    /// Values that are remembered for each one that learns.
    pub fn per_value(plan: &TrainingPlan) -> u64 {
        let (first, second) = Self::new(plan, 0).rule.needs();
        u64::from(first).saturating_add(u64::from(second))
    }

    /// Moves one part by step `number`, counted from 1.
    pub fn step(&mut self, team: &Team, number: u64, rate: f32, part: Part<'_>) -> Result<(), TrainError> {
        let Part { values, gradient, at, decays } = part;
        let end = at.checked_add(values.len()).ok_or(TrainError::Layout)?;
        if gradient.len() != values.len() {
            return Err(TrainError::Layout);
        }
        let weight_decay = if decays { self.decay } else { 0.0 };
        match self.rule {
            Rule::Sgd { momentum, nesterov } => {
                let velocity = match momentum {
                    0.0 => &mut [][..],
                    _ => self.first.get_mut(at..end).ok_or(TrainError::Layout)?,
                };
                sgd_step(team, &SgdStep { rate, momentum, nesterov, weight_decay }, gradient, velocity, values);
            }
            Rule::Adam { beta1, beta2, epsilon, decoupled } => {
                let first = self.first.get_mut(at..end).ok_or(TrainError::Layout)?;
                let second = self.second.get_mut(at..end).ok_or(TrainError::Layout)?;
                let step = AdamStep { step: number, rate, beta1, beta2, epsilon, weight_decay, decoupled };
                adam_step(team, &step, gradient, first, second, values);
            }
        }
        Ok(())
    }

    /// What is remembered, for a checkpoint.
    pub(crate) fn memory(&self) -> [&[f32]; 2] {
        [&self.first, &self.second]
    }

    /// Where it is read back to.
    pub(crate) fn memory_mut(&mut self) -> [&mut [f32]; 2] {
        [&mut self.first, &mut self.second]
    }
}

impl Rule {
    /// Whether there is a first and a second moment.
    fn needs(self) -> (bool, bool) {
        match self {
            Self::Sgd { momentum, .. } => (momentum != 0.0, false),
            Self::Adam { .. } => (true, true),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use glacier_wire::training::Real;

    /// Made by `tests/oracle.py` with PyTorch: for each rule, start values, one line of gradients a step and
    /// one line of values after it.
    const PYTORCH: &str = include_str!("../tests/fixtures/optimisers.txt");

    fn plan(words: &str) -> TrainingPlan {
        let mut plan = TrainingPlan::default();
        for word in words.split_whitespace() {
            let (name, value) = word.split_once('=').unwrap();
            let real = || value.parse::<Real>().unwrap();
            match name {
                "optimiser" => plan.optimiser = value.parse().unwrap(),
                "rate" => plan.learning_rate = real(),
                "momentum" => plan.momentum = Some(real()),
                "nesterov" => plan.nesterov = true,
                "decay" => plan.weight_decay = real(),
                "beta1" => plan.beta1 = Some(real()),
                "beta2" => plan.beta2 = Some(real()),
                "epsilon" => plan.epsilon = Some(real()),
                _ => panic!("{name}"),
            }
        }
        plan
    }

    fn numbers(line: &str) -> Vec<f32> {
        line.split_whitespace().map(|number| number.parse().unwrap()).collect()
    }

    #[test]
    fn sequences_are_those_of_pytorch() {
        let team = Team::new(1).unwrap();
        let mut rules = 0;
        for block in PYTORCH.split("\n\n").filter(|block| !block.trim().is_empty()) {
            let mut lines = block.lines().filter(|line| !line.starts_with('#'));
            let plan = plan(lines.next().unwrap());
            let mut values = numbers(lines.next().unwrap());
            let mut moments = Moments::new(&plan, values.len());
            let mut steps = 0;
            while let (Some(gradient), Some(expected)) = (lines.next(), lines.next()) {
                steps += 1;
                let (gradient, expected) = (numbers(gradient), numbers(expected));
                let part = Part { values: &mut values, gradient: &gradient, at: 0, decays: true };
                moments.step(&team, steps, plan.learning_rate.get(), part).unwrap();
                for (found, expected) in values.iter().zip(&expected) {
                    let tolerance = 2e-6 * expected.abs().max(1.0);
                    assert!((found - expected).abs() < tolerance, "{plan:?} step {steps}: {found} {expected}");
                }
            }
            assert!(steps >= 20);
            rules += 1;
        }
        assert_eq!(rules, 8);
    }

    #[test]
    fn parts_are_moved_as_if_they_were_one() {
        let team = Team::new(2).unwrap();
        for words in ["optimiser=adamw rate=0.1 decay=0.1", "optimiser=sgd rate=0.1 momentum=0.9 decay=0.1"] {
            let plan = plan(words);
            let start: Vec<f32> = (0..10).map(|place| place as f32 - 4.0).collect();
            let (mut whole, mut parts) = (start.clone(), start);
            let (mut one, mut two) = (Moments::new(&plan, 10), Moments::new(&plan, 10));
            for number in 1..5 {
                let gradient: Vec<f32> = whole.iter().map(|value| value * 0.5).collect();
                let part = Part { values: &mut whole, gradient: &gradient, at: 0, decays: true };
                one.step(&team, number, 0.1, part).unwrap();
                let (low, high) = parts.split_at_mut(3);
                for (values, at) in [(high, 3), (low, 0)] {
                    let gradient = &gradient[at..at + values.len()];
                    two.step(&team, number, 0.1, Part { values, gradient, at, decays: true }).unwrap();
                }
            }
            assert_eq!(whole, parts);
            assert_eq!(one, two);
        }
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let team = Team::new(1).unwrap();
        let mut moments = Moments::new(&TrainingPlan::default(), 2);
        let mut step = |values: &mut [f32], gradient: &[f32], at| {
            moments.step(&team, 1, 0.1, Part { values, gradient, at, decays: true })
        };
        assert_eq!(step(&mut [0.0; 2], &[0.0; 2], 0), Ok(()));
        assert_eq!(step(&mut [0.0; 2], &[0.0; 2], 1), Err(TrainError::Layout));
        assert_eq!(step(&mut [0.0; 2], &[0.0; 3], 0), Err(TrainError::Layout));
        assert_eq!(step(&mut [0.0; 2], &[0.0; 2], usize::MAX), Err(TrainError::Layout));
    }
}
