//! What a rollout will take, said before it begins: how long until a good release is proven, how long until a bad one
//! is found and what it costs until then. It sends expected counts through the very tests and the very ramp that will
//! judge, so it cannot promise what they do not do. It must not be used to decide anything.

use serde::{Deserialize, Serialize};

use super::analysis::{Analysis, MetricKind, MetricPlan};
use super::bounds::Bounds;
use super::kernel::{Batch, RatioTest, Side};
use super::math::{ln, log_add, rate_high};
use super::ramp::{Exposure, Feasibility, feasibility, first_share, room};
use super::rate::RateTest;

/// A forecast looks at most so many windows ahead: two weeks of minutes.
const WINDOWS_MAX: u32 = 20_160;

/// The regressions that a forecast speaks of.
pub const FORECAST_RATIOS: [f64; 3] = [1.5, 2.0, 5.0];

/// What is expected of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Expected {
    /// Exposures of both releases in one window.
    pub volume: f64,
    /// The old release's bad rate. For latencies it is not used: one in a hundred lies beyond p99.
    pub base_rate: f64,
}

/// How the share moves.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SharePath {
    /// By the budgeted ramp, from its first step.
    Ramp,
    /// It stays at this.
    Fixed(f64),
}

/// A forecast. All times are windows after the first step; `None` is longer than two weeks of minutes or never.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// The share of the first step.
    pub first_share: f64,
    /// Whether the budget can pay for the proof.
    pub feasibility: Feasibility,
    /// Windows until a release that is exactly as good is proven: a little above the median.
    pub proceed: Option<u32>,
    /// The metric that takes longest.
    pub slowest: u16,
    /// For each ratio of [`FORECAST_RATIOS`], of the metric that is quickest.
    pub found: Vec<Found>,
}

/// When a regression is found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// How many times worse.
    pub ratio: f64,
    /// Windows until the rollback: a little above the median.
    pub windows: Option<u32>,
    /// Bad events beyond what the old release would have had until then, or in all the windows looked at.
    pub excess: f64,
}

/// Forecasts a rollout. `expected` has one entry for each metric, in their order; missing ones are left out.
#[must_use]
pub fn forecast(analysis: &Analysis, expected: &[Expected], path: SharePath) -> Forecast {
    let metrics = || (0u16..).zip(analysis.metrics.iter().zip(expected));
    let usable = |one: &Expected| one.volume.is_finite() && one.volume > 0.0;
    let proofs = metrics().map(|(at, (plan, one))| (at, usable(one).then(|| walk(analysis, plan, *one, path, 1.0).0)));
    let proofs: Vec<(u16, Option<u32>)> = proofs.map(|(at, windows)| (at, windows.flatten())).collect();
    let slowest = proofs.iter().max_by_key(|(at, windows)| (windows.unwrap_or(u32::MAX), u16::MAX - at));
    let found = FORECAST_RATIOS.iter().map(|ratio| {
        let each = metrics().filter(|(_, (_, one))| usable(one));
        let each = each.map(|(_, (plan, one))| walk(analysis, plan, *one, path, *ratio));
        let quickest = each.min_by_key(|(windows, _)| windows.unwrap_or(u32::MAX)).unwrap_or((None, 0.0));
        Found { ratio: *ratio, windows: quickest.0, excess: quickest.1 }
    });
    let volume = expected.iter().map(|one| one.volume).fold(0.0, f64::max);
    Forecast {
        first_share: first_share(analysis, volume),
        feasibility: feasibility(analysis),
        proceed: slowest.and_then(|(_, windows)| *windows),
        slowest: slowest.map_or(0, |(at, _)| *at),
        found: found.collect(),
    }
}

/// Walks a rollout along its expected counts; gives the windows until the decision that `ratio` calls for (1: the
/// proof, else the rollback) and the excess until then.
fn walk(analysis: &Analysis, plan: &MetricPlan, one: Expected, path: SharePath, ratio: f64) -> (Option<u32>, f64) {
    let base_rate = if plan.kind == MetricKind::Latency { 0.01 } else { one.base_rate };
    let base = if base_rate.is_finite() { base_rate.clamp(0.0, 1.0) } else { 0.0 };
    let mut bounds = Bounds::new(analysis.tolerance);
    let mut worse = RatioTest::new(plan.margin, analysis.grid, analysis.restart.is_some());
    let mut share = match path {
        SharePath::Ramp => first_share(analysis, one.volume),
        SharePath::Fixed(share) => share.clamp(0.0, 1.0),
    };
    let mut negligible = plan.floor.map(RateTest::below);
    let (mut seen, mut bad, mut excess) = (1.0, 1.0, 0.0);
    let (mut new_seen, mut new_bad) = (0.0, 0.0);
    for windows in 1..=WINDOWS_MAX {
        let canary = Side { seen: one.volume * share, bad: 0.0, levels: None };
        let canary = Side { bad: canary.seen * (base * ratio).min(1.0), ..canary };
        let baseline = Side { seen: one.volume - canary.seen, bad: (one.volume - canary.seen) * base, levels: None };
        let batch = Batch { canary, baseline };
        bounds.fold(&batch, 1.0);
        worse.fold(&batch, 1.0);
        if let Some(test) = &mut negligible {
            test.fold(&canary, 1.0);
        }
        (new_seen, new_bad) = (new_seen + canary.seen, new_bad + canary.bad);
        (seen, bad, excess) = (seen + baseline.seen, bad + baseline.bad, excess + canary.bad - canary.seen * base);
        let plausible = bounds.plausible(analysis.alpha, analysis.beta);
        let proof = |test: &RateTest| log_add(plausible.log_proof, test.log_e()) - ln(2.0);
        let log_proof = negligible.as_ref().map_or(plausible.log_proof, proof);
        let spent = excess >= analysis.ramp.stop * analysis.budget && worse.log_e() >= 0.0;
        let done = match ratio {
            ratio if ratio <= 1.0 => log_proof >= -ln(analysis.beta),
            _ => worse.log_e() >= -ln(analysis.alpha) || spent,
        };
        if done {
            return (Some(windows), excess);
        }
        if path == SharePath::Ramp {
            let by_rate = || 1.0 + rate_high(new_bad, new_seen, analysis.beta) * seen / bad;
            let ratio_high = plausible.high.unwrap_or_else(by_rate).min(seen / bad);
            let exposure = Exposure { volume: one.volume, base_rate: bad / seen, ratio_high, spent: excess.max(0.0) };
            share = (share * analysis.ramp.growth).min(room(analysis, exposure));
        }
    }
    (None, excess)
}
