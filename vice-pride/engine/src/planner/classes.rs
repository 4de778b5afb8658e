//! Units that all constraints treat alike are one class. Contradictions and orders are found among classes, of which
//! there are few, whatever the size of the fleet.

use std::collections::BTreeMap;

use super::fleet::Fleet;
use super::rules::{Kind, Rule};
use crate::unit_set::UnitSet;

/// Classes of changing units.
#[derive(Debug, Default)]
pub(super) struct Classes {
    pub(super) classes: Vec<Class>,
    /// Where the roles of each rule begin among the bits of a class.
    starts: Vec<usize>,
}

/// Units under the same constraints.
#[derive(Debug)]
pub(super) struct Class {
    /// Half-open ranges, ascending.
    pub(super) ranges: Vec<(u32, u32)>,
    /// Whether its units are removed; they come after those that are placed.
    pub(super) removed: bool,
    roles: Vec<u64>,
}

impl Classes {
    pub(super) fn of(rules: &[Rule], fleet: &Fleet<'_>) -> Self {
        let mut sets: Vec<&UnitSet> = vec![&fleet.placed, &fleet.removed];
        let mut starts = Vec::with_capacity(rules.len());
        for rule in rules {
            starts.push(sets.len());
            match &rule.kind {
                Kind::After { first, then } => sets.extend([first, then]),
                Kind::Order { members } | Kind::StartAt { members } => sets.push(members),
                Kind::Exclude { groups } => sets.extend(groups),
                Kind::Window { members, .. } => sets.extend(members),
                Kind::Never { .. } => {}
            }
        }
        Self { classes: swept(&sets), starts }
    }

    /// Whether a class is in the `role`th set of a rule.
    pub(super) fn has(&self, class: usize, rule: usize, role: usize) -> bool {
        let bit = self.starts[rule] + role;
        self.classes[class].roles.get(bit / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }
}

/// Goes over the units from boundary to boundary; between two, every unit is in the same sets.
fn swept(sets: &[&UnitSet]) -> Vec<Class> {
    let mut edges: Vec<(u32, usize)> = Vec::new();
    for (bit, set) in sets.iter().enumerate() {
        edges.extend(set.ranges().iter().flat_map(|(low, high)| [(*low, bit), (*high, bit)]));
    }
    edges.sort_unstable();
    let mut now = vec![0_u64; sets.len().div_ceil(64)];
    let mut known: BTreeMap<Vec<u64>, usize> = BTreeMap::new();
    let mut classes: Vec<Class> = Vec::new();
    for (index, (at, bit)) in edges.iter().enumerate() {
        now[bit / 64] ^= 1 << (bit % 64);
        let next = edges.get(index + 1).map_or(*at, |(next, _)| *next);
        // The first two sets are the placed and the removed units: outside of both nothing changes.
        if next == *at || now[0] & 3 == 0 {
            continue;
        }
        let class = known.get(&now).copied().unwrap_or_else(|| {
            known.insert(now.clone(), classes.len());
            classes.push(Class { ranges: Vec::new(), removed: now[0] & 2 != 0, roles: now.clone() });
            classes.len() - 1
        });
        classes[class].ranges.push((*at, next));
    }
    classes
}
