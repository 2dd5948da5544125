//! Times single kernels, in the sizes of small models.
//!
//! ```text
//! cargo run --release -p glacier-train --example kernels -- [THREADS]
//! ```
//!
//! Prints the least of many runs: microseconds, and either billions of floating-point operations or gigabytes (read and
//! written) per second.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a program for developers, which stops at the first surprise"
)]

use std::hint::black_box;
use std::time::Instant;

use glacier_train::kernel::{
    Activation, AdamStep, BatchDims, Bias, ConvShape, PoolShape, SgdStep, Team, View, activate, activate_grad,
    adam_step, batch_norm_grad, batch_norm_moments, conv2d, conv2d_grad_input, conv2d_grad_weight, gemm_batched,
    layer_norm, layer_norm_grad, max_pool, max_pool_grad, sgd_step, softmax, softmax_grad, squared_norm, sum_columns,
};

fn main() {
    let threads = std::env::args().nth(1).map_or(1, |threads| threads.parse().unwrap());
    let team = Team::new(threads).unwrap();
    team.install(|| {
        products(&team);
        convolutions(&team);
        elements(&team);
    });
}

/// The least time of a run in seconds.
fn least(mut run: impl FnMut()) -> f64 {
    let begin = Instant::now();
    let mut least = f64::INFINITY;
    for count in 0.. {
        let start = Instant::now();
        run();
        least = least.min(start.elapsed().as_secs_f64());
        if count > 10 && begin.elapsed().as_secs_f64() > 0.2 {
            break;
        }
    }
    least
}

fn flops(name: &str, multiply_adds: usize, run: impl FnMut()) {
    let seconds = least(run);
    println!("{name:<36} {:>9.1} us {:>7.1} GFLOP/s", seconds * 1e6, 2e-9 * multiply_adds as f64 / seconds);
}

fn bytes(name: &str, values: usize, run: impl FnMut()) {
    let seconds = least(run);
    println!("{name:<36} {:>9.1} us {:>7.1} GB/s", seconds * 1e6, 4e-9 * values as f64 / seconds);
}

fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i * 7919 % 2001) as f32 / 1000.0 - 1.0).collect()
}

fn products(team: &Team) {
    let cases: [(&str, usize, [usize; 3], [bool; 2]); 10] = [
        ("MLP forward", 1, [64, 784, 128], [false, true]),
        ("MLP to weights", 1, [128, 64, 784], [true, false]),
        ("MLP head", 1, [64, 128, 10], [false, true]),
        ("encoder 384 x 384", 1, [1024, 384, 384], [false, false]),
        ("encoder 384 x 1536", 1, [1024, 384, 1536], [false, false]),
        ("encoder to inputs", 1, [1024, 1536, 384], [false, true]),
        ("encoder to weights", 1, [384, 1024, 1536], [true, false]),
        ("attention scores", 96, [128, 32, 128], [false, false]),
        ("attention scores, transposed", 96, [128, 32, 128], [false, true]),
        ("attention values", 96, [128, 128, 32], [false, false]),
    ];
    for (name, count, [m, k, n], [a_turned, b_turned]) in cases {
        let (a, b, mut c) = (values(count * m * k), values(count * k * n), vec![0.0; count * m * n]);
        let left = |i: usize| {
            let data = &a[i * m * k..];
            if a_turned { View::new(data, k, m).transposed() } else { View::new(data, m, k) }
        };
        let right = |i: usize| {
            let data = &b[i * k * n..];
            if b_turned { View::new(data, n, k).transposed() } else { View::new(data, k, n) }
        };
        flops(name, count * m * k * n, || {
            gemm_batched(team, count, 1.0, left, right, 0.0, &mut c, Bias::None);
            black_box(&c);
        });
    }
}

fn convolutions(team: &Team) {
    let base = ConvShape {
        batch: 64,
        in_channels: 1,
        out_channels: 32,
        groups: 1,
        input: [28, 28],
        kernel: [3, 3],
        stride: [1, 1],
        dilation: [1, 1],
        pads: [0; 4],
    };
    let cases = [
        ("conv 1-32 3x3", base),
        ("conv 1-32 5x5", ConvShape { kernel: [5, 5], ..base }),
        ("conv 32-64 3x3", ConvShape { in_channels: 32, out_channels: 64, input: [26, 26], ..base }),
        ("conv 64-64 1x1", ConvShape { in_channels: 64, out_channels: 64, kernel: [1, 1], ..base }),
        ("conv 64 depthwise 3x3", ConvShape { in_channels: 64, out_channels: 64, groups: 64, pads: [1; 4], ..base }),
    ];
    for (name, shape) in cases {
        let (input, weight) = (values(shape.input_len()), values(shape.weight_len()));
        let (mut output, mut grad_input) = (vec![0.0; shape.output_len()], vec![0.0; input.len()]);
        let mut grad_weight = vec![0.0; weight.len()];
        let work = shape.output_len() * shape.weight_len() / shape.out_channels;
        flops(&format!("{name} forward"), work, || conv2d(team, &shape, &input, &weight, None, black_box(&mut output)));
        flops(&format!("{name} to inputs"), work, || {
            conv2d_grad_input(team, &shape, &output, &weight, black_box(&mut grad_input));
        });
        flops(&format!("{name} to weights"), work, || {
            conv2d_grad_weight(team, &shape, &input, &output, black_box(&mut grad_weight));
        });
    }
}

