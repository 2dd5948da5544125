//! Convolution of images; a signal is an image one pixel high.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a shape is checked against its slices at the head of each kernel"
)]

use std::ops::Range;

use super::gemm::product;
use super::wide::wide;
use super::{Bias, Team, View};

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

    fn in_group(&self) -> usize {
        self.in_channels / self.groups
    }

    fn out_group(&self) -> usize {
        self.out_channels / self.groups
    }

    /// Products in the sum of one output.
    fn depth(&self) -> usize {
        self.in_group() * self.kernel[0] * self.kernel[1]
    }

    fn in_area(&self) -> usize {
        self.input[0] * self.input[1]
    }

    fn out_area(&self) -> usize {
        let [height, width] = self.output();
        height * width
    }

    /// Whether the image itself is the matrix that weights are multiplied with.
    fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.pads == [0; 4]
    }

    /// Whether sums are so short that loops over pixels beat a matrix product.
    fn is_depthwise(&self) -> bool {
        self.in_group() == 1 && self.out_group() < 8
    }

    /// The outputs along `axis` that kernel element `tap` reads from the image (not from the padding), and where the
    /// first of them reads.
    fn reach(&self, axis: usize, tap: usize) -> (Range<usize>, usize) {
        let (offset, pad, stride) = (tap * self.dilation[axis], self.pads[axis], self.stride[axis]);
        let outputs = self.output()[axis];
        let first = pad.saturating_sub(offset).div_ceil(stride).min(outputs);
        let end = (self.input[axis] + pad).saturating_sub(offset).div_ceil(stride).min(outputs);
        if first >= end { (0..0, 0) } else { (first..end, first * stride + offset - pad) }
    }
}

/// Forward: sets `output`.
pub fn conv2d(team: &Team, shape: &ConvShape, input: &[f32], weight: &[f32], bias: Option<&[f32]>, output: &mut [f32]) {
    check(shape, input, weight, output);
    assert!(bias.is_none_or(|bias| bias.len() == shape.out_channels), "bias of other channels");
    let (in_area, out_area, depth) = (shape.in_area(), shape.out_area(), shape.depth());
    if output.is_empty() {
        return;
    }
    if shape.is_depthwise() {
        return depthwise(team, shape, input, weight, bias, output);
    }
    let (in_group, out_group) = (shape.in_group(), shape.out_group());
    team.install(|| {
        // A piece is one group of one image.
        team.pieces(output, out_group * out_area, |index, output| {
            let group = index % shape.groups;
            let image = &input[index * in_group * in_area..][..in_group * in_area];
            let weight = View::new(&weight[group * out_group * depth..], out_group, depth);
            let bias = bias.map_or(Bias::None, |bias| Bias::Rows(&bias[group * out_group..][..out_group]));
            if shape.is_pointwise() {
                return product(team, 1.0, weight, View::new(image, depth, out_area), 0.0, output, bias);
            }
            let mut columns = team.scratch(depth * out_area);
            unfold(shape, image, &mut columns);
            product(team, 1.0, weight, View::new(&columns, depth, out_area), 0.0, output, bias);
        });
    });
}

/// Backward to the images: sets `grad_input`.
pub fn conv2d_grad_input(team: &Team, shape: &ConvShape, grad_output: &[f32], weight: &[f32], grad_input: &mut [f32]) {
    check(shape, grad_input, weight, grad_output);
    if grad_output.is_empty() {
        return grad_input.fill(0.0);
    }
    if shape.is_depthwise() {
        return depthwise_grad_input(team, shape, grad_output, weight, grad_input);
    }
    let (in_area, out_area, depth) = (shape.in_area(), shape.out_area(), shape.depth());
    let (in_group, out_group) = (shape.in_group(), shape.out_group());
    team.install(|| {
        team.pieces(grad_input, in_group * in_area, |index, grad_input| {
            let group = index % shape.groups;
            let weight = View::new(&weight[group * out_group * depth..], out_group, depth).transposed();
            let grad_output = View::new(&grad_output[index * out_group * out_area..], out_group, out_area);
            if shape.is_pointwise() {
                return product(team, 1.0, weight, grad_output, 0.0, grad_input, Bias::None);
            }
            let mut columns = team.scratch(depth * out_area);
            product(team, 1.0, weight, grad_output, 0.0, &mut columns, Bias::None);
            grad_input.fill(0.0);
            fold(shape, &columns, grad_input);
        });
    });
}

