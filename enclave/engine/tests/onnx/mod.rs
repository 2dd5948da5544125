//! Writes ONNX, so that every hostile model is made where its defect is named.
#![allow(dead_code, missing_docs, unreachable_pub)]

/// A Protocol Buffers message being written.
#[derive(Clone, Default)]
pub struct Message(pub Vec<u8>);

impl Message {
    pub fn int(mut self, field: u32, value: i64) -> Self {
        self.varint(u64::from(field) << 3);
        self.varint(value as u64);
        self
    }

    pub fn float(mut self, field: u32, value: f32) -> Self {
        self.varint(u64::from(field) << 3 | 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    pub fn bytes(mut self, field: u32, value: impl AsRef<[u8]>) -> Self {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(value.as_ref().len() as u64);
        self.0.extend(value.as_ref());
        self
    }

    pub fn message(self, field: u32, value: Message) -> Self {
        self.bytes(field, value.0)
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

pub fn new() -> Message {
    Message::default()
}

pub const FLOAT: i64 = 1;
pub const INT64: i64 = 7;

/// A `ValueInfoProto`; `-1` is a dimension named `rows`.
pub fn value(name: &str, dtype: i64, dims: &[i64]) -> Message {
    let dim = |dim: &i64| if *dim < 0 { new().bytes(2, "rows") } else { new().int(1, *dim) };
    let shape = dims.iter().fold(new(), |shape, extent| shape.message(1, dim(extent)));
    new().bytes(1, name).message(2, new().message(1, new().int(1, dtype).message(2, shape)))
}

pub fn weight(name: &str, dims: &[i64]) -> Message {
    let count = dims.iter().product::<i64>() as usize;
    tensor(name, FLOAT, dims, &vec![0; count * 4])
}

pub fn tensor(name: &str, dtype: i64, dims: &[i64], raw: &[u8]) -> Message {
    dims.iter().fold(new(), |tensor, dim| tensor.int(1, *dim)).int(2, dtype).bytes(8, name).bytes(9, raw)
}

pub fn longs(name: &str, values: &[i64]) -> Message {
    tensor(name, INT64, &[values.len() as i64], &values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>())
}

pub fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> Message {
    let node = inputs.iter().fold(new(), |node, name| node.bytes(1, name));
    outputs.iter().fold(node, |node, name| node.bytes(2, name)).bytes(4, op)
}

pub fn ints(name: &str, values: &[i64]) -> Message {
    values.iter().fold(new().bytes(1, name), |attr, value| attr.int(8, *value)).int(20, 7)
}

pub fn int(name: &str, value: i64) -> Message {
    new().bytes(1, name).int(3, value).int(20, 2)
}

pub fn text(name: &str, value: &str) -> Message {
    new().bytes(1, name).bytes(4, value).int(20, 3)
}

/// A graph by its parts.
#[derive(Clone, Default)]
pub struct Graph {
    pub nodes: Vec<Message>,
    pub weights: Vec<Message>,
    pub inputs: Vec<Message>,
    pub outputs: Vec<Message>,
}

impl Graph {
    /// `x` of shape `[rows, 4]` times `w` of `[4, 3]` is `y`.
    pub fn small() -> Self {
        Self {
            nodes: vec![node("MatMul", &["x", "w"], &["y"])],
            weights: vec![weight("w", &[4, 3])],
            inputs: vec![value("x", FLOAT, &[-1, 4])],
            outputs: vec![value("y", FLOAT, &[-1, 3])],
        }
    }

    pub fn message(&self) -> Message {
        let parts = [(1, &self.nodes), (5, &self.weights), (11, &self.inputs), (12, &self.outputs)];
        let parts = parts.into_iter().flat_map(|(field, parts)| parts.iter().map(move |part| (field, part)));
        parts.fold(new(), |graph, (field, part)| graph.message(field, part.clone()))
    }

    /// A model around it.
    pub fn model(&self) -> Message {
        new().int(1, 8).message(7, self.message()).message(8, new().bytes(1, "").int(2, 17))
    }

    pub fn read(&self) -> Result<glacier_engine::onnx::Graph, glacier_engine::onnx::ModelError> {
        glacier_engine::onnx::Graph::read(&self.model().0)
    }
}
