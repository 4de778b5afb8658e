//! One exact run: the engine is stepped as a driver would step it, and the world answers. It owns the virtual clock.
//! It must not decide anything: what begins, waits or goes back is the engine's business alone.

mod counts;
mod desk;
mod tries;

use jiff::Timestamp;
use vice_core::payload::environment::RolloutOutcome;
use vice_core::payload::rollout::{OperatorCommand, Verdict};
use vice_core::payload::simulation::SimulatedEnd;
use vice_pride_engine::{CheckCounts, Course, Failure, Input, OpResult, Reason, State, UnitNo, step};

use crate::draw::{Luck, Purpose};
use crate::due::{Due, Kind};
use crate::picture::{CHANGING, waited_for};
use crate::trace::Trace;
use crate::watch::{Nobody, Watch};
use crate::world::{Bug, World};
use desk::{Desk, is_large};

/// Simulated time ends after this: what takes longer is not a rollout any more.
pub const CUT_OFF_MS: u64 = 180 * 86_400_000;

/// So many answers of one moment go into one step: as a driver does, and bounded.
const BATCH_MAX: usize = 256;

/// While a person is waited for, metrics are looked at later by one part in so many of the time that passed since: late by
/// less than two per cent, and a few hundred looks instead of tens of thousands.
const LOOKS: u64 = 64;

/// How one run ended and what it cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// How it ended.
    pub end: SimulatedEnd,
    /// From the start to the end, the way back included.
    pub total_ms: u64,
    /// When each wave began and ended, as far as they did; milliseconds after the start.
    pub waves: Vec<(u64, Option<u64>)>,
    /// When the bug was found, and how many servers were exposed then.
    pub found: Option<(u64, f64)>,
    /// When it was decided to go back.
    pub turned_ms: Option<u64>,
    /// Server-hours under the bug, until the last unit was back or the run was over.
    pub harm_hours: f64,
    /// How many units were brought back.
    pub undone: u32,
    /// How many tries of units failed.
    pub failed_tries: u32,
    /// How many events were handled.
    pub events: u64,
    /// For what it waited when it was not over, as a noun; only where it stands still or was cut off.
    pub waits_for: Option<String>,
    /// How often a person was asked to decide: who answers may end a wave before its time.
    pub asked: u32,
    /// Who was exposed when.
    pub trace: Trace,
}

/// What is run.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'w> {
    /// The world.
    pub world: &'w World,
    /// The plan, made ready.
    pub course: &'w Course,
    /// When the rollout begins: windows and days depend on it.
    pub start: Timestamp,
    /// The seed.
    pub seed: u64,
}

impl<'w> Setting<'w> {
    /// One run without watching it.
    #[must_use]
    pub fn run(self, run: u64, bug: Option<&'w Bug>) -> Run {
        self.watched(run, bug, &mut Nobody)
    }

    /// One run, watched.
    #[must_use]
    pub fn watched<W: Watch>(self, run: u64, bug: Option<&'w Bug>, watch: &mut W) -> Run {
        let luck = Luck::new(self.seed, run);
        let desk = Desk::new(self, luck, bug, watch);
        Machine::new(self.course, desk).go()
    }
}

struct Machine<'w, 'o, W: Watch> {
    state: State,
    desk: Desk<'w, 'o, W>,
    inputs: Vec<Input>,
    events: u64,
    /// The day of the calendar that was looked ahead to.
    day: u64,
    /// Whether time alone can move the engine while operations are under way: metrics are read, or windows open.
    time_moves: bool,
    /// When the engine was stepped last.
    stepped_at: Option<u64>,
}

impl<'w, 'o, W: Watch> Machine<'w, 'o, W> {
    fn new(course: &Course, desk: Desk<'w, 'o, W>) -> Self {
        let plan = course.plan();
        let time_moves = plan.analysis.is_some() || !plan.windows.is_empty();
        let state = State::new(course.clone());
        Self { state, desk, inputs: Vec::new(), events: 0, day: 0, time_moves, stepped_at: None }
    }

    fn go(mut self) -> Run {
        let end = self.run_out();
        if end == SimulatedEnd::CutOff {
            // Whatever is exposed stays so until nobody looks any more.
            self.desk.advance(CUT_OFF_MS);
        }
        let waits_for = matches!(end, SimulatedEnd::CutOff | SimulatedEnd::NeedsHuman).then(|| self.waits_for());
        Run { waits_for, ..self.desk.finish(end, self.events) }
    }

    fn waits_for(&self) -> String {
        let proven = self.state.ruling().is_some_and(|ruling| ruling.verdict == Verdict::Proceed);
        match self.state.waiting().map(|waiting| waiting.reason) {
            // What is proven and still watched waits for its time alone.
            Some(Reason::Judging { .. } | Reason::Watching { .. }) if proven => "a bake".to_owned(),
            Some(reason) => waited_for(reason, self.state.course()),
            None => CHANGING.to_owned(),
        }
    }

