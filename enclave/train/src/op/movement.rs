//! Operators that copy elements to other places.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "every copy is laid out over shapes that were checked"
)]

use super::{
    Backward, Differentiable, Forward, Keeps, Kind, Op,
    broadcast::{Nest, common, reduce, strides},
    layout::axis,
};
use crate::{
    error::TrainError,
    kernel::Team,
    tensor::{volume, volume_at},
};

/// A copy: for each place in `extents`, from one offset to another.
#[derive(Debug, Clone)]
pub(super) struct Route {
    extents: Vec<usize>,
    /// Strides of source and destination; negative ones in two's complement.
    strides: Vec<[usize; 2]>,
    /// Offsets of the first element.
    start: [usize; 2],
    /// Whether the destination is written from front to back without gaps.
    dense: bool,
}

impl Route {
    /// To a destination without gaps.
    fn gather(extents: Vec<usize>, from: Vec<usize>, start: usize) -> Self {
        let to = strides(&extents, extents.len());
        let strides = from.into_iter().zip(to).map(|(from, to)| [from, to]).collect();
        Self { extents, strides, start: [start, 0], dense: true }
    }

    /// The way back.
    fn reversed(mut self) -> Self {
        self.strides.iter_mut().for_each(|strides| strides.reverse());
        self.start.reverse();
        self.dense = false;
        self
    }

    fn is_empty(&self) -> bool {
        self.extents.contains(&0)
    }

    fn copy<T: Copy + Send + Sync>(&self, team: &Team, from: &[T], to: &mut [T]) {
        if self.is_empty() {
            return;
        }
        let dims = self.extents.iter().copied().zip(self.strides.iter().copied());
        if self.dense {
            let nest = Nest::of(dims.map(|(extent, [from, _])| (extent, [from])));
            let (_, [stride]) = nest.inner();
            return nest.each(team, to, |out, [start]| {
                let start = start.wrapping_add(self.start[0]);
                match stride {
                    1 => out.copy_from_slice(&from[start..][..out.len()]),
                    0 => out.fill(from[start]),
                    _ => {
                        let mut at = start;
                        for out in out {
                            *out = from[at];
                            at = at.wrapping_add(stride);
                        }
                    }
                }
            });
        }
        self.each(|source, place| to[place] = from[source]);
    }

    fn add(&self, from: &[f32], to: &mut [f32]) {
        self.each(|source, place| to[place] += from[source]);
    }

    /// Calls `visit` with the offsets in source and destination of every element, in order.
    fn each(&self, mut visit: impl FnMut(usize, usize)) {
        if self.is_empty() {
            return;
        }
        let nest = Nest::of(self.extents.iter().copied().zip(self.strides.iter().copied()));
        let (inner, [i, j]) = nest.inner();
        for row in 0..nest.rows() {
            let [mut source, mut place] = nest.start(row);
            source = source.wrapping_add(self.start[0]);
            place = place.wrapping_add(self.start[1]);
            for _ in 0..inner {
                visit(source, place);
                source = source.wrapping_add(i);
                place = place.wrapping_add(j);
            }
        }
    }
}

/// Operators of one input whose output elements are copies.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Move {
    Transpose {
        order: Option<Vec<i64>>,
    },
    /// Bounds as attributes, or else as inputs 1 to 4.
    Slice {
        bounds: Option<[Option<Vec<i64>>; 3]>,
    },
    /// To the shape of input 1.
    Expand,
    /// As often as input 1 says.
    Tile,
    DepthToSpace {
        block: usize,
        columns_first: bool,
    },
}

