//! One model trained by several sites, each on data that never leaves it.
//!
//! The parties sign one manifest ([`Work::Federation`](crate::Work)) that names a [`FederationPlan`]. An
//! *aggregator* enclave holds the model. In each round it seals the model to the enclave of every site,
//! each site trains it under a manifest of its own ([`FederationPlan::site_manifest`]), sealed back to the
//! aggregator, and the aggregator averages. Enclaves have no network: what they say to each other is
//! carried by the sites' clients, and each knows the other by its [`Credential`].

mod record;

use crate::{
    cbor,
    eip712::{Domain, StructHasher},
    evidence::Evidence,
    id::{Address, Digest, EnclaveId, ManifestHash, Measurement, Recipient, RootFingerprint},
    identity::Signature,
    manifest::{Manifest, SignedManifest, Work},
    training::{LoraResult, PlanError, Seed, TrainingPlan, Validation},
};
use alloc::vec::Vec;

pub use record::{FederationRecord, FederationRecordError, RoundRecord, SiteUpdate};

/// How sites train one model together. What the parties sign is its digest.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode)]
#[serde(deny_unknown_fields)]
pub struct FederationPlan {
    /// How often the sites' weights are averaged: 1 to 256.
    #[n(0)]
    pub rounds: u32,
    /// What each site does in each round: see [`of_round`](Self::of_round).
    #[n(1)]
    pub local: TrainingPlan,
    /// Sites without which no round ends: 1 to all.
    #[n(2)]
    pub quorum: u32,
    /// Seconds that a round waits for the other sites after its first update: at most a week.
    #[n(3)]
    pub patience: u32,
    /// How much each site counts.
    #[n(4)]
    #[serde(default)]
    pub weighting: Weighting,
    /// The enclave that averages.
    #[n(5)]
    pub aggregator: Seat,
    /// Where each contribution of the manifest is trained on, in the order of the contributions.
    #[n(6)]
    pub sites: Vec<Seat>,
}

/// How much a site counts in the average.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode,
)]
#[serde(rename_all = "lowercase")]
#[cbor(index_only)]
pub enum Weighting {
    /// As its rows that are learnt from.
    #[default]
    #[n(0)]
    Rows,
    /// As much as any other.
    #[n(1)]
    Equal,
}

/// The one enclave that may act in a part of a federation: its code and its chip.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode)]
#[serde(deny_unknown_fields)]
pub struct Seat {
    /// The code.
    #[n(0)]
    pub measurement: Measurement,
    /// The chip.
    #[n(1)]
    pub enclave_id: EnclaveId,
    /// Roots of simulated platforms that vouch for it. Empty: hardware alone does.
    #[n(2)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub simulated_roots: Vec<RootFingerprint>,
}

/// A plan of a federation that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FederationError {
    /// A number outside its bounds.
    #[error("`{field}` is {found}; {allowed}")]
    Range {
        /// The member.
        field: &'static str,
        /// Its value.
        found: u64,
        /// What it may be.
        allowed: &'static str,
    },
    /// What a site is to do cannot be done.
    #[error("`local`: {0}")]
    Local(PlanError),
    /// What a site is to do gives no weights that can be averaged.
    #[error("`local` sets `{field}`; {why}")]
    Unaveraged {
        /// The member.
        field: &'static str,
        /// Why not.
        why: &'static str,
    },
    /// No code or no chip.
    #[error("{0} names no code or no chip")]
    Seat(&'static str),
}

impl FederationPlan {
    /// Largest encoded plan that is read.
    pub const MAX_BYTES: usize = TrainingPlan::MAX_BYTES + (16 << 10);
    /// Most rounds.
    pub const MAX_ROUNDS: u32 = 256;
    /// Longest patience: a week.
    pub const MAX_PATIENCE: u32 = 7 * 24 * 60 * 60;

    /// What the manifest names. Two plans that differ in one bit differ here.
    pub fn digest(&self) -> Digest {
        tagged(b"glacier/federation-plan/v1\0", &[&cbor::encode(self)])
    }

