//! Operators that look elements up, and that choose between two.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "indices are resolved against extents before they are used"
)]

use super::{
    Backward, Differentiable, Forward, Keeps, Kind, Op, View,
    broadcast::{Nest, common, reduce},
    layout::axis,
};
use crate::{
    error::TrainError,
    tensor::{IntTensor, volume_at},
};

/// Slices of input 0 at the places that input 1 says: a table of embeddings, for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gather {
    pub(super) axis: i64,
    pub(super) kind: Kind,
}

/// Places in `0..extent`, counted from the end where negative.
fn places(indices: &[i64], extent: usize) -> Option<Vec<usize>> {
    indices.iter().map(|at| axis(*at, extent)).collect()
}

impl Op for Gather {
    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        let from = cx.shape(0)?.to_vec();
        let axis = axis(self.axis, from.len()).ok_or_else(|| cx.clash())?;
        let indices = cx.int(1)?;
        let places = places(&indices.data, from[axis]).ok_or_else(|| cx.past())?;
        let shape = [&from[..axis], &indices.shape, &from[axis + 1..]].concat();
        volume_at(&shape, cx.node)?;
        let inner: usize = from[axis + 1..].iter().product();
        let source = |row: usize| (row / places.len() * from[axis] + places[row % places.len()]) * inner;
        if self.kind == Kind::Int {
            let volume = volume_at(&shape, cx.node)?;
            let mut out = cx.ints(&shape)?;
            let x = &cx.int(0)?.data;
            for row in 0..volume.checked_div(inner).unwrap_or(0) {
                out.extend(&x[source(row)..][..inner]);
            }
            cx.put_int(0, shape, out);
            return Ok(());
        }
        let mut out = cx.buffer(&shape)?;
        let x = cx.float(0)?.data;
        if !out.is_empty() {
            let rows = 4096usize.div_ceil(inner);
            cx.team.pieces(&mut out, rows * inner, |index, out| {
                for (at, out) in out.chunks_exact_mut(inner).enumerate() {
                    out.copy_from_slice(&x[source(index * rows + at)..][..inner]);
                }
            });
        }
        cx.put(0, shape, out);
        Ok(())
    }

    fn differentiable(&self) -> Option<&dyn Differentiable> {
        Some(self)
    }
}

impl Differentiable for Gather {
    fn keeps(&self, _wants: &[bool]) -> Keeps {
        Keeps { inputs: 2, outputs: 0 }
    }

    fn passes(&self, input: usize) -> bool {
        input == 0
    }

    fn backward(&self, cx: &mut Backward<'_>) -> Result<(), TrainError> {
        let gradient = cx.gradient()?;
        let from = cx.shape(0)?.to_vec();
        let axis = axis(self.axis, from.len()).ok_or_else(|| cx.lost())?;
        let places = places(&cx.int(1)?.data, from[axis]).ok_or_else(|| cx.lost())?;
        let inner: usize = from[axis + 1..].iter().product();
        let outer: usize = from[..axis].iter().product();
        if gradient.len() != outer * places.len() * inner {
            return Err(cx.lost());
        }
        cx.target(0, |_, target, fresh| {
            if fresh {
                target.fill(0.0);
            }
            if !gradient.is_empty() {
                // In the order of the rows, so that a place that occurs twice has one sum.
                for (row, gradient) in gradient.chunks_exact(inner).enumerate() {
                    let at = (row / places.len() * from[axis] + places[row % places.len()]) * inner;
                    target[at..][..inner].iter_mut().zip(gradient).for_each(|(target, more)| *target += more);
                }
            }
            Ok(())
        })?;
        cx.recycle(gradient);
        Ok(())
    }
}

/// Elements of input 0 at the places along an axis that input 1 says, element by element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GatherElements {
    pub(super) axis: i64,
    pub(super) kind: Kind,
}

impl GatherElements {
    /// Offset in the data of each element of the output; `Ok(None)` for an index past the end.
    fn offsets(&self, from: &[usize], indices: &IntTensor) -> Option<Option<Vec<usize>>> {
        let along = axis(self.axis, from.len())?;
        let to = &indices.shape;
        if to.len() != from.len() || (0..to.len()).any(|at| at != along && to[at] > from[at]) {
            return None;
        }
        let offset = |(place, index): (usize, &i64)| {
            let (mut rest, mut offset, mut stride) = (place, 0, 1);
            for at in (0..to.len()).rev() {
                let position = if at == along { axis(*index, from[at])? } else { rest % to[at] };
                rest /= to[at];
                offset += position * stride;
                stride *= from[at];
            }
            Some(offset)
        };
        Some(indices.data.iter().enumerate().map(offset).collect())
    }
}

