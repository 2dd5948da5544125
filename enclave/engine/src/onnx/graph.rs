//! A graph's skeleton: what metering and engines need of a model.

use super::error::{ModelError, Name};
use crate::info::Port;

/// Place of a value in a graph: inputs, constants and node outputs count alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ValueId(pub(crate) usize);

impl ValueId {
    /// The place as a number below [`Graph::values`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// A checked model without its weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// What it takes.
    pub inputs: Vec<(ValueId, Port)>,
    /// What it gives.
    pub outputs: Vec<(ValueId, Port)>,
    /// In topological order.
    pub nodes: Vec<Node>,
    /// Weights and other constants.
    pub constants: Vec<(ValueId, Constant)>,
    /// Number of values.
    pub values: usize,
    /// Version of the default operator set.
    pub opset: i64,
    /// Elements of all constants.
    pub parameters: u64,
    /// Bytes of all constants.
    pub weight_bytes: u64,
    /// Metadata `glacier.features`.
    pub features: Option<Vec<String>>,
    /// Metadata `glacier.labels`.
    pub labels: Option<Vec<String>>,
}

/// One operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// For messages: its name, or what it makes.
    pub name: Name,
    /// Operator, with `domain/` in front when that is not the default domain.
    pub op: String,
    /// What it takes; `None` where an optional input is left out.
    pub inputs: Vec<Option<ValueId>>,
    /// What it makes; `None` where an optional output is left out.
    pub outputs: Vec<Option<ValueId>>,
    pub(super) attributes: Vec<(String, Attr)>,
}

impl Node {
    /// The attribute of that name.
    pub fn attr(&self, name: &str) -> Option<&Attr> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, attr)| attr)
    }

    /// An integer attribute, or its default.
    pub fn int(&self, name: &'static str, default: i64) -> Result<i64, ModelError> {
        match self.attr(name) {
            None => Ok(default),
            Some(Attr::Int(value)) => Ok(*value),
            Some(_) => Err(self.bad(name)),
        }
    }

    /// A list of integers, when there is one.
    pub fn ints(&self, name: &'static str) -> Result<Option<&[i64]>, ModelError> {
        match self.attr(name) {
            None => Ok(None),
            Some(Attr::Ints(values)) => Ok(Some(values)),
            Some(_) => Err(self.bad(name)),
        }
    }

    /// A text attribute, or its default.
    pub fn text<'a>(&'a self, name: &'static str, default: &'a str) -> Result<&'a str, ModelError> {
        match self.attr(name) {
            None => Ok(default),
            Some(Attr::Text(value)) => Ok(value),
            Some(_) => Err(self.bad(name)),
        }
    }

    /// The error for an attribute or input that the operator cannot have.
    pub fn bad(&self, attribute: &'static str) -> ModelError {
        ModelError::Attribute { node: self.name.clone(), attribute }
    }
}

/// Value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Attr {
    /// A number.
    Int(i64),
    /// A number.
    Float(f32),
    /// Numbers.
    Ints(Vec<i64>),
    /// Numbers.
    Floats(Vec<f32>),
    /// A word.
    Text(String),
    /// A tensor.
    Constant(Constant),
    /// One that no shape depends on.
    Other,
}

/// A constant tensor without its weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Constant {
    /// Extents, outermost first.
    pub dims: Vec<u64>,
    /// Elements, when there are few.
    pub data: Data,
    pub(super) elements: u64,
    pub(super) bytes: u64,
}

/// Elements that shapes may be computed from.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Data {
    /// Not known, or too many to care.
    #[default]
    Unknown,
    /// Any integer type, and bool.
    Ints(Vec<i64>),
    /// Any floating type.
    Floats(Vec<f32>),
}

impl Data {
    /// Most elements that are followed through a graph: shapes, masks of short sequences.
    pub const MAX: usize = 4096;
}

impl Graph {
    /// Largest model (the most Protocol Buffers can carry).
    pub const MAX_BYTES: u64 = i32::MAX as u64;
    /// Most nodes.
    pub const MAX_NODES: usize = 1 << 16;
    /// Most initializers.
    pub const MAX_INITIALIZERS: usize = 1 << 16;
    /// Most inputs, most outputs of the graph.
    pub const MAX_PORTS: usize = 256;
    /// Most inputs and outputs of all nodes together.
    pub const MAX_EDGES: usize = 1 << 20;
    /// Most attributes of one node.
    pub const MAX_ATTRIBUTES: usize = 64;
    /// Most elements in one list attribute.
    pub const MAX_LIST: usize = 1 << 16;
    /// Most metadata entries.
    pub const MAX_METADATA: usize = 1024;
    /// Longest metadata value.
    pub const MAX_METADATA_VALUE: usize = 4 << 20;
    /// Longest name.
    pub const MAX_NAME: usize = 4096;
    /// Most names in a metadata list.
    pub const MAX_LIST_NAMES: usize = 1 << 16;
    /// Versions of the default operator set.
    pub const OPSETS: (i64, i64) = (7, 25);
}
