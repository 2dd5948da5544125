//! Shape of what an operator makes, from the shapes (and small values) of what it takes.
//!
//! A rule gives `Info::unknown()` where the answer depends on the data, and an error where the
//! operator could not run.

mod layout;
mod spatial;

use super::{Info, fold, product};
use crate::onnx::{Attr, Data, ModelError, Node};
use std::collections::BTreeMap;

/// What an operator does to shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// The first output is shaped like the first input.
    Same,
    /// The first output is shaped like the second input.
    LikeSecond,
    /// Inputs are broadcast against each other.
    Broadcast,
    Where,
    Cast,
    DynamicQuantizeLinear,
    LayerNormalization,
    Reduce,
    Arg,
    TopK,
    MatMul,
    MatMulNBits,
    Gemm,
    Einsum,
    Conv,
    ConvTranspose,
    Pool,
    GlobalPool,
    Resize,
    Rnn,
    Shape,
    Size,
    Gather,
    GatherNd,
    Concat,
    Slice,
    Split,
    Squeeze,
    Unsqueeze,
    Reshape,
    Flatten,
    Transpose,
    Expand,
    Tile,
    Pad,
    ConstantOfShape,
    Range,
    OneHot,
    NonZero,
    DepthToSpace,
}

impl Rule {
    /// The operators that are supported: those with a rule.
    pub(crate) fn of(op: &str) -> Option<Self> {
        Some(match op {
            "Abs"
            | "Acos"
            | "Acosh"
            | "Asin"
            | "Asinh"
            | "Atan"
            | "Atanh"
            | "BatchNormalization"
            | "Ceil"
            | "Clip"
            | "Cos"
            | "Cosh"
            | "CumSum"
            | "DequantizeLinear"
            | "Dropout"
            | "Elu"
            | "Erf"
            | "Exp"
            | "Floor"
            | "Gelu"
            | "HardSigmoid"
            | "HardSwish"
            | "Identity"
            | "InstanceNormalization"
            | "IsInf"
            | "IsNaN"
            | "LeakyRelu"
            | "Log"
            | "LogSoftmax"
            | "LpNormalization"
            | "Neg"
            | "Not"
            | "PRelu"
            | "QuantizeLinear"
            | "RMSNormalization"
            | "Reciprocal"
            | "Relu"
            | "Round"
            | "ScatterElements"
            | "ScatterND"
            | "Selu"
            | "Sigmoid"
            | "Sign"
            | "Sin"
            | "Sinh"
            | "Softmax"
            | "Softplus"
            | "Softsign"
            | "Sqrt"
            | "Swish"
            | "Tan"
            | "Tanh"
            | "Trilu"
            | "com.microsoft/BiasGelu"
            | "com.microsoft/FastGelu"
            | "com.microsoft/Gelu"
            | "com.microsoft/QuickGelu" => Self::Same,
            "GatherElements" => Self::LikeSecond,
            "Add" | "And" | "Div" | "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "Max"
            | "Mean" | "Min" | "Mod" | "Mul" | "Or" | "Pow" | "Sub" | "Sum" | "Xor" => Self::Broadcast,
            "Where" => Self::Where,
            "Cast" => Self::Cast,
            "DynamicQuantizeLinear" => Self::DynamicQuantizeLinear,
            "LayerNormalization" => Self::LayerNormalization,
            "ReduceL1" | "ReduceL2" | "ReduceLogSum" | "ReduceLogSumExp" | "ReduceMax" | "ReduceMean" | "ReduceMin"
            | "ReduceProd" | "ReduceSum" | "ReduceSumSquare" => Self::Reduce,
            "ArgMax" | "ArgMin" => Self::Arg,
            "TopK" => Self::TopK,
            "MatMul" | "MatMulInteger" => Self::MatMul,
            "com.microsoft/MatMulNBits" => Self::MatMulNBits,
            "Gemm" => Self::Gemm,
            "Einsum" => Self::Einsum,
            "Conv" | "ConvInteger" => Self::Conv,
            "ConvTranspose" => Self::ConvTranspose,
            "AveragePool" | "MaxPool" => Self::Pool,
            "GlobalAveragePool" | "GlobalMaxPool" => Self::GlobalPool,
            "Resize" | "Upsample" => Self::Resize,
            "LSTM" | "GRU" => Self::Rnn,
            "Shape" => Self::Shape,
            "Size" => Self::Size,
            "Gather" => Self::Gather,
            "GatherND" => Self::GatherNd,
            "Concat" => Self::Concat,
            "Slice" => Self::Slice,
            "Split" => Self::Split,
            "Squeeze" => Self::Squeeze,
            "Unsqueeze" => Self::Unsqueeze,
            "Reshape" => Self::Reshape,
            "Flatten" => Self::Flatten,
            "Transpose" => Self::Transpose,
            "Expand" => Self::Expand,
            "Tile" => Self::Tile,
            "Pad" => Self::Pad,
            "ConstantOfShape" => Self::ConstantOfShape,
            "Range" => Self::Range,
            "OneHot" => Self::OneHot,
            "NonZero" => Self::NonZero,
            "DepthToSpace" => Self::DepthToSpace,
            _ => return None,
        })
    }
}

