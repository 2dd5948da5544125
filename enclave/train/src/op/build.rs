//! From a node to its operator.

use super::{
    Op,
    binary::{Binary, Total},
    dropout::Dropout,
    index::{Gather, GatherElements, Where},
    integer::{Arg, Cast, Compare, CumSum, Extents, Fill, Int, IntReduce, NonZero, Range, Staircase, Triangle},
    layout::Alias,
    linear::{Gemm, MatMul},
    movement::{Concat, Margin, Move, Pad, Split},
    normalise::Softmax,
    reduce::{By, Over, Reduce},
    statistics::{BatchNorm, InstanceNorm, LayerNorm},
    unary::{Clip, Unary},
    window::{Conv, Padding, Pooling, Window},
};
use crate::{error::TrainError, kernel::Activation};
use glacier_engine::onnx::{Attr, Data, Name, Node};

/// Operators that a gradient goes through. What is not on this list takes none, whatever it can do: so that the
/// list is what tests go by.
pub const DIFFERENTIABLE: &[&str] = &[
    "Abs",
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Concat",
    "Conv",
    "Cos",
    "DepthToSpace",
    "Div",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "Expand",
    "Flatten",
    "Gather",
    "GatherElements",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "InstanceNormalization",
    "LayerNormalization",
    "LeakyRelu",
    "Log",
    "LogSoftmax",
    "MatMul",
    "Max",
    "MaxPool",
    "Mean",
    "Min",
    "Mul",
    "Neg",
    "PRelu",
    "Pad",
    "Pow",
    "Reciprocal",
    "ReduceL1",
    "ReduceL2",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceSum",
    "ReduceSumSquare",
    "Relu",
    "Reshape",
    "Selu",
    "Sigmoid",
    "Sin",
    "Slice",
    "Softmax",
    "Softplus",
    "Softsign",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Sum",
    "Swish",
    "Tanh",
    "Tile",
    "Transpose",
    "Unsqueeze",
    "Where",
    "com.microsoft/Gelu",
];

/// Element type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// 32-bit floating point.
    Float,
    /// Integers and booleans.
    Int,
}

/// An operator, and what it makes.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) op: Box<dyn Op>,
    /// Of each output that the node may have.
    pub(crate) kinds: Vec<Kind>,
}

impl Built {
    fn of(op: impl Op + 'static, kind: Kind) -> Self {
        Self { op: Box::new(op), kinds: vec![kind] }
    }
}

/// The operator of a node that takes these kinds.
pub(crate) fn build(node: &Node, opset: i64, given: &[Option<Kind>]) -> Result<Built, TrainError> {
    let kind = |at: usize| given.get(at).copied().flatten();
    let unknown = || TrainError::Operator { op: Name::new(&node.op), node: node.name.clone() };
    // The first input says of what kind a node is; of two values to choose from, the second.
    let first = kind(usize::from(node.op == "Where")).ok_or_else(|| node.bad("number of inputs"))?;
    let built = match moved(node, opset, first)? {
        Some(built) => Some(built),
        None if first == Kind::Float => floats(node, opset, given)?,
        None => ints(node, first, given)?,
    };
    let built = built.ok_or_else(unknown)?;
    // Two values that meet must be of one kind; the checks at run time would only say that shapes clash.
    let alike = matches!(
        node.op.as_str(),
        "Add"
            | "Sub"
            | "Mul"
            | "Div"
            | "Max"
            | "Min"
            | "Sum"
            | "Mean"
            | "MatMul"
            | "Gemm"
            | "Conv"
            | "Concat"
            | "Equal"
    );
    let mixed = (1..node.inputs.len()).any(|at| kind(at).is_some_and(|kind| kind != first));
    if (alike && mixed) || (node.op == "Where" && kind(2) != Some(first)) {
        return Err(node.bad("input of another type").into());
    }
    if built.op.differentiable().is_some() && !DIFFERENTIABLE.contains(&node.op.as_str()) {
        return Err(unknown());
    }
    let wanted = node.outputs.iter().rposition(Option::is_some).map_or(0, |last| last.saturating_add(1));
    if wanted > built.kinds.len() && node.op != "Split" {
        return Err(unknown());
    }
    Ok(built)
}

