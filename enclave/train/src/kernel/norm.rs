//! Normalisation over channels (of a batch) and over rows.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "lengths are compared at the head of each kernel"
)]

use std::ops::Range;

use super::Team;
use super::elementwise::total;
use super::wide::{GRAIN, lanes, wide};

/// The sizes of `[batch, channels, area]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchDims {
    /// Images.
    pub batch: usize,
    /// Channels.
    pub channels: usize,
    /// Values of one channel of one image.
    pub area: usize,
}

impl BatchDims {
    fn len(&self) -> usize {
        self.batch * self.channels * self.area
    }

    /// Planes that are worth another thread.
    fn planes_at_once(&self) -> usize {
        GRAIN.div_ceil(self.area.max(1))
    }

    fn planes(self, channel: usize) -> impl Iterator<Item = Range<usize>> + Clone {
        (0..self.batch).map(move |n| {
            let start = (n * self.channels + channel) * self.area;
            start..start + self.area
        })
    }
}

/// Sets `mean` and `variance` (divided by the count, not by one less) of each channel.
pub fn batch_norm_moments(team: &Team, dims: BatchDims, input: &[f32], mean: &mut [f32], variance: &mut [f32]) {
    assert!(input.len() == dims.len() && mean.len() == dims.channels && variance.len() == dims.channels, "moments");
    let count = (dims.batch * dims.area) as f64;
    let mut moments: Vec<[f64; 2]> = vec![[0.0; 2]; dims.channels];
    team.pieces(&mut moments, 1, |channel, moments| {
        // Planes add up in double precision, and the variance is taken around the mean: two passes, no cancellation.
        let mean = dims.planes(channel).map(|plane| f64::from(total(&input[plane]))).sum::<f64>() / count;
        let center = mean as f32;
        let squares = |plane: Range<usize>| {
            let plane = &input[plane];
            f64::from(wide(
                #[inline(always)]
                || lanes(plane, plane, |sum, x, _| (x - center).mul_add(x - center, sum)),
            ))
        };
        moments[0] = [mean, dims.planes(channel).map(squares).sum::<f64>() / count];
    });
    for ((mean, variance), moments) in mean.iter_mut().zip(variance).zip(&moments) {
        (*mean, *variance) = (moments[0] as f32, moments[1] as f32);
    }
}

/// Forward: `output = (input - mean) * scale / sqrt(variance + epsilon) + shift`, channel by channel.
#[allow(clippy::too_many_arguments, reason = "the operands of the ONNX operator")]
pub fn batch_norm(
    team: &Team,
    dims: BatchDims,
    epsilon: f32,
    mean: &[f32],
    variance: &[f32],
    scale: &[f32],
    shift: &[f32],
    input: &[f32],
    output: &mut [f32],
) {
    assert!(input.len() == dims.len() && output.len() == dims.len(), "batch norm of another size");
    if output.is_empty() {
        return;
    }
    let planes = dims.planes_at_once();
    team.pieces(output, planes * dims.area, |index, output| {
        let input = &input[index * planes * dims.area..][..output.len()];
        wide(
            #[inline(always)]
            || {
                let both = output.chunks_exact_mut(dims.area).zip(input.chunks_exact(dims.area));
                for (plane, (output, input)) in both.enumerate() {
                    let channel = (index * planes + plane) % dims.channels;
                    let factor = scale[channel] / (variance[channel] + epsilon).sqrt();
                    let (center, shift) = (mean[channel], shift[channel]);
                    output
                        .iter_mut()
                        .zip(input)
                        .for_each(|(output, input)| *output = (input - center).mul_add(factor, shift));
                }
            },
        );
    });
}

