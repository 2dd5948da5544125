//! Operators that leave elements where they are.

use super::{Backward, Differentiable, Forward, Keeps, Op};
use crate::{error::TrainError, tensor::volume};

/// A possibly negative axis of `rank` dimensions as a place.
pub(super) fn axis(axis: i64, rank: usize) -> Option<usize> {
    let at = if axis < 0 { axis.checked_add_unsigned(rank as u64)? } else { axis };
    usize::try_from(at).ok().filter(|at| *at < rank)
}

/// The same elements in another shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Alias {
    Identity,
    /// To the shape of input 1.
    Reshape {
        zero: bool,
    },
    Flatten {
        axis: i64,
    },
    /// Axes as an attribute, or else as input 1.
    Squeeze {
        axes: Option<Vec<i64>>,
    },
    Unsqueeze {
        axes: Option<Vec<i64>>,
    },
}

impl Op for Alias {
    fn forward(&self, cx: &mut Forward<'_>) -> Result<(), TrainError> {
        let list = |axes: &Option<Vec<i64>>| match axes {
            Some(axes) => Ok(Some(axes.clone())),
            None if cx.given(1) => cx.int(1).map(|axes| Some(axes.data.clone())),
            None => Ok(None),
        };
        let from = cx.shape(0)?;
        let shape = match self {
            Self::Identity => Some(from.to_vec()),
            Self::Reshape { zero } => reshaped(from, &cx.int(1)?.data, *zero),
            Self::Flatten { axis } => flattened(from, *axis),
            Self::Squeeze { axes } => squeezed(from, list(axes)?.as_deref()),
            Self::Unsqueeze { axes } => unsqueezed(from, list(axes)?.as_deref()),
        };
        let shape = shape.ok_or_else(|| cx.clash())?;
        cx.alias(shape)
    }

    fn differentiable(&self) -> Option<&dyn Differentiable> {
        Some(self)
    }
}

impl Differentiable for Alias {
    fn keeps(&self, _wants: &[bool]) -> Keeps {
        Keeps::NOTHING
    }

    fn passes(&self, input: usize) -> bool {
        input == 0
    }

    fn backward(&self, cx: &mut Backward<'_>) -> Result<(), TrainError> {
        let gradient = cx.gradient()?;
        cx.give(0, gradient)
    }
}

fn reshaped(from: &[usize], target: &[i64], zero_is_zero: bool) -> Option<Vec<usize>> {
    let (mut out, mut open) = (Vec::with_capacity(target.len()), None);
    for (at, extent) in target.iter().enumerate() {
        out.push(match extent {
            -1 if open.is_none() => {
                open = Some(at);
                1
            }
            0 if !zero_is_zero => *from.get(at)?,
            extent => usize::try_from(*extent).ok()?,
        });
    }
    if let Some(place) = open {
        let (whole, rest) = (volume(from)?, volume(&out)?);
        *out.get_mut(place)? = if whole == 0 && rest == 0 { 0 } else { whole.checked_div(rest)? };
    }
    Some(out)
}

fn flattened(from: &[usize], at: i64) -> Option<Vec<usize>> {
    let at = if usize::try_from(at) == Ok(from.len()) { from.len() } else { axis(at, from.len())? };
    let (outer, inner) = from.split_at_checked(at)?;
    Some(vec![volume(outer)?, volume(inner)?])
}

fn squeezed(from: &[usize], axes: Option<&[i64]>) -> Option<Vec<usize>> {
    let Some(axes) = axes else { return Some(from.iter().copied().filter(|extent| *extent != 1).collect()) };
    let gone = axes.iter().map(|at| axis(*at, from.len())).collect::<Option<Vec<usize>>>()?;
    if gone.iter().any(|at| from.get(*at) != Some(&1)) {
        return None;
    }
    Some(from.iter().enumerate().filter(|(at, _)| !gone.contains(at)).map(|(_, extent)| *extent).collect())
}

fn unsqueezed(from: &[usize], axes: Option<&[i64]>) -> Option<Vec<usize>> {
    let axes = axes?;
    let rank = from.len().checked_add(axes.len())?;
    let mut places = axes.iter().map(|at| axis(*at, rank)).collect::<Option<Vec<usize>>>()?;
    places.sort_unstable();
    let mut out = from.to_vec();
    for place in places {
        if place > out.len() {
            return None;
        }
        out.insert(place, 1);
    }
    Some(out)
}
