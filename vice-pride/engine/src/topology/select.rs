//! From a selector to units. A word that nothing in the tree has is an error with the nearest one; a selector whose
//! words are all known may still select nothing, and what that means is the caller's business.

use std::collections::BTreeSet;

use vice_core::manifest::{Conjunction, Selector, Term};
use vice_core::{Code, Fault, Result};

use super::labels::hinted;
use super::{ENVIRONMENT, NodeNo, Topology};
use crate::unit_set::UnitSet;

/// How many names are looked at for a suggestion; in larger fleets nobody types the name of a single server.
const SUGGESTIONS_MAX: usize = 10_000;

impl Topology {
    /// The units that a selector means.
    ///
    /// # Errors
    /// `ManifestInvalid` for a label, level, value or name that nothing has.
    pub fn select(&self, selector: &Selector) -> Result<UnitSet> {
        let mut ranges = Vec::new();
        for all in selector.alternatives() {
            ranges.extend_from_slice(self.conjunction(all)?.ranges());
        }
        Ok(UnitSet::from_ranges(ranges))
    }

    fn conjunction(&self, all: &Conjunction) -> Result<UnitSet> {
        let mut units = UnitSet::first(self.units);
        for term in all.terms() {
            units = intersection(&units, &self.term(term)?);
        }
        Ok(units)
    }

    fn term(&self, term: &Term) -> Result<UnitSet> {
        match term {
            Term::Everything => Ok(UnitSet::first(self.units)),
            Term::Path(parts) => self.at_path(parts),
            Term::Label { key, values, negated } => {
                let mut ranges = Vec::new();
                for value in values {
                    ranges.extend_from_slice(self.labelled(key, value)?.ranges());
                }
                let units = UnitSet::from_ranges(ranges);
                Ok(if *negated { complement(&units, self.units) } else { units })
            }
        }
    }

    /// The units with a label, below the nodes of a level, in a domain, or in a group.
    fn labelled(&self, key: &str, value: &str) -> Result<UnitSet> {
        if let Some(column) = self.labels.get(key) {
            let found = column.units(|own| own.is_some_and(|own| fits(value, own)));
            return self.known(found, key, value, || column.values().to_vec());
        }
        if let Some(nodes) = self.level(key) {
            let name = |node: NodeNo| self.names.name(self.nodes[node as usize].name).into_owned();
            let fitting = nodes.iter().filter(|(node, ..)| fits(value, &name(*node)));
            let found = UnitSet::from_ranges(fitting.map(|(_, first, last)| (*first, *last)));
            return self.known(found, key, value, || {
                nodes.iter().take(SUGGESTIONS_MAX).map(|(node, ..)| name(*node)).collect()
            });
        }
        if self.unit_level.as_deref() == Some(key) {
            let found = self.units_named(value);
            return self.known(found, key, value, Vec::new);
        }
        if let Some(set) =
            self.domains.iter().find(|set| set.name == key || (key == "domain" && self.domains.len() == 1))
        {
            let fitting = set.domains.iter().filter(|(name, _)| fits(value, name));
            let found = UnitSet::from_ranges(fitting.flat_map(|(_, units)| units.ranges().iter().copied()));
            return self.known(found, key, value, || set.domains.iter().map(|(name, _)| name.clone()).collect());
        }
        if key == "group" && !self.groups.is_empty() {
            let fitting = self.groups.iter().filter(|(name, _)| fits(value, name));
            let found = UnitSet::from_ranges(fitting.flat_map(|(_, units)| units.ranges().iter().copied()));
            return self.known(found, key, value, || self.groups.keys().cloned().collect());
        }
        Err(self.unknown_key(key))
    }

    /// A value that nothing has is a slip, unless it has a `*` or an empty group is meant.
    fn known(&self, found: UnitSet, key: &str, value: &str, all: impl FnOnce() -> Vec<String>) -> Result<UnitSet> {
        if !found.is_empty() || value.contains('*') || self.units == 0 || self.groups.contains_key(value) {
            return Ok(found);
        }
        let all = all();
        let fault = Fault::new(Code::ManifestInvalid, format!("No unit has {key}={value}."));
        Err(hinted(fault, value, all.iter().map(String::as_str)))
    }

    fn unknown_key(&self, key: &str) -> Fault {
        let mut known: BTreeSet<&str> = self.labels.keys().map(String::as_str).collect();
        known.extend(self.levels.iter().map(String::as_str));
        known.extend(self.unit_level.as_deref());
        known.extend(self.domains.iter().map(|set| set.name.as_str()));
        known.extend((!self.groups.is_empty()).then_some("group"));
        let fault = Fault::new(
            Code::ManifestInvalid,
            format!("{key:?} is neither a label nor a level nor a set of domains of this environment."),
        );
        if known.is_empty() {
            return fault.hint("This environment has no labels; units are selected by name, or all with *.");
        }
        hinted(fault, key, known.iter().copied())
    }

