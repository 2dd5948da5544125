//! The job as a document: proposed by one party, signed by all, passed around as a JSON file.

use crate::file::{self, FileError, NewFile};
use glacier_wire::{
    Address, BadSignature, Contribution, Digest, EnclaveId, Identity, Limits, Manifest, ManifestError, ManifestHash,
    Measurement, Recipient, Settlement, SignedManifest, UnixTime, Work, federation::FederationPlan,
    training::TrainingPlan,
};
use std::path::Path;

/// A job document that cannot be read, signed or merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// Not a job document: not JSON of that shape, or larger than one can be.
    #[error("not a job document")]
    Malformed,
    /// The manifest contradicts itself or a signature is missing or strange.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The manifest does not name this key.
    #[error("the manifest does not name {0}")]
    NotNamed(Address),
    /// Two documents that should be one job differ.
    #[error("the documents are two different jobs")]
    OtherJob,
    /// The operating system has no randomness.
    #[error("the operating system gives no random bytes")]
    Random,
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A manifest and the signatures collected so far. Every change is checked: a document in memory is
/// consistent, though not yet signed by all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    signed: SignedManifest,
}

/// What a job must say. The rest has defaults that [`Job::propose`] fills in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// What is done.
    pub work: Work,
    /// Owner of the data; zero for a deployment.
    pub data_provider: Address,
    /// Owner of the model.
    pub model_provider: Address,
    /// The sealed data; zero for a deployment.
    pub data: Digest,
    /// The sealed model.
    pub model: Digest,
    /// The code that may run it.
    pub measurement: Measurement,
    /// The one chip that may run it.
    pub enclave_id: EnclaveId,
    /// Who can open the result.
    pub recipients: Vec<Recipient>,
    /// Ceilings.
    pub limits: Limits,
    /// Where and what it pays. A zero payer is replaced by the data provider, or where there is none the model provider.
    pub settlement: Settlement,
    /// How to train; for training alone.
    pub plan: Option<TrainingPlan>,
    /// How sites train together; for a federation alone.
    pub federation: Option<FederationPlan>,
    /// Further data sets of a training; those of a federation's sites.
    pub contributions: Vec<Contribution>,
    /// The BLAKE3 of an app's component ([`code_digest`](crate::component::code_digest)); zero for all other work.
    pub code: Digest,
}

impl Draft {
    /// Bytes the worker may hold, when nobody says otherwise.
    pub const MEMORY: u64 = 1 << 30;
    /// Multiply-accumulates a job may spend, when nobody says otherwise.
    pub const UNITS: u64 = 1 << 44;
    /// Requests a deployment answers, when nobody says otherwise.
    pub const RUNS: u64 = 1 << 20;

    /// One model over one data set.
    pub fn inference(
        data: (Address, Digest),
        model: (Address, Digest),
        place: (Measurement, EnclaveId),
        recipients: Vec<Recipient>,
        not_after: UnixTime,
    ) -> Self {
        Self {
            work: Work::Inference,
            data_provider: data.0,
            model_provider: model.0,
            data: data.1,
            model: model.1,
            measurement: place.0,
            enclave_id: place.1,
            recipients,
            limits: Limits { memory: Self::MEMORY, units: Self::UNITS, runs: 1, not_after },
            settlement: free_of_charge(),
            plan: None,
            federation: None,
            contributions: Vec::new(),
            code: Digest::ZERO,
        }
    }

    /// One model refined on one data set, or on several.
    pub fn training(
        data: (Address, Digest),
        model: (Address, Digest),
        plan: TrainingPlan,
        place: (Measurement, EnclaveId),
        recipients: Vec<Recipient>,
        not_after: UnixTime,
    ) -> Self {
        let inference = Self::inference(data, model, place, recipients, not_after);
        Self { work: Work::Training, plan: Some(plan), ..inference }
    }

    /// One model refined by several sites, each on its own contribution, at the seats that the plan names.
    pub fn federation(
        model: (Address, Digest),
        contributions: Vec<Contribution>,
        plan: FederationPlan,
        recipients: Vec<Recipient>,
        not_after: UnixTime,
    ) -> Self {
        let place = (plan.aggregator.measurement, plan.aggregator.enclave_id);
        let none = (Address::ZERO, Digest::ZERO);
        let inference = Self::inference(none, model, place, recipients, not_after);
        Self { work: Work::Federation, federation: Some(plan), contributions, ..inference }
    }

