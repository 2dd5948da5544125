//! Tensors as NumPy's: bytes with a type and a shape. Python makes the views.

use crate::error::{Failure, Kind};
use glacier::{
    Results,
    wire::{Dtype, Tensor},
};
use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;

/// Name, NumPy's word for the type, shape, elements in C order and little-endian.
pub(crate) type Given<'py> = (String, String, Vec<u64>, PyReadonlyArray1<'py, u8>);
/// The same on its way out: the array owns what the answer held.
pub(crate) type Taken<'py> = (String, &'static str, Vec<u64>, Bound<'py, PyArray1<u8>>);

/// NumPy's words for the types that models take and give.
const DTYPES: [(&str, Dtype); 7] = [
    ("float32", Dtype::Fp32),
    ("float64", Dtype::Fp64),
    ("int32", Dtype::Int32),
    ("int64", Dtype::Int64),
    ("int8", Dtype::Int8),
    ("uint8", Dtype::Uint8),
    ("bool", Dtype::Bool),
];

/// NumPy's word for an element type.
pub(crate) fn dtype_name(dtype: Dtype) -> &'static str {
    DTYPES.iter().find(|(_, known)| *known == dtype).map_or("float32", |(word, _)| word)
}

/// Takes arrays over, with the one copy that lets Python go on with its own.
pub(crate) fn read(py: Python<'_>, arrays: Vec<Given<'_>>) -> PyResult<Vec<Tensor>> {
    let tensors = arrays.into_iter().map(|(name, word, shape, data)| {
        let unfit = |problem: String| {
            let help = format!("models take {}", DTYPES.map(|(word, _)| word).join(", "));
            Failure::new(Kind::Data, problem, help).raise(py)
        };
        let dtype = DTYPES.iter().find(|(known, _)| *known == word).map(|(_, dtype)| *dtype);
        let dtype = dtype.ok_or_else(|| unfit(format!("arrays of {word} are not taken")))?;
        let data = data.as_slice().map_err(|_| unfit("an array is not contiguous".to_owned()))?.to_vec();
        Tensor::new(name, dtype, shape, data).map_err(|error| unfit(error.to_string()))
    });
    tensors.collect()
}

/// Hands results over without a copy.
pub(crate) fn write(py: Python<'_>, results: Results) -> (Vec<Taken<'_>>, Option<Vec<String>>) {
    let arrays = results
        .tensors
        .into_iter()
        .map(|tensor| (tensor.name, dtype_name(tensor.dtype), tensor.shape, PyArray1::from_vec(py, tensor.data)));
    (arrays.collect(), results.labels)
}
