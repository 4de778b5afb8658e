//! The life of one operation: numbered, sent, answered, closed. Nothing opens a closed one again.

use vice_core::payload::environment::Direction;

use super::Turn;
use crate::effect::Effect;
use crate::input::{CheckCounts, Failure, OpResult};
use crate::note::EngineNote;
use crate::number::OpNo;
use crate::ops::OpStatus;
use crate::reason::Reason;
use crate::sink::Sink;
use crate::state::Work;

impl<S: Sink> Turn<'_, S> {
    /// The direction that tasks and notes are told now.
    pub(super) fn direction(&self) -> Direction {
        if self.state.phase.is_back() { Direction::Rollback } else { self.course.direction }
    }

    pub(super) fn number(&mut self, work: Work) -> OpNo {
        self.state.ops.add(work, self.now)
    }

    /// Begins an operation that only looks, beside the others.
    pub(super) fn issue_aside(&mut self, work: Work) -> OpNo {
        let op = self.number(work);
        self.changed = true;
        self.send(op);
        op
    }

    /// An operation that only looked is over.
    pub(super) fn shut_aside(&mut self, op: OpNo) {
        self.changed = true;
        self.state.ops.close(op);
    }

    /// An answer that is not waited for: to something that is over, or that was never asked.
    pub(super) fn late_or_unknown(&mut self, op: OpNo) {
        let known = self.state.ops.knows(op);
        self.sink.held(if known { Reason::LateAnswer { op } } else { Reason::UnknownOp { op } });
    }

    /// Begins an operation.
    pub(super) fn issue(&mut self, work: Work) {
        let op = self.number(work);
        self.state.open += 1;
        self.changed = true;
        self.ask_for(op, work, 1);
        let back = self.state.phase.is_back();
        match work {
            Work::Apply { .. } | Work::Undo { .. } if !S::UNIT_NOTES => {}
            Work::Apply { unit } | Work::Undo { unit, .. } => {
                self.sink.note(EngineNote::UnitStarted { unit, op, back });
            }
            Work::Task { task, unit, direction, .. } => {
                self.sink.note(EngineNote::TaskStarted { task, unit, op, direction });
            }
            Work::Verify { direction } => self.sink.note(EngineNote::VerifyStarted { op, direction }),
            Work::Fence { .. } | Work::Weigh { .. } | Work::Measure { .. } | Work::Probe { .. } => {}
        }
    }

    /// Asks for an operation that was numbered, for the first time or again.
    pub(super) fn send(&mut self, op: OpNo) {
        if let Some(work) = self.state.ops.work(op) {
            self.ask_for(op, work, self.state.ops.attempt(op));
        }
    }

    #[inline]
    fn ask_for(&mut self, op: OpNo, work: Work, attempt: u32) {
        self.sink.effect(match work {
            Work::Fence { epoch } => Effect::Fence { op, epoch },
            Work::Apply { unit } => Effect::Apply { op, unit, attempt },
            Work::Undo { unit, undoes } => Effect::Undo { op, unit, undoes, attempt },
            Work::Task { task, unit, undo, direction, .. } => {
                Effect::RunTask { op, task, unit, undo, direction, attempt }
            }
            Work::Verify { .. } => Effect::Verify { op },
            Work::Weigh { share } => Effect::SetWeights { op, share },
            Work::Measure { from, until } => Effect::Measure { op, from, until },
            Work::Probe { each } => Effect::Probe { op, each },
        });
    }

    /// The work of an operation that a driver is carrying out; anything else is a late or repeated answer.
    #[inline]
    fn running(&mut self, op: OpNo) -> Option<Work> {
        let work = self.state.ops.running(op);
        if work.is_none() {
            self.late_or_unknown(op);
        }
        work
    }

    pub(super) fn effect_done(&mut self, op: OpNo, result: OpResult) {
        let Some(work) = self.running(op) else { return };
        match (work, result) {
            (Work::Fence { .. }, result) => {
                self.shut_aside(op);
                self.fence_done(result);
            }
            (Work::Measure { .. }, result) => self.measurement_done(op, result),
            (Work::Probe { .. }, _) => self.probed(op),
            // Checks are answered by their counts; only that they could not be run is said here.
            (Work::Verify { .. }, OpResult::Done) => self.sink.held(Reason::LateAnswer { op }),
            (Work::Verify { .. }, OpResult::Failed(_)) => self.verify_done(op, false, CheckCounts::default()),
            (_, OpResult::Failed(Failure::InDoubt)) => {
                self.changed = true;
                self.doubt(op);
            }
            (_, OpResult::Done) => self.close(op, work, Ok(())),
            (_, OpResult::Failed(failure)) => self.close(op, work, Err(failure)),
        }
    }

    pub(super) fn verified(&mut self, op: OpNo, passed: bool, counts: CheckCounts) {
        match self.running(op) {
            Some(Work::Verify { .. }) => self.verify_done(op, passed, counts),
            Some(_) => self.sink.held(Reason::LateAnswer { op }),
            None => {}
        }
    }

    fn verify_done(&mut self, op: OpNo, passed: bool, counts: CheckCounts) {
        let (started, took) = (self.state.ops.started(op).unwrap_or(self.now), self.state.ops.took(op, self.now));
        self.shut(op);
        self.state.counts = counts;
        self.sink.note(EngineNote::VerifyFinished { op, counts, started, took });
        if passed && counts.is_pass() {
            self.checks_passed();
        } else {
            self.checks_did_not_pass();
        }
    }

    /// An operation has ended.
    pub(super) fn close(&mut self, op: OpNo, work: Work, result: Result<(), Failure>) {
        self.say_closed(op, work, result.err());
        self.shut(op);
        match (work, result) {
            (Work::Fence { .. } | Work::Verify { .. } | Work::Measure { .. } | Work::Probe { .. }, _) => {}
            (Work::Weigh { share }, Ok(())) => self.weighed(share),
            (Work::Apply { unit }, Ok(())) => self.applied(unit, op),
            (Work::Undo { unit, .. }, Ok(())) => self.undone(unit),
            (Work::Task { task, unit, takes_back, .. }, Ok(())) => self.task_done(task, unit, takes_back),
            (work, Err(_)) if self.state.phase.is_back() => self.failed_back(work),
            (work, Err(failure)) => self.failed(work, failure),
        }
    }

    fn say_closed(&mut self, op: OpNo, work: Work, failure: Option<Failure>) {
        if !S::UNIT_NOTES && matches!(work, Work::Apply { .. } | Work::Undo { .. }) {
            return;
        }
        let took = self.state.ops.took(op, self.now);
        let back = self.state.phase.is_back();
        self.sink.note(match (work, failure) {
            (Work::Apply { unit } | Work::Undo { unit, .. }, None) => EngineNote::UnitFinished { unit, op, back, took },
            (Work::Apply { unit } | Work::Undo { unit, .. }, Some(failure)) => {
                EngineNote::UnitFailed { unit, op, back, failure, took }
            }
            (Work::Task { task, unit, .. }, failure) => EngineNote::TaskFinished { task, unit, op, failure, took },
            _ => return,
        });
    }

    fn shut(&mut self, op: OpNo) {
        self.changed = true;
        self.state.ops.close(op);
        self.state.open -= 1;
    }

    /// Nobody can tell what it did: an operator is asked, and nothing new begins until then.
    pub(super) fn doubt(&mut self, op: OpNo) {
        let Some(work) = self.state.ops.work(op) else { return };
        self.state.ops.set_status(op, OpStatus::Doubt);
        self.changed = true;
        self.state.open -= 1;
        self.state.doubts.push(op);
        if let Some(unit) = work.unit() {
            self.release(unit);
        }
    }

    /// An operation in doubt is open again, for whoever knows what became of it.
    pub(super) fn take_doubt(&mut self, op: OpNo) -> Option<Work> {
        let at = self.state.doubts.iter().position(|doubt| *doubt == op)?;
        let work = self.state.ops.work(op)?;
        self.state.doubts.remove(at);
        self.state.open += 1;
        if let Some(unit) = work.unit() {
            self.hold(unit);
        }
        Some(work)
    }

    /// It was not carried out and is not sent again now; what it was for is taken up later under a new number.
    pub(super) fn drop_op(&mut self, op: OpNo) {
        let unit = self.state.ops.work(op).and_then(Work::unit);
        self.shut(op);
        if let Some(unit) = unit {
            self.release(unit);
            self.state.again.push_back(unit);
        }
    }

    /// An operator has decided about what is in doubt. It is done again under a new number when the rollout goes on in
    /// the same direction; and as it may have been done, it counts as done for the way back.
    pub(super) fn settle_doubts(&mut self) {
        let back = self.state.phase.is_back();
        for op in std::mem::take(&mut self.state.doubts) {
            let Some(work) = self.state.ops.work(op) else { continue };
            self.state.ops.close(op);
            self.state.again.extend(work.unit());
            match work {
                Work::Apply { unit } => self.mark_applied(unit, op),
                Work::Task { task, unit, .. } if !back => self.mark_done(task, unit),
                _ => {}
            }
        }
    }
}
