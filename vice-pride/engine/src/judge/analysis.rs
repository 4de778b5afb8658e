//! What the judge is told once, before a rollout begins: risks, tolerances, metrics. It is part of the frozen plan.
//! It decides nothing; it only says whether it makes sense.

use std::fmt;

use serde::{Deserialize, Serialize};
use vice_core::Millis;

/// At most so many metrics judge one rollout: the guilty ones are a 64-bit set, and nobody reads more.
pub const METRICS_MAX: usize = 64;

/// How a rollout is judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Analysis {
    /// The highest probability of rolling back a release that is not worse, over the whole rollout.
    pub alpha: f64,
    /// The highest probability of promoting a release that is `tolerance` times worse.
    pub beta: f64,
    /// The ratio of bad rates, new to old, that must be excluded before a release is promoted. Above every `margin`.
    pub tolerance: f64,
    /// How many bad events more than the old release would have had the rollout may cost.
    pub budget: f64,
    /// The length of one window.
    pub interval: Millis,
    /// A window is read only so long after its end: reports arrive late.
    pub lateness: Millis,
    /// After so many windows in a row without usable figures of a metric the judge calls itself blind.
    pub blind_after: u32,
    /// After so long without a decision a person is asked. A release is never promoted by the passing of time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<Millis>,
    /// Probe traffic that fills in where the real traffic is too thin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probes: Option<ProbePlan>,
    /// The metrics, at most [`METRICS_MAX`].
    pub metrics: Vec<MetricPlan>,
    /// How fast the share grows.
    pub ramp: Ramp,
    /// The alternatives that the rollback test bets on.
    pub grid: Grid,
    /// A fresh copy of the rollback test starts this often, so that a regression that begins late is found as fast as
    /// an early one. `None`: one test from the beginning only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<Millis>,
}

impl Eq for Analysis {}

impl Default for Analysis {
    fn default() -> Self {
        Self {
            alpha: 0.01,
            beta: 0.05,
            tolerance: 1.5,
            budget: 100.0,
            interval: Millis(60_000),
            lateness: Millis(15_000),
            blind_after: 5,
            patience: None,
            probes: None,
            metrics: Vec::new(),
            ramp: Ramp::default(),
            grid: Grid::default(),
            restart: Some(Millis(30 * 60_000)),
        }
    }
}

/// Synthetic requests that an outside prober sends to both releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbePlan {
    /// Requests for each release in each window.
    pub each: u32,
}

/// One metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricPlan {
    /// Its name.
    pub name: String,
    /// What its counts mean.
    pub kind: MetricKind,
    /// A critical metric has a share of `alpha` of its own and is not averaged with the others.
    #[serde(default)]
    pub critical: bool,
    /// Its weight among the metrics that are not critical; only proportions count.
    #[serde(default = "one")]
    pub weight: f64,
    /// The ratio of bad rates up to which the new release counts as not worse: 1.05 for requests or users spread at
    /// random, 1.25 for servers, which differ from one another for good.
    #[serde(default = "margin")]
    pub margin: f64,
    /// How many strata its counts come in (region, client system, age of the process): at least 1.
    #[serde(default = "one_stratum")]
    pub strata: u16,
    /// The bad rate that the new release must not exceed whatever the old one does, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<f64>,
    /// A bad rate that is negligible: a release proven to be below it may be promoted although too few bad events
    /// happen for a ratio. Without it, a metric that never sees a bad event never promotes. Of latencies it holds for
    /// each threshold that must be proven: where the old release has become so much faster since the thresholds were
    /// set that next to nothing is beyond them, there is no ratio either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<f64>,
    /// The source cannot reduce its counts to one bad event a client and window, so bad events come in bursts:
    /// evidence is divided by the dispersion that the old release's counts show.
    #[serde(default)]
    pub bursty: bool,
}

impl Eq for MetricPlan {}

impl MetricPlan {
    /// A metric of this kind with the defaults.
    #[must_use]
    pub fn new(name: &str, kind: MetricKind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            critical: false,
            weight: 1.0,
            margin: margin(),
            strata: 1,
            slo: None,
            floor: None,
            bursty: false,
        }
    }
}

fn one() -> f64 {
    1.0
}

fn margin() -> f64 {
    1.05
}

fn one_stratum() -> u16 {
    1
}

/// What the counts of a metric mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricKind {
    /// Each exposure is bad or not.
    Errors,
    /// Each exposure exceeds none, some or all of four thresholds: the old release's 50, 90, 99 and 99.9 % quantiles,
    /// frozen before the rollout.
    Latency,
    /// Each exposure has a badness between 0 and 1, counted in 16 levels.
    Health,
}

/// How the share of traffic follows the evidence: the budgeted ramp.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ramp {
    /// The share at most grows by this factor a window.
    pub growth: f64,
    /// The largest share before the release is promoted: above it the old release has too little traffic to compare with.
    pub cap: f64,
    /// How much of what is left of the budget one window may put at risk.
    pub risk: f64,
    /// The part of the budget at which the rollout is stopped: what is under way still costs.
    pub stop: f64,
    /// After an alarm the ramp goes on when the evidence stayed calm for so many windows. 0: there is no alarm.
    pub calm: u32,
}

impl Eq for Ramp {}

