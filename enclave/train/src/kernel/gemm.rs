//! Matrix products.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a view is checked against its slice when it is made, and sizes at the head of each kernel"
)]

use std::ops::Range;

use rten_gemm::{BiasVector, GemmExecutor, GemmInputA, GemmInputB, GemmOptions};
use rten_tensor::{Matrix, NdTensorView};

use super::wide::wide;
use super::{Scratch, Team};

/// A matrix inside a slice: element (r, c) stands at `r * row_stride + c * column_stride`.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

/// What is added to a product.
#[derive(Clone, Copy, Debug)]
pub enum Bias<'a> {
    /// Nothing.
    None,
    /// One value for each column, the same in all rows.
    Columns(&'a [f32]),
    /// One value for each row, the same in all columns.
    Rows(&'a [f32]),
}

impl<'a> View<'a> {
    /// Row-major, without gaps. Panics when `data` is shorter than the matrix.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns, 1)
    }

    /// With any strides. Panics when the last element would stand outside of `data`.
    pub fn strided(data: &'a [f32], rows: usize, columns: usize, row_stride: usize, column_stride: usize) -> Self {
        if rows > 0 && columns > 0 {
            assert!(
                (rows - 1) * row_stride + (columns - 1) * column_stride < data.len(),
                "a view outside of its slice"
            );
        }
        Self { data, rows, columns, row_stride, column_stride }
    }

    /// The same memory, seen with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    fn rows_of(self, range: Range<usize>) -> Self {
        Self { data: self.data.get(range.start * self.row_stride..).unwrap_or_default(), rows: range.len(), ..self }
    }

    /// As the executor wants it, unless two elements share their memory.
    fn matrix(&self) -> Option<Matrix<'a>> {
        if self.rows == 0 || self.columns == 0 {
            return NdTensorView::from_data_with_strides([self.rows, self.columns], &[], [self.columns, 1]).ok();
        }
        let last = (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride;
        let shape = [self.rows, self.columns];
        NdTensorView::from_data_with_strides(shape, &self.data[..=last], [self.row_stride, self.column_stride]).ok()
    }

    fn copy<'t>(&self, team: &'t Team) -> Scratch<'t> {
        let mut copy = team.scratch(self.rows * self.columns);
        for (row, copy) in copy.chunks_exact_mut(self.columns.max(1)).enumerate() {
            for (column, copy) in copy.iter_mut().enumerate() {
                *copy = self.data[row * self.row_stride + column * self.column_stride];
            }
        }
        copy
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }
}

/// `c = alpha * a * b + beta * c + bias`; `c` is row-major `[a.rows, b.columns]`. Where `beta` is 0, what `c` held does
/// not matter, be it NaN.
pub fn gemm(team: &Team, alpha: f32, a: View<'_>, b: View<'_>, beta: f32, c: &mut [f32], bias: Bias<'_>) {
    gemm_batched(team, 1, alpha, |_| a, |_| b, beta, c, bias);
}

/// `count` products of one shape: `c[i] = alpha * a(i) * b(i) + beta * c[i] + bias`, `c` row-major
/// `[count, rows, columns]`. A matrix that all share (a broadcast) is simply returned for every `i`.
#[allow(clippy::too_many_arguments, reason = "the operands of BLAS")]
pub fn gemm_batched<'a>(
    team: &Team,
    count: usize,
    alpha: f32,
    a: impl Fn(usize) -> View<'a> + Sync,
    b: impl Fn(usize) -> View<'a> + Sync,
    beta: f32,
    c: &mut [f32],
    bias: Bias<'_>,
) {
    if count == 0 {
        return;
    }
    let (rows, columns) = (a(0).rows, b(0).columns);
    assert_eq!(c.len(), count * rows * columns, "a product of another size");
    if c.is_empty() {
        return;
    }
    team.install(|| {
        if count > 1 {
            // Small products are not worth a hand-over each.
            let several = (SMALL / (rows * columns * a(0).columns).max(1)).clamp(1, count);
            return team.pieces(c, several * rows * columns, |index, c| {
                for (offset, c) in c.chunks_exact_mut(rows * columns).enumerate() {
                    let index = index * several + offset;
                    product(team, alpha, a(index), b(index), beta, c, bias);
                }
            });
        }
        let (a, b) = (a(0), b(0));
        let pieces = row_pieces(team, rows, columns, a.columns);
        if pieces == 1 {
            return product(team, alpha, a, b, beta, c, bias);
        }
        let height = rows.div_ceil(pieces);
        team.pieces(c, height * columns, |index, c| {
            let range = index * height..((index + 1) * height).min(rows);
            let bias = match bias {
                Bias::Rows(bias) => Bias::Rows(&bias[range.clone()]),
                other => other,
            };
            product(team, alpha, a.rows_of(range), b, beta, c, bias);
        });
    });
}

