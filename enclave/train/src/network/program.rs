//! A checked graph as a list of steps, and the plan of which values live how long.

use super::state::{Slot, Source};
use crate::{
    error::TrainError,
    op::{Keeps, Kind, Op},
    weights::{Span, SpanKind},
};
use glacier_engine::onnx::Name;

/// Steps in the order of the graph, and where their values come from.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) steps: Vec<Step>,
    pub(crate) sources: Vec<Source>,
    pub(crate) kinds: Vec<Kind>,
    /// Constants stand here; every other place is empty.
    pub(crate) constants: Vec<Slot>,
    pub(crate) inputs: Vec<usize>,
    pub(crate) outputs: Vec<usize>,
    pub(crate) spans: Vec<Span>,
    /// Outputs that a loss may be taken of.
    pub(crate) trained: Vec<bool>,
}

/// One node.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) node: Name,
    /// Name of the operator.
    pub(crate) code: Name,
    /// Number in the file's order.
    pub(crate) place: usize,
    pub(crate) op: Box<dyn Op>,
    pub(crate) inputs: Vec<Option<usize>>,
    pub(crate) outputs: Vec<Option<usize>>,
    pub(crate) plan: Plan,
}

/// What a step does besides computing.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Whether backward comes through here.
    pub(crate) backward: bool,
    /// Inputs that want a gradient.
    pub(crate) wants: Vec<bool>,
    /// Whether running statistics of this step must stay as they are.
    pub(crate) frozen: bool,
    /// Values that nobody reads after this step, when backward will come.
    pub(crate) dead_training: Vec<usize>,
    /// The same, when it will not.
    pub(crate) dead: Vec<usize>,
    /// Values that nobody reads after this step's backward.
    pub(crate) dead_backward: Vec<usize>,
    /// By input: whether it is among the dead of this step, once.
    pub(crate) last_training: Vec<bool>,
    pub(crate) last: Vec<bool>,
}

impl Program {
    /// Values that lead to a trained output through inputs that take gradients.
    pub(crate) fn useful(&self) -> Vec<bool> {
        let mut useful = vec![false; self.sources.len()];
        for (id, trained) in self.outputs.iter().zip(&self.trained) {
            mark(&mut useful, *id, *trained && self.is_float(*id));
        }
        for step in self.steps.iter().rev() {
            if !step.outputs.iter().flatten().any(|id| flag(&useful, *id)) {
                continue;
            }
            for (at, id) in step.inputs.iter().enumerate() {
                if let Some(id) = id.filter(|id| self.is_float(*id) && step.passes(at)) {
                    mark(&mut useful, id, true);
                }
            }
        }
        useful
    }

    /// Whether the value stands in the weights as something that is optimised.
    fn is_float(&self, id: usize) -> bool {
        self.kinds.get(id) == Some(&Kind::Float)
    }

    /// Decides where gradients go and how long values live. `frozen` says, by span, which take no gradient.
    pub(crate) fn plan(&mut self, frozen: &[bool]) -> Result<(), TrainError> {
        let useful = self.useful();
        let mut active = vec![false; self.sources.len()];
        let mut spans = self.spans.iter().zip(frozen.iter().chain(std::iter::repeat(&false)));
        let trained = |span: &Span, frozen: &bool| span.kind == SpanKind::Parameter && !*frozen;
        let starts: Vec<usize> =
            spans.by_ref().filter(|(span, frozen)| trained(span, frozen)).map(|(span, _)| span.range.start).collect();
        for (active, source) in active.iter_mut().zip(&self.sources) {
            *active =
                matches!(source, Source::Weight { range, .. } if !range.is_empty() && starts.contains(&range.start));
        }
        for step in &mut self.steps {
            let wants = |(at, id): (usize, &Option<usize>)| {
                let active = id.is_some_and(|id| flag(&active, id) && self.kinds.get(id) == Some(&Kind::Float));
                active && step.passes(at)
            };
            let wants: Vec<bool> = step.inputs.iter().enumerate().map(wants).collect();
            let floats = |id: &usize| self.kinds.get(*id) == Some(&Kind::Float) && flag(&useful, *id);
            let backward = wants.contains(&true) && step.outputs.iter().flatten().any(floats);
            if backward && step.op.differentiable().is_none() {
                return Err(TrainError::Gradient { op: step.code.clone(), node: step.node.clone() });
            }
            for id in step.outputs.iter().flatten().filter(|id| backward && floats(id)) {
                mark(&mut active, *id, true);
            }
            let at = |input: &usize| match self.sources.get(step.inputs.get(*input).copied().flatten()?)? {
                Source::Weight { range, .. } => self.spans.iter().position(|span| span.range == *range),
                Source::Slot => None,
            };
            let mut statistics = step.op.statistics().iter().filter_map(at);
            let frozen = statistics.any(|span| flag(frozen, span));
            step.plan = Plan { backward, wants, frozen, ..Plan::default() };
        }
        self.lifetimes();
        Ok(())
    }

