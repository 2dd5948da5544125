//! Which values learn: weights themselves, or the factors of their adapters.

use crate::{
    error::{Fault, TrainError},
    kernel::{Team, scale, squared_norm},
    lora::Adapters,
    optimiser::{Moments, Part},
    weights::{Span, SpanKind, Weights},
};
use glacier_engine::onnx::Name;
use glacier_wire::training::{TrainingPlan, matches};
use std::ops::Range;

/// The values that learn, in one line: weights in the order of the file, then factors.
#[derive(Debug, Clone)]
pub(super) struct Learner {
    direct: Vec<Direct>,
    adapters: Option<Adapters>,
    /// Gradient of the factors.
    gradient: Vec<f32>,
    /// Values in `direct`.
    weights: usize,
    /// Running statistics that forward passes move.
    statistics: Vec<Range<usize>>,
    frozen: Vec<bool>,
}

#[derive(Debug, Clone)]
struct Direct {
    name: String,
    range: Range<usize>,
    at: usize,
    decays: bool,
}

impl Learner {
    /// Follows the plan's patterns. Each must name something, so that a misspelt one is not silently nothing.
    pub(super) fn new(plan: &TrainingPlan, weights: &Weights) -> Result<Self, TrainError> {
        let spans = weights.spans();
        for (field, patterns) in [("train", &plan.train), ("freeze", &plan.freeze)] {
            known(field, patterns, spans.iter())?;
        }
        let adapted = adapted(plan, spans)?;
        let adapters = match &plan.lora {
            Some(lora) => Some(Adapters::new(lora, &plan.seed, weights, &adapted)?),
            None => None,
        };
        // Beside adapters, only what is named learns by itself: a head that is new, for one.
        let learns = |span: &Span| {
            plan.trains(&span.name) && (plan.lora.is_none() || !plan.train.is_empty()) && !adapted.contains(&span)
        };
        let mut direct = Vec::new();
        let mut at = 0usize;
        for span in spans.iter().filter(|span| span.kind == SpanKind::Parameter && learns(span)) {
            let decays = span.shape.len() > 1;
            direct.push(Direct { name: span.name.clone(), range: span.range.clone(), at, decays });
            at = at.saturating_add(span.range.len());
        }
        if direct.is_empty() && adapters.is_none() {
            return Err(TrainError::Unfit("`train` and `freeze` leave no weight that learns"));
        }
        let moving = |span: &&Span| span.kind == SpanKind::Statistic && learns(span);
        let statistics = spans.iter().filter(moving).map(|span| span.range.clone()).collect();
        let frozen = spans.iter().map(|span| !learns(span) && !adapted.contains(&span)).collect();
        let gradient = vec![0.0; adapters.as_ref().map_or(0, |adapters| adapters.factors().len())];
        Ok(Self { direct, adapters, gradient, weights: at, statistics, frozen })
    }

    /// Number of values that learn.
    pub(super) fn len(&self) -> usize {
        self.weights.saturating_add(self.gradient.len())
    }

    /// Spans that take no gradient.
    pub(super) fn frozen(&self) -> &[bool] {
        &self.frozen
    }

    pub(super) fn adapters(&self) -> Option<&Adapters> {
        self.adapters.as_ref()
    }

    pub(super) fn adapters_mut(&mut self) -> Option<&mut Adapters> {
        self.adapters.as_mut()
    }

    pub(super) fn factors(&self) -> &[f32] {
        self.adapters.as_ref().map_or(&[], Adapters::factors)
    }

    /// Whether forward passes move running statistics.
    pub(super) fn has_statistics(&self) -> bool {
        !self.statistics.is_empty()
    }

    /// Copies of the running statistics.
    pub(super) fn statistics(&self, values: &[f32]) -> Vec<Vec<f32>> {
        self.statistics.iter().map(|range| values.get(range.clone()).unwrap_or_default().to_vec()).collect()
    }

    /// Puts them back.
    pub(super) fn restore(&self, copies: &[Vec<f32>], values: &mut [f32]) {
        for (range, copy) in self.statistics.iter().zip(copies) {
            if let Some(values) = values.get_mut(range.clone()).filter(|values| values.len() == copy.len()) {
                values.copy_from_slice(copy);
            }
        }
    }

    /// Takes the factors' gradient from that of all weights, and gives the squared norm of what learns.
    pub(super) fn take(&mut self, team: &Team, gradient: &[f32]) -> Result<f64, TrainError> {
        if let Some(adapters) = &self.adapters {
            adapters.gradient(team, gradient, &mut self.gradient)?;
        }
        let weights =
            self.direct.iter().map(|part| part_of(gradient, &part.range).map(|part| squared_norm(team, part)));
        let sum = weights.sum::<Result<f64, TrainError>>()?;
        Ok(sum + squared_norm(team, &self.gradient))
    }