/// One node with what it takes: what every rule looks at.
pub(super) struct Ctx<'a> {
    pub(super) node: &'a Node,
    pub(super) opset: i64,
    given: &'a [Option<&'a Info>],
}

impl<'a> Ctx<'a> {
    /// The error for shapes that cannot go together.
    fn clash(&self) -> ModelError {
        ModelError::Shape(self.node.name.clone())
    }

    /// An optional input.
    fn maybe(&self, at: usize) -> Option<&'a Info> {
        self.given.get(at).copied().flatten()
    }

    /// An input that must be there.
    fn need(&self, at: usize) -> Result<&'a Info, ModelError> {
        self.maybe(at).ok_or_else(|| self.node.bad("number of inputs"))
    }

    /// Turns a possibly negative axis of `rank` dimensions into a place.
    fn axis(&self, axis: i64, rank: usize) -> Result<usize, ModelError> {
        let from_end = if axis < 0 { axis.checked_add_unsigned(rank as u64) } else { Some(axis) };
        let axis = from_end.and_then(|axis| usize::try_from(axis).ok()).filter(|axis| *axis < rank);
        axis.ok_or_else(|| self.node.bad("axis"))
    }

    /// Axes of an attribute, or of an input in newer operator sets. `Ok(None)`: not given;
    /// `Err(None)`: given, but known to the data only.
    #[allow(clippy::type_complexity)]
    fn list(&self, attribute: &'static str, input: usize) -> Result<Result<Option<&'a [i64]>, ()>, ModelError> {
        if let Some(values) = self.node.ints(attribute)? {
            return Ok(Ok(Some(values)));
        }
        Ok(match self.maybe(input) {
            None => Ok(None),
            Some(info) => info.ints().map(Some).ok_or(()),
        })
    }

    /// An attribute of non-negative numbers, one for each of `count` dimensions.
    fn sizes(&self, name: &'static str, count: usize, default: u64) -> Result<Vec<u64>, ModelError> {
        let Some(values) = self.node.ints(name)? else { return Ok(vec![default; count]) };
        let values: Option<Vec<u64>> = values.iter().map(|value| u64::try_from(*value).ok()).collect();
        values.filter(|values| values.len() == count).ok_or_else(|| self.node.bad(name))
    }
}

