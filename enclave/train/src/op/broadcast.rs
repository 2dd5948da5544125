//! Shapes that are stretched to fit each other (ONNX: multidirectional broadcasting).

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "strides are made here for shapes whose volumes were checked"
)]

use super::View;
use crate::kernel::{self, Team};

/// What one thread takes at a time.
const GRAIN: usize = 16 * 1024;

/// The common shape of two, or `None`.
pub(super) fn common(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], axis: usize| (axis + dims.len()).checked_sub(rank).map_or(1, |axis| dims[axis]);
    (0..rank)
        .map(|axis| match (at(a, axis), at(b, axis)) {
            (a, b) if a == b => Some(a),
            (1, other) | (other, 1) => Some(other),
            _ => None,
        })
        .collect()
}

/// A loop over a shape, with the strides of `N` operands that are stretched to it: neighbouring dimensions
/// that all operands cross alike are one.
#[derive(Debug)]
pub(super) struct Nest<const N: usize> {
    /// Outermost first; the last is the inner loop.
    extents: Vec<usize>,
    strides: Vec<[usize; N]>,
}

impl<const N: usize> Nest<N> {
    /// Every operand broadcasts to `shape`.
    pub(super) fn new(shape: &[usize], operands: [&[usize]; N]) -> Self {
        let all = operands.map(|dims| strides(dims, shape.len()));
        let each = (0..shape.len()).map(|axis| (shape[axis], std::array::from_fn(|n| all[n][axis])));
        Self::of(each)
    }

    /// Extents and strides as they are, outermost first. A negative stride is its two's complement.
    pub(super) fn of(dims: impl DoubleEndedIterator<Item = (usize, [usize; N])>) -> Self {
        let (mut extents, mut strides): (Vec<usize>, Vec<[usize; N]>) = (Vec::new(), Vec::new());
        for (extent, stride) in dims.rev().filter(|(extent, _)| *extent != 1) {
            let inner = extents.last_mut().zip(strides.last());
            match inner {
                Some((inner, known)) if (0..N).all(|n| stride[n] == known[n].wrapping_mul(*inner)) => *inner *= extent,
                _ => {
                    extents.push(extent);
                    strides.push(stride);
                }
            }
        }
        if extents.is_empty() {
            (extents, strides) = (vec![1], vec![[0; N]]);
        }
        extents.reverse();
        strides.reverse();
        Self { extents, strides }
    }

    /// Elements of the inner loop, and each operand's stride in it.
    pub(super) fn inner(&self) -> (usize, [usize; N]) {
        let last = self.extents.len() - 1;
        (self.extents[last], self.strides[last])
    }

    /// How often the inner loop runs.
    pub(super) fn rows(&self) -> usize {
        self.extents[..self.extents.len() - 1].iter().product()
    }

    /// Where the operands stand at the start of an inner loop.
    pub(super) fn start(&self, mut row: usize) -> [usize; N] {
        let mut start = [0usize; N];
        for axis in (0..self.extents.len() - 1).rev() {
            let at = row % self.extents[axis];
            row /= self.extents[axis];
            for (start, stride) in start.iter_mut().zip(self.strides[axis]) {
                *start = start.wrapping_add(at.wrapping_mul(stride));
            }
        }
        start
    }

    /// Calls `work(output, starts)` for each inner loop's piece of `out`, on any thread.
    pub(super) fn each<T: Send>(&self, team: &Team, out: &mut [T], work: impl Fn(&mut [T], [usize; N]) + Sync) {
        let (inner, _) = self.inner();
        if inner == 0 || out.is_empty() {
            return;
        }
        let rows = GRAIN.div_ceil(inner);
        team.pieces(out, rows * inner, |index, piece| {
            for (at, out) in piece.chunks_mut(inner).enumerate() {
                work(out, self.start(index * rows + at));
            }
        });
    }
}

/// Strides of a shape that is stretched to `rank` dimensions; 0 where it is.
pub(super) fn strides(dims: &[usize], rank: usize) -> Vec<usize> {
    let mut strides = vec![0; rank];
    let mut stride = 1;
    for (axis, extent) in dims.iter().enumerate().rev() {
        if *extent != 1 {
            strides[axis + rank - dims.len()] = stride;
        }
        stride *= (*extent).max(1);
    }
    strides
}

