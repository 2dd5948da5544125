//! How a training goes, as its owner is told: kept in the enclave, given out in pages.

use glacier_train::protocol::Progress;
use glacier_wire::training::{EpochMetrics, Point, TrainingPage};
use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Most points that are remembered: more than half a day of them.
const MAX_POINTS: usize = 1 << 20;

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
    /// Adds what a worker tells. One that went on from a checkpoint tells again what was told before it.
    pub(crate) fn extend(&self, progress: Progress) {
        let mut state = self.state();
        let (step, epoch) = (last_step(&state.points), state.epochs.len());
        let room = MAX_POINTS.saturating_sub(state.points.len());
        state.points.extend(progress.points.into_iter().filter(|point| point.step > step).take(room));
        state.epochs.extend(progress.epochs.into_iter().filter(|told| told.epoch as usize > epoch));
        state.steps_per_epoch = state.steps_per_epoch.max(progress.steps_per_epoch);
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