    /// One sandboxed app over one data set: `code` is the digest of its component, `app` whose it is and the sealed
    /// file.
    pub fn app(
        data: (Address, Digest),
        app: (Address, Digest),
        code: Digest,
        place: (Measurement, EnclaveId),
        recipients: Vec<Recipient>,
        not_after: UnixTime,
    ) -> Self {
        Self { work: Work::App, code, ..Self::inference(data, app, place, recipients, not_after) }
    }

    /// One sandboxed app that answers many.
    pub fn app_deployment(
        app: (Address, Digest),
        code: Digest,
        place: (Measurement, EnclaveId),
        not_after: UnixTime,
    ) -> Self {
        Self { work: Work::App, code, ..Self::deployment(app, place, not_after) }
    }

    /// One model that answers many.
    pub fn deployment(model: (Address, Digest), place: (Measurement, EnclaveId), not_after: UnixTime) -> Self {
        Self {
            work: Work::Deployment,
            data_provider: Address::ZERO,
            model_provider: model.0,
            data: Digest::ZERO,
            model: model.1,
            measurement: place.0,
            enclave_id: place.1,
            recipients: Vec::new(),
            limits: Limits { memory: Self::MEMORY, units: Self::UNITS, runs: Self::RUNS, not_after },
            settlement: free_of_charge(),
            plan: None,
            federation: None,
            contributions: Vec::new(),
            code: Digest::ZERO,
        }
    }
}

fn free_of_charge() -> Settlement {
    Settlement { chain_id: 0, ledger: Address::ZERO, payer: Address::ZERO, price: 0 }
}

impl Job {
    /// Largest document that is read.
    const MAX_BYTES: u64 = 256 << 10;

    /// Writes a draft down as a manifest with a fresh salt. Nobody has signed it yet.
    pub fn propose(draft: Draft) -> Result<Self, JobError> {
        let mut salt = [0u8; 32];
        getrandom::fill(&mut salt).map_err(|_| JobError::Random)?;
        let mut settlement = draft.settlement;
        if settlement.payer.is_zero() {
            settlement.payer = if draft.data_provider.is_zero() { draft.model_provider } else { draft.data_provider };
        }
        let local = draft.plan.as_ref().map(TrainingPlan::digest);
        let plan = local.or_else(|| draft.federation.as_ref().map(FederationPlan::digest)).unwrap_or(draft.code);
        Self::new(SignedManifest {
            manifest: Manifest {
                work: draft.work,
                data_provider: draft.data_provider,
                model_provider: draft.model_provider,
                data: draft.data,
                model: draft.model,
                measurement: draft.measurement,
                enclave_id: draft.enclave_id,
                recipients: draft.recipients,
                limits: draft.limits,
                settlement,
                salt: Digest(salt),
                plan,
                contributions: draft.contributions,
            },
            signatures: Vec::new(),
            plan: draft.plan,
            federation: draft.federation,
        })
    }

