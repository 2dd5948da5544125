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
            // By the host's clock alone: what a party says of the time counts for its own job.
            self.make_room(cx.now())?;
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

    /// Whoever waits in vain makes room first, then what has ended, then who has waited longest: grants cost
    /// a stranger nothing, and what is complete is not to wait for them.
    fn make_room(&mut self, now: UnixTime) -> Result<(), Refusal> {
        let over = |job: &Job| job.waits() && job.manifest().limits.not_after < now;
        while let Some(hash) = self.oldest(over) {
            self.evict(hash);
        }
        if self.ceremonies.len() < MAX_JOBS {
            return Ok(());
        }
        let Some(hash) = self.oldest(Job::ended).or_else(|| self.oldest(Job::waits)) else {
            return Err(Refusal::new(RefusalCode::Busy, "as many jobs as the enclave takes are under way"));
        };
        self.evict(hash);
        Ok(())
    }

    /// The oldest of this kind.
    fn oldest(&self, kind: impl Fn(&Job) -> bool) -> Option<ManifestHash> {
        let is = |hash: &&ManifestHash| self.ceremonies.get(hash).is_none_or(|ceremony| kind(&ceremony.job));
        self.order.iter().find(is).copied()
    }

    fn evict(&mut self, hash: ManifestHash) {
        self.order.retain(|known| *known != hash);
        if let Some(Ceremony { job, .. }) = self.ceremonies.remove(&hash)
            && !job.ended()
        {
            let detail = "the job waited too long for its other parties: all of them grant anew";
            job.refuse(Refusal::new(RefusalCode::JobExpired, detail));
        }
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use glacier_wire::{EnclaveId, Limits, Measurement, Settlement};

    /// A job of the number, which may start until `not_after`.
    fn enter(table: &mut Table, number: u32, not_after: u64) -> Arc<Job> {
        let mut salt = [0; 32];
        salt[..4].copy_from_slice(&number.to_le_bytes());
        let settlement = Settlement { chain_id: 1, ledger: Address::ZERO, payer: Address::ZERO, price: 0 };
        let manifest = Manifest {
            work: Work::Inference,
            data_provider: Address([1; 20]),
            model_provider: Address([2; 20]),
            data: Digest([3; 32]),
            model: Digest([4; 32]),
            measurement: Measurement([5; 32]),
            enclave_id: EnclaveId([6; 32]),
            recipients: Vec::new(),
            limits: Limits { memory: 1, units: 1, runs: 1, not_after: UnixTime(not_after) },
            settlement,
            salt: Digest(salt),
            plan: Digest::ZERO,
            contributions: Vec::new(),
        };
        let hash = manifest.hash();
        let job =
            Arc::new(Job::new(hash, SignedManifest { manifest, signatures: Vec::new(), plan: None, federation: None }));
        let ceremony =
            Ceremony { job: job.clone(), data: vec![None], model: None, uses: 1, floor: UnixTime(0), checkpoint: 0 };
        table.order.push(hash);
        table.ceremonies.insert(hash, ceremony);
        job
    }

    fn knows(table: &Table, job: &Job) -> bool {
        assert_eq!(table.ceremonies.contains_key(&job.hash()), table.order.contains(&job.hash()));
        table.ceremonies.contains_key(&job.hash())
    }

    #[test]
    fn whoever_waits_in_vain_is_forgotten_and_hears_of_it() {
        let mut table = Table::default();
        let (late, early) = (enter(&mut table, 0, 100), enter(&mut table, 1, 200));
        let begun = enter(&mut table, 2, 100);
        begun.enter(Phase::Running);
        table.make_room(UnixTime(100)).unwrap();
        assert!(knows(&table, &late));
        table.make_room(UnixTime(101)).unwrap();
        assert_eq!([&late, &early, &begun].map(|job| knows(&table, job)), [false, true, true]);
        assert_eq!(late.status().refusal.unwrap().code, RefusalCode::JobExpired);
    }

    #[test]
    fn a_full_table_makes_room_for_one_more_until_all_of_it_is_at_work() {
        let mut table = Table::default();
        let jobs: Vec<_> = (0..1024).map(|number| enter(&mut table, number, 1000)).collect();
        jobs[5].enter(Phase::Done);
        for number in (0..1024).filter(|number| ![5, 7, 9].contains(number)) {
            jobs[number].enter(Phase::Serving);
        }
        // What has ended goes before who waits, and of those the oldest first.
        for (number, gone) in [(1024, 5), (1025, 7), (1026, 9)] {
            table.make_room(UnixTime(1)).unwrap();
            assert!(!knows(&table, &jobs[gone]));
            enter(&mut table, number, 1000).enter(Phase::Serving);
        }
        assert_eq!(table.make_room(UnixTime(1)).unwrap_err().code, RefusalCode::Busy);
        assert_eq!(table.ceremonies.len(), MAX_JOBS);
    }

    #[test]
    fn a_complete_ceremony_waits_for_nobody() {
        let mut table = Table::default();
        let job = enter(&mut table, 0, 100);
        job.granted(Role::Data);
        job.granted(Role::Model);
        assert_eq!(job.phase(), Phase::Waiting);
        table.make_room(UnixTime(101)).unwrap();
        assert!(knows(&table, &job));
    }
}
