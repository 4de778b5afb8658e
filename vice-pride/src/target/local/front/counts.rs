//! What each upstream answered, as plain counters that only grow. They become the evidence of a canary's judgement,
//! so they are kept for each id *and* version, and survive the removal of the upstream from the table.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many latency buckets there are: below 1, 2, 4, ... 32,768 ms, and everything slower.
pub const LATENCY_BUCKETS: usize = 17;

/// A reading of one upstream's counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamCounts {
    /// The upstream.
    pub id: String,
    /// The version it ran.
    pub version: String,
    /// Whether it is in the table now.
    pub in_table: bool,
    /// Requests and upgraded connections that have not ended.
    pub in_flight: usize,
    /// Responses whose head came back, of whatever status, upgrades included.
    pub requests: u64,
    /// Connections that switched protocols (status 101), such as WebSockets.
    pub upgrades: u64,
    /// Responses of status 200 to 299.
    pub status_2xx: u64,
    /// Responses of status 300 to 399.
    pub status_3xx: u64,
    /// Responses of status 400 to 499.
    pub status_4xx: u64,
    /// Responses of status 500 to 599.
    pub status_5xx: u64,
    /// Attempts to connect that failed; another upstream was tried, so the client may not have noticed.
    pub connect_failures: u64,
    /// Exchanges that broke off or timed out after they had begun.
    pub upstream_errors: u64,
    /// Requests by time from their arrival to the response's head. Bucket `n` counts those below `2^n` ms that no
    /// earlier bucket counts; the last one counts the rest.
    pub latency: [u64; LATENCY_BUCKETS],
    /// The sum of those times.
    pub latency_sum_ms: u64,
}

/// The counters themselves. Relaxed throughout: they are read as statistics and order nothing.
#[derive(Debug, Default)]
pub(super) struct Counts {
    statuses: [AtomicU64; 5],
    connect_failures: AtomicU64,
    upstream_errors: AtomicU64,
    latency: [AtomicU64; LATENCY_BUCKETS],
    latency_sum_us: AtomicU64,
}

impl Counts {
    pub(super) fn answered(&self, status: http::StatusCode, took: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        add(&self.statuses, class, 1);
        add(&self.latency, bucket(took), 1);
        self.latency_sum_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn connect_failed(&self) {
        self.connect_failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn broke_off(&self) {
        self.upstream_errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self, id: &str, version: &str) -> UpstreamCounts {
        let statuses = read_all(&self.statuses);
        let [upgrades, status_2xx, status_3xx, status_4xx, status_5xx] = statuses;
        UpstreamCounts {
            id: id.to_owned(),
            version: version.to_owned(),
            in_table: false,
            in_flight: 0,
            requests: statuses.iter().sum(),
            upgrades,
            status_2xx,
            status_3xx,
            status_4xx,
            status_5xx,
            connect_failures: self.connect_failures.load(Ordering::Relaxed),
            upstream_errors: self.upstream_errors.load(Ordering::Relaxed),
            latency: read_all(&self.latency),
            latency_sum_ms: self.latency_sum_us.load(Ordering::Relaxed) / 1000,
        }
    }
}

fn add(counters: &[AtomicU64], index: usize, by: u64) {
    if let Some(counter) = counters.get(index) {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}

fn read_all<const N: usize>(counters: &[AtomicU64; N]) -> [u64; N] {
    std::array::from_fn(|index| counters.get(index).map_or(0, |counter| counter.load(Ordering::Relaxed)))
}

fn bucket(took: Duration) -> usize {
    let ms = took.as_millis();
    let bits = u128::BITS - ms.leading_zeros();
    usize::try_from(bits).unwrap_or(usize::MAX).min(LATENCY_BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_double() {
        for (ms, index) in
            [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (1023, 10), (32_767, 15), (32_768, 16), (9_999_999, 16)]
        {
            assert_eq!(bucket(Duration::from_millis(ms)), index, "{ms} ms");
        }
    }

    #[test]
    fn classes_add_up_to_requests() {
        let counts = Counts::default();
        for status in [101, 200, 204, 301, 404, 500, 503] {
            counts.answered(http::StatusCode::from_u16(status).unwrap(), Duration::from_millis(3));
        }
        let read = counts.read("a", "1");
        assert_eq!(
            (read.upgrades, read.status_2xx, read.status_3xx, read.status_4xx, read.status_5xx),
            (1, 2, 1, 1, 2)
        );
        assert_eq!(read.requests, 7);
        assert_eq!(read.latency.iter().sum::<u64>(), 7);
        assert_eq!(read.latency_sum_ms, 21);
    }
}
