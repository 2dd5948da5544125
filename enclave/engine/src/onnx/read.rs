//! `ModelProto` to a checked [`Graph`].

use super::{
    error::{ModelError, Name},
    graph::{Attr, Constant, Data, Graph, Node, ValueId},
    proto::Fields,
    tensor::{constant, port, saturated},
};
use crate::{info::Port, meter};
use std::collections::{HashMap, HashSet};

impl Graph {
    /// Reads and checks a `ModelProto`.
    pub fn read(bytes: &[u8]) -> Result<Self, ModelError> {
        if bytes.len() as u64 > Self::MAX_BYTES {
            return Err(ModelError::TooLarge { what: "bytes", max: Self::MAX_BYTES });
        }
        let (mut graph, mut opset, mut metadata, mut domains) = (None, None, HashMap::new(), 0usize);
        for field in Fields::new("ModelProto", bytes) {
            let field = field?;
            match field.number {
                7 => field.once(&mut graph, field.bytes()?)?,
                8 => {
                    domains = bounded(domains, 64, "opset_import")?;
                    if let Some(version) = default_opset(field.bytes()?)? {
                        field.once(&mut opset, version)?;
                    }
                }
                14 => {
                    let (key, value) = entry(field.bytes()?)?;
                    bounded(metadata.len(), Self::MAX_METADATA, "metadata_props")?;
                    if metadata.insert(key, value).is_some() {
                        return Err(field.bad());
                    }
                }
                20 => return Err(ModelError::Feature("training graphs")),
                25 => return Err(ModelError::Feature("functions")),
                _ => {}
            }
        }
        let graph = graph.ok_or(ModelError::NoGraph)?;
        let (min, max) = Self::OPSETS;
        let opset = opset.unwrap_or(0);
        if !(min..=max).contains(&opset) {
            return Err(ModelError::Opset { found: opset, min, max });
        }
        let mut graph = Builder::default().graph(graph, opset)?;
        graph.features = names(&metadata, "glacier.features")?;
        graph.labels = names(&metadata, "glacier.labels")?;
        Ok(graph)
    }
}

/// Counts one more of something.
pub(super) fn bounded(count: usize, max: usize, what: &'static str) -> Result<usize, ModelError> {
    if count >= max {
        return Err(ModelError::TooLarge { what, max: max as u64 });
    }
    Ok(count.saturating_add(1))
}

/// The version, when it is the default domain's.
fn default_opset(bytes: &[u8]) -> Result<Option<i64>, ModelError> {
    let (mut domain, mut version) = (None, None);
    for field in Fields::new("OperatorSetIdProto", bytes) {
        let field = field?;
        match field.number {
            1 => field.once(&mut domain, field.text(Graph::MAX_NAME)?)?,
            2 => field.once(&mut version, field.int()?)?,
            _ => {}
        }
    }
    Ok(matches!(domain, None | Some("" | "ai.onnx")).then_some(version.unwrap_or(0)))
}

fn entry(bytes: &[u8]) -> Result<(&str, &str), ModelError> {
    let (mut key, mut value) = (None, None);
    for field in Fields::new("StringStringEntryProto", bytes) {
        let field = field?;
        match field.number {
            1 => field.once(&mut key, field.text(Graph::MAX_NAME)?)?,
            2 => field.once(&mut value, field.text(Graph::MAX_METADATA_VALUE)?)?,
            _ => {}
        }
    }
    Ok((key.unwrap_or_default(), value.unwrap_or_default()))
}

/// A JSON list of distinct, non-empty names.
fn names(metadata: &HashMap<&str, &str>, key: &'static str) -> Result<Option<Vec<String>>, ModelError> {
    let Some(json) = metadata.get(key) else { return Ok(None) };
    let list: Vec<String> = serde_json::from_str(json).map_err(|_| ModelError::Metadata(key))?;
    let distinct: HashSet<_> = list.iter().collect();
    let fit = |name: &String| !name.is_empty() && name.len() <= Graph::MAX_NAME;
    if list.is_empty() || list.len() > Graph::MAX_LIST_NAMES || distinct.len() != list.len() || !list.iter().all(fit) {
        return Err(ModelError::Metadata(key));
    }
    Ok(Some(list))
}

