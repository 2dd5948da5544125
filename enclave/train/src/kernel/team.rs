//! Threads that stay, and memory that is used again.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// A fixed number of threads that share the work of one kernel call at a time, and the scratch memory they use.
///
/// A caller that makes many calls should make them all inside one [`Team::install`]: otherwise each call hands its
/// work to a sleeping thread and waits for it. A clone is the same team.
#[derive(Clone)]
pub struct Team(Arc<Inner>);

struct Inner {
    pool: ThreadPool,
    spare: Mutex<Vec<Vec<f32>>>,
}

/// The operating system gave no threads.
#[derive(Debug, thiserror::Error)]
#[error("threads for training could not be started")]
pub struct TeamError(#[from] ThreadPoolBuildError);

/// Memory lent by [`Team::scratch`]; it goes back when dropped. What it holds at first is unspecified.
pub struct Scratch<'a> {
    home: &'a Mutex<Vec<Vec<f32>>>,
    values: Vec<f32>,
    len: usize,
}

impl Team {
    /// Starts `threads` threads, at least one.
    pub fn new(threads: usize) -> Result<Self, TeamError> {
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .thread_name(|index| format!("train-{index}"))
            .build()?;
        Ok(Self(Arc::new(Inner { pool, spare: Mutex::new(Vec::new()) })))
    }

    /// How many threads work.
    pub fn threads(&self) -> usize {
        self.0.pool.current_num_threads()
    }

    /// Runs `work` on one of the threads; kernels called from it start without a hand-over.
    pub fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.0.pool.install(work)
    }

    /// Cuts `out` into pieces of `piece` elements (the last may be shorter) and calls `work(index, piece)` for each,
    /// on any thread in any order.
    pub fn pieces<T: Send>(&self, out: &mut [T], piece: usize, work: impl Fn(usize, &mut [T]) + Sync) {
        let piece = piece.max(1);
        if out.len() <= piece || self.threads() == 1 {
            return out.chunks_mut(piece).enumerate().for_each(|(index, out)| work(index, out));
        }
        self.0.pool.install(|| out.par_chunks_mut(piece).enumerate().for_each(|(index, out)| work(index, out)));
    }

    /// Calls `work` for `0..count`, on any thread in any order.
    pub fn each(&self, count: usize, work: impl Fn(usize) + Sync) {
        if count <= 1 || self.threads() == 1 {
            return (0..count).for_each(work);
        }
        self.0.pool.install(|| (0..count).into_par_iter().for_each(&work));
    }

    /// Lends `len` values of unspecified content. Memory is kept for the next call, so a step that asks for what the
    /// step before asked for allocates nothing.
    pub fn scratch(&self, len: usize) -> Scratch<'_> {
        let mut spare = self.0.spare.lock().unwrap_or_else(PoisonError::into_inner);
        // The smallest that fits, else the largest, which then grows.
        let best = spare
            .iter()
            .enumerate()
            .min_by_key(|(_, values)| (values.len() < len, values.len().abs_diff(len)))
            .map(|(index, _)| index);
        let mut values = best.map_or_else(Vec::new, |index| spare.swap_remove(index));
        drop(spare);
        if values.len() < len {
            values.resize(len, 0.0);
        }
        Scratch { home: &self.0.spare, values, len }
    }
}

impl Deref for Scratch<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.values.get(..self.len).unwrap_or_default()
    }
}

impl DerefMut for Scratch<'_> {
    fn deref_mut(&mut self) -> &mut [f32] {
        self.values.get_mut(..self.len).unwrap_or_default()
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        self.home.lock().unwrap_or_else(PoisonError::into_inner).push(values);
    }
}
