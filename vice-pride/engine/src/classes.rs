//! What constrains which unit. Units under the same constraints are one class: a rack within an upgrade domain, for
//! example. A step looks at classes, so that its cost does not depend on the size of the fleet.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::number::{UnitNo, of_length};
use crate::plan::Plan;
use crate::unit_set::UnitSet;

/// One constraint: a limit, an exclusion, an order or a window. They are numbered in this order, through all four.
pub(crate) type GateNo = u32;

/// A class of units.
pub(crate) type ClassNo = u32;

/// What a class has to do with a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tie {
    pub(crate) gate: GateNo,
    pub(crate) role: Role,
}

/// What the units of a class are to a gate that is not a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// A member of this group of an exclusion.
    Group(u16),
    /// They come first.
    First,
    /// They follow.
    Then,
    /// They may begin only inside of the window.
    Inside,
}

/// The kinds of gates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    Limit(usize),
    Exclusion(usize),
    Order(usize),
    Window(usize),
}

/// What tells a class apart: the limits that it shares with its neighbours, and its own last one. In a fleet whose
/// upgrade domains cross the racks nearly every unit is a class of its own, so it has eight bytes and no list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Class {
    /// An index into `stems`: all of its limits but the last.
    stem: u32,
    /// Its last limit, or [`NONE`].
    last: GateNo,
}

/// No limit, no class.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(crate) struct Classes {
    of_unit: Vec<ClassNo>,
    list: Vec<Class>,
    /// Lists of limits that classes have in common.
    stems: Flat<GateNo>,
    ties: Flat<Tie>,
    /// How many units may change at once, by limit.
    free: Vec<u32>,
    /// Whether a limit is over all units: when it is reached, nothing else needs to be tried.
    universal: Vec<bool>,
    counts: [u32; 4],
}

/// Lists of different lengths in one.
#[derive(Debug)]
struct Flat<T> {
    starts: Vec<u32>,
    items: Vec<T>,
}

impl<T> Flat<T> {
    fn new() -> Self {
        Self { starts: vec![0], items: Vec::new() }
    }

    fn len(&self) -> u32 {
        of_length(self.starts.len() - 1)
    }

    fn push(&mut self, items: impl Iterator<Item = T>) {
        self.items.extend(items);
        self.starts.push(of_length(self.items.len()));
    }

    #[inline]
    fn get(&self, index: u32) -> &[T] {
        let range: Range<usize> = self.starts[index as usize] as usize..self.starts[index as usize + 1] as usize;
        &self.items[range]
    }
}

/// One constraint over one range of units, as an edge in a sweep over all units.
struct Edge {
    at: u32,
    begins: bool,
    key: Key,
}

/// A constraint as it counts for telling classes apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Limit(GateNo),
    Tie(Tie),
}

/// Sets of constraints as paths in a tree, to tell whether a set was met before. From one unit to the next most of
/// the path stays as it is, and only the rest is looked up.
struct Paths {
    children: BTreeMap<(u32, Key), u32>,
    /// By node: the class whose set ends there, or [`NONE`].
    classes: Vec<ClassNo>,
    /// The latest set, with the nodes on its path, the root first.
    keys: Vec<Key>,
    nodes: Vec<u32>,
}

impl Paths {
    fn new() -> Self {
        Self { children: BTreeMap::new(), classes: vec![NONE], keys: Vec::new(), nodes: vec![0] }
    }

    /// The class of a sorted set of constraints; `fresh` where it is met for the first time.
    fn class_of(&mut self, here: &[Key], fresh: ClassNo) -> ClassNo {
        let same = self.keys.iter().zip(here).take_while(|(one, other)| one == other).count();
        self.keys.truncate(same);
        self.nodes.truncate(same + 1);
        for key in &here[same..] {
            let (parent, new) = (self.nodes[self.nodes.len() - 1], of_length(self.classes.len()));
            let node = *self.children.entry((parent, *key)).or_insert(new);
            if node == new {
                self.classes.push(NONE);
            }
            self.keys.push(*key);
            self.nodes.push(node);
        }
        let class = &mut self.classes[self.nodes[self.nodes.len() - 1] as usize];
        if *class == NONE {
            *class = fresh;
        }
        *class
    }
}

