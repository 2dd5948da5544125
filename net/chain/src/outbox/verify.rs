//! What a chain says about a transaction, held against what was signed.

use alloy::{
    consensus::{Transaction as _, TxEnvelope, transaction::SignerRecoverable as _},
    eips::{
        BlockNumberOrTag,
        eip2718::{Decodable2718 as _, Encodable2718 as _},
    },
    network::TransactionResponse as _,
    primitives::{Address, B256, Bytes, U64, keccak256},
    providers::Provider as _,
    rpc::types::{TransactionReceipt, TransactionRequest},
};
use serde::Deserialize;
use serde_json::Value;

use super::{Intent, Mined, OutboxError, Outcome, record::Sent};
use crate::{
    chain::{Chain, Head},
    revert,
};

/// An answer that cannot be true: the service lies, or was reset, or is behind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Contradiction {
    /// It took a transaction and named another.
    #[error("transaction {sent} was answered with the hash {answered}")]
    Hash {
        /// What was sent.
        sent: B256,
        /// What was answered.
        answered: B256,
    },
    /// The receipt is not of the transaction that was asked for.
    #[error("the receipt for {asked} is of another transaction")]
    Receipt {
        /// What was asked for.
        asked: B256,
    },
    /// A receipt names a block that does not hold the transaction.
    #[error("block {block} does not hold {transaction}, as its receipt says")]
    NotInBlock {
        /// What was asked for.
        transaction: B256,
        /// The receipt's block.
        block: u64,
    },
    /// A receipt says that a nonce is used, and the account says that it is not.
    #[error("{transaction} is said to be mined, and its nonce {nonce} to be unused")]
    NonceUnused {
        /// What was asked for.
        transaction: B256,
        /// Its nonce.
        nonce: u64,
    },
    /// A transaction is in a block, and its receipt is withheld.
    #[error("{transaction} is in block {block}, and has no receipt")]
    Withheld {
        /// What was asked for.
        transaction: B256,
        /// Where it is.
        block: u64,
    },
    /// A nonce is said to be used, and no block holds the transaction that used it.
    #[error("nonce {nonce} is said to be used, and no transaction was found that used it")]
    NonceUsedByNone {
        /// The nonce.
        nonce: u64,
    },
    /// Fewer nonces are used than were final.
    #[error("{now} nonces are said to be used, after {last} were final")]
    NonceWentBack {
        /// What was final.
        last: u64,
        /// What is said now.
        now: u64,
    },
    /// The chain is shorter than what was final.
    #[error("the last block is said to be {now}, after {last} was final")]
    BlockWentBack {
        /// What was final.
        last: u64,
        /// What is said now.
        now: u64,
    },
}

/// Where a transaction is.
pub(crate) enum Found {
    Nowhere,
    /// In a block that may still go.
    Shallow(Mined),
    Final(Outcome),
}

/// Looks for any of what was signed under one nonce.
pub(crate) async fn look(
    chain: &Chain,
    owner: Address,
    head: &Head,
    intent: &Intent,
    sent: &Sent,
) -> Result<Found, OutboxError> {
    for version in sent.versions.iter().rev() {
        let asked = version.hash;
        let answer: Option<Value> = chain.provider().raw_request("eth_getTransactionReceipt".into(), [asked]).await?;
        let Some(answer) = answer else { continue };
        let receipt = TransactionReceipt::deserialize(&answer).map_err(|_| Contradiction::Receipt { asked })?;
        if (receipt.transaction_hash, receipt.from, receipt.to) != (asked, owner, intent.to) {
            return Err(Contradiction::Receipt { asked }.into());
        }
        // A receipt without a block is of a transaction that waits.
        let (Some(number), Some(block_hash)) = (receipt.block_number, receipt.block_hash) else { continue };
        let contract = intent.to.is_none().then(|| owner.create(sent.nonce));
        let mined = Mined { transaction: asked, block: number, block_hash, gas_used: receipt.gas_used, contract };
        let block = chain.provider().get_block_by_number(number.into()).await?;
        // Another block, or none, is at this height: the chain is being reorganised, or one of the answers is old.
        let Some(block) = block.filter(|block| block.header.hash == block_hash) else { continue };
        if !block.transactions.hashes().any(|hash| hash == asked) {
            return Err(Contradiction::NotInBlock { transaction: asked, block: number }.into());
        }
        let used = chain.provider().get_transaction_count(owner).await?;
        if used <= sent.nonce {
            return Err(Contradiction::NonceUnused { transaction: asked, nonce: sent.nonce }.into());
        }
        let depth = head.number.checked_sub(number).and_then(|above| above.checked_add(1)).unwrap_or(0);
        if depth < chain.confirmations() {
            return Ok(Found::Shallow(mined));
        }
        if receipt.status() {
            return Ok(Found::Final(Outcome::Mined(mined)));
        }
        let data = revert_data(chain, owner, intent, sent.gas, number, &answer).await;
        let reason = revert::reason(&data);
        return Ok(Found::Final(Outcome::Reverted { mined, data, reason }));
    }
    Ok(Found::Nowhere)
}

