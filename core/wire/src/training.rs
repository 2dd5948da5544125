//! What the parties of a training job agree on, and what the enclave states of how it went.
//!
//! A [`TrainingPlan`] is what people write, as TOML or flags, and what they sign, by its digest. With the
//! bytes of model and data it fixes the result to the bit, on one kind of processor; a plan with
//! [`Privacy`] does not, because nobody may know its noise. A [`TrainingRecord`] is what the Work Proof
//! commits to; [`TrainingMetrics`] go to the data provider alone.

mod progress;
mod record;
mod value;
mod word;

use crate::{cbor, id::Digest};
use alloc::{format, string::String, vec::Vec};

pub use progress::{Point, Refined, TrainingPage};
pub use record::{EpochMetrics, Measured, PrivacySpent, RecordError, TrainingMetrics, TrainingRecord};
pub use value::{BadSeed, BadValidation, ClassWeights, NotFinite, Real, Seed, Target, Validation};
pub use word::{Ending, LoraResult, Loss, Metric, Optimiser, Sampling, Schedule, Scores, UnknownWord, nearest};

/// How a model is trained. Every member has a default, so an empty document is a plan, but for its `target`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode)]
#[serde(deny_unknown_fields, default)]
pub struct TrainingPlan {
    /// Passes over the data: 1 to 10,000. 10.
    #[n(0)]
    pub epochs: u32,
    /// Rows of one forward and backward pass: 1 to 65,536. 32.
    #[n(1)]
    pub batch: u32,
    /// Batches whose gradients make one step together: 1 to 4,096. 1.
    #[n(2)]
    pub accumulate: u32,
    /// What is made small. Cross-entropy.
    #[n(3)]
    pub loss: Loss,
    /// Whether cross-entropies read logits or probabilities. Told from the graph.
    #[n(4)]
    pub scores: Scores,
    /// Divides the cosines of the contrastive loss: 0.001 to 100. 0.05 where that is the loss.
    #[n(5)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<Real>,
    /// Share of the target that is spread over all classes: 0 to less than 1. 0.
    #[n(6)]
    pub label_smoothing: Real,
    /// How much each class counts. All the same.
    #[n(7)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<ClassWeights>,
    /// What the classes are called in the data, in the order of the outputs. Empty: the targets are numbers from 0.
    #[n(8)]
    pub classes: Vec<String>,
    /// Columns or arrays with the wanted answers. One, for classes; none, for the contrastive loss.
    #[n(9)]
    #[serde(deserialize_with = "value::one_or_more")]
    pub target: Vec<Target>,
    /// Output of the graph that is trained. The only one, else it must be named.
    #[n(10)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// A row is a pair: beside each input there is one whose name goes on with this, and both go through
    /// the graph. For the cosine and the contrastive loss.
    #[n(11)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pair_suffix: Option<String>,
    /// How gradients become steps. Adam.
    #[n(12)]
    pub optimiser: Optimiser,
    /// Of `sgd`: 0 to less than 1. 0.
    #[n(13)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub momentum: Option<Real>,
    /// Of `sgd` with momentum: look ahead. No.
    #[n(14)]
    pub nesterov: bool,
    /// Of `adam` and `adamw`: 0 to less than 1. 0.9.
    #[n(15)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta1: Option<Real>,
    /// Of `adam` and `adamw`: 0 to less than 1. 0.999.
    #[n(16)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta2: Option<Real>,
    /// Of `adam` and `adamw`: more than 0 and at most 1. 1e-8.
    #[n(17)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<Real>,
    /// More than 0 and at most 100. 0.001.
    #[n(18)]
    pub learning_rate: Real,
    /// How the learning rate goes. Constant.
    #[n(19)]
    pub schedule: Schedule,
    /// Steps at the start over which the rate rises from near zero in equal parts. 0.
    #[n(20)]
    pub warmup: u32,
    /// Of `step`: epochs between two falls of the rate: 1 to 10,000.
    #[n(21)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_every: Option<u32>,
    /// Of `step`: what the rate is multiplied with: more than 0 and at most 1. 0.1.
    #[n(22)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_factor: Option<Real>,
    /// 0 to 1. 0. Weights of one dimension (biases, scales of norms) do not decay.
    #[n(23)]
    pub weight_decay: Real,
    /// Gradients of a larger norm are scaled down to this: more than 0.
    #[n(24)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<Real>,
    /// A gradient of a larger norm, before clipping, ends the run: it has exploded. 1e12.
    #[n(25)]
    pub gradient_limit: Real,
    /// Weights that learn, by name; `*` stands for any text. Empty: all.
    #[n(26)]
    pub train: Vec<String>,
    /// Weights that do not learn, even if `train` names them.
    #[n(27)]
    pub freeze: Vec<String>,
    /// Train adapters of low rank instead of the weights themselves.
    #[n(28)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<Lora>,
    /// A number, or 64 hexadecimal digits. 0.
    #[n(29)]
    pub seed: Seed,
    /// At most 256. 0: as many as the worker has processors; the record says how many those were.
    #[n(30)]
    pub threads: u32,
    /// Rows that are shuffled together, in memory, at most 16,777,216; 0 keeps the order of the data. 65,536.
    #[n(31)]
    pub shuffle: u32,
    /// Rows that are not learnt from. A tenth.
    #[n(32)]
    pub validation: Validation,
    /// End when this goes no further.
    #[n(33)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<EarlyStopping>,
    /// What is measured after each epoch. Empty: accuracy for classes, RMSE for numbers.
    #[n(34)]
    pub metrics: Vec<Metric>,
    /// Bring each input column to mean 0 and deviation 1 with what the training rows show; the exported
    /// graph does it itself. No.
    #[n(35)]
    pub standardise: bool,
    /// Differential privacy of each row (DP-SGD).
    #[n(36)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privacy: Option<Privacy>,
    /// Steps between two checkpoints; 0: one after each epoch.
    #[n(37)]
    pub checkpoint_every: u32,
}

