//! Elements of constants, for those who compute with a model's weights.

use super::{
    error::ModelError,
    graph::{Attr, Graph},
    proto::{Field, Fields},
    tensor::constant,
};
use glacier_wire::Tensor;

/// A constant with its elements.
#[derive(Debug, Clone, PartialEq)]
pub struct Literal {
    /// Name in the graph.
    pub name: String,
    /// Extents, outermost first.
    pub dims: Vec<u64>,
    /// As many as the extents say.
    pub elements: Elements,
    /// Whether it is an initializer; a `Constant` node's otherwise.
    pub initializer: bool,
}

/// Elements of a constant, all of them.
#[derive(Debug, Clone, PartialEq)]
pub enum Elements {
    /// Stored in 32-bit floating point.
    Floats(Vec<f32>),
    /// Stored in 16 or 64 bits, rounded to the nearest of 32.
    Converted(Vec<f32>),
    /// Any integer type, and bool (0 or 1).
    Ints(Vec<i64>),
}

impl Graph {
    /// Reads and checks a `ModelProto` like [`Graph::read`], and gives the elements of all constants beside
    /// it: initializers in the order of the file, then `Constant` nodes; that is the order of `constants`.
    pub fn read_values(bytes: &[u8]) -> Result<(Self, Vec<Literal>), ModelError> {
        let graph = Self::read(bytes)?;
        let (mut initializers, mut nodes) = (Vec::new(), Vec::new());
        for field in Fields::new("ModelProto", bytes) {
            let field = field?;
            if field.number != 7 {
                continue;
            }
            for field in Fields::new("GraphProto", field.bytes()?) {
                let field = field?;
                match field.number {
                    1 => nodes.extend(constant_node(field.bytes()?)?),
                    5 => initializers.push(literal(field.bytes()?)?),
                    _ => {}
                }
            }
        }
        initializers.append(&mut nodes);
        Ok((graph, initializers))
    }
}

/// What a `Constant` node makes; `None` for any other.
fn constant_node(bytes: &[u8]) -> Result<Option<Literal>, ModelError> {
    let (mut op, mut domain, mut output, mut attribute) = (None, None, None, None);
    for field in Fields::new("NodeProto", bytes) {
        let field = field?;
        match field.number {
            2 => output = Some(field.text(Graph::MAX_NAME)?),
            4 => op = Some(field.text(Graph::MAX_NAME)?),
            5 => attribute = Some(field.bytes()?),
            7 => domain = Some(field.text(Graph::MAX_NAME)?),
            _ => {}
        }
    }
    let (Some("Constant"), "" | "ai.onnx") = (op, domain.unwrap_or_default()) else { return Ok(None) };
    let name = output.unwrap_or_default().to_owned();
    let attribute = attribute.ok_or(ModelError::Unnamed("attribute"))?;
    for field in Fields::new("AttributeProto", attribute) {
        let field = field?;
        if field.number == 5 {
            return Ok(Some(Literal { name, initializer: false, ..literal(field.bytes()?)? }));
        }
    }
    let (_, value) = super::read::attribute(attribute)?.ok_or(ModelError::Unnamed("attribute"))?;
    let (dims, elements) = match value {
        Attr::Int(value) => (Vec::new(), Elements::Ints(vec![value])),
        Attr::Float(value) => (Vec::new(), Elements::Floats(vec![value])),
        Attr::Ints(values) => (vec![values.len() as u64], Elements::Ints(values)),
        Attr::Floats(values) => (vec![values.len() as u64], Elements::Floats(values)),
        _ => return Err(ModelError::Attribute { node: name.as_str().into(), attribute: "value" }),
    };
    Ok(Some(Literal { name, dims, elements, initializer: false }))
}

/// A `TensorProto`, which [`constant`] has found to be in order: the data fits the dimensions, and
/// stands either in the raw field or in the field of its type.
fn literal(bytes: &[u8]) -> Result<Literal, ModelError> {
    let (name, description) = constant(bytes)?;
    let (mut code, mut raw) = (0, None);
    let mut typed: Vec<Field<'_>> = Vec::new();
    for field in Fields::new("TensorProto", bytes) {
        let field = field?;
        match field.number {
            2 => code = field.int()?,
            4 | 5 | 7 | 10 => typed.push(field),
            9 => raw = Some(field.bytes()?),
            _ => {}
        }
    }
    let room = usize::try_from(description.elements).unwrap_or(0);
    let elements = match raw {
        Some(raw) => from_raw(code, raw),
        None => from_typed(code, &typed, room)?,
    };
    let count = match &elements {
        Elements::Floats(values) | Elements::Converted(values) => values.len(),
        Elements::Ints(values) => values.len(),
    };
    if count != room || description.dims.len() > Tensor::MAX_RANK {
        return Err(ModelError::Dims(name.into()));
    }
    Ok(Literal { name: name.to_owned(), dims: description.dims, elements, initializer: true })
}

