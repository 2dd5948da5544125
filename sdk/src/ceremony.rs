//! One party's part in a job: release its key, watch, fetch the result, and believe it only when it is proved.

use crate::{
    error::{Error, Place, Unproved},
    file::Scratch,
    keystore::Key,
    node::Node,
    output::Results,
    seal::{Progress, most_sealed, open_expected},
    session::{RequestError, Session},
    verify::{now, verify_proof},
};
use glacier_attest::Policy;
use glacier_proof::{Bundle, Judge, ProofCheck, VerifiedProof};
use glacier_wire::{
    Address, Digest, EnclaveId, FileKey, Grant, Identity, Manifest, ManifestHash, Measurement, Role, SignedManifest,
    UnixTime,
    api::{JobStatus, Join, Phase},
    federation::Membership,
};
use zeroize::Zeroizing;

/// What one party gives to a job.
#[derive(Debug)]
pub struct Release<'a> {
    /// In which capacity.
    pub role: Role,
    /// The job, signed by all.
    pub manifest: &'a SignedManifest,
    /// Opens this party's asset.
    pub file_key: FileKey,
    /// How often it may be used: 1 for a batch job, the number of requests for a deployment.
    pub uses: u64,
    /// Until when.
    pub not_after: UnixTime,
}

/// A finished job's result, proved.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The model's outputs and the names of the classes.
    pub results: Results,
    /// The statement that was checked.
    pub proof: VerifiedProof,
    /// What it was checked by, for display.
    pub checks: Vec<ProofCheck>,
    /// The proof with its evidence and manifest, to keep or to show to others.
    pub bundle: Bundle,
    /// Bytes of the sealed result, as the host has it.
    pub sealed_bytes: u64,
}

/// Why a result is believed.
pub(crate) struct Proved {
    pub(crate) proof: VerifiedProof,
    pub(crate) checks: Vec<ProofCheck>,
    pub(crate) bundle: Bundle,
    pub(crate) sealed_bytes: u64,
}

/// Largest status that is read.
const MAX_STATUS: usize = 64 << 10;
/// How long the enclave may hold a status request while something moves, in milliseconds: progress
/// in bytes and rows is news to people, but no event.
const MOVING: u64 = 250;
/// The same while a party is missing.
const STILL: u64 = 10_000;

impl Session {
    /// Grants and releases the file key, after checking that this session's enclave is the one that
    /// the manifest names.
    pub async fn join(&self, identity: &Identity, release: Release<'_>) -> Result<JobStatus, Error> {
        let asset =
            sole_asset(&release.manifest.manifest, release.role, identity.address()).ok_or(Error::NotYourRole)?;
        self.join_with(identity, release, asset, 0).await
    }

    /// The same for one of several data sets of this party, and for a training that goes on: `checkpoint` is
    /// the newest that this party was told of, and an enclave whose host brings back an older one refuses.
    pub async fn join_with(
        &self,
        identity: &Identity,
        release: Release<'_>,
        asset: Digest,
        checkpoint: u64,
    ) -> Result<JobStatus, Error> {
        self.join_as(identity, release, asset, checkpoint, None).await
    }

    /// The same for a site's part in a federation.
    pub(crate) async fn join_as(
        &self,
        identity: &Identity,
        release: Release<'_>,
        asset: Digest,
        checkpoint: u64,
        membership: Option<Membership>,
    ) -> Result<JobStatus, Error> {
        release.manifest.verify().map_err(crate::job::JobError::from)?;
        let manifest = &release.manifest.manifest;
        self.require_place(manifest)?;
        if identity.address() != self.party() || !assets(manifest, release.role, self.party()).any(|own| own == asset) {
            return Err(Error::NotYourRole);
        }
        let mut nonce = [0u8; 32];
        getrandom::fill(&mut nonce).map_err(|_| Error::Random)?;
        let grant = Grant {
            manifest: manifest.hash(),
            role: release.role,
            enclave_key: self.claims().enclave_key,
            uses: release.uses,
            not_after: release.not_after,
            nonce: Digest(nonce),
        };
        let join = Join {
            manifest: release.manifest.clone(),
            grant: grant.sign(&manifest.domain(), identity),
            file_key: release.file_key,
            now: now(),
            checkpoint,
            asset,
            membership,
        };
        Ok(self.post("/glacier/v1/jobs", &join).await?.cbor(MAX_STATUS)?)
    }

    /// How far a job is.
    pub async fn status(&self, job: &ManifestHash) -> Result<JobStatus, Error> {
        Ok(self.get(&format!("/glacier/v1/jobs/{job}")).await?.cbor(MAX_STATUS)?)
    }

