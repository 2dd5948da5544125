//! Tensors and their types, as they stand in the file.

use super::{
    error::ModelError,
    graph::{Constant, Data, Graph},
    proto::{Field, Fields},
    read::bounded,
};
use crate::info::{Dim, Port};
use glacier_wire::{Dtype, Tensor};

/// Element type, as far as tensors at the edge go.
fn dtype(code: i64) -> Option<Dtype> {
    Some(match code {
        1 => Dtype::Fp32,
        2 => Dtype::Uint8,
        3 => Dtype::Int8,
        6 => Dtype::Int32,
        7 => Dtype::Int64,
        9 => Dtype::Bool,
        11 => Dtype::Fp64,
        _ => return None,
    })
}

/// Bytes of an element that is stored in weights; half precision is widened by the engine.
fn stored_size(code: i64) -> Option<u64> {
    if code == 10 { Some(2) } else { dtype(code).map(|dtype| dtype.size() as u64) }
}

/// Name and description of a `TensorProto`.
pub(super) fn constant(bytes: &[u8]) -> Result<(&str, Constant), ModelError> {
    let (mut name, mut code, mut raw, mut external) = (None, None, None, false);
    let mut dims = Vec::new();
    let mut typed: Vec<Field<'_>> = Vec::new();
    for field in Fields::new("TensorProto", bytes) {
        let field = field?;
        match field.number {
            1 => field.ints(&mut dims, Tensor::MAX_RANK)?,
            2 => field.once(&mut code, field.int()?)?,
            // Segments split one tensor over several messages; nothing writes them.
            3 => return Err(field.bad()),
            4 | 5 | 6 | 7 | 10 | 11 => typed.push(field),
            8 => field.once(&mut name, field.text(Graph::MAX_NAME)?)?,
            9 => field.once(&mut raw, field.bytes()?)?,
            13 => external = true,
            14 if field.int()? != 0 => external = true,
            _ => {}
        }
    }
    let name = name.unwrap_or_default();
    if external {
        return Err(ModelError::ExternalData(name.into()));
    }
    let code = code.unwrap_or(0);
    let size = stored_size(code).ok_or_else(|| ModelError::Dtype { value: name.into(), code })?;
    let dims: Option<Vec<u64>> = dims.into_iter().map(|dim| u64::try_from(dim).ok()).collect();
    let dims = dims.ok_or_else(|| ModelError::Dims(name.into()))?;
    let elements = dims.iter().try_fold(1u64, |product, dim| product.checked_mul(*dim));
    let bytes = elements.and_then(|n| n.checked_mul(size)).filter(|bytes| *bytes <= Graph::MAX_BYTES);
    let (Some(elements), Some(bytes)) = (elements, bytes) else { return Err(ModelError::Dims(name.into())) };
    // A zero extent may stand beside one that no other arithmetic survives.
    if dims.iter().any(|dim| *dim > Graph::MAX_BYTES) {
        return Err(ModelError::Dims(name.into()));
    }
    let mismatch = |found: u64| ModelError::DataLength { tensor: name.into(), expected: bytes, found };
    let data = match raw {
        Some(raw) => {
            if raw.len() as u64 != bytes || !typed.is_empty() {
                return Err(mismatch(raw.len() as u64));
            }
            if elements <= Data::MAX as u64 { raw_data(code, raw) } else { Data::Unknown }
        }
        None => {
            let expected: &[u32] = match code {
                1 => &[4],
                7 => &[7],
                11 => &[10],
                _ => &[5],
            };
            if let Some(other) = typed.iter().find(|field| !expected.contains(&field.number)) {
                return Err(other.bad());
            }
            let room = usize::try_from(elements).unwrap_or(usize::MAX);
            let (data, count) = typed_data(code, &typed, room).map_err(|error| match error {
                ModelError::TooLarge { .. } => mismatch(bytes.saturating_add(size)),
                other => other,
            })?;
            if count != room {
                return Err(mismatch((count as u64).saturating_mul(size)));
            }
            if count <= Data::MAX { data } else { Data::Unknown }
        }
    };
    Ok((name, Constant { dims, data, elements, bytes: elements.saturating_mul(size.max(4)) }))
}

/// The built-in engine computes in 32 bits, and so do the shapes that are predicted of it.
pub(super) fn saturated(value: i64) -> i64 {
    value.clamp(i32::MIN.into(), i32::MAX.into())
}

