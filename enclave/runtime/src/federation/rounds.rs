//! The rounds of a federation: what is waited for, what is averaged, what is recorded. No IO and no clock.

use glacier_app::{Refusal, RefusalCode};
use glacier_train::merge::{Flat, average};
use glacier_wire::{
    Digest, cbor,
    federation::{FederationPlan, RoundRecord, SiteUpdate, Weighting},
    training::TrainingRecord,
};
use zeroize::Zeroizing;

/// Every round so far, and the one under way.
pub(crate) struct Rounds {
    plan: FederationPlan,
    layout: Digest,
    weights: Zeroizing<Vec<f32>>,
    past: Vec<RoundRecord>,
    units: u64,
    /// Of the round under way, by site.
    updates: Vec<Option<Update>>,
    overdue: bool,
}

/// One site's weights, verified.
pub(crate) struct Update {
    pub(crate) record: SiteUpdate,
    pub(crate) flat: Flat,
}

/// What outlives a restart: rounds that have closed. Updates of the one under way are asked for again.
#[derive(minicbor::Encode, minicbor::Decode)]
struct Closed {
    #[n(0)]
    layout: Digest,
    #[n(1)]
    past: Vec<RoundRecord>,
    #[n(2)]
    units: u64,
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    weights: Vec<u8>,
}

impl Rounds {
    pub(crate) fn new(plan: FederationPlan, initial: Flat) -> Self {
        let updates = plan.sites.iter().map(|_| None).collect();
        let Flat { layout, values } = initial;
        Self { plan, layout, weights: Zeroizing::new(values), past: Vec::new(), units: 0, updates, overdue: false }
    }

    /// The round under way, from 1; `None` once all have closed.
    pub(crate) fn round(&self) -> Option<u32> {
        let closed = u32::try_from(self.past.len()).unwrap_or(u32::MAX);
        (closed < self.plan.rounds).then(|| closed.saturating_add(1))
    }

    /// Rounds that have closed.
    pub(crate) fn closed(&self) -> u32 {
        self.round().map_or(self.plan.rounds, |round| round.saturating_sub(1))
    }

    pub(crate) fn weights(&self) -> &[f32] {
        &self.weights
    }

    pub(crate) fn overdue(&self) -> bool {
        self.overdue
    }

    /// Whether this site's update of the round under way is there.
    pub(crate) fn has(&self, site: u32) -> bool {
        usize::try_from(site).ok().and_then(|site| self.updates.get(site)).is_some_and(Option::is_some)
    }

    pub(crate) fn delivered(&self) -> Vec<u32> {
        (0u32..).zip(&self.updates).filter(|(_, update)| update.is_some()).map(|(site, _)| site).collect()
    }

    /// Whether an update of this round and site is still wanted.
    ///
    /// # Errors
    /// [`RefusalCode::UpdateLate`] and [`RefusalCode::UpdateRepeated`]: neither does harm to what is there.
    pub(crate) fn wants(&self, round: u32, site: u32) -> Result<(), Refusal> {
        match self.round() {
            Some(now) if now == round && self.has(site) => {
                Err(Refusal::new(RefusalCode::UpdateRepeated, "this site's update of the round is there already"))
            }
            Some(now) if now == round => Ok(()),
            _ => Err(Refusal::new(RefusalCode::UpdateLate, "the update's round is over: ask for the present one")),
        }
    }

    /// Keeps an update of the round under way. Returns whether it is the round's first.
    ///
    /// # Errors
    /// As [`wants`](Self::wants); weights of another graph, or that are no numbers.
    pub(crate) fn accept(&mut self, round: u32, update: Update) -> Result<bool, Refusal> {
        self.wants(round, update.record.site)?;
        if update.flat.layout != self.layout || update.flat.values.len() != self.weights.len() {
            let detail = "the update's weights are of another graph than the federation's model";
            return Err(Refusal::new(RefusalCode::UpdateInvalid, detail));
        }
        if !update.flat.values.iter().all(|value| value.is_finite()) {
            return Err(Refusal::new(RefusalCode::Diverged, "a weight of the update is no finite number"));
        }
        let place = usize::try_from(update.record.site).ok().and_then(|site| self.updates.get_mut(site));
        let Some(place) = place else {
            return Err(Refusal::new(RefusalCode::UpdateInvalid, "the federation has no such site"));
        };
        *place = Some(update);
        Ok(self.delivered().len() == 1)
    }

