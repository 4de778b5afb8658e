//! The tree of an inventory: hosts, groups of hosts, groups of groups, and variables. It gets them read and ranges
//! written out; it knows nothing of files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vice_core::manifest::TopologySpec;
use vice_core::{Fault, Result};

use super::explicit::{Writer, check_levels};
use super::labels::{Painting, hinted};
use super::{Topology, invalid};
use crate::number::UnitNo;
use crate::unit_set::UnitSet;

/// The group that has every host.
const ALL: &str = "all";

/// An inventory, as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster {
    /// The hosts, in the order of the file.
    pub hosts: Vec<RosterHost>,
    /// The groups by name.
    pub groups: BTreeMap<String, RosterGroup>,
}

/// One host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RosterHost {
    /// Its name; unique.
    pub name: String,
    /// Its own variables.
    pub vars: BTreeMap<String, String>,
}

/// One group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RosterGroup {
    /// The hosts directly in it.
    pub hosts: Vec<String>,
    /// The groups directly in it.
    pub children: Vec<String>,
    /// Variables of everything in it.
    pub vars: BTreeMap<String, String>,
}

/// Variables that say how to connect; they are no labels.
fn is_plumbing(key: &str) -> bool {
    key.starts_with("ansible_")
}

pub(super) fn tree(roster: &Roster, spec: &TopologySpec) -> Result<Topology> {
    check_levels(&spec.levels)?;
    let facts = Facts::of(roster)?;
    let paths =
        if spec.levels.is_empty() { facts.by_groups(spec.under.as_deref())? } else { facts.by_vars(&spec.levels)? };
    let mut hosts: Vec<(Vec<String>, usize)> = paths.into_iter().zip(0..).collect();
    let compare = |one: &[String], two: &[String]| {
        let parts = one.iter().zip(two).map(|(one, two)| crate::natural_cmp(one, two));
        parts.into_iter().find(|order| order.is_ne()).unwrap_or_else(|| one.len().cmp(&two.len()))
    };
    hosts.sort_by(|one, two| {
        compare(&one.0, &two.0).then_with(|| crate::natural_cmp(&roster.hosts[one.1].name, &roster.hosts[two.1].name))
    });
    let mut writer = Writer::new(&spec.levels, "inventory");
    write(&mut writer, roster, &hosts)?;
    let numbers: BTreeMap<usize, u32> = hosts.iter().map(|(_, host)| *host).zip(0..).collect();
    facts.paint(&mut writer, &numbers, &spec.levels);
    let mut topology = writer.finish();
    topology.groups = facts.groups(&numbers);
    Ok(topology)
}

/// Hosts in the order of their paths become nodes and units.
fn write(writer: &mut Writer<'_>, roster: &Roster, hosts: &[(Vec<String>, usize)]) -> Result<()> {
    let mut open: Vec<String> = Vec::new();
    for run in hosts.chunk_by(|one, two| one.0 == two.0) {
        let Some((path, _)) = run.first() else { continue };
        let shared = open.iter().zip(path).take_while(|(one, two)| one == two).count();
        while open.len() > shared {
            writer.build.close();
            open.pop();
        }
        for part in &path[shared..] {
            writer.open(part, None, open.len())?;
            open.push(part.clone());
        }
        let names: Vec<String> = run.iter().map(|(_, host)| roster.hosts[*host].name.clone()).collect();
        writer.plain_units(&names, path.last().map_or("the environment", String::as_str))?;
    }
    while open.pop().is_some() {
        writer.build.close();
    }
    Ok(())
}

/// An inventory with its groups resolved.
struct Facts<'a> {
    roster: &'a Roster,
    /// The groups that a group is directly in.
    parents: BTreeMap<&'a str, Vec<&'a str>>,
    /// How deep a group is: the longest way from a group that is in no other.
    depths: BTreeMap<&'a str, usize>,
    /// By host: the groups directly and indirectly.
    of_host: Vec<BTreeSet<&'a str>>,
    /// By host: the groups directly.
    direct: Vec<BTreeSet<&'a str>>,
}

