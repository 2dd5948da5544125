//! Who earned what in an epoch: the public rule by which roots are proposed, recomputed and vetoed.
//!
//! An epoch's emission is shared by the units that were settled in it: `floor(emission · units / all units)` to the
//! chip's owner. What the division leaves over is not emitted. Amounts accumulate per account and never fall; the
//! root is over all accounts that ever earned, sorted by address.

use alloy::primitives::{Address, B256, U256, keccak256};
use std::collections::BTreeMap;

/// What accounts have earned since the beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Earnings(BTreeMap<Address, U256>);

impl Earnings {
    /// Adds an epoch: `emission` shared among owners by the units of their chips.
    pub fn add(&mut self, emission: U256, units: &BTreeMap<Address, u128>) {
        let all: U256 = units.values().map(|units| U256::from(*units)).sum();
        if all.is_zero() {
            return;
        }
        for (owner, units) in units {
            let share = emission.saturating_mul(U256::from(*units)).checked_div(all).unwrap_or_default();
            if !share.is_zero() {
                let earned = self.0.entry(*owner).or_default();
                *earned = earned.saturating_add(share);
            }
        }
    }

    /// Cumulative amount of one account.
    pub fn of(&self, account: &Address) -> U256 {
        self.0.get(account).copied().unwrap_or_default()
    }

    /// Cumulative amount of all.
    pub fn total(&self) -> U256 {
        self.0.values().copied().sum()
    }

    /// Whether nobody has earned anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tree that the vault checks claims against.
    pub fn tree(&self) -> ClaimTree {
        let accounts: Vec<Address> = self.0.keys().copied().collect();
        let leaves = self.0.iter().map(|(account, amount)| leaf(account, amount)).collect();
        ClaimTree { accounts, layers: layers(leaves) }
    }
}

/// A Merkle tree over (account, cumulative amount), pairs hashed in sorted order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimTree {
    accounts: Vec<Address>,
    layers: Vec<Vec<B256>>,
}

impl ClaimTree {
    /// What is proposed; zero for a tree without accounts.
    pub fn root(&self) -> B256 {
        self.layers.last().and_then(|top| top.first()).copied().unwrap_or_default()
    }

    /// The proof for an account; `None` if it has earned nothing.
    pub fn path(&self, account: &Address) -> Option<Vec<B256>> {
        let mut index = self.accounts.binary_search(account).ok()?;
        let mut path = Vec::new();
        for layer in &self.layers {
            // The last of an odd layer has no sibling and moves up unchanged.
            path.extend(layer.get(index ^ 1).filter(|_| layer.len() > 1));
            index /= 2;
        }
        Some(path)
    }
}

/// Hashed twice, so that no inner node passes for a leaf.
fn leaf(account: &Address, amount: &U256) -> B256 {
    let mut bytes = [0u8; 64];
    let (word, rest) = bytes.split_at_mut(32);
    word.copy_from_slice(account.into_word().as_slice());
    rest.copy_from_slice(&amount.to_be_bytes::<32>());
    keccak256(keccak256(bytes))
}

fn layers(leaves: Vec<B256>) -> Vec<Vec<B256>> {
    let mut layers = vec![leaves];
    while let Some(layer) = layers.last().filter(|layer| layer.len() > 1) {
        let next = layer.chunks(2).map(parent).collect();
        layers.push(next);
    }
    layers
}

fn parent(pair: &[B256]) -> B256 {
    match pair {
        [a, b] if a < b => keccak256([a.as_slice(), b.as_slice()].concat()),
        [a, b] => keccak256([b.as_slice(), a.as_slice()].concat()),
        [alone] => *alone,
        _ => B256::ZERO,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn account(n: u64) -> Address {
        Address::left_padding_from(&n.to_be_bytes())
    }

    /// As the vault climbs.
    fn climb(start: B256, path: &[B256]) -> B256 {
        path.iter().fold(start, |node, sibling| parent(&[node, *sibling]))
    }

    proptest! {
        #[test]
        fn every_account_can_claim_what_it_earned_and_nothing_else(amounts in prop::collection::vec(1u64.., 1..70)) {
            let earnings = Earnings(amounts.iter().zip(1..).map(|(amount, n)| (account(n), U256::from(*amount))).collect());
            let tree = earnings.tree();
            for (account, amount) in &earnings.0 {
                let path = tree.path(account).unwrap();
                prop_assert_eq!(climb(leaf(account, amount), &path), tree.root());
                prop_assert_ne!(climb(leaf(account, &(amount + U256::ONE)), &path), tree.root());
            }
            prop_assert_eq!(tree.path(&account(0)), None);
        }

        #[test]
        fn shares_never_exceed_the_emission(units in prop::collection::vec(any::<u64>(), 0..40), emission in any::<u128>()) {
            let mut earnings = Earnings::default();
            let units = units.into_iter().zip(1..).map(|(units, n)| (account(n), u128::from(units))).collect();
            earnings.add(U256::from(emission), &units);
            prop_assert!(earnings.total() <= U256::from(emission));
        }
    }

    #[test]
    fn an_epoch_without_work_emits_nothing() {
        let mut earnings = Earnings::default();
        earnings.add(U256::from(1000), &BTreeMap::new());
        earnings.add(U256::from(1000), &BTreeMap::from([(account(1), 0)]));
        assert_eq!((earnings.total(), earnings.tree().root()), (U256::ZERO, B256::ZERO));
    }

    #[test]
    fn amounts_accumulate() {
        let mut earnings = Earnings::default();
        earnings.add(U256::from(100), &BTreeMap::from([(account(1), 1), (account(2), 2)]));
        earnings.add(U256::from(100), &BTreeMap::from([(account(2), 5)]));
        assert_eq!((earnings.of(&account(1)), earnings.of(&account(2))), (U256::from(33), U256::from(166)));
    }
}
