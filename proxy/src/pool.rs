//! Attested sessions that wait for requests.

use crate::{config::Config, fault::Fault};
use bytes::Bytes;
use glacier::{
    Freshness, Key, Node, Policy, Session,
    session::{RequestError, Response},
    verify::{Verifier, now},
    wire::{ManifestHash, SignedManifest},
};
use hyper::Method;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::sync::{Semaphore, SemaphorePermit};

/// All ways to one enclave, or to whichever the policy accepts at the node's address.
pub(crate) struct Pool {
    node: Node,
    policy: Policy,
    key: Key,
    freshness: Freshness,
    reattest: Duration,
    verifier: Verifier,
    idle: Mutex<Vec<Held>>,
    permits: Semaphore,
}

/// A session that nobody uses now. Times are the wall clock's: the other one stands still while the machine sleeps.
struct Held {
    session: Arc<Session>,
    since: SystemTime,
    used: SystemTime,
}

/// A session in use. Dropped without being handed back, it ends: an answer may still be under way in it.
pub(crate) struct Lease<'a> {
    held: Held,
    _permit: SemaphorePermit<'a>,
}

/// How long a session may have been idle and be used without asking whether it still stands.
const SURE: Duration = Duration::from_millis(500);
/// How long an enclave may take to say that it lives. A session's own deadline is made for inferences.
const ALIVE: Duration = Duration::from_secs(5);

impl Pool {
    pub(crate) fn new(node: Node, policy: Policy, key: Key, config: &Config) -> Self {
        Self {
            node,
            policy,
            key,
            freshness: config.freshness,
            reattest: config.reattest,
            verifier: Verifier::default(),
            idle: Mutex::default(),
            permits: Semaphore::new(config.sessions.max(1)),
        }
    }

    pub(crate) fn node(&self) -> &str {
        self.node.url()
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// A session whose enclave the policy accepts at this moment.
    pub(crate) async fn take(&self) -> Result<Lease<'_>, Fault> {
        let ended = |_| Fault::new(503, "ending", "the proxy ends", "start it again");
        let permit = self.permits.acquire().await.map_err(ended)?;
        while let Some(held) = self.pop() {
            if !younger(held.since, self.reattest) || !self.accepts(&held.session) {
                continue;
            }
            // A request is never sent twice, so a session that died unseen must be found out before.
            if younger(held.used, SURE) || alive(&held.session).await {
                return Ok(Lease { held, _permit: permit });
            }
            // What silenced this one silenced the others, and each would have to be waited for.
            self.forget();
        }
        let session = self.node.connect(&self.policy, self.key.identity(), self.freshness).await?;
        let now = SystemTime::now();
        Ok(Lease { held: Held { session: Arc::new(session), since: now, used: now }, _permit: permit })
    }

    /// Hands a session back whose last answer was read to the end.
    pub(crate) fn give_back(&self, mut lease: Lease<'_>) {
        lease.held.used = SystemTime::now();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(lease.held);
    }

    /// One request on an accepted session.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<(Arc<Session>, Response), Fault> {
        let lease = self.take().await?;
        let session = lease.session();
        let answer = session.request(method, path, headers, body).await;
        if answer.as_ref().err().is_none_or(Fault::is_refusal) {
            self.give_back(lease);
        }
        Ok((session, answer.map_err(|error: RequestError| Fault::from(error))?))
    }

    /// What the owner of a model has signed.
    pub(crate) async fn served(&self, deployment: &ManifestHash) -> Result<SignedManifest, Fault> {
        let lease = self.take().await?;
        let signed = lease.session().served(deployment).await;
        if signed.as_ref().err().is_none_or(|error| error.refusal().is_some()) {
            self.give_back(lease);
        }
        Ok(signed?)
    }

    /// Ends all sessions, now and to come.
    pub(crate) fn close(&self) {
        self.permits.close();
        self.forget();
    }

    fn forget(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The youngest first: the others grow old together, and go.
    fn pop(&self) -> Option<Held> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Evidence ages under an open session: what was accepted is judged again at each use.
    fn accepts(&self, session: &Session) -> bool {
        let judged = self.verifier.judge(session.evidence(), session.claims(), &self.policy, now());
        judged.is_ok_and(|judged| judged.accepted.is_ok())
    }
}

impl Lease<'_> {
    pub(crate) fn session(&self) -> Arc<Session> {
        self.held.session.clone()
    }

    /// Since when the enclave is attested.
    pub(crate) fn age(&self) -> Duration {
        self.held.since.elapsed().unwrap_or_default()
    }
}

/// Not where the clock was set back: how old something is cannot be told then.
fn younger(since: SystemTime, than: Duration) -> bool {
    since.elapsed().is_ok_and(|age| age < than)
}

async fn alive(session: &Session) -> bool {
    let asked = tokio::time::timeout(ALIVE, session.get("/v2/health/live")).await;
    matches!(asked, Ok(Ok(_)))
}
