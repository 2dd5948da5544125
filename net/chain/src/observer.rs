//! What a chain says of keys and proofs, for whoever has no key of its own there. Reads, and sends nothing.

use crate::{
    Boxed, Chain, ChainError, DeployError, Deployment,
    contracts::{EnclaveRegistry, RewardVault, WorkLedger},
    earnings::Earnings,
    events::{self, Epochs},
};
use alloy::{
    consensus::Transaction as _,
    network::TransactionResponse as _,
    primitives::{Address, B256, Bytes, U256},
    providers::Provider as _,
    rpc::types::{Filter, Log},
    sol_types::{SolCall, SolEvent},
};
use glacier_attest::{Compact, CompactError};
use glacier_proof::{Checkpoint, LogError, Registration, SignedCheckpoint, WorkProof, root_of_path};
use glacier_wire::{EnclaveId, LogHash, Signature};
use serde::{Deserialize, Serialize};

/// Reads one network.
#[derive(Debug, Clone)]
pub struct Observer {
    chain: Chain,
    deployment: Deployment,
}

/// What a contract was shown when a key came in, or its life was prolonged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The chip, by the registry's event.
    pub enclave_id: EnclaveId,
    /// What the quote must carry.
    pub registration: Registration,
    /// Number of the code in the network's policy.
    pub code: u32,
    /// Kind of hardware, as contracts number it.
    pub platform: u8,
    /// Standing of the platform then, as contracts number it.
    pub status: u8,
    /// Until when the key lives by it, seconds since 1970.
    pub live_until: u64,
    /// The block of the event.
    pub block: u64,
    /// The transaction that brought the quote.
    pub transaction: B256,
    /// The quote, compact, and the chip's certificate: `None` where another contract made the call, so that they do not
    /// stand in the transaction.
    pub shown: Option<Shown>,
}

/// A quote as the registry was given it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Compact form.
    pub quote: Bytes,
    /// The chip's certificate.
    pub pck: Bytes,
}

/// What the registry says of a key and its chip now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct KeyStatus {
    /// Until when the key is live, seconds since 1970; 0 for a key that was ended or never registered.
    pub live_until: u64,
    /// Which registration of its chip it was, from 1; 0 for a key that was never registered.
    pub registration: u32,
    /// Whether what it signs is settled now.
    pub earns: bool,
    /// Who is paid.
    pub owner: Address,
    /// Whether the chip is out for good.
    pub barred: bool,
}

/// What the ledger keeps of a key's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettledHead {
    /// Proofs.
    pub size: u64,
    /// The first 24 bytes of the root.
    pub prefix: [u8; 24],
}

impl SettledHead {
    /// Whether this is the head that the ledger keeps.
    pub fn is(&self, size: u64, root: &LogHash) -> bool {
        self.size == size && root.0.starts_with(&self.prefix)
    }
}

