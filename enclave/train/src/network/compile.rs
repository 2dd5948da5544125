//! From a graph and its constants to a program and its weights.

use super::{
    Settings, fuse,
    pool::Pool,
    program::{Plan, Program, Step},
    run,
    state::{Held, Slot, Source},
};
use crate::{
    error::TrainError,
    kernel::Team,
    op::{Kind, build},
    tensor::{IntTensor, volume},
    weights::{Span, SpanKind, Weights},
};
use glacier_engine::{
    Port,
    onnx::{Elements, Graph, Literal, ModelError, Name},
};
use glacier_wire::Dtype;
use std::sync::Arc;

/// Most elements that constants may be folded to: what depends on no data should not need much.
const MAX_FOLDED_BYTES: u64 = 1 << 28;

pub(super) fn compile(model: &[u8], settings: &Settings, team: &Team) -> Result<(Compiled, Weights), TrainError> {
    let (graph, literals) = Graph::read_values(model)?;
    if literals.len() != graph.constants.len() {
        return Err(TrainError::Layout);
    }
    let mut program = skeleton(&graph, &literals, settings)?;
    let weights = place_weights(&graph, literals, &mut program)?;
    fold(&mut program, team)?;
    fuse::fuse(&mut program);
    prune(&mut program);
    program.plan(&[])?;
    let ports = |ports: &[(_, Port)]| ports.iter().map(|(_, port)| port.clone()).collect();
    Ok((Compiled { inputs: ports(&graph.inputs), outputs: ports(&graph.outputs), program }, weights))
}

pub(super) struct Compiled {
    pub(super) inputs: Vec<Port>,
    pub(super) outputs: Vec<Port>,
    pub(super) program: Program,
}

/// Whether a port carries floating point.
pub(super) fn kind(dtype: Dtype) -> Kind {
    match dtype {
        Dtype::Fp32 | Dtype::Fp64 => Kind::Float,
        _ => Kind::Int,
    }
}

fn skeleton(graph: &Graph, literals: &[Literal], settings: &Settings) -> Result<Program, TrainError> {
    let mut kinds = vec![Kind::Int; graph.values];
    let set = |id: usize, kind: Kind, kinds: &mut Vec<Kind>| {
        if let Some(place) = kinds.get_mut(id) {
            *place = kind;
        }
    };
    for (id, port) in &graph.inputs {
        set(id.index(), kind(port.dtype), &mut kinds);
    }
    for ((id, _), literal) in graph.constants.iter().zip(literals) {
        let kind = if matches!(literal.elements, Elements::Ints(_)) { Kind::Int } else { Kind::Float };
        set(id.index(), kind, &mut kinds);
    }
    let mut steps = Vec::with_capacity(graph.nodes.len());
    for (place, node) in graph.nodes.iter().enumerate() {
        let ids =
            |ids: &[Option<glacier_engine::onnx::ValueId>]| ids.iter().map(|id| id.map(|id| id.index())).collect();
        let (inputs, outputs): (Vec<Option<usize>>, Vec<Option<usize>>) = (ids(&node.inputs), ids(&node.outputs));
        let given: Vec<Option<Kind>> = inputs.iter().map(|id| id.and_then(|id| kinds.get(id).copied())).collect();
        let built = build(node, graph.opset, &given)?;
        for (id, kind) in outputs.iter().zip(built.kinds) {
            if let Some(id) = id {
                set(*id, kind, &mut kinds);
            }
        }
        let code = Name::new(&node.op);
        steps.push(Step { node: node.name.clone(), code, place, op: built.op, inputs, outputs, plan: Plan::default() });
    }
    let outputs: Vec<usize> = graph.outputs.iter().map(|(id, _)| id.index()).collect();
    let trained = match &settings.trained {
        Some(names) => {
            let known = |name: &&String| graph.outputs.iter().any(|(_, port)| port.name == **name);
            if let Some(name) = names.iter().find(|name| !known(name)) {
                return Err(TrainError::Unknown { field: "output", name: Name::new(name) });
            }
            graph.outputs.iter().map(|(_, port)| names.contains(&port.name)).collect()
        }
        None => vec![true; outputs.len()],
    };
    Ok(Program {
        steps,
        sources: vec![Source::Slot; graph.values],
        kinds,
        constants: vec![Slot::Empty; graph.values],
        inputs: graph.inputs.iter().map(|(id, _)| id.index()).collect(),
        outputs,
        spans: Vec::new(),
        trained,
    })
}

