//! Quantiles of any positive or negative numbers within 2 %, in bounded memory, mergeable: buckets whose edges grow by a
//! constant factor. When there are too many, the smallest ones become one, so that high quantiles stay right.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How far a quantile may be off, as a share of its value.
#[cfg(test)]
pub(super) const ERROR: f64 = 0.02;

/// The factor between two edges: (1 + 0.02) / (1 - 0.02).
const GROWTH: f64 = 1.02 / 0.98;

/// So many buckets span a ratio of 8e8 between the largest and the smallest number.
pub(super) const BUCKETS_MAX: usize = 512;

/// Numbers closer to zero count as zero.
const LEAST: f64 = 1e-9;

/// What was seen of a quantity.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Sketch {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    below: BTreeMap<i32, u64>,
    #[serde(default)]
    zero: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    above: BTreeMap<i32, u64>,
}

impl Sketch {
    /// Takes in a finite number.
    pub(super) fn add(&mut self, number: f64) {
        if number.abs() < LEAST {
            self.zero += 1;
            return;
        }
        let side = if number > 0.0 { &mut self.above } else { &mut self.below };
        *side.entry(bucket(number.abs())).or_default() += 1;
        self.shrink();
    }

    /// Takes in what another has seen.
    #[cfg(test)]
    pub(super) fn merge(&mut self, other: &Self) {
        self.zero += other.zero;
        for (side, more) in [(&mut self.below, &other.below), (&mut self.above, &other.above)] {
            for (bucket, count) in more {
                *side.entry(*bucket).or_default() += count;
            }
        }
        self.shrink();
    }

    pub(super) fn count(&self) -> u64 {
        self.zero + self.below.values().sum::<u64>() + self.above.values().sum::<u64>()
    }

    pub(super) fn buckets(&self) -> usize {
        self.below.len() + self.above.len()
    }

    /// The number below which a share of all lies; none when nothing was seen.
    pub(super) fn quantile(&self, q: f64) -> Option<f64> {
        let count = self.count();
        let rank = ((count.checked_sub(1)?) as f64 * q).floor() as u64;
        let below = self.below.iter().rev().map(|(bucket, count)| (-middle(*bucket), *count));
        let above = self.above.iter().map(|(bucket, count)| (middle(*bucket), *count));
        let mut seen = 0;
        for (number, count) in below.chain(std::iter::once((0.0, self.zero))).chain(above) {
            seen += count;
            if seen > rank {
                return Some(number);
            }
        }
        None
    }

    fn shrink(&mut self) {
        while self.buckets() > BUCKETS_MAX {
            let side = if self.above.len() > 1 { &mut self.above } else { &mut self.below };
            let Some((_, count)) = side.pop_first() else { return };
            match side.first_entry() {
                Some(mut next) => *next.get_mut() += count,
                None => self.zero += count,
            }
        }
    }
}

fn bucket(number: f64) -> i32 {
    // Finite numbers of either size have buckets between -18000 and 18000.
    (number.ln() / GROWTH.ln()).ceil() as i32
}

fn middle(bucket: i32) -> f64 {
    2.0 * GROWTH.powi(bucket) / (GROWTH + 1.0)
}
