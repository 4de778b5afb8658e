//! Chance without a state: every draw is a function of (seed, run, entity, purpose, try). So the same entity meets the
//! same luck under every policy (common random numbers), and the order of drawing, or the number of threads, changes
//! nothing. It owns the generator and the elementary distributions; what they mean is the world's.

use crate::normal::quantile;

/// What a number is drawn for. One entity has one stream for each purpose, so that a new purpose shifts no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// How long draining takes.
    Drain,
    /// How long installing takes.
    Install,
    /// How long the check takes.
    Check,
    /// How long bringing back takes.
    Undo,
    /// Whether a try fails, or gets stuck.
    Fate,
    /// How long a person takes.
    Person,
    /// How long a task takes, and whether it fails.
    Task,
    /// How long checks take, and whether they fail.
    Verify,
    /// Which bug the release has, and when it is found.
    Bug,
    /// The uncertain rate of a bug.
    Frailty,
    /// When a bug can first show itself on a unit.
    Appears,
    /// Whether a bug can hit a unit.
    Hit,
    /// Requests and errors of a window.
    Traffic,
    /// The reaction to a bug that was found.
    React,
}

/// The luck of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Luck(u64);

/// 2^64 / golden ratio: the Weyl increment of SplitMix64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Stafford's 13th mix, the finaliser of SplitMix64: a bijection in which every input bit moves every output bit.
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Luck {
    /// The luck of a run under a seed.
    #[must_use]
    pub const fn new(seed: u64, run: u64) -> Self {
        Self(mix(mix(seed.wrapping_add(GOLDEN)).wrapping_add(run.wrapping_mul(GOLDEN))))
    }

    /// 64 random bits for one purpose of one entity on its `nth` try.
    #[must_use]
    #[inline]
    pub const fn bits(self, purpose: Purpose, entity: u32, nth: u32) -> u64 {
        let counter = (entity as u64) << 32 | (purpose as u64) << 24 | (nth as u64 & 0xff_ffff);
        mix(self.0.wrapping_add(counter.wrapping_mul(GOLDEN)))
    }

    /// A number strictly between 0 and 1.
    #[must_use]
    #[inline]
    pub fn unit(self, purpose: Purpose, entity: u32, nth: u32) -> f64 {
        open_unit(self.bits(purpose, entity, nth))
    }

    /// A stream of its own for draws that need an unknown count of numbers.
    #[must_use]
    pub const fn stream(self, purpose: Purpose, entity: u32, nth: u32) -> Stream {
        Stream(self.bits(purpose, entity, nth))
    }
}

/// Bits as a number strictly between 0 and 1: the middles of 2^53 equal cells.
#[must_use]
#[inline]
pub(crate) fn open_unit(bits: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what an f64 holds exactly")]
    let cell = (bits >> 11) as f64;
    (cell + 0.5) * (1.0 / 9_007_199_254_740_992.0)
}

/// A sequence of draws: SplitMix64.
#[derive(Debug, Clone)]
pub struct Stream(u64);

impl Stream {
    /// From a seed; tests and the closed forms use it directly.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    /// The next 64 bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// The next number strictly between 0 and 1.
    pub fn unit(&mut self) -> f64 {
        open_unit(self.bits())
    }

    /// Exponential with mean 1.
    pub fn exponential(&mut self) -> f64 {
        -libm::log(self.unit())
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f64 {
        quantile(self.unit())
    }

    /// Gamma with this shape and scale 1, by Marsaglia and Tsang (2000); a shape below 1 is lifted by one and powered.
    pub fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let lifted = self.gamma(shape + 1.0);
            return lifted * libm::pow(self.unit(), 1.0 / shape);
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / libm::sqrt(9.0 * d);
        loop {
            let x = self.normal();
            let v = (1.0 + c * x) * (1.0 + c * x) * (1.0 + c * x);
            // The acceptance probability is above 0.95 for every shape of at least 1, so the loop ends.
            if v > 0.0 && libm::log(self.unit()) < 0.5 * x * x + d - d * v + d * libm::log(v) {
                return d * v;
            }
        }
    }

    /// Binomial: how many of `n` happen, each with probability `p`. Exact inversion that starts at the mode, so that it
    /// takes about as many steps as the standard deviation.
    pub fn binomial(&mut self, n: u64, p: f64) -> u64 {
        if n == 0 || p <= 0.0 {
            return 0;
        }
        if p >= 1.0 {
            return n;
        }
        from_mode(self.unit(), n, p)
    }

    /// Poisson with this mean, as a binomial of many rare events would give it.
    pub fn poisson(&mut self, mean: f64) -> u64 {
        if mean.is_nan() || mean <= 0.0 {
            return 0;
        }
        poisson_from_mode(self.unit(), mean)
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts below 2^53, and a mode between 0 and n"
)]
fn from_mode(u: f64, n: u64, p: f64) -> u64 {
    let nf = n as f64;
    let mode = (((nf + 1.0) * p) as u64).min(n);
    let m = mode as f64;
    let ln_choose = libm::lgamma(nf + 1.0) - libm::lgamma(m + 1.0) - libm::lgamma(nf - m + 1.0);
    let at_mode = libm::exp(ln_choose + m * libm::log(p) + (nf - m) * libm::log1p(-p));
    let odds = p / (1.0 - p);
    outwards(u, mode, n, at_mode, |k| (nf - k) / (k + 1.0) * odds)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a mean far below 2^53"
)]
fn poisson_from_mode(u: f64, mean: f64) -> u64 {
    let mode = mean as u64;
    let m = mode as f64;
    let at_mode = libm::exp(m * libm::log(mean) - mean - libm::lgamma(m + 1.0));
    outwards(u, mode, u64::MAX, at_mode, |k| mean / (k + 1.0))
}