/// Operators that do the same to any kind.
fn moved(node: &Node, opset: i64, kind: Kind) -> Result<Option<Built>, TrainError> {
    let axes = || Ok::<_, TrainError>(node.ints("axes")?.map(<[i64]>::to_vec));
    let to_list = |name: &'static str| Ok::<_, TrainError>(node.ints(name)?.map(<[i64]>::to_vec));
    Ok(Some(match node.op.as_str() {
        "Identity" => Built::of(Alias::Identity, kind),
        "Reshape" => Built::of(Alias::Reshape { zero: node.int("allowzero", 0)? != 0 }, kind),
        "Flatten" => Built::of(Alias::Flatten { axis: node.int("axis", 1)? }, kind),
        "Squeeze" => Built::of(Alias::Squeeze { axes: axes()? }, kind),
        "Unsqueeze" => Built::of(Alias::Unsqueeze { axes: axes()? }, kind),
        "Transpose" => Built::of(Move::Transpose { order: to_list("perm")? }, kind),
        "Slice" => {
            let bounds = (opset < 10).then_some([to_list("starts")?, to_list("ends")?, axes()?]);
            Built::of(Move::Slice { bounds }, kind)
        }
        "Expand" => Built::of(Move::Expand, kind),
        "Tile" => Built::of(Move::Tile, kind),
        "DepthToSpace" => {
            let block = usize::try_from(node.int("blocksize", 0)?).ok().filter(|block| *block < 1 << 16);
            let block = block.ok_or_else(|| node.bad("blocksize"))?;
            Built::of(Move::DepthToSpace { block, columns_first: node.text("mode", "DCR")? == "CRD" }, kind)
        }
        "Concat" => Built::of(Concat { axis: node.int("axis", 0)?, kind }, kind),
        "Split" => {
            let op = Split { axis: node.int("axis", 0)?, kind, parts: to_list("split")? };
            Built { op: Box::new(op), kinds: vec![kind; node.outputs.len()] }
        }
        "Gather" => Built::of(Gather { axis: node.int("axis", 0)?, kind }, kind),
        "GatherElements" => Built::of(GatherElements { axis: node.int("axis", 0)?, kind }, kind),
        "Where" => Built::of(Where { kind }, kind),
        "Shape" => {
            let end = node.attr("end").map(|_| node.int("end", 0)).transpose()?;
            Built::of(Extents::Shape { start: node.int("start", 0)?, end }, Kind::Int)
        }
        "Size" => Built::of(Extents::Size, Kind::Int),
        "ConstantOfShape" => fill(node)?,
        "Cast" => {
            let to = node.int("to", 1)?;
            match (kind, to) {
                (Kind::Float, 1 | 11) => Built::of(Alias::Identity, Kind::Float),
                (_, 1 | 11) => Built::of(Cast { to, from: kind }, Kind::Float),
                (_, 2 | 3 | 6 | 7 | 9) => Built::of(Cast { to, from: kind }, Kind::Int),
                _ => return Ok(None),
            }
        }
        "ArgMax" | "ArgMin" => {
            let smallest = node.op == "ArgMin";
            let (axis, keep) = (node.int("axis", 0)?, node.int("keepdims", 1)? != 0);
            Built::of(Arg { smallest, axis, keep, last: node.int("select_last_index", 0)? != 0 }, Kind::Int)
        }
        "NonZero" => Built::of(NonZero, Kind::Int),
        "Trilu" => Built::of(Triangle { upper: node.int("upper", 1)? != 0, kind }, kind),
        _ => return Ok(None),
    }))
}

fn fill(node: &Node) -> Result<Built, TrainError> {
    let Some(value) = node.attr("value") else { return Ok(Built::of(Fill::Float(0.0), Kind::Float)) };
    match value {
        Attr::Constant(constant) => match &constant.data {
            Data::Floats(values) if values.len() == 1 => {
                Ok(Built::of(Fill::Float(values.first().copied().unwrap_or(0.0)), Kind::Float))
            }
            Data::Ints(values) if values.len() == 1 => {
                Ok(Built::of(Fill::Int(values.first().copied().unwrap_or(0)), Kind::Int))
            }
            _ => Err(node.bad("value").into()),
        },
        _ => Err(node.bad("value").into()),
    }
}

fn ints(node: &Node, kind: Kind, given: &[Option<Kind>]) -> Result<Option<Built>, TrainError> {
    let op = node.op.as_str();
    if op == "Range" {
        return Ok(Some(Built::of(Range, kind)));
    }
    if op == "CumSum" {
        let (exclusive, reverse) = (node.int("exclusive", 0)? != 0, node.int("reverse", 0)? != 0);
        return Ok(Some(Built::of(CumSum { exclusive, reverse }, kind)));
    }
    let by = match op {
        "ReduceSum" => Some(Int::Add),
        "ReduceProd" => Some(Int::Mul),
        "ReduceMax" => Some(Int::Max),
        "ReduceMin" => Some(Int::Min),
        _ => None,
    };
    if let Some(by) = by {
        let axes = node.ints("axes")?.map(<[i64]>::to_vec);
        let (keep, noop) = (node.int("keepdims", 1)? != 0, node.int("noop_with_empty_axes", 0)? != 0);
        return Ok(Some(Built::of(IntReduce { by, axes, keep, noop }, kind)));
    }
    // An integer base with a floating-point exponent is nothing that exporters write.
    if given.iter().flatten().any(|kind| *kind == Kind::Float) {
        return Ok(None);
    }
    Ok(Int::of(op, node.int("fmod", 0)? != 0).map(|op| Built::of(op, kind)))
}

