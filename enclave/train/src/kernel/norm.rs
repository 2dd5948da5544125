//! Normalisation over channels (of a batch) and over rows.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "lengths are compared at the head of each kernel"
)]

use super::Team;
use super::elementwise::total;

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

    fn planes(self, channel: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
        (0..self.batch).map(move |n| {
            let start = (n * self.channels + channel) * self.area;
            start..start + self.area
        })
    }
}

/// Sets `mean` and `variance` (divided by the count, not by one less) of each channel.
pub fn batch_norm_moments(team: &Team, dims: BatchDims, input: &[f32], mean: &mut [f32], variance: &mut [f32]) {
    assert!(input.len() == dims.len() && mean.len() == dims.channels && variance.len() == dims.channels, "moments");
    let _ = team;
    let count = (dims.batch * dims.area) as f32;
    for (channel, (mean, variance)) in mean.iter_mut().zip(variance).enumerate() {
        *mean = dims.planes(channel).map(|plane| total(&input[plane])).sum::<f32>() / count;
        let center = *mean;
        *variance = dims
            .planes(channel)
            .map(|plane| input[plane].iter().map(|x| (x - center) * (x - center)).sum::<f32>())
            .sum::<f32>()
            / count;
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
    team.pieces(output, dims.area, |plane, output| {
        let channel = plane % dims.channels;
        let factor = scale[channel] / (variance[channel] + epsilon).sqrt();
        let offset = shift[channel] - mean[channel] * factor;
        let input = &input[plane * dims.area..][..output.len()];
        output.iter_mut().zip(input).for_each(|(output, input)| *output = input * factor + offset);
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
    assert!(
        input.len() == dims.len() && grad_output.len() == dims.len() && grad_input.len() == dims.len(),
        "batch norm of another size"
    );
    let _ = team;
    let count = (dims.batch * dims.area) as f32;
    for channel in 0..dims.channels {
        let inverse = 1.0 / (variance[channel] + epsilon).sqrt();
        let center = mean[channel];
        let (mut sum, mut sum_normal) = (0.0, 0.0);
        for plane in dims.planes(channel) {
            for (x, grad) in input[plane.clone()].iter().zip(&grad_output[plane]) {
                sum += grad;
                sum_normal += grad * (x - center) * inverse;
            }
        }
        grad_scale[channel] += sum_normal;
        grad_shift[channel] += sum;
        let factor = scale[channel] * inverse;
        for plane in dims.planes(channel) {
            for i in plane {
                grad_input[i] = if of_batch {
                    factor * (grad_output[i] - sum / count - (input[i] - center) * inverse * sum_normal / count)
                } else {
                    factor * grad_output[i]
                };
            }
        }
    }
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
        input.len() == rows * width && output.len() == rows * width && inverse.len() == rows,
        "rows of another width"
    );
    assert!(shift.is_none_or(|shift| shift.len() == width), "shift of another width");
    let _ = team;
    for row in 0..rows {
        let input = &input[row * width..][..width];
        let center = total(input) / width as f32;
        let variance = input.iter().map(|x| (x - center) * (x - center)).sum::<f32>() / width as f32;
        (mean[row], inverse[row]) = (center, 1.0 / (variance + epsilon).sqrt());
        for (column, output) in output[row * width..][..width].iter_mut().enumerate() {
            *output =
                (input[column] - center) * inverse[row] * scale[column] + shift.map_or(0.0, |shift| shift[column]);
        }
    }
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
        input.len() == rows * width && grad_output.len() == rows * width && grad_input.len() == rows * width,
        "rows of another width"
    );
    let _ = team;
    if let Some(grad_scale) = grad_scale {
        for row in 0..rows {
            for (column, grad_scale) in grad_scale.iter_mut().enumerate() {
                let i = row * width + column;
                *grad_scale += grad_output[i] * (input[i] - mean[row]) * inverse[row];
            }
        }
    }
    if let Some(grad_shift) = grad_shift {
        super::sum_columns(team, grad_output, grad_shift);
    }
    for row in 0..rows {
        let range = row * width..(row + 1) * width;
        let (input, grad_output) = (&input[range.clone()], &grad_output[range.clone()]);
        let (mut sum, mut sum_normal) = (0.0, 0.0);
        for column in 0..width {
            let grad = grad_output[column] * scale[column];
            sum += grad;
            sum_normal += grad * (input[column] - mean[row]) * inverse[row];
        }
        let (share, share_normal) = (sum / width as f32, sum_normal / width as f32);
        for (column, grad_input) in grad_input[range].iter_mut().enumerate() {
            let normal = (input[column] - mean[row]) * inverse[row];
            *grad_input = inverse[row] * (grad_output[column] * scale[column] - share - normal * share_normal);
        }
    }
}
