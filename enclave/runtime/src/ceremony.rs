//! The ceremony: every party shows the same signed manifest, grants, and releases its key. Then,
//! and only then, the job starts.

use crate::{
    app::{self, Apps},
    deployment::Deployments,
    federation::Federation,
    job::{Job, released_sets},
    training::Training,
};
use glacier_app::{Address, Context, Refusal, RefusalCode};
use glacier_wire::{
    Digest, FileKey, Manifest, ManifestHash, Nonce, Role, SignedManifest, UnixTime, Work,
    api::{Event, Join, Phase},
};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

/// Most jobs that are remembered. Ended ones make room for new ones, oldest first.
const MAX_JOBS: usize = 1024;

/// Most grants that are remembered, so that none is taken twice in this key epoch.
const MAX_GRANTS: usize = 1 << 20;

/// What the parties released. Wiped when dropped.
pub(crate) struct Keys {
    /// Open the data assets, in the order of [`Manifest::data_sets`]; a deployment has none.
    pub(crate) data: Vec<FileKey>,
    /// Opens the model asset.
    pub(crate) model: FileKey,
}

/// A complete ceremony: everything that was released, how often it may be used, and the latest time
/// that any party stated.
pub(crate) struct Ready {
    pub(crate) keys: Keys,
    pub(crate) uses: u64,
    pub(crate) floor: UnixTime,
    /// The newest checkpoint that any party was told of.
    pub(crate) checkpoint: u64,
}

/// All ceremonies of this key epoch.
#[derive(Default)]
pub(crate) struct Ceremonies(Mutex<Table>);

#[derive(Default)]
struct Table {
    ceremonies: HashMap<ManifestHash, Ceremony>,
    /// In order of arrival, for eviction.
    order: Vec<ManifestHash>,
    grants: HashSet<Nonce>,
}

struct Ceremony {
    job: Arc<Job>,
    /// Of each data set.
    data: Vec<Option<FileKey>>,
    model: Option<FileKey>,
    /// Uses that the least generous grant so far leaves.
    uses: u64,
    /// The latest time that any party of this job has stated.
    floor: UnixTime,
    /// The newest checkpoint that any party was told of.
    checkpoint: u64,
}

impl Ceremonies {
    /// Takes one party's permission; starts the job when it was the last one missing. `model` is the key of the
    /// model of a site's part in a federation, which was sealed to this enclave: nobody else releases one.
    pub(crate) fn join(
        &self,
        cx: &Context,
        peer: Address,
        join: Join,
        model: Option<FileKey>,
        deployments: &Arc<Deployments>,
        apps: &Arc<Apps>,
    ) -> Result<Arc<Job>, Refusal> {
        let hash = check_manifest(cx, &join.manifest)?;
        check_grant(cx, peer, &join, hash)?;
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (job, ready) = table.admit(cx, join, model, hash)?;
        drop(table);
        if let Some(ready) = ready {
            match job.manifest().work {
                Work::Deployment => deployments.start(cx.clone(), job.clone(), ready),
                Work::Training => Training::start(cx.clone(), job.clone(), ready),
                Work::Federation => Federation::start(cx.clone(), job.clone(), ready),
                Work::App if ready.keys.data.is_empty() => apps.start(cx.clone(), job.clone(), ready),
                Work::App => app::start(cx.clone(), job.clone(), ready.keys),
                _ => job.clone().start(cx.clone(), ready.keys),
            }
        }
        Ok(job)
    }

    /// Forgets what was released for a job that still waits for somebody: all parties grant anew, or nobody does.
    /// Tells whether there was anything to forget.
    pub(crate) fn take_back(&self, hash: &ManifestHash) -> bool {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(ceremony) = table.ceremonies.get_mut(hash) else { return false };
        let released = ceremony.data.iter_mut().chain([&mut ceremony.model]).filter_map(Option::take).count();
        if released > 0 {
            ceremony.uses = u64::MAX;
            ceremony.job.reopen();
        }
        released > 0
    }

