//! The virtual world: one queue of events in time, drivers that die, stop, are passed over and wake again, a store, a
//! target, two machines, operators. It decides by its draw alone, so that a seed replays to the last message.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use vice_core::payload::environment::RolloutOutcome;
use vice_pride_engine::{
    Answer, Course, Effect, EngineNote, Failure, Input, OpNo, OpResult, Plan, Recorded, Recorder, State, check_replay,
    step,
};

use super::draw::Draw;
use super::driver::{Driver, Mode, News, Pending};
use super::store::{Appended, Entry, Store};
use super::target::{Admitted, Target, unit_of};
use crate::judge::Judge;

/// How often in a thousand something goes wrong, each time that it could.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Knobs {
    pub(crate) crash: u64,
    pub(crate) stop: u64,
    pub(crate) steal: u64,
    pub(crate) lose: u64,
    pub(crate) slow: u64,
    pub(crate) vague: u64,
    pub(crate) fail: u64,
    pub(crate) command: u64,
    pub(crate) jump: u64,
    pub(crate) repeat: u64,
    pub(crate) lie: u64,
}

/// Something that happens at a time.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    News(usize, News),
    Append { driver: usize, expected: usize, entry: Entry },
    Request { driver: usize, effect: Effect, replies: bool },
    TimedOut { driver: usize, effect: Effect },
    Settle { driver: usize, effect: Effect },
    Ends { op: OpNo, token: u64 },
    TaskBegins { driver: usize, op: OpNo },
    TaskEnds { driver: usize, op: OpNo },
    TakeOver { steals: bool },
    Command,
    Continue(usize),
}

/// What happened so far, to see that everything does.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) events: u64,
    pub(crate) steps: u64,
    pub(crate) crashes: u64,
    pub(crate) stops: u64,
    pub(crate) takeovers: u64,
    pub(crate) conflicts: u64,
    pub(crate) stale_appends: u64,
    pub(crate) stale_requests: u64,
    pub(crate) settled: u64,
    pub(crate) doubts: u64,
}

pub(crate) struct World {
    pub(crate) draw: Draw,
    pub(crate) knobs: Knobs,
    pub(crate) now: i64,
    queue: BTreeMap<(i64, u64), Event>,
    serial: u64,
    course: Course,
    pub(crate) store: Store,
    pub(crate) target: Target,
    pub(crate) drivers: Vec<Driver>,
    pub(crate) judge: Judge,
    /// Markers of tasks, by machine; under which epoch a task was asked for; and what each machine has driven.
    pub(super) begun: BTreeSet<(usize, OpNo)>,
    pub(super) done: BTreeSet<(usize, OpNo)>,
    pub(super) task_epoch: BTreeMap<OpNo, u64>,
    pub(super) drove: BTreeSet<(usize, u64)>,
    pub(super) running_tasks: BTreeMap<OpNo, usize>,
    pub(crate) finished: Option<RolloutOutcome>,
    pub(crate) tally: Tally,
    /// Events before which the holder dies.
    pub(crate) doomed: Vec<u64>,
    pub(super) asked_operators: u32,
    /// Whether what the target says can be believed, so that the end can be judged by it.
    pub(crate) honest: bool,
}

/// A virtual process may live for that many events; more means that it turns in circles.
const EVENTS_MAX: u64 = 60_000;

impl World {
    pub(crate) fn new(plan: &Plan, draw: Draw, knobs: Knobs) -> Self {
        let course = Course::new(plan.clone()).unwrap();
        let mut world = Self {
            draw,
            knobs,
            now: 0,
            queue: BTreeMap::new(),
            serial: 0,
            course,
            store: Store::default(),
            target: Target::default(),
            drivers: Vec::new(),
            judge: Judge::new(plan),
            begun: BTreeSet::new(),
            done: BTreeSet::new(),
            task_epoch: BTreeMap::new(),
            drove: BTreeSet::new(),
            running_tasks: BTreeMap::new(),
            finished: None,
            tally: Tally::default(),
            doomed: Vec::new(),
            asked_operators: 0,
            honest: true,
        };
        world.later(0, Event::TakeOver { steals: false });
        world
    }