    fn run_out(&mut self) -> SimulatedEnd {
        self.inputs.push(Input::Begin { epoch: 1 });
        // What has to be waited for first is a pause to the engine, as it is where an operator holds up a rollout.
        if self.desk.holds_up() {
            self.inputs.push(Input::Operator { command: OperatorCommand::Pause });
        }
        self.step();
        while self.state.outcome().is_none() {
            let Some(at) = self.next_moment() else { break };
            if at > CUT_OFF_MS {
                return SimulatedEnd::CutOff;
            }
            self.desk.advance(at);
            self.take(at);
            if self.inputs.is_empty() && self.wakes_at() == Some(at) {
                self.inputs.push(Input::Tick);
            }
            if !self.inputs.is_empty() {
                self.stepped_at = Some(at);
                self.step();
            }
        }
        match self.state.outcome() {
            Some(RolloutOutcome::Succeeded) => SimulatedEnd::Completed,
            Some(RolloutOutcome::RolledBack | RolloutOutcome::Failed | RolloutOutcome::Aborted) => {
                SimulatedEnd::RolledBack
            }
            Some(RolloutOutcome::NotRestored) => SimulatedEnd::NotRestored,
            None => SimulatedEnd::NeedsHuman,
        }
    }

    fn step(&mut self) {
        let now = self.desk.start_ms.saturating_add_unsigned(self.desk.now);
        let now = Timestamp::from_millisecond(now).unwrap_or(Timestamp::MAX);
        step(&mut self.state, now, &self.inputs, &mut self.desk);
        self.inputs.clear();
    }

    /// When something happens next; asks a person where one is needed.
    #[inline]
    fn next_moment(&mut self) -> Option<u64> {
        self.ask_a_person();
        let next = self.desk.due.peek();
        let others = [self.desk.shows_at(), self.wakes_at()];
        others.into_iter().flatten().chain(next).min()
    }

    /// When time alone moves the engine next, as a driver asks it: windows of metrics are read while others change and while a
    /// person is waited for. Where it had its chance at that moment there is nothing more to come of it.
    #[inline]
    fn wakes_at(&self) -> Option<u64> {
        if !self.time_moves {
            return None;
        }
        let due = self.desk.after_start(self.state.wakes_at()?);
        // By when it was due and not by when it is looked at, or it would be put off for ever.
        let rest = if self.asks_a_person() { self.rest(due) } else { 0 };
        let at = due.saturating_add(rest).max(self.desk.now);
        (self.stepped_at != Some(at)).then_some(at)
    }

    /// Whether a person is to look at what the judge can't tell.
    #[inline]
    fn asks_a_person(&self) -> bool {
        self.state.waiting().is_some_and(|waiting| matches!(waiting.reason, Reason::NoProof { .. }))
    }

    /// By how much a look at the metrics may be late while a person is waited for, in whole windows. A person may take days, in
    /// which nothing but a rollback can come of thousands of windows: the engine reads what is over as one, as it does after
    /// an outage of its driver, and what they count together is the same.
    fn rest(&self, due: u64) -> u64 {
        let interval = self.state.course().plan().analysis.as_ref().map_or(1, |analysis| analysis.interval.0.max(1));
        let waited = due.saturating_sub(self.desk.called_at().unwrap_or(due));
        waited / LOOKS / interval * interval
    }

    /// Somebody answers what only a person can decide. A rollout that waits for a promotion is promoted, and a way back
    /// across a barrier is forced, because that is what people do; anything else stays as it is.
    #[inline]
    fn ask_a_person(&mut self) {
        let reason = self.state.waiting().map(|waiting| waiting.reason);
        if let Some(Reason::NoProof { .. } | Reason::RollbackForbidden { .. }) = reason {
            self.desk.call_a_person();
        }
    }

    fn answer(&self) -> Option<OperatorCommand> {
        match self.state.waiting()?.reason {
            Reason::NoProof { .. } => Some(OperatorCommand::Promote),
            Reason::RollbackForbidden { .. } => Some(OperatorCommand::ForceRollback),
            Reason::Paused => Some(OperatorCommand::Resume),
            _ => None,
        }
    }

    /// Takes everything that is due at this moment.
    fn take(&mut self, at: u64) {
        self.desk.look_for_the_bug();
        self.look_ahead();
        while self.inputs.len() < BATCH_MAX && self.desk.due.peek() == Some(at) {
            let Some((_, due)) = self.desk.due.pop() else { return };
            self.events += 1;
            self.hand_over(due);
        }
    }

    /// Has the engine read what the rest of the day will need, once a day.
    #[inline]
    fn look_ahead(&mut self) {
        let (day, today) = self.desk.due.today();
        if day == self.day {
            return;
        }
        self.day = day;
        if is_large(self.state.course().unit_count()) {
            self.state.foresee(today.iter().map(|(_, due)| (due.op(), UnitNo(due.unit()))));
        }
    }

