//! Softmax over the last axis.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "lengths are compared at the head of each kernel"
)]

use super::Team;

/// Elements that are worth another thread.
const GRAIN: usize = 4 * 1024;

/// Forward: sets `output` to the softmax of each row of `input`, `[rows, width]`.
pub fn softmax(team: &Team, width: usize, input: &[f32], output: &mut [f32]) {
    rows(team, width, [input], output, |[input], output| {
        let top = input.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for (output, input) in output.iter_mut().zip(input) {
            *output = (input - top).exp();
            sum += *output;
        }
        output.iter_mut().for_each(|output| *output /= sum);
    });
}

/// Backward, from the forward result `output`: sets `grad_input`.
pub fn softmax_grad(team: &Team, width: usize, output: &[f32], grad_output: &[f32], grad_input: &mut [f32]) {
    rows(team, width, [output, grad_output], grad_input, |[output, grad_output], grad_input| {
        let dot: f32 = output.iter().zip(grad_output).map(|(output, grad)| output * grad).sum();
        for ((grad_input, output), grad) in grad_input.iter_mut().zip(output).zip(grad_output) {
            *grad_input = output * (grad - dot);
        }
    });
}

/// Forward: sets `output` to the logarithm of the softmax of each row of `input`, `[rows, width]`.
pub fn log_softmax(team: &Team, width: usize, input: &[f32], output: &mut [f32]) {
    rows(team, width, [input], output, |[input], output| {
        let top = input.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = input.iter().map(|input| (input - top).exp()).sum();
        let shift = top + sum.ln();
        output.iter_mut().zip(input).for_each(|(output, input)| *output = input - shift);
    });
}

/// Backward, from the forward result `output`: sets `grad_input`.
pub fn log_softmax_grad(team: &Team, width: usize, output: &[f32], grad_output: &[f32], grad_input: &mut [f32]) {
    rows(team, width, [output, grad_output], grad_input, |[output, grad_output], grad_input| {
        let sum: f32 = grad_output.iter().sum();
        for ((grad_input, output), grad) in grad_input.iter_mut().zip(output).zip(grad_output) {
            *grad_input = grad - output.exp() * sum;
        }
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