/// Puts every constant in its place: parameters and statistics into the weights, the rest beside them.
fn place_weights(graph: &Graph, literals: Vec<Literal>, program: &mut Program) -> Result<Weights, TrainError> {
    let useful = program.useful();
    let statistics: Vec<usize> = program
        .steps
        .iter()
        .filter(|step| step.outputs.iter().flatten().any(|id| useful.get(*id) == Some(&true)))
        .flat_map(|step| step.op.statistics().iter().filter_map(|at| step.inputs.get(*at).copied().flatten()))
        .collect();
    let mut values: Vec<f32> = Vec::new();
    for ((id, _), literal) in graph.constants.iter().zip(literals) {
        let id = id.index();
        let name = Name::new(&literal.name);
        let shape: Option<Vec<usize>> = literal.dims.iter().map(|dim| usize::try_from(*dim).ok()).collect();
        let shape = shape.ok_or_else(|| ModelError::Dims(name.clone()))?;
        let count = volume(&shape).ok_or_else(|| ModelError::Dims(name.clone()))?;
        let wanted = useful.get(id) == Some(&true);
        let statistic = statistics.contains(&id);
        let weight = literal.initializer && !shape.is_empty() && (wanted || statistic);
        let slot = match literal.elements {
            Elements::Floats(data) if weight => {
                let start = values.len();
                values.extend(data);
                let range = start..values.len();
                let kind = if statistic { SpanKind::Statistic } else { SpanKind::Parameter };
                program.spans.push(Span { name: literal.name, shape: shape.clone(), range: range.clone(), kind });
                if let Some(source) = program.sources.get_mut(id) {
                    *source = Source::Weight { range, shape };
                }
                continue;
            }
            Elements::Converted(_) if weight && count > 1 => return Err(TrainError::Stored(name)),
            Elements::Floats(data) | Elements::Converted(data) => Slot::Float(Held { shape, data: Arc::new(data) }),
            Elements::Ints(data) => Slot::Int(Arc::new(IntTensor { shape, data })),
        };
        if let Some(place) = program.constants.get_mut(id) {
            *place = slot;
        }
    }
    if !program.spans.iter().any(|span| span.kind == SpanKind::Parameter) {
        return Err(TrainError::NoParameters);
    }
    Weights::new(program.spans.clone(), values)
}

/// Computes ahead what depends on constants alone.
fn fold(program: &mut Program, team: &Team) -> Result<(), TrainError> {
    let mut pool = Pool::new(MAX_FOLDED_BYTES);
    for step in std::mem::take(&mut program.steps) {
        let constant = |id: &usize| program.constants.get(*id).is_some_and(|slot| !matches!(slot, Slot::Empty));
        if !step.op.folds() || !step.inputs.iter().flatten().all(constant) {
            program.steps.push(step);
            continue;
        }
        run::fold(&step, program, &mut pool, team)?;
    }
    Ok(())
}

/// Leaves out steps that no output needs.
fn prune(program: &mut Program) {
    let mut needed = vec![false; program.sources.len()];
    let mut need = |id: usize| {
        if let Some(flag) = needed.get_mut(id) {
            *flag = true;
        }
    };
    program.outputs.iter().copied().for_each(&mut need);
    let mut kept = Vec::with_capacity(program.steps.len());
    while let Some(step) = program.steps.pop() {
        if step.outputs.iter().flatten().any(|id| needed.get(*id) == Some(&true)) {
            for id in step.inputs.iter().flatten() {
                if let Some(flag) = needed.get_mut(*id) {
                    *flag = true;
                }
            }
            kept.push(step);
        }
    }
    kept.reverse();
    program.steps = kept;
}
