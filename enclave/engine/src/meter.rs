//! Units of work, and the memory it takes, from a graph and its input shapes alone.
//!
//! **A unit is one multiply-accumulate** of these operators; every other operator costs none:
//!
//! | operator | units |
//! |---|---|
//! | `MatMul`, `MatMulInteger`, `MatMulNBits` | batch · M · K · N |
//! | `Gemm` | M · K · N |
//! | `Conv`, `ConvInteger` | elements of the output · input channels per group · elements of the kernel |
//! | `ConvTranspose` | elements of the input · output channels per group · elements of the kernel |
//! | `Einsum` of two or more operands | product of the extents of all its indices |
//! | `LSTM`, `GRU` | time · batch · directions · gates · hidden · (input + hidden), gates being 4 and 3 |
//!
//! So units are deterministic, independent of the engine, and anybody who has the model can compute
//! them again. Shapes are propagated through the graph with the values of small integer tensors
//! (`Shape`, `Gather`, `Concat`, `Reshape` and so on), which is what exported transformers need. A
//! model whose work depends on the values of the data is refused ([`ModelError::Unmetered`]), and so
//! is every operator that this module does not know: no engine runs what was not metered.
//!
//! Operators without units still take time. [`Plan::elements`] counts what all operators write, and
//! [`Plan::within`] lets a job write only so much per unit that it may spend.

mod fold;
mod macs;
mod shape;

use crate::onnx::{Data, Graph, ModelError, Node, ValueId};

/// What is known of a value before anything runs.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Info {
    /// Extents; `None` when they depend on the data.
    pub(crate) dims: Option<Vec<u64>>,
    /// Elements, when they depend on shapes and small constants only.
    pub(crate) data: Data,
}

impl Info {
    pub(crate) fn of(dims: Vec<u64>) -> Self {
        Self { dims: Some(dims), data: Data::Unknown }
    }

    pub(crate) fn unknown() -> Self {
        Self::default()
    }

    /// A list of integers, as shapes are.
    pub(crate) fn list(values: Vec<i64>) -> Self {
        Self { dims: Some(vec![values.len() as u64]), data: Data::Ints(values) }
    }

    pub(crate) fn scalar(value: i64) -> Self {
        Self { dims: Some(Vec::new()), data: Data::Ints(vec![value]) }
    }

    pub(crate) fn ints(&self) -> Option<&[i64]> {
        match &self.data {
            Data::Ints(values) => Some(values),
            _ => None,
        }
    }

    fn elements(&self) -> Option<u64> {
        product(self.dims.as_deref()?)
    }
}

/// Number of elements, where it fits.
pub(crate) fn product(dims: &[u64]) -> Option<u64> {
    dims.iter().try_fold(1u64, |product, dim| product.checked_mul(*dim))
}

/// What a run with given input shapes comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Multiply-accumulates.
    pub units: u64,
    /// Elements that all operators write.
    pub elements: u64,
    /// Bytes of inputs, outputs and intermediate values at the worst moment, without weights and
    /// without an engine's scratch space: a run needs at least about this much.
    pub peak: u64,
    /// Shapes of the graph's outputs, where they do not depend on the data.
    pub outputs: Vec<Option<Vec<u64>>>,
}

impl Plan {
    /// Elements that may be written for each unit that may be spent. Transformers and CNNs stay below 1.
    pub const ELEMENTS_PER_UNIT: u64 = 64;
    /// Elements that may be written in any case.
    pub const FREE_ELEMENTS: u64 = 1 << 26;
    /// Largest number of elements that one value may have.
    const MAX_ELEMENTS: u64 = 1 << 40;

    /// Whether a job that may still spend `units` can pay for this run.
    pub fn within(&self, units: u64) -> bool {
        let elements = units.saturating_mul(Self::ELEMENTS_PER_UNIT).max(Self::FREE_ELEMENTS);
        self.units <= units && self.elements <= elements
    }

    /// Follows shapes through the graph. `inputs` are in the graph's order and fit its declarations.
    pub fn new(graph: &Graph, inputs: &[Vec<u64>]) -> Result<Self, ModelError> {
        let mut values = Values::of(graph);
        let mut live = 0u64;
        for ((id, _), dims) in graph.inputs.iter().zip(inputs) {
            let info = Info::of(dims.clone());
            live = live.saturating_add(bytes(&info));
            values.set(*id, info);
        }
        let deaths = last_uses(graph);
        let mut plan = Self { units: 0, elements: 0, peak: live, outputs: Vec::new() };
        for (node, dead) in graph.nodes.iter().zip(&deaths) {
            let (made, units) = values.step(graph, node)?;
            plan.add(node, &made, units)?;
            for (id, info) in node.outputs.iter().zip(made) {
                let Some(id) = id else { continue };
                live = live.saturating_add(bytes(&info));
                values.set(*id, info);
            }
            plan.peak = plan.peak.max(live);
            for id in dead {
                live = live.saturating_sub(bytes(values.get(*id)));
            }
        }
        plan.outputs = graph.outputs.iter().map(|(id, _)| values.get(*id).dims.clone()).collect();
        Ok(plan)
    }

