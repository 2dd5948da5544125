//! Convolution, pooling, resizing and recurrence.

use super::{Ctx, volume};
use crate::{
    meter::Info,
    onnx::{Attr, Data, ModelError},
};

/// How a window moves over the spatial dimensions.
struct Window {
    kernel: Vec<u64>,
    strides: Vec<u64>,
    dilations: Vec<u64>,
    padding: Padding,
}

enum Padding {
    /// Output is input over stride, rounded up.
    Same,
    /// Starts, then ends.
    Fixed(Vec<u64>),
}

/// A window along one dimension.
struct Axis {
    kernel: u64,
    stride: u64,
    dilation: u64,
    /// Start and end; `None` for [`Padding::Same`].
    pads: Option<(u64, u64)>,
}

impl Window {
    fn of(ctx: &Ctx<'_>, kernel: Vec<u64>) -> Result<Self, ModelError> {
        let rank = kernel.len();
        let strides = ctx.sizes("strides", rank, 1)?;
        let dilations = ctx.sizes("dilations", rank, 1)?;
        if strides.contains(&0) || dilations.contains(&0) || kernel.contains(&0) {
            return Err(ctx.node.bad("window"));
        }
        let padding = match ctx.node.text("auto_pad", "NOTSET")? {
            "SAME_UPPER" | "SAME_LOWER" => Padding::Same,
            "VALID" => Padding::Fixed(vec![0; rank.saturating_mul(2)]),
            "NOTSET" => Padding::Fixed(ctx.sizes("pads", rank.saturating_mul(2), 0)?),
            _ => return Err(ctx.node.bad("auto_pad")),
        };
        Ok(Self { kernel, strides, dilations, padding })
    }

    fn axes(&self) -> impl Iterator<Item = Axis> + '_ {
        let rank = self.kernel.len();
        self.kernel.iter().zip(&self.strides).zip(&self.dilations).enumerate().map(move |(at, ((k, s), d))| {
            let pads = match &self.padding {
                Padding::Same => None,
                Padding::Fixed(pads) => {
                    let end = rank.checked_add(at).and_then(|at| pads.get(at));
                    Some((pads.get(at).copied().unwrap_or(0), end.copied().unwrap_or(0)))
                }
            };
            Axis { kernel: *k, stride: *s, dilation: *d, pads }
        })
    }

    /// Places of the window along each dimension.
    fn places(&self, ctx: &Ctx<'_>, spatial: &[u64], ceil: bool) -> Result<Vec<u64>, ModelError> {
        let place = |(dim, axis): (&u64, Axis)| {
            let Axis { kernel, stride, dilation, pads } = axis;
            let Some((start, end)) = pads else { return Some(dim.div_ceil(stride)) };
            let reach = dilation.checked_mul(kernel.checked_sub(1)?)?.checked_add(1)?;
            let room = dim.checked_add(start)?.checked_add(end)?.checked_sub(reach)?;
            if !ceil {
                return room.checked_div(stride)?.checked_add(1);
            }
            // No window begins beyond the input and its leading padding.
            let most = dim.checked_add(start)?.checked_sub(1)?.checked_div(stride)?.checked_add(1)?;
            Some(room.div_ceil(stride).checked_add(1)?.min(most))
        };
        let places: Option<Vec<u64>> = spatial.iter().zip(self.axes()).map(place).collect();
        places.ok_or_else(|| ctx.clash())
    }
}

pub(super) fn conv(ctx: &Ctx<'_>) -> Result<Info, ModelError> {
    let (Some(x), Some(w)) = (&ctx.need(0)?.dims, &ctx.need(1)?.dims) else { return Ok(Info::unknown()) };
    let ([batch, channels, spatial @ ..], [outputs, per_group, kernel @ ..]) = (x.as_slice(), w.as_slice()) else {
        return Err(ctx.clash());
    };
    let groups = u64::try_from(ctx.node.int("group", 1)?).map_err(|_| ctx.node.bad("group"))?;
    if spatial.len() != kernel.len() || per_group.checked_mul(groups) != Some(*channels) {
        return Err(ctx.clash());
    }
    let window = Window::of(ctx, kernel.to_vec())?;
    let mut dims = vec![*batch, *outputs];
    dims.extend(window.places(ctx, spatial, false)?);
    Ok(Info::of(dims))
}

pub(super) fn conv_transpose(ctx: &Ctx<'_>) -> Result<Info, ModelError> {
    let (Some(x), Some(w)) = (&ctx.need(0)?.dims, &ctx.need(1)?.dims) else { return Ok(Info::unknown()) };
    let ([batch, channels, spatial @ ..], [inputs, per_group, kernel @ ..]) = (x.as_slice(), w.as_slice()) else {
        return Err(ctx.clash());
    };
    let groups = u64::try_from(ctx.node.int("group", 1)?).map_err(|_| ctx.node.bad("group"))?;
    // An explicit output shape is not something the built-in engine takes.
    if spatial.len() != kernel.len() || channels != inputs || ctx.node.attr("output_shape").is_some() {
        return Err(ctx.clash());
    }
    let window = Window::of(ctx, kernel.to_vec())?;
    let extra = ctx.sizes("output_padding", kernel.len(), 0)?;
    let mut dims = vec![*batch, per_group.checked_mul(groups).ok_or_else(|| ctx.clash())?];
    for ((dim, Axis { kernel, stride, dilation, pads }), extra) in spatial.iter().zip(window.axes()).zip(extra) {
        let extent = || match pads {
            None => dim.checked_mul(stride),
            Some((start, end)) => {
                let reach = dilation.checked_mul(kernel.checked_sub(1)?)?.checked_add(1)?;
                let full = stride.checked_mul(dim.checked_sub(1)?)?.checked_add(reach)?.checked_add(extra)?;
                full.checked_sub(start)?.checked_sub(end)
            }
        };
        dims.push(extent().ok_or_else(|| ctx.clash())?);
    }
    Ok(Info::of(dims))
}

