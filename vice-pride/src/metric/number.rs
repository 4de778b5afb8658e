//! From what a source says to counts: whole, finite, not negative. Anything else is trouble and never a number.

use vice_core::port::metric::{BADNESS_LEVELS, LATENCY_QUANTILES, MetricArm};

use super::trouble::Trouble;

/// The largest count that a 64-bit float holds exactly.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// How much above its total a count may be and still be the same number: `increase()` extrapolates each by itself.
const SLACK: f64 = 0.01;

/// A baseline of fewer exposures says nothing about its tail.
pub(super) const BASELINE_MIN: u64 = 100;

/// A count; fractions come from extrapolation and are rounded.
pub(super) fn count(value: f64, what: &str) -> Result<u64, Trouble> {
    if !value.is_finite() {
        return Err(Trouble::failed(format!("{what} is {value}, which is no count.")));
    }
    if !(-0.5..=EXACT_MAX).contains(&value) {
        return Err(Trouble::failed(format!("{what} is {}, which can't be a count.", shown(value))));
    }
    // In range and not negative after rounding.
    Ok(value.round().max(0.0) as u64)
}

/// A number of bounded length.
fn shown(value: f64) -> String {
    if value.abs() < 1e15 { value.to_string() } else { format!("{value:e}") }
}

/// What one version did: in a window, or, for counters that only grow, since its process began.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Numbers {
    Errors { seen: u64, bad: u64 },
    Times(Histogram),
    Scores { seen: u64, levels: [u32; BADNESS_LEVELS] },
}

impl Numbers {
    /// Errors, with a count of bad ones that may not exceed the total by more than extrapolation explains.
    pub(super) fn errors(seen: u64, bad: u64) -> Result<Self, Trouble> {
        let limit = (seen as f64).mul_add(1.0 + SLACK, 1.0);
        if bad as f64 > limit {
            return Err(Trouble::failed(format!("There are {bad} bad ones of {seen} in all, which can't be.")));
        }
        Ok(Self::Errors { seen, bad: bad.min(seen) })
    }

    /// Health scores, each between 0 and 1. Of `expected` exposures, those without a report count as dead.
    pub(super) fn scores(scores: &[f64], expected: Option<u64>) -> Result<Self, Trouble> {
        let mut levels = [0_u32; BADNESS_LEVELS];
        for score in scores {
            if !(-1e-9..=1.0 + 1e-9).contains(score) {
                return Err(Trouble::failed(format!("A health score is {score}; it must be between 0 and 1.")));
            }
            let level = ((1.0 - score.clamp(0.0, 1.0)) * (BADNESS_LEVELS - 1) as f64).round() as usize;
            if let Some(count) = levels.get_mut(level) {
                *count = count.saturating_add(1);
            }
        }
        let reports = scores.len() as u64;
        let silent = expected.map_or(0, |expected| expected.saturating_sub(reports));
        levels[BADNESS_LEVELS - 1] =
            levels[BADNESS_LEVELS - 1].saturating_add(u32::try_from(silent).unwrap_or(u32::MAX));
        Ok(Self::Scores { seen: reports + silent, levels })
    }

    /// As a list, for the mark.
    pub(super) fn flat(&self) -> Vec<u64> {
        match self {
            Self::Errors { seen, bad } => vec![*seen, *bad],
            Self::Times(histogram) => histogram.buckets.iter().map(|(_, count)| *count).collect(),
            Self::Scores { levels, .. } => levels.iter().map(|count| u64::from(*count)).collect(),
        }
    }

    /// What has come since `before`. A counter that went back, or a layout that changed, means that the process began
    /// again at zero; what it did just before it ended is lost.
    pub(super) fn since(self, before: &[u64]) -> Self {
        let now = self.flat();
        let began_again = now.len() != before.len() || now.iter().zip(before).any(|(now, before)| now < before);
        if began_again {
            return self;
        }
        match self {
            Self::Errors { seen, bad } => Self::Errors {
                seen: seen - before.first().copied().unwrap_or(0),
                bad: bad - before.get(1).copied().unwrap_or(0),
            },
            Self::Times(mut histogram) => {
                histogram.buckets.iter_mut().zip(before).for_each(|((_, count), before)| *count -= before);
                Self::Times(histogram)
            }
            scores @ Self::Scores { .. } => scores,
        }
    }

    /// The sum of what two processes of one version did.
    pub(super) fn plus(self, other: &Self) -> Self {
        match (self, other) {
            (Self::Errors { seen, bad }, Self::Errors { seen: more, bad: worse }) => {
                Self::Errors { seen: seen.saturating_add(*more), bad: bad.saturating_add(*worse) }
            }
            (Self::Times(histogram), Self::Times(other)) => Self::Times(histogram.plus(other)),
            (Self::Scores { seen, levels }, Self::Scores { seen: more, levels: others }) => Self::Scores {
                seen: seen.saturating_add(*more),
                levels: std::array::from_fn(|level| levels[level].saturating_add(others[level])),
            },
            (this, _) => this,
        }
    }

