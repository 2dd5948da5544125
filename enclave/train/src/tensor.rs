//! Tensors as training holds them: row-major, 32-bit floats or 64-bit integers.

use crate::error::TrainError;
use glacier_engine::onnx::Name;

/// Floating-point elements.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tensor {
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// As many elements as the shape says.
    pub data: Vec<f32>,
}

/// Integer elements; booleans are 0 and 1.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IntTensor {
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// As many elements as the shape says.
    pub data: Vec<i64>,
}

/// What goes into a network and what comes out.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of a floating-point port.
    Float(Tensor),
    /// Of a port of integers or booleans.
    Int(IntTensor),
}

impl Tensor {
    /// Puts shape and elements together; `None` when they do not fit.
    pub fn new(shape: Vec<usize>, data: Vec<f32>) -> Option<Self> {
        (volume(&shape) == Some(data.len())).then_some(Self { shape, data })
    }
}

impl IntTensor {
    /// Puts shape and elements together; `None` when they do not fit.
    pub fn new(shape: Vec<usize>, data: Vec<i64>) -> Option<Self> {
        (volume(&shape) == Some(data.len())).then_some(Self { shape, data })
    }
}

impl Value {
    /// Extents, outermost first.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Float(tensor) => &tensor.shape,
            Self::Int(tensor) => &tensor.shape,
        }
    }

    /// The floating-point tensor, if it is one.
    pub fn float(&self) -> Option<&Tensor> {
        match self {
            Self::Float(tensor) => Some(tensor),
            Self::Int(_) => None,
        }
    }

    /// The integers, if they are.
    pub fn int(&self) -> Option<&IntTensor> {
        match self {
            Self::Int(tensor) => Some(tensor),
            Self::Float(_) => None,
        }
    }
}

/// Most dimensions of a value.
pub(crate) const MAX_RANK: usize = glacier_wire::Tensor::MAX_RANK;

/// Number of elements; `None` where that is more than any memory. Extents beside a zero are bounded
/// too, so that strides and partial products never overflow once a shape has passed here.
pub fn volume(shape: &[usize]) -> Option<usize> {
    const MAX: usize = 1 << 40;
    if shape.len() > MAX_RANK {
        return None;
    }
    let bound = shape.iter().try_fold(1usize, |product, extent| product.checked_mul((*extent).max(1)))?;
    if bound > MAX {
        return None;
    }
    Some(if shape.contains(&0) { 0 } else { bound })
}

/// [`volume`], or the error of the node whose shapes these are.
pub(crate) fn volume_at(shape: &[usize], node: &Name) -> Result<usize, TrainError> {
    volume(shape).ok_or_else(|| TrainError::Shape(node.clone()))
}
