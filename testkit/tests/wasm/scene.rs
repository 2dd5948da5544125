//! A firm with a component, a hospital with a table.

use glacier::{
    Draft, Error, FinishedApp, Job, Key, Options, Release,
    component::code_digest,
    wire::{Digest, ManifestHash, Role, SignedManifest, api::JobStatus},
};
use glacier_testkit::{Rig, breast_cancer, seal, sealed_key, soon};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The same arithmetic as in the component, in this process.
#[path = "../../../examples/wasm/cohort/src/cohort.rs"]
pub(crate) mod native;

/// The bundled app, as it was built from `examples/wasm/cohort`.
pub(crate) fn cohort() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "examples", "wasm", "cohort.wasm"].iter().collect()
}

pub(crate) fn table() -> Vec<u8> {
    fs::read(breast_cancer::data()).expect("the bundled table")
}

/// A component that does what the first byte of its body says: `l`oops, takes `m`emory, `t`raps, recurses `d`own,
/// answers too much (`b`), `r`efuses with its body, and otherwise echoes.
pub(crate) const MOODS: &str = r#"(component
  (core module $m
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 1024))
    (func (export "alloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (global.set $next (i32.add (local.get $at) (local.get 3)))
      (local.get $at))
    (func $down (param i64) (result i64) (i64.add (call $down (local.get 0)) (i64.const 1)))
    (func $full (block $full (loop $on
      (br_if $full (i32.eq (memory.grow (i32.const 16)) (i32.const -1))) (br $on))) unreachable)
    (func (export "handle") (param i32 i32 i32 i32 i32 i32) (result i32)
      (local $mood i32)
      (if (local.get 5) (then (local.set $mood (i32.load8_u (local.get 4)))))
      (if (i32.eq (local.get $mood) (i32.const 108)) (then (loop $on (br $on))))
      (if (i32.eq (local.get $mood) (i32.const 109)) (then (call $full)))
      (if (i32.eq (local.get $mood) (i32.const 116)) (then unreachable))
      (if (i32.eq (local.get $mood) (i32.const 100)) (then (drop (call $down (i64.const 0)))))
      (i32.store (i32.const 0) (i32.eq (local.get $mood) (i32.const 114)))
      (i32.store (i32.const 4) (local.get 4))
      (i32.store (i32.const 8) (local.get 5))
      (if (i32.eq (local.get $mood) (i32.const 98))
        (then (i32.store (i32.const 8) (i32.const 0x7fffffff))))
      (i32.const 0)))
  (core instance $i (instantiate $m))
  (func (export "handle") (param "caller" string) (param "path" string) (param "body" (list u8))
    (result (result (list u8) (error string)))
    (canon lift (core func $i "handle") (memory $i "memory") (realloc (func $i "alloc")))))"#;

/// Writes a component, or what should be one, to a file of the test's.
pub(crate) fn file(rig: &Rig, name: &str, bytes: &[u8]) -> PathBuf {
    let path = rig.home().join(name);
    fs::write(&path, bytes).expect("a file");
    path
}

pub(crate) fn text(rig: &Rig, name: &str, text: &str) -> PathBuf {
    file(rig, name, &wat::parse_str(text).expect("the test's own text"))
}

/// Opens an app of the firm's.
pub(crate) async fn open(rig: &Rig, firm: &Key, component: &Path, options: &Options) -> Result<ManifestHash, Error> {
    let node = rig.node();
    Ok(glacier::run_app(&node, rig.policy(), firm, component, options, &mut |_| ()).await?.name)
}

/// A batch job that both have signed.
pub(crate) struct Scene {
    pub(crate) rig: Rig,
    pub(crate) hospital: Key,
    pub(crate) firm: Key,
    pub(crate) job: SignedManifest,
    data: PathBuf,
    app: PathBuf,
}

impl Scene {
    pub(crate) async fn set(rig: Rig, component: &Path, data: &Path, change: impl FnOnce(&mut Draft)) -> Self {
        let (hospital, firm) = (rig.party("hospital"), rig.party("firm"));
        let (sealed_data, data) = seal(&rig, &hospital, data, "data.age").await;
        let (sealed_app, app) = seal(&rig, &firm, component, "app.age").await;
        let place = rig.session(&hospital).await.place().expect("a chip with a name");
        let mut draft = Draft::app(
            (hospital.address(), sealed_data),
            (firm.address(), sealed_app),
            code_digest(component).expect("a file"),
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
        Self { rig, hospital, firm, job, data, app }
    }

    pub(crate) fn hash(&self) -> ManifestHash {
        self.job.manifest.hash()
    }

    pub(crate) fn code(&self) -> Digest {
        self.job.manifest.plan
    }

    async fn grant(&self, role: Role) -> Result<JobStatus, Error> {
        let (key, file) = if role == Role::Data { (&self.hospital, &self.data) } else { (&self.firm, &self.app) };
        let session = self.rig.session(key).await;
        let release =
            Release { role, manifest: &self.job, file_key: sealed_key(file, key), uses: 1, not_after: soon() };
        session.join(key.identity(), release).await
    }

    /// Both grant, the hospital waits and collects.
    pub(crate) async fn play(&self) -> Result<FinishedApp, Error> {
        self.grant(Role::Model).await?;
        self.grant(Role::Data).await?;
        let session = self.rig.session(&self.hospital).await;
        session.wait(&self.hash(), &mut |_| ()).await?;
        session.collect_app(&self.rig.node(), &self.job, &self.hospital, self.rig.policy(), &mut |_, _| ()).await
    }
}
