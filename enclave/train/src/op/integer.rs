//! Integers: shapes, masks, indices. They only run; no gradient goes through them.

#![allow(clippy::indexing_slicing, reason = "operands are broadcast to a shape that was checked")]

use super::{
    Forward, Kind, Op,
    broadcast::{Nest, common},
    layout::axis,
};
use crate::{
    error::TrainError,
    tensor::{IntTensor, volume_at},
};

/// Element by element over integers or booleans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Int {
    Add,
    Sub,
    Mul,
    Div,
    /// The sign of the divisor, or with `fmod` of the dividend.
    Mod {
        fmod: bool,
    },
    Pow,
    Max,
    Min,
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    And,
    Or,
    Xor,
    Not,
    Neg,
    Abs,
    Sign,
}

impl Int {
    pub(super) fn of(op: &str, fmod: bool) -> Option<Self> {
        Some(match op {
            "Add" | "Sum" => Self::Add,
            "Sub" => Self::Sub,
            "Mul" => Self::Mul,
            "Div" => Self::Div,
            "Mod" => Self::Mod { fmod },
            "Pow" => Self::Pow,
            "Max" => Self::Max,
            "Min" => Self::Min,
            "Equal" => Self::Equal,
            "Greater" => Self::Greater,
            "GreaterOrEqual" => Self::GreaterOrEqual,
            "Less" => Self::Less,
            "LessOrEqual" => Self::LessOrEqual,
            "And" => Self::And,
            "Or" => Self::Or,
            "Xor" => Self::Xor,
            "Not" => Self::Not,
            "Neg" => Self::Neg,
            "Abs" => Self::Abs,
            "Sign" => Self::Sign,
            _ => return None,
        })
    }

    /// `None` where there is no such number.
    fn apply(self, a: i64, b: i64) -> Option<i64> {
        match self {
            Self::Add => Some(a.wrapping_add(b)),
            Self::Sub => Some(a.wrapping_sub(b)),
            Self::Mul => Some(a.wrapping_mul(b)),
            Self::Div => a.checked_div(b),
            Self::Mod { fmod: true } => a.checked_rem(b),
            Self::Mod { fmod: false } => {
                let rest = a.checked_rem(b)?;
                Some(if rest != 0 && (rest < 0) != (b < 0) { rest.wrapping_add(b) } else { rest })
            }
            Self::Pow => a.checked_pow(u32::try_from(b).ok()?),
            Self::Max => Some(a.max(b)),
            Self::Min => Some(a.min(b)),
            Self::Equal => Some((a == b).into()),
            Self::Greater => Some((a > b).into()),
            Self::GreaterOrEqual => Some((a >= b).into()),
            Self::Less => Some((a < b).into()),
            Self::LessOrEqual => Some((a <= b).into()),
            Self::And => Some((a != 0 && b != 0).into()),
            Self::Or => Some((a != 0 || b != 0).into()),
            Self::Xor => Some(((a != 0) != (b != 0)).into()),
            Self::Not => Some((a == 0).into()),
            Self::Neg => Some(a.wrapping_neg()),
            Self::Abs => Some(a.wrapping_abs()),
            Self::Sign => Some(a.signum()),
        }
    }

    fn unary(self) -> bool {
        matches!(self, Self::Not | Self::Neg | Self::Abs | Self::Sign)
    }
}

impl Op for Int {
    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        if self.unary() {
            let shape = cx.shape(0)?.to_vec();
            let mut out = cx.ints(&shape)?;
            out.extend(cx.int(0)?.data.iter().filter_map(|a| self.apply(*a, 0)));
            cx.put_int(0, shape, out);
            return Ok(());
        }
        let mut shape = cx.shape(0)?.to_vec();
        let mut so_far = cx.int(0)?.data.clone();
        for at in 1..cx.inputs.len() {
            let next = common(&shape, cx.shape(at)?).ok_or_else(|| cx.clash())?;
            let mut out = cx.ints(&next)?;
            let other = cx.int(at)?;
            let nest = Nest::new(&next, [&shape, &other.shape]);
            let (inner, [i, j]) = nest.inner();
            if volume_at(&next, cx.node)? > 0 {
                for row in 0..nest.rows() {
                    let [mut x, mut y] = nest.start(row);
                    for _ in 0..inner {
                        out.push(self.apply(so_far[x], other.data[y]).ok_or_else(|| cx.clash())?);
                        x = x.wrapping_add(i);
                        y = y.wrapping_add(j);
                    }
                }
            }
            if at > 1 {
                cx.pool.release(so_far.len().saturating_mul(2));
            }
            (shape, so_far) = (next, out);
        }
        if cx.inputs.len() == 1 {
            let mut out = cx.ints(&shape)?;
            out.append(&mut so_far);
            so_far = out;
        }
        cx.put_int(0, shape, so_far);
        Ok(())
    }
}

