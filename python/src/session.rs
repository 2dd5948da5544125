//! An attested session, and the work that goes through it.

use crate::{
    check,
    error::{Failure, Kind},
    key::Key,
    policy::Policy,
    task::{Make, News, Task},
    tensor,
};
use glacier::{
    Error, Freshness, Material, Node, Options, Settle, Source, Step,
    attest::CodeName,
    deployment::{Model, Port},
    input::read_tensors,
    wire::{ManifestHash, PlatformKind, SignedManifest, Tensor, cbor, training::TrainingPlan},
};
use glacier_train::build::{self, Columns};
use pyo3::{prelude::*, pybacked::PyBackedBytes, types::PyBytes};
use serde_json::json;
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Most connections of one session at once.
const CONNECTIONS: usize = 8;
/// A connection on which nothing moved for so long may have been dropped by a router on its way.
const STALE: Duration = Duration::from_secs(30);
/// How long an enclave is asked to forget a training that nobody waits for any more.
const REGRET: Duration = Duration::from_secs(5);

/// A session with an enclave that the policy has accepted.
#[pyclass(module = "glacier_tee._native", frozen)]
pub(crate) struct Session {
    inner: Arc<Inner>,
    facts: String,
}

struct Inner {
    node: Node,
    /// The caller's, narrowed to the code and the chip that were accepted: later connections end nowhere else.
    policy: glacier::Policy,
    key: Arc<glacier::Key>,
    /// Connections that nobody uses now, the youngest last.
    idle: Mutex<Vec<(glacier::Session, Instant)>>,
    /// Calls beyond these wait: an enclave has other parties to answer, too.
    permits: Semaphore,
    /// What was called before. It does not change: a name is the hash of what its owner signed.
    served: Mutex<HashMap<ManifestHash, Arc<Served>>>,
}

/// A served model: what it takes and gives, and what its owner signed.
struct Served {
    model: Model,
    manifest: SignedManifest,
}

impl Inner {
    fn new(node: Node, policy: glacier::Policy, key: Arc<glacier::Key>, first: glacier::Session) -> Self {
        let idle = Mutex::new(vec![(first, Instant::now())]);
        Self { node, policy, key, idle, permits: Semaphore::new(CONNECTIONS), served: Mutex::default() }
    }

    /// A connection for one call.
    async fn lease(&self) -> Result<Lease<'_>, Failure> {
        let permit = self.permits.acquire().await.ok();
        Ok(Lease { session: self.session().await?, inner: self, _permit: permit })
    }

    /// A connection that was used lately, or a new one to the same enclave.
    async fn session(&self) -> Result<glacier::Session, Failure> {
        let held = {
            let mut idle = self.idle();
            idle.retain(|(_, used)| used.elapsed() < STALE);
            idle.pop()
        };
        match held {
            Some((session, _)) => Ok(session),
            None => Ok(self.node.connect(&self.policy, self.key.identity(), Freshness::Cached).await?),
        }
    }

    async fn served(&self, deployment: &ManifestHash) -> Result<Arc<Served>, Failure> {
        let all = || self.served.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(served) = all().get(deployment) {
            return Ok(served.clone());
        }
        let lease = self.lease().await?;
        let session = &lease.session;
        let outcome = async { Ok((session.model(deployment).await?, session.served(deployment).await?)) }.await;
        let (model, manifest) = lease.done(outcome)?;
        let served = Arc::new(Served { model, manifest });
        all().insert(*deployment, served.clone());
        Ok(served)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(glacier::Session, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection in use. Dropped before its call is done, it ends: an answer may be under way there, which no other
/// call is to take for its own, or to wait for.
struct Lease<'a> {
    session: glacier::Session,
    inner: &'a Inner,
    _permit: Option<SemaphorePermit<'a>>,
}

impl Lease<'_> {
    /// What the call came to. The connection is used again where its answer was read to the end.
    fn done<T>(self, outcome: Result<T, Error>) -> Result<T, Failure> {
        if outcome.as_ref().err().is_none_or(|error| error.refusal().is_some()) {
            self.inner.idle().push((self.session, Instant::now()));
        } else {
            // What ended this one may have ended those that rest, and they would only show it one by one.
            self.inner.idle().clear();
        }
        Ok(outcome?)
    }
}

/// Bytes of Python's, or a file.
#[derive(FromPyObject)]
enum Owned {
    Bytes(PyBackedBytes),
    File(PathBuf),
}