    /// What an engine computes while it loads: all that depends on constants and declared extents
    /// alone. A hostile model would otherwise work and allocate there, before any run is metered.
    pub fn folded(graph: &Graph) -> Result<Self, ModelError> {
        let mut values = Values::of(graph);
        let mut opened = vec![false; graph.values];
        for (id, port) in &graph.inputs {
            // What depends on a free extent is not computed ahead, so any extent does for it here.
            let dims = port.dims.iter().flatten().map(|dim| dim.fixed().unwrap_or(1)).collect();
            values.set(*id, Info::of(dims));
            if let Some(place) = opened.get_mut(id.0) {
                *place = true;
            }
        }
        let mut plan = Self { units: 0, elements: 0, peak: 0, outputs: Vec::new() };
        for node in &graph.nodes {
            let is_open = |id: &ValueId| opened.get(id.0).copied().unwrap_or(true);
            let extents = matches!(node.op.as_str(), "Shape" | "Size")
                && node.inputs.iter().flatten().all(|id| values.get(*id).dims.is_some());
            let data = node.inputs.iter().flatten().any(is_open) && !extents;
            let made = match values.step(graph, node) {
                Ok((made, units)) if !data => {
                    let unknown = made.iter().zip(&node.outputs).any(|(info, id)| id.is_some() && info.dims.is_none());
                    if unknown && node.op != "NonZero" {
                        return Err(ModelError::Unmetered(node.name.clone()));
                    }
                    plan.add(node, &made, units)?;
                    plan.peak = made.iter().map(bytes).fold(plan.peak, u64::saturating_add);
                    made
                }
                Ok((made, _)) => made,
                Err(error) if !data => return Err(error),
                // Extents that stand for free ones need not fit.
                Err(_) => vec![Info::unknown(); node.outputs.len()],
            };
            for (id, info) in node.outputs.iter().zip(made) {
                let Some(id) = id else { continue };
                if let Some(place) = opened.get_mut(id.0) {
                    *place = data;
                }
                values.set(*id, info);
            }
        }
        Ok(plan)
    }

    fn add(&mut self, node: &Node, made: &[Info], units: u64) -> Result<(), ModelError> {
        self.units = self.units.checked_add(units).ok_or_else(|| ModelError::Shape(node.name.clone()))?;
        let written = made.iter().map(|info| info.elements().unwrap_or(0));
        self.elements = written.fold(self.elements, u64::saturating_add);
        Ok(())
    }
}

/// What is known of every value so far.
struct Values(Vec<Info>);

impl Values {
    fn of(graph: &Graph) -> Self {
        let mut values = Self(vec![Info::default(); graph.values]);
        for (id, constant) in &graph.constants {
            values.set(*id, Info { dims: Some(constant.dims.clone()), data: constant.data.clone() });
        }
        values
    }

    fn get(&self, id: ValueId) -> &Info {
        const NOTHING: &Info = &Info { dims: None, data: Data::Unknown };
        self.0.get(id.0).unwrap_or(NOTHING)
    }

    fn set(&mut self, id: ValueId, info: Info) {
        if let Some(place) = self.0.get_mut(id.0) {
            *place = info;
        }
    }

    /// What a node makes, and its units.
    fn step(&self, graph: &Graph, node: &Node) -> Result<(Vec<Info>, u64), ModelError> {
        let given = node.inputs.iter().map(|id| id.map(|id| self.get(id))).collect::<Vec<_>>();
        let mut made = shape::infer(node, graph.opset, &given)?;
        for info in &mut made {
            let elements = info.dims.as_deref().map(|dims| product(dims).unwrap_or(u64::MAX));
            if elements.is_some_and(|elements| elements >= Plan::MAX_ELEMENTS) {
                return Err(ModelError::Shape(node.name.clone()));
            }
            // What an engine computes in other widths than ours would give other shapes than predicted.
            fold::bound(info);
        }
        let units = macs::count(node, &given, &made)?;
        Ok((made, units))
    }
}

/// Whether there is a rule for this operator.
pub fn knows(op: &str) -> bool {
    op == "Constant" || shape::Rule::of(op).is_some()
}

/// Bytes at run time: the built-in engine widens what is smaller than 32 bits except bytes, and
/// narrows what is wider.
fn bytes(info: &Info) -> u64 {
    info.elements().unwrap_or(0).saturating_mul(4)
}

/// Values that each node is the last to need. Constants and outputs of the graph never die.
fn last_uses(graph: &Graph) -> Vec<Vec<ValueId>> {
    let mut keep = vec![false; graph.values];
    for (id, _) in &graph.outputs {
        if let Some(keep) = keep.get_mut(id.0) {
            *keep = true;
        }
    }
    for (id, _) in &graph.constants {
        if let Some(keep) = keep.get_mut(id.0) {
            *keep = true;
        }
    }
    let mut deaths = vec![Vec::new(); graph.nodes.len()];
    for (node, deaths) in graph.nodes.iter().zip(&mut deaths).rev() {
        for id in node.inputs.iter().chain(&node.outputs).flatten() {
            if let Some(seen) = keep.get_mut(id.0).filter(|seen| !**seen) {
                *seen = true;
                deaths.push(*id);
            }
        }
    }
    deaths
}
