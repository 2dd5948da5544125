//! Edits of a model that leave every other byte as it is.

use super::{
    error::{ModelError, Name},
    graph::{Attr, Graph},
    proto::{Field, Fields},
    write::{self, Message},
};
use crate::{info::Port, meter::product};
use glacier_wire::{Dtype, Tensor};
use std::collections::{HashMap, HashSet};

/// The model with new weights: `values` by the name of an initializer, or of what a `Constant` node makes.
///
/// Each tensor keeps its element type and its place; single precision is rounded where that is half,
/// and stands in `raw_data` whatever it stood in before.
///
/// # Errors
/// A model that does not read, a name without weights, another number of elements, a tensor that is
/// not of floating point, a value that half precision cannot hold.
pub fn patch(model: &[u8], values: &HashMap<&str, &[f32]>) -> Result<Vec<u8>, ModelError> {
    Graph::read(model)?;
    let mut left: HashSet<&str> = values.keys().copied().collect();
    let patched = rewrite("ModelProto", model, |field, raw, out| {
        if field.number != write::model::GRAPH {
            out.raw(raw);
            return Ok(());
        }
        let graph = rewrite("GraphProto", field.bytes()?, |field, raw, out| {
            let named = match field.number {
                write::graph::INITIALIZER => tensor_name(field.bytes()?)?,
                write::graph::NODE => constant_name(field.bytes()?)?,
                _ => None,
            };
            let values = named.and_then(|name| values.get(name).map(|values| (name, *values)));
            let Some((name, values)) = values else {
                out.raw(raw);
                return Ok(());
            };
            left.remove(name);
            let bytes = field.bytes()?;
            let new = match field.number {
                write::graph::INITIALIZER => patch_tensor(name, bytes, values),
                _ => patch_constant(name, bytes, values),
            };
            out.message(field.number, new?);
            Ok(())
        })?;
        out.message(field.number, graph);
        Ok(())
    })?;
    if let Some(name) = left.into_iter().min() {
        return Err(ModelError::NoWeights(Name::new(name)));
    }
    patched.finish()
}

/// The model with these entries of metadata, in place of what it had under their keys.
pub fn set_metadata(model: &[u8], entries: &[(&str, &str)]) -> Result<Vec<u8>, ModelError> {
    let mut edited = rewrite("ModelProto", model, |field, raw, out| {
        if field.number == write::model::METADATA {
            let key = first(field.bytes()?, "StringStringEntryProto", 1)?.unwrap_or_default();
            if entries.iter().any(|(known, _)| known.as_bytes() == key) {
                return Ok(());
            }
        }
        out.raw(raw);
        Ok(())
    })?;
    for (key, value) in entries {
        edited.message(write::model::METADATA, write::entry(key, value));
    }
    edited.finish()
}

/// What an input is standardised with: `(x - mean) / deviation`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standard<'a> {
    /// The graph's input, of floating point.
    pub input: &'a str,
    /// Shape of both lists, broadcast against the input: `[1, columns]`, or `[channels, 1, 1]`.
    pub shape: &'a [u64],
    /// Subtracted.
    pub mean: &'a [f32],
    /// Divided by; above zero.
    pub deviation: &'a [f32],
}

impl Standard<'_> {
    /// What begins the name of every value that standardisation adds. They are no parameters: whoever
    /// trains such a model again leaves them alone.
    pub const PREFIX: &'static str = "glacier.";
}

