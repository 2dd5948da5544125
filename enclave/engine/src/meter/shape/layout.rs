//! Operators that move elements about, and those that shapes are computed with.

use super::{Ctx, broadcast, fill, volume};
use crate::{
    meter::{Info, fold},
    onnx::{Data, ModelError},
};

pub(super) fn shape(ctx: &Ctx<'_>) -> Result<Info, ModelError> {
    let Some(dims) = &ctx.need(0)?.dims else { return Ok(Info::unknown()) };
    let rank = dims.len() as i64;
    let clamp = |at: i64| {
        let at = if at < 0 { at.saturating_add(rank) } else { at };
        usize::try_from(at.clamp(0, rank)).unwrap_or(0)
    };
    let (start, end) = (clamp(ctx.node.int("start", 0)?), clamp(ctx.node.int("end", rank)?));
    let values: Option<Vec<i64>> =
        dims.get(start..end.max(start)).unwrap_or_default().iter().map(|dim| i64::try_from(*dim).ok()).collect();
    values.map(Info::list).ok_or_else(|| ctx.clash())
}

pub(super) fn size(ctx: &Ctx<'_>) -> Result<Info, ModelError> {
    let Some(dims) = &ctx.need(0)?.dims else { return Ok(Info::unknown()) };
    Ok(Info::scalar(i64::try_from(volume(ctx, dims)?).map_err(|_| ctx.clash())?))
}

pub(super) fn gather(ctx: &Ctx<'_>) -> Result<Info, ModelError> {
    let (data, indices) = (ctx.need(0)?, ctx.need(1)?);
    let (Some(from), Some(at)) = (&data.dims, &indices.dims) else { return Ok(Info::unknown()) };
    let axis = ctx.axis(ctx.node.int("axis", 0)?, from.len())?;
    let (before, after) = (from.get(..axis).unwrap_or_default(), from.get(axis.saturating_add(1)..));
    let dims = [before, at, after.unwrap_or_default()].concat();
    // Shapes are lists: that is where values matter.
    let picked = match (from.as_slice(), indices.ints()) {
        ([count], Some(indices)) => {
            let place = |at: &i64| {
                let at = if *at < 0 { at.checked_add_unsigned(*count) } else { Some(*at) };
                at.and_then(|at| usize::try_from(at).ok())
            };
            fold::pick(&data.data, indices.iter().map(place))
        }
        _ => Data::Unknown,
    };
    Ok(Info { dims: Some(dims), data: picked })
}

pub(super) fn gather_nd(ctx: &Ctx<'_>) -> Result<Info, ModelError> {
    let (Some(from), Some(at)) = (&ctx.need(0)?.dims, &ctx.need(1)?.dims) else { return Ok(Info::unknown()) };
    let batch = usize::try_from(ctx.node.int("batch_dims", 0)?).map_err(|_| ctx.node.bad("batch_dims"))?;
    let (Some(depth), Some(outer)) = (at.last(), at.split_last().map(|(_, outer)| outer)) else {
        return Err(ctx.clash());
    };
    let kept = usize::try_from(*depth).ok().and_then(|depth| depth.checked_add(batch));
    let rest = kept.and_then(|kept| from.get(kept..)).ok_or_else(|| ctx.clash())?;
    Ok(Info::of([outer, rest].concat()))
}

pub(super) fn concat(ctx: &Ctx<'_>) -> Result<Info, ModelError> {
    let first = ctx.need(0)?;
    let Some(mut dims) = first.dims.clone() else { return Ok(Info::unknown()) };
    let axis = ctx.axis(ctx.node.int("axis", if ctx.opset < 4 { 1 } else { 0 })?, dims.len())?;
    let mut data = first.data.clone();
    for at in 1..ctx.given.len() {
        let next = ctx.need(at)?;
        let Some(more) = &next.dims else { return Ok(Info::unknown()) };
        let fits = more.len() == dims.len();
        let fits = fits && dims.iter().zip(more).enumerate().all(|(at, (a, b))| at == axis || a == b);
        let (Some(sum), Some(extent)) = (dims.get_mut(axis), more.get(axis).filter(|_| fits)) else {
            return Err(ctx.clash());
        };
        *sum = sum.checked_add(*extent).ok_or_else(|| ctx.clash())?;
        data = match (data, &next.data) {
            (Data::Ints(mut all), Data::Ints(more)) if dims.len() == 1 => {
                all.extend(more);
                Data::Ints(all)
            }
            (Data::Floats(mut all), Data::Floats(more)) if dims.len() == 1 => {
                all.extend(more);
                Data::Floats(all)
            }
            _ => Data::Unknown,
        };
    }
    Ok(Info { dims: Some(dims), data })
}

