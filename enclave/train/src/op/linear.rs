//! Matrix products.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "sizes are compared before a product is taken"
)]

use super::{
    Backward, Differentiable, Forward, Keeps, Op, Pattern, View,
    broadcast::{common, map2, reduce},
};
use crate::{
    error::TrainError,
    kernel::{self, Bias, gemm, gemm_batched},
    tensor::volume_at,
};

/// `alpha * A * B + beta * C`, the factors transposed where it says so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Gemm {
    pub(super) alpha: f32,
    pub(super) beta: f32,
    pub(super) transposed: [bool; 2],
}

impl Gemm {
    /// Rows, inner extent, columns.
    fn sizes(&self, a: &[usize], b: &[usize]) -> Option<[usize; 3]> {
        let ([a0, a1], [b0, b1]) = (a, b) else { return None };
        let (m, k) = if self.transposed[0] { (a1, a0) } else { (a0, a1) };
        let (inner, n) = if self.transposed[1] { (b1, b0) } else { (b0, b1) };
        (k == inner).then_some([*m, *k, *n])
    }
}

/// A matrix as a factor.
fn matrix(view: View<'_>, transposed: bool) -> kernel::View<'_> {
    let view = kernel::View::new(view.data, view.shape[0], view.shape[1]);
    if transposed { view.transposed() } else { view }
}

impl Op for Gemm {
    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        let [m, k, n] = self.sizes(cx.shape(0)?, cx.shape(1)?).ok_or_else(|| cx.clash())?;
        let shape = vec![m, n];
        let mut out = cx.buffer(&shape)?;
        let (a, b) = (matrix(cx.float(0)?, self.transposed[0]), matrix(cx.float(1)?, self.transposed[1]));
        let addend = if cx.given(2) && self.beta != 0.0 { Some(cx.float(2)?) } else { None };
        let fits = addend.is_none_or(|c| common(c.shape, &shape).as_deref() == Some(&shape));
        if !fits {
            return Err(cx.clash());
        }
        let row = |c: &View<'_>| self.beta == 1.0 && c.data.len() == n && c.shape.last() == Some(&n);
        match addend {
            None => gemm(cx.team, self.alpha, a, b, 0.0, &mut out, Bias::None),
            Some(c) if row(&c) => gemm(cx.team, self.alpha, a, b, 0.0, &mut out, Bias::Columns(c.data)),
            Some(c) => {
                let factor = View { shape: &[], data: &[self.beta] };
                let like = View { shape: &shape, data: &vec![1.0; out.len()] };
                let mut scaled = vec![0.0; c.data.len()];
                map2(cx.team, c.shape, c, factor, &mut scaled, |c, beta| c * beta);
                let c = View { shape: c.shape, data: &scaled };
                map2(cx.team, &shape, like, c, &mut out, |one, c| one * c);
                gemm(cx.team, self.alpha, a, b, 1.0, &mut out, Bias::None);
            }
        }
        cx.count(macs([m, k, n]));
        cx.put(0, shape, out);
        Ok(())
    }

    fn differentiable(&self) -> Option<&dyn Differentiable> {
        Some(self)
    }
}

impl Differentiable for Gemm {
    fn keeps(&self, wants: &[bool]) -> Keeps {
        factors(wants)
    }

    fn backward(&self, cx: &mut Backward<'_>) -> Result<(), TrainError> {
        let [m, _, n] = self.sizes(cx.shape(0)?, cx.shape(1)?).ok_or_else(|| cx.lost())?;
        let gradient = cx.gradient()?;
        if gradient.len() != m * n {
            return Err(cx.lost());
        }
        let g = kernel::View::new(&gradient, m, n);
        let [a_turned, b_turned] = self.transposed;
        cx.target(0, |cx, target, fresh| {
            let (b, beta) = (matrix(cx.float(1)?, b_turned), keep(fresh));
            match a_turned {
                false => gemm(cx.team, self.alpha, g, b.transposed(), beta, target, Bias::None),
                true => gemm(cx.team, self.alpha, b, g.transposed(), beta, target, Bias::None),
            }
            Ok(())
        })?;
        cx.target(1, |cx, target, fresh| {
            let (a, beta) = (matrix(cx.float(0)?, a_turned), keep(fresh));
            match b_turned {
                false => gemm(cx.team, self.alpha, a.transposed(), g, beta, target, Bias::None),
                true => gemm(cx.team, self.alpha, g.transposed(), a, beta, target, Bias::None),
            }
            Ok(())
        })?;
        if self.beta == 1.0 {
            cx.target(2, |cx, target, fresh| {
                reduce(cx.team, &[m, n], &gradient, cx.shape(2)?, target, fresh);
                Ok(())
            })?;
            cx.recycle(gradient);
            return Ok(());
        }
        let mut gradient = gradient;
        kernel::scale(cx.team, self.beta, &mut gradient);
        cx.target(2, |cx, target, fresh| {
            reduce(cx.team, &[m, n], &gradient, cx.shape(2)?, target, fresh);
            Ok(())
        })?;
        cx.recycle(gradient);
        Ok(())
    }
}

