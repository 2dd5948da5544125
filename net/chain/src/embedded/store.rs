//! What the chain's file holds: blocks and their index, and the state after the last of them.
//!
//! One redb transaction writes a block, its receipt, its logs' index and all that it changed in the
//! state, so the file is always at the end of some block.

use std::path::Path;

use alloy::{
    consensus::{Header, Receipt, ReceiptEnvelope, ReceiptWithBloom, TxEnvelope, TxType},
    eips::eip2718::{Decodable2718 as _, Encodable2718 as _},
    primitives::{Address, B256, Bytes, Log, U256, keccak256},
    rlp::{Decodable as _, Encodable as _},
};
use redb::{
    Database, Durability, ReadTransaction, ReadableDatabase as _, ReadableTable, TableDefinition, WriteTransaction,
};
use revm::{
    primitives::KECCAK_EMPTY,
    state::{AccountInfo, Bytecode, EvmState},
};

use super::EmbeddedError;

/// One block with its one transaction; genesis has none.
pub(crate) struct Block {
    pub(crate) header: Header,
    pub(crate) hash: B256,
    pub(crate) body: Option<Body>,
}

/// The transaction of a block, and what came of it.
pub(crate) struct Body {
    pub(crate) sender: Address,
    pub(crate) transaction: TxEnvelope,
    pub(crate) success: bool,
    pub(crate) created: Option<Address>,
    pub(crate) logs: Vec<Log>,
    /// What it reverted with.
    pub(crate) revert: Bytes,
}

impl Body {
    /// The receipt as its root commits to it.
    pub(crate) fn receipt(&self, gas_used: u64) -> ReceiptEnvelope {
        let receipt = Receipt { status: self.success.into(), cumulative_gas_used: gas_used, logs: self.logs.clone() };
        let receipt: ReceiptWithBloom<Receipt> = receipt.into();
        match self.transaction.tx_type() {
            TxType::Legacy => ReceiptEnvelope::Legacy(receipt),
            TxType::Eip2930 => ReceiptEnvelope::Eip2930(receipt),
            TxType::Eip1559 => ReceiptEnvelope::Eip1559(receipt),
            TxType::Eip4844 => ReceiptEnvelope::Eip4844(receipt),
            TxType::Eip7702 => ReceiptEnvelope::Eip7702(receipt),
        }
    }
}

/// The file.
pub(crate) struct Store(Database);

impl Store {
    /// Opens a file that is there.
    pub(crate) fn open(path: &Path) -> Result<Self, EmbeddedError> {
        let store = Self(Database::open(path)?);
        if store.0.begin_read()?.open_table(META)?.get("format")?.map(|found| found.value()) != Some(FORMAT) {
            return Err(EmbeddedError::Format);
        }
        Ok(store)
    }

    /// Makes a new file; the caller lets nobody see it before it holds a genesis.
    pub(crate) fn create(path: &Path) -> Result<Self, EmbeddedError> {
        let store = Self(Database::create(path)?);
        let write = store.write()?;
        {
            write.0.open_table(META)?.insert("format", FORMAT)?;
            // So that readers find every table.
            write.0.open_table(HEADERS)?;
            write.0.open_table(BODIES)?;
            write.0.open_table(BLOCK_BY_HASH)?;
            write.0.open_table(BLOCK_BY_TRANSACTION)?;
            write.0.open_table(LOGGED)?;
            write.0.open_table(ACCOUNTS)?;
            write.0.open_table(STORAGE)?;
            write.0.open_table(CODE)?;
        }
        write.commit()?;
        Ok(store)
    }

    /// A view of the last durable block that later ones do not change.
    pub(crate) fn read(&self) -> Result<Reader, EmbeddedError> {
        Ok(Reader(self.0.begin_read()?))
    }

    pub(crate) fn write(&self) -> Result<Writer, EmbeddedError> {
        let mut write = self.0.begin_write()?;
        write.set_durability(Durability::Immediate)?;
        Ok(Writer(write))
    }
}

/// Reads at one instant; both views of the file are read by the same code.
pub(crate) trait View {
    fn account(&self, address: Address) -> Result<Option<AccountInfo>, EmbeddedError>;
    fn slot(&self, address: Address, slot: U256) -> Result<U256, EmbeddedError>;
    fn code(&self, hash: B256) -> Result<Bytes, EmbeddedError>;
    fn block_hash(&self, number: u64) -> Result<Option<B256>, EmbeddedError>;
}

/// The state and history at the last durable block.
pub(crate) struct Reader(ReadTransaction);

/// The state and history at the block being built.
pub(crate) struct Writer(WriteTransaction);