/// Adapters of low rank: `W + alpha / rank · A·B` (Hu et al. 2021).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode)]
#[serde(deny_unknown_fields, default)]
pub struct Lora {
    /// Width of the factors: 1 to 1,024. 8.
    #[n(0)]
    pub rank: u32,
    /// Scale, more than 0 and at most 4,096. 16.
    #[n(1)]
    pub alpha: Real,
    /// Weights of two dimensions that get an adapter, by name; `*` stands for any text. Empty: all of them.
    #[n(2)]
    pub targets: Vec<String>,
    /// What comes of it. Merged.
    #[n(3)]
    pub result: LoraResult,
}

/// End when a metric of the validation rows goes no further; the best weights are the result.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode,
)]
#[serde(deny_unknown_fields, default)]
pub struct EarlyStopping {
    /// Which. Loss.
    #[n(0)]
    pub metric: Metric,
    /// Epochs without a better value that are waited for: 1 to 10,000. 5.
    #[n(1)]
    pub patience: u32,
    /// What counts as better: by more than this. 0.
    #[n(2)]
    pub min_delta: Real,
}

/// DP-SGD (Abadi et al. 2016): each row's gradient is clipped, and noise that nobody knows is added to their sum.
///
/// What is private is each row of the training data, against everybody who sees the refined weights. The
/// metrics go to the owner of the rows only and are not noised.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode,
)]
#[serde(deny_unknown_fields)]
pub struct Privacy {
    /// Deviation of the noise, in units of `clip`: 0.1 to 1,000.
    #[n(0)]
    pub noise: Real,
    /// Largest norm of one row's gradient: more than 0.
    #[n(1)]
    pub clip: Real,
    /// Probability that the promise does not hold: more than 0 and at most 0.01. Below one in the number of rows.
    #[n(2)]
    pub delta: Real,
    /// The run is refused if it would spend more.
    #[n(3)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_epsilon: Option<Real>,
    /// How rows come together. Poisson.
    #[n(4)]
    #[serde(default)]
    pub sampling: Sampling,
}

