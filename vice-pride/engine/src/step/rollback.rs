//! The way back: what was touched is undone in the reverse order, tasks are taken back around it, and what runs again
//! is verified as well. Every step is tried a bounded number of times.

use vice_core::Millis;
use vice_core::payload::environment::RolloutOutcome;
use vice_core::payload::rollout::Verdict;

use super::{Flow, RETRY_PAUSE, TRIES_MAX, Turn};
use crate::course::Errand;
use crate::input::Failure;
use crate::number::TaskNo;
use crate::reason::Reason;
use crate::sink::Sink;
use crate::state::{Halt, Phase, Work};

impl<S: Sink> Turn<'_, S> {
    /// Something failed on the way out. What it was for stays where it was, so that an operator can have it retried.
    pub(super) fn failed(&mut self, work: Work, failure: Failure) {
        if let Some(unit) = work.unit() {
            self.release(unit);
            self.state.again.push_back(unit);
        }
        match work {
            Work::Apply { unit } | Work::Undo { unit, .. } => self.halt(Reason::UnitFailed { unit, failure }),
            Work::Task { task, unit, .. } => self.halt(Reason::TaskFailed { task, unit, failure }),
            Work::Fence { .. } | Work::Verify { .. } => {}
        }
    }

    /// Decides to go back, once; the first cause stays.
    pub(super) fn halt(&mut self, cause: Reason) {
        if self.state.phase == Phase::Halting {
            return;
        }
        self.changed = true;
        self.state.halt = Some(Halt { cause, from: self.state.phase });
        self.state.phase = Phase::Halting;
        self.decide(Verdict::Rollback, cause);
    }

    /// Goes back as soon as nothing is under way, unless nothing was changed or a barrier is in the way.
    pub(super) fn halting(&mut self) -> Flow {
        if self.state.open > 0 {
            return self.in_flight();
        }
        if self.is_untouched() {
            let said = matches!(self.state.cause(), Some(Reason::Aborted | Reason::Forced));
            return self.finish(if said { RolloutOutcome::Aborted } else { RolloutOutcome::Failed });
        }
        let crossed = self.course.forbid() & self.state.ever_done;
        if crossed != 0 && !self.state.forced {
            let task = TaskNo::from_index(crossed.trailing_zeros() as usize);
            self.decide(Verdict::Hold, Reason::RollbackForbidden { task });
            return self.enter(Phase::Barrier { task });
        }
        self.go_back()
    }

    pub(super) fn go_back(&mut self) -> Flow {
        let state = &mut *self.state;
        state.again.clear();
        state.later.clear();
        state.cursor = 0;
        state.tries = 0;
        state.proven = false;
        for unit in &state.touched {
            state.units[unit.index()].at = 0;
        }
        self.enter(Phase::BackBefore { at: 0 })
    }

    pub(super) fn back_before(&mut self, at: u16) -> Flow {
        let errand = self.course.scripts().back_before.get(usize::from(at)).copied();
        match errand {
            Some(errand) => self.errand_back(errand),
            None => self.enter(Phase::Back),
        }
    }

    pub(super) fn back_after(&mut self, at: u16) -> Flow {
        let errand = self.course.scripts().back_after.get(usize::from(at)).copied();
        match errand {
            Some(errand) => self.errand_back(errand),
            None => self.enter(Phase::BackCheck),
        }
    }

    fn errand_back(&mut self, errand: Errand) -> Flow {
        if errand.takes_back && self.state.once_done >> errand.task.0 & 1 == 0 {
            self.errand_done();
            return Flow::Go;
        }
        match self.retry_pause() {
            Some(flow) => flow,
            None => self.run_errand(errand),
        }
    }

    pub(super) fn back(&mut self) -> Flow {
        if let Some(flow) = self.retry_pause() {
            return flow;
        }
        match self.start_units() {
            Some(limit) if self.state.busy > 0 => return Flow::Held(Reason::AtLimit { limit }),
            _ if self.state.busy > 0 => return self.in_flight(),
            _ => {}
        }
        if self.state.later.is_empty() {
            self.state.tries = 0;
            return self.enter(Phase::BackAfter { at: 0 });
        }
        // Nobody is under way: the next round takes up what failed in this one.
        self.state.again.extend(self.state.later.drain(..));
        self.try_again_later();
        Flow::Go
    }

    /// Verifies what runs again; after a first deploy nothing does.
    pub(super) fn back_check(&mut self) -> Flow {
        if self.course.verifies() && !self.state.proven && !self.course.is_first() {
            return match self.retry_pause() {
                Some(flow) => flow,
                None => self.run_checks(),
            };
        }
        self.decide(Verdict::Rollback, Reason::Restored);
        self.finish(RolloutOutcome::RolledBack)
    }

    /// Something failed on the way back.
    pub(super) fn failed_back(&mut self, work: Work) {
        match work {
            // Announcements and the like: their failing must not keep the environment from being restored.
            Work::Task { unit: None, takes_back: false, .. } => self.errand_done(),
            Work::Task { unit: Some(unit), takes_back: false, .. } => self.unit_moved(unit),
            Work::Apply { unit } | Work::Undo { unit, .. } | Work::Task { unit: Some(unit), .. } => {
                self.release(unit);
                self.state.later.push(unit);
            }
            Work::Task { unit: None, .. } => self.try_again_later(),
            Work::Fence { .. } | Work::Verify { .. } => {}
        }
    }

    /// Counts a failure on the way back; the last one ends the rollout where it is.
    pub(super) fn try_again_later(&mut self) {
        self.state.tries += 1;
        let tries = self.state.tries;
        if tries < TRIES_MAX {
            self.state.retry_at = Some(Millis(RETRY_PAUSE.0 * u64::from(tries)).after(self.now));
            return;
        }
        // Nothing further is taken back: a database must not go back under units that did not.
        let unproven = self.state.phase == Phase::BackCheck;
        let reason = if unproven { Reason::BackUnproven { tries } } else { Reason::BackFailed { tries } };
        self.decide(Verdict::Hold, reason);
        self.finish(RolloutOutcome::NotRestored);
    }

    /// Waits between two tries; none when it is time.
    fn retry_pause(&mut self) -> Option<Flow> {
        let until = self.state.retry_at?;
        if self.now < until {
            return Some(Flow::Wait(Reason::Retrying { tries: self.state.tries, of: TRIES_MAX }, Some(until)));
        }
        self.state.retry_at = None;
        self.changed = true;
        None
    }
}
