//! One model in one engine: checked, metered, run.

use crate::{
    data::DataError,
    info::{Dim, Limits, ModelInfo, Port},
    meter::Plan,
    onnx::{Graph, ModelError, Name},
};
use glacier_wire::{
    Tensor,
    api::{Refusal, RefusalCode},
};
use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// What runs models. Which one is a value, not a build feature.
pub trait Engine: Send + Sync {
    /// Stands in [`ModelInfo::engine`].
    fn name(&self) -> &'static str;

    /// Loads a model that has been read and checked as `graph`; runs use `threads` threads.
    fn load(&self, graph: &Graph, bytes: Vec<u8>, threads: u32) -> Result<Arc<dyn Session>, ModelError>;
}

/// A model that an engine has loaded.
pub trait Session: Send + Sync {
    /// Runs once. Inputs are in the graph's order and fit its declarations; outputs are in its order.
    fn run(&self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, DataError>;

    /// Does `work` where runs are cheapest to start: on one of the engine's own threads, if it has any.
    fn enter(&self, work: &mut (dyn FnMut() + Send)) {
        work();
    }
}

/// Why a run gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The data does not fit.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model turns out not to be what it says.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// More work than the job may still do.
    #[error("{needed} units are needed, {left} are left")]
    Units {
        /// By this run.
        needed: u64,
        /// To this job.
        left: u64,
    },
    /// More memory than the job may hold.
    #[error("at least {needed} bytes of memory are needed, {limit} are allowed")]
    Memory {
        /// By this run, weights included.
        needed: u64,
        /// To this job.
        limit: u64,
    },
    /// The engine broke.
    #[error("the engine broke on this input")]
    Crashed,
}

impl From<RunError> for Refusal {
    fn from(error: RunError) -> Self {
        let code = match error {
            RunError::Data(error) => return error.into(),
            RunError::Model(error) => return error.into(),
            RunError::Units { .. } => RefusalCode::UnitLimit,
            RunError::Memory { .. } => RefusalCode::MemoryLimit,
            RunError::Crashed => RefusalCode::EngineCrashed,
        };
        Refusal::new(code, error.to_string())
    }
}

/// A loaded model with its meter.
pub struct Model {
    graph: Graph,
    info: ModelInfo,
    session: Arc<dyn Session>,
    plans: HashMap<Vec<Vec<u64>>, Arc<Plan>>,
}

impl Model {
    /// Input shapes whose plans are kept.
    const MAX_PLANS: usize = 64;

    /// Reads, checks and loads `bytes` within `limits`. The engine sees nothing that was not checked.
    pub fn load(engine: &dyn Engine, bytes: Vec<u8>, limits: &Limits) -> Result<Self, RunError> {
        let graph = Graph::read(&bytes)?;
        afford(&Plan::folded(&graph)?, limits.units, limits.memory, graph.weight_bytes)?;
        let ports = |ports: &[(_, Port)]| ports.iter().map(|(_, port)| port.clone()).collect();
        let units_per_row =
            one_row(&graph).map(|shapes| Plan::new(&graph, &shapes).map(|plan| plan.units)).transpose()?;
        let threads = limits.threads.clamp(1, Limits::MAX_THREADS);
        let session = catch_unwind(AssertUnwindSafe(|| engine.load(&graph, bytes, threads)));
        let session = session.map_err(|_| RunError::Crashed)??;
        let info = ModelInfo {
            engine: engine.name().to_owned(),
            inputs: ports(&graph.inputs),
            outputs: ports(&graph.outputs),
            features: graph.features.clone(),
            labels: graph.labels.clone(),
            parameters: graph.parameters,
            units_per_row,
        };
        Ok(Self { graph, info, session, plans: HashMap::new() })
    }

    /// What the model takes and gives.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Bytes of weights, as loaded.
    pub fn weight_bytes(&self) -> u64 {
        self.graph.weight_bytes
    }

    /// What a run with these input shapes comes to.
    pub fn plan(&mut self, shapes: Vec<Vec<u64>>) -> Result<Arc<Plan>, RunError> {
        if let Some(plan) = self.plans.get(&shapes) {
            return Ok(plan.clone());
        }
        let plan = match Plan::new(&self.graph, &shapes) {
            Ok(plan) => Arc::new(plan),
            // The model went through with other shapes, or may: it is this input that does not fit.
            Err(ModelError::Shape(node)) => return Err(DataError::Shapes { node }.into()),
            Err(error) => return Err(error.into()),
        };
        if self.plans.len() >= Self::MAX_PLANS {
            self.plans.clear();
        }
        self.plans.insert(shapes, plan.clone());
        Ok(plan)
    }

    /// Runs once within `units` and `memory`; gives the outputs and the units spent.
    pub fn run(&mut self, inputs: Vec<Tensor>, units: u64, memory: u64) -> Result<(Vec<Tensor>, u64), RunError> {
        let inputs = self.arrange(inputs)?;
        let plan = self.plan(inputs.iter().map(|tensor| tensor.shape.clone()).collect())?;
        self.afford(&plan, units, memory)?;
        let outputs = catch_unwind(AssertUnwindSafe(|| self.session.run(inputs))).map_err(|_| RunError::Crashed)??;
        // Were an engine's shapes not the predicted ones, its work would not be the metered one.
        for (output, shape) in outputs.iter().zip(&plan.outputs) {
            if shape.as_ref().is_some_and(|shape| *shape != output.shape) {
                return Err(ModelError::Shape(Name::new(&output.name)).into());
            }
        }
        Ok((outputs, plan.units))
    }

    /// Whether a run stays within what is left.
    pub fn afford(&self, plan: &Plan, units: u64, memory: u64) -> Result<(), RunError> {
        afford(plan, units, memory, self.graph.weight_bytes)
    }

