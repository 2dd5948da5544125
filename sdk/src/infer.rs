//! The common case in one call: one owner brings model and data to an enclave, and gets proved labels back.

use crate::{
    Boxed,
    ceremony::{Finished, Release},
    deployment::Answer,
    error::Error,
    file::Scratch,
    input::read_tensors,
    job::{Draft, Job},
    keystore::Key,
    node::Node,
    seal::{SealError, Sealed, seal_file},
    session::Session,
    settle::Settle,
    source::Source,
    verify::now,
};
use glacier_asset::{AssetError, Header, Parsed};
use glacier_attest::Policy;
use glacier_channel::Freshness;
use glacier_wire::{
    Address, Digest, EnclaveId, FileKey, ManifestHash, Measurement, Role, SignedManifest, UnixTime,
    api::{Event, JobStatus},
    training::TrainingPage,
};
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// What a caller may want otherwise than it is by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Bytes the worker may hold at once.
    pub memory: u64,
    /// Multiply-accumulates that may be spent.
    pub units: u64,
    /// How often a deployment may be asked. A batch job runs once.
    pub runs: u64,
    /// Seconds until the job must have started, or the deployment ends.
    pub lasts: u64,
    /// Whether the chip makes a new quote for this session.
    pub freshness: Freshness,
    /// Where the Work Proof is to count.
    pub settle: Settle,
    /// What each run pays there, out of a deposit that the escrow holds for the manifest; in the token's smallest unit.
    pub price: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            memory: Draft::MEMORY,
            units: Draft::UNITS,
            runs: Draft::RUNS,
            lasts: 3600,
            freshness: Freshness::Cached,
            settle: Settle::default(),
            price: 0,
        }
    }
}

/// What happens, as it happens, for progress bars and logs.
#[derive(Debug)]
#[non_exhaustive]
pub enum Step<'a> {
    /// The enclave was accepted; the session tells by which checks.
    Accepted(&'a Session),
    /// A file is being encrypted here: bytes done, bytes in all.
    Sealing(Role, u64, u64),
    /// Ciphertext goes to the host: bytes done, bytes in all.
    Uploading(Role, u64, u64),
    /// The manifest is signed.
    Signed(&'a SignedManifest),
    /// A party's key was released to the enclave.
    Joined(Role),
    /// News from inside.
    Status(&'a JobStatus),
    /// How a training goes since the last time.
    Course(&'a TrainingPage),
    /// Nobody answers, or another enclave does: the node is waited for.
    Waiting(&'a Error),
    /// The sealed result comes from the host: bytes done, bytes in all.
    Fetching(u64, u64),
}

/// A session that was silent for so long while files were sealed and sent is opened anew: hosts and
/// routers drop connections on which nothing moves.
pub(crate) const STALE: Duration = Duration::from_secs(30);

/// Watches [`Step`]s.
pub type Watch<'a> = &'a mut (dyn FnMut(Step<'_>) + Send);

/// Labels that can be trusted, and why.
#[derive(Debug, Clone)]
pub struct Inference {
    /// The job, signed.
    pub manifest: SignedManifest,
    /// Result and proof.
    pub finished: Finished,
    /// What happened inside, in order.
    pub events: Vec<Event>,
}

/// A model that serves.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// Its name: what callers ask for.
    pub name: ManifestHash,
    /// What the model provider signed.
    pub manifest: SignedManifest,
    /// What happened inside so far.
    pub status: JobStatus,
}

/// Runs a model over a data set, both the caller's own: attests, seals both under fresh keys,
/// brings the ciphertext to the host, releases the keys to the accepted enclave, and hands out the
/// result after its proof was checked.
///
/// The data may be `.csv`, `.npy` or `.npz`; the enclave tells by its content.
pub async fn infer<'a>(
    node: &Node,
    policy: &Policy,
    key: &Key,
    model: impl Into<Source<'a>>,
    data: impl Into<Source<'a>>,
    options: &Options,
    watch: Watch<'_>,
) -> Result<Inference, Error> {
    infer_both(node, policy, key, [model.into(), data.into()], options, watch).await
}

fn infer_both<'a>(
    node: &'a Node,
    policy: &'a Policy,
    key: &'a Key,
    [model, data]: [Source<'a>; 2],
    options: &'a Options,
    watch: Watch<'a>,
) -> Boxed<'a, Result<Inference, Error>> {
    Box::pin(async move {
        let mut session = accepted(node, policy, key, options, watch).await?;
        let since = Instant::now();
        let scratch = Scratch::new().map_err(SealError::Write)?;
        let model = bring(node, &scratch, key, Role::Model, model, watch).await?;
        let data = bring(node, &scratch, key, Role::Data, data, watch).await?;
        if since.elapsed() > STALE {
            session = accepted(node, policy, key, options, watch).await?;
        }
        let not_after = UnixTime(now().0.saturating_add(options.lasts));
        let place = session.place()?;
        let mut draft = Draft::inference(
            (key.address(), data.sealed.digest),
            (key.address(), model.sealed.digest),
            place,
            vec![key.recipient()],
            not_after,
        );
        (draft.limits.memory, draft.limits.units) = (options.memory, options.units);
        draft.settlement = options.settle.settlement(node, key.address(), options.price).await?;
        let manifest = sign(draft, key, watch)?;
        for brought in [&model, &data] {
            let release = Release {
                role: brought.role,
                manifest: &manifest,
                file_key: brought.file_key(key)?,
                uses: 1,
                not_after,
            };
            session.join(key.identity(), release).await?;
            watch(Step::Joined(brought.role));
        }
        let status = session.wait(&manifest.manifest.hash(), &mut |status| watch(Step::Status(status))).await?;
        let finished = session
            .collect(node, &manifest, key, policy, &mut |done, total| watch(Step::Fetching(done, total)))
            .await?;
        Ok(Inference { manifest, finished, events: status.events })
    })
}

/// Opens a deployment: a model that stays loaded and answers whoever asks, until its time or its runs
/// are used up.
pub async fn serve<'a>(
    node: &Node,
    policy: &Policy,
    key: &Key,
    model: impl Into<Source<'a>>,
    options: &Options,
    watch: Watch<'_>,
) -> Result<Deployment, Error> {
    deploy(node, policy, key, model.into(), options, watch, &Draft::deployment).await
}

/// Brings a file that is to stay loaded, signs what `draft` makes of it, and releases its key.
pub(crate) fn deploy<'a>(
    node: &'a Node,
    policy: &'a Policy,
    key: &'a Key,
    file: Source<'a>,
    options: &'a Options,
    watch: Watch<'a>,
    draft: &'a (dyn Fn((Address, Digest), (Measurement, EnclaveId), UnixTime) -> Draft + Sync),
) -> Boxed<'a, Result<Deployment, Error>> {
    Box::pin(async move {
        let mut session = accepted(node, policy, key, options, watch).await?;
        let since = Instant::now();
        let scratch = Scratch::new().map_err(SealError::Write)?;
        let model = bring(node, &scratch, key, Role::Model, file, watch).await?;
        if since.elapsed() > STALE {
            session = accepted(node, policy, key, options, watch).await?;
        }
        let not_after = UnixTime(now().0.saturating_add(options.lasts));
        let place = session.place()?;
        let mut draft = draft((key.address(), model.sealed.digest), place, not_after);
        (draft.limits.memory, draft.limits.units, draft.limits.runs) = (options.memory, options.units, options.runs);
        draft.settlement = options.settle.settlement(node, key.address(), options.price).await?;
        let manifest = sign(draft, key, watch)?;
        let release = Release {
            role: Role::Model,
            manifest: &manifest,
            file_key: model.file_key(key)?,
            uses: options.runs,
            not_after,
        };
        session.join(key.identity(), release).await?;
        watch(Step::Joined(Role::Model));
        let name = manifest.manifest.hash();
        let status = session.wait(&name, &mut |status| watch(Step::Status(status))).await?;
        Ok(Deployment { name, manifest, status })
    })
}