impl<'a> From<&'a Owned> for Source<'a> {
    fn from(owned: &'a Owned) -> Self {
        match owned {
            Owned::Bytes(bytes) => Self::Bytes(bytes),
            Owned::File(path) => Self::File(path),
        }
    }
}

/// Rows to ask about: arrays, or the path of a table.
#[derive(FromPyObject)]
enum Rows<'py> {
    Arrays(Vec<tensor::Given<'py>>),
    File(PathBuf),
}

/// Rows as Rust has them.
enum Asked {
    Tensors(Vec<Tensor>),
    File(PathBuf),
}

impl Asked {
    fn read(py: Python<'_>, rows: Rows<'_>) -> PyResult<Self> {
        Ok(match rows {
            Rows::Arrays(arrays) => Self::Tensors(tensor::read(py, arrays)?),
            Rows::File(path) => Self::File(path),
        })
    }

    /// In the order and of the types that the model wants.
    fn fit(self, model: &Model) -> Result<Vec<Tensor>, Failure> {
        let tensors = match self {
            Self::Tensors(tensors) => tensors,
            Self::File(path) => read_tensors(&path, model.features())
                .map_err(|error| Failure::from(error).about(&path.display().to_string()))?,
        };
        Ok(model.fit(tensors)?)
    }
}

/// What a job may take.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Limits {
    memory: u64,
    units: u64,
    expires: u64,
    settle: bool,
}

impl From<Limits> for Options {
    fn from(limits: Limits) -> Self {
        Self {
            memory: limits.memory,
            units: limits.units,
            lasts: limits.expires,
            settle: if limits.settle { Settle::AsNode } else { Settle::Nowhere },
            ..Self::default()
        }
    }
}

