//! A run as bytes, between two steps.
//!
//! The bytes hold weights, and for a private plan the key of its noise: they are for sealing, not for
//! showing. They name plan, model and data set, so a checkpoint of one run is no start for another; whether
//! they are the latest of their run is for the one who seals them to know.

use super::{Best, Differentiable, History, Limits, Position, Trainer};
use crate::{
    error::TrainError,
    privacy::Noise,
    source::Sources,
    weights::{SpanKind, Weights},
};
use glacier_wire::{
    Digest, cbor,
    training::{Ending, EpochMetrics, TrainingPlan, TrainingRecord},
};
use zeroize::Zeroizing;

const MAGIC: &[u8; 16] = b"glacier-train-1\n";
/// Ten thousand epochs with all metrics, and their digests.
const MAX_HEADER: usize = 4 << 20;
const DIGEST: usize = 32;
/// What stands around header and vectors.
const AROUND: usize = MAGIC.len() + 4 + DIGEST;

/// Everything but the flat vectors.
#[derive(Debug, Clone, PartialEq, minicbor::Encode, minicbor::Decode)]
struct Header {
    #[n(0)]
    plan: Digest,
    #[n(1)]
    layout: Digest,
    #[n(2)]
    rows: (u64, u64),
    #[n(3)]
    epoch: u32,
    #[n(4)]
    epoch_steps: u64,
    #[n(5)]
    epoch_rows: u64,
    #[n(6)]
    batches: u64,
    #[n(7)]
    all_rows: u64,
    #[n(8)]
    steps: u64,
    #[n(9)]
    moves: u64,
    /// Bits of double-precision numbers.
    #[n(10)]
    loss: u64,
    #[n(11)]
    weight: u64,
    #[n(12)]
    units: u64,
    #[n(13)]
    waited: u32,
    #[n(14)]
    ending: Option<Ending>,
    #[n(15)]
    digests: Vec<Digest>,
    #[n(16)]
    epochs: Vec<EpochMetrics>,
    /// Epoch of the best weights, and the bits of their figure.
    #[n(17)]
    best: Option<(u32, u32)>,
    #[n(18)]
    noise: Option<Digest>,
    /// Bits of the class weights.
    #[n(19)]
    class_weights: Option<Vec<u64>>,
    /// The rows, and what was read of them in this epoch.
    #[n(20)]
    content: Digest,
    #[n(21)]
    passed: Digest,
}

impl<N: Differentiable> Trainer<N> {
    /// The run as it is now. Between two steps, always; also after one that failed, as before it.
    pub fn state(&self) -> Zeroizing<Vec<u8>> {
        let header = cbor::encode(&self.header());
        let vectors = self.vectors();
        let values: usize = vectors.iter().map(|vector| vector.len()).sum();
        let length = values.saturating_mul(4).saturating_add(header.len()).saturating_add(AROUND);
        let mut bytes = Zeroizing::new(Vec::with_capacity(length));
        bytes.extend(MAGIC);
        bytes.extend((header.len() as u32).to_le_bytes());
        bytes.extend(Zeroizing::new(header).iter());
        for vector in vectors {
            bytes.extend(vector.iter().flat_map(|value| value.to_le_bytes()));
        }
        let digest = blake3::hash(&bytes);
        bytes.extend(digest.as_bytes());
        bytes
    }

