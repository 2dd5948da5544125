//! A model that stays loaded and answers many data providers until its manifest runs out.

use crate::{
    ceremony::Ready,
    job::{Engine, Job},
};
use glacier_app::{Context, Refusal, RefusalCode, Worked};
use glacier_engine::{Inference, ModelInfo};
use glacier_wire::{
    Address, ManifestHash, Tensor, UnixTime,
    api::{Event, Phase},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// The models that answer, or did.
#[derive(Default)]
pub(crate) struct Deployments(Mutex<HashMap<ManifestHash, Arc<Deployment>>>);

/// One of them.
pub(crate) struct Deployment {
    job: Arc<Job>,
    info: ModelInfo,
    /// One request at a time: the engine uses all threads for each. Empty once it has ended.
    engine: Arc<AsyncMutex<Option<Engine>>>,
    lease: Lease,
}

/// How long and how often something is served.
pub(crate) struct Lease {
    /// What the model provider's grant allows.
    uses: Mutex<u64>,
    /// The latest time that the ceremony knew, and when that was by the clock that only runs forward.
    opened: (UnixTime, Instant),
}

impl Deployments {
    /// Loads the model, then answers until the manifest or the grant runs out.
    pub(crate) fn start(self: &Arc<Self>, cx: Context, job: Arc<Job>, ready: Ready) {
        let Ready { keys, uses, floor, .. } = ready;
        let deployments = self.clone();
        tokio::spawn(async move {
            job.enter(Phase::Loading);
            let loaded = job.load_model(&cx, &keys.model).await;
            drop(keys);
            match loaded {
                Ok((engine, info)) => {
                    let engine = Arc::new(AsyncMutex::new(Some(engine)));
                    let lease = Lease::begin(uses, floor);
                    let deployment = Arc::new(Deployment { job: job.clone(), info, engine, lease });
                    deployments.insert(deployment.clone());
                    job.enter(Phase::Serving);
                    deployment.lease.outlast(&cx, &job).await;
                    close(job, deployment.engine.clone().lock_owned().await).await;
                }
                Err(refusal) => {
                    job.log(Event::Wiped);
                    job.refuse(refusal);
                }
            }
        });
    }

    fn insert(&self, deployment: Arc<Deployment>) {
        let mut all = lock(&self.0);
        // One that has ended still says why; when the ceremonies forget its job, so does this.
        all.retain(|_, known| Arc::strong_count(&known.job) > 1);
        all.insert(deployment.job.hash(), deployment);
    }

    /// One that answers.
    pub(crate) fn live(&self, name: &str) -> Result<Arc<Deployment>, Refusal> {
        self.get(name).and_then(|deployment| if deployment.job.ended() { Err(ended()) } else { Ok(deployment) })
    }

    /// One that answers, or did.
    pub(crate) fn get(&self, name: &str) -> Result<Arc<Deployment>, Refusal> {
        let unknown = || Refusal::new(RefusalCode::NotFound, "no model of this name is served here");
        let hash: ManifestHash = name.parse().map_err(|_| unknown())?;
        lock(&self.0).get(&hash).cloned().ok_or_else(unknown)
    }

    /// Names of those that a party signed, in order.
    pub(crate) fn of(&self, party: Address) -> Vec<String> {
        let all = lock(&self.0);
        let live = all.values().filter(|deployment| !deployment.job.ended());
        let signed = live.filter(|deployment| deployment.job.manifest().signers().contains(&party));
        let mut names: Vec<String> = signed.map(|deployment| deployment.name()).collect();
        names.sort();
        names
    }

    /// Answers one request, and says for the Work Proof what was done.
    pub(crate) async fn infer(
        &self,
        cx: &Context,
        deployment: &Arc<Deployment>,
        inputs: Vec<Tensor>,
    ) -> Result<(Inference, Worked), Refusal> {
        // A caller that hangs up here loses its place, and what it sent is dropped with it.
        let mut engine = deployment.engine.clone().lock_owned().await;
        if let Err(refusal) = deployment.lease.take_use(cx, &deployment.job, engine.is_some()) {
            tokio::spawn(close(deployment.job.clone(), engine));
            return Err(refusal);
        }
        // In a task of its own: a caller that hangs up drops this future, and an engine whose call was
        // dropped halfway answers nobody any more.
        let running = deployment.clone();
        let run = tokio::spawn(async move {
            let mut live = engine.take().ok_or_else(ended)?;
            let answer = live.infer(&inputs).await;
            let died = matches!(&answer, Err(refusal) if died(refusal));
            *engine = Some(live);
            if died || running.lease.is_spent(&running.job) {
                close(running.job.clone(), engine).await;
            }
            answer
        });
        let answer = run
            .await
            .unwrap_or_else(|_| Err(Refusal::new(RefusalCode::EngineCrashed, "the engine did not survive this input")));
        let answer = answer?;
        let manifest = deployment.job.manifest();
        let worked = Worked {
            work: manifest.work,
            manifest: deployment.job.hash(),
            model: manifest.model,
            units: answer.units,
            settlement: manifest.settlement,
        };
        Ok((answer, worked))
    }
}

/// The model is wiped. Whoever waits for the engine finds none.
async fn close(job: Arc<Job>, mut engine: OwnedMutexGuard<Option<Engine>>) {
    if let Some(engine) = engine.take() {
        engine.end().await;
    }
    job.closed();
}

impl Deployment {
    pub(crate) fn name(&self) -> String {
        self.job.hash().to_string()
    }

    pub(crate) fn info(&self) -> &ModelInfo {
        &self.info
    }
}

impl Lease {
    /// `floor` is the latest time that any party stated.
    pub(crate) fn begin(uses: u64, floor: UnixTime) -> Self {
        Self { uses: Mutex::new(uses), opened: (floor, Instant::now()) }
    }

    /// How long the manifest's time still goes on, wherever the host has set its clock; `None` when it is over.
    fn left(&self, cx: &Context, job: &Job) -> Option<Duration> {
        let (floor, opened) = self.opened;
        let earliest = UnixTime(floor.0.saturating_add(opened.elapsed().as_secs()));
        let left = job.manifest().limits.not_after.0.checked_sub(cx.now().max(earliest).0)?;
        Some(Duration::from_secs(left.saturating_add(1)))
    }

    /// Waits until the time is over, or the job has ended before.
    pub(crate) async fn outlast(&self, cx: &Context, job: &Job) {
        while let (false, Some(left)) = (job.ended(), self.left(cx, job)) {
            tokio::time::sleep(left.min(LOOK)).await;
        }
    }

    /// Takes one use of the grant and one run of the manifest, of what still is `alive`.
    pub(crate) fn take_use(&self, cx: &Context, job: &Job, alive: bool) -> Result<(), Refusal> {
        if self.left(cx, job).is_none() {
            return Err(expired());
        }
        let mut uses = lock(&self.uses);
        let left = uses.checked_sub(1).ok_or_else(used_up)?;
        if !alive && job.runs_left() > 0 {
            return Err(ended());
        }
        job.take_run()?;
        *uses = left;
        Ok(())
    }

    /// What to say of it to whoever asks afterwards.
    pub(crate) fn why_ended(&self, cx: &Context, job: &Job) -> Refusal {
        match self.left(cx, job) {
            None => expired(),
            Some(_) if self.is_spent(job) => used_up(),
            Some(_) => ended(),
        }
    }

    /// Whether nobody can use it any more.
    pub(crate) fn is_spent(&self, job: &Job) -> bool {
        *lock(&self.uses) == 0 || job.runs_left() == 0
    }
}

fn expired() -> Refusal {
    Refusal::new(RefusalCode::JobExpired, "the time of what is served here has passed")
}

fn used_up() -> Refusal {
    Refusal::new(RefusalCode::GrantExhausted, "the provider's grant is used up")
}

pub(crate) fn ended() -> Refusal {
    Refusal::new(RefusalCode::NotFound, "what was served here has ended")
}

/// Whether the worker is gone, and not just unwilling.
fn died(refusal: &Refusal) -> bool {
    matches!(refusal.code, RefusalCode::EngineCrashed | RefusalCode::MemoryLimit)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often a lease is looked at: the host may set its clock.
const LOOK: Duration = Duration::from_secs(60);
