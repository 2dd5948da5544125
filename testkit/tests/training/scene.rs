//! Tables, plans and parties of a training.

use glacier::{
    Draft, Error, Job, Key, Material, Node, Options, Policy, Refinement, Release, Session, Step,
    wire::{
        Contribution, Digest, FileKey, Grant, Role, SignedManifest,
        api::{JobStatus, Join, Phase},
        training::{EarlyStopping, Optimiser, Real, Target, TrainingPage, TrainingPlan, Validation},
    },
};
use glacier_testkit::{Rig, breast_cancer, children, random, seal, sealed_key, soon};
use glacier_train::build::{Columns, Task, logistic, mlp};
use std::{fs, path::PathBuf, time::Duration};
use tokio::sync::OnceCell;

/// The bundled rows and what they are, as a hospital has them: in one table.
pub(crate) struct Table {
    pub(crate) features: Vec<String>,
    /// The cells of each row's features, its class, and whether it is not for learning.
    rows: Vec<(String, String, bool)>,
}

impl Table {
    pub(crate) fn read() -> Self {
        let read = |path: PathBuf| fs::read_to_string(path).expect("the bundled files are there");
        let (data, labels) = (read(breast_cancer::data()), read(breast_cancer::data().with_file_name("labels.csv")));
        let (header, cells) = data.split_once('\n').expect("a header");
        let features = header.trim().split(',').map(str::to_owned).collect();
        let classes = labels.lines().skip(1).map(|line| line.split_once(',').expect("two columns"));
        let rows = cells.lines().zip(classes);
        let rows = rows.map(|(cells, (class, held_out))| (cells.trim().to_owned(), class.to_owned(), held_out == "1"));
        Self { features, rows: rows.collect() }
    }

    /// Rows that are learnt from, the class as the column `diagnosis`.
    pub(crate) fn learnt(&self) -> String {
        self.csv(self.rows.iter().filter(|row| !row.2))
    }

    /// A part of them: of `parts` the one numbered `part`.
    pub(crate) fn share(&self, part: usize, parts: usize) -> String {
        let learnt = self.rows.iter().filter(|row| !row.2);
        self.csv(learnt.enumerate().filter(|(at, _)| at % parts == part).map(|(_, row)| row))
    }

    /// The other rows, without their class, and the classes.
    pub(crate) fn held_out(&self) -> (String, Vec<&str>) {
        let rows = || self.rows.iter().filter(|row| row.2);
        let cells: Vec<&str> = rows().map(|(cells, ..)| cells.as_str()).collect();
        let table = format!("{}\n{}\n", self.features.join(","), cells.join("\n"));
        (table, rows().map(|(_, class, _)| class.as_str()).collect())
    }

    fn csv<'a>(&self, rows: impl Iterator<Item = &'a (String, String, bool)>) -> String {
        let rows: Vec<String> = rows.map(|(cells, class, _)| format!("{cells},{class}")).collect();
        format!("{},diagnosis\n{}\n", self.features.join(","), rows.join("\n"))
    }

    /// An initial model for these columns.
    pub(crate) fn model(&self) -> Vec<u8> {
        let classes = ["benign".to_owned(), "malignant".to_owned()];
        let (columns, task) = (Columns::Named(&self.features), Task::Labels(&classes));
        mlp(columns, &[16], task, &[7; 32]).expect("a small model")
    }
}

/// A second or two of work, with many checkpoints.
pub(crate) fn plan() -> TrainingPlan {
    TrainingPlan {
        epochs: 450,
        target: vec![Target::from("diagnosis")],
        standardise: true,
        learning_rate: real(0.01),
        threads: 1,
        checkpoint_every: 20,
        // Something to be lost: the best weights so far, and how long ago that was.
        early_stopping: Some(EarlyStopping { patience: 10_000, ..EarlyStopping::default() }),
        ..TrainingPlan::default()
    }
}

/// The same, for as long as a test takes.
pub(crate) fn endless() -> TrainingPlan {
    TrainingPlan { epochs: 10_000, ..plan() }
}

pub(crate) fn real(value: f32) -> Real {
    Real::new(value).expect("a finite number")
}

/// One who owns model and data, and has the SDK do the rest.
pub(crate) struct Owner {
    pub(crate) node: Node,
    pub(crate) policy: Policy,
    pub(crate) key: Key,
    pub(crate) model: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) options: Options,
}

impl Owner {
    /// The bundled table and a small model for it.
    pub(crate) fn of(rig: &Rig) -> Self {
        let table = Table::read();
        Self::with(rig, &table.model(), table.learnt().as_bytes())
    }

    /// Other files.
    pub(crate) fn with(rig: &Rig, model: &[u8], data: &[u8]) -> Self {
        let (at, policy, key) = (write(rig, "model.onnx", model), rig.policy().clone(), rig.party("hospital"));
        let data = write(rig, "data.csv", data);
        Self { node: rig.node(), policy, key, model: at, data, options: Options::default() }
    }

