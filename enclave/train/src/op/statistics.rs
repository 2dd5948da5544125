//! Normalisation by mean and variance.

#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "sizes are compared before a kernel runs")]

use super::{Backward, Differentiable, Forward, Keeps, Op, layout::axis};
use crate::{
    error::TrainError,
    kernel::{self, BatchDims},
    network::{Mode, state::Source},
};
use std::ops::Range;

/// `LayerNormalization` over the dimensions from an axis on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LayerNorm {
    pub(crate) axis: i64,
    pub(crate) epsilon: f32,
}

impl LayerNorm {
    /// Rows and width.
    fn sizes(&self, shape: &[usize]) -> Option<(usize, usize, usize)> {
        let axis = axis(self.axis, shape.len())?;
        Some((shape[..axis].iter().product(), shape[axis..].iter().product(), axis))
    }
}

impl Op for LayerNorm {
    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        let shape = cx.float(0)?.shape.to_vec();
        let (rows, width, axis) = self.sizes(&shape).ok_or_else(|| cx.clash())?;
        let shift = cx.given(2).then(|| cx.float(2)).transpose()?.map(|shift| shift.data.len());
        if cx.float(1)?.data.len() != width || shift.is_some_and(|shift| shift != width) {
            return Err(cx.clash());
        }
        let mut out = cx.buffer(&shape)?;
        let (mut mean, mut inverse) = (cx.pool.take(rows)?, cx.pool.take(rows)?);
        if !out.is_empty() {
            let shift = if cx.given(2) { Some(cx.float(2)?.data) } else { None };
            let (x, scale) = (cx.float(0)?.data, cx.float(1)?.data);
            kernel::layer_norm(cx.team, self.epsilon, scale, shift, x, &mut out, &mut mean, &mut inverse);
        }
        let mut means = shape.clone();
        means[axis..].fill(1);
        for (output, values) in [(1, &mean), (2, &inverse)] {
            if cx.wanted(output) {
                let mut copy = cx.pool.take(rows)?;
                copy.copy_from_slice(values);
                cx.put(output, means.clone(), copy);
            }
        }
        cx.put(0, shape, out);
        cx.save([mean, inverse]);
        Ok(())
    }

    fn differentiable(&self) -> Option<&dyn Differentiable> {
        Some(self)
    }
}

impl Differentiable for LayerNorm {
    fn keeps(&self, _wants: &[bool]) -> Keeps {
        Keeps::BOTH
    }

    fn backward(&self, cx: &mut Backward<'_>) -> Result<(), TrainError> {
        let gradient = cx.gradient()?;
        let (rows, width, _) = self.sizes(cx.shape(0)?).ok_or_else(|| cx.lost())?;
        let (mut scales, mut shifts) = (cx.pool.zeroed(width)?, cx.pool.zeroed(width)?);
        let mut part = cx.pool.take(gradient.len())?;
        let [mean, inverse] = cx.saved.floats.as_slice() else { return Err(cx.lost()) };
        let (x, scale) = (cx.float(0)?.data, cx.float(1)?.data);
        if x.len() != gradient.len() || scale.len() != width || mean.len() != rows || inverse.len() != rows {
            return Err(cx.lost());
        }
        if !gradient.is_empty() {
            let scales = cx.wants(1).then_some(&mut scales[..]);
            let shifts = cx.wants(2).then_some(&mut shifts[..]);
            kernel::layer_norm_grad(cx.team, scale, mean, inverse, x, &gradient, &mut part, scales, shifts);
        }
        cx.recycle(gradient);
        cx.give(0, part)?;
        cx.give(1, scales)?;
        cx.give(2, shifts)
    }
}

/// `BatchNormalization`. In training the batch's own mean and variance count, and the running ones move
/// towards them, the variance by its unbiased estimate, as in PyTorch; unless the running ones are
/// frozen, or a channel has but one value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct BatchNorm {
    pub(super) epsilon: f32,
    /// What remains of the running statistics in each step.
    pub(super) momentum: f32,
}

fn dims(shape: &[usize]) -> Option<BatchDims> {
    match shape {
        [batch, channels, area @ ..] => {
            Some(BatchDims { batch: *batch, channels: *channels, area: area.iter().product() })
        }
        _ => None,
    }
}

impl BatchNorm {
    /// Place of a running statistic in the weights.
    fn running(cx: &Forward<'_>, input: usize) -> Option<Range<usize>> {
        match cx.sources.get(cx.inputs.get(input).copied().flatten()?)? {
            Source::Weight { range, .. } => Some(range.clone()),
            Source::Slot => None,
        }
    }
}

