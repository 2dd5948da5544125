//! The document that all parties of a job sign.

use crate::{
    cbor,
    eip712::{Domain, StructHasher},
    federation::FederationPlan,
    id::{Address, Commitment, Digest, EnclaveId, ManifestHash, Measurement, Recipient, UnixTime},
    identity::{BadSignature, Signature},
    training::{TrainingPlan, Validation},
};
use alloc::vec::Vec;

/// What a job does. The word stands in the signed document.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode,
)]
#[serde(rename_all = "lowercase")]
#[cbor(index_only)]
#[non_exhaustive]
pub enum Work {
    /// One model over one data set; the labels go to the data provider.
    #[n(0)]
    Inference,
    /// One model that stays loaded and answers many data providers, until `not_after`.
    #[n(1)]
    Deployment,
    /// A developer's own application. With a manifest it is a sandboxed app: a WebAssembly component in the
    /// model's place, which is run over one data set or, where none is named, answers callers until `not_after`.
    #[n(2)]
    App,
    /// One model refined on one or more data sets; the refined model goes to the recipients.
    #[n(3)]
    Training,
    /// One model refined by several sites, each on its own contribution, which stays there; the model of the
    /// last round goes to the recipients.
    #[n(4)]
    Federation,
}

impl Work {
    /// The word that is signed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Deployment => "deployment",
            Self::App => "app",
            Self::Training => "training",
            Self::Federation => "federation",
        }
    }
}

/// What a job may use. Everything is a ceiling; zero allows nothing.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode,
)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes the job's worker may hold at once: model, data window, activations.
    #[n(0)]
    pub memory: u64,
    /// Multiply-accumulates the job may spend; of a sandboxed app, fuel.
    #[n(1)]
    pub units: u64,
    /// How often the model may be run: 1 for a batch job, requests for a deployment.
    #[n(2)]
    pub runs: u64,
    /// The job must have started by then.
    #[n(3)]
    pub not_after: UnixTime,
}

/// Where the Work Proof counts, and what it pays.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode,
)]
#[serde(deny_unknown_fields)]
pub struct Settlement {
    /// EIP-155 chain id.
    #[n(0)]
    pub chain_id: u64,
    /// The WorkLedger; zero while there is none.
    #[n(1)]
    pub ledger: Address,
    /// Who pays.
    #[n(2)]
    pub payer: Address,
    /// What the run pays, in the ledger's smallest unit.
    #[n(3)]
    pub price: u64,
}

/// A further data set of a training job, and whose it is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode,
)]
#[serde(deny_unknown_fields)]
pub struct Contribution {
    /// Owner of the data set.
    #[n(0)]
    pub provider: Address,
    /// The data asset.
    #[n(1)]
    pub data: Digest,
}

/// Who brings which asset, to which code on which chip, for what, within which limits, and who gets the result.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What the job does.
    #[n(0)]
    pub work: Work,
    /// Owner of the data, and the only one who receives results. Zero for a deployment: anyone may call; and
    /// for a federation, whose data sets are all contributions.
    #[n(1)]
    pub data_provider: Address,
    /// Owner of the model.
    #[n(2)]
    pub model_provider: Address,
    /// The data asset. Zero for a deployment: data comes with each request; and for a federation.
    #[n(3)]
    pub data: Digest,
    /// The model asset.
    #[n(4)]
    pub model: Digest,
    /// The code that may run the job.
    #[n(5)]
    pub measurement: Measurement,
    /// The hardware that may run it: the node pin.
    #[n(6)]
    pub enclave_id: EnclaveId,
    /// Whom the result is encrypted to. At least one for a batch job, none for a deployment.
    #[n(7)]
    pub recipients: Vec<Recipient>,
    /// Ceilings.
    #[n(8)]
    pub limits: Limits,
    /// Where and what it pays.
    #[n(9)]
    pub settlement: Settlement,
    /// Random: makes two otherwise equal jobs different.
    #[n(10)]
    pub salt: Digest,
    /// What to carry out: the digest of a [`TrainingPlan`], for a federation of a [`FederationPlan`], for an app
    /// the BLAKE3 of the component itself, which every party can compute that has the file or its source; the
    /// asset's own digest is of its ciphertext. Zero for all other work.
    #[n(11)]
    pub plan: Digest,
    /// Data sets that a training job reads after `data`, in this order; those of a federation's sites. Empty for
    /// all other work.
    #[n(12)]
    pub contributions: Vec<Contribution>,
}

