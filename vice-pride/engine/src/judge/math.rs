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

/// The highest plausible rate after `bad` of `seen`, at every moment at once with confidence `1 - error`: the largest
/// rate at which the Beta(1/2, 1/2) mixture of bets is not yet worth `1/error`. Numbers need not be whole: for badness
/// between 0 and 1 each bet is a convex function of it, so that its mean is at most that of events.
pub(crate) fn rate_high(bad: f64, seen: f64, error: f64) -> f64 {
    if seen <= 0.0 || bad >= seen {
        return 1.0;
    }
    let good = seen - bad;
    let mixed = libm::lgamma(bad + 0.5) + libm::lgamma(good + 0.5) - libm::lgamma(seen + 1.0);
    let mixed = mixed - ln(core::f64::consts::PI);
    let log_e = |rate: f64| mixed - if bad > 0.0 { bad * ln(rate) } else { 0.0 } - good * libm::log1p(-rate);
    let (mut low, mut high) = (bad / seen, 1.0);
    for _ in 0..RATE_STEPS {
        let middle = f64::midpoint(low, high);
        if log_e(middle) < -ln(error) { low = middle } else { high = middle }
    }
    high
}

/// Halvings of the interval that holds a bound: it is then exact to one in a billion.
const RATE_STEPS: u32 = 30;

/// `points` numbers between `low` and `high`, evenly spaced in the logarithm.
pub(crate) fn log_spaced(low: f64, high: f64, points: usize) -> Vec<f64> {
    let step = ln(high / low) / (points.max(2) - 1) as f64;
    (0..points).map(|k| low * exp(step * k as f64)).collect()
}
