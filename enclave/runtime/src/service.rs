//! Which request goes where.

use crate::{
    app::Apps,
    ceremony::{Ceremonies, check_manifest},
    deployment::Deployments,
    federation::{self, What},
    job::Job,
    oip,
    training::Wish,
};
use glacier_app::{App, Checkpoints, Context, Refusal, RefusalCode, Request, Response};
use glacier_proof::Bundle;
use glacier_wire::{
    Address, Manifest, ManifestHash,
    api::Join,
    federation::{Credential, Delivery},
};
use std::{sync::Arc, time::Duration};

/// Longest that a status request waits for news.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// How long each page of a training's course takes.
const PACE: Duration = Duration::from_millis(250);

fn no_training() -> Refusal {
    Refusal::new(RefusalCode::NotFound, "this job is no training")
}

fn no_federation() -> Refusal {
    Refusal::new(RefusalCode::NotFound, "this job is no federation")
}

/// Private inference, training and sandboxed apps, as an application on the SDK.
#[derive(Default)]
pub(crate) struct AiService {
    ceremonies: Ceremonies,
    deployments: Arc<Deployments>,
    apps: Arc<Apps>,
}

impl App for AiService {
    const NAME: &'static str = "glacier-ai";

    async fn handle(&self, cx: &Context, request: Request) -> Result<Response, Refusal> {
        match (request.method(), request.segments().as_slice()) {
            ("POST", ["glacier", "v1", "jobs"]) => self.join(cx, &request).await,
            ("GET", ["glacier", "v1", "credential"]) => Ok(Response::cbor(&cx.credential()?)),
            ("GET", ["glacier", "v1", "jobs", hash]) => self.status(hash, &request).await,
            ("GET", ["glacier", "v1", "jobs", hash, "manifest"]) => self.manifest(hash, &request),
            ("GET", ["glacier", "v1", "jobs", hash, "result"]) => self.result(hash, &request),
            ("GET", ["glacier", "v1", "jobs", hash, "proof"]) => self.proof(hash, &request),
            ("GET", ["glacier", "v1", "jobs", hash, "training"]) => self.training(hash, &request).await,
            ("GET", ["glacier", "v1", "jobs", hash, "refined"]) => self.refined(hash, &request),
            ("POST", ["glacier", "v1", "jobs", hash, "pause"]) => self.pause(hash, &request, Wish::Pause),
            ("POST", ["glacier", "v1", "jobs", hash, "continue"]) => self.pause(hash, &request, Wish::Run),
            ("POST", ["glacier", "v1", "jobs", hash, "withdraw"]) => self.withdraw(cx, hash, &request).await,
            ("POST", ["glacier", "v1", "jobs", hash, "collected"]) => self.collected(cx, hash, &request).await,
            ("GET", ["glacier", "v1", "jobs", hash, "federation"]) => self.federation(hash, &request),
            ("POST", ["glacier", "v1", "jobs", hash, "round"]) => self.round(hash, &request).await,
            ("POST", ["glacier", "v1", "jobs", hash, "update"]) => self.update(hash, &request).await,
            (_, ["apps", hash, ..]) => self.apps.answer(cx, hash, &request).await,
            (_, ["v2", ..]) => Ok(oip::answer(&self.deployments, cx, &request).await),
            _ => Err(Refusal::new(RefusalCode::NotFound, "there is nothing at this path")),
        }
    }
}

impl AiService {
    async fn join(&self, cx: &Context, request: &Request) -> Result<Response, Refusal> {
        let join: Join = request.cbor(Join::MAX_BYTES)?;
        let model = match &join.membership {
            Some(membership) => {
                check_manifest(cx, &join.manifest)?;
                Some(federation::release(cx, membership, &join.manifest.manifest).await?)
            }
            None => None,
        };
        let job = self.ceremonies.join(cx, request.peer(), join, model, &self.deployments, &self.apps)?;
        Ok(Response::cbor(&job.status()))
    }

    /// Tells how far a job is; with `?after=N&wait=MS`, once more than N events have happened.
    async fn status(&self, hash: &str, request: &Request) -> Result<Response, Refusal> {
        let job = self.party_job(hash, request.peer())?;
        let wait = Duration::from_millis(request.query("wait").unwrap_or(0)).min(MAX_WAIT);
        let seen = request.query("after").unwrap_or(0);
        let status = job.news(seen, wait).await;
        Ok(Response::cbor(&status))
    }

    /// What the parties signed: for themselves, and of what is served for all who know its name. A caller who shows an
    /// answer's proof to somebody needs it.
    fn manifest(&self, hash: &str, request: &Request) -> Result<Response, Refusal> {
        let job = self.job(hash, |manifest| manifest.is_served() || manifest.signers().contains(&request.peer()));
        let unknown = |_| Refusal::new(RefusalCode::NotFound, "no model and no app of this name is served here");
        Ok(Response::cbor(job.map_err(unknown)?.signed()))
    }

    /// The proof that names the result file, for the one whose result it is.
    fn result(&self, hash: &str, request: &Request) -> Result<Response, Refusal> {
        Ok(Response::cbor(&*self.owned_job(hash, request.peer())?.bundle()?))
    }

    /// How a training goes, from `?points=N&epochs=M` on: at one pace, in pages of one length.
    async fn training(&self, hash: &str, request: &Request) -> Result<Response, Refusal> {
        let job = self.owned_job(hash, request.peer())?;
        let training = job.training().ok_or_else(no_training)?;
        tokio::time::sleep(PACE).await;
        let epochs = job.signed().plan.as_ref().map_or(0, |plan| plan.epochs);
        let (points, told) = (request.query("points").unwrap_or(0), request.query("epochs").unwrap_or(0));
        Ok(Response::bytes(training.course.page(points, told, epochs).pad()))
    }

