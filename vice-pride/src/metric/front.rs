//! What the built-in front end counts, by upstream: each process of each unit from its own zero.

use std::sync::Arc;

use async_trait::async_trait;
use vice_core::Result;
use vice_core::capability::BackendInfo;
use vice_core::histogram::{LATENCY_BUCKETS, latency_edge_seconds};
use vice_core::manifest::MetricKind;
use vice_core::payload::version_in;

use super::number::{Histogram, Numbers};
use super::scene::Asked;
use super::source::{Ask, Growth, Tally};
use super::trouble::Trouble;
use crate::target::local::{FrontCounters, LocalTarget, UnitCounters};

/// Something with a front end that counts.
#[async_trait]
pub trait FrontCounts: Send + Sync + 'static {
    /// What it has counted; none while it does not run.
    ///
    /// # Errors
    /// `Unsupported` when it does not count, `Unreachable` when it does not answer.
    async fn counters(&self) -> Result<Option<FrontCounters>>;
}

#[async_trait]
impl FrontCounts for LocalTarget {
    async fn counters(&self) -> Result<Option<FrontCounters>> {
        Self::counters(self).await
    }
}

/// The front end's counters of one metric.
pub(super) struct FrontEnd {
    pub(super) kind: MetricKind,
    /// Whether failures of one client in one window count once.
    pub(super) per_client: bool,
    pub(super) front: Arc<dyn FrontCounts>,
}

impl FrontEnd {
    fn numbers(&self, unit: &UnitCounters) -> Result<Numbers, Trouble> {
        if self.kind == MetricKind::Errors {
            let by_client = unit.client_failures.filter(|_| self.per_client);
            return Numbers::errors(unit.exposures, by_client.unwrap_or(unit.failures));
        }
        let mut counts = vec![0_u64; LATENCY_BUCKETS];
        for (bucket, count) in &unit.latency {
            match counts.get_mut(usize::from(*bucket)) {
                Some(sum) => *sum += count,
                None => return Err(Trouble::failed("The front end counts latencies in buckets that are not known.")),
            }
        }
        // All of them, so that differences of two readings have the same layout.
        let buckets = counts.into_iter().enumerate().map(|(bucket, count)| (latency_edge_seconds(bucket), count));
        Ok(Numbers::Times(Histogram::sparse(buckets)))
    }
}

#[async_trait]
impl Ask for FrontEnd {
    fn describe(&self) -> BackendInfo {
        BackendInfo { kind: "front", location: "the built-in front end".to_owned(), shared: false }
    }

    fn growth(&self) -> Growth {
        Growth::Cumulative { from_zero: true }
    }

    async fn ask(&self, asked: Asked<'_>) -> Result<Vec<Tally>, Trouble> {
        let counters = self.front.counters().await.map_err(|fault| {
            let text = fault.chain().join(": ");
            if fault.code() == vice_core::Code::Unsupported {
                Trouble::refused(text)
            } else {
                Trouble::unreachable(text)
            }
        })?;
        let counters = counters.ok_or_else(|| Trouble::no_series("The local front end does not run."))?;
        let named =
            |unit: &&UnitCounters| unit.version == asked.version || unit.release.as_deref() == Some(asked.version);
        let units = counters.units.iter().filter(named);
        let tally = |unit: &UnitCounters| {
            // One process may have run several configurations, and each is counted from zero.
            let mark = unit.release.as_deref().map_or("", |name| &name[version_in(name).len()..]);
            let process = format!("{}/{}{mark}", counters.run, unit.id);
            self.numbers(unit).map(|numbers| Tally { process, numbers })
        };
        units.map(tally).collect()
    }
}
