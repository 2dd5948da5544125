//! How a training goes, as its owner is told: kept in the enclave, given out in pages.

use glacier_train::protocol::Progress;
use glacier_wire::training::{EpochMetrics, Metric, Point, TrainingPage};
use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Most points that are remembered: more than half a day of them.
const MAX_POINTS: usize = 1 << 20;

/// What no worker tells that does what it is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Untold;

#[derive(Default)]
pub(crate) struct Course(Mutex<State>);

#[derive(Default)]
struct State {
    points: Vec<Point>,
    epochs: Vec<EpochMetrics>,
    steps_per_epoch: u64,
    checkpoint: u64,
    passes: HashSet<usize>,
}

impl Course {
    /// Adds what a worker tells. One that went on from a checkpoint tells again what was told before it. A worker
    /// that a hostile model has taken over could tell without end: there are no more epochs than planned, one after
    /// the other, and each figure is told once.
    pub(crate) fn extend(&self, progress: Progress, planned_epochs: u32) -> Result<(), Untold> {
        let mut state = self.state();
        let step = last_step(&state.points);
        let room = MAX_POINTS.saturating_sub(state.points.len());
        state.points.extend(progress.points.into_iter().filter(|point| point.step > step).take(room));
        for told in progress.epochs {
            // An enclave that took the training over from another hears of its later epochs alone.
            let last = state.epochs.last().map(|epoch| epoch.epoch);
            let follows = last.is_none_or(|last| last.checked_add(1) == Some(told.epoch));
            if last.is_some_and(|last| told.epoch <= last) {
                continue;
            }
            if !follows || told.epoch > planned_epochs || told.validation.len() > Metric::WORDS.len() {
                return Err(Untold);
            }
            state.epochs.push(told);
        }
        state.steps_per_epoch = state.steps_per_epoch.max(progress.steps_per_epoch);
        Ok(())
    }

    /// The host keeps this checkpoint.
    pub(crate) fn kept(&self, number: u64) {
        self.state().checkpoint = number;
    }

    /// Whether a data set is read for the first time.
    pub(crate) fn first_pass(&self, source: usize) -> bool {
        self.state().passes.insert(source)
    }

    pub(crate) fn page(&self, points: u64, epochs: u64, planned_epochs: u32) -> TrainingPage {
        let state = self.state();
        let (points, more_points) = from(&state.points, points, TrainingPage::MAX_POINTS);
        let (epochs, more_epochs) = from(&state.epochs, epochs, TrainingPage::MAX_EPOCHS);
        TrainingPage {
            points,
            epochs,
            planned_epochs,
            steps_per_epoch: state.steps_per_epoch,
            checkpoint: state.checkpoint,
            more: more_points || more_epochs,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn last_step(points: &[Point]) -> u64 {
    points.last().map_or(0, |point| point.step)
}

/// At most `most` items from place `start`, and whether there are more.
fn from<T: Clone>(items: &[T], start: u64, most: usize) -> (Vec<T>, bool) {
    let rest = usize::try_from(start).ok().and_then(|start| items.get(start..)).unwrap_or_default();
    (rest.iter().take(most).cloned().collect(), rest.len() > most)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;
    use glacier_wire::training::{Measured, Real};

    fn epoch(epoch: u32, figures: usize) -> EpochMetrics {
        let measured = Measured { metric: Metric::Loss, value: Real::ONE };
        EpochMetrics { epoch, steps: 1, loss: Real::ONE, validation: vec![measured; figures] }
    }

    fn told(course: &Course, epochs: &[u32]) -> Result<Vec<u32>, Untold> {
        let epochs = epochs.iter().map(|number| epoch(*number, 1)).collect();
        course.extend(Progress { epochs, ..Progress::default() }, 4)?;
        Ok(course.page(0, 0, 4).epochs.iter().map(|epoch| epoch.epoch).collect())
    }

    #[test]
    fn epochs_that_are_told_again_are_kept_once() {
        let course = Course::default();
        assert_eq!(told(&course, &[1, 2]), Ok(vec![1, 2]));
        assert_eq!(told(&course, &[2, 3]), Ok(vec![1, 2, 3]));
        // As an enclave hears of them that has gone on from another's checkpoint.
        let course = Course::default();
        assert_eq!(told(&course, &[3]), Ok(vec![3]));
        assert_eq!(told(&course, &[3, 4]), Ok(vec![3, 4]));
    }

    #[test]
    fn a_worker_that_tells_too_much_is_not_heard() {
        assert_eq!(told(&Course::default(), &[5]), Err(Untold));
        assert_eq!(told(&Course::default(), &[u32::MAX]), Err(Untold));
        assert_eq!(told(&Course::default(), &[1, 3]), Err(Untold));
        let epochs = vec![epoch(1, Metric::WORDS.len() + 1)];
        assert_eq!(Course::default().extend(Progress { epochs, ..Progress::default() }, 4), Err(Untold));
    }
}
