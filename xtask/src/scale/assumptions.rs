//! What is assumed of the world. Every line is a flag: `restarts_per_year` is `--restarts-per-year`.

macro_rules! assumptions {
    ($($name:ident = $value:literal in $low:literal ..= $high:literal, $unit:literal, $why:literal;)*) => {
        /// All that is assumed, in one place.
        #[derive(Debug, Clone)]
        pub(super) struct Assumptions { $(pub(super) $name: f64,)* }

        impl Default for Assumptions {
            fn default() -> Self {
                Self { $($name: $value,)* }
            }
        }

        impl Assumptions {
            /// Changes one.
            pub(super) fn set(&mut self, name: &str, value: f64) -> Result<(), String> {
                match name {
                    $(stringify!($name) => {
                        if !($low..=$high).contains(&value) {
                            return Err(format!("{name} must be from {} to {}, not {value}", $low, $high));
                        }
                        self.$name = value;
                    })*
                    _ => return Err(format!("nothing called {name} is assumed")),
                }
                Ok(())
            }

            /// Name, value, unit, reason.
            pub(super) fn rows(&self) -> Vec<(&'static str, f64, &'static str, &'static str)> {
                vec![$((stringify!($name), self.$name, $unit, $why),)*]
            }
        }
    };
}

/// When the prices and the figures of the chains were set down.
pub(super) const DATE: &str = "2026-11-22";

assumptions! {
    eth_usd = 3000.0 in 1.0..=1_000_000.0, "USD", "a round figure, no quotation";
    l1_gas_gwei = 2.0 in 0.000001..=10_000.0, "gwei", "L1 base fee and tip; it was below 1 and above 100 within a few years";
    l1_block_gas = 60_000_000.0 in 1e6..=1e12, "gas", "L1 block gas limit (EIP-7935)";
    l1_block_seconds = 12.0 in 0.1..=60.0, "s", "L1 slot";
    l2_gas_gwei = 0.005 in 0.000001..=10_000.0, "gwei", "lowest base fee that Base allows (documented in 2026)";
    l2_block_gas = 400_000_000.0 in 1e6..=1e12, "gas", "block gas of Base (documented in 2026); other rollups have less";
    l2_block_seconds = 2.0 in 0.1..=60.0, "s", "an OP Stack rollup's block time";
    l2_data_gwei = 0.1 in 0.0..=10_000.0, "gwei a byte", "what a rollup passes on for a byte of calldata that does not compress, in blobs";
    transaction_gas = 16_777_216.0 in 1e6..=1e12, "gas", "most that one transaction may take (EIP-7825), on both chains";
    transaction_bytes = 131_072.0 in 1e4..=1e9, "bytes", "most that a public pool relays";
    fair_share = 0.1 in 0.001..=1.0, "of block space", "more than that, and the network itself moves the price of gas";
    days = 365.0 in 60.0..=3650.0, "epochs", "simulated; one epoch is one day";
    first_nodes = 0.05 in 0.0..=1.0, "of all", "there on the first day";
    growth_days = 180.0 in 1.0..=3000.0, "days", "until all have joined, at a rate that rises linearly";
    tdx_share = 0.7 in 0.0..=1.0, "of nodes", "TDX; the others are SGX";
    fmspcs = 24.0 in 1.0..=200.0, "FMSPCs", "processor families in use, the k-th in proportion to 1/k";
    nodes_per_owner = 5.0 in 1.0..=100_000.0, "nodes", "a claim is made by an owner";
    aggregated_share = 0.8 in 0.0..=1.0, "of nodes", "hand their checkpoints to an aggregator";
    batch = 100.0 in 1.0..=100.0, "checkpoints", "in one call of an aggregator";
    proofs_per_day = 1000.0 in 0.001..=10_000_000.0, "Work Proofs", "of a node, mean";
    proofs_spread = 1.2 in 0.0..=2.5, "sigma", "the rates of nodes are log-normal: a few are busy, most are not";
    checkpoint_proofs = 10_000.0 in 1.0..=1e9, "Work Proofs", "a checkpoint is due after so many";
    checkpoint_days = 1.0 in 1.0..=365.0, "days", "or after so long";
    restarts_per_year = 12.0 in 0.0..=365.0, "a node", "Poisson; keys live in memory, so each is a new key";
    outages_per_year = 3.0 in 0.0..=365.0, "a node", "Poisson";
    outage_days = 4.0 in 0.0..=365.0, "days", "mean; a registration may run out meanwhile";
    leaves_per_year = 0.15 in 0.0..=50.0, "a node", "gone for good; another chip joins in its place";
    renew_window_days = 7.0 in 1.0..=60.0, "days", "a node renews on a day drawn from the last ones before its registration runs out";
    renew_fails = 0.02 in 0.0..=1.0, "of attempts", "RPC or gas trouble; tried again the next day";
    kept_share = 0.0 in 0.0..=1.0, "of renewals", "by a kept attestation key: it holds no longer than the registration that proved it, unless the policy's term ends first";
    qe_changes_per_year = 2.0 in 0.0..=365.0, "a node", "new attestation key (platform software reinstalled or updated)";
    collateral_days = 30.0 in 5.0..=365.0, "days", "validity of TCB info, QE identity and PCK CRLs";
    refresh_days = 7.0 in 1.0..=300.0, "days", "somebody brings newer collateral on chain that often";
    recoveries_per_year = 3.0 in 0.0..=50.0, "TCB recoveries", "Intel announced two to four a year";
    recovery_share = 0.5 in 0.0..=1.0, "of FMSPCs", "hit by one; the most common family always is";
    rush_days = 2.0 in 0.1..=30.0, "days", "mean time until a node of a hit family has new firmware: a reboot, a new key";
    crl_entries = 129.0 in 0.0..=1e7, "serials", "in the larger PCK CRL at the start: as many as Intel's had in 2026";
    crl_measured_entries = 129.0 in 0.0..=1e7, "serials", "in the CRL of which the gas was measured, all of them stored before";
    crl_entries_per_year = 60.0 in 0.0..=1e7, "serials", "added";
    crl_entry_gas = 4000.0 in 0.0..=1e6, "gas", "of a serial that is stored already: calldata, parsing, one cold read";
    crl_new_entry_gas = 26_000.0 in 0.0..=1e6, "gas", "of a serial that is new: the same and one new slot";
    revocations_per_year = 0.0002 in 0.0..=50.0, "a node", "by the vendor; takes the gas of a full renewal, then the chip is barred";
    equivocations_per_year = 0.0001 in 0.0..=50.0, "a node", "caught and proven; the chip is barred";
    single_proofs_per_day = 0.01 in 0.0..=1000.0, "a node", "settled alone, without a checkpoint";
    escrows_per_day = 0.02 in 0.0..=1000.0, "a node", "jobs that are paid from escrow: a deposit and a release";
    anchors_per_day = 0.001 in 0.0..=1000.0, "a node", "roots of device data";
    earnings_usd = 2.0 in 0.0..=1e6, "USD", "of a node in a day, mean; in proportion to its Work Proofs";
    claim_cost = 0.02 in 0.0001..=1.0, "of a claim", "an owner claims when gas (at the price of L1) takes no more of it";
    claim_days = 7.0 in 1.0..=365.0, "days", "and not more often";
    slot_bytes = 128.0 in 32.0..=1024.0, "bytes", "of a storage slot in a full node's database, with its part of the trie";
    proof_bytes = 620.0 in 100.0..=10_000.0, "bytes", "of a Work Proof with its signature and its tree nodes in a log";
    quote_bytes = 5000.0 in 1000.0..=100_000.0, "bytes", "of a quote with its certificate chain";
    quote_us = 134.0 in 1.0..=1e6, "us", "to appraise a quote, collateral checked before (measured, README)";
    signature_us = 40.0 in 1.0..=1e6, "us", "to recover a signer and hash a Work Proof";
    hash_ns = 400.0 in 1.0..=1e6, "ns", "of a Keccak-256 over two digests";
    watchman_mbit = 100.0 in 0.01..=1e6, "Mbit/s", "line of a watchman";
}

