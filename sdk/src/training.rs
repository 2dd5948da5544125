//! Training in one call: an owner brings a model and data to an enclave, and gets refined weights that
//! nobody else has seen, with a proof of how they came about.

use crate::{
    Boxed,
    ceremony::Release,
    error::{Error, Unproved},
    file::Scratch,
    infer::{Brought, Options, STALE, Step, Watch, accepted, bring, sign},
    job::Draft,
    keystore::Key,
    node::{Node, NodeError},
    seal::{Progress, SealError, most_sealed, open_expected},
    session::{ConnectError, RequestError, Session},
    source::Source,
    verify::now,
};
use glacier_attest::Policy;
use glacier_proof::{Bundle, ProofCheck, VerifiedProof};
use glacier_wire::{
    Contribution, Digest, ManifestHash, Role, SignedManifest, UnixTime,
    api::{Event, JobStatus, Phase, RefusalCode},
    training::{Point, Refined, TrainingMetrics, TrainingPage, TrainingPlan, TrainingRecord, Validation},
};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// What is trained on, all of it the caller's own.
#[derive(Debug, Clone, Copy)]
pub struct Material<'a> {
    /// The initial model: ONNX.
    pub model: Source<'a>,
    /// The data, at least one set; they are read one after the other.
    pub data: &'a [Source<'a>],
    /// Rows that are only measured, in a set of their own. Without one the plan says what share of the
    /// data is held out.
    pub validation: Option<Source<'a>>,
}

/// Refined weights that can be trusted, and why.
#[derive(Debug, Clone)]
pub struct Refinement {
    /// The job, signed.
    pub manifest: SignedManifest,
    /// The refined ONNX model, or the adapter as `.npz` where the plan says so.
    pub model: Zeroizing<Vec<u8>>,
    /// What was proved of how it came about.
    pub record: TrainingRecord,
    /// How good it was after each epoch. The record commits to it.
    pub metrics: TrainingMetrics,
    /// The statement that was checked.
    pub proof: VerifiedProof,
    /// What it was checked by, for display.
    pub checks: Vec<ProofCheck>,
    /// The proof with its evidence, manifest and record, to keep or to show to others.
    pub bundle: Bundle,
    /// Bytes of the sealed result, as the host has it.
    pub sealed_bytes: u64,
    /// What happened inside, in order.
    pub events: Vec<Event>,
    /// The course of the loss, as it was told.
    pub points: Vec<Point>,
}

/// How long a node may be away before a training is given up: enclave and node may be started again, and
/// the training goes on from its last checkpoint.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);
/// Pause between two tries.
pub(crate) const PAUSE: Duration = Duration::from_millis(500);

/// Trains: attests, seals all files under fresh keys, brings the ciphertext to the host, releases the keys
/// to the accepted enclave, follows the course, and hands out the refined model after its proof was checked.
///
/// An enclave or node that dies on the way is waited for: its successor is attested anew and gets new grants,
/// and must go on from no older checkpoint than this side was told of.
///
/// # Errors
/// [`Error`]; a refusal by the enclave says what must change.
pub async fn train(
    node: &Node,
    policy: &Policy,
    key: &Key,
    material: Material<'_>,
    plan: TrainingPlan,
    options: &Options,
    watch: Watch<'_>,
) -> Result<Refinement, Error> {
    train_once(node, policy, key, material, plan, options, watch).await
}

