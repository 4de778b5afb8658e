//! Random plans in a random world: failures, operators, crashes, late and repeated messages, clocks that go back. The
//! judge knows the rules and nothing of the engine.

use std::collections::BTreeSet;

use crate::judge::Judge;
use crate::plans::{bytes, random_plan};
use crate::support::{BAD, GOOD, Run};
use arbtest::arbitrary::{Result, Unstructured};
use jiff::SignedDuration;
use vice_core::payload::environment::RolloutOutcome;
use vice_core::payload::rollout::OperatorCommand;
use vice_pride_engine::judge::{Arm, Reading};
use vice_pride_engine::{CheckCounts, Course, Effect, Failure, Input, OpNo, OpResult, Seen, State, check_replay};

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
    // Limits, exclusions and orders hold nothing up for good but where units were given up, and then that is said.
    let all = "baking fence_failed given_up in_doubt judging no_proof outside_window paused retrying \
               rollback_forbidden watching";
    assert_eq!(waits.iter().map(String::as_str).collect::<Vec<_>>().join(" "), all);
}