/// The data of a transaction that reverted: from its receipt, where the chain puts it there, or by calling again.
async fn revert_data(chain: &Chain, owner: Address, intent: &Intent, gas: u64, block: u64, receipt: &Value) -> Bytes {
    if let Some(told) = receipt.get("revertReason").and_then(|told| Bytes::deserialize(told).ok()) {
        return told;
    }
    let request = TransactionRequest { gas: Some(gas), ..request(owner, intent) };
    match chain.provider().call(request).block(block.into()).await {
        Err(error) => error.as_error_resp().and_then(|error| error.as_revert_data()).unwrap_or_default(),
        Ok(_) => Bytes::new(),
    }
}

pub(crate) fn request(owner: Address, intent: &Intent) -> TransactionRequest {
    let request = TransactionRequest::default().from(owner).value(intent.value).input(intent.data.clone().into());
    match intent.to {
        Some(to) => request.to(to),
        None => TransactionRequest { to: Some(alloy::primitives::TxKind::Create), ..request },
    }
}

/// Who used a nonce.
pub(crate) enum User {
    /// A transaction that is not among ours, with our signature, in a block as deep as this.
    Foreign { depth: u64 },
    /// One of ours, though it is said to have no receipt.
    Ours { transaction: B256, block: u64 },
}

/// Finds the transaction that used a nonce. Its signature is checked, so a service cannot invent it.
pub(crate) async fn user(chain: &Chain, owner: Address, head: &Head, sent: &Sent) -> Result<Option<User>, OutboxError> {
    let numbers = match used_in(chain, owner, head, sent).await? {
        Some(number) => number..=number,
        // Earlier states are not told: the blocks are read through instead.
        None => sent.since.max(head.number.saturating_sub(MAX_SCAN))..=head.number,
    };
    for number in numbers {
        let block = chain.provider().get_block_by_number(number.into()).full().await?;
        for transaction in block.iter().flat_map(|block| block.transactions.as_transactions().unwrap_or_default()) {
            let envelope = transaction.inner.inner();
            if transaction.from() != owner || envelope.nonce() != sent.nonce {
                continue;
            }
            // The hash and the sender as they follow from the bytes, not as they are told.
            let bytes = envelope.encoded_2718();
            let hash = keccak256(&bytes);
            if sent.versions.iter().any(|version| version.hash == hash) {
                return Ok(Some(User::Ours { transaction: hash, block: number }));
            }
            let sender =
                TxEnvelope::decode_2718(&mut bytes.as_slice()).ok().and_then(|told| told.recover_signer().ok());
            if sender == Some(owner) && envelope.chain_id() == Some(chain.id()) {
                let depth = head.number.saturating_sub(number).saturating_add(1);
                return Ok(Some(User::Foreign { depth }));
            }
        }
    }
    Ok(None)
}

/// The first block after which the account had used the nonce; none where the chain keeps no earlier states.
async fn used_in(chain: &Chain, owner: Address, head: &Head, sent: &Sent) -> Result<Option<u64>, OutboxError> {
    let (mut before, mut after) = (sent.since.saturating_sub(1), head.number);
    while after.saturating_sub(before) > 1 {
        let middle = before.midpoint(after);
        let asked = (owner, BlockNumberOrTag::Number(middle));
        match chain.provider().raw_request::<_, U64>("eth_getTransactionCount".into(), asked).await {
            Ok(count) if count.to::<u64>() > sent.nonce => after = middle,
            Ok(_) => before = middle,
            Err(error) if error.is_error_resp() => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some(after))
}

/// Blocks that are read through at most.
const MAX_SCAN: u64 = 5_000;