    /// Multiplies the gradient of what learns.
    pub(super) fn scale(&mut self, team: &Team, factor: f32, gradient: &mut [f32]) -> Result<(), TrainError> {
        for part in &self.direct {
            scale(team, factor, gradient.get_mut(part.range.clone()).ok_or(TrainError::Layout)?);
        }
        scale(team, factor, &mut self.gradient);
        Ok(())
    }

    /// Adds `factor` times the gradient of what learns to `sum`, which lies in one line.
    pub(super) fn gather(&self, team: &Team, factor: f32, gradient: &[f32], sum: &mut [f32]) -> Result<(), TrainError> {
        let (weights, factors) = sum.split_at_mut_checked(self.weights).ok_or(TrainError::Layout)?;
        for part in &self.direct {
            let end = part.at.saturating_add(part.range.len());
            let into = weights.get_mut(part.at..end).ok_or(TrainError::Layout)?;
            crate::kernel::axpy(team, factor, part_of(gradient, &part.range)?, into);
        }
        if factors.len() != self.gradient.len() {
            return Err(TrainError::Layout);
        }
        crate::kernel::axpy(team, factor, &self.gradient, factors);
        Ok(())
    }

    /// Puts what lies in one line where [`step`](Self::step) takes gradients from.
    pub(super) fn scatter(&mut self, sum: &[f32], gradient: &mut [f32]) -> Result<(), TrainError> {
        let (weights, factors) = sum.split_at_checked(self.weights).ok_or(TrainError::Layout)?;
        for part in &self.direct {
            let end = part.at.saturating_add(part.range.len());
            let from = weights.get(part.at..end).ok_or(TrainError::Layout)?;
            gradient.get_mut(part.range.clone()).ok_or(TrainError::Layout)?.copy_from_slice(from);
        }
        if factors.len() != self.gradient.len() {
            return Err(TrainError::Layout);
        }
        self.gradient.copy_from_slice(factors);
        Ok(())
    }

    /// Moves what learns.
    pub(super) fn step(
        &mut self,
        team: &Team,
        moments: &mut Moments,
        (number, rate): (u64, f32),
        gradient: &[f32],
        values: &mut [f32],
    ) -> Result<(), TrainError> {
        for part in &self.direct {
            let gradient = part_of(gradient, &part.range)?;
            let values = values.get_mut(part.range.clone()).ok_or(TrainError::Layout)?;
            moments.step(team, number, rate, Part { values, gradient, at: part.at, decays: part.decays })?;
        }
        if let Some(adapters) = &mut self.adapters {
            let (gradient, at) = (&self.gradient, self.weights);
            moments.step(team, number, rate, Part { values: adapters.factors_mut(), gradient, at, decays: true })?;
            adapters.apply(team, values)?;
        }
        Ok(())
    }

    /// The first weight whose gradient is not finite.
    pub(super) fn fault(&self, gradient: &[f32], weights: &Weights) -> Fault {
        let is_bad = |range: &Range<usize>| {
            gradient.get(range.clone()).is_some_and(|part| part.iter().any(|value| !value.is_finite()))
        };
        let direct = self.direct.iter().find(|part| is_bad(&part.range)).map(|part| part.name.as_str());
        let name =
            direct.or_else(|| weights.spans().iter().find(|span| is_bad(&span.range)).map(|span| span.name.as_str()));
        Fault::Gradient { weight: Name::new(name.unwrap_or("an adapter")) }
    }
}

/// Weights that get an adapter.
fn adapted<'a>(plan: &TrainingPlan, spans: &'a [Span]) -> Result<Vec<&'a Span>, TrainError> {
    let Some(lora) = &plan.lora else { return Ok(Vec::new()) };
    let fits = |span: &&Span| span.kind == SpanKind::Parameter && span.shape.len() == 2;
    known("lora.targets", &lora.targets, spans.iter().filter(fits))?;
    let wanted =
        |span: &&Span| lora.targets.is_empty() || lora.targets.iter().any(|pattern| matches(pattern, &span.name));
    let frozen = |span: &&Span| plan.freeze.iter().any(|pattern| matches(pattern, &span.name));
    let named = |span: &&Span| plan.train.iter().any(|pattern| matches(pattern, &span.name));
    let adapted: Vec<&Span> =
        spans.iter().filter(fits).filter(wanted).filter(|span| !frozen(span) && !named(span)).collect();
    if adapted.is_empty() {
        return Err(TrainError::Unfit("`lora` finds no weight of two dimensions to adapt"));
    }
    Ok(adapted)
}

fn known<'a>(
    field: &'static str,
    patterns: &[String],
    spans: impl Iterator<Item = &'a Span> + Clone,
) -> Result<(), TrainError> {
    let names = |pattern: &&String| spans.clone().any(|span| matches(pattern, &span.name));
    match patterns.iter().find(|pattern| !names(pattern)) {
        Some(pattern) => Err(TrainError::Unknown { field, name: Name::new(pattern) }),
        None => Ok(()),
    }
}

fn part_of<'a>(gradient: &'a [f32], range: &Range<usize>) -> Result<&'a [f32], TrainError> {
    gradient.get(range.clone()).ok_or(TrainError::Layout)
}
