//! What optimisers do with flat vectors: weights, gradients and moments of one layout.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "lengths are compared at the head of each kernel"
)]

use super::Team;
use super::wide::wide;

/// Elements of a partial sum, and of what one thread takes at a time. A constant, so that sums have one order.
const BLOCK: usize = 16 * 1024;

/// One step of stochastic gradient descent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdStep {
    /// Learning rate of this step.
    pub rate: f32,
    /// What remains of the velocity; 0 for none.
    pub momentum: f32,
    /// Whether the gradient is taken at where the velocity leads.
    pub nesterov: bool,
    /// Times the weights, added to the gradient.
    pub weight_decay: f32,
}

/// One step of Adam or AdamW.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// Number of this step, from 1.
    pub step: u64,
    /// Learning rate of this step.
    pub rate: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Times the weights.
    pub weight_decay: f32,
    /// AdamW (Loshchilov and Hutter 2019): decay shrinks the weights; otherwise it is added to the gradient.
    pub decoupled: bool,
}

/// Moves `weights` against `gradient`. `velocity`, zero before the first step, is used where `momentum` is not 0.
pub fn sgd_step(team: &Team, step: &SgdStep, gradient: &[f32], velocity: &mut [f32], weights: &mut [f32]) {
    let SgdStep { rate, momentum, nesterov, weight_decay } = *step;
    assert_eq!(gradient.len(), weights.len(), "gradient of other weights");
    if momentum == 0.0 {
        return blocks(team, [weights], gradient, |[weights], gradient| {
            wide(
                #[inline(always)]
                || {
                    for (weight, gradient) in weights.iter_mut().zip(gradient) {
                        *weight -= rate * weight_decay.mul_add(*weight, *gradient);
                    }
                },
            );
        });
    }
    assert_eq!(velocity.len(), weights.len(), "velocity of other weights");
    // The direction is the velocity, or a mixture of it and the gradient.
    let (of_velocity, of_gradient) = if nesterov { (momentum, 1.0) } else { (1.0, 0.0) };
    blocks(team, [weights, velocity], gradient, |[weights, velocity], gradient| {
        wide(
            #[inline(always)]
            || {
                for ((weight, velocity), gradient) in weights.iter_mut().zip(velocity).zip(gradient) {
                    let gradient = weight_decay.mul_add(*weight, *gradient);
                    *velocity = momentum.mul_add(*velocity, gradient);
                    *weight -= rate * of_velocity.mul_add(*velocity, of_gradient * gradient);
                }
            },
        );
    });
}

/// Moves `weights` against `gradient` (Kingma and Ba 2015, algorithm 1). `first` and `second` are zero before step 1.
pub fn adam_step(
    team: &Team,
    step: &AdamStep,
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
    weights: &mut [f32],
) {
    let AdamStep { rate, beta1, beta2, epsilon, weight_decay, decoupled, .. } = *step;
    assert!(
        gradient.len() == weights.len() && first.len() == weights.len() && second.len() == weights.len(),
        "moments of other weights"
    );
    let count = i32::try_from(step.step.max(1)).unwrap_or(i32::MAX);
    let rate_first = (f64::from(rate) / (1.0 - f64::from(beta1).powi(count))) as f32;
    let scale_second = (1.0 / (1.0 - f64::from(beta2).powi(count)).sqrt()) as f32;
    let (shrink, decay) = if decoupled { (1.0 - rate * weight_decay, 0.0) } else { (1.0, weight_decay) };
    blocks(team, [weights, first, second], gradient, |[weights, first, second], gradient| {
        wide(
            #[inline(always)]
            || {
                for (((weight, first), second), gradient) in weights.iter_mut().zip(first).zip(second).zip(gradient) {
                    let gradient = decay.mul_add(*weight, *gradient);
                    *first = beta1.mul_add(*first, (1.0 - beta1) * gradient);
                    *second = beta2.mul_add(*second, (1.0 - beta2) * gradient * gradient);
                    let root = second.sqrt().mul_add(scale_second, epsilon);
                    *weight = shrink * *weight - rate_first * *first / root;
                }
            },
        );
    });
}

/// `y += alpha * x`.
pub fn axpy(team: &Team, alpha: f32, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "a sum of other lengths");
    team.pieces(y, BLOCK, |index, y| {
        let x = &x[index * BLOCK..][..y.len()];
        wide(
            #[inline(always)]
            || y.iter_mut().zip(x).for_each(|(y, x)| *y = alpha.mul_add(*x, *y)),
        );
    });
}

/// `values *= factor`.
pub fn scale(team: &Team, factor: f32, values: &mut [f32]) {
    team.pieces(values, BLOCK, |_, values| {
        wide(
            #[inline(always)]
            || values.iter_mut().for_each(|value| *value *= factor),
        )
    });
}

/// The sum of the squares, in double precision.
pub fn squared_norm(team: &Team, values: &[f32]) -> f64 {
    dot(team, values, values)
}

/// The sum of the products, in double precision.
pub fn dot(team: &Team, a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len(), "a product of other lengths");
    let mut sums = vec![0.0f64; a.len().div_ceil(BLOCK)];
    team.pieces(&mut sums, 1, |index, sum| {
        let range = index * BLOCK..((index + 1) * BLOCK).min(a.len());
        sum[0] = block_dot(&a[range.clone()], &b[range]);
    });
    sums.iter().sum()
}