    pub(super) fn later(&mut self, by: i64, event: Event) {
        self.serial += 1;
        self.queue.insert((self.now + by.max(0), self.serial), event);
    }

    /// The delay of a message.
    pub(super) fn delay(&mut self) -> i64 {
        if self.draw.per_mille(self.knobs.slow) { self.draw.time(1_000, 90_000) } else { self.draw.time(1, 40) }
    }

    /// The next event; false when there is none.
    pub(crate) fn turn(&mut self) -> bool {
        let Some((key, event)) = self.queue.pop_first() else { return false };
        self.now = self.now.max(key.0);
        self.tally.events += 1;
        assert!(self.tally.events < EVENTS_MAX, "it turns in circles: {:?}", self.drivers.last());
        if self.doomed.contains(&self.tally.events) {
            self.kill_the_holder();
        }
        self.happen(event);
        self.chaos();
        true
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::News(driver, news) => self.hear(driver, news),
            Event::Append { driver, expected, entry } => self.append(driver, expected, &entry),
            Event::Request { driver, effect, replies } => self.request(driver, effect, replies),
            Event::TimedOut { driver, effect } => self.timed_out(driver, effect),
            Event::Settle { driver, effect } => self.settle(driver, effect),
            Event::Ends { op, token } => self.ends(op, token),
            Event::TaskBegins { driver, op } => self.task_begins(driver, op),
            Event::TaskEnds { driver, op } => self.task_ends(driver, op),
            Event::TakeOver { steals } => self.take_over(steals),
            Event::Command => self.command(),
            Event::Continue(driver) => self.go_on(driver),
        }
    }

    fn chaos(&mut self) {
        let knobs = self.knobs;
        if self.draw.per_mille(knobs.crash) {
            self.kill_the_holder();
        }
        if self.draw.per_mille(knobs.stop)
            && let Some(driver) = self.store.holder.filter(|driver| self.drivers[*driver].mode == Mode::Runs)
        {
            self.tally.stops += 1;
            self.drivers[driver].mode = Mode::Stopped;
            let (wakes, passed_over) = (self.draw.time(10, 120_000), self.draw.time(1_000, 60_000));
            self.later(wakes, Event::Continue(driver));
            self.later(passed_over, Event::TakeOver { steals: false });
        }
        if self.draw.per_mille(knobs.steal) {
            self.later(1, Event::TakeOver { steals: true });
        }
        if self.draw.per_mille(knobs.command) {
            self.later(1, Event::Command);
        }
        if self.draw.per_mille(knobs.jump)
            && let Some(driver) = self.store.holder
        {
            self.drivers[driver].skew = self.draw.time(-100_000, 100_000);
        }
    }

    pub(super) fn kill_the_holder(&mut self) {
        if let Some(driver) = self.store.holder.filter(|driver| self.drivers[*driver].mode != Mode::Gone) {
            self.tally.crashes += 1;
            self.gone(driver);
        }
    }

    /// A process is no more; somebody notices after a while.
    pub(super) fn gone(&mut self, driver: usize) {
        self.drivers[driver].mode = Mode::Gone;
        let noticed = self.draw.time(10, 30_000);
        self.later(noticed, Event::TakeOver { steals: false });
    }

    fn go_on(&mut self, driver: usize) {
        if self.drivers[driver].mode != Mode::Stopped {
            return;
        }
        self.drivers[driver].mode = Mode::Runs;
        for news in std::mem::take(&mut self.drivers[driver].backlog) {
            self.hear(driver, news);
        }
        self.pump(driver);
    }

    fn take_over(&mut self, steals: bool) {
        let held = self.store.holder.is_some_and(|holder| self.drivers[holder].mode == Mode::Runs);
        if self.finished.is_some() || (held && !steals) {
            return;
        }
        self.store.epoch += 1;
        let (epoch, index) = (self.store.epoch, self.drivers.len());
        self.store.holder = Some(index);
        self.tally.takeovers += u64::from(index > 0);
        // What the new driver knows is the history, and nothing else.
        let state = check_replay(&self.course, self.store.journal()).expect("the journal replays");
        let begun = self.store.journal().next().is_some();
        let machine = usize::from(self.draw.per_mille(300));
        self.drove.insert((machine, epoch));
        self.drivers.push(Driver {
            mode: Mode::Runs,
            epoch,
            machine,
            skew: 0,
            state,
            version: self.store.entries.len(),
            inbox: [if begun { Input::Resumed { epoch } } else { Input::Begin { epoch } }].into(),
            unheard: self.store.unheard().into_iter().map(|command| Input::Operator { command }).collect(),
            pending: None,
            parking: false,
            work: BTreeSet::new(),
            alarm: None,
            backlog: Vec::new(),
        });
        let driver = &mut self.drivers[index];
        let mut inputs: Vec<Input> = driver.inbox.drain(..).collect();
        let heard = driver.unheard.len();
        inputs.append(&mut driver.unheard);
        self.decide(index, inputs, heard);
        self.pump(index);
    }

    fn hear(&mut self, index: usize, news: News) {
        match self.drivers[index].mode {
            Mode::Gone => return,
            Mode::Stopped => return self.drivers[index].backlog.push(news),
            Mode::Runs => {}
        }
        match news {
            News::Appended(appended) => self.appended(index, appended),
            News::Answer(inputs) => {
                let driver = &mut self.drivers[index];
                for input in &inputs {
                    let (Input::EffectDone { op, .. } | Input::Observed { op, .. } | Input::Verified { op, .. }) =
                        *input
                    else {
                        continue;
                    };
                    driver.work.remove(&op);
                }
                driver.inbox.extend(inputs);
            }
            News::Look => self.listen(index),
        }
        self.pump(index);
    }

    /// Reads what operators have said since; ends when somebody else drives.
    fn listen(&mut self, index: usize) {
        if self.drivers[index].pending.is_some() {
            return;
        }
        self.read_on(index);
    }

    fn read_on(&mut self, index: usize) {
        let version = self.drivers[index].version;
        if self.store.entries[version..].iter().any(|entry| !matches!(entry, Entry::Command(_))) {
            return self.gone(index);
        }
        let said = self.store.commands_from(version).map(|command| Input::Operator { command }).collect::<Vec<_>>();
        self.drivers[index].version = self.store.entries.len();
        self.drivers[index].unheard.extend(said);
    }

    fn time_of(&self, index: usize) -> Timestamp {
        let base = 1_800_000_000_000_i64;
        Timestamp::from_millisecond(base + self.now + self.drivers[index].skew).unwrap()
    }

    /// One step of the engine; what it decided is stored before anything is done.
    fn decide(&mut self, index: usize, inputs: Vec<Input>, heard: usize) {
        let now = self.time_of(index);
        let driver = &mut self.drivers[index];
        let mut recorder = Recorder::default();
        let changed = step(&mut driver.state, now, &inputs, &mut recorder);
        self.tally.steps += 1;
        let answer = Answer::from(recorder);
        if !changed && heard == 0 {
            assert_eq!(answer, Answer::default(), "a step that changes nothing asks for nothing");
            return;
        }
        let effects = answer.effects.clone();
        let recorded = Recorded { now, inputs, answer };
        driver.pending = Some(Pending { recorded, effects, heard });
        self.send_append(index);
    }

    fn send_append(&mut self, index: usize) {
        let driver = &self.drivers[index];
        let entry = match &driver.pending {
            Some(pending) => Entry::Step(pending.recorded.clone(), pending.heard),
            None => Entry::Parked,
        };
        let event = Event::Append { driver: index, expected: driver.version, entry };
        let delay = self.delay();
        self.later(delay, event);
    }

    fn append(&mut self, index: usize, expected: usize, entry: &Entry) {
        if self.drivers[index].mode == Mode::Gone && self.draw.per_mille(500) {
            return;
        }
        let broken = self.draw.per_mille(self.knobs.lose);
        if broken && self.draw.per_mille(500) {
            return self.say(index, News::Appended(Appended::Broken));
        }
        let appended = self.store.append(self.drivers[index].epoch, expected, entry.clone());
        match (appended, entry) {
            (Appended::Done, Entry::Step(recorded, _)) => self.took_place(index, recorded),
            (Appended::Conflict, _) => self.tally.conflicts += 1,
            _ => {}
        }
        self.say(index, News::Appended(if broken { Appended::Broken } else { appended }));
    }

    pub(super) fn say(&mut self, index: usize, news: News) {
        let delay = self.delay();
        if self.draw.per_mille(self.knobs.repeat) && matches!(news, News::Answer(_)) {
            let again = self.draw.time(1, 100_000);
            self.later(again, Event::News(index, news.clone()));
        }
        self.later(delay, Event::News(index, news));
    }

    /// A step is in the history: from here on it counts, whatever becomes of its driver.
    fn took_place(&mut self, index: usize, recorded: &Recorded) {
        assert!(self.finished.is_none(), "terminal is terminal: {recorded:?}");
        assert_eq!(Some(index), self.store.holder, "a holder that was passed over wrote {recorded:?}");
        let heard = |input: &Input| match input {
            Input::Operator { command } => recorded.answer.notes.contains(&EngineNote::Commanded { command: *command }),
            _ => true,
        };
        for input in recorded.inputs.iter().filter(|input| heard(input)) {
            self.judge.told(input);
        }
        for effect in &recorded.answer.effects {
            if let Effect::RunTask { op, .. } = effect {
                self.task_epoch.insert(*op, self.drivers[index].epoch);
            }
            if let (Effect::Finish { outcome }, false) = (effect, self.honest) {
                self.judge.finished = Some(*outcome);
            }
        }
        if self.honest || self.judge.finished.is_none() {
            self.judge.asked(&recorded.answer.effects);
        }
        self.finished = self.judge.finished;
    }

    fn appended(&mut self, index: usize, appended: Appended) {
        match appended {
            Appended::Done => self.stored(index),
            Appended::Conflict => {
                self.read_on(index);
                if self.drivers[index].mode == Mode::Runs {
                    self.send_append(index);
                }
            }
            Appended::Fenced | Appended::Broken => self.gone(index),
        }
    }

    fn stored(&mut self, index: usize) {
        let driver = &mut self.drivers[index];
        driver.version += 1;
        let pending = driver.pending.take();
        if pending.is_none() && driver.parking {
            driver.parking = false;
            if driver.unheard.is_empty() {
                return self.parked(index);
            }
            return;
        }
        for effect in pending.map(|pending| pending.effects).unwrap_or_default() {
            self.perform(index, effect);
        }
        if self.drivers[index].state.outcome().is_some() {
            self.drivers[index].mode = Mode::Gone;
            self.release(index);
        }
    }

    fn release(&mut self, index: usize) {
        if self.store.holder == Some(index) {
            self.store.holder = None;
        }
    }

    fn parked(&mut self, index: usize) {
        self.drivers[index].mode = Mode::Gone;
        self.release(index);
        let soon = self.draw.time(10, 60_000);
        self.later(soon, Event::Command);
    }

    /// What the driver does when nothing is being stored.
    pub(super) fn pump(&mut self, index: usize) {
        loop {
            let now = self.time_of(index);
            let driver = &mut self.drivers[index];
            if driver.mode != Mode::Runs || driver.pending.is_some() || driver.parking {
                return;
            }
            if !driver.unheard.is_empty() {
                let inputs = std::mem::take(&mut driver.unheard);
                let heard = inputs.len();
                self.decide(index, inputs, heard);
                continue;
            }
            if !driver.inbox.is_empty() {
                let inputs = driver.inbox.drain(..).collect();
                self.decide(index, inputs, 0);
                continue;
            }
            if driver.state.outcome().is_some() {
                return;
            }
            let (wakes, waiting) = (driver.state.wakes_at(), driver.state.waiting());
            if wakes.is_some_and(|at| at <= now) || (driver.work.is_empty() && waiting.is_none()) {
                self.decide(index, vec![Input::Tick], 0);
                if self.drivers[index].pending.is_none() {
                    return self.look_in(index, 1_000);
                }
                continue;
            }
            if driver.work.is_empty() && waiting.is_some_and(|waiting| waiting.until.is_none()) {
                driver.parking = true;
                return self.send_append(index);
            }
            if let Some(at) = wakes {
                let by = at.as_millisecond() - now.as_millisecond();
                self.look_in(index, by.max(1));
            }
            return;
        }
    }

    fn look_in(&mut self, index: usize, by: i64) {
        let at = self.now + by;
        if self.drivers[index].alarm.is_none_or(|alarm| alarm <= self.now || alarm > at) {
            self.drivers[index].alarm = Some(at);
            self.later(by, Event::News(index, News::Look));
        }
    }

    /// Everything that is under way on the target, against every limit.
    pub(super) fn limits_hold(&self) {
        // What its driver knows to be in doubt is the operator's business, who may go on beside it.
        let counts = |op: &OpNo, driver: usize| {
            self.drivers[driver].mode == Mode::Gone || self.drivers[driver].work.contains(op)
        };
        let known = self.target.busy.iter().filter(|(op, busy)| counts(op, busy.driver));
        let busy: BTreeSet<_> = known.filter_map(|(_, busy)| unit_of(busy.effect)).collect();
        for limit in &self.judge.plan.limits {
            let down = limit.members.iter().filter(|unit| busy.contains(unit)).count();
            assert!(down <= limit.max_down as usize, "{busy:?} of {} really change at once", limit.name);
        }
        for exclusion in &self.judge.plan.exclusions {
            let active = exclusion.groups.iter().filter(|group| group.members.iter().any(|unit| busy.contains(&unit)));
            assert!(active.count() <= 1, "{busy:?} really change together");
        }
    }

    pub(super) fn admit(&mut self, index: usize, effect: Effect) -> (Admitted, u64) {
        let epoch = self.drivers[index].epoch;
        self.target.begin(index, epoch, effect)
    }

    /// From now on nothing new goes wrong. It has to come to an end.
    pub(crate) fn settles(&mut self) {
        self.knobs = Knobs::default();
        self.doomed.clear();
        while self.finished.is_none() {
            if !self.turn() {
                self.later(1, Event::TakeOver { steals: false });
                self.later(2, Event::Command);
            }
        }
        self.drains();
    }

    /// What is still on its way after the end changes nothing.
    fn drains(&mut self) {
        let (entries, effects) = (self.store.journal().count(), self.target.effects.clone());
        while self.turn() {}
        assert_eq!(entries, self.store.journal().count(), "something was stored after the end");
        if self.honest {
            let units = |effects: &BTreeMap<OpNo, u32>| effects.keys().copied().filter(|op| !self.is_task(*op)).count();
            assert_eq!(units(&effects), units(&self.target.effects), "something changed after the end");
        }
        self.tally.stale_appends = self.store.refused;
        self.tally.stale_requests = self.target.refused;
    }

    pub(super) fn is_task(&self, op: OpNo) -> bool {
        self.task_epoch.contains_key(&op)
    }

    pub(super) fn latest(&self) -> Option<&State> {
        self.drivers.last().map(|driver| &driver.state)
    }

    pub(super) fn answer(&mut self, index: usize, op: OpNo, result: OpResult) {
        if result == OpResult::Failed(Failure::InDoubt) {
            self.tally.doubts += 1;
        }
        self.say(index, News::Answer(vec![Input::EffectDone { op, result }]));
    }
}
