//! Two samples, looked at once: what a passive judgement needs when there is no rollout to watch. Pure functions over
//! numbers, deterministic, exact for small samples. Looking again and again at growing samples is what [`super::Judge`]
//! is for: the p-values here are for one look.
//!
//! In every comparison the first sample is the new release, and more (events, time) is worse.

mod counts;
mod ranks;
mod special;

use serde::{Deserialize, Serialize};
use vice_core::payload::rollout::Verdict;

pub use counts::{compare_counts, fisher};
pub use ranks::{compare_samples, kolmogorov_smirnov, mann_whitney, median, median_test};

/// What is tolerated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tolerances {
    /// Rollback when the p-value of "at most `margin` times worse" is at most this.
    pub alpha: f64,
    /// Proceed when the p-value of "at least `tolerance` times worse" is at most this.
    pub beta: f64,
    /// The ratio up to which the new release is not worse.
    pub margin: f64,
    /// The ratio from which it is too bad.
    pub tolerance: f64,
}

impl Default for Tolerances {
    fn default() -> Self {
        Self { alpha: 0.01, beta: 0.05, margin: 1.05, tolerance: 1.5 }
    }
}

/// How a p-value was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Noncentral hypergeometric distribution (Fisher), exact; the ratio is that of the odds.
    Fisher,
    /// Binomial distribution of one release's part of the events, exact for rare events; the ratio is that of the rates.
    ConditionalBinomial,
    /// Mann-Whitney by all divisions of the pooled sample, exact with ties.
    MannWhitneyExact,
    /// Mann-Whitney by its normal limit, with ties and continuity corrected.
    MannWhitneyNormal,
    /// Nothing could be computed.
    None,
}

/// Why a comparison says what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// The new release is worse.
    Worse,
    /// It is not too bad.
    Proven,
    /// Neither can be said: more data would help.
    Undecided,
    /// A sample is empty.
    Empty,
    /// Nothing bad happened in either, so nothing can be said about the ratio.
    NoEvents,
    /// A sample holds what is not a number, or more bad ones than there are.
    Nonsense,
}

/// A comparison of two samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Rollback, proceed, hold (undecided), or inconclusive (nothing to decide on).
    pub verdict: Verdict,
    /// Why.
    pub finding: Finding,
    /// How.
    pub method: Method,
    /// The most plausible ratio of new to old; infinite when the old release had no event.
    pub ratio: f64,
    /// The lower end of its interval (confidence `1 - alpha` for this end).
    pub low: f64,
    /// The upper end (confidence `1 - beta` for this end).
    pub high: f64,
    /// The p-value of "at most `margin` times worse".
    pub p_worse: f64,
    /// The p-value of "at least `tolerance` times worse".
    pub p_tolerable: f64,
}

impl Comparison {
    /// Nothing to decide on.
    fn nothing(finding: Finding) -> Self {
        Self {
            verdict: Verdict::Inconclusive,
            finding,
            method: Method::None,
            ratio: 0.0,
            low: 0.0,
            high: f64::INFINITY,
            p_worse: 1.0,
            p_tolerable: 1.0,
        }
    }

    /// The verdict that follows from the p-values.
    fn decided(self, tolerances: &Tolerances) -> Self {
        let (verdict, finding) = if self.p_worse <= tolerances.alpha {
            (Verdict::Rollback, Finding::Worse)
        } else if self.p_tolerable <= tolerances.beta {
            (Verdict::Proceed, Finding::Proven)
        } else {
            (Verdict::Hold, Finding::Undecided)
        };
        Self { verdict, finding, ..self }
    }
}

/// The point of an increasing function between `low` and `high` at which it reaches `target`, to the last bits.
fn bisect(mut low: f64, mut high: f64, target: f64, value: impl Fn(f64) -> f64) -> f64 {
    for _ in 0..200 {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            break;
        }
        if value(middle) < target { low = middle } else { high = middle }
    }
    low + (high - low) / 2.0
}