fn block_dot(a: &[f32], b: &[f32]) -> f64 {
    wide(
        #[inline(always)]
        || {
            let mut lanes = [0.0f64; 16];
            let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
            for (a, b) in a.iter().zip(b) {
                for lane in 0..16 {
                    lanes[lane] += f64::from(a[lane]) * f64::from(b[lane]);
                }
            }
            for (lane, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
                lanes[lane] += f64::from(*a) * f64::from(*b);
            }
            lanes.iter().sum()
        },
    )
}

/// Calls `work` for each block of vectors of one length, on any thread. The last vector is only read.
fn blocks<const S: usize>(
    team: &Team,
    state: [&mut [f32]; S],
    gradient: &[f32],
    work: impl Fn([&mut [f32]; S], &[f32]) + Sync,
) {
    let mut state = state.map(|state| state.chunks_mut(BLOCK));
    let mut blocks: Vec<([&mut [f32]; S], &[f32])> = gradient
        .chunks(BLOCK)
        .map(|gradient| (state.each_mut().map(|state| state.next().unwrap_or_default()), gradient))
        .collect();
    team.pieces(&mut blocks, 1, |_, block| {
        for (state, gradient) in block {
            work(state.each_mut().map(|state| &mut **state), gradient);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::{close, everywhere, noise};

    const LEN: usize = 2 * BLOCK + 77;

    fn wide64(values: &[f32]) -> Vec<f64> {
        values.iter().map(|&value| f64::from(value)).collect()
    }

    /// Ten steps of an optimiser over `1 + extra` vectors of state, of which the first is the weights.
    fn steps(extra: usize, step: impl Fn(&Team, u64, &[f32], &mut [f32], &mut [f32])) -> Vec<f32> {
        let weights = noise(1, LEN);
        everywhere((1 + extra) * LEN, |team, out| {
            let (first, rest) = out.split_at_mut(LEN);
            first.copy_from_slice(&weights);
            rest.fill(0.0);
            for number in 1..=10 {
                step(team, number, &noise(number + 1, LEN), first, rest);
            }
        })
    }

    #[test]
    fn descent_agrees_with_double_precision() {
        for (momentum, nesterov, weight_decay) in
            [(0.0, false, 0.0), (0.0, false, 0.1), (0.9, false, 0.1), (0.9, true, 0.0)]
        {
            let step = SgdStep { rate: 0.05, momentum, nesterov, weight_decay };
            let found = steps(1, |team, _, gradient, weights, velocity| {
                sgd_step(team, &step, gradient, velocity, weights);
            });
            let mut weights = wide64(&noise(1, LEN));
            let mut velocity = vec![0.0; LEN];
            let [rate, momentum, decay] = [step.rate, momentum, weight_decay].map(f64::from);
            for number in 1..=10 {
                for (i, gradient) in wide64(&noise(number + 1, LEN)).into_iter().enumerate() {
                    let gradient = gradient + decay * weights[i];
                    velocity[i] = momentum * velocity[i] + gradient;
                    weights[i] -= rate * if nesterov { gradient + momentum * velocity[i] } else { velocity[i] };
                }
            }
            close(&found[..LEN], &weights);
        }
    }

    #[test]
    fn adam_agrees_with_double_precision() {
        for (weight_decay, decoupled) in [(0.0, false), (0.1, false), (0.1, true)] {
            let step =
                AdamStep { step: 0, rate: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-3, weight_decay, decoupled };
            let found = steps(2, |team, number, gradient, weights, moments| {
                let (first, second) = moments.split_at_mut(LEN);
                adam_step(team, &AdamStep { step: number, ..step }, gradient, first, second, weights);
            });
            let mut weights = wide64(&noise(1, LEN));
            let (mut first, mut second) = (vec![0.0; LEN], vec![0.0; LEN]);
            let [rate, beta1, beta2, epsilon, decay] =
                [step.rate, step.beta1, step.beta2, step.epsilon, weight_decay].map(f64::from);
            for number in 1..=10i32 {
                for (i, gradient) in wide64(&noise(number as u64 + 1, LEN)).into_iter().enumerate() {
                    let gradient = if decoupled { gradient } else { gradient + decay * weights[i] };
                    first[i] = beta1 * first[i] + (1.0 - beta1) * gradient;
                    second[i] = beta2 * second[i] + (1.0 - beta2) * gradient * gradient;
                    let (m, v) = (first[i] / (1.0 - beta1.powi(number)), second[i] / (1.0 - beta2.powi(number)));
                    if decoupled {
                        weights[i] *= 1.0 - rate * decay;
                    }
                    weights[i] -= rate * m / (v.sqrt() + epsilon);
                }
            }
            close(&found[..LEN], &weights);
        }
    }

    #[test]
    fn sums_and_products_agree_with_double_precision() {
        let (a, b) = (noise(1, LEN), noise(2, LEN));
        let expected: Vec<f64> = a.iter().zip(&b).map(|(&a, &b)| (0.5 * f64::from(a) + f64::from(b)) * 3.0).collect();
        let found = everywhere(LEN, |team, out| {
            out.copy_from_slice(&b);
            axpy(team, 0.5, &a, out);
            scale(team, 3.0, out);
        });
        close(&found, &expected);
        let norm = everywhere(1, |team, out| out[0] = squared_norm(team, &a) as f32);
        close(&norm, &[a.iter().map(|&a| f64::from(a) * f64::from(a)).sum()]);
        let product = everywhere(1, |team, out| out[0] = dot(team, &a, &b) as f32);
        close(&product, &[a.iter().zip(&b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()]);
        assert_eq!(everywhere(1, |team, out| out[0] = squared_norm(team, &[]) as f32), [0.0]);
    }
}
