//! The judge as a rule among the others, in several configurations.

use vice_core::payload::rollout::Verdict;
use vice_pride_engine::judge::{Analysis, Arm, Grid, Judge, MetricKind, MetricPlan, Reading};

use crate::rivals::{Minute, Rule};

/// What ships.
pub(crate) fn shipped() -> Analysis {
    Analysis { metrics: vec![MetricPlan::new("errors", MetricKind::Errors)], ..Analysis::default() }
}

/// The reference configuration: margin 1, 24 even ratios up to 32, one test from the beginning.
pub(crate) fn reference() -> Analysis {
    let mut analysis = shipped();
    analysis.grid = Grid { points: 24, low: 1.15, high: 32.0, lean: 0.0 };
    analysis.restart = None;
    analysis.metrics[0].margin = 1.0;
    analysis
}

/// Without a budget: a pure test.
pub(crate) fn pure(mut analysis: Analysis) -> Analysis {
    analysis.budget = 1e12;
    analysis
}

pub(crate) fn counts(minute: &Minute) -> Reading {
    let arm = |(seen, bad)| Arm::errors(seen, bad);
    Reading::Counts { stratum: 0, canary: arm(minute.canary), baseline: arm(minute.baseline) }
}

/// The judge at a fixed share.
pub(crate) struct Ours {
    analysis: Analysis,
    judge: Judge,
}

impl Ours {
    pub(crate) fn new(analysis: Analysis) -> Self {
        Self { judge: Judge::new(&analysis), analysis }
    }
}

impl Rule for Ours {
    fn minute(&mut self, minute: &Minute) -> bool {
        self.judge.window(&self.analysis, 0, counts(minute));
        self.judge.close(&self.analysis, 0.1).verdict == Verdict::Rollback
    }
}