    /// Whether the plan can be followed by a federation of as many contributions as it has sites.
    ///
    /// # Errors
    /// The first member that is wrong.
    pub fn check(&self) -> Result<(), FederationError> {
        let sites = self.sites.len() as u64;
        within("rounds", self.rounds, 1..=u64::from(Self::MAX_ROUNDS), "1 to 256 are allowed")?;
        within("sites", sites, 1..=Manifest::MAX_CONTRIBUTIONS as u64, "1 to 16 are allowed")?;
        within("quorum", self.quorum, 1..=sites, "1 to all of the sites are allowed")?;
        within("patience", self.patience, 0..=u64::from(Self::MAX_PATIENCE), "at most a week is allowed")?;
        self.local.check().map_err(FederationError::Local)?;
        self.check_local()?;
        for (seat, whose) in
            self.sites.iter().zip(core::iter::repeat("a site")).chain([(&self.aggregator, "the aggregator")])
        {
            if seat.measurement.is_zero() || seat.enclave_id.is_zero() {
                return Err(FederationError::Seat(whose));
            }
            let roots = seat.simulated_roots.len() as u64;
            within("simulated_roots", roots, 0..=Seat::MAX_ROOTS, "at most 4 are allowed")?;
        }
        Ok(())
    }

    fn check_local(&self) -> Result<(), FederationError> {
        let refuse = |set: bool, field, why| if set { Err(FederationError::Unaveraged { field, why }) } else { Ok(()) };
        let columns = "each site would fit its own columns, and the graphs would differ: standardise the initial model";
        refuse(self.local.standardise, "standardise", columns)?;
        let adapter = self.local.lora.as_ref().is_some_and(|lora| lora.result == LoraResult::Adapter);
        refuse(adapter, "lora.result", "the adapters of the sites start differently: merge them")?;
        let held_out = matches!(self.local.validation, Validation::Asset(_));
        refuse(held_out, "validation", "a site has one data set: give a share of its rows, or none")
    }

    /// What every site does in a round, from 1: the local plan, with a seed of the round. Where a share of the rows
    /// is held out the seed stays: it says which rows, and what is held out once must be held out always.
    pub fn of_round(&self, round: u32) -> TrainingPlan {
        if matches!(self.local.validation, Validation::Fraction(_)) {
            return self.local.clone();
        }
        let seed = tagged(b"glacier/federation-seed/v1\0", &[&self.local.seed.0, &round.to_le_bytes()]);
        TrainingPlan { seed: Seed(seed.0), ..self.local.clone() }
    }

    /// The manifest of one site's training in one round: all of it follows from what the parties signed, the
    /// keys of the aggregator, and the model asset of the round. Aggregator and site come to the same one each
    /// by itself; `None` where there is no such site.
    pub fn site_manifest(&self, federation: &Manifest, errand: &Errand) -> Option<Manifest> {
        let place = usize::try_from(errand.site).ok()?;
        let (contribution, seat) = (federation.contributions.get(place)?, self.sites.get(place)?);
        let hash = federation.hash();
        let mut manifest = Manifest {
            work: Work::Training,
            data_provider: contribution.provider,
            model_provider: errand.aggregator,
            data: contribution.data,
            model: errand.model,
            measurement: seat.measurement,
            enclave_id: seat.enclave_id,
            recipients: Vec::from([errand.recipient]),
            limits: federation.limits,
            settlement: federation.settlement,
            salt: tagged(b"glacier/federation-round/v1\0", &[&hash.0, &errand.round.to_le_bytes()]),
            plan: self.of_round(errand.round).digest(),
            contributions: Vec::new(),
        };
        manifest.limits.runs = 1;
        // What the federation pays is paid once, for its own proof.
        (manifest.settlement.payer, manifest.settlement.price) = (contribution.provider, 0);
        Some(manifest)
    }
}

impl Seat {
    /// Most simulated roots.
    pub const MAX_ROOTS: u64 = 4;
}

/// One site's part in one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errand {
    /// From 1.
    pub round: u32,
    /// Place of its contribution.
    pub site: u32,
    /// The aggregator's key.
    pub aggregator: Address,
    /// Whom the site's result is sealed to: the aggregator.
    pub recipient: Recipient,
    /// The model of the round, sealed to the site's enclave.
    pub model: Digest,
}

/// Who an enclave is, to be shown by people to other enclaves: evidence of its keys, and an age recipient
/// whose secret lives in its memory only. Appraised by `glacier_proof::AttestedPeer`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// As in the channel: it commits to the enclave key.
    #[n(0)]
    pub evidence: Evidence,
    /// Files sealed to this are for that enclave, until it ends.
    #[n(1)]
    pub recipient: Recipient,
    /// By the enclave key, over [`digest`](Self::digest).
    #[n(2)]
    pub signature: Signature,
}

