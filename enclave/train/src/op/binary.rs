//! Element by element over several inputs.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "operands are broadcast to a shape that was checked"
)]

use super::{
    Backward, Differentiable, Forward, Keeps, Op, Pattern, View,
    broadcast::{common, map2, map3, reduce},
};
use crate::{
    error::TrainError,
    kernel::{add_into, add_rows, apply, mul_rows},
    tensor::volume_at,
};

/// Operators of two inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
    /// `a` to the power of `b`, which may be integers.
    Pow,
    /// `a` where it is not negative, `a * b` elsewhere.
    PRelu,
}

impl Op for Binary {
    fn pattern(&self) -> Pattern {
        Pattern::Binary(*self)
    }

    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        let exponents = self.exponents(cx.int(1).ok());
        let shapes = (cx.shape(0)?, cx.shape(1)?);
        let shape = common(shapes.0, shapes.1).ok_or_else(|| cx.clash())?;
        if *self == Self::PRelu && shape != shapes.0 {
            return Err(cx.clash());
        }
        if matches!(self, Self::Add | Self::Mul) && self.in_place(cx, &shape)? {
            return Ok(());
        }
        let mut out = cx.buffer(&shape)?;
        let a = cx.float(0)?;
        let b = match &exponents {
            Some((shape, data)) => View { shape, data },
            None => cx.float(1)?,
        };
        let team = cx.team;
        match self {
            Self::Add => map2(team, &shape, a, b, &mut out, |a, b| a + b),
            Self::Sub => map2(team, &shape, a, b, &mut out, |a, b| a - b),
            Self::Mul => map2(team, &shape, a, b, &mut out, |a, b| a * b),
            Self::Div => map2(team, &shape, a, b, &mut out, |a, b| a / b),
            Self::Max => map2(team, &shape, a, b, &mut out, |a, b| if a > b || a.is_nan() { a } else { b }),
            Self::Min => map2(team, &shape, a, b, &mut out, |a, b| if a < b || a.is_nan() { a } else { b }),
            Self::PRelu => map2(team, &shape, a, b, &mut out, |a, b| if a < 0.0 { a * b } else { a }),
            Self::Pow => match b.data {
                [2.0] if a.data.len() == out.len() => apply(team, a.data, &mut out, |a| a * a),
                [3.0] if a.data.len() == out.len() => apply(team, a.data, &mut out, |a| a * a * a),
                [0.5] if a.data.len() == out.len() => apply(team, a.data, &mut out, |a| a.sqrt()),
                _ => map2(team, &shape, a, b, &mut out, libm::powf),
            },
        }
        cx.put(0, shape, out);
        Ok(())
    }

    fn differentiable(&self) -> Option<&dyn Differentiable> {
        Some(self)
    }
}

impl Binary {
    /// Integer exponents as floats.
    fn exponents(&self, ints: Option<&crate::tensor::IntTensor>) -> Option<(Vec<usize>, Vec<f32>)> {
        let ints = ints.filter(|_| *self == Self::Pow)?;
        #[allow(clippy::cast_precision_loss)]
        Some((ints.shape.clone(), ints.data.iter().map(|value| *value as f32).collect()))
    }

    /// Sums and products into the buffer of an input that nobody needs any more.
    fn in_place(&self, cx: &mut Forward<'_>, shape: &[usize]) -> Result<bool, TrainError> {
        for (at, other) in [(0, 1), (1, 0)] {
            let given = cx.shape(other)?;
            let same = given == shape;
            let row = given.last() == shape.last() && given.iter().rev().skip(1).all(|extent| *extent == 1);
            let fits = if *self == Self::Add { same || row } else { row };
            if cx.shape(at)? != shape || !fits {
                continue;
            }
            let Some((_, mut data)) = cx.steal(at) else { continue };
            let other = cx.float(other)?.data;
            match self {
                Self::Add if same => add_into(cx.team, other, &mut data),
                Self::Add => add_rows(cx.team, &mut data, other),
                _ => mul_rows(cx.team, &mut data, other),
            }
            cx.put(0, shape.to_vec(), data);
            return Ok(true);
        }
        Ok(false)
    }
}

impl Differentiable for Binary {
    fn keeps(&self, wants: &[bool]) -> Keeps {
        let wants = |at: usize| wants.get(at).copied().unwrap_or(false);
        match self {
            Self::Add | Self::Sub => Keeps::NOTHING,
            Self::Mul => Keeps { inputs: u32::from(wants(1)) | u32::from(wants(0)) << 1, outputs: 0 },
            Self::Div => Keeps { inputs: 2, outputs: u32::from(wants(1)) },
            Self::Pow => Keeps { inputs: 3, outputs: u32::from(wants(1)) },
            Self::Max | Self::Min | Self::PRelu => Keeps::BOTH,
        }
    }

