//! The methods of JSON-RPC that the embedded chain answers, with bounds on what is asked.

use std::collections::BTreeSet;

use alloy::{
    consensus::{Header, Transaction as _},
    eips::{BlockId, BlockNumberOrTag},
    primitives::{B256, Bytes, U256},
    rpc::types::{FeeHistory, Filter, FilterBlockOption, Log, TransactionRequest},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::revert;

use super::{
    BASE_FEE, BLOCK_GAS, Embedded, EmbeddedError, Refusal, answer,
    evm::{self, Called, Failure},
    store::{Block, Reader, View as _},
};

/// An error as JSON-RPC tells it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
pub struct RpcError {
    /// By JSON-RPC 2.0 and EIP-1474; 3 for a call that reverted.
    pub code: i64,
    /// For people.
    pub message: String,
    /// What a call reverted with.
    pub data: Option<Bytes>,
}

impl RpcError {
    fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    fn params(what: impl std::fmt::Display) -> Self {
        Self::new(-32602, format!("invalid params: {what}"))
    }
}

impl From<Refusal> for RpcError {
    fn from(refusal: Refusal) -> Self {
        let code = if matches!(refusal, Refusal::File(_)) { -32603 } else { -32000 };
        Self::new(code, refusal.to_string())
    }
}

impl From<EmbeddedError> for RpcError {
    fn from(error: EmbeddedError) -> Self {
        Self::new(-32603, error.to_string())
    }
}

impl From<serde_json::Error> for RpcError {
    fn from(error: serde_json::Error) -> Self {
        Self::new(-32603, error.to_string())
    }
}

impl Embedded {
    /// Answers one request of JSON-RPC: its method, and its parameters as JSON text.
    ///
    /// # Errors
    ///
    /// As the method defines them; -32601 for one that is not answered.
    pub async fn request(&self, method: &str, params: Option<&str>) -> Result<Value, RpcError> {
        let params = Params::parse(params)?;
        if method == "eth_sendRawTransaction" {
            let raw: Bytes = params.at(0)?;
            return Ok(json!(self.send_raw(&raw).await?));
        }
        // Reading the file and running the machine take time that belongs to other tasks.
        let (chain, method) = (self.clone(), method.to_owned());
        let done = tokio::task::spawn_blocking(move || chain.answer(&method, &params)).await;
        done.unwrap_or_else(|_| Err(RpcError::new(-32603, "the request was broken off")))
    }

    fn answer(&self, method: &str, params: &Params) -> Result<Value, RpcError> {
        let read = self.0.store.read()?;
        let (head, hash) = read.head()?.ok_or(EmbeddedError::Damaged)?;
        let at = Snapshot { chain: self, read, head, hash };
        match method {
            "eth_chainId" => Ok(quantity(self.chain_id())),
            "net_version" => Ok(json!(self.chain_id().to_string())),
            "net_listening" => Ok(json!(false)),
            "web3_clientVersion" => Ok(json!(concat!("glacier-chain/", env!("CARGO_PKG_VERSION")))),
            "eth_syncing" => Ok(json!(false)),
            "eth_accounts" => Ok(json!([])),
            "eth_blockNumber" => Ok(quantity(at.head.number)),
            "eth_gasPrice" => Ok(quantity(BASE_FEE.saturating_add(1))),
            "eth_maxPriorityFeePerGas" => Ok(quantity(1)),
            "eth_feeHistory" => at.fee_history(params),
            "eth_getBalance" => Ok(json!(at.account(params, 1)?.map_or(U256::ZERO, |account| account.balance))),
            "eth_getTransactionCount" => Ok(quantity(at.account(params, 1)?.map_or(0, |account| account.nonce))),
            "eth_getCode" => match at.account(params, 1)? {
                Some(account) => Ok(json!(at.read.code(account.code_hash)?)),
                None => Ok(json!("0x")),
            },
            "eth_getStorageAt" => {
                at.present(params.optional(2)?)?;
                let value = at.read.slot(params.at(0)?, params.at(1)?)?;
                Ok(json!(B256::from(value)))
            }
            "eth_call" => {
                let called = at.call(params)?;
                called.output.map(|output| json!(output)).map_err(failed)
            }
            "eth_estimateGas" => at.estimate(params),
            "eth_getBlockByNumber" => {
                let number = at.number(params.at::<BlockNumberOrTag>(0)?);
                at.block(Some(number), params.optional(1)?.unwrap_or(false))
            }
            "eth_getBlockByHash" => {
                let number = at.read.number_of_block(params.at(0)?)?;
                at.block(number, params.optional(1)?.unwrap_or(false))
            }
            "eth_getBlockReceipts" => {
                let Some(number) = at.resolve(params.at(0)?)? else { return Ok(Value::Null) };
                let Some(block) = at.read.block(number)? else { return Ok(Value::Null) };
                let receipts: Result<Vec<_>, _> = block.body.iter().map(|body| answer::receipt(&block, body)).collect();
                Ok(json!(receipts?))
            }
            "eth_getTransactionByHash" => Ok(match at.transaction(params.at(0)?)? {
                Some(block) => json!(block.body.as_ref().map(|body| answer::transaction(&block, body))),
                None => Value::Null,
            }),
            "eth_getTransactionReceipt" => match at.transaction(params.at(0)?)? {
                Some(Block { body: None, .. }) | None => Ok(Value::Null),
                Some(block) => {
                    let receipt = block.body.as_ref().map(|body| answer::receipt(&block, body)).transpose()?;
                    Ok(json!(receipt))
                }
            },
            "eth_getLogs" => at.logs(&params.at::<Filter>(0)?),
            other => Err(RpcError::new(-32601, format!("the method {} is not available", printable(other)))),
        }
    }
}

/// One durable block, and the state after it.
struct Snapshot<'a> {
    chain: &'a Embedded,
    read: Reader,
    head: Header,
    hash: B256,
}