impl Default for Ramp {
    fn default() -> Self {
        Self { growth: 2.0, cap: 0.5, risk: 0.2, stop: 0.7, calm: 5 }
    }
}

/// The alternatives that the rollback test bets on: `points` ratios, evenly spaced in the logarithm between
/// `low * margin` and `high * margin`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grid {
    /// How many, 2 to 256.
    pub points: u16,
    /// The smallest, as a multiple of the margin; above 1.
    pub low: f64,
    /// The largest.
    pub high: f64,
    /// A ratio r has the weight `r^-lean`: gross regressions show within minutes anyway, so most of the bet belongs to
    /// the small ones. 0 to 4; 0 weighs all alike.
    pub lean: f64,
}

impl Eq for Grid {}

impl Default for Grid {
    fn default() -> Self {
        Self { points: 64, low: 1.05, high: 64.0, lean: 1.0 }
    }
}

/// Why an [`Analysis`] makes no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnalysisProblem {
    /// The dotted key: `alpha`, `metric.NAME.slo`.
    pub key: String,
    /// What is wrong with it, in a whole sentence.
    pub message: String,
}

impl fmt::Display for AnalysisProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

impl Analysis {
    /// Windows in this many milliseconds, at least one.
    pub(crate) fn windows_in(&self, span: Millis) -> u32 {
        u32::try_from(span.0.div_ceil(self.interval.0.max(1))).unwrap_or(u32::MAX).max(1)
    }

    /// Everything that makes no sense; empty for an analysis that can be used.
    #[must_use]
    pub fn problems(&self) -> Vec<AnalysisProblem> {
        let mut found = Problems(Vec::new());
        found.between("alpha", self.alpha, 1e-9, 0.5);
        found.between("beta", self.beta, 1e-9, 0.5);
        found.between("tolerance", self.tolerance, 1.0 + 1e-6, 64.0);
        found.between("budget", self.budget, 1.0, 1e12);
        found.check(self.interval.0 > 0, "interval", "A window must be longer than nothing.");
        found.check(self.blind_after > 0, "blind_after", "The judge is blind after one window at the earliest.");
        found.between("ramp.growth", self.ramp.growth, 1.0, 1e6);
        found.between("ramp.cap", self.ramp.cap, 1e-6, 1.0);
        found.between("ramp.risk", self.ramp.risk, 1e-6, 1.0);
        found.between("ramp.stop", self.ramp.stop, 1e-6, 1.0);
        found.check((2..=256).contains(&self.grid.points), "grid.points", "The grid has 2 to 256 points.");
        found.between("grid.low", self.grid.low, 1.0 + 1e-6, 1e6);
        found.between("grid.high", self.grid.high, self.grid.low.max(1.0), 1e6);
        found.between("grid.lean", self.grid.lean, 0.0, 4.0);
        found.check(!self.metrics.is_empty(), "metrics", "A rollout is judged by at least one metric.");
        found.check(self.metrics.len() <= METRICS_MAX, "metrics", "At most 64 metrics judge one rollout.");
        let weights: f64 = self.metrics.iter().filter(|metric| !metric.critical).map(|metric| metric.weight).sum();
        let some_ordinary = self.metrics.iter().any(|metric| !metric.critical);
        found.check(!some_ordinary || weights > 0.0, "metrics", "At least one metric needs a weight above 0.");
        for metric in &self.metrics {
            self.problems_of(metric, &mut found);
        }
        found.0
    }

    fn problems_of(&self, metric: &MetricPlan, found: &mut Problems) {
        let key = |field: &str| format!("metric.{}.{field}", metric.name);
        found.between(&key("weight"), metric.weight, 0.0, 1e6);
        found.between(&key("margin"), metric.margin, 1.0, 16.0);
        found.check(
            metric.margin < self.tolerance,
            &key("margin"),
            "The margin must be below the tolerance, or a release could be both not worse and too bad.",
        );
        found.check(metric.strata > 0, &key("strata"), "A metric has at least one stratum.");
        for (field, value) in [("slo", metric.slo), ("floor", metric.floor)] {
            if let Some(value) = value {
                found.between(&key(field), value, 1e-9, 1.0 - 1e-9);
            }
        }
        let single = metric.kind != MetricKind::Latency;
        let message = "A latency metric has four bad rates, so one bound for them means nothing.";
        found.check(single || metric.slo.is_none(), &key("slo"), message);
    }

    /// The analysis of one of `builds` candidates that run at the same time: each has its part of the risk of a false
    /// rollback and of the budget, so that together they stay within both (Bonferroni).
    #[must_use]
    pub fn split(&self, builds: u32) -> Self {
        let parts = f64::from(builds.max(1));
        let mut one = self.clone();
        one.alpha /= parts;
        one.budget /= parts;
        one.ramp.cap /= parts;
        one
    }
}

struct Problems(Vec<AnalysisProblem>);

impl Problems {
    fn check(&mut self, good: bool, key: &str, message: &str) {
        if !good {
            self.0.push(AnalysisProblem { key: key.to_owned(), message: message.to_owned() });
        }
    }

    fn between(&mut self, key: &str, value: f64, low: f64, high: f64) {
        let message = format!("It must lie between {low} and {high}, and is {value}.");
        self.check(value >= low && value <= high, key, &message);
    }
}
