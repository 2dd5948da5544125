//! From a node to its operator.

use super::{
    Op,
    binary::{Binary, Total},
    layout::Alias,
    linear::{Gemm, MatMul},
    normalise::Softmax,
    unary::{Clip, Unary},
};
use crate::{error::TrainError, kernel::Activation};
use glacier_engine::onnx::{Attr, Name, Node};

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
    fn float(op: impl Op + 'static) -> Self {
        Self { op: Box::new(op), kinds: vec![Kind::Float] }
    }
}

/// The operator of a node that takes these kinds.
pub(crate) fn build(node: &Node, opset: i64, given: &[Option<Kind>]) -> Result<Built, TrainError> {
    let first = given.first().copied().flatten().unwrap_or(Kind::Int);
    let activation = |kind| Some(Built::float(Unary::Activation(kind)));
    let built = match (node.op.as_str(), first) {
        ("Relu", Kind::Float) => activation(Activation::Relu),
        ("Sigmoid", Kind::Float) => activation(Activation::Sigmoid),
        ("Tanh", Kind::Float) => activation(Activation::Tanh),
        ("Exp", Kind::Float) => activation(Activation::Exp),
        ("Erf", Kind::Float) => activation(Activation::Erf),
        ("Neg", Kind::Float) => Some(Built::float(Unary::Neg)),
        ("Sqrt", Kind::Float) => Some(Built::float(Unary::Sqrt)),
        ("Log", Kind::Float) => Some(Built::float(Unary::Log)),
        ("Abs", Kind::Float) => Some(Built::float(Unary::Abs)),
        ("Reciprocal", Kind::Float) => Some(Built::float(Unary::Reciprocal)),
        ("Sin", Kind::Float) => Some(Built::float(Unary::Sin)),
        ("Cos", Kind::Float) => Some(Built::float(Unary::Cos)),
        ("Softplus", Kind::Float) => Some(Built::float(Unary::Softplus)),
        ("Softsign", Kind::Float) => Some(Built::float(Unary::Softsign)),
        ("HardSwish", Kind::Float) => Some(Built::float(Unary::HardSwish)),
        ("LeakyRelu", Kind::Float) => Some(Built::float(Unary::LeakyRelu { alpha: float(node, "alpha", 0.01)? })),
        ("Elu", Kind::Float) => Some(Built::float(Unary::Elu { alpha: float(node, "alpha", 1.0)? })),
        ("Selu", Kind::Float) => {
            let (alpha, gamma) = (float(node, "alpha", 1.673_263_2)?, float(node, "gamma", 1.050_701)?);
            Some(Built::float(Unary::Selu { alpha, gamma }))
        }
        ("HardSigmoid", Kind::Float) => {
            let (alpha, beta) = (float(node, "alpha", 0.2)?, float(node, "beta", 0.5)?);
            Some(Built::float(Unary::HardSigmoid { alpha, beta }))
        }
        ("Clip", Kind::Float) => {
            let bounds = (float(node, "min", f32::MIN)?, float(node, "max", f32::MAX)?);
            Some(Built::float(Clip { bounds: (opset < 11).then_some(bounds) }))
        }
        ("Add", Kind::Float) => Some(Built::float(Binary::Add)),
        ("Sub", Kind::Float) => Some(Built::float(Binary::Sub)),
        ("Mul", Kind::Float) => Some(Built::float(Binary::Mul)),
        ("Div", Kind::Float) => Some(Built::float(Binary::Div)),
        ("Pow", Kind::Float) => Some(Built::float(Binary::Pow)),
        ("PRelu", Kind::Float) => Some(Built::float(Binary::PRelu)),
        ("Max" | "Min" | "Sum" | "Mean", Kind::Float) if node.inputs.len() == 1 => Some(Built::float(Alias::Identity)),
        ("Max", Kind::Float) if node.inputs.len() == 2 => Some(Built::float(Binary::Max)),
        ("Min", Kind::Float) if node.inputs.len() == 2 => Some(Built::float(Binary::Min)),
        ("Sum", Kind::Float) => Some(Built::float(Total::Sum)),
        ("Mean", Kind::Float) => Some(Built::float(Total::Mean)),
        ("Gemm", Kind::Float) => {
            let transposed = [node.int("transA", 0)? != 0, node.int("transB", 0)? != 0];
            Some(Built::float(Gemm { alpha: float(node, "alpha", 1.0)?, beta: float(node, "beta", 1.0)?, transposed }))
        }
        ("MatMul", Kind::Float) => Some(Built::float(MatMul { bias: false })),
        (op @ ("Softmax" | "LogSoftmax"), Kind::Float) => {
            let flat = opset < 13;
            let axis = node.int("axis", if flat { 1 } else { -1 })?;
            Some(Built::float(Softmax { log: op == "LogSoftmax", axis, flat }))
        }
        ("Identity", kind) => Some(Built { op: Box::new(Alias::Identity), kinds: vec![kind] }),
        ("Reshape", kind) => {
            let zero = node.int("allowzero", 0)? != 0;
            Some(Built { op: Box::new(Alias::Reshape { zero }), kinds: vec![kind] })
        }
        ("Flatten", kind) => {
            Some(Built { op: Box::new(Alias::Flatten { axis: node.int("axis", 1)? }), kinds: vec![kind] })
        }
        ("Squeeze", kind) => {
            let axes = node.ints("axes")?.map(<[i64]>::to_vec);
            Some(Built { op: Box::new(Alias::Squeeze { axes }), kinds: vec![kind] })
        }
        ("Unsqueeze", kind) => {
            let axes = node.ints("axes")?.map(<[i64]>::to_vec);
            Some(Built { op: Box::new(Alias::Unsqueeze { axes }), kinds: vec![kind] })
        }
        _ => None,
    };
    built.ok_or_else(|| TrainError::Operator { op: Name::new(&node.op), node: node.name.clone() })
}

/// A floating-point attribute, or its default.
fn float(node: &Node, name: &'static str, default: f32) -> Result<f32, TrainError> {
    match node.attr(name) {
        None => Ok(default),
        Some(Attr::Float(value)) => Ok(*value),
        Some(_) => Err(node.bad(name).into()),
    }
}
