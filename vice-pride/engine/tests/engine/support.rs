//! A tiny driver for tests: it keeps the journal and answers effects as a test says. It shares no logic with the engine.

use jiff::{SignedDuration, Timestamp};
use vice_core::Millis;
use vice_core::manifest::{TaskPer, TaskRun, VerifyWhen};
use vice_core::payload::ReleaseRef;
use vice_core::payload::environment::{Direction, RolloutOutcome};
use vice_core::payload::rollout::OperatorCommand;
use vice_pride_engine::{
    Answer, CheckCounts, Course, Effect, Failure, FailurePolicy, Input, Limit, OpNo, OpResult, PLANNER_VERSION, Plan,
    Reason, Recorded, Recorder, Rollback, Seen, State, TaskDoes, TaskPlan, UnitAction, UnitNo, UnitPlan, UnitSet, Wave,
    step,
};

pub(crate) fn release(version: &str) -> ReleaseRef {
    ReleaseRef { version: version.to_owned(), artifact: None, source: String::new(), config: None, recipe: None }
}

/// Units 1..=n from version 1 to 2, one a wave, one at a time, verified after each wave.
pub(crate) fn rolling(units: u32) -> Plan {
    let place = |index: u32| unit(&(index + 1).to_string(), Some(release("1")), UnitAction::Place);
    Plan {
        planner: PLANNER_VERSION,
        direction: Direction::Deploy,
        from: Some(release("1")),
        to: release("2"),
        units: (0..units).map(place).collect(),
        waves: (0..units).map(|index| Wave::of(vec![UnitNo(index)])).collect(),
        limits: vec![limit("environment", 0..units, 1)],
        exclusions: Vec::new(),
        orders: Vec::new(),
        windows: Vec::new(),
        failures: FailurePolicy::default(),
        tasks: Vec::new(),
        analysis: None,
        frees_traffic: false,
        verify: VerifyWhen::EachWave,
        has_checks: true,
    }
}

/// All units in one wave, `max_down` at a time, without checks.
pub(crate) fn at_once(units: u32, max_down: u32) -> Plan {
    let mut plan = rolling(units);
    plan.waves = vec![Wave::of((0..units).map(UnitNo).collect())];
    plan.limits[0].max_down = max_down;
    plan.has_checks = false;
    plan
}

pub(crate) fn unit(name: &str, before: Option<ReleaseRef>, action: UnitAction) -> UnitPlan {
    UnitPlan { name: name.to_owned(), before, action, place: None, class: None }
}

pub(crate) fn limit(name: &str, members: impl IntoIterator<Item = u32>, max_down: u32) -> Limit {
    let members = UnitSet::from_units(members.into_iter().map(UnitNo));
    Limit { name: name.into(), members, max_down, down_before: 0 }
}

/// How long every wave is watched.
pub(crate) fn bake(plan: &mut Plan, time: Millis) {
    plan.waves.iter_mut().for_each(|wave| wave.bake = time);
}

pub(crate) fn task(name: &str, run: TaskRun, per: TaskPer, rollback: Rollback) -> TaskPlan {
    TaskPlan { name: name.into(), run, per, does: TaskDoes::Run, rollback, on_rollback: false }
}

pub(crate) const GOOD: CheckCounts = CheckCounts { passed: 3, failed: 0, errored: 0 };
pub(crate) const BAD: CheckCounts = CheckCounts { passed: 2, failed: 1, errored: 0 };

pub(crate) struct Run {
    pub(crate) state: State,
    pub(crate) now: Timestamp,
    pub(crate) journal: Vec<Recorded>,
    /// Effects that act and have not been answered, oldest first.
    pub(crate) open: Vec<Effect>,
    /// Every effect so far.
    pub(crate) all: Vec<Effect>,
    /// The reasons of the last step.
    pub(crate) held: Vec<Reason>,
}

impl Run {
    /// A rollout that has begun and is fenced.
    pub(crate) fn begun(plan: Plan) -> Self {
        let mut run = Self::new(plan);
        run.tell(Input::Begin { epoch: 1 });
        run.done();
        run
    }

    pub(crate) fn new(plan: Plan) -> Self {
        let state = State::new(Course::new(plan).unwrap());
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        Self { state, now, journal: Vec::new(), open: Vec::new(), all: Vec::new(), held: Vec::new() }
    }

    pub(crate) fn later(&mut self, seconds: i64) {
        self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    }

    pub(crate) fn tell(&mut self, input: Input) -> Vec<Effect> {
        self.tell_all(&[input])
    }