pub(super) fn slice(ctx: &Ctx<'_>) -> Result<Info, ModelError> {
    let input = ctx.need(0)?;
    let Some(dims) = &input.dims else { return Ok(Info::unknown()) };
    let (Ok(Some(starts)), Ok(Some(ends))) = (ctx.list("starts", 1)?, ctx.list("ends", 2)?) else {
        return Ok(Info::unknown());
    };
    let (Ok(axes), Ok(steps)) = (ctx.list("axes", 3)?, ctx.list("steps", 4)?) else { return Ok(Info::unknown()) };
    if starts.len() != ends.len()
        || axes.is_some_and(|axes| axes.len() != starts.len())
        || steps.is_some_and(|steps| steps.len() != starts.len())
    {
        return Err(ctx.clash());
    }
    let mut out = dims.clone();
    let mut data = if dims.len() == 1 { input.data.clone() } else { Data::Unknown };
    for (at, (start, end)) in starts.iter().zip(ends).enumerate() {
        let axis = axes.and_then(|axes| axes.get(at)).copied().unwrap_or(at as i64);
        let axis = ctx.axis(axis, dims.len())?;
        let step = steps.and_then(|steps| steps.get(at)).copied().unwrap_or(1);
        let extent = dims.get(axis).copied().and_then(|dim| i64::try_from(dim).ok()).ok_or_else(|| ctx.clash())?;
        let (first, count) = stretch(*start, *end, step, extent).ok_or_else(|| ctx.node.bad("step"))?;
        if let Some(dim) = out.get_mut(axis) {
            *dim = count;
        }
        let places = (0..count.min(Data::MAX as u64)).map(|n| {
            let offset = i64::try_from(n).ok()?.checked_mul(step)?;
            usize::try_from(first.checked_add(offset)?).ok()
        });
        data = fold::pick(&data, places);
    }
    Ok(Info { dims: Some(out), data })
}

/// First index and number of indices of a slice.
fn stretch(start: i64, end: i64, step: i64, extent: i64) -> Option<(i64, u64)> {
    let from_end = |at: i64| if at < 0 { at.saturating_add(extent) } else { at };
    let (start, end) = (from_end(start), from_end(end));
    let (start, span) = if step > 0 {
        let start = start.clamp(0, extent);
        (start, end.clamp(0, extent).checked_sub(start)?)
    } else {
        let last = extent.checked_sub(1)?;
        let start = start.clamp(-1, last);
        (start, start.checked_sub(end.clamp(-1, last))?)
    };
    let count = u64::try_from(span.max(0)).ok()?.div_ceil(step.checked_abs().filter(|step| *step > 0)?.unsigned_abs());
    Some((start, count))
}

pub(super) fn split(ctx: &Ctx<'_>) -> Result<Vec<Info>, ModelError> {
    let input = ctx.need(0)?;
    let Some(dims) = &input.dims else { return Ok(Vec::new()) };
    let axis = ctx.axis(ctx.node.int("axis", 0)?, dims.len())?;
    let whole = dims.get(axis).copied().unwrap_or(0);
    let Ok(parts) = ctx.list("split", 1)? else { return Ok(Vec::new()) };
    let parts = match parts {
        Some(parts) => {
            let parts: Option<Vec<u64>> = parts.iter().map(|part| u64::try_from(*part).ok()).collect();
            parts.ok_or_else(|| ctx.node.bad("split"))?
        }
        None => {
            let count = ctx.node.outputs.len() as u64;
            let each = whole.div_ceil(count.max(1));
            let part = |at: u64| each.min(whole.saturating_sub(at.saturating_mul(each)));
            (0..count).map(part).collect()
        }
    };
    if parts.iter().try_fold(0u64, |sum, part| sum.checked_add(*part)) != Some(whole)
        || parts.len() != ctx.node.outputs.len()
    {
        return Err(ctx.clash());
    }
    let mut start = 0u64;
    let mut made = Vec::with_capacity(parts.len());
    for part in parts {
        let mut out = dims.clone();
        if let Some(dim) = out.get_mut(axis) {
            *dim = part;
        }
        let places = start..start.saturating_add(part.min(Data::MAX as u64));
        let data = if dims.len() == 1 {
            fold::pick(&input.data, places.map(|at| usize::try_from(at).ok()))
        } else {
            Data::Unknown
        };
        start = start.saturating_add(part);
        made.push(Info { dims: Some(out), data });
    }
    Ok(made)
}