/// Asks a served model about the rows of a file, and hands out the answer after its proof was checked.
pub async fn ask(
    node: &Node,
    policy: &Policy,
    key: &Key,
    deployment: &ManifestHash,
    input: &Path,
    options: &Options,
    watch: Watch<'_>,
) -> Result<Answer, Error> {
    let session = accepted(node, policy, key, options, watch).await?;
    let model = session.model(deployment).await?;
    let inputs = model.fit(read_tensors(input, model.features())?)?;
    session.infer(deployment, &inputs).await
}

pub(crate) async fn accepted(
    node: &Node,
    policy: &Policy,
    key: &Key,
    options: &Options,
    watch: Watch<'_>,
) -> Result<Session, Error> {
    let session = node.connect(policy, key.identity(), options.freshness).await?;
    watch(Step::Accepted(&session));
    Ok(session)
}

pub(crate) fn sign(draft: Draft, key: &Key, watch: Watch<'_>) -> Result<SignedManifest, Error> {
    let mut job = Job::propose(draft)?;
    job.sign(key.identity())?;
    let manifest = job.complete()?.clone();
    watch(Step::Signed(&manifest));
    Ok(manifest)
}

/// A file that was sealed and is at the host.
pub(crate) struct Brought {
    pub(crate) role: Role,
    pub(crate) sealed: Sealed,
}

impl Brought {
    pub(crate) fn file_key(&self, key: &Key) -> Result<FileKey, SealError> {
        match Header::parse(&self.sealed.header)? {
            Parsed::Complete { header, .. } => Ok(header.unwrap(key.age())?),
            Parsed::NeedsMore => Err(AssetError::Truncated.into()),
        }
    }
}

pub(crate) async fn bring(
    node: &Node,
    scratch: &Scratch,
    key: &Key,
    role: Role,
    source: impl Into<Source<'_>>,
    watch: Watch<'_>,
) -> Result<Brought, Error> {
    let mut names = (0u32..).map(|n| scratch.path(&format!("{}-{n}", role.as_str())));
    let to: PathBuf = names.find(|path| !path.exists()).unwrap_or_default();
    let sealed =
        seal_file(source, &to, &[key.recipient()], &mut |done, total| watch(Step::Sealing(role, done, total)))?;
    node.upload(&sealed.digest, &to, &mut |done, total| watch(Step::Uploading(role, done, total))).await?;
    Ok(Brought { role, sealed })
}