/// A manifest that contradicts itself or lacks a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// A member that this kind of work needs is zero or empty.
    #[error("the manifest names no {0}")]
    Missing(&'static str),
    /// A member that this kind of work has no use for is set.
    #[error("the manifest names a {0} that this kind of work does not take")]
    Superfluous(&'static str),
    /// More recipients than [`Manifest::MAX_RECIPIENTS`].
    #[error("the manifest names too many recipients")]
    TooManyRecipients,
    /// More contributions than [`Manifest::MAX_CONTRIBUTIONS`].
    #[error("the manifest names too many contributions")]
    TooManyContributions,
    /// One data set twice.
    #[error("data set {0} is named twice")]
    Twice(Digest),
    /// The training plan is not there, is not the one that was signed, or cannot be carried out.
    #[error("the training plan {0}")]
    Plan(PlanFault),
    /// A party has not signed.
    #[error("{0} has not signed the manifest")]
    Unsigned(Address),
    /// A signature by nobody the manifest names, or no signature at all.
    #[error("a signature does not belong: {0}")]
    Signature(BadSignature),
}

/// What is wrong with the training plan of a signed manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlanFault {
    /// The manifest names one, and it is not there.
    #[error("that the manifest names is missing")]
    Missing,
    /// Its digest is not the one that was signed.
    #[error("is not the one that was signed")]
    Other,
    /// It contradicts itself, holds out a data set that the manifest does not contribute, or has not a site for
    /// each contribution.
    #[error("contradicts itself, or does not fit the manifest's contributions")]
    Unfit,
}

impl Manifest {
    /// Most recipients of one result.
    pub const MAX_RECIPIENTS: usize = 16;
    /// Most contributions to one training.
    pub const MAX_CONTRIBUTIONS: usize = 16;
    /// Largest encoded manifest that is read.
    pub const MAX_BYTES: usize = 4096;

    /// The EIP-712 type, as wallets show it and contracts hash it.
    pub const TYPE: &str = "Manifest(string work,address dataProvider,address modelProvider,bytes32 data,bytes32 model,\
        bytes32 measurement,bytes32 enclaveId,bytes32[] recipients,uint64 memoryBytes,uint64 units,uint64 runs,uint64 notAfter,\
        address payer,uint64 price,bytes32 salt,bytes32 plan,Contribution[] contributions)\
        Contribution(address provider,bytes32 data)";

    /// What is signed. Two manifests that differ in one bit differ here.
    pub fn hash(&self) -> ManifestHash {
        let hash = StructHasher::new(Self::TYPE)
            .string(self.work.as_str())
            .address(&self.data_provider)
            .address(&self.model_provider)
            .word(&self.data.0)
            .word(&self.model.0)
            .word(&self.measurement.0)
            .word(&self.enclave_id.0)
            .words(self.recipients.iter().map(|recipient| &recipient.0))
            .uint(self.limits.memory)
            .uint(self.limits.units)
            .uint(self.limits.runs)
            .uint(self.limits.not_after.0)
            .address(&self.settlement.payer)
            .uint(self.settlement.price)
            .word(&self.salt.0)
            .word(&self.plan.0)
            .words(&self.contributions.iter().map(Contribution::struct_hash).collect::<Vec<_>>())
            .finish();
        ManifestHash(self.domain().digest(hash))
    }

    /// Where signatures over this manifest and proofs of it count.
    pub fn domain(&self) -> Domain {
        Domain { chain_id: self.settlement.chain_id, verifying_contract: self.settlement.ledger }
    }