    pub(crate) fn tell_all(&mut self, inputs: &[Input]) -> Vec<Effect> {
        let before = self.state.clone();
        let mut recorder = Recorder::default();
        let changed = step(&mut self.state, self.now, inputs, &mut recorder);
        self.held.clone_from(&recorder.held);
        assert!(!recorder.held.is_empty(), "a step says why it stops");
        let answer = Answer::from(recorder);
        if changed {
            self.journal.push(Recorded { now: self.now, inputs: inputs.to_vec(), answer: answer.clone() });
        } else {
            assert_eq!(before, self.state, "a step that changes nothing leaves the state alone");
            assert_eq!(answer, Answer::default(), "and asks for nothing");
        }
        self.all.extend(&answer.effects);
        self.open.extend(answer.effects.iter().filter(|effect| effect.op().is_some()));
        // The engine gives up what only looks when it turns back or ends; nobody waits for the answer.
        let waits = |op: Option<OpNo>| self.state.in_flight().any(|(open, _)| Some(open) == op);
        let aside = |effect: &Effect| matches!(effect, Effect::Measure { .. } | Effect::Probe { .. });
        self.open.retain(|effect| !aside(effect) || waits(effect.op()));
        answer.effects
    }

    pub(crate) fn command(&mut self, command: OperatorCommand) -> Vec<Effect> {
        self.tell(Input::Operator { command })
    }

    pub(crate) fn take(&mut self) -> Effect {
        assert!(!self.open.is_empty(), "nothing is open; the engine says {:?}", self.held);
        self.open.remove(0)
    }

    /// The oldest open effect is carried out; checks pass.
    pub(crate) fn done(&mut self) -> Vec<Effect> {
        let effect = self.take();
        self.tell(good_answer(effect))
    }

    /// The oldest open effect fails; checks find a failure.
    pub(crate) fn fail(&mut self, failure: Failure) -> Vec<Effect> {
        let effect = self.take();
        self.tell(bad_answer(effect, failure))
    }

    /// Answers everything well and lets time pass until it ends or an operator is needed.
    pub(crate) fn run_on(&mut self) -> Option<RolloutOutcome> {
        for _ in 0..10_000 {
            if let Some(outcome) = self.state.outcome() {
                return Some(outcome);
            }
            if !self.open.is_empty() {
                self.done();
            } else {
                let until = self.state.waiting().and_then(|waiting| waiting.until)?;
                self.now = until;
                self.tell(Input::Tick);
            }
        }
        panic!("it does not come to an end: {:?}", self.held);
    }

    pub(crate) fn waits_for(&self) -> Option<Reason> {
        self.state.waiting().map(|waiting| waiting.reason)
    }

    /// The units that were asked for, in order.
    pub(crate) fn applied(&self) -> Vec<u32> {
        let unit = |effect: &Effect| match effect {
            Effect::Apply { unit, .. } => Some(unit.0),
            _ => None,
        };
        self.all.iter().filter_map(unit).collect()
    }

    pub(crate) fn undone(&self) -> Vec<u32> {
        let unit = |effect: &Effect| match effect {
            Effect::Undo { unit, .. } => Some(unit.0),
            _ => None,
        };
        self.all.iter().filter_map(unit).collect()
    }

    /// Task number, unit and whether its rollback command ran.
    pub(crate) fn tasks(&self) -> Vec<(u16, Option<u32>, bool)> {
        let task = |effect: &Effect| match effect {
            Effect::RunTask { task, unit, undo, .. } => Some((task.0, unit.map(|unit| unit.0), *undo)),
            _ => None,
        };
        self.all.iter().filter_map(task).collect()
    }
}

pub(crate) fn good_answer(effect: Effect) -> Input {
    match effect {
        Effect::Verify { op } => Input::Verified { op, passed: true, counts: GOOD },
        Effect::Observe { op } => Input::Observed { op, seen: Seen::Applied },
        other => Input::EffectDone { op: other.op().unwrap(), result: OpResult::Done },
    }
}

pub(crate) fn bad_answer(effect: Effect, failure: Failure) -> Input {
    match effect {
        Effect::Verify { op } => Input::Verified { op, passed: false, counts: BAD },
        Effect::Observe { op } => Input::Observed { op, seen: Seen::Unknown },
        other => Input::EffectDone { op: other.op().unwrap(), result: OpResult::Failed(failure) },
    }
}

pub(crate) fn done(op: u32) -> Input {
    Input::EffectDone { op: OpNo(op), result: OpResult::Done }
}
