//! The changing units in the order in which they are wanted, cut where a wave has to end.

use std::collections::BTreeMap;

use vice_core::manifest::{Order, RolloutSpec};
use vice_core::{Code, Fault, Result};

use super::classes::Classes;
use super::fleet::Fleet;
use super::graph::Standing;
use crate::number::UnitNo;
use crate::topology::Topology;
use crate::unit_set::UnitSet;

/// The label that says how much is at risk with a unit: a number, 0 when absent.
const RISK_LABEL: &str = "risk";

/// The units in order.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    /// Units that are placed, in parts: a wave must not reach from the first part into the next.
    pub(super) placed: Vec<Vec<UnitNo>>,
    /// Units that are removed when everything is placed, in parts as well.
    pub(super) removed: Vec<Vec<UnitNo>>,
    /// So many units at the very beginning belong into the first wave: those that are down and have nothing to lose, and
    /// one of each environment class where that is wanted.
    pub(super) coverage: u32,
}

impl Sequence {
    /// How many units there are.
    pub(super) fn len(&self) -> usize {
        self.placed.iter().chain(&self.removed).map(Vec::len).sum()
    }
}

/// Puts the units into order.
pub(super) fn sequence(
    spec: &RolloutSpec,
    fleet: &Fleet<'_>,
    classes: &Classes,
    standings: &[Standing],
) -> Result<Sequence> {
    let cover = spec.order == Order::CoverageFirst;
    if cover && fleet.tree.classes().is_empty() && fleet.changes() > 0 {
        let message = "`rollout.order` is coverage-first, but no environment class is known.";
        return Err(Fault::new(Code::ManifestInvalid, message)
            .hint("Give the units a label `class` in the topology, or say with `class_by` which label it is.")
            .detail("key", "order"));
    }
    let mut blocks: BTreeMap<Standing, Vec<(u32, u32)>> = BTreeMap::new();
    for (class, standing) in classes.classes.iter().zip(standings) {
        blocks.entry(*standing).or_default().extend(&class.ranges);
    }
    let mut sequence = Sequence::default();
    let mut parts: [Option<bool>; 2] = [None, None];
    let mut first = true;
    for (standing, mut ranges) in blocks {
        ranges.sort_unstable();
        let mut units: Vec<UnitNo> = ranges.into_iter().flat_map(|(low, high)| (low..high).map(UnitNo)).collect();
        let down = down_first(&fleet.down, &mut units);
        let covered = if cover { coverage_first(&fleet.tree, &mut units[down..]) } else { 0 };
        if first {
            sequence.coverage = covered.saturating_add(u32::try_from(down).unwrap_or(u32::MAX));
        }
        first = false;
        let Sequence { placed, removed, .. } = &mut sequence;
        let (list, part) = if standing.removed { (removed, &mut parts[1]) } else { (placed, &mut parts[0]) };
        match list.last_mut() {
            Some(last) if *part == Some(standing.later) => last.append(&mut units),
            _ => list.push(units),
        }
        *part = Some(standing.later);
    }
    Ok(sequence)
}

/// The units that are down first: what is mended takes no place any more in what may be down. Returns how many they are.
fn down_first(down: &UnitSet, units: &mut [UnitNo]) -> usize {
    if down.is_empty() {
        return 0;
    }
    // Stable, so that each part keeps its order.
    units.sort_by_key(|unit| !down.contains(*unit));
    units.partition_point(|unit| down.contains(*unit))
}

/// One unit of each environment class first, the least risky of each, then all others; by rising risk, then by number.
/// Returns how many come first.
fn coverage_first(tree: &Topology, units: &mut [UnitNo]) -> u32 {
    let risk = |unit: UnitNo| {
        let risk = tree.label(unit, RISK_LABEL).and_then(|risk| risk.parse::<f64>().ok()).unwrap_or(0.0);
        if risk.is_nan() { f64::INFINITY } else { risk }
    };
    let mut keyed: Vec<(f64, UnitNo)> = units.iter().map(|unit| (risk(*unit), *unit)).collect();
    let by_risk = |one: &(f64, UnitNo), two: &(f64, UnitNo)| one.0.total_cmp(&two.0).then_with(|| one.1.cmp(&two.1));
    keyed.sort_by(by_risk);
    let mut seen = vec![false; tree.classes().len() + 1];
    let mut is_first = |unit: UnitNo| {
        let class = tree.class_of(unit).map_or(tree.classes().len(), |class| class as usize);
        seen.get_mut(class).is_some_and(|seen| !std::mem::replace(seen, true))
    };
    let (first, rest): (Vec<_>, Vec<_>) = keyed.into_iter().partition(|(_, unit)| is_first(*unit));
    let covered = u32::try_from(first.len()).unwrap_or(u32::MAX);
    for (slot, (_, unit)) in units.iter_mut().zip(first.into_iter().chain(rest)) {
        *slot = unit;
    }
    covered
}
