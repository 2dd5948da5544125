//! What the host counts, and how an operator's collector reads it: `GET /metrics`, in Prometheus' text format.
//!
//! Nothing here names or tells apart a party, a job or an asset: sums of what passed, and times of the
//! host's own work.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::status::{EnclaveState, Status};

/// Content type of [`text`].
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of a histogram's buckets, in microseconds.
pub(crate) const BOUNDS: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];

/// Durations by bucket. One more bucket than bounds: the last has no end.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

/// A histogram at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Snapshot {
    pub(crate) buckets: [u64; BOUNDS.len() + 1],
    pub(crate) micros: u64,
}

impl Histogram {
    pub(crate) fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let at = BOUNDS.partition_point(|bound| *bound < micros);
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Relaxed);
        }
        self.micros.fetch_add(micros, Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            buckets: self.buckets.each_ref().map(|count| count.load(Relaxed)),
            micros: self.micros.load(Relaxed),
        }
    }
}

impl Snapshot {
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// What came since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let mut buckets = self.buckets;
        for (now, then) in buckets.iter_mut().zip(earlier.buckets) {
            *now = now.saturating_sub(then);
        }
        Self { buckets, micros: self.micros.saturating_sub(earlier.micros) }
    }

    /// The time within which `percent` of all were done, in microseconds: read off the buckets, so it is as
    /// coarse as they are. `None` of nothing.
    pub(crate) fn percentile(&self, percent: u64) -> Option<u64> {
        let all = self.count();
        if all == 0 {
            return None;
        }
        let wanted = all.saturating_mul(percent).div_ceil(100).max(1);
        let (mut below, mut from) = (0u64, 0u64);
        for (count, to) in self.buckets.iter().zip(BOUNDS) {
            let reached = below.saturating_add(*count);
            if reached >= wanted {
                let into = wanted.saturating_sub(below).saturating_mul(to.saturating_sub(from));
                return Some(from.saturating_add(into.checked_div(*count).unwrap_or_default()));
            }
            (below, from) = (reached, to);
        }
        Some(from)
    }
}

/// What is not in [`Status`] and counted all the same.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// From bytes to the enclave until bytes come back, on one relayed connection.
    pub(crate) answer: Histogram,
    /// Until published proofs were on the disk.
    pub(crate) publish: Histogram,
    /// Until the first byte of the host's own answers was ready.
    pub(crate) request: Histogram,
    /// Requests to the host's own API by the hundreds of their status, 1xx first.
    pub(crate) classes: [AtomicU64; 5],
    /// Connections that were closed at once because too many were open.
    pub(crate) turned_away: AtomicU64,
}

/// The whole page.
pub(crate) fn text(status: &Status, metrics: &Metrics) -> String {
    let mut page = Page::default();
    page.family("info", "gauge", "Version of the host; always 1.");
    page.labelled("info", "version", &status.version, 1);
    page.single("uptime_seconds", "gauge", "Seconds since the node was started.", status.uptime_seconds);
    let up = u64::from(status.state == EnclaveState::Up);
    page.single("enclave_up", "gauge", "1 while an enclave runs.", up);
    let simulated = u64::from(status.enclave.as_ref().is_some_and(|chip| chip.simulated));
    page.single(
        "enclave_simulated",
        "gauge",
        "1 where the enclave's chip is software and protects nothing.",
        simulated,
    );
    page.single("enclave_restarts_total", "counter", "How often the enclave was started again.", status.restarts);
    page.single("relayed_connections", "gauge", "Connections that are relayed now.", status.relayed_now);
    page.single(
        "relayed_connections_total",
        "counter",
        "Connections relayed since the start.",
        status.relayed_connections,
    );
    page.family("relayed_bytes_total", "counter", "Ciphertext relayed since the start.");
    page.labelled("relayed_bytes_total", "direction", "to_enclave", status.bytes_to_enclave);
    page.labelled("relayed_bytes_total", "direction", "to_clients", status.bytes_to_clients);
    let turned_away = metrics.turned_away.load(Relaxed);
    page.single(
        "turned_away_connections_total",
        "counter",
        "Connections closed at once: too many were open.",
        turned_away,
    );
    page.single("store_bytes", "gauge", "Ciphertext in the store.", status.store_bytes);
    page.single("store_max_bytes", "gauge", "Most ciphertext that the store takes.", status.store_max_bytes);
    page.single("store_assets", "gauge", "Assets in the store.", status.blobs);
    page.single("store_uploads", "gauge", "Uploads that are not complete.", status.uploads);
    page.single("proofs", "gauge", "Work Proofs kept, those of former enclaves included.", status.proofs);
    page.family("http_requests_total", "counter", "Requests to the host's own API.");
    for (class, count) in ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(&metrics.classes) {
        page.labelled("http_requests_total", "status", class, count.load(Relaxed));
    }
    page.histogram("http_request_seconds", "Until the host's own answers began.", &metrics.request.snapshot());
    let answer = "From bytes to the enclave until bytes came back, on a relayed connection.";
    page.histogram("answer_seconds", answer, &metrics.answer.snapshot());
    page.histogram("publish_seconds", "Until published proofs were on the disk.", &metrics.publish.snapshot());
    if let Some(chain) = &status.chain {
        let registered = u64::from(chain.live_until.is_some());
        page.single("chain_registered", "gauge", "1 while the enclave's key is registered.", registered);
        page.single(
            "chain_simulated",
            "gauge",
            "1 where the network trusts a simulated root.",
            u64::from(chain.simulated),
        );
        page.single("chain_earns", "gauge", "1 while the key's work is settled.", u64::from(chain.earns));
        if let Some(until) = chain.live_until {
            let help = "When the registration ends, in seconds since 1970.";
            page.single("chain_registration_expires_seconds", "gauge", help, until);
        }
        page.single("chain_settled_proofs", "gauge", "Proofs of the registered key that are settled.", chain.settled);
        page.single("chain_settled_units", "gauge", "Units of the registered key that are settled.", chain.units);
        page.single("chain_transactions_under_way", "gauge", "Transactions that are under way.", chain.under_way);
        let waits = "1 while what was tried last has failed, or the chain does not answer.";
        page.single("chain_waits", "gauge", waits, u64::from(chain.waits));
        let asked = "When the chain last told how the operator stands, in seconds since 1970.";
        page.single("chain_asked_seconds", "gauge", asked, chain.asked_at);
        for (name, help, amount) in [
            ("chain_balance_tokens", "Tokens of the owner.", &chain.balance),
            ("chain_bond_tokens", "Tokens behind the chip.", &chain.bond),
        ] {
            if let Some(tokens) = tokens(amount) {
                page.single(name, "gauge", help, tokens);
            }
        }
    }
    page.0
}