/// Shapes of the node's outputs; as many as it has outputs.
pub(super) fn infer(node: &Node, opset: i64, given: &[Option<&Info>]) -> Result<Vec<Info>, ModelError> {
    let ctx = Ctx { node, opset, given };
    let rule = Rule::of(&node.op).ok_or_else(|| ModelError::Unmetered(node.name.clone()))?;
    let mut made = match rule {
        Rule::Same => {
            let input = ctx.need(0)?;
            vec![Info { dims: input.dims.clone(), data: fold::unary(&node.op, &input.data) }]
        }
        Rule::LikeSecond => vec![Info { data: Data::Unknown, ..ctx.need(1)?.clone() }],
        Rule::Broadcast => vec![broadcast_all(&ctx)?],
        Rule::Where => vec![select(&ctx)?],
        Rule::Cast => {
            let input = ctx.need(0)?;
            vec![Info { dims: input.dims.clone(), data: fold::cast(&input.data, node.int("to", 1)?) }]
        }
        Rule::DynamicQuantizeLinear => {
            let scalar = || Info::of(Vec::new());
            vec![Info { data: Data::Unknown, ..ctx.need(0)?.clone() }, scalar(), scalar()]
        }
        Rule::LayerNormalization => layer_normalization(&ctx)?,
        Rule::Reduce => vec![reduce(&ctx)?],
        Rule::Arg => vec![arg(&ctx)?],
        Rule::TopK => top_k(&ctx)?,
        Rule::MatMul => vec![matmul(&ctx)?],
        Rule::MatMulNBits => vec![matmul_n_bits(&ctx)?],
        Rule::Gemm => vec![gemm(&ctx)?],
        Rule::Einsum => vec![einsum_output(&ctx)?],
        Rule::Conv => vec![spatial::conv(&ctx)?],
        Rule::ConvTranspose => vec![spatial::conv_transpose(&ctx)?],
        Rule::Pool => vec![spatial::pool(&ctx)?],
        Rule::GlobalPool => vec![spatial::global_pool(&ctx)?],
        Rule::Resize => vec![spatial::resize(&ctx)?],
        Rule::DepthToSpace => vec![spatial::depth_to_space(&ctx)?],
        Rule::Rnn => spatial::rnn(&ctx)?,
        Rule::Shape => vec![layout::shape(&ctx)?],
        Rule::Size => vec![layout::size(&ctx)?],
        Rule::Gather => vec![layout::gather(&ctx)?],
        Rule::GatherNd => vec![layout::gather_nd(&ctx)?],
        Rule::Concat => vec![layout::concat(&ctx)?],
        Rule::Slice => vec![layout::slice(&ctx)?],
        Rule::Split => layout::split(&ctx)?,
        Rule::Squeeze => vec![layout::squeeze(&ctx)?],
        Rule::Unsqueeze => vec![layout::unsqueeze(&ctx)?],
        Rule::Reshape => vec![layout::reshape(&ctx)?],
        Rule::Flatten => vec![layout::flatten(&ctx)?],
        Rule::Transpose => vec![layout::transpose(&ctx)?],
        Rule::Expand => vec![layout::expand(&ctx)?],
        Rule::Tile => vec![layout::tile(&ctx)?],
        Rule::Pad => vec![layout::pad(&ctx)?],
        Rule::ConstantOfShape => vec![layout::constant_of_shape(&ctx)?],
        Rule::Range => vec![layout::range(&ctx)?],
        Rule::OneHot => vec![layout::one_hot(&ctx)?],
        Rule::NonZero => vec![Info::unknown()],
    };
    made.resize(node.outputs.len(), Info::unknown());
    Ok(made)
}

/// The common shape of two, or `None`.
fn broadcast(a: &[u64], b: &[u64]) -> Option<Vec<u64>> {
    let rank = a.len().max(b.len());
    let at = |dims: &[u64], back: usize| dims.len().checked_sub(back).and_then(|axis| dims.get(axis)).copied();
    let mut dims = Vec::with_capacity(rank);
    for back in (1..=rank).rev() {
        dims.push(match (at(a, back).unwrap_or(1), at(b, back).unwrap_or(1)) {
            (a, b) if a == b => a,
            (1, other) | (other, 1) => other,
            _ => return None,
        });
    }
    Some(dims)
}

fn broadcast_all(ctx: &Ctx<'_>) -> Result<Info, ModelError> {
    let mut sum = ctx.need(0)?.clone();
    for at in 1..ctx.given.len() {
        let next = ctx.need(at)?;
        let (Some(a), Some(b)) = (&sum.dims, &next.dims) else { return Ok(Info::unknown()) };
        let dims = broadcast(a, b).ok_or_else(|| ctx.clash())?;
        let (a, b) = (fold::expand(&sum.data, a, &dims), fold::expand(&next.data, b, &dims));
        sum = Info { data: fold::binary(&ctx.node.op, &a, &b), dims: Some(dims) };
    }
    Ok(sum)
}

