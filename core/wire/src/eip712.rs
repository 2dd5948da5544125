//! EIP-712 typed data: the hash that wallets show and contracts check.
//!
//! Only what our structs need: atomic words, `string`, `bytes32[]`. Checked against alloy's
//! implementation in `core/proof/tests/eip712_oracle.rs`.

use crate::id::Address;
use alloc::vec::Vec;
use sha3::{Digest as _, Keccak256};

/// Name and version every Glacier signature is made under.
pub const NAME: &str = "Glacier";
/// Version of all typed structs of this release.
pub const VERSION: &str = "1";

/// Keccak-256.
pub fn keccak(bytes: &[u8]) -> [u8; 32] {
    Keccak256::digest(bytes).into()
}

/// Where a signature counts: `EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Domain {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// The contract that checks the signature.
    pub verifying_contract: Address,
}

impl Domain {
    fn separator(&self) -> [u8; 32] {
        StructHasher::new("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
            .string(NAME)
            .string(VERSION)
            .uint(self.chain_id)
            .address(&self.verifying_contract)
            .finish()
    }

    /// `keccak256(0x19 0x01 ‖ domainSeparator ‖ hashStruct)`: the digest that is signed.
    pub fn digest(&self, struct_hash: [u8; 32]) -> [u8; 32] {
        let mut bytes = Vec::with_capacity(66);
        bytes.extend_from_slice(&[0x19, 0x01]);
        bytes.extend_from_slice(&self.separator());
        bytes.extend_from_slice(&struct_hash);
        keccak(&bytes)
    }
}

/// Builds `hashStruct` member by member, in the order of the type string.
pub struct StructHasher(Vec<u8>);

impl StructHasher {
    /// Starts a struct with its full `encodeType` string.
    pub fn new(type_string: &str) -> Self {
        Self(keccak(type_string.as_bytes()).to_vec())
    }

    /// A `bytes32` member.
    pub fn word(mut self, word: &[u8; 32]) -> Self {
        self.0.extend_from_slice(word);
        self
    }

    /// A `uintN` member.
    pub fn uint(self, value: u64) -> Self {
        self.uint128(u128::from(value))
    }

    /// A `uintN` member wider than 64 bits.
    pub fn uint128(mut self, value: u128) -> Self {
        self.0.extend_from_slice(&[0; 16]);
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// An `address` member.
    pub fn address(mut self, address: &Address) -> Self {
        self.0.extend_from_slice(&[0; 12]);
        self.0.extend_from_slice(&address.0);
        self
    }

    /// A `string` member.
    pub fn string(self, text: &str) -> Self {
        let hash = keccak(text.as_bytes());
        self.word(&hash)
    }

    /// A `bytes32[]` member.
    pub fn words<'a>(self, words: impl IntoIterator<Item = &'a [u8; 32]>) -> Self {
        let joined: Vec<u8> = words.into_iter().flatten().copied().collect();
        let hash = keccak(&joined);
        self.word(&hash)
    }

    /// `hashStruct`.
    pub fn finish(self) -> [u8; 32] {
        keccak(&self.0)
    }
}
