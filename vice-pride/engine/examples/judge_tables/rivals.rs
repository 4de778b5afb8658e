//! The rules of other tools, from their sources and documents, and yardsticks from statistics. Each looks once a minute
//! at the counts of that minute and says whether it rolls back.

use std::collections::VecDeque;

/// One minute: exposures and bad ones.
#[derive(Clone, Copy)]
pub(crate) struct Minute {
    pub(crate) canary: (u64, u32),
    pub(crate) baseline: (u64, u32),
    /// The true base rate, which only the oracle may look at.
    pub(crate) base: f64,
}

pub(crate) trait Rule {
    /// Whether this minute makes it roll back.
    fn minute(&mut self, minute: &Minute) -> bool;

    /// Whether the last look failed: step-wise tools do not advance then.
    fn failed(&self) -> bool {
        false
    }
}

/// Argo Rollouts: a failed measurement when the canary's mean over five minutes exceeds `limit`, every five minutes;
/// rollback on the fourth (`failureLimit: 3`). Failures never decay.
pub(crate) struct Argo {
    limit: f64,
    now: u32,
    last: VecDeque<(u64, u32)>,
    failures: u32,
}

impl Argo {
    pub(crate) fn new(limit: f64) -> Self {
        Self { limit, now: 0, last: VecDeque::new(), failures: 0 }
    }
}

impl Rule for Argo {
    fn minute(&mut self, minute: &Minute) -> bool {
        self.now += 1;
        self.last.push_back(minute.canary);
        if self.last.len() > 5 {
            self.last.pop_front();
        }
        if self.now.is_multiple_of(5) {
            let (seen, bad) = self.last.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            self.failures += u32::from(f64::from(bad) > self.limit * seen as f64);
        }
        self.failures > 3
    }
}

/// Flagger: a check a minute fails when the canary's rate exceeds `limit`; rollback at `threshold` failed ones, which
/// only grow.
pub(crate) struct Flagger {
    limit: f64,
    threshold: u32,
    failures: u32,
    failed: bool,
}

impl Flagger {
    pub(crate) fn new(limit: f64, threshold: u32) -> Self {
        Self { limit, threshold, failures: 0, failed: false }
    }
}

impl Rule for Flagger {
    fn minute(&mut self, minute: &Minute) -> bool {
        self.failed = f64::from(minute.canary.1) > self.limit * minute.canary.0 as f64;
        self.failures += u32::from(self.failed);
        self.failures >= self.threshold
    }

    fn failed(&self) -> bool {
        self.failed
    }
}

/// Kayenta: Mann-Whitney on the rates of each minute, confidence 0.98; high when the lower bound of the shift exceeds a
/// quarter of its Hodges-Lehmann estimate and the mean is not lower. Judged every `every` minutes, against a baseline
/// of equal size, as it deploys one.
pub(crate) struct Kayenta {
    every: u32,
    now: u32,
    canary: Vec<f64>,
    baseline: Vec<f64>,
}

impl Kayenta {
    pub(crate) fn new(every: u32) -> Self {
        Self { every, now: 0, canary: Vec::new(), baseline: Vec::new() }
    }

    fn high(&self) -> bool {
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        if self.canary.len() < 5 || mean(&self.canary) < mean(&self.baseline) {
            return false;
        }
        let (canary, baseline) = (tally(&self.canary), tally(&self.baseline));
        let mut pairs: Vec<(f64, u64)> =
            canary.iter().flat_map(|(x, n)| baseline.iter().map(move |(y, m)| (x - y, n * m))).collect();
        pairs.sort_by(|one, two| one.0.total_cmp(&two.0));
        let n = self.canary.len() as f64;
        let all = n * n;
        let lowest = all / 2.0 - 2.326 * (all * (2.0 * n + 1.0) / 12.0).sqrt();
        let at = |rank: f64| {
            let mut sum = 0.0;
            let found = pairs.iter().find(|(_, count)| {
                sum += *count as f64;
                sum >= rank
            });
            found.map_or(0.0, |(shift, _)| *shift)
        };
        let middle = at(all / 2.0);
        lowest >= 1.0 && at(lowest) > 0.25 * middle.abs()
    }
}

/// Distinct values with their counts.
fn tally(values: &[f64]) -> Vec<(f64, u64)> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.chunk_by(|one, two| one == two).map(|same| (same[0], same.len() as u64)).collect()
}

impl Rule for Kayenta {
    fn minute(&mut self, minute: &Minute) -> bool {
        self.now += 1;
        let rate = |(seen, bad): (u64, u32)| f64::from(bad) / seen.max(1) as f64;
        self.canary.push(rate(minute.canary));
        self.baseline.push(rate(minute.baseline));
        self.now.is_multiple_of(self.every) && self.high()
    }
}

/// Lindon and Malek: a Beta(100 w, 100 (1 - w)) mixture against the part w of the events that equal rates would give.
pub(crate) struct LindonMalek {
    alpha: f64,
    canary: f64,
    baseline: f64,
}

impl LindonMalek {
    pub(crate) fn new(alpha: f64) -> Self {
        Self { alpha, canary: 0.0, baseline: 0.0 }
    }
}

impl Rule for LindonMalek {
    fn minute(&mut self, minute: &Minute) -> bool {
        self.canary += f64::from(minute.canary.1);
        self.baseline += f64::from(minute.baseline.1);
        let weight = minute.canary.0 as f64 / (minute.canary.0 + minute.baseline.0) as f64;
        let beta = |a: f64, b: f64| libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b);
        let (a, b) = (100.0 * weight, 100.0 * (1.0 - weight));
        let log = beta(a + self.canary, b + self.baseline)
            - beta(a, b)
            - self.canary * weight.ln()
            - self.baseline * (1.0 - weight).ln();
        log >= -self.alpha.ln() && self.canary > weight * (self.canary + self.baseline)
    }
}

/// The two-proportion z-test, peeked at each minute.
pub(crate) struct Peeked {
    canary: (f64, f64),
    baseline: (f64, f64),
}

impl Peeked {
    pub(crate) fn new() -> Self {
        Self { canary: (0.0, 0.0), baseline: (0.0, 0.0) }
    }
}

impl Rule for Peeked {
    fn minute(&mut self, minute: &Minute) -> bool {
        let add = |sum: &mut (f64, f64), (seen, bad): (u64, u32)| {
            sum.0 += seen as f64;
            sum.1 += f64::from(bad);
        };
        add(&mut self.canary, minute.canary);
        add(&mut self.baseline, minute.baseline);
        let ((n, s), (m, t)) = (self.canary, self.baseline);
        let pooled = (s + t) / (n + m);
        let spread = (pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m)).sqrt();
        spread > 0.0 && (s / n - t / m) / spread > 2.326
    }
}

/// Wald's test that knows the base rate of each minute and the regression: nothing can be faster at its level.
pub(crate) struct Oracle {
    alpha: f64,
    ratio: f64,
    log: f64,
}

impl Oracle {
    pub(crate) fn new(alpha: f64, ratio: f64) -> Self {
        Self { alpha, ratio, log: 0.0 }
    }
}

impl Rule for Oracle {
    fn minute(&mut self, minute: &Minute) -> bool {
        let (seen, bad) = (minute.canary.0 as f64, f64::from(minute.canary.1));
        let worse = (minute.base * self.ratio).min(0.999);
        self.log += bad * (worse / minute.base).ln() + (seen - bad) * ((1.0 - worse) / (1.0 - minute.base)).ln();
        self.log >= -self.alpha.ln()
    }
}
