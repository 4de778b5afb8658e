//! When requests of an open loop are due. Everything follows from profile, process, seed and shard; the clock is not
//! asked, so that what a server does can't move what is due.

use std::sync::Arc;
use std::time::Duration;

use rand::{Rng, RngExt};
use rand_pcg::Pcg64Mcg;
use vice_core::rng::Streams;

use super::profile::Profile;

/// How arrivals follow each other.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Process {
    /// At even distances.
    Constant,
    /// Independently of each other, as customers come.
    Poisson,
    /// At these times from the beginning, in order; the profile gives only the length.
    Recorded(Arc<[Duration]>),
}

/// The times of one shard out of several, which together are those of the plan.
pub(super) struct Arrivals {
    profile: Profile,
    process: Process,
    shard: usize,
    shards: usize,
    mass: f64,
    taken: usize,
    chance: Pcg64Mcg,
    next: Option<Duration>,
}

impl Arrivals {
    pub(super) fn new(profile: &Profile, process: &Process, seed: u64, shard: usize, shards: usize) -> Self {
        let chance = Streams::new(seed).stream("load/arrivals", shard as u64);
        let mut arrivals = Self {
            profile: profile.clone(),
            process: process.clone(),
            shard,
            shards,
            mass: 0.0,
            taken: 0,
            chance,
            next: None,
        };
        arrivals.next = arrivals.following();
        arrivals
    }

    /// When the next one is due, from the beginning; none when there are no more.
    pub(super) const fn peek(&self) -> Option<Duration> {
        self.next
    }

    /// Takes the next one.
    pub(super) fn take(&mut self) -> Option<Duration> {
        let next = self.next?;
        self.next = self.following();
        Some(next)
    }

    fn following(&mut self) -> Option<Duration> {
        let at = match &self.process {
            Process::Recorded(times) => {
                let time = times.get(self.shard + self.taken * self.shards).copied()?;
                self.taken += 1;
                return (time < self.profile.length()).then_some(time);
            }
            Process::Constant => {
                let number = self.shard + self.taken * self.shards;
                self.taken += 1;
                self.profile.when(number as f64)?
            }
            Process::Poisson => {
                self.mass += exponential(&mut self.chance) * self.shards as f64;
                self.profile.when(self.mass)?
            }
        };
        Some(Duration::from_secs_f64(at))
    }
}

/// A draw with mean 1.
pub(crate) fn exponential(chance: &mut impl Rng) -> f64 {
    // `random` lies in [0, 1), so the logarithm is of a positive number.
    -(1.0 - chance.random::<f64>()).ln()
}

#[cfg(test)]
mod tests {
    use super::super::profile::Level;
    use super::*;
    use vice_core::Millis;

    fn all(process: &Process, shards: usize) -> Vec<Duration> {
        let mut profile = Profile::default();
        profile.push(Level { from: 200.0, to: 200.0 }, Millis(10_000));
        let mut times = Vec::new();
        for shard in 0..shards {
            let mut arrivals = Arrivals::new(&profile, process, 11, shard, shards);
            while let Some(at) = arrivals.take() {
                times.push(at);
            }
        }
        times.sort();
        times
    }

    #[test]
    fn shards_share_an_even_rate() {
        let expected: Vec<Duration> = (0..2000).map(|number| Duration::from_millis(5) * number).collect();
        for shards in [1, 3] {
            let times = all(&Process::Constant, shards);
            assert_eq!(times.len(), expected.len());
            for (time, expected) in times.iter().zip(&expected) {
                assert!(time.abs_diff(*expected) < Duration::from_micros(1), "{time:?} {expected:?}");
            }
        }
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread() {
        // Seed 11. The number has mean and variance 2000; gaps have a mean of 5 ms and a deviation of the same.
        for shards in [1, 4] {
            let times = all(&Process::Poisson, shards);
            assert!(times.len().abs_diff(2000) < 180, "{}", times.len());
            let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
            let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
            let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
            let variation = variance.sqrt() / mean;
            assert!((variation - 1.0).abs() < 0.1, "{variation}");
        }
    }

    #[test]
    fn recorded_times_are_kept() {
        let times: Arc<[Duration]> = [1, 5, 6, 9_999, 10_001].map(Duration::from_millis).into();
        let found = all(&Process::Recorded(times), 2);
        assert_eq!(found, [1, 5, 6, 9_999].map(Duration::from_millis));
    }
}
