//! Samples of numbers: medians and whole distributions, without assuming their shape.

use super::counts::fisher;
use super::special::normal_above;
use super::{Comparison, Finding, Method, Tolerances};
use crate::judge::math::{exp, sqrt};

/// Up to so many values together every division of the pooled sample is counted.
const EXACT_MAX: usize = 40;

/// Up to this product of the sizes the Kolmogorov-Smirnov paths are counted.
const PATHS_MAX: usize = 4_000_000;

/// Compares two samples of positive numbers, such as latencies, by how many times larger the first is: Mann-Whitney
/// against the second sample times `margin`, and times `tolerance`. Samples with numbers below zero have no ratio, so
/// they are compared as they are and never proceed.
#[must_use]
pub fn compare_samples(canary: &[f64], baseline: &[f64], tolerances: &Tolerances) -> Comparison {
    if canary.iter().chain(baseline).any(|value| !value.is_finite()) {
        return Comparison::nothing(Finding::Nonsense);
    }
    if canary.is_empty() || baseline.is_empty() {
        return Comparison::nothing(Finding::Empty);
    }
    let scaled = |factor: f64| baseline.iter().map(|value| value * factor).collect::<Vec<_>>();
    let positive = canary.iter().chain(baseline).all(|value| *value >= 0.0);
    let margin = if positive { tolerances.margin } else { 1.0 };
    let (_, p_worse) = mann_whitney(canary, &scaled(margin));
    let (p_less, _) = mann_whitney(canary, &scaled(tolerances.tolerance));
    let exact = canary.len() + baseline.len() <= EXACT_MAX;
    let ratio = |log_free: f64| if positive { log_free } else { 0.0 };
    let interval = |target: f64, upper: bool| ratio(invert(canary, baseline, target, upper));
    let found = Comparison {
        method: if exact { Method::MannWhitneyExact } else { Method::MannWhitneyNormal },
        ratio: ratio(shift(canary, baseline)),
        low: interval(tolerances.alpha, false),
        high: if positive { interval(tolerances.beta, true) } else { f64::INFINITY },
        p_worse,
        p_tolerable: if positive { p_less } else { 1.0 },
        ..Comparison::nothing(Finding::Undecided)
    };
    found.decided(tolerances)
}

/// The middle of a sample; 0 for an empty one.
#[must_use]
pub fn median(sample: &[f64]) -> f64 {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[middle],
        _ => sorted[middle - 1] / 2.0 + sorted[middle] / 2.0,
    }
}

/// Mood's median test: P-values of "so few" and "so many" values of the first sample above the pooled median, exact.
#[must_use]
pub fn median_test(canary: &[f64], baseline: &[f64]) -> (f64, f64) {
    let pooled: Vec<f64> = canary.iter().chain(baseline).copied().collect();
    let middle = median(&pooled);
    let above = |sample: &[f64]| (sample.len() as u64, sample.iter().filter(|value| **value > middle).count() as u64);
    fisher(above(canary), above(baseline))
}

/// Mann-Whitney: P-values of "the first sample is so low" and "so high", if both come from one distribution. Exact up
/// to 40 values, ties included; the normal limit beyond.
#[must_use]
pub fn mann_whitney(first: &[f64], second: &[f64]) -> (f64, f64) {
    if first.is_empty() || second.is_empty() {
        return (1.0, 1.0);
    }
    let pool = Ranked::new(first, second);
    if pool.doubled.len() <= EXACT_MAX { pool.exact() } else { pool.normal() }
}

/// Pooled ranks, doubled so that the mean ranks of ties are whole.
struct Ranked {
    doubled: Vec<usize>,
    /// Sum over the first sample.
    sum: usize,
    first: usize,
    /// Sum of t^3 - t over the ties.
    ties: f64,
}

impl Ranked {
    fn new(first: &[f64], second: &[f64]) -> Self {
        let mine = first.iter().map(|value| (*value, true));
        let mut pool: Vec<(f64, bool)> = mine.chain(second.iter().map(|value| (*value, false))).collect();
        pool.sort_by(|one, two| one.0.total_cmp(&two.0));
        let mut ranked = Self { doubled: Vec::with_capacity(pool.len()), sum: 0, first: first.len(), ties: 0.0 };
        // -0.0 and 0.0 are equal, and neighbours in the total order.
        for tied in pool.chunk_by(|one, two| one.0 == two.0) {
            let rank = 2 * ranked.doubled.len() + tied.len() + 1;
            let count = tied.len() as f64;
            ranked.ties += count * count * count - count;
            ranked.sum += rank * tied.iter().filter(|(_, mine)| *mine).count();
            ranked.doubled.extend(tied.iter().map(|_| rank));
        }
        ranked
    }

    /// Counts the subsets of the pool by size and sum.
    fn exact(&self) -> (f64, f64) {
        let most: usize = self.doubled.iter().rev().take(self.first).sum();
        let mut ways = vec![vec![0.0; most + 1]; self.first + 1];
        ways[0][0] = 1.0;
        for rank in &self.doubled {
            for size in (1..=self.first).rev() {
                let (smaller, larger) = ways.split_at_mut(size);
                let from = &smaller[size - 1];
                for sum in *rank..=most {
                    larger[0][sum] += from[sum - rank];
                }
            }
        }
        let last = &ways[self.first];
        let all: f64 = last.iter().sum();
        let low: f64 = last[..=self.sum].iter().sum();
        let high: f64 = last[self.sum..].iter().sum();
        ((low / all).min(1.0), (high / all).min(1.0))
    }

