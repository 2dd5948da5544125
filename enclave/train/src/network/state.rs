//! What a network holds between and during its passes.

use super::pool::Pool;
use crate::tensor::IntTensor;
use std::{ops::Range, sync::Arc};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A step makes it, the caller gives it, or it is constant: it stands in its slot.
    Slot,
    /// It stands in the flat weights.
    Weight { range: Range<usize>, shape: Vec<usize> },
}

/// A floating-point value. Values of one content and different shapes share their buffer.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Arc<Vec<f32>>,
}

/// Place of one value.
#[derive(Debug, Clone, Default)]
pub(crate) enum Slot {
    #[default]
    Empty,
    Float(Held),
    Int(Arc<IntTensor>),
    /// Its elements are not needed any more, its shape may be.
    Gone(Vec<usize>),
}

impl Slot {
    /// Gives the buffer back when this was its last value.
    pub(crate) fn recycle(self, pool: &mut Pool) {
        match self {
            Self::Float(held) => {
                if let Ok(buffer) = Arc::try_unwrap(held.data) {
                    pool.give(buffer);
                }
            }
            Self::Int(tensor) => {
                if let Ok(tensor) = Arc::try_unwrap(tensor) {
                    pool.release(tensor.data.len().saturating_mul(2));
                }
            }
            Self::Gone(_) | Self::Empty => {}
        }
    }

    /// Forgets the elements.
    pub(crate) fn end(&mut self, pool: &mut Pool) {
        let shape = match self {
            Self::Float(held) => std::mem::take(&mut held.shape),
            Self::Int(tensor) => tensor.shape.clone(),
            Self::Gone(_) | Self::Empty => return,
        };
        std::mem::replace(self, Self::Gone(shape)).recycle(pool);
    }
}

/// Gradients of the values that steps make, while backward runs.
#[derive(Debug, Default)]
pub(crate) struct Gradients(Vec<Option<Vec<f32>>>);

impl Gradients {
    pub(crate) fn new(values: usize) -> Self {
        Self(vec![None; values])
    }

    pub(crate) fn has(&self, id: usize) -> bool {
        self.0.get(id).is_some_and(Option::is_some)
    }

    pub(crate) fn take(&mut self, id: usize) -> Option<Vec<f32>> {
        self.0.get_mut(id)?.take()
    }

    pub(crate) fn put(&mut self, id: usize, gradient: Vec<f32>) {
        if let Some(place) = self.0.get_mut(id) {
            *place = Some(gradient);
        }
    }

    pub(crate) fn clear(&mut self, pool: &mut Pool) {
        for gradient in self.0.iter_mut().filter_map(Option::take) {
            pool.give(gradient);
        }
    }
}