fn train_once<'a>(
    node: &'a Node,
    policy: &'a Policy,
    key: &'a Key,
    material: Material<'a>,
    mut plan: TrainingPlan,
    options: &'a Options,
    watch: Watch<'a>,
) -> Boxed<'a, Result<Refinement, Error>> {
    Box::pin(async move {
        let mut session = accepted(node, policy, key, options, watch).await?;
        let since = Instant::now();
        let scratch = Scratch::new().map_err(SealError::Write)?;
        let model = bring(node, &scratch, key, Role::Model, material.model, watch).await?;
        let mut sets = Vec::new();
        for set in material.data.iter().copied().chain(material.validation) {
            sets.push(bring(node, &scratch, key, Role::Data, set, watch).await?);
        }
        let Some((first, others)) = sets.split_first() else {
            return Err(SealError::Read(crate::file::FileError::Missing).into());
        };
        if let (Some(_), Some(held_out)) = (material.validation, others.last()) {
            plan.validation = Validation::Asset(held_out.sealed.digest);
        }
        if since.elapsed() > STALE {
            session = accepted(node, policy, key, options, watch).await?;
        }
        let not_after = UnixTime(now().0.saturating_add(options.lasts));
        let mut draft = Draft::training(
            (key.address(), first.sealed.digest),
            (key.address(), model.sealed.digest),
            plan,
            session.place()?,
            vec![key.recipient()],
            not_after,
        );
        (draft.limits.memory, draft.limits.units) = (options.memory, options.units);
        draft.settlement = options.settle.settlement(node, key.address(), options.price).await?;
        draft.contributions =
            others.iter().map(|set| Contribution { provider: key.address(), data: set.sealed.digest }).collect();
        let manifest = sign(draft, key, watch)?;
        let brought: Vec<&Brought> = sets.iter().chain([&model]).collect();
        let mut course =
            Course { manifest: &manifest, points: Vec::new(), epoch: 0, seen: (0, 0), checkpoint: 0, joined: None };
        loop {
            // An enclave that ends before its result was collected took it along: its successor makes it again.
            let ended = async {
                course.join(&session, key, &brought, not_after, watch).await?;
                let status = course.follow(&session, watch).await?;
                let progress: Progress<'_> = &mut |done, total| watch(Step::Fetching(done, total));
                Ok((status, session.refinement(node, &manifest, key, policy, progress).await?))
            };
            match ended.await {
                Ok((status, refinement)) => {
                    // A host that is not told keeps a sealed file for longer than it has to.
                    let _ = session.collected(&manifest.manifest.hash()).await;
                    return Ok(Refinement { events: status.events, points: course.points, ..refinement });
                }
                Err(error) if passing(&error) => {
                    session = again(node, policy, key, options, &error, watch).await?;
                }
                Err(error) => return Err(error),
            }
        }
    })
}

/// What this side knows of a training.
struct Course<'a> {
    manifest: &'a SignedManifest,
    points: Vec<Point>,
    /// The last that was told of.
    epoch: u32,
    /// Points and epochs that this very enclave has told.
    seen: (u64, u64),
    checkpoint: u64,
    /// The enclave key that has our grants.
    joined: Option<glacier_wire::Address>,
}

impl Course<'_> {
    /// Grants everything, unless this very enclave has it already.
    async fn join(
        &mut self,
        session: &Session,
        key: &Key,
        brought: &[&Brought],
        not_after: UnixTime,
        watch: Watch<'_>,
    ) -> Result<(), Error> {
        let enclave = session.claims().enclave_key;
        if self.joined == Some(enclave) {
            return Ok(());
        }
        for brought in brought {
            let (role, manifest) = (brought.role, self.manifest);
            let release = Release { role, manifest, file_key: brought.file_key(key)?, uses: 1, not_after };
            match session.join_with(key.identity(), release, brought.sealed.digest, self.checkpoint).await {
                Ok(_) => watch(Step::Joined(role)),
                // The answer to an earlier try was lost on the way.
                Err(Error::Request(RequestError::Refused(refusal)))
                    if matches!(refusal.code, RefusalCode::GrantReplayed | RefusalCode::GrantExhausted) => {}
                Err(error) => return Err(error),
            }
        }
        (self.joined, self.seen) = (Some(enclave), (0, 0));
        Ok(())
    }

    /// Until it is done.
    async fn follow(&mut self, session: &Session, watch: Watch<'_>) -> Result<JobStatus, Error> {
        let job = self.manifest.manifest.hash();
        loop {
            let page = self.page(session, &job).await?;
            watch(Step::Course(&page));
            if page.more {
                continue;
            }
            let status = session.status(&job).await?;
            watch(Step::Status(&status));
            match (status.phase, &status.refusal) {
                (Phase::Done, _) => {
                    // What came between the page and the status.
                    let page = self.page(session, &job).await?;
                    watch(Step::Course(&page));
                    return Ok(status);
                }
                (Phase::Refused, Some(refusal)) => return Err(Error::Refused(refusal.clone())),
                _ => {}
            }
        }
    }

    /// What is new. An enclave that went on from a checkpoint tells again what came after it.
    async fn page(&mut self, session: &Session, job: &ManifestHash) -> Result<TrainingPage, Error> {
        let (points, epochs) = self.seen;
        let mut page = session.course(job, points, epochs).await?;
        let count = |seen: u64, told: usize| seen.saturating_add(told as u64);
        self.seen = (count(points, page.points.len()), count(epochs, page.epochs.len()));
        let step = self.points.last().map_or(0, |point| point.step);
        page.points.retain(|point| point.step > step);
        page.epochs.retain(|told| told.epoch > self.epoch);
        self.points.extend_from_slice(&page.points);
        self.epoch = page.epochs.last().map_or(self.epoch, |told| told.epoch);
        self.checkpoint = self.checkpoint.max(page.checkpoint);
        Ok(page)
    }
}

