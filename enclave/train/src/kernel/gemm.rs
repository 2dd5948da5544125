//! Matrix products.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a view is checked against its slice when it is made"
)]

use super::Team;

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
    team.pieces(c, rows * columns, |index, c| {
        let (a, b) = (a(index), b(index));
        assert!(a.rows == rows && b.columns == columns && a.columns == b.rows, "factors of other sizes");
        for (row, c) in c.chunks_exact_mut(columns).enumerate() {
            for (column, c) in c.iter_mut().enumerate() {
                let mut sum = 0.0;
                for k in 0..a.columns {
                    sum += a.data[row * a.row_stride + k * a.column_stride]
                        * b.data[k * b.row_stride + column * b.column_stride];
                }
                let bias = match bias {
                    Bias::None => 0.0,
                    Bias::Columns(bias) => bias[column],
                    Bias::Rows(bias) => bias[row],
                };
                *c = alpha * sum + if beta == 0.0 { 0.0 } else { beta * *c } + bias;
            }
        }
    });
}