impl Snapshot<'_> {
    /// Fails unless the present state is what is asked for: no other is kept.
    fn present(&self, asked: Option<BlockId>) -> Result<(), RpcError> {
        let number = match asked {
            None => return Ok(()),
            Some(asked) => self.resolve(asked)?.ok_or_else(|| RpcError::new(-32001, "unknown block"))?,
        };
        if number != self.head.number {
            return Err(RpcError::new(-32000, "the state of earlier blocks is not kept"));
        }
        Ok(())
    }

    fn resolve(&self, asked: BlockId) -> Result<Option<u64>, RpcError> {
        match asked {
            BlockId::Hash(hash) => Ok(self.read.number_of_block(hash.block_hash)?),
            BlockId::Number(tag) => Ok(Some(self.number(tag)).filter(|number| *number <= self.head.number)),
        }
    }

    fn number(&self, tag: BlockNumberOrTag) -> u64 {
        match tag {
            BlockNumberOrTag::Number(number) => number,
            BlockNumberOrTag::Earliest => 0,
            _ => self.head.number,
        }
    }

    fn account(&self, params: &Params, block: usize) -> Result<Option<revm::state::AccountInfo>, RpcError> {
        self.present(params.optional(block)?)?;
        Ok(self.read.account(params.at(0)?)?)
    }

    fn block(&self, number: Option<u64>, full: bool) -> Result<Value, RpcError> {
        let block = number.map(|number| self.read.block(number)).transpose()?.flatten();
        Ok(block.map_or(Value::Null, |block| json!(answer::block(&block, full))))
    }

    fn transaction(&self, hash: B256) -> Result<Option<Block>, RpcError> {
        let number = self.read.number_of_transaction(hash)?;
        Ok(number.map(|number| self.read.block(number)).transpose()?.flatten())
    }

    fn call(&self, params: &Params) -> Result<Called, RpcError> {
        let request = self.call_request(params)?;
        let gas = request.gas.unwrap_or(BLOCK_GAS).min(BLOCK_GAS);
        self.run(&request, gas)
    }

    fn call_request(&self, params: &Params) -> Result<TransactionRequest, RpcError> {
        self.present(params.optional(1)?)?;
        if params.optional::<Value>(2)?.is_some_and(|overrides| overrides != json!({})) {
            return Err(RpcError::params("states cannot be overridden"));
        }
        params.at(0)
    }

    fn run(&self, request: &TransactionRequest, gas: u64) -> Result<Called, RpcError> {
        let time = self.chain.next_time(&self.head);
        let parent = (&self.head, self.hash);
        Ok(evm::call(&self.read, self.chain.chain_id(), parent, time, request, gas)?)
    }

    /// The least limit, but for one part in a hundred, under which the transaction succeeds.
    fn estimate(&self, params: &Params) -> Result<Value, RpcError> {
        let request = self.call_request(params)?;
        let most = request.gas.unwrap_or(TRANSACTION_GAS).min(TRANSACTION_GAS);
        let first = self.run(&request, most)?;
        let spent = first.gas_spent;
        first.output.map_err(failed)?;
        let mut enough = most;
        let mut short = first.gas_used.saturating_sub(1);
        // A call may hand on 63 parts of 64 of its gas, and asks for a stipend: what was spent, and those.
        let likely = spent.saturating_add(2300).saturating_mul(64).checked_div(63).unwrap_or(most);
        // What was spent is enough wherever no call hands on a part of its gas.
        for guess in [spent, likely] {
            if guess > short && guess < enough {
                self.bound(&request, guess, &mut short, &mut enough)?;
            }
        }
        while short.saturating_add(1) < enough && enough.saturating_sub(short) > enough.checked_div(100).unwrap_or(0) {
            let middle = short.midpoint(enough);
            self.bound(&request, middle, &mut short, &mut enough)?;
        }
        Ok(quantity(enough))
    }

    fn bound(&self, request: &TransactionRequest, gas: u64, short: &mut u64, enough: &mut u64) -> Result<(), RpcError> {
        match self.run(request, gas) {
            Ok(Called { output: Ok(_), .. }) => *enough = gas,
            // Less than the transaction costs before it runs is refused, not executed.
            Ok(_) | Err(RpcError { code: -32000, .. }) => *short = gas,
            Err(other) => return Err(other),
        }
        Ok(())
    }

    fn fee_history(&self, params: &Params) -> Result<Value, RpcError> {
        let count = match params.at::<Value>(0)? {
            Value::Number(number) => number.as_u64(),
            other => serde_json::from_value::<U256>(other).ok().and_then(|count| count.try_into().ok()),
        };
        let count = count.ok_or_else(|| RpcError::params("block count"))?.clamp(1, MAX_FEE_HISTORY);
        let newest = self.number(params.at(1)?);
        let percentiles: Vec<f64> = params.optional(2)?.unwrap_or_default();
        if newest > self.head.number {
            return Err(RpcError::new(-32001, "unknown block"));
        }
        if percentiles.len() > MAX_PERCENTILES {
            return Err(RpcError::params("too many percentiles"));
        }
        let oldest = newest.saturating_add(1).saturating_sub(count);
        let mut history = FeeHistory { oldest_block: oldest, ..Default::default() };
        let mut rewards = Vec::new();
        for number in oldest..=newest {
            let block = self.read.block(number)?.ok_or(EmbeddedError::Damaged)?;
            history.base_fee_per_gas.push(BASE_FEE.into());
            history.base_fee_per_blob_gas.push(1);
            history.blob_gas_used_ratio.push(0.0);
            history.gas_used_ratio.push(block.header.gas_used as f64 / block.header.gas_limit as f64);
            let tip = block.body.and_then(|body| body.transaction.effective_tip_per_gas(BASE_FEE)).unwrap_or(0);
            rewards.push(vec![tip; percentiles.len()]);
        }
        history.base_fee_per_gas.push(BASE_FEE.into());
        history.base_fee_per_blob_gas.push(1);
        history.reward = Some(rewards).filter(|_| !percentiles.is_empty());
        Ok(json!(history))
    }

    fn logs(&self, filter: &Filter) -> Result<Value, RpcError> {
        if filter.address.len() > MAX_ALTERNATIVES || filter.topics.iter().any(|topic| topic.len() > MAX_ALTERNATIVES) {
            return Err(RpcError::params("too many addresses or topics"));
        }
        let (from, to) = match filter.block_option {
            FilterBlockOption::AtBlockHash(hash) => {
                let number = self.read.number_of_block(hash)?.ok_or_else(|| RpcError::new(-32001, "unknown block"))?;
                (number, number)
            }
            FilterBlockOption::Range { from_block, to_block } => (
                self.number(from_block.unwrap_or_default()),
                self.number(to_block.unwrap_or_default()).min(self.head.number),
            ),
        };
        let mut found: Vec<Log> = Vec::new();
        for number in self.candidates(filter, from, to)? {
            let block = self.read.block(number)?.ok_or(EmbeddedError::Damaged)?;
            let Some(body) = &block.body else { continue };
            found.extend(answer::logs(&block, body).filter(|log| filter.matches(&log.inner)));
            if found.len() > MAX_LOGS {
                return Err(RpcError::new(-32005, format!("more than {MAX_LOGS} logs: ask for fewer blocks")));
            }
        }
        Ok(json!(found))
    }

    /// The blocks that can hold such logs: by the index of who logged, or by the filters in the headers.
    fn candidates(&self, filter: &Filter, from: u64, to: u64) -> Result<BTreeSet<u64>, RpcError> {
        if !filter.address.is_empty() {
            let mut blocks = BTreeSet::new();
            for address in filter.address.iter() {
                blocks.extend(self.read.logged(*address, from, to)?);
            }
            return Ok(blocks);
        }
        if to.saturating_sub(from) > MAX_RANGE {
            return Err(RpcError::new(-32005, format!("at most {MAX_RANGE} blocks without an address")));
        }
        let mut blocks = BTreeSet::new();
        for number in from..=to {
            if self.read.header(number)?.is_some_and(|(header, _)| filter.matches_bloom(header.logs_bloom)) {
                blocks.insert(number);
            }
        }
        Ok(blocks)
    }
}