impl Assumptions {
    /// What no single bound can say.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.refresh_days + self.renew_window_days >= self.collateral_days {
            return Err(
                "refresh_days + renew_window_days must be less than collateral_days, or nothing can be renewed in time"
                    .into(),
            );
        }
        Ok(())
    }

    /// Gas that a day's blocks hold.
    pub(super) fn l1_day(&self) -> f64 {
        86_400.0 / self.l1_block_seconds * self.l1_block_gas
    }

    pub(super) fn l2_day(&self) -> f64 {
        86_400.0 / self.l2_block_seconds * self.l2_block_gas
    }

    pub(super) fn l1_usd(&self, gas: f64) -> f64 {
        gas * self.l1_gas_gwei * 1e-9 * self.eth_usd
    }

    /// Execution, and the bytes that go to L1.
    pub(super) fn l2_usd(&self, gas: f64, bytes: f64) -> f64 {
        (gas * self.l2_gas_gwei + bytes * self.l2_data_gwei) * 1e-9 * self.eth_usd
    }

    /// Work Proofs of a day that a watchman's line can bring.
    pub(super) fn watchman_proofs(&self) -> f64 {
        self.watchman_mbit * 1e6 / 8.0 * 86_400.0 / self.proof_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_within_its_own_bounds_and_has_a_reason() {
        let mut assumed = Assumptions::default();
        assumed.check().unwrap();
        for (name, value, unit, why) in Assumptions::default().rows() {
            assumed.set(name, value).unwrap();
            assert!(!unit.is_empty() && !why.is_empty(), "{name}");
            assert!(assumed.set(name, f64::NAN).is_err() && assumed.set(name, -1.0).is_err(), "{name}");
        }
        assert!(assumed.set("luck", 1.0).is_err());
    }

    #[test]
    fn collateral_that_runs_out_before_a_renewal_is_refused() {
        let assumed = Assumptions { refresh_days: 25.0, ..Assumptions::default() };
        assert!(assumed.check().is_err());
    }
}