impl Op for GatherElements {
    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        let indices = cx.int(1)?;
        let shape = indices.shape.clone();
        let offsets = self.offsets(cx.shape(0)?, indices).ok_or_else(|| cx.clash())?.ok_or_else(|| cx.past())?;
        if self.kind == Kind::Int {
            let mut out = cx.ints(&shape)?;
            let x = &cx.int(0)?.data;
            out.extend(offsets.iter().map(|at| x[*at]));
            cx.put_int(0, shape, out);
            return Ok(());
        }
        let mut out = cx.buffer(&shape)?;
        let x = cx.float(0)?.data;
        out.iter_mut().zip(offsets).for_each(|(out, at)| *out = x[at]);
        cx.put(0, shape, out);
        Ok(())
    }

    fn differentiable(&self) -> Option<&dyn Differentiable> {
        Some(self)
    }
}

impl Differentiable for GatherElements {
    fn keeps(&self, _wants: &[bool]) -> Keeps {
        Keeps { inputs: 2, outputs: 0 }
    }

    fn passes(&self, input: usize) -> bool {
        input == 0
    }

    fn backward(&self, cx: &mut Backward<'_>) -> Result<(), TrainError> {
        let gradient = cx.gradient()?;
        let offsets = self.offsets(cx.shape(0)?, cx.int(1)?).flatten().ok_or_else(|| cx.lost())?;
        cx.target(0, |_, target, fresh| {
            if fresh {
                target.fill(0.0);
            }
            gradient.iter().zip(&offsets).for_each(|(more, at)| target[*at] += more);
            Ok(())
        })?;
        cx.recycle(gradient);
        Ok(())
    }
}

/// Input 1 where input 0 is not zero, input 2 elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Where {
    pub(super) kind: Kind,
}

/// `out = f(condition, a, b)`, all broadcast to `shape`.
fn choose<T: Copy + Send + Sync>(
    team: &crate::kernel::Team,
    shape: &[usize],
    condition: &IntTensor,
    (a_shape, a): (&[usize], &[T]),
    (b_shape, b): (&[usize], &[T]),
    out: &mut [T],
) {
    let nest = Nest::new(shape, [condition.shape.as_slice(), a_shape, b_shape]);
    let (_, [i, j, k]) = nest.inner();
    nest.each(team, out, |out, [c, x, y]| {
        for (n, out) in out.iter_mut().enumerate() {
            *out = if condition.data[c + n * i] != 0 { a[x + n * j] } else { b[y + n * k] };
        }
    });
}

impl Op for Where {
    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        let shape = common(cx.shape(0)?, cx.shape(1)?).and_then(|shape| common(&shape, cx.shape(2).ok()?));
        let shape = shape.ok_or_else(|| cx.clash())?;
        let volume = volume_at(&shape, cx.node)?;
        if self.kind == Kind::Int {
            let mut out = cx.ints(&shape)?;
            out.resize(volume, 0);
            let (a, b) = (cx.int(1)?, cx.int(2)?);
            choose(cx.team, &shape, cx.int(0)?, (&a.shape, &a.data), (&b.shape, &b.data), &mut out);
            cx.put_int(0, shape, out);
            return Ok(());
        }
        let mut out = cx.buffer(&shape)?;
        let (a, b) = (cx.float(1)?, cx.float(2)?);
        choose(cx.team, &shape, cx.int(0)?, (a.shape, a.data), (b.shape, b.data), &mut out);
        cx.put(0, shape, out);
        Ok(())
    }

    fn differentiable(&self) -> Option<&dyn Differentiable> {
        Some(self)
    }
}

impl Differentiable for Where {
    fn keeps(&self, _wants: &[bool]) -> Keeps {
        Keeps { inputs: 1, outputs: 0 }
    }

    fn passes(&self, input: usize) -> bool {
        input != 0
    }

    fn backward(&self, cx: &mut Backward<'_>) -> Result<(), TrainError> {
        let gradient = cx.gradient()?;
        let shape = common(cx.shape(0)?, cx.shape(1)?).and_then(|shape| common(&shape, cx.shape(2).ok()?));
        let shape = shape.ok_or_else(|| cx.lost())?;
        if volume_at(&shape, cx.node)? != gradient.len() {
            return Err(cx.lost());
        }
        for side in [1, 2] {
            if !cx.wants(side) {
                continue;
            }
            let mut part = cx.pool.take(gradient.len())?;
            let g = View { shape: &shape, data: &gradient };
            let (given, none) = ((g.shape, g.data), (&[] as &[usize], &[0.0f32] as &[f32]));
            let (yes, no) = if side == 1 { (given, none) } else { (none, given) };
            choose(cx.team, &shape, cx.int(0)?, yes, no, &mut part);
            cx.target(side, |cx, target, fresh| {
                reduce(cx.team, &shape, &part, cx.shape(side)?, target, fresh);
                Ok(())
            })?;
            cx.recycle(part);
        }
        cx.recycle(gradient);
        Ok(())
    }
}
