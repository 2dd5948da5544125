//! What the enclave states of a training run.

use super::{Ending, Metric, Real, Sampling, Seed, TrainingPlan, tagged};
use crate::{
    cbor,
    id::{Commitment, Digest, Nonce},
};
use alloc::{string::String, vec::Vec};

/// How a result came about. The Work Proof's `output` is its [`digest`](Self::digest), so everything the
/// proof says of the run stands here.
///
/// Who has model, data and plan can train again and compare: `weights`, `chain`, `best`, `ending`, `steps`,
/// `rows`, `units`, `result` and `privacy` must come out the same, and `metrics` for whoever has their salt.
/// Where `privacy` is set the noise is nobody's to repeat, so a replay compares the first of `weights`, `steps`
/// and `privacy`, and must believe the enclave's measurement for the rest. What the plan says by itself,
/// [`fits`](Self::fits) compares.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode)]
#[serde(deny_unknown_fields)]
pub struct TrainingRecord {
    /// [`TrainingPlan::digest`].
    #[n(0)]
    pub plan: Digest,
    /// The model asset.
    #[n(1)]
    pub model: Digest,
    /// The data assets, in the order of the manifest.
    #[n(2)]
    pub data: Vec<Digest>,
    /// [`weights_digest`](Self::weights_digest) before the first epoch and after each.
    #[n(3)]
    pub weights: Vec<Digest>,
    /// Last link over `weights`: [`chain`](Self::chain).
    #[n(4)]
    pub chain: Digest,
    /// Epoch whose weights are the result, from 1; less than the last where training stopped early.
    #[n(5)]
    pub best: u32,
    /// How it ended.
    #[n(6)]
    pub ending: Ending,
    /// [`TrainingMetrics::commitment`].
    #[n(7)]
    pub metrics: Commitment,
    /// Steps of the optimiser.
    #[n(8)]
    pub steps: u64,
    /// Rows that were learnt from, each counted in each epoch.
    #[n(9)]
    pub rows: u64,
    /// Multiply-accumulates, of validation too.
    #[n(10)]
    pub units: u64,
    /// BLAKE3 of the result as it is handed over, before it is encrypted.
    #[n(11)]
    pub result: Digest,
    /// What was spent of the rows' privacy.
    #[n(12)]
    pub privacy: Option<PrivacySpent>,
    /// [`seed_digest`](Self::seed_digest).
    #[n(13)]
    pub seed: Digest,
    /// Kind of processor that the bits depend on.
    #[n(14)]
    pub processor: String,
    /// Threads that the bits may depend on.
    #[n(15)]
    pub threads: u32,
}

/// An (epsilon, delta) guarantee for each row of the training data.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode,
)]
#[serde(deny_unknown_fields)]
pub struct PrivacySpent {
    /// Rounded up.
    #[n(0)]
    pub epsilon: Real,
    /// As the plan says.
    #[n(1)]
    pub delta: Real,
    /// What the accountant assumed.
    #[n(2)]
    pub sampling: Sampling,
}

impl TrainingRecord {
    /// Largest encoded record that is read: 10,001 digests and the rest.
    pub const MAX_BYTES: usize = 400 << 10;
    /// Most data assets.
    pub const MAX_DATA: usize = crate::Manifest::MAX_CONTRIBUTIONS + 1;
    /// Longest name of a processor, in bytes.
    pub const MAX_PROCESSOR: usize = 128;

    /// What the Work Proof names.
    pub fn digest(&self) -> Digest {
        tagged(b"glacier/training-record/v1\0", &[&cbor::encode(self)])
    }