/// `out = f(x, y)`, where `out` has the common shape.
pub(super) fn map2(
    team: &Team,
    shape: &[usize],
    x: View<'_>,
    y: View<'_>,
    out: &mut [f32],
    f: impl Fn(f32, f32) -> f32 + Sync,
) {
    if x.data.len() == out.len() && y.data.len() == out.len() {
        return kernel::combine(team, x.data, y.data, out, f);
    }
    if let ([y], true) = (y.data, x.data.len() == out.len()) {
        return kernel::apply(team, x.data, out, |x| f(x, *y));
    }
    if let ([x], true) = (x.data, y.data.len() == out.len()) {
        return kernel::apply(team, y.data, out, |y| f(*x, y));
    }
    let nest = Nest::new(shape, [x.shape, y.shape]);
    let (_, strides) = nest.inner();
    nest.each(team, out, |out, [at, bt]| {
        let len = out.len();
        match strides {
            [0, 0] => out.fill(f(x.data[at], y.data[bt])),
            [0, _] => out.iter_mut().zip(&y.data[bt..][..len]).for_each(|(out, y)| *out = f(x.data[at], *y)),
            [_, 0] => out.iter_mut().zip(&x.data[at..][..len]).for_each(|(out, x)| *out = f(*x, y.data[bt])),
            _ => {
                let (x, y) = (&x.data[at..][..len], &y.data[bt..][..len]);
                out.iter_mut().zip(x).zip(y).for_each(|((out, x), y)| *out = f(*x, *y));
            }
        }
    });
}

/// `out = f(x, y, z)`, where `out` has the common shape.
pub(super) fn map3(
    team: &Team,
    shape: &[usize],
    [x, y, z]: [View<'_>; 3],
    out: &mut [f32],
    f: impl Fn(f32, f32, f32) -> f32 + Sync,
) {
    let nest = Nest::new(shape, [x.shape, y.shape, z.shape]);
    let (_, [i, j, k]) = nest.inner();
    nest.each(team, out, |out, [at, bt, ct]| {
        for (n, out) in out.iter_mut().enumerate() {
            *out = f(x.data[at + n * i], y.data[bt + n * j], z.data[ct + n * k]);
        }
    });
}

/// Sums `gradient`, shaped `from`, over what was stretched, into `target`, shaped `to`: adds to it unless it is
/// `fresh`.
pub(super) fn reduce(team: &Team, from: &[usize], gradient: &[f32], to: &[usize], target: &mut [f32], fresh: bool) {
    if gradient.len() == target.len() {
        if fresh {
            target.copy_from_slice(gradient);
        } else {
            kernel::add_into(team, gradient, target);
        }
        return;
    }
    if fresh {
        target.fill(0.0);
    }
    if gradient.is_empty() {
        return;
    }
    let nest = Nest::new(from, [to]);
    match (nest.extents.as_slice(), nest.strides.as_slice()) {
        ([_], [[0]]) => target[0] += sum(team, gradient),
        ([_, _], [[0], [1]]) => kernel::sum_columns(team, gradient, target),
        ([_, width], [[1], [0]]) => {
            let width = *width;
            let rows = GRAIN.div_ceil(width);
            team.pieces(target, rows, |index, target| {
                for (target, row) in target.iter_mut().zip(gradient[index * rows * width..].chunks_exact(width)) {
                    *target += row.iter().sum::<f32>();
                }
            });
        }
        ([batch, channels, area], [[0], [1], [0]]) => {
            kernel::sum_channels(team, [*batch, *channels, *area], gradient, target);
        }
        _ => {
            let (inner, [stride]) = nest.inner();
            for (row, gradient) in gradient.chunks_exact(inner).enumerate() {
                let [start] = nest.start(row);
                if stride == 0 {
                    target[start] += gradient.iter().sum::<f32>();
                } else {
                    let target = &mut target[start..][..inner];
                    target.iter_mut().zip(gradient).for_each(|(target, gradient)| *target += gradient);
                }
            }
        }
    }
}

/// The sum of all, in an order that depends on the length alone.
pub(super) fn sum(team: &Team, values: &[f32]) -> f32 {
    let mut sums = [0.0];
    kernel::sum_rows(team, values, &mut sums);
    sums[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_shapes() {
        assert_eq!(common(&[2, 1, 3], &[4, 1]), Some(vec![2, 4, 3]));
        assert_eq!(common(&[], &[2]), Some(vec![2]));
        assert_eq!(common(&[0, 1], &[1, 5]), Some(vec![0, 5]));
        assert_eq!(common(&[2], &[3]), None);
    }

    #[test]
    fn neighbours_that_are_crossed_alike_are_one() {
        let nest = Nest::new(&[2, 3, 4], [&[2, 3, 4], &[4]]);
        assert_eq!((nest.rows(), nest.inner()), (6, (4, [1, 1])));
        let nest = Nest::new(&[2, 3, 4], [&[2, 3, 4], &[2, 3, 4]]);
        assert_eq!((nest.rows(), nest.inner()), (1, (24, [1, 1])));
        let nest = Nest::new(&[2, 3, 4], [&[2, 3, 4], &[1, 3, 1]]);
        assert_eq!((nest.rows(), nest.inner(), nest.start(4)), (6, (4, [1, 0]), [16, 1]));
    }
}