/// A plan that cannot be followed. Each names the member, what it says and what it may say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A number outside its bounds.
    #[error("`{field}` is {found}; {allowed}")]
    Range {
        /// The member.
        field: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        allowed: &'static str,
    },
    /// A list or text that is too long or too short.
    #[error("`{field}` has {found}; {allowed}")]
    Length {
        /// The member.
        field: &'static str,
        /// Its length.
        found: usize,
        /// What it may be.
        allowed: &'static str,
    },
    /// A member that another one has no use for.
    #[error("`{field}` is set; {allowed}")]
    Superfluous {
        /// The member.
        field: &'static str,
        /// With what it goes.
        allowed: &'static str,
    },
    /// A member that another one needs.
    #[error("`{field}` is missing; {needed}")]
    Missing {
        /// The member.
        field: &'static str,
        /// What needs it.
        needed: &'static str,
    },
    /// A word in a place where it makes no sense.
    #[error("`{field}` has `{found}`; {allowed}")]
    Mismatch {
        /// The member.
        field: &'static str,
        /// The word.
        found: &'static str,
        /// With what it goes.
        allowed: &'static str,
    },
    /// The same twice.
    #[error("`{field}` names the same twice, at place {place}")]
    Twice {
        /// The member.
        field: &'static str,
        /// From 0.
        place: usize,
    },
}

impl Default for TrainingPlan {
    fn default() -> Self {
        Self {
            epochs: 10,
            batch: 32,
            accumulate: 1,
            loss: Loss::default(),
            scores: Scores::default(),
            temperature: None,
            label_smoothing: Real::ZERO,
            class_weights: None,
            classes: Vec::new(),
            target: Vec::new(),
            output: None,
            pair_suffix: None,
            optimiser: Optimiser::default(),
            momentum: None,
            nesterov: false,
            beta1: None,
            beta2: None,
            epsilon: None,
            learning_rate: real(0.001),
            schedule: Schedule::default(),
            warmup: 0,
            step_every: None,
            step_factor: None,
            weight_decay: Real::ZERO,
            clip_norm: None,
            gradient_limit: real(1e12),
            train: Vec::new(),
            freeze: Vec::new(),
            lora: None,
            seed: Seed::default(),
            threads: 0,
            shuffle: 1 << 16,
            validation: Validation::Fraction(real(0.1)),
            early_stopping: None,
            metrics: Vec::new(),
            standardise: false,
            privacy: None,
            checkpoint_every: 0,
        }
    }
}

impl Default for Lora {
    fn default() -> Self {
        Self { rank: 8, alpha: real(16.0), targets: Vec::new(), result: LoraResult::default() }
    }
}

impl Default for EarlyStopping {
    fn default() -> Self {
        Self { metric: Metric::Loss, patience: 5, min_delta: Real::ZERO }
    }
}

impl TrainingPlan {
    /// Largest encoded plan that is read.
    pub const MAX_BYTES: usize = 32 << 10;
    /// Most epochs.
    pub const MAX_EPOCHS: u32 = 10_000;
    /// Most classes.
    pub const MAX_CLASSES: usize = 1024;
    /// Most target columns.
    pub const MAX_TARGETS: usize = 64;
    /// Most patterns in one list.
    pub const MAX_PATTERNS: usize = 64;
    /// Longest name or pattern, in bytes.
    pub const MAX_NAME: usize = 256;
    /// The members, as TOML spells them.
    pub const MEMBERS: &[&str] = &[
        "epochs",
        "batch",
        "accumulate",
        "loss",
        "scores",
        "temperature",
        "label_smoothing",
        "class_weights",
        "classes",
        "target",
        "output",
        "pair_suffix",
        "optimiser",
        "momentum",
        "nesterov",
        "beta1",
        "beta2",
        "epsilon",
        "learning_rate",
        "schedule",
        "warmup",
        "step_every",
        "step_factor",
        "weight_decay",
        "clip_norm",
        "gradient_limit",
        "train",
        "freeze",
        "lora",
        "seed",
        "threads",
        "shuffle",
        "validation",
        "early_stopping",
        "metrics",
        "standardise",
        "privacy",
        "checkpoint_every",
    ];

