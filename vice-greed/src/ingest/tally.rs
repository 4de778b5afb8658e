//! What the ingest has done, for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the start.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) new: AtomicU64,
    pub(super) repeated: AtomicU64,
    pub(super) conflicts: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) busy: AtomicU64,
}

pub(super) fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::Relaxed);
}

impl Tally {
    /// The counts in the text format of Prometheus.
    pub(super) fn exposition(&self, in_flight: usize) -> String {
        let mut out = String::from(
            "# HELP vice_ingest_events_total Events that came in, by what became of them.\n# TYPE vice_ingest_events_total counter\n",
        );
        let events = [("new", &self.new), ("repeated", &self.repeated), ("conflict", &self.conflicts)];
        for (what, counter) in events {
            out.push_str(&format!(
                "vice_ingest_events_total{{result=\"{what}\"}} {}\n",
                counter.load(Ordering::Relaxed)
            ));
        }
        out.push_str("# HELP vice_ingest_requests_refused_total Requests without an event, by why.\n# TYPE vice_ingest_requests_refused_total counter\n");
        let refused = [("wrong", &self.refused), ("store", &self.failed), ("busy", &self.busy)];
        for (why, counter) in refused {
            let count = counter.load(Ordering::Relaxed);
            out.push_str(&format!("vice_ingest_requests_refused_total{{reason=\"{why}\"}} {count}\n"));
        }
        out.push_str(&format!(
            "# HELP vice_ingest_requests_in_flight Requests that are being worked on.\n# TYPE vice_ingest_requests_in_flight gauge\nvice_ingest_requests_in_flight {in_flight}\n"
        ));
        out
    }
}