pub(super) fn pool(ctx: &Ctx<'_>) -> Result<Info, ModelError> {
    let Some(x) = &ctx.need(0)?.dims else { return Ok(Info::unknown()) };
    let [batch, channels, spatial @ ..] = x.as_slice() else { return Err(ctx.clash()) };
    if ctx.node.attr("kernel_shape").is_none() {
        return Err(ctx.node.bad("kernel_shape"));
    }
    let window = Window::of(ctx, ctx.sizes("kernel_shape", spatial.len(), 1)?)?;
    let mut dims = vec![*batch, *channels];
    dims.extend(window.places(ctx, spatial, ctx.node.int("ceil_mode", 0)? != 0)?);
    Ok(Info::of(dims))
}

pub(super) fn global_pool(ctx: &Ctx<'_>) -> Result<Info, ModelError> {
    let Some(x) = &ctx.need(0)?.dims else { return Ok(Info::unknown()) };
    let dims = x.iter().enumerate().map(|(at, dim)| if at < 2 { *dim } else { 1 });
    Ok(Info::of(dims.collect()))
}

pub(super) fn resize(ctx: &Ctx<'_>) -> Result<Info, ModelError> {
    let Some(x) = &ctx.need(0)?.dims else { return Ok(Info::unknown()) };
    // Axes and aspect policies came with opset 18; the built-in engine knows the plain form.
    for attribute in ["axes", "keep_aspect_ratio_policy"] {
        if ctx.node.attr(attribute).is_some_and(|attr| *attr != Attr::Text("stretch".to_owned())) {
            return Err(ctx.node.bad(attribute));
        }
    }
    let scales_at = if ctx.node.op == "Upsample" || ctx.opset < 11 { 1 } else { 2 };
    let given = |at: usize| ctx.maybe(at).filter(|info| info.dims.as_deref() != Some(&[0]));
    if let Some(sizes) = given(3).filter(|_| scales_at == 2) {
        let Some(sizes) = sizes.ints() else { return Ok(Info::unknown()) };
        let dims: Option<Vec<u64>> = sizes.iter().map(|size| u64::try_from(*size).ok()).collect();
        return dims.filter(|dims| dims.len() == x.len()).map(Info::of).ok_or_else(|| ctx.clash());
    }
    let constant = match ctx.node.attr("scales") {
        Some(Attr::Floats(scales)) => Some(scales.as_slice()),
        _ => match given(scales_at).map(|info| &info.data) {
            Some(Data::Floats(scales)) => Some(scales.as_slice()),
            _ => None,
        },
    };
    let Some(scales) = constant else { return Ok(Info::unknown()) };
    if scales.len() != x.len() {
        return Err(ctx.clash());
    }
    let scale = |(dim, scale): (&u64, &f32)| {
        #[allow(clippy::cast_precision_loss)]
        let extent = (*dim as f32 * scale).floor();
        (0.0..2e9).contains(&extent).then_some(extent as u64)
    };
    let dims: Option<Vec<u64>> = x.iter().zip(scales).map(scale).collect();
    dims.map(Info::of).ok_or_else(|| ctx.clash())
}

pub(super) fn depth_to_space(ctx: &Ctx<'_>) -> Result<Info, ModelError> {
    let Some(x) = &ctx.need(0)?.dims else { return Ok(Info::unknown()) };
    let [batch, channels, height, width] = x.as_slice() else { return Err(ctx.clash()) };
    let block = u64::try_from(ctx.node.int("blocksize", 0)?).map_err(|_| ctx.node.bad("blocksize"))?;
    let dims = || {
        let depth = channels.checked_div(block.checked_mul(block)?)?;
        Some(vec![*batch, depth, height.checked_mul(block)?, width.checked_mul(block)?])
    };
    let dims = dims().ok_or_else(|| ctx.node.bad("blocksize"))?;
    if volume(ctx, &dims)? != volume(ctx, x)? {
        return Err(ctx.clash());
    }
    Ok(Info::of(dims))
}

pub(super) fn rnn(ctx: &Ctx<'_>) -> Result<Vec<Info>, ModelError> {
    let (Some(x), Some(w), Some(r)) = (&ctx.need(0)?.dims, &ctx.need(1)?.dims, &ctx.need(2)?.dims) else {
        return Ok(Vec::new());
    };
    let gates = if ctx.node.op == "LSTM" { 4u64 } else { 3 };
    let ([time, batch, width], [directions, gated, inputs], [_, _, hidden]) =
        (x.as_slice(), w.as_slice(), r.as_slice())
    else {
        return Err(ctx.clash());
    };
    let expected = match ctx.node.text("direction", "forward")? {
        "bidirectional" => 2,
        _ => 1,
    };
    if width != inputs || *directions != expected || gates.checked_mul(*hidden) != Some(*gated) {
        return Err(ctx.clash());
    }
    let last = vec![*directions, *batch, *hidden];
    Ok(vec![Info::of(vec![*time, *directions, *batch, *hidden]), Info::of(last.clone()), Info::of(last)])
}