/// Backward: sets `grad_input`, adds to `grad_scale` and `grad_shift`. `of_batch` says whether `mean` and `variance` are
/// the batch's own (training), so that the gradient flows through them too, or constants.
#[allow(clippy::too_many_arguments, reason = "the operands of the ONNX operator")]
pub fn batch_norm_grad(
    team: &Team,
    dims: BatchDims,
    epsilon: f32,
    of_batch: bool,
    mean: &[f32],
    variance: &[f32],
    scale: &[f32],
    input: &[f32],
    grad_output: &[f32],
    grad_input: &mut [f32],
    grad_scale: &mut [f32],
    grad_shift: &mut [f32],
) {
    let len = dims.len();
    assert!(input.len() == len && grad_output.len() == len && grad_input.len() == len, "batch norm of another size");
    let mut sums: Vec<[f64; 2]> = vec![[0.0; 2]; dims.channels];
    team.pieces(&mut sums, 1, |channel, sums| {
        let center = mean[channel];
        for plane in dims.planes(channel) {
            let (input, grad) = (&input[plane.clone()], &grad_output[plane]);
            sums[0][0] += f64::from(total(grad));
            sums[0][1] += f64::from(wide(
                #[inline(always)]
                || lanes(input, grad, |sum, x, grad| (x - center).mul_add(grad, sum)),
            ));
        }
    });
    if len == 0 {
        return;
    }
    let inverse = |channel: usize| 1.0 / (variance[channel] + epsilon).sqrt();
    for (channel, sums) in sums.iter().enumerate() {
        grad_shift[channel] += sums[0] as f32;
        grad_scale[channel] += (sums[1] * f64::from(inverse(channel))) as f32;
    }
    let count = (dims.batch * dims.area) as f64;
    let planes = dims.planes_at_once();
    team.pieces(grad_input, planes * dims.area, |index, grad_input| {
        let start = index * planes * dims.area;
        for (plane, grad_input) in grad_input.chunks_exact_mut(dims.area).enumerate() {
            let channel = (index * planes + plane) % dims.channels;
            let range = start + plane * dims.area..start + (plane + 1) * dims.area;
            let (input, grad_output) = (&input[range.clone()], &grad_output[range]);
            let inverse = inverse(channel);
            let factor = scale[channel] * inverse;
            let (share, slope) = if of_batch {
                let square = f64::from(inverse) * f64::from(inverse);
                ((sums[channel][0] / count) as f32, (sums[channel][1] * square / count) as f32)
            } else {
                (0.0, 0.0)
            };
            let center = mean[channel];
            wide(
                #[inline(always)]
                || {
                    for ((grad_input, input), grad) in grad_input.iter_mut().zip(input).zip(grad_output) {
                        *grad_input = factor * (input - center).mul_add(-slope, grad - share);
                    }
                },
            );
        }
    });
}

/// Forward over the last axis: `output = (input - mean) / sqrt(variance + epsilon) * scale + shift`; sets `mean` and
/// `inverse` (one over the root), one value a row each, for the way back. The width is that of `scale`.
#[allow(clippy::too_many_arguments, reason = "the operands of the ONNX operator")]
pub fn layer_norm(
    team: &Team,
    epsilon: f32,
    scale: &[f32],
    shift: Option<&[f32]>,
    input: &[f32],
    output: &mut [f32],
    mean: &mut [f32],
    inverse: &mut [f32],
) {
    let width = scale.len();
    let rows = mean.len();
    assert!(
        input.len() == rows * width && output.len() == input.len() && inverse.len() == rows,
        "rows of another width"
    );
    assert!(shift.is_none_or(|shift| shift.len() == width), "shift of another width");
    if width == 0 {
        return;
    }
    let piece = rows_at_once(width);
    let mut parts: Vec<_> = output
        .chunks_mut(piece * width)
        .zip(mean.chunks_mut(piece))
        .zip(inverse.chunks_mut(piece))
        .zip(input.chunks(piece * width))
        .collect();
    team.pieces(&mut parts, 1, |_, part| {
        for (((output, mean), inverse), input) in part {
            wide(
                #[inline(always)]
                || {
                    let rows = output.chunks_exact_mut(width).zip(input.chunks_exact(width));
                    for (((output, input), mean), inverse) in rows.zip(mean.iter_mut()).zip(inverse.iter_mut()) {
                        let center = lanes(input, input, |sum, x, _| sum + x) / width as f32;
                        let squares = lanes(input, input, |sum, x, _| (x - center).mul_add(x - center, sum));
                        let factor = 1.0 / (squares / width as f32 + epsilon).sqrt();
                        (*mean, *inverse) = (center, factor);
                        let outputs = output.iter_mut().zip(input).zip(scale);
                        match shift {
                            Some(shift) => outputs.zip(shift).for_each(|(((output, x), scale), shift)| {
                                *output = ((x - center) * factor).mul_add(*scale, *shift);
                            }),
                            None => outputs.for_each(|((output, x), scale)| *output = (x - center) * factor * scale),
                        }
                    }
                },
            );
        }
    });
}

