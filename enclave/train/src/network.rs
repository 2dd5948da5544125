//! A differentiable ONNX graph.

mod compile;
mod fuse;
pub(crate) mod pool;
mod program;
mod run;
pub(crate) mod state;

use crate::{
    error::TrainError,
    kernel::{Team, add_into},
    op::Kind,
    tensor::{IntTensor, Tensor, Value, volume},
    weights::Weights,
};
use compile::Compiled;
use glacier_engine::{Port, onnx::Name};
use pool::Pool;
use program::Program;
use run::Tape;
use state::{Gradients, Held, Slot, Source};
use std::sync::Arc;

/// What is asked of a network before it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Threads that share the work of each operator.
    pub threads: usize,
    /// Most bytes of values and gradients that are held at once, without the weights.
    pub memory: u64,
    /// Names of the outputs that a loss is taken of; all floating-point outputs where it is `None`.
    pub trained: Option<Vec<String>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { threads: 1, memory: 4 << 30, trained: None }
    }
}

/// Whether a pass is part of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Dropout lets everything through, batch normalisation uses its running statistics, and nothing is
    /// kept for a backward pass.
    Evaluate,
    /// Dropout drops, batch normalisation uses the batch's statistics and updates the running ones.
    Train {
        /// Key of this step's dropout masks. Each node and element has its own place in the stream of
        /// this key, so masks depend on neither threads nor order.
        dropout: [u8; 32],
    },
}

/// A graph that computes its outputs, and the gradients of a loss with respect to its weights.
pub struct Network {
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    program: Program,
    tape: Tape,
    pool: Pool,
    team: Team,
    macs: u64,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network").field("inputs", &self.inputs).field("outputs", &self.outputs).finish_non_exhaustive()
    }
}

impl Network {
    /// Reads a `ModelProto` for one thread: see [`Network::with`].
    pub fn read(model: &[u8]) -> Result<(Self, Weights), TrainError> {
        Self::with(model, &Settings::default())
    }

    /// Reads a `ModelProto` and gives its weights as they stand in the file.
    ///
    /// Refused are, before anything runs: what [`glacier_engine::onnx::Graph::read`] refuses, operators that
    /// are not computed here, and operators without a gradient that lie between a parameter and a trained
    /// output. Other operators without a gradient (shape arithmetic, masks, indices) just run.
    pub fn with(model: &[u8], settings: &Settings) -> Result<(Self, Weights), TrainError> {
        let team = Team::new(settings.threads).map_err(|_| TrainError::Threads { threads: settings.threads as u64 })?;
        let (Compiled { inputs, outputs, program }, weights) = compile::compile(model, settings, &team)?;
        let pool = Pool::new(settings.memory);
        Ok((Self { inputs, outputs, program, tape: Tape::default(), pool, team, macs: 0 }, weights))
    }

    /// What the graph takes, in its order.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// What the graph gives, in its order.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// The threads, for those who compute between the passes.
    pub fn team(&self) -> &Team {
        &self.team
    }

    /// Multiply-accumulates of the last forward pass, counted like [`glacier_engine::meter`] counts them.
    /// Nodes that no output needs, and those that depend on constants alone, are not run and not counted.
    pub fn macs(&self) -> u64 {
        self.macs
    }

    /// Says which spans take no gradient, by their order; spans past the end of `frozen` do take one. What
    /// only frozen weights need is not computed on the way back. A `BatchNormalization` whose running
    /// mean is frozen uses its running statistics in training too, and leaves them.
    pub fn freeze(&mut self, frozen: &[bool]) -> Result<(), TrainError> {
        self.tape.clear(&mut self.pool);
        self.program.plan(frozen)
    }

    /// Computes the outputs of a whole batch, one value for each port, shapes as the data says. In training,
    /// what the backward pass needs is kept until then or until the next forward pass, and running
    /// statistics in `weights` are updated.
    pub fn forward(&mut self, weights: &mut Weights, inputs: &[Value], mode: Mode) -> Result<Vec<Value>, TrainError> {
        self.tape.clear(&mut self.pool);
        self.pool.reset();
        if weights.spans() != self.program.spans {
            return Err(TrainError::Layout);
        }
        let Self { tape, program, pool, team, .. } = self;
        tape.slots.extend(program.constants.iter().cloned());
        place_inputs(program, &self.inputs, inputs, tape, pool)?;
        let values = weights.values_mut();
        self.macs = team.install(|| run::forward(program, tape, values, pool, team, &mode))?;
        let mut outputs = Vec::with_capacity(program.outputs.len());
        for (id, port) in program.outputs.iter().zip(&self.outputs) {
            let value = output(program, tape, weights, *id);
            outputs.push(value.ok_or_else(|| TrainError::State(Name::new(&port.name)))?);
        }
        if matches!(mode, Mode::Train { .. }) {
            tape.mode = Some(mode);
        } else {
            tape.clear(pool);
        }
        Ok(outputs)
    }

