//! Sums, means, norms and extremes over axes.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "axes are resolved against shapes that were checked"
)]

use super::{
    Backward, Differentiable, Forward, Keeps, Op, Pattern, View,
    broadcast::{Nest, map2, map3, reduce},
    layout::axis,
};
use crate::{error::TrainError, kernel, tensor::volume_at};

/// How elements become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Sum,
    Mean,
    Max,
    Min,
    L1,
    L2,
    SumSquare,
}

/// A reduction over axes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reduce {
    pub(super) by: By,
    pub(super) over: Over,
    pub(super) keep: bool,
    /// No axes mean no reduction.
    pub(super) noop: bool,
}

/// Which axes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Over {
    /// As an attribute.
    Axes(Vec<i64>),
    /// As input 1, or all.
    Input,
    /// All after the second: pooling over whole planes.
    Planes,
}

/// Shape with reduced extents 1, and shape of the output.
pub(super) fn shapes(from: &[usize], axes: Option<&[i64]>, keep: bool, noop: bool) -> Option<(Vec<usize>, Vec<usize>)> {
    let mut reduced = vec![false; from.len()];
    match axes {
        Some(axes) if !axes.is_empty() => {
            for at in axes {
                reduced[axis(*at, from.len())?] = true;
            }
        }
        _ if noop => {}
        _ => reduced.fill(true),
    }
    let kept: Vec<usize> = from.iter().zip(&reduced).map(|(extent, gone)| if *gone { 1 } else { *extent }).collect();
    let out = kept.iter().zip(&reduced).filter(|(_, gone)| keep || !**gone).map(|(extent, _)| *extent).collect();
    Some((kept, out))
}

impl Reduce {
    fn shapes(&self, from: &[usize], list: Option<&[i64]>) -> Option<(Vec<usize>, Vec<usize>)> {
        match &self.over {
            Over::Axes(axes) => shapes(from, Some(axes), self.keep, self.noop),
            Over::Input => shapes(from, list, self.keep, self.noop),
            Over::Planes => {
                let axes: Vec<i64> = (2..from.len() as i64).collect();
                shapes(from, Some(&axes), true, true).filter(|_| from.len() > 2)
            }
        }
    }
}

/// Elements that each result is made of.
#[allow(clippy::cast_precision_loss)]
fn count(from: usize, to: usize) -> f32 {
    from.checked_div(to).unwrap_or(1).max(1) as f32
}

impl Op for Reduce {
    fn pattern(&self) -> Pattern {
        match &self.over {
            Over::Axes(axes) if self.by == By::Mean && self.keep && *axes == [-1] => Pattern::MeanOfLast,
            Over::Input if self.by == By::Mean && self.keep => Pattern::MeanOfGiven,
            _ => Pattern::Other,
        }
    }

    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        let from = cx.shape(0)?.to_vec();
        let list = cx.int(1).ok().map(|list| list.data.as_slice());
        let (kept, shape) = self.shapes(&from, list).ok_or_else(|| cx.clash())?;
        let mut out = cx.buffer(&shape)?;
        let (x, team) = (cx.float(0)?.data, cx.team);
        match self.by {
            By::Sum => reduce(team, &from, x, &kept, &mut out, true),
            By::Mean => {
                reduce(team, &from, x, &kept, &mut out, true);
                kernel::scale(team, 1.0 / count(x.len(), out.len()), &mut out);
            }
            By::L1 | By::L2 | By::SumSquare => {
                let mut each = team.scratch(x.len());
                let f = if self.by == By::L1 { |x: f32| x.abs() } else { |x: f32| x * x };
                kernel::apply(team, x, &mut each, f);
                reduce(team, &from, &each, &kept, &mut out, true);
                if self.by == By::L2 {
                    out.iter_mut().for_each(|sum| *sum = sum.sqrt());
                }
            }
            By::Max | By::Min => {
                if x.is_empty() && !out.is_empty() {
                    return Err(cx.clash());
                }
                let largest = self.by == By::Max;
                out.fill(if largest { f32::NEG_INFINITY } else { f32::INFINITY });
                let nest = Nest::new(&from, [&kept]);
                let (inner, [stride]) = nest.inner();
                if inner > 0 {
                    for (row, x) in x.chunks_exact(inner).enumerate() {
                        let [mut at] = nest.start(row);
                        for x in x {
                            let better = if largest { *x > out[at] } else { *x < out[at] };
                            if better || x.is_nan() {
                                out[at] = *x;
                            }
                            at = at.wrapping_add(stride);
                        }
                    }
                }
            }
        }
        cx.put(0, shape, out);
        Ok(())
    }

    fn differentiable(&self) -> Option<&dyn Differentiable> {
        Some(self)
    }
}

