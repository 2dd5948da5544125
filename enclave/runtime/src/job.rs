//! One batch job: load, run, return, wipe, prove.

use crate::{
    ceremony::Keys,
    federation::Federation,
    training::Training,
    worker::{Process, Role},
};
use glacier_app::{Context, Refusal, RefusalCode, ResultWriter, Statement};
use glacier_engine::{Client, Limits, ModelInfo, RunReport};
use glacier_proof::Bundle;
use glacier_wire::{
    Contribution, Digest, FileKey, Manifest, ManifestHash, Role as Party, SignedManifest, Work,
    api::{Event, JobStatus, Phase},
};
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{mpsc, watch};
use zeroize::Zeroizing;

/// Pieces of an asset that wait between the cipher and the worker. Each is about a megabyte.
pub(crate) const PIECES: usize = 2;

/// Most events that are remembered; past them, the last gives way. The rounds of a federation, and what is around
/// them, are fewer.
const MAX_EVENTS: usize = 1024;

/// A job as its parties see it, from the first grant to the end.
pub(crate) struct Job {
    hash: ManifestHash,
    signed: SignedManifest,
    status: watch::Sender<JobStatus>,
    runs: AtomicU64,
    bundle: OnceLock<Arc<Bundle>>,
    training: Option<Training>,
    federation: Option<Federation>,
    /// Set where the model came by a membership: the result is one site's part in a round.
    averaged: OnceLock<()>,
}

impl Job {
    pub(crate) fn new(hash: ManifestHash, signed: SignedManifest) -> Self {
        let status = JobStatus {
            manifest: hash,
            phase: Phase::Waiting,
            waiting_for: roles(&signed.manifest),
            loaded: (0, 0),
            rows: 0,
            events: Vec::new(),
            refusal: None,
        };
        let training = (signed.manifest.work == Work::Training).then(Training::default);
        let federation = signed.federation.as_ref().map(|plan| Federation::new(hash, plan));
        let (status, runs, bundle) = (watch::Sender::new(status), AtomicU64::new(0), OnceLock::new());
        Self { hash, signed, status, runs, bundle, training, federation, averaged: OnceLock::new() }
    }

    /// Begins the job in a task of its own. Nobody waits for it: the parties ask for its status.
    pub(crate) fn start(self: Arc<Self>, cx: Context, keys: Keys) {
        tokio::spawn(async move {
            let ended = self.run(&cx, keys).await;
            self.conclude(ended);
        });
    }

    /// The job is over, with a proof or with the reason why there is none.
    pub(crate) fn conclude(&self, ended: Result<Bundle, Refusal>) {
        match ended {
            Ok(bundle) => {
                let _ = self.bundle.set(Arc::new(bundle));
                self.enter(Phase::Done);
            }
            Err(refusal) => self.refuse(refusal),
        }
    }

    /// The whole path. Each step is one call; what a step hands on is all that remains of it.
    async fn run(&self, cx: &Context, keys: Keys) -> Result<Bundle, Refusal> {
        let done = self.load_and_run(cx, keys).await;
        // Whatever happened: the keys were dropped with `keys`, the model and the data with the
        // worker's process.
        self.log(Event::Wiped);
        let (output, report) = done?;
        self.prove(cx, output, report.units).await
    }

    /// Load, run, return. Owns keys and worker, so that both are gone when it ends.
    async fn load_and_run(&self, cx: &Context, keys: Keys) -> Result<(Digest, RunReport), Refusal> {
        let manifest = &self.signed.manifest;
        let Some(data_key) = keys.data.first() else {
            return Err(Refusal::new(RefusalCode::ManifestInvalid, "the job names no data"));
        };
        self.enter(Phase::Loading);
        let (mut engine, _) = self.load_model(cx, &keys.model).await?;
        let mut output = cx.seal(&manifest.recipients).await?;
        let ran = self.run_data(cx, &mut engine, data_key, &mut output).await;
        engine.end().await;
        match ran {
            Ok(report) => {
                self.log(Event::Ran { rows: report.rows, units: report.units });
                let sealed = output.finish().await?;
                self.log(Event::Sealed { bytes: sealed.bytes });
                Ok((sealed.digest, report))
            }
            Err(refusal) => {
                output.abort().await;
                Err(refusal)
            }
        }
    }