/// Comparisons and tests of floating point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compare {
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    IsNan,
    IsInf,
}

impl Op for Compare {
    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        let test = |f: fn(f32) -> bool| -> Result<Vec<i64>, TrainError> {
            Ok(cx.float(0)?.data.iter().map(|x| f(*x).into()).collect())
        };
        let one = match self {
            Self::IsNan => Some(test(f32::is_nan)?),
            Self::IsInf => Some(test(f32::is_infinite)?),
            _ => None,
        };
        if let Some(mut one) = one {
            let shape = cx.shape(0)?.to_vec();
            let mut out = cx.ints(&shape)?;
            out.append(&mut one);
            cx.put_int(0, shape, out);
            return Ok(());
        }
        let shape = common(cx.shape(0)?, cx.shape(1)?).ok_or_else(|| cx.clash())?;
        let mut out = cx.ints(&shape)?;
        let (a, b) = (cx.float(0)?, cx.float(1)?);
        let nest = Nest::new(&shape, [a.shape, b.shape]);
        let (inner, [i, j]) = nest.inner();
        let rows = if volume_at(&shape, cx.node)? > 0 { nest.rows() } else { 0 };
        for row in 0..rows {
            let [mut x, mut y] = nest.start(row);
            for _ in 0..inner {
                let (a, b) = (a.data[x], b.data[y]);
                out.push(i64::from(match self {
                    Self::Equal => a == b,
                    Self::Greater => a > b,
                    Self::GreaterOrEqual => a >= b,
                    Self::Less => a < b,
                    _ => a <= b,
                }));
                x = x.wrapping_add(i);
                y = y.wrapping_add(j);
            }
        }
        cx.put_int(0, shape, out);
        Ok(())
    }
}

/// Between kinds; between floating-point types it is the identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cast {
    /// ONNX data type.
    pub(super) to: i64,
    pub(super) from: Kind,
}

impl Op for Cast {
    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        let shape = cx.shape(0)?.to_vec();
        if matches!(self.to, 1 | 11) {
            let mut out = cx.buffer(&shape)?;
            #[allow(clippy::cast_precision_loss)]
            out.iter_mut().zip(&cx.int(0)?.data).for_each(|(out, x)| *out = *x as f32);
            cx.put(0, shape, out);
            return Ok(());
        }
        #[allow(clippy::cast_possible_truncation)]
        let narrow = |x: i64| match self.to {
            2 => x & 0xff,
            3 => i64::from(x as i8),
            6 => i64::from(x as i32),
            9 => i64::from(x != 0),
            _ => x,
        };
        let mut out = cx.ints(&shape)?;
        match self.from {
            Kind::Int => out.extend(cx.int(0)?.data.iter().map(|x| narrow(*x))),
            // Truth is not truncated.
            Kind::Float if self.to == 9 => out.extend(cx.float(0)?.data.iter().map(|x| i64::from(*x != 0.0))),
            #[allow(clippy::cast_possible_truncation)]
            Kind::Float => out.extend(cx.float(0)?.data.iter().map(|x| narrow(*x as i64))),
        }
        cx.put_int(0, shape, out);
        Ok(())
    }
}

/// Operators that make something of a shape.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Extents {
    Shape { start: i64, end: Option<i64> },
    Size,
}

impl Op for Extents {
    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        let from: Vec<i64> = cx.shape(0)?.iter().map(|extent| i64::try_from(*extent).unwrap_or(i64::MAX)).collect();
        if *self == Self::Size {
            let size = volume_at(cx.shape(0)?, cx.node)?;
            let mut out = cx.ints(&[])?;
            out.push(i64::try_from(size).unwrap_or(i64::MAX));
            cx.put_int(0, Vec::new(), out);
            return Ok(());
        }
        let Self::Shape { start, end } = self else { return Err(cx.clash()) };
        let rank = i64::try_from(from.len()).unwrap_or(0);
        let clamp =
            |at: i64| usize::try_from(if at < 0 { at.saturating_add(rank) } else { at }.clamp(0, rank)).unwrap_or(0);
        let (start, end) = (clamp(*start), clamp(end.unwrap_or(rank)));
        let part = from.get(start..end.max(start)).unwrap_or_default();
        let shape = vec![part.len()];
        let mut out = cx.ints(&shape)?;
        out.extend(part);
        cx.put_int(0, shape, out);
        Ok(())
    }
}

/// One value everywhere, in the shape of input 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fill {
    Float(f32),
    Int(i64),
}