impl<'a> Facts<'a> {
    fn of(roster: &'a Roster) -> Result<Self> {
        let mut parents: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, group) in &roster.groups {
            for child in &group.children {
                if !roster.groups.contains_key(child) {
                    let message = format!(
                        "The group {name:?} of the inventory has the child {child:?}, and there is no such group."
                    );
                    return Err(hinted(invalid("inventory", message), child, roster.groups.keys().map(String::as_str)));
                }
                if name != ALL {
                    parents.entry(child).or_default().push(name);
                }
            }
        }
        let depths = depths(roster, &parents)?;
        let mut facts = Self { roster, parents, depths, of_host: Vec::new(), direct: Vec::new() };
        facts.members()?;
        Ok(facts)
    }

    fn members(&mut self) -> Result<()> {
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        for (index, host) in self.roster.hosts.iter().enumerate() {
            if numbers.insert(&host.name, index).is_some() {
                return Err(invalid("inventory", format!("The host {:?} is in the inventory twice.", host.name)));
            }
        }
        self.direct = vec![BTreeSet::new(); self.roster.hosts.len()];
        for (name, group) in &self.roster.groups {
            for host in &group.hosts {
                let index = numbers.get(host.as_str()).ok_or_else(|| {
                    Fault::internal(format!("The host {host:?} of the group {name:?} was not read as a host."))
                })?;
                self.direct[*index].insert(name);
            }
        }
        self.of_host = self.direct.iter().map(|direct| self.closure(direct)).collect();
        Ok(())
    }

    fn closure(&self, direct: &BTreeSet<&'a str>) -> BTreeSet<&'a str> {
        let mut found = direct.clone();
        let mut open: Vec<&str> = direct.iter().copied().collect();
        while let Some(group) = open.pop() {
            for parent in self.parents.get(group).into_iter().flatten() {
                if found.insert(parent) {
                    open.push(parent);
                }
            }
        }
        found
    }

    /// A variable of a host: its own, else of its deepest group, the later name winning among equals.
    fn var(&self, host: usize, key: &str) -> Option<&'a str> {
        if let Some(own) = self.roster.hosts[host].vars.get(key) {
            return Some(own);
        }
        let mut best: Option<((usize, &str), &str)> = None;
        for group in &self.of_host[host] {
            let rank = (self.depths.get(group).copied().unwrap_or(0), *group);
            if let Some(value) = self.roster.groups[*group].vars.get(key)
                && best.is_none_or(|(known, _)| rank > known)
            {
                best = Some((rank, value));
            }
        }
        best.map(|(_, value)| value).or_else(|| Some(self.roster.groups.get(ALL)?.vars.get(key)?.as_str()))
    }

    /// Where each host stands by its variables.
    fn by_vars(&self, levels: &[String]) -> Result<Vec<Vec<String>>> {
        let place = |host: usize| {
            let mut path = Vec::new();
            for level in levels {
                match self.var(host, level) {
                    Some(value) => path.push(value.to_owned()),
                    None => {
                        let name = &self.roster.hosts[host].name;
                        let message =
                            format!("The host {name:?} has no variable {level:?}, which is a level of the topology.");
                        return Err(invalid("levels", message).hint(format!(
                            "Set {level} for the host or one of its groups, or take it out of `levels`."
                        )));
                    }
                }
            }
            Ok(path)
        };
        (0..self.roster.hosts.len()).map(place).collect()
    }

    /// Where each host stands by its groups: one way from a group at the top down to the host. Where a host has
    /// several, all hosts stand side by side, unless `under` says which way is meant.
    fn by_groups(&self, under: Option<&str>) -> Result<Vec<Vec<String>>> {
        if let Some(root) = under
            && !self.roster.groups.contains_key(root)
        {
            let message = format!("`under` names the group {root:?}, and the inventory has no such group.");
            return Err(hinted(invalid("under", message), root, self.roster.groups.keys().map(String::as_str)));
        }
        let mut paths = Vec::new();
        for host in 0..self.roster.hosts.len() {
            match (self.ways(host, under).as_slice(), under) {
                ([], _) => paths.push(Vec::new()),
                ([only], _) => paths.push(only.clone()),
                (_, None) => return Ok(vec![Vec::new(); self.roster.hosts.len()]),
                ([one, two, ..], Some(root)) => {
                    let name = &self.roster.hosts[host].name;
                    let message = format!(
                        "The host {name:?} has two places under {root}: {} and {}.",
                        one.join("/"),
                        two.join("/")
                    );
                    return Err(invalid("under", message).hint("Take the host out of one of the groups."));
                }
            }
        }
        Ok(paths)
    }

    /// The ways from the top to a host; more than two are not of interest.
    fn ways(&self, host: usize, under: Option<&str>) -> Vec<Vec<String>> {
        let mut done = Vec::new();
        let mut open: Vec<Vec<&str>> =
            self.direct[host].iter().filter(|group| **group != ALL).map(|group| vec![*group]).collect();
        while let Some(way) = open.pop() {
            let top = way.last().copied().unwrap_or(ALL);
            let parents = self.parents.get(top).map(Vec::as_slice).unwrap_or_default();
            if under == Some(top) {
                done.push(way.iter().rev().skip(1).map(|group| (*group).to_owned()).collect());
            } else if parents.is_empty() && under.is_none() {
                done.push(way.iter().rev().map(|group| (*group).to_owned()).collect());
            }
            if done.len() > 1 {
                break;
            }
            let longer = parents.iter().map(|parent| way.iter().copied().chain([*parent]).collect());
            if under != Some(top) {
                open.extend(longer);
            }
        }
        done.sort();
        done.dedup();
        done
    }

    /// Variables become labels; levels already are.
    fn paint(&self, writer: &mut Writer<'_>, numbers: &BTreeMap<usize, u32>, levels: &[String]) {
        let mut keys: BTreeSet<&str> = BTreeSet::new();
        keys.extend(self.roster.hosts.iter().flat_map(|host| host.vars.keys()).map(String::as_str));
        keys.extend(self.roster.groups.values().flat_map(|group| group.vars.keys()).map(String::as_str));
        keys.retain(|key| !is_plumbing(key) && !levels.iter().any(|level| level == key) && *key != "group");
        for key in keys {
            let shared: Arc<str> = Arc::from(key);
            for (host, unit) in numbers {
                if let Some(value) = self.var(*host, key) {
                    let values = Arc::from([value.to_owned()]);
                    let range = (*unit, unit + 1);
                    writer.build.paintings.push(Painting { key: Arc::clone(&shared), depth: 1, range, values });
                }
            }
        }
    }

    fn groups(&self, numbers: &BTreeMap<usize, u32>) -> BTreeMap<String, UnitSet> {
        let mut members: BTreeMap<&str, Vec<UnitNo>> = BTreeMap::new();
        for name in self.roster.groups.keys() {
            members.insert(name, Vec::new());
        }
        for (host, groups) in self.of_host.iter().enumerate() {
            let Some(unit) = numbers.get(&host) else { continue };
            groups.iter().for_each(|group| members.entry(group).or_default().push(UnitNo(*unit)));
        }
        let everything = numbers.values().copied().map(UnitNo).collect();
        members.insert(ALL, everything);
        members.into_iter().map(|(name, units)| (name.to_owned(), UnitSet::from_units(units))).collect()
    }
}

