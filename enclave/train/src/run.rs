//! One training, from bytes to bytes. The worker of an enclave calls it, and so does whoever repeats a
//! training to check it.

use crate::{
    data::{Examples, Goal, Passes, Reading},
    error::TrainError,
    network::Settings,
    protocol::{Order, Report},
    source::{Source, Sources},
    trainer::{Differentiable, Event, Facts, Finished, Foreseen, Limits, Model, StepReport, Trainer, trained_output},
};
use glacier_engine::{Port, ingest::Column, onnx::patch};
use glacier_wire::{
    Digest, Nonce,
    training::{EpochMetrics, Target, TrainingMetrics, TrainingPlan, Validation},
};
use std::{cell::RefCell, io};
use zeroize::Zeroizing;

/// Whoever is told how it goes.
pub trait Watch {
    /// The first step comes next; an epoch has so many.
    fn begun(&mut self, steps_per_epoch: u64) -> Result<(), TrainError>;
    /// One step of the optimiser.
    fn stepped(&mut self, step: &StepReport) -> Result<(), TrainError>;
    /// An epoch is over.
    fn measured(&mut self, epoch: &EpochMetrics) -> Result<(), TrainError>;
    /// A state to go on from; its number is that of the steps and the ends of epochs before it, so that it
    /// rises with each.
    fn checkpoint(&mut self, number: u64, state: &[u8]) -> Result<(), TrainError>;
}

/// Nobody listens.
impl Watch for () {
    fn begun(&mut self, _: u64) -> Result<(), TrainError> {
        Ok(())
    }

    fn stepped(&mut self, _: &StepReport) -> Result<(), TrainError> {
        Ok(())
    }

    fn measured(&mut self, _: &EpochMetrics) -> Result<(), TrainError> {
        Ok(())
    }

    fn checkpoint(&mut self, _: u64, _: &[u8]) -> Result<(), TrainError> {
        Ok(())
    }
}

/// Trains `model` as the order says, on the data sets that `passes` give, from the start or from a state.
///
/// # Errors
/// What model, data, plan or limits do not allow, before the first step where that can be told; a loss or a
/// gradient that is no number any more; what `watch` refuses.
pub fn train<P: Passes>(
    order: &Order,
    model: &[u8],
    passes: P,
    state: Option<&[u8]>,
    watch: &mut dyn Watch,
) -> Result<(Report, Zeroizing<Vec<u8>>), TrainError> {
    let passes = RefCell::new(passes);
    prepared(order, model, &passes, state, |mut trainer, sources, examples| {
        watch.begun(trainer.steps_per_epoch())?;
        follow(&mut trainer, sources, watch)?;
        passes.borrow_mut().close().map_err(|_| TrainError::Gone)?;
        conclude(order, model, trainer.finish()?, examples)
    })
}

/// What a run of the order comes to that can be told without running it: nothing is learnt. For whoever checks a
/// private run, whose noise cannot be drawn again.
///
/// # Errors
/// As [`train`], before the first step.
pub fn foresee<P: Passes>(order: &Order, model: &[u8], passes: P) -> Result<Foreseen, TrainError> {
    // No noise is drawn; a plan that wants some is given a key.
    let order = Order { noise: Some(Nonce([0; 32])), ..order.clone() };
    prepared(&order, model, &RefCell::new(passes), None, |trainer, _, _| Ok(trainer.foreseen()))
}

