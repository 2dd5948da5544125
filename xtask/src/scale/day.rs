//! What one epoch asks of the chain.

use super::{
    assumptions::Assumptions,
    gas::{Gas, Op, TRANSACTION},
};

/// Why a transaction is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Register,
    Renew,
    Settle,
    Pay,
    Collateral,
}

impl Purpose {
    pub(super) const ALL: &[Self] = &[Self::Register, Self::Renew, Self::Settle, Self::Pay, Self::Collateral];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Register => "registrations",
            Self::Renew => "renewals",
            Self::Settle => "settlement",
            Self::Pay => "rewards and escrow",
            Self::Collateral => "collateral",
        }
    }

    pub(super) fn of(op: Op) -> Self {
        match op {
            Op::RegisterSgxFirst | Op::RegisterSgxAgain | Op::RegisterTdxFirst | Op::RegisterTdxAgain => Self::Register,
            Op::RenewSgx | Op::RenewTdx | Op::RenewKeptSgx | Op::RenewKeptTdx => Self::Renew,
            Op::CheckpointFirst
            | Op::CheckpointAgain
            | Op::CheckpointBatch100
            | Op::WorkProofFirst
            | Op::WorkProofAgain
            | Op::Equivocation
            | Op::AnchorRoot => Self::Settle,
            Op::EpochRoot | Op::ClaimFirst | Op::ClaimAgain | Op::EscrowDeposit | Op::EscrowRelease => Self::Pay,
            Op::DeployAll
            | Op::Authority
            | Op::TcbInfoSgxFirst
            | Op::TcbInfoSgxUpdate
            | Op::TcbInfoTdxFirst
            | Op::TcbInfoTdxUpdate
            | Op::QeIdentity
            | Op::Crl => Self::Collateral,
        }
    }
}

/// One epoch.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Day {
    /// Operations; under `CheckpointBatch100` the checkpoints that went in batches, not the calls.
    counts: [u64; Op::ALL.len()],
    /// Calls of aggregators.
    pub(super) batches: u64,
    /// Checkpoints in batches that were the first of their key.
    pub(super) first_in_batches: u64,
    /// Slots of attestation keys that changed.
    pub(super) attestation_keys: u64,
    /// Serials in the revocation lists that were brought, beyond the list whose gas was measured; negative below it.
    pub(super) more_serials: i64,
    /// Serials that were stored for the first time.
    pub(super) new_serials: u64,
    /// Registered and working at the end.
    pub(super) live: u64,
    /// Registrations that ran out although their node was there: each attempt to renew had failed.
    pub(super) lapsed: u64,
    /// Registrations that ran out while their node was away.
    pub(super) died_away: u64,
    /// Chips that left for good, or were barred.
    pub(super) departed: u64,
    /// Work Proofs settled.
    pub(super) proofs: f64,
    /// Work asked for, in proportion to the usual.
    pub(super) demand: f32,
    /// Whether a TCB recovery came in force.
    pub(super) recovery: bool,
}

/// Bytes of a signed transaction besides its calldata.
const ENVELOPE: u64 = 110;
/// Bytes of one serial in a revocation list (DER, with date and reason).
const SERIAL: i64 = 51;

impl Day {
    pub(super) fn add(&mut self, op: Op, count: u64) {
        self.counts[op as usize] += count;
    }

    pub(super) fn count(&self, op: Op) -> u64 {
        self.counts[op as usize]
    }

    pub(super) fn gas(&self, gas: &Gas, assumed: &Assumptions) -> f64 {
        Purpose::ALL.iter().map(|purpose| self.gas_for(*purpose, gas, assumed)).sum()
    }

    pub(super) fn gas_for(&self, purpose: Purpose, gas: &Gas, assumed: &Assumptions) -> f64 {
        let ops = Op::ALL.iter().filter(|op| Purpose::of(**op) == purpose && **op != Op::CheckpointBatch100);
        let single: u64 = ops.map(|op| self.count(*op) * gas.of(*op)).sum();
        let more = match purpose {
            Purpose::Settle => {
                let batched = self.count(Op::CheckpointBatch100) * gas.in_batch();
                (self.batches * TRANSACTION + batched + self.first_in_batches * gas.first_checkpoint()) as f64
            }
            Purpose::Collateral => {
                let news = self.new_serials as f64 * (assumed.crl_new_entry_gas - assumed.crl_entry_gas);
                // A list shorter than the measured one is not taken as cheaper: what is fixed in its gas is unknown.
                self.more_serials.max(0) as f64 * assumed.crl_entry_gas + news.max(0.0)
            }
            _ => 0.0,
        };
        single as f64 + more
    }