    /// Takes a manifest with any number of its signatures, all of them good.
    pub fn new(signed: SignedManifest) -> Result<Self, JobError> {
        match signed.verify() {
            Ok(_) | Err(ManifestError::Unsigned(_)) => Ok(Self { signed }),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads a JSON document.
    pub fn from_json(bytes: &[u8]) -> Result<Self, JobError> {
        Self::new(serde_json::from_slice(bytes).map_err(|_| JobError::Malformed)?)
    }

    /// The document as JSON, one line per member.
    pub fn to_json(&self) -> Vec<u8> {
        // Fixed-size ids, integers and words: nothing in it can fail to be JSON.
        let mut bytes = serde_json::to_vec_pretty(&self.signed).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Reads a document file.
    pub fn read(path: &Path) -> Result<Self, JobError> {
        Self::from_json(&file::read_small(path, Self::MAX_BYTES)?.ok_or(JobError::Malformed)?)
    }

    /// Writes a new document file; an existing one is refused.
    pub fn write_new(&self, path: &Path) -> Result<(), JobError> {
        let mut file = NewFile::create(path)?;
        file.write_all(&self.to_json())?;
        Ok(file.keep()?)
    }

    /// Writes the document over an older state of the same job, and over nothing else.
    pub fn update(&self, path: &Path) -> Result<(), JobError> {
        if Self::read(path)?.hash() != self.hash() {
            return Err(JobError::OtherJob);
        }
        let mut file = NewFile::replacing(path)?;
        file.write_all(&self.to_json())?;
        Ok(file.replace()?)
    }

    /// What everybody signs.
    pub fn manifest(&self) -> &Manifest {
        &self.signed.manifest
    }

    /// The manifest with its signatures.
    pub fn signed(&self) -> &SignedManifest {
        &self.signed
    }

    /// The job's name everywhere.
    pub fn hash(&self) -> ManifestHash {
        self.signed.manifest.hash()
    }

    /// Who has not signed yet.
    pub fn missing(&self) -> Vec<Address> {
        let hash = self.hash();
        let signed: Vec<Address> =
            self.signed.signatures.iter().filter_map(|signature| signature.recover(&hash.0).ok()).collect();
        let mut missing = self.signed.manifest.signers();
        missing.retain(|party| !signed.contains(party));
        missing
    }

    /// Adds a party's signature. Signing twice changes nothing.
    pub fn sign(&mut self, identity: &Identity) -> Result<(), JobError> {
        let address = identity.address();
        if !self.signed.manifest.signers().contains(&address) {
            return Err(JobError::NotNamed(address));
        }
        if self.missing().contains(&address) {
            self.signed.signatures.push(identity.sign(&self.hash().0));
        }
        Ok(())
    }

    /// Takes over the signatures of another copy of the same job.
    pub fn merge(&mut self, other: &Self) -> Result<(), JobError> {
        if other.signed.manifest != self.signed.manifest {
            return Err(JobError::OtherJob);
        }
        let hash = self.hash();
        for signature in &other.signed.signatures {
            let signer = signature.recover(&hash.0).map_err(|bad: BadSignature| ManifestError::Signature(bad))?;
            if self.missing().contains(&signer) {
                self.signed.signatures.push(*signature);
            }
        }
        Ok(())
    }

    /// The job, if every party has signed it.
    pub fn complete(&self) -> Result<&SignedManifest, JobError> {
        self.signed.verify()?;
        Ok(&self.signed)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
pub(crate) mod tests {
    use super::*;

    fn parties() -> (Identity, Identity) {
        (Identity::from_secret(&[1; 32]).unwrap(), Identity::from_secret(&[2; 32]).unwrap())
    }

    pub(crate) fn job() -> Job {
        let (data, model) = parties();
        Job::propose(Draft::inference(
            (data.address(), Digest([3; 32])),
            (model.address(), Digest([4; 32])),
            (Measurement([5; 32]), EnclaveId([6; 32])),
            vec![Recipient([7; 32])],
            UnixTime(2_000_000_000),
        ))
        .unwrap()
    }

    #[test]
    fn signatures_are_collected_from_copies() {
        let (data, model) = parties();
        let mut here = job();
        let mut there = Job::from_json(&here.to_json()).unwrap();
        here.sign(&data).unwrap();
        there.sign(&model).unwrap();
        assert_eq!(here.missing(), [model.address()]);
        assert!(matches!(here.complete(), Err(JobError::Manifest(ManifestError::Unsigned(_)))));
        here.merge(&there).unwrap();
        here.merge(&there).unwrap();
        assert_eq!(here.complete().unwrap().signatures.len(), 2);
    }

    #[test]
    fn signing_twice_changes_nothing() {
        let mut job = job();
        job.sign(&parties().0).unwrap();
        let once = job.clone();
        job.sign(&parties().0).unwrap();
        assert_eq!(job, once);
    }

    #[test]
    fn a_stranger_cannot_sign() {
        let stranger = Identity::from_secret(&[9; 32]).unwrap();
        assert_eq!(job().sign(&stranger), Err(JobError::NotNamed(stranger.address())));
    }

    #[test]
    fn equal_drafts_are_different_jobs() {
        let (mut one, other) = (job(), job());
        assert_ne!(one.hash(), other.hash());
        assert_eq!(one.merge(&other), Err(JobError::OtherJob));
    }

    #[test]
    fn one_changed_bit_voids_the_signatures() {
        let mut job = job();
        job.sign(&parties().0).unwrap();
        let mut signed = job.signed().clone();
        signed.manifest.model.0[31] ^= 1;
        assert!(matches!(Job::new(signed), Err(JobError::Manifest(ManifestError::Signature(_)))));
    }

    #[test]
    fn an_unknown_member_is_refused() {
        let text =
            String::from_utf8(job().to_json()).unwrap().replacen("\"manifest\"", "\"extra\": 1, \"manifest\"", 1);
        assert_eq!(Job::from_json(text.as_bytes()), Err(JobError::Malformed));
    }

    #[test]
    fn a_file_is_updated_by_its_own_job_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("job.json");
        let mut mine = job();
        mine.write_new(&path).unwrap();
        assert_eq!(mine.write_new(&path), Err(JobError::File(FileError::Exists)));
        mine.sign(&parties().0).unwrap();
        mine.update(&path).unwrap();
        assert_eq!(Job::read(&path).unwrap(), mine);
        assert_eq!(job().update(&path), Err(JobError::OtherJob));
    }
}
