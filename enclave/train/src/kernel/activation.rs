//! Functions that bend: forward and backward.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "lengths are compared at the head of each kernel"
)]

use rten_simd::ops::{BitOps, FloatOps, NumOps};
use rten_simd::{Isa, SimdOp, SimdUnaryOp};
use rten_vecmath::{ApproxGelu, Erf, Exp, Gelu, Sigmoid, Silu, Tanh};

use super::Team;
use super::wide::GRAIN;

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
    team.pieces(output, GRAIN, |index, output| {
        let input = &input[index * GRAIN..][..output.len()];
        match kind {
            Activation::Relu => Map { f: ReluValue, given: [input], output }.dispatch(),
            Activation::Gelu => Map { f: Unary(Gelu {}), given: [input], output }.dispatch(),
            Activation::GeluTanh => Map { f: Unary(ApproxGelu {}), given: [input], output }.dispatch(),
            Activation::Sigmoid => Map { f: Unary(Sigmoid {}), given: [input], output }.dispatch(),
            Activation::Tanh => Map { f: Unary(Tanh {}), given: [input], output }.dispatch(),
            Activation::Silu => Map { f: Unary(Silu {}), given: [input], output }.dispatch(),
            Activation::Exp => Map { f: Unary(Exp {}), given: [input], output }.dispatch(),
            Activation::Erf => Map { f: Unary(Erf {}), given: [input], output }.dispatch(),
        }
    });
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
    let len = grad_input.len();
    assert!(input.len() == len && output.len() == len && grad_output.len() == len, "output of another length");
    team.pieces(grad_input, GRAIN, |index, grad_input| {
        let part = index * GRAIN..index * GRAIN + grad_input.len();
        let (x, y, grad) = (&input[part.clone()], &output[part.clone()], &grad_output[part]);
        let output = grad_input;
        match kind {
            Activation::Relu => Map { f: ReluSlope, given: [x, grad], output }.dispatch(),
            Activation::Gelu => Map { f: GeluSlope, given: [x, grad], output }.dispatch(),
            Activation::GeluTanh => Map { f: GeluTanhSlope, given: [x, grad], output }.dispatch(),
            Activation::Sigmoid => Map { f: SigmoidSlope, given: [y, grad], output }.dispatch(),
            Activation::Tanh => Map { f: TanhSlope, given: [y, grad], output }.dispatch(),
            Activation::Silu => Map { f: SiluSlope, given: [x, grad], output }.dispatch(),
            Activation::Exp => Map { f: ExpSlope, given: [y, grad], output }.dispatch(),
            Activation::Erf => Map { f: ErfSlope, given: [x, grad], output }.dispatch(),
        }
    });
}

/// A function of `N` vectors, lane by lane.
trait Lanes<const N: usize> {
    fn eval<I: Isa>(&self, isa: I, given: [I::F32; N]) -> I::F32;
}

/// Applies a function to slices of one length.
struct Map<'a, F, const N: usize> {
    f: F,
    given: [&'a [f32]; N],
    output: &'a mut [f32],
}

impl<F: Lanes<N>, const N: usize> SimdOp for Map<'_, F, N> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let ops = isa.f32();
        let width = ops.len();
        let body = self.output.len() / width * width;
        let (body_out, rest_out) = self.output.split_at_mut(body);
        for (index, output) in body_out.chunks_exact_mut(width).enumerate() {
            // A loop, because the closure of a map over an array is not always inlined.
            let mut given = [ops.zero(); N];
            for (given, values) in given.iter_mut().zip(&self.given) {
                *given = ops.load(&values[index * width..][..width]);
            }
            ops.store(self.f.eval(isa, given), output);
        }
        if rest_out.is_empty() {
            return;
        }
        let mut given = [ops.zero(); N];
        for (given, values) in given.iter_mut().zip(&self.given) {
            *given = ops.load_pad(&values[body..body + rest_out.len()]).0;
        }
        let mut last = [0.0; 64];
        ops.store(self.f.eval(isa, given), &mut last);
        rest_out.copy_from_slice(&last[..rest_out.len()]);
    }
}

