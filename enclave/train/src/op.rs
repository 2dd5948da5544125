//! Operators: what a node computes, and how a gradient goes back through it.
//!
//! An operator checks the shapes it is given before it computes; from there on its kernel may rely on
//! them. Buffers come from the step's [`Pool`], so that none is larger than a job may hold.

mod binary;
mod broadcast;
mod build;
mod dropout;
mod index;
mod integer;
mod layout;
mod linear;
mod movement;
mod normalise;
mod reduce;
mod statistics;
mod unary;
mod window;

pub(crate) use binary::Binary;
pub use build::DIFFERENTIABLE;
pub(crate) use build::{Kind, build};
pub(crate) use linear::MatMul;
pub(crate) use statistics::LayerNorm;
pub(crate) use unary::Unary;

use crate::{
    error::TrainError,
    kernel::Team,
    network::{
        Mode,
        pool::Pool,
        state::{Gradients, Held, Slot, Source},
    },
    tensor::{IntTensor, volume_at},
};
use glacier_engine::onnx::Name;
use std::sync::Arc;

/// What backward reads of a step: bit `i` is input or output `i`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Keeps {
    pub(crate) inputs: u32,
    pub(crate) outputs: u32,
}

impl Keeps {
    pub(crate) const NOTHING: Self = Self { inputs: 0, outputs: 0 };
    pub(crate) const OUTPUT: Self = Self { inputs: 0, outputs: 1 };
    pub(crate) const INPUT: Self = Self { inputs: 1, outputs: 0 };
    pub(crate) const BOTH: Self = Self { inputs: 3, outputs: 0 };
}

/// One operator with its attributes.
pub(crate) trait Op: std::fmt::Debug + Send + Sync {
    /// Computes the outputs.
    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError>;

    /// The way back, where there is one.
    fn differentiable(&self) -> Option<&dyn Differentiable> {
        None
    }

    /// What part it may have in a pattern of several steps.
    fn pattern(&self) -> Pattern {
        Pattern::Other
    }

    /// Whether it may be computed ahead when its inputs are constant.
    fn folds(&self) -> bool {
        true
    }

    /// Inputs that hold running statistics.
    fn statistics(&self) -> &[usize] {
        &[]
    }
}

/// Parts of patterns that one kernel computes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pattern {
    Other,
    Binary(Binary),
    Unary(Unary),
    MatMul(MatMul),
    /// Over the last dimension, which stays.
    MeanOfLast,
    /// Over the dimensions that input 1 says, which stay.
    MeanOfGiven,
}

/// An operator with a gradient.
pub(crate) trait Differentiable: Send + Sync {
    /// What backward reads; shapes are always there. `wants` says which inputs want a gradient.
    fn keeps(&self, wants: &[bool]) -> Keeps;

    /// Adds to the gradients of the inputs that want one.
    fn backward(&self, cx: &mut Backward<'_>) -> Result<(), TrainError>;

    /// Whether a gradient can go to this input at all: indices, shapes and bounds take none.
    fn passes(&self, _input: usize) -> bool {
        true
    }
}

/// What an operator puts aside for its backward pass.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    pub(crate) floats: Vec<Vec<f32>>,
    pub(crate) indices: Vec<u32>,
    /// Whether statistics are those of the batch.
    pub(crate) of_batch: bool,
}

/// A step's forward pass.
pub(crate) struct Forward<'a> {
    pub(crate) node: &'a Name,
    /// Number of the step in the graph.
    pub(crate) place: usize,
    pub(crate) inputs: &'a [Option<usize>],
    pub(crate) outputs: &'a [Option<usize>],
    pub(crate) sources: &'a [Source],
    pub(crate) slots: &'a mut [Slot],
    pub(crate) weights: &'a mut [f32],
    pub(crate) pool: &'a mut Pool,
    pub(crate) team: &'a Team,
    pub(crate) mode: &'a Mode,
    pub(crate) saved: &'a mut Saved,
    /// Whether backward will come for this step.
    pub(crate) keep: bool,
    /// Whether running statistics must stay as they are.
    pub(crate) frozen: bool,
    /// Inputs that nobody reads after this step.
    pub(crate) last: &'a [bool],
    pub(crate) macs: &'a mut u64,
}

/// A floating-point argument.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) shape: &'a [usize],
    pub(crate) data: &'a [f32],
}

