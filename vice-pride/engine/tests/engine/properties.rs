//! Random plans in a random world: failures, operators, crashes, late and repeated messages, clocks that go back. The
//! judge below knows the rules and nothing of the engine.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{BAD, GOOD, Run, limit, release, unit};
use arbtest::arbitrary::{Result, Unstructured};
use jiff::SignedDuration;
use vice_core::Millis;
use vice_core::manifest::{TaskPer, TaskRun, VerifyWhen};
use vice_core::payload::environment::{Direction, RolloutOutcome};
use vice_core::payload::rollout::OperatorCommand;
use vice_pride_engine::judge::{Analysis, Arm, MetricKind, MetricPlan, Reading};
use vice_pride_engine::{
    CheckCounts, Course, Effect, Exclusion, Exposure, Failure, FailurePolicy, Group, Input, OpNo, OpResult,
    PLANNER_VERSION, Plan, Precedence, Rollback, Seen, State, TaskDoes, TaskNo, TaskPlan, UnitAction, UnitNo, UnitSet,
    Wave, Window, check_replay,
};

fn random_plan(u: &mut Unstructured<'_>) -> Result<Plan> {
    let count = u.int_in_range(1..=6_u32)?;
    let first = u.ratio(1, 5)?;
    let mut units = Vec::new();
    for index in 0..count {
        let before = (!first && u.ratio(4, 5)?).then(|| release("old"));
        let action = match u.int_in_range(0..=9)? {
            0 => UnitAction::Keep,
            1 if before.is_some() => UnitAction::Remove,
            _ => UnitAction::Place,
        };
        units.push(unit(&index.to_string(), before, action));
    }
    let mut waves: Vec<Wave> = Vec::new();
    for (index, unit) in units.iter().enumerate() {
        if unit.action == UnitAction::Keep {
            continue;
        }
        match waves.last_mut() {
            Some(wave) if u.ratio(1, 2)? => wave.units.push(UnitNo::from_index(index)),
            _ => waves.push(Wave::of(vec![UnitNo::from_index(index)])),
        }
    }
    let mut limits = vec![limit("all", 0..count, u.int_in_range(1..=3)?)];
    if u.ratio(1, 3)? {
        limits.push(limit("even", (0..count).filter(|unit| unit % 2 == 0), 1));
    }
    let mut tasks = Vec::new();
    for index in 0..u.int_in_range(0..=3)? {
        tasks.push(TaskPlan {
            name: format!("task-{index}"),
            run: *u.choose(&[TaskRun::Before, TaskRun::After])?,
            per: *u.choose(&[TaskPer::Rollout, TaskPer::Unit])?,
            does: TaskDoes::Run,
            rollback: *u.choose(&[Rollback::Safe, Rollback::Safe, Rollback::Command, Rollback::Forbid])?,
            on_rollback: u.ratio(1, 4)?,
        });
    }
    let bake = Millis(*u.choose(&[0, 5_000])?);
    waves.iter_mut().for_each(|wave| wave.bake = bake);
    let analysis = expose(u, first, &mut waves)?;
    let (exclusions, orders) = (exclusions(u, count)?, orders(u, count, &waves)?);
    let failures = FailurePolicy { retries: u.int_in_range(0..=1)?, tolerate: u.int_in_range(0..=1)? };
    Ok(Plan {
        planner: PLANNER_VERSION,
        direction: Direction::Deploy,
        from: (!first).then(|| release("old")),
        to: release("new"),
        units,
        waves,
        limits,
        exclusions,
        orders,
        windows: windows(u)?,
        failures: if u.ratio(1, 3)? { failures } else { FailurePolicy::default() },
        tasks,
        analysis,
        frees_traffic: count == 5,
        verify: *u.choose(&[VerifyWhen::EachWave, VerifyWhen::End, VerifyWhen::Never])?,
        has_checks: u.ratio(4, 5)?,
    })
}

