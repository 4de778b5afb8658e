//! What ratios are plausible: always-valid bounds from above and below, and the proof that a release is less than
//! `tolerance` times worse. One list of log-likelihoods over ratios gives all three.
//!
//! `L(r) = S_c ln r - sum of (S_c + S_b) ln D(r)` over batches; `exp(L(r') - L(r))` with r' < r is an e-process for
//! "at least r times worse in every batch" by the argument of `kernel` with the signs turned. Sums of badness between
//! 0 and 1 stand in for counts: a^x <= 1 + (a-1)x makes that cautious, never wrong.

use serde::{Deserialize, Serialize};

use super::kernel::Batch;
use super::math::{exp, ln, log_spaced};

/// The ratios lie between this and its inverse.
const WIDEST: f64 = 64.0;

/// Points on either side of the tolerance.
const POINTS: usize = 24;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bounds {
    #[serde(with = "super::exact")]
    ratios: Vec<f64>,
    /// The logarithm of each ratio.
    #[serde(with = "super::exact")]
    logs: Vec<f64>,
    /// The weight of each ratio as an alternative.
    #[serde(with = "super::exact")]
    weights: Vec<f64>,
    #[serde(with = "super::exact")]
    log: Vec<f64>,
    /// Where the tolerance lies in `ratios`: exactly on a point, and itself rejected before a promotion.
    tolerance: usize,
}

impl Bounds {
    pub(crate) fn new(tolerance: f64) -> Self {
        let mut ratios = log_spaced(0.25, tolerance, POINTS);
        let at = ratios.len() - 1;
        ratios[at] = tolerance;
        ratios.extend(log_spaced(tolerance, WIDEST.max(tolerance * 2.0), POINTS).into_iter().skip(1));
        // Most releases are as good as the one before: half of the bet is near 1, the rest is spread evenly.
        let near = |ratio: f64| exp(-0.5 * (ln(ratio) / 0.15) * (ln(ratio) / 0.15));
        let total: f64 = ratios.iter().map(|ratio| near(*ratio)).sum();
        let weights = ratios.iter().map(|r| 0.5 * near(*r) / total + 0.5 / (ratios.len() as f64)).collect();
        let (log, logs) = (vec![0.0; ratios.len()], ratios.iter().map(|ratio| ln(*ratio)).collect());
        Self { ratios, logs, weights, log, tolerance: at }
    }

    pub(crate) fn fold(&mut self, batch: &Batch, dispersion: f64) {
        let bad = batch.canary.bad + batch.baseline.bad;
        if !batch.compares() || bad <= 0.0 {
            return;
        }
        let weight = batch.weight();
        for (log, (ratio, log_ratio)) in self.log.iter_mut().zip(self.ratios.iter().zip(&self.logs)) {
            let spread = ln(weight * ratio + 1.0 - weight);
            *log += (batch.canary.bad * log_ratio - bad * spread) / dispersion;
        }
    }

    pub(crate) fn halve(&mut self) {
        self.log.iter_mut().for_each(|log| *log /= 2.0);
    }

    /// All that the likelihoods say, in one pass. `alpha` is for the lower bound, `beta` for the upper one.
    pub(crate) fn plausible(&self, alpha: f64, beta: f64) -> Plausible {
        let high = self.log.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut likelihood = [0.0; 2 * POINTS - 1];
        likelihood.iter_mut().zip(&self.log).for_each(|(likely, log)| *likely = exp(log - high));
        let points = likelihood.iter().zip(&self.weights).enumerate();
        let (mut bets, mut weights, mut upper, mut log_proof) = (0.0, 0.0, None, 0.0);
        for (at, (likely, weight)) in points.clone() {
            // The bets below this ratio against the ratio: excluded where their mean is 1/beta times as likely.
            let excluded = weights > 0.0 && bets * beta >= likely * weights;
            upper = if excluded { upper.or(Some(at)) } else { None };
            if at == self.tolerance {
                log_proof = ln(bets / weights) + high - self.log[at];
            }
            bets += weight * likely;
            weights += weight;
        }
        let (mut bets, mut weights, mut lower) = (0.0, 0.0, None);
        for (at, (likely, weight)) in points.rev() {
            let excluded = weights > 0.0 && bets * alpha >= likely * weights;
            lower = if excluded { lower.or(Some(at)) } else { None };
            bets += weight * likely;
            weights += weight;
        }
        let ratio = |at: usize| self.ratios[at];
        Plausible { log_proof, low: lower.map_or(0.0, ratio), high: upper.map(ratio) }
    }
}

/// What the likelihoods say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plausible {
    /// The logarithm of the evidence that the release is less than `tolerance` times worse.
    pub(crate) log_proof: f64,
    /// All ratios up to this one are excluded; 0 when not even the smallest is.
    pub(crate) low: f64,
    /// All ratios from this one on are excluded; `None` when not even the largest is.
    pub(crate) high: Option<f64>,
}