    /// Where the refined model is, and how good it was after each epoch.
    fn refined(&self, hash: &str, request: &Request) -> Result<Response, Refusal> {
        let job = self.owned_job(hash, request.peer())?;
        let training = job.training().ok_or_else(no_training)?;
        let refined = training.refined();
        Ok(Response::cbor(refined.ok_or_else(|| Refusal::new(RefusalCode::NotReady, "the job has no result yet"))?))
    }

    /// The owner of the data stops a training for a while, or has it go on.
    fn pause(&self, hash: &str, request: &Request, wish: Wish) -> Result<Response, Refusal> {
        let job = self.owned_job(hash, request.peer())?;
        job.training().ok_or_else(no_training)?.wish(wish);
        Ok(Response::cbor(&job.status()))
    }

    /// How far a federation is, for any of its parties.
    fn federation(&self, hash: &str, request: &Request) -> Result<Response, Refusal> {
        let job = self.party_job(hash, request.peer())?;
        Ok(Response::cbor(&job.federation().ok_or_else(no_federation)?.status()))
    }

    /// What a site is to do in the round under way, sealed to the enclave that it shows.
    async fn round(&self, hash: &str, request: &Request) -> Result<Response, Refusal> {
        let job = self.party_job(hash, request.peer())?;
        let credential = Box::new(request.cbor(Credential::MAX_BYTES)?);
        let federation = job.federation().ok_or_else(no_federation)?;
        Ok(Response::cbor(&federation.ask(request.peer(), What::Part(credential)).await?))
    }

    /// What a site has made of it.
    async fn update(&self, hash: &str, request: &Request) -> Result<Response, Refusal> {
        let job = self.party_job(hash, request.peer())?;
        let delivery: Delivery = request.cbor(Bundle::MAX_BYTES.saturating_add(128))?;
        let federation = job.federation().ok_or_else(no_federation)?;
        Ok(Response::cbor(&federation.ask(request.peer(), What::Take(delivery)).await?))
    }

    /// Any party takes its grant back: a training or federation ends, and nothing is kept of it.
    async fn withdraw(&self, cx: &Context, hash: &str, request: &Request) -> Result<Response, Refusal> {
        let job = self.party_job(hash, request.peer())?;
        if let Some(federation) = job.federation() {
            if job.ended() {
                Checkpoints::forget_job(cx, job.hash()).await;
            } else {
                federation.ask(request.peer(), What::Withdraw).await?;
            }
            return Ok(Response::cbor(&job.status()));
        }
        let training = job.training().ok_or_else(no_training)?;
        if self.ceremonies.take_back(&job.hash()) {
            return Ok(Response::cbor(&job.status()));
        }
        let heard = training.wish(Wish::Withdraw);
        if job.ended() {
            Checkpoints::forget_job(cx, job.hash()).await;
        } else if !heard {
            let detail =
                "the training is over and its result is being handed over: nobody can withdraw from it any more";
            return Err(Refusal::new(RefusalCode::NotReady, detail));
        }
        Ok(Response::cbor(&job.status()))
    }

    /// The owner has the result, of a federation whoever gave the model: nothing is kept to make it again.
    async fn collected(&self, cx: &Context, hash: &str, request: &Request) -> Result<Response, Refusal> {
        let job = self.party_job(hash, request.peer())?;
        let (owner, made) = match (job.training(), job.federation()) {
            (Some(training), _) => (job.manifest().data_provider, training.refined().is_some()),
            (None, Some(federation)) => (job.manifest().model_provider, federation.status().result.is_some()),
            (None, None) => return Err(no_training()),
        };
        if owner != request.peer() {
            return Err(Refusal::new(RefusalCode::NotYours, "it is the owner of the result who collects it"));
        }
        if made && job.ended() {
            Checkpoints::forget_job(cx, job.hash()).await;
        }
        Ok(Response::cbor(&job.status()))
    }

    /// The proof, for any party of the job.
    fn proof(&self, hash: &str, request: &Request) -> Result<Response, Refusal> {
        Ok(Response::cbor(&*self.party_job(hash, request.peer())?.bundle()?))
    }

    /// A job whose result is the caller's.
    fn owned_job(&self, hash: &str, peer: Address) -> Result<Arc<Job>, Refusal> {
        let job = self.party_job(hash, peer)?;
        if job.manifest().data_provider != peer {
            return Err(Refusal::new(RefusalCode::NotYours, "the result belongs to the data provider"));
        }
        Ok(job)
    }

    /// A job that the caller is a party of. To others it does not exist.
    fn party_job(&self, hash: &str, peer: Address) -> Result<Arc<Job>, Refusal> {
        self.job(hash, |manifest| manifest.signers().contains(&peer))
    }

    /// A job that the caller may know of.
    fn job(&self, hash: &str, known: impl Fn(&Manifest) -> bool) -> Result<Arc<Job>, Refusal> {
        let unknown =
            || Refusal::new(RefusalCode::NotFound, "this enclave knows no such job of yours in its present key epoch");
        let hash: ManifestHash = hash.parse().map_err(|_| unknown())?;
        self.ceremonies.job(&hash).filter(|job| known(job.manifest())).ok_or_else(unknown)
    }
}