/// Some of the waves move traffic, and are judged.
fn expose(u: &mut Unstructured<'_>, first: bool, waves: &mut [Wave]) -> Result<Option<Analysis>> {
    if first || u.ratio(1, 2)? {
        return Ok(None);
    }
    for wave in &mut *waves {
        wave.exposure = match u.int_in_range(0..=3)? {
            0 => Exposure::Share { basis_points: u.int_in_range(0..=10_000)? },
            1 => Exposure::Ramp,
            _ => Exposure::Units,
        };
        wave.judged = u.ratio(2, 3)?;
    }
    if u.ratio(1, 4)? {
        return Ok(None);
    }
    let metrics = vec![MetricPlan::new("errors", MetricKind::Errors), MetricPlan::new("health", MetricKind::Health)];
    let patience = u.ratio(1, 3)?.then_some(Millis(300_000));
    Ok(Some(Analysis { interval: Millis(10_000), lateness: Millis(1_000), patience, metrics, ..Analysis::default() }))
}

fn group(name: &str, units: impl IntoIterator<Item = u32>) -> Group {
    Group { name: name.to_owned(), members: UnitSet::from_units(units.into_iter().map(UnitNo)) }
}

fn exclusions(u: &mut Unstructured<'_>, count: u32) -> Result<Vec<Exclusion>> {
    if u.ratio(2, 3)? {
        return Ok(Vec::new());
    }
    let of = |part: u32| group(&part.to_string(), (0..count).filter(move |unit| unit % 3 == part));
    Ok(vec![Exclusion { name: "thirds".into(), groups: vec![of(0), of(1), of(2)] }])
}

/// An order that the waves do not contradict: some units of a wave before others of it.
fn orders(u: &mut Unstructured<'_>, count: u32, waves: &[Wave]) -> Result<Vec<Precedence>> {
    let Some(wave) = waves.iter().find(|wave| wave.units.len() > 1) else { return Ok(Vec::new()) };
    if count < 2 || u.ratio(2, 3)? {
        return Ok(Vec::new());
    }
    let cut = u.int_in_range(1..=wave.units.len() - 1)?;
    let (first, then) = wave.units.split_at(cut);
    // The later ones come first, so that the order is not simply that of the wave.
    let numbers = |units: &[UnitNo]| units.iter().map(|unit| unit.0).collect::<Vec<_>>();
    let (first, then) = (group("a", numbers(then)), group("b", numbers(first)));
    Ok(vec![Precedence { name: "a before b".into(), first, then }])
}

/// The clock of these tests begins at 08:00 UTC.
fn windows(u: &mut Unstructured<'_>) -> Result<Vec<Window>> {
    if u.ratio(4, 5)? {
        return Ok(Vec::new());
    }
    let members = u.ratio(1, 2)?.then(|| UnitSet::range(0, 1));
    let (from, until, zone) = ("09:00".to_owned(), "17:00".to_owned(), "UTC".to_owned());
    Ok(vec![Window { name: "office".into(), members, days: Vec::new(), from, until, zone }])
}

/// What is really there, and what has been promised so far.
struct Judge {
    plan: Plan,
    /// The version that each unit really runs.
    real: Vec<Option<String>>,
    /// Units with something under way, by operation.
    flying: BTreeMap<OpNo, UnitNo>,
    /// What each operation is.
    sent: BTreeMap<OpNo, Effect>,
    /// Operations that were really carried out.
    carried: BTreeSet<OpNo>,
    /// Units whose apply the engine knows to be done.
    known: BTreeSet<UnitNo>,
    /// Tasks that the engine knows to be done.
    tasks: BTreeSet<TaskNo>,
    /// How often the engine was told that a unit failed.
    failures: BTreeMap<UnitNo, u32>,
    /// Units whose undo the engine knows to be done.
    undone: BTreeSet<UnitNo>,
    /// The share of the traffic that the engine knows to be in force.
    share: Option<u32>,
    /// Whether it was asked, on the way back, to take traffic away.
    shielded: bool,
    forced: bool,
    verified: bool,
    finished: Option<RolloutOutcome>,
}

