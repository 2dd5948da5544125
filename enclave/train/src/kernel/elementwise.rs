//! Element by element, along rows and channels, and the sums that are their gradients.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "lengths are compared at the head of each kernel"
)]

use super::Team;
use super::wide::wide;

/// What one thread takes at a time where all elements are alike.
const GRAIN: usize = 16 * 1024;

/// `output = f(input)`.
pub fn apply(team: &Team, input: &[f32], output: &mut [f32], f: impl Fn(f32) -> f32 + Sync) {
    assert_eq!(input.len(), output.len(), "output of another length");
    team.pieces(output, GRAIN, |index, output| {
        let input = &input[index * GRAIN..][..output.len()];
        wide(|| output.iter_mut().zip(input).for_each(|(output, &input)| *output = f(input)));
    });
}

/// `output = f(a, b)`, all of one length.
pub fn combine(team: &Team, a: &[f32], b: &[f32], output: &mut [f32], f: impl Fn(f32, f32) -> f32 + Sync) {
    assert!(a.len() == output.len() && b.len() == output.len(), "output of another length");
    team.pieces(output, GRAIN, |index, output| {
        let (a, b) = (&a[index * GRAIN..][..output.len()], &b[index * GRAIN..][..output.len()]);
        wide(|| output.iter_mut().zip(a).zip(b).for_each(|((output, &a), &b)| *output = f(a, b)));
    });
}

/// `target += source`.
pub fn add_into(team: &Team, source: &[f32], target: &mut [f32]) {
    assert_eq!(source.len(), target.len(), "sum of other lengths");
    team.pieces(target, GRAIN, |index, target| {
        let source = &source[index * GRAIN..][..target.len()];
        wide(|| target.iter_mut().zip(source).for_each(|(target, source)| *target += source));
    });
}

/// Adds `row` to each row of `values`, `[rows, row.len()]`.
pub fn add_rows(team: &Team, values: &mut [f32], row: &[f32]) {
    along_rows(team, values, row, |value, row| value + row);
}

/// Multiplies each row of `values`, `[rows, row.len()]`, by `row`.
pub fn mul_rows(team: &Team, values: &mut [f32], row: &[f32]) {
    along_rows(team, values, row, |value, row| value * row);
}

/// Adds to each channel of `values`, `[batch, channels, area]`, its value.
pub fn add_channels(team: &Team, area: usize, values: &mut [f32], channels: &[f32]) {
    along_channels(team, area, values, channels, |value, channel| value + channel);
}

/// Multiplies each channel of `values`, `[batch, channels, area]`, by its value.
pub fn mul_channels(team: &Team, area: usize, values: &mut [f32], channels: &[f32]) {
    along_channels(team, area, values, channels, |value, channel| value * channel);
}

/// Adds to `sums` the sum of each column of `values`, `[rows, sums.len()]`: the gradient of a bias.
pub fn sum_columns(team: &Team, values: &[f32], sums: &mut [f32]) {
    let width = sums.len();
    if width == 0 {
        return;
    }
    assert!(values.len().is_multiple_of(width), "rows of another width");
    let _ = team;
    wide(|| {
        for row in values.chunks_exact(width) {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
    });
}

/// Sets `sums` to the sum of each row of `values`, `[sums.len(), width]`.
pub fn sum_rows(team: &Team, values: &[f32], sums: &mut [f32]) {
    let Some(width) = values.len().checked_div(sums.len()) else { return };
    assert_eq!(values.len(), sums.len() * width, "rows of another width");
    let piece = GRAIN.div_ceil(width.max(1));
    team.pieces(sums, piece, |index, sums| {
        for (offset, sum) in sums.iter_mut().enumerate() {
            *sum = total(&values[(index * piece + offset) * width..][..width]);
        }
    });
}

/// Adds to `sums` the sum over each channel of `values`, `[batch, channels, area]`: the gradient of a bias of channels.
pub fn sum_channels(team: &Team, [batch, channels, area]: [usize; 3], values: &[f32], sums: &mut [f32]) {
    assert!(values.len() == batch * channels * area && sums.len() == channels, "sums of other channels");
    team.pieces(sums, 1, |channel, sum| {
        for n in 0..batch {
            sum[0] += total(&values[(n * channels + channel) * area..][..area]);
        }
    });
}

/// The sum of all, in sixteen lanes and then across: the order depends on the length alone.
pub(super) fn total(values: &[f32]) -> f32 {
    wide(|| {
        let mut lanes = [0.0f32; 16];
        let (chunks, rest) = values.as_chunks::<16>();
        for chunk in chunks {
            lanes.iter_mut().zip(chunk).for_each(|(lane, value)| *lane += value);
        }
        lanes.iter_mut().zip(rest).for_each(|(lane, value)| *lane += value);
        lanes.iter().sum()
    })
}

fn along_rows(team: &Team, values: &mut [f32], row: &[f32], f: impl Fn(f32, f32) -> f32 + Sync) {
    let width = row.len();
    if width == 0 {
        return;
    }
    assert!(values.len().is_multiple_of(width), "rows of another width");
    let piece = GRAIN.div_ceil(width) * width;
    team.pieces(values, piece, |_, values| {
        wide(|| {
            for values in values.chunks_exact_mut(width) {
                values.iter_mut().zip(row).for_each(|(value, &row)| *value = f(*value, row));
            }
        });
    });
}

fn along_channels(team: &Team, area: usize, values: &mut [f32], channels: &[f32], f: impl Fn(f32, f32) -> f32 + Sync) {
    if area == 0 || channels.is_empty() {
        return;
    }
    assert!(values.len().is_multiple_of(area * channels.len()), "planes of other channels");
    let planes = GRAIN.div_ceil(area);
    team.pieces(values, planes * area, |index, values| {
        wide(|| {
            for (offset, values) in values.chunks_exact_mut(area).enumerate() {
                let channel = channels[(index * planes + offset) % channels.len()];
                values.iter_mut().for_each(|value| *value = f(*value, channel));
            }
        });
    });
}
