//! Who may change now, and who waits for what: one queue of units for each class, one line of classes for each gate.
//!
//! It only counts and queues; which unit is offered and what beginning means is decided in `step`. Four bytes a unit,
//! eight a class and twelve a limit: queues and lines are lists threaded through them, so that nothing is allocated.

use jiff::Timestamp;
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

/// The first and the last class in the line of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    head: u32,
    tail: u32,
}

/// Classes that were woken, with the gate that let them, in their order. Nearly always it is emptied before a step
/// ends, so a list with a place in it does, and is quicker than a ring.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Vec<(ClassNo, GateNo)>", into = "Vec<(ClassNo, GateNo)>")]
struct Ready {
    woken: Vec<(ClassNo, GateNo)>,
    /// How many of them were looked at; never all of them.
    seen: usize,
}

impl Ready {
    #[inline]
    fn push(&mut self, class: ClassNo, gate: GateNo) {
        self.woken.push((class, gate));
    }

    #[inline]
    fn pop(&mut self) -> Option<(ClassNo, GateNo)> {
        let next = self.woken.get(self.seen).copied();
        self.seen += 1;
        if self.seen >= self.woken.len() {
            self.clear();
        }
        next
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.woken.is_empty()
    }

    fn clear(&mut self) {
        self.woken.clear();
        self.seen = 0;
    }
}

impl From<Vec<(ClassNo, GateNo)>> for Ready {
    fn from(woken: Vec<(ClassNo, GateNo)>) -> Self {
        Self { woken, seen: 0 }
    }
}

impl From<Ready> for Vec<(ClassNo, GateNo)> {
    fn from(mut ready: Ready) -> Self {
        ready.woken.split_off(ready.seen)
    }
}

impl Line {
    /// A class that is in no line stands behind all others.
    #[inline]
    fn join(&mut self, lanes: &mut [Lane], class: ClassNo) {
        lanes[class as usize].behind = NONE;
        let tail = std::mem::replace(&mut self.tail, class);
        if tail == NONE {
            self.head = class;
        } else {
            lanes[tail as usize].behind = class;
        }
    }

    /// Takes the first class out; it is looked at next.
    #[inline]
    fn take_first(&mut self, lanes: &mut [Lane]) -> Option<ClassNo> {
        let class = self.head;
        if class == NONE {
            return None;
        }
        self.head = std::mem::replace(&mut lanes[class as usize].behind, READY);
        if self.head == NONE {
            self.tail = NONE;
        }
        Some(class)
    }
}