    /// What the manifest names. Two plans that differ in one bit differ here.
    pub fn digest(&self) -> Digest {
        tagged(b"glacier/training-plan/v1\0", &[&cbor::encode(self)])
    }

    /// Reads the encoded form. [`check`](Self::check) it before it is followed.
    pub fn decode(bytes: &[u8]) -> Result<Self, cbor::CborError> {
        cbor::decode(bytes, Self::MAX_BYTES)
    }

    /// Whether a weight of this name learns.
    pub fn trains(&self, name: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, name));
        (self.train.is_empty() || any(&self.train)) && !any(&self.freeze)
    }

    /// Whether a row is a pair.
    pub fn pairs(&self) -> bool {
        self.pair_suffix.is_some()
    }

    /// What is measured after each epoch, defaults filled in.
    pub fn measured(&self) -> Vec<Metric> {
        match self.loss {
            _ if !self.metrics.is_empty() => self.metrics.clone(),
            Loss::CrossEntropy | Loss::Bce => Vec::from([Metric::Accuracy]),
            Loss::Mse | Loss::Mae => Vec::from([Metric::Rmse]),
            Loss::Cosine | Loss::Contrastive => Vec::new(),
        }
    }

    /// Whether the plan can be followed at all; the trainer holds it against model and data besides.
    pub fn check(&self) -> Result<(), PlanError> {
        self.check_numbers()?;
        self.check_loss()?;
        self.check_optimiser()?;
        self.check_names()?;
        self.check_measures()?;
        self.check_privacy()?;
        // What each list may hold by itself is more than all may hold together.
        let bytes = cbor::encode(self).len();
        if bytes > Self::MAX_BYTES {
            return Err(PlanError::Length { field: "plan", found: bytes, allowed: "at most 32 KiB are read" });
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<(), PlanError> {
        whole("epochs", self.epochs, 1..=Self::MAX_EPOCHS, "1 to 10000 are allowed")?;
        whole("batch", self.batch, 1..=65_536, "1 to 65536 rows are allowed")?;
        whole("accumulate", self.accumulate, 1..=4096, "1 to 4096 batches are allowed")?;
        whole("threads", self.threads, 0..=256, "0 (the worker's own choice) to 256 are allowed")?;
        whole("shuffle", self.shuffle, 0..=1 << 24, "0 (keep the order) to 16777216 rows are allowed")?;
        whole("warmup", self.warmup, 0..=100_000_000, "0 to 100000000 steps are allowed")?;
        whole("checkpoint_every", self.checkpoint_every, 0..=100_000_000, "0 to 100000000 steps are allowed")?;
        let rate = self.learning_rate;
        within("learning_rate", rate, |rate| rate > 0.0 && rate <= 100.0, "more than 0 and at most 100 is allowed")?;
        within("weight_decay", self.weight_decay, |decay| (0.0..=1.0).contains(&decay), "0 to 1 is allowed")?;
        // Each step takes this share of a weight away: with more than all of it, weights grow without end.
        let shrinks = |decay| decay * rate.get() <= 1.0;
        within("weight_decay", self.weight_decay, shrinks, "times `learning_rate` it is at most 1")?;
        let limit = self.gradient_limit;
        within(
            "gradient_limit",
            limit,
            |limit| limit > 0.0 && limit <= 1e15,
            "more than 0 and at most 1e15 is allowed",
        )?;
        if let Some(norm) = self.clip_norm {
            within("clip_norm", norm, |norm| norm > 0.0, "more than 0 is allowed")?;
        }
        if let Validation::Fraction(share) = self.validation {
            let allowed = "more than 0 and at most 0.5 is allowed, or `none`";
            within("validation", share, |share| share > 0.0 && share <= 0.5, allowed)?;
        }
        Ok(())
    }

    fn check_loss(&self) -> Result<(), PlanError> {
        let classifies = self.loss.classifies();
        let smoothing = self.label_smoothing;
        within("label_smoothing", smoothing, |share| (0.0..1.0).contains(&share), "0 to less than 1 is allowed")?;
        only(smoothing > Real::ZERO, classifies, "label_smoothing", "it goes with the losses cross-entropy and bce")?;
        let weighs = "they go with the losses cross-entropy and bce";
        only(self.class_weights.is_some(), classifies, "class_weights", weighs)?;
        only(!self.classes.is_empty(), classifies, "classes", weighs)?;
        only(self.scores != Scores::Auto, classifies, "scores", weighs)?;
        let contrasts = self.loss == Loss::Contrastive;
        only(self.temperature.is_some(), contrasts, "temperature", "it goes with the loss contrastive")?;
        if let Some(temperature) = self.temperature {
            within("temperature", temperature, |t| (0.001..=100.0).contains(&t), "0.001 to 100 is allowed")?;
        }
        let by_pairs = "it goes with the losses cosine and contrastive";
        only(self.pairs(), contrasts || self.loss == Loss::Cosine, "pair_suffix", by_pairs)?;
        need(!contrasts || self.pairs(), "pair_suffix", "the loss contrastive compares pairs of rows")?;
        if contrasts {
            // It compares each with each.
            whole("batch", self.batch, 2..=4096, "the loss contrastive takes 2 to 4096 pairs")?;
        }
        only(!self.target.is_empty(), !contrasts, "target", "the loss contrastive knows pairs and no targets")?;
        need(contrasts || !self.target.is_empty(), "target", "every loss but contrastive needs one")?;
        if let Some(ClassWeights::List(weights)) = &self.class_weights {
            let expected = if self.loss == Loss::Bce { 2 } else { self.classes.len() };
            if weights.is_empty() || weights.len() > Self::MAX_CLASSES || expected > 0 && weights.len() != expected {
                let (field, found) = ("class_weights", weights.len());
                return Err(PlanError::Length { field, found, allowed: "one for each class is needed" });
            }
            for weight in weights {
                within("class_weights", *weight, |w| (0.0..=1e6).contains(&w), "0 to 1000000 is allowed")?;
            }
            if weights.iter().all(|weight| *weight == Real::ZERO) {
                let found = text(Real::ZERO);
                return Err(PlanError::Range { field: "class_weights", found, allowed: "one must be more than 0" });
            }
        }
        Ok(())
    }

    fn check_optimiser(&self) -> Result<(), PlanError> {
        let sgd = self.optimiser == Optimiser::Sgd;
        only(self.momentum.is_some(), sgd, "momentum", "it goes with the optimiser sgd")?;
        only(self.nesterov, sgd, "nesterov", "it goes with the optimiser sgd")?;
        let momentum = self.momentum.unwrap_or(Real::ZERO);
        need(!self.nesterov || momentum > Real::ZERO, "momentum", "`nesterov` looks along it")?;
        within("momentum", momentum, below_one, "0 to less than 1 is allowed")?;
        for (field, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            only(beta.is_some(), !sgd, field, "it goes with the optimisers adam and adamw")?;
            within(field, beta.unwrap_or(Real::ZERO), below_one, "0 to less than 1 is allowed")?;
        }
        only(self.epsilon.is_some(), !sgd, "epsilon", "it goes with the optimisers adam and adamw")?;
        let epsilon = self.epsilon.unwrap_or(Real::ONE);
        within("epsilon", epsilon, |e| e > 0.0 && e <= 1.0, "more than 0 and at most 1 is allowed")?;
        let steps = self.schedule == Schedule::Step;
        only(self.step_every.is_some(), steps, "step_every", "it goes with the schedule step")?;
        only(self.step_factor.is_some(), steps, "step_factor", "it goes with the schedule step")?;
        need(!steps || self.step_every.is_some(), "step_every", "the schedule step needs it")?;
        whole("step_every", self.step_every.unwrap_or(1), 1..=Self::MAX_EPOCHS, "1 to 10000 epochs are allowed")?;
        let factor = self.step_factor.unwrap_or(Real::ONE);
        within("step_factor", factor, |f| f > 0.0 && f <= 1.0, "more than 0 and at most 1 is allowed")
    }

    fn check_names(&self) -> Result<(), PlanError> {
        names("classes", &self.classes, Self::MAX_CLASSES, "2 to 1024 names of 1 to 256 bytes are allowed")?;
        if self.classes.len() == 1 || self.loss == Loss::Bce && self.classes.len() > 2 {
            let (field, found) = ("classes", self.classes.len());
            return Err(PlanError::Length { field, found, allowed: "bce has two classes, cross-entropy two or more" });
        }
        if let Some(place) = twice(&self.classes) {
            return Err(PlanError::Twice { field: "classes", place });
        }
        let allowed = "at most 64 patterns of 1 to 256 bytes are allowed";
        names("train", &self.train, Self::MAX_PATTERNS, allowed)?;
        names("freeze", &self.freeze, Self::MAX_PATTERNS, allowed)?;
        for (field, name) in [("output", &self.output), ("pair_suffix", &self.pair_suffix)] {
            names(field, name.as_slice(), 1, "1 to 256 bytes are allowed")?;
        }
        let targets = if self.loss == Loss::CrossEntropy { 1 } else { Self::MAX_TARGETS };
        if self.target.len() > targets {
            let allowed = "cross-entropy takes one, other losses at most 64";
            return Err(PlanError::Length { field: "target", found: self.target.len(), allowed });
        }
        for target in &self.target {
            if let Target::Name(name) = target {
                names("target", core::slice::from_ref(name), 1, "1 to 256 bytes are allowed")?;
            }
        }
        if let Some(place) = twice(&self.target) {
            return Err(PlanError::Twice { field: "target", place });
        }
        if let Some(lora) = &self.lora {
            whole("lora.rank", lora.rank, 1..=1024, "1 to 1024 is allowed")?;
            let allowed = "more than 0 and at most 4096 is allowed";
            within("lora.alpha", lora.alpha, |alpha| alpha > 0.0 && alpha <= 4096.0, allowed)?;
            names(
                "lora.targets",
                &lora.targets,
                Self::MAX_PATTERNS,
                "at most 64 patterns of 1 to 256 bytes are allowed",
            )?;
        }
        match self.validation {
            Validation::Asset(asset) => need(!asset.is_zero(), "validation", "the asset has a digest"),
            _ => Ok(()),
        }
    }

    fn check_measures(&self) -> Result<(), PlanError> {
        if self.metrics.len() > Metric::WORDS.len() {
            let found = self.metrics.len();
            return Err(PlanError::Length { field: "metrics", found, allowed: "each metric is named once" });
        }
        if let Some(place) = twice(&self.metrics) {
            return Err(PlanError::Twice { field: "metrics", place });
        }
        for metric in &self.metrics {
            self.check_metric("metrics", *metric)?;
        }
        let Some(stopping) = self.early_stopping else { return Ok(()) };
        self.check_metric("early_stopping.metric", stopping.metric)?;
        whole("early_stopping.patience", stopping.patience, 1..=Self::MAX_EPOCHS, "1 to 10000 epochs are allowed")?;
        within("early_stopping.min_delta", stopping.min_delta, |delta| delta >= 0.0, "0 or more is allowed")?;
        need(self.validation != Validation::None, "validation", "`early_stopping` watches the validation rows")
    }

    fn check_metric(&self, field: &'static str, metric: Metric) -> Result<(), PlanError> {
        let found = metric.as_str();
        match metric {
            Metric::Loss => Ok(()),
            Metric::Accuracy | Metric::F1 | Metric::Auc if self.loss.classifies() => Ok(()),
            Metric::Accuracy | Metric::F1 | Metric::Auc => {
                Err(PlanError::Mismatch { field, found, allowed: "it goes with the losses cross-entropy and bce" })
            }
            Metric::R2 | Metric::Rmse if matches!(self.loss, Loss::Mse | Loss::Mae) => Ok(()),
            Metric::R2 | Metric::Rmse => {
                Err(PlanError::Mismatch { field, found, allowed: "it goes with the losses mse and mae" })
            }
        }
    }

    fn check_privacy(&self) -> Result<(), PlanError> {
        let Some(privacy) = self.privacy else { return Ok(()) };
        within("privacy.noise", privacy.noise, |noise| (0.1..=1000.0).contains(&noise), "0.1 to 1000 is allowed")?;
        within(
            "privacy.clip",
            privacy.clip,
            |clip| clip > 0.0 && clip <= 1e6,
            "more than 0 and at most 1e6 is allowed",
        )?;
        let allowed = "more than 0 and at most 0.01 is allowed";
        within("privacy.delta", privacy.delta, |delta| delta > 0.0 && delta <= 0.01, allowed)?;
        if let Some(epsilon) = privacy.max_epsilon {
            within("privacy.max_epsilon", epsilon, |epsilon| epsilon > 0.0, "more than 0 is allowed")?;
        }
        // Each of these lets rows speak past the noise.
        let refuse = |set: bool, field, allowed| only(set, false, field, allowed);
        let balanced = self.class_weights == Some(ClassWeights::Balanced);
        refuse(balanced, "class_weights", "with `privacy` the counts of classes may not be used: give a list")?;
        refuse(self.standardise, "standardise", "with `privacy` the columns' means may not be exported")?;
        refuse(self.early_stopping.is_some(), "early_stopping", "with `privacy` rows may not choose the epoch")?;
        let contrasts = "with `privacy` each row must have a gradient of its own, without the others of its batch";
        refuse(self.loss == Loss::Contrastive, "loss", contrasts)?;
        refuse(self.clip_norm.is_some(), "clip_norm", "with `privacy` gradients are clipped by `privacy.clip`")?;
        let one = "with `privacy` a step is one batch";
        if self.accumulate > 1 {
            return Err(PlanError::Range { field: "accumulate", found: text(self.accumulate), allowed: one });
        }
        Ok(())
    }
}

/// Whether `name` is what `pattern` says; `*` stands for any text, also none.
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        // The first place is as good as any: a later one leaves less for the parts that follow.
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    true
}

