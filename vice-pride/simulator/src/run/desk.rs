//! The world's side of a run: takes the engine's effects, draws how long they take, and keeps count.

use jiff::Timestamp;
use vice_core::payload::rollout::Verdict;
use vice_core::payload::simulation::SimulatedEnd;
use vice_pride_engine::{Course, Effect, EngineNote, Input, OpNo, OpResult, Reason, Sink, WHOLE};

use super::tries::Tries;
use super::{Run, Setting, counts, reaction};
use crate::calendar::Calendar;
use crate::draw::{Luck, Purpose};
use crate::due::{Due, Kind};
use crate::infection::Infection;
use crate::trace::Exposed;
use crate::watch::Watch;
use crate::world::{Bug, Profile, World};

/// A fleet of more servers than that is in no cache: looking ahead nearly halves the time of a run, and costs smaller ones a
/// few per cent.
const LARGE: u32 = 1 << 18;

pub(super) const fn is_large(units: u32) -> bool {
    units > LARGE
}

pub(super) struct Desk<'w, 'o, W: Watch> {
    world: &'w World,
    course: &'w Course,
    luck: Luck,
    /// When it began, in milliseconds since the epoch: the clock of a run has no finer ones.
    pub(super) start_ms: i64,
    pub(super) now: u64,
    pub(super) due: Calendar<Due>,
    watch: &'o mut W,
    exposed: Exposed,
    infection: Option<Infection<'w>>,
    tries: Tries,
    /// Windows under way: their operation, their beginning and their end.
    windows: Vec<(OpNo, Timestamp, Timestamp)>,
    /// Shares that are being brought into force.
    weights: Vec<(OpNo, Option<u32>)>,
    share: Option<u32>,
    /// Units that run the release, by cell: what exposure follows where no share is in force.
    placed: Vec<f64>,
    waves: Vec<(u64, Option<u64>)>,
    found: Option<(u64, f64)>,
    turned: Option<u64>,
    /// Since when a person is called who has not answered.
    called: Option<u64>,
    /// How often one was.
    calls: u32,
    going_back: bool,
    undone: u32,
    failed_tries: u32,
}

impl<'w, 'o, W: Watch> Desk<'w, 'o, W> {
    pub(super) fn new(setting: Setting<'w>, luck: Luck, bug: Option<&'w Bug>, watch: &'o mut W) -> Self {
        let Setting { world, course, start, .. } = setting;
        let units = world.layout.units;
        // Sized for speed only: about twice the longest usual change ahead, and a tenth of the fleet at once. A large fleet has
        // about ten events a day, so that there is something to look ahead to.
        let days = units as usize / if is_large(units) { 80 } else { 10 };
        let longest = world.profiles.iter().map(Profile::mean_ms).fold(0.0, f64::max);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a mean duration below 2^32")]
        let span = (longest * 3.0) as u64 + 1;
        Self {
            world,
            course,
            luck,
            start_ms: start.as_millisecond(),
            now: 0,
            due: Calendar::new(span, days),
            watch,
            exposed: Exposed::new(world.cells.len(), units),
            infection: bug.map(|bug| Infection::new(world, bug, luck)),
            tries: Tries::new(units),
            windows: Vec::new(),
            weights: Vec::new(),
            share: None,
            placed: vec![0.0; world.cells.len()],
            waves: Vec::new(),
            found: None,
            turned: None,
            called: None,
            calls: 0,
            going_back: false,
            undone: 0,
            failed_tries: 0,
        }
    }

    pub(super) fn advance(&mut self, at: u64) {
        self.now = self.now.max(at);
    }

    pub(super) fn shows_at(&self) -> Option<u64> {
        self.infection.as_ref().filter(|_| self.found.is_none()).and_then(Infection::shows_at)
    }

    /// Whether the bug shows itself now; somebody then turns the rollout back after a while.
    pub(super) fn look_for_the_bug(&mut self) {
        if self.shows_at().is_some_and(|at| at <= self.now) {
            self.find();
            self.plan(reaction(self.world, self.luck), Due::plain(Kind::Abort));
        }
    }

    fn find(&mut self) {
        if self.infection.is_some() && self.found.is_none() {
            self.found = Some((self.now, self.exposed.total()));
        }
    }

    #[inline]
    fn plan(&mut self, after: u64, due: Due) {
        self.due.push(self.now.saturating_add(after), due);
    }

    /// Calls a person, unless one was called and has not answered yet.
    pub(super) fn call_a_person(&mut self) {
        if self.called.is_some() {
            return;
        }
        self.called = Some(self.now);
        let takes = self.world.approve.draw(self.luck.bits(Purpose::Person, u32::MAX, self.calls));
        self.calls += 1;
        self.plan(takes, Due::plain(Kind::Answer));
    }

