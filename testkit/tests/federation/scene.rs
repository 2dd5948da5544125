//! A federation with everything in place.

use glacier::{
    Draft, Error, Freshness, Job, Key, Node, Release, Session,
    asset::{Header, Parsed},
    federation::{Merged, Part, Participation, Place, SiteStep, lead, take_part},
    wire::{
        Contribution, Digest, FileKey, Role, SignedManifest, UnixTime,
        api::RefusalCode,
        federation::{FederationPlan, FederationStatus, Weighting},
        training::{Real, TrainingPlan, Validation},
    },
};
use glacier_testkit::{Rig, breast_cancer};
use glacier_train::build::{Columns, Task, logistic};
use std::{fmt::Write as _, path::PathBuf};

pub(crate) const SITES: usize = 3;

pub(crate) struct Scene {
    pub(crate) aggregator: Rig,
    pub(crate) firm: Key,
    pub(crate) sites: Vec<Site>,
    pub(crate) federation: SignedManifest,
    model_key: FileKey,
}

pub(crate) struct Site {
    pub(crate) rig: Rig,
    pub(crate) owner: Key,
    pub(crate) data: Digest,
    pub(crate) file_key: FileKey,
}

impl Scene {
    /// The bundled rows, dealt out to three hospitals. Nobody has joined yet.
    pub(crate) async fn set(rounds: u32, quorum: u32, patience: u32) -> Self {
        Self::of(rounds, quorum, patience, false).await
    }

    /// The same with words for the two classes, which neither model nor plan names.
    pub(crate) async fn set_in_words() -> Self {
        Self::of(1, 3, 60, true).await
    }

    async fn of(rounds: u32, quorum: u32, patience: u32, words: bool) -> Self {
        let aggregator = Rig::start().await;
        let firm = aggregator.party("firm");
        let (mut model, mut freeze) = (breast_cancer::model(), vec!["mean".into(), "scale".into()]);
        if words {
            freeze.clear();
            model = aggregator.home().join("unnamed.onnx");
            let unnamed = logistic(Columns::Count(30), Task::Classes(2), &[1; 32]).unwrap();
            std::fs::write(&model, unnamed).unwrap();
        }
        let (model, model_key) = seal(&aggregator, &firm, &model).await;
        let (mut sites, mut seats) = (Vec::new(), Vec::new());
        for place in 0..SITES {
            let rig = Rig::start().await;
            let owner = rig.party("hospital");
            let table = rig.home().join("rows.csv");
            std::fs::write(&table, rows(place, words)).unwrap();
            let (data, file_key) = seal(&rig, &owner, &table).await;
            seats.push(rig.session(&owner).await.seat().unwrap());
            sites.push(Site { rig, owner, data, file_key });
        }
        let local = TrainingPlan {
            epochs: 1,
            batch: 16,
            target: vec!["diagnosis".into()],
            learning_rate: Real::new(0.01).unwrap(),
            freeze,
            validation: Validation::Fraction(Real::new(0.25).unwrap()),
            ..TrainingPlan::default()
        };
        let plan = FederationPlan {
            rounds,
            local,
            quorum,
            patience,
            weighting: Weighting::Rows,
            aggregator: aggregator.session(&firm).await.seat().unwrap(),
            sites: seats,
        };
        let contributions =
            sites.iter().map(|site| Contribution { provider: site.owner.address(), data: site.data }).collect();
        let draft = Draft::federation(
            (firm.address(), model),
            contributions,
            plan,
            vec![firm.recipient()],
            UnixTime(glacier::verify::now().0 + 3600),
        );
        let mut job = Job::propose(draft).unwrap();
        for key in sites.iter().map(|site| &site.owner).chain([&firm]) {
            job.sign(key.identity()).unwrap();
        }
        let federation = job.complete().unwrap().clone();
        Self { aggregator, firm, sites, federation, model_key }
    }

