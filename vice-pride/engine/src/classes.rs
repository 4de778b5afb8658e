//! What constrains which unit. Units under the same constraints are one class: a rack within an upgrade domain, for
//! example. A step looks at classes, so that its cost does not depend on the size of the fleet.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::number::UnitNo;
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

#[derive(Debug)]
pub(crate) struct Classes {
    of_unit: Vec<ClassNo>,
    limits: Flat<GateNo>,
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

    fn push(&mut self, items: impl Iterator<Item = T>) {
        self.items.extend(items);
        self.starts.push(u32::try_from(self.items.len()).unwrap_or(u32::MAX));
    }

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

impl Classes {
    pub(crate) fn of(plan: &Plan, count: u32) -> Self {
        let number = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let counts = [
            number(plan.limits.len()),
            number(plan.exclusions.len()),
            number(plan.orders.len()),
            number(plan.windows.len()),
        ];
        let mut classes = Self {
            of_unit: Vec::with_capacity(count as usize),
            limits: Flat::new(),
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
        let mut known: BTreeMap<Vec<Key>, ClassNo> = BTreeMap::new();
        let mut here: Vec<Key> = Vec::new();
        let mut edges = edges.into_iter().peekable();
        while number(self.of_unit.len()) < count {
            let unit = number(self.of_unit.len());
            while let Some(edge) = edges.next_if(|edge| edge.at <= unit) {
                match (here.binary_search(&edge.key), edge.begins) {
                    (Err(place), true) => here.insert(place, edge.key),
                    (Ok(place), false) => drop(here.remove(place)),
                    _ => {}
                }
            }
            let next = edges.peek().map_or(count, |edge| edge.at.min(count));
            let class = match known.get(&here) {
                Some(class) => *class,
                None => {
                    let class = number(known.len());
                    known.insert(here.clone(), class);
                    self.add(&here);
                    class
                }
            };
            self.of_unit.resize(next as usize, class);
        }
        if known.is_empty() {
            self.add(&[]);
        }
    }

    fn add(&mut self, keys: &[Key]) {
        // A universal limit is looked at first: when it is reached, no other class has to be tried.
        let mut limits: Vec<GateNo> =
            keys.iter().filter_map(|key| if let Key::Limit(gate) = key { Some(*gate) } else { None }).collect();
        limits.sort_by_key(|gate| !self.universal[*gate as usize]);
        self.limits.push(limits.into_iter());
        self.ties.push(keys.iter().filter_map(|key| if let Key::Tie(tie) = key { Some(*tie) } else { None }));
    }

    pub(crate) fn len(&self) -> usize {
        self.limits.starts.len() - 1
    }

    pub(crate) fn gates(&self) -> usize {
        self.counts.iter().map(|count| *count as usize).sum()
    }

    pub(crate) fn limit_count(&self) -> usize {
        self.free.len()
    }

    #[inline]
    pub(crate) fn of_unit(&self, unit: UnitNo) -> ClassNo {
        self.of_unit[unit.index()]
    }

    #[inline]
    pub(crate) fn limits(&self, class: ClassNo) -> &[GateNo] {
        self.limits.get(class)
    }

    #[inline]
    pub(crate) fn ties(&self, class: ClassNo) -> &[Tie] {
        self.ties.get(class)
    }

    #[inline]
    pub(crate) fn free(&self, limit: GateNo) -> u32 {
        self.free[limit as usize]
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

fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
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
    edges.sort_by_key(|edge| (edge.at, edge.begins));
    edges
}
