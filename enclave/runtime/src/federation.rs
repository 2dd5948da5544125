//! A federation, as its aggregator: one model, trained by the enclaves of several sites round by round, and
//! averaged here.
//!
//! Nobody calls anybody: each site's own client brings its enclave's credential, takes the model that is sealed
//! to that enclave, and brings back what it made of it. One task holds everything and answers one after the
//! other, so there is nothing to lock. Rounds that have closed are checkpoints: a federation whose aggregator
//! died goes on from the last, once the model provider has granted anew.

mod membership;
mod rounds;
mod update;

use crate::{
    ceremony::{Keys, Ready},
    job::{Job, PIECES},
    worker::{Process, Role},
};
use glacier_app::{Address, Checkpoints, Context, Refusal, RefusalCode, SealedResult};
use glacier_proof::{AttestedPeer, Bundle, Judge, seat_policy};
use glacier_train::merge::{Flat, Mill};
use glacier_wire::{
    Digest, FileKey, ManifestHash, Recipient, Role as Party, SignedManifest,
    api::{Event, Phase},
    federation::{Credential, Delivery, Errand, FederationPlan, FederationRecord, FederationStatus, Offer, Task},
    training::TrainingRecord,
};
use rounds::{Rounds, Update};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use update::Issued;
use zeroize::Zeroizing;

pub(crate) use membership::release;

/// Requests that wait while one is answered.
const WAITING: usize = 64;

/// What the parties see of a federation and may ask of it.
pub(crate) struct Federation {
    asks: Mutex<Option<mpsc::Sender<Ask>>>,
    status: watch::Sender<FederationStatus>,
}

struct Ask {
    peer: Address,
    what: What,
    reply: oneshot::Sender<Result<Option<Task>, Refusal>>,
}

/// What a party asks for.
pub(crate) enum What {
    /// Its part in the round under way, for the enclave of this credential.
    Part(Box<Credential>),
    /// That its update be taken.
    Take(Delivery),
    /// An end.
    Withdraw,
}

impl Federation {
    pub(crate) fn new(manifest: ManifestHash, plan: &FederationPlan) -> Self {
        let status = FederationStatus {
            manifest,
            round: 1,
            rounds: plan.rounds,
            delivered: Vec::new(),
            overdue: false,
            result: None,
            checkpoint: 0,
        };
        Self { asks: Mutex::new(None), status: watch::Sender::new(status) }
    }

    /// Begins it in a task of its own.
    pub(crate) fn start(cx: Context, job: Arc<Job>, ready: Ready) {
        tokio::spawn(async move {
            let Some(federation) = job.federation() else { return };
            let (sender, inbox) = mpsc::channel(WAITING);
            *federation.asks() = Some(sender);
            let ended = conduct(&cx, &job, federation, ready, inbox).await;
            federation.asks().take();
            // The initial model went with its worker, the present one with what held it.
            job.log(Event::Wiped);
            job.conclude(ended);
        });
    }

