//! How the learning rate goes.

use glacier_wire::training::{Schedule, TrainingPlan};

/// The learning rate of each step of a run whose length is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    base: f64,
    schedule: Schedule,
    warmup: u64,
    every: u64,
    factor: f64,
    epoch: u64,
    total: u64,
}

impl Rates {
    /// For a run of `steps_per_epoch` steps an epoch.
    pub fn new(plan: &TrainingPlan, steps_per_epoch: u64) -> Self {
        Self {
            base: f64::from(plan.learning_rate.get()),
            schedule: plan.schedule,
            warmup: u64::from(plan.warmup),
            every: u64::from(plan.step_every.unwrap_or(1)).max(1),
            factor: plan.step_factor.map_or(0.1, |factor| f64::from(factor.get())),
            epoch: steps_per_epoch.max(1),
            total: steps_per_epoch.max(1).saturating_mul(u64::from(plan.epochs)),
        }
    }

    /// Rate of the step that `done` steps were before.
    ///
    /// The warm-up rises to the full rate at its last step; a cosine begins where it ends and reaches zero
    /// one step after the last.
    pub fn at(&self, done: u64) -> f32 {
        if done < self.warmup {
            let share = done.saturating_add(1) as f64 / self.warmup as f64;
            return (self.base * share * self.level(done)) as f32;
        }
        (self.base * self.level(done)) as f32
    }

    fn level(&self, done: u64) -> f64 {
        match self.schedule {
            Schedule::Cosine => {
                let length = self.total.saturating_sub(self.warmup).max(1) as f64;
                let gone = (done.saturating_sub(self.warmup) as f64 / length).min(1.0);
                0.5 * (1.0 + libm::cos(std::f64::consts::PI * gone))
            }
            Schedule::Step => {
                let epochs = done.checked_div(self.epoch).unwrap_or(0);
                let falls = epochs.checked_div(self.every).unwrap_or(0);
                libm::pow(self.factor, falls as f64)
            }
            _ => 1.0,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use glacier_wire::training::Real;

    fn plan(schedule: Schedule, warmup: u32) -> TrainingPlan {
        let step = schedule == Schedule::Step;
        TrainingPlan {
            epochs: 4,
            learning_rate: Real::new(0.5).unwrap(),
            schedule,
            warmup,
            step_every: step.then_some(2),
            step_factor: step.then(|| Real::new(0.1).unwrap()),
            ..TrainingPlan::default()
        }
    }

    #[test]
    fn constant_stays() {
        let rates = Rates::new(&plan(Schedule::Constant, 0), 10);
        assert!((0..40).all(|step| rates.at(step) == 0.5));
    }

    #[test]
    fn warm_up_rises_in_equal_parts() {
        let rates = Rates::new(&plan(Schedule::Constant, 5), 10);
        let rising: Vec<f32> = (0..6).map(|step| rates.at(step)).collect();
        assert_eq!(rising, [0.1, 0.2, 0.3, 0.4, 0.5, 0.5]);
    }

    #[test]
    fn cosine_falls_to_zero() {
        let rates = Rates::new(&plan(Schedule::Cosine, 0), 10);
        assert_eq!(rates.at(0), 0.5);
        assert!((rates.at(20) - 0.25).abs() < 1e-7);
        assert!((rates.at(10) - 0.25 * (1.0 + std::f32::consts::FRAC_1_SQRT_2)).abs() < 1e-7);
        assert_eq!(rates.at(40), 0.0);
        assert_eq!(rates.at(1000), 0.0);
        assert!((0..39).all(|step| rates.at(step) > rates.at(step + 1)));
    }

    #[test]
    fn steps_fall_between_epochs() {
        let rates = Rates::new(&plan(Schedule::Step, 0), 10);
        assert_eq!([rates.at(0), rates.at(19), rates.at(20), rates.at(39)], [0.5, 0.5, 0.05, 0.05]);
    }
}
