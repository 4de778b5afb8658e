//! What a decision says and what it rests on. Small `Copy` values: they lie in every note of the engine.

use serde::{Deserialize, Deserializer, Serialize};
use vice_core::payload::rollout::Verdict;

use super::analysis::Analysis;

/// A finite number of nine digits. It is equal to itself after it went through a file, which a plain `f64` is not
/// with every reader; that is what recomputing a decision from the history rests on.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize)]
#[serde(transparent)]
pub struct Figure(f64);

impl Eq for Figure {}

impl Figure {
    /// The nearest figure; what is too large or infinite becomes 1e15, too small or not a number 0.
    #[must_use]
    pub fn new(value: f64) -> Self {
        let size = value.abs().min(1e15);
        if value.is_nan() || size < 1e-12 {
            return Self(0.0);
        }
        // Nine digits and a power of ten up to 22 are exact, so this is the very number that a reader gets from them.
        let mut places = 8 - libm::floor(libm::log10(size)) as i32;
        if libm::round(scaled(size, places)) >= 1e9 {
            places -= 1;
        }
        let rounded = scaled(libm::round(scaled(size, places)), -places);
        Self(if value < 0.0 { -rounded } else { rounded })
    }

    /// As a number.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

/// `value * 10^places`, the power exact for up to 22 places.
fn scaled(value: f64, places: i32) -> f64 {
    const TENS: [f64; 23] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19,
        1e20, 1e21, 1e22,
    ];
    let ten = TENS[places.unsigned_abs().min(22) as usize];
    if places >= 0 { value * ten } else { value / ten }
}

impl<'de> Deserialize<'de> for Figure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        f64::deserialize(deserializer).map(Self::new)
    }
}

/// What the judge says after a window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ruling {
    /// What to do. `Proceed`: give it everything. `Hold`: go on as `share` says and look again. `Inconclusive`: a
    /// person has to look.
    pub verdict: Verdict,
    /// Why.
    pub cause: Cause,
    /// The share of traffic that the ramp wants next, 0 to 1.
    pub share: f64,
    /// The largest share that the budget allows now, without the limit on growth: a fixed step to a share of at most
    /// this is allowed.
    pub room: f64,
    /// Whether an alarm is on, whatever else the cause names.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alarmed: bool,
    /// The numbers.
    pub evidence: JudgeEvidence,
}

impl Eq for Ruling {}

/// Why a ruling is what it is. A metric is its index in [`Analysis::metrics`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case", deny_unknown_fields)]
pub enum Cause {
    /// Proceed: every metric excludes a release that is `tolerance` times worse.
    Proven,
    /// Rollback: the new release is worse.
    Worse {
        /// The guiltiest metric.
        metric: u16,
    },
    /// Rollback: the new release breaks the absolute bound, and the old one does not.
    SloBroken {
        /// The metric.
        metric: u16,
    },
    /// Rollback: the bad events beyond what the old release would have had have used up the budget.
    BudgetSpent {
        /// The metric.
        metric: u16,
    },
    /// Hold: the evidence gathers.
    Gathering,
    /// Hold: the new release looks worse, not yet surely; the share is halved and does not grow.
    SoftAlarm {
        /// The most suspicious metric.
        metric: u16,
    },
    /// Hold: both releases break the absolute bound: the trouble is around them, not in the new one.
    SharedTrouble {
        /// The metric.
        metric: u16,
    },
    /// Hold: nothing bad has happened to either release, so nothing can be said about the ratio.
    NoErrors {
        /// The metric.
        metric: u16,
    },
    /// Hold: the new release has had no traffic.
    NoTraffic {
        /// The metric.
        metric: u16,
    },
    /// Hold: a stratum has had none of the new release's traffic, and would have by the share of the others.
    SilentStratum {
        /// The metric.
        metric: u16,
    },
    /// Hold: the old release has had no traffic, so there is nothing to compare with.
    NoBaseline {
        /// The metric.
        metric: u16,
    },
    /// Hold: the source does not know the series.
    NoSeries {
        /// The metric.
        metric: u16,
    },
    /// Hold: the source does not answer, or with nonsense.
    SourceFailed {
        /// The metric.
        metric: u16,
    },
    /// Hold: the window was not complete in time.
    Late {
        /// The metric.
        metric: u16,
    },
    /// Inconclusive: no usable figures of the metric for `blind_after` windows; `why` as in the last of them.
    Blind {
        /// The metric.
        metric: u16,
        /// What was missing.
        why: Missing,
    },
    /// Inconclusive: the metric sees differences between two halves of the old release, even after its evidence was
    /// divided several times.
    Untrusted {
        /// The metric.
        metric: u16,
    },
    /// Inconclusive: patience is over, and with this traffic the proof would need much longer still.
    Underpowered {
        /// The metric that is furthest from its proof.
        metric: u16,
    },
    /// Inconclusive: patience is over, and the release is somewhere between as good and too bad.
    Undecided {
        /// The metric that is furthest from its proof.
        metric: u16,
    },
    /// Inconclusive: there is no metric.
    NoMetrics,
}

