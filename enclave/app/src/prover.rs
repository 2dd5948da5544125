//! Signs Work Proofs, one after the other, and the heads of the log that they form.

use crate::{app::Worked, tally::Tally};
use glacier_platform::{LockError, LockedKey, Platform};
use glacier_proof::{
    AnchorAt, Batch, Chain, Checkpoint, Frontier, Head, Logged, SignedBatch, SignedCheckpoint, SignedProof, WorkProof,
};
use glacier_wire::{
    Address, Commitment, Digest, EnclaveId, Identity, Manifest, ManifestHash, Measurement, PlatformKind, Recipient,
    Settlement, Signature, Work,
    api::{OrderFault, Refusal, RefusalCode, SettlementOrder},
    federation::Credential,
    sign_with,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

/// What a proof says beyond who says it.
#[derive(Debug, Clone, Copy)]
pub struct Statement {
    /// Kind of work.
    pub work: Work,
    /// Manifest; zero where there is none.
    pub manifest: ManifestHash,
    /// Model asset; zero where there is none.
    pub model: Digest,
    /// What went in.
    pub input: Commitment,
    /// What came out.
    pub output: Commitment,
    /// Metered units.
    pub units: u64,
    /// Where the proof counts.
    pub settlement: Settlement,
}

impl Statement {
    pub(crate) fn of(worked: &Worked, input: Commitment, output: Commitment) -> Self {
        let Worked { work, manifest, model, units, settlement } = *worked;
        Self { work, manifest, model, input, output, units, settlement }
    }
}

/// The enclave key, its chain and its log. All live in memory only: a restart makes a new key, so no
/// host can bring an old log back.
pub(crate) struct Prover {
    secret: LockedKey<32>,
    address: Address,
    enclave_id: EnclaveId,
    measurement: Measurement,
    platform: PlatformKind,
    state: Mutex<State>,
    room: Arc<Semaphore>,
    news: Notify,
}

/// All that is said of the log is read off this, under one lock: whoever asks, of one size there is one
/// root, and for one ledger one number of units.
#[derive(Default)]
struct State {
    chain: Chain,
    log: Frontier,
    tally: Tally,
    /// Where the host settles, as it says.
    settled_at: Option<SettlementOrder>,
    /// The host is to have the head although there is no new proof.
    head_due: bool,
    unpublished: Vec<Unpublished>,
    /// The last batch for each contract that anchors some.
    batches: BTreeMap<AnchorAt, SignedBatch>,
}

/// A proof and where it stands.
pub(crate) struct Proved {
    pub(crate) proof: SignedProof,
    /// Completes when the host has said whether it keeps the proof.
    pub(crate) published: oneshot::Receiver<()>,
    /// A head of the log at this proof, for the ledger that it names.
    pub(crate) logged: Option<Logged>,
}

/// A proof that the host has not been given.
pub(crate) struct Unpublished {
    pub(crate) proof: SignedProof,
    /// Dropped when the host has said whether it keeps the proof.
    pub(crate) told: Option<oneshot::Sender<()>>,
    _room: OwnedSemaphorePermit,
}

/// All proofs that the host has not been given, in order, and the head of the log after the last.
pub(crate) struct Burst {
    pub(crate) proofs: Vec<Unpublished>,
    pub(crate) head: Option<SignedCheckpoint>,
}

/// Whether a proof's party is told where it stands in the log: one more signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Told,
    Untold,
}

impl Prover {
    /// Most proofs that the host has not been given. Beyond that the next waits: a host that loses one has
    /// lost the log.
    const BACKLOG: usize = 4096;

    /// Draws a key and starts its log.
    pub(crate) fn new(platform: &dyn Platform) -> Result<Self, LockError> {
        loop {
            let secret = LockedKey::random()?;
            // No key about once in 2^128 draws.
            if let Ok(identity) = Identity::from_secret(secret.expose()) {
                return Ok(Self {
                    secret,
                    address: identity.address(),
                    enclave_id: platform.enclave_id(),
                    measurement: platform.measurement(),
                    platform: platform.kind(),
                    state: Mutex::default(),
                    room: Arc::new(Semaphore::new(Self::BACKLOG)),
                    news: Notify::new(),
                });
            }
        }
    }

    pub(crate) fn address(&self) -> Address {
        self.address
    }

    pub(crate) fn count(&self) -> u64 {
        self.state().chain.next().0
    }

    /// Signs the next proof and has it published.
    pub(crate) async fn prove(&self, statement: &Statement, standing: Standing) -> Result<Proved, Refusal> {
        let closed = |_| Refusal::new(RefusalCode::Host, "the enclave is ending");
        let room = self.room.clone().acquire_owned().await.map_err(closed)?;
        let proved = self.sign(statement, standing, room)?;
        self.news.notify_one();
        Ok(proved)
    }

