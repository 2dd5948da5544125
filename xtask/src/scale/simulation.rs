//! A network, day by day.
//!
//! Every chip has a calendar of its own (restart, outage, renewal, departure ...); a day visits those whose next entry is due,
//! and counts the checkpoints of all that work. Nothing depends on the machine or the clock: the seed decides.

use super::{
    assumptions::Assumptions,
    day::Day,
    gas::{Gas, Op},
    random::{Random, exp},
};

/// What a run gives.
pub(super) struct History {
    pub(super) nodes: u32,
    pub(super) days: Vec<Day>,
    /// From this day on all nodes have joined.
    pub(super) full_from: usize,
    /// Work Proofs a day of each chip, ascending.
    pub(super) rates: Vec<f32>,
    /// Pairs of FMSPC and kind whose TCB info is on chain.
    pub(super) tcb_infos: usize,
    /// Serials in the larger revocation list at the end.
    pub(super) serials: u64,
    /// Owners that ever claimed.
    pub(super) claimants: usize,
}

impl History {
    /// Days on which all had joined and no recovery was felt any more: after a rush, renewals come in step for a while.
    pub(super) fn calm_days(&self) -> impl Iterator<Item = usize> + '_ {
        let felt = |day: usize| self.days[day.saturating_sub(45)..=day].iter().any(|day| day.recovery);
        (self.full_from..self.days.len()).filter(move |day| !felt(*day))
    }
}

/// Runs `nodes` for as many days as are assumed.
pub(super) fn run(nodes: u32, seed: u64, assumed: &Assumptions, gas: &Gas) -> History {
    let mut network = Network::new(nodes, seed, assumed, gas);
    let days: Vec<Day> = (0..assumed.days as u16).map(|today| network.day(today)).collect();
    let mut rates: Vec<f32> = network.chips.iter().map(|chip| chip.rate).collect();
    rates.sort_unstable_by(f32::total_cmp);
    History {
        nodes,
        full_from: (assumed.growth_days as usize).min(days.len().saturating_sub(1)),
        days,
        rates,
        tcb_infos: network.in_use.iter().flatten().filter(|used| **used).count(),
        serials: network.serials as u64,
        claimants: network.owners.iter().filter(|owner| owner.claimed_on.is_some()).count(),
    }
}

const NEVER: u16 = u16::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Joins on a later day, as a chip that nobody has seen.
    Absent,
    /// Off, or without a live registration; comes back as a known chip.
    Away,
    Live,
}

struct Chip {
    state: State,
    tdx: bool,
    /// Its attestation key is proven on chain.
    proven: bool,
    family: u8,
    /// Work Proofs a day.
    rate: f32,
    // Days.
    back: u16,
    expiry: u16,
    renew: u16,
    restart: u16,
    outage: u16,
    departure: u16,
    new_firmware: u16,
    new_attestation_key: u16,
}

impl Chip {
    fn next(&self) -> u16 {
        if self.state != State::Live {
            return self.back;
        }
        let dates = [
            self.expiry,
            self.renew,
            self.restart,
            self.outage,
            self.departure,
            self.new_firmware,
            self.new_attestation_key,
        ];
        dates.into_iter().min().unwrap_or(NEVER)
    }
}

#[derive(Clone, Default)]
struct Owner {
    /// Work Proofs a day of its live nodes.
    rate: f64,
    /// US dollars.
    balance: f64,
    claimed_on: Option<u16>,
}

struct Network<'a> {
    assumed: &'a Assumptions,
    random: Random,
    /// What happens to all: the same for every size and every assumption, so that runs can be compared.
    world: Random,
    chips: Vec<Chip>,
    owners: Vec<Owner>,
    // What each day reads of every chip, side by side.
    next: Vec<u16>,
    rate: Vec<f32>,
    pending: Vec<f32>,
    /// Whether it hands its checkpoints to an aggregator.
    aggregated: Vec<bool>,
    /// Whether its enclave key has no head in the ledger yet.
    new_key: Vec<bool>,
    /// Cumulative weights of the families.
    families: Vec<f64>,
    /// By family: SGX, TDX.
    in_use: Vec<[bool; 2]>,
    refreshed: u16,
    serials: f64,
    /// US dollars that make a claim worth its gas.
    worth: f64,
    today: u16,
    now: Day,
}