impl Op for BatchNorm {
    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        let shape = cx.float(0)?.shape.to_vec();
        let dims = dims(&shape).ok_or_else(|| cx.clash())?;
        for at in 1..5 {
            if cx.float(at)?.data.len() != dims.channels {
                return Err(cx.clash());
            }
        }
        let mut out = cx.buffer(&shape)?;
        let (mut mean, mut variance) = (cx.pool.take(dims.channels)?, cx.pool.take(dims.channels)?);
        let count = dims.batch * dims.area;
        let of_batch = matches!(cx.mode, Mode::Train { .. }) && !cx.frozen && count > 1;
        if of_batch {
            kernel::batch_norm_moments(cx.team, dims, cx.float(0)?.data, &mut mean, &mut variance);
            #[allow(clippy::cast_precision_loss)]
            let unbiased = count as f32 / (count - 1) as f32;
            for (input, values, factor) in [(3, &mean, 1.0), (4, &variance, unbiased)] {
                let range = Self::running(cx, input);
                let Some(running) = range.and_then(|range| cx.weights.get_mut(range)) else { continue };
                for (running, value) in running.iter_mut().zip(values) {
                    *running = self.momentum * *running + (1.0 - self.momentum) * factor * value;
                }
            }
        } else {
            mean.copy_from_slice(cx.float(3)?.data);
            variance.copy_from_slice(cx.float(4)?.data);
        }
        if !out.is_empty() {
            let (x, scale, shift) = (cx.float(0)?.data, cx.float(1)?.data, cx.float(2)?.data);
            kernel::batch_norm(cx.team, dims, self.epsilon, &mean, &variance, scale, shift, x, &mut out);
        }
        for (output, input) in [(1, 3), (2, 4)] {
            if cx.wanted(output) {
                let mut copy = cx.pool.take(dims.channels)?;
                copy.copy_from_slice(cx.float(input)?.data);
                cx.put(output, vec![dims.channels], copy);
            }
        }
        cx.put(0, shape, out);
        cx.saved.of_batch = of_batch;
        cx.save([mean, variance]);
        Ok(())
    }

    fn differentiable(&self) -> Option<&dyn Differentiable> {
        Some(self)
    }

    fn statistics(&self) -> &[usize] {
        &[3, 4]
    }
}

impl Differentiable for BatchNorm {
    fn keeps(&self, _wants: &[bool]) -> Keeps {
        Keeps::BOTH
    }

    fn passes(&self, input: usize) -> bool {
        input < 3
    }

    fn backward(&self, cx: &mut Backward<'_>) -> Result<(), TrainError> {
        let gradient = cx.gradient()?;
        let dims = dims(cx.shape(0)?).ok_or_else(|| cx.lost())?;
        let (mut scales, mut shifts) = (cx.pool.zeroed(dims.channels)?, cx.pool.zeroed(dims.channels)?);
        let mut part = cx.pool.take(gradient.len())?;
        let [mean, variance] = cx.saved.floats.as_slice() else { return Err(cx.lost()) };
        let (x, scale) = (cx.float(0)?.data, cx.float(1)?.data);
        if x.len() != gradient.len() || scale.len() != dims.channels {
            return Err(cx.lost());
        }
        if !gradient.is_empty() {
            kernel::batch_norm_grad(
                cx.team,
                dims,
                self.epsilon,
                cx.saved.of_batch,
                mean,
                variance,
                scale,
                x,
                &gradient,
                &mut part,
                &mut scales,
                &mut shifts,
            );
        }
        cx.recycle(gradient);
        cx.give(0, part)?;
        cx.give(1, scales)?;
        cx.give(2, shifts)
    }
}

/// `InstanceNormalization`: each plane by its own mean and variance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct InstanceNorm {
    pub(super) epsilon: f32,
}

impl Op for InstanceNorm {
    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        let shape = cx.float(0)?.shape.to_vec();
        let dims = dims(&shape).ok_or_else(|| cx.clash())?;
        if cx.float(1)?.data.len() != dims.channels || cx.float(2)?.data.len() != dims.channels {
            return Err(cx.clash());
        }
        let mut out = cx.buffer(&shape)?;
        let planes = dims.batch * dims.channels;
        let (mut mean, mut inverse) = (cx.pool.take(planes)?, cx.pool.take(planes)?);
        if !out.is_empty() {
            let ones = vec![1.0; dims.area];
            let x = cx.float(0)?.data;
            kernel::layer_norm(cx.team, self.epsilon, &ones, None, x, &mut out, &mut mean, &mut inverse);
            kernel::mul_channels(cx.team, dims.area, &mut out, cx.float(1)?.data);
            kernel::add_channels(cx.team, dims.area, &mut out, cx.float(2)?.data);
        }
        cx.put(0, shape, out);
        cx.save([mean, inverse]);
        Ok(())
    }

    fn differentiable(&self) -> Option<&dyn Differentiable> {
        Some(self)
    }
}

impl Differentiable for InstanceNorm {
    fn keeps(&self, _wants: &[bool]) -> Keeps {
        Keeps::BOTH
    }

    fn backward(&self, cx: &mut Backward<'_>) -> Result<(), TrainError> {
        let mut gradient = cx.gradient()?;
        let BatchDims { batch, channels, area } = dims(cx.shape(0)?).ok_or_else(|| cx.lost())?;
        let (mut scales, mut shifts) = (cx.pool.zeroed(channels)?, cx.pool.zeroed(channels)?);
        let mut part = cx.pool.take(gradient.len())?;
        let [mean, inverse] = cx.saved.floats.as_slice() else { return Err(cx.lost()) };
        let (x, scale) = (cx.float(0)?.data, cx.float(1)?.data);
        if x.len() != gradient.len() || scale.len() != channels || mean.len() != batch * channels {
            return Err(cx.lost());
        }
        if !gradient.is_empty() {
            kernel::sum_channels(cx.team, [batch, channels, area], &gradient, &mut shifts);
            for (plane, (g, x)) in gradient.chunks_exact(area).zip(x.chunks_exact(area)).enumerate() {
                let normal = x.iter().map(|x| (x - mean[plane]) * inverse[plane]);
                scales[plane % channels] += g.iter().zip(normal).map(|(g, normal)| g * normal).sum::<f32>();
            }
            kernel::mul_channels(cx.team, area, &mut gradient, scale);
            let ones = vec![1.0; area];
            kernel::layer_norm_grad(cx.team, &ones, mean, inverse, x, &gradient, &mut part, None, None);
        }
        cx.recycle(gradient);
        cx.give(0, part)?;
        cx.give(1, scales)?;
        cx.give(2, shifts)
    }
}
