//! Functions that bend: forward and backward.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "lengths are compared at the head of each kernel"
)]

use std::mem::MaybeUninit;

use rten_simd::SimdUnaryOp;
use rten_vecmath::{ApproxGelu, Erf, Exp, Gelu, Sigmoid, Silu, Tanh};

use super::Team;

/// An activation function without parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `max(x, 0)`; NaN stays NaN.
    Relu,
    /// `x * Phi(x)` by the error function.
    Gelu,
    /// The form of GELU with tanh.
    GeluTanh,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `x * sigmoid(x)`.
    Silu,
    /// The exponential.
    Exp,
    /// The error function.
    Erf,
}

/// Forward: sets `output`.
pub fn activate(team: &Team, kind: Activation, input: &[f32], output: &mut [f32]) {
    assert_eq!(input.len(), output.len(), "output of another length");
    super::apply(team, input, output, |x| value(kind, x));
}

/// Backward: sets `grad_input` from the forward `input` and `output`.
pub fn activate_grad(
    team: &Team,
    kind: Activation,
    input: &[f32],
    output: &[f32],
    grad_output: &[f32],
    grad_input: &mut [f32],
) {
    assert_eq!(output.len(), grad_input.len(), "output of another length");
    super::combine(team, input, grad_output, grad_input, |x, grad| grad * slope(kind, x));
}

fn value(kind: Activation, x: f32) -> f32 {
    let mut out = [MaybeUninit::uninit()];
    match kind {
        Activation::Relu => {
            if x > 0.0 || x.is_nan() {
                x
            } else {
                0.0
            }
        }
        Activation::Gelu => Gelu {}.map(&[x], &mut out)[0],
        Activation::GeluTanh => ApproxGelu {}.map(&[x], &mut out)[0],
        Activation::Sigmoid => Sigmoid {}.map(&[x], &mut out)[0],
        Activation::Tanh => Tanh {}.map(&[x], &mut out)[0],
        Activation::Silu => Silu {}.map(&[x], &mut out)[0],
        Activation::Exp => Exp {}.map(&[x], &mut out)[0],
        Activation::Erf => Erf {}.map(&[x], &mut out)[0],
    }
}

fn slope(kind: Activation, x: f32) -> f32 {
    let density = |x: f32| (-0.5 * x * x).exp() * 0.398_942_3;
    let sigmoid = value(Activation::Sigmoid, x);
    match kind {
        Activation::Relu => f32::from(x > 0.0),
        Activation::Gelu => 0.5 * (1.0 + value(Activation::Erf, x * std::f32::consts::FRAC_1_SQRT_2)) + x * density(x),
        Activation::GeluTanh => {
            let inner = 0.797_884_6 * (x + 0.044_715 * x * x * x);
            let tanh = value(Activation::Tanh, inner);
            0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * 0.797_884_6 * (1.0 + 3.0 * 0.044_715 * x * x)
        }
        Activation::Sigmoid => sigmoid * (1.0 - sigmoid),
        Activation::Tanh => {
            let tanh = value(Activation::Tanh, x);
            1.0 - tanh * tanh
        }
        Activation::Silu => sigmoid * (1.0 + x * (1.0 - sigmoid)),
        Activation::Exp => value(Activation::Exp, x),
        Activation::Erf => std::f32::consts::FRAC_2_SQRT_PI * (-x * x).exp(),
    }
}
