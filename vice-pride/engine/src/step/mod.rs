//! One step: take the inputs, then go on as far as possible without new ones, then say why it stops.
//!
//! `take` only records what happened; `advance` is the one place that begins anything.

mod begin;
mod operator;
mod ops;
mod rollback;
mod units;
mod watch;
mod waves;

pub(crate) use watch::{passes, ramp_share};

use jiff::Timestamp;
use vice_core::Millis;
use vice_core::payload::environment::{Direction, RolloutOutcome};
use vice_core::payload::rollout::Verdict;

use crate::course::Course;
use crate::effect::Effect;
use crate::input::Input;
use crate::note::{EngineNote, Evidence};
use crate::reason::Reason;
use crate::sink::Sink;
use crate::state::{Fence, Phase, Progress, State, Waiting, Work};

/// How often a step of the way back is tried before somebody has to look. Three outlast a restart of the target;
/// more would only hide that the environment is broken.
pub const TRIES_MAX: u32 = 3;

/// How long the way back waits after a first failure; after the n-th it waits n times as long.
pub const RETRY_PAUSE: Millis = Millis(2_000);

/// Takes inputs that happened at `now`, and asks for what has to be done. Gives whether the state changed: when it
/// did not, nothing was asked for and nothing has to be stored.
///
/// `now` may run backwards; the engine then goes on with the latest time at which something changed.
pub fn step(state: &mut State, now: Timestamp, inputs: &[Input], sink: &mut impl Sink) -> bool {
    let State { course, progress } = state;
    let mut turn = Turn { now: now.max(progress.latest), state: progress, course, sink, changed: false, woken: false };
    for input in inputs {
        turn.take(*input);
    }
    turn.advance();
    turn.end()
}

/// What to do after looking at the phase once.
enum Flow {
    /// Something changed: look again.
    Go,
    /// Nothing to do until an answer comes.
    Held(Reason),
    /// Nothing is under way; wait for time or an operator.
    Wait(Reason, Option<Timestamp>),
}

/// One step in progress.
struct Turn<'a, S: Sink> {
    state: &'a mut Progress,
    course: &'a Course,
    now: Timestamp,
    sink: &'a mut S,
    changed: bool,
    /// Whether time or a takeover is among the inputs.
    woken: bool,
}

