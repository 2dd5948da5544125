//! ONNX models written by hand, for tests.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "tests; not every test binary uses all of it")]

/// An attribute of a node.
#[derive(Debug, Clone)]
pub enum Attr {
    Int(i64),
    Float(f32),
    Ints(Vec<i64>),
    Text(&'static str),
    /// A tensor of one float.
    Fill(f32),
}

/// A `ModelProto` in the making.
#[derive(Debug, Default, Clone)]
pub struct Model {
    nodes: Vec<Vec<u8>>,
    initializers: Vec<Vec<u8>>,
    inputs: Vec<Vec<u8>>,
    outputs: Vec<Vec<u8>>,
}

pub const FLOAT: i64 = 1;
pub const INT64: i64 = 7;
pub const BOOL: i64 = 9;

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn int(out: &mut Vec<u8>, number: u64, value: i64) {
    varint(out, number << 3);
    varint(out, value.cast_unsigned());
}

fn bytes(out: &mut Vec<u8>, number: u64, value: &[u8]) {
    varint(out, number << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn tensor(name: &str, shape: &[usize], code: i64, raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for extent in shape {
        int(&mut out, 1, *extent as i64);
    }
    int(&mut out, 2, code);
    bytes(&mut out, 8, name.as_bytes());
    bytes(&mut out, 9, raw);
    out
}

/// `dims`: an extent, or -1 for a free one.
fn port(name: &str, code: i64, dims: &[i64]) -> Vec<u8> {
    let mut shape = Vec::new();
    for (at, extent) in dims.iter().enumerate() {
        let mut dim = Vec::new();
        if *extent < 0 {
            bytes(&mut dim, 2, format!("d{at}").as_bytes());
        } else {
            int(&mut dim, 1, *extent);
        }
        bytes(&mut shape, 1, &dim);
    }
    let (mut inner, mut kind, mut out) = (Vec::new(), Vec::new(), Vec::new());
    int(&mut inner, 1, code);
    bytes(&mut inner, 2, &shape);
    bytes(&mut kind, 1, &inner);
    bytes(&mut out, 1, name.as_bytes());
    bytes(&mut out, 2, &kind);
    out
}

impl Model {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn input(mut self, name: &str, code: i64, dims: &[i64]) -> Self {
        self.inputs.push(port(name, code, dims));
        self
    }

    pub fn output(mut self, name: &str, code: i64) -> Self {
        let (mut inner, mut kind, mut out) = (Vec::new(), Vec::new(), Vec::new());
        int(&mut inner, 1, code);
        bytes(&mut kind, 1, &inner);
        bytes(&mut out, 1, name.as_bytes());
        bytes(&mut out, 2, &kind);
        self.outputs.push(out);
        self
    }

    pub fn floats(mut self, name: &str, shape: &[usize], values: &[f32]) -> Self {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.initializers.push(tensor(name, shape, FLOAT, &raw));
        self
    }

    pub fn ints(mut self, name: &str, shape: &[usize], values: &[i64]) -> Self {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.initializers.push(tensor(name, shape, INT64, &raw));
        self
    }

    pub fn bools(mut self, name: &str, shape: &[usize], values: &[bool]) -> Self {
        let raw: Vec<u8> = values.iter().map(|value| u8::from(*value)).collect();
        self.initializers.push(tensor(name, shape, BOOL, &raw));
        self
    }

    pub fn halves(mut self, name: &str, shape: &[usize], values: &[u16]) -> Self {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.initializers.push(tensor(name, shape, 10, &raw));
        self
    }

    /// `op` may carry a domain: `domain/Op`. An empty name is an input left out.
    pub fn node(mut self, op: &str, inputs: &[&str], outputs: &[&str], attrs: &[(&str, Attr)]) -> Self {
        let mut out = Vec::new();
        inputs.iter().for_each(|name| bytes(&mut out, 1, name.as_bytes()));
        outputs.iter().for_each(|name| bytes(&mut out, 2, name.as_bytes()));
        bytes(&mut out, 3, format!("node-{}", outputs[0]).as_bytes());
        let (domain, op) = op.split_once('/').unwrap_or(("", op));
        bytes(&mut out, 4, op.as_bytes());
        for (name, value) in attrs {
            let mut attr = Vec::new();
            bytes(&mut attr, 1, name.as_bytes());
            match value {
                Attr::Float(value) => {
                    varint(&mut attr, 2 << 3 | 5);
                    attr.extend(value.to_le_bytes());
                    int(&mut attr, 20, 1);
                }
                Attr::Int(value) => {
                    int(&mut attr, 3, *value);
                    int(&mut attr, 20, 2);
                }
                Attr::Text(value) => {
                    bytes(&mut attr, 4, value.as_bytes());
                    int(&mut attr, 20, 3);
                }
                Attr::Fill(value) => {
                    bytes(&mut attr, 5, &tensor("", &[1], FLOAT, &value.to_le_bytes()));
                    int(&mut attr, 20, 4);
                }
                Attr::Ints(values) => {
                    values.iter().for_each(|value| int(&mut attr, 8, *value));
                    int(&mut attr, 20, 7);
                }
            }
            bytes(&mut out, 5, &attr);
        }
        if !domain.is_empty() {
            bytes(&mut out, 7, domain.as_bytes());
        }
        self.nodes.push(out);
        self
    }

    pub fn bytes(&self, opset: i64) -> Vec<u8> {
        let mut graph = Vec::new();
        self.nodes.iter().for_each(|node| bytes(&mut graph, 1, node));
        bytes(&mut graph, 2, b"test");
        self.initializers.iter().for_each(|tensor| bytes(&mut graph, 5, tensor));
        self.inputs.iter().for_each(|port| bytes(&mut graph, 11, port));
        self.outputs.iter().for_each(|port| bytes(&mut graph, 12, port));
        let (mut out, mut version) = (Vec::new(), Vec::new());
        int(&mut out, 1, 8);
        bytes(&mut out, 7, &graph);
        int(&mut version, 2, opset);
        bytes(&mut out, 8, &version);
        out
    }
}

/// Numbers that look random, between -1 and 1, the same on every machine.
pub fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..8).for_each(|_| {
        next();
    });
    (0..count).map(|_| next()).collect()
}