    /// A person has answered.
    pub(super) fn answered(&mut self) {
        self.called = None;
    }

    /// Since when one is waited for.
    pub(super) const fn called_at(&self) -> Option<u64> {
        self.called
    }

    /// Whether notice or approval comes before the rollout; somebody then says when that is over.
    pub(super) fn holds_up(&mut self) -> bool {
        let held = self.world.held_up(self.luck);
        if let Some(takes) = held {
            self.plan(takes, Due::plain(Kind::Answer));
        }
        held.is_some()
    }

    #[inline]
    fn expose(&mut self, cell: usize, by: f64) {
        self.placed[cell] += by;
        if self.share.is_none() {
            self.exposed.add(self.now, cell, by);
        }
    }

    #[inline]
    pub(super) fn changed(&mut self, unit: u32) {
        let cell = self.world.cell(unit);
        self.expose(cell, 1.0);
        self.watch.ended(self.now, unit, false, false);
        let Some(infection) = &mut self.infection else { return };
        match infection.exposed(unit, cell) {
            None => {}
            Some(0) => infection.sit(self.now, unit, self.world.cells[cell].region),
            Some(after) => self.plan(after, Due::new(Kind::Sits, OpNo(0), unit)),
        }
    }

    pub(super) fn change_failed(&mut self, unit: u32) {
        self.failed_tries += 1;
        self.tries.failed(unit);
        self.watch.ended(self.now, unit, false, true);
    }

    pub(super) fn undone(&mut self, unit: u32) {
        let cell = self.world.cell(unit);
        self.undone += 1;
        self.expose(cell, -1.0);
        self.watch.ended(self.now, unit, true, false);
        if let Some(infection) = &mut self.infection {
            infection.leave(self.now, unit, self.world.cells[cell].region);
        }
    }

    pub(super) fn sits(&mut self, unit: u32) {
        // On the way back nobody knows any more which units still run it; those that are left are soon gone.
        if self.going_back {
            return;
        }
        let region = self.world.cells[self.world.cell(unit)].region;
        if let Some(infection) = &mut self.infection {
            infection.sit(self.now, unit, region);
        }
    }

    pub(super) fn weighed(&mut self, op: OpNo) {
        let Some(at) = self.weights.iter().position(|(other, _)| *other == op) else { return };
        self.share = self.weights.swap_remove(at).1;
        let part = self.share.map(|share| f64::from(share) / f64::from(WHOLE));
        for (cell, entry) in self.world.cells.iter().enumerate() {
            let to = part.map_or(self.placed[cell], |part| part * f64::from(entry.units));
            self.exposed.set(self.now, cell, to);
        }
        self.exposed.note(self.now);
        if let Some(infection) = &mut self.infection {
            infection.weigh(self.now, part);
        }
        self.watch.share(self.now, self.share);
    }

    /// The share of the traffic that the new release has.
    fn traffic_share(&self) -> f64 {
        match self.share {
            Some(share) => f64::from(share) / f64::from(WHOLE),
            None => self.exposed.total() / f64::from(self.world.layout.units).max(1.0),
        }
    }

    pub(super) fn measured(&mut self, op: OpNo, inputs: &mut Vec<Input>) {
        let Some(at) = self.windows.iter().position(|(other, _, _)| *other == op) else { return };
        let (_, from, until) = self.windows.swap_remove(at);
        if let Some(analysis) = &self.course.plan().analysis {
            let ratio = self
                .infection
                .as_ref()
                .map_or(1.0, |infection| 1.0 + (infection.bug.errors - 1.0) * infection.density(self.exposed.total()));
            let window = counts::Window { from, until, share: self.traffic_share(), ratio };
            counts::readings(self.world, self.luck, analysis, &window, op, inputs);
        }
        inputs.push(Input::EffectDone { op, result: OpResult::Done });
    }

    pub(super) fn checks_pass(&self, op: OpNo) -> bool {
        let bad = self.luck.unit(Purpose::Verify, op.0, 1) < self.world.verify_fails;
        let seen = self.infection.as_ref().filter(|_| !self.going_back && self.exposed.total() > 0.0);
        let seen = seen.is_some_and(|infection| self.luck.unit(Purpose::Verify, op.0, 2) < infection.bug.checks);
        !bad && !seen
    }

    pub(super) fn finish(mut self, end: SimulatedEnd, events: u64) -> Run {
        if let Some(infection) = &mut self.infection {
            infection.advance(self.now);
            if end == SimulatedEnd::Completed && self.found.is_none() {
                #[expect(clippy::cast_precision_loss, reason = "milliseconds of a reaction")]
                infection.follow(reaction(self.world, self.luck) as f64 / crate::trace::HOUR);
            }
        }
        Run {
            end,
            total_ms: self.now,
            waves: self.waves,
            found: self.found,
            turned_ms: self.turned,
            harm_hours: self.infection.as_ref().map_or(0.0, Infection::harm_hours),
            undone: self.undone,
            failed_tries: self.failed_tries,
            events,
            waits_for: None,
            asked: self.calls,
            trace: self.exposed.finish(self.now),
        }
    }

