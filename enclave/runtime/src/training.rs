//! A training job: from the released keys to refined weights, over as many worker processes as it takes.
//!
//! The worker asks for passes over the data, tells how it goes, and hands out states. Each state is
//! sealed and kept by the host; when a worker dies, or the owner of the data pauses, the next one goes
//! on from the last of them and comes to the same bits. When the enclave itself dies, its keys are gone:
//! the parties grant anew, and say which checkpoint they were told of.

use crate::{
    ceremony::{Keys, Ready},
    course::{Course, Untold},
    job::{Job, PIECES, threads},
    worker::{Process, Role},
};
use glacier_app::{AssetReader, Checkpoints, Context, Refusal, RefusalCode};
use glacier_engine::{EngineError, Limits};
use glacier_proof::Bundle;
use glacier_train::{
    client::{Feeder, Listener, News, split},
    protocol::{Order, Report},
};
use glacier_wire::{
    Digest, FileKey, Role as Party,
    api::{Event, Phase},
    training::Refined,
};
use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
};
use tokio::sync::{mpsc, watch};
use zeroize::Zeroizing;

/// Workers that may die one after the other without a checkpoint in between.
const DEATHS: u32 = 3;

/// What the parties see of a training and may ask of it.
pub(crate) struct Training {
    pub(crate) course: Course,
    wish: watch::Sender<Wish>,
    refined: OnceLock<Refined>,
}

/// What the parties want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Run,
    Pause,
    Withdraw,
    /// None any more: the result is being handed over.
    Over,
}

impl Default for Training {
    fn default() -> Self {
        Self { course: Course::default(), wish: watch::Sender::new(Wish::Run), refined: OnceLock::new() }
    }
}

impl Training {
    /// Begins the job in a task of its own.
    pub(crate) fn start(cx: Context, job: Arc<Job>, ready: Ready) {
        tokio::spawn(async move {
            let Some(training) = job.training() else { return };
            let ended = Run { cx, job: &job, training, keys: ready.keys }.run(ready.checkpoint).await;
            job.conclude(ended);
        });
    }

    /// What a party wants; a withdrawal stands. False where it comes too late.
    pub(crate) fn wish(&self, wish: Wish) -> bool {
        let mut heard = true;
        self.wish.send_if_modified(|now| {
            heard = *now != Wish::Over;
            let changes = heard && *now != Wish::Withdraw && *now != wish;
            if changes {
                *now = wish;
            }
            changes
        });
        heard
    }

    /// A wish of an earlier attempt is not the next one's.
    pub(crate) fn reopen(&self) {
        self.wish.send_replace(Wish::Run);
    }

    /// The last moment at which somebody may have withdrawn.
    fn close(&self) -> Result<(), Refusal> {
        match self.wish.send_replace(Wish::Over) {
            Wish::Withdraw => Err(withdrawn()),
            _ => Ok(()),
        }
    }

    /// The result's place and its metrics, once there is one.
    pub(crate) fn refined(&self) -> Option<&Refined> {
        self.refined.get()
    }
}

/// One ceremony's training.
struct Run<'a> {
    cx: Context,
    job: &'a Job,
    training: &'a Training,
    keys: Keys,
}

/// How one worker ended.
enum Ended {
    Trained(Box<Report>, Zeroizing<Vec<u8>>),
    Wished,
    Died(Refusal),
}