fn floats(node: &Node, opset: i64, given: &[Option<Kind>]) -> Result<Option<Built>, TrainError> {
    let made = |op| Some(Built::of(op, Kind::Float));
    let activation = |kind| Some(Built::of(Unary::Activation(kind), Kind::Float));
    let compare = |op| Some(Built::of(op, Kind::Int));
    let stairs = |op: Staircase| Some(Built::of(op, Kind::Float));
    let binary = |op: Binary| Some(Built::of(op, Kind::Float));
    let two = node.inputs.len() == 2;
    Ok(match node.op.as_str() {
        "Relu" => activation(Activation::Relu),
        "Sigmoid" => activation(Activation::Sigmoid),
        "Tanh" => activation(Activation::Tanh),
        "Exp" => activation(Activation::Exp),
        "Erf" => activation(Activation::Erf),
        "Gelu" | "com.microsoft/Gelu" => match node.text("approximate", "none")? {
            "none" => activation(Activation::Gelu),
            "tanh" => activation(Activation::GeluTanh),
            _ => return Err(node.bad("approximate").into()),
        },
        "Swish" if float(node, "alpha", 1.0)? == 1.0 => activation(Activation::Silu),
        "Neg" => made(Unary::Neg),
        "Sqrt" => made(Unary::Sqrt),
        "Log" => made(Unary::Log),
        "Abs" => made(Unary::Abs),
        "Reciprocal" => made(Unary::Reciprocal),
        "Sin" => made(Unary::Sin),
        "Cos" => made(Unary::Cos),
        "Softplus" => made(Unary::Softplus),
        "Softsign" => made(Unary::Softsign),
        "HardSwish" => made(Unary::HardSwish),
        "LeakyRelu" => made(Unary::LeakyRelu { alpha: float(node, "alpha", 0.01)? }),
        "Elu" => made(Unary::Elu { alpha: float(node, "alpha", 1.0)? }),
        "Selu" => {
            let (alpha, gamma) = (float(node, "alpha", 1.673_263_2)?, float(node, "gamma", 1.050_701)?);
            made(Unary::Selu { alpha, gamma })
        }
        "HardSigmoid" => {
            made(Unary::HardSigmoid { alpha: float(node, "alpha", 0.2)?, beta: float(node, "beta", 0.5)? })
        }
        "Clip" => {
            let bounds = (float(node, "min", f32::MIN)?, float(node, "max", f32::MAX)?);
            Some(Built::of(Clip { bounds: (opset < 11).then_some(bounds) }, Kind::Float))
        }
        "Floor" => stairs(Staircase::Floor),
        "Ceil" => stairs(Staircase::Ceil),
        "Round" => stairs(Staircase::Round),
        "Sign" => stairs(Staircase::Sign),
        "Equal" => compare(Compare::Equal),
        "Greater" => compare(Compare::Greater),
        "GreaterOrEqual" => compare(Compare::GreaterOrEqual),
        "Less" => compare(Compare::Less),
        "LessOrEqual" => compare(Compare::LessOrEqual),
        "IsNaN" => compare(Compare::IsNan),
        "IsInf" => compare(Compare::IsInf),
        "Max" | "Min" | "Sum" | "Mean" if node.inputs.len() == 1 => Some(Built::of(Alias::Identity, Kind::Float)),
        "Add" => binary(Binary::Add),
        "Sub" => binary(Binary::Sub),
        "Mul" => binary(Binary::Mul),
        "Div" => binary(Binary::Div),
        "Pow" => binary(Binary::Pow),
        "PRelu" => binary(Binary::PRelu),
        "Max" if two => binary(Binary::Max),
        "Min" if two => binary(Binary::Min),
        "Sum" => Some(Built::of(Total::Sum, Kind::Float)),
        "Mean" => Some(Built::of(Total::Mean, Kind::Float)),
        "Gemm" => {
            let transposed = [node.int("transA", 0)? != 0, node.int("transB", 0)? != 0];
            let (alpha, beta) = (float(node, "alpha", 1.0)?, float(node, "beta", 1.0)?);
            Some(Built::of(Gemm { alpha, beta, transposed }, Kind::Float))
        }
        "MatMul" => Some(Built::of(MatMul { bias: false, alpha: 1.0 }, Kind::Float)),
        op @ ("Softmax" | "LogSoftmax") => {
            let flat = opset < 13;
            let axis = node.int("axis", if flat { 1 } else { -1 })?;
            Some(Built::of(Softmax { log: op == "LogSoftmax", axis, flat }, Kind::Float))
        }
        "LayerNormalization" => {
            let op = LayerNorm { axis: node.int("axis", -1)?, epsilon: float(node, "epsilon", 1e-5)? };
            Some(Built { op: Box::new(op), kinds: vec![Kind::Float; 3] })
        }
        "BatchNormalization" => {
            let op = BatchNorm { epsilon: float(node, "epsilon", 1e-5)?, momentum: float(node, "momentum", 0.9)? };
            Some(Built { op: Box::new(op), kinds: vec![Kind::Float; 3] })
        }
        "InstanceNormalization" => {
            Some(Built::of(InstanceNorm { epsilon: float(node, "epsilon", 1e-5)? }, Kind::Float))
        }
        "ReduceSum" | "ReduceMean" | "ReduceMax" | "ReduceMin" | "ReduceL1" | "ReduceL2" | "ReduceSumSquare"
        | "GlobalAveragePool" | "GlobalMaxPool" => Some(Built::of(reduction(node)?, Kind::Float)),
        "Conv" => Some(Built::of(Conv { window: window(node)?, groups: node.int("group", 1)? }, Kind::Float)),
        "MaxPool" | "AveragePool" => {
            let kernel = node.ints("kernel_shape")?.ok_or_else(|| node.bad("kernel_shape"))?.to_vec();
            if node.int("storage_order", 0)? != 0 {
                return Err(node.bad("storage_order").into());
            }
            let (average, count_padding) = (node.op == "AveragePool", node.int("count_include_pad", 0)? != 0);
            Some(Built::of(Pooling { window: window(node)?, kernel, average, count_padding }, Kind::Float))
        }
        "Pad" => {
            let margin = match node.text("mode", "constant")? {
                "constant" => Margin::Constant,
                "reflect" => Margin::Reflect,
                "edge" => Margin::Edge,
                "wrap" => Margin::Wrap,
                _ => return Err(node.bad("mode").into()),
            };
            let pads = node.ints("pads")?.map(<[i64]>::to_vec);
            let value = float(node, "value", 0.0)?;
            Some(Built::of(Pad { margin, fixed: pads.map(|pads| (pads, value)) }, Kind::Float))
        }
        "Dropout" => {
            if given.get(2).copied().flatten() == Some(Kind::Float) {
                return Err(node.bad("training_mode").into());
            }
            let ratio = if opset < 12 { Some(float(node, "ratio", 0.5)?) } else { None };
            Some(Built { op: Box::new(Dropout { ratio }), kinds: vec![Kind::Float, Kind::Int] })
        }
        _ => None,
    })
}

