//! ONNX files made from nothing, and the Protocol Buffers messages that edits are made of.

use super::{
    error::{ModelError, Name},
    graph::{Attr, Graph},
};
use crate::info::Dim;
use glacier_wire::Dtype;
use std::borrow::Cow;

/// A small model from nothing, in the order of the calls.
///
/// The file says IR version 8 and operator set 17: what every ONNX Runtime since 1.12 opens.
#[derive(Debug)]
pub struct Writer {
    name: String,
    nodes: Message<'static>,
    tensors: Message<'static>,
    inputs: Message<'static>,
    outputs: Message<'static>,
    metadata: Message<'static>,
}

impl Writer {
    /// A graph of that name.
    pub fn new(name: impl Into<String>) -> Self {
        let empty = Message::default;
        Self {
            name: name.into(),
            nodes: empty(),
            tensors: empty(),
            inputs: empty(),
            outputs: empty(),
            metadata: empty(),
        }
    }

    /// Adds an input of the graph.
    pub fn input(&mut self, name: &str, dtype: Dtype, dims: &[Dim]) {
        self.inputs.message(graph::INPUT, port(name, dtype, dims));
    }

    /// Adds an output of the graph.
    pub fn output(&mut self, name: &str, dtype: Dtype, dims: &[Dim]) {
        self.outputs.message(graph::OUTPUT, port(name, dtype, dims));
    }

    /// Adds weights.
    pub fn floats(&mut self, name: &str, dims: &[u64], values: &[f32]) {
        self.tensors.message(graph::INITIALIZER, floats(name, dims, Dtype::Fp32, values));
    }

    /// Adds a list of integers, for operators that take axes or shapes as inputs.
    pub fn longs(&mut self, name: &str, values: &[i64]) {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensors.message(graph::INITIALIZER, tensor(name, &[values.len() as u64], code(Dtype::Int64), raw));
    }

    /// Adds an operation. Attributes may be numbers, lists of numbers and words.
    pub fn node(&mut self, name: &str, op: &str, inputs: &[&str], outputs: &[&str], attributes: &[(&str, Attr)]) {
        self.nodes.message(graph::NODE, node(name, op, inputs, outputs, attributes));
    }

    /// Adds an entry of metadata.
    pub fn metadata(&mut self, key: &str, value: &str) {
        self.metadata.message(model::METADATA, entry(key, value));
    }

    /// The file, if it reads as a model.
    pub fn finish(self) -> Result<Vec<u8>, ModelError> {
        let mut graph = self.nodes;
        graph.bytes(graph::NAME, self.name.into_bytes());
        graph.append(self.tensors);
        graph.append(self.inputs);
        graph.append(self.outputs);
        let mut opset = Message::default();
        opset.bytes(1, Vec::new());
        opset.int(2, OPSET);
        let mut file = Message::default();
        file.int(model::IR_VERSION, IR_VERSION);
        file.bytes(model::PRODUCER, b"glacier".as_slice());
        file.message(model::GRAPH, graph);
        file.message(model::OPSET, opset);
        file.append(self.metadata);
        file.finish()
    }
}

/// A metadata value that [`Graph::read`] takes as a list of names.
pub fn list(names: &[String]) -> String {
    serde_json::Value::from(names).to_string()
}

/// A message being written. Pieces of another file are borrowed until the whole is put together.
#[derive(Debug, Default)]
pub(super) struct Message<'a> {
    pieces: Vec<Cow<'a, [u8]>>,
    len: usize,
}

impl<'a> Message<'a> {
    pub(super) fn int(&mut self, field: u32, value: i64) {
        self.key(field, 0);
        // Protocol Buffers sends a negative int64 as its two's complement.
        self.varint(value.cast_unsigned());
    }

    pub(super) fn float(&mut self, field: u32, value: f32) {
        self.key(field, 5);
        self.tail(&value.to_le_bytes());
    }

    pub(super) fn bytes(&mut self, field: u32, value: impl Into<Cow<'a, [u8]>>) {
        let value = value.into();
        self.key(field, 2);
        self.varint(value.len() as u64);
        self.push(value);
    }

    pub(super) fn message(&mut self, field: u32, value: Message<'a>) {
        self.key(field, 2);
        self.varint(value.len as u64);
        self.append(value);
    }

    /// Fields as they stand, with their keys.
    pub(super) fn raw(&mut self, fields: &'a [u8]) {
        self.push(Cow::Borrowed(fields));
    }

    pub(super) fn append(&mut self, other: Message<'a>) {
        for piece in other.pieces {
            self.push(piece);
        }
    }

