//! When a scenario is played: at its interval, moved by a share of it at random, so that many watchers of one system do
//! not come at the same moment.

use std::time::Duration;

use rand::RngExt as _;
use rand_pcg::Pcg64Mcg;
use vice_core::{Code, Fault, Millis, Result};

/// The shortest interval: watching is no load test.
const EVERY_MIN: Millis = Millis(100);

/// The largest share by which a play may be moved.
const JITTER_MAX: f64 = 0.5;

/// When plays happen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Schedule {
    every: Duration,
    jitter: f64,
}

impl Schedule {
    /// A schedule; `jitter` is a share of the interval.
    ///
    /// # Errors
    /// `Usage` for an interval that is too short and a share that is none.
    pub(crate) fn new(every: Millis, jitter: f64) -> Result<Self> {
        if every < EVERY_MIN {
            return Err(Fault::new(Code::Usage, format!("An interval of {every} is too short."))
                .hint(format!("Watching goes down to {EVERY_MIN}; `vice wrath load` is for more.")));
        }
        if !(0.0..=JITTER_MAX).contains(&jitter) {
            return Err(Fault::new(Code::Usage, format!("A jitter of {jitter} is not a share of the interval."))
                .hint(format!("Give a number from 0 to {JITTER_MAX}.")));
        }
        Ok(Self { every: every.as_duration(), jitter })
    }

    /// The first play: anywhere within the jitter, so that scenarios do not all begin at once.
    pub(crate) fn first(&self, rng: &mut Pcg64Mcg) -> Duration {
        self.every.mul_f64(self.jitter * rng.random::<f64>())
    }

    /// How long after the regular time of play `number` it really happens. Jitter does not add up: the regular times
    /// stay where they are.
    pub(crate) fn after_start(&self, number: u32, rng: &mut Pcg64Mcg) -> Duration {
        let moved = self.jitter * rng.random::<f64>();
        self.every.saturating_mul(number).saturating_add(self.every.mul_f64(moved))
    }

    /// The regular interval.
    pub(crate) const fn every(&self) -> Duration {
        self.every
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vice_core::rng::Streams;

    #[test]
    fn plays_stay_near_their_times_for_ever() {
        let schedule = Schedule::new(Millis::from_secs(10), 0.2).unwrap();
        let mut rng = Streams::new(7).stream("watch", 0);
        let mut offsets = Vec::new();
        for number in 0..10_000 {
            let at = schedule.after_start(number, &mut rng);
            let offset = at - Duration::from_secs(10) * number;
            assert!(offset <= Duration::from_secs(2), "{number}: {offset:?}");
            offsets.push(offset.as_secs_f64());
        }
        let mean = offsets.iter().sum::<f64>() / offsets.len() as f64;
        assert!((mean - 1.0).abs() < 0.05, "uniform over the jitter: {mean}");
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(Schedule::new(Millis(5), 0.1).is_err());
        assert!(Schedule::new(Millis(1000), 0.9).is_err());
        assert!(Schedule::new(Millis(1000), f64::NAN).is_err());
    }
}