fn select(ctx: &Ctx<'_>) -> Result<Info, ModelError> {
    let (condition, yes, no) = (ctx.need(0)?, ctx.need(1)?, ctx.need(2)?);
    let (Some(c), Some(y), Some(n)) = (&condition.dims, &yes.dims, &no.dims) else { return Ok(Info::unknown()) };
    let dims = broadcast(c, y).and_then(|dims| broadcast(&dims, n)).ok_or_else(|| ctx.clash())?;
    let wide = |info: &Info, from: &[u64]| fold::expand(&info.data, from, &dims);
    let data = match (wide(condition, c), wide(yes, y), wide(no, n)) {
        (Data::Ints(c), Data::Ints(y), Data::Ints(n)) => {
            Data::Ints(c.iter().zip(y.iter().zip(n)).map(|(c, (y, n))| if *c != 0 { *y } else { n }).collect())
        }
        _ => Data::Unknown,
    };
    Ok(Info { dims: Some(dims), data })
}

fn layer_normalization(ctx: &Ctx<'_>) -> Result<Vec<Info>, ModelError> {
    let Some(dims) = &ctx.need(0)?.dims else { return Ok(Vec::new()) };
    let axis = ctx.axis(ctx.node.int("axis", -1)?, dims.len())?;
    let means = dims.iter().enumerate().map(|(at, dim)| if at < axis { *dim } else { 1 }).collect::<Vec<_>>();
    Ok(vec![Info::of(dims.clone()), Info::of(means.clone()), Info::of(means)])
}

fn reduce(ctx: &Ctx<'_>) -> Result<Info, ModelError> {
    let Some(dims) = &ctx.need(0)?.dims else { return Ok(Info::unknown()) };
    let Ok(axes) = ctx.list("axes", 1)? else { return Ok(Info::unknown()) };
    let mut reduced = vec![false; dims.len()];
    match axes {
        Some(axes) if !axes.is_empty() => {
            for axis in axes {
                let axis = ctx.axis(*axis, dims.len())?;
                if let Some(flag) = reduced.get_mut(axis) {
                    *flag = true;
                }
            }
        }
        _ if ctx.node.int("noop_with_empty_axes", 0)? != 0 => {}
        _ => reduced.fill(true),
    }
    let keep = ctx.node.int("keepdims", 1)? != 0;
    let dims = dims.iter().zip(reduced).filter_map(|(dim, reduced)| match (reduced, keep) {
        (false, _) => Some(*dim),
        (true, true) => Some(1),
        (true, false) => None,
    });
    Ok(Info::of(dims.collect()))
}

fn arg(ctx: &Ctx<'_>) -> Result<Info, ModelError> {
    let Some(mut dims) = ctx.need(0)?.dims.clone() else { return Ok(Info::unknown()) };
    let axis = ctx.axis(ctx.node.int("axis", 0)?, dims.len())?;
    if ctx.node.int("keepdims", 1)? == 0 {
        dims.remove(axis);
    } else if let Some(dim) = dims.get_mut(axis) {
        *dim = 1;
    }
    Ok(Info::of(dims))
}

fn top_k(ctx: &Ctx<'_>) -> Result<Vec<Info>, ModelError> {
    let Some(mut dims) = ctx.need(0)?.dims.clone() else { return Ok(Vec::new()) };
    let Some([k]) = ctx.need(1)?.ints() else { return Ok(Vec::new()) };
    let axis = ctx.axis(ctx.node.int("axis", -1)?, dims.len())?;
    let k = u64::try_from(*k).map_err(|_| ctx.node.bad("k"))?;
    if let Some(dim) = dims.get_mut(axis) {
        *dim = k;
    }
    Ok(vec![Info::of(dims.clone()), Info::of(dims)])
}

fn matmul(ctx: &Ctx<'_>) -> Result<Info, ModelError> {
    let (Some(a), Some(b)) = (&ctx.need(0)?.dims, &ctx.need(1)?.dims) else { return Ok(Info::unknown()) };
    let (a_vector, b_vector) = (a.len() == 1, b.len() == 1);
    let a = if a_vector { vec![1, *a.first().unwrap_or(&1)] } else { a.clone() };
    let b = if b_vector { vec![*b.first().unwrap_or(&1), 1] } else { b.clone() };
    let ([a_batch @ .., m, k], [b_batch @ .., inner, n]) = (a.as_slice(), b.as_slice()) else {
        return Err(ctx.clash());
    };
    if k != inner {
        return Err(ctx.clash());
    }
    let mut dims = broadcast(a_batch, b_batch).ok_or_else(|| ctx.clash())?;
    if !a_vector {
        dims.push(*m);
    }
    if !b_vector {
        dims.push(*n);
    }
    Ok(Info::of(dims))
}