macro_rules! view {
    ($view:ty) => {
        impl View for $view {
            fn account(&self, address: Address) -> Result<Option<AccountInfo>, EmbeddedError> {
                account(&self.0.open_table(ACCOUNTS)?, address)
            }

            fn slot(&self, address: Address, slot: U256) -> Result<U256, EmbeddedError> {
                let table = self.0.open_table(STORAGE)?;
                let value = table.get(slot_key(address, slot))?;
                Ok(value.map_or(U256::ZERO, |value| U256::from_be_bytes(value.value())))
            }

            fn code(&self, hash: B256) -> Result<Bytes, EmbeddedError> {
                if hash == KECCAK_EMPTY || hash.is_zero() {
                    return Ok(Bytes::new());
                }
                let table = self.0.open_table(CODE)?;
                let code = table.get(hash.0)?.ok_or(EmbeddedError::Damaged)?;
                Ok(Bytes::copy_from_slice(code.value()))
            }

            fn block_hash(&self, number: u64) -> Result<Option<B256>, EmbeddedError> {
                let table = self.0.open_table(HEADERS)?;
                Ok(table.get(number)?.map(|header| keccak256(header.value())))
            }
        }
    };
}

view!(Reader);
view!(Writer);

impl Reader {
    /// The last block; none in a file without genesis.
    pub(crate) fn head(&self) -> Result<Option<(Header, B256)>, EmbeddedError> {
        let table = self.0.open_table(HEADERS)?;
        let last = table.last()?;
        last.map(|(_, header)| Ok((decode_header(header.value())?, keccak256(header.value())))).transpose()
    }

    pub(crate) fn header(&self, number: u64) -> Result<Option<(Header, B256)>, EmbeddedError> {
        let table = self.0.open_table(HEADERS)?;
        let header = table.get(number)?;
        header.map(|header| Ok((decode_header(header.value())?, keccak256(header.value())))).transpose()
    }

    pub(crate) fn block(&self, number: u64) -> Result<Option<Block>, EmbeddedError> {
        let Some((header, hash)) = self.header(number)? else { return Ok(None) };
        let table = self.0.open_table(BODIES)?;
        let body = table.get(number)?.map(|body| decode_body(body.value())).transpose()?;
        Ok(Some(Block { header, hash, body }))
    }

    pub(crate) fn number_of_block(&self, hash: B256) -> Result<Option<u64>, EmbeddedError> {
        Ok(self.0.open_table(BLOCK_BY_HASH)?.get(hash.0)?.map(|number| number.value()))
    }

    pub(crate) fn number_of_transaction(&self, hash: B256) -> Result<Option<u64>, EmbeddedError> {
        Ok(self.0.open_table(BLOCK_BY_TRANSACTION)?.get(hash.0)?.map(|number| number.value()))
    }

    /// The blocks from `from` to `to`, both included, in which `address` logged.
    pub(crate) fn logged(&self, address: Address, from: u64, to: u64) -> Result<Vec<u64>, EmbeddedError> {
        let table = self.0.open_table(LOGGED)?;
        let range = (address.into_array(), from)..=(address.into_array(), to);
        table.range(range)?.map(|entry| Ok(entry?.0.value().1)).collect()
    }
}

impl Writer {
    pub(crate) fn head(&self) -> Result<Option<(Header, B256)>, EmbeddedError> {
        let table = self.0.open_table(HEADERS)?;
        let last = table.last()?;
        last.map(|(_, header)| Ok((decode_header(header.value())?, keccak256(header.value())))).transpose()
    }

    pub(crate) fn holds_transaction(&self, hash: B256) -> Result<bool, EmbeddedError> {
        Ok(self.0.open_table(BLOCK_BY_TRANSACTION)?.get(hash.0)?.is_some())
    }

    pub(crate) fn append(&self, block: &Block) -> Result<(), EmbeddedError> {
        let number = block.header.number;
        self.0.open_table(HEADERS)?.insert(number, alloy::rlp::encode(&block.header).as_slice())?;
        self.0.open_table(BLOCK_BY_HASH)?.insert(block.hash.0, number)?;
        let Some(body) = &block.body else { return Ok(()) };
        self.0.open_table(BODIES)?.insert(number, encode_body(body).as_slice())?;
        self.0.open_table(BLOCK_BY_TRANSACTION)?.insert(body.transaction.tx_hash().0, number)?;
        let mut logged = self.0.open_table(LOGGED)?;
        for log in &body.logs {
            logged.insert((log.address.into_array(), number), ())?;
        }
        Ok(())
    }

    /// Writes what a transaction changed, and returns a digest over it in the order of addresses and slots.
    pub(crate) fn apply(&self, state: &EvmState) -> Result<B256, EmbeddedError> {
        let mut accounts = self.0.open_table(ACCOUNTS)?;
        let mut storage = self.0.open_table(STORAGE)?;
        let mut code = self.0.open_table(CODE)?;
        let mut diff = Vec::new();
        let mut touched: Vec<_> = state.iter().filter(|(_, account)| account.is_touched()).collect();
        touched.sort_unstable_by_key(|(address, _)| **address);
        for (address, account) in touched {
            diff.extend_from_slice(address.as_slice());
            // An account that a transaction created was never in the file, but for a balance sent to it before.
            if account.is_selfdestructed() || account.is_empty() {
                accounts.remove(address.into_array())?;
                diff.push(0);
                continue;
            }
            let record = encode_account(&account.info);
            accounts.insert(address.into_array(), record)?;
            diff.push(1);
            diff.extend_from_slice(&record);
            if let Some(bytes) = account.info.code.as_ref().filter(|code| !code.is_empty())
                && code.get(account.info.code_hash.0)?.is_none()
            {
                code.insert(account.info.code_hash.0, bytes.original_byte_slice())?;
            }
            let mut slots: Vec<_> = account.changed_storage_slots().collect();
            slots.sort_unstable_by_key(|(slot, _)| **slot);
            for (slot, value) in slots {
                let (slot, value) = (*slot, value.present_value());
                if value.is_zero() {
                    storage.remove(slot_key(*address, slot))?;
                } else {
                    storage.insert(slot_key(*address, slot), value.to_be_bytes::<32>())?;
                }
                diff.extend_from_slice(&slot.to_be_bytes::<32>());
                diff.extend_from_slice(&value.to_be_bytes::<32>());
            }
        }
        Ok(keccak256(diff))
    }