    /// The lock is held while signing: a number is taken and used in one step.
    fn sign(&self, statement: &Statement, standing: Standing, room: OwnedSemaphorePermit) -> Result<Proved, Refusal> {
        let mut state = self.state();
        let (sequence, previous) = state.chain.next();
        let proof = WorkProof {
            enclave_id: self.enclave_id,
            enclave_key: self.address,
            measurement: self.measurement,
            platform: self.platform,
            work: statement.work,
            manifest: statement.manifest,
            model: statement.model,
            input: statement.input,
            output: statement.output,
            units: statement.units,
            sequence,
            previous,
            settlement: statement.settlement,
        };
        let hash = proof.hash();
        let proof = proof.sign(self.secret.expose());
        let proof = proof.map_err(|fault| Refusal::new(RefusalCode::Platform, fault.to_string()))?;
        let path = state.log.path_of_next();
        // Chain and log have one length, so that either both take one more or neither does.
        state.chain.push(hash).map_err(|fault| Refusal::new(RefusalCode::Busy, fault.to_string()))?;
        state.log.append(&hash).map_err(|fault| Refusal::new(RefusalCode::Busy, fault.to_string()))?;
        state.tally.add(&statement.settlement, statement.units);
        let Settlement { chain_id, ledger, .. } = statement.settlement;
        let head = match standing {
            Standing::Told => self.head(&state, &SettlementOrder { chain_id, ledger }),
            Standing::Untold => None,
        };
        let (told, published) = oneshot::channel();
        state.unpublished.push(Unpublished { proof: proof.clone(), told: Some(told), _room: room });
        Ok(Proved { proof, published, logged: head.map(|checkpoint| Logged { checkpoint, path }) })
    }

    /// Signs a statement that is no proof, and so stands in no log.
    fn sign_digest(&self, digest: &[u8; 32]) -> Result<Signature, Refusal> {
        sign_with(self.secret.expose(), digest).map_err(|fault| Refusal::new(RefusalCode::Platform, fault.to_string()))
    }

    /// The enclave key as who this enclave is to another. What a session signs begins with a tag of its own.
    pub(crate) fn identity(&self) -> Result<Identity, Refusal> {
        Identity::from_secret(self.secret.expose())
            .map_err(|fault| Refusal::new(RefusalCode::Platform, fault.to_string()))
    }

    /// Signs the next batch of data for a contract. Of one sequence number there is one batch; the last one's data
    /// gives that batch again, since a contract takes none whose predecessor was lost on its way.
    pub(crate) fn sign_batch(&self, head: Head, anchor: AnchorAt) -> Result<SignedBatch, Refusal> {
        let mut state = self.state();
        let full = || Refusal::new(RefusalCode::Busy, "this enclave signs batches for no more contracts");
        let sequence = match state.batches.get(&anchor) {
            Some(last) if (last.batch.root, last.batch.count) == (head.root, head.size) => return Ok(*last),
            Some(last) => last.batch.sequence.checked_add(1).ok_or_else(full)?,
            None if state.batches.len() >= MOST_ANCHORS => return Err(full()),
            None => 0,
        };
        let (enclave_id, signer) = (self.enclave_id, self.address);
        let batch = Batch { enclave_id, signer, sequence, root: head.root, count: head.size };
        let signed = batch.sign(anchor, self.secret.expose());
        let signed = signed.map_err(|fault| Refusal::new(RefusalCode::Platform, fault.to_string()))?;
        state.batches.insert(anchor, signed);
        Ok(signed)
    }

    /// Says that files sealed to `recipient` are for this enclave.
    pub(crate) fn sign_recipient(&self, recipient: &Recipient) -> Result<Signature, Refusal> {
        self.sign_digest(&Credential::digest(recipient))
    }

    /// Signs a manifest as the party that this enclave is in it.
    pub(crate) fn sign_manifest(&self, manifest: &Manifest) -> Result<Signature, Refusal> {
        if manifest.model_provider != self.address {
            return Err(Refusal::new(RefusalCode::NotYours, "the manifest does not name this enclave as a party"));
        }
        self.sign_digest(&manifest.hash().0)
    }

    /// The host settles at this ledger: it gets the log's head for it with all proofs from now on, and
    /// now, if there is any yet.
    pub(crate) fn settle(&self, ledger: SettlementOrder) -> Result<(), OrderFault> {
        let mut state = self.state();
        if !state.tally.reserve(ledger) {
            return Err(OrderFault::TooManyLedgers);
        }
        state.settled_at = Some(ledger);
        state.head_due = state.log.size() > 0;
        drop(state);
        self.news.notify_one();
        Ok(())
    }

    /// Returns when the host is to be given something.
    pub(crate) async fn unpublished(&self) -> Burst {
        loop {
            if let Some(burst) = self.take() {
                return burst;
            }
            self.news.notified().await;
        }
    }

    fn take(&self) -> Option<Burst> {
        let mut state = self.state();
        let proofs = std::mem::take(&mut state.unpublished);
        let head_due = std::mem::take(&mut state.head_due);
        if proofs.is_empty() && !head_due {
            return None;
        }
        let head = state.settled_at.and_then(|ledger| self.head(&state, &ledger));
        Some(Burst { proofs, head })
    }

    /// Signs the head of the log; `None` where the units that it should name are not counted.
    fn head(&self, state: &State, at: &SettlementOrder) -> Option<SignedCheckpoint> {
        let checkpoint = Checkpoint {
            enclave_id: self.enclave_id,
            enclave_key: self.address,
            size: state.log.size(),
            root: state.log.root(),
            units: state.tally.units(at)?,
            chain_id: at.chain_id,
            ledger: at.ledger,
        };
        checkpoint.sign(self.secret.expose()).ok()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Contracts that batches are signed for.
const MOST_ANCHORS: usize = 64;