    fn normal(&self) -> (f64, f64) {
        let (all, mine) = (self.doubled.len() as f64, self.first as f64);
        let other = all - mine;
        let mean = mine * (all + 1.0) / 2.0;
        let spread = sqrt(mine * other / 12.0 * (all + 1.0 - self.ties / (all * (all - 1.0))));
        if spread <= 0.0 {
            return (1.0, 1.0);
        }
        let sum = self.sum as f64 / 2.0;
        (normal_above((mean - sum - 0.5) / spread).min(1.0), normal_above((sum - mean - 0.5) / spread).min(1.0))
    }
}

/// The ratio by which the first sample is larger: the factor at which the two are equally often larger than each other.
fn shift(first: &[f64], second: &[f64]) -> f64 {
    let mut sorted: Vec<f64> = second.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = first.len() as f64 * second.len() as f64 / 2.0;
    // How many pairs have the second times `factor` above the first grows with the factor.
    let above = |factor: f64| {
        let each = first.iter().map(|x| sorted.len() - sorted.partition_point(|y| y * factor <= *x));
        each.map(|count| count as f64).sum::<f64>()
    };
    factor(half, above)
}

/// The factor at which the p-value reaches `target`: the end of an interval, by inverting the test.
fn invert(first: &[f64], second: &[f64], target: f64, upper: bool) -> f64 {
    let scaled = |factor: f64| second.iter().map(|value| value * factor).collect::<Vec<_>>();
    if upper {
        factor(1.0 - target, |at| 1.0 - mann_whitney(first, &scaled(at)).0)
    } else {
        factor(target, |at| mann_whitney(first, &scaled(at)).1)
    }
}

/// Where an increasing function of a factor reaches `target`, searched over 1e-6 to 1e6 on a logarithmic scale, to
/// about nine digits.
fn factor(target: f64, value: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (-14.0, 14.0);
    for _ in 0..36 {
        let middle = (low + high) / 2.0;
        if value(exp(middle)) < target { low = middle } else { high = middle }
    }
    if high >= 14.0 {
        return f64::INFINITY;
    }
    if low <= -14.0 { 0.0 } else { exp((low + high) / 2.0) }
}

/// Kolmogorov-Smirnov, one-sided: the largest lead of the second sample's distribution function (the first is larger
/// somewhere) and its p-value. Exact by counting paths, ties included; the limit for large samples.
#[must_use]
pub fn kolmogorov_smirnov(first: &[f64], second: &[f64]) -> (f64, f64) {
    if first.is_empty() || second.is_empty() || first.iter().chain(second).any(|value| value.is_nan()) {
        return (0.0, 1.0);
    }
    let mut pool: Vec<(f64, bool)> =
        first.iter().map(|value| (*value, true)).chain(second.iter().map(|value| (*value, false))).collect();
    pool.sort_by(|one, two| one.0.total_cmp(&two.0));
    let (m, n) = (first.len(), second.len());
    let (mut mine, mut lead) = (0, 0i64);
    let mut ends = vec![false; m + n + 1];
    let mut at = 0;
    for tied in pool.chunk_by(|one, two| one.0 == two.0) {
        at += tied.len();
        mine += tied.iter().filter(|(_, own)| *own).count();
        ends[at] = true;
        lead = lead.max(ahead(mine, at - mine, m, n));
    }
    let statistic = lead as f64 / (m as f64 * n as f64);
    let p = if m * n <= PATHS_MAX { paths(m, n, lead, &ends) } else { limit(m, n, statistic) };
    (statistic, p.clamp(0.0, 1.0))
}

/// The lead of the second distribution function times m n.
fn ahead(mine: usize, other: usize, m: usize, n: usize) -> i64 {
    (other * m) as i64 - (mine * n) as i64
}

/// The part of all paths that reach the lead at a point where a tie ends.
fn paths(m: usize, n: usize, lead: i64, ends: &[bool]) -> f64 {
    // chance[j]: a path that has not reached the lead passes (i, j), as a part of all paths to that point.
    let mut chance = vec![0.0; n + 1];
    for i in 0..=m {
        for j in 0..=n {
            let steps = (i + j) as f64;
            let from_left = if i > 0 { chance[j] * i as f64 / steps } else { 0.0 };
            let from_below = if j > 0 { chance[j - 1] * j as f64 / steps } else { 0.0 };
            let inside = if i + j == 0 { 1.0 } else { from_left + from_below };
            chance[j] = if ends[i + j] && ahead(i, j, m, n) >= lead { 0.0 } else { inside };
        }
    }
    // A lead of nothing is always reached.
    if lead <= 0 { 1.0 } else { 1.0 - chance[n] }
}

fn limit(m: usize, n: usize, statistic: f64) -> f64 {
    let (m, n) = (m as f64, n as f64);
    exp(-2.0 * statistic * statistic * m * n / (m + n))
}