impl Judge {
    fn new(plan: &Plan) -> Self {
        let real = plan.units.iter().map(|unit| unit.before.as_ref().map(|before| before.version.clone())).collect();
        Self {
            plan: plan.clone(),
            real,
            flying: BTreeMap::new(),
            sent: BTreeMap::new(),
            carried: BTreeSet::new(),
            known: BTreeSet::new(),
            tasks: BTreeSet::new(),
            failures: BTreeMap::new(),
            undone: BTreeSet::new(),
            share: None,
            shielded: false,
            forced: false,
            verified: false,
            finished: None,
        }
    }

    fn asked(&mut self, effects: &[Effect]) {
        for effect in effects {
            assert!(self.finished.is_none(), "{effect:?} came after the end");
            if let Some(op) = effect.op().filter(|_| !matches!(effect, Effect::Observe { .. })) {
                self.sent.insert(op, *effect);
            }
            match *effect {
                Effect::Apply { op, unit, .. } => self.apply_asked(op, unit),
                Effect::Undo { op, unit, .. } => self.undo_asked(op, unit),
                Effect::RunTask { op, unit: Some(unit), .. } => self.flies(op, unit),
                Effect::SetWeights { share: Some(0), .. } => self.shielded = true,
                Effect::Finish { outcome } => self.ended(outcome),
                _ => {}
            }
        }
    }

    fn flies(&mut self, op: OpNo, unit: UnitNo) {
        self.flying.insert(op, unit);
        let changing: BTreeSet<UnitNo> = self.flying.values().copied().collect();
        for limit in &self.plan.limits {
            let down = limit.members.iter().filter(|member| changing.contains(member)).count();
            assert!(down <= limit.max_down as usize, "{down} units of {} change at once: {changing:?}", limit.name);
        }
        for exclusion in &self.plan.exclusions {
            let active = |group: &&Group| group.members.iter().any(|member| changing.contains(&member));
            assert!(exclusion.groups.iter().filter(active).count() <= 1, "{changing:?} change together");
        }
    }

    fn apply_asked(&mut self, op: OpNo, unit: UnitNo) {
        self.flies(op, unit);
        assert!(!self.known.contains(&unit), "{unit} is applied twice");
        let wave =
            self.plan.waves.iter().position(|wave| wave.units.contains(&unit)).expect("only units of waves change");
        for earlier in self.plan.waves[..wave].iter().flat_map(|wave| &wave.units) {
            let borne =
                self.plan.failures.tolerate > 0 && self.failures.get(earlier) > Some(&self.plan.failures.retries);
            assert!(borne || self.known.contains(earlier), "{unit} of wave {wave} begins before {earlier} is done");
        }
        for order in self.plan.orders.iter().filter(|order| order.then.members.contains(unit)) {
            let mut changing = order.first.members.iter();
            assert!(changing.all(|first| self.known.contains(&first)), "{unit} begins before {}", order.first.name);
        }
        let moves = self.plan.waves[wave].exposure != Exposure::Units;
        // A unit that was given up is tried again after the last wave, under what that one exposes.
        let again = self.failures.contains_key(&unit);
        assert!(again || moves == self.share.is_some(), "{unit} of wave {wave} would get traffic that is not its own");
        let each = self.plan.has_checks && self.plan.verify == VerifyWhen::EachWave;
        let begun = self.plan.waves[wave].units.iter().any(|other| self.known.contains(other));
        if wave > 0 && each && !begun && self.plan.tasks.is_empty() && self.plan.waves[wave].units.len() == 1 {
            assert!(self.verified, "wave {wave} begins although the one before is not verified");
        }
    }