/// Whether an error may pass by waiting: nobody answers, or another enclave does than the one that was joined.
pub(crate) fn passing(error: &Error) -> bool {
    match error {
        Error::Request(RequestError::Cut | RequestError::Deadline)
        | Error::Connect(ConnectError::Unreachable(_) | ConnectError::Closed)
        | Error::Node(NodeError::Unreachable) => true,
        Error::Connect(ConnectError::Channel(fault)) => {
            use glacier_channel::ChannelError as Fault;
            matches!(fault, Fault::Io(_) | Fault::Deadline | Fault::OtherProtocol | Fault::NoQuote(_))
        }
        Error::Request(RequestError::Refused(refusal)) => {
            matches!(refusal.code, RefusalCode::NotFound | RefusalCode::GrantElsewhere)
        }
        _ => false,
    }
}

/// Waits for the node, and has its enclave accepted anew.
async fn again(
    node: &Node,
    policy: &Policy,
    key: &Key,
    options: &Options,
    why: &Error,
    watch: Watch<'_>,
) -> Result<Session, Error> {
    watch(Step::Waiting(why));
    let since = Instant::now();
    loop {
        tokio::time::sleep(PAUSE).await;
        match accepted(node, policy, key, options, watch).await {
            Err(error) if passing(&error) && since.elapsed() < PATIENCE => {}
            ended => return ended,
        }
    }
}

impl Session {
    /// How a training goes, from these counts on. The enclave takes its time, always the same.
    ///
    /// # Errors
    /// As for any request; [`RefusalCode::NotYours`] to whom the result does not belong.
    pub async fn course(&self, job: &ManifestHash, points: u64, epochs: u64) -> Result<TrainingPage, Error> {
        let path = format!("/glacier/v1/jobs/{job}/training?points={points}&epochs={epochs}");
        let page = self.get(&path).await?;
        Ok(TrainingPage::read(&page.body).map_err(RequestError::Malformed)?)
    }

    /// Stops a training for now, or has it go on: the owner of the data may.
    ///
    /// # Errors
    /// As for any request.
    pub async fn pause(&self, job: &ManifestHash, pause: bool) -> Result<JobStatus, Error> {
        let verb = if pause { "pause" } else { "continue" };
        Ok(self.post(&format!("/glacier/v1/jobs/{job}/{verb}"), &()).await?.cbor(64 << 10)?)
    }

    /// Takes this party's grant back: the training ends, and its checkpoints are removed. Any party may.
    ///
    /// # Errors
    /// As for any request.
    pub async fn withdraw(&self, job: &ManifestHash) -> Result<JobStatus, Error> {
        Ok(self.post(&format!("/glacier/v1/jobs/{job}/withdraw"), &()).await?.cbor(64 << 10)?)
    }

    /// Says that the result of a finished training, or federation, is here: until then its last checkpoint is kept,
    /// in case the enclave ends before.
    ///
    /// # Errors
    /// As for any request.
    pub async fn collected(&self, job: &ManifestHash) -> Result<JobStatus, Error> {
        Ok(self.post(&format!("/glacier/v1/jobs/{job}/collected"), &()).await?.cbor(64 << 10)?)
    }

    /// Fetches what a finished training made: the proof is checked first, then the record that it commits to,
    /// then the sealed file is fetched, opened, and held against the record.
    ///
    /// # Errors
    /// [`Error::Unproved`] where any of that does not hold: nothing is handed out then.
    pub async fn refinement(
        &self,
        node: &Node,
        job: &SignedManifest,
        key: &Key,
        policy: &Policy,
        progress: Progress<'_>,
    ) -> Result<Refinement, Error> {
        let hash = job.manifest.hash();
        let bundle = self.result(&hash).await?;
        let (proof, checks) = self.believe(&bundle, &hash, policy)?;
        let record = bundle.training.clone().ok_or(Unproved::OtherOutput)?;
        let path = format!("/glacier/v1/jobs/{hash}/refined");
        let refined: Refined = self.get(&path).await?.cbor(Refined::MAX_BYTES)?;
        if refined.metrics.commitment() != record.metrics {
            return Err(Unproved::OtherOutput.into());
        }
        let scratch = Scratch::new().map_err(SealError::Write)?;
        let file = scratch.path("refined.age");
        let sealed_bytes = node.download(&refined.asset, &file, most_sealed(MAX_MODEL), progress).await?;
        let model = open_expected(&file, &refined.asset, key.age(), MAX_MODEL)?;
        if Digest(*blake3::hash(&model).as_bytes()) != record.result {
            return Err(Unproved::OtherOutput.into());
        }
        Ok(Refinement {
            manifest: job.clone(),
            model,
            record,
            metrics: refined.metrics,
            proof,
            checks,
            bundle,
            sealed_bytes,
            events: Vec::new(),
            points: Vec::new(),
        })
    }
}

/// Largest refined model: the most that ONNX can carry in one file.
pub(crate) const MAX_MODEL: u64 = i32::MAX as u64;