/// Attests the enclave of a node. The task gives a Session.
#[pyfunction]
pub(crate) fn connect(py: Python<'_>, url: &str, policy: &Policy, key: &Key, fresh: bool) -> PyResult<Task> {
    let node = Node::at(url).map_err(|error| Failure::from(error).raise(py))?;
    let (mut policy, key) = (policy.inner.clone(), key.inner.clone());
    let freshness = if fresh { Freshness::Fresh } else { Freshness::Cached };
    Task::simple(move |_| async move {
        let session = node.connect(&policy, key.identity(), freshness).await?;
        let info = session.enclave().await.map_err(Error::from)?;
        let accepted = session.accepted();
        let facts = json!({
            "platform": accepted.platform(),
            "simulated": accepted.platform() == PlatformKind::Simulated,
            "measurement": accepted.measurement(),
            "enclave_id": accepted.enclave_id(),
            "tcb_status": accepted.tcb_status().map(|status| status.as_str()),
            "advisories": accepted.advisories(),
            "enclave_key": session.claims().enclave_key,
            "party": session.party(),
            "post_quantum": session.post_quantum(),
            "version": info.version,
            "app": info.app,
            "checks": check::lines(session.appraisal()),
        });
        policy.measurements = vec![CodeName::from(accepted.measurement())];
        policy.enclave_ids.retain(|known| Some(*known) == accepted.enclave_id());
        if let (true, Some(chip)) = (policy.enclave_ids.is_empty(), accepted.enclave_id()) {
            policy.enclave_ids.push(chip);
        }
        let inner = Inner::new(node, policy, key, session);
        let session = Session { inner: Arc::new(inner), facts: facts.to_string() };
        Ok(Box::new(move |py: Python<'_>| Ok(Py::new(py, session)?.into_any())) as Make)
    })
}

#[pymethods]
impl Session {
    /// What was accepted, and why: JSON.
    fn facts(&self) -> &str {
        &self.facts
    }

    /// What a served model takes and gives. The task gives JSON.
    fn model(&self, py: Python<'_>, deployment: &str) -> PyResult<Task> {
        let (inner, name) = (self.inner.clone(), parse_deployment(py, deployment)?);
        Task::simple(move |_| async move {
            let served = inner.served(&name).await?;
            let model = &served.model;
            let ports = |ports: &[Port]| -> Vec<serde_json::Value> {
                let port = |port: &Port| json!({"name": port.name, "dtype": tensor::dtype_name(port.datatype), "shape": port.shape});
                ports.iter().map(port).collect()
            };
            let document = json!({
                "name": model.name,
                "engine": model.platform,
                "inputs": ports(&model.inputs),
                "outputs": ports(&model.outputs),
                "features": model.features(),
                "labels": model.labels(),
            });
            Ok(text(document.to_string()))
        })
    }

    /// Asks a served model. The task gives arrays, labels, the proof's statement as JSON, and the proof with all that it
    /// stands on.
    fn ask(&self, py: Python<'_>, deployment: &str, rows: Rows<'_>) -> PyResult<Task> {
        let (inner, name) = (self.inner.clone(), parse_deployment(py, deployment)?);
        let rows = Asked::read(py, rows)?;
        Task::simple(move |_| async move {
            let served = inner.served(&name).await?;
            // Large tables take their time: the runtime's other work goes on elsewhere.
            let inputs = tokio::task::block_in_place(|| rows.fit(&served.model))?;
            let lease = inner.lease().await?;
            let outcome = lease.session.infer(&name, &inputs).await;
            let outcome = outcome.map(|answer| {
                let bundle = answer.proof.bundle(&lease.session, Some(served.manifest.clone()));
                (answer.results, bundle)
            });
            let (results, bundle) = lease.done(outcome)?;
            let statement = check::to_json(&bundle.proof.proof);
            let bundle = cbor::encode(&bundle);
            Ok(Box::new(move |py: Python<'_>| {
                let (arrays, labels) = tensor::write(py, results);
                let made = (arrays, labels, statement, PyBytes::new(py, &bundle));
                Ok(made.into_pyobject(py)?.into_any().unbind())
            }) as Make)
        })
    }

    /// Runs a model of the caller's own over data of the caller's own. The task gives arrays, labels, what was checked
    /// of the proof as JSON, and the proof with all that it stands on.
    fn run(&self, model: Owned, data: Owned, limits: Limits) -> PyResult<Task> {
        let (inner, options) = (self.inner.clone(), Options::from(limits));
        Task::simple(move |news| async move {
            let Inner { node, policy, key, .. } = &*inner;
            let done =
                glacier::infer(node, policy, key, &model, &data, &options, &mut |step| tell(&news, &step)).await?;
            let finished = done.finished;
            let facts = json!({ "proof": finished.proof.proof(), "checks": check::lines(&finished.checks) });
            let bundle = cbor::encode(&finished.bundle);
            Ok(Box::new(move |py: Python<'_>| {
                let (arrays, labels) = tensor::write(py, finished.results);
                let made = (arrays, labels, facts.to_string(), PyBytes::new(py, &bundle));
                Ok(made.into_pyobject(py)?.into_any().unbind())
            }) as Make)
        })
    }

    /// Opens a deployment of a model of the caller's own. The task gives its name.
    fn serve(&self, model: Owned, runs: u64, limits: Limits) -> PyResult<Task> {
        let (inner, options) = (self.inner.clone(), Options { runs, ..Options::from(limits) });
        Task::simple(move |news| async move {
            let Inner { node, policy, key, .. } = &*inner;
            let served = glacier::serve(node, policy, key, &model, &options, &mut |step| tell(&news, &step)).await?;
            Ok(text(served.name.to_string()))
        })
    }

    /// Refines a model of the caller's own on data of the caller's own. The task gives the refined model, what is known
    /// of how it came about as JSON, and the proof with all that it stands on. When it is cancelled, the enclave is told
    /// to forget the job.
    #[pyo3(signature = (model, data, validation, plan, limits))]
    fn train(
        &self,
        py: Python<'_>,
        model: Owned,
        data: Vec<Owned>,
        validation: Option<Owned>,
        plan: &str,
        limits: Limits,
    ) -> PyResult<Task> {
        let plan = parse_plan(plan).map_err(|failure| failure.raise(py))?;
        let (inner, options) = (self.inner.clone(), Options::from(limits));
        let signed: Arc<Mutex<Option<ManifestHash>>> = Arc::default();
        let regret = {
            let (inner, signed) = (inner.clone(), signed.clone());
            async move {
                let job = *signed.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(job) = job {
                    let forget = async {
                        // A connection of its own: on the other one a request may be under way.
                        let opened = inner.node.connect(&inner.policy, inner.key.identity(), Freshness::Cached).await;
                        if let Ok(session) = opened {
                            // Where it is not heard, the job ends when it expires.
                            let _ = session.withdraw(&job).await;
                        }
                    };
                    let _ = tokio::time::timeout(REGRET, forget).await;
                }
            }
        };
        let work = move |news: News| async move {
            let Inner { node, policy, key, .. } = &*inner;
            let sets: Vec<Source<'_>> = data.iter().map(Source::from).collect();
            let validation = validation.as_ref().map(Source::from);
            let material = Material { model: (&model).into(), data: &sets, validation };
            let watch = &mut |step: Step<'_>| {
                if let Step::Signed(manifest) = &step {
                    *signed.lock().unwrap_or_else(PoisonError::into_inner) = Some(manifest.manifest.hash());
                }
                tell(&news, &step);
            };
            let refined = glacier::train(node, policy, key, material, plan, &options, watch).await?;
            let facts = json!({
                "proof": refined.proof.proof(),
                "checks": check::lines(&refined.checks),
                "record": refined.record,
                "epochs": refined.metrics.epochs,
                "points": refined.points,
            });
            let bundle = cbor::encode(&refined.bundle);
            Ok(Box::new(move |py: Python<'_>| {
                let made = (PyBytes::new(py, &refined.model), facts.to_string(), PyBytes::new(py, &bundle));
                Ok(made.into_pyobject(py)?.into_any().unbind())
            }) as Make)
        };
        Task::spawn(work, regret)
    }

    fn __repr__(&self) -> String {
        format!("<_native.Session with {}>", self.inner.node.url())
    }
}