impl Move {
    /// What the operator reads besides its data.
    fn lists<'a>(&self, int: impl Fn(usize) -> Option<&'a [i64]>) -> [Option<Vec<i64>>; 4] {
        [1, 2, 3, 4].map(|at| int(at).map(<[i64]>::to_vec))
    }

    /// Shape of the output, and the way there.
    fn route(&self, from: &[usize], lists: &[Option<Vec<i64>>; 4]) -> Option<(Vec<usize>, Route)> {
        let source = {
            let mut source = strides(from, from.len());
            // A dimension of one element has no stride of its own; any does.
            for (stride, extent) in source.iter_mut().zip(from) {
                *stride = if *extent == 1 { 0 } else { *stride };
            }
            source
        };
        match self {
            Self::Transpose { order } => {
                let order = match order {
                    Some(order) => order.iter().map(|at| axis(*at, from.len())).collect::<Option<Vec<usize>>>()?,
                    None => (0..from.len()).rev().collect(),
                };
                let mut sorted = order.clone();
                sorted.sort_unstable();
                if !sorted.into_iter().eq(0..from.len()) {
                    return None;
                }
                let shape: Vec<usize> = order.iter().map(|at| from[*at]).collect();
                let strides = order.iter().map(|at| source[*at]).collect();
                Some((shape.clone(), Route::gather(shape, strides, 0)))
            }
            Self::Slice { bounds } => {
                let (starts, ends, axes, steps) = match bounds {
                    Some([starts, ends, axes]) => (starts.as_ref()?, ends.as_ref()?, axes.as_ref(), None),
                    None => (lists[0].as_ref()?, lists[1].as_ref()?, lists[2].as_ref(), lists[3].as_ref()),
                };
                let fits = |list: Option<&Vec<i64>>| list.is_none_or(|list| list.len() == starts.len());
                if ends.len() != starts.len() || !fits(axes) || !fits(steps) {
                    return None;
                }
                let (mut shape, mut strides, mut first) = (from.to_vec(), source, 0usize);
                for at in 0..starts.len() {
                    let axis = axis(axes.map_or(at as i64, |axes| axes[at]), from.len())?;
                    let step = steps.map_or(1, |steps| steps[at]);
                    let (start, count) = stretch(starts[at], ends[at], step, i64::try_from(from[axis]).ok()?)?;
                    shape[axis] = count;
                    if count > 0 {
                        first = first.wrapping_add(usize::try_from(start).ok()?.wrapping_mul(strides[axis]));
                    }
                    strides[axis] = strides[axis].wrapping_mul(step as usize);
                }
                Some((shape.clone(), Route::gather(shape, strides, first)))
            }
            Self::Expand => {
                let target = lists[0].as_ref()?.iter().map(|extent| usize::try_from(*extent).ok());
                let shape = common(from, &target.collect::<Option<Vec<usize>>>()?)?;
                volume(&shape)?;
                let strides = strides(from, shape.len());
                Some((shape.clone(), Route::gather(shape, strides, 0)))
            }
            Self::Tile => {
                let times = lists[0].as_ref()?.iter().map(|times| usize::try_from(*times).ok());
                let times = times.collect::<Option<Vec<usize>>>()?;
                if times.len() != from.len() {
                    return None;
                }
                let shape = from.iter().zip(&times).map(|(extent, times)| extent.checked_mul(*times));
                let shape = shape.collect::<Option<Vec<usize>>>()?;
                volume(&shape)?;
                let extents = times.iter().zip(from).flat_map(|(times, extent)| [*times, *extent]).collect();
                let strides = source.iter().flat_map(|stride| [0, *stride]).collect();
                Some((shape, Route::gather(extents, strides, 0)))
            }
            Self::DepthToSpace { block, columns_first } => {
                let ([n, c, h, w], block) = (from, *block) else { return None };
                let (n, c, h, w) = (*n, *c, *h, *w);
                let squared = block.checked_mul(block).filter(|squared| *squared > 0 && c % squared == 0)?;
                let depth = c / squared;
                let shape = vec![n, depth, h.checked_mul(block)?, w.checked_mul(block)?];
                volume(&shape)?;
                let area = h * w;
                // DCR: blocks lie outside the depth; CRD: inside.
                let (deep, down, right) = if *columns_first {
                    (squared * area, block * area, area)
                } else {
                    (area, block * depth * area, depth * area)
                };
                let extents = vec![n, depth, h, block, w, block];
                Some((shape, Route::gather(extents, vec![c * area, deep, w, down, 1, right], 0)))
            }
        }
    }
}