fn matmul_n_bits(ctx: &Ctx<'_>) -> Result<Info, ModelError> {
    let Some(mut dims) = ctx.need(0)?.dims.clone() else { return Ok(Info::unknown()) };
    let columns = u64::try_from(ctx.node.int("N", -1)?).map_err(|_| ctx.node.bad("N"))?;
    *dims.last_mut().ok_or_else(|| ctx.clash())? = columns;
    Ok(Info::of(dims))
}

fn gemm(ctx: &Ctx<'_>) -> Result<Info, ModelError> {
    let (Some(a), Some(b)) = (&ctx.need(0)?.dims, &ctx.need(1)?.dims) else { return Ok(Info::unknown()) };
    let ([a0, a1], [b0, b1]) = (a.as_slice(), b.as_slice()) else { return Err(ctx.clash()) };
    let (m, k) = if ctx.node.int("transA", 0)? != 0 { (a1, a0) } else { (a0, a1) };
    let (inner, n) = if ctx.node.int("transB", 0)? != 0 { (b1, b0) } else { (b0, b1) };
    if k != inner {
        return Err(ctx.clash());
    }
    Ok(Info::of(vec![*m, *n]))
}

/// Extent of every index of an `Einsum`; `None` when an operand's shape is not known.
pub(super) fn einsum(node: &Node, given: &[Option<&Info>]) -> Result<Option<BTreeMap<char, u64>>, ModelError> {
    let ctx = Ctx { node, opset: 0, given };
    let (terms, _) = equation(&ctx)?;
    let mut extents = BTreeMap::new();
    if terms.len() != given.len() {
        return Err(ctx.clash());
    }
    for (at, term) in terms.iter().enumerate() {
        let Some(dims) = &ctx.need(at)?.dims else { return Ok(None) };
        if term.len() != dims.len() {
            return Err(ctx.clash());
        }
        for (index, dim) in term.iter().zip(dims) {
            let known = extents.entry(*index).or_insert(*dim);
            if *known == 1 {
                *known = *dim;
            } else if *dim != 1 && known != dim {
                return Err(ctx.clash());
            }
        }
    }
    Ok(Some(extents))
}

fn einsum_output(ctx: &Ctx<'_>) -> Result<Info, ModelError> {
    let (_, output) = equation(ctx)?;
    let Some(extents) = einsum(ctx.node, ctx.given)? else { return Ok(Info::unknown()) };
    let dims: Option<Vec<u64>> = output.iter().map(|index| extents.get(index).copied()).collect();
    dims.map(Info::of).ok_or_else(|| ctx.clash())
}

/// Indices of the operands and of the output. An ellipsis is not supported.
fn equation(ctx: &Ctx<'_>) -> Result<(Vec<Vec<char>>, Vec<char>), ModelError> {
    let text: String = ctx.node.text("equation", "")?.chars().filter(|c| *c != ' ').collect();
    let (inputs, output) = text.split_once("->").map_or((text.as_str(), None), |(i, o)| (i, Some(o)));
    if !text.chars().all(|c| c.is_ascii_alphabetic() || matches!(c, ',' | '-' | '>')) {
        return Err(ctx.node.bad("equation"));
    }
    let terms: Vec<Vec<char>> = inputs.split(',').map(|term| term.chars().collect()).collect();
    let output = match output {
        Some(output) => output.chars().collect(),
        None => {
            let mut counts = BTreeMap::new();
            for index in terms.iter().flatten() {
                let count = counts.entry(*index).or_insert(0u32);
                *count = count.saturating_add(1);
            }
            counts.into_iter().filter(|(_, count)| *count == 1).map(|(index, _)| index).collect()
        }
    };
    Ok((terms, output))
}

/// An attribute that holds one number for a fill value, as `ConstantOfShape` has.
fn fill(attr: Option<&Attr>) -> Option<i64> {
    match attr {
        Some(Attr::Constant(constant)) => match &constant.data {
            Data::Ints(values) => values.first().copied(),
            _ => None,
        },
        _ => None,
    }
}

/// Product of dimensions, or the clash that an overflow is.
fn volume(ctx: &Ctx<'_>, dims: &[u64]) -> Result<u64, ModelError> {
    product(dims).ok_or_else(|| ctx.clash())
}
