//! What is decided, and refused, before the first step.

use super::{Differentiable, History, Length, Limits, Position, Trainer, learner::Learner};
use crate::{
    error::TrainError,
    loss::{IGNORED, Objective},
    metric::real,
    optimiser::Moments,
    privacy::{Noise, epsilon, releases},
    schedule::Rates,
    source::{Source, Sources, Targets},
    weights::Weights,
};
use glacier_engine::{DataError, Dim, Port, onnx::Name};
use glacier_wire::{
    Digest, Dtype,
    training::{ClassWeights, Metric, PrivacySpent, Real, Sampling, Scores, TrainingPlan, TrainingRecord, Validation},
};

/// Class weights, once they are known.
pub(super) type Known = Option<Option<Vec<f64>>>;

impl<N: Differentiable> Trainer<N> {
    /// Begins a run. `weights` are the model's own; `noise` is a fresh random key, which a private plan needs
    /// and no other uses.
    ///
    /// # Errors
    /// A plan that contradicts itself, or does not fit model and data; a run that would use more than its
    /// limits, where shapes tell before it runs.
    pub fn new(
        plan: TrainingPlan,
        network: N,
        weights: Weights,
        sources: &mut Sources<'_>,
        limits: Limits,
        noise: Option<[u8; 32]>,
    ) -> Result<Self, TrainError> {
        let noise = noise.filter(|_| plan.privacy.is_some()).map(Noise::new);
        Self::assemble(plan, network, weights, sources, limits, noise, None)
    }

    pub(super) fn assemble(
        plan: TrainingPlan,
        mut network: N,
        weights: Weights,
        sources: &mut Sources<'_>,
        limits: Limits,
        noise: Option<Noise>,
        known: Known,
    ) -> Result<Self, TrainError> {
        plan.check()?;
        if plan.epochs > limits.epochs {
            return Err(TrainError::Epochs { epochs: plan.epochs, limit: limits.epochs });
        }
        let output = trained_output(&plan, network.outputs())?;
        let learner = Learner::new(&plan, &weights)?;
        let needed = memory(&plan, &weights, &learner);
        if needed > limits.memory {
            return Err(TrainError::Memory { limit: limits.memory });
        }
        network.freeze(learner.frozen())?;
        if plan.privacy.is_some() && noise.is_none() {
            return Err(TrainError::Unfit("`privacy` needs a key for its noise"));
        }
        if plan.privacy.is_some() && learner.has_statistics() {
            return Err(TrainError::Unfit("with `privacy` running means and variances must be in `freeze`"));
        }
        let length = length(&plan, network.inputs(), sources)?;
        let kept = scores(&plan, network.outputs().get(output), length.validation);
        if needed.saturating_add(kept) > limits.memory {
            return Err(TrainError::Memory { limit: limits.memory });
        }
        check_epsilon(&plan, &length)?;
        check_units(&plan, &mut network, &length, limits.units)?;
        let class_weights = match (known, &plan.class_weights) {
            (Some(known), _) => known,
            (None, None) => None,
            (None, Some(ClassWeights::List(list))) => Some(list.iter().map(|it| f64::from(it.get())).collect()),
            (None, Some(ClassWeights::Balanced)) => Some(balanced(&plan, sources.training)?),
        };
        let probabilities = plan.loss.classifies()
            && match plan.scores {
                Scores::Logits => false,
                Scores::Probabilities => true,
                _ => network.gives_probabilities(output),
            };
        let trainer = Self {
            objective: Objective::new(&plan, probabilities, class_weights),
            rates: Rates::new(&plan, length.steps),
            moments: Moments::new(&plan, learner.len()),
            gradient: vec![0.0; weights.len()],
            position: Position::START,
            content: content(sources),
            history: History { weights: vec![TrainingRecord::weights_digest(weights.values())], epochs: Vec::new() },
            best: None,
            placed: false,
            plan,
            network,
            weights,
            learner,
            output,
            length,
            limits,
            noise,
        };
        trainer.check_weights()?;
        Ok(trainer)
    }
}