    /// Whether the manifest says all that its kind of work needs and nothing it has no use for.
    pub fn check(&self) -> Result<(), ManifestError> {
        let need = |present: bool, what| if present { Ok(()) } else { Err(ManifestError::Missing(what)) };
        let refuse = |present: bool, what| if present { Err(ManifestError::Superfluous(what)) } else { Ok(()) };
        need(!self.measurement.is_zero(), "code measurement")?;
        need(!self.enclave_id.is_zero(), "Enclave ID")?;
        need(!self.settlement.payer.is_zero(), "payer")?;
        need(self.limits.runs > 0, "number of runs")?;
        need(self.limits.memory > 0, "memory limit")?;
        need(self.limits.units > 0, "unit limit")?;
        if self.recipients.len() > Self::MAX_RECIPIENTS {
            return Err(ManifestError::TooManyRecipients);
        }
        if !matches!(self.work, Work::Training | Work::Federation) {
            refuse(!self.plan.is_zero() && self.work != Work::App, "training plan")?;
            refuse(!self.contributions.is_empty(), "contribution")?;
        }
        match self.work {
            Work::Training => {
                need(!self.plan.is_zero(), "training plan")?;
                self.check_contributions()?;
                need(!self.data_provider.is_zero(), "data provider")?;
                need(!self.model_provider.is_zero(), "model provider")?;
                need(!self.data.is_zero(), "data asset")?;
                need(!self.model.is_zero(), "model asset")?;
                need(!self.recipients.is_empty(), "recipient")
            }
            Work::Federation => {
                need(!self.plan.is_zero(), "federation plan")?;
                need(!self.contributions.is_empty(), "contribution")?;
                self.check_contributions()?;
                need(!self.model_provider.is_zero(), "model provider")?;
                need(!self.model.is_zero(), "model asset")?;
                refuse(!self.data_provider.is_zero(), "data provider")?;
                refuse(!self.data.is_zero(), "data asset")?;
                need(!self.recipients.is_empty(), "recipient")
            }
            Work::Inference => {
                need(!self.data_provider.is_zero(), "data provider")?;
                need(!self.model_provider.is_zero(), "model provider")?;
                need(!self.data.is_zero(), "data asset")?;
                need(!self.model.is_zero(), "model asset")?;
                need(!self.recipients.is_empty(), "recipient")
            }
            Work::Deployment => {
                need(!self.model_provider.is_zero(), "model provider")?;
                need(!self.model.is_zero(), "model asset")?;
                refuse(!self.data_provider.is_zero(), "data provider")?;
                refuse(!self.data.is_zero(), "data asset")?;
                refuse(!self.recipients.is_empty(), "recipient")
            }
            Work::App => {
                need(!self.plan.is_zero(), "digest of the app")?;
                need(!self.model_provider.is_zero(), "model provider")?;
                need(!self.model.is_zero(), "model asset")?;
                if self.data.is_zero() {
                    refuse(!self.data_provider.is_zero(), "data provider")?;
                    return refuse(!self.recipients.is_empty(), "recipient");
                }
                need(!self.data_provider.is_zero(), "data provider")?;
                need(!self.recipients.is_empty(), "recipient")
            }
        }
    }

    fn check_contributions(&self) -> Result<(), ManifestError> {
        if self.contributions.len() > Self::MAX_CONTRIBUTIONS {
            return Err(ManifestError::TooManyContributions);
        }
        let mut known = alloc::vec![self.data];
        for Contribution { provider, data } in &self.contributions {
            if provider.is_zero() || data.is_zero() {
                return Err(ManifestError::Missing("contribution's provider or data"));
            }
            if known.contains(data) {
                return Err(ManifestError::Twice(*data));
            }
            known.push(*data);
        }
        Ok(())
    }

    /// Whether it is of something that answers callers, and not of a job with data of its own.
    pub fn is_served(&self) -> bool {
        matches!(self.work, Work::Deployment | Work::App) && self.data.is_zero()
    }