fn reduction(node: &Node) -> Result<Reduce, TrainError> {
    let by = match node.op.as_str() {
        "ReduceSum" => By::Sum,
        "ReduceMean" | "GlobalAveragePool" => By::Mean,
        "ReduceMax" | "GlobalMaxPool" => By::Max,
        "ReduceMin" => By::Min,
        "ReduceL1" => By::L1,
        "ReduceL2" => By::L2,
        _ => By::SumSquare,
    };
    let over = match node.ints("axes")? {
        _ if node.op.starts_with("Global") => Over::Planes,
        Some(axes) => Over::Axes(axes.to_vec()),
        None => Over::Input,
    };
    let (keep, noop) = (node.int("keepdims", 1)? != 0, node.int("noop_with_empty_axes", 0)? != 0);
    Ok(Reduce { by, over, keep, noop })
}

fn window(node: &Node) -> Result<Window, TrainError> {
    let list = |name: &'static str| Ok::<_, TrainError>(node.ints(name)?.map(<[i64]>::to_vec));
    let padding = match node.text("auto_pad", "NOTSET")? {
        "NOTSET" => Padding::Fixed(list("pads")?),
        "VALID" => Padding::Fixed(None),
        "SAME_UPPER" => Padding::Same { upper: true },
        "SAME_LOWER" => Padding::Same { upper: false },
        _ => return Err(node.bad("auto_pad").into()),
    };
    let ceil = node.int("ceil_mode", 0)? != 0;
    Ok(Window { strides: list("strides")?, dilations: list("dilations")?, padding, ceil })
}

/// A floating-point attribute, or its default.
fn float(node: &Node, name: &'static str, default: f32) -> Result<f32, TrainError> {
    match node.attr(name) {
        None => Ok(default),
        Some(Attr::Float(value)) => Ok(*value),
        Some(_) => Err(node.bad(name).into()),
    }
}