    #[inline]
    fn hand_over(&mut self, due: Due) {
        let op = due.op();
        let done = |result| Input::EffectDone { op, result };
        match due.kind() {
            Kind::Changed => {
                self.desk.changed(due.unit());
                self.inputs.push(done(OpResult::Done));
            }
            Kind::ChangeFailed => {
                self.desk.change_failed(due.unit());
                self.inputs.push(done(OpResult::Failed(Failure::Unhealthy)));
            }
            Kind::Undone => {
                self.desk.undone(due.unit());
                self.inputs.push(done(OpResult::Done));
            }
            Kind::Done => self.inputs.push(done(OpResult::Done)),
            Kind::Failed => self.inputs.push(done(OpResult::Failed(Failure::Task))),
            Kind::Weighed => {
                self.desk.weighed(op);
                self.inputs.push(done(OpResult::Done));
            }
            Kind::Verified => self.inputs.push(self.verified(due)),
            Kind::Measured => self.desk.measured(op, &mut self.inputs),
            Kind::Sits => self.desk.sits(due.unit()),
            Kind::Abort => self.inputs.push(Input::Operator { command: OperatorCommand::Abort }),
            Kind::Answer => {
                self.desk.answered();
                self.inputs.extend(self.answer().map(|command| Input::Operator { command }));
            }
            Kind::Tick => self.inputs.push(Input::Tick),
        }
    }

    fn verified(&self, due: Due) -> Input {
        let passed = self.desk.checks_pass(due.op());
        let (good, bad) = if passed { (1, 0) } else { (0, 1) };
        Input::Verified { op: due.op(), passed, counts: CheckCounts { passed: good, failed: bad, errored: 0 } }
    }
}

/// The luck of the reaction to a bug.
pub(crate) fn reaction(world: &World, luck: Luck) -> u64 {
    world.react.draw(luck.bits(Purpose::React, 0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{Fleet, Level, growing_waves};
    use crate::world::Past;
    use vice_core::Millis;
    use vice_pride_engine::FailurePolicy;

    /// What is looked ahead to is read and nothing else; whatever is asked for, nothing happens.
    #[test]
    fn looking_ahead_changes_nothing() {
        let fleet = Fleet::regular(&[Level { name: "rack", each: 10, max_down: Some(2) }], 25).unwrap();
        let failures = FailurePolicy { retries: 1, tolerate: 0 };
        let course = fleet.course(growing_waves(250, 1, 2.0, Millis::ZERO), failures).unwrap();
        let world = World::new(&toml::from_str("").unwrap(), fleet.layout.clone(), &Past::default()).unwrap();
        let setting = Setting { world: &world, course: &course, start: Timestamp::UNIX_EPOCH, seed: 1 };
        let plain = setting.run(0, None);
        let mut nobody = Nobody;
        let desk = Desk::new(setting, Luck::new(1, 0), None, &mut nobody);
        let mut machine = Machine::new(&course, desk);
        machine.inputs.push(Input::Begin { epoch: 1 });
        machine.step();
        while machine.state.outcome().is_none() {
            let odd =
                [(vice_pride_engine::OpNo(u32::MAX), UnitNo(u32::MAX)), (vice_pride_engine::OpNo(0), UnitNo(249))];
            let today = machine.desk.due.today().1.to_vec();
            machine.state.foresee(today.iter().map(|(_, due)| (due.op(), UnitNo(due.unit()))).chain(odd));
            let at = machine.next_moment().unwrap();
            machine.desk.advance(at);
            machine.take(at);
            machine.step();
        }
        let events = machine.events;
        let run = machine.desk.finish(SimulatedEnd::Completed, events);
        assert_eq!((run.total_ms, run.events, run.trace), (plain.total_ms, plain.events, plain.trace));
    }

    #[test]
    fn the_state_of_a_run_takes_at_most_24_bytes_a_server() {
        // The shape of the benchmark, seed 1: six levels of constraints that cross, nearly every server a class.
        let units = 20_000;
        let level = |name, each, max_down| Level { name, each, max_down: Some(max_down) };
        let levels = [
            level("world", 1, units / 8),
            level("region", 2, units / 14),
            level("dc", 5, units / 90 + 1),
            level("cluster", units / 1_000, 10),
            level("rack", 4, 4),
        ];
        let mut fleet = Fleet::regular(&levels, 25).unwrap();
        fleet.domains(20, units / 150 + 1);
        let failures = FailurePolicy { retries: 1_000, tolerate: 0 };
        let course = fleet.course(growing_waves(units, 1, 2.0, Millis::ZERO), failures).unwrap();
        let spec = toml::from_str("fails = \"1%\"").unwrap();
        let world = World::new(&spec, fleet.layout.clone(), &Past::default()).unwrap();
        let setting = Setting { world: &world, course: &course, start: Timestamp::UNIX_EPOCH, seed: 1 };
        let mut nobody = Nobody;
        let desk = Desk::new(setting, Luck::new(1, 0), None, &mut nobody);
        let mut machine = Machine::new(&course, desk);
        assert_eq!(machine.run_out(), SimulatedEnd::Completed);
        assert!(machine.events > u64::from(units), "every server changed, and some twice");
        // Tables grow by doubling, and give nothing back: what they hold now is what they ever held.
        let state = machine.state.bytes();
        assert!(state <= 24 * units as usize, "{state} bytes of state");
        // An eighth of the fleet may be pending at once, and tables grow by doubling.
        let pending = machine.desk.due.bytes();
        assert!(pending <= 16 * units as usize / 4, "{pending} bytes of events");
    }
}