/// A node as it stands in the file.
struct RawNode<'a> {
    op: &'a str,
    domain: &'a str,
    name: Name,
    inputs: Vec<&'a str>,
    outputs: Vec<&'a str>,
    attributes: Vec<(String, Attr)>,
}

/// Gives every value its place.
#[derive(Default)]
struct Builder<'a> {
    ids: HashMap<&'a str, ValueId>,
    edges: usize,
}

impl<'a> Builder<'a> {
    fn graph(mut self, bytes: &'a [u8], opset: i64) -> Result<Graph, ModelError> {
        let (mut nodes, mut constants) = (Vec::new(), Vec::new());
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for field in Fields::new("GraphProto", bytes) {
            let field = field?;
            match field.number {
                1 => {
                    bounded(nodes.len(), Graph::MAX_NODES, "nodes")?;
                    nodes.push(self.node(field.bytes()?)?);
                }
                5 => {
                    bounded(constants.len(), Graph::MAX_INITIALIZERS, "initializers")?;
                    constants.push(constant(field.bytes()?)?);
                }
                11 => {
                    bounded(inputs.len(), Graph::MAX_INITIALIZERS, "inputs")?;
                    inputs.push(port(field.bytes()?)?);
                }
                12 => {
                    bounded(outputs.len(), Graph::MAX_PORTS, "outputs")?;
                    outputs.push(port(field.bytes()?)?);
                }
                // Shapes of inner values are derived, not believed; yet the engine will read them.
                13 => drop(port(field.bytes()?)?),
                15 => return Err(ModelError::Feature("sparse weights")),
                _ => {}
            }
        }
        if outputs.is_empty() {
            return Err(ModelError::NoOutputs);
        }

        let mut named = Vec::with_capacity(constants.len());
        for (name, constant) in constants {
            named.push((self.define(name, "tensor")?, constant));
        }
        let mut takes = Vec::new();
        for (name, port) in inputs {
            // Before IR version 4 initializers were listed among the inputs.
            if self.ids.get(name).is_some_and(|id| id.0 < named.len()) {
                continue;
            }
            bounded(takes.len(), Graph::MAX_PORTS, "inputs")?;
            let id = self.define(name, "input")?;
            let port = port?;
            if port.dims.is_none() {
                return Err(ModelError::NoShape(name.into()));
            }
            takes.push((id, port));
        }
        if takes.is_empty() {
            return Err(ModelError::NoInputs);
        }
        let nodes = self.link(nodes, &mut named)?;
        let mut gives: Vec<(ValueId, Port)> = Vec::with_capacity(outputs.len());
        for (name, port) in outputs {
            let id = *self.ids.get(name).ok_or_else(|| ModelError::UnknownOutput(name.into()))?;
            if gives.iter().any(|(known, _)| *known == id) {
                return Err(ModelError::DuplicateValue(name.into()));
            }
            gives.push((id, port?));
        }
        let total = |size: fn(&Constant) -> u64| named.iter().map(|(_, c)| size(c)).fold(0, u64::saturating_add);
        Ok(Graph {
            inputs: takes,
            outputs: gives,
            nodes,
            parameters: total(|constant| constant.elements),
            weight_bytes: total(|constant| constant.bytes),
            constants: named,
            values: self.ids.len(),
            opset,
            features: None,
            labels: None,
        })
    }

    fn define(&mut self, name: &'a str, what: &'static str) -> Result<ValueId, ModelError> {
        if name.is_empty() {
            return Err(ModelError::Unnamed(what));
        }
        let id = ValueId(self.ids.len());
        if self.ids.insert(name, id).is_some() {
            return Err(ModelError::DuplicateValue(name.into()));
        }
        Ok(id)
    }