    fn undo_asked(&mut self, op: OpNo, unit: UnitNo) {
        self.flies(op, unit);
        let crossed = self.tasks.iter().find(|task| self.plan.tasks[task.index()].rollback == Rollback::Forbid);
        assert!(self.forced || crossed.is_none(), "{unit} goes back across {crossed:?}");
        let moves = self.plan.waves.iter().any(|wave| wave.exposure != Exposure::Units);
        let first = self.plan.units.iter().all(|unit| unit.before.is_none());
        assert!(!moves || first || self.shielded, "{unit} goes back while it has traffic");
        for order in self.plan.orders.iter().filter(|order| order.first.members.contains(unit)) {
            let open = |later: UnitNo| self.known.contains(&later) && !self.undone.contains(&later);
            assert!(!order.then.members.iter().any(open), "{unit} goes back before {}", order.then.name);
        }
    }

    /// The world carries an operation out.
    fn carry(&mut self, op: OpNo) {
        self.carried.insert(op);
        match self.sent[&op] {
            Effect::Apply { unit, .. } => {
                let to = (self.plan.units[unit.index()].action == UnitAction::Place).then(|| "new".to_owned());
                self.real[unit.index()] = to;
            }
            Effect::Undo { unit, .. } => {
                let before = self.plan.units[unit.index()].before.as_ref();
                self.real[unit.index()] = before.map(|before| before.version.clone());
            }
            _ => {}
        }
    }

    /// The engine is told that an operation was carried out.
    fn told_done(&mut self, op: OpNo) {
        self.flying.remove(&op);
        match self.sent[&op] {
            Effect::Apply { unit, .. } => {
                self.known.insert(unit);
                self.verified = false;
            }
            Effect::Undo { unit, .. } => {
                self.undone.insert(unit);
            }
            Effect::SetWeights { share, .. } => self.share = share,
            Effect::RunTask { task, direction, .. } => {
                if direction == Direction::Deploy {
                    self.tasks.insert(task);
                }
                self.verified = false;
            }
            _ => {}
        }
    }

    fn ended(&mut self, outcome: RolloutOutcome) {
        self.finished = Some(outcome);
        let checks = self.plan.has_checks && self.plan.verify != VerifyWhen::Never;
        for (unit, real) in self.plan.units.iter().zip(&self.real) {
            let before = unit.before.as_ref().map(|before| before.version.clone());
            let wanted = match (outcome, unit.action) {
                (RolloutOutcome::Succeeded, UnitAction::Place) => Some("new".to_owned()),
                (RolloutOutcome::Succeeded, UnitAction::Remove) => None,
                (RolloutOutcome::NotRestored | RolloutOutcome::Aborted, _) => continue,
                _ => before,
            };
            assert_eq!(*real, wanted, "the unit {} after {outcome:?}", unit.name);
        }
        if matches!(outcome, RolloutOutcome::Succeeded | RolloutOutcome::RolledBack) {
            assert_eq!(self.share, None, "traffic follows the units in the end");
        }
        if outcome == RolloutOutcome::Succeeded && checks && !self.plan.is_noop() {
            assert!(self.verified, "it succeeded without being verified");
        }
    }
}

struct World<'a, 'b> {
    u: &'a mut Unstructured<'b>,
    run: Run,
    judge: Judge,
    epoch: u64,
    answers: Vec<Input>,
}

impl World<'_, '_> {
    fn tell(&mut self, inputs: &[Input]) {
        self.answers.extend(inputs.iter().filter(|input| !matches!(input, Input::Tick)));
        let effects = self.run.tell_all(inputs);
        self.judge.asked(&effects);
        self.parked_or_busy();
    }

    /// Every run is over, has something under way, or waits and says for what.
    fn parked_or_busy(&self) {
        let state = &self.run.state;
        let flying = state.in_flight().count();
        assert_eq!(flying, self.run.open.len(), "the engine and the driver agree on what is under way");
        let free = state.outcome().is_none() && flying == 0 && state.epoch() > 0;
        assert_eq!(free, state.waiting().is_some() && state.outcome().is_none(), "{:?}", self.run.held);
    }