/// Reads model and data, and hands on a trainer that stands at the start or where the state says.
fn prepared<P: Passes, T>(
    order: &Order,
    model: &[u8],
    passes: &RefCell<P>,
    state: Option<&[u8]>,
    then: impl FnOnce(Trainer<Model>, &mut Sources<'_>, &Examples<Part<'_, P>>) -> Result<T, TrainError>,
) -> Result<T, TrainError> {
    let plan = &order.plan;
    plan.check()?;
    let (learnt, held_out) = split(order)?;
    let shares = Shares::of(order.limits.memory, model.len() as u64, held_out.is_some())?;
    let settings = Settings {
        threads: usize::try_from(threads(order)).unwrap_or(1),
        memory: shares.network,
        trained: plan.output.clone().map(|name| vec![name]),
    };
    let (network, weights) = Model::read(model, &settings)?;
    let reading = reading(order, network.outputs(), shares.data)?;
    let examples = Examples::open(Part::new(passes, learnt), network.graph(), reading.clone())?;
    let outside = match held_out {
        Some(source) => {
            let reading = Reading {
                validation: 1.0,
                labels: examples.labels().map(<[String]>::to_vec).or(reading.labels),
                standardise: false,
                shuffle: 0,
                ..reading
            };
            let held_out = Examples::open(Part::new(passes, vec![source]), network.graph(), reading)?;
            Some(held_out.with_scale(examples.scale().cloned()))
        }
        None => None,
    };
    let mut training = examples.training();
    let mut validation = outside.as_ref().map_or_else(|| examples.validation(), Examples::validation);
    let validation = validation.as_mut().map(|rows| rows as &mut dyn Source);
    let mut sources = Sources { training: &mut training, validation };

    let limits = Limits { units: order.limits.units, epochs: TrainingPlan::MAX_EPOCHS, memory: shares.weights };
    let noise = order.noise.as_ref().map(|key| key.0);
    let trainer = match state {
        None => Trainer::new(plan.clone(), network, weights, &mut sources, limits, noise)?,
        Some(state) => Trainer::resume(plan.clone(), network, weights, &mut sources, limits, state)?,
    };
    then(trainer, &mut sources, &examples)
}

/// The result as its owner gets it, and the record of how it came about.
fn conclude<P: Passes>(
    order: &Order,
    model: &[u8],
    finished: Finished,
    examples: &Examples<P>,
) -> Result<(Report, Zeroizing<Vec<u8>>), TrainError> {
    let result = match &finished.adapter {
        Some(adapter) => Zeroizing::new(adapter.clone()),
        None => {
            let spans = finished.weights.spans().iter();
            let values =
                spans.filter_map(|span| Some((span.name.as_str(), finished.weights.values().get(span.range.clone())?)));
            let refined = Zeroizing::new(patch(model, &values.collect())?);
            Zeroizing::new(examples.export(&refined)?)
        }
    };
    let metrics = TrainingMetrics { salt: order.salt, epochs: finished.epochs.clone() };
    let record = finished.record(Facts {
        model: order.model,
        data: order.data.iter().map(|(digest, _)| *digest).collect(),
        metrics: &metrics,
        result: Digest(*blake3::hash(&result).as_bytes()),
        processor: processor(),
        threads: threads(order),
    })?;
    Ok((Report { record, metrics }, result))
}

/// How many work: the plan's, or as many as there are.
fn threads(order: &Order) -> u32 {
    if order.plan.threads == 0 { order.limits.threads } else { order.plan.threads }
}

/// Steps until the run has ended; states where they are due.
fn follow<N: Differentiable>(
    trainer: &mut Trainer<N>,
    sources: &mut Sources<'_>,
    watch: &mut dyn Watch,
) -> Result<(), TrainError> {
    loop {
        let (number, due) = match trainer.step(sources)? {
            Event::Step(step) => {
                watch.stepped(&step)?;
                (step.step.saturating_add(u64::from(step.epoch.saturating_sub(1))), step.checkpoint)
            }
            Event::Epoch { metrics, checkpoint, .. } => {
                watch.measured(&metrics)?;
                (metrics.steps.saturating_add(u64::from(metrics.epoch)), checkpoint)
            }
            Event::Done(_) => return Ok(()),
        };
        if due {
            watch.checkpoint(number, &trainer.state())?;
        }
    }
}

/// What each part of a run may hold of the job's memory.
struct Shares {
    network: u64,
    weights: u64,
    /// Of the rows that are learnt from, and again of those of a data set that is held out.
    data: u64,
}

impl Shares {
    /// The model's bytes are held three times: as they came, as they are exported, and between the two.
    fn of(memory: u64, model: u64, held_out: bool) -> Result<Self, TrainError> {
        let left = memory.checked_sub(model.saturating_mul(3)).filter(|left| *left > 0);
        let quarter = left.ok_or(TrainError::Memory { limit: memory })? / 4;
        let data = if held_out { quarter / 2 } else { quarter };
        Ok(Self { network: quarter.saturating_mul(2), weights: quarter, data })
    }
}

