//! Who may change now, and who waits for what: one queue of units for each class, one line of classes for each gate.
//!
//! It only counts and queues; which unit is offered and what beginning means is decided in `step`.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::classes::{ClassNo, Classes, Gate, GateNo, Role};
use crate::number::UnitNo;
use crate::window::Opening;

/// No unit, no class.
const NONE: u32 = u32::MAX;

/// The first and the last of a linked list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Ends {
    head: u32,
    tail: u32,
}

const EMPTY: Ends = Ends { head: NONE, tail: NONE };

/// What a class does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Standing {
    /// None of its units waits, or nobody has looked yet.
    Idle,
    /// It is in the line of a gate.
    InLine,
    /// It was woken and is looked at next.
    Ready,
}

/// Which group of an exclusion changes, and how many of its units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Holder {
    group: u16,
    units: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lanes {
    /// By unit: the next one in the queue of its class.
    next: Vec<u32>,
    queues: Vec<Ends>,
    standing: Vec<Standing>,
    /// By class: the next one in the line of its gate.
    behind: Vec<u32>,
    lines: Vec<Ends>,
    /// Classes that were woken, with the gate that let them.
    ready: VecDeque<(ClassNo, GateNo)>,
    /// How many units are in queues.
    queued: u32,
    /// How many units are changing, by limit.
    down: Vec<u32>,
    holders: Vec<Holder>,
    /// How many units others still wait for, by order.
    left: Vec<u32>,
    openings: Vec<Option<Opening>>,
}

impl Lanes {
    pub(crate) fn new(classes: &Classes, units: u32, gates: [usize; 3]) -> Self {
        let [exclusions, orders, windows] = gates;
        Self {
            next: vec![NONE; units as usize],
            queues: vec![EMPTY; classes.len()],
            standing: vec![Standing::Idle; classes.len()],
            behind: vec![NONE; classes.len()],
            lines: vec![EMPTY; classes.gates()],
            ready: VecDeque::new(),
            queued: 0,
            down: vec![0; classes.limit_count()],
            holders: vec![Holder::default(); exclusions],
            left: vec![0; orders],
            openings: vec![None; windows],
        }
    }

    /// Forgets who waits, but not who is changing: another direction begins.
    pub(crate) fn clear(&mut self) {
        self.next.fill(NONE);
        self.queues.fill(EMPTY);
        self.standing.fill(Standing::Idle);
        self.behind.fill(NONE);
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
        self.queues[class as usize].head != NONE
    }

    pub(crate) fn append(&mut self, class: ClassNo, unit: UnitNo) {
        self.next[unit.index()] = NONE;
        let queue = &mut self.queues[class as usize];
        match queue.tail {
            NONE => *queue = Ends { head: unit.0, tail: unit.0 },
            tail => {
                self.next[tail as usize] = unit.0;
                queue.tail = unit.0;
            }
        }
        self.queued += 1;
    }

    /// Puts a unit before all others of its class: it was under way.
    pub(crate) fn put_first(&mut self, class: ClassNo, unit: UnitNo) {
        let queue = &mut self.queues[class as usize];
        self.next[unit.index()] = queue.head;
        queue.head = unit.0;
        if queue.tail == NONE {
            queue.tail = unit.0;
        }
        self.queued += 1;
    }

    pub(crate) fn head(&self, class: ClassNo) -> Option<UnitNo> {
        let head = self.queues[class as usize].head;
        (head != NONE).then_some(UnitNo(head))
    }

    pub(crate) fn take_head(&mut self, class: ClassNo) {
        let queue = &mut self.queues[class as usize];
        let head = queue.head;
        if head == NONE {
            return;
        }
        queue.head = self.next[head as usize];
        if queue.head == NONE {
            queue.tail = NONE;
        }
        self.next[head as usize] = NONE;
        self.queued -= 1;
    }

    /// The class waits for the gate, unless it waits for one already.
    pub(crate) fn stand_in_line(&mut self, class: ClassNo, gate: GateNo) {
        if self.standing[class as usize] == Standing::InLine {
            return;
        }
        self.standing[class as usize] = Standing::InLine;
        self.behind[class as usize] = NONE;
        let line = &mut self.lines[gate as usize];
        match line.tail {
            NONE => *line = Ends { head: class, tail: class },
            tail => {
                self.behind[tail as usize] = class;
                line.tail = class;
            }
        }
    }

    /// The next class that was woken, with the gate that let it.
    pub(crate) fn next_ready(&mut self) -> Option<(ClassNo, GateNo)> {
        let (class, gate) = self.ready.pop_front()?;
        self.standing[class as usize] = Standing::Idle;
        Some((class, gate))
    }

    /// The class has more units to offer.
    pub(crate) fn ready_again(&mut self, class: ClassNo, gate: GateNo) {
        if self.standing[class as usize] == Standing::Idle {
            self.standing[class as usize] = Standing::Ready;
            self.ready.push_back((class, gate));
        }
    }

    /// Wakes the first class in the line of a gate, if any.
    #[inline]
    pub(crate) fn wake_one(&mut self, gate: GateNo) -> bool {
        let line = &mut self.lines[gate as usize];
        let class = line.head;
        if class == NONE {
            return false;
        }
        line.head = self.behind[class as usize];
        if line.head == NONE {
            line.tail = NONE;
        }
        self.behind[class as usize] = NONE;
        self.standing[class as usize] = Standing::Ready;
        self.ready.push_back((class, gate));
        true
    }

    fn wake_all(&mut self, gate: GateNo) {
        while self.wake_one(gate) {}
    }

    /// The gate that a unit of this class would have to wait for.
    #[inline]
    pub(crate) fn closed_gate(&self, classes: &Classes, class: ClassNo, back: bool) -> Option<GateNo> {
        for limit in classes.limits(class) {
            if self.down[*limit as usize] >= classes.free(*limit) {
                return Some(*limit);
            }
        }
        if classes.only_limits() {
            return None;
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
    pub(crate) fn has_place(&self, classes: &Classes, gate: GateNo) -> bool {
        self.down.get(gate as usize).is_some_and(|down| *down < classes.free(gate))
    }

    /// A unit of the class begins to change.
    #[inline]
    pub(crate) fn acquire(&mut self, classes: &Classes, class: ClassNo) {
        for limit in classes.limits(class) {
            self.down[*limit as usize] += 1;
        }
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
        for limit in classes.limits(class) {
            self.down[*limit as usize] -= 1;
            self.wake_one(*limit);
        }
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
        let numbered = (0..).zip(&self.lines);
        numbered.filter(|(_, line)| line.head != NONE).map(|(gate, _)| gate)
    }

    /// How many units are changing, by limit.
    pub(crate) fn down(&self) -> &[u32] {
        &self.down
    }
}