/// Backward over the last axis: sets `grad_input`, adds to `grad_scale` and `grad_shift`.
#[allow(clippy::too_many_arguments, reason = "the operands of the ONNX operator")]
pub fn layer_norm_grad(
    team: &Team,
    scale: &[f32],
    mean: &[f32],
    inverse: &[f32],
    input: &[f32],
    grad_output: &[f32],
    grad_input: &mut [f32],
    grad_scale: Option<&mut [f32]>,
    grad_shift: Option<&mut [f32]>,
) {
    let width = scale.len();
    let rows = mean.len();
    assert!(
        input.len() == rows * width && grad_output.len() == input.len() && grad_input.len() == input.len(),
        "rows of another width"
    );
    if width == 0 || rows == 0 {
        return;
    }
    // Each run of rows has sums of its own; runs are as many as the shape says, whatever the team.
    let run = rows.div_ceil(RUNS).max(rows_at_once(width));
    let mut sums = team.scratch(rows.div_ceil(run) * 2 * width);
    sums.fill(0.0);
    let mut parts: Vec<_> = grad_input.chunks_mut(run * width).zip(sums.chunks_exact_mut(2 * width)).collect();
    team.pieces(&mut parts, 1, |index, part| {
        for (grad_input, sums) in part {
            let (sum_scale, sum_shift) = sums.split_at_mut(width);
            for (row, grad_input) in grad_input.chunks_exact_mut(width).enumerate() {
                let row = index * run + row;
                let input = &input[row * width..][..width];
                let grad_output = &grad_output[row * width..][..width];
                let (center, inverse) = (mean[row], inverse[row]);
                wide(
                    #[inline(always)]
                    || row_grad(scale, center, inverse, input, grad_output, grad_input, sum_scale, sum_shift),
                );
            }
        }
    });
    drop(parts);
    let (mut grad_scale, mut grad_shift) = (grad_scale, grad_shift);
    for sums in sums.chunks_exact(2 * width) {
        let (sum_scale, sum_shift) = sums.split_at(width);
        for (grad, sum) in [(&mut grad_scale, sum_scale), (&mut grad_shift, sum_shift)] {
            if let Some(grad) = grad {
                grad.iter_mut().zip(sum).for_each(|(grad, sum)| *grad += sum);
            }
        }
    }
}

/// Into how many sums the gradients of scale and shift are split.
const RUNS: usize = 16;