    fn chaos(&mut self) -> Result<()> {
        match self.u.int_in_range(0..=19)? {
            0..=9 => self.answer_one()?,
            10 => {
                let seconds = self.u.int_in_range(0..=4)?;
                self.tick(SignedDuration::from_secs(seconds));
            }
            11 => self.tick(SignedDuration::from_secs(-100)),
            12 | 13 => self.repeat()?,
            14 => self.tell(&[Input::EffectDone { op: OpNo(9_999), result: OpResult::Done }]),
            15 | 16 => self.crash()?,
            17 => {
                let command = self.random_command()?;
                self.operator(command)?;
            }
            _ => self.pass_time(),
        }
        Ok(())
    }

    fn tick(&mut self, by: SignedDuration) {
        let before = self.run.now;
        self.run.now = before.checked_add(by).unwrap();
        self.tell(&[Input::Tick]);
        let steps = self.run.journal.len();
        self.tell(&[Input::Tick]);
        assert_eq!(steps, self.run.journal.len(), "a second tick at the same time changes nothing");
        self.run.now = self.run.now.max(before);
    }

    fn pass_time(&mut self) {
        if let Some(until) = self.run.state.waiting().and_then(|waiting| waiting.until) {
            self.run.now = until;
        }
        self.tell(&[Input::Tick]);
    }

    /// An answer that was given before comes again, and changes nothing.
    fn repeat(&mut self) -> Result<()> {
        if self.answers.is_empty() {
            return Ok(());
        }
        let input = *self.u.choose(&self.answers)?;
        // A command may be said again and mean it; an operation that is being asked about again may be answered again.
        let asked = |op: OpNo| self.run.open.contains(&Effect::Observe { op });
        if matches!(input, Input::Operator { .. }) || matches!(input, Input::Observed { op, .. } if asked(op)) {
            return Ok(());
        }
        let steps = self.run.journal.len();
        self.tell(&[input]);
        assert_eq!(steps, self.run.journal.len(), "{input:?} was heard twice");
        Ok(())
    }

    fn random_command(&mut self) -> Result<OperatorCommand> {
        use OperatorCommand::{Abandon, Abort, ForceRollback, Pause, Promote, Resume};
        Ok(*self.u.choose(&[Pause, Resume, Resume, Resume, Abort, ForceRollback, Abandon, Promote, Promote])?)
    }

    fn operator(&mut self, command: OperatorCommand) -> Result<()> {
        self.judge.forced |= command == ForceRollback;
        self.tell(&[Input::Operator { command }]);
        let steps = self.run.journal.len();
        use OperatorCommand::{Abort, ForceRollback, Promote, Resume};
        if !matches!(command, Resume | Abort | ForceRollback | Promote) {
            self.tell(&[Input::Operator { command }]);
            assert_eq!(steps, self.run.journal.len(), "{command:?} twice is {command:?} once");
        }
        Ok(())
    }

    /// The driver dies: some of what it had asked for happens all the same, and no answer arrives.
    fn crash(&mut self) -> Result<()> {
        for effect in std::mem::take(&mut self.run.open) {
            if self.u.ratio(1, 2)? && !matches!(effect, Effect::Observe { .. }) {
                self.judge.carry(effect.op().unwrap());
            }
        }
        if self.run.state.outcome().is_none() {
            // What the new driver knows is the journal, and nothing else.
            let course = self.run.state.course().clone();
            self.run.state = check_replay(&course, &self.run.journal).expect("the journal replays");
        }
        self.epoch += 1;
        self.tell(&[Input::Resumed { epoch: self.epoch }]);
        Ok(())
    }