/// What stays of a target that is added to.
fn keep(fresh: bool) -> f32 {
    if fresh { 0.0 } else { 1.0 }
}

/// The gradient of one factor takes the other.
fn factors(wants: &[bool]) -> Keeps {
    let wants = |at: usize| u32::from(wants.get(at).copied().unwrap_or(false));
    Keeps { inputs: wants(1) | wants(0) << 1, outputs: 0 }
}

fn macs(factors: [usize; 3]) -> u64 {
    factors.iter().fold(1u64, |product, factor| product.saturating_mul(*factor as u64))
}

/// Products of matrices in the last two dimensions; the others are broadcast. `bias`: input 2 is added to
/// every row, `alpha` a factor of the product.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct MatMul {
    pub(crate) bias: bool,
    pub(crate) alpha: f32,
}

/// How the batches of two factors meet.
struct Batches {
    /// Of the product.
    shape: Vec<usize>,
    m: usize,
    k: usize,
    n: usize,
    /// Where the factors of each product stand.
    starts: Vec<[usize; 2]>,
    /// With their dimensions of one batch put in.
    a: Vec<usize>,
    b: Vec<usize>,
    /// Shape of the product as ONNX wants it.
    out: Vec<usize>,
}

impl Batches {
    fn of(a: &[usize], b: &[usize]) -> Option<Self> {
        let (a_vector, b_vector) = (a.len() == 1, b.len() == 1);
        let a = if a_vector { vec![1, a[0]] } else { a.to_vec() };
        let b = if b_vector { vec![b[0], 1] } else { b.to_vec() };
        let ([a_batch @ .., m, k], [b_batch @ .., inner, n]) = (a.as_slice(), b.as_slice()) else { return None };
        let (m, k, n) = (*m, *k, *n);
        if k != *inner {
            return None;
        }
        // A matrix that all share takes all rows at once.
        if b_batch.iter().all(|extent| *extent == 1) {
            let rows: usize = a_batch.iter().product::<usize>() * m;
            let rank = a_batch.len().max(b_batch.len());
            let mut out = vec![1; rank - a_batch.len()];
            out.extend(a_batch);
            let shape = Vec::new();
            let out = Self::ends(out, [m, n], [a_vector, b_vector]);
            return Some(Self { shape, m: rows, k, n, starts: vec![[0, 0]], a: vec![rows, k], b: vec![k, n], out });
        }
        let shape = common(a_batch, b_batch)?;
        let count = crate::tensor::volume(&shape)?;
        let a_starts = starts(&shape, a_batch, m * k);
        let b_starts = starts(&shape, b_batch, k * n);
        let starts = (0..count).map(|at| [a_starts[at], b_starts[at]]).collect();
        let out = Self::ends(shape.clone(), [m, n], [a_vector, b_vector]);
        Some(Self { shape, m, k, n, starts, a: a.clone(), b: b.clone(), out })
    }

    fn ends(mut shape: Vec<usize>, ends: [usize; 2], vectors: [bool; 2]) -> Vec<usize> {
        for (end, vector) in ends.iter().zip(vectors) {
            if !vector {
                shape.push(*end);
            }
        }
        shape
    }

    /// The full batch of matrices of these extents.
    fn full(&self, rows: usize, columns: usize) -> Vec<usize> {
        [self.shape.as_slice(), &[rows, columns]].concat()
    }
}