/// The output that the loss is of.
pub(crate) fn trained_output(plan: &TrainingPlan, outputs: &[Port]) -> Result<usize, TrainError> {
    let floats = |port: &Port| port.dtype == Dtype::Fp32;
    if let Some(name) = &plan.output {
        return match outputs.iter().position(|port| port.name == *name) {
            Some(place) if outputs.get(place).is_some_and(floats) => Ok(place),
            Some(_) => Err(TrainError::Unfit("the output that it names is not floating point")),
            None => Err(TrainError::Unknown { field: "output", name: Name::new(name) }),
        };
    }
    let mut places = outputs.iter().enumerate().filter(|(_, port)| floats(port)).map(|(place, _)| place);
    match (places.next(), places.next()) {
        (Some(place), None) => Ok(place),
        (None, _) => Err(TrainError::Unfit("the model has no floating-point output to train on")),
        (Some(_), Some(_)) => Err(TrainError::Unfit("the model has several outputs: `output` must name one")),
    }
}

/// Bytes of what a run holds beside network and data.
fn memory(plan: &TrainingPlan, weights: &Weights, learner: &Learner) -> u64 {
    let (all, learns) = (weights.len() as u64, learner.len() as u64);
    let copies = 2u64.saturating_add(u64::from(plan.early_stopping.is_some()));
    let mut per_value = Moments::per_value(plan).saturating_add(u64::from(plan.privacy.is_some()));
    if plan.lora.is_some() {
        // Factors, their gradient, the best of them, and at most all weights as they were.
        per_value = per_value.saturating_add(3);
    }
    let base = learner.adapters().map_or(0, |adapters| adapters.base().len() as u64);
    let values = all.saturating_mul(copies).saturating_add(learns.saturating_mul(per_value)).saturating_add(base);
    values.saturating_mul(4)
}

/// What is measured: what the plan names, and what it watches.
pub(super) fn metrics(plan: &TrainingPlan) -> Vec<Metric> {
    let mut metrics = plan.measured();
    metrics.extend(plan.early_stopping.map(|stopping| stopping.metric).filter(|it| !metrics.contains(it)));
    metrics
}

/// Bytes that an AUC keeps: a score and a class of each validation row; of several classes, a score for each.
fn scores(plan: &TrainingPlan, output: Option<&Port>, validation: u64) -> u64 {
    if !metrics(plan).contains(&Metric::Auc) {
        return 0;
    }
    let dims = output.and_then(|port| port.dims.as_deref()).unwrap_or_default();
    let classes = dims.last().and_then(Dim::fixed).unwrap_or(plan.classes.len() as u64);
    // A row of several elements has as many of each.
    let middle = dims.get(1..dims.len().saturating_sub(1)).unwrap_or_default().iter().filter_map(Dim::fixed);
    let elements = middle.fold(validation, u64::saturating_mul);
    let columns = if classes > 2 { classes } else { 1 };
    elements.saturating_mul(columns.saturating_add(1)).saturating_mul(4)
}

