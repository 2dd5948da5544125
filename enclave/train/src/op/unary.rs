//! Element by element over one input. Logarithms and their kin are those of `libm`, not of the C library that happens
//! to be there: whoever repeats a training compares bits.

use super::{Backward, Differentiable, Forward, Keeps, Op, Pattern};
use crate::{
    error::TrainError,
    kernel::{Activation, activate, activate_grad, apply, combine},
};

/// Operators of one input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Unary {
    Activation(Activation),
    Neg,
    Sqrt,
    Log,
    Abs,
    Reciprocal,
    Sin,
    Cos,
    Softplus,
    Softsign,
    HardSwish,
    LeakyRelu { alpha: f32 },
    Elu { alpha: f32 },
    Selu { alpha: f32, gamma: f32 },
    HardSigmoid { alpha: f32, beta: f32 },
}

impl Op for Unary {
    fn pattern(&self) -> Pattern {
        Pattern::Unary(*self)
    }

    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        let shape = cx.float(0)?.shape.to_vec();
        let mut out = cx.buffer(&shape)?;
        let (x, team) = (cx.float(0)?.data, cx.team);
        match *self {
            Self::Activation(kind) => activate(team, kind, x, &mut out),
            Self::Neg => apply(team, x, &mut out, |x| -x),
            Self::Sqrt => apply(team, x, &mut out, |x| x.sqrt()),
            Self::Log => apply(team, x, &mut out, libm::logf),
            Self::Abs => apply(team, x, &mut out, |x| x.abs()),
            Self::Reciprocal => apply(team, x, &mut out, |x| 1.0 / x),
            Self::Sin => apply(team, x, &mut out, libm::sinf),
            Self::Cos => apply(team, x, &mut out, libm::cosf),
            // log(1 + exp(x)) without overflow.
            Self::Softplus => apply(team, x, &mut out, |x| x.max(0.0) + libm::log1pf(libm::expf(-x.abs()))),
            Self::Softsign => apply(team, x, &mut out, |x| x / (1.0 + x.abs())),
            Self::HardSwish => apply(team, x, &mut out, |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
            Self::LeakyRelu { alpha } => apply(team, x, &mut out, |x| if x < 0.0 { alpha * x } else { x }),
            Self::Elu { alpha } => apply(team, x, &mut out, |x| if x < 0.0 { alpha * libm::expm1f(x) } else { x }),
            Self::Selu { alpha, gamma } => {
                apply(team, x, &mut out, |x| gamma * if x < 0.0 { alpha * libm::expm1f(x) } else { x });
            }
            Self::HardSigmoid { alpha, beta } => {
                apply(team, x, &mut out, |x| alpha.mul_add(x, beta).clamp(0.0, 1.0));
            }
        }
        cx.put(0, shape, out);
        Ok(())
    }

    fn differentiable(&self) -> Option<&dyn Differentiable> {
        Some(self)
    }
}

impl Unary {
    /// Whether the slope follows from the output alone.
    fn by_output(self) -> bool {
        let kinds = [Activation::Relu, Activation::Sigmoid, Activation::Tanh, Activation::Exp];
        matches!(self, Self::Sqrt | Self::Reciprocal) || kinds.iter().any(|kind| self == Self::Activation(*kind))
    }
}

impl Differentiable for Unary {
    fn keeps(&self, _wants: &[bool]) -> Keeps {
        match self {
            Self::Neg => Keeps::NOTHING,
            _ if self.by_output() => Keeps::OUTPUT,
            _ => Keeps::INPUT,
        }
    }