/// What was missing in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// No traffic of the new release.
    Traffic,
    /// No traffic of the old release.
    Baseline,
    /// No such series.
    Series,
    /// No answer.
    Source,
    /// No complete window.
    Deadline,
    /// No reading at all was handed in.
    Reading,
    /// No traffic of the new release in a stratum where there should have been some.
    Stratum,
}

impl Cause {
    /// The metric that it speaks of.
    #[must_use]
    pub fn metric(self) -> Option<u16> {
        match self {
            Self::Proven | Self::Gathering | Self::NoMetrics => None,
            Self::Worse { metric }
            | Self::SloBroken { metric }
            | Self::BudgetSpent { metric }
            | Self::SoftAlarm { metric }
            | Self::SharedTrouble { metric }
            | Self::NoErrors { metric }
            | Self::NoTraffic { metric }
            | Self::SilentStratum { metric }
            | Self::NoBaseline { metric }
            | Self::NoSeries { metric }
            | Self::SourceFailed { metric }
            | Self::Late { metric }
            | Self::Blind { metric, .. }
            | Self::Untrusted { metric }
            | Self::Underpowered { metric }
            | Self::Undecided { metric } => Some(metric),
        }
    }

    /// Whether there is data, and nothing in it speaks against the new release.
    #[must_use]
    pub const fn is_clear(self) -> bool {
        matches!(self, Self::Proven | Self::Gathering | Self::NoErrors { .. })
    }

    /// Whether it is about figures that are not there.
    #[must_use]
    pub const fn lacks_figures(self) -> bool {
        matches!(
            self,
            Self::NoTraffic { .. }
                | Self::NoBaseline { .. }
                | Self::NoSeries { .. }
                | Self::SourceFailed { .. }
                | Self::Late { .. }
                | Self::Blind { .. }
        )
    }