    /// The round's patience is over.
    pub(crate) fn expire(&mut self) {
        self.overdue = true;
    }

    /// Whether the round may close: with all, or with a quorum when its patience is over.
    pub(crate) fn complete(&self) -> bool {
        let there = self.delivered().len();
        let enough =
            if self.overdue { usize::try_from(self.plan.quorum).unwrap_or(usize::MAX) } else { self.updates.len() };
        self.round().is_some() && there >= enough.max(1)
    }

    /// Averages what is there, in the order of the plan's sites, and begins the next round.
    ///
    /// # Errors
    /// Where the average of finite weights is none.
    pub(crate) fn close(&mut self) -> Result<(), Refusal> {
        let updates: Vec<&Update> = self.updates.iter().flatten().collect();
        let count = |update: &Update| match self.plan.weighting {
            Weighting::Rows => update.record.rows,
            Weighting::Equal => 1,
        };
        let lists: Vec<(u64, &[f32])> =
            updates.iter().map(|update| (count(update), update.flat.values.as_slice())).collect();
        let merged = average(&lists).filter(|merged| merged.iter().all(|value| value.is_finite()));
        let merged = merged.ok_or_else(|| Refusal::new(RefusalCode::Diverged, "the updates have no average"))?;
        let adds = (self.weights.len() as u64).saturating_mul(lists.len() as u64);
        self.past.push(RoundRecord {
            before: TrainingRecord::weights_digest(&self.weights),
            after: TrainingRecord::weights_digest(&merged),
            updates: updates.iter().map(|update| update.record.clone()).collect(),
        });
        self.units = self.units.saturating_add(adds);
        self.weights = Zeroizing::new(merged);
        self.updates.iter_mut().for_each(|update| *update = None);
        self.overdue = false;
        Ok(())
    }

    /// The record's part, once all rounds have closed.
    pub(crate) fn record(&self) -> (Vec<RoundRecord>, u64) {
        (self.past.clone(), self.units)
    }

    /// What is to be kept after a round.
    pub(crate) fn state(&self) -> Zeroizing<Vec<u8>> {
        let weights = self.weights.iter().flat_map(|value| value.to_le_bytes()).collect();
        let closed = Closed { layout: self.layout, past: self.past.clone(), units: self.units, weights };
        let state = Zeroizing::new(cbor::encode(&closed));
        drop(Zeroizing::new(closed.weights));
        state
    }

    /// Goes on from what was kept.
    ///
    /// # Errors
    /// [`RefusalCode::CheckpointForged`] where it is not of this federation.
    pub(crate) fn restore(&mut self, state: &[u8]) -> Result<(), Refusal> {
        let foreign = || Refusal::new(RefusalCode::CheckpointForged, "the checkpoint is not of this federation");
        let closed: Closed = cbor::decode(state, state.len()).map_err(|_| foreign())?;
        let bytes = Zeroizing::new(closed.weights);
        let (weights, rest) = bytes.as_chunks::<4>();
        let weights: Zeroizing<Vec<f32>> =
            Zeroizing::new(weights.iter().map(|value| f32::from_le_bytes(*value)).collect());
        let fits = rest.is_empty()
            && closed.layout == self.layout
            && weights.len() == self.weights.len()
            && closed.past.len() as u64 <= u64::from(self.plan.rounds)
            && closed.past.last().is_some_and(|last| last.after == TrainingRecord::weights_digest(&weights));
        if !fits {
            return Err(foreign());
        }
        (self.past, self.units, self.weights) = (closed.past, closed.units, weights);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
