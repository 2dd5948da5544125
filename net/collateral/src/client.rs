//! Serves from the cache what is still valid, and fetches the rest.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use glacier_wire::UnixTime;
use tokio::{task::spawn_blocking, time::Instant};

use crate::{
    builder::Builder,
    cache::{Cache, Stored},
    clock::Clock,
    error::FetchError,
    flight::{Flights, Seat},
    request::{Request, Sources},
    verify::{Validity, Verify},
};

/// Fetches and keeps vendors' endorsements. Clones share everything.
///
/// To be used within a tokio runtime, as fetches run as tasks of their own.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

/// An answer that the verifier accepted just now, at the clock's time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The answer, in the form that the request names.
    pub bytes: Bytes,
    /// When it holds. Its end lies ahead.
    pub validity: Validity,
    /// When it was fetched, by the clock of whoever did so.
    pub fetched: UnixTime,
    /// How new it is.
    pub freshness: Freshness,
    /// What stood in the way of a newer one, or of keeping this one.
    pub fault: Option<FetchError>,
}

/// How new an answer is. Each is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Freshness {
    /// Came from the source just now.
    Fetched,
    /// From the cache, in the first half of its validity.
    Cached,
    /// From the cache, past half of its validity: the source may have a newer one, which is being asked
    /// for in the background unless asking has just failed.
    Stale,
}

struct Shared {
    sources: Sources,
    cache: Cache,
    clock: Arc<dyn Clock>,
    flights: Flights<Answer>,
    /// Questions that failed lately, which are not put again before the time given.
    resting: Mutex<HashMap<String, (Instant, FetchError)>>,
    rest: Duration,
}

impl Client {
    /// Sets up a client of the vendors' own services; see [`Builder::new`].
    pub fn builder(cache_folder: impl Into<PathBuf>) -> Builder {
        Builder::new(cache_folder)
    }

    pub(crate) fn new(sources: Sources, cache: Cache, clock: Arc<dyn Clock>, rest: Duration) -> Self {
        let (flights, resting) = (Flights::new(), Mutex::default());
        Self { shared: Arc::new(Shared { sources, cache, clock, flights, resting, rest }) }
    }

    /// The answer to a request: from the cache if it is valid, else from the source. One that is past
    /// half of its validity is given at once and refreshed in the background; one past its end never.
    ///
    /// Callers with the same request share one fetch, which goes on when a caller leaves. After a
    /// failure the same question rests for a while and the failure is the answer.
    pub async fn get<R: Request, V: Verify<R> + ?Sized>(
        &self,
        request: &R,
        verifier: &Arc<V>,
    ) -> Result<Answer, FetchError> {
        let (held, fault) = match self.shared.held(request, verifier).await {
            Ok(held) => (held, None),
            Err(fault) => (None, Some(fault)),
        };
        match held {
            Some(answer) if answer.freshness == Freshness::Cached => Ok(answer),
            Some(answer) => {
                let fault = self.shared.resting(&request.key());
                if fault.is_none() {
                    drop(self.fly(request, verifier, false));
                }
                Ok(Answer { fault, ..answer })
            }
            None => match self.shared.resting(&request.key()) {
                Some(fault) => Err(fault),
                None => self.land(request, verifier, false).await.map(|answer| answer.with(fault)),
            },
        }
    }

    /// The answer of the source, whatever the cache holds. If it cannot be had, a cached one that is
    /// still valid is given with the fault.
    pub async fn refresh<R: Request, V: Verify<R> + ?Sized>(
        &self,
        request: &R,
        verifier: &Arc<V>,
    ) -> Result<Answer, FetchError> {
        let fault = match self.land(request, verifier, true).await {
            Ok(answer) => return Ok(answer),
            Err(fault) => fault,
        };
        match self.shared.held(request, verifier).await {
            Ok(Some(answer)) => Ok(answer.with(Some(fault))),
            _ => Err(fault),
        }
    }

    /// Waits for a fetch. Its starter's verifier accepted the answer; the caller's own has to as well.
    async fn land<R: Request, V: Verify<R> + ?Sized>(
        &self,
        request: &R,
        verifier: &Arc<V>,
        force: bool,
    ) -> Result<Answer, FetchError> {
        let answer = self.fly(request, verifier, force).outcome().await?;
        let (request, verifier, at) = (request.clone(), verifier.clone(), self.shared.clock.now());
        blocking(move || {
            let validity = verifier.verify(&request, &answer.bytes, at)?;
            Ok(Answer { validity, ..answer })
        })
        .await
    }