fn from_raw(code: i64, raw: &[u8]) -> Elements {
    let (wide, _) = raw.as_chunks::<8>();
    let (narrow, _) = raw.as_chunks::<4>();
    let (half, _) = raw.as_chunks::<2>();
    match code {
        1 => Elements::Floats(narrow.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()),
        10 => Elements::Converted(half.iter().map(|bytes| widen(u16::from_le_bytes(*bytes))).collect()),
        #[allow(clippy::cast_possible_truncation)]
        11 => Elements::Converted(wide.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32).collect()),
        2 => Elements::Ints(raw.iter().map(|byte| i64::from(*byte)).collect()),
        3 => Elements::Ints(raw.iter().map(|byte| i64::from(byte.cast_signed())).collect()),
        6 => Elements::Ints(narrow.iter().map(|bytes| i64::from(i32::from_le_bytes(*bytes))).collect()),
        9 => Elements::Ints(raw.iter().map(|byte| i64::from(*byte != 0)).collect()),
        _ => Elements::Ints(wide.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()),
    }
}

fn from_typed(code: i64, typed: &[Field<'_>], room: usize) -> Result<Elements, ModelError> {
    let (mut ints, mut floats, mut doubles) = (Vec::new(), Vec::new(), Vec::new());
    for field in typed {
        match code {
            1 => field.floats(&mut floats, room)?,
            11 => field.doubles(&mut doubles, room)?,
            _ => field.ints(&mut ints, room)?,
        }
    }
    Ok(match code {
        1 => Elements::Floats(floats),
        #[allow(clippy::cast_possible_truncation)]
        11 => Elements::Converted(doubles.into_iter().map(|value| value as f32).collect()),
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        10 => Elements::Converted(ints.into_iter().map(|bits| widen((bits & 0xffff) as u16)).collect()),
        2 => Elements::Ints(ints.into_iter().map(|value| value & 0xff).collect()),
        #[allow(clippy::cast_possible_truncation)]
        3 => Elements::Ints(ints.into_iter().map(|value| i64::from(value as i8)).collect()),
        #[allow(clippy::cast_possible_truncation)]
        6 => Elements::Ints(ints.into_iter().map(|value| i64::from(value as i32)).collect()),
        9 => Elements::Ints(ints.into_iter().map(|value| i64::from(value != 0)).collect()),
        _ => Elements::Ints(ints),
    })
}

/// IEEE 754 binary16 to binary32, which holds every value of it.
fn widen(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000) << 16;
    let exponent = u32::from(half >> 10) & 0x1f;
    let fraction = u32::from(half & 0x3ff);
    match (exponent, fraction) {
        // Zero and subnormal: a count of 2^-24.
        (0, count) => {
            #[allow(clippy::cast_precision_loss)]
            let size = count as f32 * f32::from_bits(0x3380_0000);
            f32::from_bits(size.to_bits() | sign)
        }
        (0x1f, fraction) => f32::from_bits(sign | 0x7f80_0000 | (fraction << 13)),
        // The biases are 15 and 127.
        (exponent, fraction) => f32::from_bits(sign | (exponent.saturating_add(112) << 23) | (fraction << 13)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_widened_exactly() {
        let cases = [
            (0x0000, 0.0),
            (0x0001, 5.960_464_5e-8),
            (0x03ff, 6.097_555e-5),
            (0x0400, 6.103_515_6e-5),
            (0x3c00, 1.0),
            (0x3555, 0.333_251_95),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x7c00, f32::INFINITY),
        ];
        for (half, expected) in cases {
            assert_eq!(widen(half), expected, "{half:#06x}");
        }
        assert!(widen(0x7e00).is_nan());
        assert!(widen(0x8000).is_sign_negative());
    }
}
