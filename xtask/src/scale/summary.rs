//! What a history comes to.

use super::{
    assumptions::Assumptions,
    day::{Day, Purpose},
    gas::Gas,
    simulation::History,
};
use serde::Serialize;

/// Means are over the days on which all had joined; peaks over all days but the first, when everything is deployed.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Summary {
    pub(super) nodes: u32,
    pub(super) mean_gas: f64,
    pub(super) peak_gas: f64,
    pub(super) peak_day: usize,
    /// Highest of the epochs of the full network in which no recovery was felt.
    pub(super) calm_peak: f64,
    /// By purpose, in the order of `Purpose::ALL`.
    pub(super) mean_for: Vec<f64>,
    pub(super) peak_for: Vec<f64>,
    pub(super) live: f64,
    pub(super) transactions: f64,
    pub(super) registrations: f64,
    pub(super) peak_registrations: u64,
    pub(super) renewals: f64,
    pub(super) kept_renewals: f64,
    pub(super) checkpoints: f64,
    pub(super) batches: f64,
    pub(super) claims: f64,
    pub(super) proofs: f64,
    /// Signed transactions of an epoch.
    pub(super) transaction_bytes: f64,
    pub(super) event_bytes: f64,
    /// Of all days.
    pub(super) slots: u64,
    pub(super) all_event_bytes: u64,
    pub(super) all_calldata_bytes: u64,
    pub(super) lapsed: u64,
    pub(super) died_away: u64,
    /// A year of the full network.
    pub(super) slots_per_year: f64,
    pub(super) tcb_infos: usize,
    pub(super) serials: u64,
    pub(super) claimants: usize,
    /// Gas of every epoch.
    pub(super) gas: Vec<f64>,
}

impl Summary {
    pub(super) fn of(history: &History, assumed: &Assumptions, gas: &Gas) -> Self {
        let full = &history.days[history.full_from..];
        let mean = |of: &dyn Fn(&Day) -> f64| full.iter().map(of).sum::<f64>() / full.len() as f64;
        let by_day: Vec<f64> = history.days.iter().map(|day| day.gas(gas, assumed)).collect();
        let peak_day = (1..by_day.len()).max_by(|a, b| by_day[*a].total_cmp(&by_day[*b])).unwrap_or(0);
        let purposes = |of: &dyn Fn(Purpose) -> f64| Purpose::ALL.iter().map(|purpose| of(*purpose)).collect();
        let sum = |of: &dyn Fn(&Day) -> u64| history.days.iter().map(of).sum::<u64>();
        Self {
            nodes: history.nodes,
            mean_gas: mean(&|day| day.gas(gas, assumed)),
            peak_gas: by_day[peak_day],
            peak_day,
            calm_peak: history.calm_days().map(|day| by_day[day]).fold(0.0, f64::max),
            mean_for: purposes(&|purpose| mean(&|day| day.gas_for(purpose, gas, assumed))),
            peak_for: purposes(&|purpose| history.days[peak_day].gas_for(purpose, gas, assumed)),
            live: mean(&|day| day.live as f64),
            transactions: mean(&|day| day.transactions() as f64),
            registrations: mean(&|day| day.registrations() as f64),
            peak_registrations: history.days.iter().skip(1).map(Day::registrations).max().unwrap_or(0),
            renewals: mean(&|day| day.renewals().0 as f64),
            kept_renewals: mean(&|day| day.renewals().1 as f64),
            checkpoints: mean(&|day| day.checkpoints() as f64),
            batches: mean(&|day| day.batches as f64),
            claims: mean(&|day| day.claims() as f64),
            proofs: mean(&|day| day.proofs),
            transaction_bytes: mean(&|day| day.transaction_bytes() as f64),
            event_bytes: mean(&|day| day.event_bytes() as f64),
            slots: sum(&Day::slots),
            all_event_bytes: sum(&Day::event_bytes),
            all_calldata_bytes: sum(&Day::calldata_bytes),
            lapsed: sum(&|day| day.lapsed),
            died_away: sum(&|day| day.died_away),
            slots_per_year: mean(&|day| day.slots() as f64) * 365.0,
            tcb_infos: history.tcb_infos,
            serials: history.serials,
            claimants: history.claimants,
            gas: by_day,
        }
    }

    pub(super) fn mean_for(&self, purpose: Purpose) -> f64 {
        self.mean_for[purpose as usize]
    }

    /// Gas of a node in an epoch, collateral left out: that is for all.
    pub(super) fn by_node(&self) -> f64 {
        (self.mean_gas - self.mean_for(Purpose::Collateral)) / f64::from(self.nodes)
    }
}