    fn lifetimes(&mut self) {
        // Outputs are handed over at the end, constants stay.
        let mut keep = vec![false; self.sources.len()];
        for id in &self.outputs {
            mark(&mut keep, *id, true);
        }
        for (id, slot) in self.constants.iter().enumerate() {
            mark(&mut keep, id, !matches!(slot, Slot::Empty));
        }
        // The first step that keeps a value is the last to read it on the way back.
        let mut kept = vec![false; self.sources.len()];
        for step in &mut self.steps {
            let keeps = match step.op.differentiable() {
                Some(op) if step.plan.backward => op.keeps(&step.plan.wants),
                _ => Keeps::NOTHING,
            };
            let inputs = step.inputs.iter().enumerate().filter(|(at, _)| bit(keeps.inputs, *at));
            let outputs = step.outputs.iter().enumerate().filter(|(at, _)| bit(keeps.outputs, *at));
            let ids: Vec<usize> = inputs.chain(outputs).filter_map(|(_, id)| *id).collect();
            for id in ids {
                if !flag(&kept, id) {
                    mark(&mut kept, id, true);
                    step.plan.dead_backward.push(id);
                }
            }
        }
        let constant = |id: usize| self.constants.get(id).is_some_and(|slot| !matches!(slot, Slot::Empty));
        for step in &mut self.steps {
            step.plan.dead_backward.retain(|id| !constant(*id));
        }
        let (mut seen, mut seen_training) = (keep.clone(), keep);
        for (seen, kept) in seen_training.iter_mut().zip(&kept) {
            *seen |= *kept;
        }
        for step in self.steps.iter_mut().rev() {
            for id in step.inputs.iter().chain(&step.outputs).flatten() {
                if !flag(&seen, *id) {
                    mark(&mut seen, *id, true);
                    step.plan.dead.push(*id);
                }
                if !flag(&seen_training, *id) {
                    mark(&mut seen_training, *id, true);
                    step.plan.dead_training.push(*id);
                }
            }
            let once = |id: &usize| step.inputs.iter().flatten().filter(|other| *other == id).count() == 1;
            let last = |dead: &[usize]| {
                step.inputs.iter().map(|id| id.is_some_and(|id| dead.contains(&id) && once(&id))).collect()
            };
            step.plan.last = last(&step.plan.dead);
            step.plan.last_training = last(&step.plan.dead_training);
        }
    }
}

impl Step {
    /// Whether a gradient can go to that input. What has no gradient at all is taken to pass one on, so
    /// that it is refused.
    fn passes(&self, input: usize) -> bool {
        self.op.differentiable().is_none_or(|op| op.passes(input))
    }
}

fn flag(flags: &[bool], at: usize) -> bool {
    flags.get(at).copied().unwrap_or(false)
}

fn mark(flags: &mut [bool], at: usize, value: bool) {
    if let Some(flag) = flags.get_mut(at) {
        *flag |= value;
    }
}

fn bit(bits: u32, at: usize) -> bool {
    u32::try_from(at).ok().and_then(|at| bits.checked_shr(at)).is_some_and(|bits| bits & 1 == 1)
}