    /// Adds to `gradient` (the layout of `weights`) the gradient of a loss, given its gradient with respect to
    /// each output (`None` where the loss does not depend on it), shaped like that output. `weights` are
    /// those of the forward pass, which this consumes.
    pub fn backward(
        &mut self,
        weights: &Weights,
        seeds: Vec<Option<Tensor>>,
        gradient: &mut [f32],
    ) -> Result<(), TrainError> {
        let Self { tape, program, pool, team, .. } = self;
        let mode = tape.mode.take().ok_or(TrainError::Backward)?;
        if weights.spans() != program.spans || gradient.len() != weights.len() {
            return Err(TrainError::Layout);
        }
        if seeds.len() != program.outputs.len() {
            return Err(TrainError::Backward);
        }
        let mut gradients = Gradients::new(program.sources.len());
        for (id, seed) in program.outputs.iter().zip(seeds) {
            let Some(seed) = seed else { continue };
            if let Some(Source::Weight { range, shape }) = program.sources.get(*id) {
                let target = gradient.get_mut(range.clone()).filter(|target| target.len() == seed.data.len());
                let target = target.filter(|_| *shape == seed.shape).ok_or(TrainError::Backward)?;
                add_into(team, &seed.data, target);
                continue;
            }
            let fits = match tape.slots.get(*id) {
                Some(Slot::Float(held)) => held.shape == seed.shape,
                Some(Slot::Gone(shape)) => *shape == seed.shape && program.kinds.get(*id) == Some(&Kind::Float),
                _ => false,
            };
            if !fits || volume(&seed.shape) != Some(seed.data.len()) {
                return Err(TrainError::Backward);
            }
            // A copy: a buffer of the caller's that stayed in the pool would be one more in each step.
            let mut data = pool.take(seed.data.len())?;
            data.copy_from_slice(&seed.data);
            gradients.put(*id, data);
        }
        let (values, carried) = (weights.values(), &mut gradients);
        let done = team.install(|| run::backward(program, tape, carried, values, gradient, pool, team, &mode));
        gradients.clear(pool);
        tape.clear(pool);
        done
    }
}

fn place_inputs(
    program: &Program,
    ports: &[Port],
    inputs: &[Value],
    tape: &mut Tape,
    pool: &mut Pool,
) -> Result<(), TrainError> {
    if inputs.len() != ports.len() {
        return Err(TrainError::Inputs { expected: ports.len() as u64, found: inputs.len() as u64 });
    }
    for ((id, port), value) in program.inputs.iter().zip(ports).zip(inputs) {
        let wrong = || TrainError::Input(Name::new(&port.name));
        let declared = port.dims.as_deref().unwrap_or_default();
        let shape = value.shape();
        let extents =
            declared.iter().zip(shape).all(|(dim, extent)| dim.fixed().is_none_or(|dim| dim == *extent as u64));
        if declared.len() != shape.len() || !extents {
            return Err(wrong());
        }
        let count = volume(shape).ok_or_else(wrong)?;
        let slot = match (value, compile::kind(port.dtype)) {
            (Value::Float(tensor), Kind::Float) if tensor.data.len() == count => {
                let mut data = pool.take(count)?;
                data.copy_from_slice(&tensor.data);
                Slot::Float(Held { shape: shape.to_vec(), data: Arc::new(data) })
            }
            (Value::Int(tensor), Kind::Int) if tensor.data.len() == count => {
                pool.adopt(count.saturating_mul(2))?;
                Slot::Int(Arc::new(tensor.clone()))
            }
            _ => return Err(wrong()),
        };
        if let Some(place) = tape.slots.get_mut(*id) {
            *place = slot;
        }
    }
    Ok(())
}

fn output(program: &Program, tape: &Tape, weights: &Weights, id: usize) -> Option<Value> {
    if let Source::Weight { range, shape } = program.sources.get(id)? {
        return Some(Value::Float(Tensor::new(shape.clone(), weights.values().get(range.clone())?.to_vec())?));
    }
    match tape.slots.get(id)? {
        Slot::Float(held) => Some(Value::Float(Tensor { shape: held.shape.clone(), data: held.data.to_vec() })),
        Slot::Int(tensor) => Some(Value::Int(IntTensor { shape: tensor.shape.clone(), data: tensor.data.clone() })),
        Slot::Gone(_) | Slot::Empty => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;
    use crate::build::{Columns, Task, logistic};

    #[test]
    fn steps_that_repeat_need_no_more_buffers() {
        let model = logistic(Columns::Count(3), Task::Values(1), &[7; 32]).unwrap();
        let (mut network, mut weights) = Network::read(&model).unwrap();
        let mut gradient = vec![0.0; weights.len()];
        let mut idle = Vec::new();
        for _ in 0..6 {
            let inputs = [Value::Float(Tensor::new(vec![64, 3], vec![0.5; 192]).unwrap())];
            network.forward(&mut weights, &inputs, Mode::Train { dropout: [0; 32] }).unwrap();
            let seed = Tensor::new(vec![64, 1], vec![1.0; 64]).unwrap();
            network.backward(&weights, vec![Some(seed)], &mut gradient).unwrap();
            idle.push(network.pool.idle());
        }
        assert!(idle[0] > 0);
        assert_eq!(idle[1..], [idle[1]; 5]);
    }
}
