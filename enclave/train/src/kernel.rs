//! The arithmetic of training: pure functions on slices with explicit shapes, forward and backward.
//!
//! Everything is row-major `f32`. A [`Team`] comes first where a kernel may use several threads. Lengths that do
//! not fit a shape panic: whoever builds a graph checks its shapes once, before the first step.
//!
//! Two conventions hold throughout. A gradient of an **activation** is *set*; a gradient of a **parameter** is
//! *added* to what is there, because gradients accumulate over batches. And no result depends on the number of
//! threads: work is split over outputs, or into a number of partial sums that the shape alone decides.

mod activation;
mod conv;
mod elementwise;
mod flat;
mod gemm;
mod norm;
mod pool;
mod softmax;
mod team;
#[cfg(test)]
mod testing;
mod wide;

pub use activation::{Activation, activate, activate_grad};
pub use conv::{ConvShape, conv2d, conv2d_grad_bias, conv2d_grad_input, conv2d_grad_weight};
pub use elementwise::{
    add_channels, add_into, add_rows, apply, combine, mul_channels, mul_rows, sum_channels, sum_columns, sum_rows,
};
pub use flat::{AdamStep, SgdStep, adam_step, axpy, dot, scale, sgd_step, squared_norm};
pub use gemm::{Bias, View, gemm, gemm_batched};
pub use norm::{BatchDims, batch_norm, batch_norm_grad, batch_norm_moments, layer_norm, layer_norm_grad};
pub use pool::{PoolShape, average_pool, average_pool_grad, max_pool, max_pool_grad};
pub use softmax::{log_softmax, log_softmax_grad, softmax, softmax_grad};
pub use team::{Scratch, Team, TeamError};