/// Backward to the weights: adds to `grad_weight`.
pub fn conv2d_grad_weight(team: &Team, shape: &ConvShape, input: &[f32], grad_output: &[f32], grad_weight: &mut [f32]) {
    check(shape, input, grad_weight, grad_output);
    if grad_output.is_empty() || grad_weight.is_empty() {
        return;
    }
    if shape.is_depthwise() {
        return depthwise_grad_weight(team, shape, input, grad_output, grad_weight);
    }
    let (in_area, out_area, depth) = (shape.in_area(), shape.out_area(), shape.depth());
    let (in_group, out_group) = (shape.in_group(), shape.out_group());
    // Each run of images has a sum of its own; runs are as many as the shape says, whatever the team.
    let images = shape.batch.div_ceil(RUNS);
    let runs = shape.batch.div_ceil(images);
    let mut partial = team.scratch(runs * grad_weight.len());
    team.install(|| {
        team.pieces(&mut partial, out_group * depth, |index, partial| {
            let (run, group) = (index / shape.groups, index % shape.groups);
            let mut columns = team.scratch(if shape.is_pointwise() { 0 } else { depth * out_area });
            for n in run * images..((run + 1) * images).min(shape.batch) {
                let at = n * shape.groups + group;
                let image = &input[at * in_group * in_area..][..in_group * in_area];
                let grad_output = View::new(&grad_output[at * out_group * out_area..], out_group, out_area);
                let columns = if shape.is_pointwise() {
                    View::new(image, depth, out_area)
                } else {
                    unfold(shape, image, &mut columns);
                    View::new(&columns, depth, out_area)
                };
                let beta = if n == run * images { 0.0 } else { 1.0 };
                // Transposed, `[depth, out_group]`: what has to be rearranged for the product is then the smaller.
                product(team, 1.0, columns, grad_output.transposed(), beta, partial, Bias::None);
            }
        });
    });
    for partial in partial.chunks_exact(grad_weight.len()) {
        for (partial, grad) in
            partial.chunks_exact(out_group * depth).zip(grad_weight.chunks_exact_mut(out_group * depth))
        {
            for (channel, grad) in grad.chunks_exact_mut(depth).enumerate() {
                for (k, grad) in grad.iter_mut().enumerate() {
                    *grad += partial[k * out_group + channel];
                }
            }
        }
    }
}

/// Backward to the bias: adds to `grad_bias`, one value a channel of the output.
pub fn conv2d_grad_bias(team: &Team, shape: &ConvShape, grad_output: &[f32], grad_bias: &mut [f32]) {
    super::sum_channels(team, [shape.batch, shape.out_channels, shape.out_area()], grad_output, grad_bias);
}

/// Into how many sums the gradient of weights is split.
const RUNS: usize = 16;

/// Writes the image as a matrix `[depth, outputs]`: a row holds what one kernel element sees at each output.
fn unfold(shape: &ConvShape, image: &[f32], columns: &mut [f32]) {
    let [_, out_width] = shape.output();
    let mut rows = columns.chunks_exact_mut(shape.out_area());
    for plane in image.chunks_exact(shape.in_area()) {
        for ky in 0..shape.kernel[0] {
            let (tall, top) = shape.reach(0, ky);
            for kx in 0..shape.kernel[1] {
                let Some(row) = rows.next() else { return };
                let (across, left) = shape.reach(1, kx);
                row[..tall.start * out_width].fill(0.0);
                row[tall.end * out_width..].fill(0.0);
                let row = &mut row[tall.start * out_width..tall.end * out_width];
                let image = &plane[(top * shape.input[1] + left).min(plane.len())..];
                let lines =
                    Lines { out_width, across, step: shape.stride[0] * shape.input[1], stride: shape.stride[1] };
                wide(
                    #[inline(always)]
                    || lines.gather(image, row),
                );
            }
        }
    }
}