impl<S: Sink> Turn<'_, S> {
    fn take(&mut self, input: Input) {
        if matches!(self.state.phase, Phase::Over { .. }) {
            if input != Input::Tick {
                self.sink.held(Reason::Finished);
            }
            return;
        }
        self.woken |= matches!(input, Input::Tick | Input::Begin { .. } | Input::Resumed { .. });
        match input {
            Input::Tick => {}
            Input::Begin { epoch } => self.begin(epoch),
            Input::Resumed { epoch } => self.resumed(epoch),
            Input::EffectDone { op, result } => self.effect_done(op, result),
            Input::Observed { op, seen } => self.observed(op, seen),
            Input::Verified { op, passed, counts } => self.verified(op, passed, counts),
            Input::Measured { op, metric, reading } => self.measured(op, metric, reading),
            Input::Operator { command } => self.operator(command),
        }
    }

    fn advance(&mut self) {
        loop {
            self.measure_if_due();
            match self.pulse() {
                Flow::Go => self.changed = true,
                Flow::Held(reason) => {
                    self.wait_for(None);
                    return self.sink.held(reason);
                }
                // What is being read may change what there is to wait for.
                Flow::Wait(..) if self.state.watch.aside() > 0 => {
                    self.wait_for(None);
                    return self.sink.held(Reason::Measuring);
                }
                Flow::Wait(reason, until) => {
                    self.wait_for(Some(Waiting { reason, until }));
                    return self.sink.held(reason);
                }
            }
        }
    }

    fn end(self) -> bool {
        if self.changed {
            self.state.latest = self.now;
        }
        self.changed
    }

    /// What stands before everything else: an end, an operator, a fence, a doubt.
    fn pulse(&mut self) -> Flow {
        let open = self.state.open;
        match (self.state.phase, self.state.fence) {
            (Phase::Over { .. }, _) => return Flow::Held(Reason::Finished),
            (_, Fence::Raising(_)) => return Flow::Held(Reason::Fencing),
            (_, Fence::Failed(_)) if self.state.abandoned => return self.abandon(),
            (_, Fence::Failed(failure)) => return Flow::Wait(Reason::FenceFailed { failure }, None),
            _ if self.state.abandoned && open == 0 => return self.abandon(),
            (Phase::Idle, _) if self.state.paused => return Flow::Wait(Reason::Paused, None),
            (Phase::Idle, _) => return Flow::Held(Reason::NotBegun),
            (_, Fence::Down | Fence::Up) => {}
        }
        let doubt = self.state.doubts.first().copied();
        let parked = match doubt {
            _ if self.state.abandoned => return self.in_flight(),
            _ if self.state.paused => Some(self.paused()),
            Some(op) => Some(Reason::InDoubt { op }),
            None => None,
        };
        match parked {
            Some(_) if open + self.state.watch.aside() > 0 => self.in_flight(),
            Some(reason) => Flow::Wait(reason, None),
            None => self.phase(),
        }
    }

    /// A pause holds the way back as well: an operator wants to look, and is told.
    fn paused(&self) -> Reason {
        match (self.state.phase, self.state.cause()) {
            (Phase::Halting, Some(Reason::Judged { cause })) => Reason::PausedThoughBad { cause },
            _ => Reason::Paused,
        }
    }

    fn phase(&mut self) -> Flow {
        match self.state.phase {
            Phase::Idle => Flow::Held(Reason::NotBegun),
            Phase::Gate => self.gate(),
            Phase::Free => self.free(),
            Phase::Before { at } => self.before(at),
            Phase::Shield { wave } => self.shield(wave),
            Phase::Wave { wave } => self.wave(wave),
            Phase::Bake { wave, until } => self.bake(wave, until),
            Phase::Check { wave } => self.check(wave),
            Phase::Expose { wave } => self.expose(wave),
            Phase::Watch { wave, until } => self.watch(wave, until),
            Phase::After { at } => self.after(at),
            Phase::Final => self.last_check(),
            Phase::Settle => self.settle(),
            Phase::Halting => self.halting(),
            Phase::Barrier { task } => Flow::Wait(Reason::RollbackForbidden { task }, None),
            Phase::BackShield => self.back_shield(),
            Phase::BackBefore { at } => self.back_before(at),
            Phase::Back => self.back(),
            Phase::BackAfter { at } => self.back_after(at),
            Phase::BackSettle => self.back_settle(),
            Phase::BackCheck => self.back_check(),
            Phase::Leaving => self.left(),
            Phase::Over { .. } => Flow::Held(Reason::Finished),
        }
    }

    fn in_flight(&self) -> Flow {
        Flow::Held(Reason::InFlight { ops: self.state.open + self.state.watch.aside() })
    }

    /// Says for what the rollout waits, once.
    fn wait_for(&mut self, waiting: Option<Waiting>) {
        if self.state.waiting == waiting {
            return;
        }
        let before = std::mem::replace(&mut self.state.waiting, waiting);
        self.changed = true;
        if let Some(Waiting { reason, until }) = waiting {
            self.sink.effect(Effect::Wait { until, reason });
            // While metrics are judged the same is waited for window after window.
            if before.or(self.state.waited).is_none_or(|before| before.reason != reason) {
                self.sink.note(EngineNote::Held { reason, until });
            }
            self.state.waited = waiting;
        }
    }

    fn decide(&mut self, verdict: Verdict, reason: Reason) {
        let counts = self.state.counts;
        let evidence = Evidence {
            passed: counts.passed,
            failed: counts.failed,
            errored: counts.errored,
            touched: u32::try_from(self.state.touched.len()).unwrap_or(u32::MAX),
            of: self.course.changes(),
            share: self.state.share,
            judge: match reason {
                Reason::Judged { .. } | Reason::NoProof { .. } => self.state.watch.ruling.map(|ruling| ruling.evidence),
                _ => None,
            },
        };
        self.sink.note(EngineNote::Decided { verdict, reason, evidence });
    }

    fn finish(&mut self, outcome: RolloutOutcome) -> Flow {
        let failed = matches!(outcome, RolloutOutcome::RolledBack | RolloutOutcome::NotRestored);
        let cause = self.state.cause().filter(Reason::blames_release);
        // A release that somebody only wanted to go back to was proven earlier; its failing now speaks of the
        // environment, and a hold would take away the way back.
        if let Some(reason) = cause.filter(|_| failed && self.course.direction == Direction::Deploy) {
            self.sink.effect(Effect::PlaceHold { reason });
        }
        self.drop_asides();
        self.state.phase = Phase::Over { outcome };
        self.state.waiting = None;
        self.sink.effect(Effect::Finish { outcome });
        self.sink.note(EngineNote::Finished { outcome });
        Flow::Go
    }

    /// Ends where it is, as an operator said. Units stay as they are, and a share does not: nobody would move it any
    /// more. That is tried once; where it fails, the next rollout does it.
    fn abandon(&mut self) -> Flow {
        if let Some(flow) = self.give_traffic_back() {
            return flow;
        }
        self.decide(Verdict::Hold, Reason::Abandoned);
        self.finish(RolloutOutcome::Aborted)
    }

    /// Before an end that takes nothing back: traffic follows the units again. None when that was tried, or is not needed.
    fn give_traffic_back(&mut self) -> Option<Flow> {
        if !self.state.split || self.state.fence != Fence::Up || self.state.phase == Phase::Leaving {
            return None;
        }
        self.drop_asides();
        self.state.phase = Phase::Leaving;
        self.issue(Work::Weigh { share: None });
        Some(self.in_flight())
    }

    /// Traffic was given back, as far as that went.
    fn left(&mut self) -> Flow {
        match self.state.halt {
            _ if self.state.open > 0 => self.in_flight(),
            Some(_) if !self.state.abandoned => self.end_untouched(),
            _ => self.abandon(),
        }
    }
}
