//! The same quantities on paper: what a node does in a day when the network is full and no recovery is on.

use super::{
    assumptions::Assumptions,
    day::Day,
    random::{exp, ln},
    simulation::History,
};

/// Operations of a node in a day.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rates {
    /// Share of nodes that work.
    pub(super) live: f64,
    pub(super) registrations: f64,
    pub(super) renewals: f64,
    pub(super) checkpoints: f64,
}

/// By renewal theory. A registration ends by a restart, an outage or a departure (each day with probability `q`), or is
/// renewed after `l` days, whichever is first: its mean length is (1 - (1 - q)^l) / q, and it ends by renewal with
/// probability (1 - q)^l.
pub(super) fn expected(assumed: &Assumptions) -> Rates {
    let daily = |per_year: f64| 1.0 - exp(-per_year / 365.0);
    let (restart, outage) = (daily(assumed.restarts_per_year), daily(assumed.outages_per_year));
    let leave = daily(assumed.leaves_per_year + assumed.revocations_per_year + assumed.equivocations_per_year);
    let ends = 1.0 - (1.0 - restart) * (1.0 - outage) * (1.0 - leave);

    // Collateral is 0 to refresh - 1 days old; a node renews 1 to window days before the end.
    let (mut length, mut renewed, mut cases) = (0.0, 0.0, 0.0);
    for age in 0..assumed.refresh_days as u32 {
        for ahead in 1..=assumed.renew_window_days as u32 {
            let days = assumed.collateral_days - f64::from(age) - f64::from(ahead);
            let survives = if ends > 0.0 { exp(days * ln(1.0 - ends)) } else { 1.0 };
            length += if ends > 0.0 { (1.0 - survives) / ends } else { days };
            renewed += survives;
            cases += 1.0;
        }
    }
    let (length, renewed) = (length / cases, renewed / cases);

    // Away for an outage, or a day until another chip has taken the place.
    let more = assumed.outage_days - 1.0;
    let whole_days = if more > 0.0 { 1.0 + 1.0 / (exp(1.0 / more) - 1.0) } else { 1.0 };
    let away = outage * whole_days + leave;
    let live = 1.0 / (1.0 + away);
    // A head in the middle of a day is not a second one that day: it takes the work that had been pending.
    let last = (ends - leave) * pending_share(assumed);
    Rates {
        live,
        registrations: live * ends,
        renewals: live * renewed / length,
        checkpoints: live * (checkpoints(assumed) + last),
    }
}

/// What the simulation did, on the days when all had joined and no recovery was felt.
pub(super) fn simulated(history: &History) -> Rates {
    let calm: Vec<&Day> = history.calm_days().map(|day| &history.days[day]).collect();
    let node_days = f64::from(history.nodes) * calm.len().max(1) as f64;
    let sum = |of: &dyn Fn(&Day) -> u64| calm.iter().map(|day| of(day)).sum::<u64>() as f64 / node_days;
    Rates {
        live: sum(&|day| day.live),
        registrations: sum(&|day| day.registrations()),
        renewals: sum(&|day| day.renewals().0 + day.renewals().1),
        checkpoints: sum(&|day| day.checkpoints()),
    }
}

/// Quantiles of the rates of nodes at which sums are taken.
const STEPS: u32 = 2000;

fn rates(assumed: &Assumptions) -> impl Iterator<Item = f64> + '_ {
    let spread = assumed.proofs_spread;
    // Midpoints of a normal density, weighted: from -6 to 6.
    (0..STEPS).map(move |i| {
        let z = -6.0 + 12.0 * (f64::from(i) + 0.5) / f64::from(STEPS);
        assumed.proofs_per_day * exp(spread * z - spread * spread / 2.0)
    })
}

fn mean(assumed: &Assumptions, of: impl Fn(f64) -> f64) -> f64 {
    let (mut sum, mut weights) = (0.0, 0.0);
    for (i, rate) in rates(assumed).enumerate() {
        let z = -6.0 + 12.0 * (i as f64 + 0.5) / f64::from(STEPS);
        let weight = exp(-z * z / 2.0);
        sum += weight * of(rate);
        weights += weight;
    }
    sum / weights
}

/// Checkpoints of a live node in a day: by count, and one by time as soon as there is a whole proof.
fn checkpoints(assumed: &Assumptions) -> f64 {
    let every = assumed.checkpoint_days;
    mean(assumed, |rate| {
        let in_time = rate * every;
        let by_count = (in_time / assumed.checkpoint_proofs).floor();
        (by_count + in_time.min(1.0)) / every
    })
}

/// Share of days on which something was pending from the day before.
fn pending_share(assumed: &Assumptions) -> f64 {
    let every = assumed.checkpoint_days;
    mean(assumed, |rate| if rate >= 1.0 { (every - 1.0) / every } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::{
        super::{gas::Gas, simulation::run},
        *,
    };

    #[test]
    fn paper_and_simulation_agree() {
        let gas = Gas::committed().unwrap();
        let base = Assumptions { days: 540.0, growth_days: 60.0, recoveries_per_year: 0.0, ..Assumptions::default() };
        let cases = [
            base.clone(),
            Assumptions { restarts_per_year: 2.0, ..base.clone() },
            Assumptions { refresh_days: 1.0, renew_window_days: 3.0, ..base.clone() },
            Assumptions { proofs_per_day: 20_000.0, outages_per_year: 12.0, ..base.clone() },
            Assumptions { proofs_per_day: 3.0, checkpoint_days: 4.0, ..base },
        ];
        for assumed in cases {
            let paper = expected(&assumed);
            let found = simulated(&run(10_000, 5, &assumed, &gas));
            let near = |paper: f64, found: f64, tolerance: f64, what: &str| {
                let off = (found / paper - 1.0).abs();
                assert!(off < tolerance, "{what}: {paper} on paper, {found} simulated, {assumed:?}");
            };
            near(paper.live, found.live, 0.01, "live");
            near(paper.registrations, found.registrations, 0.03, "registrations");
            near(paper.renewals, found.renewals, 0.05, "renewals");
            near(paper.checkpoints, found.checkpoints, 0.05, "checkpoints");
        }
    }
}
