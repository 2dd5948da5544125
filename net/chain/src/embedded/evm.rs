//! One transaction or call in the machine: Osaka's rules, over a view of the file.

use alloy::{
    consensus::{
        Header, Transaction as _, TxEnvelope, Typed2718 as _,
        proofs::{calculate_receipt_root, calculate_transaction_root},
        transaction::SignerRecoverable as _,
    },
    eips::eip7685::EMPTY_REQUESTS_HASH,
    primitives::{Address, B256, Bytes, TxKind, U256, keccak256, logs_bloom},
    rpc::types::TransactionRequest,
};
use revm::{
    Context, Database, ExecuteEvm as _, MainBuilder as _, MainContext as _,
    context::{BlockEnv, CfgEnv, TxEnv},
    context_interface::{
        either::Either,
        result::{EVMError, ExecutionResult, InvalidTransaction, Output},
    },
    database_interface::DBErrorMarker,
    primitives::hardfork::SpecId,
    state::{AccountInfo, Bytecode},
};

use super::{
    EmbeddedError, Refusal,
    store::{Block, Body, View, Writer, bytecode},
};

/// Executes a signed transaction as the only one of the next block, and writes the block.
pub(crate) fn mine(
    writer: &Writer,
    chain_id: u64,
    parent: (&Header, B256),
    timestamp: u64,
    transaction: TxEnvelope,
) -> Result<Block, Refusal> {
    let sender = admissible(&transaction, chain_id)?;
    if writer.holds_transaction(*transaction.tx_hash())? {
        return Err(Refusal::Known);
    }
    let env = block_env(parent, timestamp)?;
    let mut evm = Context::mainnet()
        .with_db(Source(writer))
        .modify_cfg_chained(|cfg| rules(cfg, chain_id))
        .with_block(env)
        .build_mainnet();
    let done = evm.transact(environment(&transaction, sender)).map_err(refusal)?;
    let diff = writer.apply(&done.state)?;
    let created = transaction.to().is_none().then(|| sender.create(transaction.nonce()));
    let gas_used = done.result.tx_gas_used();
    let (success, logs, revert) = match done.result {
        ExecutionResult::Success { logs, .. } => (true, logs, Bytes::new()),
        ExecutionResult::Revert { output, .. } => (false, Vec::new(), output),
        ExecutionResult::Halt { .. } => (false, Vec::new(), Bytes::new()),
    };
    let body = Body { sender, transaction, success, created: created.filter(|_| success), logs, revert };
    let mut header = next_header(parent, timestamp)?;
    header.gas_used = gas_used;
    header.state_root = chained(parent.0.state_root, diff);
    header.transactions_root = calculate_transaction_root(std::slice::from_ref(&body.transaction));
    header.receipts_root = calculate_receipt_root(&[body.receipt(gas_used)]);
    header.logs_bloom = logs_bloom(&body.logs);
    let hash = header.hash_slow();
    let block = Block { header, hash, body: Some(body) };
    writer.append(&block)?;
    Ok(block)
}

/// What a call gave.
pub(crate) struct Called {
    pub(crate) gas_used: u64,
    /// Before refunds: what the limit must allow for at least.
    pub(crate) gas_spent: u64,
    pub(crate) output: Result<Bytes, Failure>,
}

/// Why a call gave nothing.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    Revert(Bytes),
    OutOfGas,
    Halt(String),
}

/// Runs a call as in the next block, and changes nothing.
pub(crate) fn call(
    view: &impl View,
    chain_id: u64,
    parent: (&Header, B256),
    timestamp: u64,
    request: &TransactionRequest,
    gas: u64,
) -> Result<Called, Refusal> {
    let caller = request.from.unwrap_or_default();
    let fee = request.max_fee_per_gas.or(request.gas_price).unwrap_or(0);
    let nonce = view.account(caller)?.map_or(0, |account| account.nonce);
    let mut env = TxEnv {
        caller,
        gas_limit: gas,
        gas_price: fee,
        gas_priority_fee: request.max_priority_fee_per_gas,
        kind: request.to.unwrap_or(TxKind::Create),
        value: request.value.unwrap_or_default(),
        data: request.input.input().cloned().unwrap_or_default(),
        nonce,
        chain_id: Some(chain_id),
        access_list: request.access_list.clone().unwrap_or_default(),
        authorization_list: request.authorization_list.iter().flatten().cloned().map(Either::Left).collect(),
        ..TxEnv::default()
    };
    env.derive_tx_type().map_err(|_| Refusal::Kind)?;
    let mut evm = Context::mainnet()
        .with_db(Source(view))
        .modify_cfg_chained(|cfg| {
            rules(cfg, chain_id);
            cfg.tx_gas_limit_cap = Some(super::BLOCK_GAS);
            cfg.disable_nonce_check = true;
            cfg.disable_eip3607 = true;
            // As elsewhere: who names no fee pays none.
            cfg.disable_base_fee = fee == 0;
        })
        .with_block(block_env(parent, timestamp)?)
        .build_mainnet();
    let result = evm.transact(env).map_err(refusal)?.result;
    let (gas_used, gas_spent) = (result.tx_gas_used(), result.gas().total_gas_spent());
    let output = match result {
        ExecutionResult::Success { output: Output::Call(output) | Output::Create(output, _), .. } => Ok(output),
        ExecutionResult::Revert { output, .. } => Err(Failure::Revert(output)),
        ExecutionResult::Halt { reason, .. } if format!("{reason:?}").starts_with("OutOfGas") => Err(Failure::OutOfGas),
        ExecutionResult::Halt { reason, .. } => Err(Failure::Halt(format!("{reason:?}"))),
    };
    Ok(Called { gas_used, gas_spent, output })
}

