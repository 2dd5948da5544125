//! Pooling of images.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a shape is checked against its slices at the head of each kernel"
)]

use std::ops::Range;

use super::elementwise::total;
use super::wide::{GRAIN, wide};
use super::{Scratch, Team};

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

    fn in_area(&self) -> usize {
        self.input[0] * self.input[1]
    }

    fn out_area(&self) -> usize {
        let [height, width] = self.output();
        height * width
    }

    /// Planes that are worth another thread.
    fn planes_at_once(&self) -> usize {
        GRAIN.div_ceil(self.in_area().max(1))
    }

    /// Whether one window covers each plane exactly.
    fn is_global(&self) -> bool {
        self.kernel == self.input && self.pads == [0; 4] && self.dilation == [1, 1] && self.in_area() > 0
    }

    /// Whether windows are of 2 x 2, next to each other, all on the input.
    fn is_quads(&self) -> bool {
        let plain = self.pads == [0; 4] && self.dilation == [1, 1];
        let whole = [0, 1].iter().all(|&axis| self.output()[axis] <= self.input[axis] / 2);
        plain && whole && self.kernel == [2, 2] && self.stride == [2, 2]
    }

    /// The outputs along `axis` whose window element `tap` falls on the input, and where the first of them falls.
    fn reach(&self, axis: usize, tap: usize) -> (Range<usize>, usize) {
        let (offset, pad, stride) = (tap * self.dilation[axis], self.pads[axis], self.stride[axis]);
        let outputs = self.output()[axis];
        let first = pad.saturating_sub(offset).div_ceil(stride).min(outputs);
        let end = (self.input[axis] + pad).saturating_sub(offset).div_ceil(stride).min(outputs);
        if first >= end { (0..0, 0) } else { (first..end, first * stride + offset - pad) }
    }

    /// Calls `line(input offset, output range)` for each run of outputs in one plane that see one line of the input
    /// through one element of their windows; elements come in row-major order.
    #[inline(always)]
    fn lines(&self, mut line: impl FnMut(usize, Range<usize>)) {
        let [_, out_width] = self.output();
        for ky in 0..self.kernel[0] {
            let (tall, top) = self.reach(0, ky);
            for kx in 0..self.kernel[1] {
                let (wide, left) = self.reach(1, kx);
                if wide.is_empty() {
                    continue;
                }
                for (step, y) in tall.clone().enumerate() {
                    let start = (top + step * self.stride[0]) * self.input[1] + left;
                    line(start, y * out_width + wide.start..y * out_width + wide.end);
                }
            }
        }
    }
}

/// Forward: sets `output`, and `indices` to the offset of each maximum within its plane (`u32::MAX` where a window holds
/// padding only; the maximum is then negative infinity). The first of equal maxima counts; NaN is larger than all.
pub fn max_pool(team: &Team, shape: &PoolShape, input: &[f32], output: &mut [f32], indices: &mut [u32]) {
    check(shape, input, output);
    assert_eq!(indices.len(), output.len(), "indices of a pooling");
    assert!(u32::try_from(shape.in_area()).is_ok_and(|area| area < u32::MAX), "a plane beyond the reach of an index");
    let (area, out_area, planes) = (shape.in_area(), shape.out_area(), shape.planes_at_once());
    if output.is_empty() {
        return;
    }
    let mut parts: Vec<_> = output.chunks_mut(planes * out_area).zip(indices.chunks_mut(planes * out_area)).collect();
    team.pieces(&mut parts, 1, |index, part| {
        for (output, indices) in part {
            let both = output.chunks_exact_mut(out_area).zip(indices.chunks_exact_mut(out_area));
            for (plane, (output, indices)) in both.enumerate() {
                let input = &input[(index * planes + plane) * area..][..area];
                if shape.is_quads() {
                    wide(
                        #[inline(always)]
                        || quad_maxima(shape, input, output, indices),
                    );
                    continue;
                }
                output.fill(f32::NEG_INFINITY);
                indices.fill(u32::MAX);
                wide(
                    #[inline(always)]
                    || plane_maxima(shape, input, output, indices),
                );
            }
        }
    });
}

/// The usual case in one pass: windows of 2 x 2 that neither overlap nor reach into padding.
#[inline(always)]
fn quad_maxima(shape: &PoolShape, input: &[f32], output: &mut [f32], indices: &mut [u32]) {
    let [_, out_width] = shape.output();
    let width = shape.input[1];
    let rows = output.chunks_exact_mut(out_width).zip(indices.chunks_exact_mut(out_width));
    for ((output, indices), (y, lines)) in rows.zip(input.chunks_exact(2 * width).enumerate()) {
        let (upper, lower) = lines.split_at(width);
        let pairs = upper.as_chunks::<2>().0.iter().zip(lower.as_chunks::<2>().0);
        let mut at = (2 * y * width) as u32;
        for ((output, index), ([a, b], [c, d])) in output.iter_mut().zip(indices).zip(pairs) {
            let below = at.wrapping_add(width as u32);
            let mut best = (*a, at);
            for (value, at) in [(*b, at.wrapping_add(1)), (*c, below), (*d, below.wrapping_add(1))] {
                let better = (value > best.0) | value.is_nan();
                best = (if better { value } else { best.0 }, if better { at } else { best.1 });
            }
            (*output, *index) = best;
            at = at.wrapping_add(2);
        }
    }
}