    pub(crate) fn job(&self, hash: &ManifestHash) -> Option<Arc<Job>> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.ceremonies.get(hash).map(|ceremony| ceremony.job.clone())
    }
}

/// Whether all parties signed exactly this document, and whether it is meant for this enclave.
pub(crate) fn check_manifest(cx: &Context, signed: &SignedManifest) -> Result<ManifestHash, Refusal> {
    let hash = signed.verify().map_err(|fault| Refusal::new(RefusalCode::ManifestInvalid, fault.to_string()))?;
    let elsewhere = |what: &str| Err(Refusal::new(RefusalCode::ManifestElsewhere, what));
    if signed.manifest.measurement != cx.measurement() {
        return elsewhere("the manifest names other code than runs here");
    }
    if signed.manifest.enclave_id != cx.enclave_id() {
        return elsewhere("the manifest names another chip than this");
    }
    let known = [Work::Inference, Work::Deployment, Work::App, Work::Training, Work::Federation];
    if !known.contains(&signed.manifest.work) {
        return elsewhere("this enclave does inference, training and sandboxed apps; the manifest names other work");
    }
    Ok(hash)
}

/// Whether the caller gave this grant, in a role it has, for this job and this key epoch.
fn check_grant(cx: &Context, peer: Address, join: &Join, hash: ManifestHash) -> Result<(), Refusal> {
    let (manifest, grant) = (&join.manifest.manifest, &join.grant.grant);
    if !owns(manifest, grant.role, join.asset, peer) {
        let detail = format!("the manifest does not name you as the {} provider of this asset", grant.role.as_str());
        return Err(Refusal::new(RefusalCode::NotYours, detail));
    }
    join.grant
        .verify(&manifest.domain(), &peer)
        .map_err(|fault| Refusal::new(RefusalCode::GrantSignature, fault.to_string()))?;
    let elsewhere = |what: &str| Err(Refusal::new(RefusalCode::GrantElsewhere, what));
    if grant.manifest != hash {
        return elsewhere("the grant is for another manifest");
    }
    if grant.enclave_key != cx.enclave_key() {
        return elsewhere("the grant is for another key epoch: the enclave has restarted since, or it is another one");
    }
    Ok(())
}

/// Whether the asset is this party's to release in this role.
fn owns(manifest: &Manifest, role: Role, asset: Digest, peer: Address) -> bool {
    match role {
        Role::Data => released_sets(manifest).any(|set| set.provider == peer && set.data == asset),
        Role::Model => manifest.model_provider == peer && manifest.model == asset,
        _ => false,
    }
}

impl Table {
    /// Enters the grant. Returns the keys when the ceremony is complete.
    fn admit(
        &mut self,
        cx: &Context,
        join: Join,
        model: Option<FileKey>,
        hash: ManifestHash,
    ) -> Result<(Arc<Job>, Option<Ready>), Refusal> {
        let grant = join.grant.grant;
        let floor = self.ceremonies.get(&hash).map_or(UnixTime(0), |ceremony| ceremony.floor);
        let now = cx.now().max(join.now).max(floor);
        check_time(&join, now)?;
        if grant.uses == 0 {
            return Err(Refusal::new(RefusalCode::GrantExhausted, "the grant allows no use"));
        }
        if self.grants.contains(&Nonce(grant.nonce.0)) {
            return Err(Refusal::new(RefusalCode::GrantReplayed, "this grant was brought before"));
        }
        if self.grants.len() >= MAX_GRANTS {
            return Err(Refusal::new(
                RefusalCode::Busy,
                "this key epoch can take no more grants; the node must restart",
            ));
        }
        if !self.ceremonies.contains_key(&hash) {
            self.make_room()?;
            let job = Arc::new(Job::new(hash, join.manifest));
            self.order.push(hash);
            let data = released_sets(job.manifest()).map(|_| None).collect();
            let ceremony = Ceremony { job, data, model: None, uses: u64::MAX, floor, checkpoint: 0 };
            self.ceremonies.insert(hash, ceremony);
        }
        let Some(ceremony) = self.ceremonies.get_mut(&hash) else {
            return Err(Refusal::new(RefusalCode::Busy, "the job could not be entered"));
        };
        ceremony.check_open(grant.role, join.asset)?;
        self.grants.insert(Nonce(grant.nonce.0));
        ceremony.floor = now;
        ceremony.uses = ceremony.uses.min(grant.uses);
        ceremony.checkpoint = ceremony.checkpoint.max(join.checkpoint);
        if let Some(place) = ceremony.place(grant.role, join.asset) {
            *place = Some(join.file_key);
        }
        ceremony.job.granted(grant.role);
        if let (Some(key), None) = (model, &ceremony.model) {
            ceremony.model = Some(key);
            ceremony.job.mark_averaged();
            ceremony.job.granted(Role::Model);
        }
        Ok((ceremony.job.clone(), ceremony.take_keys()))
    }

