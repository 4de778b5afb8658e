//! The budgeted ramp: how much traffic the new release may have, so that what it may still break stays within the
//! budget. It owns the law and what can be said before the rollout; it sees no window.

use serde::{Deserialize, Serialize};

use super::analysis::Analysis;
use super::math::ln;

/// What the law needs to know about one metric.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exposure {
    /// Exposures of both releases in one window.
    pub(crate) volume: f64,
    /// The old release's bad rate.
    pub(crate) base_rate: f64,
    /// The highest plausible ratio.
    pub(crate) ratio_high: f64,
    /// Bad events beyond the old release's so far, at least 0.
    pub(crate) spent: f64,
}

/// The largest share at which one window puts at most `risk` of what is left of the budget at stake:
/// `risk (B - spent) / (N min(1, p_b (U - 1)))`, at least one exposure a window, at most the cap.
pub(crate) fn room(analysis: &Analysis, exposure: Exposure) -> f64 {
    if exposure.volume <= 0.0 {
        return 0.0;
    }
    let at_stake = (exposure.base_rate * (exposure.ratio_high - 1.0)).clamp(1e-12, 1.0);
    let left = (analysis.budget - exposure.spent).max(0.0);
    let share = analysis.ramp.risk * left / (exposure.volume * at_stake);
    share.max(1.0 / exposure.volume).min(analysis.ramp.cap)
}

/// The first share: everything may fail, and one window may cost `risk` of the budget. `volume`: exposures of both
/// releases in one window.
#[must_use]
pub fn first_share(analysis: &Analysis, volume: f64) -> f64 {
    if volume.is_nan() || volume <= 0.0 {
        return 0.0;
    }
    (analysis.ramp.risk * analysis.budget / volume).max(1.0 / volume).min(analysis.ramp.cap)
}

/// Whether the budget can pay for the proof.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Feasibility {
    /// The budget that the proof needs: `4 ln(1/beta) / (tolerance - 1)`. A release that is just tolerable costs about
    /// half of it before it is told from one that is not, and chance takes its part.
    pub budget_min: f64,
    /// Whether the budget is at least that.
    pub feasible: bool,
}

/// Whether the budget can pay for the proof.
#[must_use]
pub fn feasibility(analysis: &Analysis) -> Feasibility {
    let budget_min = -4.0 * ln(analysis.beta) / (analysis.tolerance - 1.0).max(1e-9);
    Feasibility { budget_min, feasible: analysis.budget >= budget_min }
}
