//! A weighted mixture of bets with restarts: the bookkeeping that every test of the judge shares. It knows neither
//! counts nor rates: it is told how the logarithm of each bet's capital changes.
//!
//! A test that bets from the beginning only pays for each healthy hour when a regression begins late. So a part of the
//! capital is kept back, and a piece of it starts the same bets anew from time to time. All copies of a bet change by
//! the same factor once they run, so their sum is enough: the memory does not grow with the number of restarts.

use serde::{Deserialize, Serialize};

use super::math::{exp, ln, log_add, log_sum};

/// The part of the capital that bets from the beginning where there are restarts. An early regression is found
/// `ln(1/0.7)` = 0.36 nats later for it.
const FIRST: f64 = 0.7;

/// The `j`-th restart gets the part `c / ((j - 1 + c)(j + c))` of the rest: slowly less, so that the twelfth (six hours)
/// costs 5.1 nats and the first 3.4.
const SLOWNESS: f64 = 8.0;

/// The mixture. Its capital, one at the start, is the e-value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Mixture {
    /// The logarithm of the capital of each bet, its weight included.
    #[serde(with = "super::exact")]
    log: Vec<f64>,
    /// The logarithm of the weights, to start again with.
    #[serde(with = "super::exact")]
    weights: Vec<f64>,
    /// What is kept back for restarts.
    #[serde(with = "super::exact::one")]
    reserve: f64,
    /// Restarts so far.
    restarts: u32,
}

impl Mixture {
    /// Bets with these weights, which are made to sum to one.
    pub(crate) fn new(weights: &[f64], restarts: bool) -> Self {
        let total: f64 = weights.iter().sum();
        let weights: Vec<f64> = weights.iter().map(|weight| ln(weight / total)).collect();
        let kept = if restarts { 1.0 - FIRST } else { 0.0 };
        let log = weights.iter().map(|weight| weight + ln(1.0 - kept)).collect();
        Self { log, weights, reserve: kept, restarts: 0 }
    }

    /// Each bet's capital changes by the factor whose logarithm `change` gives.
    pub(crate) fn fold(&mut self, mut change: impl FnMut(usize) -> f64) {
        for (k, log) in self.log.iter_mut().enumerate() {
            *log += change(k);
        }
    }

    /// Starts the bets anew with a piece of what is kept back.
    pub(crate) fn restart(&mut self) {
        if self.reserve <= 0.0 {
            return;
        }
        self.restarts = self.restarts.saturating_add(1);
        // The proportion of what is left, so that it holds after `halve` as well.
        let piece = self.reserve / (f64::from(self.restarts) + SLOWNESS);
        self.reserve -= piece;
        for (log, weight) in self.log.iter_mut().zip(&self.weights) {
            *log = log_add(*log, weight + ln(piece));
        }
    }

    /// The logarithm of the e-value.
    pub(crate) fn log_e(&self) -> f64 {
        let bets = log_sum(self.log.iter().copied());
        if self.reserve > 0.0 { log_add(bets, ln(self.reserve)) } else { bets }
    }

    /// Replaces the e-value by its square root where it is above one, which keeps it an e-value (Jensen): used when
    /// the evidence turns out to be worth less than it was taken for.
    pub(crate) fn halve(&mut self) {
        let over = self.log_e().max(0.0) / 2.0;
        self.log.iter_mut().for_each(|log| *log -= over);
        self.reserve *= exp(-over);
    }
}
