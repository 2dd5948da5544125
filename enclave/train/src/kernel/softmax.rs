//! Softmax over the last axis.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "lengths are compared at the head of each kernel"
)]

use rten_simd::ops::{BitOps, NumOps};
use rten_simd::{Isa, SimdOp, SimdUnaryOp};
use rten_vecmath::Exp;

use super::Team;
use super::elementwise::total;
use super::wide::{lanes, wide};

/// Elements that are worth another thread.
const GRAIN: usize = 4 * 1024;

/// Forward: sets `output` to the softmax of each row of `input`, `[rows, width]`.
pub fn softmax(team: &Team, width: usize, input: &[f32], output: &mut [f32]) {
    rows(team, width, [input], output, |[input], output| {
        Exponentials { top: top(input), input, output }.dispatch();
        let factor = 1.0 / total(output);
        wide(
            #[inline(always)]
            || output.iter_mut().for_each(|output| *output *= factor),
        );
    });
}

/// Backward, from the forward result `output`: sets `grad_input`.
pub fn softmax_grad(team: &Team, width: usize, output: &[f32], grad_output: &[f32], grad_input: &mut [f32]) {
    rows(team, width, [output, grad_output], grad_input, |[output, grad_output], grad_input| {
        wide(
            #[inline(always)]
            || {
                let dot = lanes(output, grad_output, |sum, output, grad| output.mul_add(grad, sum));
                for ((grad_input, output), grad) in grad_input.iter_mut().zip(output).zip(grad_output) {
                    *grad_input = output * (grad - dot);
                }
            },
        );
    });
}

/// Forward: sets `output` to the logarithm of the softmax of each row of `input`, `[rows, width]`.
pub fn log_softmax(team: &Team, width: usize, input: &[f32], output: &mut [f32]) {
    rows(team, width, [input], output, |[input], output| {
        let top = top(input);
        Exponentials { top, input, output }.dispatch();
        let log = libm::logf(total(output));
        // Two subtractions, because one of their sum would lose the small one beside a large one.
        wide(
            #[inline(always)]
            || output.iter_mut().zip(input).for_each(|(output, input)| *output = (input - top) - log),
        );
    });
}

/// Backward, from the forward result `output`: sets `grad_input`.
pub fn log_softmax_grad(team: &Team, width: usize, output: &[f32], grad_output: &[f32], grad_input: &mut [f32]) {
    rows(team, width, [output, grad_output], grad_input, |[output, grad_output], grad_input| {
        grad_input.copy_from_slice(output);
        Exp {}.map_mut(grad_input);
        let sum = total(grad_output);
        wide(
            #[inline(always)]
            || {
                grad_input
                    .iter_mut()
                    .zip(grad_output)
                    .for_each(|(grad_input, grad)| *grad_input = sum.mul_add(-*grad_input, *grad));
            },
        );
    });
}

/// The largest value; NaN is passed over, for it shows in the sum.
fn top(values: &[f32]) -> f32 {
    wide(
        #[inline(always)]
        || {
            let mut lanes = [f32::NEG_INFINITY; 16];
            let (chunks, rest) = values.as_chunks::<16>();
            for chunk in chunks {
                for (lane, value) in lanes.iter_mut().zip(chunk) {
                    *lane = if *value > *lane { *value } else { *lane };
                }
            }
            lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |top, value| if *value > top { *value } else { top })
        },
    )
}

/// `output = exp(input - top)`.
struct Exponentials<'a> {
    top: f32,
    input: &'a [f32],
    output: &'a mut [f32],
}

impl SimdOp for Exponentials<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let ops = isa.f32();
        let top = ops.splat(self.top);
        let width = ops.len();
        let body = self.output.len() / width * width;
        let (output, output_rest) = self.output.split_at_mut(body);
        for (output, input) in output.chunks_exact_mut(width).zip(self.input.chunks_exact(width)) {
            ops.store(Exp {}.eval(isa, ops.sub(ops.load(input), top)), output);
        }
        if !output_rest.is_empty() {
            let input = ops.load_pad(&self.input[body..]).0;
            let mut last = [0.0; 64];
            ops.store(Exp {}.eval(isa, ops.sub(input, top)), &mut last);
            output_rest.copy_from_slice(&last[..output_rest.len()]);
        }
    }
}

fn rows<const N: usize>(
    team: &Team,
    width: usize,
    given: [&[f32]; N],
    set: &mut [f32],
    row: impl Fn([&[f32]; N], &mut [f32]) + Sync,
) {
    if width == 0 {
        return;
    }
    assert!(
        set.len().is_multiple_of(width) && given.iter().all(|given| given.len() == set.len()),
        "rows of another width"
    );
    let piece = GRAIN.div_ceil(width) * width;
    team.pieces(set, piece, |index, set| {
        for (offset, set) in set.chunks_exact_mut(width).enumerate() {
            row(given.map(|given| &given[index * piece + offset * width..][..width]), set);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::{close, everywhere, noise};

    #[test]
    fn rows_agree_with_double_precision() {
        for (count, width) in [(0, 3), (1, 1), (3, 1), (2, 16), (5, 17), (9, 1000), (300, 33)] {
            let input: Vec<f32> = noise(1, count * width).iter().map(|x| 10.0 * x + 50.0).collect();
            let grad = noise(2, count * width);
            let [mut expected, mut logarithm, mut expected_grad, mut logarithm_grad] = [(); 4].map(|()| Vec::new());
            for (input, grad) in input.chunks(width).zip(grad.chunks(width)) {
                let sum: f64 = input.iter().map(|&x| f64::from(x).exp()).sum();
                let y: Vec<f64> = input.iter().map(|&x| f64::from(x).exp() / sum).collect();
                let dot: f64 = y.iter().zip(grad).map(|(y, &grad)| y * f64::from(grad)).sum();
                let total: f64 = grad.iter().map(|&grad| f64::from(grad)).sum();
                expected.extend(&y);
                logarithm.extend(y.iter().map(|y| y.ln()));
                expected_grad.extend(y.iter().zip(grad).map(|(y, &grad)| y * (f64::from(grad) - dot)));
                logarithm_grad.extend(y.iter().zip(grad).map(|(y, &grad)| f64::from(grad) - y * total));
            }
            let len = input.len();
            let output = everywhere(len, |team, out| softmax(team, width, &input, out));
            close(&output, &expected);
            close(&everywhere(len, |team, out| softmax_grad(team, width, &output, &grad, out)), &expected_grad);
            let output = everywhere(len, |team, out| log_softmax(team, width, &input, out));
            close(&output, &logarithm);
            close(&everywhere(len, |team, out| log_softmax_grad(team, width, &output, &grad, out)), &logarithm_grad);
        }
    }

    #[test]
    fn what_is_masked_weighs_nothing_and_not_a_number_spoils_its_row_only() {
        let input = [0.0, f32::NEG_INFINITY, 0.0, f32::NAN, 1.0, 2.0];
        let output = everywhere(6, |team, out| softmax(team, 3, &input, out));
        assert_eq!(output[..3], [0.5, 0.0, 0.5]);
        assert!(output[3..].iter().all(|value| value.is_nan()));
        let output = everywhere(6, |team, out| log_softmax(team, 3, &input, out));
        assert_eq!(output[1], f32::NEG_INFINITY);
        assert!(output[3..].iter().all(|value| value.is_nan()));
    }
}
