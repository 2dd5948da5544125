//! Sandboxed apps: the code of one party, a WebAssembly component, on the data of another.
//!
//! Neither trusts the other's binary, so what is here is arranged for a component that tries to tell its owner what
//! it has read. It meets each request in a fresh instance in a worker process and imports nothing; its answer goes to
//! the caller, of a batch job to the recipients alone; its refusal goes where the answer would have gone; what all
//! parties are told of its end is one of few sentences, and its fuel is told in steps ([`coarse`]).

mod client;
pub(crate) mod worker;

use crate::{
    ceremony::{Keys, Ready},
    deployment::{Lease, ended, lock},
    job::{Job, PIECES, first_fault},
};
use client::{Client, Said};
use glacier_app::{Context, Refusal, RefusalCode, Request, Response, Worked};
use glacier_proof::Bundle;
use glacier_wire::{
    Digest, FileKey, ManifestHash, Role,
    api::{Event, Phase},
    app::coarse,
};
use serde_json::json;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, mpsc};
use zeroize::Zeroizing;

/// The apps that answer, or did.
#[derive(Default)]
pub(crate) struct Apps(Mutex<HashMap<ManifestHash, Arc<App>>>);

/// One of them.
struct App {
    job: Arc<Job>,
    /// One request at a time, as fuel is one account. Empty once it has ended.
    client: Arc<AsyncMutex<Option<Client>>>,
    lease: Lease,
}

impl Apps {
    /// Compiles the component, then answers until the manifest or the grant runs out.
    pub(crate) fn start(self: &Arc<Self>, cx: Context, job: Arc<Job>, ready: Ready) {
        let Ready { keys, uses, floor, .. } = ready;
        let apps = self.clone();
        tokio::spawn(async move {
            job.enter(Phase::Loading);
            let loaded = load(&cx, &job, &keys.model).await;
            drop(keys);
            match loaded {
                Ok(client) => {
                    let client = Arc::new(AsyncMutex::new(Some(client)));
                    let app = Arc::new(App { job: job.clone(), client, lease: Lease::begin(uses, floor) });
                    apps.insert(app.clone());
                    job.enter(Phase::Serving);
                    app.lease.outlast(&cx, &job).await;
                    close(job, app.client.clone().lock_owned().await).await;
                }
                Err(refusal) => {
                    job.log(Event::Wiped);
                    job.refuse(refusal);
                }
            }
        });
    }

    /// Answers everything below `/apps/{manifest}`: `GET` tells which app that is, `POST` calls it.
    pub(crate) async fn answer(&self, cx: &Context, name: &str, request: &Request) -> Result<Response, Refusal> {
        let app = self.get(name)?;
        match (request.method(), request.segments().len()) {
            ("GET", 2) => app.describe(cx),
            ("POST", _) => self.call(cx, &app, request).await,
            _ => Err(Refusal::new(RefusalCode::NotFound, "an app is called with POST")),
        }
    }

    fn insert(&self, app: Arc<App>) {
        let mut all = lock(&self.0);
        // One that has ended still says why; when the ceremonies forget its job, so does this.
        all.retain(|_, known| Arc::strong_count(&known.job) > 1);
        all.insert(app.job.hash(), app);
    }

    fn get(&self, name: &str) -> Result<Arc<App>, Refusal> {
        let unknown = || Refusal::new(RefusalCode::NotFound, "no app of this name runs here");
        let hash: ManifestHash = name.parse().map_err(|_| unknown())?;
        lock(&self.0).get(&hash).cloned().ok_or_else(unknown)
    }

    async fn call(&self, cx: &Context, app: &Arc<App>, request: &Request) -> Result<Response, Refusal> {
        // A caller that hangs up here loses its place, and what it sent is dropped with it.
        let mut client = app.client.clone().lock_owned().await;
        if let Err(refusal) = app.lease.take_use(cx, &app.job, client.is_some()) {
            tokio::spawn(close(app.job.clone(), client));
            return Err(refusal);
        }
        // In a task of its own: a caller that hangs up drops this future, and a worker whose call was dropped
        // halfway answers nobody any more.
        let (running, caller, path, body) = (app.clone(), request.peer(), rest(request.path()), request.body().clone());
        let run = tokio::spawn(async move {
            let mut live = client.take().ok_or_else(ended)?;
            let said = live.answer(caller, &path, &body).await;
            let again = live.alive() && !running.lease.is_spent(&running.job);
            *client = Some(live);
            if !again {
                close(running.job.clone(), client).await;
            }
            said
        });
        let gone = |_| Err(Refusal::new(RefusalCode::EngineCrashed, "the app's worker is gone"));
        let said = run.await.unwrap_or_else(gone);
        let Said { result, fuel } = said?;
        let manifest = app.job.manifest();
        // Answer and refusal in one shape: the line does not show which it is nor how long, and an owner whose
        // component says everything by refusing pays as well.
        Ok(Response::bytes(result.encode()).proved_as(Worked {
            work: manifest.work,
            manifest: app.job.hash(),
            model: manifest.model,
            units: units(fuel, manifest.limits.units),
            settlement: manifest.settlement,
        }))
    }
}