impl Classes {
    pub(crate) fn of(plan: &Plan, count: u32) -> Self {
        let counts = [
            of_length(plan.limits.len()),
            of_length(plan.exclusions.len()),
            of_length(plan.orders.len()),
            of_length(plan.windows.len()),
        ];
        let mut classes = Self {
            of_unit: Vec::with_capacity(count as usize),
            list: Vec::new(),
            stems: Flat::new(),
            ties: Flat::new(),
            free: plan.limits.iter().map(crate::plan::Limit::free).collect(),
            universal: plan.limits.iter().map(|limit| limit.members.len() == count).collect(),
            counts,
        };
        classes.sweep(edges(plan, count, counts), count);
        classes
    }

    /// Goes over the units in order, with the set of constraints that hold there.
    fn sweep(&mut self, edges: Vec<Edge>, count: u32) {
        let mut paths = Paths::new();
        let mut stems = BTreeMap::new();
        let mut here: Vec<Key> = Vec::new();
        let mut edges = edges.into_iter().peekable();
        while of_length(self.of_unit.len()) < count {
            let unit = of_length(self.of_unit.len());
            while let Some(edge) = edges.next_if(|edge| edge.at <= unit) {
                match (here.binary_search(&edge.key), edge.begins) {
                    (Err(place), true) => here.insert(place, edge.key),
                    (Ok(place), false) => drop(here.remove(place)),
                    _ => {}
                }
            }
            let next = edges.peek().map_or(count, |edge| edge.at.min(count));
            let class = paths.class_of(&here, of_length(self.list.len()));
            if class as usize == self.list.len() {
                self.add(&here, &mut stems);
            }
            self.of_unit.resize(next as usize, class);
        }
        if self.list.is_empty() {
            self.add(&[], &mut stems);
        }
    }

    fn add(&mut self, keys: &[Key], stems: &mut BTreeMap<Vec<GateNo>, u32>) {
        // A universal limit is looked at first: when it is reached, no other class has to be tried.
        let mut limits: Vec<GateNo> =
            keys.iter().filter_map(|key| if let Key::Limit(gate) = key { Some(*gate) } else { None }).collect();
        limits.sort_by_key(|gate| !self.universal[*gate as usize]);
        let last = limits.pop().unwrap_or(NONE);
        let stem = match self.list.last() {
            Some(before) if self.stems.get(before.stem) == limits => before.stem,
            _ => *stems.entry(limits).or_insert_with_key(|limits| {
                self.stems.push(limits.iter().copied());
                self.stems.len() - 1
            }),
        };
        self.list.push(Class { stem, last });
        self.ties.push(keys.iter().filter_map(|key| if let Key::Tie(tie) = key { Some(*tie) } else { None }));
    }

