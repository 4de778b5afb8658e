//! What the judge is told window by window. Readings are integers, so that a journal holds them exactly.

use serde::{Deserialize, Serialize};

/// Levels of badness in a health histogram: level `i` means `i / 15`.
pub const LEVELS: usize = 16;

/// Thresholds of a latency metric.
pub const LATENCY_THRESHOLDS: usize = 4;

/// One release in one window of one stratum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    /// Exposures, counted when they were handed out, not when they reported; only first attempts of retried requests.
    pub seen: u64,
    /// Errors: `bad[0]` bad ones. Latency: `bad[i]` that exceed threshold `i` (or did not end). Health: how many have
    /// badness `i / 15`; those without a report by the deadline count as level 15.
    pub bad: [u32; LEVELS],
}

impl Arm {
    /// `bad` of `seen` exposures are bad.
    #[must_use]
    pub fn errors(seen: u64, bad: u32) -> Self {
        let mut counts = [0; LEVELS];
        counts[0] = bad;
        Self { seen, bad: counts }
    }

    /// Of `seen` exposures `reported` have reported by the deadline, `bad` of them badly. Silence is bad: a crash
    /// sends no report.
    #[must_use]
    pub fn reports(seen: u64, reported: u64, bad: u32) -> Self {
        let silent = u32::try_from(seen.saturating_sub(reported)).unwrap_or(u32::MAX);
        Self::errors(seen, bad.saturating_add(silent))
    }

    /// How many of `seen` exposures exceed each threshold.
    #[must_use]
    pub fn latency(seen: u64, exceeding: [u32; LATENCY_THRESHOLDS]) -> Self {
        let mut counts = [0; LEVELS];
        counts[..LATENCY_THRESHOLDS].copy_from_slice(&exceeding);
        Self { seen, bad: counts }
    }

    /// A histogram of badness over the exposures that reported; the rest of `seen` counts as worst.
    #[must_use]
    pub fn health(seen: u64, mut levels: [u32; LEVELS]) -> Self {
        let reported: u64 = levels.iter().map(|count| u64::from(*count)).sum();
        let silent = u32::try_from(seen.saturating_sub(reported)).unwrap_or(u32::MAX);
        levels[LEVELS - 1] = levels[LEVELS - 1].saturating_add(silent);
        Self { seen, bad: levels }
    }
}

/// What one metric says about one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reading", rename_all = "snake_case", deny_unknown_fields)]
pub enum Reading {
    /// Both releases in one stratum. One for each stratum in each window.
    Counts {
        /// The stratum, from 0.
        stratum: u16,
        /// The new release.
        canary: Arm,
        /// The old release.
        baseline: Arm,
    },
    /// Two halves of the old release, divided at random or by instance: the sensor for metrics that see differences
    /// where there are none. Beside `Counts`, where the source can divide.
    Halves {
        /// The stratum, from 0.
        stratum: u16,
        /// One half.
        left: Arm,
        /// The other half.
        right: Arm,
    },
    /// The series exist and say that nothing was asked for.
    NoTraffic,
    /// The source answers and does not know the series.
    NoSeries,
    /// The source does not answer, or with nonsense.
    Failed,
    /// The window was not complete when it had to be read.
    Late,
}
