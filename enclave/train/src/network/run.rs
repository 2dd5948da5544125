//! The passes through a program.

use super::{
    Mode,
    pool::Pool,
    program::{Program, Step},
    state::{Gradients, Slot},
};
use crate::{
    error::TrainError,
    kernel::Team,
    op::{Backward, Forward, Saved},
};

/// What a forward pass leaves for the backward pass.
#[derive(Debug, Default)]
pub(super) struct Tape {
    pub(super) slots: Vec<Slot>,
    pub(super) saved: Vec<Saved>,
    pub(super) mode: Option<Mode>,
}

impl Tape {
    /// Gives every buffer back.
    pub(super) fn clear(&mut self, pool: &mut Pool) {
        self.mode = None;
        for slot in self.slots.drain(..) {
            slot.recycle(pool);
        }
        for saved in &mut self.saved {
            saved.floats.drain(..).for_each(|buffer| pool.give(buffer));
        }
    }
}

pub(super) fn forward(
    program: &Program,
    tape: &mut Tape,
    weights: &mut [f32],
    pool: &mut Pool,
    team: &Team,
    mode: &Mode,
) -> Result<u64, TrainError> {
    let training = matches!(mode, Mode::Train { .. });
    let mut macs = 0;
    tape.saved.resize_with(program.steps.len(), Saved::default);
    for (step, saved) in program.steps.iter().zip(&mut tape.saved) {
        let plan = &step.plan;
        let mut cx = Forward {
            node: &step.node,
            place: step.place,
            inputs: &step.inputs,
            outputs: &step.outputs,
            sources: &program.sources,
            slots: &mut tape.slots,
            weights: &mut *weights,
            pool: &mut *pool,
            team,
            mode,
            saved,
            keep: training && plan.backward,
            frozen: plan.frozen,
            last: if training { &plan.last_training } else { &plan.last },
            macs: &mut macs,
        };
        step.op.forward(&mut cx)?;
        for id in if training { &plan.dead_training } else { &plan.dead } {
            if let Some(slot) = tape.slots.get_mut(*id) {
                slot.end(pool);
            }
        }
    }
    Ok(macs)
}

#[allow(clippy::too_many_arguments)]
pub(super) fn backward(
    program: &Program,
    tape: &mut Tape,
    gradients: &mut Gradients,
    weights: &[f32],
    into: &mut [f32],
    pool: &mut Pool,
    team: &Team,
    mode: &Mode,
) -> Result<(), TrainError> {
    for (step, saved) in program.steps.iter().zip(&mut tape.saved).rev() {
        let came = step.outputs.iter().flatten().any(|id| gradients.has(*id));
        if let Some(op) = step.op.differentiable().filter(|_| step.plan.backward && came) {
            let mut cx = Backward {
                node: &step.node,
                place: step.place,
                inputs: &step.inputs,
                outputs: &step.outputs,
                sources: &program.sources,
                slots: &tape.slots,
                weights,
                pool: &mut *pool,
                team,
                mode,
                saved,
                wants: &step.plan.wants,
                gradients: &mut *gradients,
                into: &mut *into,
            };
            op.backward(&mut cx)?;
        }
        for id in step.outputs.iter().flatten() {
            if let Some(rest) = gradients.take(*id) {
                pool.give(rest);
            }
        }
        saved.floats.drain(..).for_each(|buffer| pool.give(buffer));
        for id in &step.plan.dead_backward {
            if let Some(slot) = tape.slots.get_mut(*id) {
                slot.end(pool);
            }
        }
    }
    Ok(())
}

/// Runs one step whose inputs are constants, and keeps its outputs as constants.
pub(super) fn fold(step: &Step, program: &mut Program, pool: &mut Pool, team: &Team) -> Result<(), TrainError> {
    let mut slots = std::mem::take(&mut program.constants);
    let mut cx = Forward {
        node: &step.node,
        place: step.place,
        inputs: &step.inputs,
        outputs: &step.outputs,
        sources: &program.sources,
        slots: &mut slots,
        weights: &mut [],
        pool,
        team,
        mode: &Mode::Evaluate,
        saved: &mut Saved::default(),
        keep: false,
        frozen: true,
        last: &[],
        macs: &mut 0,
    };
    let done = step.op.forward(&mut cx);
    program.constants = slots;
    done
}