    /// Releases the initial model.
    pub(crate) async fn release(&self) {
        let (manifest, asset) = (&self.federation, self.federation.manifest.model);
        let release = Release {
            role: Role::Model,
            manifest,
            file_key: self.model_key.duplicate(),
            uses: 1,
            not_after: manifest.manifest.limits.not_after,
        };
        self.aggregator.session(&self.firm).await.join_with(self.firm.identity(), release, asset, 0).await.unwrap();
    }

    /// Releases the initial model, and stays.
    pub(crate) async fn lead(&self, watch: &mut (dyn FnMut(&FederationStatus) + Send)) -> Result<Merged, Error> {
        let node = self.aggregator.node();
        let place = Place::new(&node, self.aggregator.policy());
        lead(&self.federation, place, &self.model_key, &self.firm, 0, watch).await
    }

    /// One hospital, to the end.
    pub(crate) async fn take_part(
        &self,
        site: usize,
        watch: &mut (dyn FnMut(SiteStep<'_>) + Send),
    ) -> Result<Participation, Error> {
        let nodes = self.nodes(site);
        take_part(&self.part(site, &nodes), &self.sites[site].owner, watch).await
    }

    /// The aggregator's node and the site's own.
    pub(crate) fn nodes(&self, site: usize) -> (Node, Node) {
        (self.aggregator.node(), self.sites[site].rig.node())
    }

    pub(crate) fn part<'a>(&'a self, site: usize, nodes: &'a (Node, Node)) -> Part<'a> {
        let site = &self.sites[site];
        Part {
            federation: &self.federation,
            aggregator: Place::new(&nodes.0, self.aggregator.policy()),
            site: Place::new(&nodes.1, site.rig.policy()),
            data: site.data,
            file_key: site.file_key.duplicate(),
        }
    }

    /// A session of this site's owner with the aggregator.
    pub(crate) async fn at_aggregator(&self, site: usize) -> Session {
        let (node, owner) = (self.aggregator.node(), &self.sites[site].owner);
        node.connect(self.aggregator.policy(), owner.identity(), Freshness::Cached).await.unwrap()
    }
}

/// A third of the rows that are not held out.
fn rows(place: usize, words: bool) -> String {
    let data = std::fs::read_to_string(breast_cancer::data()).unwrap();
    let labels = std::fs::read_to_string(breast_cancer::data().with_file_name("labels.csv")).unwrap();
    let mut table = String::new();
    let (mut data, labels) = (data.lines(), labels.lines().skip(1));
    writeln!(table, "{},diagnosis", data.next().unwrap()).unwrap();
    let learnt = data.zip(labels).filter_map(|(row, label)| Some((row, label.strip_suffix(",0")?)));
    for (at, (row, label)) in learnt.enumerate() {
        if at % SITES == place {
            match words {
                true => writeln!(table, "{row},{label}").unwrap(),
                false => writeln!(table, "{row},{}", u8::from(label == "benign")).unwrap(),
            }
        }
    }
    table
}

/// Seals a file to its owner alone and brings the ciphertext to the owner's node.
async fn seal(rig: &Rig, owner: &Key, file: &std::path::Path) -> (Digest, FileKey) {
    let to: PathBuf = rig.home().join("sealed.age");
    let sealed = glacier::seal_file(file, &to, &[owner.recipient()], &mut |_, _| ()).unwrap();
    rig.node().upload(&sealed.digest, &to, &mut |_, _| ()).await.unwrap();
    match Header::parse(&sealed.header).unwrap() {
        Parsed::Complete { header, .. } => (sealed.digest, header.unwrap(owner.age()).unwrap()),
        Parsed::NeedsMore => panic!("a sealed file has a whole header"),
    }
}

/// The enclave's word for its refusal.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(outcome: Result<T, Error>) -> RefusalCode {
    match outcome {
        Err(error) => match error.refusal() {
            Some(refusal) => refusal.code,
            None => panic!("not refused by an enclave but: {error:?}"),
        },
        Ok(value) => panic!("not refused: {value:?}"),
    }
}
