//! What is a difference between two versions and what is noise, decided so that looking often does no harm.
//!
//! Each request goes to the first version twice and to the second. Where nothing but chance is at work, the second answer
//! of the first version and that of the second version differ from the first answer equally often: of all requests in
//! which exactly one of the two differs, it is each time either with even odds. The evidence against that is a wager that
//! starts with 1 and can't be expected to grow (Ville's inequality): it reaches 10 000 by chance in one of 10 000 places
//! at most, whenever one stops.

use std::collections::BTreeMap;
use std::time::Duration;

use super::compare::{Difference, Place, Way};

/// The evidence from which a difference is reported.
pub(super) const ENOUGH: f64 = 10_000.0;

/// So many answers of one kind of request are looked at for latency.
const LATENCIES_MAX: usize = 20_000;

/// A version is slower when it takes so many times as long, and longer by so much.
const SLOWER_TIMES: f64 = 1.25;
const SLOWER_BY: Duration = Duration::from_millis(5);

/// Where something can differ: the kind of request, the place in its answer, and the way.
pub(super) type Spot = (String, Place, Way);

/// What was seen at a spot.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// Requests in which only the other version differed.
    pub(super) between: u64,
    /// Requests in which only the same version differed from itself.
    pub(super) within: u64,
    /// Requests in which both did.
    pub(super) both: u64,
    /// The first request in which the other version differed, and how.
    pub(super) first: Option<(usize, Difference)>,
}

impl Seen {
    /// The evidence for a difference: the mean of wagers that the other version is the one that differs, over all odds
    /// above even.
    pub(super) fn evidence(&self) -> f64 {
        let (wins, losses) = (self.between as f64, self.within as f64);
        let count = wins + losses;
        if self.between <= self.within {
            return 0.0;
        }
        // 2^n ∫ p^wins (1−p)^losses dp over 0..1, by the beta function; more than half of it lies above ½.
        let log = count * 2_f64.ln() + ln_factorial(self.between) + ln_factorial(self.within)
            - ln_factorial(self.between + self.within + 1);
        log.exp()
    }

    /// Whether more observations could still make it a difference.
    pub(super) fn is_open(&self) -> bool {
        self.between > self.within && self.within <= 2 && self.evidence() < ENOUGH
    }
}

fn ln_factorial(number: u64) -> f64 {
    // Stirling's series is exact to 9 digits from here on.
    if number < 20 {
        return (2..=number).map(|factor| (factor as f64).ln()).sum();
    }
    let x = number as f64;
    x * x.ln() - x + 0.5 * (std::f64::consts::TAU * x).ln() + 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3))
}

/// All spots of a comparison.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    pub(super) spots: BTreeMap<Spot, Seen>,
    latencies: BTreeMap<String, Vec<(Duration, Duration)>>,
}

impl Evidence {
    /// Adds one request: how the same version differs from itself, and how the other one does.
    pub(super) fn add(&mut self, route: &str, index: usize, within: &[Difference], between: &[Difference]) {
        let spots = |all: &[Difference]| -> std::collections::BTreeSet<(Place, Way)> {
            all.iter().map(|difference| (difference.place.clone(), difference.way)).collect()
        };
        let (same, other) = (spots(within), spots(between));
        for spot in same.union(&other) {
            let seen = self.spots.entry((route.to_owned(), spot.0.clone(), spot.1)).or_default();
            match (same.contains(spot), other.contains(spot)) {
                (true, true) => seen.both += 1,
                (true, false) => seen.within += 1,
                _ => seen.between += 1,
            }
            if seen.first.is_none() && !same.contains(spot) {
                let first = between.iter().find(|it| (&it.place, it.way) == (&spot.0, spot.1));
                seen.first = first.map(|difference| (index, difference.clone()));
            }
        }
    }

    /// Adds how long both versions took.
    pub(super) fn took(&mut self, route: &str, before: Duration, after: Duration) {
        let all = self.latencies.entry(route.to_owned()).or_default();
        if all.len() < LATENCIES_MAX {
            all.push((before, after));
        }
    }

    /// The spots that are a difference, with their evidence.
    pub(super) fn found(&self) -> impl Iterator<Item = (&Spot, &Seen)> {
        self.spots.iter().filter(|(_, seen)| seen.evidence() >= ENOUGH)
    }

    /// The spots at which something was seen that is neither proven nor noise.
    pub(super) fn open(&self) -> impl Iterator<Item = (&Spot, &Seen)> {
        self.spots.iter().filter(|(_, seen)| seen.is_open())
    }

    /// The kinds of requests that take longer, with the median before and after.
    pub(super) fn slower(&self) -> Vec<(String, Duration, Duration)> {
        let mut slower = Vec::new();
        for (route, all) in &self.latencies {
            let longer = all.iter().filter(|(before, after)| after > before).count() as u64;
            let shorter = all.iter().filter(|(before, after)| after < before).count() as u64;
            let seen = Seen { between: longer, within: shorter, ..Seen::default() };
            let (before, after) = (median(all.iter().map(|pair| pair.0)), median(all.iter().map(|pair| pair.1)));
            let much = after.as_secs_f64() > before.as_secs_f64() * SLOWER_TIMES && after > before + SLOWER_BY;
            if much && seen.evidence() >= ENOUGH {
                slower.push((route.clone(), before, after));
            }
        }
        slower
    }
}

fn median(all: impl Iterator<Item = Duration>) -> Duration {
    let mut all: Vec<Duration> = all.collect();
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;
    use vice_core::rng::Streams;

    #[test]
    fn evidence_is_the_exact_wager() {
        // 2^n/(n+1) when all agree.
        for (between, exact) in [(1, 1.0), (2, 4.0 / 3.0), (10, 1024.0 / 11.0), (40, 2_f64.powi(40) / 41.0)] {
            let found = Seen { between, ..Seen::default() }.evidence();
            assert!((found / exact - 1.0).abs() < 1e-6, "{between}: {found} {exact}");
        }
        // So many one-sided observations are needed, when none speaks against them.
        let rounds = 18;
        assert!(Seen { between: rounds, ..Seen::default() }.evidence() >= ENOUGH);
        assert!(Seen { between: rounds - 1, ..Seen::default() }.evidence() < ENOUGH);
    }

    #[test]
    fn noise_seldom_looks_like_a_difference_however_often_one_looks() {
        // Seed 5: 2000 places of noise, looked at after each of 400 requests. One in 10 000 is allowed.
        let mut chance = Streams::new(5).stream("noise", 0);
        let mut wrong = 0;
        for _ in 0..2000 {
            let mut seen = Seen::default();
            for _ in 0..400 {
                if chance.random::<bool>() {
                    seen.between += 1;
                } else {
                    seen.within += 1;
                }
                if seen.evidence() >= ENOUGH {
                    wrong += 1;
                    break;
                }
            }
        }
        assert!(wrong <= 2, "{wrong}");
    }
}