impl Forward<'_> {
    pub(crate) fn given(&self, input: usize) -> bool {
        self.inputs.get(input).copied().flatten().is_some()
    }

    pub(crate) fn wanted(&self, output: usize) -> bool {
        self.outputs.get(output).copied().flatten().is_some()
    }

    pub(crate) fn float(&self, input: usize) -> Result<View<'_>, TrainError> {
        view(self.inputs, self.sources, self.slots, self.weights, input).ok_or_else(|| self.clash())
    }

    pub(crate) fn int(&self, input: usize) -> Result<&IntTensor, TrainError> {
        int(self.inputs, self.sources, self.slots, input).ok_or_else(|| self.clash())
    }

    /// Extents of any input.
    pub(crate) fn shape(&self, input: usize) -> Result<&[usize], TrainError> {
        shape(self.inputs, self.sources, self.slots, input).ok_or_else(|| self.clash())
    }

    /// The buffer of a floating-point input that nobody needs any more, with its shape; or nothing.
    pub(crate) fn steal(&mut self, input: usize) -> Option<(Vec<usize>, Vec<f32>)> {
        if !self.last.get(input).copied().unwrap_or(false) {
            return None;
        }
        let slot = self.slots.get_mut(self.inputs.get(input).copied().flatten()?)?;
        match std::mem::take(slot) {
            Slot::Float(Held { shape, data }) => match Arc::try_unwrap(data) {
                Ok(data) => {
                    *slot = Slot::Gone(shape.clone());
                    Some((shape, data))
                }
                Err(data) => {
                    *slot = Slot::Float(Held { shape, data });
                    None
                }
            },
            other => {
                *slot = other;
                None
            }
        }
    }

    /// A buffer for that shape with any content.
    pub(crate) fn buffer(&mut self, shape: &[usize]) -> Result<Vec<f32>, TrainError> {
        let volume = volume_at(shape, self.node)?;
        self.pool.take(volume)
    }

    /// Puts an output in its place. The buffer is the pool's.
    pub(crate) fn put(&mut self, output: usize, shape: Vec<usize>, data: Vec<f32>) {
        self.set(output, Slot::Float(Held { shape, data: Arc::new(data) }), |pool, slot| slot.recycle(pool));
    }

    /// Room for integers of that shape, counted like a buffer.
    pub(crate) fn ints(&mut self, shape: &[usize]) -> Result<Vec<i64>, TrainError> {
        let volume = volume_at(shape, self.node)?;
        self.pool.adopt(volume.saturating_mul(2))?;
        Ok(Vec::with_capacity(volume))
    }

    /// Puts integers, counted before, in their place.
    pub(crate) fn put_int(&mut self, output: usize, shape: Vec<usize>, data: Vec<i64>) {
        self.set(output, Slot::Int(Arc::new(IntTensor { shape, data })), |pool, slot| slot.recycle(pool));
    }

    fn set(&mut self, output: usize, slot: Slot, unwanted: impl FnOnce(&mut Pool, Slot)) {
        let place = self.outputs.get(output).copied().flatten().and_then(|id| self.slots.get_mut(id));
        match place {
            Some(place) => *place = slot,
            None => unwanted(self.pool, slot),
        }
    }

    /// Puts buffers aside for the backward pass, if it will come.
    pub(crate) fn save<const N: usize>(&mut self, buffers: [Vec<f32>; N]) {
        if self.keep {
            self.saved.floats.extend(buffers);
        } else {
            buffers.into_iter().for_each(|buffer| self.pool.give(buffer));
        }
    }

    /// Output 0 is input 0 in another shape.
    pub(crate) fn alias(&mut self, shape: Vec<usize>) -> Result<(), TrainError> {
        if volume_at(&shape, self.node)? != volume_at(self.shape(0)?, self.node)? {
            return Err(self.clash());
        }
        if let Some((_, data)) = self.steal(0) {
            self.put(0, shape, data);
            return Ok(());
        }
        let id = self.inputs.first().copied().flatten();
        let slot = id.and_then(|id| self.slots.get(id));
        if let Some(Slot::Float(held)) = slot {
            let data = held.data.clone();
            self.set(0, Slot::Float(Held { shape, data }), |_, _| ());
            return Ok(());
        }
        if let Some(Slot::Int(held)) = slot {
            let held = held.clone();
            let mut data = self.ints(&shape)?;
            data.extend(&held.data);
            self.put_int(0, shape, data);
            return Ok(());
        }
        let mut out = self.buffer(&shape)?;
        out.copy_from_slice(self.float(0)?.data);
        self.put(0, shape, out);
        Ok(())
    }

    /// The error for shapes that cannot go together.
    pub(crate) fn clash(&self) -> TrainError {
        TrainError::Shape(self.node.clone())
    }

    /// The error for an index past its end.
    pub(crate) fn past(&self) -> TrainError {
        TrainError::Index(self.node.clone())
    }

    pub(crate) fn count(&mut self, macs: u64) {
        *self.macs = self.macs.saturating_add(macs);
    }
}

/// A step's backward pass.
pub(crate) struct Backward<'a> {
    pub(crate) node: &'a Name,
    pub(crate) place: usize,
    pub(crate) inputs: &'a [Option<usize>],
    pub(crate) outputs: &'a [Option<usize>],
    pub(crate) sources: &'a [Source],
    pub(crate) slots: &'a [Slot],
    pub(crate) weights: &'a [f32],
    pub(crate) pool: &'a mut Pool,
    pub(crate) team: &'a Team,
    pub(crate) mode: &'a Mode,
    pub(crate) saved: &'a mut Saved,
    /// Inputs that want a gradient.
    pub(crate) wants: &'a [bool],
    pub(crate) gradients: &'a mut Gradients,
    /// Gradient of the weights.
    pub(crate) into: &'a mut [f32],
}

