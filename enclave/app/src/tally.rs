//! How much of a key's log counts where.

use glacier_wire::{Settlement, api::SettlementOrder};
use std::collections::BTreeMap;

/// Units of all proofs so far, by the chain and ledger that they name. Kept from the first proof on, so
/// that it makes no difference when the host says where it settles.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    units: BTreeMap<SettlementOrder, u64>,
}

impl Tally {
    /// Most ledgers whose units are counted. Parties name them, so there must be an end; the proofs of
    /// one ledger more are as good as all others, but no checkpoint is signed for it.
    const MOST: usize = 256;

    /// Counts a proof.
    pub(crate) fn add(&mut self, settlement: &Settlement, units: u64) {
        let ledger = SettlementOrder { chain_id: settlement.chain_id, ledger: settlement.ledger };
        if let Some(sum) = self.entry(ledger) {
            // No less would be said of a longer log.
            *sum = sum.saturating_add(units);
        }
    }

    /// Keeps a place for a ledger. `false` if there is none: proofs that name it may have gone uncounted.
    pub(crate) fn reserve(&mut self, ledger: SettlementOrder) -> bool {
        self.entry(ledger).is_some()
    }

    /// Units of all proofs that name this ledger; `None` if they are not counted.
    pub(crate) fn units(&self, ledger: &SettlementOrder) -> Option<u64> {
        self.units.get(ledger).copied()
    }

    /// Nothing is ever removed: so who is not there while there is room was never named before.
    fn entry(&mut self, ledger: SettlementOrder) -> Option<&mut u64> {
        if self.units.len() >= Self::MOST && !self.units.contains_key(&ledger) {
            return None;
        }
        Some(self.units.entry(ledger).or_default())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use glacier_wire::Address;

    fn settlement(chain_id: u64) -> Settlement {
        Settlement { chain_id, ledger: Address([1; 20]), payer: Address([2; 20]), price: 3 }
    }

    fn order(chain_id: u64) -> SettlementOrder {
        SettlementOrder { chain_id, ledger: Address([1; 20]) }
    }

    #[test]
    fn units_are_counted_by_ledger_and_never_beyond_the_last_number() {
        let mut tally = Tally::default();
        for (chain, units) in [(1, 5), (2, 7), (1, 11), (2, u64::MAX)] {
            tally.add(&settlement(chain), units);
        }
        assert_eq!(tally.units(&order(1)), Some(16));
        assert_eq!(tally.units(&order(2)), Some(u64::MAX));
        assert_eq!(tally.units(&order(3)), None);
    }

    #[test]
    fn a_ledger_too_many_is_never_counted_in_part() {
        let mut tally = Tally::default();
        assert!(tally.reserve(order(1000)));
        for chain in 0..2 * Tally::MOST as u64 {
            tally.add(&settlement(chain), 1);
        }
        let last = Tally::MOST as u64 - 2;
        assert_eq!((tally.units(&order(last)), tally.units(&order(last + 1))), (Some(1), None));
        assert!(!tally.reserve(order(last + 1)));
        tally.add(&settlement(1000), 9);
        assert_eq!(tally.units(&order(1000)), Some(9));
        assert!(tally.reserve(order(1000)));
    }
}