/// Whole tokens of an amount in units of 10^-18.
fn tokens(amount: &str) -> Option<String> {
    let digits = amount.bytes().all(|byte| byte.is_ascii_digit()) && !amount.is_empty();
    let padded = format!("{amount:0>19}");
    let (whole, part) = padded.split_at_checked(padded.len().checked_sub(18)?)?;
    digits.then(|| format!("{whole}.{part}"))
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing into a String cannot fail, here and below.
        let _ = write!(self.0, "# HELP glacier_{name} {help}\n# TYPE glacier_{name} {kind}\n");
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
        self.family(name, kind, help);
        let _ = writeln!(self.0, "glacier_{name} {value}");
    }

    fn labelled(&mut self, name: &str, label: &str, of: &str, value: u64) {
        let _ = writeln!(self.0, "glacier_{name}{{{label}=\"{of}\"}} {value}");
    }

    fn histogram(&mut self, name: &str, help: &str, snapshot: &Snapshot) {
        self.family(name, "histogram", help);
        let mut reached = 0u64;
        for (count, bound) in snapshot.buckets.iter().zip(BOUNDS) {
            reached = reached.saturating_add(*count);
            self.labelled(&format!("{name}_bucket"), "le", &seconds(bound), reached);
        }
        self.labelled(&format!("{name}_bucket"), "le", "+Inf", snapshot.count());
        let _ = writeln!(self.0, "glacier_{name}_sum {}", seconds(snapshot.micros));
        let _ = writeln!(self.0, "glacier_{name}_count {}", snapshot.count());
    }
}

fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_bucket_that_ends_at_or_after_it() {
        let histogram = Histogram::default();
        for micros in [0, 100, 101, 10_000_000, 10_000_001] {
            histogram.record(Duration::from_micros(micros));
        }
        let found = histogram.snapshot();
        assert_eq!((found.buckets[0], found.buckets[1], found.buckets[15], found.buckets[16]), (2, 1, 1, 1));
        assert_eq!((found.count(), found.micros), (5, 20_000_202));
    }

    #[test]
    fn percentiles_lie_within_their_bucket() {
        let histogram = Histogram::default();
        assert_eq!(histogram.snapshot().percentile(50), None);
        for _ in 0..90 {
            histogram.record(Duration::from_micros(700));
        }
        for _ in 0..10 {
            histogram.record(Duration::from_micros(30_000));
        }
        let found = histogram.snapshot();
        assert!((500..=1_000).contains(&found.percentile(50).unwrap()));
        assert!((25_000..=50_000).contains(&found.percentile(95).unwrap()));
        let later = found.since(&found);
        assert_eq!((later.count(), later.percentile(95)), (0, None));
    }

    #[test]
    fn the_longest_are_said_to_be_at_least_the_last_bound() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_secs(3_600));
        assert_eq!(histogram.snapshot().percentile(99), Some(10_000_000));
    }

    #[test]
    fn amounts_and_times_are_written_exactly() {
        assert_eq!(tokens("1").unwrap(), "0.000000000000000001");
        assert_eq!(tokens("12500000000000000000").unwrap(), "12.500000000000000000");
        assert_eq!(tokens("-1"), None);
        assert_eq!((seconds(2_500_000), seconds(100), seconds(0)), ("2.5".into(), "0.0001".into(), "0".into()));
    }
}