    fn run_task(&mut self, op: OpNo, task: usize, unit: Option<u32>) {
        let plan = self.course.plan();
        let name = plan.tasks.get(task).map_or("", |task| task.name.as_str());
        let entity = unit.map_or(u32::MAX - u32::try_from(task).unwrap_or(0), |unit| unit);
        let takes = self.world.task(name).draw(self.luck.bits(Purpose::Task, entity, op.0));
        let fails = self.luck.unit(Purpose::Task, entity, op.0.wrapping_add(1 << 23)) < self.world.task_fails;
        let kind = if fails && !self.going_back { Kind::Failed } else { Kind::Done };
        self.plan(takes, Due::new(kind, op, 0));
    }

    /// A moment as milliseconds after the start.
    pub(super) fn after_start(&self, at: Timestamp) -> u64 {
        u64::try_from(at.as_millisecond() - self.start_ms).unwrap_or(0)
    }

    fn wait(&mut self, until: Timestamp) {
        let at = self.after_start(until).max(self.now);
        self.due.push(at, Due::plain(Kind::Tick));
    }

    fn decided(&mut self, verdict: Verdict, reason: Reason) {
        match verdict {
            Verdict::Rollback => {
                // What turns back because a unit failed has found no bug.
                if matches!(reason, Reason::Judged { .. } | Reason::ChecksFailed { .. }) {
                    self.find();
                }
                self.turned = self.turned.or(Some(self.now));
                self.going_back = true;
                self.exposed.note(self.now);
            }
            Verdict::Proceed => self.end_wave(),
            Verdict::Hold | Verdict::Inconclusive => {}
        }
        self.watch.decided(self.now, verdict, reason);
    }

    fn end_wave(&mut self) {
        if let Some((_, end)) = self.waves.last_mut() {
            *end = end.or(Some(self.now));
        }
    }
}

impl<W: Watch> Sink for Desk<'_, '_, W> {
    const UNIT_NOTES: bool = false;

    #[inline]
    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Apply { op, unit, .. } => {
                let unit = unit.0;
                self.watch.began(self.now, unit, false);
                let change = self.world.profile(unit).change(self.luck, unit, self.tries.of(unit));
                let kind = if change.fails { Kind::ChangeFailed } else { Kind::Changed };
                self.plan(change.millis, Due::new(kind, op, unit));
            }
            Effect::Undo { op, unit, attempt, .. } => {
                self.watch.began(self.now, unit.0, true);
                let takes = self.world.profile(unit.0).undo(self.luck, unit.0, attempt);
                self.plan(takes, Due::new(Kind::Undone, op, unit.0));
            }
            Effect::Fence { op, .. } | Effect::Observe { op } | Effect::Probe { op, .. } => {
                self.plan(0, Due::new(Kind::Done, op, 0));
            }
            Effect::RunTask { op, task, unit, .. } => self.run_task(op, task.index(), unit.map(|unit| unit.0)),
            Effect::Verify { op } => {
                let takes = self.world.verify.draw(self.luck.bits(Purpose::Verify, op.0, 0));
                self.plan(takes, Due::new(Kind::Verified, op, 0));
            }
            Effect::SetWeights { op, share } => {
                self.weights.push((op, share));
                self.plan(0, Due::new(Kind::Weighed, op, 0));
            }
            Effect::Measure { op, from, until } => {
                // The engine asks when the reports had their time to arrive, so the window lies behind.
                self.windows.push((op, from, until));
                self.plan(0, Due::new(Kind::Measured, op, 0));
            }
            Effect::Wait { until, .. } => {
                if let Some(until) = until {
                    self.wait(until);
                }
            }
            Effect::PlaceHold { .. } | Effect::Finish { .. } => {}
        }
    }

    #[inline]
    fn note(&mut self, note: EngineNote) {
        match note {
            EngineNote::WaveStarted { wave } => {
                self.end_wave();
                self.waves.push((self.now, None));
                self.watch.wave(self.now, wave, true);
            }
            EngineNote::WaveFinished { wave } => {
                self.exposed.note(self.now);
                self.watch.wave(self.now, wave, false);
            }
            EngineNote::Decided { verdict, reason, .. } => self.decided(verdict, reason),
            _ => {}
        }
    }

    #[inline]
    fn held(&mut self, reason: Reason) {
        if W::REASONS {
            self.watch.held(self.now, reason);
        }
    }
}
