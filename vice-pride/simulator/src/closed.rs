//! Closed forms of detection under exposure: what the simulator must agree with, and what the square-root law rests on.
//!
//! A bug shows itself at rate `h` for each server-hour on the new release (exposure), so it is unfound while the
//! exposure `A(t)`, the integral of the number of exposed servers, is small. Derivations: docs/simulation.md.

use vice_pride_engine::next_wave;

/// P(unfound at exposure `a`) with hazard `h` an hour: exp(-h a).
#[must_use]
pub fn unfound(h: f64, a: f64) -> f64 {
    libm::exp(-h * a)
}

/// The same when the hazard is gamma with shape `k` and scale `theta`: (1 + theta a)^-k.
#[must_use]
pub fn unfound_gamma(k: f64, theta: f64, a: f64) -> f64 {
    libm::exp(-k * libm::log1p(theta * a))
}

/// The mean exposure when the bug is found, the same for every schedule: 1 / h.
#[must_use]
pub fn exposure_at_detection(h: f64) -> f64 {
    1.0 / h
}

/// An exponential ramp: `n0 e^(g t)` servers until all `n` are reached, then `n`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ramp {
    /// Servers at the start.
    pub n0: f64,
    /// Servers in all.
    pub n: f64,
    /// Growth an hour.
    pub g: f64,
}

impl Ramp {
    /// The mean number of exposed servers when the bug is found: n0 + (g / h)(1 - e^(-h (n - n0) / g)).
    #[must_use]
    pub fn exposed_at_detection(self, h: f64) -> f64 {
        self.n0 - self.g / h * libm::expm1(-h * (self.n - self.n0) / self.g)
    }

    /// P(found before the share `x` of all servers): 1 - e^(-h (x n - n0) / g).
    #[must_use]
    pub fn found_before(self, h: f64, x: f64) -> f64 {
        -libm::expm1(-h * (x * self.n - self.n0).max(0.0) / self.g)
    }

    /// The mean exposure until the bug is found and the last server is back, `lag` hours after the find plus `back`
    /// hours: 1 / h + E[exposed at detection] (lag + back).
    #[must_use]
    pub fn impact(self, h: f64, lag: f64, back: f64) -> f64 {
        1.0 / h + self.exposed_at_detection(h) * (lag + back)
    }

    /// How many hours until all servers are reached.
    #[must_use]
    pub fn hours(self) -> f64 {
        libm::log(self.n / self.n0) / self.g
    }
}

/// Geometric waves: 1, `growth`, `growth`², ... servers up to `n`, each watched for `bake` hours. Gives the number of
/// servers in each wave, cumulative; the last one is `n`.
#[must_use]
pub fn geometric_waves(first: f64, growth: f64, n: f64) -> Vec<f64> {
    let mut waves = Vec::new();
    let mut size = first.clamp(1.0, n);
    while size < n && waves.len() < 100_000 {
        waves.push(size);
        size = next_wave(size, growth);
    }
    waves.push(n);
    waves
}

/// P(found in wave j) = e^(-h A_(j-1)) - e^(-h A_j), for waves of `exposed[j]` servers that last `bake` hours each.
#[must_use]
pub fn found_in_wave(h: f64, exposed: &[f64], bake: f64) -> Vec<f64> {
    let mut a = 0.0;
    let wave = |servers: &f64| {
        let before = unfound(h, a);
        a += servers * bake;
        before - unfound(h, a)
    };
    exposed.iter().map(wave).collect()
}

/// What a ramp costs: hours of rollout at `hour` each, plus, with probability `p_bug`, the impact at `impact` for each
/// server-hour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Price {
    /// The hazard an hour.
    pub h: f64,
    /// The chance of a bug.
    pub p_bug: f64,
    /// The cost of an hour of rollout.
    pub hour: f64,
    /// The cost of a server-hour under the bug.
    pub impact: f64,
    /// Hours from the find until the way back begins.
    pub lag: f64,
    /// Hours that the way back takes.
    pub back: f64,
}

impl Price {
    /// c_T ln(n / n0) / g + P c_I (1 / h + (n0 + g / h)(lag + back)): the far end of the ramp left out.
    #[must_use]
    pub fn cost(self, ramp: Ramp) -> f64 {
        let reaction = self.lag + self.back;
        self.hour * ramp.hours() + self.p_bug * self.impact * (1.0 / self.h + (ramp.n0 + ramp.g / self.h) * reaction)
    }