    /// Resolves names in the order of the nodes, which ONNX says is topological.
    fn link(
        &mut self,
        raw: Vec<RawNode<'a>>,
        constants: &mut Vec<(ValueId, Constant)>,
    ) -> Result<Vec<Node>, ModelError> {
        let mut nodes = Vec::with_capacity(raw.len());
        for (at, node) in raw.iter().enumerate() {
            let mut inputs = Vec::with_capacity(node.inputs.len());
            for name in &node.inputs {
                inputs.push(match self.ids.get(name) {
                    _ if name.is_empty() => None,
                    Some(id) => Some(*id),
                    None => return Err(out_of_order(&raw, at, name)),
                });
            }
            let mut outputs = Vec::with_capacity(node.outputs.len());
            for name in &node.outputs {
                let id = if name.is_empty() { None } else { Some(self.define(name, "value")?) };
                outputs.push(id);
            }
            if outputs.iter().all(Option::is_none) {
                return Err(ModelError::Unnamed("node output"));
            }
            let op = match node.domain {
                "" | "ai.onnx" => node.op.to_owned(),
                domain => format!("{domain}/{}", node.op),
            };
            if !meter::knows(&op) {
                return Err(ModelError::Operator { op: Name::new(&op), node: node.name.clone() });
            }
            let attributes = node.attributes.clone();
            let linked = Node { name: node.name.clone(), op, inputs, outputs, attributes };
            if linked.op == "Constant" {
                let [Some(id)] = linked.outputs.as_slice() else { return Err(linked.bad("number of outputs")) };
                constants.push((*id, constant_node(&linked)?));
            } else {
                nodes.push(linked);
            }
        }
        Ok(nodes)
    }