/// Which data sets are learnt from, and which is only measured.
fn split(order: &Order) -> Result<(Vec<usize>, Option<usize>), TrainError> {
    let all = 0..order.data.len();
    let Validation::Asset(asset) = order.plan.validation else { return Ok((all.collect(), None)) };
    let held_out = order.data.iter().position(|(digest, _)| *digest == asset);
    let held_out = held_out.ok_or(TrainError::Unfit("`validation` names a data set that the job does not have"))?;
    Ok((all.filter(|source| *source != held_out).collect(), Some(held_out)))
}

/// How the plan wants the data read.
fn reading(order: &Order, outputs: &[Port], memory: u64) -> Result<Reading, TrainError> {
    let plan = &order.plan;
    let column = |target: &Target| match target {
        Target::Name(name) => Column::Name(name.clone()),
        Target::Column(place) => Column::Place(u64::from(*place)),
    };
    let goal = if plan.loss.classifies() && !plan.pairs() {
        Goal::Classes { count: outputs.get(trained_output(plan, outputs)?).and_then(classes) }
    } else {
        Goal::Numbers
    };
    Ok(Reading {
        wanted: plan.target.iter().map(column).collect(),
        goal,
        labels: (!plan.classes.is_empty()).then(|| plan.classes.clone()),
        unnamed: match plan.privacy {
            Some(_) => Some("with `privacy` classes may not be named after what the rows show: list them in `classes`"),
            None if order.averaged => Some("each site would name its own classes: list them in `classes`"),
            None => None,
        },
        pair_suffix: plan.pair_suffix.clone(),
        validation: match plan.validation {
            Validation::Fraction(share) => f64::from(share.get()),
            _ => 0.0,
        },
        seed: plan.seed.0,
        shuffle: plan.shuffle,
        standardise: plan.standardise,
        memory,
    })
}

/// How many classes the trained output tells apart, where its shape says.
fn classes(output: &Port) -> Option<u64> {
    // One number a row tells two classes apart.
    output.dims.as_deref()?.last()?.fixed().map(|classes| classes.max(2))
}

/// Some of the data sets, by the places of all.
struct Part<'a, P> {
    passes: &'a RefCell<P>,
    places: Vec<usize>,
}

impl<'a, P> Part<'a, P> {
    fn new(passes: &'a RefCell<P>, places: Vec<usize>) -> Self {
        Self { passes, places }
    }
}

impl<P: Passes> Passes for Part<'_, P> {
    fn sources(&self) -> usize {
        self.places.len()
    }

    fn open(&mut self, source: usize) -> Result<(), TrainError> {
        let place = self.places.get(source).copied().ok_or(TrainError::Unfit("there is no such data set"))?;
        self.passes.borrow_mut().open(place)
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.passes.borrow_mut().read(into)
    }
}

/// Kind of processor, as far as the bits of a result depend on it.
pub fn processor() -> String {
    let mut words = vec![std::env::consts::ARCH];
    #[cfg(target_arch = "x86_64")]
    {
        let has = [("avx2", is_x86_feature_detected!("avx2")), ("fma", is_x86_feature_detected!("fma"))];
        words.extend(has.into_iter().filter(|(_, has)| *has).map(|(word, _)| word));
        if is_x86_feature_detected!("avx512f") {
            words.push("avx512f");
        }
    }
    words.join(" ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn all_parts_together_fit_the_memory_whether_or_not_a_data_set_is_held_out() {
        for held_out in [false, true] {
            let Shares { network, weights, data } = Shares::of(1 << 30, 1 << 20, held_out).unwrap();
            let sets = if held_out { 2 } else { 1 };
            assert!(network + weights + sets * data + 3 * (1 << 20) <= 1 << 30);
            assert!(sets * data > (1 << 30) / 5, "and little is left over");
        }
        assert!(Shares::of(1 << 20, 1 << 20, false).is_err());
    }
}