    /// Trains; `watch` sees every page of the course.
    pub(crate) async fn train(
        &self,
        plan: TrainingPlan,
        mut watch: impl FnMut(&TrainingPage) + Send,
    ) -> Result<Refinement, Error> {
        self.follow(plan, &mut |step| {
            if let Step::Course(page) = step {
                watch(page);
            }
        })
        .await
    }

    /// Trains; `watch` sees everything.
    pub(crate) async fn follow(
        &self,
        plan: TrainingPlan,
        watch: &mut (dyn FnMut(Step<'_>) + Send),
    ) -> Result<Refinement, Error> {
        let data = [(&self.data).into()];
        let material = Material { model: (&self.model).into(), data: &data, validation: None };
        glacier::train(&self.node, &self.policy, &self.key, material, plan, &self.options, watch).await
    }
}

pub(crate) fn write(rig: &Rig, name: &str, bytes: &[u8]) -> PathBuf {
    let path = rig.home().join(name);
    fs::write(&path, bytes).expect("a file of the test's own");
    path
}

/// What [`plan`] ends in where nobody interferes.
pub(crate) async fn undisturbed() -> &'static Refinement {
    static ONCE: OnceCell<Refinement> = OnceCell::const_new();
    let train = async || {
        let rig = Rig::start().await;
        Owner::of(&rig).train(plan(), |_| ()).await.expect("the training runs")
    };
    ONCE.get_or_init(train).await
}

/// The same bits, whatever lay between.
#[track_caller]
pub(crate) fn assert_undisturbed(refined: &Refinement, undisturbed: &Refinement, what: &str) {
    let (found, wanted) = (&refined.record, &undisturbed.record);
    assert_eq!(found.weights, wanted.weights, "weights of each epoch: {what}");
    assert_eq!(*refined.model, *undisturbed.model, "the refined model: {what}");
    assert_eq!(refined.metrics.epochs, undisturbed.metrics.epochs, "metrics: {what}");
    let counts = |record: &glacier::wire::training::TrainingRecord| {
        (record.chain, record.best, record.ending, record.steps, record.rows, record.units, record.result, record.seed)
    };
    assert_eq!(counts(found), counts(wanted), "counts: {what}");
}

/// Someone's part in a job of several.
pub(crate) struct Part {
    pub(crate) key: Key,
    pub(crate) role: Role,
    pub(crate) asset: Digest,
    sealed: PathBuf,
}

/// A job of several parties: the first owns the data and gets the result, the last owns the model.
pub(crate) struct Scene {
    pub(crate) rig: Rig,
    pub(crate) parts: Vec<Part>,
    pub(crate) job: SignedManifest,
}

impl Scene {
    /// A hospital for each table, and a firm with the model.
    pub(crate) async fn set(rig: Rig, plan: TrainingPlan, tables: &[String]) -> Self {
        let mut parts = Vec::new();
        for (at, table) in tables.iter().enumerate() {
            let name = format!("hospital-{at}");
            parts.push(bring(&rig, &name, Role::Data, table.as_bytes()).await);
        }
        parts.push(bring(&rig, "firm", Role::Model, &Table::read().model()).await);
        let (hospital, firm) = (&parts[0], &parts[parts.len() - 1]);
        let place = rig.session(&hospital.key).await.place().expect("a chip with a name");
        let mut draft = Draft::training(
            (hospital.key.address(), hospital.asset),
            (firm.key.address(), firm.asset),
            plan,
            place,
            vec![hospital.key.recipient()],
            soon(),
        );
        let further = &parts[1..parts.len() - 1];
        draft.contributions =
            further.iter().map(|part| Contribution { provider: part.key.address(), data: part.asset }).collect();
        let mut job = Job::propose(draft).expect("a sound manifest");
        for part in &parts {
            job.sign(part.key.identity()).expect("a party signs");
        }
        let job = job.complete().expect("all have signed").clone();
        Self { rig, parts, job }
    }

    /// A hospital with all rows, and a firm.
    pub(crate) async fn of_two(rig: Rig, plan: TrainingPlan) -> Self {
        Self::set(rig, plan, &[Table::read().learnt()]).await
    }

    pub(crate) fn hospital(&self) -> &Key {
        &self.parts[0].key
    }

    pub(crate) fn firm(&self) -> &Key {
        &self.parts[self.parts.len() - 1].key
    }

    pub(crate) fn file_key(&self, part: &Part) -> FileKey {
        sealed_key(&part.sealed, &part.key)
    }

    /// A join as the SDK would make it, to be changed and sent by hand.
    pub(crate) fn join(&self, session: &Session, part: &Part, signer: &Key) -> Join {
        let grant = Grant {
            manifest: self.job.manifest.hash(),
            role: part.role,
            enclave_key: session.claims().enclave_key,
            uses: 1,
            not_after: soon(),
            nonce: Digest(random()),
        };
        Join {
            manifest: self.job.clone(),
            grant: grant.sign(&self.job.manifest.domain(), signer.identity()),
            file_key: self.file_key(part),
            now: glacier::verify::now(),
            checkpoint: 0,
            membership: None,
            asset: part.asset,
        }
    }