impl Op for Fill {
    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        let shape: Option<Vec<usize>> = cx.int(0)?.data.iter().map(|extent| usize::try_from(*extent).ok()).collect();
        let shape = shape.ok_or_else(|| cx.clash())?;
        match self {
            Self::Float(value) => {
                let mut out = cx.buffer(&shape)?;
                out.fill(*value);
                cx.put(0, shape, out);
            }
            Self::Int(value) => {
                let volume = volume_at(&shape, cx.node)?;
                let mut out = cx.ints(&shape)?;
                out.resize(volume, *value);
                cx.put_int(0, shape, out);
            }
        }
        Ok(())
    }
}

/// From input 0 to input 1 in steps of input 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range;

impl Op for Range {
    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        let one = |at: usize| match cx.int(at)?.data.as_slice() {
            [value] => Ok(*value),
            _ => Err(cx.clash()),
        };
        let (start, limit, step) = (one(0)?, one(1)?, one(2)?);
        let span = if step > 0 { limit.checked_sub(start) } else { start.checked_sub(limit) };
        let size = step.checked_abs().filter(|size| *size > 0).ok_or_else(|| cx.clash())?;
        let span = span.map(|span| span.max(0).unsigned_abs().div_ceil(size.unsigned_abs()));
        let count = span.and_then(|count| usize::try_from(count).ok()).ok_or_else(|| cx.clash())?;
        let mut out = cx.ints(&[count])?;
        out.extend((0..count).map(|at| start.wrapping_add(step.wrapping_mul(at as i64))));
        cx.put_int(0, vec![count], out);
        Ok(())
    }
}

/// Reductions and running sums of integers along axes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IntReduce {
    pub(super) by: Int,
    pub(super) axes: Option<Vec<i64>>,
    pub(super) keep: bool,
    pub(super) noop: bool,
}

impl Op for IntReduce {
    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        let given = cx.int(1).ok().map(|axes| axes.data.as_slice());
        let axes = self.axes.as_deref().or(given);
        let (kept, shape) =
            super::reduce::shapes(cx.shape(0)?, axes, self.keep, self.noop).ok_or_else(|| cx.clash())?;
        let x = cx.int(0)?.clone();
        let mut out = cx.ints(&shape)?;
        let start = match self.by {
            Int::Mul => 1,
            Int::Max => i64::MIN,
            Int::Min => i64::MAX,
            _ => 0,
        };
        out.resize(volume_at(&shape, cx.node)?, start);
        let nest = Nest::new(&x.shape, [&kept]);
        let (inner, [stride]) = nest.inner();
        if inner > 0 {
            for (row, x) in x.data.chunks_exact(inner).enumerate() {
                let [mut at] = nest.start(row);
                for x in x {
                    out[at] = self.by.apply(out[at], *x).ok_or_else(|| cx.clash())?;
                    at = at.wrapping_add(stride);
                }
            }
        }
        cx.put_int(0, shape, out);
        Ok(())
    }
}

/// Running sums of integers along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CumSum {
    pub(super) exclusive: bool,
    pub(super) reverse: bool,
}

impl Op for CumSum {
    #[allow(clippy::arithmetic_side_effects, reason = "offsets in a shape that was checked")]
    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        let IntTensor { shape, data } = cx.int(0)?.clone();
        let along = match cx.int(1)?.data.as_slice() {
            [at] => axis(*at, shape.len()).ok_or_else(|| cx.clash())?,
            _ => return Err(cx.clash()),
        };
        let (extent, inner) = (shape[along], shape[along + 1..].iter().product::<usize>());
        let mut out = cx.ints(&shape)?;
        out.resize(data.len(), 0);
        let rows = data.len().checked_div(extent * inner).unwrap_or(0);
        for (row, column) in (0..rows).flat_map(|row| (0..inner).map(move |column| (row, column))) {
            let mut sum = 0i64;
            for step in 0..extent {
                let step = if self.reverse { extent - 1 - step } else { step };
                let at = (row * extent + step) * inner + column;
                let next = sum.wrapping_add(data[at]);
                out[at] = if self.exclusive { sum } else { next };
                sum = next;
            }
        }
        cx.put_int(0, shape, out);
        Ok(())
    }
}

/// Place of the largest (or smallest) element along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arg {
    pub(super) smallest: bool,
    pub(super) axis: i64,
    pub(super) keep: bool,
    /// Of several, the last.
    pub(super) last: bool,
}

