//! A set of units as ranges. A subtree of the topology is one range, so that a limit over a hundred thousand servers
//! costs eight bytes.

use serde::{Deserialize, Deserializer, Serialize};

use crate::number::UnitNo;

/// Units as sorted, disjoint, half-open ranges of their numbers; written as `[[low, high], …]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct UnitSet(Vec<(u32, u32)>);

impl UnitSet {
    /// The units `0..count`.
    #[must_use]
    pub fn first(count: u32) -> Self {
        Self::range(0, count)
    }

    /// The units `low..high`; none when that is empty.
    #[must_use]
    pub fn range(low: u32, high: u32) -> Self {
        Self(if low < high { vec![(low, high)] } else { Vec::new() })
    }

    /// The set of the given units, in any order; one that is given twice is in it once.
    #[must_use]
    pub fn from_units(units: impl IntoIterator<Item = UnitNo>) -> Self {
        Self::from_ranges(units.into_iter().map(|unit| (unit.0, unit.0.saturating_add(1))))
    }

    /// The union of half-open ranges, in any order; empty ones are left out.
    #[must_use]
    pub fn from_ranges(ranges: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let mut ranges: Vec<(u32, u32)> = ranges.into_iter().filter(|(low, high)| low < high).collect();
        ranges.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (low, high) in ranges {
            match merged.last_mut() {
                Some(last) if low <= last.1 => last.1 = last.1.max(high),
                _ => merged.push((low, high)),
            }
        }
        merged.shrink_to_fit();
        Self(merged)
    }

    /// The ranges, sorted and disjoint.
    #[must_use]
    pub fn ranges(&self) -> &[(u32, u32)] {
        &self.0
    }

    /// How many units are in it.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.0.iter().map(|(low, high)| high - low).sum()
    }

    /// Whether it has no unit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a unit is in it.
    #[must_use]
    pub fn contains(&self, unit: UnitNo) -> bool {
        let after = self.0.partition_point(|(low, _)| *low <= unit.0);
        after.checked_sub(1).and_then(|index| self.0.get(index)).is_some_and(|(_, high)| unit.0 < *high)
    }

    /// Whether it shares a unit with another set.
    #[must_use]
    pub fn intersects(&self, other: &Self) -> bool {
        let meets = |(low, high): &(u32, u32)| {
            let after = other.0.partition_point(|(_, theirs)| theirs <= low);
            other.0.get(after).is_some_and(|(theirs, _)| theirs < high)
        };
        self.0.iter().any(meets)
    }

    /// The units, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = UnitNo> {
        self.0.iter().flat_map(|(low, high)| (*low..*high).map(UnitNo))
    }

    /// The number after the last unit; 0 when there is none.
    #[must_use]
    pub fn end(&self) -> u32 {
        self.0.last().map_or(0, |(_, high)| *high)
    }
}

impl<'de> Deserialize<'de> for UnitSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ranges = Vec::<(u32, u32)>::deserialize(deserializer)?;
        // Another writing of the same set would give the same plan another hash.
        let ordered = ranges.windows(2).all(|pair| pair[0].1 < pair[1].0);
        if !ordered || ranges.iter().any(|(low, high)| low >= high) {
            return Err(serde::de::Error::custom("ranges of units must be sorted, apart and not empty"));
        }
        Ok(Self(ranges))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(units: &[u32]) -> UnitSet {
        UnitSet::from_units(units.iter().copied().map(UnitNo))
    }

    #[test]
    fn neighbours_become_one_range() {
        let set = set(&[5, 1, 2, 3, 9, 2]);
        assert_eq!(set.ranges(), [(1, 4), (5, 6), (9, 10)]);
        assert_eq!(set.len(), 5);
        assert_eq!(set.iter().map(|unit| unit.0).collect::<Vec<_>>(), [1, 2, 3, 5, 9]);
        let inside = |unit: &u32| set.contains(UnitNo(*unit));
        assert_eq!((0..12).filter(inside).collect::<Vec<_>>(), [1, 2, 3, 5, 9]);
    }

    #[test]
    fn sets_meet_where_they_share_a_unit() {
        assert!(set(&[1, 2, 8]).intersects(&set(&[0, 8, 9])));
        assert!(!set(&[1, 2, 8]).intersects(&set(&[0, 3, 9])));
        assert!(!set(&[]).intersects(&set(&[1])));
        assert!(UnitSet::range(0, 100).intersects(&UnitSet::range(99, 100)));
        assert!(!UnitSet::range(0, 99).intersects(&UnitSet::range(99, 100)));
    }

    #[test]
    fn only_one_writing_is_read() {
        assert_eq!(serde_json::from_str::<UnitSet>("[[0,2],[3,4]]").unwrap(), set(&[0, 1, 3]));
        for bad in ["[[0,2],[2,4]]", "[[3,4],[0,2]]", "[[1,1]]", "[[2,1]]", "[[0,3],[1,4]]"] {
            assert!(serde_json::from_str::<UnitSet>(bad).is_err(), "{bad}");
        }
    }
}