    /// The file, if it reads as a model.
    pub(super) fn finish(self) -> Result<Vec<u8>, ModelError> {
        if self.len as u64 > Graph::MAX_BYTES {
            return Err(ModelError::TooLarge { what: "bytes", max: Graph::MAX_BYTES });
        }
        let bytes = self.pieces.concat();
        Graph::read(&bytes)?;
        Ok(bytes)
    }

    fn key(&mut self, field: u32, wire: u64) {
        self.varint((u64::from(field) << 3) | wire);
    }

    fn varint(&mut self, mut value: u64) {
        let mut bytes = Vec::with_capacity(10);
        while value >= 0x80 {
            bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        self.tail(&bytes);
    }

    fn tail(&mut self, bytes: &[u8]) {
        self.len = self.len.saturating_add(bytes.len());
        match self.pieces.last_mut() {
            Some(Cow::Owned(last)) => last.extend_from_slice(bytes),
            _ => self.pieces.push(Cow::Owned(bytes.to_vec())),
        }
    }

    fn push(&mut self, piece: Cow<'a, [u8]>) {
        const SMALL: usize = 256;
        if piece.len() <= SMALL {
            return self.tail(&piece);
        }
        self.len = self.len.saturating_add(piece.len());
        self.pieces.push(piece);
    }
}

/// Weights in the element type that the file keeps them in, which is a floating one.
pub(super) fn floats(name: &str, dims: &[u64], dtype: Dtype, values: &[f32]) -> Message<'static> {
    tensor(name, dims, code(dtype), packed(code(dtype), values))
}

/// `values` as elements of type `code`; a code that is no floating type packs nothing.
pub(super) fn packed(code: i64, values: &[f32]) -> Vec<u8> {
    match code {
        1 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        10 => values.iter().flat_map(|value| half(*value).to_le_bytes()).collect(),
        11 => values.iter().flat_map(|value| f64::from(*value).to_le_bytes()).collect(),
        _ => Vec::new(),
    }
}

/// Whether every value stays finite in the element type.
pub(super) fn holds(tensor: &str, code: i64, values: &[f32]) -> Result<(), ModelError> {
    let infinite = |value: &f32| value.is_finite() && half(*value) & 0x7fff == HALF_INFINITY;
    if code == 10 && values.iter().any(infinite) {
        return Err(ModelError::Half(Name::new(tensor)));
    }
    Ok(())
}

/// IEEE 754 binary16, rounded to nearest, ties to even.
#[allow(clippy::arithmetic_side_effects, reason = "exponents and shifts are within the branches' ranges")]
fn half(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = ((bits >> 16) & 0x8000) as u16;
    let (exponent, mantissa) = ((bits >> 23) & 0xff, bits & 0x7f_ffff);
    if exponent == 0xff {
        let quiet = if mantissa == 0 { 0 } else { 0x200 | (mantissa >> 13) as u16 };
        return sign | HALF_INFINITY | quiet;
    }
    // 127 - 15: what the two biases differ by.
    let rebased = i64::from(exponent) - 112;
    if rebased >= 31 {
        return sign | HALF_INFINITY;
    }
    let (kept, dropped) = match rebased {
        1.. => ((u32::try_from(rebased).unwrap_or(0) << 23) | mantissa, 13),
        // Subnormal: the leading one becomes explicit, and moves right.
        -10..=0 => (mantissa | 0x80_0000, u32::try_from(14 - rebased).unwrap_or(0)),
        _ => return sign,
    };
    let (whole, rest, tie) = (kept >> dropped, kept & ((1 << dropped) - 1), 1 << (dropped - 1));
    let up = rest > tie || (rest == tie && whole & 1 == 1);
    sign | (whole + u32::from(up)) as u16
}

pub(super) fn tensor(name: &str, dims: &[u64], code: i64, raw: Vec<u8>) -> Message<'static> {
    let mut tensor = Message::default();
    for dim in dims {
        tensor.int(1, dim.cast_signed());
    }
    tensor.int(2, code);
    tensor.bytes(8, name.as_bytes().to_vec());
    tensor.bytes(9, raw);
    tensor
}

pub(super) fn node(
    name: &str,
    op: &str,
    inputs: &[&str],
    outputs: &[&str],
    attributes: &[(&str, Attr)],
) -> Message<'static> {
    let mut node = Message::default();
    for (field, names) in [(1, inputs), (2, outputs)] {
        for name in names {
            node.bytes(field, name.as_bytes().to_vec());
        }
    }
    node.bytes(3, name.as_bytes().to_vec());
    node.bytes(4, op.as_bytes().to_vec());
    for (name, value) in attributes {
        node.message(5, attribute(name, value));
    }
    node
}