impl Op for Arg {
    #[allow(clippy::arithmetic_side_effects, reason = "offsets in a shape that was checked")]
    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        let from = cx.shape(0)?.to_vec();
        let along = axis(self.axis, from.len()).ok_or_else(|| cx.clash())?;
        let (extent, inner) = (from[along], from[along + 1..].iter().product::<usize>());
        let mut shape = from.clone();
        if self.keep {
            shape[along] = 1;
        } else {
            shape.remove(along);
        }
        let count = volume_at(&shape, cx.node)?;
        if extent == 0 && count > 0 {
            return Err(cx.clash());
        }
        let mut out = cx.ints(&shape)?;
        let at = |place: usize, step: usize| (place / inner * extent + step) * inner + place % inner;
        let best = |better: &dyn Fn(usize, usize) -> bool| {
            let mut best = 0;
            for step in 1..extent {
                if better(step, best) {
                    best = step;
                }
            }
            best as i64
        };
        if let Ok(x) = cx.float(0) {
            out.extend((0..count).map(|place| {
                best(&|step, known| {
                    let (new, old) = (x.data[at(place, step)], x.data[at(place, known)]);
                    (if self.smallest { new < old } else { new > old }) || (self.last && new == old)
                })
            }));
        } else {
            let x = &cx.int(0)?.data;
            out.extend((0..count).map(|place| {
                best(&|step, known| {
                    let (new, old) = (x[at(place, step)], x[at(place, known)]);
                    (if self.smallest { new < old } else { new > old }) || (self.last && new == old)
                })
            }));
        }
        cx.put_int(0, shape, out);
        Ok(())
    }
}

/// The places of what is not zero, `[rank, count]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NonZero;

impl Op for NonZero {
    #[allow(clippy::arithmetic_side_effects, reason = "offsets in a shape that was checked")]
    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        let shape = cx.shape(0)?.to_vec();
        let places: Vec<usize> = match cx.int(0) {
            Ok(x) => x.data.iter().enumerate().filter(|(_, x)| **x != 0).map(|(at, _)| at).collect(),
            Err(_) => cx.float(0)?.data.iter().enumerate().filter(|(_, x)| **x != 0.0).map(|(at, _)| at).collect(),
        };
        let to = vec![shape.len(), places.len()];
        let mut out = cx.ints(&to)?;
        for axis in 0..shape.len() {
            let inner: usize = shape[axis + 1..].iter().product();
            out.extend(places.iter().map(|at| (at / inner % shape[axis]) as i64));
        }
        cx.put_int(0, to, out);
        Ok(())
    }
}

/// The upper or lower triangle of matrices of integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Triangle {
    pub(super) upper: bool,
    pub(super) kind: Kind,
}

impl Op for Triangle {
    #[allow(clippy::arithmetic_side_effects, reason = "offsets in a shape that was checked")]
    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        let diagonal = match cx.given(1).then(|| cx.int(1)).transpose()?.map(|k| k.data.as_slice()) {
            None => 0,
            Some([k]) => *k,
            Some(_) => return Err(cx.clash()),
        };
        let shape = cx.shape(0)?.to_vec();
        let [.., rows, columns] = shape.as_slice() else { return Err(cx.clash()) };
        let (rows, columns) = (*rows, *columns);
        let inside = |place: usize| {
            let (row, column) = ((place / columns % rows) as i64, (place % columns) as i64);
            let edge = row.saturating_add(diagonal);
            if self.upper { column >= edge } else { column <= edge }
        };
        if self.kind == Kind::Int {
            let mut out = cx.ints(&shape)?;
            out.extend(cx.int(0)?.data.iter().enumerate().map(|(at, x)| if inside(at) { *x } else { 0 }));
            cx.put_int(0, shape, out);
            return Ok(());
        }
        let mut out = cx.buffer(&shape)?;
        let x = cx.float(0)?.data;
        out.iter_mut().zip(x).enumerate().for_each(|(at, (out, x))| *out = if inside(at) { *x } else { 0.0 });
        cx.put(0, shape, out);
        Ok(())
    }
}

/// Floating-point steps, whose slope is zero almost everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Staircase {
    Floor,
    Ceil,
    Round,
    Sign,
}

impl Op for Staircase {
    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        let shape = cx.shape(0)?.to_vec();
        let mut out = cx.buffer(&shape)?;
        let f: fn(f32) -> f32 = match self {
            Self::Floor => f32::floor,
            Self::Ceil => f32::ceil,
            Self::Round => f32::round_ties_even,
            Self::Sign => |x| {
                if x > 0.0 {
                    1.0
                } else if x < 0.0 {
                    -1.0
                } else {
                    x
                }
            },
        };
        out.iter_mut().zip(cx.float(0)?.data).for_each(|(out, x)| *out = f(*x));
        cx.put(0, shape, out);
        Ok(())
    }
}
