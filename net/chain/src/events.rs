//! What the contracts' events say: which key is a chip's, and who worked how much in which epoch.

use crate::{
    Chain, ChainError, Deployment, Mined,
    contracts::{EnclaveRegistry, JobEscrow, RewardVault, WorkLedger},
    observer::ObserverError,
};
use alloy::{
    primitives::{Address, B256, U256},
    providers::Provider as _,
    rpc::types::{Filter, Log},
    sol_types::SolEvent,
};
use glacier_wire::EnclaveId;
use std::collections::{BTreeMap, BTreeSet};

/// Blocks in one question beyond the first: 10,000 are what public services answer.
const SPAN: u64 = 9_999;

/// All logs of a contract with one of these topics, oldest first.
pub(crate) async fn logs(chain: &Chain, deployment: &Deployment, filter: Filter) -> Result<Vec<Log>, ChainError> {
    let head = chain.head().await?.number;
    logs_in(chain, filter, deployment.block, head).await
}

/// Logs of the blocks `from` to `head`, both inclusive, oldest first.
pub(crate) async fn logs_in(chain: &Chain, filter: Filter, mut from: u64, head: u64) -> Result<Vec<Log>, ChainError> {
    let mut found = Vec::new();
    while from <= head {
        let to = from.saturating_add(SPAN).min(head);
        found.extend(chain.provider().get_logs(&filter.clone().from_block(from).to_block(to)).await?);
        from = to.saturating_add(1);
    }
    Ok(found)
}

/// The key that was registered last for a chip.
pub(crate) async fn current_key(
    chain: &Chain,
    deployment: &Deployment,
    enclave_id: &EnclaveId,
) -> Result<Option<Address>, ChainError> {
    let filter = Filter::new()
        .address(deployment.registry)
        .event_signature(EnclaveRegistry::Registered::SIGNATURE_HASH)
        .topic1(B256::from(enclave_id.0));
    let found = logs(chain, deployment, filter).await?;
    Ok(found
        .last()
        .and_then(|log| EnclaveRegistry::Registered::decode_log(&log.inner).ok())
        .map(|event| event.enclaveKey))
}

/// The epochs for which a root was proposed, each once, the newest first.
pub(crate) async fn epochs_of_root(chain: &Chain, deployment: &Deployment, root: B256) -> Result<Vec<u32>, ChainError> {
    let filter =
        Filter::new().address(deployment.vault).event_signature(RewardVault::RootProposed::SIGNATURE_HASH).topic2(root);
    let found = logs(chain, deployment, filter).await?;
    let events = found.iter().filter_map(|log| RewardVault::RootProposed::decode_log(&log.inner).ok());
    let epochs: BTreeSet<u32> = events.map(|event| event.epoch).collect();
    Ok(epochs.into_iter().rev().collect())
}

/// A deposit that was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paid {
    pub(crate) manifest: B256,
    pub(crate) payer: Address,
    pub(crate) price: u64,
    pub(crate) depositor: Address,
    /// Seconds since 1970.
    pub(crate) expiry: u64,
}

/// Deposits of the blocks `from` to `head`, oldest first.
pub(crate) async fn deposits(
    chain: &Chain,
    deployment: &Deployment,
    from: u64,
    head: u64,
) -> Result<Vec<Paid>, ChainError> {
    let filter = Filter::new().address(deployment.escrow).event_signature(JobEscrow::Deposited::SIGNATURE_HASH);
    let found = logs_in(chain, filter, from, head).await?;
    let events = found.iter().filter_map(|log| JobEscrow::Deposited::decode_log(&log.inner).ok());
    let paid = |event: &JobEscrow::Deposited| Paid {
        manifest: event.manifest,
        payer: event.payer,
        price: event.price,
        depositor: event.depositor,
        expiry: event.expiry.to(),
    };
    Ok(events.map(|event| paid(&event)).collect())
}

/// The first block that a reorganisation may still replace, where `head` is the last.
pub(crate) fn beyond_doubt(chain: &Chain, head: u64) -> u64 {
    head.saturating_add(2).saturating_sub(chain.confirmations())
}

/// What the ledger has counted of a key's work, up to a block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    units: u64,
    /// The block to go on from; zero before any was read.
    next: u64,
}

impl Counted {
    /// Reads on, and tells what is counted by now. What a reorganisation may still take back is read again the next time.
    pub(crate) async fn read_on(
        &mut self,
        chain: &Chain,
        deployment: &Deployment,
        key: Address,
    ) -> Result<u64, ChainError> {
        let filter = Filter::new()
            .address(deployment.ledger)
            .event_signature(vec![WorkLedger::Settled::SIGNATURE_HASH, WorkLedger::ProofSettled::SIGNATURE_HASH])
            .topic1(key.into_word());
        let head = chain.head().await?.number;
        let from = self.next.max(deployment.block);
        let next = beyond_doubt(chain, head).max(from);
        let mut counted = self.units;
        for log in logs_in(chain, filter, from, head).await? {
            if let Ok(event) = WorkLedger::Settled::decode_log(&log.inner) {
                counted = counted.max(event.units);
            } else if let Ok(event) = WorkLedger::ProofSettled::decode_log(&log.inner) {
                counted = counted.saturating_add(event.units);
            }
            if log.block_number.is_some_and(|block| block < next) {
                self.units = counted;
            }
        }
        self.next = next;
        Ok(counted)
    }
}

