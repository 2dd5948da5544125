//! Pooling of images.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a shape is checked against its slices at the head of each kernel"
)]

use std::ops::Range;

use super::Team;

/// The sizes of a pooling over `planes` images of one channel (batch times channels).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolShape {
    /// Images times channels.
    pub planes: usize,
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// Steps down and right.
    pub stride: [usize; 2],
    /// Distance of window elements down and right, at least 1.
    pub dilation: [usize; 2],
    /// Padding: top, left, bottom, right.
    pub pads: [usize; 4],
    /// Whether a last window that reaches over the edge counts.
    pub ceil_mode: bool,
}

impl PoolShape {
    /// One window over each whole plane.
    pub fn global(planes: usize, input: [usize; 2]) -> Self {
        Self { planes, input, kernel: input, stride: [1, 1], dilation: [1, 1], pads: [0; 4], ceil_mode: false }
    }

    /// Height and width of the output.
    pub fn output(&self) -> [usize; 2] {
        [0, 1].map(|axis| {
            let padded = self.input[axis] + self.pads[axis] + self.pads[axis + 2];
            let reach = self.dilation[axis] * (self.kernel[axis].max(1) - 1) + 1;
            if padded < reach {
                return 0;
            }
            let free = padded - reach;
            if !self.ceil_mode {
                return free / self.stride[axis] + 1;
            }
            let count = free.div_ceil(self.stride[axis]) + 1;
            // A window that would start in the padding at the end does not count, as in ONNX and PyTorch.
            if (count - 1) * self.stride[axis] >= self.input[axis] + self.pads[axis] { count - 1 } else { count }
        })
    }

    /// Values of the input.
    pub fn input_len(&self) -> usize {
        self.planes * self.input[0] * self.input[1]
    }

    /// Values of the output.
    pub fn output_len(&self) -> usize {
        let [height, width] = self.output();
        self.planes * height * width
    }

    /// Which elements of the window at `position` fall on the input, and the input offset of the first of them.
    fn window(&self, axis: usize, position: usize) -> (Range<usize>, usize) {
        let start = position * self.stride[axis];
        let (pad, step, kernel) = (self.pads[axis], self.dilation[axis], self.kernel[axis]);
        let first = pad.saturating_sub(start).div_ceil(step).min(kernel);
        let end = (self.input[axis] + pad).saturating_sub(start).div_ceil(step).min(kernel).max(first);
        (first..end, (start + first * step).saturating_sub(pad))
    }
}

/// Forward: sets `output`, and `indices` to the offset of each maximum within its plane (`u32::MAX` where a window holds
/// padding only). The first of equal maxima counts; NaN is larger than all.
pub fn max_pool(team: &Team, shape: &PoolShape, input: &[f32], output: &mut [f32], indices: &mut [u32]) {
    check(shape, input, output);
    assert_eq!(indices.len(), output.len(), "indices of a pooling");
    let [height, width] = shape.output();
    let (area, out_area) = (shape.input[0] * shape.input[1], height * width);
    if out_area == 0 {
        return;
    }
    let _ = team;
    for ((input, output), indices) in
        input.chunks_exact(area).zip(output.chunks_exact_mut(out_area)).zip(indices.chunks_exact_mut(out_area))
    {
        for y in 0..height {
            let (rows, top) = shape.window(0, y);
            for x in 0..width {
                let (columns, left) = shape.window(1, x);
                let (mut best, mut at) = (f32::NEG_INFINITY, u32::MAX);
                for row in 0..rows.len() {
                    for column in 0..columns.len() {
                        let offset =
                            (top + row * shape.dilation[0]) * shape.input[1] + left + column * shape.dilation[1];
                        let value = input[offset];
                        if at == u32::MAX || value > best || value.is_nan() {
                            (best, at) = (value, offset as u32);
                        }
                    }
                }
                (output[y * width + x], indices[y * width + x]) = (best, at);
            }
        }
    }
}