/// The model with an input standardised before anything else sees it; the input itself stays as it is declared.
///
/// # Errors
/// A model that does not read, an input that is not there or not of floating point, numbers that do not
/// broadcast against it, an input that is standardised already.
pub fn standardise(model: &[u8], by: &Standard<'_>) -> Result<Vec<u8>, ModelError> {
    let graph = Graph::read(model)?;
    let port = graph.inputs.iter().map(|(_, port)| port).find(|port| port.name == by.input);
    let port = port.filter(|port| fits(port, by)).ok_or_else(|| ModelError::Standard(Name::new(by.input)))?;
    let [mean, deviation, centred, standardised] =
        ["mean", "deviation", "centred", "standardised"].map(|what| format!("{}{}.{what}", Standard::PREFIX, by.input));
    let ours = [&mean, &deviation, &centred, &standardised];
    let constants = [(&mean, by.mean), (&deviation, by.deviation)];
    // Before IR version 4 an initializer had to be an input as well, which would change what the model takes.
    let nodes_only = ir_version(model)? < 4;

    let edited = rewrite("ModelProto", model, |field, raw, out| {
        if field.number != write::model::GRAPH {
            out.raw(raw);
            return Ok(());
        }
        let (mut front, mut nodes) = (Message::default(), false);
        if nodes_only {
            for (name, values) in constants {
                front.message(write::graph::NODE, constant(name, by.shape, port.dtype, values));
            }
        }
        let centre = write::node(&centred, "Sub", &[by.input, &mean], &[&centred], &[]);
        let divide = write::node(&standardised, "Div", &[&centred, &deviation], &[&standardised], &[]);
        front.message(write::graph::NODE, centre);
        front.message(write::graph::NODE, divide);
        let mut front = Some(front);
        let mut graph = rewrite("GraphProto", field.bytes()?, |field, raw, out| {
            if field.number != write::graph::NODE {
                let taken = field.number == write::graph::INITIALIZER
                    && tensor_name(field.bytes()?)?.is_some_and(|name| ours.iter().any(|known| *known == name));
                if taken {
                    return Err(ModelError::Standardised(Name::new(by.input)));
                }
                out.raw(raw);
                return Ok(());
            }
            nodes = true;
            if let Some(front) = front.take() {
                out.append(front);
            }
            let node = rewrite("NodeProto", field.bytes()?, |field, raw, out| {
                match (field.number, field.bytes()) {
                    (2, Ok(bytes)) if ours.iter().any(|known| known.as_bytes() == bytes) => {
                        return Err(ModelError::Standardised(Name::new(by.input)));
                    }
                    (1, Ok(bytes)) if bytes == by.input.as_bytes() => out.bytes(1, standardised.clone().into_bytes()),
                    _ => out.raw(raw),
                }
                Ok(())
            })?;
            out.message(field.number, node);
            Ok(())
        })?;
        if !nodes {
            return Err(ModelError::Standard(Name::new(by.input)));
        }
        if !nodes_only {
            for (name, values) in constants {
                graph.message(write::graph::INITIALIZER, write::floats(name, by.shape, port.dtype, values));
            }
        }
        out.message(field.number, graph);
        Ok(())
    })?;
    edited.finish()
}

/// Whether the numbers broadcast against one row of the input, and every row is treated alike.
fn fits(port: &Port, by: &Standard<'_>) -> bool {
    let dims = port.dims.as_deref().unwrap_or_default();
    let count = product(by.shape).and_then(|count| usize::try_from(count).ok());
    let pairs = by.shape.iter().rev().zip(dims.iter().rev());
    let broadcast = pairs.enumerate().all(|(at, (extent, dim))| {
        let rows = at.saturating_add(1) == dims.len();
        *extent == 1 || (!rows && dim.fixed().is_none_or(|fixed| fixed == *extent))
    });
    matches!(port.dtype, Dtype::Fp32 | Dtype::Fp64)
        && by.shape.len() <= dims.len()
        && count == Some(by.mean.len())
        && count == Some(by.deviation.len())
        && broadcast
        && by.mean.iter().all(|mean| mean.is_finite())
        && by.deviation.iter().all(|deviation| deviation.is_finite() && *deviation > 0.0)
}

fn constant(name: &str, shape: &[u64], dtype: Dtype, values: &[f32]) -> Message<'static> {
    let mut attribute = Message::default();
    attribute.bytes(1, b"value".as_slice());
    attribute.message(5, write::floats(name, shape, dtype, values));
    attribute.int(20, 4);
    let mut node = write::node(name, "Constant", &[], &[name], &[] as &[(&str, Attr)]);
    node.message(5, attribute);
    node
}

/// Copies the fields of one message through `each`, which writes what shall stand in their place.
fn rewrite<'a>(
    message: &'static str,
    bytes: &'a [u8],
    mut each: impl FnMut(Field<'a>, &'a [u8], &mut Message<'a>) -> Result<(), ModelError>,
) -> Result<Message<'a>, ModelError> {
    let (mut fields, mut out) = (Fields::new(message, bytes), Message::default());
    while let Some(field) = fields.spanned() {
        let (field, raw) = field?;
        each(field, raw, &mut out)?;
    }
    Ok(out)
}

