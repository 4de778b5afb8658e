//! How tests drive a judge: one window a minute, in the configuration that the reference tables were made with, or in
//! the one that ships.

use vice_core::Millis;
use vice_core::payload::rollout::Verdict;
use vice_pride_engine::judge::{Analysis, Arm, Grid, Judge, MetricKind, MetricPlan, Reading, Ruling};

use crate::world::{VOLUME, World, divide};

/// The reference tables: margin 1, 24 ratios up to 32, one test from the beginning.
pub(crate) fn table() -> Analysis {
    let mut analysis = shipped();
    analysis.grid = Grid { points: 24, low: 1.15, high: 32.0, lean: 0.0 };
    analysis.restart = None;
    analysis.metrics[0].margin = 1.0;
    analysis
}

/// What ships: margin 1.05, 64 ratios up to 64, restarts every 30 minutes.
pub(crate) fn shipped() -> Analysis {
    Analysis { metrics: vec![MetricPlan::new("errors", MetricKind::Errors)], ..Analysis::default() }
}

/// Without the ramp's own way to end a rollout, and without proceeding: a pure test at a fixed share.
pub(crate) fn fixed(mut analysis: Analysis) -> Analysis {
    analysis.budget = 1e12;
    analysis
}

pub(crate) fn counts(canary: (u64, u32), baseline: (u64, u32)) -> Reading {
    let arm = |(seen, bad)| Arm::errors(seen, bad);
    Reading::Counts { stratum: 0, canary: arm(canary), baseline: arm(baseline) }
}

/// One window of one metric.
pub(crate) fn window(judge: &mut Judge, analysis: &Analysis, reading: Reading, share: f64) -> Ruling {
    judge.window(analysis, 0, reading);
    judge.close(analysis, share)
}

/// How a whole rollout ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub(crate) verdict: Verdict,
    pub(crate) minutes: u32,
    /// Bad events beyond what the old release would have had, in expectation of the world's true rates.
    pub(crate) excess: f64,
}

/// A rollout at a fixed share until the judge rules a rollback, at most so many minutes.
pub(crate) fn watch(world: &mut World, analysis: &Analysis, share: f64, minutes: u32) -> Option<u32> {
    let mut judge = Judge::new(analysis);
    let (canary, baseline) = divide(VOLUME, share);
    (0..minutes).find(|minute| {
        let (bad, base) = world.minute(*minute, canary, baseline);
        let ruling = window(&mut judge, analysis, counts((canary, bad), (baseline, base)), share);
        ruling.verdict == Verdict::Rollback
    })
}

/// A rollout by the ramp, to its end or for a day.
pub(crate) fn ramp(world: &mut World, analysis: &Analysis) -> End {
    let mut judge = Judge::new(analysis);
    let mut share = vice_pride_engine::judge::first_share(analysis, VOLUME as f64);
    let mut excess = 0.0;
    for minute in 0..1440 {
        let (canary, baseline) = divide(VOLUME, share);
        let (bad, base) = world.minute(minute, canary, baseline);
        let (rate, _) = world.rates(minute);
        excess += f64::from(bad) - canary as f64 * rate;
        let ruling = window(&mut judge, analysis, counts((canary, bad), (baseline, base)), share);
        if matches!(ruling.verdict, Verdict::Rollback | Verdict::Proceed) {
            return End { verdict: ruling.verdict, minutes: minute + 1, excess };
        }
        share = ruling.share;
    }
    End { verdict: Verdict::Hold, minutes: 1440, excess }
}

/// An interval in milliseconds of whole minutes.
pub(crate) fn minutes(n: u64) -> Millis {
    Millis(n * 60_000)
}

/// `p` plus three standard errors of a frequency of `runs` runs, at least what one run in excess is.
pub(crate) fn within(p: f64, runs: u32) -> f64 {
    p + 3.0 * (p * (1.0 - p) / f64::from(runs)).sqrt()
}