impl Credential {
    /// Largest encoded credential that is read.
    pub const MAX_BYTES: usize = Evidence::MAX_BYTES + 1024;
    /// The EIP-712 type of what the enclave signs, in a domain without chain or contract.
    pub const TYPE: &str = "EnclaveRecipient(bytes32 recipient)";

    /// What the enclave signs.
    pub fn digest(recipient: &Recipient) -> [u8; 32] {
        let domain = Domain { chain_id: 0, verifying_contract: Address::ZERO };
        domain.digest(StructHasher::new(Self::TYPE).word(&recipient.0).finish())
    }
}

/// Comes with a site's [`Join`](crate::api::Join) to its own enclave: why a model that nobody releases a key for
/// may be trained here. The site's enclave checks all of it.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Membership {
    /// Signed by all parties.
    #[n(0)]
    pub federation: SignedManifest,
    /// From 1.
    #[n(1)]
    pub round: u32,
    /// Place of the site's contribution.
    #[n(2)]
    pub site: u32,
    /// Of the aggregator.
    #[n(3)]
    pub aggregator: Credential,
}

impl Membership {
    /// Largest encoded form that is read.
    pub const MAX_BYTES: usize = SignedManifest::MAX_BYTES + Credential::MAX_BYTES + 64;
}

/// `GET /glacier/v1/jobs/{manifest}/federation`, for every party.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode)]
pub struct FederationStatus {
    /// Which federation.
    #[n(0)]
    pub manifest: ManifestHash,
    /// The round under way, from 1; one more than there are once all have closed.
    #[n(1)]
    pub round: u32,
    /// Rounds of the plan.
    #[n(2)]
    pub rounds: u32,
    /// Sites whose update of this round is there, by the places of their contributions.
    #[n(3)]
    pub delivered: Vec<u32>,
    /// Whether the round's patience is over: it closes with the update that makes the quorum.
    #[n(4)]
    pub overdue: bool,
    /// The sealed model, once the last round has closed and it is proved.
    #[n(5)]
    pub result: Option<Digest>,
    /// The newest checkpoint that the host has said it keeps.
    #[n(6)]
    pub checkpoint: u64,
}

/// Answer to `POST /glacier/v1/jobs/{manifest}/round`, whose body is the [`Credential`] of the caller's own
/// enclave.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Offer {
    /// How far the federation is.
    #[n(0)]
    pub status: FederationStatus,
    /// What the site is to do; absent while it has nothing to do.
    #[n(1)]
    pub task: Option<Task>,
}

/// One site's part in one round, as the aggregator hands it out.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Task {
    /// From 1.
    #[n(0)]
    pub round: u32,
    /// Place of the site's contribution.
    #[n(1)]
    pub site: u32,
    /// [`FederationPlan::site_manifest`], signed by the aggregator alone. Its model is the sealed file at the
    /// aggregator's host.
    #[n(2)]
    pub manifest: SignedManifest,
    /// Of the aggregator.
    #[n(3)]
    pub aggregator: Credential,
}

impl Offer {
    /// Largest encoded form that is read.
    pub const MAX_BYTES: usize = Membership::MAX_BYTES + 4096;
}

/// `POST /glacier/v1/jobs/{manifest}/update`: a site's result of a round.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct Delivery {
    /// `glacier_proof::Bundle` of the site's training, encoded.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub bundle: Vec<u8>,
    /// The sealed result, at the aggregator's host.
    #[n(1)]
    pub asset: Digest,
}

fn within(
    field: &'static str,
    found: impl Into<u64>,
    range: core::ops::RangeInclusive<u64>,
    allowed: &'static str,
) -> Result<(), FederationError> {
    let found = found.into();
    if range.contains(&found) { Ok(()) } else { Err(FederationError::Range { field, found, allowed }) }
}

/// BLAKE3 over a tag, which ends in a zero byte, and parts of which at most the last has no fixed length.
fn tagged(tag: &[u8], parts: &[&[u8]]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(tag);
    for part in parts {
        hasher.update(part);
    }
    Digest(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests;