impl<'a> Network<'a> {
    fn new(nodes: u32, seed: u64, assumed: &'a Assumptions, gas: &Gas) -> Self {
        let mut families: Vec<f64> = (1..=assumed.fmspcs as u32).map(|k| 1.0 / f64::from(k)).collect();
        let sum: f64 = families.iter().sum();
        let mut reached = 0.0;
        for weight in &mut families {
            reached += *weight / sum;
            *weight = reached;
        }
        let mut network = Self {
            assumed,
            random: Random::new(seed ^ (u64::from(nodes) << 32)),
            world: Random::new(!seed),
            chips: Vec::with_capacity(nodes as usize),
            owners: vec![Owner::default(); (f64::from(nodes) / assumed.nodes_per_owner).ceil() as usize],
            next: Vec::new(),
            rate: vec![0.0; nodes as usize],
            pending: vec![0.0; nodes as usize],
            aggregated: Vec::new(),
            new_key: vec![true; nodes as usize],
            in_use: vec![[false; 2]; families.len()],
            families,
            refreshed: 0,
            serials: assumed.crl_entries,
            worth: assumed.l1_usd(gas.of(Op::ClaimAgain) as f64) / assumed.claim_cost,
            today: 0,
            now: Day::default(),
        };
        for i in 0..nodes {
            let at_once = f64::from(i) < (f64::from(nodes) * assumed.first_nodes).ceil();
            let joins = if at_once { 0 } else { (assumed.growth_days * network.random.unit().sqrt()) as u16 };
            let chip = network.chip(joins);
            network.chips.push(chip);
        }
        network.aggregated = (0..nodes).map(|_| network.random.chance(assumed.aggregated_share)).collect();
        network.next = network.chips.iter().map(Chip::next).collect();
        network
    }

    /// One that nobody has seen.
    fn chip(&mut self, joins: u16) -> Chip {
        let assumed = self.assumed;
        let place = self.random.unit();
        let spread = assumed.proofs_spread;
        // The mean of a log-normal variable is exp(mu + sigma^2 / 2).
        let rate = assumed.proofs_per_day * exp(spread * self.random.normal() - spread * spread / 2.0);
        Chip {
            state: State::Absent,
            tdx: self.random.chance(assumed.tdx_share),
            proven: false,
            family: self.families.iter().position(|weight| place < *weight).unwrap_or(0) as u8,
            rate: rate as f32,
            back: joins,
            expiry: NEVER,
            renew: NEVER,
            restart: NEVER,
            outage: NEVER,
            departure: NEVER,
            new_firmware: NEVER,
            new_attestation_key: NEVER,
        }
    }

    fn day(&mut self, today: u16) -> Day {
        self.today = today;
        self.now = Day::default();
        self.collateral();
        // All of the network has busy and quiet days.
        let demand = (0.8 + 0.4 * self.world.unit()) as f32;
        self.now.demand = demand;
        for i in 0..self.next.len() {
            while self.next[i] <= today {
                self.visit(i);
                self.next[i] = self.chips[i].next();
            }
        }
        self.work(demand);
        self.owners(f64::from(demand));
        self.others();
        std::mem::take(&mut self.now)
    }