    /// Takes a run up where [`state`](Self::state) put it down: the same plan, model (with its own weights, as
    /// they stand in the file) and data.
    ///
    /// # Errors
    /// What [`new`](Self::new) refuses, and bytes that are no state of this run.
    pub fn resume(
        plan: TrainingPlan,
        network: N,
        weights: Weights,
        sources: &mut Sources<'_>,
        limits: Limits,
        state: &[u8],
    ) -> Result<Self, TrainError> {
        let (header, mut values) = open(state)?;
        let refuse = |held: bool, why| if held { Ok(()) } else { Err(TrainError::Checkpoint(why)) };
        refuse(header.plan == plan.digest(), "it is of another plan")?;
        refuse(header.layout == layout(&weights), "it is of another model")?;
        let initial = TrainingRecord::weights_digest(weights.values());
        refuse(header.digests.first() == Some(&initial), "it began with other weights")?;
        refuse(header.noise.is_some() == plan.privacy.is_some(), "it has no noise, or noise for nothing")?;
        let noise = header.noise.map(|key| Noise::new(key.0));
        let known = header.class_weights.as_ref().map(|bits| bits.iter().map(|bits| f64::from_bits(*bits)).collect());
        let weighs = known.as_ref().is_none_or(|weights: &Vec<f64>| {
            weights.len() <= TrainingPlan::MAX_CLASSES
                && weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0)
        });
        refuse(weighs && known.is_some() == plan.class_weights.is_some(), "it has other class weights")?;
        let mut this = Self::assemble(plan, network, weights, sources, limits, noise, Some(known))?;
        this.check_header(&header)?;

        let kept = header.best.map(|(epoch, bits)| Best {
            epoch,
            value: f32::from_bits(bits),
            weights: vec![0.0; this.weights.len()],
            factors: vec![0.0; this.learner.factors().len()],
        });
        let needed: usize = this.vectors().iter().map(|vector| vector.len()).sum();
        let best = kept.as_ref().map_or(0, |best| best.weights.len().saturating_add(best.factors.len()));
        refuse(Some(values.len()) == needed.saturating_add(best).checked_mul(4), "it has another length")?;
        this.best = kept;
        for vector in this.vectors_mut() {
            let (bytes, rest) = values.split_at_checked(vector.len().saturating_mul(4)).unwrap_or_default();
            for (value, bytes) in vector.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *value = f32::from_le_bytes(*bytes);
            }
            refuse(vector.iter().all(|value| value.is_finite()), "it has numbers that are not finite")?;
            values = rest;
        }
        if header.epoch_steps == 0 {
            let now = TrainingRecord::weights_digest(this.weights.values());
            refuse(header.digests.last() == Some(&now), "its weights are not those of its last epoch")?;
        }
        this.position = Position {
            epoch: header.epoch,
            epoch_steps: header.epoch_steps,
            epoch_rows: header.epoch_rows,
            batches: header.batches,
            rows: header.all_rows,
            steps: header.steps,
            moves: header.moves,
            loss: f64::from_bits(header.loss),
            weight: f64::from_bits(header.weight),
            units: header.units,
            waited: header.waited,
            ending: header.ending,
            passed: header.passed,
        };
        this.history = History { weights: header.digests, epochs: header.epochs };
        Ok(this)
    }

    fn header(&self) -> Header {
        let Position {
            epoch,
            epoch_steps,
            epoch_rows,
            batches,
            rows,
            steps,
            moves,
            loss,
            weight,
            units,
            waited,
            ending,
            passed,
        } = self.position;
        Header {
            plan: self.plan.digest(),
            layout: layout(&self.weights),
            rows: (self.length.counted, self.length.validation_counted),
            epoch,
            epoch_steps,
            epoch_rows,
            batches,
            all_rows: rows,
            steps,
            moves,
            loss: loss.to_bits(),
            weight: weight.to_bits(),
            units,
            waited,
            ending,
            digests: self.history.weights.clone(),
            epochs: self.history.epochs.clone(),
            best: self.best.as_ref().map(|best| (best.epoch, best.value.to_bits())),
            noise: self.noise.as_ref().map(|noise| Digest(*noise.key())),
            class_weights: self.objective.weights().map(|weights| weights.iter().map(|it| it.to_bits()).collect()),
            content: self.content,
            passed,
        }
    }

    /// Whether a run of this plan over this data can stand there.
    fn check_header(&self, header: &Header) -> Result<(), TrainError> {
        let refuse = |held: bool, why| if held { Ok(()) } else { Err(TrainError::Checkpoint(why)) };
        let rows = (self.length.counted, self.length.validation_counted);
        refuse(header.rows == rows && header.content == self.content, "it is of other data")?;
        refuse(header.epoch <= self.plan.epochs, "it has more epochs than the plan")?;
        refuse(header.epoch_steps <= self.length.steps, "it has more steps in an epoch than there are")?;
        let before = u64::from(header.epoch).saturating_mul(self.length.steps);
        refuse(header.steps == before.saturating_add(header.epoch_steps), "its steps do not add up")?;
        refuse(header.moves <= header.steps, "its steps do not add up")?;
        let per_step = u64::from(self.plan.batch).saturating_mul(u64::from(self.plan.accumulate));
        let passed = header.epoch_steps.saturating_mul(per_step).min(self.length.rows);
        refuse(self.samples() || header.epoch_rows == passed, "its rows do not add up")?;
        let epochs = header.epoch as usize;
        let counted = header.epochs.len() == epochs && header.digests.len() == epochs.saturating_add(1);
        refuse(counted, "its epochs do not add up")?;
        let (loss, weight) = (f64::from_bits(header.loss), f64::from_bits(header.weight));
        refuse(loss.is_finite() && weight.is_finite() && weight >= 0.0, "its loss is not finite")?;
        let stops = self.plan.early_stopping.is_some();
        let best = header.best.is_none_or(|(epoch, bits)| {
            stops && epoch >= 1 && epoch <= header.epoch && f32::from_bits(bits).is_finite()
        });
        refuse(best, "its best epoch is none of its own")?;
        refuse(header.waited <= header.epoch && (stops || header.waited == 0), "it waited longer than it ran")
    }

    fn vectors(&self) -> Vec<&[f32]> {
        let adapters = self.learner.adapters();
        let [first, second] = self.moments.memory();
        let mut vectors = vec![self.weights.values(), first, second];
        vectors.extend(adapters.map(|adapters| [adapters.factors(), adapters.base()]).into_iter().flatten());
        vectors.extend(self.best.as_ref().map(|best| [&*best.weights, &*best.factors]).into_iter().flatten());
        vectors
    }

    /// In the order of [`vectors`](Self::vectors).
    fn vectors_mut(&mut self) -> Vec<&mut [f32]> {
        let [first, second] = self.moments.memory_mut();
        let mut vectors = vec![self.weights.values_mut(), first, second];
        vectors.extend(self.learner.adapters_mut().map(|adapters| adapters.vectors_mut()).into_iter().flatten());
        vectors.extend(self.best.as_mut().map(|best| [&mut *best.weights, &mut *best.factors]).into_iter().flatten());
        vectors
    }
}