    fn backward(&self, cx: &mut Backward<'_>) -> Result<(), TrainError> {
        let gradient = cx.gradient()?;
        let exponents = self.exponents(cx.int(1).ok());
        let shape = common(cx.shape(0)?, cx.shape(1)?).ok_or_else(|| cx.lost())?;
        if volume_at(&shape, cx.node)? != gradient.len() {
            return Err(cx.lost());
        }
        for side in [1, 0] {
            if !cx.wants(side) {
                continue;
            }
            if *self == Self::Add || (*self == Self::Sub && side == 0) {
                // The other input, if it comes later, takes the buffer itself.
                spread(cx, side, &shape, &gradient)?;
                continue;
            }
            let mut part = cx.pool.take(gradient.len())?;
            let g = View { shape: &shape, data: &gradient };
            {
                let b = || match &exponents {
                    Some((shape, data)) => Ok(View { shape, data }),
                    None => cx.float(1),
                };
                let (team, out) = (cx.team, &mut part[..]);
                match (self, side) {
                    (Self::Sub, _) => apply(team, g.data, out, |g| -g),
                    (Self::Mul, 0) => map2(team, &shape, g, b()?, out, |g, b| g * b),
                    (Self::Mul, _) => map2(team, &shape, g, cx.float(0)?, out, |g, a| g * a),
                    (Self::Div, 0) => map2(team, &shape, g, b()?, out, |g, b| g / b),
                    (Self::Div, _) => map3(team, &shape, [g, cx.output(0)?, b()?], out, |g, y, b| -g * y / b),
                    (Self::Pow, 0) => match b()?.data {
                        [2.0] if cx.float(0)?.data.len() == g.data.len() => {
                            map2(team, &shape, g, cx.float(0)?, out, |g, a| 2.0 * g * a);
                        }
                        _ => map3(team, &shape, [g, cx.float(0)?, b()?], out, |g, a, b| match b {
                            0.0 => 0.0,
                            b => g * b * libm::powf(a, b - 1.0),
                        }),
                    },
                    (Self::Pow, _) => map3(team, &shape, [g, cx.float(0)?, cx.output(0)?], out, |g, a, y| {
                        if a == 0.0 { 0.0 } else { g * y * libm::logf(a) }
                    }),
                    // Of two that are equal each takes half.
                    (Self::Max, _) => map3(team, &shape, [g, cx.float(side)?, cx.float(1 - side)?], out, |g, a, b| {
                        if a > b {
                            g
                        } else if a == b {
                            0.5 * g
                        } else {
                            0.0
                        }
                    }),
                    (Self::Min, _) => map3(team, &shape, [g, cx.float(side)?, cx.float(1 - side)?], out, |g, a, b| {
                        if a < b {
                            g
                        } else if a == b {
                            0.5 * g
                        } else {
                            0.0
                        }
                    }),
                    (Self::PRelu, 0) => {
                        map3(team, &shape, [g, cx.float(0)?, b()?], out, |g, a, b| if a < 0.0 { g * b } else { g });
                    }
                    (Self::PRelu, _) => {
                        map2(team, &shape, g, cx.float(0)?, out, |g, a| if a < 0.0 { g * a } else { 0.0 });
                    }
                    (Self::Add, _) => {}
                }
            }
            if cx.shape(side)? == shape.as_slice() {
                cx.give(side, part)?;
            } else {
                spread(cx, side, &shape, &part)?;
                cx.recycle(part);
            }
        }
        cx.recycle(gradient);
        Ok(())
    }

    fn passes(&self, _input: usize) -> bool {
        true
    }
}

/// Adds a gradient of the common shape to that of an input.
fn spread(cx: &mut Backward<'_>, input: usize, shape: &[usize], gradient: &[f32]) -> Result<(), TrainError> {
    cx.target(input, |cx, target, fresh| {
        reduce(cx.team, shape, gradient, cx.shape(input)?, target, fresh);
        Ok(())
    })
}

/// `Sum` and `Mean` of any number of inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Total {
    Sum,
    Mean,
}

impl Total {
    fn factor(self, count: usize) -> f32 {
        match self {
            Self::Sum => 1.0,
            #[allow(clippy::cast_precision_loss)]
            Self::Mean => 1.0 / count.max(1) as f32,
        }
    }
}

impl Op for Total {
    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        let mut shape = cx.shape(0)?.to_vec();
        for at in 1..cx.inputs.len() {
            shape = common(&shape, cx.shape(at)?).ok_or_else(|| cx.clash())?;
        }
        let mut out = cx.buffer(&shape)?;
        let first = cx.float(0)?;
        let zero = View { shape: &[], data: &[0.0] };
        map2(cx.team, &shape, first, zero, &mut out, |a, zero| a + zero);
        for at in 1..cx.inputs.len() {
            let mut sum = cx.buffer(&shape)?;
            let so_far = View { shape: &shape, data: &out };
            map2(cx.team, &shape, so_far, cx.float(at)?, &mut sum, |a, b| a + b);
            cx.pool.give(std::mem::replace(&mut out, sum));
        }
        let factor = self.factor(cx.inputs.len());
        if factor != 1.0 {
            crate::kernel::scale(cx.team, factor, &mut out);
        }
        cx.put(0, shape, out);
        Ok(())
    }

    fn differentiable(&self) -> Option<&dyn Differentiable> {
        Some(self)
    }
}

impl Differentiable for Total {
    fn keeps(&self, _wants: &[bool]) -> Keeps {
        Keeps::NOTHING
    }

    fn backward(&self, cx: &mut Backward<'_>) -> Result<(), TrainError> {
        let mut gradient = cx.gradient()?;
        let mut shape = cx.shape(0)?.to_vec();
        for at in 1..cx.inputs.len() {
            shape = common(&shape, cx.shape(at)?).ok_or_else(|| cx.lost())?;
        }
        crate::kernel::scale(cx.team, self.factor(cx.inputs.len()), &mut gradient);
        for at in 0..cx.inputs.len() {
            spread(cx, at, &shape, &gradient)?;
        }
        cx.recycle(gradient);
        Ok(())
    }
}