impl Run<'_> {
    /// The whole path.
    async fn run(self, told: u64) -> Result<Bundle, Refusal> {
        let kept = self.checkpoints(told)?;
        let trained = self.train(kept.as_ref(), told).await;
        // Whatever happened, the model and the data went with the workers' processes.
        self.job.log(Event::Wiped);
        let closed = self.training.close();
        let withdrawn = closed.is_err();
        let (report, result) = match trained.and_then(|trained| closed.map(|()| trained)) {
            Ok(trained) => trained,
            Err(refusal) => {
                if let (true, Some(kept)) = (withdrawn, &kept) {
                    kept.forget().await;
                }
                return Err(refusal);
            }
        };
        self.check(&report, &result)?;
        self.job.log(Event::Trained { steps: report.record.steps, units: report.record.units });
        let asset = self.seal(&result).await?;
        drop(result);
        // A host whose disk is full has spent nothing: the parties grant anew, and the last checkpoint is there.
        self.job.take_run()?;
        let mut bundle = self.job.prove(&self.cx, report.record.digest(), report.record.units).await?;
        bundle.training = Some(report.record);
        let _ = self.training.refined.set(Refined { asset, metrics: report.metrics });
        // The last checkpoint stays until the owner has collected: an enclave that ends before that takes the
        // result along, and its successor needs it.
        Ok(bundle)
    }

    /// Where states are kept; nowhere on a platform without sealing keys.
    fn checkpoints(&self, told: u64) -> Result<Option<Checkpoints>, Refusal> {
        let released: Vec<&FileKey> = self.keys.data.iter().chain([&self.keys.model]).collect();
        let made = tokio::task::block_in_place(|| Checkpoints::new(&self.cx, self.job.hash(), &released));
        match made {
            Ok(kept) => Ok(Some(kept)),
            Err(refusal) if told > 0 => Err(refusal),
            Err(_) => Ok(None),
        }
    }

    /// Workers, one after the other, until one has done it.
    async fn train(&self, kept: Option<&Checkpoints>, told: u64) -> Result<(Box<Report>, Zeroizing<Vec<u8>>), Refusal> {
        let (mut floor, mut deaths) = (told, 0u32);
        loop {
            let last = floor;
            match self.attempt(kept, &mut floor).await? {
                Ended::Trained(report, result) => return Ok((report, result)),
                Ended::Wished => self.wait().await?,
                Ended::Died(refusal) => {
                    deaths = if floor > last { 1 } else { deaths.saturating_add(1) };
                    if deaths >= DEATHS {
                        return Err(refusal);
                    }
                }
            }
        }
    }

    /// One worker, from the newest checkpoint, or from the start where there is none. `floor` is the newest
    /// checkpoint that was kept, and stays that.
    async fn attempt(&self, kept: Option<&Checkpoints>, floor: &mut u64) -> Result<Ended, Refusal> {
        let memory = self.job.manifest().limits.memory;
        self.job.enter(Phase::Loading);
        let mut state = None;
        let recalled = match kept {
            Some(kept) => kept.recall(*floor).await?,
            None => None,
        };
        if let Some(checkpoint) = recalled {
            *floor = checkpoint.number();
            self.job.log(Event::Resumed { checkpoint: *floor });
            state = Some(checkpoint.state(memory).await?);
        }
        let order = self.order().await?;
        let (stream, process) = Process::start(&self.cx, Role::Training, memory)?;
        let (feeder, listener) = split(stream, &order);
        let mut wishes = self.training.wish.subscribe();
        let ended = tokio::select! {
            ended = self.converse(&process, feeder, listener, &order, state, kept, floor) => ended,
            _ = wishes.wait_for(|wish| *wish != Wish::Run) => Ok(Ended::Wished),
        };
        process.end().await;
        ended
    }

    /// All that is said with one worker.
    #[allow(clippy::too_many_arguments, reason = "what one worker's conversation is about")]
    async fn converse(
        &self,
        process: &Process,
        feeder: Feeder,
        listener: Listener,
        order: &Order,
        state: Option<Zeroizing<Vec<u8>>>,
        kept: Option<&Checkpoints>,
        floor: &mut u64,
    ) -> Result<Ended, Refusal> {
        let (mut idle, mut feeding) = (None, Some(Box::pin(self.feed_order(feeder, order, state)) as Feeding<'_>));
        // One future over all turns: a frame that is half heard when something else happens is not lost.
        let mut hearing = Box::pin(hear(listener));
        loop {
            let news = tokio::select! {
                done = next(&mut feeding) => {
                    feeding = None;
                    idle = fed(done)?;
                    continue;
                }
                (listener, news) = &mut hearing => {
                    hearing.set(hear(listener));
                    news
                }
            };
            let news = match news {
                Ok(news) => news,
                Err(EngineError::Refused(refusal)) => return Err(refusal),
                Err(EngineError::Gone) => {
                    let refusal = process.explain(Err::<(), _>(EngineError::Gone)).await.err();
                    let refusal =
                        refusal.unwrap_or_else(|| Refusal::new(RefusalCode::EngineCrashed, "the worker ended"));
                    // Too little memory is no accident: the next worker would need as much.
                    let again = refusal.code == RefusalCode::EngineCrashed;
                    return if again { Ok(Ended::Died(refusal)) } else { Err(refusal) };
                }
                Err(fault) => return process.explain(Err(fault)).await,
            };
            if matches!(news, News::Pass { .. } | News::Trained { .. })
                && let Some(under_way) = feeding.take()
            {
                // It has read to the end what it was fed; that this was what was signed may show a moment later.
                idle = fed(under_way.await)?;
            }
            match news {
                News::Ready => self.job.enter(Phase::Running),
                News::Pass { source } => {
                    let Some(feeder) = idle.take() else { return process.explain(Err(EngineError::Protocol)).await };
                    feeding = Some(Box::pin(self.feed_data(feeder, source)));
                }
                News::Progress(progress) => {
                    if let Err(Untold) = self.training.course.extend(progress, order.plan.epochs) {
                        return process.explain(Err(EngineError::Protocol)).await;
                    }
                }
                News::Checkpoint { number, state } => {
                    if let Some(kept) = kept {
                        kept.keep(number, &state).await?;
                        *floor = number;
                        self.training.course.kept(number);
                    }
                }
                // Before everything that was fed is known to be what was signed, nothing made of it counts.
                News::Trained { report, result } if idle.is_some() => return Ok(Ended::Trained(report, result)),
                News::Trained { .. } => return process.explain(Err(EngineError::Protocol)).await,
            }
        }
    }

    async fn order(&self) -> Result<Order, Refusal> {
        let (manifest, plan) = (self.job.manifest(), &self.job.signed().plan);
        let missing = || Refusal::new(RefusalCode::PlanInvalid, "the manifest's training plan is missing");
        let mut data = Vec::new();
        for source in 0..self.keys.data.len() {
            let (digest, reader) = self.open(source).await?;
            data.push((digest, reader.plaintext_len()));
        }
        let limits = &manifest.limits;
        let (units, memory) = (limits.units, limits.memory);
        let limits = Limits { units, memory, threads: threads(), window: Limits::WINDOW };
        let plan = plan.clone().ok_or_else(missing)?;
        let noise = plan.privacy.map(|_| self.cx.nonce());
        let averaged = self.job.averaged();
        Ok(Order { plan, limits, model: manifest.model, data, salt: self.cx.nonce(), noise, averaged })
    }

    async fn open(&self, source: usize) -> Result<(Digest, AssetReader), Refusal> {
        let missing = || Refusal::new(RefusalCode::EngineCrashed, "the worker asks for data that there is not");
        let set = self.job.manifest().data_sets().nth(source).ok_or_else(missing)?;
        let key = self.keys.data.get(source).ok_or_else(missing)?;
        Ok((set.data, self.cx.open(set.data, key).await?))
    }

    async fn feed_order(
        &self,
        mut feeder: Feeder,
        order: &Order,
        state: Option<Zeroizing<Vec<u8>>>,
    ) -> Result<Feeder, Stop> {
        let reader = self.cx.open(order.model, &self.keys.model).await?;
        let (len, (sender, mut pieces)) = (reader.plaintext_len(), mpsc::channel(PIECES));
        self.job.expect_bytes(reader.ciphertext_len());
        let reading = reader.stream(sender, |bytes| self.job.loaded(bytes));
        let writing = feeder.order(order, len, &mut pieces, state.as_ref().map(|state| state.as_slice()));
        let bytes = together(reading, writing).await?;
        self.job.log(Event::Opened { role: Party::Model, bytes });
        Ok(feeder)
    }

    async fn feed_data(&self, mut feeder: Feeder, source: usize) -> Result<Feeder, Stop> {
        let (_, reader) = self.open(source).await?;
        let (len, (sender, mut pieces)) = (reader.plaintext_len(), mpsc::channel(PIECES));
        let first = self.training.course.first_pass(source);
        if first {
            self.job.expect_bytes(reader.ciphertext_len());
        }
        let progress = |bytes| {
            if first {
                self.job.loaded(bytes)
            }
        };
        let bytes = together(reader.stream(sender, progress), feeder.feed(len, &mut pieces)).await?;
        if first {
            self.job.log(Event::Opened { role: Party::Data, bytes });
        }
        Ok(feeder)
    }

    /// What a worker that a hostile model has taken over could misstate.
    fn check(&self, report: &Report, result: &[u8]) -> Result<(), Refusal> {
        let (manifest, record) = (self.job.manifest(), &report.record);
        let data = manifest.data_sets().map(|set| set.data);
        let fits = record.check().is_ok()
            && self.job.signed().plan.as_ref().is_some_and(|plan| record.fits(plan).is_ok())
            && record.plan == manifest.plan
            && record.model == manifest.model
            && record.data.iter().copied().eq(data)
            && record.units <= manifest.limits.units
            && record.result.0 == *blake3::hash(result).as_bytes()
            && record.metrics == report.metrics.commitment()
            && report.metrics.epochs.len().checked_add(1) == Some(record.weights.len());
        let broken = || Refusal::new(RefusalCode::EngineCrashed, "the worker's report is not of this job");
        fits.then_some(()).ok_or_else(broken)
    }

    async fn seal(&self, result: &[u8]) -> Result<Digest, Refusal> {
        let mut file = self.cx.seal(&self.job.manifest().recipients).await?;
        for piece in result.chunks(1 << 20) {
            if let Err(refusal) = file.write(piece).await {
                file.abort().await;
                return Err(refusal);
            }
        }
        let sealed = file.finish().await?;
        self.job.log(Event::Sealed { bytes: sealed.bytes });
        Ok(sealed.digest)
    }

    /// Until the owner wants it to go on, or a party does not.
    async fn wait(&self) -> Result<(), Refusal> {
        let mut wishes = self.training.wish.subscribe();
        if *wishes.borrow() == Wish::Pause {
            self.job.enter(Phase::Paused);
        }
        let gone = |_| Refusal::new(RefusalCode::Withdrawn, "the job is gone");
        let wish = *wishes.wait_for(|wish| *wish != Wish::Pause).await.map_err(gone)?;
        match wish {
            Wish::Withdraw => Err(withdrawn()),
            _ => Ok(()),
        }
    }
}

fn withdrawn() -> Refusal {
    Refusal::new(RefusalCode::Withdrawn, "a party has withdrawn from this job")
}

/// Content on its way to the worker; gives the feeder back.
type Feeding<'a> = Pin<Box<dyn Future<Output = Result<Feeder, Stop>> + Send + 'a>>;

/// Waits for what is under way, if anything is.
async fn next(feeding: &mut Option<Feeding<'_>>) -> Result<Feeder, Stop> {
    match feeding {
        Some(feeding) => feeding.as_mut().await,
        None => std::future::pending().await,
    }
}

/// What the worker says next, and who hears it.
async fn hear(mut listener: Listener) -> (Listener, Result<News, EngineError>) {
    let news = listener.next().await;
    (listener, news)
}

/// The feeder back, once all it was to feed has reached the worker and was what was signed. A worker that takes no
/// more says why, or is gone.
fn fed(done: Result<Feeder, Stop>) -> Result<Option<Feeder>, Refusal> {
    match done {
        Ok(feeder) => Ok(Some(feeder)),
        Err(Stop::Refused(refusal)) => Err(refusal),
        Err(Stop::Worker) => Ok(None),
    }
}

/// Why content did not reach the worker.
enum Stop {
    /// The host, the key or the file is to blame.
    Refused(Refusal),
    /// The worker takes no more. It says why.
    Worker,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A stream of an asset and its way into the worker, side by side: the ciphertext bytes, once their digest
/// has matched.
async fn together(
    reading: impl Future<Output = Result<u64, Refusal>>,
    writing: impl Future<Output = Result<(), EngineError>>,
) -> Result<u64, Stop> {
    let (read, written) = tokio::join!(reading, writing);
    match (read, written) {
        (Ok(bytes), Ok(())) => Ok(bytes),
        (Err(refusal), _) if refusal.code != RefusalCode::NotReady => Err(Stop::Refused(refusal)),
        _ => Err(Stop::Worker),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_withdrawal_is_heard_until_the_result_is_handed_over() {
        let training = Training::default();
        assert!(training.wish(Wish::Pause) && training.wish(Wish::Withdraw));
        assert!(training.wish(Wish::Run), "heard, and without effect");
        assert_eq!(training.close().map_err(|refusal| refusal.code), Err(RefusalCode::Withdrawn));
        assert!(!training.wish(Wish::Withdraw), "too late");
        // What was wished of one attempt is not wished of the next.
        training.reopen();
        assert_eq!(training.close(), Ok(()));
        assert!(!training.wish(Wish::Withdraw));
    }
}