fn length(plan: &TrainingPlan, inputs: &[Port], sources: &Sources<'_>) -> Result<Length, TrainError> {
    let counted = sources.training.rows();
    let validation_counted = sources.validation.as_ref().map_or(0, |source| source.rows());
    match (plan.validation, validation_counted) {
        (Validation::None, 1..) => return Err(TrainError::Unfit("`validation` is none, and there are such rows")),
        (Validation::Fraction(_) | Validation::Asset(_), 0) => {
            return Err(TrainError::Unfit("`validation` is set, and there are no such rows"));
        }
        _ => {}
    }
    let batch = u64::from(plan.batch);
    let passed = if plan.pairs() { batch.saturating_mul(2) } else { batch };
    let fixed = inputs.iter().find_map(|port| port.dims.as_deref()?.first()?.fixed());
    if fixed.is_some_and(|fixed| fixed != passed) {
        return Err(TrainError::Unfit("the model takes a fixed number of rows at a time: `batch` must be that"));
    }
    if fixed.is_some_and(|fixed| plan.privacy.is_some() && fixed != 1) {
        return Err(TrainError::Unfit("with `privacy` the model must take single rows"));
    }
    // What does not fill a fixed batch is left out of the epoch; where it lies changes with the shuffling.
    let whole = |rows: u64| match fixed {
        Some(_) => rows.saturating_sub(rows.checked_rem(batch).unwrap_or(0)),
        None => rows,
    };
    let rows = whole(counted);
    if rows == 0 {
        return Err(DataError::NoRows.into());
    }
    let steps = rows.div_ceil(batch).div_ceil(u64::from(plan.accumulate).max(1));
    Ok(Length { rows, counted, validation: whole(validation_counted), validation_counted, steps })
}

/// Names all rows.
fn content(sources: &Sources<'_>) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"glacier/training-sources/v1\0").update(&sources.training.content().0);
    if let Some(validation) = &sources.validation {
        hasher.update(&validation.content().0);
    }
    Digest(*hasher.finalize().as_bytes())
}

/// What so many steps spend of the rows' privacy.
pub(super) fn spent(plan: &TrainingPlan, length: &Length, steps: u64) -> Option<PrivacySpent> {
    let privacy = plan.privacy?;
    let releases = releases(&privacy, plan.batch, length.counted, length.steps, steps);
    let exact = epsilon(f64::from(privacy.noise.get()), releases, f64::from(privacy.delta.get()));
    Some(PrivacySpent { epsilon: rounded_up(exact), delta: privacy.delta, sampling: privacy.sampling })
}

fn rounded_up(value: f64) -> Real {
    let near = real(value).map_or(f32::MAX, Real::get);
    let up = if f64::from(near) < value { near.next_up() } else { near };
    Real::new(up).or_else(|| Real::new(f32::MAX)).unwrap_or(Real::ZERO)
}

fn check_epsilon(plan: &TrainingPlan, length: &Length) -> Result<(), TrainError> {
    let steps = length.steps.saturating_mul(u64::from(plan.epochs));
    let (Some(spent), Some(privacy)) = (spent(plan, length, steps), plan.privacy) else { return Ok(()) };
    match privacy.max_epsilon {
        Some(limit) if spent.epsilon > limit => Err(TrainError::Epsilon { epsilon: spent.epsilon, limit }),
        _ => Ok(()),
    }
}

/// Refuses a run that comes to more units, where the shapes of a batch are known.
fn check_units<N: Differentiable>(
    plan: &TrainingPlan,
    network: &mut N,
    length: &Length,
    limit: u64,
) -> Result<(), TrainError> {
    let Some(rows) = shapes_of(network.inputs()) else { return Ok(()) };
    let mut cost = |count: u64| -> Result<u64, TrainError> {
        let halves = if plan.pairs() { 2 } else { 1 };
        let with_rows = |row: &Vec<u64>| {
            let first = count.saturating_mul(halves);
            std::iter::once(first).chain(row.iter().copied()).collect()
        };
        let shapes: Vec<Vec<u64>> = rows.iter().map(with_rows).collect();
        if count == 0 { Ok(0) } else { network.cost(&shapes) }
    };
    let batch = u64::from(plan.batch);
    let mut pass = |rows: u64| -> Result<u64, TrainError> {
        let (full, rest) = (rows.checked_div(batch).unwrap_or(0), rows.checked_rem(batch).unwrap_or(0));
        let last = cost(rest)?;
        Ok(if full == 0 { last } else { full.saturating_mul(cost(batch)?).saturating_add(last) })
    };
    let validation = pass(length.validation)?;
    let training = match plan.privacy {
        // Sampled rows are as many only on average; each batch is held against the limit again.
        Some(privacy) if privacy.sampling == Sampling::Poisson => return Ok(()),
        Some(_) => cost(1)?.saturating_mul(length.rows),
        None => pass(length.rows)?,
    };
    let epoch = training.saturating_mul(3).saturating_add(validation);
    let needed = epoch.saturating_mul(u64::from(plan.epochs));
    if needed > limit { Err(TrainError::Units { needed, limit }) } else { Ok(()) }
}