#[inline(always)]
fn plane_maxima(shape: &PoolShape, input: &[f32], output: &mut [f32], indices: &mut [u32]) {
    let step = shape.stride[1];
    shape.lines(
        #[inline(always)]
        |start, range| {
            let line = &input[start..];
            let (output, indices) = (&mut output[range.clone()], &mut indices[range]);
            // The usual steps are constants to the compiler, so that it can load vectors.
            match step {
                1 => maxima(start, step, line.iter().copied(), output, indices),
                2 => {
                    let pairs = &line.as_chunks::<2>().0;
                    let count = pairs.len().min(output.len());
                    maxima(start, step, pairs.iter().map(|pair| pair[0]), output, indices);
                    let rest = line.get(2 * count..).unwrap_or_default().iter().copied();
                    maxima(start + 2 * count, step, rest, &mut output[count..], &mut indices[count..]);
                }
                _ => maxima(start, step, line.iter().copied().step_by(step), output, indices),
            }
        },
    );
}

#[inline(always)]
fn maxima(start: usize, step: usize, values: impl Iterator<Item = f32>, output: &mut [f32], indices: &mut [u32]) {
    let (mut at, step) = (start as u32, step as u32);
    for ((output, index), value) in output.iter_mut().zip(indices).zip(values) {
        let better = (value > *output) | value.is_nan() | (*index == u32::MAX);
        *output = if better { value } else { *output };
        *index = if better { at } else { *index };
        at = at.wrapping_add(step);
    }
}

/// Backward: sets `grad_input`.
pub fn max_pool_grad(team: &Team, shape: &PoolShape, grad_output: &[f32], indices: &[u32], grad_input: &mut [f32]) {
    check(shape, grad_input, grad_output);
    assert_eq!(indices.len(), grad_output.len(), "indices of a pooling");
    let (area, out_area, planes) = (shape.in_area(), shape.out_area(), shape.planes_at_once());
    team.pieces(grad_input, planes * area, |index, grad_input| {
        grad_input.fill(0.0);
        for (plane, grad_input) in grad_input.chunks_exact_mut(area).enumerate() {
            let range = (index * planes + plane) * out_area..(index * planes + plane + 1) * out_area;
            for (grad, &at) in grad_output[range.clone()].iter().zip(&indices[range]) {
                if let Some(input) = grad_input.get_mut(at as usize) {
                    *input += grad;
                }
            }
        }
    });
}

