//! Beginning and taking over: fence first, then observe what is in flight, then decide.

use vice_core::payload::environment::RolloutOutcome;
use vice_core::payload::rollout::Verdict;

use super::{Flow, Turn};
use crate::effect::Effect;
use crate::input::{Failure, OpResult, Seen};
use crate::note::EngineNote;
use crate::number::OpNo;
use crate::ops::OpStatus;
use crate::reason::Reason;
use crate::sink::Sink;
use crate::state::{Fence, Phase, Work};

impl<S: Sink> Turn<'_, S> {
    pub(super) fn begin(&mut self, epoch: u64) {
        if self.state.phase != Phase::Idle {
            return self.sink.held(Reason::AlreadyBegun);
        }
        self.changed = true;
        self.state.epoch = epoch;
        if self.course.is_noop() {
            self.decide(Verdict::Proceed, Reason::NothingToDo);
            self.finish(RolloutOutcome::Succeeded);
            return;
        }
        self.state.phase = Phase::Gate;
        self.raise_fence();
    }

    /// Another process has taken over. What the old one had begun may still happen until the fence is up, so it is
    /// observed only after that; observing first is a race with the orphan.
    pub(super) fn resumed(&mut self, epoch: u64) {
        if self.state.phase == Phase::Idle {
            return self.begin(epoch);
        }
        if epoch <= self.state.epoch {
            return self.sink.held(Reason::StaleEpoch { epoch: self.state.epoch });
        }
        self.changed = true;
        self.state.epoch = epoch;
        self.state.waiting = None;
        self.sink.note(EngineNote::Resumed { epoch });
        self.watch_on();
        for number in self.state.ops.numbers() {
            match (self.state.ops.status(number), self.state.ops.work(number)) {
                (Some(OpStatus::Running), Some(Work::Fence { .. })) => self.state.ops.close(number),
                (Some(OpStatus::Running | OpStatus::Observing), _) => {
                    self.state.ops.set_status(number, OpStatus::Unseen);
                }
                _ => {}
            }
        }
        self.raise_fence();
    }

    pub(super) fn raise_fence(&mut self) {
        let op = self.number(Work::Fence { epoch: self.state.epoch });
        self.state.fence = Fence::Raising(op);
        self.send(op);
    }

    pub(super) fn fence_done(&mut self, result: OpResult) {
        match result {
            OpResult::Done => {
                self.state.fence = Fence::Up;
                self.sink.note(EngineNote::Fenced { epoch: self.state.epoch });
                self.ask_about_unseen();
            }
            OpResult::Failed(failure) => self.fence_failed(failure),
        }
    }

    fn fence_failed(&mut self, failure: Failure) {
        self.state.fence = Fence::Failed(failure);
        let before_anything = matches!(self.state.phase, Phase::Gate | Phase::Halting) && self.is_untouched();
        if before_anything && !self.state.abandoned {
            self.decide(Verdict::Inconclusive, Reason::FenceFailed { failure });
            self.finish(RolloutOutcome::Failed);
        }
    }

    /// Whether nothing of this rollout has reached the target.
    pub(super) fn is_untouched(&self) -> bool {
        let state = &self.state;
        state.touched.is_empty() && state.ever_done == 0 && state.open == 0 && state.doubts.is_empty()
    }

    fn ask_about_unseen(&mut self) {
        for number in self.state.ops.numbers() {
            if self.state.ops.status(number) != Some(OpStatus::Unseen) {
                continue;
            }
            if self.state.ops.work(number).is_some_and(Work::is_repeatable) {
                // Checks change nothing, and shares are set as a whole: both are simply done again.
                self.state.ops.run_again(number);
                self.send(number);
            } else {
                self.state.ops.set_status(number, OpStatus::Observing);
                self.sink.effect(Effect::Observe { op: number });
            }
        }
    }

    pub(super) fn observed(&mut self, op: OpNo, seen: Seen) {
        let observing = self.state.ops.status(op) == Some(OpStatus::Observing);
        let Some(work) = self.state.ops.work(op).filter(|_| observing) else { return self.late_or_unknown(op) };
        self.changed = true;
        let stopping = self.state.paused || self.state.abandoned || self.state.phase == Phase::Halting;
        match seen {
            Seen::Applied => self.close(op, work, Ok(())),
            Seen::Unknown => self.doubt(op),
            Seen::NotApplied if stopping => self.drop_op(op),
            Seen::NotApplied => {
                self.state.ops.run_again(op);
                self.send(op);
            }
        }
    }

    /// A rollback across a task that forbids it asks before anything begins.
    pub(super) fn gate(&mut self) -> Flow {
        match self.course.gate() {
            Some(task) if !self.state.forced => {
                self.decide(Verdict::Hold, Reason::RollbackForbidden { task });
                self.state.phase = Phase::Barrier { task };
            }
            _ => self.through_the_gate(),
        }
        Flow::Go
    }

    /// What may begin does; first of all traffic that was left split follows the units again.
    pub(super) fn through_the_gate(&mut self) {
        self.state.phase = if self.course.frees_traffic { Phase::Free } else { Phase::Before { at: 0 } };
    }

    pub(super) fn free(&mut self) -> Flow {
        if self.state.open == 0 {
            self.issue(Work::Weigh { share: None });
        }
        self.in_flight()
    }
}
