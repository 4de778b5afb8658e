//! Who may change now, and who waits for what: one queue of units for each class, one line of classes for each gate.
//!
//! It only counts and queues; which unit is offered and what beginning means is decided in `step`. Four bytes a unit,
//! eight a class and twelve a gate: queues and lines are lists threaded through them, so that nothing is allocated.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::classes::{ClassNo, Classes, Gate, GateNo, Role};
use crate::number::UnitNo;
use crate::window::Opening;

/// No unit, no class.
const NONE: u32 = u32::MAX;

/// Of a class: none of its units waits, or nobody has looked yet.
const IDLE: u32 = NONE - 1;

/// Of a class: it was woken and is looked at next.
const READY: u32 = NONE - 2;

/// A class of units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Lane {
    /// The last unit of its queue, whose next one is the first: the queue is a ring.
    last: u32,
    /// The class behind it in the line of a gate, [`NONE`] where it is the last one there; [`IDLE`] or [`READY`] where
    /// it is in no line.
    behind: u32,
}

/// A gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Post {
    /// How many more units may begin, where it is a limit. It can be below zero: a unit that was given up takes its
    /// place back from whoever had it.
    places: i32,
    /// The first and the last class in its line.
    head: u32,
    tail: u32,
}

/// Which group of an exclusion changes, and how many of its units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Holder {
    group: u16,
    units: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lanes {
    /// By unit: the next one in the queue of its class, and the first one after the last.
    next: Vec<u32>,
    lanes: Vec<Lane>,
    posts: Vec<Post>,
    /// Classes that were woken, with the gate that let them.
    ready: VecDeque<(ClassNo, GateNo)>,
    /// How many units are in queues.
    queued: u32,
    holders: Vec<Holder>,
    /// How many units others still wait for, by order.
    left: Vec<u32>,
    openings: Vec<Option<Opening>>,
}

impl Lanes {
    pub(crate) fn new(classes: &Classes, units: u32, gates: [usize; 3]) -> Self {
        let [exclusions, orders, windows] = gates;
        let post = |places| Post { places, head: NONE, tail: NONE };
        let limits = classes.free().iter().map(|free| post(i32::try_from(*free).unwrap_or(i32::MAX)));
        let mut posts = Vec::with_capacity(classes.gates());
        posts.extend(limits);
        posts.resize(classes.gates(), post(0));
        Self {
            next: vec![NONE; units as usize],
            lanes: vec![Lane { last: NONE, behind: IDLE }; classes.len()],
            posts,
            ready: VecDeque::new(),
            queued: 0,
            holders: vec![Holder::default(); exclusions],
            left: vec![0; orders],
            openings: vec![None; windows],
        }
    }

    /// Forgets who waits, but not who is changing: another direction begins.
    pub(crate) fn clear(&mut self) {
        self.next.fill(NONE);
        self.lanes.fill(Lane { last: NONE, behind: IDLE });
        for post in &mut self.posts {
            (post.head, post.tail) = (NONE, NONE);
        }
        self.ready.clear();
        self.queued = 0;
    }

    /// How many units are in queues.
    pub(crate) const fn queued(&self) -> u32 {
        self.queued
    }

    /// Whether a unit of the class waits, so that a later one has to wait behind it.
    #[inline]
    pub(crate) fn has_queue(&self, class: ClassNo) -> bool {
        self.lanes[class as usize].last != NONE
    }

    #[inline]
    pub(crate) fn append(&mut self, class: ClassNo, unit: UnitNo) {
        self.put_first(class, unit);
        self.lanes[class as usize].last = unit.0;
    }

    /// Puts a unit before all others of its class: it was under way.
    #[inline]
    pub(crate) fn put_first(&mut self, class: ClassNo, unit: UnitNo) {
        let last = &mut self.lanes[class as usize].last;
        if *last == NONE {
            *last = unit.0;
        }
        let last = *last as usize;
        self.next[unit.index()] = if last == unit.index() { unit.0 } else { self.next[last] };
        self.next[last] = unit.0;
        self.queued += 1;
    }

    #[inline]
    pub(crate) fn head(&self, class: ClassNo) -> Option<UnitNo> {
        let last = self.lanes[class as usize].last;
        (last != NONE).then(|| UnitNo(self.next[last as usize]))
    }

    #[inline]
    pub(crate) fn take_head(&mut self, class: ClassNo) {
        let lane = &mut self.lanes[class as usize];
        let last = lane.last;
        if last == NONE {
            return;
        }
        let head = self.next[last as usize];
        if head == last {
            lane.last = NONE;
        } else {
            self.next[last as usize] = self.next[head as usize];
        }
        self.queued -= 1;
    }

    /// The class waits for the gate, unless it is in a line already or is looked at next anyway.
    #[inline]
    pub(crate) fn stand_in_line(&mut self, class: ClassNo, gate: GateNo) {
        let lane = &mut self.lanes[class as usize];
        if lane.behind != IDLE {
            return;
        }
        lane.behind = NONE;
        let post = &mut self.posts[gate as usize];
        let tail = std::mem::replace(&mut post.tail, class);
        if tail == NONE {
            post.head = class;
        } else {
            self.lanes[tail as usize].behind = class;
        }
    }

    /// The next class that was woken, with the gate that let it.
    #[inline]
    pub(crate) fn next_ready(&mut self) -> Option<(ClassNo, GateNo)> {
        let (class, gate) = self.ready.pop_front()?;
        self.lanes[class as usize].behind = IDLE;
        Some((class, gate))
    }