/// Where each batch's matrix of `size` elements stands, of an operand with these batch dimensions.
fn starts(shape: &[usize], batch: &[usize], size: usize) -> Vec<usize> {
    let mut starts = vec![0];
    let lead = shape.len() - batch.len();
    let mut strides = vec![0; shape.len()];
    let mut stride = size;
    for (axis, extent) in batch.iter().enumerate().rev() {
        strides[lead + axis] = if *extent == 1 { 0 } else { stride };
        stride *= extent;
    }
    for (extent, stride) in shape.iter().zip(strides) {
        starts = starts.iter().flat_map(|start| (0..*extent).map(move |at| start + at * stride)).collect();
    }
    starts
}

impl Op for MatMul {
    fn pattern(&self) -> Pattern {
        Pattern::MatMul(*self)
    }

    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        let batches = Batches::of(cx.shape(0)?, cx.shape(1)?).ok_or_else(|| cx.clash())?;
        let Batches { m, k, n, starts, .. } = &batches;
        let (m, k, n) = (*m, *k, *n);
        volume_at(&[starts.len(), m, k.max(n)], cx.node)?;
        let mut out = cx.buffer(&batches.out)?;
        let (a, b) = (cx.float(0)?.data, cx.float(1)?.data);
        let bias = match self.bias {
            true => match cx.float(2)?.data {
                bias if bias.len() == n => Bias::Columns(bias),
                _ => return Err(cx.clash()),
            },
            false => Bias::None,
        };
        let left = |at: usize| kernel::View::new(&a[starts[at][0]..], m, k);
        let right = |at: usize| kernel::View::new(&b[starts[at][1]..], k, n);
        gemm_batched(cx.team, starts.len(), self.alpha, left, right, 0.0, &mut out, bias);
        cx.count(macs([starts.len() * m, k, n]));
        cx.put(0, batches.out, out);
        Ok(())
    }

    fn differentiable(&self) -> Option<&dyn Differentiable> {
        Some(self)
    }
}

impl Differentiable for MatMul {
    fn keeps(&self, wants: &[bool]) -> Keeps {
        factors(wants)
    }

    fn backward(&self, cx: &mut Backward<'_>) -> Result<(), TrainError> {
        let gradient = cx.gradient()?;
        let batches = Batches::of(cx.shape(0)?, cx.shape(1)?).ok_or_else(|| cx.lost())?;
        let Batches { m, k, n, starts, .. } = &batches;
        let (m, k, n, count) = (*m, *k, *n, starts.len());
        if gradient.len() != count * m * n {
            return Err(cx.lost());
        }
        if self.bias {
            cx.target(2, |cx, target, fresh| {
                if fresh {
                    target.fill(0.0);
                }
                kernel::sum_columns(cx.team, &gradient, target);
                Ok(())
            })?;
        }
        for side in [0, 1] {
            let (shape, extents) = if side == 0 { (&batches.a, [m, k]) } else { (&batches.b, [k, n]) };
            let full = batches.full(extents[0], extents[1]);
            let product = |cx: &Backward<'_>, target: &mut [f32], beta: f32| -> Result<(), TrainError> {
                let g = |at: usize| kernel::View::new(&gradient[at * m * n..], m, n);
                if side == 0 {
                    let b = cx.float(1)?.data;
                    let right = |at: usize| kernel::View::new(&b[starts[at][1]..], k, n).transposed();
                    gemm_batched(cx.team, count, self.alpha, g, right, beta, target, Bias::None);
                } else {
                    let a = cx.float(0)?.data;
                    let left = |at: usize| kernel::View::new(&a[starts[at][0]..], m, k).transposed();
                    gemm_batched(cx.team, count, self.alpha, left, g, beta, target, Bias::None);
                }
                Ok(())
            };
            if full.iter().product::<usize>() == shape.iter().product::<usize>() {
                cx.target(side, |cx, target, fresh| product(cx, target, keep(fresh)))?;
            } else if cx.wants(side) {
                let mut all = cx.pool.take(volume_at(&full, cx.node)?)?;
                product(cx, &mut all, 0.0)?;
                cx.target(side, |cx, target, fresh| {
                    reduce(cx.team, &full, &all, shape, target, fresh);
                    Ok(())
                })?;
                cx.recycle(all);
            }
        }
        cx.recycle(gradient);
        Ok(())
    }
}
