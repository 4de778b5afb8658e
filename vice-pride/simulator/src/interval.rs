//! Counts and samples as the report has them: quantiles, histograms, and exact binomial intervals.

use vice_core::payload::simulation::{Histogram, Probability, Quantiles};

/// Bars of a histogram: as many as a terminal shows well.
const BARS: usize = 24;

/// Quantiles of a sample, straight between neighbours; all zero for an empty one.
#[must_use]
pub(crate) fn quantiles(values: &[f64]) -> Quantiles {
    quantiles_by(values, sorted_at)
}

/// Quantiles of times of which some are only known to be longer than `cut_off`. Nothing lies straight between a time and
/// those: what reaches them is one of them.
#[must_use]
pub(crate) fn times(values: &[f64], cut_off: f64) -> Quantiles {
    let at = |sorted: &[f64], p: f64| {
        let place = sorted_at(sorted, p);
        let known = sorted.partition_point(|time| *time < cut_off);
        let last = known.checked_sub(1).map_or(f64::NEG_INFINITY, |last| sorted[last]);
        if place > last && known < sorted.len() { cut_off } else { place }
    };
    quantiles_by(values, at)
}

fn quantiles_by(values: &[f64], at: impl Fn(&[f64], f64) -> f64) -> Quantiles {
    let mut sorted: Vec<f64> = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |p: f64| at(&sorted, p);
    Quantiles {
        mean: mean(values),
        p5: at(0.05),
        p25: at(0.25),
        p50: at(0.5),
        p75: at(0.75),
        p90: at(0.9),
        p95: at(0.95),
        p99: at(0.99),
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index into a sample"
)]
pub(crate) fn sorted_at(sorted: &[f64], p: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = p * last as f64;
    let low = (place as usize).min(last);
    let high = (low + 1).min(last);
    sorted[low] + (sorted[high] - sorted[low]) * (place - low as f64)
}

#[expect(clippy::cast_precision_loss, reason = "the size of a sample")]
pub(crate) fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// The standard error of the mean.
#[expect(clippy::cast_precision_loss, reason = "the size of a sample")]
pub(crate) fn standard_error(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = mean(values);
    let n = values.len() as f64;
    libm::sqrt(values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / (n - 1.0) / n)
}

/// A histogram with bars of one width; none for a sample without a width.
#[must_use]
pub(crate) fn histogram(values: &[f64]) -> Option<Histogram> {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if high <= low || values.is_empty() {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "24 bars")]
    let edge = |bar: usize| low + (high - low) * bar as f64 / BARS as f64;
    let edges: Vec<f64> = (0..=BARS).map(edge).collect();
    let mut counts = vec![0; BARS];
    for value in values {
        let bar = edges.partition_point(|edge| edge <= value).saturating_sub(1).min(BARS - 1);
        counts[bar] += 1;
    }
    Some(Histogram { edges, counts })
}

/// `k` of `n` with its exact (Clopper-Pearson) 95 % interval.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts of runs")]
pub fn counted(k: u64, n: u64) -> Probability {
    if n == 0 {
        return Probability::default();
    }
    let (kf, nf) = (k as f64, n as f64);
    let lo = if k == 0 { 0.0 } else { beta_quantile(0.025, kf, nf - kf + 1.0) };
    let hi = if k == n { 1.0 } else { beta_quantile(0.975, kf + 1.0, nf - kf) };
    Probability { value: kf / nf, k: Some(k), n: Some(n), lo: Some(lo), hi: Some(hi) }
}

/// A probability that was integrated.
#[must_use]
pub(crate) fn integrated(value: f64) -> Probability {
    Probability { value: value.clamp(0.0, 1.0), ..Probability::default() }
}

/// The x with I_x(a, b) = p, by bisection: 60 halvings leave less than 1e-18.
fn beta_quantile(p: f64, a: f64, b: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if incomplete_beta(middle, a, b) < p { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}

/// The regularised incomplete beta function by Lentz's continued fraction.
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    // The fraction converges fast only on this side of the mean.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(1.0 - x, b, a);
    }
    let front =
        libm::exp(libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b) + a * libm::log(x) + b * libm::log1p(-x)) / a;
    let tiny = 1e-300;
    let (mut f, mut c, mut d) = (1.0, 1.0, 0.0);
    for i in 0..=500_u32 {
        let m = f64::from(i / 2);
        let numerator = match (i, i % 2) {
            (0, _) => 1.0,
            (_, 0) => m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m)),
            _ => -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0)),
        };
        d = 1.0 / nonzero(1.0 + numerator * d, tiny);
        c = nonzero(1.0 + numerator / c, tiny);
        f *= c * d;
        if (1.0 - c * d).abs() < 1e-14 {
            break;
        }
    }
    front * (f - 1.0)
}

fn nonzero(value: f64, tiny: f64) -> f64 {
    if value.abs() < tiny { tiny } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_clopper_and_pearson() {
        // scipy.stats.binomtest(k, n).proportion_ci(method="exact").
        for (k, n, lo, hi) in [
            (0, 100, 0.0, 0.036_216_69),
            (3, 100, 0.006_229_97, 0.085_176_05),
            (50, 100, 0.398_321_13, 0.601_678_87),
            (7, 7, 0.590_383_56, 1.0),
        ] {
            let got = counted(k, n);
            assert!((got.lo.unwrap() - lo).abs() < 1e-6 && (got.hi.unwrap() - hi).abs() < 1e-6, "{k} of {n}: {got:?}");
        }
    }

    #[test]
    fn quantiles_and_histograms_hold_the_whole_sample() {
        let values: Vec<f64> = (0..=100).map(f64::from).collect();
        let got = quantiles(&values);
        assert_eq!((got.p50, got.p5, got.p99, got.mean), (50.0, 5.0, 99.0, 50.0));
        assert_eq!(histogram(&values).unwrap().counts.iter().sum::<u64>(), 101);
        assert_eq!((quantiles(&[]), histogram(&[3.0, 3.0])), (Quantiles::default(), None));
    }
}