/// The chain gave no answer, or one that cannot be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObserverError {
    /// The chain does not answer.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A view does not answer.
    #[error("a contract does not answer: {0}")]
    View(#[from] alloy::contract::Error),
    /// The deployment is not what it says.
    #[error(transparent)]
    Deployment(#[from] Box<DeployError>),
    /// An event without its transaction.
    #[error("the chain shows an event, and not the transaction {0} that it is of")]
    NoTransaction(B256),
}

impl From<alloy::transports::TransportError> for ObserverError {
    fn from(error: alloy::transports::TransportError) -> Self {
        Self::Chain(error.into())
    }
}

impl From<DeployError> for ObserverError {
    fn from(error: DeployError) -> Self {
        Self::Deployment(Box::new(error))
    }
}

impl Entry {
    /// The quote with its chain, as verifiers off the chain read it: `issuers` are the certificates of the PCK CA and
    /// of the root, DER. `None` where it does not stand in the transaction.
    ///
    /// # Errors
    /// What the registry was shown is no quote.
    pub fn quote(&self, issuers: [Vec<u8>; 2]) -> Option<Result<Vec<u8>, CompactError>> {
        let shown = self.shown.as_ref()?;
        Some(Compact::new(shown.quote.to_vec(), shown.pck.to_vec(), issuers).map(|compact| compact.restore()))
    }

    /// Version of the quote, which names its verifier.
    pub(crate) fn version(&self) -> Option<u16> {
        self.shown.as_ref()?.quote.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
    }
}

impl Observer {
    /// Looks at `deployment` on `chain`. [`Deployment::check`] says whether it is there.
    pub fn new(chain: Chain, deployment: Deployment) -> Self {
        Self { chain, deployment }
    }

    /// Where it looks.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// At what.
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// How a key came in; `None` if it never did.
    ///
    /// # Errors
    /// The chain does not answer.
    pub fn registration_of<'a>(
        &'a self,
        key: &'a glacier_wire::Address,
    ) -> Boxed<'a, Result<Option<Entry>, ObserverError>> {
        Box::pin(async move {
            let filter = Filter::new()
                .address(self.deployment.registry)
                .event_signature(EnclaveRegistry::Registered::SIGNATURE_HASH)
                .topic2(Address::from(key.0).into_word());
            let found = events::logs(&self.chain, &self.deployment, filter).await?;
            // A key comes in once.
            match found.first() {
                None => Ok(None),
                Some(log) => self.registered(log).await,
            }
        })
    }

    /// Reads a `Registered` event and the transaction that it is of; `None` if it is another event.
    pub(crate) fn registered<'a>(&'a self, log: &'a Log) -> Boxed<'a, Result<Option<Entry>, ObserverError>> {
        Box::pin(async move {
            let Ok(event) = EnclaveRegistry::Registered::decode_log(&log.inner) else { return Ok(None) };
            let (transaction, input) = self.input(log, self.deployment.registry).await?;
            let shown = input
                .and_then(|input| EnclaveRegistry::registerCall::abi_decode(&input).ok())
                .filter(|call| call.enclaveKey == event.enclaveKey)
                .map(|call| Shown { quote: call.quote, pck: call.pck });
            let registration = Registration {
                chain_id: self.deployment.chain_id,
                registry: wire(self.deployment.registry),
                enclave_key: wire(event.enclaveKey),
                owner: wire(event.owner),
                // The event counts this registration, the quote those before.
                number: event.number.saturating_sub(1),
            };
            Ok(Some(Entry {
                enclave_id: EnclaveId(event.enclaveId.0),
                registration,
                code: event.code,
                platform: event.platform,
                status: event.status,
                live_until: event.liveUntil.to(),
                block: log.block_number.unwrap_or_default(),
                transaction,
                shown,
            }))
        })
    }

    /// Reads a `Renewed` event of the key that came in, or was last renewed, by `before`.
    pub(crate) fn renewed<'a>(
        &'a self,
        log: &'a Log,
        before: &'a Entry,
    ) -> Boxed<'a, Result<Option<Entry>, ObserverError>> {
        Box::pin(async move {
            let Ok(event) = EnclaveRegistry::Renewed::decode_log(&log.inner) else { return Ok(None) };
            let (transaction, input) = self.input(log, self.deployment.registry).await?;
            let shown = input.and_then(|input| renewal(&input, before));
            let number = u32::try_from(before.live_until).unwrap_or(u32::MAX);
            Ok(Some(Entry {
                registration: Registration { number, ..before.registration },
                status: event.status,
                live_until: event.liveUntil.to(),
                block: log.block_number.unwrap_or_default(),
                transaction,
                shown,
                ..before.clone()
            }))
        })
    }

    /// Size and root prefix that the ledger keeps for a key.
    ///
    /// # Errors
    /// The chain does not answer.
    pub fn settled<'a>(&'a self, key: &'a glacier_wire::Address) -> Boxed<'a, Result<SettledHead, ObserverError>> {
        Box::pin(async move {
            let found = self.ledger().settled(key.0.into()).call().await?;
            Ok(SettledHead { size: found.size, prefix: found.root.0 })
        })
    }

    /// Whether a proof stands in the log that is settled for its key. `path` is its audit path at the settled size.
    ///
    /// # Errors
    /// The chain does not answer.
    pub fn is_settled<'a>(
        &'a self,
        proof: &'a WorkProof,
        path: &'a [LogHash],
    ) -> Boxed<'a, Result<bool, ObserverError>> {
        Box::pin(async move {
            let here = (proof.settlement.chain_id, proof.settlement.ledger.0)
                == (self.deployment.chain_id, *self.deployment.ledger.0);
            let head = self.settled(&proof.enclave_key).await?;
            Ok(here && covers(&head, proof, path).unwrap_or(false))
        })
    }

    /// The newest signed head that was settled for a key, as its transaction shows it; `None` if there is none or
    /// another contract made the call. Its signature is not checked.
    ///
    /// # Errors
    /// The chain does not answer.
    pub fn settled_checkpoint<'a>(
        &'a self,
        key: &'a glacier_wire::Address,
        enclave_id: &'a EnclaveId,
    ) -> Boxed<'a, Result<Option<SignedCheckpoint>, ObserverError>> {
        Box::pin(async move {
            let filter = Filter::new()
                .address(self.deployment.ledger)
                .event_signature(WorkLedger::Settled::SIGNATURE_HASH)
                .topic1(Address::from(key.0).into_word());
            let found = events::logs(&self.chain, &self.deployment, filter).await?;
            match found.last() {
                None => Ok(None),
                Some(log) => self.checkpoint(log, enclave_id).await,
            }
        })
    }

    /// The signed head of a `Settled` event.
    pub(crate) async fn checkpoint(
        &self,
        log: &Log,
        enclave_id: &EnclaveId,
    ) -> Result<Option<SignedCheckpoint>, ObserverError> {
        let Ok(event) = WorkLedger::Settled::decode_log(&log.inner) else { return Ok(None) };
        let (_, Some(input)) = self.input(log, self.deployment.ledger).await? else { return Ok(None) };
        let (prefix, size) = event.head.split_at(24);
        let is_it = |signed: &SignedCheckpoint| {
            let head = &signed.checkpoint;
            head.enclave_key.0 == *event.key.0
                && head.root.0.starts_with(prefix)
                && head.size.to_be_bytes() == *size
                && head.units == event.units
        };
        Ok(self.heads(&input, enclave_id).into_iter().find(is_it))
    }

    /// What the registry says of a key and its chip now.
    ///
    /// # Errors
    /// The chain does not answer.
    pub fn status_of<'a>(
        &'a self,
        key: &'a glacier_wire::Address,
        enclave_id: &'a EnclaveId,
    ) -> Boxed<'a, Result<KeyStatus, ObserverError>> {
        Box::pin(async move {
            let (registry, key) = (self.registry(), Address::from(key.0));
            let (kept, chip) = (registry.keyOf(key).call().await?, registry.chip(enclave_id.0.into()).call().await?);
            Ok(KeyStatus {
                live_until: kept.liveUntil.into(),
                registration: kept.registration.to(),
                earns: registry.mayEarn(key).call().await?.earns,
                owner: chip.owner,
                barred: chip.barred,
            })
        })
    }

    /// What everybody has earned in the epochs 1 to `last`, by the public rule over the chain's events.
    ///
    /// # Errors
    /// The chain does not answer.
    pub fn earnings_by(&self, last: u32) -> Boxed<'_, Result<Earnings, ObserverError>> {
        Box::pin(async move {
            let epochs = Epochs::read(&self.chain, &self.deployment, last).await?;
            let mut earnings = Earnings::default();
            for (epoch, units) in epochs.units() {
                let emission: U256 = self.deployment.emission(&self.chain, epoch).await?;
                earnings.add(emission, &units);
            }
            Ok(earnings)
        })
    }

    /// The newest epoch for which this root is what the events give, and its earnings. Where there is none, what they give for the
    /// newest epoch that it was proposed for: the caller compares. `None` for a root that nobody proposed, as the vault's mark
    /// for no root at all. One root may have been proposed for several epochs, where nothing was earned in between.
    ///
    /// # Errors
    /// The chain does not answer.
    pub fn earnings_behind(&self, root: B256) -> Boxed<'_, Result<Option<(u32, Earnings)>, ObserverError>> {
        Box::pin(async move {
            let mut newest = None;
            for epoch in events::epochs_of_root(&self.chain, &self.deployment, root).await? {
                let earnings = self.earnings_by(epoch).await?;
                if earnings.tree().root() == root {
                    return Ok(Some((epoch, earnings)));
                }
                newest.get_or_insert((epoch, earnings));
            }
            Ok(newest)
        })
    }

    pub(crate) fn registry(&self) -> EnclaveRegistry::EnclaveRegistryInstance<&alloy::providers::DynProvider> {
        EnclaveRegistry::new(self.deployment.registry, self.chain.provider())
    }

    pub(crate) fn ledger(&self) -> WorkLedger::WorkLedgerInstance<&alloy::providers::DynProvider> {
        WorkLedger::new(self.deployment.ledger, self.chain.provider())
    }

    pub(crate) fn vault(&self) -> RewardVault::RewardVaultInstance<&alloy::providers::DynProvider> {
        RewardVault::new(self.deployment.vault, self.chain.provider())
    }

    /// The transaction of an event, and what it said to `contract`, if it was said to that contract itself.
    async fn input(&self, log: &Log, contract: Address) -> Result<(B256, Option<Bytes>), ObserverError> {
        let hash = log.transaction_hash.unwrap_or_default();
        let found = self.chain.provider().get_transaction_by_hash(hash).await?;
        let transaction = found.filter(|found| found.tx_hash() == hash).ok_or(ObserverError::NoTransaction(hash))?;
        let direct = transaction.to() == Some(contract);
        Ok((hash, direct.then(|| transaction.input().clone())))
    }

    /// All signed heads that a settlement brought.
    fn heads(&self, input: &Bytes, enclave_id: &EnclaveId) -> Vec<SignedCheckpoint> {
        if let Ok(call) = WorkLedger::submitCheckpointCall::abi_decode(input) {
            let (key, tail) = call.whose.split_at(20);
            let [size, units] =
                [call.counts.wrapping_shr(64), call.counts & U256::from(u64::MAX)].map(|number| number.saturating_to());
            let head = Packed { key, tail: tail.get(..TAIL).unwrap_or_default(), size, units, root: call.root };
            return self.signed(&head, enclave_id, call.r, call.vs).into_iter().collect();
        }
        let Ok(call) = WorkLedger::submitCheckpointsCall::abi_decode(input) else { return Vec::new() };
        let records = call.heads.chunks_exact(HEAD_BYTES);
        records.filter_map(|record| self.record(record, enclave_id)).collect()
    }

    /// One head of a batch: key 20, last bytes of the Enclave ID 9, size 8, units 8, root 32, r 32, vs 32.
    fn record(&self, record: &[u8], enclave_id: &EnclaveId) -> Option<SignedCheckpoint> {
        let (key, rest) = record.split_at_checked(20)?;
        let (tail, rest) = rest.split_at_checked(TAIL)?;
        let (size, rest) = rest.split_first_chunk::<8>()?;
        let (units, rest) = rest.split_first_chunk::<8>()?;
        let (root, rest) = rest.split_first_chunk::<32>()?;
        let (r, vs) = rest.split_first_chunk::<32>()?;
        let (size, units) = (u64::from_be_bytes(*size), u64::from_be_bytes(*units));
        let head = Packed { key, tail, size, units, root: root.into() };
        self.signed(&head, enclave_id, r.into(), <[u8; 32]>::try_from(vs).ok()?.into())
    }

    /// `None` where the head is of another chip than the one that the registry names.
    fn signed(&self, head: &Packed<'_>, enclave_id: &EnclaveId, r: B256, vs: B256) -> Option<SignedCheckpoint> {
        if !enclave_id.0.ends_with(head.tail) {
            return None;
        }
        let checkpoint = Checkpoint {
            enclave_id: *enclave_id,
            enclave_key: glacier_wire::Address(head.key.try_into().ok()?),
            size: head.size,
            root: LogHash(head.root.0),
            units: head.units,
            chain_id: self.deployment.chain_id,
            ledger: wire(self.deployment.ledger),
        };
        Some(SignedCheckpoint { checkpoint, signature: full_signature(&r, &vs) })
    }
}