    /// The class has more units to offer.
    pub(crate) fn ready_again(&mut self, class: ClassNo, gate: GateNo) {
        let lane = &mut self.lanes[class as usize];
        if lane.behind == IDLE {
            lane.behind = READY;
            self.ready.push_back((class, gate));
        }
    }

    /// Wakes the first class in the line of a gate, if any.
    #[inline]
    pub(crate) fn wake_one(&mut self, gate: GateNo) -> bool {
        let post = &mut self.posts[gate as usize];
        let class = post.head;
        if class == NONE {
            return false;
        }
        post.head = std::mem::replace(&mut self.lanes[class as usize].behind, READY);
        if post.head == NONE {
            post.tail = NONE;
        }
        self.ready.push_back((class, gate));
        true
    }

    fn wake_all(&mut self, gate: GateNo) {
        while self.wake_one(gate) {}
    }

    /// The gate that a unit of this class would have to wait for.
    #[inline]
    pub(crate) fn closed_gate(&self, classes: &Classes, class: ClassNo, back: bool) -> Option<GateNo> {
        let full = classes.find_limit(class, |limit| self.posts[limit as usize].places <= 0);
        if full.is_some() || classes.only_limits() {
            return full;
        }
        let shut = classes.ties(class).iter().find(|tie| self.is_shut(classes.gate(tie.gate), tie.role, back));
        shut.map(|tie| tie.gate)
    }

    /// Going back, what came first waits for what followed, and no window holds anything up.
    fn is_shut(&self, gate: Gate, role: Role, back: bool) -> bool {
        let waits = if back { Role::First } else { Role::Then };
        match (gate, role) {
            (Gate::Exclusion(index), Role::Group(group)) => {
                let holder = self.holders[index];
                holder.units > 0 && holder.group != group
            }
            (Gate::Order(index), role) if role == waits => self.left[index] > 0,
            (Gate::Window(index), Role::Inside) if !back => self.openings[index].is_some_and(|opening| !opening.open),
            _ => false,
        }
    }

    /// Whether a limit has a place left for the next in its line. The other gates wake their whole line at once.
    #[inline]
    pub(crate) fn has_place(&self, gate: GateNo) -> bool {
        self.posts[gate as usize].places > 0
    }

    /// A unit of the class begins to change.
    #[inline]
    pub(crate) fn acquire(&mut self, classes: &Classes, class: ClassNo) {
        classes.each_limit(class, |limit| self.posts[limit as usize].places -= 1);
        if classes.only_limits() {
            return;
        }
        for tie in classes.ties(class) {
            if let (Gate::Exclusion(index), Role::Group(group)) = (classes.gate(tie.gate), tie.role) {
                let units = self.holders[index].units + 1;
                self.holders[index] = Holder { group, units };
            }
        }
    }

    /// A unit of the class does not change any more; whoever waited for its place is woken.
    #[inline]
    pub(crate) fn release(&mut self, classes: &Classes, class: ClassNo) {
        classes.each_limit(class, |limit| {
            self.posts[limit as usize].places += 1;
            self.wake_one(limit);
        });
        if classes.only_limits() {
            return;
        }
        for tie in classes.ties(class) {
            if let Gate::Exclusion(index) = classes.gate(tie.gate) {
                self.holders[index].units -= 1;
                if self.holders[index].units == 0 {
                    self.wake_all(tie.gate);
                }
            }
        }
    }

    /// Counts for whom others wait: `first` on the way out, `then` on the way back.
    pub(crate) fn count_for_orders(&mut self, classes: &Classes, units: impl Iterator<Item = UnitNo>, awaited: Role) {
        if self.left.is_empty() {
            return;
        }
        self.left.fill(0);
        for unit in units {
            for tie in classes.ties(classes.of_unit(unit)) {
                if let (Gate::Order(index), true) = (classes.gate(tie.gate), tie.role == awaited) {
                    self.left[index] += 1;
                }
            }
        }
    }

    /// A unit is done: whoever waited for the last one of its group is woken.
    pub(crate) fn completed(&mut self, classes: &Classes, class: ClassNo, awaited: Role) {
        if self.left.is_empty() {
            return;
        }
        for tie in classes.ties(class) {
            if let (Gate::Order(index), true) = (classes.gate(tie.gate), tie.role == awaited) {
                self.left[index] = self.left[index].saturating_sub(1);
                if self.left[index] == 0 {
                    self.wake_all(tie.gate);
                }
            }
        }
    }

    /// The opening of a window as it was last looked at.
    pub(crate) fn opening(&self, window: usize) -> Option<Opening> {
        self.openings[window]
    }

    pub(crate) fn set_opening(&mut self, classes: &Classes, window: usize, opening: Option<Opening>) {
        self.openings[window] = opening;
        if opening.is_none_or(|opening| opening.open) {
            self.wake_all(classes.first_window() + u32::try_from(window).unwrap_or(0));
        }
    }

    pub(crate) fn windows(&self) -> usize {
        self.openings.len()
    }

    /// The gates that somebody waits for, lowest first.
    pub(crate) fn waited_for(&self) -> impl Iterator<Item = GateNo> {
        let numbered = (0..).zip(&self.posts);
        numbered.filter(|(_, post)| post.head != NONE).map(|(gate, _)| gate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_takes_8_bytes_and_a_gate_12() {
        assert_eq!((size_of::<Lane>(), size_of::<Post>()), (8, 12));
    }
}
