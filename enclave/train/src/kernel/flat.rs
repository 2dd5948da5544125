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
        return each(team, [weights], [gradient], |[weight], [gradient]| {
            [weight - rate * weight_decay.mul_add(weight, gradient)]
        });
    }
    assert_eq!(velocity.len(), weights.len(), "velocity of other weights");
    each(team, [weights, velocity], [gradient], |[weight, velocity], [gradient]| {
        let gradient = weight_decay.mul_add(weight, gradient);
        let velocity = momentum.mul_add(velocity, gradient);
        let direction = if nesterov { momentum.mul_add(velocity, gradient) } else { velocity };
        [weight - rate * direction, velocity]
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
    each(team, [weights, first, second], [gradient], |[weight, first, second], [gradient]| {
        let gradient = decay.mul_add(weight, gradient);
        let first = beta1.mul_add(first, (1.0 - beta1) * gradient);
        let second = beta2.mul_add(second, (1.0 - beta2) * gradient * gradient);
        [shrink * weight - rate_first * first / second.sqrt().mul_add(scale_second, epsilon), first, second]
    });
}

/// `y += alpha * x`.
pub fn axpy(team: &Team, alpha: f32, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "a sum of other lengths");
    each(team, [y], [x], |[y], [x]| [alpha.mul_add(x, y)]);
}

/// `values *= factor`.
pub fn scale(team: &Team, factor: f32, values: &mut [f32]) {
    each(team, [values], [], |[value], []| [value * factor]);
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
    wide(|| {
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
    })
}

/// Rewrites `state`, element by element, from itself and from `given`.
fn each<const S: usize, const G: usize>(
    team: &Team,
    state: [&mut [f32]; S],
    given: [&[f32]; G],
    f: impl Fn([f32; S], [f32; G]) -> [f32; S] + Sync,
) {
    let len = state.first().map_or(0, |state| state.len());
    let mut state = state.map(|state| state.chunks_mut(BLOCK));
    let mut blocks: Vec<[&mut [f32]; S]> =
        (0..len.div_ceil(BLOCK)).map(|_| state.each_mut().map(|state| state.next().unwrap_or_default())).collect();
    team.pieces(&mut blocks, 1, |index, block| {
        for state in block {
            let len = state[0].len();
            let given = given.map(|given| &given[index * BLOCK..][..len]);
            let mut state = state.each_mut().map(|state| &mut state[..len]);
            wide(|| {
                for i in 0..len {
                    let next = f(std::array::from_fn(|s| state[s][i]), std::array::from_fn(|g| given[g][i]));
                    for s in 0..S {
                        state[s][i] = next[s];
                    }
                }
            });
        }
    });
}
