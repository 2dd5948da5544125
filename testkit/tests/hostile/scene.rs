//! One job with everything in place, to be spoiled in one way.

use glacier::{
    Draft, Error, Finished, Job, Key, Node, Policy, Release, Session,
    wire::{
        Digest, FileKey, Grant, Role, SignedManifest,
        api::{JobStatus, Join},
    },
};
use glacier_testkit::{Rig, breast_cancer, random, seal, sealed_key};
pub(crate) use glacier_testkit::{refused, soon};
use std::path::{Path, PathBuf};

pub(crate) struct Scene {
    pub(crate) rig: Rig,
    pub(crate) hospital: Key,
    pub(crate) firm: Key,
    pub(crate) job: SignedManifest,
    pub(crate) data: PathBuf,
    pub(crate) model: PathBuf,
}

impl Scene {
    /// The bundled model and data, sealed, uploaded and signed for by both parties.
    pub(crate) async fn set(rig: Rig) -> Self {
        Self::with(rig, &breast_cancer::model(), &breast_cancer::data(), |_| ()).await
    }

    /// Other files, and a manifest that `change` has its way with before it is signed.
    pub(crate) async fn with(rig: Rig, model: &Path, data: &Path, change: impl FnOnce(&mut Draft)) -> Self {
        let (hospital, firm) = (rig.party("hospital"), rig.party("firm"));
        let (sealed_data, data) = seal(&rig, &hospital, data, "data.age").await;
        let (sealed_model, model) = seal(&rig, &firm, model, "model.age").await;
        let accepted = rig.session(&hospital).await;
        let place = accepted.place().expect("a chip with a name");
        let mut draft = Draft::inference(
            (hospital.address(), sealed_data),
            (firm.address(), sealed_model),
            place,
            vec![hospital.recipient()],
            soon(),
        );
        change(&mut draft);
        let mut job = Job::propose(draft).expect("a sound manifest");
        for key in [&hospital, &firm] {
            job.sign(key.identity()).expect("a party signs");
        }
        let job = job.signed().clone();
        Self { rig, hospital, firm, job, data, model }
    }

    pub(crate) fn node(&self) -> Node {
        self.rig.node()
    }

    pub(crate) fn policy(&self) -> &Policy {
        self.rig.policy()
    }

    pub(crate) fn key(&self, role: Role) -> &Key {
        if role == Role::Data { &self.hospital } else { &self.firm }
    }

    pub(crate) fn file_key(&self, role: Role) -> FileKey {
        let file = if role == Role::Data { &self.data } else { &self.model };
        sealed_key(file, self.key(role))
    }

    /// A join as the SDK would make it, to be changed and sent by hand.
    pub(crate) fn join(&self, session: &Session, role: Role, change: impl FnOnce(&mut Grant)) -> Join {
        let mut grant = Grant {
            manifest: self.job.manifest.hash(),
            role,
            enclave_key: session.claims().enclave_key,
            uses: 1,
            not_after: soon(),
            nonce: Digest(random()),
        };
        change(&mut grant);
        Join {
            manifest: self.job.clone(),
            grant: grant.sign(&self.job.manifest.domain(), self.key(role).identity()),
            file_key: self.file_key(role),
            now: glacier::verify::now(),
            checkpoint: 0,
            asset: if role == Role::Data { self.job.manifest.data } else { self.job.manifest.model },
            membership: None,
        }
    }

    pub(crate) async fn send(&self, session: &Session, join: &Join) -> Result<JobStatus, Error> {
        Ok(session.post("/glacier/v1/jobs", join).await?.cbor(64 << 10)?)
    }

    pub(crate) async fn grant(&self, role: Role) -> Result<JobStatus, Error> {
        let key = self.key(role);
        let session = self.rig.session(key).await;
        let release = Release { role, manifest: &self.job, file_key: self.file_key(role), uses: 1, not_after: soon() };
        session.join(key.identity(), release).await
    }

    /// Both grant, the hospital waits and collects.
    pub(crate) async fn play(&self) -> Result<Finished, Error> {
        self.grant(Role::Model).await?;
        self.grant(Role::Data).await?;
        let session = self.rig.session(&self.hospital).await;
        session.wait(&self.job.manifest.hash(), &mut |_| ()).await?;
        session.collect(&self.node(), &self.job, &self.hospital, self.policy(), &mut |_, _| ()).await
    }
}
