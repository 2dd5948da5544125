//! Training across sites: several owners train one model, each on data that stays at its own node.
//!
//! Everybody signs one job ([`Draft::federation`](crate::Draft::federation)). Then the owner of the initial model
//! [`lead`]s, and each owner of data [`take_part`]s: a loop that carries what the enclaves have to say to each
//! other. Enclaves attest each other by what is carried; a client that lies, loses or repeats harms availability
//! alone.

use crate::{
    Boxed,
    ceremony::Release,
    error::{Error, Unproved},
    file::Scratch,
    keystore::Key,
    node::Node,
    seal::{SealError, most_sealed, open_expected},
    session::{RequestError, Session},
    training::{MAX_MODEL, PATIENCE, PAUSE, passing},
    verify::now,
};
use glacier_attest::Policy;
use glacier_channel::Freshness;
use glacier_proof::{AttestedPeer, Bundle, Judge, ProofCheck, VerifiedProof, seat_policy};
use glacier_wire::{
    Address, Digest, FileKey, ManifestHash, PlatformKind, Role, RootFingerprint, SignedManifest, UnixTime, Work,
    api::{Phase, RefusalCode},
    cbor,
    federation::{
        Credential, Delivery, Errand, FederationPlan, FederationRecord, FederationStatus, Membership, Offer, Seat, Task,
    },
    training::{Refined, TrainingMetrics},
};
use std::time::Instant;
use zeroize::Zeroizing;

/// A node, and what its enclave must be.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The node.
    pub node: &'a Node,
    /// Accepts its enclave.
    pub policy: &'a Policy,
    /// Whether the chip makes a new quote for each session.
    pub freshness: Freshness,
}

impl<'a> Place<'a> {
    /// With quotes as the enclave has them.
    pub fn new(node: &'a Node, policy: &'a Policy) -> Self {
        Self { node, policy, freshness: Freshness::Cached }
    }

    async fn connect(&self, key: &Key) -> Result<Session, Error> {
        Ok(self.node.connect(self.policy, key.identity(), self.freshness).await?)
    }
}

/// One owner's data in a federation.
#[derive(Debug)]
pub struct Part<'a> {
    /// Signed by everybody.
    pub federation: &'a SignedManifest,
    /// Where models are averaged.
    pub aggregator: Place<'a>,
    /// Where this data is trained on. Its ciphertext is there.
    pub site: Place<'a>,
    /// Which of the contributions it is.
    pub data: Digest,
    /// Opens it.
    pub file_key: FileKey,
}

