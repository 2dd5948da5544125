//! Work that goes on while Python waits, or does something else: one future on one runtime.
//!
//! Python code never runs on the runtime's threads, but for the one callable that says "there is news". Whoever waits
//! takes the news and calls its own callbacks, so that their exceptions end up where people look for them.

use crate::error::{Failure, Kind};
use pyo3::prelude::*;
use std::{
    collections::VecDeque,
    future::Future,
    process,
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};
use tokio::{runtime::Runtime, sync::watch};

/// Makes a Python object, once there is an interpreter to make it in.
pub(crate) type Make = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// News that nobody has taken yet; the oldest goes first. Progress is worth its latest state, not all of its history.
const MAX_NEWS: usize = 1 << 16;

/// Something that is under way.
#[pyclass(module = "glacier_tee._native", frozen)]
pub(crate) struct Task {
    shared: Arc<Shared>,
    cancel: watch::Sender<bool>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Default)]
struct State {
    news: VecDeque<String>,
    outcome: Option<Result<Make, Failure>>,
    ended: bool,
    tell: Option<Arc<Py<PyAny>>>,
}

/// Where a future says how far it is.
#[derive(Clone)]
pub(crate) struct News(Arc<Shared>);

impl News {
    /// One document, as JSON.
    pub(crate) fn say(&self, document: &serde_json::Value) {
        let mut state = self.0.lock();
        if state.news.len() >= MAX_NEWS {
            state.news.pop_front();
        }
        state.news.push_back(document.to_string());
        self.0.announce(state);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self, state: MutexGuard<'_, State>) {
        let tell = state.tell.clone();
        drop(state);
        self.moved.notify_all();
        if let Some(tell) = tell {
            // An interpreter that is going away has nobody to tell, and an event loop that was closed says so: both are
            // past caring.
            let _ = Python::try_attach(|py| tell.call0(py).map(drop));
        }
    }
}

impl Task {
    /// Starts a future. When it is cancelled, it is dropped, and `regret` is awaited in its place.
    pub(crate) fn spawn<W, R>(work: impl FnOnce(News) -> W, regret: R) -> PyResult<Self>
    where
        W: Future<Output = Result<Make, Failure>> + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let shared = Arc::new(Shared::default());
        let (cancel, mut cancelled) = watch::channel(false);
        let (work, ending) = (work(News(shared.clone())), shared.clone());
        runtime()?.spawn(async move {
            let cancelled = async {
                // A task that is dropped cannot be waited for any more, but goes on: only the word ends it.
                if cancelled.wait_for(|said| *said).await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            let outcome = tokio::select! {
                outcome = work => outcome,
                () = cancelled => {
                    regret.await;
                    Err(Failure::new(Kind::Cancelled, "the work was cancelled", "start it again if it is still wanted"))
                }
            };
            let mut state = ending.lock();
            (state.outcome, state.ended) = (Some(outcome), true);
            ending.announce(state);
        });
        Ok(Self { shared, cancel })
    }

    /// The same for work that leaves nothing behind.
    pub(crate) fn simple<W>(work: impl FnOnce(News) -> W) -> PyResult<Self>
    where
        W: Future<Output = Result<Make, Failure>> + Send + 'static,
    {
        Self::spawn(work, async {})
    }
}

#[pymethods]
impl Task {
    /// Waits until there is news or an end, for at most so many seconds. Whether it has ended.
    fn wait(&self, py: Python<'_>, seconds: f64) -> bool {
        let limit = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO);
        py.detach(|| {
            let quiet = |state: &mut State| state.news.is_empty() && !state.ended;
            let state = self.shared.lock();
            let (state, _) =
                self.shared.moved.wait_timeout_while(state, limit, quiet).unwrap_or_else(PoisonError::into_inner);
            state.ended
        })
    }

    /// Takes the news, oldest first: JSON documents.
    fn news(&self) -> Vec<String> {
        self.shared.lock().news.drain(..).collect()
    }

    /// Whether it has ended.
    fn ended(&self) -> bool {
        self.shared.lock().ended
    }

    /// Takes what came of it; raises what went wrong. Once.
    fn result(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let outcome = self.shared.lock().outcome.take();
        match outcome {
            Some(Ok(make)) => make(py),
            Some(Err(failure)) => Err(failure.raise(py)),
            None => {
                Err(Failure::new(Kind::Glacier, "there is no result to take", "wait for the end, and take it once")
                    .raise(py))
            }
        }
    }

    /// Gives it up. What that takes goes on by itself: `wait` says when it is over.
    fn cancel(&self) {
        // Where nobody listens it has ended already.
        let _ = self.cancel.send(true);
    }

    /// Names the callable that is told of news and of the end, from another thread. It must be quick.
    fn on_news(&self, tell: Py<PyAny>) {
        self.shared.lock().tell = Some(Arc::new(tell));
    }

    fn __repr__(&self) -> &'static str {
        if self.ended() { "<Task: ended>" } else { "<Task: under way>" }
    }
}

/// The one runtime of this process.
fn runtime() -> PyResult<&'static Runtime> {
    static RUNTIME: OnceLock<(u32, Runtime)> = OnceLock::new();
    if let Some((process, runtime)) = RUNTIME.get() {
        // A fork copies the runtime's memory, and none of its threads.
        if *process != process::id() {
            return Err(pyo3::exceptions::PyRuntimeError::new_err(
                "glacier_tee was used before this process was forked, and its threads stayed behind: \
                 start workers with multiprocessing's \"spawn\"",
            ));
        }
        return Ok(runtime);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("glacier")
        .enable_all()
        .build()
        .map_err(|error| pyo3::exceptions::PyOSError::new_err(format!("no threads can be started: {error}")))?;
    Ok(&RUNTIME.get_or_init(|| (process::id(), runtime)).1)
}