    pub(crate) fn status(&self) -> FederationStatus {
        self.status.borrow().clone()
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask(&self, peer: Address, what: What) -> Result<Offer, Refusal> {
        let over = || Refusal::new(RefusalCode::NotReady, "the federation has not begun yet, or has ended");
        let sender = self.asks().clone().ok_or_else(over)?;
        let (reply, answer) = oneshot::channel();
        sender.send(Ask { peer, what, reply }).await.map_err(|_| over())?;
        let task = answer.await.map_err(|_| over())??;
        Ok(Offer { status: self.status(), task })
    }

    fn asks(&self) -> std::sync::MutexGuard<'_, Option<mpsc::Sender<Ask>>> {
        self.asks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The whole path: the initial model, round after round, the result and its proof.
async fn conduct(
    cx: &Context,
    job: &Job,
    federation: &Federation,
    ready: Ready,
    mut inbox: mpsc::Receiver<Ask>,
) -> Result<Bundle, Refusal> {
    let Ready { keys, checkpoint: told, .. } = ready;
    let mut run = Run::begin(cx, job, federation, keys, told).await?;
    job.enter(Phase::Running);
    while run.rounds.round().is_some() {
        run.tell();
        let deadline = run.deadline;
        let patience = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let ask = tokio::select! {
            ask = inbox.recv() => ask.ok_or_else(|| Refusal::new(RefusalCode::Withdrawn, "the federation is gone"))?,
            () = patience => {
                run.deadline = None;
                run.rounds.expire();
                run.close_if_complete().await?;
                continue;
            }
        };
        let (answer, then) = run.answer(ask.peer, ask.what).await;
        run.tell();
        // Whoever asked may be gone.
        let _ = ask.reply.send(answer);
        then?;
    }
    run.finish().await
}

/// One ceremony's federation.
struct Run<'a> {
    cx: &'a Context,
    job: &'a Job,
    federation: &'a Federation,
    plan: &'a FederationPlan,
    kept: Option<Checkpoints>,
    checkpoint: u64,
    /// The initial model: its graph is every round's.
    initial: Zeroizing<Vec<u8>>,
    /// The model of the round under way.
    model: Zeroizing<Vec<u8>>,
    rounds: Rounds,
    issued: HashMap<ManifestHash, Issued>,
    /// Of the round under way, by site.
    offers: HashMap<u32, (Recipient, Task)>,
    deadline: Option<Instant>,
    credential: Credential,
}

impl<'a> Run<'a> {
    /// Fetches the initial model, or the one of the last round that has closed.
    async fn begin(
        cx: &'a Context,
        job: &'a Job,
        federation: &'a Federation,
        keys: Keys,
        told: u64,
    ) -> Result<Self, Refusal> {
        let missing = || Refusal::new(RefusalCode::PlanInvalid, "the manifest's federation plan is missing");
        let plan = job.signed().federation.as_ref().ok_or_else(missing)?;
        job.enter(Phase::Loading);
        let manifest = job.manifest();
        let (initial, bytes) = fetch(cx, job, manifest.model, &keys.model, manifest.limits.memory).await?;
        job.log(Event::Opened { role: Party::Model, bytes });
        let flat = read(cx, job, plan, &initial).await?;
        within_limits(job, plan, &initial, &flat)?;
        let mut rounds = Rounds::new(plan.clone(), flat);
        let kept = match tokio::task::block_in_place(|| Checkpoints::new(cx, job.hash(), &[&keys.model])) {
            Ok(kept) => Some(kept),
            Err(refusal) if told > 0 => return Err(refusal),
            // A platform without sealing keys: the rounds live as long as this enclave.
            Err(_) => None,
        };
        let (mut model, mut checkpoint) = (initial.clone(), 0);
        if let Some(kept) = &kept
            && let Some(found) = kept.recall(told).await?
        {
            checkpoint = found.number();
            rounds.restore(&found.state(manifest.limits.memory).await?)?;
            if u64::from(rounds.closed()) != checkpoint {
                return Err(Refusal::new(RefusalCode::CheckpointForged, "the checkpoint is not of its round"));
            }
            job.log(Event::Resumed { checkpoint });
            model = write(cx, job, plan, &initial, rounds.weights()).await?;
        }
        let (issued, offers) = (HashMap::new(), HashMap::new());
        let (deadline, credential) = (None, cx.credential()?);
        Ok(Self {
            cx,
            job,
            federation,
            plan,
            kept,
            checkpoint,
            initial,
            model,
            rounds,
            issued,
            offers,
            deadline,
            credential,
        })
    }

    /// What the asker is told, and whether the federation goes on: what one party does wrong ends nothing.
    async fn answer(&mut self, peer: Address, what: What) -> (Result<Option<Task>, Refusal>, Result<(), Refusal>) {
        match what {
            What::Part(credential) => (self.part(peer, &credential).await, Ok(())),
            What::Take(delivery) => match self.take(peer, &delivery).await {
                Ok(()) => (Ok(None), self.close_if_complete().await),
                Err(refusal) => (Err(refusal), Ok(())),
            },
            What::Withdraw => {
                if let Some(kept) = &self.kept {
                    kept.forget().await;
                }
                (Ok(None), Err(Refusal::new(RefusalCode::Withdrawn, "a party has withdrawn from this federation")))
            }
        }
    }

    /// A site's part in the round under way: the aggregator attests the site.
    async fn part(&mut self, peer: Address, credential: &Credential) -> Result<Option<Task>, Refusal> {
        let Some(round) = self.rounds.round() else { return Ok(None) };
        let (site, enclave) = match self.seated(peer, credential)? {
            (Some(site), enclave) => (site, enclave),
            (None, _) => return Ok(None),
        };
        if let Some((recipient, task)) = self.offers.get(&site)
            && *recipient == enclave.recipient()
        {
            return Ok(Some(task.clone()));
        }
        let model = self.seal(&[enclave.recipient()], &self.model).await?.digest;
        let errand =
            Errand { round, site, aggregator: self.cx.enclave_key(), recipient: self.credential.recipient, model };
        let missing = || Refusal::new(RefusalCode::UpdateInvalid, "the federation has no such site");
        let manifest = self.plan.site_manifest(self.job.manifest(), &errand).ok_or_else(missing)?;
        let signatures = vec![self.cx.endorse(&manifest)?];
        let hash = manifest.hash();
        let manifest = SignedManifest { manifest, signatures, plan: Some(self.plan.of_round(round)), federation: None };
        let task = Task { round, site, manifest, aggregator: self.credential.clone() };
        // An enclave that died takes what it was asked for with it.
        self.issued.retain(|_, issued| (issued.round, issued.site) != (round, site));
        self.issued.insert(hash, Issued { round, site, enclave_key: enclave.enclave_key() });
        self.offers.insert(site, (enclave.recipient(), task.clone()));
        Ok(Some(task))
    }

