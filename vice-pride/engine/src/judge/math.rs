//! Elementary functions from one pinned library, so that every platform decides alike. Nothing here knows what a
//! rollout is.

/// Natural logarithm; minus infinity at 0.
pub(crate) fn ln(x: f64) -> f64 {
    libm::log(x)
}

/// Exponential function.
pub(crate) fn exp(x: f64) -> f64 {
    libm::exp(x)
}

/// Square root.
pub(crate) fn sqrt(x: f64) -> f64 {
    libm::sqrt(x)
}

/// `ln(exp(a) + exp(b))` without overflow.
pub(crate) fn log_add(a: f64, b: f64) -> f64 {
    let (high, low) = if a >= b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + libm::log1p(exp(low - high)) }
}

/// `ln(sum(exp(x)))` without overflow; minus infinity for nothing.
pub(crate) fn log_sum(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let high = values.clone().fold(f64::NEG_INFINITY, f64::max);
    if high == f64::NEG_INFINITY {
        return high;
    }
    // Terms below e^-40 of the largest cannot change the sum.
    let sum: f64 = values.map(|x| x - high).filter(|x| *x > -40.0).map(exp).sum();
    high + ln(sum)
}

/// `points` numbers between `low` and `high`, evenly spaced in the logarithm.
pub(crate) fn log_spaced(low: f64, high: f64, points: usize) -> Vec<f64> {
    let step = ln(high / low) / (points.max(2) - 1) as f64;
    (0..points).map(|k| low * exp(step * k as f64)).collect()
}
