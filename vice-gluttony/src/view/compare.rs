//! This rollout's duration against the ones before it.

use serde::{Deserialize, Serialize};
use vice_core::Millis;
use vice_core::delivery::median;
use vice_core::fold::environment::Past;
use vice_core::id::RolloutId;

/// With how many earlier rollouts a duration is compared.
pub const COMPARED_MAX: usize = 10;

/// A duration among the durations of earlier rollouts of the same environment, whatever their outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// How many earlier rollouts there are, at most [`COMPARED_MAX`].
    pub earlier: usize,
    /// Half of them took at most so long.
    #[serde(rename = "median_ms")]
    pub median: Millis,
    /// The fastest.
    #[serde(rename = "min_ms")]
    pub min: Millis,
    /// The slowest.
    #[serde(rename = "max_ms")]
    pub max: Millis,
    /// This one's place among `earlier + 1`, from 1 for the fastest; equal durations share the better place.
    pub rank: usize,
}

/// Compares with the finished rollouts before `this`; none when there are none.
#[must_use]
pub fn compare(this: &RolloutId, took: Millis, past: &[Past]) -> Option<Comparison> {
    let earlier = past.iter().filter(|other| other.rollout.number < this.number).filter_map(|other| other.took);
    let mut durations: Vec<Millis> = earlier.take(COMPARED_MAX).collect();
    durations.sort_unstable();
    let (min, max) = (*durations.first()?, *durations.last()?);
    let rank = durations.iter().filter(|other| **other < took).count() + 1;
    Some(Comparison { earlier: durations.len(), median: median(&durations)?, min, max, rank })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_an_even_number_lies_between() {
        assert_eq!(median(&[Millis(1), Millis(3)]), Some(Millis(2)));
        assert_eq!(median(&[Millis(1), Millis(3), Millis(50)]), Some(Millis(3)));
        assert_eq!(median(&[]), None);
    }
}
