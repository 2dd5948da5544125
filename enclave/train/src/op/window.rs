//! Convolution and pooling over one or two dimensions.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "extents are bounded when a window is laid over a shape"
)]

use super::{Backward, Differentiable, Forward, Keeps, Op};
use crate::{
    error::TrainError,
    kernel::{self, ConvShape, PoolShape},
    tensor::volume,
};

/// How a window moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) strides: Option<Vec<i64>>,
    pub(super) dilations: Option<Vec<i64>>,
    pub(super) padding: Padding,
    pub(super) ceil: bool,
}

/// Zeros around the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Padding {
    /// Starts, then ends.
    Fixed(Option<Vec<i64>>),
    /// As much as makes the output the input over the stride; the odd one at the end, or at the start.
    Same { upper: bool },
}

/// A window over height and width. One dimension is a height of one.
struct Laid {
    input: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    pads: [usize; 4],
    output: [usize; 2],
}

/// No extent, step or margin of a window is larger.
const MAX: usize = 1 << 24;

/// Lists of one or two dimensions, as two.
fn pair(values: &[usize], one: usize) -> Option<[usize; 2]> {
    match values {
        [width] => Some([one, *width]),
        [height, width] => Some([*height, *width]),
        _ => None,
    }
}

fn sizes(values: Option<&[i64]>, count: usize, default: usize) -> Option<Vec<usize>> {
    let Some(values) = values else { return Some(vec![default; count]) };
    let values = values.iter().map(|value| usize::try_from(*value).ok().filter(|value| *value <= MAX));
    values.collect::<Option<Vec<usize>>>().filter(|values| values.len() == count)
}

impl Window {
    /// `None` where the window does not fit.
    fn over(&self, spatial: &[usize], kernel: &[usize]) -> Option<Laid> {
        let rank = spatial.len();
        let bounded = |values: &[usize]| values.iter().all(|value| (1..=MAX).contains(value));
        if kernel.len() != rank || !bounded(kernel) || !bounded(spatial) {
            return None;
        }
        let input = pair(spatial, 1)?;
        let kernel = pair(kernel, 1)?;
        let stride = pair(&sizes(self.strides.as_deref(), rank, 1)?, 1)?;
        let dilation = pair(&sizes(self.dilations.as_deref(), rank, 1)?, 1)?;
        if stride.contains(&0) || dilation.contains(&0) {
            return None;
        }
        let reach = [0, 1].map(|at| dilation[at] * (kernel[at] - 1) + 1);
        let pads = match &self.padding {
            Padding::Fixed(pads) => {
                let pads = sizes(pads.as_deref(), 2 * rank, 0)?;
                let (starts, ends) = (pair(&pads[..rank], 0)?, pair(&pads[rank..], 0)?);
                [starts[0], starts[1], ends[0], ends[1]]
            }
            Padding::Same { upper } => {
                let total = [0, 1].map(|at| {
                    let places = input[at].div_ceil(stride[at]);
                    ((places - 1) * stride[at] + reach[at]).saturating_sub(input[at])
                });
                let less = total.map(|total| total / 2);
                let more = [total[0] - less[0], total[1] - less[1]];
                let (starts, ends) = if *upper { (less, more) } else { (more, less) };
                [starts[0], starts[1], ends[0], ends[1]]
            }
        };
        if [0, 1].iter().any(|at| input[*at] + pads[*at] + pads[at + 2] < reach[*at]) {
            return None;
        }
        let shape = PoolShape { planes: 1, input, kernel, stride, dilation, pads, ceil_mode: self.ceil };
        let output = shape.output();
        bounded(&output).then_some(Laid { input, kernel, stride, dilation, pads, output })
    }
}

/// `Conv`: input, weights, and a bias or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Conv {
    pub(super) window: Window,
    pub(super) groups: i64,
}

impl Conv {
    fn lay(&self, x: &[usize], w: &[usize]) -> Option<(ConvShape, Vec<usize>)> {
        let ([batch, channels, spatial @ ..], [outputs, per_group, kernel @ ..]) = (x, w) else { return None };
        let groups = usize::try_from(self.groups).ok().filter(|groups| (1..=MAX).contains(groups))?;
        if per_group.checked_mul(groups) != Some(*channels) || outputs % groups != 0 {
            return None;
        }
        let laid = self.window.over(spatial, kernel)?;
        let shape = ConvShape {
            batch: *batch,
            in_channels: *channels,
            out_channels: *outputs,
            groups,
            input: laid.input,
            kernel: laid.kernel,
            stride: laid.stride,
            dilation: laid.dilation,
            pads: laid.pads,
        };
        let mut out = vec![*batch, *outputs];
        out.extend(&laid.output[2 - spatial.len()..]);
        volume(&out)?;
        Some((shape, out))
    }
}