    /// See [`crate::State::foresee`].
    #[inline]
    pub(crate) fn foresee(&self, class: ClassNo) {
        std::hint::black_box(self.list[class as usize].stem);
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn gates(&self) -> usize {
        self.counts.iter().map(|count| *count as usize).sum()
    }

    /// How many units may change at once, by limit.
    pub(crate) fn free(&self) -> &[u32] {
        &self.free
    }

    #[inline]
    pub(crate) fn of_unit(&self, unit: UnitNo) -> ClassNo {
        self.of_unit[unit.index()]
    }

    /// Calls with each limit of a class, universal ones first.
    #[inline]
    pub(crate) fn each_limit(&self, class: ClassNo, mut with: impl FnMut(GateNo)) {
        let Class { stem, last } = self.list[class as usize];
        for limit in self.stems.get(stem) {
            with(*limit);
        }
        if last != NONE {
            with(last);
        }
    }

    /// The first limit of a class of which something is true, universal ones first.
    #[inline]
    pub(crate) fn find_limit(&self, class: ClassNo, is: impl Fn(GateNo) -> bool) -> Option<GateNo> {
        let Class { stem, last } = self.list[class as usize];
        for limit in self.stems.get(stem) {
            if is(*limit) {
                return Some(*limit);
            }
        }
        (last != NONE && is(last)).then_some(last)
    }

    #[inline]
    pub(crate) fn ties(&self, class: ClassNo) -> &[Tie] {
        self.ties.get(class)
    }

    #[inline]
    pub(crate) fn is_universal(&self, gate: GateNo) -> bool {
        self.universal.get(gate as usize).copied().unwrap_or(false)
    }

    /// Whether there is nothing but limits, which is what a fleet mostly has.
    #[inline]
    pub(crate) fn only_limits(&self) -> bool {
        self.ties.items.is_empty()
    }

    /// What a gate is.
    pub(crate) fn gate(&self, gate: GateNo) -> Gate {
        let [limits, exclusions, orders, _] = self.counts;
        if gate < limits {
            Gate::Limit(gate as usize)
        } else if gate - limits < exclusions {
            Gate::Exclusion((gate - limits) as usize)
        } else if gate - limits - exclusions < orders {
            Gate::Order((gate - limits - exclusions) as usize)
        } else {
            Gate::Window((gate - limits - exclusions - orders) as usize)
        }
    }

    /// The number of the first window's gate.
    pub(crate) fn first_window(&self) -> GateNo {
        self.counts[0] + self.counts[1] + self.counts[2]
    }
}

fn edges(plan: &Plan, count: u32, counts: [u32; 4]) -> Vec<Edge> {
    let mut edges = Vec::new();
    let mut add = |members: &UnitSet, key: Key| {
        for (low, high) in members.ranges() {
            edges.push(Edge { at: *low, begins: true, key });
            edges.push(Edge { at: *high, begins: false, key });
        }
    };
    for (gate, limit) in (0..).zip(&plan.limits) {
        add(&limit.members, Key::Limit(gate));
    }
    for (gate, exclusion) in (counts[0]..).zip(&plan.exclusions) {
        for (index, group) in (0..).zip(&exclusion.groups) {
            add(&group.members, Key::Tie(Tie { gate, role: Role::Group(index) }));
        }
    }
    for (gate, order) in (counts[0] + counts[1]..).zip(&plan.orders) {
        add(&order.first.members, Key::Tie(Tie { gate, role: Role::First }));
        add(&order.then.members, Key::Tie(Tie { gate, role: Role::Then }));
    }
    let everything = UnitSet::first(count);
    for (gate, window) in (counts[0] + counts[1] + counts[2]..).zip(&plan.windows) {
        let members = window.members.as_ref().unwrap_or(&everything);
        add(members, Key::Tie(Tie { gate, role: Role::Inside }));
    }
    // Ends come before beginnings at the same place, so that two ranges that meet are not taken for one.
    edges.sort_unstable_by_key(|edge| (edge.at, edge.begins));
    edges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_takes_8_bytes() {
        assert_eq!(size_of::<Class>(), 8);
    }

    #[test]
    fn equal_sets_of_constraints_are_one_class_wherever_they_are_met() {
        let limit = Key::Limit;
        let mut paths = Paths::new();
        let mut next = 0;
        let mut class = |set: &[Key]| {
            let class = paths.class_of(set, next);
            next = next.max(class + 1);
            class
        };
        let sets: [&[Key]; 5] = [&[limit(0), limit(1)], &[limit(0)], &[], &[limit(1)], &[limit(0), limit(1), limit(2)]];
        assert_eq!(sets.map(&mut class), [0, 1, 2, 3, 4]);
        assert_eq!(sets.map(&mut class), [0, 1, 2, 3, 4]);
    }
}
