//! The way out: tasks before, wave after wave with bake and verification, tasks after, the last verification.

use jiff::Timestamp;
use vice_core::Millis;
use vice_core::manifest::VerifyWhen;
use vice_core::payload::environment::RolloutOutcome;
use vice_core::payload::rollout::Verdict;

use super::{Flow, Turn};
use crate::course::Errand;
use crate::note::EngineNote;
use crate::reason::Reason;
use crate::sink::Sink;
use crate::state::{Phase, Work};

impl<S: Sink> Turn<'_, S> {
    pub(super) fn before(&mut self, at: u16) -> Flow {
        let errand = self.course.scripts().before.get(usize::from(at)).copied();
        match errand {
            Some(errand) => self.run_errand(errand),
            None => self.enter_wave(0),
        }
    }

    pub(super) fn after(&mut self, at: u16) -> Flow {
        let errand = self.course.scripts().after.get(usize::from(at)).copied();
        match errand {
            Some(errand) => self.run_errand(errand),
            None => self.enter(Phase::Final),
        }
    }

    /// Runs a task that runs once; they run one at a time, in order.
    pub(super) fn run_errand(&mut self, errand: Errand) -> Flow {
        if self.state.open == 0 {
            let direction = self.direction();
            self.issue(Work::task(errand, None, direction));
        }
        self.in_flight()
    }

    /// A task that runs once is over; the next one's turn.
    pub(super) fn errand_done(&mut self) {
        self.state.tries = 0;
        // A task can be answered while an operator's abort is already turning the rollout back.
        let halted = self.state.halt.as_mut().map(|halt| &mut halt.from);
        let phase = match (self.state.phase, halted) {
            (Phase::Halting, Some(from)) => from,
            _ => &mut self.state.phase,
        };
        if let Phase::Before { at } | Phase::After { at } | Phase::BackBefore { at } | Phase::BackAfter { at } = phase {
            *at += 1;
        }
    }

    pub(super) fn enter(&mut self, phase: Phase) -> Flow {
        self.state.phase = phase;
        Flow::Go
    }

    fn enter_wave(&mut self, wave: u32) -> Flow {
        if wave as usize >= self.course.waves.len() {
            return self.enter(Phase::After { at: 0 });
        }
        self.state.cursor = 0;
        self.sink.note(EngineNote::WaveStarted { wave });
        self.enter(Phase::Wave { wave })
    }

    pub(super) fn wave(&mut self, wave: u32) -> Flow {
        let limit = self.start_units();
        match limit {
            Some(limit) if self.state.busy > 0 => return Flow::Held(Reason::AtLimit { limit }),
            _ if self.state.busy > 0 => return self.in_flight(),
            _ => {}
        }
        self.sink.note(EngineNote::WaveFinished { wave });
        if self.course.bake == Millis::ZERO {
            return self.enter(Phase::Check { wave });
        }
        let until = self.course.bake.after(self.now);
        self.enter(Phase::Bake { wave, until })
    }

    pub(super) fn bake(&mut self, wave: u32, until: Timestamp) -> Flow {
        if self.now < until {
            return Flow::Wait(Reason::Baking { wave: wave + 1 }, Some(until));
        }
        self.enter(Phase::Check { wave })
    }

    pub(super) fn check(&mut self, wave: u32) -> Flow {
        if self.course.has_checks && self.course.verify == VerifyWhen::EachWave {
            return self.run_checks();
        }
        self.enter_wave(wave + 1)
    }

    /// Runs the checks, unless they are running.
    pub(super) fn run_checks(&mut self) -> Flow {
        if self.state.open == 0 {
            let direction = self.direction();
            self.issue(Work::Verify { direction });
        }
        self.in_flight()
    }

    /// The last verification is left out where the last wave was verified and nothing has run since.
    pub(super) fn last_check(&mut self) -> Flow {
        if self.course.verifies() && !self.state.proven {
            return self.run_checks();
        }
        let reason = if self.state.proven { Reason::Proven } else { Reason::Unproven };
        self.decide(Verdict::Proceed, reason);
        self.finish(RolloutOutcome::Succeeded)
    }

    pub(super) fn checks_passed(&mut self) {
        self.state.proven = true;
        if let Phase::Check { wave } = self.state.phase {
            self.decide(Verdict::Proceed, Reason::WaveProven { wave: wave + 1 });
            self.enter_wave(wave + 1);
        }
    }

    pub(super) fn checks_did_not_pass(&mut self) {
        self.state.proven = false;
        if self.state.phase.is_back() {
            return self.try_again_later();
        }
        let counts = self.state.counts;
        let of = counts.passed + counts.failed + counts.errored;
        self.halt(match counts.failed {
            0 => Reason::ChecksInconclusive,
            failed => Reason::ChecksFailed { failed, of },
        });
    }
}