/// A head as calldata has it.
struct Packed<'a> {
    key: &'a [u8],
    tail: &'a [u8],
    size: u64,
    units: u64,
    root: B256,
}

/// Bytes of the Enclave ID that a registration does not keep.
const TAIL: usize = 9;
const HEAD_BYTES: usize = 141;
/// Of a compact quote: signature and attestation key, after the signed part.
const SIGNATURE_AND_KEY: usize = 128;

/// Whether the ledger's head covers a proof, by its audit path.
///
/// # Errors
/// There can be no such path.
pub(crate) fn covers(head: &SettledHead, proof: &WorkProof, path: &[LogHash]) -> Result<bool, LogError> {
    Ok(head.is(head.size, &root_of_path(head.size, proof.sequence, &proof.hash(), path)?))
}

/// The quote of a renewal. A short one leaves out what the registry was shown before.
fn renewal(input: &Bytes, before: &Entry) -> Option<Shown> {
    let ours = |key: Address| *key.0 == before.registration.enclave_key.0;
    if let Ok(call) = EnclaveRegistry::renewCall::abi_decode(input) {
        return ours(call.enclaveKey).then_some(Shown { quote: call.quote, pck: call.pck });
    }
    let call = EnclaveRegistry::renewKeptCall::abi_decode(input).ok().filter(|call| ours(call.enclaveKey))?;
    let shown = before.shown.as_ref()?;
    // What is signed has one length in both; the quoting enclave's part vouches for the same key.
    let (_, vouched) = shown.quote.split_at_checked(call.quote.len())?;
    let (kept, rest) = vouched.split_at_checked(SIGNATURE_AND_KEY)?;
    if !kept.ends_with(&call.attestationKey) {
        return None;
    }
    let quote = [&call.quote, &call.signature, &call.attestationKey, rest].concat();
    Some(Shown { quote: quote.into(), pck: shown.pck.clone() })
}

/// From EIP-2098.
fn full_signature(r: &B256, vs: &B256) -> Signature {
    let mut bytes = [0u8; 65];
    let odd = vs.first().is_some_and(|first| first & 0x80 != 0);
    let mut s = *vs;
    if let Some(first) = s.0.first_mut() {
        *first &= 0x7f;
    }
    let tail = [if odd { 28 } else { 27 }];
    for (to, from) in bytes.iter_mut().zip(r.iter().chain(s.iter()).chain(&tail)) {
        *to = *from;
    }
    Signature(bytes)
}

pub(crate) fn wire(address: Address) -> glacier_wire::Address {
    glacier_wire::Address(*address.0)
}