fn raw_data(code: i64, raw: &[u8]) -> Data {
    let (wide, _) = raw.as_chunks::<8>();
    let (narrow, _) = raw.as_chunks::<4>();
    match code {
        1 => Data::Floats(narrow.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()),
        2 => Data::Ints(raw.iter().map(|byte| i64::from(*byte)).collect()),
        3 => Data::Ints(raw.iter().map(|byte| i64::from(byte.cast_signed())).collect()),
        6 => Data::Ints(narrow.iter().map(|bytes| i64::from(i32::from_le_bytes(*bytes))).collect()),
        7 => Data::Ints(wide.iter().map(|bytes| saturated(i64::from_le_bytes(*bytes))).collect()),
        9 => Data::Ints(raw.iter().map(|byte| i64::from(*byte != 0)).collect()),
        _ => Data::Unknown,
    }
}

/// Elements out of the typed fields, at most `room` of them, and how many there are.
fn typed_data(code: i64, typed: &[Field<'_>], room: usize) -> Result<(Data, usize), ModelError> {
    let (mut ints, mut floats, mut doubles) = (Vec::new(), Vec::new(), Vec::new());
    for field in typed {
        match code {
            1 => field.floats(&mut floats, room)?,
            11 => field.doubles(&mut doubles, room)?,
            _ => field.ints(&mut ints, room)?,
        }
    }
    Ok(match code {
        1 => {
            let count = floats.len();
            (Data::Floats(floats), count)
        }
        10 | 11 => (Data::Unknown, ints.len().saturating_add(doubles.len())),
        _ => {
            let count = ints.len();
            let narrow = |value: i64| match code {
                2 => value & 0xff,
                3 => i64::from((value & 0xff) as u8 as i8),
                9 => i64::from(value != 0),
                _ => saturated(value),
            };
            (Data::Ints(ints.into_iter().map(narrow).collect()), count)
        }
    })
}

/// Name and description of a `ValueInfoProto`. The description is judged by whoever uses it: an
/// inner value may well have a type that an input may not.
#[allow(clippy::type_complexity)]
pub(super) fn port(bytes: &[u8]) -> Result<(&str, Result<Port, ModelError>), ModelError> {
    let (mut name, mut kind) = (None, None);
    for field in Fields::new("ValueInfoProto", bytes) {
        let field = field?;
        match field.number {
            1 => field.once(&mut name, field.text(Graph::MAX_NAME)?)?,
            2 => field.once(&mut kind, field.bytes()?)?,
            _ => {}
        }
    }
    let name = name.unwrap_or_default();
    let (mut code, mut shape, mut tensor) = (None, None, None);
    for field in Fields::new("TypeProto", kind.unwrap_or_default()) {
        let field = field?;
        match field.number {
            1 => field.once(&mut tensor, field.bytes()?)?,
            // Sequences, maps and optionals nest without bound: refused wherever they stand.
            4 | 5 | 8 | 9 => return Err(ModelError::NotTensor(name.into())),
            _ => {}
        }
    }
    for field in Fields::new("TypeProto.Tensor", tensor.unwrap_or_default()) {
        let field = field?;
        match field.number {
            1 => field.once(&mut code, field.int()?)?,
            2 => field.once(&mut shape, field.bytes()?)?,
            _ => {}
        }
    }
    let dims = shape.map(|shape| dims(name, shape)).transpose()?;
    let code = code.unwrap_or(0);
    let port = match dtype(code) {
        Some(dtype) => Ok(Port { name: name.to_owned(), dtype, dims }),
        None => Err(ModelError::Dtype { value: name.into(), code }),
    };
    Ok((name, port))
}

fn dims(name: &str, shape: &[u8]) -> Result<Vec<Dim>, ModelError> {
    let mut dims = Vec::new();
    for field in Fields::new("TensorShapeProto", shape) {
        let field = field?;
        if field.number != 1 {
            continue;
        }
        bounded(dims.len(), Tensor::MAX_RANK, "dimensions")?;
        let (mut value, mut param) = (None, None);
        for field in Fields::new("TensorShapeProto.Dimension", field.bytes()?) {
            let field = field?;
            match field.number {
                1 => field.once(&mut value, field.int()?)?,
                2 => field.once(&mut param, field.text(Graph::MAX_NAME)?)?,
                _ => {}
            }
        }
        dims.push(match (value, param) {
            // Some exporters write -1 for "depends on the data".
            (None | Some(-1), param) => {
                // "?" is what one exporter calls every dimension it does not know: no name at all.
                let name = param.filter(|name| *name != "?").unwrap_or_default();
                Dim::Free { name: name.to_owned() }
            }
            (Some(extent @ 0..=0x7fff_ffff), None) => Dim::Fixed { extent: extent.unsigned_abs() },
            _ => return Err(ModelError::Dims(name.into())),
        });
    }
    Ok(dims)
}