impl Backward<'_> {
    pub(crate) fn wants(&self, input: usize) -> bool {
        self.wants.get(input).copied().unwrap_or(false)
    }

    /// A kept floating-point input.
    pub(crate) fn float(&self, input: usize) -> Result<View<'_>, TrainError> {
        view(self.inputs, self.sources, self.slots, self.weights, input).ok_or_else(|| self.lost())
    }

    /// A kept output.
    pub(crate) fn output(&self, output: usize) -> Result<View<'_>, TrainError> {
        view(self.outputs, self.sources, self.slots, self.weights, output).ok_or_else(|| self.lost())
    }

    pub(crate) fn int(&self, input: usize) -> Result<&IntTensor, TrainError> {
        int(self.inputs, self.sources, self.slots, input).ok_or_else(|| self.lost())
    }

    /// Extents of any input, kept or not.
    pub(crate) fn shape(&self, input: usize) -> Result<&[usize], TrainError> {
        shape(self.inputs, self.sources, self.slots, input).ok_or_else(|| self.lost())
    }

    /// The gradient that came to an output; it is the caller's. `None` when none came.
    pub(crate) fn incoming(&mut self, output: usize) -> Option<Vec<f32>> {
        self.gradients.take(self.outputs.get(output).copied().flatten()?)
    }

    /// The gradient that came to output 0, without which a step is not run.
    pub(crate) fn gradient(&mut self) -> Result<Vec<f32>, TrainError> {
        self.incoming(0).ok_or_else(|| self.lost())
    }

    /// Gives a buffer back.
    pub(crate) fn recycle(&mut self, buffer: Vec<f32>) {
        self.pool.give(buffer);
    }

    /// Hands over a whole gradient of an input, as a buffer of the pool.
    pub(crate) fn give(&mut self, input: usize, gradient: Vec<f32>) -> Result<(), TrainError> {
        let Some(id) = self.inputs.get(input).copied().flatten().filter(|_| self.wants(input)) else {
            self.pool.give(gradient);
            return Ok(());
        };
        if !matches!(self.sources.get(id), Some(Source::Weight { .. })) && !self.gradients.has(id) {
            if volume_at(self.shape(input)?, self.node)? != gradient.len() {
                return Err(self.lost());
            }
            self.gradients.put(id, gradient);
            return Ok(());
        }
        self.target(input, |_, target, _| {
            for (sum, more) in target.iter_mut().zip(&gradient) {
                *sum += more;
            }
            Ok(())
        })?;
        self.pool.give(gradient);
        Ok(())
    }

    /// Lets `fill` write the gradient of an input: overwrite all of it where `fresh`, add to it elsewhere.
    /// Nothing happens for an input that wants none.
    pub(crate) fn target(
        &mut self,
        input: usize,
        fill: impl FnOnce(&Self, &mut [f32], bool) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        let Some(id) = self.inputs.get(input).copied().flatten().filter(|_| self.wants(input)) else {
            return Ok(());
        };
        if let Some(Source::Weight { range, .. }) = self.sources.get(id) {
            let range = range.clone();
            let into = std::mem::take(&mut self.into);
            let done = match into.get_mut(range) {
                Some(target) => fill(self, target, false),
                None => Err(self.lost()),
            };
            self.into = into;
            return done;
        }
        let volume = volume_at(self.shape(input)?, self.node)?;
        let (mut target, fresh) = match self.gradients.take(id) {
            Some(target) => (target, false),
            None => (self.pool.take(volume)?, true),
        };
        if target.len() != volume {
            return Err(self.lost());
        }
        let done = fill(self, &mut target, fresh);
        self.gradients.put(id, target);
        done
    }

    /// The error for what a forward pass must have left behind.
    pub(crate) fn lost(&self) -> TrainError {
        TrainError::State(self.node.clone())
    }
}

fn view<'a>(
    ids: &[Option<usize>],
    sources: &'a [Source],
    slots: &'a [Slot],
    weights: &'a [f32],
    at: usize,
) -> Option<View<'a>> {
    let id = ids.get(at).copied().flatten()?;
    if let Source::Weight { range, shape } = sources.get(id)? {
        return Some(View { shape, data: weights.get(range.clone())? });
    }
    match slots.get(id)? {
        Slot::Float(held) => Some(View { shape: &held.shape, data: &held.data }),
        _ => None,
    }
}

fn int<'a>(ids: &[Option<usize>], sources: &'a [Source], slots: &'a [Slot], at: usize) -> Option<&'a IntTensor> {
    let id = ids.get(at).copied().flatten()?;
    sources.get(id)?;
    match slots.get(id)? {
        Slot::Int(tensor) => Some(tensor),
        _ => None,
    }
}

fn shape<'a>(ids: &[Option<usize>], sources: &'a [Source], slots: &'a [Slot], at: usize) -> Option<&'a [usize]> {
    let id = ids.get(at).copied().flatten()?;
    if let Source::Weight { shape, .. } = sources.get(id)? {
        return Some(shape);
    }
    match slots.get(id)? {
        Slot::Float(held) => Some(&held.shape),
        Slot::Int(tensor) => Some(&tensor.shape),
        Slot::Gone(shape) => Some(shape),
        Slot::Empty => None,
    }
}
