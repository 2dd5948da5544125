//! What the frame offers an application.

use crate::{
    AssetReader, ResultWriter, Statement,
    epoch::{self, Epoch, Pace},
    host::HostPort,
    mailbox::Mailbox,
    orders,
    prover::{Proved, Prover, Standing},
    publisher,
    sealed::States,
};
use glacier_platform::{Platform, Worker, Zygote};
use glacier_proof::{AnchorAt, Bundle, Frontier, SignedBatch, SignedProof};
use glacier_wire::{
    Address, Digest, EnclaveId, Evidence, FileKey, Identity, Manifest, Measurement, Nonce, PlatformKind, ProofHash,
    Recipient, Signature, SignedManifest, UnixTime,
    api::{EnclaveInfo, Refusal, RefusalCode},
    federation::Credential,
};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The enclave, as its application sees it. Cheap to clone.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) app: &'static str,
    pub(crate) platform: Arc<dyn Platform>,
    pub(crate) zygote: Zygote,
    pub(crate) host: Arc<HostPort>,
    pub(crate) epoch: Arc<Epoch>,
    pub(crate) prover: Prover,
    pub(crate) mailbox: Mailbox,
    pub(crate) states: States,
    /// For the bodies of requests.
    pub(crate) room: Arc<Semaphore>,
}

impl Context {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// The code that runs here.
    pub fn measurement(&self) -> Measurement {
        self.0.platform.measurement()
    }

    /// The hardware it runs on.
    pub fn enclave_id(&self) -> EnclaveId {
        self.0.platform.enclave_id()
    }

    /// What kind of hardware that is.
    pub fn platform(&self) -> PlatformKind {
        self.0.platform.kind()
    }

    /// The key that signs Work Proofs in this epoch. Grants name it.
    pub fn enclave_key(&self) -> Address {
        self.0.prover.address()
    }

    /// The host's clock: good enough to refuse what has expired, never to keep a secret.
    pub fn now(&self) -> UnixTime {
        epoch::now()
    }

    /// Fresh random bytes from the platform.
    pub fn nonce(&self) -> Nonce {
        let mut bytes = [0u8; 32];
        glacier_platform::random(&mut bytes);
        Nonce(bytes)
    }

    /// Starts to read an encrypted asset from the host.
    pub async fn open(&self, asset: Digest, key: &FileKey) -> Result<AssetReader, Refusal> {
        AssetReader::begin(self.0.host.clone(), asset, key).await
    }

    /// The key of an asset that was sealed to this enclave, in its present key epoch.
    pub async fn unwrap(&self, asset: Digest) -> Result<FileKey, Refusal> {
        self.0.mailbox.unwrap(&self.0.host, asset).await
    }

    /// What shows other enclaves who this one is, and lets them seal files to it.
    pub fn credential(&self) -> Result<Credential, Refusal> {
        let recipient = self.0.mailbox.recipient()?;
        let signature = self.0.prover.sign_recipient(&recipient)?;
        Ok(Credential { evidence: Evidence::clone(&self.0.epoch.evidence()), recipient, signature })
    }

    /// Signs a manifest in which this enclave itself is the model provider.
    pub fn endorse(&self, manifest: &Manifest) -> Result<Signature, Refusal> {
        self.0.prover.sign_manifest(manifest)
    }

    /// Signs the next batch of data for a contract that anchors it: the root of a tree over the Keccak-256 of each
    /// piece, in this order. Anybody may carry it there, in the order in which it was signed and without a gap: keep
    /// the data until its batch is anchored. While no other was signed for that contract, the same data gives the same
    /// batch, so a lost answer is asked for again; after a restart, the first batch of a new key.
    ///
    /// # Errors
    /// [`RefusalCode::BadRequest`] for no data; [`RefusalCode::Busy`] for a contract too many.
    pub fn anchor(&self, hashes: &[[u8; 32]], at: AnchorAt) -> Result<SignedBatch, Refusal> {
        let mut tree = Frontier::new();
        for hash in hashes {
            tree.append(&ProofHash(*hash)).map_err(|_| Refusal::new(RefusalCode::TooLarge, "too much data"))?;
        }
        if tree.size() == 0 {
            return Err(Refusal::new(RefusalCode::BadRequest, "a batch of no data cannot be anchored"));
        }
        self.0.prover.sign_batch(tree.head(), at)
    }

    /// Starts a result that only `recipients` can open, stored by the host.
    pub async fn seal(&self, recipients: &[Recipient]) -> Result<ResultWriter, Refusal> {
        ResultWriter::begin(self.0.host.clone(), recipients).await
    }

    /// Starts a sandboxed process that may hold `memory` bytes and runs the function given to
    /// [`serve_with_worker`](crate::serve_with_worker).
    pub fn worker(&self, memory: u64) -> Result<Worker, Refusal> {
        self.0
            .zygote
            .spawn(memory)
            .map_err(|fault| Refusal::new(RefusalCode::Busy, format!("no worker could be started: {fault}")))
    }

    pub(crate) fn host(&self) -> Arc<HostPort> {
        self.0.host.clone()
    }

    pub(crate) fn identity(&self) -> Result<Identity, Refusal> {
        self.0.prover.identity()
    }

    pub(crate) fn room(&self) -> &Arc<Semaphore> {
        &self.0.room
    }

    pub(crate) fn states(&self) -> &States {
        &self.0.states
    }

    pub(crate) fn platform_handle(&self) -> &dyn Platform {
        &*self.0.platform
    }

    /// Signs a Work Proof and hands it to the host as well.
    pub async fn prove(&self, statement: &Statement, manifest: Option<SignedManifest>) -> Result<Bundle, Refusal> {
        let Proved { proof, published, logged } = self.0.prover.prove(statement, Standing::Told).await?;
        // However it went: the host may lose the proof, the party has its own copy.
        let _ = published.await;
        Ok(Bundle {
            proof,
            evidence: Arc::unwrap_or_clone(self.0.epoch.evidence()),
            manifest,
            logged,
            settled: None,
            training: None,
            federation: None,
        })
    }

    /// Signs a Work Proof, and hands it to the host in due course.
    pub(crate) async fn sign(&self, statement: &Statement) -> Result<SignedProof, Refusal> {
        Ok(self.0.prover.prove(statement, Standing::Untold).await?.proof)
    }

    /// What goes on beside the sessions until the host goes away.
    pub(crate) fn start(&self) {
        let inner = self.0.clone();
        tokio::spawn(async move { publisher::publish_all(&inner.prover, &inner.host).await });
        let inner = self.0.clone();
        tokio::spawn(async move { orders::follow(&inner.prover, &inner.platform, &inner.host).await });
        let inner = self.0.clone();
        tokio::spawn(async move { inner.epoch.renew(&inner.host, Pace::default()).await });
    }

    pub(crate) fn info(&self) -> EnclaveInfo {
        EnclaveInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            app: self.0.app.to_owned(),
            platform: self.platform(),
            measurement: self.measurement(),
            enclave_id: self.enclave_id(),
            proofs: self.0.prover.count(),
        }
    }
}
