//! What ratios are plausible: always-valid bounds from above and below, and the proof that a release is less than
//! `tolerance` times worse. One list of log-likelihoods over ratios gives all three.
//!
//! `L(r) = S_c ln r - sum of (S_c + S_b) ln D(r)` over batches; `exp(L(r') - L(r))` with r' < r is an e-process for
//! "at least r times worse in every batch" by the argument of `kernel` with the signs turned. Sums of badness between
//! 0 and 1 stand in for counts: a^x <= 1 + (a-1)x makes that cautious, never wrong.

use serde::{Deserialize, Serialize};

use super::kernel::Batch;
use super::math::{exp, ln, log_spaced, log_sum};

/// The ratios lie between this and its inverse.
const WIDEST: f64 = 64.0;

/// Points on either side of the tolerance.
const POINTS: usize = 24;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bounds {
    #[serde(with = "super::exact")]
    ratios: Vec<f64>,
    /// The logarithm of the weight of each ratio as an alternative.
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
        let weights = ratios.iter().map(|r| ln(0.5 * near(*r) / total + 0.5 / (ratios.len() as f64))).collect();
        let log = vec![0.0; ratios.len()];
        Self { ratios, weights, log, tolerance: at }
    }

    pub(crate) fn fold(&mut self, batch: &Batch, dispersion: f64) {
        let bad = batch.canary.bad + batch.baseline.bad;
        if !batch.compares() || bad <= 0.0 {
            return;
        }
        let weight = batch.weight();
        for (log, ratio) in self.log.iter_mut().zip(&self.ratios) {
            let spread = ln(weight * ratio + 1.0 - weight);
            *log += (batch.canary.bad * ln(*ratio) - bad * spread) / dispersion;
        }
    }

    pub(crate) fn halve(&mut self) {
        self.log.iter_mut().for_each(|log| *log /= 2.0);
    }

    /// The logarithm of the evidence against "at least `ratios[at]` times worse".
    fn below(&self, at: usize) -> f64 {
        self.against(0..at) - self.log[at]
    }

    /// The logarithm of the evidence against "at most `ratios[at]` times worse".
    fn above(&self, at: usize) -> f64 {
        self.against(at + 1..self.ratios.len()) - self.log[at]
    }

    fn against(&self, bets: std::ops::Range<usize>) -> f64 {
        let weights = &self.weights[bets.clone()];
        log_sum(bets.map(|k| self.weights[k] + self.log[k])) - log_sum(weights.iter().copied())
    }

    /// The logarithm of the evidence that the release is less than `tolerance` times worse.
    pub(crate) fn log_proof(&self) -> f64 {
        self.below(self.tolerance)
    }

    /// The highest ratio that is not excluded with confidence `1 - beta`; `None` when the largest one is not.
    pub(crate) fn upper(&self, beta: f64) -> Option<f64> {
        let limit = -ln(beta);
        let last = (1..self.ratios.len()).rev().find(|at| self.below(*at) < limit).unwrap_or(0);
        // The first excluded point bounds everything between the two.
        self.ratios.get(last + 1).copied()
    }

    /// The lowest ratio that is not excluded with confidence `1 - alpha`; 0 when the smallest one is not.
    pub(crate) fn lower(&self, alpha: f64) -> f64 {
        let limit = -ln(alpha);
        let last = self.ratios.len() - 1;
        let first = (0..last).find(|at| self.above(*at) < limit).unwrap_or(last);
        first.checked_sub(1).map_or(0.0, |at| self.ratios[at])
    }
}