/// First index and number of indices of a slice.
fn stretch(start: i64, end: i64, step: i64, extent: i64) -> Option<(i64, usize)> {
    let from_end = |at: i64| if at < 0 { at.saturating_add(extent) } else { at };
    let (start, end) = (from_end(start), from_end(end));
    let (start, span) = if step > 0 {
        let start = start.clamp(0, extent);
        (start, end.clamp(0, extent) - start)
    } else {
        let last = extent - 1;
        let start = start.clamp(-1, last);
        (start, start - end.clamp(-1, last))
    };
    let size = step.checked_abs().filter(|size| *size > 0)?;
    Some((start, usize::try_from(span.max(0)).ok()?.div_ceil(usize::try_from(size).ok()?)))
}

impl Op for Move {
    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        let lists = self.lists(|at| cx.int(at).ok().map(|list| list.data.as_slice()));
        let (shape, route) = self.route(cx.shape(0)?, &lists).ok_or_else(|| cx.clash())?;
        volume_at(&shape, cx.node)?;
        if let Ok(x) = cx.int(0) {
            let x = x.data.clone();
            let mut out = cx.ints(&shape)?;
            out.resize(volume_at(&shape, cx.node)?, 0);
            route.copy(cx.team, &x, &mut out);
            cx.put_int(0, shape, out);
            return Ok(());
        }
        let mut out = cx.buffer(&shape)?;
        route.copy(cx.team, cx.float(0)?.data, &mut out);
        cx.put(0, shape, out);
        Ok(())
    }

    fn differentiable(&self) -> Option<&dyn Differentiable> {
        Some(self)
    }
}

impl Differentiable for Move {
    /// The lists must be there, which are small.
    fn keeps(&self, _wants: &[bool]) -> Keeps {
        Keeps { inputs: 0b11110, outputs: 0 }
    }

    fn passes(&self, input: usize) -> bool {
        input == 0
    }

    fn backward(&self, cx: &mut Backward<'_>) -> Result<(), TrainError> {
        let gradient = cx.gradient()?;
        let lists = self.lists(|at| cx.int(at).ok().map(|list| list.data.as_slice()));
        let (shape, route) = self.route(cx.shape(0)?, &lists).ok_or_else(|| cx.lost())?;
        if volume_at(&shape, cx.node)? != gradient.len() {
            return Err(cx.lost());
        }
        cx.target(0, |cx, target, fresh| {
            match self {
                Self::Expand => reduce(cx.team, &shape, &gradient, cx.shape(0)?, target, fresh),
                Self::Transpose { order } if fresh => {
                    let back = match order {
                        Some(order) => {
                            let mut back = vec![0; order.len()];
                            for (at, from) in order.iter().enumerate() {
                                back[axis(*from, order.len()).ok_or_else(|| cx.lost())?] = at as i64;
                            }
                            Some(back)
                        }
                        None => None,
                    };
                    let back = Self::Transpose { order: back }.route(&shape, &lists).ok_or_else(|| cx.lost())?;
                    back.1.copy(cx.team, &gradient, target);
                }
                _ => {
                    if fresh {
                        target.fill(0.0);
                    }
                    route.reversed().add(&gradient, target);
                }
            }
            Ok(())
        })?;
        cx.recycle(gradient);
        Ok(())
    }
}

/// `[outer, extent, inner]` around an axis.
fn around(shape: &[usize], axis: usize) -> [usize; 3] {
    [shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product()]
}

/// Inputs one behind the other along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Concat {
    pub(super) axis: i64,
    pub(super) kind: Kind,
}

impl Concat {
    /// The axis, the shape of the whole, and the extent of each part.
    fn parts(&self, shapes: &[&[usize]]) -> Option<(usize, Vec<usize>, Vec<usize>)> {
        let mut shape = shapes.first()?.to_vec();
        let axis = axis(self.axis, shape.len())?;
        let mut parts = Vec::with_capacity(shapes.len());
        for part in shapes {
            let fits = part.len() == shape.len() && (0..shape.len()).all(|at| at == axis || part[at] == shape[at]);
            parts.push(fits.then(|| part[axis])?);
        }
        shape[axis] = parts.iter().try_fold(0usize, |sum, part| sum.checked_add(*part))?;
        Some((axis, shape, parts))
    }
}