    /// Brings the model into a worker process of its own.
    pub(crate) async fn load_model(&self, cx: &Context, key: &FileKey) -> Result<(Engine, ModelInfo), Refusal> {
        let limits = &self.signed.manifest.limits;
        let mut engine = Engine::start(cx, limits.memory)?;
        let reader = cx.open(self.signed.manifest.model, key).await?;
        self.expect_bytes(reader.ciphertext_len());
        let (pieces, mut inbox) = mpsc::channel(PIECES);
        let len = reader.plaintext_len();
        let limits = Limits { units: limits.units, memory: limits.memory, threads: threads(), window: Limits::WINDOW };
        let (opened, loaded) =
            tokio::join!(reader.stream(pieces, |bytes| self.loaded(bytes)), engine.load(len, &mut inbox, limits));
        let (opened, info) = first_fault(opened, loaded)?;
        self.log(Event::Opened { role: Party::Model, bytes: opened });
        Ok((engine, info))
    }

    /// Streams the data through the model and the answers into the result file.
    async fn run_data(
        &self,
        cx: &Context,
        engine: &mut Engine,
        key: &FileKey,
        output: &mut ResultWriter,
    ) -> Result<RunReport, Refusal> {
        let reader = cx.open(self.signed.manifest.data, key).await?;
        self.expect_bytes(reader.ciphertext_len());
        self.take_run()?;
        self.enter(Phase::Running);
        let (pieces, inbox) = mpsc::channel(PIECES);
        let (answers, mut outbox) = mpsc::channel::<Vec<u8>>(PIECES);
        let len = reader.plaintext_len();
        let reading = reader.stream(pieces, |bytes| self.loaded(bytes));
        let running = engine.rows(len, inbox, answers, |rows| self.answered(rows));
        let writing = async {
            while let Some(answer) = outbox.recv().await {
                output.write(&Zeroizing::new(answer)).await?;
            }
            Ok::<_, Refusal>(())
        };
        let (opened, ran, written) = tokio::join!(reading, running, writing);
        // A result that cannot be stored stops the engine, whose complaint would hide the reason.
        written?;
        // The digest is known at the end of the stream: until it matches, the result is not finished.
        let (opened, report) = first_fault(opened, ran)?;
        self.log(Event::Opened { role: Party::Data, bytes: opened });
        Ok(report)
    }

    pub(crate) async fn prove(&self, cx: &Context, output: Digest, units: u64) -> Result<Bundle, Refusal> {
        let manifest = &self.signed.manifest;
        let statement = Statement {
            work: manifest.work,
            manifest: self.hash,
            model: manifest.model,
            input: manifest.input(),
            output: output.into(),
            units,
            settlement: manifest.settlement,
        };
        let bundle = cx.prove(&statement, Some(self.signed.clone())).await?;
        self.log(Event::Proved { sequence: bundle.proof.proof.sequence });
        Ok(bundle)
    }
}

/// What the parties ask, and what the log records.
impl Job {
    pub(crate) fn hash(&self) -> ManifestHash {
        self.hash
    }

    pub(crate) fn manifest(&self) -> &Manifest {
        &self.signed.manifest
    }

    pub(crate) fn signed(&self) -> &SignedManifest {
        &self.signed
    }

    /// How its training goes, where that is what it does.
    pub(crate) fn training(&self) -> Option<&Training> {
        self.training.as_ref()
    }

    /// This training is a site's part in a federation.
    pub(crate) fn mark_averaged(&self) {
        let _ = self.averaged.set(());
    }

    pub(crate) fn averaged(&self) -> bool {
        self.averaged.get().is_some()
    }

    /// The same of a federation.
    pub(crate) fn federation(&self) -> Option<&Federation> {
        self.federation.as_ref()
    }

    pub(crate) fn status(&self) -> JobStatus {
        self.status.borrow().clone()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.status.borrow().phase
    }

    pub(crate) fn ended(&self) -> bool {
        matches!(self.phase(), Phase::Done | Phase::Refused)
    }

    /// Whether a party has yet to grant.
    pub(crate) fn waits(&self) -> bool {
        let status = self.status.borrow();
        status.phase == Phase::Waiting && !status.waiting_for.is_empty()
    }

    /// The status, once more than `seen` events have happened or the job has ended; at the latest
    /// after `wait`.
    pub(crate) async fn news(&self, seen: u64, wait: Duration) -> JobStatus {
        let mut changes = self.status.subscribe();
        let news = changes.wait_for(|status| {
            status.events.len() as u64 > seen || matches!(status.phase, Phase::Done | Phase::Refused)
        });
        let _ = tokio::time::timeout(wait, news).await;
        self.status()
    }

    pub(crate) fn bundle(&self) -> Result<Arc<Bundle>, Refusal> {
        self.bundle.get().cloned().ok_or_else(|| match self.status().refusal {
            Some(refusal) => refusal,
            None => Refusal::new(RefusalCode::NotReady, "the job has no result yet"),
        })
    }

    pub(crate) fn runs_left(&self) -> u64 {
        self.signed.manifest.limits.runs.saturating_sub(self.runs.load(Ordering::Relaxed))
    }