    fn node(&mut self, bytes: &'a [u8]) -> Result<RawNode<'a>, ModelError> {
        let (mut op, mut domain, mut name, mut attributes) = (None, None, None, Vec::new());
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        let mut graphs = false;
        for field in Fields::new("NodeProto", bytes) {
            let field = field?;
            match field.number {
                1 | 2 => {
                    self.edges = bounded(self.edges, Graph::MAX_EDGES, "inputs and outputs of nodes")?;
                    let list = if field.number == 1 { &mut inputs } else { &mut outputs };
                    list.push(field.text(Graph::MAX_NAME)?);
                }
                3 => field.once(&mut name, field.text(Graph::MAX_NAME)?)?,
                4 => field.once(&mut op, field.text(Graph::MAX_NAME)?)?,
                5 => {
                    bounded(attributes.len(), Graph::MAX_ATTRIBUTES, "attributes")?;
                    match attribute(field.bytes()?)? {
                        Some(attribute) => attributes.push(attribute),
                        None => graphs = true,
                    }
                }
                7 => field.once(&mut domain, field.text(Graph::MAX_NAME)?)?,
                _ => {}
            }
        }
        let op = op.filter(|op| !op.is_empty()).ok_or(ModelError::Unnamed("operator"))?;
        // Many exporters name no nodes; what a node makes names it as well.
        let shown = name.filter(|name| !name.is_empty()).or(outputs.first().copied()).unwrap_or("?");
        // Nested graphs may run any number of times: nothing bounds their work ahead.
        if graphs {
            return Err(ModelError::Operator { op: op.into(), node: shown.into() });
        }
        let mut seen = HashSet::new();
        if !attributes.iter().all(|(name, _)| seen.insert(name.as_str())) {
            return Err(ModelError::Attribute { node: shown.into(), attribute: "attribute: it is there twice" });
        }
        Ok(RawNode { op, domain: domain.unwrap_or_default(), name: shown.into(), inputs, outputs, attributes })
    }
}

/// Says what is wrong with a use of a value that is not there yet.
fn out_of_order(nodes: &[RawNode<'_>], at: usize, value: &str) -> ModelError {
    let mut makers = HashMap::new();
    for (place, node) in nodes.iter().enumerate() {
        for output in &node.outputs {
            makers.entry(*output).or_insert(place);
        }
    }
    let name = nodes.get(at).map_or(Name::new("?"), |node| node.name.clone());
    if !makers.contains_key(value) {
        return ModelError::UnknownValue { node: name, value: value.into() };
    }
    // Does what this node needs, need this node?
    let (mut open, mut seen) = (vec![at], HashSet::new());
    while let Some(node) = open.pop().and_then(|place| nodes.get(place)) {
        for maker in node.inputs.iter().filter_map(|input| makers.get(input)) {
            if *maker == at {
                return ModelError::Cycle(name);
            }
            if seen.insert(*maker) {
                open.push(*maker);
            }
        }
    }
    ModelError::Order { node: name, value: value.into() }
}

/// Name and value; `None` for a nested graph.
pub(super) fn attribute(bytes: &[u8]) -> Result<Option<(String, Attr)>, ModelError> {
    let (mut name, mut kind) = (None, None);
    let (mut int, mut float, mut text, mut tensor) = (None, None, None, None);
    let (mut ints, mut floats) = (Vec::new(), Vec::new());
    let mut strings = 0usize;
    for field in Fields::new("AttributeProto", bytes) {
        let field = field?;
        match field.number {
            1 => field.once(&mut name, field.text(Graph::MAX_NAME)?)?,
            2 => field.once(&mut float, field.float()?)?,
            3 => field.once(&mut int, field.int()?)?,
            4 => field.once(&mut text, field.bytes()?)?,
            5 => field.once(&mut tensor, field.bytes()?)?,
            6 | 11 => return Ok(None),
            7 => field.floats(&mut floats, Graph::MAX_LIST)?,
            8 => field.ints(&mut ints, Graph::MAX_LIST)?,
            9 => strings = bounded(strings, Graph::MAX_LIST, "strings")?,
            20 => field.once(&mut kind, field.int()?)?,
            // Types, lists of tensors, sparse tensors, references into functions: no operator in the table has them.
            10 | 14 | 15 | 21 | 22 | 23 => return Err(field.bad()),
            _ => {}
        }
    }
    let bad = ModelError::Field { message: "AttributeProto", number: 20 };
    // A reader that goes by the type and one that goes by the field must see the same.
    let set = [float.is_some(), int.is_some(), text.is_some(), tensor.is_some()];
    let set = set.into_iter().chain([!floats.is_empty(), !ints.is_empty(), strings > 0]);
    if set.filter(|set| *set).count() > 1 {
        return Err(bad);
    }
    let value = match kind {
        Some(1) => Attr::Float(float.unwrap_or(0.0)),
        Some(2) => Attr::Int(int.unwrap_or(0)),
        Some(3) => {
            let text = text.unwrap_or_default();
            if text.len() > Graph::MAX_NAME {
                return Err(ModelError::TooLarge { what: "AttributeProto", max: Graph::MAX_NAME as u64 });
            }
            str::from_utf8(text).map_or(Attr::Other, |text| Attr::Text(text.to_owned()))
        }
        Some(4) => {
            let (_, constant) = constant(tensor.ok_or(bad.clone())?)?;
            Attr::Constant(constant)
        }
        Some(6) => Attr::Floats(floats),
        Some(7) => Attr::Ints(ints),
        Some(8) => Attr::Other,
        _ => return Err(bad),
    };
    let name = name.filter(|name| !name.is_empty()).ok_or(ModelError::Unnamed("attribute"))?;
    Ok(Some((name.to_owned(), value)))
}

/// What a `Constant` node makes.
fn constant_node(node: &Node) -> Result<Constant, ModelError> {
    let list = |count: usize, data| {
        let elements = count as u64;
        Constant { dims: vec![elements], data, elements, bytes: elements.saturating_mul(4) }
    };
    let scalar = |data| Constant { dims: Vec::new(), data, elements: 1, bytes: 4 };
    let [(name, value)] = node.attributes.as_slice() else { return Err(node.bad("number of values")) };
    match (name.as_str(), value) {
        ("value", Attr::Constant(constant)) => Ok(constant.clone()),
        ("value_int", Attr::Int(value)) => Ok(scalar(Data::Ints(vec![saturated(*value)]))),
        ("value_float", Attr::Float(value)) => Ok(scalar(Data::Floats(vec![*value]))),
        ("value_ints", Attr::Ints(values)) => {
            Ok(list(values.len(), Data::Ints(values.iter().copied().map(saturated).collect())))
        }
        ("value_floats", Attr::Floats(values)) => Ok(list(values.len(), Data::Floats(values.clone()))),
        _ => Err(node.bad("value")),
    }
}