    /// A day's work of every live node, and the checkpoints that become due.
    fn work(&mut self, demand: f32) {
        let limit = self.assumed.checkpoint_proofs as f32;
        let every = self.assumed.checkpoint_days as usize;
        let mut phase = usize::from(self.today) % every;
        let (mut live, mut proofs) = (0, 0.0);
        let (mut all, mut firsts, mut batched, mut firsts_batched) = (0, 0, 0, 0);
        let rates = self.rate.iter().zip(&mut self.pending);
        for ((rate, pending), (aggregated, new_key)) in rates.zip(self.aggregated.iter().zip(&mut self.new_key)) {
            let in_time = phase == 0;
            phase = if phase + 1 == every { 0 } else { phase + 1 };
            if *rate == 0.0 {
                continue;
            }
            live += 1;
            *pending += *rate * demand;
            let mut due = 0;
            if *pending >= limit {
                due = (*pending / limit) as u64;
                let settled = due as f32 * limit;
                proofs += f64::from(settled);
                *pending -= settled;
            }
            if in_time && *pending >= 1.0 {
                due += 1;
                proofs += f64::from(std::mem::take(pending));
            }
            if due == 0 {
                continue;
            }
            // Without branches: whether a node uses an aggregator cannot be predicted.
            let first = u64::from(std::mem::take(new_key));
            let aggregated = u64::from(*aggregated);
            all += due;
            firsts += first;
            batched += due * aggregated;
            firsts_batched += first * aggregated;
        }
        self.now.live = live;
        self.now.proofs += proofs;
        self.now.add(Op::CheckpointBatch100, batched);
        self.now.first_in_batches += firsts_batched;
        self.now.add(Op::CheckpointFirst, firsts - firsts_batched);
        self.now.add(Op::CheckpointAgain, all - batched - (firsts - firsts_batched));
    }

    /// What somebody brings on chain for all.
    fn collateral(&mut self) {
        let assumed = self.assumed;
        self.serials += assumed.crl_entries_per_year / 365.0;
        if self.today == 0 {
            self.now.add(Op::DeployAll, 1);
            self.now.add(Op::Authority, 2);
        }
        if self.today.is_multiple_of(365) {
            self.now.add(Op::Crl, 1); // the root's
        }
        let refresh = assumed.refresh_days as u16;
        if self.today.is_multiple_of(refresh) {
            self.refreshed = self.today;
            self.now.add(Op::Crl, 2);
            self.now.more_serials += (self.serials - assumed.crl_measured_entries) as i64;
            self.now.new_serials += match self.today {
                0 => self.serials as u64,
                _ => self.random.about(assumed.crl_entries_per_year / 365.0 * f64::from(refresh)),
            };
            self.update_tcb_infos();
        }
        let recovery = self.world.chance(assumed.recoveries_per_year / 365.0);
        // Drawn on every day, or the days after would differ.
        let luck: Vec<f64> = self.families.iter().map(|_| self.world.unit()).collect();
        if recovery {
            self.now.recovery = true;
            if self.refreshed != self.today {
                self.update_tcb_infos();
            }
            self.recover(&luck);
        }
    }

    fn update_tcb_infos(&mut self) {
        let used = |kind: usize| self.in_use.iter().filter(|used| used[kind]).count() as u64;
        let (sgx, tdx) = (used(0), used(1));
        self.now.add(Op::TcbInfoSgxUpdate, sgx);
        self.now.add(Op::TcbInfoTdxUpdate, tdx);
        self.now.add(Op::QeIdentity, 2);
    }

    /// All nodes of the families that are hit install firmware and boot: a new key, and a new attestation key.
    fn recover(&mut self, luck: &[f64]) {
        let share = self.assumed.recovery_share;
        let hit: Vec<bool> = luck.iter().enumerate().map(|(k, luck)| k == 0 || *luck < share).collect();
        for i in 0..self.chips.len() {
            if !hit[usize::from(self.chips[i].family)] || self.chips[i].state == State::Absent {
                continue;
            }
            let wait = self.random.exponential(self.assumed.rush_days);
            let chip = &mut self.chips[i];
            chip.new_firmware = self.today.saturating_add(wait as u16);
            self.next[i] = chip.next();
        }
    }