impl Differentiable for Reduce {
    fn keeps(&self, _wants: &[bool]) -> Keeps {
        let list = if self.over == Over::Input { 2 } else { 0 };
        match self.by {
            By::Sum | By::Mean => Keeps { inputs: list, outputs: 0 },
            By::L1 | By::SumSquare => Keeps { inputs: 1 | list, outputs: 0 },
            By::L2 | By::Max | By::Min => Keeps { inputs: 1 | list, outputs: 1 },
        }
    }

    fn passes(&self, input: usize) -> bool {
        input == 0
    }

    fn backward(&self, cx: &mut Backward<'_>) -> Result<(), TrainError> {
        let mut gradient = cx.gradient()?;
        let from = cx.shape(0)?.to_vec();
        let list = cx.int(1).ok().map(|list| list.data.as_slice());
        let (kept, _) = self.shapes(&from, list).ok_or_else(|| cx.lost())?;
        let whole = volume_at(&from, cx.node)?;
        if volume_at(&kept, cx.node)? != gradient.len() {
            return Err(cx.lost());
        }
        let mut part = cx.pool.take(whole)?;
        let team = cx.team;
        match self.by {
            By::Mean => kernel::scale(team, 1.0 / count(whole, gradient.len()), &mut gradient),
            By::SumSquare => kernel::scale(team, 2.0, &mut gradient),
            // At the origin the norm has no gradient; PyTorch gives zero.
            By::L2 => {
                for (g, norm) in gradient.iter_mut().zip(cx.output(0)?.data) {
                    *g = if *norm > 0.0 { *g / norm } else { 0.0 };
                }
            }
            By::Max | By::Min => {
                // Those that share the extreme share its gradient, as in PyTorch.
                let (x, y) = (cx.float(0)?, View { shape: &kept, data: cx.output(0)?.data });
                let mut hits = cx.team.scratch(whole);
                let mut counts = vec![0.0; gradient.len()];
                map2(team, &from, x, y, &mut hits, |x, y| if x == y { 1.0 } else { 0.0 });
                reduce(team, &from, &hits, &kept, &mut counts, true);
                gradient.iter_mut().zip(counts).for_each(|(g, count)| *g /= count.max(1.0));
            }
            By::Sum | By::L1 => {}
        }
        let g = View { shape: &kept, data: &gradient };
        match self.by {
            By::Sum | By::Mean => {
                let nest = Nest::new(&from, [g.shape]);
                let (_, [stride]) = nest.inner();
                nest.each(team, &mut part, |out, [start]| match stride {
                    0 => out.fill(g.data[start]),
                    _ => out.copy_from_slice(&g.data[start..][..out.len()]),
                });
            }
            By::L2 | By::SumSquare => map2(team, &from, g, cx.float(0)?, &mut part, |g, x| g * x),
            By::L1 => map2(team, &from, g, cx.float(0)?, &mut part, |g, x| {
                if x > 0.0 {
                    g
                } else if x < 0.0 {
                    -g
                } else {
                    0.0
                }
            }),
            By::Max | By::Min => {
                let y = View { shape: &kept, data: cx.output(0)?.data };
                map3(team, &from, [g, cx.float(0)?, y], &mut part, |g, x, y| if x == y { g } else { 0.0 });
            }
        }
        cx.recycle(gradient);
        cx.give(0, part)
    }
}
