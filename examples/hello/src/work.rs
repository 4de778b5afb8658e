//! The work behind `/order`: it takes about as long as a request to a database does, and a release can be slower at it
//! or fail now and then. How long and whether follows from the number of the request alone, so that runs repeat.

use std::time::Duration;

/// Half of the requests take less than this.
const MEDIAN_MICROS: f64 = 8_000.0;
/// The spread of the logarithm: one request in a hundred takes 2.5 times the median and more.
const SPREAD: f64 = 0.4;

/// How a release works.
#[derive(Clone, Copy)]
pub struct Work {
    /// How many times as long as version 1 it takes.
    pub slower: f64,
    /// One request in so many fails, at random places; none for 0.
    pub fails_every: u64,
}

impl Work {
    /// Works on the order with this number; says why it failed.
    pub fn done(&self, number: u64) -> Result<u64, &'static str> {
        std::thread::sleep(self.takes(number));
        if self.fails(number) { Err("The order got lost.") } else { Ok(number) }
    }

    fn fails(&self, number: u64) -> bool {
        self.fails_every > 0 && mixed(number ^ 0x5eed).is_multiple_of(self.fails_every)
    }

    /// A time from a lognormal distribution. The sum of twelve even numbers in 0..1 is close to normal.
    fn takes(&self, number: u64) -> Duration {
        let even = |at: u64| (mixed(number * 12 + at) >> 11) as f64 / (1_u64 << 53) as f64;
        let normal = (0..12).map(even).sum::<f64>() - 6.0;
        Duration::from_micros((MEDIAN_MICROS * self.slower * (SPREAD * normal).exp()) as u64)
    }
}

/// Sixty-four bits that look random, from a number (a finaliser of the SplitMix kind).
fn mixed(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_a_hundred_fails_and_times_are_spread_as_they_say() {
        let work = Work { slower: 1.0, fails_every: 100 };
        let failed = (0..100_000).filter(|number| work.fails(*number)).count();
        assert!((900..1_100).contains(&failed), "{failed}");
        let mut times: Vec<u128> = (0..10_000).map(|number| work.takes(number).as_micros()).collect();
        times.sort_unstable();
        assert!((7_800..8_200).contains(&times[5_000]), "{}", times[5_000]);
        assert!((19_000..22_000).contains(&times[9_900]), "{}", times[9_900]);
        let slow = Work { slower: 1.3, ..work }.takes(7).as_micros() as f64 / work.takes(7).as_micros() as f64;
        assert!((slow - 1.3).abs() < 0.001, "{slow}");
    }
}