    /// In a whole sentence, with the metric by its name.
    #[must_use]
    pub fn sentence(self, analysis: &Analysis) -> String {
        let name = self.metric().and_then(|at| analysis.metrics.get(usize::from(at))).map_or("?", |one| &one.name);
        match self {
            Self::Proven => format!("Every metric excludes a release {} times worse.", analysis.tolerance),
            Self::Worse { .. } => format!("The new release is worse by the metric `{name}`."),
            Self::SloBroken { .. } => format!("The new release breaks the bound of the metric `{name}`."),
            Self::BudgetSpent { .. } => format!("The budget of bad events is used up by the metric `{name}`."),
            Self::Gathering => "The evidence gathers.".to_owned(),
            Self::SoftAlarm { .. } => format!("The metric `{name}` looks worse, not yet surely: no growth."),
            Self::SharedTrouble { .. } => format!("Both releases break the bound of the metric `{name}`."),
            // What is below the floor is good enough, so that there is something to gather.
            Self::NoErrors { metric } if floored(analysis, metric) => "The evidence gathers.".to_owned(),
            Self::NoErrors { .. } => format!(
                "The metric `{name}` saw nothing bad in either release, which says nothing about their ratio; \
                 `floor` names a rate that would be negligible."
            ),
            Self::NoTraffic { .. } => format!("The metric `{name}` saw no traffic of the new release."),
            Self::SilentStratum { .. } => {
                format!("The metric `{name}` saw no traffic of the new release in one of its strata.")
            }
            Self::NoBaseline { .. } => format!("The metric `{name}` saw no traffic of the old release."),
            Self::NoSeries { .. } => format!("The source of the metric `{name}` does not know its series."),
            Self::SourceFailed { .. } => format!("The source of the metric `{name}` does not answer."),
            Self::Late { .. } => format!("The figures of the metric `{name}` were not complete in time."),
            Self::Blind { why, .. } => format!("The metric `{name}` has been blind for too long: {}.", why.words()),
            Self::Untrusted { .. } => {
                format!("The metric `{name}` sees differences between two halves of the old release.")
            }
            Self::Underpowered { .. } => {
                format!("With this traffic the metric `{name}` needs much longer than the patience allows.")
            }
            Self::Undecided { .. } => {
                format!("The metric `{name}` lies between as good and too bad, and patience is over.")
            }
            Self::NoMetrics => "Nothing measures this rollout.".to_owned(),
        }
    }
}

fn floored(analysis: &Analysis, metric: u16) -> bool {
    analysis.metrics.get(usize::from(metric)).is_some_and(|plan| plan.floor.is_some())
}

impl Missing {
    fn words(self) -> &'static str {
        match self {
            Self::Traffic => "no traffic of the new release",
            Self::Baseline => "no traffic of the old release",
            Self::Series => "the source does not know the series",
            Self::Source => "the source does not answer",
            Self::Deadline => "no window was complete in time",
            Self::Reading => "nothing was read",
            Self::Stratum => "no traffic of the new release in one of its strata",
        }
    }
}

/// The numbers that a ruling rests on. Of several metrics it shows the one that the ruling is about: the guiltiest on
/// a rollback or alarm, otherwise the one furthest from its proof. Logarithms are natural ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeEvidence {
    /// The metric shown, an index into [`Analysis::metrics`].
    pub metric: u16,
    /// The metrics that are guilty with a false discovery rate of alpha (e-BH), bit `i` for metric `i`.
    pub guilty: u64,
    /// Windows closed so far.
    pub windows: u32,
    /// Windows in a row without usable figures of the shown metric.
    pub blind: u32,
    /// Exposures of the new release.
    pub canary_seen: u64,
    /// Bad ones among them (health: the sum of badness; latency: beyond the threshold that the release is worst at).
    pub canary_bad: Figure,
    /// Exposures of the old release.
    pub baseline_seen: u64,
    /// Bad ones among them.
    pub baseline_bad: Figure,
    /// The logarithm of the evidence that the release is worse.
    pub log_e: Figure,
    /// Rollback at or above this: `ln(1/alpha)`, for the metric's share of alpha.
    pub log_e_limit: Figure,
    /// An always-valid p-value of "not worse", from the highest evidence so far.
    pub p_value: Figure,
    /// The logarithm of the evidence that it is less than `tolerance` times worse.
    pub log_proof: Figure,
    /// Proceed when every metric is at or above this: `ln(1/beta)`.
    pub log_proof_limit: Figure,
    /// The ratio of the bad rates, lowest plausible value (confidence 1 - alpha).
    pub ratio_low: Figure,
    /// The most plausible value; 0 when nothing is known.
    pub ratio: Figure,
    /// The highest plausible value (confidence 1 - beta), at most the largest of the grid.
    pub ratio_high: Figure,
    /// The old release's bad rate.
    pub base_rate: Figure,
    /// By how much the evidence is divided because bad events come in bursts.
    pub dispersion: Figure,
    /// The share in force.
    pub share: Figure,
    /// Bad events beyond what the old release would have had, so far.
    pub spent: Figure,
    /// Of so many.
    pub budget: Figure,
}
