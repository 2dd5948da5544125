//! Where the design breaks, and what follows then.

use super::{
    assumptions::Assumptions,
    day::Purpose,
    format::{dollars, number},
    gas::{Gas, Op},
    summary::Summary,
};

/// A bound, where it is met, and what to do beyond.
pub(super) struct Limit {
    pub(super) what: &'static str,
    pub(super) met_at: String,
    pub(super) follows: &'static str,
}

/// From the largest network that was run: beyond a few thousand nodes all grows in proportion.
pub(super) fn all(largest: &Summary, assumed: &Assumptions, gas: &Gas) -> Vec<Limit> {
    let nodes = |at: f64| if at < 1e12 { format!("{} nodes", number(at.max(0.0))) } else { "no size".to_owned() };
    let size = f64::from(largest.nodes);
    // Collateral is brought for all: its gas does not grow with the nodes.
    let (fixed, fixed_at_peak) =
        (largest.mean_for(Purpose::Collateral), largest.peak_for[Purpose::Collateral as usize]);
    let (mean, peak) = (largest.by_node(), (largest.peak_gas - fixed_at_peak) / size);
    let mean_takes = |gas: f64| nodes((gas - fixed) / mean);
    let peak_takes = |gas: f64| nodes((gas - fixed_at_peak) / peak);
    let (l1, l2, fair) = (assumed.l1_day(), assumed.l2_day(), assumed.fair_share);
    // New serials are for all, too.
    let slots = (largest.slots_per_year - assumed.crl_entries_per_year).max(1.0);
    let in_batch = gas.in_batch() + gas.first_checkpoint();
    let by_gas = (assumed.transaction_gas - super::gas::TRANSACTION as f64) / in_batch as f64;
    let by_bytes = assumed.transaction_bytes / Op::CheckpointBatch100.footprint().calldata as f64;
    let batched = largest.batches * assumed.batch / size;
    let l1_blocks = 86_400.0 / assumed.l1_block_seconds;
    let serials_by_gas = assumed.crl_measured_entries
        + (assumed.transaction_gas - gas.of(Op::Crl) as f64).max(0.0) / assumed.crl_entry_gas.max(1.0);
    let serials_by_bytes = assumed.crl_measured_entries
        + (assumed.transaction_bytes - Op::Crl.footprint().calldata as f64).max(0.0) / 51.0;
    let update = gas.of(Op::TcbInfoSgxUpdate).max(gas.of(Op::TcbInfoTdxUpdate)) as f64;
    let keys = largest.registrations * 365.0 * 2.0 / slots;
    let leaf_seconds = 2.0 * assumed.hash_ns * 1e-9 / assumed.nodes_per_owner;
    let day_cost = assumed.l1_usd(mean);
    let row = |what, met_at, follows| Limit { what, met_at, follows };
    vec![
        row(
            "Collateral costs more gas than all nodes together",
            format!("below {}", nodes(fixed / mean)),
            "bring only the families in use, and only before they run out; small deployments share one collateral contract",
        ),
        row(
            "A node's own gas on L1 eats its earnings",
            format!("{} of {} a day, at any size", dollars(day_cost), dollars(assumed.earnings_usd)),
            "L2: the same contracts, where 0x100 answers; on L1, checkpoints by week",
        ),
        row(
            "Mean epoch takes the fair share of L1",
            mean_takes(fair * l1),
            "L2; aggregators for all; checkpoints by week",
        ),
        row(
            "Peak epoch takes the fair share of L1",
            peak_takes(fair * l1),
            "a longer rush: the policy keeps the old TCB level for some weeks (a floor with a date)",
        ),
        row(
            "Peak epoch fills every block of L1",
            peak_takes(l1),
            "not on L1 any more; or one proof (ZK) for a batch of quotes",
        ),
        row(
            "Landing the peak epoch within the fair share of L1",
            format!("{} days for 1,000,000 nodes", number((fixed_at_peak + peak * 1e6) / (fair * l1))),
            "registrations before settlement: work that waits is not lost, a registration that runs out is",
        ),
        row(
            "Claims alone take the fair share of L1",
            nodes(fair * l1 / (largest.claims / size * gas.of(Op::ClaimAgain) as f64).max(f64::MIN_POSITIVE)),
            "claims less often (they are cumulative, so nothing is lost); owners with more nodes",
        ),
        row(
            "Mean epoch takes the fair share of the L2",
            mean_takes(fair * l2),
            "a ledger for each region, each with its own collateral; epoch roots settled on L1",
        ),
        row(
            "Peak epoch takes the fair share of the L2",
            peak_takes(fair * l2),
            "the same, and renewals spread by the node's own draw",
        ),
        row(
            "Checkpoints in one call, by gas",
            format!("{} checkpoints, each the first of its key", number(by_gas)),
            "more calls; beyond that one aggregate signature or one proof (ZK) for the batch",
        ),
        row("Checkpoints in one call, by bytes", format!("{} checkpoints", number(by_bytes)), "more calls"),
        row(
            "One aggregator sends one call in each L1 block",
            nodes(l1_blocks * assumed.batch / batched.max(f64::MIN_POSITIVE)),
            "several aggregators: anybody may be one, a checkpoint needs only its enclave's signature",
        ),
        row(
            "One revocation list in one transaction, by gas",
            format!("{} serials", number(serials_by_gas)),
            "the list in parts, each with the whole list in its calldata; or its digest and proofs of absence",
        ),
        row(
            "One revocation list in one transaction, by bytes",
            format!("{} serials", number(serials_by_bytes)),
            "the same",
        ),
        row(
            "Refreshing all TCB infos in one day takes the fair share of L1",
            format!("{} TCB infos", number(fair * l1 / update)),
            "nothing: Intel has some dozens of families",
        ),
        row(
            "Ledger state",
            format!(
                "{} slots a year for 1,000,000 nodes, {} of them for keys that replace keys",
                number(slots / size * 1e6),
                percent(keys)
            ),
            "keys that outlive a restart (sealed), heads by chip instead of by key, or storage that expires with the registration",
        ),
        row(
            "One proposer computes the epoch's tree in an hour",
            nodes(3600.0 / leaf_seconds),
            "nothing; reading the events takes longer than hashing",
        ),
        row(
            "A watchman's line carries every log",
            nodes(assumed.watchman_proofs() / (largest.proofs / size).max(f64::MIN_POSITIVE)),
            "sampling: watchmen draw nodes and ranges, and compare heads, which are on chain, for all",
        ),
        row(
            "A watchman's core re-appraises every quote each epoch",
            nodes(86_400.0 / (assumed.quote_us * 1e-6)),
            "nothing: the first bound to matter is another",
        ),
    ]
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::{super::simulation::run, *};

    /// A bound on nodes is the size at which the network, drawn out in proportion, meets it.
    #[test]
    fn a_network_of_the_bound_meets_the_bound() {
        let gas = Gas::committed().unwrap();
        let small = Assumptions { transaction_bytes: 65_536.0, ..Assumptions::default() };
        let of = |nodes| Summary::of(&run(nodes, 1, &small, &gas), &small, &gas);
        let tight = Assumptions { fair_share: of(20_000).mean_gas / small.l1_day(), ..small.clone() };
        // Drawn out from another size, the same bound.
        let half = all(&of(5_000), &tight, &gas);
        let half = half.iter().find(|limit| limit.what == "Mean epoch takes the fair share of L1").unwrap();
        let met: f64 = half.met_at.strip_suffix(" k nodes").unwrap().parse().unwrap();
        assert!((met / 20.0 - 1.0).abs() < 0.03, "{met}");
        let found = all(&of(20_000), &tight, &gas);
        let mean = found.iter().find(|limit| limit.what == "Mean epoch takes the fair share of L1").unwrap();
        assert_eq!(mean.met_at, "20 k nodes");
        let bytes = found.iter().find(|limit| limit.what == "Checkpoints in one call, by bytes").unwrap();
        assert_eq!(bytes.met_at, "465 checkpoints");
    }
}
