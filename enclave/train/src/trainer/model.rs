//! An ONNX graph as a run sees it: differentiable, and metered before it runs.

use super::Differentiable;
use crate::{
    error::TrainError,
    kernel::Team,
    network::{Mode, Network, Settings},
    tensor::{Tensor, Value},
    weights::Weights,
};
use glacier_engine::{
    Port,
    meter::Plan,
    onnx::{Graph, ValueId},
};

/// A network and the graph it was read from.
pub struct Model {
    network: Network,
    graph: Graph,
    /// Shapes that were metered last, and what they came to.
    metered: Vec<(Vec<Vec<u64>>, u64)>,
    probabilities: Vec<bool>,
}

/// Shapes whose cost is remembered: full batches, the last of an epoch, single rows, validation.
const REMEMBERED: usize = 8;

impl Model {
    /// Reads a `ModelProto`, with its weights as they stand in the file.
    ///
    /// # Errors
    /// See [`Network::with`].
    pub fn read(model: &[u8], settings: &Settings) -> Result<(Self, Weights), TrainError> {
        let graph = Graph::read(model)?;
        let (network, weights) = Network::with(model, settings)?;
        let probabilities = graph.outputs.iter().map(|(id, _)| ends_in_probabilities(&graph, *id)).collect();
        Ok((Self { network, graph, metered: Vec::new(), probabilities }, weights))
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }
}

impl Differentiable for Model {
    fn inputs(&self) -> &[Port] {
        self.network.inputs()
    }

    fn outputs(&self) -> &[Port] {
        self.network.outputs()
    }

    fn team(&self) -> &Team {
        self.network.team()
    }

    fn freeze(&mut self, frozen: &[bool]) -> Result<(), TrainError> {
        self.network.freeze(frozen)
    }

    fn forward(&mut self, weights: &mut Weights, inputs: &[Value], mode: Mode) -> Result<Vec<Value>, TrainError> {
        self.network.forward(weights, inputs, mode)
    }

    fn backward(
        &mut self,
        weights: &Weights,
        seeds: Vec<Option<Tensor>>,
        gradient: &mut [f32],
    ) -> Result<(), TrainError> {
        self.network.backward(weights, seeds, gradient)
    }

    fn macs(&self) -> u64 {
        self.network.macs()
    }

    fn cost(&mut self, inputs: &[Vec<u64>]) -> Result<u64, TrainError> {
        if let Some((_, units)) = self.metered.iter().find(|(shapes, _)| shapes == inputs) {
            return Ok(*units);
        }
        let units = Plan::new(&self.graph, inputs)?.units;
        if self.metered.len() >= REMEMBERED {
            self.metered.remove(0);
        }
        self.metered.push((inputs.to_vec(), units));
        Ok(units)
    }

    fn gives_probabilities(&self, output: usize) -> bool {
        self.probabilities.get(output).copied().unwrap_or(false)
    }
}

/// Follows a value back through nodes that only rearrange, to what computed it.
fn ends_in_probabilities(graph: &Graph, value: ValueId) -> bool {
    let mut value = value;
    // A graph has no cycles, so this ends; the bound says so to the reader.
    for _ in 0..graph.nodes.len() {
        let Some(node) = graph.nodes.iter().find(|node| node.outputs.contains(&Some(value))) else { return false };
        match node.op.as_str() {
            "Softmax" | "Sigmoid" => return true,
            "Identity" | "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten" | "Dropout" => {}
            _ => return false,
        }
        match node.inputs.first() {
            Some(Some(input)) => value = *input,
            _ => return false,
        }
    }
    false
}