    /// Name of the class of each row, where the model names its classes.
    ///
    /// They are read from the first 32-bit float output that is shaped `[rows, classes]`, one called
    /// `probabilities` before others: the class is the largest (of equal ones the first). A model of
    /// two classes may instead give one number per row (`[rows]` or `[rows, 1]`): 0.5 and above means
    /// the second class.
    pub fn labels(&self, outputs: &[Tensor]) -> Result<Option<Vec<String>>, RunError> {
        let Some(labels) = &self.graph.labels else { return Ok(None) };
        let classes = labels.len() as u64;
        let named = outputs.iter().filter(|output| output.name == "probabilities");
        for output in named.chain(outputs.iter().filter(|output| output.name != "probabilities")) {
            let Some(values) = output.to_f32() else { continue };
            let class: fn(&[f32]) -> Option<usize>;
            let width = match output.shape.as_slice() {
                [_, width] if *width == classes => {
                    class = largest;
                    labels.len()
                }
                [_] | [_, 1] if classes == 2 => {
                    class = threshold;
                    1
                }
                _ => continue,
            };
            let label = |(row, values): (usize, &[f32])| {
                let class = class(values).ok_or(DataError::NoNumber { row: row as u64 })?;
                Ok(labels.get(class).cloned().unwrap_or_default())
            };
            return values.chunks_exact(width).enumerate().map(label).collect::<Result<_, _>>().map(Some);
        }
        Err(ModelError::Labels { labels: labels.len() }.into())
    }

    /// See [`Session::enter`]; the model can be used inside.
    pub fn enter(&mut self, work: &mut (dyn FnMut(&mut Self) + Send)) {
        let session = Arc::clone(&self.session);
        session.enter(&mut || work(self));
    }

    /// Puts tensors into the graph's order and holds them against its declarations.
    fn arrange(&self, mut given: Vec<Tensor>) -> Result<Vec<Tensor>, DataError> {
        let ports = &self.info.inputs;
        if given.len() > ports.len() {
            return Err(DataError::Inputs { expected: ports.len() as u64, found: given.len() as u64 });
        }
        for (tensor, port) in given.iter_mut().zip(ports) {
            if tensor.name.is_empty() {
                tensor.name.clone_from(&port.name);
            }
        }
        if let Some(stranger) = given.iter().find(|tensor| !ports.iter().any(|port| port.name == tensor.name)) {
            return Err(DataError::UnknownInput(Name::new(&stranger.name)));
        }
        let mut free = HashMap::new();
        let mut inputs = Vec::with_capacity(ports.len());
        for port in ports {
            let missing = || DataError::MissingInput(Name::new(&port.name));
            let at = given.iter().position(|tensor| tensor.name == port.name).ok_or_else(missing)?;
            let tensor = given.swap_remove(at);
            fits(&tensor, port, &mut free)?;
            inputs.push(tensor);
        }
        match given.first() {
            Some(twice) => Err(DataError::UnknownInput(Name::new(&twice.name))),
            None => Ok(inputs),
        }
    }
}

fn afford(plan: &Plan, units: u64, memory: u64, weights: u64) -> Result<(), RunError> {
    if !plan.within(units) {
        let needed = plan.units.max(plan.elements.div_ceil(Plan::ELEMENTS_PER_UNIT));
        return Err(RunError::Units { needed, left: units });
    }
    let needed = plan.peak.saturating_add(weights);
    if needed > memory {
        return Err(RunError::Memory { needed, limit: memory });
    }
    Ok(())
}

/// Input shapes of one row, when the rows are all that the model leaves open.
fn one_row(graph: &Graph) -> Option<Vec<Vec<u64>>> {
    let shape = |port: &Port| {
        let [rows, rest @ ..] = port.dims.as_deref()? else { return None };
        let rest = rest.iter().map(Dim::fixed);
        std::iter::once(Some(rows.fixed().filter(|rows| *rows != 1).map_or(Some(1), |_| None)?)).chain(rest).collect()
    };
    graph.inputs.iter().map(|(_, port)| shape(port)).collect()
}

/// Holds a tensor against what the graph declares. `free` are the extents of named dimensions so far.
fn fits<'a>(tensor: &Tensor, port: &'a Port, free: &mut HashMap<&'a str, u64>) -> Result<(), DataError> {
    let input = || Name::new(&port.name);
    if tensor.dtype != port.dtype {
        return Err(DataError::Dtype { input: input(), expected: port.dtype, found: tensor.dtype });
    }
    tensor.check().map_err(|_| DataError::Length(input()))?;
    let dims = port.dims.as_deref().unwrap_or_default();
    if dims.len() != tensor.shape.len() {
        return Err(DataError::Rank { input: input(), expected: dims.len() as u64, found: tensor.shape.len() as u64 });
    }
    for (axis, (dim, extent)) in dims.iter().zip(&tensor.shape).enumerate() {
        let expected = match dim {
            Dim::Fixed { extent } => *extent,
            Dim::Free { name } if name.is_empty() => *extent,
            Dim::Free { name } => *free.entry(name).or_insert(*extent),
        };
        if expected != *extent {
            return Err(DataError::Extent { input: input(), axis: axis as u64, expected, found: *extent });
        }
    }
    Ok(())
}

fn largest(values: &[f32]) -> Option<usize> {
    let mut best: Option<(usize, f32)> = None;
    for (at, value) in values.iter().enumerate() {
        if value.is_nan() {
            return None;
        }
        if best.is_none_or(|(_, most)| *value > most) {
            best = Some((at, *value));
        }
    }
    best.map(|(at, _)| at)
}

fn threshold(values: &[f32]) -> Option<usize> {
    values.first().filter(|value| !value.is_nan()).map(|value| usize::from(*value >= 0.5))
}