    /// The square-root law, g* = sqrt(h c_T ln(n / n0) / (P c_I (lag + back))): the growth an hour that costs least.
    /// None where nothing speaks against infinite speed, or nothing for any.
    #[must_use]
    pub fn best_growth(self, n0: f64, n: f64) -> Option<f64> {
        let against = self.p_bug * self.impact * (self.lag + self.back);
        let speed = self.h * self.hour * libm::log(n / n0) / against;
        (speed.is_finite() && speed > 0.0).then(|| libm::sqrt(speed))
    }
}

/// P(a class of `m` of `n` servers is untouched after `touched` random ones): C(n - m, touched) / C(n, touched).
#[must_use]
pub fn untouched(n: f64, m: f64, touched: f64) -> f64 {
    if touched + m > n {
        return 0.0;
    }
    let ln_choose = |a: f64, b: f64| libm::lgamma(a + 1.0) - libm::lgamma(b + 1.0) - libm::lgamma(a - b + 1.0);
    libm::exp(ln_choose(n - m, touched) - ln_choose(n, touched))
}

/// Minimises a function with one valley between `low` and `high` by golden section, to a relative width of 1e-9.
#[must_use]
pub fn golden_section(mut low: f64, mut high: f64, f: impl Fn(f64) -> f64) -> f64 {
    const RATIO: f64 = 0.618_033_988_749_894_8;
    let mut left = high - RATIO * (high - low);
    let mut right = low + RATIO * (high - low);
    let (mut f_left, mut f_right) = (f(left), f(right));
    // Each turn shrinks the interval by 0.618; 100 turns shrink it by 1e21.
    for _ in 0..100 {
        if high - low <= 1e-9 * high.abs() {
            break;
        }
        if f_left < f_right {
            (high, right, f_right) = (right, left, f_left);
            left = high - RATIO * (high - low);
            f_left = f(left);
        } else {
            (low, left, f_left) = (left, right, f_right);
            right = low + RATIO * (high - low);
            f_right = f(right);
        }
    }
    (low + high) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_square_root_law_is_the_minimum_of_the_cost() {
        let price = Price { h: 1e-3, p_bug: 0.05, hour: 100.0, impact: 1.0, lag: 0.5, back: 1.0 };
        let law = price.best_growth(10.0, 1e5).unwrap();
        let numeric = golden_section(1e-3, 1e3, |g| price.cost(Ramp { n0: 10.0, n: 1e5, g }));
        assert!((law / numeric - 1.0).abs() < 1e-5, "{law} {numeric}");
        // Half the reaction time allows a ramp that is faster by the square root of two.
        let quick = Price { lag: 0.25, back: 0.5, ..price }.best_growth(10.0, 1e5).unwrap();
        assert!((quick / law - 2.0_f64.sqrt()).abs() < 1e-12);
        assert_eq!(Price { p_bug: 0.0, ..price }.best_growth(10.0, 1e5), None);
    }

    #[test]
    fn waves_grow_and_end_at_the_fleet() {
        assert_eq!(geometric_waves(1.0, 2.0, 10.0), [1.0, 2.0, 4.0, 8.0, 10.0]);
        assert_eq!(geometric_waves(1.0, 0.5, 3.0), [1.0, 2.0, 3.0]);
        assert_eq!(geometric_waves(5.0, 2.0, 3.0), [3.0]);
        let found = found_in_wave(0.01, &[1.0, 10.0, 1000.0], 2.0);
        let all: f64 = found.iter().sum();
        assert!((all - (1.0 - unfound(0.01, 2022.0))).abs() < 1e-12);
    }

    #[test]
    fn a_small_class_is_easily_missed() {
        // Published figures of the model: 50 of 100,000 servers, 1,000 and 10,000 touched.
        assert!((untouched(1e5, 50.0, 1e3) - 0.60493).abs() < 2e-4);
        assert!((untouched(1e5, 50.0, 1e4) - 0.00515).abs() < 2e-5);
        assert_eq!(untouched(10.0, 5.0, 6.0), 0.0);
    }
}