pub(super) fn squeeze(ctx: &Ctx<'_>) -> Result<Info, ModelError> {
    let input = ctx.need(0)?;
    let Some(dims) = &input.dims else { return Ok(Info::unknown()) };
    let Ok(axes) = ctx.list("axes", 1)? else { return Ok(Info::unknown()) };
    let mut gone = vec![axes.is_none(); dims.len()];
    for axis in axes.unwrap_or_default() {
        let axis = ctx.axis(*axis, dims.len())?;
        match (gone.get_mut(axis), dims.get(axis)) {
            (Some(gone), Some(1)) => *gone = true,
            _ => return Err(ctx.clash()),
        }
    }
    let kept = dims.iter().zip(gone).filter(|(dim, gone)| !(*gone && **dim == 1)).map(|(dim, _)| *dim);
    Ok(Info { dims: Some(kept.collect()), data: input.data.clone() })
}

pub(super) fn unsqueeze(ctx: &Ctx<'_>) -> Result<Info, ModelError> {
    let input = ctx.need(0)?;
    let Some(dims) = &input.dims else { return Ok(Info::unknown()) };
    let Ok(Some(axes)) = ctx.list("axes", 1)? else { return Ok(Info::unknown()) };
    let rank = dims.len().saturating_add(axes.len());
    let mut places = axes.iter().map(|axis| ctx.axis(*axis, rank)).collect::<Result<Vec<_>, _>>()?;
    places.sort_unstable();
    let mut out = dims.clone();
    for place in places {
        if place > out.len() {
            return Err(ctx.clash());
        }
        out.insert(place, 1);
    }
    if out.len() > glacier_wire::Tensor::MAX_RANK {
        return Err(ctx.clash());
    }
    Ok(Info { dims: Some(out), data: input.data.clone() })
}

pub(super) fn reshape(ctx: &Ctx<'_>) -> Result<Info, ModelError> {
    let input = ctx.need(0)?;
    let Some(dims) = &input.dims else { return Ok(Info::unknown()) };
    let Some(target) = ctx.need(1)?.ints() else { return Ok(Info::unknown()) };
    let zero_is_zero = ctx.node.int("allowzero", 0)? != 0;
    let (mut out, mut open) = (Vec::with_capacity(target.len()), None);
    for (at, extent) in target.iter().enumerate() {
        out.push(match extent {
            -1 if open.is_none() => {
                open = Some(at);
                1
            }
            0 if !zero_is_zero => *dims.get(at).ok_or_else(|| ctx.clash())?,
            extent => u64::try_from(*extent).map_err(|_| ctx.clash())?,
        });
    }
    let whole = volume(ctx, dims)?;
    if let Some(place) = open.and_then(|at| out.get(at).map(|_| at)) {
        let rest = volume(ctx, &out)?;
        let extent = if whole == 0 && rest == 0 { Some(0) } else { whole.checked_div(rest) };
        if let Some(dim) = out.get_mut(place) {
            *dim = extent.ok_or_else(|| ctx.clash())?;
        }
    }
    if volume(ctx, &out)? != whole {
        return Err(ctx.clash());
    }
    Ok(Info { dims: Some(out), data: input.data.clone() })
}

pub(super) fn flatten(ctx: &Ctx<'_>) -> Result<Info, ModelError> {
    let Some(dims) = &ctx.need(0)?.dims else { return Ok(Info::unknown()) };
    let axis = ctx.node.int("axis", 1)?;
    // Flattening after the last dimension is allowed.
    let axis = if axis == dims.len() as i64 { dims.len() } else { ctx.axis(axis, dims.len())? };
    let (outer, inner) = dims.split_at_checked(axis).ok_or_else(|| ctx.clash())?;
    Ok(Info::of(vec![volume(ctx, outer)?, volume(ctx, inner)?]))
}

pub(super) fn transpose(ctx: &Ctx<'_>) -> Result<Info, ModelError> {
    let input = ctx.need(0)?;
    let Some(dims) = &input.dims else { return Ok(Info::unknown()) };
    let Some(order) = ctx.node.ints("perm")? else {
        return Ok(Info::of(dims.iter().rev().copied().collect()));
    };
    let mut places = order.iter().map(|axis| ctx.axis(*axis, dims.len())).collect::<Result<Vec<_>, _>>()?;
    let out: Vec<u64> = places.iter().filter_map(|place| dims.get(*place).copied()).collect();
    places.sort_unstable();
    if !places.into_iter().eq(0..dims.len()) {
        return Err(ctx.node.bad("perm"));
    }
    let data = if dims.len() == 1 { input.data.clone() } else { Data::Unknown };
    Ok(Info { dims: Some(out), data })
}

