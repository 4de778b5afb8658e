//! Operators always win. A command that would change nothing is ignored with a reason, so saying it twice is harmless.

use vice_core::payload::rollout::{Finding, OperatorCommand};

use super::Turn;
use crate::note::EngineNote;
use crate::number::OpNo;
use crate::reason::Reason;
use crate::sink::Sink;
use crate::state::{Fence, Phase};

impl<S: Sink> Turn<'_, S> {
    pub(super) fn operator(&mut self, command: OperatorCommand) {
        let heard = match command {
            OperatorCommand::Pause => self.pause(),
            OperatorCommand::Resume => self.go_on(),
            OperatorCommand::Abort => self.abort(Reason::Aborted),
            OperatorCommand::ForceRollback => self.force(),
            OperatorCommand::Abandon => self.leave(),
            OperatorCommand::Promote => self.promote(),
            OperatorCommand::Resolve { op, found } => self.resolve(OpNo(op), found),
        };
        if heard {
            self.changed = true;
            self.sink.note(EngineNote::Commanded { command });
        } else {
            self.sink.held(Reason::NothingFor { command });
        }
    }

    fn pause(&mut self) -> bool {
        !self.state.abandoned && !std::mem::replace(&mut self.state.paused, true)
    }

    /// One `resume` answers one question: the one that the rollout waits with.
    fn go_on(&mut self) -> bool {
        if self.state.abandoned {
            return false;
        }
        if let Fence::Failed(_) = self.state.fence {
            self.raise_fence();
            return true;
        }
        if self.state.paused {
            self.state.paused = false;
            return true;
        }
        if !self.state.doubts.is_empty() {
            self.settle_doubts();
            return true;
        }
        if self.state.watch.asks.take().is_some() {
            self.watch_longer();
            return true;
        }
        match (self.state.phase, self.state.halt) {
            (Phase::Final, _) if !self.state.given_up.is_empty() => {
                self.try_given_up_again();
                true
            }
            // Those that are down for good hold everything up.
            (Phase::Wave { .. }, _) if !self.state.given_up.is_empty() && self.state.busy == 0 => {
                let units = self.take_up_given_up();
                self.state.again.extend(units);
                true
            }
            (Phase::Barrier { .. }, Some(halt)) => {
                self.state.phase = halt.from;
                self.state.halt = None;
                // Turning back ended the watch; what was watched is watched anew.
                if matches!(halt.from, Phase::Watch { .. }) {
                    self.watch_longer();
                    self.state.watch.from = self.state.watch.judge.as_ref().map(|_| self.now);
                }
                true
            }
            _ => false,
        }
    }

    fn abort(&mut self, cause: Reason) -> bool {
        if self.state.abandoned {
            return false;
        }
        let lifted = std::mem::replace(&mut self.state.paused, false);
        let doubted = !self.state.doubts.is_empty();
        match self.state.phase {
            Phase::Over { .. } => false,
            Phase::Idle => {
                self.state.abandoned = true;
                true
            }
            phase if phase.is_back() || phase == Phase::Halting => {
                self.settle_doubts();
                lifted || doubted
            }
            Phase::Barrier { .. } if self.state.halt.is_some() => lifted,
            _ => {
                self.settle_doubts();
                self.halt(cause);
                true
            }
        }
    }

    fn force(&mut self) -> bool {
        if self.state.abandoned {
            return false;
        }
        let first = !std::mem::replace(&mut self.state.forced, true);
        match (self.state.phase, self.state.halt) {
            (Phase::Idle | Phase::Gate, _) if self.course.gate().is_some() => first,
            (Phase::Barrier { .. }, Some(_)) => {
                self.state.paused = false;
                self.go_back();
                true
            }
            (Phase::Barrier { .. }, None) => {
                self.state.paused = false;
                self.through_the_gate();
                true
            }
            _ => self.abort(Reason::Forced) || first,
        }
    }

    /// Lets the wave pass that is being watched, whatever the judge still wants to see. The next one is watched with the
    /// patience that it would have had.
    fn promote(&mut self) -> bool {
        let watched = matches!(self.state.phase, Phase::Watch { .. } | Phase::Bake { .. });
        let heard = watched && !self.state.abandoned && !std::mem::replace(&mut self.state.watch.promoted, true);
        if heard && let Some(judge) = self.state.watch.judge.as_mut() {
            judge.wait_longer();
        }
        heard
    }

    /// Somebody has looked at what an operation in doubt did: it is settled as if the target had said so.
    fn resolve(&mut self, op: OpNo, found: Finding) -> bool {
        if self.state.abandoned {
            return false;
        }
        let Some(work) = self.take_doubt(op) else { return false };
        match found {
            Finding::Applied => self.close(op, work, Ok(())),
            Finding::NotApplied => self.drop_op(op),
        }
        true
    }

    fn leave(&mut self) -> bool {
        !std::mem::replace(&mut self.state.abandoned, true)
    }
}