    /// Storage slots that were zero before.
    pub(super) fn slots(&self) -> u64 {
        let ops: u64 = Op::ALL.iter().map(|op| self.count(*op) * op.footprint().slots).sum();
        ops + self.first_in_batches + self.attestation_keys + self.new_serials
    }

    pub(super) fn event_bytes(&self) -> u64 {
        Op::ALL.iter().map(|op| self.count(*op) * op.footprint().event).sum()
    }

    pub(super) fn calldata_bytes(&self) -> u64 {
        let ops: u64 = Op::ALL.iter().map(|op| self.count(*op) * op.footprint().calldata).sum();
        ops + (self.more_serials.max(0) * SERIAL) as u64
    }

    pub(super) fn transactions(&self) -> u64 {
        let single: u64 = self.counts.iter().sum::<u64>() - self.count(Op::CheckpointBatch100);
        single + self.batches
    }

    /// What a rollup publishes.
    pub(super) fn transaction_bytes(&self) -> u64 {
        self.calldata_bytes() + self.transactions() * ENVELOPE
    }

    pub(super) fn checkpoints(&self) -> u64 {
        self.count(Op::CheckpointFirst) + self.count(Op::CheckpointAgain) + self.count(Op::CheckpointBatch100)
    }

    pub(super) fn claims(&self) -> u64 {
        self.count(Op::ClaimFirst) + self.count(Op::ClaimAgain)
    }

    pub(super) fn registrations(&self) -> u64 {
        [Op::RegisterSgxFirst, Op::RegisterSgxAgain, Op::RegisterTdxFirst, Op::RegisterTdxAgain]
            .iter()
            .map(|op| self.count(*op))
            .sum()
    }

    /// Renewals with the whole quote, and with a proven attestation key.
    pub(super) fn renewals(&self) -> (u64, u64) {
        let full = self.count(Op::RenewSgx) + self.count(Op::RenewTdx);
        (full, self.count(Op::RenewKeptSgx) + self.count(Op::RenewKeptTdx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gas_slots_and_bytes_are_sums_of_what_was_done() {
        let gas = Gas::committed().unwrap();
        let assumed = Assumptions::default();
        let mut day = Day { batches: 2, first_in_batches: 3, attestation_keys: 4, new_serials: 5, ..Day::default() };
        day.add(Op::CheckpointBatch100, 150);
        day.add(Op::RegisterTdxAgain, 7);
        day.add(Op::ClaimFirst, 1);
        day.more_serials = -10;
        let batches = 2 * TRANSACTION + 150 * gas.in_batch() + 3 * gas.first_checkpoint();
        let single = 7 * gas.of(Op::RegisterTdxAgain) + gas.of(Op::ClaimFirst);
        let serials = 5.0 * (assumed.crl_new_entry_gas - assumed.crl_entry_gas);
        assert_eq!(day.gas(&gas, &assumed), (batches + single) as f64 + serials);
        assert_eq!(day.gas_for(Purpose::Register, &gas, &assumed), (7 * gas.of(Op::RegisterTdxAgain)) as f64);
        assert_eq!(day.transactions(), 2 + 7 + 1);
        assert_eq!(day.checkpoints(), 150);
        assert_eq!(day.slots(), 7 + 2 + 3 + 4 + 5);
        let footprint = |op: Op| op.footprint().calldata;
        let calldata =
            150 * footprint(Op::CheckpointBatch100) + 7 * footprint(Op::RegisterTdxAgain) + footprint(Op::ClaimFirst);
        assert_eq!(day.calldata_bytes(), calldata);
        assert_eq!(day.transaction_bytes(), calldata + 10 * ENVELOPE);
    }

    #[test]
    fn a_full_batch_costs_what_was_measured() {
        let gas = Gas::committed().unwrap();
        let mut day = Day { batches: 1, ..Day::default() };
        day.add(Op::CheckpointBatch100, 100);
        let measured = gas.of(Op::CheckpointBatch100) as f64;
        assert!((day.gas(&gas, &Assumptions::default()) - measured).abs() <= 100.0);
    }
}
