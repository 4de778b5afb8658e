//! The ratio e-process: the rollback test, for one count of one metric. It owns the bets and their exactness; it knows
//! no metric, no threshold and no share.
//!
//! A batch is one stratum in one window. Its null hypothesis: the new release's bad rate is at most `margin` times the
//! old one's in this batch, whatever that is. For each ratio above the margin a bet multiplies its capital by
//!
//! - `1 + A (x - p_c)` for each exposure of the new release with badness x,
//! - `1 + B (x - p_b)` for each exposure of the old one, with `(1-w) B = -margin w A` and `p_c = margin p_b`,
//!
//! where `w` is the new release's part of the batch. By the inequality of the means the expected factor is at most
//! `(1 + w A (mu_c - margin mu_b))^n`, which is at most one under the null hypothesis, for every base rate: the
//! guess of the base rate that `p_b` comes from can only cost power. For rare events it tends to the factor of two
//! Poisson counts, which needs no guess and is used below [`RARE`].

use serde::{Deserialize, Serialize};

use super::analysis::Grid;
use super::math::{exp, ln, log_spaced, sqrt};
use super::mixture::Mixture;
use super::reading::LEVELS;

/// Below this base rate the Poisson form loses less than this part of the evidence.
const RARE: f64 = 0.03;

/// One release in one batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Side {
    /// Exposures.
    pub(crate) seen: f64,
    /// The sum of their badness.
    pub(crate) bad: f64,
    /// How many have which badness, where it is not just 0 or 1.
    pub(crate) levels: Option<[u32; LEVELS]>,
}

/// Both releases in one batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch {
    /// The new release.
    pub(crate) canary: Side,
    /// The old release.
    pub(crate) baseline: Side,
}

impl Batch {
    /// The new release's part of the exposures.
    pub(crate) fn weight(&self) -> f64 {
        self.canary.seen / (self.canary.seen + self.baseline.seen)
    }

    /// Whether both have exposures; otherwise nothing can be learned about a ratio.
    pub(crate) fn compares(&self) -> bool {
        self.canary.seen > 0.0 && self.baseline.seen > 0.0
    }
}

impl Side {
    /// As [`Self::log_factor`], from the logarithms of `good` and `bad`; for a side without levels.
    #[inline]
    pub(crate) fn log_factor_of_logs(&self, good: f64, bad: f64) -> f64 {
        times_log(self.bad, bad) + times_log(self.seen - self.bad, good)
    }

    /// The logarithm of the factor, for bets that multiply by `good` at badness 0 and by `bad` at badness 1.
    pub(crate) fn log_factor(&self, good: f64, bad: f64) -> f64 {
        match &self.levels {
            None if good == 1.0 => times(self.bad, bad),
            None => times(self.bad, bad) + times(self.seen - self.bad, good),
            Some(levels) => (0..LEVELS)
                .filter(|level| levels[*level] > 0)
                .map(|level| {
                    let badness = level as f64 / (LEVELS - 1) as f64;
                    f64::from(levels[level]) * ln(good + (bad - good) * badness)
                })
                .sum(),
        }
    }
}

/// `count * ln(factor)`, and 0 for a count of 0 whatever the factor.
fn times(count: f64, factor: f64) -> f64 {
    if count > 0.0 { count * ln(factor) } else { 0.0 }
}

/// As [`times`], where the logarithm is known.
fn times_log(count: f64, log: f64) -> f64 {
    if count > 0.0 { count * log } else { 0.0 }
}

/// The rollback test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RatioTest {
    #[serde(with = "super::exact::one")]
    margin: f64,
    #[serde(with = "super::exact")]
    ratios: Vec<f64>,
    /// `ln(ratio / margin)` of each, because logarithms are most of what a batch costs.
    #[serde(with = "super::exact")]
    edges: Vec<f64>,
    mixture: Mixture,
    /// Exposures and badness of the old release in past batches, the older the less: the guess of the base rate.
    #[serde(with = "super::exact::one")]
    past_seen: f64,
    #[serde(with = "super::exact::one")]
    past_bad: f64,
}

impl RatioTest {
    /// A test against `margin` with the alternatives of `grid`.
    pub(crate) fn new(margin: f64, grid: Grid, restarts: bool) -> Self {
        let points = usize::from(grid.points.clamp(2, 256));
        let ratios = log_spaced(margin * grid.low, margin * grid.high, points);
        let weights: Vec<f64> = ratios.iter().map(|ratio| exp(-grid.lean * ln(*ratio))).collect();
        let edges = edges(&ratios, margin);
        Self { margin, ratios, edges, mixture: Mixture::new(&weights, restarts), past_seen: 0.0, past_bad: 0.0 }
    }

    /// Takes in a batch whose evidence counts `1/dispersion`.
    pub(crate) fn fold(&mut self, batch: &Batch, dispersion: f64) {
        if !batch.compares() {
            return;
        }
        let (weight, margin, ratios, edges) = (batch.weight(), self.margin, &self.ratios, &self.edges);
        let guess = (self.past_bad + 0.5) / (self.past_seen + 1.0);
        if self.past_seen > 0.0 && guess > RARE {
            self.mixture.fold(|k| frequent(batch, weight, margin, ratios[k] / margin, guess) / dispersion);
        } else {
            let calm = batch.canary.bad == 0.0 && batch.baseline.bad == 0.0;
            if !calm {
                self.mixture.fold(|k| rare(batch, weight, margin, (ratios[k], edges[k])) / dispersion);
            }
        }
        // About sixty batches are remembered, an hour where a window is a minute: a daily cycle moves the base rate, and
        // chance should not.
        self.past_seen = self.past_seen * (59.0 / 60.0) + batch.baseline.seen;
        self.past_bad = self.past_bad * (59.0 / 60.0) + batch.baseline.bad;
    }

