//! Upgrade domains: sets of units that cross the tree, such as everything on one power feed.

use std::collections::{BTreeMap, BTreeSet};

use vice_core::Result;
use vice_core::manifest::DomainSpec;

use super::labels::hinted;
use super::{ENVIRONMENT, Topology, invalid};
use crate::unit_set::UnitSet;

/// How many domains one set may have.
const DOMAINS_MAX: u32 = 10_000;

/// A set of upgrade domains. No unit is in two domains of one set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainSet {
    /// Its name, such as `power`.
    pub name: String,
    /// The domains by name, in order.
    pub domains: Vec<(String, UnitSet)>,
}

impl Topology {
    pub(super) fn make_domains(&mut self, specs: &BTreeMap<String, DomainSpec>) -> Result<()> {
        for (name, spec) in specs {
            let taken = self.levels.contains(name) || self.labels.contains_key(name);
            if taken || matches!(name.as_str(), "group" | ENVIRONMENT) {
                let message = format!(
                    "A set of domains can't be named {name:?}: that is a level, a label or a word of selectors."
                );
                return Err(domain_fault(name, message).hint("Choose another name for the domains."));
            }
            let domains = match (&spec.label, spec.count, spec.members.is_empty()) {
                (Some(label), None, true) => self.by_label(name, label)?,
                (None, Some(count), true) => self.dealt(name, count, spec.level.as_deref())?,
                (None, None, false) => self.by_members(name, spec)?,
                _ => {
                    let message = format!("The domains {name} need exactly one of label, count and members.");
                    return Err(domain_fault(name, message).hint("Write for example: { label = \"feed\" }."));
                }
            };
            self.domains.push(DomainSet { name: name.clone(), domains });
        }
        Ok(())
    }

    fn by_label(&self, name: &str, label: &str) -> Result<Vec<(String, UnitSet)>> {
        let Some(column) = self.labels.get(label) else {
            let message = format!("The domains {name} follow the label {label:?}, and no unit has it.");
            return Err(hinted(domain_fault(name, message), label, self.labels.keys().map(String::as_str)));
        };
        let mut ranges: BTreeMap<u32, Vec<(u32, u32)>> = BTreeMap::new();
        for (unit, number) in (0..).zip(column.numbers()) {
            ranges.entry(*number).or_default().push((unit, unit + 1));
        }
        let all = column.values().iter().zip(0..).filter_map(|(value, number)| {
            let units = UnitSet::from_ranges(ranges.remove(&number)?);
            (!units.is_empty()).then(|| (value.clone(), units))
        });
        let mut all: Vec<_> = all.collect();
        all.sort_by(|one, two| crate::natural_cmp(&one.0, &two.0));
        Ok(all)
    }

    /// `count` domains; the nodes of a level, or the units, are dealt out to them in turn.
    fn dealt(&self, name: &str, count: u32, level: Option<&str>) -> Result<Vec<(String, UnitSet)>> {
        if count == 0 || count > DOMAINS_MAX {
            let message = format!("The domains {name} are {count}; there can be 1 to {DOMAINS_MAX}.");
            return Err(domain_fault(name, message));
        }
        let pieces: Vec<(u32, u32)> = match level {
            None => (0..self.units).map(|unit| (unit, unit + 1)).collect(),
            Some(own) if self.unit_level.as_deref() == Some(own) => {
                (0..self.units).map(|unit| (unit, unit + 1)).collect()
            }
            Some(level) => {
                let nodes = self.level(level).ok_or_else(|| {
                    let message = format!("The domains {name} deal out {level:?}, and no level has that name.");
                    hinted(domain_fault(name, message), level, self.levels.iter().map(String::as_str))
                })?;
                nodes.into_iter().map(|(_, first, last)| (first, last)).filter(|(first, last)| first < last).collect()
            }
        };
        if pieces.len() < count as usize && self.units > 0 {
            let message = format!(
                "The domains {name} are {count}, but there are only {} to deal out: some would have no members.",
                pieces.len()
            );
            return Err(domain_fault(name, message).hint(format!("Set `count` to at most {}.", pieces.len())));
        }
        let mut dealt: Vec<Vec<(u32, u32)>> = vec![Vec::new(); count as usize];
        for (piece, slot) in pieces.into_iter().zip((0..count as usize).cycle()) {
            dealt[slot].push(piece);
        }
        let numbered = dealt.into_iter().zip(1_u32..);
        Ok(numbered.map(|(ranges, number)| (number.to_string(), UnitSet::from_ranges(ranges))).collect())
    }

    fn by_members(&self, name: &str, spec: &DomainSpec) -> Result<Vec<(String, UnitSet)>> {
        let mut domains: Vec<(String, UnitSet)> = Vec::new();
        for (domain, selector) in &spec.members {
            let units = self.select(selector).map_err(|fault| fault.detail("key", format!("domain.{name}")))?;
            if units.is_empty() {
                let message = format!("The domain {domain} of {name} has no members: {selector} selects no unit.");
                return Err(domain_fault(name, message).hint("Correct the selector, or remove the domain."));
            }
            if let Some((other, _)) = domains.iter().find(|(_, other)| other.intersects(&units)) {
                let message = format!("The domains {other} and {domain} of {name} share a unit.");
                return Err(domain_fault(name, message).hint("A unit can be in one domain of a set."));
            }
            domains.push((domain.clone(), units));
        }
        let names: BTreeSet<&String> = domains.iter().map(|(name, _)| name).collect();
        debug_assert_eq!(names.len(), domains.len(), "a table has each key once");
        Ok(domains)
    }
}

fn domain_fault(name: &str, message: String) -> vice_core::Fault {
    invalid(&format!("domain.{name}"), message)
}
