//! Convolution of images; a signal is an image one pixel high.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a shape is checked against its slices at the head of each kernel"
)]

use super::Team;

/// The sizes of a convolution over `[batch, in_channels, height, width]`.
///
/// Weights are `[out_channels, in_channels / groups, kernel height, kernel width]`, as in ONNX. A transposed
/// convolution is [`conv2d_grad_input`] forward and [`conv2d`] backward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Images.
    pub batch: usize,
    /// Channels of an input image; a multiple of `groups`.
    pub in_channels: usize,
    /// Channels of an output image; a multiple of `groups`.
    pub out_channels: usize,
    /// Independent groups of channels.
    pub groups: usize,
    /// Height and width of an input image.
    pub input: [usize; 2],
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Steps down and right.
    pub stride: [usize; 2],
    /// Distance of kernel elements down and right, at least 1.
    pub dilation: [usize; 2],
    /// Zeros around an input image: top, left, bottom, right.
    pub pads: [usize; 4],
}

impl ConvShape {
    /// Height and width of an output image.
    pub fn output(&self) -> [usize; 2] {
        [0, 1].map(|axis| {
            let padded = self.input[axis] + self.pads[axis] + self.pads[axis + 2];
            let reach = self.dilation[axis] * (self.kernel[axis].max(1) - 1) + 1;
            if padded < reach { 0 } else { (padded - reach) / self.stride[axis] + 1 }
        })
    }

    /// Values of all input images.
    pub fn input_len(&self) -> usize {
        self.batch * self.in_channels * self.input[0] * self.input[1]
    }

    /// Values of all output images.
    pub fn output_len(&self) -> usize {
        let [height, width] = self.output();
        self.batch * self.out_channels * height * width
    }

    /// Values of the weights.
    pub fn weight_len(&self) -> usize {
        self.out_channels * (self.in_channels / self.groups) * self.kernel[0] * self.kernel[1]
    }

    /// Calls `visit(output, weight, input)` with the offsets of every product in the sum.
    fn products(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let [out_height, out_width] = self.output();
        let (in_group, out_group) = (self.in_channels / self.groups, self.out_channels / self.groups);
        for n in 0..self.batch {
            for co in 0..self.out_channels {
                for y in 0..out_height {
                    for x in 0..out_width {
                        for ci in 0..in_group {
                            for ky in 0..self.kernel[0] {
                                for kx in 0..self.kernel[1] {
                                    let row = y * self.stride[0] + ky * self.dilation[0];
                                    let column = x * self.stride[1] + kx * self.dilation[1];
                                    if row < self.pads[0] || column < self.pads[1] {
                                        continue;
                                    }
                                    let (row, column) = (row - self.pads[0], column - self.pads[1]);
                                    if row >= self.input[0] || column >= self.input[1] {
                                        continue;
                                    }
                                    let channel = co / out_group * in_group + ci;
                                    visit(
                                        ((n * self.out_channels + co) * out_height + y) * out_width + x,
                                        ((co * in_group + ci) * self.kernel[0] + ky) * self.kernel[1] + kx,
                                        ((n * self.in_channels + channel) * self.input[0] + row) * self.input[1]
                                            + column,
                                    );
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Forward: sets `output`.
pub fn conv2d(team: &Team, shape: &ConvShape, input: &[f32], weight: &[f32], bias: Option<&[f32]>, output: &mut [f32]) {
    check(shape, input, weight, output);
    let [height, width] = shape.output();
    team.pieces(output, height * width, |plane, output| {
        output.fill(bias.map_or(0.0, |bias| bias[plane % shape.out_channels]));
    });
    shape.products(|o, w, i| output[o] += weight[w] * input[i]);
}

/// Backward to the images: sets `grad_input`.
pub fn conv2d_grad_input(_team: &Team, shape: &ConvShape, grad_output: &[f32], weight: &[f32], grad_input: &mut [f32]) {
    check(shape, grad_input, weight, grad_output);
    grad_input.fill(0.0);
    shape.products(|o, w, i| grad_input[i] += weight[w] * grad_output[o]);
}

/// Backward to the weights: adds to `grad_weight`.
pub fn conv2d_grad_weight(
    _team: &Team,
    shape: &ConvShape,
    input: &[f32],
    grad_output: &[f32],
    grad_weight: &mut [f32],
) {
    check(shape, input, grad_weight, grad_output);
    shape.products(|o, w, i| grad_weight[w] += input[i] * grad_output[o]);
}

/// Backward to the bias: adds to `grad_bias`, one value a channel of the output.
pub fn conv2d_grad_bias(team: &Team, shape: &ConvShape, grad_output: &[f32], grad_bias: &mut [f32]) {
    let [height, width] = shape.output();
    super::sum_channels(team, [shape.batch, shape.out_channels, height * width], grad_output, grad_bias);
}

fn check(shape: &ConvShape, input: &[f32], weight: &[f32], output: &[f32]) {
    assert!(shape.groups > 0 && shape.stride.iter().chain(&shape.dilation).all(|&step| step > 0), "a step of 0");
    assert!(
        shape.in_channels.is_multiple_of(shape.groups) && shape.out_channels.is_multiple_of(shape.groups),
        "channels that do not divide into groups"
    );
    assert_eq!(input.len(), shape.input_len(), "input of a convolution");
    assert_eq!(weight.len(), shape.weight_len(), "weights of a convolution");
    assert_eq!(output.len(), shape.output_len(), "output of a convolution");
}