const EMPTY: Line = Line { head: NONE, tail: NONE };

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
    /// By limit: how many more units may begin. It can be below zero: a unit that was given up takes its place back
    /// from whoever had it. Apart from the lines, because most offers look at nothing else.
    places: Vec<i32>,
    lines: Vec<Line>,
    ready: Ready,
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
        let places = classes.free().iter().map(|free| i32::try_from(*free).unwrap_or(i32::MAX));
        Self {
            next: vec![NONE; units as usize],
            lanes: vec![Lane { last: NONE, behind: IDLE }; classes.len()],
            places: places.collect(),
            lines: vec![EMPTY; classes.gates()],
            ready: Ready::default(),
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
        self.lines.fill(EMPTY);
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
        if self.lanes[class as usize].behind == IDLE {
            self.lines[gate as usize].join(&mut self.lanes, class);
        }
    }

    /// The next class that was woken, with the gate that let it.
    #[inline]
    pub(crate) fn next_ready(&mut self) -> Option<(ClassNo, GateNo)> {
        let (class, gate) = self.ready.pop()?;
        self.lanes[class as usize].behind = IDLE;
        Some((class, gate))
    }

    /// Whether a class was woken and not looked at yet.
    #[inline]
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The next class that was woken and that nothing else holds back, with the gate that let it. Those that something
    /// holds back stand in line there, and their place goes to the next one. In a fleet under many limits that is what
    /// most of those do that are woken, so it is one short loop over classes that touches no unit.
    #[inline]
    pub(crate) fn next_free(&mut self, classes: &Classes, back: bool) -> Option<(ClassNo, GateNo)> {
        if !classes.only_limits() {
            return self.next_free_of_all(classes, back);
        }
        let Self { ready, lanes, places, lines, .. } = self;
        while let Some((class, gate)) = ready.pop() {
            let full = classes.find_limit(class, |limit| places[limit as usize] <= 0);
            let lane = &mut lanes[class as usize];
            lane.behind = IDLE;
            let Some(full) = full else { return Some((class, gate)) };
            if lane.last != NONE {
                lines[full as usize].join(lanes, class);
            }
            if places[gate as usize] > 0
                && let Some(next) = lines[gate as usize].take_first(lanes)
            {
                ready.push(next, gate);
            }
        }
        None
    }

    /// As [`Self::next_free`], where there is more than limits.
    #[inline(never)]
    fn next_free_of_all(&mut self, classes: &Classes, back: bool) -> Option<(ClassNo, GateNo)> {
        loop {
            let (class, gate) = self.next_ready()?;
            let Some(shut) = self.closed_gate(classes, class, back, true) else { return Some((class, gate)) };
            if self.has_queue(class) {
                self.stand_in_line(class, shut);
            }
            self.pass_on(gate);
        }
    }

    /// The class has more units to offer.
    pub(crate) fn ready_again(&mut self, class: ClassNo, gate: GateNo) {
        let lane = &mut self.lanes[class as usize];
        if lane.behind == IDLE {
            lane.behind = READY;
            self.ready.push(class, gate);
        }
    }

    /// Wakes the first class in the line of a gate, if any.
    #[inline]
    pub(crate) fn wake_one(&mut self, gate: GateNo) -> bool {
        let first = self.lines[gate as usize].take_first(&mut self.lanes);
        if let Some(class) = first {
            self.ready.push(class, gate);
        }
        first.is_some()
    }

    fn wake_all(&mut self, gate: GateNo) {
        while self.wake_one(gate) {}
    }

    /// The gate that a unit of this class would have to wait for; windows hold it back only where `hours` says so.
    #[inline]
    pub(crate) fn closed_gate(&self, classes: &Classes, class: ClassNo, back: bool, hours: bool) -> Option<GateNo> {
        let full = classes.find_limit(class, |limit| self.places[limit as usize] <= 0);
        if full.is_some() || classes.only_limits() {
            return full;
        }
        self.shut_tie(classes, class, back, hours)
    }

    /// The gate besides the limits that holds a class back. Apart from them, because fleets mostly have limits alone and
    /// look at those millions of times.
    #[inline(never)]
    fn shut_tie(&self, classes: &Classes, class: ClassNo, back: bool, hours: bool) -> Option<GateNo> {
        let shut = classes.ties(class).iter().find(|tie| self.is_shut(classes.gate(tie.gate), tie.role, back, hours));
        shut.map(|tie| tie.gate)
    }

    /// Going back, what came first waits for what followed, and no window holds anything up.
    fn is_shut(&self, gate: Gate, role: Role, back: bool, hours: bool) -> bool {
        let waits = if back { Role::First } else { Role::Then };
        match (gate, role) {
            (Gate::Exclusion(index), Role::Group(group)) => {
                let holder = self.holders[index];
                holder.units > 0 && holder.group != group
            }
            (Gate::Order(index), role) if role == waits => self.left[index] > 0,
            (Gate::Window(index), Role::Inside) if hours && !back => {
                self.openings[index].is_some_and(|opening| !opening.open)
            }
            _ => false,
        }
    }

    /// Wakes the next one in the line of a limit that has a place left: whoever was woken for it has gone elsewhere. The
    /// other gates wake their whole line at once.
    #[inline]
    pub(crate) fn pass_on(&mut self, gate: GateNo) {
        if self.places.get(gate as usize).is_some_and(|places| *places > 0) {
            self.wake_one(gate);
        }
    }

    /// See [`crate::State::foresee`]: reads the classes that will be woken when a unit of this class has changed.
    #[inline]
    pub(crate) fn foresee(&self, classes: &Classes, class: ClassNo) {
        classes.each_limit(class, |limit| {
            let woken = self.lines[limit as usize].head;
            if let Some(lane) = self.lanes.get(woken as usize) {
                classes.foresee(woken);
                std::hint::black_box(self.next.get(lane.last as usize));
            }
        });
    }

    /// A unit of the class begins to change.
    #[inline]
    pub(crate) fn acquire(&mut self, classes: &Classes, class: ClassNo) {
        classes.each_limit(class, |limit| self.places[limit as usize] -= 1);
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
            self.places[limit as usize] += 1;
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

    /// When a window that was shut when it was last looked at opens.
    pub(crate) fn opens_at(&self) -> Option<Timestamp> {
        let shut = self.openings.iter().flatten().filter(|opening| !opening.open);
        shut.map(|opening| opening.until).filter(|until| *until < Timestamp::MAX).min()
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

    /// The bytes that its tables take.
    pub(crate) fn bytes(&self) -> usize {
        let tables = [self.next.capacity() * 4, self.lanes.capacity() * 8, self.places.capacity() * 4];
        tables.iter().sum::<usize>() + self.lines.capacity() * 8 + self.ready.woken.capacity() * 8
    }

    /// The gates that somebody waits for, lowest first.
    pub(crate) fn waited_for(&self) -> impl Iterator<Item = GateNo> {
        let numbered = (0..).zip(&self.lines);
        numbered.filter(|(_, line)| line.head != NONE).map(|(gate, _)| gate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_takes_8_bytes_and_so_does_a_line() {
        assert_eq!((size_of::<Lane>(), size_of::<Line>()), (8, 8));
    }

    /// Without units: two classes and one limit.
    fn two_classes() -> Lanes {
        Lanes {
            next: vec![NONE; 4],
            lanes: vec![Lane { last: NONE, behind: IDLE }; 2],
            places: vec![1],
            lines: vec![EMPTY],
            ready: Ready::default(),
            queued: 0,
            holders: Vec::new(),
            left: Vec::new(),
            openings: Vec::new(),
        }
    }

    #[test]
    fn a_class_that_was_woken_does_not_stand_in_line_a_second_time() {
        let mut lanes = two_classes();
        lanes.stand_in_line(0, 0);
        assert!(lanes.wake_one(0));
        // A unit of class 0 that has to go on is held back before the class is looked at.
        lanes.stand_in_line(0, 0);
        lanes.stand_in_line(1, 0);
        assert_eq!(lanes.next_ready(), Some((0, 0)));
        lanes.stand_in_line(0, 0);
        lanes.wake_all(0);
        let woken: Vec<_> = std::iter::from_fn(|| lanes.next_ready()).collect();
        assert_eq!(woken, [(1, 0), (0, 0)], "nobody is lost");
    }

    #[test]
    fn a_queue_gives_its_units_in_order_and_those_under_way_first() {
        let mut lanes = two_classes();
        for unit in [2, 0] {
            lanes.append(1, UnitNo(unit));
        }
        lanes.put_first(1, UnitNo(3));
        lanes.append(1, UnitNo(1));
        let mut order = Vec::new();
        while let Some(unit) = lanes.head(1) {
            order.push(unit.0);
            lanes.take_head(1);
        }
        assert_eq!((order, lanes.queued(), lanes.has_queue(1)), (vec![3, 2, 0, 1], 0, false));
        lanes.put_first(1, UnitNo(0));
        assert_eq!((lanes.head(1), lanes.head(0)), (Some(UnitNo(0)), None));
    }
}