/// Header and vectors of bytes that are whole.
fn open(state: &[u8]) -> Result<(Header, &[u8]), TrainError> {
    let refused = TrainError::Checkpoint;
    let rest = state.strip_prefix(MAGIC).ok_or(refused("it is none at all"))?;
    let (body, digest) = state.split_last_chunk::<DIGEST>().ok_or(refused("it ends early"))?;
    if blake3::hash(body).as_bytes() != digest {
        return Err(refused("it was altered, or ends early"));
    }
    let rest = rest.get(..rest.len().saturating_sub(DIGEST)).ok_or(refused("it ends early"))?;
    let (length, rest) = rest.split_first_chunk::<4>().ok_or(refused("it ends early"))?;
    let length = u32::from_le_bytes(*length) as usize;
    let (header, values) = rest.split_at_checked(length).ok_or(refused("it ends early"))?;
    let header = cbor::decode(header, MAX_HEADER).map_err(|_| refused("its head is malformed"))?;
    Ok((header, values))
}

/// Names, shapes and kinds of all weights.
fn layout(weights: &Weights) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"glacier/weights-layout/v1\0");
    for span in weights.spans() {
        hasher.update(&(span.name.len() as u64).to_le_bytes()).update(span.name.as_bytes());
        hasher.update(&[u8::from(span.kind == SpanKind::Statistic)]);
        hasher.update(&(span.shape.len() as u64).to_le_bytes());
        for extent in &span.shape {
            hasher.update(&(*extent as u64).to_le_bytes());
        }
    }
    Digest(*hasher.finalize().as_bytes())
}
