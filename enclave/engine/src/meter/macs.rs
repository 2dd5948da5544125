//! Multiply-accumulates of one node. The table stands in the module above.

use super::{Info, product, shape};
use crate::onnx::{ModelError, Node};

/// Units of `node` from the shapes of what it takes and makes.
pub(super) fn count(node: &Node, given: &[Option<&Info>], made: &[Info]) -> Result<u64, ModelError> {
    let input = |at: usize| dims(node, given.get(at).copied().flatten());
    let output = |at: usize| dims(node, made.get(at));
    let all = |factors: &[u64]| product(factors).ok_or_else(|| ModelError::Shape(node.name.clone()));
    match node.op.as_str() {
        "MatMul" | "MatMulInteger" => {
            let inner = input(0)?.last().copied().unwrap_or(1);
            all(&[product(output(0)?).unwrap_or(u64::MAX), inner])
        }
        "com.microsoft/MatMulNBits" => {
            let inner = input(0)?.last().copied().unwrap_or(1);
            all(&[product(output(0)?).unwrap_or(u64::MAX), inner])
        }
        "Gemm" => {
            let a = input(0)?;
            let inner = if node.int("transA", 0)? != 0 { a.first() } else { a.last() };
            all(&[product(output(0)?).unwrap_or(u64::MAX), inner.copied().unwrap_or(1)])
        }
        "Conv" | "ConvInteger" => {
            // Weights: output channels, input channels per group, kernel.
            let kernel = input(1)?.get(1..).unwrap_or_default();
            all(&[product(output(0)?).unwrap_or(u64::MAX), product(kernel).unwrap_or(u64::MAX)])
        }
        "ConvTranspose" => {
            // Weights: input channels, output channels per group, kernel.
            let kernel = input(1)?.get(1..).unwrap_or_default();
            all(&[product(input(0)?).unwrap_or(u64::MAX), product(kernel).unwrap_or(u64::MAX)])
        }
        "Einsum" if given.len() >= 2 => {
            let extents = shape::einsum(node, given)?.ok_or_else(|| ModelError::Unmetered(node.name.clone()))?;
            all(&extents.values().copied().collect::<Vec<_>>())
        }
        "LSTM" | "GRU" => {
            let gates = if node.op == "LSTM" { 4 } else { 3 };
            let (x, w, r) = (input(0)?, input(1)?, input(2)?);
            let ([time, batch, width], [directions, ..], [.., hidden]) = (x, w, r) else {
                return Err(ModelError::Shape(node.name.clone()));
            };
            all(&[*time, *batch, *directions, gates, *hidden, width.saturating_add(*hidden)])
        }
        _ => Ok(0),
    }
}

fn dims<'a>(node: &Node, info: Option<&'a Info>) -> Result<&'a [u64], ModelError> {
    info.and_then(|info| info.dims.as_deref()).ok_or_else(|| ModelError::Unmetered(node.name.clone()))
}