fn patch_tensor<'a>(name: &str, bytes: &'a [u8], values: &[f32]) -> Result<Message<'a>, ModelError> {
    let (mut dims, mut code) = (Vec::new(), 0);
    for field in Fields::new("TensorProto", bytes) {
        let field = field?;
        match field.number {
            1 => field.ints(&mut dims, Tensor::MAX_RANK)?,
            2 => code = field.int()?,
            _ => {}
        }
    }
    let size = match code {
        1 => 4u64,
        10 => 2,
        11 => 8,
        _ => return Err(ModelError::Dtype { value: Name::new(name), code }),
    };
    let dims: Vec<u64> = dims.into_iter().map(i64::cast_unsigned).collect();
    let elements = product(&dims).ok_or_else(|| ModelError::Dims(Name::new(name)))?;
    count(name, elements, values, size)?;
    write::holds(name, code, values)?;
    let mut data = Some(write::packed(code, values));
    rewrite("TensorProto", bytes, |field, raw, out| {
        match field.number {
            4 | 5 | 9 | 10 => {
                if let Some(data) = data.take() {
                    out.bytes(9, data);
                }
            }
            _ => out.raw(raw),
        }
        Ok(())
    })
}

/// A `Constant` node with another value; the reader has seen that it has one.
fn patch_constant<'a>(name: &str, bytes: &'a [u8], values: &[f32]) -> Result<Message<'a>, ModelError> {
    rewrite("NodeProto", bytes, |field, raw, out| {
        if field.number != 5 {
            out.raw(raw);
            return Ok(());
        }
        let bytes = field.bytes()?;
        let kind = match first(bytes, "AttributeProto", 1)? {
            Some(b"value") => 5,
            Some(b"value_float") => 2,
            Some(b"value_floats") => 7,
            _ => return Err(ModelError::NoWeights(Name::new(name))),
        };
        if kind != 5 {
            let mut old = Vec::new();
            for field in Fields::new("AttributeProto", bytes) {
                let field = field?;
                if field.number == kind {
                    field.floats(&mut old, Graph::MAX_LIST)?;
                }
            }
            count(name, old.len() as u64, values, 4)?;
        }
        let mut done = false;
        let attribute = rewrite("AttributeProto", bytes, |field, raw, out| {
            if field.number != kind {
                out.raw(raw);
            } else if kind == 5 {
                out.message(5, patch_tensor(name, field.bytes()?, values)?);
            } else if !std::mem::replace(&mut done, true) {
                values.iter().for_each(|value| out.float(kind, *value));
            }
            Ok(())
        })?;
        out.message(5, attribute);
        Ok(())
    })
}

fn count(name: &str, elements: u64, values: &[f32], size: u64) -> Result<(), ModelError> {
    let (expected, found) = (elements.saturating_mul(size), (values.len() as u64).saturating_mul(size));
    if expected != found {
        return Err(ModelError::DataLength { tensor: Name::new(name), expected, found });
    }
    Ok(())
}

fn ir_version(model: &[u8]) -> Result<i64, ModelError> {
    for field in Fields::new("ModelProto", model) {
        let field = field?;
        if field.number == write::model::IR_VERSION {
            return field.int();
        }
    }
    Ok(0)
}

fn tensor_name(bytes: &[u8]) -> Result<Option<&str>, ModelError> {
    Ok(first(bytes, "TensorProto", 8)?.and_then(|name| str::from_utf8(name).ok()))
}

/// What a node makes, when it is a constant.
fn constant_name(bytes: &[u8]) -> Result<Option<&str>, ModelError> {
    if first(bytes, "NodeProto", 4)? != Some(b"Constant") {
        return Ok(None);
    }
    Ok(first(bytes, "NodeProto", 2)?.and_then(|name| str::from_utf8(name).ok()))
}

/// The first field of that number, which holds bytes.
fn first<'a>(bytes: &'a [u8], message: &'static str, number: u32) -> Result<Option<&'a [u8]>, ModelError> {
    for field in Fields::new(message, bytes) {
        let field = field?;
        if field.number == number {
            return field.bytes().map(Some);
        }
    }
    Ok(None)
}
