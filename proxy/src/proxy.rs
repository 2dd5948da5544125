//! What all protocols share: names, sessions, and proofs of answers.

use crate::{
    body,
    config::Config,
    embedding::Embedder,
    fault::Fault,
    models::Models,
    pool::Pool,
    proofs::{Kept, Proofs},
};
use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue},
};
use bytes::Bytes;
use glacier::{
    Session,
    session::Response,
    wire::{ManifestHash, SignedManifest, Work},
};
use hyper::Method;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, SemaphorePermit};

/// One proxy at work.
pub(crate) struct Proxy {
    pub(crate) pool: Pool,
    pub(crate) models: Models,
    pub(crate) proofs: Proofs,
    pub(crate) text: Option<Embedder>,
    pub(crate) config: Config,
    pub(crate) counts: Counts,
    /// For bodies that are in memory; one permit each.
    pub(crate) room: Semaphore,
}

/// Bodies in memory for each session: one on its way through it, and one to follow.
pub(crate) const BODIES: usize = 2;
/// How long a body may take to come: it takes room that others wait for.
const COMES: Duration = Duration::from_secs(60);

/// Inferences since the start.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) answered: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) nanoseconds: AtomicU64,
}

/// An answer whose proof holds.
pub(crate) struct Proved {
    pub(crate) response: Response,
    pub(crate) session: Arc<Session>,
    pub(crate) proof: Arc<Kept>,
}

impl Proxy {
    /// Metadata of a model, as the enclave gives them.
    pub(crate) async fn metadata(&self, deployment: &ManifestHash) -> Result<(Arc<Session>, Response), Fault> {
        self.pool.ask(Method::GET, &format!("/v2/models/{deployment}"), &[], Bytes::new()).await
    }

    /// A body, once there is room for it: callers wait with what they send, not this process. The room is free again when
    /// the permit is dropped.
    pub(crate) async fn body(&self, headers: &HeaderMap, body: Body) -> Result<(Bytes, SemaphorePermit<'_>), Fault> {
        let ended = |_| Fault::new(503, "ending", "the proxy ends", "start it again");
        let room = self.room.acquire().await.map_err(ended)?;
        let late = |_| Fault::bad("the body did not come within a minute");
        let body =
            tokio::time::timeout(COMES, body::read(headers, body, self.config.max_body)).await.map_err(late)??;
        Ok((body, room))
    }

    /// One inference. The answer comes out only after its proof was checked against this very request.
    pub(crate) async fn infer(
        &self,
        deployment: &ManifestHash,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Proved, Fault> {
        let since = Instant::now();
        let proved = self.proved(deployment, headers, body).await;
        let spent = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.counts.nanoseconds.fetch_add(spent, Ordering::Relaxed);
        let count = if proved.is_ok() { &self.counts.answered } else { &self.counts.failed };
        count.fetch_add(1, Ordering::Relaxed);
        proved
    }

    async fn proved(&self, deployment: &ManifestHash, headers: &[(&str, &str)], body: Bytes) -> Result<Proved, Fault> {
        // Before the rows: an answer whose proof nobody else could check would be one too many.
        let signed = self.models.signed(&self.pool, deployment).await?;
        let path = format!("/v2/models/{deployment}/infer");
        let (session, response) = self.pool.ask(Method::POST, &path, headers, body.clone()).await?;
        let proof = session.check_answer(Work::Deployment, deployment, &body, &response)?;
        let proof = self.proofs.keep(proof.bundle(&session, Some(SignedManifest::clone(&signed))), &proof).await?;
        Ok(Proved { response, session, proof })
    }
}

/// Which enclave a session ends in: what every answer of it says in its headers.
pub(crate) fn said_of(session: &Session) -> HeaderMap {
    let accepted = session.accepted();
    let mut headers = HeaderMap::new();
    if let Some(id) = accepted.enclave_id() {
        put(&mut headers, "glacier-enclave-id", &id.to_string());
    }
    put(&mut headers, "glacier-measurement", &accepted.measurement().to_string());
    put(&mut headers, "glacier-platform", accepted.platform().as_str());
    headers
}

/// The same for proved answers, with the proofs: several where a request was several inferences.
pub(crate) fn said_of_proved(proved: &[Proved]) -> HeaderMap {
    let Some(first) = proved.first() else { return HeaderMap::new() };
    let mut headers = said_of(&first.session);
    let join = |each: fn(&Proved) -> String| proved.iter().map(each).collect::<Vec<_>>().join(",");
    put(&mut headers, "glacier-proof", &join(|proved| proved.proof.hash.to_string()));
    put(&mut headers, "glacier-proof-sequence", &join(|proved| proved.proof.statement.sequence.to_string()));
    headers
}

fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    // Digits, letters and commas: always a header's value.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}
