//! How often the change of a unit has failed. Nearly all of them never do, so a bit says whether there is more to know.

use std::collections::BTreeMap;

/// Failed tries by unit: one bit each, and a number for those that have failed.
#[derive(Debug)]
pub(super) struct Tries {
    any: Vec<u64>,
    counts: BTreeMap<u32, u32>,
}

impl Tries {
    pub(super) fn new(units: u32) -> Self {
        Self { any: vec![0; units as usize / 64 + 1], counts: BTreeMap::new() }
    }

    /// How many tries of a unit have failed so far.
    #[inline]
    pub(super) fn of(&self, unit: u32) -> u32 {
        if self.any[unit as usize / 64] >> (unit % 64) & 1 == 0 {
            return 0;
        }
        self.counts.get(&unit).copied().unwrap_or(0)
    }

    /// One more has failed.
    pub(super) fn failed(&mut self, unit: u32) {
        self.any[unit as usize / 64] |= 1 << (unit % 64);
        *self.counts.entry(unit).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_tries_are_counted_by_unit() {
        let mut tries = Tries::new(65);
        tries.failed(64);
        tries.failed(64);
        tries.failed(0);
        assert_eq!([0, 1, 63, 64].map(|unit| tries.of(unit)), [1, 0, 0, 2]);
    }
}