    fn answer_one(&mut self) -> Result<()> {
        if self.run.open.is_empty() {
            return Ok(());
        }
        let index = self.u.choose_index(self.run.open.len())?;
        let effect = self.run.open.remove(index);
        let op = effect.op().unwrap();
        match effect {
            Effect::Verify { .. } => {
                let good = self.u.ratio(4, 5)?;
                let bad = *self.u.choose(&[BAD, CheckCounts { passed: 0, failed: 0, errored: 2 }])?;
                self.verified(op, if good { GOOD } else { bad });
            }
            Effect::Observe { .. } if self.u.ratio(1, 6)? => {
                self.judge.flying.remove(&op);
                self.tell(&[Input::Observed { op, seen: Seen::Unknown }]);
            }
            Effect::Observe { .. } => self.observed(op),
            Effect::Measure { .. } => match self.u.int_in_range(0..=9)? {
                0 => self.tell(&[Input::EffectDone { op, result: OpResult::Failed(Failure::Unreachable) }]),
                1 => self.tell(&[Input::EffectDone { op, result: OpResult::Done }]),
                2 => self.measured(op, 100),
                _ => self.measured(op, 1),
            },
            _ => match self.u.int_in_range(0..=11)? {
                0 | 1 => self.failed(op)?,
                2 if !matches!(effect, Effect::Fence { .. }) => self.unsure(op)?,
                _ => self.done(op),
            },
        }
        Ok(())
    }

    fn verified(&mut self, op: OpNo, counts: CheckCounts) {
        self.judge.verified = counts == GOOD;
        self.tell(&[Input::Verified { op, passed: counts == GOOD, counts }]);
    }

    fn observed(&mut self, op: OpNo) {
        let seen = if self.judge.carried.contains(&op) { Seen::Applied } else { Seen::NotApplied };
        if seen == Seen::Applied {
            self.judge.told_done(op);
        } else {
            self.judge.flying.remove(&op);
        }
        self.tell(&[Input::Observed { op, seen }]);
    }

    /// Every metric speaks, and the window is closed.
    fn measured(&mut self, op: OpNo, bad: u32) {
        let (canary, baseline) = (Arm::errors(1_000, bad), Arm::errors(10_000, 10));
        let reading = Reading::Counts { stratum: 0, canary, baseline };
        let metric = |metric| Input::Measured { op, metric, reading };
        self.tell(&[metric(0), metric(1), Input::EffectDone { op, result: OpResult::Done }]);
    }

    fn done(&mut self, op: OpNo) {
        self.judge.carry(op);
        self.judge.told_done(op);
        self.tell(&[Input::EffectDone { op, result: OpResult::Done }]);
    }

    fn failed(&mut self, op: OpNo) -> Result<()> {
        let failure = *self.u.choose(&[Failure::Unhealthy, Failure::Unreachable, Failure::Task, Failure::TimedOut])?;
        if let Some(unit) = self.judge.flying.remove(&op) {
            *self.judge.failures.entry(unit).or_default() += 1;
        }
        self.tell(&[Input::EffectDone { op, result: OpResult::Failed(failure) }]);
        Ok(())
    }

    fn unsure(&mut self, op: OpNo) -> Result<()> {
        if self.u.ratio(1, 2)? {
            self.judge.carry(op);
        }
        self.judge.flying.remove(&op);
        self.tell(&[Input::EffectDone { op, result: OpResult::Failed(Failure::InDoubt) }]);
        Ok(())
    }

    /// From now on everything goes well; it has to come to an end, at the latest when it is abandoned.
    fn settle(&mut self) -> Result<()> {
        for round in 0..400 {
            if self.judge.finished.is_some() {
                return Ok(());
            }
            if let Some(effect) = self.run.open.first().copied() {
                self.run.open.remove(0);
                let op = effect.op().unwrap();
                match effect {
                    Effect::Verify { .. } => self.verified(op, GOOD),
                    Effect::Observe { .. } => self.observed(op),
                    Effect::Measure { .. } => self.measured(op, 1),
                    _ => self.done(op),
                }
            } else if self.run.state.waiting().is_some_and(|waiting| waiting.until.is_some()) {
                self.pass_time();
            } else if round < 300 {
                use OperatorCommand::{Abort, ForceRollback, Promote, Resume};
                let commands = [Resume, Abort, ForceRollback, Promote];
                let command = if self.u.is_empty() { Resume } else { *self.u.choose(&commands)? };
                self.operator(command)?;
            } else {
                self.operator(OperatorCommand::Abandon)?;
            }
        }
        panic!("it does not come to an end: {:?} {:?}", self.run.held, self.run.state);
    }

