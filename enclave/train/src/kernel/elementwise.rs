//! Element by element, along rows and channels, and the sums that are their gradients.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "lengths are compared at the head of each kernel"
)]

use super::Team;
use super::wide::{GRAIN, wide};

/// `output = f(input)`.
pub fn apply(team: &Team, input: &[f32], output: &mut [f32], f: impl Fn(f32) -> f32 + Sync) {
    assert_eq!(input.len(), output.len(), "output of another length");
    team.pieces(output, GRAIN, |index, output| {
        let input = &input[index * GRAIN..][..output.len()];
        wide(
            #[inline(always)]
            || output.iter_mut().zip(input).for_each(|(output, &input)| *output = f(input)),
        );
    });
}

/// `output = f(a, b)`, all of one length.
pub fn combine(team: &Team, a: &[f32], b: &[f32], output: &mut [f32], f: impl Fn(f32, f32) -> f32 + Sync) {
    assert!(a.len() == output.len() && b.len() == output.len(), "output of another length");
    team.pieces(output, GRAIN, |index, output| {
        let (a, b) = (&a[index * GRAIN..][..output.len()], &b[index * GRAIN..][..output.len()]);
        wide(
            #[inline(always)]
            || output.iter_mut().zip(a).zip(b).for_each(|((output, &a), &b)| *output = f(a, b)),
        );
    });
}

/// `target += source`.
pub fn add_into(team: &Team, source: &[f32], target: &mut [f32]) {
    assert_eq!(source.len(), target.len(), "sum of other lengths");
    team.pieces(target, GRAIN, |index, target| {
        let source = &source[index * GRAIN..][..target.len()];
        wide(
            #[inline(always)]
            || target.iter_mut().zip(source).for_each(|(target, source)| *target += source),
        );
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
    // Split over columns, so that each sum has one order.
    team.pieces(sums, STRIP, |index, sums| {
        let strip = index * STRIP..index * STRIP + sums.len();
        wide(
            #[inline(always)]
            || {
                // Block by block, because a long sum in one variable loses digits.
                for block in values.chunks(BLOCK * width) {
                    let mut partial = [0.0f32; STRIP];
                    let partial = &mut partial[..strip.len()];
                    for row in block.chunks_exact(width) {
                        partial.iter_mut().zip(&row[strip.clone()]).for_each(|(sum, value)| *sum += value);
                    }
                    sums.iter_mut().zip(partial).for_each(|(sum, partial)| *sum += *partial);
                }
            },
        );
    });
}

/// Columns that one thread sums at a time: few enough to stay in registers' reach, enough to use whole cache lines.
const STRIP: usize = 128;

/// Rows of a partial sum.
const BLOCK: usize = 256;

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
    wide(
        #[inline(always)]
        || {
            let mut lanes = [0.0f32; 16];
            let (chunks, rest) = values.as_chunks::<16>();
            for chunk in chunks {
                lanes.iter_mut().zip(chunk).for_each(|(lane, value)| *lane += value);
            }
            lanes.iter_mut().zip(rest).for_each(|(lane, value)| *lane += value);
            lanes.iter().sum()
        },
    )
}

fn along_rows(team: &Team, values: &mut [f32], row: &[f32], f: impl Fn(f32, f32) -> f32 + Sync) {
    let width = row.len();
    if width == 0 {
        return;
    }
    assert!(values.len().is_multiple_of(width), "rows of another width");
    let piece = GRAIN.div_ceil(width) * width;
    team.pieces(values, piece, |_, values| {
        wide(
            #[inline(always)]
            || {
                for values in values.chunks_exact_mut(width) {
                    values.iter_mut().zip(row).for_each(|(value, &row)| *value = f(*value, row));
                }
            },
        );
    });
}

fn along_channels(team: &Team, area: usize, values: &mut [f32], channels: &[f32], f: impl Fn(f32, f32) -> f32 + Sync) {
    if area == 0 || channels.is_empty() {
        return;
    }
    assert!(values.len().is_multiple_of(area * channels.len()), "planes of other channels");
    let planes = GRAIN.div_ceil(area);
    team.pieces(values, planes * area, |index, values| {
        wide(
            #[inline(always)]
            || {
                for (offset, values) in values.chunks_exact_mut(area).enumerate() {
                    let channel = channels[(index * planes + offset) % channels.len()];
                    values.iter_mut().for_each(|value| *value = f(*value, channel));
                }
            },
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::{close, everywhere, noise};

    #[test]
    fn rows_and_channels_reach_every_element() {
        for [batch, channels, area] in [[0, 3, 2], [1, 1, 1], [2, 3, 5], [3, 200, 1], [5, 7, 4000]] {
            let values = noise(1, batch * channels * area);
            let extra = noise(2, channels.max(area));
            let agrees = |kernel: &dyn Fn(&Team, &mut [f32]), definition: &dyn Fn(usize) -> (f32, f32)| {
                let found = everywhere(values.len(), |team, out| {
                    out.copy_from_slice(&values);
                    kernel(team, out);
                });
                let expected: Vec<f64> = values
                    .iter()
                    .enumerate()
                    .map(|(i, &value)| f64::from(value) * f64::from(definition(i).0) + f64::from(definition(i).1))
                    .collect();
                close(&found, &expected);
            };
            let (row, column) = (&extra[..area], &extra[..channels]);
            agrees(&|team, out| add_rows(team, out, row), &|i| (1.0, row[i % area]));
            agrees(&|team, out| mul_rows(team, out, row), &|i| (row[i % area], 0.0));
            agrees(&|team, out| add_channels(team, area, out, column), &|i| (1.0, column[i / area % channels]));
            agrees(&|team, out| mul_channels(team, area, out, column), &|i| (column[i / area % channels], 0.0));
        }
    }

    #[test]
    fn sums_add_up() {
        for [batch, channels, area] in [[0, 3, 2], [1, 1, 1], [2, 3, 5], [3, 300, 1], [5, 7, 4000], [700, 130, 3]] {
            let values = noise(1, batch * channels * area);
            let mut rows = vec![0.0; batch * channels];
            let mut columns = vec![1.0; area];
            let mut planes = vec![1.0; channels];
            for (i, &value) in values.iter().enumerate() {
                rows[i / area] += f64::from(value);
                columns[i % area] += f64::from(value);
                planes[i / area % channels] += f64::from(value);
            }
            close(&everywhere(rows.len(), |team, out| sum_rows(team, &values, out)), &rows);
            let found = everywhere(area, |team, out| {
                out.fill(1.0);
                sum_columns(team, &values, out);
            });
            close(&found, &columns);
            let found = everywhere(channels, |team, out| {
                out.fill(1.0);
                sum_channels(team, [batch, channels, area], &values, out);
            });
            close(&found, &planes);
        }
    }

    #[test]
    fn elements_meet_their_counterparts() {
        let (a, b) = (noise(1, 40_000), noise(2, 40_000));
        let expected: Vec<f64> = a.iter().zip(&b).map(|(&a, &b)| f64::from(a) + f64::from(b)).collect();
        close(&everywhere(a.len(), |team, out| combine(team, &a, &b, out, |a, b| a + b)), &expected);
        let found = everywhere(a.len(), |team, out| {
            apply(team, &a, out, |a| a);
            add_into(team, &b, out);
        });
        close(&found, &expected);
    }
}