/// What an account took out of the escrow in a transaction.
pub(crate) async fn withdrawn(
    chain: &Chain,
    deployment: &Deployment,
    account: Address,
    mined: &Mined,
) -> Result<Option<U256>, ChainError> {
    let filter = Filter::new()
        .address(deployment.escrow)
        .event_signature(JobEscrow::Withdrawn::SIGNATURE_HASH)
        .topic1(account.into_word());
    let found = chain.provider().get_logs(&filter.from_block(mined.block).to_block(mined.block)).await?;
    let log = found.iter().find(|log| log.transaction_hash == Some(mined.transaction));
    Ok(log.and_then(|log| JobEscrow::Withdrawn::decode_log(&log.inner).ok()).map(|event| event.amount))
}

/// Work by epoch, as the ledger's and the registry's events tell it: of each chip, its owner and its units.
#[derive(Debug, Default)]
pub(crate) struct Epochs(BTreeMap<u32, Vec<(Address, u128)>>);

impl Epochs {
    /// Reads the epochs 1 to `last`. Units of an epoch belong to whoever owns the chip at its end.
    pub(crate) async fn read(chain: &Chain, deployment: &Deployment, last: u32) -> Result<Self, ObserverError> {
        let vault = RewardVault::new(deployment.vault, chain.provider());
        let (genesis, length): (u64, u64) =
            (vault.genesis().call().await?.to(), u64::from(vault.epochLength().call().await?));
        let filter = Filter::new().address(vec![deployment.ledger, deployment.registry]).event_signature(vec![
            WorkLedger::Settled::SIGNATURE_HASH,
            WorkLedger::ProofSettled::SIGNATURE_HASH,
            EnclaveRegistry::Registered::SIGNATURE_HASH,
        ]);
        let mut keys: BTreeMap<Address, B256> = BTreeMap::new();
        let mut owners: BTreeMap<B256, Vec<(u64, Address)>> = BTreeMap::new();
        let mut counted: BTreeMap<Address, u64> = BTreeMap::new();
        let mut work: BTreeMap<u32, BTreeMap<B256, u128>> = BTreeMap::new();
        let mut times = Times::default();
        for log in logs(chain, deployment, filter).await? {
            let at = times.of(chain, &log).await?;
            if let Ok(event) = EnclaveRegistry::Registered::decode_log(&log.inner) {
                keys.insert(event.enclaveKey, event.enclaveId);
                owners.entry(event.enclaveId).or_default().push((at, event.owner));
                continue;
            }
            let (key, units) = if let Ok(event) = WorkLedger::Settled::decode_log(&log.inner) {
                // A head with fewer units than were counted contradicts its log, and what follows it is not counted twice.
                let before = counted.entry(event.key).or_default();
                let rise = event.units.saturating_sub(*before);
                *before = before.saturating_add(rise);
                (event.key, rise)
            } else if let Ok(event) = WorkLedger::ProofSettled::decode_log(&log.inner) {
                let before = counted.entry(event.key).or_default();
                *before = before.saturating_add(event.units);
                (event.key, event.units)
            } else {
                continue;
            };
            let Some(enclave_id) = keys.get(&key) else { continue };
            // Work settled before the first epoch counts in none.
            let Some(since) = at.checked_sub(genesis) else { continue };
            let epoch =
                u32::try_from(since.checked_div(length).unwrap_or_default()).unwrap_or(u32::MAX).saturating_add(1);
            if epoch <= last {
                let sum = work.entry(epoch).or_default().entry(*enclave_id).or_default();
                *sum = sum.saturating_add(u128::from(units));
            }
        }
        let mut epochs = Self::default();
        for (epoch, chips) in work {
            let end = genesis.saturating_add(u64::from(epoch).saturating_mul(length));
            let units = epochs.0.entry(epoch).or_default();
            for (chip, worked) in chips {
                let owner = owners.get(&chip).and_then(|owners| owners.iter().rev().find(|(at, _)| *at < end));
                units.extend(owner.map(|(_, owner)| (*owner, worked)));
            }
        }
        Ok(epochs)
    }

    /// Epoch by epoch, owner and units of each chip.
    pub(crate) fn units(self) -> impl Iterator<Item = (u32, Vec<(Address, u128)>)> {
        self.0.into_iter()
    }
}

/// Times of blocks, each asked for once.
#[derive(Debug, Default)]
struct Times(BTreeMap<u64, u64>);

impl Times {
    async fn of(&mut self, chain: &Chain, log: &Log) -> Result<u64, ChainError> {
        if let Some(at) = log.block_timestamp {
            return Ok(at);
        }
        let number = log.block_number.ok_or(ChainError::NoHead)?;
        if let Some(at) = self.0.get(&number) {
            return Ok(*at);
        }
        let block = chain.provider().get_block_by_number(number.into()).await?;
        let at = block.ok_or(ChainError::NoHead)?.header.timestamp;
        self.0.insert(number, at);
        Ok(at)
    }
}