    /// Reads the encoded form and holds it against itself.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let record: Self = cbor::decode(bytes, Self::MAX_BYTES).map_err(RecordError::Encoding)?;
        record.check()?;
        Ok(record)
    }

    /// Whether the record is one of a run: the chain fits the weights, and the best epoch was there.
    pub fn check(&self) -> Result<(), RecordError> {
        let Some((initial, epochs)) = self.weights.split_first() else { return Err(RecordError::NoEpochs) };
        if epochs.is_empty() {
            return Err(RecordError::NoEpochs);
        }
        if epochs.len() > TrainingPlan::MAX_EPOCHS as usize
            || self.data.is_empty()
            || self.data.len() > Self::MAX_DATA
            || self.processor.len() > Self::MAX_PROCESSOR
        {
            return Err(RecordError::Length);
        }
        if self.chain != Self::chain(*initial, epochs) {
            return Err(RecordError::Chain);
        }
        if self.best == 0 || self.best as usize > epochs.len() {
            return Err(RecordError::Best);
        }
        Ok(())
    }

    /// Whether a run of this plan can have gone as the record says. What follows from plan and data together, such
    /// as the number of rows or the epsilon of sampled ones, takes the data: a replay compares it.
    ///
    /// # Errors
    /// The member that contradicts the plan.
    pub fn fits(&self, plan: &TrainingPlan) -> Result<(), RecordError> {
        let refuse = |holds: bool, member| if holds { Ok(()) } else { Err(RecordError::Plan(member)) };
        let epochs = self.weights.len().saturating_sub(1) as u64;
        let (best, stops) = (u64::from(self.best), plan.early_stopping.map(|stopping| u64::from(stopping.patience)));
        refuse(self.plan == plan.digest(), "plan")?;
        refuse(self.seed == Self::seed_digest(&plan.seed), "seed")?;
        refuse(plan.threads == 0 || self.threads == plan.threads, "threads")?;
        let ended = match self.ending {
            Ending::Completed => epochs == u64::from(plan.epochs),
            Ending::Early => stops.is_some_and(|patience| (patience..u64::from(plan.epochs)).contains(&epochs)),
        };
        refuse(ended, "ending")?;
        refuse(stops.is_some() || best == epochs, "best")?;
        // Every epoch has as many.
        refuse(self.steps > 0 && self.steps.checked_rem(epochs) == Some(0), "steps")?;
        let spent = match (&plan.privacy, &self.privacy) {
            (None, None) => true,
            (Some(privacy), Some(spent)) => {
                let allowed = privacy.max_epsilon.is_none_or(|most| spent.epsilon <= most);
                (spent.delta, spent.sampling) == (privacy.delta, privacy.sampling) && allowed
            }
            _ => false,
        };
        refuse(spent, "privacy")
    }

    /// Over all weights in the order of the file, statistics included: BLAKE3 of their `f32` in little-endian order.
    pub fn weights_digest(weights: &[f32]) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"glacier/weights/v1\0");
        let mut block = [0u8; 4096];
        for values in weights.chunks(block.len() / 4) {
            for (bytes, value) in block.chunks_exact_mut(4).zip(values) {
                bytes.copy_from_slice(&value.to_le_bytes());
            }
            hasher.update(block.get(..values.len().saturating_mul(4)).unwrap_or_default());
        }
        Digest(*hasher.finalize().as_bytes())
    }

    /// First link of the chain.
    pub fn chain_start(initial: Digest) -> Digest {
        tagged(b"glacier/training-chain/v1\0", &[&initial.0])
    }

    /// Link that follows `last` after one more epoch.
    pub fn chain_next(last: Digest, weights: Digest) -> Digest {
        tagged(b"glacier/training-epoch/v1\0", &[&last.0, &weights.0])
    }

    /// Last link over the weights before the first epoch and after each.
    pub fn chain(initial: Digest, epochs: &[Digest]) -> Digest {
        epochs.iter().fold(Self::chain_start(initial), |last, weights| Self::chain_next(last, *weights))
    }

    /// Names the seed. A seed that is a small number can be guessed from it; it is no secret.
    pub fn seed_digest(seed: &Seed) -> Digest {
        tagged(b"glacier/training-seed/v1\0", &[&seed.0])
    }
}

/// A record that contradicts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Not a record in its one encoding.
    #[error("the training record is not well formed: {0}")]
    Encoding(cbor::CborError),
    /// No epoch was trained.
    #[error("the training record has no epoch")]
    NoEpochs,
    /// A list or text is longer than any run makes it.
    #[error("the training record has too many epochs or data sets, or none, or too long a name")]
    Length,
    /// The chain is not that of the weights.
    #[error("the chain of the training record does not lead through its epochs")]
    Chain,
    /// The result is of an epoch that was not trained.
    #[error("the result of the training record is of no epoch in it")]
    Best,
    /// No run of the plan goes like that.
    #[error("the training record contradicts its plan in its {0}")]
    Plan(&'static str),
}

/// How good the model was after each epoch. For the data provider alone.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode)]
#[serde(deny_unknown_fields)]
pub struct TrainingMetrics {
    /// Random: without it, who knows the commitment could try out figures.
    #[n(0)]
    pub salt: Nonce,
    /// In order.
    #[n(1)]
    pub epochs: Vec<EpochMetrics>,
}

/// How good the model was after one epoch.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode)]
#[serde(deny_unknown_fields)]
pub struct EpochMetrics {
    /// From 1.
    #[n(0)]
    pub epoch: u32,
    /// Steps so far.
    #[n(1)]
    pub steps: u64,
    /// Mean loss of the training rows, as the weights were when each was learnt from.
    #[n(2)]
    pub loss: Real,
    /// Measured on the validation rows, the loss first. Empty without such rows. A metric that these rows
    /// do not define (the AUC of one class) is left out.
    #[n(3)]
    pub validation: Vec<Measured>,
}

/// One figure.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode,
)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// Of what.
    #[n(0)]
    pub metric: Metric,
    /// How much.
    #[n(1)]
    pub value: Real,
}

impl EpochMetrics {
    /// The figure of one metric.
    pub fn of(&self, metric: Metric) -> Option<f32> {
        self.validation.iter().find(|measured| measured.metric == metric).map(|measured| measured.value.get())
    }
}

impl TrainingMetrics {
    /// Largest encoded form that is read.
    pub const MAX_BYTES: usize = 2 << 20;

    /// What the record names.
    pub fn commitment(&self) -> Commitment {
        Commitment::to_body(&self.salt, &cbor::encode(&self.epochs))
    }

    /// Reads the encoded form.
    pub fn decode(bytes: &[u8]) -> Result<Self, cbor::CborError> {
        cbor::decode(bytes, Self::MAX_BYTES)
    }
}
