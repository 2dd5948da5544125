//! What a contract reverted with, in words.

use alloy::{
    primitives::Bytes,
    sol_types::{Panic, Revert, SolError as _, decode_revert_reason},
};

/// The words of Solidity's `Error(string)`, or what its `Panic(uint256)` means; none for errors of a contract's own.
pub(crate) fn reason(data: &Bytes) -> Option<String> {
    let selector = data.first_chunk::<4>()?;
    if *selector != Revert::SELECTOR && *selector != Panic::SELECTOR {
        return None;
    }
    // Foreign text: bounded, and without what would move a cursor.
    let words = decode_revert_reason(data)?;
    Some(words.chars().filter(|letter| !letter.is_control()).take(500).collect())
}