    /// Waits until the job is done or, for a deployment, serves. `news` sees every state on the way.
    pub async fn wait(
        &self,
        job: &ManifestHash,
        news: &mut (dyn FnMut(&JobStatus) + Send),
    ) -> Result<JobStatus, Error> {
        let mut status = self.status(job).await?;
        loop {
            news(&status);
            let hold = match status.phase {
                Phase::Done | Phase::Serving => return Ok(status),
                Phase::Refused => {
                    return Err(match status.refusal {
                        Some(refusal) => Error::Refused(refusal),
                        None => RequestError::Malformed(glacier_wire::cbor::CborError::Malformed).into(),
                    });
                }
                Phase::Waiting => STILL,
                _ => MOVING,
            };
            let path = format!("/glacier/v1/jobs/{job}?after={}&wait={hold}", status.events.len());
            status = self.get(&path).await?.cbor(MAX_STATUS)?;
        }
    }

    /// The proof of a finished job and what it stands on, for any of its parties. Not checked yet.
    pub async fn proof(&self, job: &ManifestHash) -> Result<Bundle, Error> {
        Ok(self.get(&format!("/glacier/v1/jobs/{job}/proof")).await?.cbor(Bundle::MAX_BYTES)?)
    }

    /// The same for the data provider, whose result it names. Not checked yet.
    pub async fn result(&self, job: &ManifestHash) -> Result<Bundle, Error> {
        Ok(self.get(&format!("/glacier/v1/jobs/{job}/result")).await?.cbor(Bundle::MAX_BYTES)?)
    }

    /// Fetches a finished job's result: the proof is checked first, then the sealed file is fetched
    /// by the digest that the proof names, opened, and read.
    pub async fn collect(
        &self,
        node: &Node,
        job: &SignedManifest,
        key: &Key,
        policy: &Policy,
        progress: Progress<'_>,
    ) -> Result<Finished, Error> {
        let (content, proved) = self.collect_file(node, job, key, policy, Results::MAX_BYTES, progress).await?;
        let Proved { proof, checks, bundle, sealed_bytes } = proved;
        Ok(Finished { results: Results::from_sequence(&content)?, proof, checks, bundle, sealed_bytes })
    }

    /// The result as a file of at most `max` bytes: its proof is checked before it is fetched.
    pub(crate) async fn collect_file(
        &self,
        node: &Node,
        job: &SignedManifest,
        key: &Key,
        policy: &Policy,
        max: u64,
        progress: Progress<'_>,
    ) -> Result<(Zeroizing<Vec<u8>>, Proved), Error> {
        let hash = job.manifest.hash();
        let bundle = self.result(&hash).await?;
        let (proof, checks) = self.believe(&bundle, &hash, policy)?;
        let digest = Digest(proof.proof().output.0);
        let scratch = Scratch::new().map_err(crate::seal::SealError::Write)?;
        let file = scratch.path("result.age");
        let sealed_bytes = node.download(&digest, &file, most_sealed(max), progress).await?;
        let content = open_expected(&file, &digest, key.age(), max)?;
        Ok((content, Proved { proof, checks, bundle, sealed_bytes }))
    }

    /// Whether a bundle proves this job, by this session's enclave, under this policy.
    pub fn believe(
        &self,
        bundle: &Bundle,
        job: &ManifestHash,
        policy: &Policy,
    ) -> Result<(VerifiedProof, Vec<ProofCheck>), Unproved> {
        let appraisal = verify_proof(bundle, Judge::Policy(policy), now());
        let checks = appraisal.checks.clone();
        let proof = appraisal.into_result().map_err(|(check, fault)| Unproved::Check { check, fault })?;
        if proof.proof().enclave_key != self.claims().enclave_key {
            return Err(Unproved::OtherEnclave);
        }
        if proof.proof().manifest != *job {
            return Err(Unproved::OtherJob);
        }
        if let Some(signed) = &bundle.manifest
            && !signed.manifest.data.is_zero()
            && proof.proof().input != signed.manifest.input()
        {
            return Err(Unproved::OtherInput);
        }
        Ok((proof, checks))
    }

    /// What a manifest names of this session's enclave: its code, and its chip.
    pub fn place(&self) -> Result<(Measurement, EnclaveId), Error> {
        let chip = self.accepted().enclave_id().ok_or(Error::NoChip)?;
        Ok((self.accepted().measurement(), chip))
    }

    /// Whether this session's enclave is the one that the manifest names.
    fn require_place(&self, manifest: &Manifest) -> Result<(), Error> {
        if manifest.measurement != self.accepted().measurement() {
            return Err(Error::Elsewhere(Place::Code));
        }
        if self.accepted().enclave_id() != Some(manifest.enclave_id) {
            return Err(Error::Elsewhere(Place::Chip));
        }
        Ok(())
    }
}

/// A party's assets in a role.
pub(crate) fn assets(manifest: &Manifest, role: Role, party: Address) -> impl Iterator<Item = Digest> {
    let model = (role == Role::Model && manifest.model_provider == party).then_some(manifest.model);
    let data = manifest.data_sets().filter(move |set| role == Role::Data && set.provider == party).map(|set| set.data);
    data.chain(model)
}

/// The same where it is one, and so needs no naming.
fn sole_asset(manifest: &Manifest, role: Role, party: Address) -> Option<Digest> {
    let mut assets = assets(manifest, role, party);
    assets.next().filter(|_| assets.next().is_none())
}
