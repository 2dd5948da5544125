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
    time::Instant,
};
use tokio::sync::Mutex as AsyncMutex;

/// The models that answer now.
#[derive(Default)]
pub(crate) struct Deployments(Mutex<HashMap<ManifestHash, Arc<Deployment>>>);

/// One of them.
pub(crate) struct Deployment {
    job: Arc<Job>,
    info: ModelInfo,
    /// One request at a time: the engine uses all threads for each. Empty once it has died.
    engine: AsyncMutex<Option<Engine>>,
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
                    let deployment = Deployment {
                        job: job.clone(),
                        info,
                        engine: AsyncMutex::new(Some(engine)),
                        lease: Lease::begin(uses, floor),
                    };
                    lock(&deployments.0).insert(job.hash(), Arc::new(deployment));
                    job.enter(Phase::Serving);
                }
                Err(refusal) => {
                    job.log(Event::Wiped);
                    job.refuse(refusal);
                }
            }
        });
    }

    pub(crate) fn get(&self, name: &str) -> Result<Arc<Deployment>, Refusal> {
        let unknown = || Refusal::new(RefusalCode::NotFound, "no model of this name is served here");
        let hash: ManifestHash = name.parse().map_err(|_| unknown())?;
        lock(&self.0).get(&hash).cloned().ok_or_else(unknown)
    }

    /// Names of those that a party signed, in order.
    pub(crate) fn of(&self, party: Address) -> Vec<String> {
        let all = lock(&self.0);
        let signed = all.values().filter(|deployment| deployment.job.manifest().signers().contains(&party));
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
        if deployment.lease.is_over(cx, &deployment.job) {
            self.close(deployment).await;
            return Err(Refusal::new(RefusalCode::JobExpired, "the deployment's time has passed"));
        }
        deployment.lease.take_use(&deployment.job)?;
        // In a task of its own: a caller that hangs up drops this future, and an engine whose call was
        // dropped halfway answers nobody any more.
        let running = deployment.clone();
        let answer = tokio::spawn(async move { running.run(&inputs).await }).await;
        let answer = answer
            .unwrap_or_else(|_| Err(Refusal::new(RefusalCode::EngineCrashed, "the engine did not survive this input")));
        if matches!(&answer, Err(refusal) if died(refusal)) {
            self.close(deployment).await;
        }
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

    async fn close(&self, deployment: &Deployment) {
        lock(&self.0).remove(&deployment.job.hash());
        if let Some(engine) = deployment.engine.lock().await.take() {
            engine.end().await;
            deployment.job.log(Event::Wiped);
            deployment.job.enter(Phase::Done);
        }
    }
}

impl Deployment {
    pub(crate) fn name(&self) -> String {
        self.job.hash().to_string()
    }

    pub(crate) fn info(&self) -> &ModelInfo {
        &self.info
    }

    async fn run(&self, inputs: &[Tensor]) -> Result<Inference, Refusal> {
        match self.engine.lock().await.as_mut() {
            Some(engine) => engine.infer(inputs).await,
            None => Err(Refusal::new(RefusalCode::NotFound, "the deployment has ended")),
        }
    }
}

impl Lease {
    /// `floor` is the latest time that any party stated.
    pub(crate) fn begin(uses: u64, floor: UnixTime) -> Self {
        Self { uses: Mutex::new(uses), opened: (floor, Instant::now()) }
    }

    /// Whether the manifest's time has passed, wherever the host has set its clock.
    pub(crate) fn is_over(&self, cx: &Context, job: &Job) -> bool {
        let (floor, opened) = self.opened;
        let earliest = UnixTime(floor.0.saturating_add(opened.elapsed().as_secs()));
        job.manifest().limits.not_after < cx.now().max(earliest)
    }

    /// Takes one use of the grant and one run of the manifest.
    pub(crate) fn take_use(&self, job: &Job) -> Result<(), Refusal> {
        let mut uses = lock(&self.uses);
        let left = uses
            .checked_sub(1)
            .ok_or_else(|| Refusal::new(RefusalCode::GrantExhausted, "the provider's grant is used up"))?;
        job.take_run()?;
        *uses = left;
        Ok(())
    }
}

/// Whether the worker is gone, and not just unwilling.
fn died(refusal: &Refusal) -> bool {
    matches!(refusal.code, RefusalCode::EngineCrashed | RefusalCode::MemoryLimit)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