    /// Which of the caller's sites the enclave of this credential is to train for now; none where all that it
    /// may sit for have delivered.
    fn seated(&self, peer: Address, credential: &Credential) -> Result<(Option<u32>, AttestedPeer), Refusal> {
        let not_yours = Refusal::new(RefusalCode::NotYours, "the federation names no data of yours");
        let (mut found, mut why) = (None, not_yours);
        let sets = self.job.manifest().contributions.iter();
        for ((site, set), seat) in (0u32..).zip(sets).zip(&self.plan.sites).filter(|((_, set), _)| set.provider == peer)
        {
            let policy = seat_policy(seat);
            match AttestedPeer::of(credential, Judge::Policy(&policy), self.cx.now()) {
                Ok(enclave) if !self.rounds.has(site) => return Ok((Some(site), enclave)),
                Ok(enclave) => found = Some(enclave),
                Err(fault) => {
                    let detail = format!("the credential of the enclave for data set {}: {fault}", set.data);
                    why = Refusal::new(RefusalCode::CredentialInvalid, detail);
                }
            }
        }
        found.map(|enclave| (None, enclave)).ok_or(why)
    }

    /// Takes a site's update, once its proof holds and its weights are the ones that the proof names.
    async fn take(&mut self, peer: Address, delivery: &Delivery) -> Result<(), Refusal> {
        let invalid = |detail: &str| Refusal::new(RefusalCode::UpdateInvalid, detail);
        let bundle = Bundle::decode(&delivery.bundle).map_err(|_| invalid("the proof cannot be read"))?;
        let issued = self.issued.get(&bundle.proof.proof.manifest).copied();
        let issued = issued.ok_or_else(|| invalid("the proof is of no training that was asked for here"))?;
        let place = usize::try_from(issued.site).unwrap_or(usize::MAX);
        let (set, seat) = (self.job.manifest().contributions.get(place), self.plan.sites.get(place));
        let (Some(set), Some(seat)) = (set, seat) else { return Err(invalid("the federation has no such site")) };
        if set.provider != peer {
            return Err(Refusal::new(RefusalCode::NotYours, "the update is another party's"));
        }
        self.rounds.wants(issued.round, issued.site)?;
        let update::Verified { record, result } = update::verify(&bundle, &issued, seat, self.cx.now())?;
        let key = self.cx.unwrap(delivery.asset).await?;
        let most = (self.initial.len() as u64).saturating_mul(2).saturating_add(SLACK);
        let (weights, _) = fetch(self.cx, self.job, delivery.asset, &key, most).await?;
        if Digest(*blake3::hash(&weights).as_bytes()) != result {
            return Err(invalid("the weights are not the ones that the proof names"));
        }
        let flat = read(self.cx, self.job, self.plan, &weights).await?;
        let record =
            glacier_wire::federation::SiteUpdate { weights: TrainingRecord::weights_digest(&flat.values), ..record };
        if self.rounds.accept(issued.round, Update { record, flat })? {
            self.deadline = Instant::now().checked_add(Duration::from_secs(u64::from(self.plan.patience)));
        }
        Ok(())
    }

    /// Averages, and has the host keep the round.
    async fn close_if_complete(&mut self) -> Result<(), Refusal> {
        if !self.rounds.complete() {
            return Ok(());
        }
        let sites = u32::try_from(self.rounds.delivered().len()).unwrap_or(u32::MAX);
        self.rounds.close()?;
        self.model = write(self.cx, self.job, self.plan, &self.initial, self.rounds.weights()).await?;
        self.offers.clear();
        self.deadline = None;
        let round = self.rounds.closed();
        if let Some(kept) = &self.kept {
            kept.keep(u64::from(round), &self.rounds.state()).await?;
            self.checkpoint = u64::from(round);
        }
        self.job.log(Event::Merged { round, sites });
        Ok(())
    }