    /// As an arm of a judgement; `thresholds` are those of latency.
    pub(super) fn arm(&self, thresholds: &[f64]) -> Result<MetricArm, Trouble> {
        match self {
            Self::Errors { seen, bad } => Ok(MetricArm::errors(*seen, *bad)),
            Self::Scores { seen, levels } => Ok(MetricArm { seen: *seen, bad: *levels }),
            Self::Times(histogram) => histogram.arm(thresholds),
        }
    }
}

/// A histogram of times: how many are above the edge before and not above this one, in ascending order.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Histogram {
    buckets: Vec<(f64, u64)>,
    /// Whether an edge that is not listed does not exist; else its bucket is empty.
    is_complete: bool,
}

impl Histogram {
    /// From buckets that each count what no smaller one does; those that are empty may be left out.
    pub(super) fn sparse(buckets: impl IntoIterator<Item = (f64, u64)>) -> Self {
        let mut histogram = Self { buckets: buckets.into_iter().collect(), is_complete: false };
        histogram.tidy();
        histogram
    }

    /// From buckets that include the smaller ones, by upper bound, as Prometheus has them.
    pub(super) fn cumulative(buckets: impl IntoIterator<Item = (f64, u64)>) -> Result<Self, Trouble> {
        let mut histogram = Self { buckets: buckets.into_iter().collect(), is_complete: true };
        if histogram.buckets.iter().any(|(edge, _)| edge.is_nan()) {
            return Err(Trouble::failed("A bucket of the histogram has no number as its upper bound."));
        }
        histogram.tidy();
        if histogram.buckets.last().is_none_or(|(edge, _)| edge.is_finite()) {
            return Err(Trouble::failed(
                "The histogram has no bucket +Inf, so how many there are in all is not known.",
            ));
        }
        let mut before = 0;
        for (_, count) in &mut histogram.buckets {
            // Extrapolation can make a larger bucket a little smaller than the one inside it.
            let all = (*count).max(before);
            *count = all - before;
            before = all;
        }
        Ok(histogram)
    }

    fn tidy(&mut self) {
        self.buckets.sort_by(|one, two| one.0.total_cmp(&two.0));
        let mut merged: Vec<(f64, u64)> = Vec::with_capacity(self.buckets.len());
        for (edge, count) in self.buckets.drain(..) {
            match merged.last_mut() {
                Some((last, sum)) if same(*last, edge) => *sum = sum.saturating_add(count),
                _ => merged.push((edge, count)),
            }
        }
        self.buckets = merged;
    }

    fn plus(mut self, other: &Self) -> Self {
        self.buckets.extend(&other.buckets);
        self.is_complete = self.is_complete && other.is_complete;
        self.tidy();
        self
    }

