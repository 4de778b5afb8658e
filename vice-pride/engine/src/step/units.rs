//! Units: each follows its script (hooks, change, hooks), as many at once as the limits let.

use super::Turn;
use crate::course::UnitStep;
use crate::number::{OpNo, TaskNo, UnitNo};
use crate::sink::Sink;
use crate::state::{Phase, Work};

impl<S: Sink> Turn<'_, S> {
    /// Lets units go on and begin, in order, until none is left or a limit is reached; gives that limit. A unit never
    /// overtakes one before it: the order is a promise.
    pub(super) fn start_units(&mut self) -> Option<u16> {
        while let Some(unit) = self.next_unit() {
            let Some((at, work)) = self.next_work(unit) else {
                self.pass_unit();
                continue;
            };
            if let Some(limit) = self.limit_reached(unit) {
                return Some(limit);
            }
            self.pass_unit();
            self.acquire(unit);
            self.state.units[unit.index()].at = at;
            self.issue(work);
        }
        None
    }

    /// The unit that is next: one that has to go on, else the next of the wave or of the way back.
    fn next_unit(&self) -> Option<UnitNo> {
        if let Some(unit) = self.state.again.front() {
            return Some(*unit);
        }
        let cursor = self.state.cursor as usize;
        match self.state.phase {
            Phase::Wave { wave } => self.course.waves.get(wave as usize)?.get(cursor).copied(),
            Phase::Back => {
                let last = self.state.touched.len().checked_sub(cursor + 1)?;
                self.state.touched.get(last).copied()
            }
            _ => None,
        }
    }

    fn pass_unit(&mut self) {
        self.changed = true;
        if self.state.again.pop_front().is_none() {
            self.state.cursor += 1;
        }
    }

    /// The next step of a unit's script that applies to it, with its place.
    fn next_work(&self, unit: UnitNo) -> Option<(u16, Work)> {
        let state = self.state.units[unit.index()];
        let back = self.state.phase.is_back();
        let scripts = self.course.scripts();
        let script = if back { &scripts.unit_back } else { &scripts.unit };
        let direction = self.direction();
        let work = |step: UnitStep| match step {
            UnitStep::Hook(errand) if errand.takes_back && state.hooks >> errand.task.0 & 1 == 0 => None,
            UnitStep::Hook(errand) => Some(Work::task(errand, Some(unit), direction)),
            UnitStep::Apply => Some(Work::Apply { unit }),
            UnitStep::Undo => state.applied.map(|undoes| Work::Undo { unit, undoes }),
        };
        let rest = script.iter().enumerate().skip(usize::from(state.at));
        rest.filter_map(|(at, step)| work(*step).map(|work| (u16::try_from(at).unwrap_or(u16::MAX), work))).next()
    }

    fn limit_reached(&self, unit: UnitNo) -> Option<u16> {
        let limits = self.course.limits_of(unit);
        let full = |limit: &u16| {
            let index = usize::from(*limit);
            self.state.down[index] >= self.course.limits[index].max_down
        };
        limits.iter().copied().find(|limit| full(limit))
    }

    fn acquire(&mut self, unit: UnitNo) {
        self.state.busy += 1;
        for limit in self.course.limits_of(unit) {
            self.state.down[usize::from(*limit)] += 1;
        }
    }

    pub(super) fn release(&mut self, unit: UnitNo) {
        self.state.busy -= 1;
        for limit in self.course.limits_of(unit) {
            self.state.down[usize::from(*limit)] -= 1;
        }
    }

    /// A step of the unit's script is done; it goes on before any new unit begins.
    pub(super) fn unit_moved(&mut self, unit: UnitNo) {
        self.release(unit);
        self.state.units[unit.index()].at += 1;
        self.state.again.push_back(unit);
    }

    pub(super) fn applied(&mut self, unit: UnitNo, op: OpNo) {
        self.mark_applied(unit, op);
        self.unit_moved(unit);
    }

    /// Notes that the unit has changed, as the latest one.
    pub(super) fn mark_applied(&mut self, unit: UnitNo, op: OpNo) {
        let entry = &mut self.state.units[unit.index()];
        let is_touched = entry.hooks != 0 || entry.applied.is_some();
        entry.applied = Some(op);
        self.state.proven = false;
        if is_touched && let Some(place) = self.state.touched.iter().rposition(|other| *other == unit) {
            self.state.touched.remove(place);
        }
        self.state.touched.push(unit);
    }

    pub(super) fn undone(&mut self, unit: UnitNo) {
        self.state.units[unit.index()].applied = None;
        self.unit_moved(unit);
    }

    pub(super) fn task_done(&mut self, task: TaskNo, unit: Option<UnitNo>, takes_back: bool) {
        if takes_back {
            self.mark_taken_back(task, unit);
        } else if !self.state.phase.is_back() {
            self.mark_done(task, unit);
        }
        match unit {
            Some(unit) => self.unit_moved(unit),
            None => self.errand_done(),
        }
    }

    pub(super) fn mark_done(&mut self, task: TaskNo, unit: Option<UnitNo>) {
        let bit = 1_u64 << task.0;
        self.state.proven = false;
        self.state.ever_done |= bit;
        let Some(unit) = unit else {
            self.state.once_done |= bit;
            return;
        };
        let entry = &mut self.state.units[unit.index()];
        let is_new = entry.applied.is_none() && entry.hooks == 0;
        entry.hooks |= bit;
        if is_new {
            self.state.touched.push(unit);
        }
    }

    fn mark_taken_back(&mut self, task: TaskNo, unit: Option<UnitNo>) {
        let bit = !(1_u64 << task.0);
        match unit {
            Some(unit) => self.state.units[unit.index()].hooks &= bit,
            None => self.state.once_done &= bit,
        }
    }
}