/// Forward: sets `output`. With `count_include_pad` a window is divided by the elements on the padded input, else by
/// those on the input alone.
pub fn average_pool(team: &Team, shape: &PoolShape, count_include_pad: bool, input: &[f32], output: &mut [f32]) {
    check(shape, input, output);
    if output.is_empty() {
        return;
    }
    let (area, out_area) = (shape.in_area(), shape.out_area());
    if shape.is_global() {
        let planes = shape.planes_at_once();
        return team.pieces(output, planes, |index, output| {
            for (plane, output) in output.iter_mut().enumerate() {
                *output = total(&input[(index * planes + plane) * area..][..area]) / area as f32;
            }
        });
    }
    let shares = shares(team, shape, count_include_pad);
    let planes = shape.planes_at_once();
    team.pieces(output, planes * out_area, |index, output| {
        for (plane, output) in output.chunks_exact_mut(out_area).enumerate() {
            let input = &input[(index * planes + plane) * area..][..area];
            output.fill(0.0);
            wide(
                #[inline(always)]
                || {
                    shape.lines(
                        #[inline(always)]
                        |start, range| {
                            let output = &mut output[range];
                            if shape.stride[1] == 1 {
                                output.iter_mut().zip(&input[start..]).for_each(|(output, input)| *output += input);
                            } else {
                                let line = input[start..].iter().step_by(shape.stride[1]);
                                output.iter_mut().zip(line).for_each(|(output, input)| *output += input);
                            }
                        },
                    );
                    output.iter_mut().zip(shares.iter()).for_each(|(output, share)| *output *= share);
                },
            );
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
    let (area, out_area) = (shape.in_area(), shape.out_area());
    if area == 0 {
        return;
    }
    let planes = shape.planes_at_once();
    if shape.is_global() {
        return team.pieces(grad_input, planes * area, |index, grad_input| {
            for (plane, grad_input) in grad_input.chunks_exact_mut(area).enumerate() {
                grad_input.fill(grad_output[index * planes + plane] / area as f32);
            }
        });
    }
    let shares = shares(team, shape, count_include_pad);
    team.pieces(grad_input, planes * area, |index, grad_input| {
        grad_input.fill(0.0);
        for (plane, grad_input) in grad_input.chunks_exact_mut(area).enumerate() {
            let grad_output = &grad_output[(index * planes + plane) * out_area..][..out_area];
            wide(
                #[inline(always)]
                || {
                    shape.lines(
                        #[inline(always)]
                        |start, range| {
                            let grads = grad_output[range.clone()].iter().zip(&shares[range]);
                            let line = grad_input[start..].iter_mut().step_by(shape.stride[1]);
                            line.zip(grads).for_each(|(input, (grad, share))| *input = grad.mul_add(*share, *input));
                        },
                    );
                },
            );
        }
    });
}

/// What one element weighs in the mean of each window of a plane.
fn shares<'t>(team: &'t Team, shape: &PoolShape, count_include_pad: bool) -> Scratch<'t> {
    let [_, width] = shape.output();
    let mut shares = team.scratch(shape.out_area());
    if count_include_pad {
        for (i, share) in shares.iter_mut().enumerate() {
            let covered = |axis: usize, position: usize| {
                // In ceil mode a window may reach beyond the padding; that part never counts.
                let padded = shape.input[axis] + shape.pads[axis] + shape.pads[axis + 2];
                let room = padded.saturating_sub(position * shape.stride[axis]);
                room.div_ceil(shape.dilation[axis]).min(shape.kernel[axis])
            };
            *share = inverse((covered(0, i / width) * covered(1, i % width)) as f32);
        }
    } else {
        shares.fill(0.0);
        shape.lines(
            #[inline(always)]
            |_, range| shares[range].iter_mut().for_each(|share| *share += 1.0),
        );
        shares.iter_mut().for_each(|share| *share = inverse(*share));
    }
    shares
}

fn inverse(count: f32) -> f32 {
    if count == 0.0 { 0.0 } else { 1.0 / count }
}

fn check(shape: &PoolShape, input: &[f32], output: &[f32]) {
    assert!(shape.stride.iter().chain(&shape.dilation).all(|&step| step > 0), "a step of 0");
    assert_eq!(input.len(), shape.input_len(), "input of a pooling");
    assert_eq!(output.len(), shape.output_len(), "output of a pooling");
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "tests fail by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::testing::{close, everywhere, noise, slope, slopes};

    /// The definition: for every output, the input offsets that its window covers, and how many elements of it lie on
    /// the padded input.
    fn windows(shape: &PoolShape) -> Vec<(Vec<usize>, usize)> {
        let [height, width] = shape.output();
        let mut windows = Vec::new();
        for (plane, y, x) in
            (0..shape.planes * height * width).map(|i| (i / (height * width), i / width % height, i % width))
        {
            let (mut inside, mut padded) = (Vec::new(), 0);
            for (ky, kx) in (0..shape.kernel[0]).flat_map(|ky| (0..shape.kernel[1]).map(move |kx| (ky, kx))) {
                let at = [y * shape.stride[0] + ky * shape.dilation[0], x * shape.stride[1] + kx * shape.dilation[1]];
                let on_padded = |axis: usize| at[axis] < shape.input[axis] + shape.pads[axis] + shape.pads[axis + 2];
                let on_input =
                    |axis: usize| (shape.pads[axis]..shape.pads[axis] + shape.input[axis]).contains(&at[axis]);
                padded += usize::from(on_padded(0) && on_padded(1));
                if on_input(0) && on_input(1) {
                    inside.push(
                        (plane * shape.input[0] + at[0] - shape.pads[0]) * shape.input[1] + at[1] - shape.pads[1],
                    );
                }
            }
            windows.push((inside, padded));
        }
        windows
    }

    fn agrees(shape: &PoolShape) {
        let (input, grad) = (noise(1, shape.input_len()), noise(2, shape.output_len()));
        let windows = windows(shape);
        let len = input.len();

        let mut grad_input = vec![0.0; len];
        let mut maxima = Vec::new();
        for ((inside, _), grad) in windows.iter().zip(&grad) {
            let best = inside.iter().copied().reduce(|best, at| if input[at] > input[best] { at } else { best });
            maxima.push(best);
            if let Some(best) = best {
                grad_input[best] += f64::from(*grad);
            }
        }
        let mut indices = vec![0; grad.len()];
        let found = everywhere(grad.len(), |team, out| {
            let mut indices = vec![7; grad.len()];
            max_pool(team, shape, &input, out, &mut indices);
        });
        max_pool(&Team::new(1).expect("a thread"), shape, &input, &mut found.clone(), &mut indices);
        for ((found, index), best) in found.iter().zip(&indices).zip(&maxima) {
            assert_eq!(*found, best.map_or(f32::NEG_INFINITY, |best| input[best]));
            assert_eq!(*index, best.map_or(u32::MAX, |best| (best % shape.in_area()) as u32));
        }
        close(&everywhere(len, |team, out| max_pool_grad(team, shape, &grad, &indices, out)), &grad_input);

        for include in [false, true] {
            let count = |(inside, padded): &(Vec<usize>, usize)| if include { *padded } else { inside.len() } as f64;
            let mut output = Vec::new();
            let mut grad_input = vec![0.0; len];
            for (window, grad) in windows.iter().zip(&grad) {
                let sum: f64 = window.0.iter().map(|&at| f64::from(input[at])).sum();
                output.push(if count(window) == 0.0 { 0.0 } else { sum / count(window) });
                window.0.iter().for_each(|&at| grad_input[at] += f64::from(*grad) / count(window));
            }
            close(&everywhere(grad.len(), |team, out| average_pool(team, shape, include, &input, out)), &output);
            close(&everywhere(len, |team, out| average_pool_grad(team, shape, include, &grad, out)), &grad_input);
        }
    }

    proptest! {
        #[test]
        fn every_shape_agrees_with_the_definition(
            planes in 0..4usize,
            input in [1..12usize, 1..12],
            kernel in [1..5usize, 1..5],
            stride in [1..4usize, 1..4],
            dilation in [1..3usize, 1..3],
            pads in [0..3usize, 0..3, 0..3, 0..3],
            ceil_mode in any::<bool>(),
        ) {
            agrees(&PoolShape { planes, input, kernel, stride, dilation, pads, ceil_mode });
        }
    }

    #[test]
    fn usual_shapes_agree_with_the_definition() {
        agrees(&PoolShape::global(100, [7, 7]));
        let halves = PoolShape {
            planes: 70,
            input: [24, 40],
            kernel: [2, 2],
            stride: [2, 2],
            dilation: [1, 1],
            pads: [0; 4],
            ceil_mode: false,
        };
        agrees(&halves);
        agrees(&PoolShape { input: [25, 41], ..halves });
        agrees(&PoolShape { input: [25, 41], ceil_mode: true, ..halves });
        agrees(&PoolShape { kernel: [3, 3], pads: [1; 4], ..halves });
        agrees(&PoolShape { kernel: [3, 3], stride: [1, 1], ..halves });
    }

    #[test]
    fn gradients_agree_with_differences() {
        let shape = PoolShape {
            planes: 2,
            input: [5, 4],
            kernel: [3, 2],
            stride: [2, 1],
            dilation: [1, 1],
            pads: [1, 0, 0, 1],
            ceil_mode: true,
        };
        // Values far enough apart that a difference does not change which is the largest.
        let input: Vec<f32> = (0..40u16).map(|i| f32::from(i * 7 % 40)).collect();
        let grad = noise(1, shape.output_len());
        let loss =
            |output: &[f32]| output.iter().zip(&grad).map(|(&y, &grad)| f64::from(y) * f64::from(grad)).sum::<f64>();
        let team = Team::new(1).expect("a thread");
        let mut output = vec![0.0; grad.len()];
        let mut indices = vec![0; grad.len()];
        max_pool(&team, &shape, &input, &mut output, &mut indices);
        let found = everywhere(40, |team, out| max_pool_grad(team, &shape, &grad, &indices, out));
        slopes(
            &found,
            &slope(&input, |input| {
                let mut output = vec![0.0; grad.len()];
                max_pool(&team, &shape, input, &mut output, &mut vec![0; grad.len()]);
                loss(&output)
            }),
        );
        let found = everywhere(40, |team, out| average_pool_grad(team, &shape, true, &grad, out));
        slopes(
            &found,
            &slope(&input, |input| {
                let mut output = vec![0.0; grad.len()];
                average_pool(&team, &shape, true, input, &mut output);
                loss(&output)
            }),
        );
    }

    #[test]
    fn not_a_number_is_the_largest_and_the_first_of_equals_counts() {
        let shape = PoolShape { ceil_mode: false, ..PoolShape::global(3, [1, 3]) };
        let input = [1.0, f32::NAN, 2.0, 5.0, 5.0, 1.0, f32::NEG_INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY];
        let mut indices = [9; 3];
        let mut output = [0.0; 3];
        max_pool(&Team::new(1).expect("a thread"), &shape, &input, &mut output, &mut indices);
        assert!(output[0].is_nan() && output[1..] == [5.0, f32::NEG_INFINITY]);
        assert_eq!(indices, [1, 0, 0]);
    }
}