    fn visit(&mut self, i: usize) {
        let today = self.today;
        let chip = &self.chips[i];
        match chip.state {
            State::Absent => self.register(i, true),
            State::Away => {
                self.now.died_away += u64::from(chip.expiry <= today && chip.expiry != NEVER);
                self.register(i, false);
            }
            State::Live if chip.departure <= today => self.depart(i),
            State::Live if chip.expiry <= today => {
                self.now.lapsed += 1;
                self.chips[i].expiry = NEVER;
                self.leave(i, 1);
            }
            State::Live if chip.outage <= today => {
                let gone = 1.0 + self.random.exponential((self.assumed.outage_days - 1.0).max(0.0));
                self.leave(i, gone as u16);
            }
            State::Live => self.stay(i),
        }
    }

    fn stay(&mut self, i: usize) {
        let today = self.today;
        if self.chips[i].new_attestation_key <= today {
            self.chips[i].proven = false;
            self.chips[i].new_attestation_key = self.after(self.assumed.qe_changes_per_year);
        }
        if self.chips[i].new_firmware <= today || self.chips[i].restart <= today {
            self.last_checkpoint(i);
            return self.register(i, false);
        }
        if self.chips[i].renew > today {
            return;
        }
        if self.random.chance(self.assumed.renew_fails) {
            self.chips[i].renew = today + 1;
            return;
        }
        let kept = self.chips[i].proven && self.random.chance(self.assumed.kept_share);
        self.now.add(
            match (kept, self.chips[i].tdx) {
                (true, false) => Op::RenewKeptSgx,
                (true, true) => Op::RenewKeptTdx,
                (false, false) => Op::RenewSgx,
                (false, true) => Op::RenewTdx,
            },
            1,
        );
        self.prove(i);
        self.valid(i);
    }

    /// A new key for a chip: the first, or one that takes the place of the former.
    fn register(&mut self, i: usize, first: bool) {
        let today = self.today;
        let (tdx, family) = (self.chips[i].tdx, usize::from(self.chips[i].family));
        if !std::mem::replace(&mut self.in_use[family][usize::from(tdx)], true) {
            self.now.add(if tdx { Op::TcbInfoTdxFirst } else { Op::TcbInfoSgxFirst }, 1);
        }
        self.now.add(
            match (first, tdx) {
                (true, false) => Op::RegisterSgxFirst,
                (true, true) => Op::RegisterTdxFirst,
                (false, false) => Op::RegisterSgxAgain,
                (false, true) => Op::RegisterTdxAgain,
            },
            1,
        );
        if self.chips[i].new_firmware <= today {
            self.chips[i].proven = false;
            self.chips[i].new_firmware = NEVER;
        }
        if first {
            self.chips[i].proven = true; // its slots are among those of the operation
            let assumed = self.assumed;
            let departures = assumed.leaves_per_year + assumed.revocations_per_year + assumed.equivocations_per_year;
            self.chips[i].departure = self.after(departures);
            self.chips[i].new_attestation_key = self.after(assumed.qe_changes_per_year);
        }
        self.prove(i);
        self.chips[i].restart = self.after(self.assumed.restarts_per_year);
        self.chips[i].outage = self.after(self.assumed.outages_per_year);
        self.new_key[i] = true;
        self.chips[i].state = State::Live;
        self.valid(i);
        if self.rate[i] == 0.0 {
            self.rate[i] = self.chips[i].rate;
            self.owner(i).rate += f64::from(self.chips[i].rate);
        }
    }

    /// The attestation key is on chain now.
    fn prove(&mut self, i: usize) {
        if !std::mem::replace(&mut self.chips[i].proven, true) {
            self.now.attestation_keys += 1;
        }
    }

    /// A registration holds as long as all collateral behind it; it is renewed some days before.
    fn valid(&mut self, i: usize) {
        let expiry = self.refreshed + self.assumed.collateral_days as u16;
        let ahead = 1 + self.random.below(self.assumed.renew_window_days as u32) as u16;
        let chip = &mut self.chips[i];
        chip.expiry = expiry;
        chip.renew = expiry - ahead;
    }