thread_local! {
    /// The matrix products of this processor. One for each thread, because it cannot be sent to another. It parallelises
    /// over the pool of the thread that calls it, so it may be called inside [`Team::install`] only.
    static EXECUTOR: GemmExecutor = GemmExecutor::new();
}

/// Multiply-adds that are not worth another thread.
const SMALL: usize = 128 * 1024;

/// Into how many bands of rows a product is cut. The executor cuts large ones itself, into blocks of 64 rows and 128
/// columns at least; those that would be too few blocks for the team are cut here.
fn row_pieces(team: &Team, rows: usize, columns: usize, depth: usize) -> usize {
    let threads = team.threads();
    let blocks = rows.div_ceil(64) * columns.div_ceil(columns.div_ceil(threads).max(128));
    if threads == 1 || blocks >= threads || rows * columns * depth < SMALL || rows < 16 {
        return 1;
    }
    threads.min(rows / 8)
}

/// One product, called inside [`Team::install`].
pub(super) fn product(team: &Team, alpha: f32, a: View<'_>, b: View<'_>, beta: f32, c: &mut [f32], bias: Bias<'_>) {
    assert!(a.columns == b.rows && c.len() == a.rows * b.columns, "factors of sizes that do not fit together");
    if a.rows == 1 {
        return row_product(alpha, a, b, beta, c, bias);
    }
    let (a_copy, b_copy);
    let a = match a.matrix() {
        Some(matrix) => matrix,
        None => {
            a_copy = a.copy(team);
            View::new(&a_copy, a.rows, a.columns).matrix().unwrap_or_else(|| unreachable!("a copy has no overlap"))
        }
    };
    let b = match b.matrix() {
        Some(matrix) => matrix,
        None => {
            b_copy = b.copy(team);
            View::new(&b_copy, b.rows, b.columns).matrix().unwrap_or_else(|| unreachable!("a copy has no overlap"))
        }
    };
    let bias = match bias {
        Bias::None => None,
        Bias::Columns(bias) => Some(BiasVector::Row(bias)),
        Bias::Rows(bias) => Some(BiasVector::Column(bias)),
    };
    let options = GemmOptions { alpha, beta, bias, ..GemmOptions::default() };
    EXECUTOR
        .with(|executor| executor.gemm(c, GemmInputA::Unpacked(a), GemmInputB::Unpacked(b), options))
        .unwrap_or_else(|error| unreachable!("sizes were compared: {error}"));
}