    /// The data sets and their owners, in the order in which the job reads them.
    pub fn data_sets(&self) -> impl Iterator<Item = Contribution> + '_ {
        let first = Contribution { provider: self.data_provider, data: self.data };
        core::iter::once(first).filter(|first| !first.data.is_zero()).chain(self.contributions.iter().copied())
    }

    /// What a proof of this job says went in: the data asset, or [`Commitment::to_data_sets`] of several.
    pub fn input(&self) -> Commitment {
        if self.contributions.is_empty() {
            return self.data.into();
        }
        Commitment::to_data_sets(self.data_sets().map(|set| set.data))
    }

    /// Everybody whose signature is needed, each once.
    pub fn signers(&self) -> Vec<Address> {
        let mut signers = Vec::new();
        let contributors = self.contributions.iter().map(|contribution| contribution.provider);
        for party in [self.data_provider, self.model_provider, self.settlement.payer].into_iter().chain(contributors) {
            if !party.is_zero() && !signers.contains(&party) {
                signers.push(party);
            }
        }
        signers
    }
}

impl Contribution {
    fn struct_hash(&self) -> [u8; 32] {
        StructHasher::new("Contribution(address provider,bytes32 data)")
            .address(&self.provider)
            .word(&self.data.0)
            .finish()
    }
}

/// A manifest with the signatures collected so far.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, minicbor::Encode, minicbor::Decode)]
#[serde(deny_unknown_fields)]
pub struct SignedManifest {
    /// The document.
    #[n(0)]
    pub manifest: Manifest,
    /// Signatures over [`Manifest::hash`], in any order.
    #[n(1)]
    pub signatures: Vec<Signature>,
    /// How to train, where the manifest of a training names a plan: what is signed is its digest.
    #[n(2)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<TrainingPlan>,
    /// The same for a federation.
    #[n(3)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub federation: Option<FederationPlan>,
}

impl SignedManifest {
    /// Largest encoded form that is read.
    pub const MAX_BYTES: usize = FederationPlan::MAX_BYTES + 8192;

    /// Checks the document itself, and that each party signed exactly it.
    pub fn verify(&self) -> Result<ManifestHash, ManifestError> {
        self.manifest.check()?;
        self.check_plan().map_err(ManifestError::Plan)?;
        let hash = self.manifest.hash();
        let signers = self.manifest.signers();
        let mut signed = Vec::new();
        for signature in &self.signatures {
            let signer = signature.recover(&hash.0).map_err(ManifestError::Signature)?;
            // A signature over another manifest recovers to some stranger's address.
            if !signers.contains(&signer) || signed.contains(&signer) {
                let expected = signers.iter().find(|party| !signed.contains(party)).copied().unwrap_or(Address::ZERO);
                return Err(ManifestError::Signature(BadSignature::OtherSigner { expected, found: signer }));
            }
            signed.push(signer);
        }
        match signers.into_iter().find(|party| !signed.contains(party)) {
            Some(party) => Err(ManifestError::Unsigned(party)),
            None => Ok(hash),
        }
    }

    /// Whether the plan is the one that the manifest names, and one that can be followed.
    fn check_plan(&self) -> Result<(), PlanFault> {
        let named = self.manifest.plan;
        let digest = match (self.manifest.work, &self.plan, &self.federation) {
            (Work::Training, Some(plan), None) => plan.digest(),
            (Work::Federation, None, Some(plan)) => plan.digest(),
            (Work::Training | Work::Federation, None, None) => return Err(PlanFault::Missing),
            // The enclave compares it with the component that it opens.
            (Work::App, None, None) => return Ok(()),
            (_, None, None) if named.is_zero() => return Ok(()),
            _ => return Err(PlanFault::Other),
        };
        if digest != named {
            return Err(PlanFault::Other);
        }
        let fit = match (&self.plan, &self.federation) {
            (Some(plan), _) => {
                let held_out = match plan.validation {
                    Validation::Asset(asset) => self.manifest.contributions.iter().any(|set| set.data == asset),
                    _ => true,
                };
                held_out && plan.check().is_ok()
            }
            (_, Some(plan)) => plan.sites.len() == self.manifest.contributions.len() && plan.check().is_ok(),
            (None, None) => false,
        };
        if fit { Ok(()) } else { Err(PlanFault::Unfit) }
    }

    /// Reads the encoded form.
    pub fn decode(bytes: &[u8]) -> Result<Self, cbor::CborError> {
        cbor::decode(bytes, Self::MAX_BYTES)
    }
}
