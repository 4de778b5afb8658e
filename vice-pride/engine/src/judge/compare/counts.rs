//! Counts of bad events: exact tests of the ratio, with exact intervals. Fisher's for small samples, where one event
//! more matters; the conditional binomial for large ones, where events are rare against the exposures.

use super::special::{binomial_at_least, log_choose};
use super::{Comparison, Finding, Method, Tolerances, bisect};
use crate::judge::math::{exp, ln};

/// Up to so many exposures of both together the sample is small.
const SMALL: u64 = 2_000;

/// From this rate of bad events on they are not rare, and the conditional binomial would be needlessly cautious.
const FREQUENT: f64 = 0.2;

/// Where Fisher's sums would get long, even frequent events are left to the (cautious) binomial.
const FISHER_EVENTS_MAX: u64 = 200_000;

/// Compares `(seen, bad)` of the new release with that of the old one.
#[must_use]
pub fn compare_counts(canary: (u64, u64), baseline: (u64, u64), tolerances: &Tolerances) -> Comparison {
    if canary.1 > canary.0 || baseline.1 > baseline.0 {
        return Comparison::nothing(Finding::Nonsense);
    }
    if canary.0 == 0 || baseline.0 == 0 {
        return Comparison::nothing(Finding::Empty);
    }
    let (seen, bad) = (canary.0.saturating_add(baseline.0), canary.1.saturating_add(baseline.1));
    if bad == 0 {
        return Comparison::nothing(Finding::NoEvents);
    }
    let frequent = bad as f64 >= FREQUENT * seen as f64 && bad.min(seen - bad) <= FISHER_EVENTS_MAX;
    let found = if seen <= SMALL || frequent {
        by_fisher(canary, baseline, tolerances)
    } else {
        by_binomial(canary, baseline, tolerances)
    };
    found.decided(tolerances)
}

/// Given how many bad events there are, the new release's part is binomial with chance `w r / (w r + 1 - w)`.
fn by_binomial(canary: (u64, u64), baseline: (u64, u64), tolerances: &Tolerances) -> Comparison {
    let (mine, all) = (canary.1 as f64, (canary.1 + baseline.1) as f64);
    let odds = canary.0 as f64 / baseline.0 as f64;
    let part = |ratio: f64| odds * ratio / (1.0 + odds * ratio);
    let ratio_of = |part: f64| part / (1.0 - part) / odds;
    let at_least = |part: f64| binomial_at_least(mine, all, part);
    let at_most = |part: f64| binomial_at_least(all - mine, all, 1.0 - part);
    let low = if mine > 0.0 { bisect(0.0, 1.0, tolerances.alpha, at_least) } else { 0.0 };
    let high = if mine < all { bisect(0.0, 1.0, 1.0 - tolerances.beta, |part| 1.0 - at_most(part)) } else { 1.0 };
    Comparison {
        method: Method::ConditionalBinomial,
        ratio: if mine < all { ratio_of(mine / all) } else { f64::INFINITY },
        low: ratio_of(low),
        high: if high < 1.0 { ratio_of(high) } else { f64::INFINITY },
        p_worse: at_least(part(tolerances.margin)),
        p_tolerable: at_most(part(tolerances.tolerance)),
        ..Comparison::nothing(Finding::Undecided)
    }
}

fn by_fisher(canary: (u64, u64), baseline: (u64, u64), tolerances: &Tolerances) -> Comparison {
    let table = Table::new(canary, baseline);
    let (lowest, highest) = (ln(1e-12), ln(1e12));
    let above = |log_odds: f64| table.tails(log_odds).1;
    let low = if table.is_least() { 0.0 } else { exp(bisect(lowest, highest, tolerances.alpha, above)) };
    let not_below = |log_odds: f64| 1.0 - table.tails(log_odds).0;
    let high =
        if table.is_most() { f64::INFINITY } else { exp(bisect(lowest, highest, 1.0 - tolerances.beta, not_below)) };
    let good = |arm: (u64, u64)| (arm.0 - arm.1) as f64;
    let cross = (canary.1 as f64 * good(baseline), baseline.1 as f64 * good(canary));
    Comparison {
        method: Method::Fisher,
        ratio: if cross.1 > 0.0 { cross.0 / cross.1 } else { f64::INFINITY },
        low,
        high,
        p_worse: table.tails(ln(tolerances.margin)).1,
        p_tolerable: table.tails(ln(tolerances.tolerance)).0,
        ..Comparison::nothing(Finding::Undecided)
    }
}

/// Fisher's exact p-values at an odds ratio of one: the new release has so few, or so many, bad events.
#[must_use]
pub fn fisher(canary: (u64, u64), baseline: (u64, u64)) -> (f64, f64) {
    if canary.1 > canary.0 || baseline.1 > baseline.0 {
        return (1.0, 1.0);
    }
    Table::new(canary, baseline).tails(0.0)
}

/// The distribution of the new release's bad events given all margins.
struct Table {
    /// `ln` of the central weights from `first` on.
    weights: Vec<f64>,
    first: u64,
    seen: u64,
}

impl Table {
    fn new(canary: (u64, u64), baseline: (u64, u64)) -> Self {
        let bad = canary.1 + baseline.1;
        let (first, last) = (bad.saturating_sub(baseline.0), bad.min(canary.0));
        let weight = |k: u64| log_choose(canary.0 as f64, k as f64) + log_choose(baseline.0 as f64, (bad - k) as f64);
        Self { weights: (first..=last).map(weight).collect(), first, seen: canary.1 }
    }

    fn is_least(&self) -> bool {
        self.seen == self.first
    }

    fn is_most(&self) -> bool {
        self.seen + 1 == self.first + self.weights.len() as u64
    }

    /// P(at most the seen number) and P(at least the seen number) at this logarithm of the odds ratio.
    fn tails(&self, log_odds: f64) -> (f64, f64) {
        let terms = || (self.first..).zip(&self.weights).map(|(k, weight)| (k, weight + k as f64 * log_odds));
        let high = terms().map(|(_, term)| term).fold(f64::NEG_INFINITY, f64::max);
        let (mut below, mut at, mut above) = (0.0, 0.0, 0.0);
        for (k, term) in terms() {
            let part = exp(term - high);
            match k.cmp(&self.seen) {
                std::cmp::Ordering::Less => below += part,
                std::cmp::Ordering::Equal => at += part,
                std::cmp::Ordering::Greater => above += part,
            }
        }
        let all = below + at + above;
        ((below + at) / all, (at + above) / all)
    }
}