    pub(super) fn total(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// The four thresholds: for each share the first edge that so many are not above. None for too few exposures.
    pub(super) fn thresholds(&self) -> Option<Vec<f64>> {
        let total = self.total();
        if total < BASELINE_MIN {
            return None;
        }
        let finite: Vec<(f64, u64)> = self.buckets.iter().copied().filter(|(edge, _)| edge.is_finite()).collect();
        let largest = finite.last()?.0;
        let threshold = |share: f64| {
            let wanted = share * total as f64;
            let mut sum = 0.0;
            let edge = finite.iter().find(|(_, count)| {
                sum += *count as f64;
                sum >= wanted
            });
            edge.map_or(largest, |(edge, _)| *edge)
        };
        Some(LATENCY_QUANTILES.iter().map(|share| threshold(*share)).collect())
    }

    fn arm(&self, thresholds: &[f64]) -> Result<MetricArm, Trouble> {
        let mut arm = MetricArm { seen: self.total(), ..MetricArm::default() };
        for (bad, threshold) in arm.bad.iter_mut().zip(thresholds) {
            if self.is_complete && !self.buckets.iter().any(|(edge, _)| same(*edge, *threshold)) {
                return Err(Trouble::failed(format!("The histogram has no bucket {threshold} any more.")));
            }
            let slower = self.buckets.iter().filter(|(edge, _)| *edge > *threshold && !same(*edge, *threshold));
            let slower = slower.fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
            *bad = u32::try_from(slower).unwrap_or(u32::MAX);
        }
        Ok(arm)
    }
}

/// Whether two edges are the same but for how they were written.
fn same(one: f64, two: f64) -> bool {
    one == two || (one.is_finite() && two.is_finite() && (one - two).abs() <= 1e-9 * one.abs().max(two.abs()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_count_is_trouble() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, -0.6, 1e300] {
            assert!(count(value, "x").is_err(), "{value}");
        }
        for (value, counted) in [(0.0, 0), (-0.2, 0), (0.4, 0), (2.5, 3), (1e15, 1_000_000_000_000_000)] {
            assert_eq!(count(value, "x").unwrap(), counted);
        }
    }

    #[test]
    fn more_bad_ones_than_there_are_is_trouble_unless_extrapolation_explains_it() {
        assert_eq!(Numbers::errors(100, 102).unwrap(), Numbers::Errors { seen: 100, bad: 100 });
        assert!(Numbers::errors(100, 103).is_err());
        assert!(Numbers::errors(0, 2).is_err());
    }

    #[test]
    fn a_counter_that_goes_back_began_again_at_zero() {
        let now = |seen, bad| Numbers::Errors { seen, bad };
        assert_eq!(now(110, 3).since(&[100, 2]), now(10, 1));
        assert_eq!(now(40, 1).since(&[100, 2]), now(40, 1));
        // One of both went back: the process is another one, and both begin at zero.
        assert_eq!(now(140, 1).since(&[100, 2]), now(140, 1));
        assert_eq!(now(7, 0).since(&[]), now(7, 0));
    }

    #[test]
    fn silence_is_the_worst_health() {
        let Numbers::Scores { seen, levels } = Numbers::scores(&[1.0, 1.0, 0.0, 0.5], Some(6)).unwrap() else {
            panic!()
        };
        assert_eq!((seen, levels[0], levels[8], levels[15]), (6, 2, 1, 3));
        assert!(Numbers::scores(&[1.5], None).is_err());
        assert!(Numbers::scores(&[f64::NAN], None).is_err());
    }

    #[test]
    fn thresholds_are_edges_and_exceedances_what_lies_above() {
        let buckets = [(0.1, 600), (0.2, 950), (0.5, 995), (1.0, 1000), (f64::INFINITY, 1000)];
        let histogram = Histogram::cumulative(buckets).unwrap();
        let thresholds = histogram.thresholds().unwrap();
        assert_eq!(thresholds, [0.1, 0.2, 0.5, 1.0]);
        let arm = histogram.arm(&thresholds).unwrap();
        assert_eq!((arm.seen, &arm.bad[..5]), (1000, &[400, 50, 5, 0, 0][..]));
        let other = Histogram::cumulative([(0.1, 5), (f64::INFINITY, 5)]).unwrap();
        assert!(other.arm(&thresholds).is_err(), "another layout can't be compared");
        assert!(Histogram::cumulative([(0.1, 5)]).is_err(), "without +Inf the total is not known");
        assert!(Histogram::cumulative([(f64::NAN, 5), (f64::INFINITY, 5)]).is_err());
        assert_eq!(Histogram::sparse([(0.1, 99)]).thresholds(), None, "too few to speak of a tail");
        assert_eq!(Histogram::cumulative([(f64::INFINITY, 1000)]).unwrap().thresholds(), None);
    }

    proptest! {
        #[test]
        fn deltas_add_up_to_what_was_counted(steps in prop::collection::vec((0_u64..1000, any::<bool>()), 1..30)) {
            let (mut seen, mut before, mut sum, mut all) = (0_u64, vec![0, 0], 0, 0);
            for (more, restarts) in steps {
                // A restart shows only when the new process has counted less than the old one had.
                if restarts && more < seen { seen = 0; }
                seen += more;
                all += more;
                let numbers = Numbers::Errors { seen, bad: 0 };
                let Numbers::Errors { seen: delta, .. } = numbers.clone().since(&before) else { unreachable!() };
                sum += delta;
                before = numbers.flat();
            }
            prop_assert_eq!(sum, all);
        }

        #[test]
        fn exceedances_never_exceed_and_fall_with_the_threshold(counts in prop::collection::vec(0_u64..50, 1..60)) {
            let histogram = Histogram::sparse(counts.iter().enumerate().map(|(at, count)| (1.1_f64.powi(at as i32), *count)));
            if let Some(thresholds) = histogram.thresholds() {
                let arm = histogram.arm(&thresholds).unwrap();
                prop_assert!(arm.bad[..4].windows(2).all(|pair| pair[0] >= pair[1]));
                for (share, bad) in LATENCY_QUANTILES.iter().zip(arm.bad) {
                    prop_assert!(f64::from(bad) <= (1.0 - share) * arm.seen as f64 + 1e-6);
                }
            }
        }
    }
}
