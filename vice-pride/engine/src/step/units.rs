//! Units: each follows its script (hooks, change, hooks), as many at once as the constraints let.

use super::Turn;
use crate::classes::{ClassNo, GateNo, Role};
use crate::course::UnitStep;
use crate::number::{OpNo, TaskNo, UnitNo};
use crate::sink::Sink;
use crate::state::{Phase, Work};

/// What became of a unit that was offered.
enum Offer {
    /// It changes now.
    Began,
    /// Nothing is left to do for it.
    Done,
    /// It has to wait for this.
    Shut(GateNo),
}

impl<S: Sink> Turn<'_, S> {
    /// Lets units go on and begin: first those under way, then those that were woken, then the rest of the wave in its
    /// order. A unit that a constraint holds back lets others pass that it does not hold back. Gives the limit over
    /// everything that stopped it, if one did.
    pub(super) fn start_units(&mut self) -> Option<GateNo> {
        self.go_on_with_units();
        self.start_woken();
        self.start_from_cursor()
    }

    fn go_on_with_units(&mut self) {
        while let Some(unit) = self.state.again.pop_front() {
            self.changed = true;
            let class = self.course.classes().of_unit(unit);
            if let Offer::Shut(gate) = self.offer(class, unit) {
                self.state.lanes.put_first(class, unit);
                self.state.lanes.stand_in_line(class, gate);
            }
        }
    }

    fn start_woken(&mut self) {
        self.changed |= self.state.lanes.has_ready();
        let has_hooks = self.course.has_hooks();
        while let Some((class, gate)) = self.next_woken() {
            if let Some(unit) = self.state.lanes.head(class) {
                // Where units have no hooks, it was found that nothing holds the class back.
                let offer = if has_hooks { self.offer(class, unit) } else { self.offer_open(class, unit) };
                match offer {
                    Offer::Shut(other) => self.state.lanes.stand_in_line(class, other),
                    Offer::Began | Offer::Done => {
                        self.state.lanes.take_head(class);
                        if self.state.lanes.has_queue(class) {
                            self.state.lanes.ready_again(class, gate);
                        }
                    }
                }
            }
            self.state.lanes.pass_on(gate);
        }
    }

    /// The next class to look at. Where units have no hooks, one that waits has its change before it, so that those
    /// that are held back need no look at their units; else some may have nothing left to do.
    #[inline]
    fn next_woken(&mut self) -> Option<(ClassNo, GateNo)> {
        if self.course.has_hooks() {
            return self.state.lanes.next_ready();
        }
        let back = self.state.phase.is_back();
        self.state.lanes.next_free(self.course.classes(), back)
    }

    fn start_from_cursor(&mut self) -> Option<GateNo> {
        while let Some(unit) = self.at_cursor() {
            let class = self.course.classes().of_unit(unit);
            if self.state.lanes.has_queue(class) {
                self.state.lanes.append(class, unit);
            } else if let Offer::Shut(gate) = self.offer(class, unit) {
                if self.course.classes().is_universal(gate) {
                    return Some(gate);
                }
                self.state.lanes.append(class, unit);
                self.state.lanes.stand_in_line(class, gate);
            }
            self.changed = true;
            self.state.cursor += 1;
        }
        None
    }

    /// The next unit of the wave, or of the way back.
    fn at_cursor(&self) -> Option<UnitNo> {
        let cursor = self.state.cursor as usize;
        match self.state.phase {
            Phase::Wave { wave } => self.course.wave(wave)?.units.get(cursor).copied(),
            Phase::Back => {
                let last = self.state.touched.len().checked_sub(cursor + 1)?;
                self.state.touched.get(last).copied()
            }
            _ => None,
        }
    }

    /// Lets a unit begin its next step, unless something holds it back.
    fn offer(&mut self, class: ClassNo, unit: UnitNo) -> Offer {
        let Some((at, work)) = self.next_work(unit) else {
            self.completed(unit);
            return Offer::Done;
        };
        let back = self.state.phase.is_back();
        let hours = self.state.lanes.windows() > 0 && !self.has_begun(unit);
        if let Some(gate) = self.state.lanes.closed_gate(self.course.classes(), class, back, hours) {
            return Offer::Shut(gate);
        }
        self.begin_work(class, unit, at, work)
    }

    /// Whether something of the unit may have changed: then it is down, and is not left so until a window opens.
    fn has_begun(&self, unit: UnitNo) -> bool {
        let units = &self.state.units;
        units.at(unit) > 0 || units.is_touched(unit) || self.state.failures.contains_key(&unit)
    }

    /// As [`Self::offer`], for a unit that nothing holds back.
    fn offer_open(&mut self, class: ClassNo, unit: UnitNo) -> Offer {
        let Some((at, work)) = self.next_work(unit) else {
            self.completed(unit);
            return Offer::Done;
        };
        self.begin_work(class, unit, at, work)
    }

    #[inline]
    fn begin_work(&mut self, class: ClassNo, unit: UnitNo, at: usize, work: Work) -> Offer {
        self.state.busy += 1;
        self.state.lanes.acquire(self.course.classes(), class);
        self.state.units.set_at(unit, at);
        self.issue(work);
        Offer::Began
    }

    /// The next step of a unit's script that applies to it, with its place.
    #[inline]
    fn next_work(&self, unit: UnitNo) -> Option<(usize, Work)> {
        let scripts = self.course.scripts();
        let script = if self.state.phase.is_back() { &scripts.unit_back } else { &scripts.unit };
        let at = self.state.units.at(unit);
        match script.as_slice() {
            // What a fleet mostly has: the change alone.
            [UnitStep::Apply] => (at == 0).then_some((0, Work::Apply { unit })),
            script => self.next_of(script, at, unit),
        }
    }

    #[inline(never)]
    fn next_of(&self, script: &[UnitStep], at: usize, unit: UnitNo) -> Option<(usize, Work)> {
        let units = &self.state.units;
        let direction = self.direction();
        let work = |step: UnitStep| match step {
            UnitStep::Hook(errand) if errand.takes_back && units.hooks(unit) >> errand.task.0 & 1 == 0 => None,
            UnitStep::Hook(errand) => Some(Work::task(errand, Some(unit), direction)),
            UnitStep::Apply => Some(Work::Apply { unit }),
            UnitStep::Undo => units.applied(unit).map(|undoes| Work::Undo { unit, undoes }),
        };
        let rest = script.iter().enumerate().skip(at);
        rest.filter_map(|(at, step)| work(*step).map(|work| (at, work))).next()
    }

    /// For whom others wait in this direction.
    fn awaited(&self) -> Role {
        if self.state.phase.is_back() { Role::Then } else { Role::First }
    }

    fn completed(&mut self, unit: UnitNo) {
        let class = self.course.classes().of_unit(unit);
        let awaited = self.awaited();
        self.state.lanes.completed(self.course.classes(), class, awaited);
    }

    /// The unit is busy again. Nothing began while it was in doubt, so that no limit is exceeded.
    pub(super) fn hold(&mut self, unit: UnitNo) {
        self.state.busy += 1;
        let class = self.course.classes().of_unit(unit);
        self.state.lanes.acquire(self.course.classes(), class);
    }

    pub(super) fn release(&mut self, unit: UnitNo) {
        self.state.busy -= 1;
        let class = self.course.classes().of_unit(unit);
        self.state.lanes.release(self.course.classes(), class);
    }

    /// A step of the unit's script is done; it goes on before any new unit begins.
    pub(super) fn unit_moved(&mut self, unit: UnitNo) {
        self.release(unit);
        self.state.units.set_at(unit, self.state.units.at(unit) + 1);
        if self.course.has_hooks() {
            self.state.again.push_back(unit);
        } else {
            self.completed(unit);
        }
    }

    pub(super) fn applied(&mut self, unit: UnitNo, op: OpNo) {
        self.mark_applied(unit, op);
        self.unit_moved(unit);
    }

    /// Notes that the unit has changed.
    pub(super) fn mark_applied(&mut self, unit: UnitNo, op: OpNo) {
        self.state.proven = false;
        self.touch(unit);
        self.state.units.set_applied(unit, Some(op));
    }

    fn touch(&mut self, unit: UnitNo) {
        if self.state.units.is_touched(unit) {
            return;
        }
        if self.state.touched.is_empty() {
            self.state.touched.reserve_exact(self.course.changes() as usize);
        }
        self.state.touched.push(unit);
    }

    pub(super) fn undone(&mut self, unit: UnitNo) {
        self.state.units.set_applied(unit, None);
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
        self.touch(unit);
        if let Some(hooks) = self.state.units.hooks_mut(unit) {
            *hooks |= bit;
        }
    }

    fn mark_taken_back(&mut self, task: TaskNo, unit: Option<UnitNo>) {
        let bit = !(1_u64 << task.0);
        match unit {
            Some(unit) => {
                if let Some(hooks) = self.state.units.hooks_mut(unit) {
                    *hooks &= bit;
                }
            }
            None => self.state.once_done &= bit,
        }
    }

    /// Looks at the windows: which are open now, and until when. Only on the way out; going back is never held up.
    pub(super) fn look_at_windows(&mut self) {
        for window in 0..self.state.lanes.windows() {
            let known = self.state.lanes.opening(window);
            if known.is_none_or(|opening| opening.until <= self.now) {
                let opening = self.course.hours()[window].at(self.now);
                self.changed = true;
                self.state.lanes.set_opening(self.course.classes(), window, Some(opening));
            }
        }
    }
}