/// The way back of [`unfold`]: adds each element of the matrix to the pixel it came from.
fn fold(shape: &ConvShape, columns: &[f32], image: &mut [f32]) {
    let [_, out_width] = shape.output();
    let mut rows = columns.chunks_exact(shape.out_area());
    for plane in image.chunks_exact_mut(shape.in_area()) {
        for ky in 0..shape.kernel[0] {
            let (tall, top) = shape.reach(0, ky);
            for kx in 0..shape.kernel[1] {
                let Some(row) = rows.next() else { return };
                let (across, left) = shape.reach(1, kx);
                let row = &row[tall.start * out_width..tall.end * out_width];
                let start = (top * shape.input[1] + left).min(plane.len());
                let image = &mut plane[start..];
                let lines =
                    Lines { out_width, across, step: shape.stride[0] * shape.input[1], stride: shape.stride[1] };
                wide(
                    #[inline(always)]
                    || lines.scatter(row, image),
                );
            }
        }
    }
}

/// How the rows of one plane meet the lines of an image.
struct Lines {
    /// Length of a row.
    out_width: usize,
    /// What of each row falls on the image.
    across: Range<usize>,
    /// From one line to the next.
    step: usize,
    /// From one pixel to the next.
    stride: usize,
}

impl Lines {
    #[inline(always)]
    fn gather(&self, image: &[f32], rows: &mut [f32]) {
        for (row, line) in rows.chunks_exact_mut(self.out_width).zip(image.chunks(self.step)) {
            row[..self.across.start].fill(0.0);
            row[self.across.end..].fill(0.0);
            let row = &mut row[self.across.clone()];
            match self.stride {
                1 => row.iter_mut().zip(line).for_each(|(row, pixel)| *row = *pixel),
                stride => row.iter_mut().zip(line.iter().step_by(stride)).for_each(|(row, pixel)| *row = *pixel),
            }
        }
    }

    #[inline(always)]
    fn scatter(&self, rows: &[f32], image: &mut [f32]) {
        for (row, line) in rows.chunks_exact(self.out_width).zip(image.chunks_mut(self.step)) {
            let row = &row[self.across.clone()];
            match self.stride {
                1 => line.iter_mut().zip(row).for_each(|(pixel, row)| *pixel += row),
                stride => line.iter_mut().step_by(stride).zip(row).for_each(|(pixel, row)| *pixel += row),
            }
        }
    }
}

/// Calls `line(tap, input offset, output range)` for each run of outputs in one plane that read one line of the image
/// through one kernel element.
#[inline(always)]
fn lines(shape: &ConvShape, mut line: impl FnMut(usize, usize, Range<usize>)) {
    let [_, out_width] = shape.output();
    for ky in 0..shape.kernel[0] {
        let (tall, top) = shape.reach(0, ky);
        for kx in 0..shape.kernel[1] {
            let (wide, left) = shape.reach(1, kx);
            if wide.is_empty() {
                continue;
            }
            for (step, y) in tall.clone().enumerate() {
                let start = (top + step * shape.stride[0]) * shape.input[1] + left;
                line(ky * shape.kernel[1] + kx, start, y * out_width + wide.start..y * out_width + wide.end);
            }
        }
    }
}

fn depthwise(team: &Team, shape: &ConvShape, input: &[f32], weight: &[f32], bias: Option<&[f32]>, output: &mut [f32]) {
    let (in_area, out_area, taps) = (shape.in_area(), shape.out_area(), shape.depth());
    team.pieces(output, out_area, |plane, output| {
        let (n, channel) = (plane / shape.out_channels, plane % shape.out_channels);
        let weight = &weight[channel * taps..][..taps];
        let image = &input[(n * shape.in_channels + channel / shape.out_group()) * in_area..][..in_area];
        output.fill(bias.map_or(0.0, |bias| bias[channel]));
        wide(
            #[inline(always)]
            || {
                lines(
                    shape,
                    #[inline(always)]
                    |tap, start, range| {
                        let (weight, output) = (weight[tap], &mut output[range]);
                        if shape.stride[1] == 1 {
                            let line = &image[start..][..output.len()];
                            output
                                .iter_mut()
                                .zip(line)
                                .for_each(|(output, pixel)| *output = weight.mul_add(*pixel, *output));
                        } else {
                            let line = image[start..].iter().step_by(shape.stride[1]);
                            output
                                .iter_mut()
                                .zip(line)
                                .for_each(|(output, pixel)| *output = weight.mul_add(*pixel, *output));
                        }
                    },
                );
            },
        );
    });
}

