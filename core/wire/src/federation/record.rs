//! What the aggregator states of a federation.

use super::{FederationPlan, tagged};
use crate::{
    cbor,
    id::{Digest, EnclaveId, ProofHash},
    manifest::Manifest,
    training::PrivacySpent,
};
use alloc::vec::Vec;

/// How a model came about in a federation. The Work Proof's `output` is its [`digest`](Self::digest). Who holds the
/// sites' proofs finds each named here; who does not, believes the aggregator's measurement that they were
/// verified.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode)]
#[serde(deny_unknown_fields)]
pub struct FederationRecord {
    /// [`FederationPlan::digest`].
    #[n(0)]
    pub plan: Digest,
    /// The initial model's asset.
    #[n(1)]
    pub model: Digest,
    /// In order.
    #[n(2)]
    pub rounds: Vec<RoundRecord>,
    /// BLAKE3 of the model as it is handed over, before it is encrypted.
    #[n(3)]
    pub result: Digest,
    /// Multiply-adds of the averages. Those of the sites' training stand in the sites' proofs.
    #[n(4)]
    pub units: u64,
}

/// One round.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode)]
#[serde(deny_unknown_fields)]
pub struct RoundRecord {
    /// `TrainingRecord::weights_digest` of the model that the sites got.
    #[n(0)]
    pub before: Digest,
    /// The same of the average.
    #[n(1)]
    pub after: Digest,
    /// What was averaged, in the order of the plan's sites.
    #[n(2)]
    pub updates: Vec<SiteUpdate>,
}

/// One site's update in one round.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode)]
#[serde(deny_unknown_fields)]
pub struct SiteUpdate {
    /// Place of its contribution.
    #[n(0)]
    pub site: u32,
    /// The Work Proof of its training.
    #[n(1)]
    pub proof: ProofHash,
    /// The chip that trained.
    #[n(2)]
    pub enclave_id: EnclaveId,
    /// The data asset.
    #[n(3)]
    pub data: Digest,
    /// Rows that were learnt from, each counted once.
    #[n(4)]
    pub rows: u64,
    /// `TrainingRecord::weights_digest` of its result.
    #[n(5)]
    pub weights: Digest,
    /// What was spent of its rows' privacy in this round. Over rounds, epsilons and deltas add up.
    #[n(6)]
    pub privacy: Option<PrivacySpent>,
}

/// A record that contradicts itself, its plan or its manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FederationRecordError {
    /// It is of another plan or of another initial model.
    #[error("the record is of another plan or initial model")]
    Other,
    /// Not as many rounds as the plan has.
    #[error("the record has not as many rounds as the plan")]
    Rounds,
    /// A round does not begin with the weights in which the one before ended.
    #[error("round {0} does not go on from the one before")]
    Chain(u32),
    /// A round has too few updates, or they are not of the plan's sites, each at most once and in order.
    #[error("the updates of round {0} are not those of a quorum of the plan's sites")]
    Sites(u32),
}

impl FederationRecord {
    /// Largest encoded record that is read.
    pub const MAX_BYTES: usize = 1 << 20;

    /// What the Work Proof names.
    pub fn digest(&self) -> Digest {
        tagged(b"glacier/federation-record/v1\0", &[&cbor::encode(self)])
    }

    /// Whether this is a record of a federation under this manifest and plan.
    ///
    /// # Errors
    /// The first thing that is not.
    pub fn check(&self, manifest: &Manifest, plan: &FederationPlan) -> Result<(), FederationRecordError> {
        if self.plan != manifest.plan || self.model != manifest.model {
            return Err(FederationRecordError::Other);
        }
        if self.rounds.len() as u64 != u64::from(plan.rounds) {
            return Err(FederationRecordError::Rounds);
        }
        let mut last = self.rounds.first().map(|round| round.before);
        for (number, round) in (1u32..).zip(&self.rounds) {
            if last != Some(round.before) {
                return Err(FederationRecordError::Chain(number));
            }
            last = Some(round.after);
            let quorum = round.updates.len() as u64 >= u64::from(plan.quorum);
            let ordered = round.updates.is_sorted_by(|one, next| one.site < next.site);
            if !quorum || !ordered || !round.updates.iter().all(|update| update.fits(manifest, plan)) {
                return Err(FederationRecordError::Sites(number));
            }
        }
        Ok(())
    }
}

impl SiteUpdate {
    /// Whether it is of the site that it names.
    fn fits(&self, manifest: &Manifest, plan: &FederationPlan) -> bool {
        let place = usize::try_from(self.site).unwrap_or(usize::MAX);
        self.rows > 0
            && manifest.contributions.get(place).is_some_and(|set| set.data == self.data)
            && plan.sites.get(place).is_some_and(|seat| seat.enclave_id == self.enclave_id)
    }
}