pub(super) fn expand(ctx: &Ctx<'_>) -> Result<Info, ModelError> {
    let input = ctx.need(0)?;
    let Some(dims) = &input.dims else { return Ok(Info::unknown()) };
    let Some(target) = ctx.need(1)?.ints() else { return Ok(Info::unknown()) };
    let target: Option<Vec<u64>> = target.iter().map(|extent| u64::try_from(*extent).ok()).collect();
    let out = target.and_then(|target| broadcast(dims, &target)).ok_or_else(|| ctx.clash())?;
    Ok(Info { data: fold::expand(&input.data, dims, &out), dims: Some(out) })
}

pub(super) fn tile(ctx: &Ctx<'_>) -> Result<Info, ModelError> {
    let Some(dims) = &ctx.need(0)?.dims else { return Ok(Info::unknown()) };
    let Some(repeats) = ctx.need(1)?.ints() else { return Ok(Info::unknown()) };
    if repeats.len() != dims.len() {
        return Err(ctx.clash());
    }
    let times = |(dim, times): (&u64, &i64)| u64::try_from(*times).ok()?.checked_mul(*dim);
    let out: Option<Vec<u64>> = dims.iter().zip(repeats).map(times).collect();
    out.map(Info::of).ok_or_else(|| ctx.clash())
}

pub(super) fn pad(ctx: &Ctx<'_>) -> Result<Info, ModelError> {
    let Some(dims) = &ctx.need(0)?.dims else { return Ok(Info::unknown()) };
    let Ok(Some(pads)) = ctx.list("pads", 1)? else { return Ok(Info::unknown()) };
    let axes = match ctx.maybe(3) {
        None => (0..dims.len()).collect(),
        Some(axes) => {
            let Some(axes) = axes.ints() else { return Ok(Info::unknown()) };
            axes.iter().map(|axis| ctx.axis(*axis, dims.len())).collect::<Result<Vec<_>, _>>()?
        }
    };
    let (starts, ends) = pads.split_at_checked(axes.len()).ok_or_else(|| ctx.clash())?;
    if ends.len() != starts.len() {
        return Err(ctx.clash());
    }
    let mut out = dims.clone();
    for (axis, (start, end)) in axes.into_iter().zip(starts.iter().zip(ends)) {
        let dim = out.get_mut(axis).ok_or_else(|| ctx.clash())?;
        let padded = dim.checked_add_signed(*start).and_then(|dim| dim.checked_add_signed(*end));
        *dim = padded.ok_or_else(|| ctx.clash())?;
    }
    Ok(Info::of(out))
}

pub(super) fn constant_of_shape(ctx: &Ctx<'_>) -> Result<Info, ModelError> {
    let Some(target) = ctx.need(0)?.ints() else { return Ok(Info::unknown()) };
    let dims: Option<Vec<u64>> = target.iter().map(|extent| u64::try_from(*extent).ok()).collect();
    let dims = dims.filter(|dims| dims.len() <= glacier_wire::Tensor::MAX_RANK).ok_or_else(|| ctx.clash())?;
    let data = match fill(ctx.node.attr("value")) {
        Some(value) => fold::expand(&Data::Ints(vec![value]), &[], &dims),
        None => Data::Unknown,
    };
    Ok(Info { dims: Some(dims), data })
}

pub(super) fn range(ctx: &Ctx<'_>) -> Result<Info, ModelError> {
    let (Some([start]), Some([limit]), Some([step])) = (ctx.need(0)?.ints(), ctx.need(1)?.ints(), ctx.need(2)?.ints())
    else {
        return Ok(Info::unknown());
    };
    let size = step.checked_abs().filter(|size| *size > 0).ok_or_else(|| ctx.node.bad("step"))?;
    let span = if *step > 0 { limit.checked_sub(*start) } else { start.checked_sub(*limit) };
    let count = span.and_then(|span| u64::try_from(span.max(0)).ok()).ok_or_else(|| ctx.clash())?;
    let count = count.div_ceil(size.unsigned_abs());
    if count > Data::MAX as u64 {
        return Ok(Info::of(vec![count]));
    }
    let value = |at: u64| start.checked_add(i64::try_from(at).ok()?.checked_mul(*step)?);
    let values: Option<Vec<i64>> = (0..count).map(value).collect();
    values.map(Info::list).ok_or_else(|| ctx.clash())
}

pub(super) fn one_hot(ctx: &Ctx<'_>) -> Result<Info, ModelError> {
    let Some(mut dims) = ctx.need(0)?.dims.clone() else { return Ok(Info::unknown()) };
    let Some([depth]) = ctx.need(1)?.ints() else { return Ok(Info::unknown()) };
    let depth = u64::try_from(*depth).map_err(|_| ctx.node.bad("depth"))?;
    let axis = ctx.axis(ctx.node.int("axis", -1)?, dims.len().saturating_add(1))?;
    dims.insert(axis, depth);
    Ok(Info::of(dims))
}