/// A row times a matrix. Not the executor's: the order of its sums depends on the number of threads.
fn row_product(alpha: f32, a: View<'_>, b: View<'_>, beta: f32, c: &mut [f32], bias: Bias<'_>) {
    let term = |k: usize| a.data[k * a.column_stride];
    wide(
        #[inline(always)]
        || {
            c.iter_mut().enumerate().for_each(|(column, c)| {
                let kept = if beta == 0.0 { 0.0 } else { beta * *c };
                *c = kept
                    + match bias {
                        Bias::None => 0.0,
                        Bias::Columns(bias) => bias[column],
                        Bias::Rows(bias) => bias[0],
                    };
            });
            if b.column_stride == 1 {
                for k in 0..b.rows {
                    let factor = alpha * term(k);
                    let row = &b.data[k * b.row_stride..][..c.len()];
                    c.iter_mut().zip(row).for_each(|(c, b)| *c = factor.mul_add(*b, *c));
                }
                return;
            }
            for (column, c) in c.iter_mut().enumerate() {
                let mut lanes = [0.0f32; 16];
                for k in 0..b.rows {
                    let lane = &mut lanes[k % 16];
                    *lane = term(k).mul_add(b.data[k * b.row_stride + column * b.column_stride], *lane);
                }
                *c += alpha * lanes.iter().sum::<f32>();
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::testing::{close, everywhere, noise};

    /// A matrix of `rows` x `columns` with gaps, either way round, as (memory, row stride, column stride).
    fn laid_out(seed: u64, rows: usize, columns: usize, transposed: bool, gap: usize) -> (Vec<f32>, usize, usize) {
        let (outer, inner) = if transposed { (columns, rows) } else { (rows, columns) };
        let data = noise(seed, outer * (inner + gap));
        if transposed { (data, 1, inner + gap) } else { (data, inner + gap, 1) }
    }

    #[derive(Clone, Copy, Debug)]
    struct Case {
        count: usize,
        size: [usize; 3],
        transposed: [bool; 2],
        gap: usize,
        alpha: f32,
        beta: f32,
        bias: u8,
    }

    fn agrees(case: Case) {
        let Case { count, size: [rows, depth, columns], transposed, gap, alpha, beta, bias } = case;
        let parts = |seed: u64, rows, columns, transposed| -> Vec<_> {
            (0..count as u64).map(|index| laid_out(seed + index, rows, columns, transposed, gap)).collect()
        };
        let a = parts(10, rows, depth, transposed[0]);
        let b = parts(20, depth, columns, transposed[1]);
        let values = noise(3, rows + columns);
        let bias = match bias {
            0 => Bias::None,
            1 => Bias::Columns(&values[..columns]),
            _ => Bias::Rows(&values[..rows]),
        };
        let before = noise(4, count * rows * columns);
        let mut expected = Vec::new();
        for index in 0..count {
            for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
                let sum: f64 = (0..depth)
                    .map(|k| {
                        f64::from(a[index].0[row * a[index].1 + k * a[index].2])
                            * f64::from(b[index].0[k * b[index].1 + column * b[index].2])
                    })
                    .sum();
                let bias = match bias {
                    Bias::None => 0.0,
                    Bias::Columns(bias) => bias[column],
                    Bias::Rows(bias) => bias[row],
                };
                let before = before[(index * rows + row) * columns + column];
                expected.push(f64::from(alpha) * sum + f64::from(beta) * f64::from(before) + f64::from(bias));
            }
        }
        let found = everywhere(expected.len(), |team, c| {
            if beta != 0.0 {
                c.copy_from_slice(&before);
            }
            let a = |i: usize| View::strided(&a[i].0, rows, depth, a[i].1, a[i].2);
            let b = |i: usize| View::strided(&b[i].0, depth, columns, b[i].1, b[i].2);
            gemm_batched(team, count, alpha, a, b, beta, c, bias);
        });
        close(&found, &expected);
    }

    proptest! {
        #[test]
        fn every_size_agrees_with_the_definition(
            count in 0..4usize,
            size in [0..40usize, 0..40, 0..40],
            transposed in any::<[bool; 2]>(),
            gap in 0..3usize,
            alpha in prop::sample::select(&[1.0f32, -0.5][..]),
            beta in prop::sample::select(&[0.0f32, 1.0, 0.5][..]),
            bias in 0..3u8,
        ) {
            agrees(Case { count, size, transposed, gap, alpha, beta, bias });
        }
    }

    #[test]
    fn sizes_that_are_cut_agree_with_the_definition() {
        for (count, size) in [
            (1, [65, 300, 70]),
            (1, [64, 784, 128]),
            (1, [13, 513, 1040]),
            (1, [1, 700, 300]),
            (1, [300, 700, 1]),
            (5, [33, 130, 67]),
        ] {
            for transposed in [[false, false], [true, false], [false, true], [true, true]] {
                agrees(Case { count, size, transposed, gap: 0, alpha: 1.0, beta: 0.0, bias: 1 });
            }
        }
    }

    #[test]
    fn a_value_may_stand_for_a_whole_matrix() {
        let found = everywhere(6, |team, c| {
            gemm(team, 1.0, View::strided(&[2.0], 2, 4, 0, 0), View::strided(&[3.0], 4, 3, 0, 0), 0.0, c, Bias::None);
        });
        close(&found, &[24.0; 6]);
    }

    #[test]
    fn not_a_number_reaches_the_product() {
        let found = everywhere(4, |team, c| {
            let a = [f32::NAN, 0.0, 0.0, 1.0];
            gemm(team, 1.0, View::new(&a, 2, 2), View::new(&[0.0; 4], 2, 2), 0.0, c, Bias::None);
        });
        assert!(found[0].is_nan() && found[1].is_nan() && found[2] == 0.0 && found[3] == 0.0);
    }
}