struct Unary<F>(F);
struct ReluValue;
struct ReluSlope;
struct GeluSlope;
struct GeluTanhSlope;
struct SigmoidSlope;
struct TanhSlope;
struct SiluSlope;
struct ExpSlope;
struct ErfSlope;

impl<F: SimdUnaryOp<f32>> Lanes<1> for Unary<F> {
    #[inline(always)]
    fn eval<I: Isa>(&self, isa: I, [x]: [I::F32; 1]) -> I::F32 {
        self.0.eval(isa, x)
    }
}

impl Lanes<1> for ReluValue {
    #[inline(always)]
    fn eval<I: Isa>(&self, isa: I, [x]: [I::F32; 1]) -> I::F32 {
        let ops = isa.f32();
        // Not a maximum: that would hide NaN on some processors.
        ops.select(ops.zero(), x, ops.le(x, ops.zero()))
    }
}

impl Lanes<2> for ReluSlope {
    #[inline(always)]
    fn eval<I: Isa>(&self, isa: I, [x, grad]: [I::F32; 2]) -> I::F32 {
        let ops = isa.f32();
        ops.select(ops.zero(), grad, ops.le(x, ops.zero()))
    }
}

impl Lanes<2> for GeluSlope {
    /// `Phi(x) + x phi(x)`.
    #[inline(always)]
    fn eval<I: Isa>(&self, isa: I, [x, grad]: [I::F32; 2]) -> I::F32 {
        let ops = isa.f32();
        let half = ops.splat(0.5);
        let cumulative = Erf {}.eval(isa, ops.mul(x, ops.splat(std::f32::consts::FRAC_1_SQRT_2)));
        let cumulative = ops.mul_add(half, cumulative, half);
        let density = Exp {}.eval(isa, ops.mul(ops.mul(x, x), ops.splat(-0.5)));
        let density = ops.mul(density, ops.splat(ROOT_HALF_INVERSE_PI));
        ops.mul(grad, ops.mul_add(x, density, cumulative))
    }
}

impl Lanes<2> for GeluTanhSlope {
    #[inline(always)]
    fn eval<I: Isa>(&self, isa: I, [x, grad]: [I::F32; 2]) -> I::F32 {
        let ops = isa.f32();
        let (one, half) = (ops.one(), ops.splat(0.5));
        let square = ops.mul(x, x);
        let inner = ops.mul(x, ops.mul_add(square, ops.splat(0.044_715), one));
        let tanh = Tanh {}.eval(isa, ops.mul(inner, ops.splat(ROOT_TWO_INVERSE_PI)));
        let bend = ops.mul_add(square, ops.splat(3.0 * 0.044_715), one);
        let bend = ops.mul(ops.mul(x, bend), ops.splat(ROOT_TWO_INVERSE_PI));
        let slope = ops.mul_add(ops.sub(one, ops.mul(tanh, tanh)), bend, ops.add(one, tanh));
        ops.mul(ops.mul(grad, half), slope)
    }
}

impl Lanes<2> for SigmoidSlope {
    #[inline(always)]
    fn eval<I: Isa>(&self, isa: I, [y, grad]: [I::F32; 2]) -> I::F32 {
        let ops = isa.f32();
        ops.mul(grad, ops.mul(y, ops.sub(ops.one(), y)))
    }
}

impl Lanes<2> for TanhSlope {
    #[inline(always)]
    fn eval<I: Isa>(&self, isa: I, [y, grad]: [I::F32; 2]) -> I::F32 {
        let ops = isa.f32();
        ops.mul(grad, ops.sub(ops.one(), ops.mul(y, y)))
    }
}

