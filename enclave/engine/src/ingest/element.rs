//! Numbers of one element type as numbers of another.

use crate::{data::DataError, info::Port, onnx::Name};
use glacier_wire::Dtype;

/// A number on its way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Int(i64),
    Float(f64),
}

/// Appends `number` as an element of type `to`; `None` when it is not finite or does not fit.
pub(super) fn push(out: &mut Vec<u8>, to: Dtype, number: Number) -> Option<()> {
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    match (to, number) {
        (Dtype::Fp32, number) => {
            let single = match number {
                Number::Int(value) => value as f32,
                Number::Float(value) => value as f32,
            };
            out.extend_from_slice(&Some(single).filter(|value| value.is_finite())?.to_le_bytes());
        }
        (Dtype::Fp64, Number::Int(value)) => out.extend_from_slice(&(value as f64).to_le_bytes()),
        (Dtype::Fp64, Number::Float(value)) => {
            out.extend_from_slice(&Some(value).filter(|value| value.is_finite())?.to_le_bytes());
        }
        (_, Number::Float(_)) => return None,
        (Dtype::Int64, Number::Int(value)) => out.extend_from_slice(&value.to_le_bytes()),
        (Dtype::Int32, Number::Int(value)) => out.extend_from_slice(&i32::try_from(value).ok()?.to_le_bytes()),
        (Dtype::Int8, Number::Int(value)) => out.extend_from_slice(&i8::try_from(value).ok()?.to_le_bytes()),
        (Dtype::Uint8, Number::Int(value)) => out.push(u8::try_from(value).ok()?),
        (Dtype::Bool, Number::Int(value @ (0 | 1))) => out.push(u8::from(value == 1)),
        _ => return None,
    }
    Some(())
}

/// Rows of packed `from` elements as packed elements of the input's type. `first` is the number of
/// the first row, from 1; `width` the elements of one.
pub(super) fn convert(bytes: Vec<u8>, from: Dtype, port: &Port, first: u64, width: u64) -> Result<Vec<u8>, DataError> {
    let to = port.dtype;
    let float = |dtype| matches!(dtype, Dtype::Fp32 | Dtype::Fp64);
    if float(from) && !float(to) {
        return Err(DataError::Fraction(Name::new(&port.name)));
    }
    let fault = |at: usize| {
        let row = first.saturating_add((at as u64).checked_div(width).unwrap_or(0));
        DataError::Element { input: Name::new(&port.name), row }
    };
    // The common case keeps its bytes.
    if from == to && !matches!(from, Dtype::Bool) {
        let (singles, _) = bytes.as_chunks::<4>();
        let (doubles, _) = bytes.as_chunks::<8>();
        let bad = match from {
            Dtype::Fp32 => singles.iter().position(|bytes| !f32::from_le_bytes(*bytes).is_finite()),
            Dtype::Fp64 => doubles.iter().position(|bytes| !f64::from_le_bytes(*bytes).is_finite()),
            _ => None,
        };
        return bad.map_or(Ok(bytes), |at| Err(fault(at)));
    }
    let elements = bytes.chunks_exact(from.size());
    let mut out = Vec::with_capacity(elements.len().saturating_mul(to.size()));
    for (at, element) in elements.enumerate() {
        number(element, from).and_then(|number| push(&mut out, to, number)).ok_or_else(|| fault(at))?;
    }
    Ok(out)
}

/// The element that these bytes are.
pub(super) fn number(bytes: &[u8], dtype: Dtype) -> Option<Number> {
    Some(match dtype {
        Dtype::Fp32 => Number::Float(f32::from_le_bytes(bytes.try_into().ok()?).into()),
        Dtype::Fp64 => Number::Float(f64::from_le_bytes(bytes.try_into().ok()?)),
        Dtype::Int32 => Number::Int(i32::from_le_bytes(bytes.try_into().ok()?).into()),
        Dtype::Int64 => Number::Int(i64::from_le_bytes(bytes.try_into().ok()?)),
        Dtype::Int8 => Number::Int(i8::from_le_bytes(bytes.try_into().ok()?).into()),
        Dtype::Uint8 => Number::Int((*bytes.first()?).into()),
        Dtype::Bool => Number::Int((*bytes.first()?).into()),
        _ => return None,
    })
}
