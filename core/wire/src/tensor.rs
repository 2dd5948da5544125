//! Tensors at the edge of the enclave: what goes into a model and what comes out.

use alloc::{string::String, vec::Vec};

/// Element type. Names follow the Open Inference Protocol.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode,
)]
#[serde(rename_all = "UPPERCASE")]
#[cbor(index_only)]
#[non_exhaustive]
pub enum Dtype {
    /// IEEE 754 binary32.
    #[n(0)]
    Fp32,
    /// IEEE 754 binary64.
    #[n(1)]
    Fp64,
    /// Signed 32-bit.
    #[n(2)]
    Int32,
    /// Signed 64-bit.
    #[n(3)]
    Int64,
    /// Signed 8-bit.
    #[n(4)]
    Int8,
    /// Unsigned 8-bit.
    #[n(5)]
    Uint8,
    /// One byte, 0 or 1.
    #[n(6)]
    Bool,
}

impl Dtype {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::Fp64 | Self::Int64 => 8,
            Self::Fp32 | Self::Int32 => 4,
            Self::Int8 | Self::Uint8 | Self::Bool => 1,
        }
    }
}

/// A shape and its elements that do not fit together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// The shape needs another number of bytes than there are.
    #[error("the shape needs {expected} bytes of data, found {found}")]
    Length {
        /// By shape and type.
        expected: u64,
        /// In the data.
        found: u64,
    },
    /// The number of elements does not fit 64 bits, or there are more than 16 dimensions.
    #[error("the shape is too large")]
    TooLarge,
}

/// Row-major, little-endian, densely packed: OIP's binary form and `.npy`'s C order.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Tensor {
    /// Name of the graph's input or output; may be empty where the order says it.
    #[n(0)]
    pub name: String,
    /// Element type.
    #[n(1)]
    pub dtype: Dtype,
    /// Extent of each dimension, outermost first.
    #[n(2)]
    pub shape: Vec<u64>,
    /// The elements.
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    pub data: Vec<u8>,
}

impl Tensor {
    /// Most dimensions of a tensor.
    pub const MAX_RANK: usize = 16;

    /// Puts shape and elements together.
    pub fn new(name: impl Into<String>, dtype: Dtype, shape: Vec<u64>, data: Vec<u8>) -> Result<Self, TensorError> {
        let tensor = Self { name: name.into(), dtype, shape, data };
        tensor.check()?;
        Ok(tensor)
    }

    /// Whether shape and data fit (a decoded tensor has not been checked).
    pub fn check(&self) -> Result<(), TensorError> {
        if self.shape.len() > Self::MAX_RANK {
            return Err(TensorError::TooLarge);
        }
        let bytes =
            self.elements().and_then(|n| n.checked_mul(self.dtype.size() as u64)).ok_or(TensorError::TooLarge)?;
        let found = self.data.len() as u64;
        if bytes != found {
            return Err(TensorError::Length { expected: bytes, found });
        }
        Ok(())
    }

    /// Number of elements; `None` when it does not fit 64 bits.
    pub fn elements(&self) -> Option<u64> {
        self.shape.iter().try_fold(1u64, |product, extent| product.checked_mul(*extent))
    }

    /// A tensor of 32-bit floats.
    pub fn from_f32(name: impl Into<String>, shape: Vec<u64>, values: &[f32]) -> Result<Self, TensorError> {
        Self::new(name, Dtype::Fp32, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// The elements as 32-bit floats, when that is what they are.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        let (chunks, []) = self.data.as_chunks::<4>() else { return None };
        (self.dtype == Dtype::Fp32).then(|| chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect())
    }
}

/// One window of results, in row order. A result file is a CBOR sequence (RFC 8742) of these.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Outputs {
    /// The graph's outputs for these rows.
    #[n(0)]
    pub tensors: Vec<Tensor>,
    /// Name of the class of each row, when the model says what its classes are called.
    #[n(1)]
    pub labels: Option<Vec<String>>,
}