fn depthwise_grad_input(team: &Team, shape: &ConvShape, grad_output: &[f32], weight: &[f32], grad_input: &mut [f32]) {
    let (in_area, out_area, taps) = (shape.in_area(), shape.out_area(), shape.depth());
    team.pieces(grad_input, in_area, |plane, grad_input| {
        let (n, group) = (plane / shape.in_channels, plane % shape.in_channels);
        grad_input.fill(0.0);
        for channel in group * shape.out_group()..(group + 1) * shape.out_group() {
            let weight = &weight[channel * taps..][..taps];
            let grad = &grad_output[(n * shape.out_channels + channel) * out_area..][..out_area];
            wide(
                #[inline(always)]
                || {
                    lines(
                        shape,
                        #[inline(always)]
                        |tap, start, range| {
                            let (weight, grad, pixels) = (weight[tap], &grad[range], &mut grad_input[start..]);
                            if shape.stride[1] == 1 {
                                pixels
                                    .iter_mut()
                                    .zip(grad)
                                    .for_each(|(pixel, grad)| *pixel = weight.mul_add(*grad, *pixel));
                            } else {
                                let pixels = pixels.iter_mut().step_by(shape.stride[1]);
                                pixels.zip(grad).for_each(|(pixel, grad)| *pixel = weight.mul_add(*grad, *pixel));
                            }
                        },
                    );
                },
            );
        }
    });
}

fn depthwise_grad_weight(team: &Team, shape: &ConvShape, input: &[f32], grad_output: &[f32], grad_weight: &mut [f32]) {
    let (in_area, out_area, taps) = (shape.in_area(), shape.out_area(), shape.depth());
    team.pieces(grad_weight, taps, |channel, grad_weight| {
        for n in 0..shape.batch {
            let image = &input[(n * shape.in_channels + channel / shape.out_group()) * in_area..][..in_area];
            let grad = &grad_output[(n * shape.out_channels + channel) * out_area..][..out_area];
            wide(
                #[inline(always)]
                || {
                    // Lanes are summed when the lines of a kernel element are done.
                    let mut sum = (0, [0.0f32; 16]);
                    lines(
                        shape,
                        #[inline(always)]
                        |tap, start, range| {
                            if tap != sum.0 {
                                grad_weight[sum.0] += sum.1.iter().sum::<f32>();
                                sum = (tap, [0.0; 16]);
                            }
                            add_products(&grad[range], &image[start..], shape.stride[1], &mut sum.1);
                        },
                    );
                    grad_weight[sum.0] += sum.1.iter().sum::<f32>();
                },
            );
        }
    });
}

