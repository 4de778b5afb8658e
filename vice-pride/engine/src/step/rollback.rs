//! The way back: what was touched is undone in the reverse order, tasks are taken back around it, and what runs again
//! is verified as well. Every step is tried a bounded number of times.

use vice_core::Millis;
use vice_core::payload::environment::RolloutOutcome;
use vice_core::payload::rollout::Verdict;

use super::{Flow, RETRY_PAUSE, TRIES_MAX, Turn};
use crate::classes::Role;
use crate::course::Errand;
use crate::input::Failure;
use crate::number::{TaskNo, UnitNo};
use crate::reason::Reason;
use crate::sink::Sink;
use crate::state::{Halt, Phase, Work};

impl<S: Sink> Turn<'_, S> {
    /// Something failed on the way out. What it was for stays where it was, so that an operator can have it retried.
    pub(super) fn failed(&mut self, work: Work, failure: Failure) {
        if let Some(unit) = work.unit() {
            self.release(unit);
            if self.bears_failure_of(unit) {
                return;
            }
            self.state.again.push_back(unit);
        }
        match work {
            Work::Apply { unit } | Work::Undo { unit, .. } => self.halt(Reason::UnitFailed { unit, failure }),
            Work::Task { task, unit, .. } => self.halt(Reason::TaskFailed { task, unit, failure }),
            Work::Weigh { .. } => self.weighing_failed(failure),
            Work::Fence { .. } | Work::Verify { .. } | Work::Measure { .. } | Work::Probe { .. } => {}
        }
    }

    /// Whether the plan bears that a unit failed: it is tried again, or given up. One that is given up is down, and
    /// keeps its place in every limit.
    fn bears_failure_of(&mut self, unit: UnitNo) -> bool {
        let policy = self.course.failures;
        if self.state.phase == Phase::Halting || (policy.retries == 0 && policy.tolerate == 0) {
            return false;
        }
        let failures = self.state.failures.entry(unit).or_default();
        *failures += 1;
        if *failures <= policy.retries {
            self.state.again.push_back(unit);
            return true;
        }
        if self.state.given_up.len() >= policy.tolerate as usize {
            return false;
        }
        let class = self.course.classes().of_unit(unit);
        self.state.lanes.acquire(self.course.classes(), class);
        self.state.given_up.push(unit);
        true
    }

    /// Units that were given up are not down for good any more.
    pub(super) fn take_up_given_up(&mut self) -> Vec<UnitNo> {
        let units = std::mem::take(&mut self.state.given_up);
        for unit in &units {
            let class = self.course.classes().of_unit(*unit);
            self.state.lanes.release(self.course.classes(), class);
            self.state.failures.remove(unit);
        }
        units
    }

    /// An operator wants them tried again: the last wave is taken up once more with them alone.
    pub(super) fn try_given_up_again(&mut self) {
        let units = self.take_up_given_up();
        let last = u32::try_from(self.course.waves.len()).unwrap_or(u32::MAX).saturating_sub(1);
        self.state.again.extend(units);
        self.state.cursor = u32::MAX;
        self.state.phase = Phase::Wave { wave: last };
    }

    /// Decides to go back, once; the first cause stays.
    pub(super) fn halt(&mut self, cause: Reason) {
        if self.state.phase == Phase::Halting {
            return;
        }
        self.changed = true;
        self.drop_asides();
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
            // Where that is what failed, the next rollout does it.
            if matches!(self.state.cause(), Some(Reason::WeighingFailed { .. })) {
                return self.end_untouched();
            }
            return self.give_traffic_back().unwrap_or_else(|| self.end_untouched());
        }
        let crossed = self.course.forbid() & self.state.ever_done;
        if crossed != 0 && !self.state.forced {
            let task = TaskNo::from_index(crossed.trailing_zeros() as usize);
            self.decide(Verdict::Hold, Reason::RollbackForbidden { task });
            return self.enter(Phase::Barrier { task });
        }
        self.go_back()
    }

    /// Nothing was changed, so that nothing is taken back.
    pub(super) fn end_untouched(&mut self) -> Flow {
        let said = matches!(self.state.cause(), Some(Reason::Aborted | Reason::Forced));
        self.finish(if said { RolloutOutcome::Aborted } else { RolloutOutcome::Failed })
    }

    pub(super) fn go_back(&mut self) -> Flow {
        self.take_up_given_up();
        self.state.lanes.clear();
        let touched = self.state.touched.iter().copied();
        self.state.lanes.count_for_orders(self.course.classes(), touched, Role::Then);
        let state = &mut *self.state;
        state.again.clear();
        state.later.clear();
        state.cursor = 0;
        state.tries = 0;
        state.proven = false;
        for unit in &state.touched {
            state.units.set_at(*unit, 0);
        }
        self.enter(Phase::BackShield)
    }

    /// What is bad gets no traffic any more, before anything else is done.
    pub(super) fn back_shield(&mut self) -> Flow {
        let exposed = self.course.moves_traffic() && !self.course.starts_from_nothing();
        match self.weigh(if exposed { Some(0) } else { self.state.share }) {
            Some(flow) => flow,
            None => self.enter(Phase::BackBefore { at: 0 }),
        }
    }

    /// Traffic follows the units again.
    pub(super) fn back_settle(&mut self) -> Flow {
        if let Some(flow) = self.retry_pause() {
            return flow;
        }
        match self.weigh(None) {
            Some(flow) => flow,
            None => {
                self.state.tries = 0;
                self.enter(Phase::BackCheck)
            }
        }
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
            None => self.enter(Phase::BackSettle),
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
        let limit = self.start_units();
        match limit {
            Some(limit) if self.state.busy > 0 => return Flow::Held(Reason::AtLimit { limit }),
            _ if self.state.busy > 0 => return self.in_flight(),
            _ => {}
        }
        // Units whose way back has to wait for others that failed are taken up again with those.
        if self.state.later.is_empty() {
            if let Some(flow) = self.shut_out(limit) {
                return flow;
            }
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
        if self.course.verifies() && !self.state.proven && !self.course.starts_from_nothing() {
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
            // That traffic can't be moved must not hold up the way back.
            Work::Weigh { .. } if self.state.phase == Phase::BackShield => {
                self.state.phase = Phase::BackBefore { at: 0 };
            }
            Work::Weigh { .. } => self.try_again_later(),
            Work::Fence { .. } | Work::Verify { .. } | Work::Measure { .. } | Work::Probe { .. } => {}
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
