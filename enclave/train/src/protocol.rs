//! What enclave and training worker say to each other, in the frames of `glacier_engine::frame`.
//!
//! | from | frame | then |
//! |---|---|---|
//! | enclave | `Train`, an [`Order`] | the model's bytes in chunks, an end; the state's bytes in chunks, an end |
//! | worker | `Ready`, or `Refused` | |
//! | worker | `Pass` of a data set | the enclave sends its bytes in chunks, and an end |
//! | worker | `Progress`, a [`Progress`] | |
//! | worker | `Checkpoint` | the state's bytes in chunks, an end |
//! | worker | `Trained`, a [`Report`] | the refined model's bytes in chunks, an end |

pub use glacier_engine::Limits;
use glacier_wire::{
    Digest, Nonce,
    training::{EpochMetrics, Point, TrainingMetrics, TrainingPlan, TrainingRecord},
};

/// What is to be trained.
#[derive(Debug, Clone, PartialEq, minicbor::Encode, minicbor::Decode)]
pub struct Order {
    /// How.
    #[n(0)]
    pub plan: TrainingPlan,
    /// Within which bounds.
    #[n(1)]
    pub limits: Limits,
    /// The model asset, for the record.
    #[n(2)]
    pub model: Digest,
    /// The data assets in their order, and how many bytes of content each has.
    #[n(3)]
    pub data: Vec<(Digest, u64)>,
    /// Hides the metrics behind the record's commitment to them.
    #[n(4)]
    pub salt: Nonce,
    /// A fresh random key for the noise of a private plan; the state holds it from then on.
    #[n(5)]
    pub noise: Option<Nonce>,
    /// Whether the result is averaged with that of others: classes must mean the same to all.
    #[n(6)]
    pub averaged: bool,
}

/// How training goes since the last time.
#[derive(Debug, Clone, PartialEq, Eq, Default, minicbor::Encode, minicbor::Decode)]
pub struct Progress {
    /// Steps.
    #[n(0)]
    pub points: Vec<Point>,
    /// Epochs that ended.
    #[n(1)]
    pub epochs: Vec<EpochMetrics>,
    /// Steps of one epoch; zero while that is not known.
    #[n(2)]
    pub steps_per_epoch: u64,
}

/// How training went.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Report {
    /// What the Work Proof commits to.
    #[n(0)]
    pub record: TrainingRecord,
    /// Opens the record's commitment to the metrics.
    #[n(1)]
    pub metrics: TrainingMetrics,
}