/// Copies a part into its place in the whole, or out of it.
fn join<T: Copy>(whole: &mut [T], part: &[T], [outer, total, inner]: [usize; 3], start: usize, extent: usize) {
    for row in 0..outer {
        let to = &mut whole[(row * total + start) * inner..][..extent * inner];
        to.copy_from_slice(&part[row * extent * inner..][..extent * inner]);
    }
}

impl Op for Concat {
    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        let count = cx.inputs.len();
        let shapes = (0..count).map(|at| cx.shape(at)).collect::<Result<Vec<_>, _>>()?;
        let (axis, shape, parts) = self.parts(&shapes).ok_or_else(|| cx.clash())?;
        let volume = volume_at(&shape, cx.node)?;
        let sizes = around(&shape, axis);
        let mut start = 0;
        if self.kind == Kind::Int {
            let mut out = cx.ints(&shape)?;
            out.resize(volume, 0);
            for (at, extent) in parts.iter().enumerate() {
                join(&mut out, &cx.int(at)?.data, sizes, start, *extent);
                start += extent;
            }
            cx.put_int(0, shape, out);
            return Ok(());
        }
        let mut out = cx.buffer(&shape)?;
        for (at, extent) in parts.iter().enumerate() {
            join(&mut out, cx.float(at)?.data, sizes, start, *extent);
            start += extent;
        }
        cx.put(0, shape, out);
        Ok(())
    }

    fn differentiable(&self) -> Option<&dyn Differentiable> {
        Some(self)
    }
}

impl Differentiable for Concat {
    fn keeps(&self, _wants: &[bool]) -> Keeps {
        Keeps::NOTHING
    }

    fn backward(&self, cx: &mut Backward<'_>) -> Result<(), TrainError> {
        let gradient = cx.gradient()?;
        let shapes = (0..cx.inputs.len()).map(|at| cx.shape(at)).collect::<Result<Vec<_>, _>>()?;
        let (axis, shape, parts) = self.parts(&shapes).ok_or_else(|| cx.lost())?;
        let [outer, total, inner] = around(&shape, axis);
        if gradient.len() != outer * total * inner {
            return Err(cx.lost());
        }
        let mut start = 0;
        for (at, extent) in parts.iter().enumerate() {
            let size = extent * inner;
            cx.target(at, |_, target, fresh| {
                for row in 0..outer {
                    let from = &gradient[(row * total + start) * inner..][..size];
                    let to = &mut target[row * size..][..size];
                    if fresh {
                        to.copy_from_slice(from);
                    } else {
                        to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
                    }
                }
                Ok(())
            })?;
            start += extent;
        }
        cx.recycle(gradient);
        Ok(())
    }
}

/// The opposite of [`Concat`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) axis: i64,
    pub(super) kind: Kind,
    /// Extents as an attribute, or else as input 1, or else equal.
    pub(super) parts: Option<Vec<i64>>,
}

impl Split {
    fn parts(&self, shape: &[usize], list: Option<&[i64]>, outputs: usize) -> Option<(usize, Vec<usize>)> {
        let axis = axis(self.axis, shape.len())?;
        let whole = shape[axis];
        let parts: Vec<usize> = match self.parts.as_deref().or(list) {
            Some(parts) => parts.iter().map(|part| usize::try_from(*part).ok()).collect::<Option<_>>()?,
            None => {
                let each = whole.div_ceil(outputs.max(1));
                (0..outputs).map(|at| each.min(whole.saturating_sub(at.saturating_mul(each)))).collect()
            }
        };
        let sum = parts.iter().try_fold(0usize, |sum, part| sum.checked_add(*part))?;
        (sum == whole && parts.len() == outputs).then_some((axis, parts))
    }
}

