//! What each upstream answered, as plain counters that only grow. They become the evidence of a canary's judgement,
//! so they are kept for each id *and* version, and survive the removal of the upstream from the table.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use vice_core::histogram::{LATENCY_BUCKETS, latency_bucket};

use super::clients::{Audience, ClientId, Failing};

/// A reading of one upstream's counters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
    /// Requests that were handed to this upstream first and have ended. One that was tried elsewhere before does not
    /// count: whether it comes here depends on how another upstream did.
    pub exposures: u64,
    /// Those of them that went wrong here: status 500 to 599, no connection, broken off, no answer in time, or left by
    /// the client before there was an answer.
    pub failures: u64,
    /// The failures, of each client at most one in a window, where clients can be told apart; else all.
    pub client_failures: u64,
    /// The exposures that were answered, ran out of time or were left, by time from their arrival to the response's
    /// head (or to that end); see [`vice_core::histogram`].
    pub latency: Vec<u64>,
    /// The sum of those times.
    pub latency_sum_us: u64,
}

impl UpstreamCounts {
    /// Adds the counters of another upstream of the same version.
    pub(crate) fn add(&mut self, other: &Self) {
        self.in_flight += other.in_flight;
        self.requests += other.requests;
        self.upgrades += other.upgrades;
        self.status_2xx += other.status_2xx;
        self.status_3xx += other.status_3xx;
        self.status_4xx += other.status_4xx;
        self.status_5xx += other.status_5xx;
        self.connect_failures += other.connect_failures;
        self.upstream_errors += other.upstream_errors;
        self.exposures += other.exposures;
        self.failures += other.failures;
        self.client_failures += other.client_failures;
        self.latency.resize(LATENCY_BUCKETS, 0);
        self.latency.iter_mut().zip(&other.latency).for_each(|(sum, count)| *sum += count);
        self.latency_sum_us += other.latency_sum_us;
    }
}

/// The counters themselves. Relaxed throughout: they are read as statistics and order nothing.
pub(super) struct Counts {
    audience: Arc<Audience>,
    failing: Arc<Failing>,
    statuses: [AtomicU64; 5],
    connect_failures: AtomicU64,
    upstream_errors: AtomicU64,
    exposures: AtomicU64,
    failures: AtomicU64,
    client_failures: AtomicU64,
    latency: [AtomicU64; LATENCY_BUCKETS],
    latency_sum_us: AtomicU64,
}

impl Counts {
    /// Counters at zero. `failing`: what the upstreams of one version share.
    pub(super) fn new(audience: Arc<Audience>, failing: Arc<Failing>) -> Self {
        Self {
            audience,
            failing,
            statuses: Default::default(),
            connect_failures: AtomicU64::new(0),
            upstream_errors: AtomicU64::new(0),
            exposures: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            client_failures: AtomicU64::new(0),
            latency: std::array::from_fn(|_| AtomicU64::new(0)),
            latency_sum_us: AtomicU64::new(0),
        }
    }

    pub(super) fn answered(&self, status: http::StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        add(&self.statuses, class, 1);
    }

    fn exposed(&self, client: ClientId, failed: bool, took: Option<Duration>) {
        self.exposures.fetch_add(1, Ordering::Relaxed);
        if failed {
            self.failures.fetch_add(1, Ordering::Relaxed);
            let counts = self.failing.counts(&self.audience, client);
            self.client_failures.fetch_add(u64::from(counts), Ordering::Relaxed);
        }
        if let Some(took) = took {
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            add(&self.latency, latency_bucket(micros), 1);
            self.latency_sum_us.fetch_add(micros, Ordering::Relaxed);
        }
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
            // Read before the exposures, so that a request in between makes no failure without its exposure.
            client_failures: self.client_failures.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            exposures: self.exposures.load(Ordering::Relaxed),
            latency: read_all(&self.latency).to_vec(),
            latency_sum_us: self.latency_sum_us.load(Ordering::Relaxed),
        }
    }
}

/// A request at the upstream that it was handed to first. It ends once, in whatever way; when it is dropped before, the
/// client has left without an answer, which counts as a failure: silence is no success.
pub(super) struct Exposure {
    counts: Option<Arc<Counts>>,
    client: ClientId,
    began: Instant,
}

impl Exposure {
    pub(super) fn begin(counts: &Arc<Counts>, client: ClientId, began: Instant) -> Self {
        counts.audience.asks(client);
        Self { counts: Some(Arc::clone(counts)), client, began }
    }

    /// The upstream answered.
    pub(super) fn answered(&mut self, status: http::StatusCode) {
        self.end(status.is_server_error(), Some(self.began.elapsed()));
    }

    /// The upstream could not be reached or broke off. How long that took says nothing about how fast it is.
    pub(super) fn broke(&mut self) {
        self.end(true, None);
    }

    /// The upstream did not answer in time.
    pub(super) fn late(&mut self) {
        self.end(true, Some(self.began.elapsed()));
    }

    fn end(&mut self, failed: bool, took: Option<Duration>) {
        if let Some(counts) = self.counts.take() {
            counts.exposed(self.client, failed, took);
        }
    }
}

impl Drop for Exposure {
    fn drop(&mut self) {
        self.late();
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

#[cfg(test)]
mod tests {
    use vice_core::Millis;

    use super::*;

    fn counts() -> Counts {
        Counts::new(Arc::new(Audience::new(Millis(10_000))), Arc::new(Failing::new()))
    }

    #[test]
    fn classes_add_up_to_requests() {
        let counts = counts();
        for status in [101, 200, 204, 301, 404, 500, 503] {
            counts.answered(http::StatusCode::from_u16(status).unwrap());
        }
        let read = counts.read("a", "1");
        assert_eq!(
            (read.upgrades, read.status_2xx, read.status_3xx, read.status_4xx, read.status_5xx),
            (1, 2, 1, 1, 2)
        );
        assert_eq!(read.requests, 7);
    }

    #[test]
    fn an_exposure_ends_exactly_once_and_silence_is_a_failure() {
        let counts = Arc::new(counts());
        let client = ClientId::of(b"somebody");
        // None of them is faster than what has passed already.
        let begin = || Exposure::begin(&counts, client, Instant::now() - Duration::from_secs(3600));
        let (mut good, mut bad, mut broken, left) = (begin(), begin(), begin(), begin());
        good.answered(http::StatusCode::NOT_FOUND);
        good.broke();
        drop(good);
        bad.answered(http::StatusCode::BAD_GATEWAY);
        broken.broke();
        drop((bad, broken, left));
        let read = counts.read("a", "1");
        assert_eq!((read.exposures, read.failures, read.client_failures), (4, 3, 3), "one client is no clients");
        assert_eq!(read.latency.last(), Some(&3), "how long it took to break says nothing");
        assert_eq!(read.latency.iter().sum::<u64>(), 3);
        assert!(read.latency_sum_us >= 3 * 3_600_000_000);
    }
}