/// An initial model: fully connected layers of `hidden` units from these columns to the classes, or to so many numbers.
#[pyfunction]
#[pyo3(signature = (features, hidden, classes, values, plan))]
pub(crate) fn initial_model<'py>(
    py: Python<'py>,
    features: Vec<String>,
    hidden: Vec<u64>,
    classes: Option<Vec<String>>,
    values: u64,
    plan: &str,
) -> PyResult<Bound<'py, PyBytes>> {
    let plan = parse_plan(plan).map_err(|failure| failure.raise(py))?;
    let task = classes.as_ref().map_or(build::Task::Values(values), |classes| build::Task::Labels(classes));
    let model = build::mlp(Columns::Named(&features), &hidden, task, &plan.seed.0).map_err(|error| {
        let message = format!("no initial model can be made for these columns: {error}");
        Failure::new(Kind::Data, message, "bring a model of your own: ONNX, as a path or as bytes").raise(py)
    })?;
    Ok(PyBytes::new(py, &model))
}

fn parse_plan(text: &str) -> Result<TrainingPlan, Failure> {
    let unfit = |message: String| {
        Failure::new(
            Kind::Data,
            format!("the plan cannot be used: {message}"),
            "docs/training.md lists what a plan may say",
        )
    };
    let plan: TrainingPlan = serde_json::from_str(text).map_err(|error| {
        // The list of all that is known is in the documentation.
        let message = error.to_string();
        unfit(message.split(", expected").next().unwrap_or_default().to_owned())
    })?;
    plan.check().map_err(|error| unfit(error.to_string()))?;
    Ok(plan)
}

fn parse_deployment(py: Python<'_>, text: &str) -> PyResult<ManifestHash> {
    text.parse().map_err(|_| {
        let message = format!("`{text}` is no deployment");
        Failure::new(Kind::Data, message, "pass the 64 hexadecimal digits that `glacier serve` printed").raise(py)
    })
}

fn text(text: String) -> Make {
    Box::new(move |py| Ok(text.into_pyobject(py)?.into_any().unbind()))
}

/// What happens, as it happens. Nothing of content: bytes and rows are counted, losses are the caller's own.
fn tell(news: &News, step: &Step<'_>) {
    let bytes = |stage: &str, done: &u64, total: &u64| json!({"stage": stage, "done": done, "total": total});
    news.say(&match step {
        Step::Accepted(_) => json!({"stage": "accepted"}),
        Step::Sealing(role, done, total) => bytes(&format!("sealing {}", role.as_str()), done, total),
        Step::Uploading(role, done, total) => bytes(&format!("sending {}", role.as_str()), done, total),
        Step::Fetching(done, total) => bytes("fetching", done, total),
        Step::Signed(_) => json!({"stage": "signed"}),
        Step::Joined(role) => json!({"stage": format!("released {}", role.as_str())}),
        Step::Status(status) => json!({"stage": status.phase, "rows": status.rows}),
        Step::Course(page) => json!({"stage": "training", "page": page}),
        Step::Waiting(_) => json!({"stage": "waiting for the node"}),
        _ => return,
    });
}
