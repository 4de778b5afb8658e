//! A histogram of times in microseconds whose relative error is the same everywhere (the idea of HDR histograms): each
//! doubling is cut into as many equal parts, and memory grows only as far as times do.

/// The longest time that is told apart: an hour.
const MICROS_MAX: u64 = 3_600_000_000;

/// Parts of a doubling as a power of two: an error below 0.1 %.
const FINE: u32 = 10;

/// For one second or one kind of request: below 0.8 %, in an eighth of the memory.
const COARSE: u32 = 7;

/// Latencies in microseconds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Latencies {
    bits: u32,
    counts: Vec<u64>,
    count: u64,
    sum: f64,
    squares: f64,
    max: u64,
}

impl Latencies {
    /// Empty, with an error below 0.1 %.
    pub(crate) const fn new() -> Self {
        Self::with_bits(FINE)
    }

    /// Empty, for a part of the whole.
    pub(crate) const fn of_part() -> Self {
        Self::with_bits(COARSE)
    }

    const fn with_bits(bits: u32) -> Self {
        Self { bits, counts: Vec::new(), count: 0, sum: 0.0, squares: 0.0, max: 0 }
    }

    /// Counts one.
    pub(crate) fn record(&mut self, micros: u64) {
        let micros = micros.clamp(1, MICROS_MAX);
        let index = self.index(micros);
        if index >= self.counts.len() {
            self.counts.resize(index + 1, 0);
        }
        self.counts[index] += 1;
        self.count += 1;
        self.sum += micros as f64;
        self.squares += (micros as f64).powi(2);
        self.max = self.max.max(micros);
    }

    /// Small values have a place each; above, the leading bits choose.
    fn index(&self, micros: u64) -> usize {
        let shift = (micros | 1).ilog2().saturating_sub(self.bits);
        let place = (micros >> shift) + (u64::from(shift) << self.bits);
        usize::try_from(place).unwrap_or(usize::MAX)
    }

    /// The largest value that has this place.
    fn top(&self, index: usize) -> u64 {
        let index = index as u64;
        let shift = (index >> self.bits).saturating_sub(1);
        let leading = index - (shift << self.bits);
        ((leading + 1) << shift) - 1
    }

    /// Adds others of the same fineness.
    pub(crate) fn add(&mut self, others: &Self) {
        debug_assert_eq!(self.bits, others.bits, "different places can't be added");
        if self.counts.len() < others.counts.len() {
            self.counts.resize(others.counts.len(), 0);
        }
        for (count, more) in self.counts.iter_mut().zip(&others.counts) {
            *count += more;
        }
        self.count += others.count;
        self.sum += others.sum;
        self.squares += others.squares;
        self.max = self.max.max(others.max);
    }

    /// How many there are.
    pub(crate) const fn len(&self) -> u64 {
        self.count
    }

    /// The latency that `percent` of all do not exceed, in microseconds; 0 when there are none.
    pub(crate) fn percentile(&self, percent: f64) -> u64 {
        // Less a trifle, because 99.9 % of 1000 is a little more than 999 in binary.
        let wanted = (percent / 100.0 * self.count as f64 - 1e-6).ceil().max(1.0);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen as f64 >= wanted {
                return self.top(index).min(self.max);
            }
        }
        self.max
    }

    /// The longest.
    pub(crate) const fn max(&self) -> u64 {
        self.max
    }

    /// The mean; 0 when there are none.
    pub(crate) fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / self.count as f64 }
    }

    /// The standard deviation.
    pub(crate) fn deviation(&self) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        (self.squares / self.count as f64 - self.mean().powi(2)).max(0.0).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_found_again_within_the_error() {
        for micros in (0..31).flat_map(|bit| [0, 1, 3, 77].map(|more| (1_u64 << bit) + more * (1 << bit) / 100)) {
            for (mut latencies, error) in [(Latencies::new(), 0.001), (Latencies::of_part(), 0.008)] {
                latencies.record(micros);
                latencies.record(u64::MAX);
                let found = latencies.percentile(50.0);
                assert!(found >= micros.max(1), "{found} {micros}");
                assert!(found as f64 <= micros.max(1) as f64 * (1.0 + error), "{found} {micros}");
                assert_eq!(latencies.max(), MICROS_MAX);
            }
        }
    }

    #[test]
    fn figures_are_those_of_the_values() {
        let mut latencies = Latencies::new();
        for micros in 1..=1000 {
            latencies.record(micros);
        }
        assert_eq!(
            (latencies.percentile(50.0), latencies.percentile(99.9), latencies.percentile(100.0)),
            (500, 999, 1000)
        );
        assert!((latencies.mean() - 500.5).abs() < 1e-9);
        assert!((latencies.deviation() - 288.675).abs() < 1e-3);
        let mut twice = latencies.clone();
        twice.add(&latencies);
        assert_eq!((twice.len(), twice.percentile(50.0), twice.max()), (2000, 500, 1000));
        assert_eq!(Latencies::new().percentile(99.0), 0);
    }
}