#[inline(always)]
fn add_products(grad: &[f32], pixels: &[f32], stride: usize, lanes: &mut [f32; 16]) {
    if stride != 1 {
        let products = grad.iter().zip(pixels.iter().step_by(stride));
        return products.enumerate().for_each(|(i, (grad, pixel))| lanes[i % 16] = grad.mul_add(*pixel, lanes[i % 16]));
    }
    let ((grad, grad_rest), (pixels, pixels_rest)) = (grad.as_chunks::<16>(), pixels[..grad.len()].as_chunks::<16>());
    for (grad, pixels) in grad.iter().zip(pixels) {
        for ((lane, grad), pixel) in lanes.iter_mut().zip(grad).zip(pixels) {
            *lane = grad.mul_add(*pixel, *lane);
        }
    }
    for ((lane, grad), pixel) in lanes.iter_mut().zip(grad_rest).zip(pixels_rest) {
        *lane = grad.mul_add(*pixel, *lane);
    }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::testing::{close, everywhere, noise};

    /// The definition: calls `visit(output, weight, input)` with the offsets of every product in every sum.
    fn products(shape: &ConvShape, mut visit: impl FnMut(usize, usize, usize)) {
        let [height, width] = shape.output();
        let [kernel_height, kernel_width] = shape.kernel;
        for n in 0..shape.batch {
            for co in 0..shape.out_channels {
                let group = co / shape.out_group();
                for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                    for ci in 0..shape.in_group() {
                        for (ky, kx) in (0..kernel_height).flat_map(|ky| (0..kernel_width).map(move |kx| (ky, kx))) {
                            let row = (y * shape.stride[0] + ky * shape.dilation[0]).checked_sub(shape.pads[0]);
                            let column = (x * shape.stride[1] + kx * shape.dilation[1]).checked_sub(shape.pads[1]);
                            let (Some(row), Some(column)) = (row, column) else { continue };
                            if row >= shape.input[0] || column >= shape.input[1] {
                                continue;
                            }
                            let channel = n * shape.in_channels + group * shape.in_group() + ci;
                            visit(
                                ((n * shape.out_channels + co) * height + y) * width + x,
                                ((co * shape.in_group() + ci) * kernel_height + ky) * kernel_width + kx,
                                (channel * shape.input[0] + row) * shape.input[1] + column,
                            );
                        }
                    }
                }
            }
        }
    }

    fn shapes() -> impl Strategy<Value = ConvShape> {
        let pair = |range: Range<usize>| [range.clone(), range];
        let pads = [0..4usize, 0..3, 0..3, 0..4];
        (0..4usize, 1..4usize, 1..4usize, 1..12usize, pair(1..11), pair(1..4), pair(1..4), pair(1..4), pads).prop_map(
            |(batch, groups, in_group, out_group, input, kernel, stride, dilation, pads)| ConvShape {
                batch,
                in_channels: groups * in_group,
                out_channels: groups * out_group,
                groups,
                input,
                kernel,
                stride,
                dilation,
                pads,
            },
        )
    }

    fn agrees(shape: &ConvShape) {
        let input = noise(1, shape.input_len());
        let weight = noise(2, shape.weight_len());
        let bias = noise(3, shape.out_channels);
        let grad = noise(4, shape.output_len());
        let before = noise(5, shape.weight_len());

        let mut output: Vec<f64> =
            (0..shape.output_len()).map(|i| f64::from(bias[i / shape.out_area() % shape.out_channels])).collect();
        let mut grad_input = vec![0.0; input.len()];
        let mut grad_weight: Vec<f64> = before.iter().map(|&x| f64::from(x)).collect();
        products(shape, |o, w, i| {
            output[o] += f64::from(weight[w]) * f64::from(input[i]);
            grad_input[i] += f64::from(weight[w]) * f64::from(grad[o]);
            grad_weight[w] += f64::from(input[i]) * f64::from(grad[o]);
        });

        let found = everywhere(output.len(), |team, out| conv2d(team, shape, &input, &weight, Some(&bias), out));
        close(&found, &output);
        let found = everywhere(input.len(), |team, out| conv2d_grad_input(team, shape, &grad, &weight, out));
        close(&found, &grad_input);
        let found = everywhere(weight.len(), |team, out| {
            out.copy_from_slice(&before);
            conv2d_grad_weight(team, shape, &input, &grad, out);
        });
        close(&found, &grad_weight);
    }

    proptest! {
        #[test]
        fn every_shape_agrees_with_the_definition(shape in shapes()) {
            agrees(&shape);
        }
    }

    #[test]
    fn usual_shapes_agree_with_the_definition() {
        let base = ConvShape {
            batch: 17,
            in_channels: 3,
            out_channels: 16,
            groups: 1,
            input: [9, 9],
            kernel: [3, 3],
            stride: [1, 1],
            dilation: [1, 1],
            pads: [1; 4],
        };
        agrees(&base);
        agrees(&ConvShape { stride: [2, 2], ..base });
        agrees(&ConvShape { kernel: [1, 1], pads: [0; 4], ..base });
        agrees(&ConvShape { kernel: [1, 1], pads: [0; 4], stride: [2, 2], ..base });
        agrees(&ConvShape { in_channels: 16, groups: 16, input: [24, 24], ..base });
        agrees(&ConvShape { input: [1, 40], kernel: [1, 5], pads: [0, 4, 0, 0], ..base });
        agrees(&ConvShape { input: [1, 1], kernel: [6, 6], pads: [6, 6, 0, 0], ..base });
        // Smaller than the kernel: no output.
        agrees(&ConvShape { input: [1, 1], kernel: [3, 3], pads: [0; 4], ..base });
    }

    #[test]
    fn the_bias_gathers_what_its_channel_got() {
        let shape = ConvShape {
            batch: 2,
            in_channels: 1,
            out_channels: 3,
            groups: 1,
            input: [4, 5],
            kernel: [1, 1],
            stride: [1, 1],
            dilation: [1, 1],
            pads: [0; 4],
        };
        let grad: Vec<f32> = (0..120u8).map(f32::from).collect();
        let found = everywhere(3, |team, out| {
            out.fill(1.0);
            conv2d_grad_bias(team, &shape, &grad, out);
        });
        // Twenty consecutive numbers from 20c and from 60 + 20c.
        close(&found, &[0, 1, 2].map(|c: i32| 1.0 + f64::from(20 * (2 * 20 * c + 60) + 2 * 190)));
    }
}