/// The component is wiped. Whoever waits for its worker finds none.
async fn close(job: Arc<Job>, mut client: OwnedMutexGuard<Option<Client>>) {
    if let Some(client) = client.take() {
        client.end().await;
    }
    job.closed();
}

impl App {
    fn describe(&self, cx: &Context) -> Result<Response, Refusal> {
        if self.job.ended() {
            return Err(self.lease.why_ended(cx, &self.job));
        }
        let manifest = self.job.manifest();
        Response::json(&json!({
            "app": self.job.hash(),
            "code": manifest.plan,
            "asset": manifest.model,
            "owner": manifest.model_provider,
            "limits": manifest.limits,
        }))
    }
}

/// Begins a batch job in a task of its own: one app over one data set.
pub(crate) fn start(cx: Context, job: Arc<Job>, keys: Keys) {
    tokio::spawn(async move {
        let ended = run(&cx, &job, keys).await;
        job.conclude(ended);
    });
}

/// The whole path of a batch job, as [`Job`] has it for models.
async fn run(cx: &Context, job: &Job, keys: Keys) -> Result<Bundle, Refusal> {
    let done = load_and_run(cx, job, keys).await;
    // Whatever happened: the keys were dropped with `keys`, component and data with the worker's process.
    job.log(Event::Wiped);
    let (output, units) = done?;
    job.prove(cx, output, units).await
}

/// Load, run, return. Owns keys and worker, so that both are gone when it ends.
async fn load_and_run(cx: &Context, job: &Job, keys: Keys) -> Result<(Digest, u64), Refusal> {
    let manifest = job.manifest();
    let Some(key) = keys.data.first() else {
        return Err(Refusal::new(RefusalCode::ManifestInvalid, "the job names no data"));
    };
    job.enter(Phase::Loading);
    let mut client = load(cx, job, &keys.model).await?;
    let said = run_data(cx, job, &mut client, key).await;
    client.end().await;
    let Said { result, fuel } = said?;
    let units = units(fuel, manifest.limits.units);
    job.log(Event::Ran { rows: 0, units });
    let mut output = cx.seal(&manifest.recipients).await?;
    let sealed = match output.write(&Zeroizing::new(result.encode())).await {
        Ok(()) => output.finish().await?,
        Err(refusal) => {
            output.abort().await;
            return Err(refusal);
        }
    };
    job.log(Event::Sealed { bytes: sealed.bytes });
    Ok((sealed.digest, units))
}

async fn run_data(cx: &Context, job: &Job, client: &mut Client, key: &FileKey) -> Result<Said, Refusal> {
    let manifest = job.manifest();
    let reader = cx.open(manifest.data, key).await?;
    job.expect_bytes(reader.ciphertext_len());
    job.take_run()?;
    job.enter(Phase::Running);
    let (pieces, inbox) = mpsc::channel(PIECES);
    let len = reader.plaintext_len();
    let reading = reader.stream(pieces, |bytes| job.loaded(bytes));
    let (opened, said) = tokio::join!(reading, client.run(manifest.data_provider, len, inbox));
    let (opened, said) = first_fault(opened, said)?;
    job.log(Event::Opened { role: Role::Data, bytes: opened });
    Ok(said)
}

/// Brings the component into a worker process of its own, and has it compiled there.
async fn load(cx: &Context, job: &Job, key: &FileKey) -> Result<Client, Refusal> {
    let manifest = job.manifest();
    let mut client = Client::start(cx, &manifest.limits)?;
    let reader = cx.open(manifest.model, key).await?;
    job.expect_bytes(reader.ciphertext_len());
    let (pieces, inbox) = mpsc::channel(PIECES);
    let len = reader.plaintext_len();
    let reading = reader.stream(pieces, |bytes| job.loaded(bytes));
    let (opened, loaded) = tokio::join!(reading, client.load(len, inbox, manifest.plan));
    let (opened, ()) = first_fault(opened, loaded)?;
    job.log(Event::Opened { role: Role::Model, bytes: opened });
    Ok(client)
}

/// What of a request's path is the app's: all behind `/apps/{manifest}`, as the caller wrote it.
fn rest(path: &str) -> String {
    let behind = |path: &str| path.trim_start_matches('/').split_once('/').map(|(_, rest)| format!("/{rest}"));
    behind(path).and_then(|path| behind(&path)).unwrap_or_else(|| "/".to_owned())
}

/// What a proof says: the fuel in steps, and no more than was allowed.
fn units(fuel: u64, most: u64) -> u64 {
    coarse(fuel).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_gets_its_path_as_the_caller_wrote_it() {
        for (path, own) in [
            ("/apps/00", "/"),
            ("/apps/00/", "/"),
            ("/apps/00/mean", "/mean"),
            ("/apps/00/mean/", "/mean/"),
            ("/apps/00/a//b/./c%2F", "/a//b/./c%2F"),
            ("/apps/00//", "//"),
            ("//apps//00/x", "/x"),
        ] {
            assert_eq!(rest(path), own, "{path}");
        }
    }
}