/// Walks away from the mode in both directions at once until the probability passed reaches `u`. `ratio(k)` is
/// p(k + 1) / p(k).
#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
fn outwards(u: f64, mode: u64, most: u64, at_mode: f64, ratio: impl Fn(f64) -> f64) -> u64 {
    let (mut low, mut high) = (mode, mode);
    let (mut p_low, mut p_high) = (at_mode, at_mode);
    let mut passed = at_mode;
    if passed >= u {
        return mode;
    }
    // Both tails fall faster than geometrically, so rounding ends the walk at the latest when both are zero.
    loop {
        if high < most {
            p_high *= ratio(high as f64);
            high += 1;
            passed += p_high;
            if passed >= u {
                return high;
            }
        }
        if low > 0 {
            low -= 1;
            p_low /= ratio(low as f64);
            passed += p_low;
            if passed >= u {
                return low;
            }
        }
        if p_high == 0.0 && (low == 0 || p_low == 0.0) || high == most && low == 0 {
            return mode;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_and_variance(n: u32, mut draw: impl FnMut(u32) -> f64) -> (f64, f64) {
        let (mut sum, mut squares) = (0.0, 0.0);
        for i in 0..n {
            let x = draw(i);
            sum += x;
            squares += x * x;
        }
        let mean = sum / f64::from(n);
        (mean, squares / f64::from(n) - mean * mean)
    }

    #[test]
    fn draws_depend_on_nothing_but_their_names() {
        let luck = Luck::new(7, 3);
        assert_eq!(luck.bits(Purpose::Drain, 5, 0), luck.bits(Purpose::Drain, 5, 0));
        for other in [
            luck.bits(Purpose::Install, 5, 0),
            luck.bits(Purpose::Drain, 6, 0),
            luck.bits(Purpose::Drain, 5, 1),
            Luck::new(7, 4).bits(Purpose::Drain, 5, 0),
            Luck::new(8, 3).bits(Purpose::Drain, 5, 0),
        ] {
            assert_ne!(other, luck.bits(Purpose::Drain, 5, 0));
        }
    }

    #[test]
    fn neighbouring_entities_are_uncorrelated() {
        // Seed 1. The correlation of 200,000 pairs has standard error 0.0022; 4 of them are allowed.
        let luck = Luck::new(1, 0);
        let n = 200_000_u32;
        for (name, shift, purpose) in [
            ("next entity", 1, Purpose::Drain),
            ("other purpose", 0, Purpose::Install),
            ("next but 100", 100, Purpose::Drain),
        ] {
            let product = |i| (luck.unit(Purpose::Drain, i, 0) - 0.5) * (luck.unit(purpose, i + shift, 0) - 0.5) * 12.0;
            let (correlation, _) = mean_and_variance(n, product);
            assert!(correlation.abs() < 0.009, "{name}: {correlation}");
        }
    }

    #[test]
    fn moments_are_those_of_the_formulas() {
        // 200,000 draws each; means within 4 standard errors, variances within 4 %.
        let n = 200_000;
        let mut stream = Stream::new(11);
        for shape in [0.3, 1.0, 4.5] {
            let (mean, variance) = mean_and_variance(n, |_| stream.gamma(shape));
            let error = 4.0 * libm::sqrt(shape / f64::from(n));
            assert!((mean - shape).abs() < error, "gamma {shape}: {mean}");
            assert!((variance / shape - 1.0).abs() < 0.05, "gamma {shape}: {variance}");
        }
        for (trials, p) in [(1_u64, 0.5), (600, 0.01), (6_000, 0.001), (100_000, 0.3)] {
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let (expected, spread) = (trials as f64 * p, trials as f64 * p * (1.0 - p));
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let (mean, variance) = mean_and_variance(n, |_| stream.binomial(trials, p) as f64);
            assert!((mean - expected).abs() < 4.0 * libm::sqrt(spread / f64::from(n)), "{trials} {p}: {mean}");
            assert!((variance / spread - 1.0).abs() < 0.04, "{trials} {p}: {variance}");
        }
        for expected in [0.2, 60.0] {
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let (mean, variance) = mean_and_variance(n, |_| stream.poisson(expected) as f64);
            assert!((mean - expected).abs() < 4.0 * libm::sqrt(expected / f64::from(n)), "{mean}");
            assert!((variance / expected - 1.0).abs() < 0.04, "{variance}");
        }
        assert_eq!((stream.poisson(f64::NAN), stream.poisson(0.0), stream.binomial(0, 0.5)), (0, 0, 0));
        assert_eq!((stream.binomial(9, 1.0), stream.binomial(9, f64::NAN) <= 9), (9, true));
    }

    #[test]
    fn the_generator_is_the_pinned_one() {
        let luck = Luck::new(42, 1);
        let drawn: Vec<u64> = (0..2).map(|entity| luck.bits(Purpose::Install, entity, 0)).collect();
        assert_eq!(drawn, PINNED);
    }

    const PINNED: [u64; 2] = [1_259_070_568_310_308_598, 15_861_149_783_042_052_126];
}