    fn fly<R: Request, V: Verify<R> + ?Sized>(&self, request: &R, verifier: &Arc<V>, force: bool) -> Seat<Answer> {
        let key = request.key();
        self.shared.flights.join(&key, || {
            let (shared, request, verifier, key) =
                (self.shared.clone(), request.clone(), verifier.clone(), key.clone());
            async move {
                let outcome = shared.fetch(&request, &verifier, force).await;
                shared.note(key, outcome.as_ref().err());
                outcome
            }
        })
    }
}

impl Answer {
    fn with(self, fault: Option<FetchError>) -> Self {
        Self { fault: self.fault.or(fault), ..self }
    }
}

impl Shared {
    /// What the cache holds and the verifier accepts now.
    async fn held<R: Request, V: Verify<R> + ?Sized>(
        self: &Arc<Self>,
        request: &R,
        verifier: &Arc<V>,
    ) -> Result<Option<Answer>, FetchError> {
        let (shared, request, verifier, at) = (self.clone(), request.clone(), verifier.clone(), self.clock.now());
        blocking(move || {
            let Some(stored) = shared.cache.read(&request.key())? else { return Ok(None) };
            // Damaged or expired: as good as absent.
            let Ok(validity) = verifier.verify(&request, &stored.answer, at) else { return Ok(None) };
            let stale = validity.is_stale(stored.fetched, at);
            let freshness = if stale { Freshness::Stale } else { Freshness::Cached };
            Ok(Some(Answer { bytes: stored.answer.into(), validity, fetched: stored.fetched, freshness, fault: None }))
        })
        .await
    }

    /// Asks the source, verifies, and only then keeps.
    async fn fetch<R: Request, V: Verify<R> + ?Sized>(
        self: &Arc<Self>,
        request: &R,
        verifier: &Arc<V>,
        force: bool,
    ) -> Result<Answer, FetchError> {
        // Another flight or process may just have been there. A folder that fails is reported when
        // the answer is to be kept.
        if !force
            && let Ok(Some(answer)) = self.held(request, verifier).await
            && answer.freshness == Freshness::Cached
        {
            return Ok(answer);
        }
        let bytes = request.fetch(&self.sources).await?;
        let (shared, request, verifier, at) = (self.clone(), request.clone(), verifier.clone(), self.clock.now());
        blocking(move || {
            let validity = verifier.verify(&request, &bytes, at)?;
            let stored = Stored { fetched: at, answer: bytes };
            let kept = shared.cache.replace(&request.key(), &stored, |held| {
                let held = held.and_then(|held| verifier.verify(&request, &held.answer, at).ok());
                match held {
                    Some(held) if validity.is_before(&held) => Err(FetchError::RolledBack),
                    _ => Ok(()),
                }
            });
            match kept {
                // The answer is good, even if the disk is full.
                Ok(()) | Err(FetchError::Cache(_)) => Ok(Answer {
                    bytes: stored.answer.into(),
                    validity,
                    fetched: at,
                    freshness: Freshness::Fetched,
                    fault: kept.err(),
                }),
                Err(fault) => Err(fault),
            }
        })
        .await
    }

    /// Lets a question that failed rest, and one that was answered be asked again.
    fn note(&self, key: String, fault: Option<&FetchError>) {
        let mut resting = self.lock();
        let Some(fault) = fault else {
            resting.remove(&key);
            return;
        };
        let now = Instant::now();
        let rest = match fault {
            FetchError::RateLimited { seconds } => self.rest.max(Duration::from_secs(*seconds)),
            _ => self.rest,
        };
        if resting.len() >= MAX_RESTING {
            resting.retain(|_, (until, _)| *until > now);
        }
        // Full of questions that all failed just now: this one may be put again at once.
        if resting.len() < MAX_RESTING
            && let Some(until) = now.checked_add(rest)
        {
            resting.insert(key, (until, fault.clone()));
        }
    }

    fn resting(&self, key: &str) -> Option<FetchError> {
        let now = Instant::now();
        self.lock().get(key).filter(|(until, _)| *until > now).map(|(_, fault)| fault.clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Instant, FetchError)>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Files and signatures keep a thread busy, not the tasks beside it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FetchError> + Send + 'static,
) -> Result<T, FetchError> {
    spawn_blocking(work).await.unwrap_or(Err(FetchError::Interrupted))
}

/// Questions whose failure is remembered.
const MAX_RESTING: usize = 1024;