impl Op for Split {
    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        let from = cx.shape(0)?.to_vec();
        let list = cx.int(1).ok().map(|list| list.data.as_slice());
        let (axis, parts) = self.parts(&from, list, cx.outputs.len()).ok_or_else(|| cx.clash())?;
        let [outer, total, inner] = around(&from, axis);
        let mut start = 0;
        for (at, extent) in parts.iter().enumerate() {
            let (mut shape, size) = (from.clone(), extent * inner);
            shape[axis] = *extent;
            let rows = (0..outer).map(|row| (row * total + start) * inner);
            if self.kind == Kind::Int {
                let mut out = cx.ints(&shape)?;
                for from in rows {
                    out.extend(&cx.int(0)?.data[from..][..size]);
                }
                cx.put_int(at, shape, out);
            } else {
                let mut out = cx.buffer(&shape)?;
                let x = cx.float(0)?.data;
                for (row, from) in rows.enumerate() {
                    out[row * size..][..size].copy_from_slice(&x[from..][..size]);
                }
                cx.put(at, shape, out);
            }
            start += extent;
        }
        Ok(())
    }

    fn differentiable(&self) -> Option<&dyn Differentiable> {
        Some(self)
    }
}

impl Differentiable for Split {
    fn keeps(&self, _wants: &[bool]) -> Keeps {
        Keeps { inputs: 2, outputs: 0 }
    }

    fn passes(&self, input: usize) -> bool {
        input == 0
    }

    fn backward(&self, cx: &mut Backward<'_>) -> Result<(), TrainError> {
        let gradients: Vec<Option<Vec<f32>>> = (0..cx.outputs.len()).map(|at| cx.incoming(at)).collect();
        let from = cx.shape(0)?.to_vec();
        let list = cx.int(1).ok().map(|list| list.data.as_slice());
        let (axis, parts) = self.parts(&from, list, cx.outputs.len()).ok_or_else(|| cx.lost())?;
        let [outer, total, inner] = around(&from, axis);
        cx.target(0, |cx, target, fresh| {
            if fresh && gradients.iter().any(Option::is_none) {
                target.fill(0.0);
            }
            let mut start = 0;
            for (extent, gradient) in parts.iter().zip(&gradients) {
                let size = extent * inner;
                if let Some(gradient) = gradient {
                    if gradient.len() != outer * size {
                        return Err(cx.lost());
                    }
                    for row in 0..outer {
                        let to = &mut target[(row * total + start) * inner..][..size];
                        let from = &gradient[row * size..][..size];
                        if fresh {
                            to.copy_from_slice(from);
                        } else {
                            to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
                        }
                    }
                }
                start += extent;
            }
            Ok(())
        })?;
        gradients.into_iter().flatten().for_each(|gradient| cx.recycle(gradient));
        Ok(())
    }
}

/// How a margin is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Margin {
    Constant,
    Reflect,
    Edge,
    Wrap,
}

/// Margins around a tensor; a negative one cuts off.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pad {
    pub(super) margin: Margin,
    /// Margins and fill as attributes (operator sets before 11), or else as inputs.
    pub(super) fixed: Option<(Vec<i64>, f32)>,
}

