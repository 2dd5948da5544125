//! Softmax and normalisation.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "axes are resolved against shapes that were checked"
)]

use super::{Backward, Differentiable, Forward, Keeps, Op, layout::axis};
use crate::{error::TrainError, kernel};

/// `Softmax` and `LogSoftmax`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Softmax {
    pub(super) log: bool,
    pub(super) axis: i64,
    /// Operator sets before 13: over all dimensions from the axis on.
    pub(super) flat: bool,
}

impl Softmax {
    /// Rows before the axis, width of it, elements after it.
    fn sizes(&self, shape: &[usize]) -> Option<[usize; 3]> {
        if shape.is_empty() {
            return Some([1, 1, 1]);
        }
        let axis = axis(self.axis, shape.len())?;
        let end = if self.flat { shape.len() } else { axis + 1 };
        Some([shape[..axis].iter().product(), shape[axis..end].iter().product(), shape[end..].iter().product()])
    }

    fn rows(&self, team: &kernel::Team, width: usize, x: &[f32], out: &mut [f32]) {
        if self.log { kernel::log_softmax(team, width, x, out) } else { kernel::softmax(team, width, x, out) }
    }
}

/// `[rows, width, after]` to `[rows, after, width]`.
fn turn(from: &[f32], [rows, width, after]: [usize; 3], to: &mut [f32]) {
    for row in 0..rows {
        let at = row * width * after;
        for column in 0..after {
            for place in 0..width {
                to[at + column * width + place] = from[at + place * after + column];
            }
        }
    }
}

impl Op for Softmax {
    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        let shape = cx.float(0)?.shape.to_vec();
        let [rows, width, after] = self.sizes(&shape).ok_or_else(|| cx.clash())?;
        let mut out = cx.buffer(&shape)?;
        let x = cx.float(0)?.data;
        if out.is_empty() {
        } else if after == 1 {
            self.rows(cx.team, width, x, &mut out);
        } else {
            let (mut turned, mut result) = (cx.team.scratch(x.len()), cx.team.scratch(x.len()));
            turn(x, [rows, width, after], &mut turned);
            self.rows(cx.team, width, &turned, &mut result);
            turn(&result, [rows, after, width], &mut out);
        }
        cx.put(0, shape, out);
        Ok(())
    }

    fn differentiable(&self) -> Option<&dyn Differentiable> {
        Some(self)
    }
}

impl Differentiable for Softmax {
    fn keeps(&self, _wants: &[bool]) -> Keeps {
        Keeps::OUTPUT
    }

    fn backward(&self, cx: &mut Backward<'_>) -> Result<(), TrainError> {
        let gradient = cx.gradient()?;
        let mut part = cx.pool.take(gradient.len())?;
        let y = cx.output(0)?;
        let [rows, width, after] = self.sizes(y.shape).ok_or_else(|| cx.lost())?;
        if y.data.len() != gradient.len() {
            return Err(cx.lost());
        }
        let back = if self.log { kernel::log_softmax_grad } else { kernel::softmax_grad };
        if gradient.is_empty() {
        } else if after == 1 {
            back(cx.team, width, y.data, &gradient, &mut part);
        } else {
            let [mut y_turned, mut g_turned, mut result] = [(); 3].map(|()| cx.team.scratch(gradient.len()));
            turn(y.data, [rows, width, after], &mut y_turned);
            turn(&gradient, [rows, width, after], &mut g_turned);
            back(cx.team, width, &y_turned, &g_turned, &mut result);
            turn(&result, [rows, after, width], &mut part);
        }
        cx.recycle(gradient);
        cx.give(0, part)
    }
}