impl Op for Conv {
    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        let (shape, out_shape) = self.lay(cx.shape(0)?, cx.shape(1)?).ok_or_else(|| cx.clash())?;
        let mut out = cx.buffer(&out_shape)?;
        let bias = if cx.given(2) { Some(cx.float(2)?.data) } else { None };
        if bias.is_some_and(|bias| bias.len() != shape.out_channels) {
            return Err(cx.clash());
        }
        if !out.is_empty() {
            kernel::conv2d(cx.team, &shape, cx.float(0)?.data, cx.float(1)?.data, bias, &mut out);
        }
        let per_output =
            cx.shape(1)?.iter().skip(1).fold(1u64, |product, extent| product.saturating_mul(*extent as u64));
        cx.count((out.len() as u64).saturating_mul(per_output));
        cx.put(0, out_shape, out);
        Ok(())
    }

    fn differentiable(&self) -> Option<&dyn Differentiable> {
        Some(self)
    }
}

impl Differentiable for Conv {
    fn keeps(&self, wants: &[bool]) -> Keeps {
        let wants = |at: usize| u32::from(wants.get(at).copied().unwrap_or(false));
        Keeps { inputs: wants(1) | wants(0) << 1, outputs: 0 }
    }

    fn backward(&self, cx: &mut Backward<'_>) -> Result<(), TrainError> {
        let gradient = cx.gradient()?;
        let (shape, _) = self.lay(cx.shape(0)?, cx.shape(1)?).ok_or_else(|| cx.lost())?;
        if gradient.len() != shape.output_len() {
            return Err(cx.lost());
        }
        if gradient.is_empty() {
            cx.recycle(gradient);
            return Ok(());
        }
        cx.target(1, |cx, target, fresh| {
            if fresh {
                target.fill(0.0);
            }
            kernel::conv2d_grad_weight(cx.team, &shape, cx.float(0)?.data, &gradient, target);
            Ok(())
        })?;
        cx.target(2, |cx, target, fresh| {
            if fresh {
                target.fill(0.0);
            }
            kernel::conv2d_grad_bias(cx.team, &shape, &gradient, target);
            Ok(())
        })?;
        if cx.wants(0) {
            let mut part = cx.pool.take(shape.input_len())?;
            kernel::conv2d_grad_input(cx.team, &shape, &gradient, cx.float(1)?.data, &mut part);
            cx.give(0, part)?;
        }
        cx.recycle(gradient);
        Ok(())
    }
}

/// `MaxPool` and `AveragePool`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pooling {
    pub(super) window: Window,
    pub(super) kernel: Vec<i64>,
    pub(super) average: bool,
    pub(super) count_padding: bool,
}

impl Pooling {
    fn lay(&self, x: &[usize]) -> Option<(PoolShape, Vec<usize>)> {
        let [batch, channels, spatial @ ..] = x else { return None };
        let kernel = sizes(Some(&self.kernel), spatial.len(), 1)?;
        let laid = self.window.over(spatial, &kernel)?;
        // A window in nothing but padding has no largest element.
        let margins = [0, 1].iter().all(|at| {
            let reach = laid.dilation[*at] * (laid.kernel[*at] - 1) + 1;
            laid.pads[*at] < reach && laid.pads[at + 2] < reach
        });
        let shape = PoolShape {
            planes: batch.checked_mul(*channels)?,
            input: laid.input,
            kernel: laid.kernel,
            stride: laid.stride,
            dilation: laid.dilation,
            pads: laid.pads,
            ceil_mode: self.window.ceil,
        };
        let mut out = vec![*batch, *channels];
        out.extend(&laid.output[2 - spatial.len()..]);
        volume(&out)?;
        margins.then_some((shape, out))
    }
}

impl Op for Pooling {
    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        let (shape, out_shape) = self.lay(cx.shape(0)?).ok_or_else(|| cx.clash())?;
        let mut out = cx.buffer(&out_shape)?;
        let mut indices = std::mem::take(&mut cx.saved.indices);
        let x = cx.float(0)?.data;
        if out.is_empty() {
        } else if self.average {
            kernel::average_pool(cx.team, &shape, self.count_padding, x, &mut out);
        } else {
            indices.resize(out.len(), 0);
            kernel::max_pool(cx.team, &shape, x, &mut out, &mut indices);
        }
        cx.saved.indices = indices;
        cx.put(0, out_shape, out);
        Ok(())
    }

    fn differentiable(&self) -> Option<&dyn Differentiable> {
        Some(self)
    }
}

impl Differentiable for Pooling {
    fn keeps(&self, _wants: &[bool]) -> Keeps {
        Keeps::NOTHING
    }

    fn backward(&self, cx: &mut Backward<'_>) -> Result<(), TrainError> {
        let gradient = cx.gradient()?;
        let (shape, _) = self.lay(cx.shape(0)?).ok_or_else(|| cx.lost())?;
        if gradient.len() != shape.output_len() || (!self.average && cx.saved.indices.len() != gradient.len()) {
            return Err(cx.lost());
        }
        let mut part = cx.pool.take(shape.input_len())?;
        if gradient.is_empty() {
            part.fill(0.0);
        } else if self.average {
            kernel::average_pool_grad(cx.team, &shape, self.count_padding, &gradient, &mut part);
        } else {
            kernel::max_pool_grad(cx.team, &shape, &gradient, &cx.saved.indices, &mut part);
        }
        cx.recycle(gradient);
        cx.give(0, part)
    }
}