impl Lanes<2> for SiluSlope {
    #[inline(always)]
    fn eval<I: Isa>(&self, isa: I, [x, grad]: [I::F32; 2]) -> I::F32 {
        let ops = isa.f32();
        let sigmoid = Sigmoid {}.eval(isa, x);
        let bend = ops.mul_add(x, ops.sub(ops.one(), sigmoid), ops.one());
        ops.mul(grad, ops.mul(sigmoid, bend))
    }
}

impl Lanes<2> for ExpSlope {
    #[inline(always)]
    fn eval<I: Isa>(&self, isa: I, [y, grad]: [I::F32; 2]) -> I::F32 {
        isa.f32().mul(grad, y)
    }
}

impl Lanes<2> for ErfSlope {
    #[inline(always)]
    fn eval<I: Isa>(&self, isa: I, [x, grad]: [I::F32; 2]) -> I::F32 {
        let ops = isa.f32();
        let bell = Exp {}.eval(isa, ops.neg(ops.mul(x, x)));
        ops.mul(grad, ops.mul(bell, ops.splat(std::f32::consts::FRAC_2_SQRT_PI)))
    }
}

const ROOT_HALF_INVERSE_PI: f32 = 0.398_942_3;
const ROOT_TWO_INVERSE_PI: f32 = 0.797_884_6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::{close, everywhere, noise};

    const KINDS: [Activation; 8] = [
        Activation::Relu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Silu,
        Activation::Exp,
        Activation::Erf,
    ];

    /// The error function by its Maclaurin series, which in double precision is good for |x| < 4.
    fn erf(x: f64) -> f64 {
        let mut term = x;
        let mut sum = x;
        for n in 1..120 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    fn exact(kind: Activation, x: f64) -> f64 {
        let sigmoid = 1.0 / (1.0 + (-x).exp());
        match kind {
            Activation::Relu => x.max(0.0),
            Activation::Gelu => 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)),
            Activation::GeluTanh => {
                0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
            }
            Activation::Sigmoid => sigmoid,
            Activation::Tanh => x.tanh(),
            Activation::Silu => x * sigmoid,
            Activation::Exp => x.exp(),
            Activation::Erf => erf(x),
        }
    }

    #[test]
    fn values_and_slopes_agree_with_double_precision() {
        for len in [0, 1, 15, 16, 17, 100, 2 * GRAIN + 3] {
            let input: Vec<f32> = noise(1, len).iter().map(|x| 3.5 * x).collect();
            let grad = noise(2, len);
            for kind in KINDS {
                let output = everywhere(len, |team, out| activate(team, kind, &input, out));
                close(&output, &input.iter().map(|&x| exact(kind, f64::from(x))).collect::<Vec<_>>());
                let found = everywhere(len, |team, out| activate_grad(team, kind, &input, &output, &grad, out));
                let slope = |x: f64| (exact(kind, x + 1e-5) - exact(kind, x - 1e-5)) / 2e-5;
                let expected: Vec<f64> =
                    input.iter().zip(&grad).map(|(&x, &grad)| slope(f64::from(x)) * f64::from(grad)).collect();
                close(&found, &expected);
            }
        }
    }

    #[test]
    fn far_out_they_are_flat_and_not_a_number_stays_one() {
        let input = [-1e30, -200.0, 200.0, 1e30, f32::NAN];
        for kind in [Activation::Relu, Activation::Sigmoid, Activation::Tanh, Activation::Silu] {
            let output = everywhere(5, |team, out| activate(team, kind, &input, out));
            let low = if kind == Activation::Tanh { -1.0 } else { 0.0 };
            assert!((output[0] - low).abs() < 1e-6 && (output[1] - low).abs() < 1e-6, "{kind:?} {output:?}");
            assert!(output[2].is_finite() && output[3].is_finite() && output[4].is_nan(), "{kind:?} {output:?}");
            let slope = everywhere(5, |team, out| activate_grad(team, kind, &input, &output, &[1.0; 5], out));
            assert!(slope[..2].iter().all(|slope| slope.abs() < 1e-6), "{kind:?} {slope:?}");
        }
    }
}
