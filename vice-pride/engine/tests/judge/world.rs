//! Counts of a modelled service, minute by minute. It knows no judge: what it draws is the truth that judges are
//! measured against. Every draw comes from one seed.

use std::f64::consts::TAU;

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};

/// Chance.
pub(crate) struct Dice {
    rng: Pcg64Mcg,
    log_factorial: Vec<f64>,
}

impl Dice {
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        // The two are mixed, so that neighbouring streams have nothing in common.
        let mixed = (seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(stream.rotate_left(32));
        let mut log_factorial = vec![0.0; 20_001];
        for n in 1..log_factorial.len() {
            log_factorial[n] = log_factorial[n - 1] + (n as f64).ln();
        }
        Self { rng: Pcg64Mcg::seed_from_u64(mixed), log_factorial }
    }

    /// Begins another stream and keeps the tables.
    pub(crate) fn reseed(&mut self, seed: u64, stream: u64) {
        let mixed = (seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(stream.rotate_left(32));
        self.rng = Pcg64Mcg::seed_from_u64(mixed);
    }

    /// Uniform in [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Successes of `n` trials of chance `p`, exactly: inversion that walks outward from the mode.
    pub(crate) fn binomial(&mut self, n: u64, p: f64) -> u32 {
        if n == 0 || p <= 0.0 {
            return 0;
        }
        if p >= 1.0 {
            return n as u32;
        }
        let mode = (((n + 1) as f64 * p) as u64).min(n);
        let odds = p / (1.0 - p);
        let log = |k: u64| k as f64 * p.ln() + (n - k) as f64 * (-p).ln_1p();
        let at_mode = (self.choose(n, mode) + log(mode)).exp();
        let mut left = self.unit() - at_mode;
        let (mut low, mut high, mut at_low, mut at_high) = (mode, mode, at_mode, at_mode);
        while left > 0.0 {
            if high < n {
                at_high *= (n - high) as f64 / (high + 1) as f64 * odds;
                high += 1;
                left -= at_high;
                if left <= 0.0 {
                    return high as u32;
                }
            }
            if low > 0 {
                at_low *= low as f64 / (n - low + 1) as f64 / odds;
                low -= 1;
                left -= at_low;
                if left <= 0.0 {
                    return low as u32;
                }
            }
            if at_high < 1e-300 && at_low < 1e-300 {
                break;
            }
        }
        mode as u32
    }

    fn choose(&self, n: u64, k: u64) -> f64 {
        self.factorial(n) - self.factorial(k) - self.factorial(n - k)
    }

    fn factorial(&self, n: u64) -> f64 {
        let x = n as f64;
        let stirling = || (x + 0.5) * x.ln() - x + 0.5 * TAU.ln() + 1.0 / (12.0 * x);
        self.log_factorial.get(n as usize).copied().unwrap_or_else(stirling)
    }
}

/// How the base rate moves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pattern {
    Constant,
    /// A shared cycle of a day, +-80 %, from a random phase.
    Daily,
    /// Both releases have 20 times the rate for 15 minutes, once in the first 12 hours.
    Incident,
}

/// A service with a base rate and a regression.
pub(crate) struct World {
    pub(crate) dice: Dice,
    pub(crate) pattern: Pattern,
    pub(crate) base: f64,
    pub(crate) ratio: f64,
    /// The minute from which the new release is `ratio` times worse.
    pub(crate) onset: u32,
    phase: f64,
    incident: u32,
}

impl World {
    pub(crate) fn new(seed: u64, pattern: Pattern, base: f64, ratio: f64) -> Self {
        Self { dice: Dice::new(seed, 0), pattern, base, ratio, onset: 0, phase: 0.0, incident: 0 }
    }

    /// The next run: fresh chance.
    pub(crate) fn run(&mut self, seed: u64, run: u64) {
        self.dice.reseed(seed, run);
        self.phase = self.dice.unit();
        self.incident = (self.dice.unit() * 705.0) as u32;
    }

    /// Base rate and ratio in this minute.
    pub(crate) fn rates(&self, minute: u32) -> (f64, f64) {
        let factor = match self.pattern {
            Pattern::Constant => 1.0,
            Pattern::Daily => 1.0 + 0.8 * (TAU * (f64::from(minute) / 1440.0 + self.phase)).sin(),
            Pattern::Incident if (self.incident..self.incident + 15).contains(&minute) => 20.0,
            Pattern::Incident => 1.0,
        };
        let base = (self.base * factor).min(1.0);
        (base, if minute >= self.onset { self.ratio } else { 1.0 })
    }

    /// Bad ones of so many exposures of either release.
    pub(crate) fn minute(&mut self, minute: u32, canary: u64, baseline: u64) -> (u32, u32) {
        let (base, ratio) = self.rates(minute);
        (self.dice.binomial(canary, (base * ratio).min(1.0)), self.dice.binomial(baseline, base))
    }
}

/// Requests a minute in all tables.
pub(crate) const VOLUME: u64 = 6000;

/// Exposures of both releases at a share.
pub(crate) fn divide(volume: u64, share: f64) -> (u64, u64) {
    let canary = ((volume as f64 * share).round() as u64).clamp(u64::from(share > 0.0), volume);
    (canary, volume - canary)
}

/// Quantile of a sample that is sorted here.
pub(crate) fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n => values[((n as f64 - 1.0) * q).round() as usize],
    }
}
