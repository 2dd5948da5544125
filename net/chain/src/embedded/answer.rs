//! Blocks, transactions, receipts and logs in the shapes that JSON-RPC gives them.

use alloy::{
    consensus::{Transaction as _, transaction::Recovered},
    network::primitives::BlockTransactions,
    primitives::U256,
    rpc::types::{Block as RpcBlock, Header as RpcHeader, Log as RpcLog, Transaction, TransactionReceipt},
};
use serde_json::{Value, json};

use super::store::{Block, Body};

/// A block, with its transaction in full or by hash.
pub(crate) fn block(block: &Block, full: bool) -> RpcBlock {
    let size = alloy::rlp::encode(&block.header).len();
    let mut header = RpcHeader::new(block.header.clone());
    header.size = Some(U256::from(size));
    let transactions = match (&block.body, full) {
        (Some(body), true) => BlockTransactions::Full(vec![transaction(block, body)]),
        (Some(body), false) => BlockTransactions::Hashes(vec![*body.transaction.tx_hash()]),
        (None, true) => BlockTransactions::Full(vec![]),
        (None, false) => BlockTransactions::Hashes(vec![]),
    };
    RpcBlock { header, uncles: vec![], transactions, withdrawals: Some(Default::default()) }
}

pub(crate) fn transaction(block: &Block, body: &Body) -> Transaction {
    Transaction {
        inner: Recovered::new_unchecked(body.transaction.clone(), body.sender),
        block_hash: Some(block.hash),
        block_number: Some(block.header.number),
        transaction_index: Some(0),
        effective_gas_price: Some(body.transaction.effective_gas_price(block.header.base_fee_per_gas)),
        block_timestamp: Some(block.header.timestamp),
    }
}

/// The receipt; one that reverted says with what, in the field in which Besu says it.
pub(crate) fn receipt(block: &Block, body: &Body) -> Result<Value, serde_json::Error> {
    let mut index = 0u64..;
    let inner = body.receipt(block.header.gas_used).map_logs(|log| rpc_log(block, body, log, index.next()));
    let receipt = TransactionReceipt {
        inner,
        transaction_hash: *body.transaction.tx_hash(),
        transaction_index: Some(0),
        block_hash: Some(block.hash),
        block_number: Some(block.header.number),
        gas_used: block.header.gas_used,
        effective_gas_price: body.transaction.effective_gas_price(block.header.base_fee_per_gas),
        blob_gas_used: None,
        blob_gas_price: None,
        from: body.sender,
        to: body.transaction.to(),
        contract_address: body.created,
    };
    let mut value = serde_json::to_value(receipt)?;
    if let Some(fields) = value.as_object_mut().filter(|_| !body.revert.is_empty()) {
        fields.insert("revertReason".into(), json!(body.revert));
    }
    Ok(value)
}

pub(crate) fn logs<'a>(block: &'a Block, body: &'a Body) -> impl Iterator<Item = RpcLog> + 'a {
    body.logs.iter().zip(0..).map(|(log, index)| rpc_log(block, body, log.clone(), Some(index)))
}

fn rpc_log(block: &Block, body: &Body, inner: alloy::primitives::Log, index: Option<u64>) -> RpcLog {
    RpcLog {
        inner,
        block_hash: Some(block.hash),
        block_number: Some(block.header.number),
        block_timestamp: Some(block.header.timestamp),
        transaction_hash: Some(*body.transaction.tx_hash()),
        transaction_index: Some(0),
        log_index: index,
        removed: false,
    }
}