/// Extents of one row of each input, where all are fixed.
fn shapes_of(inputs: &[Port]) -> Option<Vec<Vec<u64>>> {
    let row = |port: &Port| -> Option<Vec<u64>> { port.dims.as_deref()?.get(1..)?.iter().map(Dim::fixed).collect() };
    inputs.iter().map(row).collect()
}

/// Inverse frequencies of the classes among the training rows.
fn balanced(plan: &TrainingPlan, source: &mut dyn Source) -> Result<Vec<f64>, TrainError> {
    let mut counts = vec![0u64; plan.classes.len().max(2)];
    let (mut done, all) = (0u64, source.rows());
    source.begin(0)?;
    while let Some(batch) = source.next(1024)? {
        let Targets::Classes(classes) = &batch.targets else {
            return Err(TrainError::Unfit("`class_weights` are balanced between classes, and the targets are none"));
        };
        let per_row = classes.len().checked_div(usize::try_from(batch.rows).unwrap_or(0)).unwrap_or(1).max(1);
        for (place, class) in classes.iter().enumerate().filter(|(_, class)| **class != IGNORED) {
            let found = usize::try_from(*class).ok().filter(|class| *class < TrainingPlan::MAX_CLASSES);
            let Some(class) = found else {
                let row = batch.number(place.checked_div(per_row).unwrap_or(0), done);
                return Err(TrainError::Label { row, classes: counts.len() as u64 });
            };
            if class >= counts.len() {
                counts.resize(class.saturating_add(1), 0);
            }
            if let Some(count) = counts.get_mut(class) {
                *count = count.saturating_add(1);
            }
        }
        done = done.saturating_add(batch.rows);
    }
    if done != all {
        return Err(TrainError::Rows { expected: all, found: done });
    }
    let (rows, classes) = (counts.iter().sum::<u64>() as f64, counts.len() as f64);
    // A class without rows has nothing to weigh.
    Ok(counts.iter().map(|count| if *count == 0 { 0.0 } else { rows / (classes * *count as f64) }).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use glacier_wire::training::EarlyStopping;

    #[test]
    fn what_an_auc_keeps_follows_from_the_output_and_from_all_that_asks_for_it() {
        let port = |dims: &[u64]| {
            let fixed = dims.iter().map(|extent| Dim::Fixed { extent: *extent });
            let dims = std::iter::once(Dim::Free { name: "rows".into() }).chain(fixed).collect();
            Port { name: "y".into(), dtype: Dtype::Fp32, dims: Some(dims) }
        };
        let plain = TrainingPlan::default();
        let auc = TrainingPlan { metrics: vec![Metric::Auc], ..plain.clone() };
        let watched = EarlyStopping { metric: Metric::Auc, ..EarlyStopping::default() };
        let watched = TrainingPlan { early_stopping: Some(watched), ..plain.clone() };
        assert_eq!(scores(&plain, Some(&port(&[10])), 100), 0);
        for plan in [auc, watched] {
            assert_eq!(scores(&plan, Some(&port(&[1])), 100), 100 * 2 * 4);
            assert_eq!(scores(&plan, Some(&port(&[2])), 100), 100 * 2 * 4);
            // Nobody named the classes: there are as many nonetheless.
            assert_eq!(scores(&plan, Some(&port(&[10])), 100), 100 * 11 * 4);
            assert_eq!(scores(&plan, Some(&port(&[5, 10])), 100), 100 * 5 * 11 * 4);
        }
    }
}