impl Pad {
    /// For each axis, which element of the input each place takes.
    fn sources(&self, from: &[usize], pads: &[i64], axes: Option<&[i64]>) -> Option<Vec<Vec<Option<usize>>>> {
        let axes: Vec<usize> = match axes {
            Some(axes) => axes.iter().map(|at| axis(*at, from.len())).collect::<Option<_>>()?,
            None => (0..from.len()).collect(),
        };
        if pads.len() != axes.len().checked_mul(2)? {
            return None;
        }
        let mut margins = vec![(0i64, 0i64); from.len()];
        for (at, axis) in axes.iter().enumerate() {
            margins[*axis] = (pads[at], pads[at + axes.len()]);
        }
        let mut all = Vec::with_capacity(from.len());
        let mut whole = 1usize;
        for (extent, (before, after)) in from.iter().zip(margins) {
            let size = i64::try_from(*extent).ok()?;
            let count = usize::try_from(size.checked_add(before)?.checked_add(after)?).ok()?;
            whole = whole.checked_mul(count.max(1)).filter(|whole| *whole <= 1 << 40)?;
            volume(&[count])?;
            if count > 0 && size == 0 && self.margin != Margin::Constant {
                return None;
            }
            if count > 1 << 28 {
                return None;
            }
            let place = |at: usize| {
                let at = i64::try_from(at).ok()? - before;
                let inside = usize::try_from(at).ok().filter(|at| at < extent);
                match self.margin {
                    _ if inside.is_some() => inside,
                    Margin::Constant => None,
                    Margin::Edge => usize::try_from(at.clamp(0, size - 1)).ok(),
                    Margin::Wrap => usize::try_from(at.rem_euclid(size)).ok(),
                    Margin::Reflect if size == 1 => Some(0),
                    Margin::Reflect => {
                        let at = at.rem_euclid(2 * (size - 1));
                        usize::try_from(if at < size { at } else { 2 * (size - 1) - at }).ok()
                    }
                }
            };
            all.push((0..count).map(place).collect());
        }
        Some(all)
    }

    fn each(from: &[usize], sources: &[Vec<Option<usize>>], mut visit: impl FnMut(usize, Option<usize>)) {
        let strides = {
            let mut strides = vec![1; from.len()];
            for at in (1..from.len()).rev() {
                strides[at - 1] = strides[at] * from[at].max(1);
            }
            strides
        };
        let count: usize = sources.iter().map(Vec::len).product();
        for place in 0..count {
            let (mut rest, mut offset) = (place, Some(0usize));
            for (axis, source) in sources.iter().enumerate().rev() {
                let at = source[rest % source.len()];
                rest /= source.len();
                offset = offset.zip(at).map(|(offset, at)| offset + at * strides[axis]);
            }
            visit(place, offset);
        }
    }
}

impl Op for Pad {
    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        let (pads, fill) = match &self.fixed {
            Some((pads, fill)) => (pads.clone(), *fill),
            None => {
                let fill = match cx.given(2).then(|| cx.float(2)).transpose()?.map(|fill| fill.data) {
                    None => 0.0,
                    Some([fill]) => *fill,
                    Some(_) => return Err(cx.clash()),
                };
                (cx.int(1)?.data.clone(), fill)
            }
        };
        let axes = cx.int(3).ok().map(|axes| axes.data.as_slice());
        let sources = self.sources(cx.shape(0)?, &pads, axes).ok_or_else(|| cx.clash())?;
        let shape: Vec<usize> = sources.iter().map(Vec::len).collect();
        let mut out = cx.buffer(&shape)?;
        let x = cx.float(0)?;
        Self::each(x.shape, &sources, |place, source| out[place] = source.map_or(fill, |at| x.data[at]));
        cx.put(0, shape, out);
        Ok(())
    }

    fn differentiable(&self) -> Option<&dyn Differentiable> {
        Some(self)
    }
}

impl Differentiable for Pad {
    fn keeps(&self, _wants: &[bool]) -> Keeps {
        Keeps { inputs: 0b1010, outputs: 0 }
    }

    fn passes(&self, input: usize) -> bool {
        input == 0
    }

    fn backward(&self, cx: &mut Backward<'_>) -> Result<(), TrainError> {
        let gradient = cx.gradient()?;
        let pads = match &self.fixed {
            Some((pads, _)) => pads.clone(),
            None => cx.int(1)?.data.clone(),
        };
        let axes = cx.int(3).ok().map(|axes| axes.data.as_slice());
        let sources = self.sources(cx.shape(0)?, &pads, axes).ok_or_else(|| cx.lost())?;
        if sources.iter().map(Vec::len).product::<usize>() != gradient.len() {
            return Err(cx.lost());
        }
        cx.target(0, |cx, target, fresh| {
            if fresh {
                target.fill(0.0);
            }
            Self::each(cx.shape(0)?, &sources, |place, source| {
                if let Some(at) = source {
                    target[at] += gradient[place];
                }
            });
            Ok(())
        })?;
        cx.recycle(gradient);
        Ok(())
    }
}