    fn backward(&self, cx: &mut Backward<'_>) -> Result<(), TrainError> {
        let gradient = cx.gradient()?;
        let mut part = cx.pool.take(gradient.len())?;
        let kept = match self {
            Self::Neg => &gradient,
            _ if self.by_output() => cx.output(0)?.data,
            _ => cx.float(0)?.data,
        };
        if kept.len() != gradient.len() {
            return Err(cx.lost());
        }
        let team = cx.team;
        let mut slope = Slope { team, kept, gradient: &gradient, part: &mut part };
        match *self {
            Self::Activation(Activation::Relu) => slope.of(|y| if y > 0.0 { 1.0 } else { 0.0 }),
            Self::Activation(Activation::Sigmoid) => slope.of(|y| y * (1.0 - y)),
            Self::Activation(Activation::Tanh) => slope.of(|y| 1.0 - y * y),
            Self::Activation(Activation::Exp) => slope.of(|y| y),
            Self::Activation(kind) => activate_grad(team, kind, kept, kept, &gradient, &mut part),
            Self::Neg => apply(team, &gradient, &mut part, |g| -g),
            Self::Sqrt => slope.of(|y| 0.5 / y),
            Self::Log => slope.of(|x| 1.0 / x),
            Self::Abs => slope.of(|x| {
                if x > 0.0 {
                    1.0
                } else if x < 0.0 {
                    -1.0
                } else {
                    0.0
                }
            }),
            Self::Reciprocal => slope.of(|y| -y * y),
            Self::Sin => slope.of(libm::cosf),
            Self::Cos => slope.of(|x| -libm::sinf(x)),
            Self::Softplus => slope.of(|x| 1.0 / (1.0 + libm::expf(-x))),
            Self::Softsign => slope.of(|x| (1.0 + x.abs()).powi(-2)),
            Self::HardSwish => slope.of(|x| match x {
                x if x <= -3.0 => 0.0,
                x if x >= 3.0 => 1.0,
                x => x / 3.0 + 0.5,
            }),
            Self::LeakyRelu { alpha } => slope.of(|x| if x < 0.0 { alpha } else { 1.0 }),
            Self::Elu { alpha } => slope.of(|x| if x < 0.0 { alpha * libm::expf(x) } else { 1.0 }),
            Self::Selu { alpha, gamma } => slope.of(|x| gamma * if x < 0.0 { alpha * libm::expf(x) } else { 1.0 }),
            Self::HardSigmoid { alpha, beta } => {
                slope.of(|x| if (0.0..1.0).contains(&alpha.mul_add(x, beta)) { alpha } else { 0.0 });
            }
        }
        cx.recycle(gradient);
        cx.give(0, part)
    }
}

struct Slope<'a> {
    team: &'a crate::kernel::Team,
    kept: &'a [f32],
    gradient: &'a [f32],
    part: &'a mut [f32],
}

impl Slope<'_> {
    /// The gradient times the slope at what was kept.
    fn of(&mut self, slope: impl Fn(f32) -> f32 + Sync) {
        combine(self.team, self.gradient, self.kept, self.part, |g, kept| g * slope(kept));
    }
}

/// `Clip` with bounds as attributes (operator sets before 11) or as inputs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Clip {
    pub(super) bounds: Option<(f32, f32)>,
}

impl Clip {
    fn bounds<'a>(
        &self,
        given: impl Fn(usize) -> bool,
        float: impl Fn(usize) -> Result<super::View<'a>, TrainError>,
        clash: impl Fn() -> TrainError,
    ) -> Result<(f32, f32), TrainError> {
        if let Some(bounds) = self.bounds {
            return Ok(bounds);
        }
        let bound = |at: usize, none: f32| {
            if !given(at) {
                return Ok(none);
            }
            match float(at)?.data {
                [bound] => Ok(*bound),
                _ => Err(clash()),
            }
        };
        Ok((bound(1, f32::NEG_INFINITY)?, bound(2, f32::INFINITY)?))
    }
}

impl Op for Clip {
    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        let shape = cx.float(0)?.shape.to_vec();
        let mut out = cx.buffer(&shape)?;
        let (low, high) = self.bounds(|at| cx.given(at), |at| cx.float(at), || cx.clash())?;
        let clip = |x: f32| {
            let x = if x < low { low } else { x };
            if x > high { high } else { x }
        };
        apply(cx.team, cx.float(0)?.data, &mut out, clip);
        cx.put(0, shape, out);
        Ok(())
    }

    fn differentiable(&self) -> Option<&dyn Differentiable> {
        Some(self)
    }
}

impl Differentiable for Clip {
    fn keeps(&self, _wants: &[bool]) -> Keeps {
        Keeps { inputs: 7, outputs: 0 }
    }

    fn passes(&self, input: usize) -> bool {
        input == 0
    }

    fn backward(&self, cx: &mut Backward<'_>) -> Result<(), TrainError> {
        let gradient = cx.gradient()?;
        let mut part = cx.pool.take(gradient.len())?;
        let given = |at: usize| cx.inputs.get(at).copied().flatten().is_some();
        let (low, high) = self.bounds(given, |at| cx.float(at), || cx.lost())?;
        let x = cx.float(0)?.data;
        if x.len() != gradient.len() {
            return Err(cx.lost());
        }
        // On a bound the gradient passes, as it does in PyTorch.
        let slope = |g: f32, x: f32| if x >= low && x <= high { g } else { 0.0 };
        combine(cx.team, &gradient, x, &mut part, slope);
        cx.recycle(gradient);
        cx.give(0, part)
    }
}