fn attribute(name: &str, value: &Attr) -> Message<'static> {
    let mut attribute = Message::default();
    attribute.bytes(1, name.as_bytes().to_vec());
    let kind = match value {
        Attr::Float(value) => {
            attribute.float(2, *value);
            1
        }
        Attr::Int(value) => {
            attribute.int(3, *value);
            2
        }
        Attr::Text(value) => {
            attribute.bytes(4, value.clone().into_bytes());
            3
        }
        Attr::Floats(values) => {
            values.iter().for_each(|value| attribute.float(7, *value));
            6
        }
        Attr::Ints(values) => {
            values.iter().for_each(|value| attribute.int(8, *value));
            7
        }
        // What is not said here has no kind, and the reader refuses it.
        Attr::Constant(_) | Attr::Other => 0,
    };
    attribute.int(20, kind);
    attribute
}

pub(super) fn entry(key: &str, value: &str) -> Message<'static> {
    let mut entry = Message::default();
    entry.bytes(1, key.as_bytes().to_vec());
    entry.bytes(2, value.as_bytes().to_vec());
    entry
}

fn port(name: &str, dtype: Dtype, dims: &[Dim]) -> Message<'static> {
    let mut shape = Message::default();
    for dim in dims {
        let mut extent = Message::default();
        match dim {
            Dim::Fixed { extent: fixed } => extent.int(1, fixed.cast_signed()),
            Dim::Free { name } if name.is_empty() => {}
            Dim::Free { name } => extent.bytes(2, name.clone().into_bytes()),
        }
        shape.message(1, extent);
    }
    let mut tensor = Message::default();
    tensor.int(1, code(dtype));
    tensor.message(2, shape);
    let mut kind = Message::default();
    kind.message(1, tensor);
    let mut port = Message::default();
    port.bytes(1, name.as_bytes().to_vec());
    port.message(2, kind);
    port
}

/// ONNX's number for an element type.
pub(super) fn code(dtype: Dtype) -> i64 {
    match dtype {
        Dtype::Fp32 => 1,
        Dtype::Uint8 => 2,
        Dtype::Int8 => 3,
        Dtype::Int32 => 6,
        Dtype::Int64 => 7,
        Dtype::Bool => 9,
        Dtype::Fp64 => 11,
        // Undefined: the reader refuses it.
        _ => 0,
    }
}

/// Fields of `ModelProto`.
pub(super) mod model {
    pub(in super::super) const IR_VERSION: u32 = 1;
    pub(super) const PRODUCER: u32 = 2;
    pub(in super::super) const GRAPH: u32 = 7;
    pub(super) const OPSET: u32 = 8;
    pub(in super::super) const METADATA: u32 = 14;
}

/// Fields of `GraphProto`.
pub(super) mod graph {
    pub(in super::super) const NODE: u32 = 1;
    pub(super) const NAME: u32 = 2;
    pub(in super::super) const INITIALIZER: u32 = 5;
    pub(super) const INPUT: u32 = 11;
    pub(super) const OUTPUT: u32 = 12;
}

const IR_VERSION: i64 = 8;
const OPSET: i64 = 17;
const HALF_INFINITY: u16 = 0x7c00;

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::half;

    /// Widens a half; exact.
    fn single(bits: u16) -> f32 {
        let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
        let (exponent, mantissa) = (i32::from(bits >> 10 & 0x1f), f32::from(bits & 0x3ff));
        match exponent {
            0 => sign * mantissa * 2f32.powi(-24),
            31 if mantissa == 0.0 => sign * f32::INFINITY,
            31 => f32::NAN,
            _ => sign * (1.0 + mantissa / 1024.0) * 2f32.powi(exponent - 15),
        }
    }

    #[test]
    fn every_half_goes_there_and_back() {
        for bits in 0..=u16::MAX {
            let back = half(single(bits));
            assert!(back == bits || (single(bits).is_nan() && single(back).is_nan()), "{bits:#x} became {back:#x}");
        }
    }

    #[test]
    fn halves_round_to_nearest_and_ties_to_even() {
        for bits in 0..0x7bffu16 {
            let (low, high) = (single(bits), single(bits + 1));
            let middle = low + (high - low) / 2.0;
            let even = if bits & 1 == 0 { bits } else { bits + 1 };
            assert_eq!(half(middle), even, "{middle}");
            assert_eq!(half(middle.next_down()), bits);
            assert_eq!(half(middle.next_up()), bits + 1);
        }
        assert_eq!(half(65519.0), 0x7bff);
        assert_eq!(half(65520.0), 0x7c00);
        assert_eq!(half(-1e-9), 0x8000);
    }
}