/// The longest way to each group from a group that is in no other.
///
/// # Errors
/// `ManifestInvalid` when groups contain each other.
fn depths<'a>(roster: &'a Roster, parents: &BTreeMap<&'a str, Vec<&'a str>>) -> Result<BTreeMap<&'a str, usize>> {
    let mut waits: BTreeMap<&str, usize> = BTreeMap::new();
    for name in roster.groups.keys().filter(|name| *name != ALL) {
        waits.insert(name, parents.get(name.as_str()).map_or(0, Vec::len));
    }
    let mut open: Vec<&str> = waits.iter().filter(|(_, count)| **count == 0).map(|(name, _)| *name).collect();
    let mut depths: BTreeMap<&str, usize> = open.iter().map(|name| (*name, 0)).collect();
    while let Some(name) = open.pop() {
        let depth = depths.get(name).copied().unwrap_or(0);
        for child in &roster.groups[name].children {
            let deeper = depths.entry(child).or_insert(0);
            *deeper = (*deeper).max(depth + 1);
            if let Some(count) = waits.get_mut(child.as_str()) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    open.push(child);
                }
            }
        }
    }
    let circle: Vec<&str> = waits.iter().filter(|(_, count)| **count > 0).map(|(name, _)| *name).collect();
    if circle.is_empty() {
        return Ok(depths);
    }
    let message = format!("Groups of the inventory contain each other: {}.", one_circle(parents, &circle).join(" in "));
    Err(invalid("inventory", message).hint("Take one of them out of the other's children."))
}

/// One circle among groups that all wait for another.
fn one_circle<'a>(parents: &BTreeMap<&'a str, Vec<&'a str>>, waiting: &[&'a str]) -> Vec<&'a str> {
    let mut way: Vec<&str> = waiting.first().copied().into_iter().collect();
    while let Some(at) = way.last() {
        let above = parents.get(at).into_iter().flatten().find(|parent| waiting.contains(parent));
        let Some(above) = above else { break };
        if let Some(start) = way.iter().position(|group| group == above) {
            let mut circle = way.split_off(start);
            circle.push(above);
            return circle;
        }
        way.push(above);
    }
    way
}