    fn make_room(&mut self) -> Result<(), Refusal> {
        if self.ceremonies.len() < MAX_JOBS {
            return Ok(());
        }
        let ended = |hash: &ManifestHash| self.ceremonies.get(hash).is_none_or(|ceremony| ceremony.job.ended());
        let Some(place) = self.order.iter().position(ended) else {
            return Err(Refusal::new(RefusalCode::Busy, "as many jobs as the enclave takes are under way"));
        };
        let hash = self.order.remove(place);
        self.ceremonies.remove(&hash);
        Ok(())
    }
}

impl Ceremony {
    /// Whether this role may still grant.
    fn check_open(&mut self, role: Role, asset: Digest) -> Result<(), Refusal> {
        if self.job.runs_left() == 0 {
            return Err(Refusal::new(RefusalCode::GrantExhausted, "the manifest's runs are used up"));
        }
        match self.job.phase() {
            Phase::Waiting => {}
            // Refused before the model ran: the parties may grant afresh.
            Phase::Refused => self.job.reopen(),
            _ => return Err(Refusal::new(RefusalCode::GrantExhausted, "the job has started already")),
        }
        match self.place(role, asset) {
            Some(None) => Ok(()),
            Some(Some(_)) => Err(Refusal::new(RefusalCode::GrantReplayed, "you have granted already")),
            None => Err(Refusal::new(RefusalCode::NotYours, "the manifest names no asset of yours in this role")),
        }
    }

    /// Where a party's key goes.
    fn place(&mut self, role: Role, asset: Digest) -> Option<&mut Option<FileKey>> {
        match role {
            Role::Data => self.data.get_mut(released_sets(self.job.manifest()).position(|set| set.data == asset)?),
            _ => Some(&mut self.model),
        }
    }

    /// The keys, once everybody has released theirs. They leave the table for good.
    fn take_keys(&mut self) -> Option<Ready> {
        if self.model.is_none() || self.data.iter().any(Option::is_none) {
            return None;
        }
        let uses = std::mem::replace(&mut self.uses, u64::MAX);
        let keys = Keys { data: self.data.iter_mut().filter_map(Option::take).collect(), model: self.model.take()? };
        Some(Ready { keys, uses, floor: self.floor, checkpoint: self.checkpoint })
    }
}

fn check_time(join: &Join, now: UnixTime) -> Result<(), Refusal> {
    if join.grant.grant.not_after < now {
        return Err(Refusal::new(RefusalCode::GrantExpired, "the grant has expired"));
    }
    if join.manifest.manifest.limits.not_after < now {
        return Err(Refusal::new(RefusalCode::JobExpired, "the manifest's time to start has passed"));
    }
    Ok(())
}

/// Says so in the job's log.
impl Job {
    fn granted(&self, role: Role) {
        self.log(Event::Granted { role });
    }
}
