//! Where the numbers come from by which a rollout is judged, and who makes requests when too few come by themselves.
//!
//! A source never turns trouble into numbers: no data, no series, a late answer and a broken one are readings of their
//! own, so that silence can't pass for health. The judgement itself is the engine's.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::capability::BackendInfo;
use crate::fault::Result;
use crate::id::EnvName;
use crate::manifest::Project;
use crate::port::config::ResolvedConfig;
use crate::template::Vars;
use crate::time::Millis;

/// How many counters an arm has: the badness levels 0, 1/15, … 1 of a health score.
pub const BADNESS_LEVELS: usize = 16;

/// The shares of the baseline's exposures below the four latency thresholds.
pub const LATENCY_QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// What one version did in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MetricArm {
    /// Exposures, counted when they were handed out.
    pub seen: u64,
    /// errors: `[0]` has the bad ones. latency: `[0..4]` have those slower than each of the four thresholds. health:
    /// `[i]` has those of badness `i/15`, which together are `seen`.
    pub bad: [u32; BADNESS_LEVELS],
}

impl MetricArm {
    /// An arm of errors.
    #[must_use]
    pub fn errors(seen: u64, bad: u64) -> Self {
        let mut arm = Self { seen, ..Self::default() };
        arm.bad[0] = u32::try_from(bad).unwrap_or(u32::MAX);
        arm
    }

    /// The sum of two arms, saturating.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let bad = std::array::from_fn(|level| self.bad[level].saturating_add(other.bad[level]));
        Self { seen: self.seen.saturating_add(other.seen), bad }
    }
}

/// What a source says of one stratum of one metric in one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricReading {
    /// Both versions were counted; at least one of them had exposures.
    Counts {
        /// Which of the metric's strata.
        stratum: u16,
        /// The new version.
        canary: MetricArm,
        /// The version before.
        baseline: MetricArm,
    },
    /// Two halves of the version before, beside `Counts` of the same stratum: what a metric sees where there is no
    /// difference.
    Halves {
        /// Which of the metric's strata.
        stratum: u16,
        /// One half.
        left: MetricArm,
        /// The other half.
        right: MetricArm,
    },
    /// The series are there, and the new version had no exposures.
    NoTraffic,
    /// The source knows no such series: nothing was ever counted, or the query is wrong.
    NoSeries,
    /// The source could not be asked, or its answer makes no sense.
    Failed,
    /// The source answers, but with numbers from before the window's end.
    Late,
}

/// A window of time and the two versions to compare in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricWindow {
    /// Not before.
    pub from: Timestamp,
    /// Before.
    pub until: Timestamp,
    /// The new version.
    pub canary: String,
    /// The version before.
    pub baseline: String,
}

/// Where a source stood when a window ended, so that the next one begins there: nothing is counted twice or left out.
/// Survives the process; losing it costs one window.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct MetricMark {
    /// When it was taken; none for a source that is asked by time and has no counters to remember.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// latency: the four thresholds, frozen; empty while the baseline has shown no latencies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thresholds: Vec<f64>,
    /// The state of counters that only grow, by process and counter.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counters: BTreeMap<String, Vec<u64>>,
}

/// What was read for one window.
#[derive(Debug, Clone, PartialEq)]
pub struct Metered {
    /// One a stratum with data, or a single one that says why there are none. Never empty. Where only the old version
    /// was counted and the new one has no series yet, `NoSeries` follows the counts.
    pub readings: Vec<MetricReading>,
    /// What a person should know of it, in whole sentences without secrets.
    pub notes: Vec<String>,
    /// Where the next window begins.
    pub mark: MetricMark,
}

/// One metric of one environment.
#[async_trait]
pub trait MetricSource: Send + Sync + 'static {
    /// What and where it is.
    fn describe(&self) -> BackendInfo;

    /// Looks before the first exposure: freezes the thresholds of latency, notes where counters stand, and finds out
    /// whether the source can be asked at all.
    ///
    /// # Errors
    /// `Unreachable`, `Backend`, `TimedOut` and the like when it can't; `Usage` for a query that the source refuses.
    async fn begin(&self, window: &MetricWindow) -> Result<MetricMark>;

    /// Reads one window. Trouble is a reading, not an error.
    async fn read(&self, window: &MetricWindow, mark: &MetricMark) -> Metered;
}

/// One version where it can be asked alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeArm {
    /// The version.
    pub version: String,
    /// Base URLs of its units, without a slash at the end; asked in turn.
    pub urls: Vec<String>,
}

/// A run of probes, paired: each check goes to both versions at the same moment.
#[derive(Clone)]
pub struct ProbeRequest {
    /// The project whose checks are the probes.
    pub project: Arc<Project>,
    /// In which environment.
    pub env: EnvName,
    /// The new version.
    pub canary: ProbeArm,
    /// The version before.
    pub baseline: ProbeArm,
    /// How many pairs a second, above 0.
    pub rate: f64,
    /// For how long.
    pub during: Millis,
    /// Only these checks; all HTTP checks and scenarios that ask a unit when empty.
    pub checks: Vec<String>,
    /// Template variables as for verification; `env.url` and `version` are set for each unit.
    pub vars: Vars,
    /// The configuration, so that probes can use secrets without printing them.
    pub config: Option<ResolvedConfig>,
    /// More labels of the series, such as host and region.
    pub labels: crate::series::Labels,
}

/// What probes of one version found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProbeCounts {
    /// Probes that were sent.
    pub seen: u64,
    /// Those that did not pass, or got no answer.
    pub bad: u64,
}

/// What a run of probes found. The series store has the same by second.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProbeReport {
    /// The new version.
    pub canary: ProbeCounts,
    /// The version before.
    pub baseline: ProbeCounts,
    /// The first few reasons of bad probes, masked.
    pub reasons: Vec<String>,
}

/// The series that probes are recorded in: `probe_total`, `probe_bad` and `probe_bucket`, with the labels project, env,
/// version and check, and those of the request.
pub const PROBE_SERIES: &str = "probe";

/// Makes requests of its own at both versions, for when too few come by themselves.
#[async_trait]
pub trait Prober: Send + Sync + 'static {
    /// Sends probes until the time is over or the process is asked to end. A bad probe is a result, not an error.
    ///
    /// # Errors
    /// `Usage` when there is nothing to send; as [`Verifier`](crate::port::verifier::Verifier) for checks that make no
    /// sense.
    async fn probe(&self, request: ProbeRequest) -> Result<ProbeReport>;
}