/// Rows that are worth another thread.
fn rows_at_once(width: usize) -> usize {
    (GRAIN / 4).div_ceil(width)
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "one row of all operands")]
fn row_grad(
    scale: &[f32],
    center: f32,
    inverse: f32,
    input: &[f32],
    grad_output: &[f32],
    grad_input: &mut [f32],
    sum_scale: &mut [f32],
    sum_shift: &mut [f32],
) {
    // The scaled gradient waits in `grad_input` for its mean.
    for i in 0..grad_input.len() {
        let normal = (input[i] - center) * inverse;
        sum_scale[i] = grad_output[i].mul_add(normal, sum_scale[i]);
        sum_shift[i] += grad_output[i];
        grad_input[i] = grad_output[i] * scale[i];
    }
    let count = grad_input.len() as f32;
    let share = lanes(grad_input, input, |sum, grad, _| sum + grad) / count;
    let slope = lanes(grad_input, input, |sum, grad, x| grad.mul_add(x - center, sum)) * inverse * inverse / count;
    for (grad, x) in grad_input.iter_mut().zip(input) {
        *grad = inverse * (x - center).mul_add(-slope, *grad - share);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::{close, everywhere, noise, slope, slopes};

    const EPSILON: f32 = 1e-3;

    fn shifted(seed: u64, len: usize) -> Vec<f32> {
        noise(seed, len).iter().map(|x| x + 3.0).collect()
    }

    /// Mean and variance of some values in double precision.
    fn moments(values: impl Iterator<Item = f32> + Clone) -> [f64; 2] {
        let count = values.clone().count() as f64;
        let mean = values.clone().map(f64::from).sum::<f64>() / count;
        [mean, values.map(|x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count]
    }

    fn batch_reference(dims: BatchDims, scale: &[f32], shift: &[f32], input: &[f32]) -> (Vec<[f64; 2]>, Vec<f64>) {
        let moments: Vec<_> =
            (0..dims.channels).map(|channel| moments(dims.planes(channel).flatten().map(|i| input[i]))).collect();
        let output = (0..input.len())
            .map(|i| {
                let channel = i / dims.area % dims.channels;
                let [mean, variance] = moments[channel];
                (f64::from(input[i]) - mean) / (variance + f64::from(EPSILON)).sqrt() * f64::from(scale[channel])
                    + f64::from(shift[channel])
            })
            .collect();
        (moments, output)
    }

    #[test]
    fn channels_agree_with_double_precision_and_with_differences() {
        for (batch, channels, area) in [(1, 1, 2), (2, 3, 5), (4, 5, 1), (3, 2, 77)] {
            let dims = BatchDims { batch, channels, area };
            let input = shifted(1, dims.len());
            let (scale, shift, grad) = (shifted(2, channels), noise(3, channels), noise(4, dims.len()));
            let (moments, expected) = batch_reference(dims, &scale, &shift, &input);
            let both = everywhere(2 * channels, |team, out| {
                let (mean, variance) = out.split_at_mut(channels);
                batch_norm_moments(team, dims, &input, mean, variance);
            });
            close(&both, &moments.iter().map(|m| m[0]).chain(moments.iter().map(|m| m[1])).collect::<Vec<_>>());
            let (mean, variance) = both.split_at(channels);
            let output = everywhere(dims.len(), |team, out| {
                batch_norm(team, dims, EPSILON, mean, variance, &scale, &shift, &input, out);
            });
            close(&output, &expected);

            for of_batch in [true, false] {
                let found = everywhere(dims.len() + 2 * channels, |team, out| {
                    let (grad_input, rest) = out.split_at_mut(dims.len());
                    rest.fill(1.0);
                    let (grad_scale, grad_shift) = rest.split_at_mut(channels);
                    #[rustfmt::skip]
                    batch_norm_grad(
                        team, dims, EPSILON, of_batch, mean, variance, &scale, &input, &grad,
                        grad_input, grad_scale, grad_shift,
                    );
                });
                let loss = |scale: &[f32], shift: &[f32], input: &[f32]| -> f64 {
                    let output = if of_batch {
                        batch_reference(dims, scale, shift, input).1
                    } else {
                        let normal = |i: usize| {
                            let channel = i / area % channels;
                            f64::from(
                                (input[i] - mean[channel]) / (variance[channel] + EPSILON).sqrt() * scale[channel],
                            ) + f64::from(shift[channel])
                        };
                        (0..input.len()).map(normal).collect()
                    };
                    output.iter().zip(&grad).map(|(y, &grad)| y * f64::from(grad)).sum()
                };
                let (grad_input, rest) = found.split_at(dims.len());
                slopes(grad_input, &slope(&input, |input| loss(&scale, &shift, input)));
                let added = |slopes: Vec<f64>| slopes.into_iter().map(|slope| slope + 1.0).collect::<Vec<_>>();
                slopes(&rest[..channels], &added(slope(&scale, |scale| loss(scale, &shift, &input))));
                slopes(&rest[channels..], &added(slope(&shift, |shift| loss(&scale, shift, &input))));
            }
        }
    }

    fn layer_reference(scale: &[f32], shift: &[f32], input: &[f32]) -> Vec<f64> {
        input
            .chunks(scale.len())
            .flat_map(|row| {
                let [mean, variance] = moments(row.iter().copied());
                let normal = move |x: f32| (f64::from(x) - mean) / (variance + f64::from(EPSILON)).sqrt();
                row.iter()
                    .zip(scale)
                    .zip(shift)
                    .map(move |((&x, &scale), &shift)| normal(x) * f64::from(scale) + f64::from(shift))
            })
            .collect()
    }

    #[test]
    fn rows_agree_with_double_precision_and_with_differences() {
        for (rows, width) in [(1, 1), (3, 2), (2, 16), (5, 33), (40, 7)] {
            let input = shifted(1, rows * width);
            let (scale, shift, grad) = (shifted(2, width), noise(3, width), noise(4, rows * width));
            let found = everywhere((rows + 2) * width + 2 * rows, |team, out| {
                let (output, rest) = out.split_at_mut(rows * width);
                let (mean, rest) = rest.split_at_mut(rows);
                let (inverse, unused) = rest.split_at_mut(rows);
                unused.fill(0.0);
                layer_norm(team, EPSILON, &scale, Some(&shift), &input, output, mean, inverse);
            });
            close(&found[..rows * width], &layer_reference(&scale, &shift, &input));
            let (mean, inverse) = found[rows * width..][..2 * rows].split_at(rows);
            let found = everywhere((rows + 2) * width, |team, out| {
                let (grad_input, rest) = out.split_at_mut(rows * width);
                rest.fill(1.0);
                let (grad_scale, grad_shift) = rest.split_at_mut(width);
                let sums = (Some(grad_scale), Some(grad_shift));
                layer_norm_grad(team, &scale, mean, inverse, &input, &grad, grad_input, sums.0, sums.1);
            });
            let loss = |scale: &[f32], shift: &[f32], input: &[f32]| -> f64 {
                layer_reference(scale, shift, input).iter().zip(&grad).map(|(y, &grad)| y * f64::from(grad)).sum()
            };
            let (grad_input, rest) = found.split_at(rows * width);
            slopes(grad_input, &slope(&input, |input| loss(&scale, &shift, input)));
            let added = |slopes: Vec<f64>| slopes.into_iter().map(|slope| slope + 1.0).collect::<Vec<_>>();
            slopes(&rest[..width], &added(slope(&scale, |scale| loss(scale, &shift, &input))));
            slopes(&rest[width..], &added(slope(&shift, |shift| loss(&scale, shift, &input))));
        }
    }

    #[test]
    fn large_norms_are_the_same_on_any_team() {
        let (rows, width) = (700, 130);
        let (input, grad) = (shifted(1, rows * width), noise(2, rows * width));
        let (scale, mean, inverse) = (noise(3, width), noise(4, rows), noise(5, rows));
        let found = everywhere((rows + 2) * width, |team, out| {
            let (grad_input, rest) = out.split_at_mut(rows * width);
            rest.fill(0.0);
            let (grad_scale, grad_shift) = rest.split_at_mut(width);
            let sums = (Some(grad_scale), Some(grad_shift));
            layer_norm_grad(team, &scale, &mean, &inverse, &input, &grad, grad_input, sums.0, sums.1);
        });
        let column = |c: usize| (0..rows).map(move |row| row * width + c);
        let shifts: Vec<f64> = (0..width).map(|c| column(c).map(|i| f64::from(grad[i])).sum()).collect();
        close(&found[(rows + 1) * width..], &shifts);
    }
}