    /// Seals the model of the last round to its recipients, and proves how it came about.
    async fn finish(self) -> Result<Bundle, Refusal> {
        let sealed = self.seal(&self.job.manifest().recipients, &self.model).await?;
        self.job.log(Event::Sealed { bytes: sealed.bytes });
        // A host whose disk is full has spent nothing: the last round is a checkpoint.
        self.job.take_run()?;
        let (rounds, units) = self.rounds.record();
        let record = FederationRecord {
            plan: self.job.manifest().plan,
            model: self.job.manifest().model,
            rounds,
            result: Digest(*blake3::hash(&self.model).as_bytes()),
            units,
        };
        let mut bundle = self.job.prove(self.cx, record.digest(), units).await?;
        bundle.federation = Some(record);
        self.tell();
        self.federation.status.send_modify(|status| status.result = Some(sealed.digest));
        // The last round stays until the model provider has the result: an enclave that ends before that takes it
        // along, and its successor makes it again from there.
        Ok(bundle)
    }

    async fn seal(&self, recipients: &[Recipient], content: &[u8]) -> Result<SealedResult, Refusal> {
        let mut file = self.cx.seal(recipients).await?;
        for piece in content.chunks(1 << 20) {
            if let Err(refusal) = file.write(piece).await {
                file.abort().await;
                return Err(refusal);
            }
        }
        file.finish().await
    }

    fn tell(&self) {
        self.federation.status.send_modify(|status| {
            status.round = self.rounds.closed().saturating_add(1);
            status.delivered = self.rounds.delivered();
            status.overdue = self.rounds.overdue();
            status.checkpoint = self.checkpoint;
        });
    }
}

/// Bytes that an update may have beyond twice the model: weights may be written in another way than they came.
const SLACK: u64 = 64 << 10;

/// The content of an asset, all of it the one that was named, and the length of its ciphertext; at most `most` bytes.
async fn fetch(
    cx: &Context,
    job: &Job,
    asset: Digest,
    key: &FileKey,
    most: u64,
) -> Result<(Zeroizing<Vec<u8>>, u64), Refusal> {
    let too_large = || Refusal::new(RefusalCode::MemoryLimit, "the model is larger than it may be");
    let reader = cx.open(asset, key).await?;
    job.expect_bytes(reader.ciphertext_len());
    let len = usize::try_from(reader.plaintext_len()).ok().filter(|_| reader.plaintext_len() <= most);
    let len = len.ok_or_else(too_large)?;
    let mut content = Zeroizing::new(Vec::new());
    content.try_reserve_exact(len).map_err(|_| too_large())?;
    let (sender, mut pieces) = mpsc::channel::<Zeroizing<Vec<u8>>>(PIECES);
    let collecting = async {
        while let Some(piece) = pieces.recv().await {
            if content.len().saturating_add(piece.len()) > len {
                return Err(too_large());
            }
            content.extend_from_slice(&piece);
        }
        Ok(())
    };
    let (read, collected) = tokio::join!(reader.stream(sender, |bytes| job.loaded(bytes)), collecting);
    let bytes = read?;
    collected?;
    Ok((content, bytes))
}

/// A model's weights, read in a worker: the bytes are foreign.
async fn read(cx: &Context, job: &Job, plan: &FederationPlan, model: &[u8]) -> Result<Flat, Refusal> {
    let memory = job.manifest().limits.memory;
    let (stream, process) = Process::start(cx, Role::Merging, memory)?;
    let flat = process.explain(Mill::new(stream, memory, plan.local.output.as_deref()).read(model).await).await;
    process.end().await;
    flat
}

/// A model with other weights, written in a worker.
async fn write(
    cx: &Context,
    job: &Job,
    plan: &FederationPlan,
    model: &[u8],
    weights: &[f32],
) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let memory = job.manifest().limits.memory;
    let (stream, process) = Process::start(cx, Role::Merging, memory)?;
    let written =
        process.explain(Mill::new(stream, memory, plan.local.output.as_deref()).write(model, weights).await).await;
    process.end().await;
    written
}

/// Whether the weights of all sites can be held at once, and averaged as often as the plan says.
fn within_limits(job: &Job, plan: &FederationPlan, model: &[u8], flat: &Flat) -> Result<(), Refusal> {
    let limits = &job.manifest().limits;
    let (weights, sites) = (flat.values.len() as u64, plan.sites.len() as u64);
    let lists = weights.saturating_mul(4).saturating_mul(sites.saturating_add(3));
    if lists.saturating_add((model.len() as u64).saturating_mul(4)) > limits.memory {
        let detail = "the weights of all sites need more memory than the manifest allows";
        return Err(Refusal::new(RefusalCode::MemoryLimit, detail));
    }
    if weights.saturating_mul(sites).saturating_mul(u64::from(plan.rounds)) > limits.units {
        return Err(Refusal::new(RefusalCode::UnitLimit, "the averages need more units than the manifest allows"));
    }
    Ok(())
}