    /// The logarithm of the evidence that the new release is worse than `margin` allows.
    pub(crate) fn log_e(&self) -> f64 {
        self.mixture.log_e()
    }

    pub(crate) fn restart(&mut self) {
        self.mixture.restart();
    }

    pub(crate) fn halve(&mut self) {
        self.mixture.halve();
    }
}

/// `ln(ratio / margin)` of each ratio.
fn edges(ratios: &[f64], margin: f64) -> Vec<f64> {
    ratios.iter().map(|ratio| ln(ratio / margin)).collect()
}

/// The factor for rare events: `a = (r/r0) D(r0)/D(r)`, `b = D(r0)/D(r)`, `D(r) = w r + 1 - w`. `edge` is
/// `ln(ratio / margin)`.
fn rare(batch: &Batch, weight: f64, margin: f64, (ratio, edge): (f64, f64)) -> f64 {
    let spread = |r: f64| weight * r + 1.0 - weight;
    let baseline = spread(margin) / spread(ratio);
    let canary = ratio / margin * baseline;
    if batch.canary.levels.is_none() && batch.baseline.levels.is_none() {
        return batch.canary.bad * edge + (batch.canary.bad + batch.baseline.bad) * ln(baseline);
    }
    batch.canary.log_factor(1.0, canary) + batch.baseline.log_factor(1.0, baseline)
}

/// The factor for frequent events: the likelihood of the alternative against that of its nearest point of the null
/// hypothesis, given a guess of the base rate. `odds` is the alternative's odds ratio against the margin.
fn frequent(batch: &Batch, weight: f64, margin: f64, odds: f64, guess: f64) -> f64 {
    let base = guess.min(0.999 / margin);
    let edge = margin * base;
    let worse = odds * edge / (1.0 - edge + odds * edge);
    // The nearest point (margin p, p) solves margin p^2 - linear p + constant = 0; this form does not cancel.
    let linear = weight * (worse + margin) + (1.0 - weight) * (margin * base + 1.0);
    let constant = weight * worse + (1.0 - weight) * base;
    let root = sqrt((linear * linear - 4.0 * margin * constant).max(0.0));
    let near = 2.0 * constant / (linear + root);
    if near <= 0.0 || margin * near >= 1.0 {
        return 0.0;
    }
    let canary = batch.canary.log_factor((1.0 - worse) / (1.0 - margin * near), worse / (margin * near));
    canary + batch.baseline.log_factor((1.0 - base) / (1.0 - near), base / near)
}

/// The Shiryaev-Roberts detector for the time after promotion: there is no end at which a level could be kept, so it
/// bounds how often it cries wolf. Its mean time to a false alarm is at least `limit` windows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    #[serde(with = "super::exact::one")]
    margin: f64,
    #[serde(with = "super::exact::one")]
    limit: f64,
    #[serde(with = "super::exact")]
    ratios: Vec<f64>,
    #[serde(with = "super::exact")]
    edges: Vec<f64>,
    /// The logarithm of each alternative's statistic.
    #[serde(with = "super::exact")]
    log: Vec<f64>,
}

impl Watch {
    /// Watches for a ratio above `margin`; at most one false alarm in `limit` windows on average.
    #[must_use]
    pub fn new(margin: f64, grid: Grid, limit: f64) -> Self {
        let points = usize::from(grid.points.clamp(2, 256));
        let ratios = log_spaced(margin * grid.low, margin * grid.high, points);
        let edges = edges(&ratios, margin);
        Self { margin, limit: limit.max(1.0), log: vec![f64::NEG_INFINITY; ratios.len()], ratios, edges }
    }

    /// Takes in a window of error counts; whether the alarm is on.
    pub fn window(&mut self, canary: (u64, u32), baseline: (u64, u32)) -> bool {
        let side = |(seen, bad): (u64, u32)| Side { seen: seen as f64, bad: f64::from(bad), levels: None };
        let batch = Batch { canary: side(canary), baseline: side(baseline) };
        if batch.compares() && batch.canary.bad <= batch.canary.seen && batch.baseline.bad <= batch.baseline.seen {
            let weight = batch.weight();
            let alternatives = self.ratios.iter().copied().zip(self.edges.iter().copied());
            for (log, alternative) in self.log.iter_mut().zip(alternatives) {
                *log = super::math::log_add(*log, 0.0) + rare(&batch, weight, self.margin, alternative);
            }
        }
        self.log_statistic() >= ln(self.limit)
    }

    /// The logarithm of the statistic, to be compared with `ln(limit)`.
    #[must_use]
    pub fn log_statistic(&self) -> f64 {
        super::math::log_sum(self.log.iter().copied()) - ln(self.log.len() as f64)
    }
}