/// What happens to one who takes part, as it happens.
#[derive(Debug)]
#[non_exhaustive]
pub enum SiteStep<'a> {
    /// The site's enclave has what it needs for this round.
    Begun {
        /// From 1.
        round: u32,
    },
    /// It has trained; nobody but the owner of the data sees these figures.
    Trained {
        /// From 1.
        round: u32,
        /// How good the model was on the rows that this site holds out.
        metrics: &'a TrainingMetrics,
    },
    /// The aggregator has taken the update. It may take one of this round again, after it began the round anew: the
    /// later one counts.
    Delivered {
        /// From 1.
        round: u32,
        /// The proof of this site's training, and what only its owner may know.
        update: &'a Contributed,
    },
    /// The round closed without this site; it goes on with the present one.
    Late {
        /// From 1.
        round: u32,
    },
    /// Nothing to do before the others have delivered.
    Idle(&'a FederationStatus),
    /// Something is away, and is waited for.
    Waiting(&'a Error),
}

/// What one owner's part came to.
#[derive(Debug, Clone)]
pub struct Participation {
    /// The federation's end.
    pub status: FederationStatus,
    /// The update of each round that was delivered: of a round that began anew, the last.
    pub updates: Vec<Contributed>,
}

/// One update.
#[derive(Debug, Clone)]
pub struct Contributed {
    /// From 1.
    pub round: u32,
    /// The site's proof.
    pub bundle: Bundle,
    /// How good the model was on the rows that this site holds out.
    pub metrics: TrainingMetrics,
}

/// The model that a federation made, and why it can be trusted.
#[derive(Debug, Clone)]
pub struct Merged {
    /// The ONNX model.
    pub model: Zeroizing<Vec<u8>>,
    /// What was proved of how it came about.
    pub record: FederationRecord,
    /// The statement that was checked.
    pub proof: VerifiedProof,
    /// What it was checked by, for display.
    pub checks: Vec<ProofCheck>,
    /// The combined proof, to keep or to show to others.
    pub bundle: Bundle,
}

/// Takes part to the end: whenever there is a round, brings its model to the own node, has the own enclave train
/// it on the own data, and brings back what came of it. Waits for nodes that are away, and goes on in the round
/// that is under way when they return.
///
/// # Errors
/// [`Error`]: what waiting does not heal.
pub async fn take_part(
    part: &Part<'_>,
    key: &Key,
    watch: &mut (dyn FnMut(SiteStep<'_>) + Send),
) -> Result<Participation, Error> {
    let (mut updates, mut since) = (Vec::<Contributed>::new(), Instant::now());
    loop {
        let turned = turn(part, key, watch).await;
        match turned {
            Ok(Turn::Over(status)) => return Ok(Participation { status, updates }),
            Ok(Turn::Delivered(update)) => {
                watch(SiteStep::Delivered { round: update.round, update: &update });
                updates.retain(|earlier| earlier.round != update.round);
                updates.push(*update);
                since = Instant::now();
                continue;
            }
            Ok(Turn::Late(round)) => watch(SiteStep::Late { round }),
            Ok(Turn::Idle(status)) => watch(SiteStep::Idle(&status)),
            Err(error) if heals(&error) && since.elapsed() < PATIENCE => {
                watch(SiteStep::Waiting(&error));
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(error) => return Err(error),
        }
        since = Instant::now();
        tokio::time::sleep(PAUSE).await;
    }
}

/// Opens a federation with the initial model, and stays with it: an aggregator that died gets the model's key
/// anew, and goes on from its last round. Hands out the model of the last round after its proof was checked; until
/// then the aggregator can make it again.
///
/// `told` is the newest checkpoint that an earlier call heard of (see [`FederationStatus::checkpoint`]), zero where
/// there was none: a host cannot bring back an older one then.
///
/// # Errors
/// [`Error`]: what waiting does not heal.
pub async fn lead(
    federation: &SignedManifest,
    aggregator: Place<'_>,
    model: &FileKey,
    key: &Key,
    mut told: u64,
    watch: &mut (dyn FnMut(&FederationStatus) + Send),
) -> Result<Merged, Error> {
    let (mut joined, mut since) = (None, Instant::now());
    loop {
        match follow(federation, aggregator, model, key, &mut joined, &mut told).await {
            Ok(Led::Under(status)) => {
                watch(&status);
                since = Instant::now();
            }
            Ok(Led::Done(session)) => {
                let merged = session.merged(aggregator.node, federation, key, aggregator.policy).await?;
                // A host that is not told keeps a sealed file for longer than it has to.
                let _ = session.collected(&federation.manifest.hash()).await;
                return Ok(merged);
            }
            Err(error) if passing(&error) && since.elapsed() < PATIENCE => {}
            Err(error) => return Err(error),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

enum Led {
    Under(FederationStatus),
    Done(Box<Session>),
}

fn follow<'a>(
    federation: &'a SignedManifest,
    aggregator: Place<'a>,
    model: &'a FileKey,
    key: &'a Key,
    joined: &'a mut Option<Address>,
    told: &'a mut u64,
) -> Boxed<'a, Result<Led, Error>> {
    Box::pin(async move {
        let (session, hash) = (aggregator.connect(key).await?, federation.manifest.hash());
        let enclave = session.claims().enclave_key;
        if *joined != Some(enclave) {
            let not_after = federation.manifest.limits.not_after;
            let release =
                Release { role: Role::Model, manifest: federation, file_key: model.duplicate(), uses: 1, not_after };
            match session.join_with(key.identity(), release, federation.manifest.model, *told).await {
                Ok(_) => {}
                // The answer to an earlier try was lost on the way.
                Err(error) if is(&error, &[RefusalCode::GrantReplayed, RefusalCode::GrantExhausted]) => {}
                Err(error) => return Err(error),
            }
            *joined = Some(enclave);
        }
        let status = session.status(&hash).await?;
        match (status.phase, status.refusal) {
            (Phase::Done, _) => Ok(Led::Done(Box::new(session))),
            (Phase::Refused, Some(refusal)) => Err(Error::Refused(refusal)),
            _ => {
                let status = session.federation(&hash).await?;
                *told = status.checkpoint.max(*told);
                Ok(Led::Under(status))
            }
        }
    })
}

enum Turn {
    Over(FederationStatus),
    Idle(FederationStatus),
    Late(u32),
    Delivered(Box<Contributed>),
}

/// One look at the federation, and the work that there is.
async fn turn(part: &Part<'_>, key: &Key, watch: &mut (dyn FnMut(SiteStep<'_>) + Send)) -> Result<Turn, Error> {
    let hash = part.federation.manifest.hash();
    let made = match part.work(key, watch).await? {
        Worked::Over(status) => return Ok(Turn::Over(status)),
        Worked::Idle(status) => return Ok(Turn::Idle(status)),
        Worked::Made(made) => made,
    };
    // It may have taken long: hosts and routers drop connections on which nothing moves.
    let aggregator = part.aggregator.connect(key).await?;
    if aggregator.claims().enclave_key != made.task.manifest.manifest.model_provider {
        // Another enclave by now, which can open nothing of this.
        return Ok(Turn::Late(made.task.round));
    }
    let turn = match aggregator.deliver(&hash, &made.delivery).await {
        Ok(_) => Turn::Delivered(Box::new(made.update)),
        // The answer to an earlier try was lost on the way.
        Err(error) if is(&error, &[RefusalCode::UpdateRepeated]) => Turn::Delivered(Box::new(made.update)),
        Err(error) if is(&error, &[RefusalCode::UpdateLate]) => Turn::Late(made.task.round),
        Err(error) => return Err(error),
    };
    // Nobody needs this round again; a host that is not told keeps a sealed file for longer than it has to.
    if let Ok(site) = part.site.connect(key).await {
        let _ = site.collected(&made.task.manifest.manifest.hash()).await;
    }
    Ok(turn)
}

/// What there was to do.
#[derive(Debug)]
pub enum Worked {
    /// The federation has ended, with a model.
    Over(FederationStatus),
    /// Nothing, for now.
    Idle(FederationStatus),
    /// One site's training of one round.
    Made(Box<Made>),
}

/// An update that is at the aggregator's host, and waits to be delivered.
#[derive(Debug, Clone)]
pub struct Made {
    /// What was asked for.
    pub task: Task,
    /// What came of it.
    pub update: Contributed,
    /// What [`Session::deliver`] takes.
    pub delivery: Delivery,
}

impl Part<'_> {
    /// One site's part in the round under way, but for its delivery: for those who do not leave the loop to
    /// [`take_part`]. Once it was delivered, [`Session::collected`] at the site has its host remove what it kept.
    ///
    /// # Errors
    /// [`Error`]. Nothing was delivered then.
    pub async fn work(&self, key: &Key, watch: &mut (dyn FnMut(SiteStep<'_>) + Send)) -> Result<Worked, Error> {
        let hash = self.federation.manifest.hash();
        let aggregator = self.aggregator.connect(key).await?;
        let status = aggregator.status(&hash).await?;
        match (status.phase, status.refusal) {
            (Phase::Done, _) => return Ok(Worked::Over(aggregator.federation(&hash).await?)),
            (Phase::Refused, Some(refusal)) => return Err(Error::Refused(refusal)),
            (Phase::Running, _) => {}
            _ => return Ok(Worked::Idle(aggregator.federation(&hash).await?)),
        }
        let site = self.site.connect(key).await?;
        let offer = aggregator.part(&hash, &site.credential().await?).await?;
        let Some(task) = offer.task else { return Ok(Worked::Idle(offer.status)) };
        let job = self.accept(&task, key)?;
        let (update, asset) = self.train(&site, &task, &job, key, watch).await?;
        let delivery = Delivery { bundle: cbor::encode(&update.bundle), asset };
        Ok(Worked::Made(Box::new(Made { task, update, delivery })))
    }

    /// Signs the job of a task, if it is exactly what everybody agreed to, for an aggregator that is the one that
    /// everybody agreed to.
    fn accept(&self, task: &Task, key: &Key) -> Result<SignedManifest, Error> {
        let plan = self.plan()?;
        let peer = AttestedPeer::of(&task.aggregator, Judge::Policy(&seat_policy(&plan.aggregator)), now());
        let peer = peer.map_err(|_| Unproved::OtherEnclave)?;
        let errand = Errand {
            round: task.round,
            site: task.site,
            aggregator: peer.enclave_key(),
            recipient: peer.recipient(),
            model: task.manifest.manifest.model,
        };
        let expected = plan.site_manifest(&self.federation.manifest, &errand);
        let expected = expected.filter(|manifest| manifest.data == self.data).ok_or(Unproved::OtherJob)?;
        if expected != task.manifest.manifest {
            return Err(Unproved::OtherJob.into());
        }
        let mut job = task.manifest.clone();
        job.signatures.push(key.identity().sign(&expected.hash().0));
        job.verify().map_err(crate::job::JobError::from)?;
        Ok(job)
    }

    fn plan(&self) -> Result<&FederationPlan, Error> {
        let plan = self.federation.federation.as_ref().filter(|_| self.federation.manifest.work == Work::Federation);
        Ok(plan.ok_or(Unproved::OtherJob)?)
    }

    /// From the aggregator's model to this site's proved and sealed result, which is at the aggregator's host
    /// when this returns.
    async fn train(
        &self,
        site: &Session,
        task: &Task,
        job: &SignedManifest,
        key: &Key,
        watch: &mut (dyn FnMut(SiteStep<'_>) + Send),
    ) -> Result<(Contributed, Digest), Error> {
        let (round, hash) = (task.round, job.manifest.hash());
        let scratch = Scratch::new().map_err(SealError::Write)?;
        carry(self.aggregator.node, self.site.node, &job.manifest.model, &scratch).await?;
        let membership = Membership {
            federation: self.federation.clone(),
            round,
            site: task.site,
            aggregator: task.aggregator.clone(),
        };
        let release = Release {
            role: Role::Data,
            manifest: job,
            file_key: self.file_key.duplicate(),
            uses: 1,
            not_after: UnixTime(job.manifest.limits.not_after.0),
        };
        match site.join_as(key.identity(), release, self.data, 0, Some(membership)).await {
            Ok(_) => {}
            // This enclave has the grant already: an earlier turn was cut off.
            Err(error) if is(&error, &[RefusalCode::GrantReplayed, RefusalCode::GrantExhausted]) => {}
            Err(error) => return Err(error),
        }
        watch(SiteStep::Begun { round });
        site.wait(&hash, &mut |_| ()).await?;
        let bundle = site.result(&hash).await?;
        site.believe(&bundle, &hash, self.site.policy)?;
        let refined: Refined = site.get(&format!("/glacier/v1/jobs/{hash}/refined")).await?.cbor(Refined::MAX_BYTES)?;
        let proved = bundle.training.as_ref().map(|record| record.metrics);
        if proved != Some(refined.metrics.commitment()) {
            return Err(Unproved::OtherOutput.into());
        }
        watch(SiteStep::Trained { round, metrics: &refined.metrics });
        carry(self.site.node, self.aggregator.node, &refined.asset, &scratch).await?;
        Ok((Contributed { round, bundle, metrics: refined.metrics }, refined.asset))
    }
}

/// Bytes of a model or an update on its way: weights may be written in a wider way than they came, with a head.
const MAX_CARRIED: u64 = 2 * MAX_MODEL + (64 << 10);

/// Brings ciphertext from one host to another.
async fn carry(from: &Node, to: &Node, asset: &Digest, scratch: &Scratch) -> Result<(), Error> {
    if from.url() == to.url() {
        return Ok(());
    }
    let file = scratch.path(&format!("{asset}.age"));
    from.download(asset, &file, most_sealed(MAX_CARRIED), &mut |_, _| ()).await?;
    to.upload(asset, &file, &mut |_, _| ()).await?;
    Ok(())
}

/// Whether waiting may heal an error: a node is away or begins anew, or its enclave did in the middle of a turn.
fn heals(error: &Error) -> bool {
    const PASSING: &[RefusalCode] = &[
        RefusalCode::NotReady,
        RefusalCode::Busy,
        RefusalCode::AssetKey,
        RefusalCode::AssetMissing,
        RefusalCode::Host,
        RefusalCode::GrantElsewhere,
    ];
    passing(error) || is(error, PASSING)
}

fn is(error: &Error, codes: &[RefusalCode]) -> bool {
    error.refusal().is_some_and(|refusal| codes.contains(&refusal.code))
}

impl Session {
    /// This session's enclave, as a plan of a federation names it.
    ///
    /// # Errors
    /// [`Error::NoChip`] where its evidence names no chip.
    pub fn seat(&self) -> Result<Seat, Error> {
        let (measurement, enclave_id) = self.place()?;
        let genuine = self.accepted().genuine();
        let simulated = genuine.platform() == PlatformKind::Simulated;
        let simulated_roots = simulated.then(|| RootFingerprint(genuine.anchor().0)).into_iter().collect();
        Ok(Seat { measurement, enclave_id, simulated_roots })
    }

    /// What shows other enclaves who this session's enclave is.
    ///
    /// # Errors
    /// As for any request.
    pub async fn credential(&self) -> Result<Credential, Error> {
        Ok(self.get("/glacier/v1/credential").await?.cbor(Credential::MAX_BYTES)?)
    }

    /// How far a federation is.
    ///
    /// # Errors
    /// As for any request.
    pub async fn federation(&self, job: &ManifestHash) -> Result<FederationStatus, Error> {
        Ok(self.get(&format!("/glacier/v1/jobs/{job}/federation")).await?.cbor(64 << 10)?)
    }

    /// What this party's site is to do in the round under way, sealed to the enclave of this credential.
    ///
    /// # Errors
    /// As for any request; [`RefusalCode::CredentialInvalid`] where the federation does not seat that enclave.
    pub async fn part(&self, job: &ManifestHash, site: &Credential) -> Result<Offer, Error> {
        Ok(self.post(&format!("/glacier/v1/jobs/{job}/round"), site).await?.cbor(Offer::MAX_BYTES)?)
    }

    /// Hands over a site's update.
    ///
    /// # Errors
    /// As for any request; [`RefusalCode::UpdateInvalid`], [`RefusalCode::UpdateLate`],
    /// [`RefusalCode::UpdateRepeated`].
    pub async fn deliver(&self, job: &ManifestHash, delivery: &Delivery) -> Result<Offer, Error> {
        Ok(self.post(&format!("/glacier/v1/jobs/{job}/update"), delivery).await?.cbor(Offer::MAX_BYTES)?)
    }

    /// Fetches what a finished federation made, for one of its recipients: the combined proof is checked first,
    /// then the sealed model is fetched, opened, and held against the record.
    ///
    /// # Errors
    /// [`Error::Unproved`] where any of that does not hold: nothing is handed out then.
    pub async fn merged(&self, node: &Node, job: &SignedManifest, key: &Key, policy: &Policy) -> Result<Merged, Error> {
        let hash = job.manifest.hash();
        let bundle = self.proof(&hash).await?;
        let (proof, checks) = self.believe(&bundle, &hash, policy)?;
        let record = bundle.federation.clone().ok_or(Unproved::OtherOutput)?;
        let not_ready = glacier_wire::api::Refusal::new(RefusalCode::NotReady, "the federation has no result yet");
        let asset = self.federation(&hash).await?.result.ok_or(RequestError::Refused(not_ready))?;
        let scratch = Scratch::new().map_err(SealError::Write)?;
        let file = scratch.path("merged.age");
        node.download(&asset, &file, most_sealed(MAX_MODEL), &mut |_, _| ()).await?;
        let model = open_expected(&file, &asset, key.age(), MAX_MODEL)?;
        if Digest(*blake3::hash(&model).as_bytes()) != record.result {
            return Err(Unproved::OtherOutput.into());
        }
        Ok(Merged { model, record, proof, checks, bundle })
    }
}