    fn leave(&mut self, i: usize, days: u16) {
        self.last_checkpoint(i);
        self.silence(i);
        let chip = &mut self.chips[i];
        chip.state = State::Away;
        chip.back = self.today.saturating_add(days.max(1));
    }

    /// For good: somebody else's chip comes in its place.
    fn depart(&mut self, i: usize) {
        let assumed = self.assumed;
        let all = assumed.leaves_per_year + assumed.revocations_per_year + assumed.equivocations_per_year;
        let why = self.random.unit() * all;
        if why < assumed.revocations_per_year {
            self.now.add(if self.chips[i].tdx { Op::RenewTdx } else { Op::RenewSgx }, 1);
        } else if why < assumed.revocations_per_year + assumed.equivocations_per_year {
            self.now.add(Op::Equivocation, 1);
        } else {
            self.last_checkpoint(i);
        }
        self.silence(i);
        self.pending[i] = 0.0;
        self.now.departed += 1;
        self.chips[i] = self.chip(self.today.saturating_add(1));
    }

    fn silence(&mut self, i: usize) {
        let rate = f64::from(std::mem::take(&mut self.rate[i]));
        let owner = self.owner(i);
        owner.rate = (owner.rate - rate).max(0.0);
    }

    /// What a key signed is settled before the key is gone.
    fn last_checkpoint(&mut self, i: usize) {
        if self.pending[i] >= 1.0 {
            self.now.proofs += f64::from(std::mem::take(&mut self.pending[i]));
            self.settle(i);
        }
    }

    fn settle(&mut self, i: usize) {
        let first = std::mem::take(&mut self.new_key[i]);
        if self.aggregated[i] {
            self.now.add(Op::CheckpointBatch100, 1);
            self.now.first_in_batches += u64::from(first);
        } else {
            self.now.add(if first { Op::CheckpointFirst } else { Op::CheckpointAgain }, 1);
        }
    }

    fn owners(&mut self, demand: f64) {
        let dollars = demand * self.assumed.earnings_usd / self.assumed.proofs_per_day;
        let pause = self.assumed.claim_days as u16;
        for owner in &mut self.owners {
            owner.balance += owner.rate * dollars;
            let rested = owner.claimed_on.is_none_or(|day| self.today >= day + pause);
            if owner.balance > 0.0 && owner.balance >= self.worth && rested {
                owner.balance = 0.0;
                let first = owner.claimed_on.replace(self.today).is_none();
                self.now.add(if first { Op::ClaimFirst } else { Op::ClaimAgain }, 1);
            }
        }
    }

    /// What hangs on the size alone.
    fn others(&mut self) {
        let assumed = self.assumed;
        let live = self.now.live;
        self.now.batches = self.now.count(Op::CheckpointBatch100).div_ceil(assumed.batch as u64);
        let singles = self.random.about(live as f64 * assumed.single_proofs_per_day);
        self.now.add(Op::WorkProofAgain, singles);
        let escrows = self.random.about(live as f64 * assumed.escrows_per_day);
        self.now.add(Op::EscrowDeposit, escrows);
        self.now.add(Op::EscrowRelease, escrows);
        let anchors = self.random.about(live as f64 * assumed.anchors_per_day);
        self.now.add(Op::AnchorRoot, anchors);
        self.now.add(Op::EpochRoot, u64::from(self.now.proofs > 0.0));
    }

    fn owner(&mut self, i: usize) -> &mut Owner {
        let which = (i as f64 / self.assumed.nodes_per_owner) as usize;
        &mut self.owners[which]
    }