/// Backward: sets `grad_input`.
pub fn max_pool_grad(team: &Team, shape: &PoolShape, grad_output: &[f32], indices: &[u32], grad_input: &mut [f32]) {
    check(shape, grad_input, grad_output);
    assert_eq!(indices.len(), grad_output.len(), "indices of a pooling");
    let [height, width] = shape.output();
    let out_area = height * width;
    team.pieces(grad_input, shape.input[0] * shape.input[1], |plane, grad_input| {
        grad_input.fill(0.0);
        let range = plane * out_area..(plane + 1) * out_area;
        for (grad, &at) in grad_output[range.clone()].iter().zip(&indices[range]) {
            if let Some(input) = grad_input.get_mut(at as usize) {
                *input += grad;
            }
        }
    });
}

/// Forward: sets `output`. With `count_include_pad` a window is divided by the elements on the padded input, else by
/// those on the input alone.
pub fn average_pool(team: &Team, shape: &PoolShape, count_include_pad: bool, input: &[f32], output: &mut [f32]) {
    check(shape, input, output);
    let [height, width] = shape.output();
    let area = shape.input[0] * shape.input[1];
    team.pieces(output, height * width, |plane, output| {
        let input = &input[plane * area..(plane + 1) * area];
        for y in 0..height {
            let (rows, top) = shape.window(0, y);
            for x in 0..width {
                let (columns, left) = shape.window(1, x);
                let mut sum = 0.0;
                for row in 0..rows.len() {
                    for column in 0..columns.len() {
                        sum +=
                            input[(top + row * shape.dilation[0]) * shape.input[1] + left + column * shape.dilation[1]];
                    }
                }
                output[y * width + x] = sum * share(shape, count_include_pad, [y, x], [rows.len(), columns.len()]);
            }
        }
    });
}

/// Backward: sets `grad_input`.
pub fn average_pool_grad(
    team: &Team,
    shape: &PoolShape,
    count_include_pad: bool,
    grad_output: &[f32],
    grad_input: &mut [f32],
) {
    check(shape, grad_input, grad_output);
    let [height, width] = shape.output();
    team.pieces(grad_input, shape.input[0] * shape.input[1], |plane, grad_input| {
        grad_input.fill(0.0);
        for y in 0..height {
            let (rows, top) = shape.window(0, y);
            for x in 0..width {
                let (columns, left) = shape.window(1, x);
                let grad = grad_output[(plane * height + y) * width + x]
                    * share(shape, count_include_pad, [y, x], [rows.len(), columns.len()]);
                for row in 0..rows.len() {
                    for column in 0..columns.len() {
                        grad_input
                            [(top + row * shape.dilation[0]) * shape.input[1] + left + column * shape.dilation[1]] +=
                            grad;
                    }
                }
            }
        }
    });
}

/// What one element weighs in the mean of a window at `position` that has `inside` elements on the input.
fn share(shape: &PoolShape, count_include_pad: bool, position: [usize; 2], inside: [usize; 2]) -> f32 {
    let count: usize = [0, 1]
        .map(|axis| {
            if !count_include_pad {
                return inside[axis];
            }
            // In ceil mode a window may reach beyond the padding; that part never counts.
            let padded = shape.input[axis] + shape.pads[axis] + shape.pads[axis + 2];
            let room = padded - position[axis] * shape.stride[axis];
            room.div_ceil(shape.dilation[axis]).min(shape.kernel[axis])
        })
        .iter()
        .product();
    if count == 0 { 0.0 } else { 1.0 / count as f32 }
}

fn check(shape: &PoolShape, input: &[f32], output: &[f32]) {
    assert!(shape.stride.iter().chain(&shape.dilation).all(|&step| step > 0), "a step of 0");
    assert_eq!(input.len(), shape.input_len(), "input of a pooling");
    assert_eq!(output.len(), shape.output_len(), "output of a pooling");
}
