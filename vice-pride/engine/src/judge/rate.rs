//! Tests of one release's bad rate against a fixed bound: above it (a broken service level objective), or below it (a
//! negligible rate). They need no baseline.
//!
//! A bet multiplies by `1 + l (x - bound)`; its expectation is at most one as long as the mean of x is on the null
//! hypothesis's side of the bound. `l` is the best one for the rate that the bet believes in.

use serde::{Deserialize, Serialize};

use super::kernel::Side;
use super::math::{ln, log_spaced};
use super::mixture::Mixture;

/// Alternatives of each test.
const POINTS: usize = 16;

/// A test against a fixed rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RateTest {
    #[serde(with = "super::exact::one")]
    bound: f64,
    #[serde(with = "super::exact")]
    rates: Vec<f64>,
    /// The logarithms of each bet's factors at badness 0 and 1: they never change, and logarithms are what costs.
    #[serde(with = "super::exact")]
    good: Vec<f64>,
    #[serde(with = "super::exact")]
    bad: Vec<f64>,
    mixture: Mixture,
}

impl RateTest {
    /// Finds a rate above `bound`.
    pub(crate) fn above(bound: f64, restarts: bool) -> Self {
        let odds = log_spaced(1.1, 64.0, POINTS);
        let rates = odds.iter().map(|odds| odds * bound / (1.0 - bound + odds * bound)).collect();
        Self::new(bound, rates, restarts)
    }

    /// Proves a rate below `bound`.
    pub(crate) fn below(bound: f64) -> Self {
        let mut rates: Vec<f64> = log_spaced(bound / 32.0, bound / 1.1, POINTS - 1);
        // No bad event at all is the case that this test is for.
        rates.push(bound * 1e-3);
        Self::new(bound, rates, false)
    }

    fn new(bound: f64, rates: Vec<f64>, restarts: bool) -> Self {
        let good = rates.iter().map(|rate| ln(factors(*rate, bound).0)).collect();
        let bad = rates.iter().map(|rate| ln(factors(*rate, bound).1)).collect();
        Self { bound, rates, good, bad, mixture: Mixture::new(&[1.0; POINTS], restarts) }
    }

    pub(crate) fn fold(&mut self, side: &Side, dispersion: f64) {
        if side.seen <= 0.0 {
            return;
        }
        let Self { bound, rates, good, bad, mixture } = self;
        if side.levels.is_none() {
            return mixture.fold(|k| side.log_factor_of_logs(good[k], bad[k]) / dispersion);
        }
        mixture.fold(|k| {
            let (good, bad) = factors(rates[k], *bound);
            side.log_factor(good, bad) / dispersion
        });
    }

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

/// By what a bet on a rate multiplies at badness 0 and at badness 1.
fn factors(rate: f64, bound: f64) -> (f64, f64) {
    ((1.0 - rate) / (1.0 - bound), rate / bound)
}
