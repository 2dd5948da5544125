//! The last hour, as the host's own counters saw it: what the page's plots are drawn from.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{
    metrics::{Metrics, Snapshot},
    status::Status,
};

/// Between two samples.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);
/// Samples that are kept: an hour.
const KEPT: usize = 720;

/// `GET /samples?from=N`: columns of equal length, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct SamplePage {
    /// Seconds that a sample covers.
    pub interval_seconds: u64,
    /// Ask from here for those that follow.
    pub next: u64,
    /// When each was taken, in seconds since 1970 by the host's clock.
    pub at: Vec<u64>,
    /// Connections that were relayed at that moment.
    pub relayed_now: Vec<u64>,
    /// Connections that were begun in the interval.
    pub connections: Vec<u64>,
    /// Bytes from clients to the enclave, in the interval.
    pub bytes_to_enclave: Vec<u64>,
    /// Bytes from the enclave to clients, in the interval.
    pub bytes_to_clients: Vec<u64>,
    /// Work Proofs that arrived in the interval.
    pub proofs: Vec<u64>,
    /// Answers of the enclave in the interval.
    pub answers: Vec<u64>,
    /// Half of these came within so many microseconds of what was sent; absent where there were none.
    pub answer_p50: Vec<Option<u64>>,
    /// Of 100 of these 95 came within so many microseconds.
    pub answer_p95: Vec<Option<u64>>,
    /// Of 100 of the host's own answers 95 were ready within so many microseconds.
    pub request_p95: Vec<Option<u64>>,
    /// Of 100 publications 95 were on the disk within so many microseconds.
    pub publish_p95: Vec<Option<u64>>,
}

#[derive(Default)]
pub(crate) struct Samples(Mutex<Ring>);

#[derive(Default)]
struct Ring {
    /// Number of the oldest that is kept.
    first: u64,
    kept: VecDeque<Sample>,
    last: Option<Totals>,
}

struct Sample {
    at: u64,
    relayed_now: u64,
    connections: u64,
    bytes_to_enclave: u64,
    bytes_to_clients: u64,
    proofs: u64,
    answer: Snapshot,
    request: Snapshot,
    publish: Snapshot,
}

struct Totals {
    connections: u64,
    bytes_to_enclave: u64,
    bytes_to_clients: u64,
    proofs: u64,
    answer: Snapshot,
    request: Snapshot,
    publish: Snapshot,
}

impl Samples {
    /// Most samples in one answer.
    #[cfg(test)]
    const PAGE: usize = KEPT;

    /// Takes a sample. The first call only notes where counting begins.
    pub(crate) fn take(&self, at: u64, status: &Status, metrics: &Metrics) {
        let now = Totals {
            connections: status.relayed_connections,
            bytes_to_enclave: status.bytes_to_enclave,
            bytes_to_clients: status.bytes_to_clients,
            proofs: status.proofs,
            answer: metrics.answer.snapshot(),
            request: metrics.request.snapshot(),
            publish: metrics.publish.snapshot(),
        };
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = &ring.last {
            let sample = Sample {
                at,
                relayed_now: status.relayed_now,
                connections: now.connections.saturating_sub(last.connections),
                bytes_to_enclave: now.bytes_to_enclave.saturating_sub(last.bytes_to_enclave),
                bytes_to_clients: now.bytes_to_clients.saturating_sub(last.bytes_to_clients),
                proofs: now.proofs.saturating_sub(last.proofs),
                answer: now.answer.since(&last.answer),
                request: now.request.since(&last.request),
                publish: now.publish.since(&last.publish),
            };
            if ring.kept.len() >= KEPT {
                ring.kept.pop_front();
                ring.first = ring.first.saturating_add(1);
            }
            ring.kept.push_back(sample);
        }
        ring.last = Some(now);
    }

    /// Those from number `from` on.
    pub(crate) fn page(&self, from: u64) -> SamplePage {
        let ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = ring.first.saturating_add(ring.kept.len() as u64);
        let mut page = SamplePage { interval_seconds: INTERVAL.as_secs(), next, ..SamplePage::default() };
        let skipped = usize::try_from(from.saturating_sub(ring.first)).unwrap_or(usize::MAX);
        for sample in ring.kept.iter().skip(skipped) {
            page.at.push(sample.at);
            page.relayed_now.push(sample.relayed_now);
            page.connections.push(sample.connections);
            page.bytes_to_enclave.push(sample.bytes_to_enclave);
            page.bytes_to_clients.push(sample.bytes_to_clients);
            page.proofs.push(sample.proofs);
            page.answers.push(sample.answer.count());
            page.answer_p50.push(sample.answer.percentile(50));
            page.answer_p95.push(sample.answer.percentile(95));
            page.request_p95.push(sample.request.percentile(95));
            page.publish_p95.push(sample.publish.percentile(95));
        }
        page
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use crate::status::EnclaveState;

    fn status(connections: u64) -> Status {
        Status {
            version: String::new(),
            state: EnclaveState::Down,
            enclave: None,
            restarts: 0,
            uptime_seconds: 0,
            relayed_now: 1,
            relayed_connections: connections,
            bytes_to_enclave: connections * 10,
            bytes_to_clients: connections * 20,
            store_bytes: 0,
            store_max_bytes: 0,
            blobs: 0,
            uploads: 0,
            proofs: connections * 3,
            settles: None,
            chain: None,
        }
    }

    #[test]
    fn a_sample_has_what_came_since_the_one_before() {
        let (samples, metrics) = (Samples::default(), Metrics::default());
        samples.take(100, &status(5), &metrics);
        assert_eq!(samples.page(0).at, [0u64; 0]);
        metrics.answer.record(Duration::from_millis(2));
        samples.take(105, &status(7), &metrics);
        samples.take(110, &status(7), &metrics);
        let page = samples.page(0);
        assert_eq!((page.at, page.connections, page.proofs), (vec![105, 110], vec![2, 0], vec![6, 0]));
        assert_eq!((page.bytes_to_enclave, page.bytes_to_clients), (vec![20, 0], vec![40, 0]));
        assert_eq!((page.answers, page.next), (vec![1, 0], 2));
        assert_eq!((page.answer_p50, page.publish_p95), (vec![Some(2_500), None], vec![None, None]));
        assert_eq!(samples.page(1).at, [110]);
        assert_eq!(samples.page(9).at, [0u64; 0]);
    }

    #[test]
    fn an_hour_is_kept() {
        let (samples, metrics) = (Samples::default(), Metrics::default());
        for at in 0..1_000 {
            samples.take(at, &status(at), &metrics);
        }
        let page = samples.page(0);
        assert_eq!((page.at.len(), page.next), (Samples::PAGE, 999));
        assert_eq!((page.at.first(), page.at.last()), (Some(&280), Some(&999)));
        assert_eq!(samples.page(998).at, [999]);
    }
}