    pub(crate) async fn send(&self, session: &Session, join: &Join) -> Result<JobStatus, Error> {
        Ok(session.post("/glacier/v1/jobs", join).await?.cbor(64 << 10)?)
    }

    /// What the SDK does for a party, which was told of this checkpoint.
    pub(crate) async fn grant(&self, part: &Part, checkpoint: u64) -> Result<JobStatus, Error> {
        let session = self.rig.session(&part.key).await;
        let (file_key, manifest) = (self.file_key(part), &self.job);
        let release = Release { role: part.role, manifest, file_key, uses: 1, not_after: soon() };
        session.join_with(part.key.identity(), release, part.asset, checkpoint).await
    }

    /// Everybody grants.
    pub(crate) async fn begin(&self) {
        for part in &self.parts {
            self.grant(part, 0).await.expect("a party of the job");
        }
    }

    /// A session of the hospital once a checkpoint is kept, and so the work goes on.
    pub(crate) async fn under_way(&self) -> Session {
        let session = self.rig.session(self.hospital()).await;
        loop {
            let page = session.course(&self.job.manifest.hash(), 0, 0).await.expect("the owner may ask");
            if page.checkpoint > 0 {
                return session;
            }
            let status = session.status(&self.job.manifest.hash()).await.expect("a party may ask");
            assert_ne!(status.phase, Phase::Refused, "{status:?}");
        }
    }

    /// Until the job has ended.
    pub(crate) async fn end(&self, key: &Key) -> Result<JobStatus, Error> {
        self.rig.session(key).await.wait(&self.job.manifest.hash(), &mut |_| ()).await
    }

    /// Everybody grants, the hospital waits and collects.
    pub(crate) async fn play(&self) -> Result<Refinement, Error> {
        self.begin().await;
        self.end(self.hospital()).await?;
        let session = self.rig.session(self.hospital()).await;
        session.refinement(&self.rig.node(), &self.job, self.hospital(), self.rig.policy(), &mut |_, _| ()).await
    }
}

async fn bring(rig: &Rig, name: &str, role: Role, bytes: &[u8]) -> Part {
    let key = rig.party(name);
    let file = write(rig, &format!("{name}.plain"), bytes);
    let (asset, sealed) = seal(rig, &key, &file, name).await;
    Part { key, role, asset, sealed }
}

/// The enclave's process.
pub(crate) fn enclave(rig: &Rig) -> Option<u32> {
    rig.host().info().map(|info| info.pid)
}

/// The worker processes that run now. The enclave has them forked by a process that it keeps for that.
pub(crate) fn workers(rig: &Rig) -> Vec<u32> {
    enclave(rig).map(children).unwrap_or_default().into_iter().flat_map(children).collect()
}

/// Waits for what comes about in a moment.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within five seconds: {what}");
}

/// The jobs that the host keeps a checkpoint of.
pub(crate) fn checkpoints(rig: &Rig) -> Vec<String> {
    let entries = fs::read_dir(rig.home().join("node/checkpoints")).expect("a folder of the node").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    // A pointer that is being written stands beside its place for a moment, under another name.
    names.filter(|name| name.len() == 64).collect()
}

/// What the store keeps.
pub(crate) fn blobs(rig: &Rig) -> Vec<PathBuf> {
    let (mut folders, mut blobs) = (vec![rig.home().join("node/store")], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the node").flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { blobs.push(path) }
        }
    }
    // Blobs are named by their digests; the store has files of its own beside them.
    blobs.retain(|path| path.file_name().is_some_and(|name| name.len() == 64));
    blobs
}

/// Rows of `columns` numbers and a class, `no` or `yes`, by a rule that can be learnt. More than a small
/// job holds in memory.
pub(crate) fn many_rows(rows: u32, columns: u32) -> String {
    let mut state = 1u32;
    let mut cell = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 16) / 65_536.0
    };
    let mut text: String = (0..columns).map(|at| format!("c{at},")).collect();
    text += "class\n";
    for _ in 0..rows {
        let cells: Vec<f64> = (0..columns).map(|_| cell()).collect();
        text.extend(cells.iter().map(|cell| format!("{cell:.4},")));
        text += if cells[0] + cells[1] > 1.0 { "yes\n" } else { "no\n" };
    }
    text
}

/// A model for [`many_rows`].
pub(crate) fn wide_model(columns: u32) -> Vec<u8> {
    let (names, classes): (Vec<String>, _) =
        ((0..columns).map(|at| format!("c{at}")).collect(), ["no".to_owned(), "yes".to_owned()]);
    logistic(Columns::Named(&names), Task::Labels(&classes), &[3; 32]).expect("a small model")
}

/// A plan for [`many_rows`].
pub(crate) fn streamed(epochs: u32) -> TrainingPlan {
    TrainingPlan {
        epochs,
        batch: 256,
        target: vec![Target::from("class")],
        learning_rate: real(0.1),
        optimiser: Optimiser::Sgd,
        shuffle: 1000,
        threads: 1,
        checkpoint_every: 50,
        validation: Validation::Fraction(real(0.05)),
        ..TrainingPlan::default()
    }
}