    /// A node by its path, a unit by its path or name, or a group by its name.
    fn at_path(&self, parts: &[String]) -> Result<UnitSet> {
        let mut ranges = Vec::new();
        self.descend(0, parts, &mut ranges);
        if let [name] = parts
            && ranges.is_empty()
        {
            ranges.extend_from_slice(self.units_named(name).ranges());
            if let Some(group) = self.groups.get(name) {
                return Ok(group.clone());
            }
        }
        if ranges.is_empty() && !parts.iter().any(|part| part.contains('*')) && self.units > 0 {
            return Err(self.unknown_path(parts));
        }
        Ok(UnitSet::from_ranges(ranges))
    }

    fn descend(&self, node: NodeNo, parts: &[String], ranges: &mut Vec<(u32, u32)>) {
        let Some((first, rest)) = parts.split_first() else { return };
        for child in self.children(node) {
            let inner = &self.nodes[child as usize];
            if fits(first, &self.names.name(inner.name)) {
                if rest.is_empty() {
                    ranges.push((inner.first, inner.last));
                } else {
                    self.descend(child, rest, ranges);
                }
            }
        }
        if rest.is_empty() {
            self.direct_units(node, first, ranges);
        }
    }

    /// The units directly in a node whose own name fits.
    fn direct_units(&self, node: NodeNo, pattern: &str, ranges: &mut Vec<(u32, u32)>) {
        let node = &self.nodes[node as usize];
        if pattern == "*" {
            ranges.push((node.first, node.first + node.direct));
        } else if pattern.contains('*') {
            let named = |offset: &u32| fits(pattern, &self.names.name(node.unit_names + offset));
            ranges.extend((0..node.direct).filter(named).map(|offset| (node.first + offset, node.first + offset + 1)));
        } else if let Some(symbol) = self.names.find(node.unit_names, node.direct, pattern) {
            let unit = node.first + (symbol - node.unit_names);
            ranges.push((unit, unit + 1));
        }
    }

    fn children(&self, node: NodeNo) -> impl Iterator<Item = NodeNo> {
        let end = self.nodes.get(node as usize).map_or(0, |node| node.end);
        let mut at = node + 1;
        std::iter::from_fn(move || {
            let child = (at < end).then_some(at)?;
            at = self.nodes.get(child as usize)?.end;
            Some(child)
        })
    }

    /// Units by their own names anywhere, or by their whole name with dots.
    fn units_named(&self, name: &str) -> UnitSet {
        let mut ranges = Vec::new();
        for node in (0..).zip(&self.nodes).filter(|(_, node)| node.direct > 0).map(|(number, _)| number) {
            if self.unique || name.contains('*') || !name.contains('.') {
                self.direct_units(node, name, &mut ranges);
            } else if let Some(own) = self.path(node, ".").and_then(|path| name.strip_prefix(&path)?.strip_prefix('.'))
            {
                self.direct_units(node, own, &mut ranges);
            }
        }
        UnitSet::from_ranges(ranges)
    }

    fn unknown_path(&self, parts: &[String]) -> Fault {
        let path = parts.join("/");
        let fault = Fault::new(Code::ManifestInvalid, format!("Nothing in this environment is named {path:?}."));
        let nodes = (1..).map_while(|node| self.node_path(node)).take(SUGGESTIONS_MAX);
        let units = (0..self.units).take(SUGGESTIONS_MAX).map(|unit| self.unit_name(crate::UnitNo(unit)));
        let known: Vec<String> = nodes.chain(self.groups.keys().cloned()).chain(units).collect();
        hinted(fault, &path, known.iter().map(String::as_str))
    }

    /// The words that may stand in `max_down`: levels, sets of domains, `domain`, and `environment`.
    #[must_use]
    pub fn limit_words(&self) -> Vec<&str> {
        let mut words: Vec<&str> = vec![ENVIRONMENT];
        words.extend(self.levels.iter().map(String::as_str));
        words.extend(self.domains.iter().map(|set| set.name.as_str()));
        words.extend((!self.domains.is_empty()).then_some("domain"));
        words
    }
}

/// Whether a text fits a pattern in which `*` stands for any text.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or("");
    for part in parts {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(end)
}

/// The units that are in both.
pub(crate) fn intersection(one: &UnitSet, two: &UnitSet) -> UnitSet {
    let (mut left, mut right) = (one.ranges().iter().peekable(), two.ranges().iter().peekable());
    let mut both = Vec::new();
    while let (Some(&&(a, b)), Some(&&(c, d))) = (left.peek(), right.peek()) {
        both.push((a.max(c), b.min(d)));
        if b <= d {
            left.next();
        } else {
            right.next();
        }
    }
    UnitSet::from_ranges(both)
}

/// The units of `0..count` that are not in the set.
pub(crate) fn complement(units: &UnitSet, count: u32) -> UnitSet {
    let starts = std::iter::once(0).chain(units.ranges().iter().map(|(_, high)| *high));
    let ends = units.ranges().iter().map(|(low, _)| *low).chain(std::iter::once(count));
    UnitSet::from_ranges(starts.zip(ends))
}