    /// Takes one of the manifest's runs.
    pub(crate) fn take_run(&self) -> Result<(), Refusal> {
        let runs = self.signed.manifest.limits.runs;
        self.runs
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| taken.checked_add(1).filter(|n| *n <= runs))
            .map(|_| ())
            .map_err(|_| Refusal::new(RefusalCode::GrantExhausted, "the manifest's runs are used up"))
    }

    pub(crate) fn log(&self, event: Event) {
        self.status.send_modify(|status| {
            if let Event::Granted { role } = event
                && let Some(place) = status.waiting_for.iter().position(|waiting| *waiting == role)
            {
                status.waiting_for.remove(place);
            }
            // A party reads the status whole: a training that is paused over and over must not make it too long.
            status.events.truncate(MAX_EVENTS.saturating_sub(1));
            status.events.push(event);
        });
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.status.send_modify(|status| status.phase = phase);
    }

    /// What it served is served no more.
    pub(crate) fn closed(&self) {
        if !self.ended() {
            self.log(Event::Wiped);
            self.enter(Phase::Done);
        }
    }

    pub(crate) fn refuse(&self, refusal: Refusal) {
        self.status.send_modify(|status| {
            status.phase = Phase::Refused;
            status.refusal = Some(refusal);
        });
    }

    /// Back to waiting, after a refusal that spent no run. Under the lock of the ceremonies: what a party wishes from
    /// here on is about the attempt to come.
    pub(crate) fn reopen(&self) {
        if let Some(training) = &self.training {
            training.reopen();
        }
        self.status.send_modify(|status| {
            status.phase = Phase::Waiting;
            status.waiting_for = roles(&self.signed.manifest);
            status.loaded = (0, 0);
            status.refusal = None;
        });
    }

    pub(crate) fn expect_bytes(&self, bytes: u64) {
        self.status.send_modify(|status| status.loaded.1 = status.loaded.1.saturating_add(bytes));
    }

    pub(crate) fn loaded(&self, bytes: u64) {
        self.status.send_modify(|status| status.loaded.0 = status.loaded.0.saturating_add(bytes));
    }

    fn answered(&self, rows: u64) {
        self.status.send_modify(|status| status.rows = rows);
    }
}

/// A worker process and the engine in it. Dropping it kills the process.
pub(crate) struct Engine {
    client: Client,
    process: Process,
}

impl Engine {
    fn start(cx: &Context, memory: u64) -> Result<Self, Refusal> {
        let (stream, process) = Process::start(cx, Role::Inference, memory)?;
        Ok(Self { client: Client::new(stream), process })
    }

    async fn load(
        &mut self,
        len: u64,
        pieces: &mut mpsc::Receiver<Zeroizing<Vec<u8>>>,
        limits: Limits,
    ) -> Result<ModelInfo, Refusal> {
        let loaded = self.client.load(len, pieces, limits).await;
        self.process.explain(loaded).await
    }

    async fn rows(
        &mut self,
        len: u64,
        mut pieces: mpsc::Receiver<Zeroizing<Vec<u8>>>,
        answers: mpsc::Sender<Vec<u8>>,
        progress: impl FnMut(u64) + Send,
    ) -> Result<RunReport, Refusal> {
        let ran = self.client.rows(len, &mut pieces, answers, progress).await;
        self.process.explain(ran).await
    }

    pub(crate) async fn infer(
        &mut self,
        inputs: &[glacier_wire::Tensor],
    ) -> Result<glacier_engine::Inference, Refusal> {
        let answer = self.client.infer(inputs).await;
        self.process.explain(answer).await
    }

    /// Ends the process and waits until it has.
    pub(crate) async fn end(self) {
        self.process.end().await;
    }
}

/// Of a stream and its consumer that ran side by side: a stream that failed starves its consumer,
/// so its fault is the one to report.
pub(crate) fn first_fault<A, B>(stream: Result<A, Refusal>, consumer: Result<B, Refusal>) -> Result<(A, B), Refusal> {
    match (stream, consumer) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        // The consumer hung up first; what it says is the reason.
        (Err(fault), Err(reason)) if fault.code == RefusalCode::NotReady => Err(reason),
        (Err(fault), _) | (Ok(_), Err(fault)) => Err(fault),
    }
}

/// Who must grant, a role once for each asset.
fn roles(manifest: &Manifest) -> Vec<Party> {
    released_sets(manifest).map(|_| Party::Data).chain([Party::Model]).collect()
}

/// The data sets whose keys this enclave gets, in their order: those of a federation stay at their sites.
pub(crate) fn released_sets(manifest: &Manifest) -> impl Iterator<Item = Contribution> {
    manifest.data_sets().filter(|_| manifest.work != Work::Federation)
}

/// All cores: one job runs at a time on most nodes, and the operating system shares fairly where not.
pub(crate) fn threads() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1))
}