    /// Day of the next event of a Poisson process: from tomorrow on, at most one a day.
    fn after(&mut self, per_year: f64) -> u16 {
        if per_year == 0.0 {
            return NEVER;
        }
        let wait = self.random.exponential(365.0 / per_year);
        if wait < 30_000.0 { self.today + 1 + wait as u16 } else { NEVER }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gas() -> Gas {
        Gas::committed().unwrap()
    }

    #[test]
    fn one_seed_gives_one_history_and_another_seed_another() {
        let assumed = Assumptions::default();
        let days = |seed| run(2000, seed, &assumed, &gas()).days;
        assert_eq!(days(1), days(1));
        assert_ne!(days(1), days(2));
    }

    /// Every registration is accounted for: renewed before it ran out, replaced, or counted dead.
    #[test]
    fn no_node_works_on_a_registration_that_ran_out() {
        for fails in [0.0, 0.02, 0.8] {
            let assumed = Assumptions { renew_fails: fails, ..Assumptions::default() };
            let gas = gas();
            let mut network = Network::new(1500, 7, &assumed, &gas);
            let (mut lapsed, mut first, mut again, mut departed) = (0, 0, 0, 0);
            let mut before: Vec<(State, u16)> = vec![(State::Absent, NEVER); 1500];
            for today in 0..365 {
                let day = network.day(today);
                let mut ran_out = 0;
                for (i, chip) in network.chips.iter().enumerate() {
                    let works = network.rate[i] > 0.0;
                    assert_eq!(works, chip.state == State::Live);
                    assert!(!works || chip.expiry > today, "day {today}: chip {i} works until {}", chip.expiry);
                    assert!(network.next[i] > today, "day {today}: chip {i} was forgotten");
                    let (state, expiry) = before[i];
                    ran_out += u64::from(
                        state == State::Live && expiry == today && chip.state == State::Away && chip.expiry == NEVER,
                    );
                    before[i] = (chip.state, chip.expiry);
                }
                assert_eq!(ran_out, day.lapsed);
                lapsed += day.lapsed;
                departed += day.departed;
                let firsts = day.count(Op::RegisterSgxFirst) + day.count(Op::RegisterTdxFirst);
                first += firsts;
                again += day.registrations() - firsts;
            }
            let absent = network.chips.iter().filter(|chip| chip.state == State::Absent).count() as u64;
            assert_eq!(first + absent, 1500 + departed);
            assert!(again > 10_000);
            assert_eq!(lapsed > 0, fails > 0.0, "{lapsed} lapsed at {fails}");
        }
    }

    #[test]
    fn all_work_that_was_done_is_settled_or_still_pending() {
        let assumed = Assumptions {
            leaves_per_year: 0.0,
            revocations_per_year: 0.0,
            equivocations_per_year: 0.0,
            proofs_per_day: 20.0,
            checkpoint_days: 5.0,
            ..Assumptions::default()
        };
        let gas = gas();
        let mut network = Network::new(500, 3, &assumed, &gas);
        let (mut done, mut settled) = (0.0, 0.0);
        for today in 0..200 {
            let day = network.day(today);
            // Whoever works at the end of a day worked on that day.
            done += f64::from(day.demand) * network.rate.iter().map(|rate| f64::from(*rate)).sum::<f64>();
            settled += day.proofs;
        }
        let pending: f64 = network.pending.iter().map(|pending| f64::from(*pending)).sum();
        assert!(pending > 100.0 && settled > 100_000.0);
        assert!((done / (settled + pending) - 1.0).abs() < 1e-4, "{done} done, {settled} settled, {pending} pending");
    }

    #[test]
    fn a_recovery_is_a_rush() {
        let assumed = Assumptions { recoveries_per_year: 20.0, restarts_per_year: 0.0, ..Assumptions::default() };
        let history = run(5000, 1, &assumed, &gas());
        let day = (history.full_from..history.days.len() - 1).find(|day| history.days[*day].recovery).unwrap();
        let rush: u64 = history.days[day..].iter().take(3).map(Day::registrations).sum();
        assert!(rush > 1000, "{rush}");
        let calm = Assumptions { recoveries_per_year: 0.0, ..assumed };
        let calm = run(5000, 1, &calm, &gas());
        let most = calm.days[calm.full_from..].iter().map(Day::registrations).max().unwrap();
        assert!(most < 150, "{most}");
    }
}