/// Parameters by position.
struct Params(Vec<Value>);

impl Params {
    fn parse(text: Option<&str>) -> Result<Self, RpcError> {
        match text {
            None => Ok(Self(Vec::new())),
            Some(text) => serde_json::from_str(text).map(Self).map_err(RpcError::params),
        }
    }

    fn at<T: DeserializeOwned>(&self, index: usize) -> Result<T, RpcError> {
        self.optional(index)?.ok_or_else(|| RpcError::params(format_args!("number {index} is missing")))
    }

    fn optional<T: DeserializeOwned>(&self, index: usize) -> Result<Option<T>, RpcError> {
        match self.0.get(index) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::deserialize(value).map(Some).map_err(RpcError::params),
        }
    }
}

fn failed(failure: Failure) -> RpcError {
    match failure {
        Failure::Revert(data) => {
            let reason = revert::reason(&data).map(|reason| format!(": {reason}")).unwrap_or_default();
            RpcError { code: 3, message: format!("execution reverted{reason}"), data: Some(data) }
        }
        Failure::OutOfGas => RpcError::new(-32000, "out of gas"),
        Failure::Halt(reason) => RpcError::new(-32000, format!("execution halted: {reason}")),
    }
}

fn quantity(number: u64) -> Value {
    json!(format!("{number:#x}"))
}

/// A foreign name cut to what fits into a message.
fn printable(name: &str) -> String {
    name.chars().filter(char::is_ascii_graphic).take(64).collect()
}

/// EIP-7825: gas of one transaction.
const TRANSACTION_GAS: u64 = 1 << 24;
/// Logs of one answer.
const MAX_LOGS: usize = 10_000;
/// Blocks that one query without an address looks at.
const MAX_RANGE: u64 = 100_000;
/// Addresses, or values of one topic, in a filter.
const MAX_ALTERNATIVES: usize = 1_000;
/// Blocks of one answer of `eth_feeHistory`.
const MAX_FEE_HISTORY: u64 = 1_024;
const MAX_PERCENTILES: usize = 100;