/// BLAKE3 over a tag, which ends in a zero byte, and parts of fixed or self-delimiting length.
fn tagged(tag: &[u8], parts: &[&[u8]]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(tag);
    for part in parts {
        hasher.update(part);
    }
    Digest(*hasher.finalize().as_bytes())
}

fn whole(
    field: &'static str,
    found: u32,
    range: core::ops::RangeInclusive<u32>,
    allowed: &'static str,
) -> Result<(), PlanError> {
    if range.contains(&found) { Ok(()) } else { Err(PlanError::Range { field, found: text(found), allowed }) }
}

fn within(
    field: &'static str,
    found: Real,
    fits: impl Fn(f32) -> bool,
    allowed: &'static str,
) -> Result<(), PlanError> {
    if fits(found.get()) { Ok(()) } else { Err(PlanError::Range { field, found: text(found), allowed }) }
}

fn below_one(value: f32) -> bool {
    (0.0..1.0).contains(&value)
}

fn only(set: bool, has_use: bool, field: &'static str, allowed: &'static str) -> Result<(), PlanError> {
    if set && !has_use { Err(PlanError::Superfluous { field, allowed }) } else { Ok(()) }
}

fn need(there: bool, field: &'static str, needed: &'static str) -> Result<(), PlanError> {
    if there { Ok(()) } else { Err(PlanError::Missing { field, needed }) }
}

fn names(field: &'static str, names: &[String], max: usize, allowed: &'static str) -> Result<(), PlanError> {
    if names.len() > max {
        return Err(PlanError::Length { field, found: names.len(), allowed });
    }
    match names.iter().find(|name| name.is_empty() || name.len() > TrainingPlan::MAX_NAME) {
        Some(name) => Err(PlanError::Length { field, found: name.len(), allowed }),
        None => Ok(()),
    }
}

/// Place of the first that was there before. Lists are short.
fn twice<T: PartialEq>(list: &[T]) -> Option<usize> {
    list.iter().enumerate().find(|(place, item)| list.iter().take(*place).any(|other| other == *item)).map(|(p, _)| p)
}

fn text(value: impl core::fmt::Display) -> String {
    format!("{value}")
}

/// A constant of ours.
fn real(value: f32) -> Real {
    Real::new(value).unwrap_or(Real::ZERO)
}

#[cfg(test)]
mod tests;