fn elements(team: &Team) {
    let shape = PoolShape {
        planes: 64 * 64,
        input: [24, 24],
        kernel: [2, 2],
        stride: [2, 2],
        dilation: [1, 1],
        pads: [0; 4],
        ceil_mode: false,
    };
    let len = shape.input_len();
    let (x, grad) = (values(len), values(len));
    let (mut y, mut z) = (vec![0.0; len], vec![0.0; len]);
    let pooled = shape.output_len();
    let mut indices = vec![0; pooled];
    bytes("max pool 2x2 forward", len + 2 * pooled, || {
        max_pool(team, &shape, &x, black_box(&mut y[..pooled]), &mut indices)
    });
    bytes("max pool 2x2 backward", len + 2 * pooled, || {
        max_pool_grad(team, &shape, &grad[..pooled], &indices, black_box(&mut z));
    });
    for kind in [Activation::Relu, Activation::Gelu, Activation::Tanh, Activation::Silu] {
        bytes(&format!("{kind:?} forward"), 2 * len, || activate(team, kind, &x, black_box(&mut y)));
        bytes(&format!("{kind:?} backward"), 3 * len, || activate_grad(team, kind, &x, &y, &grad, black_box(&mut z)));
    }
    bytes("softmax of 128 forward", 2 * len, || softmax(team, 128, &x, black_box(&mut y)));
    bytes("softmax of 128 backward", 3 * len, || softmax_grad(team, 128, &y, &grad, black_box(&mut z)));
    let (width, rows) = (384, 1024);
    let size = width * rows;
    let scale = values(width);
    let (mut mean, mut inverse) = (vec![0.0; rows], vec![0.0; rows]);
    let (mut sum_scale, mut sum_shift) = (vec![0.0; width], vec![0.0; width]);
    bytes("layer norm of 384 forward", 2 * size, || {
        layer_norm(team, 1e-5, &scale, Some(&scale), &x[..size], black_box(&mut y[..size]), &mut mean, &mut inverse);
    });
    bytes("layer norm of 384 backward", 3 * size, || {
        let sums = (Some(&mut sum_scale[..]), Some(&mut sum_shift[..]));
        layer_norm_grad(team, &scale, &mean, &inverse, &x[..size], &grad[..size], &mut z[..size], sums.0, sums.1);
    });
    bytes("sums of 384 columns", size, || sum_columns(team, &grad[..size], black_box(&mut sum_shift)));
    let dims = BatchDims { batch: 64, channels: 64, area: 576 };
    let channels = values(64);
    let (mut mean, mut variance) = (vec![0.0; 64], vec![0.0; 64]);
    let (mut sum_scale, mut sum_shift) = (vec![0.0; 64], vec![0.0; 64]);
    bytes("batch norm moments", len, || batch_norm_moments(team, dims, &x, &mut mean, black_box(&mut variance)));
    bytes("batch norm backward", 3 * len, || {
        #[rustfmt::skip]
        batch_norm_grad(
            team, dims, 1e-5, true, &mean, &variance, &channels, &x, &grad, black_box(&mut z), &mut sum_scale,
            &mut sum_shift,
        );
    });
    let sgd = SgdStep { rate: 1e-6, momentum: 0.9, nesterov: false, weight_decay: 1e-4 };
    bytes("SGD with momentum", 5 * len, || sgd_step(team, &sgd, &grad, &mut z, black_box(&mut y)));
    let adam =
        AdamStep { step: 10, rate: 1e-6, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 1e-4, decoupled: true };
    let mut second = vec![0.0; len];
    bytes("AdamW", 7 * len, || adam_step(team, &adam, &grad, &mut z, &mut second, black_box(&mut y)));
    bytes("squared norm", len, || {
        black_box(squared_norm(team, &x));
    });
}