    /// Nothing changes after the end.
    fn after_the_end(&mut self) -> Result<()> {
        let steps = self.run.journal.len();
        for input in self.answers.clone() {
            self.run.tell(input);
        }
        for op in 0..self.judge.sent.len() {
            self.run.tell(crate::support::done(u32::try_from(op).unwrap()));
        }
        self.run.tell(Input::Resumed { epoch: self.epoch + 5 });
        self.run.tell(Input::Begin { epoch: self.epoch + 6 });
        assert_eq!(steps, self.run.journal.len(), "terminal is terminal");
        Ok(())
    }
}

fn one_life(u: &mut Unstructured<'_>) -> Result<Run> {
    let plan = random_plan(u)?;
    let judge = Judge::new(&plan);
    let mut world = World { u, run: Run::new(plan), judge, epoch: 1, answers: Vec::new() };
    world.tell(&[Input::Begin { epoch: 1 }]);
    for _ in 0..world.u.int_in_range(0..=60)? {
        if world.judge.finished.is_some() || world.u.is_empty() {
            break;
        }
        world.chaos()?;
    }
    world.settle()?;
    world.after_the_end()?;
    let ended = matches!(world.judge.finished, Some(RolloutOutcome::Succeeded | RolloutOutcome::RolledBack));
    if ended && !world.judge.plan.is_noop() {
        assert!(!world.run.state.is_split(), "nobody doubts that traffic follows the units");
    }
    Ok(world.run)
}

#[test]
fn the_rules_hold_in_a_random_world() {
    arbtest::arbtest(|u| {
        one_life(u)?;
        Ok(())
    })
    .size_min(200)
    .size_max(4_000)
    .budget_ms(5_000);
}

#[test]
fn journals_replay_and_states_survive_storage() {
    arbtest::arbtest(|u| {
        let run = one_life(u)?;
        let text = serde_json::to_string(&run.journal).unwrap();
        let stored: Vec<vice_pride_engine::Recorded> = serde_json::from_str(&text).unwrap();
        let course = Course::new(run.state.course().plan().clone()).unwrap();
        let replayed = check_replay(&course, &stored).expect("the journal replays");
        assert_eq!(replayed, run.state);
        let state: State = serde_json::from_str(&serde_json::to_string(&replayed).unwrap()).unwrap();
        assert_eq!(state, run.state);
        Ok(())
    })
    .size_min(200)
    .size_max(4_000)
    .budget_ms(2_000);
}

/// Bytes that are the same everywhere, from Knuth's MMIX generator.
fn bytes(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..2_000).map(|_| next()).collect()
}

/// The random world is no proof unless it gets everywhere: every outcome, every reason to wait (but `paused_though_bad`,
/// which takes a pause and then many bad windows, and has its tests in `parked`).
#[test]
fn the_random_world_reaches_every_outcome_and_every_wait() {
    let (mut outcomes, mut waits) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..3_000 {
        let Ok(run) = one_life(&mut Unstructured::new(&bytes(seed))) else { continue };
        outcomes.insert(format!("{:?}", run.state.outcome()));
        let reason = |effect: &Effect| match effect {
            Effect::Wait { reason, .. } => serde_json::to_value(reason).unwrap()["reason"].as_str().map(str::to_owned),
            _ => None,
        };
        waits.extend(run.all.iter().filter_map(reason));
    }
    assert_eq!(outcomes.len(), 5, "{outcomes:?}");
    let all = "at_limit baking excluded fence_failed given_up in_doubt judging no_proof outside_window paused retrying \
               rollback_forbidden waits_for_order watching";
    assert_eq!(waits.iter().map(String::as_str).collect::<Vec<_>>().join(" "), all);
}
