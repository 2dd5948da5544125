//! Softmax over the last axis.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "lengths are compared at the head of each kernel"
)]

use rten_simd::{SimdOp, SimdUnaryOp};
use rten_vecmath::{Exp, LogSoftmax, Softmax};

use super::Team;
use super::elementwise::total;
use super::wide::{lanes, wide};

/// Elements that are worth another thread.
const GRAIN: usize = 4 * 1024;

/// Forward: sets `output` to the softmax of each row of `input`, `[rows, width]`.
pub fn softmax(team: &Team, width: usize, input: &[f32], output: &mut [f32]) {
    rows(team, width, [input], output, |[input], output| {
        output.copy_from_slice(input);
        Softmax::new_mut(output).dispatch();
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
        output.copy_from_slice(input);
        LogSoftmax::new_mut(output).dispatch();
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
