//! The way out: tasks before, wave after wave with what it exposes, bake and verification, tasks after, the last
//! verification.

use jiff::Timestamp;
use vice_core::Millis;
use vice_core::manifest::VerifyWhen;
use vice_core::payload::environment::RolloutOutcome;
use vice_core::payload::rollout::Verdict;

use super::{Flow, Turn};
use crate::classes::{Gate, GateNo};
use crate::course::Errand;
use crate::note::EngineNote;
use crate::number::of_length;
use crate::plan::Exposure;
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

    pub(super) fn enter_wave(&mut self, wave: u32) -> Flow {
        let Some(exposure) = self.course.wave(wave).map(|wave| wave.exposure) else {
            return self.enter(Phase::After { at: 0 });
        };
        self.state.cursor = 0;
        self.state.watch.promoted = false;
        self.state.watch.since = None;
        self.sink.note(EngineNote::WaveStarted { wave });
        // Traffic is taken away from new units before they are there, and follows the units in a wave of units.
        let wanted = match exposure {
            Exposure::Units => None,
            Exposure::Share { .. } | Exposure::Ramp => Some(self.state.share.unwrap_or(0)),
        };
        let phase = if self.state.share == wanted { Phase::Wave { wave } } else { Phase::Shield { wave } };
        self.enter(phase)
    }

    /// Brings the share into force that holds while the wave's units change.
    pub(super) fn shield(&mut self, wave: u32) -> Flow {
        let wanted = match self.course.wave(wave).map(|wave| wave.exposure) {
            Some(Exposure::Share { .. } | Exposure::Ramp) => Some(self.state.share.unwrap_or(0)),
            _ => None,
        };
        match self.weigh(wanted) {
            Some(flow) => flow,
            None => self.enter(Phase::Wave { wave }),
        }
    }

    pub(super) fn wave(&mut self, wave: u32) -> Flow {
        self.look_at_windows();
        let limit = self.start_units();
        if self.state.busy > 0 {
            return match limit {
                Some(limit) => Flow::Held(Reason::AtLimit { limit }),
                None => self.in_flight(),
            };
        }
        if let Some(flow) = self.shut_out(limit) {
            return flow;
        }
        self.sink.note(EngineNote::WaveFinished { wave });
        let (exposure, bake) = self.course.wave(wave).map(|wave| (wave.exposure, wave.bake)).unwrap_or_default();
        if self.course.judges(wave) && self.state.watch.from.is_none() {
            self.state.watch.from = Some(self.now);
        }
        match exposure {
            Exposure::Share { .. } | Exposure::Ramp => self.enter(Phase::Check { wave }),
            Exposure::Units if self.course.judges(wave) => self.begin_watch(wave),
            Exposure::Units if bake == Millis::ZERO => self.enter(Phase::Check { wave }),
            Exposure::Units => {
                let until = bake.after(self.now);
                self.enter(Phase::Bake { wave, until })
            }
        }
    }

    /// Why units wait although nobody is under way: for a window, or for something that only a person can mend.
    pub(super) fn shut_out(&self, limit: Option<GateNo>) -> Option<Flow> {
        let shut = |gate: GateNo| match self.course.classes().gate(gate) {
            Gate::Limit(_) => (Reason::AtLimit { limit: gate }, None),
            Gate::Exclusion(exclusion) => (Reason::Excluded { exclusion: of_length(exclusion) }, None),
            Gate::Order(order) => (Reason::WaitsForOrder { order: of_length(order) }, None),
            Gate::Window(window) => {
                let until = self.state.lanes.opening(window).map(|opening| opening.until);
                (Reason::OutsideWindow { window: of_length(window) }, until.filter(|until| *until < Timestamp::MAX))
            }
        };
        let waits = limit.into_iter().chain(self.state.lanes.waited_for()).map(shut);
        // What time opens is said before what it does not.
        let (reason, until) = waits.min_by_key(|(_, until)| (until.is_none(), *until))?;
        let given_up = of_length(self.state.given_up.len());
        // What time does not open is held by units that are down for good.
        let reason = if until.is_none() && given_up > 0 { Reason::GivenUp { units: given_up } } else { reason };
        Some(Flow::Wait(reason, until))
    }

    pub(super) fn bake(&mut self, wave: u32, until: Timestamp) -> Flow {
        if self.now < until && !self.state.watch.promoted {
            return Flow::Wait(Reason::Baking { wave: wave + 1 }, Some(until));
        }
        self.enter(Phase::Check { wave })
    }

    pub(super) fn check(&mut self, wave: u32) -> Flow {
        let unchecked =
            self.course.wave(wave).is_some_and(|wave| wave.exposure == Exposure::Units || !wave.units.is_empty());
        if unchecked && self.course.has_checks && self.course.verify == VerifyWhen::EachWave {
            return self.run_checks();
        }
        self.checked(wave)
    }

    /// Checks come before the new release gets traffic of its own, and after it was watched where it gets what its
    /// units get.
    fn checked(&mut self, wave: u32) -> Flow {
        match self.course.wave(wave).map(|wave| wave.exposure) {
            Some(Exposure::Share { .. } | Exposure::Ramp) => self.enter(Phase::Expose { wave }),
            _ => self.enter_wave(wave + 1),
        }
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
        if !self.state.given_up.is_empty() {
            let units = of_length(self.state.given_up.len());
            return Flow::Wait(Reason::GivenUp { units }, None);
        }
        if self.course.verifies() && !self.state.proven {
            return self.run_checks();
        }
        self.enter(Phase::Settle)
    }

    /// Traffic follows the units again; then it is done.
    pub(super) fn settle(&mut self) -> Flow {
        if let Some(flow) = self.weigh(None) {
            return flow;
        }
        let reason = if self.state.proven { Reason::Proven } else { Reason::Unproven };
        self.decide(Verdict::Proceed, reason);
        self.finish(RolloutOutcome::Succeeded)
    }

    pub(super) fn checks_passed(&mut self) {
        self.state.proven = true;
        if let Phase::Check { wave } = self.state.phase {
            self.decide(Verdict::Proceed, Reason::WaveProven { wave: wave + 1 });
            self.checked(wave);
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