/// The header of the block after `parent`, before anything was executed in it.
pub(crate) fn next_header((parent, hash): (&Header, B256), timestamp: u64) -> Result<Header, Refusal> {
    Ok(Header {
        parent_hash: hash,
        number: parent.number.checked_add(1).ok_or(Refusal::Full)?,
        timestamp,
        mix_hash: keccak256(hash),
        ..template()
    })
}

/// The header of block 0 for a state with this digest.
pub(crate) fn genesis_header(chain_id: u64, diff: B256) -> Header {
    Header { state_root: chained(keccak256(chain_id.to_be_bytes()), diff), ..template() }
}

fn template() -> Header {
    Header {
        gas_limit: super::BLOCK_GAS,
        base_fee_per_gas: Some(super::BASE_FEE),
        extra_data: Bytes::from_static(b"glacier embedded chain"),
        withdrawals_root: Some(alloy::consensus::constants::EMPTY_WITHDRAWALS),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::ZERO),
        requests_hash: Some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    }
}

/// A digest over all changes of the state since genesis stands where others have the root of a trie.
fn chained(parent: B256, diff: B256) -> B256 {
    keccak256([parent.as_slice(), diff.as_slice()].concat())
}

/// Who signed it, if it is of a kind and size that this chain takes.
fn admissible(transaction: &TxEnvelope, chain_id: u64) -> Result<Address, Refusal> {
    if transaction.is_eip4844() {
        return Err(Refusal::Kind);
    }
    if transaction.chain_id() != Some(chain_id) {
        return Err(Refusal::ChainId);
    }
    transaction.recover_signer().map_err(|_| Refusal::Signature)
}

fn rules(cfg: &mut CfgEnv, chain_id: u64) {
    cfg.set_spec_and_mainnet_gas_params(SpecId::OSAKA);
    cfg.chain_id = chain_id;
}

fn block_env((parent, hash): (&Header, B256), timestamp: u64) -> Result<BlockEnv, Refusal> {
    let header = next_header((parent, hash), timestamp)?;
    Ok(BlockEnv {
        number: U256::from(header.number),
        beneficiary: header.beneficiary,
        timestamp: U256::from(header.timestamp),
        gas_limit: header.gas_limit,
        basefee: super::BASE_FEE,
        prevrandao: Some(header.mix_hash),
        ..BlockEnv::default()
    })
}

fn environment(transaction: &TxEnvelope, sender: Address) -> TxEnv {
    TxEnv {
        tx_type: transaction.ty(),
        caller: sender,
        gas_limit: transaction.gas_limit(),
        gas_price: transaction.max_fee_per_gas(),
        kind: transaction.kind(),
        value: transaction.value(),
        data: transaction.input().clone(),
        nonce: transaction.nonce(),
        chain_id: transaction.chain_id(),
        access_list: transaction.access_list().cloned().unwrap_or_default(),
        gas_priority_fee: transaction.max_priority_fee_per_gas(),
        authorization_list: transaction
            .authorization_list()
            .unwrap_or_default()
            .iter()
            .cloned()
            .map(Either::Left)
            .collect(),
        ..TxEnv::default()
    }
}

fn refusal(error: EVMError<EmbeddedError, InvalidTransaction>) -> Refusal {
    match error {
        EVMError::Database(error) => Refusal::File(error),
        EVMError::Transaction(InvalidTransaction::NonceTooLow { tx, state }) => {
            Refusal::NonceTooLow { transaction: tx, account: state }
        }
        EVMError::Transaction(InvalidTransaction::NonceTooHigh { tx, state }) => {
            Refusal::NonceTooHigh { transaction: tx, account: state }
        }
        EVMError::Transaction(InvalidTransaction::LackOfFundForMaxFee { fee, balance }) => {
            Refusal::Funds { needed: *fee, balance: *balance }
        }
        EVMError::Transaction(other) => Refusal::Invalid(other.to_string()),
        other => Refusal::Invalid(other.to_string()),
    }
}

/// The machine's way to the file.
struct Source<'a, V>(&'a V);

impl<V: View> Database for Source<'_, V> {
    type Error = EmbeddedError;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, EmbeddedError> {
        self.0.account(address)
    }

    fn code_by_hash(&mut self, code_hash: B256) -> Result<Bytecode, EmbeddedError> {
        bytecode(self.0.code(code_hash)?)
    }

    fn storage(&mut self, address: Address, index: U256) -> Result<U256, EmbeddedError> {
        self.0.slot(address, index)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, EmbeddedError> {
        Ok(self.0.block_hash(number)?.unwrap_or_default())
    }
}

impl DBErrorMarker for EmbeddedError {}