    /// Durable when it returns.
    pub(crate) fn commit(self) -> Result<(), EmbeddedError> {
        Ok(self.0.commit()?)
    }
}

fn account(
    table: &impl ReadableTable<[u8; 20], [u8; 72]>,
    address: Address,
) -> Result<Option<AccountInfo>, EmbeddedError> {
    let Some(record) = table.get(address.into_array())? else { return Ok(None) };
    let record = record.value();
    let (balance, rest) = record.split_first_chunk::<32>().ok_or(EmbeddedError::Damaged)?;
    let (nonce, rest) = rest.split_first_chunk::<8>().ok_or(EmbeddedError::Damaged)?;
    let code_hash = B256::try_from(rest).map_err(|_| EmbeddedError::Damaged)?;
    Ok(Some(AccountInfo {
        balance: U256::from_be_bytes(*balance),
        nonce: u64::from_be_bytes(*nonce),
        code_hash,
        account_id: None,
        code: None,
    }))
}

fn encode_account(info: &AccountInfo) -> [u8; 72] {
    let mut record = [0; 72];
    let parts = info.balance.to_be_bytes::<32>().into_iter().chain(info.nonce.to_be_bytes()).chain(info.code_hash.0);
    record.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
    record
}

/// The code that the machine runs; what is stored was checked when it was deployed.
pub(crate) fn bytecode(code: Bytes) -> Result<Bytecode, EmbeddedError> {
    Bytecode::new_raw_checked(code).map_err(|_| EmbeddedError::Damaged)
}

fn slot_key(address: Address, slot: U256) -> ([u8; 20], [u8; 32]) {
    (address.into_array(), slot.to_be_bytes())
}

fn decode_header(mut bytes: &[u8]) -> Result<Header, EmbeddedError> {
    Header::decode(&mut bytes).map_err(|_| EmbeddedError::Damaged)
}

/// Sender, success, created contract (zero: none), logs and revert data in RLP, and the transaction in the network's form.
fn encode_body(body: &Body) -> Vec<u8> {
    let mut bytes = body.sender.to_vec();
    bytes.push(body.success.into());
    bytes.extend_from_slice(body.created.unwrap_or_default().as_slice());
    body.logs.encode(&mut bytes);
    body.revert.encode(&mut bytes);
    body.transaction.encode_2718(&mut bytes);
    bytes
}

fn decode_body(bytes: &[u8]) -> Result<Body, EmbeddedError> {
    let (sender, rest) = bytes.split_first_chunk::<20>().ok_or(EmbeddedError::Damaged)?;
    let (success, rest) = rest.split_first().ok_or(EmbeddedError::Damaged)?;
    let (created, mut rest) = rest.split_first_chunk::<20>().ok_or(EmbeddedError::Damaged)?;
    let logs = Vec::<Log>::decode(&mut rest).map_err(|_| EmbeddedError::Damaged)?;
    let revert = Bytes::decode(&mut rest).map_err(|_| EmbeddedError::Damaged)?;
    let transaction = TxEnvelope::decode_2718(&mut rest).map_err(|_| EmbeddedError::Damaged)?;
    Ok(Body {
        sender: sender.into(),
        transaction,
        success: *success == 1,
        created: Some(Address::from(created)).filter(|created| !created.is_zero()),
        logs,
        revert,
    })
}

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Number to RLP of the header, of which the block's hash is the Keccak.
const HEADERS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("headers");
const BODIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("bodies");
const BLOCK_BY_HASH: TableDefinition<'_, [u8; 32], u64> = TableDefinition::new("block by hash");
const BLOCK_BY_TRANSACTION: TableDefinition<'_, [u8; 32], u64> = TableDefinition::new("block by transaction");
/// Who logged in which block.
const LOGGED: TableDefinition<'_, ([u8; 20], u64), ()> = TableDefinition::new("logged");
/// Balance, nonce and hash of the code.
const ACCOUNTS: TableDefinition<'_, [u8; 20], [u8; 72]> = TableDefinition::new("accounts");
const STORAGE: TableDefinition<'_, ([u8; 20], [u8; 32]), [u8; 32]> = TableDefinition::new("storage");
const CODE: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("code");

const FORMAT: u64 = 1;
