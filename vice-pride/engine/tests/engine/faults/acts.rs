//! What happens between a driver and the world: requests, answers that are lost, tasks, operators.

use vice_core::payload::rollout::{Finding, OperatorCommand};
use vice_pride_engine::judge::{Arm, Reading};
use vice_pride_engine::{CheckCounts, Effect, Failure, Input, OpNo, OpResult, Seen, Work};

use super::driver::{Mode, News};
use super::store::Entry;
use super::target::Admitted;
use super::world::{Event, World};
use crate::support::{BAD, GOOD};

/// After so many answers without an end, an operator leaves the rollout as it is.
const PATIENCE: u32 = 40;

impl World {
    /// A driver carries out an effect that is in the history.
    pub(super) fn perform(&mut self, index: usize, effect: Effect) {
        let Some(op) = effect.op() else { return };
        self.drivers[index].work.insert(op);
        let soon = self.draw.time(5, 3_000);
        match effect {
            Effect::Verify { .. } => {
                let bad = self.draw.per_mille(self.knobs.fail);
                let counts = match (bad, self.draw.per_mille(500)) {
                    (false, _) => GOOD,
                    (true, true) => BAD,
                    (true, false) => CheckCounts { passed: 0, failed: 0, errored: 2 },
                };
                let answer = Input::Verified { op, passed: counts == GOOD, counts };
                self.later(soon, Event::News(index, News::Answer(vec![answer])));
            }
            Effect::Measure { .. } => {
                let answer = self.measured(op);
                self.later(soon, Event::News(index, News::Answer(answer)));
            }
            Effect::Probe { .. } => self.answer(index, op, OpResult::Done),
            Effect::RunTask { .. } => {
                let delay = self.delay();
                self.later(delay, Event::TaskBegins { driver: index, op });
            }
            Effect::Observe { op } if matches!(self.drivers[index].state.work(op), Some(Work::Task { .. })) => {
                let seen = self.task_seen(index, op);
                self.say(index, News::Answer(vec![Input::Observed { op, seen }]));
            }
            _ => self.send(index, effect),
        }
    }

    fn measured(&mut self, op: OpNo) -> Vec<Input> {
        let failed = Input::EffectDone { op, result: OpResult::Failed(Failure::Unreachable) };
        if self.draw.per_mille(self.knobs.fail) {
            return vec![failed];
        }
        let bad = if self.draw.per_mille(self.knobs.fail) { 100 } else { 1 };
        let reading =
            Reading::Counts { stratum: 0, canary: Arm::errors(1_000, bad), baseline: Arm::errors(10_000, 10) };
        let metric = |metric| Input::Measured { op, metric, reading };
        vec![metric(0), metric(1), Input::EffectDone { op, result: OpResult::Done }]
    }

    /// A request to the target. One that is lost is noticed by its silence.
    fn send(&mut self, driver: usize, effect: Effect) {
        let delay = self.delay();
        if !self.draw.per_mille(self.knobs.lose) {
            return self.later(delay, Event::Request { driver, effect, replies: true });
        }
        let silence = self.draw.time(5_000, 20_000);
        if self.draw.per_mille(500) {
            self.later(self.draw_short(), Event::Request { driver, effect, replies: false });
        }
        self.later(silence, Event::TimedOut { driver, effect });
    }

    fn draw_short(&self) -> i64 {
        // Before the silence is noticed: what a connection still carries ends with the connection.
        1_000
    }

    pub(super) fn request(&mut self, index: usize, effect: Effect, replies: bool) {
        match effect {
            Effect::Fence { op, epoch } => self.fence(index, op, epoch, replies),
            Effect::Observe { op } => self.observe(index, op, replies),
            Effect::Apply { op, .. } | Effect::Undo { op, .. } => match self.admit_unit(index, effect) {
                (Admitted::Refused, _) => self.reply(index, op, OpResult::Failed(Failure::Refused), replies),
                (Admitted::Before, _) => self.reply(index, op, OpResult::Done, replies),
                (Admitted::Doubled, _) => {}
                (Admitted::Begins, token) => {
                    self.limits_hold();
                    let takes = self.draw.time(50, 8_000);
                    self.later(takes, Event::Ends { op, token });
                }
            },
            Effect::SetWeights { op, .. } => {
                let result = if self.target.admits(self.drivers[index].epoch) {
                    OpResult::Done
                } else {
                    OpResult::Failed(Failure::Refused)
                };
                self.reply(index, op, result, replies);
            }
            _ => unreachable!("{effect:?} is no request"),
        }
    }

    /// The target does one thing at a time with a unit: who comes later waits for who was there. Whoever was passed over
    /// is turned away at the door, before anything is waited for or shut out on its behalf.
    fn admit_unit(&mut self, index: usize, effect: Effect) -> (Admitted, u64) {
        if !self.target.fenceless && self.drivers[index].epoch < self.target.epoch {
            return self.admit(index, effect);
        }
        let unit = super::target::unit_of(effect);
        let before = self
            .target
            .busy
            .iter()
            .find(|(op, busy)| Some(**op) != effect.op() && super::target::unit_of(busy.effect) == unit);
        if let Some((op, _)) = before.map(|(op, busy)| (*op, busy.token)) {
            self.finish_now(op);
        }
        self.admit(index, effect)
    }

    fn reply(&mut self, index: usize, op: OpNo, result: OpResult, replies: bool) {
        if replies {
            self.answer(index, op, result);
        }
    }

    fn fence(&mut self, index: usize, op: OpNo, epoch: u64, replies: bool) {
        if !self.target.admits(epoch) {
            return self.reply(index, op, OpResult::Failed(Failure::Refused), replies);
        }
        let below = self.target.busy.iter().filter(|(_, busy)| busy.epoch < epoch).map(|(op, _)| *op);
        if !self.target.fenceless {
            for orphan in below.collect::<Vec<_>>() {
                self.finish_now(orphan);
            }
        }
        self.reply(index, op, OpResult::Done, replies);
    }

    fn observe(&mut self, index: usize, op: OpNo, replies: bool) {
        if !self.target.fenceless && self.target.busy.get(&op).is_some_and(|busy| busy.epoch <= self.target.epoch) {
            self.finish_now(op);
        }
        let truth = if self.target.marks.contains(&op) {
            Seen::Applied
        } else if self.target.vague.contains(&op) {
            Seen::Unknown
        } else {
            Seen::NotApplied
        };
        let lies = self.draw.per_mille(self.knobs.lie);
        let seen = if lies { *self.draw.of(&[Seen::Applied, Seen::NotApplied, Seen::Unknown]) } else { truth };
        if replies {
            self.say(index, News::Answer(vec![Input::Observed { op, seen }]));
        }
    }

    /// What is under way is waited for, or shut out.
    fn finish_now(&mut self, op: OpNo) {
        let Some(busy) = self.target.busy.remove(&op) else { return };
        if self.draw.per_mille(500) {
            self.carried_out(op);
            self.answer(busy.driver, op, OpResult::Done);
        }
    }

    fn carried_out(&mut self, op: OpNo) {
        self.target.effect(op);
        self.target.marks.insert(op);
        self.judge.carry(op);
    }

    pub(super) fn ends(&mut self, op: OpNo, token: u64) {
        let Some(busy) = self.target.end(op, token) else { return };
        if self.draw.per_mille(self.knobs.vague) {
            // The host falls over in the middle of it.
            self.target.vague.insert(op);
            if self.draw.per_mille(500) {
                self.target.effect(op);
                self.judge.carry(op);
            }
            return self.later(5_000, Event::TimedOut { driver: busy.driver, effect: busy.effect });
        }
        if self.draw.per_mille(self.knobs.fail) {
            let failure = *self.draw.of(&[Failure::Unhealthy, Failure::Other, Failure::TimedOut]);
            return self.answer(busy.driver, op, OpResult::Failed(failure));
        }
        if self.draw.per_mille(self.knobs.lie) {
            return self.answer(busy.driver, op, OpResult::Done);
        }
        self.carried_out(op);
        let lies = self.draw.per_mille(self.knobs.lie);
        let result = if lies { OpResult::Failed(Failure::Other) } else { OpResult::Done };
        if self.draw.per_mille(self.knobs.lose) {
            return self.later(8_000, Event::TimedOut { driver: busy.driver, effect: busy.effect });
        }
        self.answer(busy.driver, op, result);
    }

    /// No answer came: what changes units is settled by fencing and asking, the rest failed.
    pub(super) fn timed_out(&mut self, index: usize, effect: Effect) {
        match self.drivers[index].mode {
            Mode::Gone => return,
            Mode::Stopped => return self.later(1_000, Event::TimedOut { driver: index, effect }),
            Mode::Runs => {}
        }
        let Some(op) = effect.op() else { return };
        match effect {
            Effect::Apply { .. } | Effect::Undo { .. } if self.draw.per_mille(self.knobs.lose) => {
                self.answer(index, op, OpResult::Failed(Failure::InDoubt));
            }
            Effect::Apply { .. } | Effect::Undo { .. } => {
                let delay = self.delay();
                self.later(delay, Event::Settle { driver: index, effect });
            }
            Effect::Observe { op } => {
                self.say(index, News::Answer(vec![Input::Observed { op, seen: Seen::Unknown }]));
            }
            _ => self.answer(index, op, OpResult::Failed(Failure::Unreachable)),
        }
    }

    /// A driver whose request was not answered raises its fence once more, and asks.
    pub(super) fn settle(&mut self, index: usize, effect: Effect) {
        let op = effect.op().unwrap();
        self.tally.settled += 1;
        if !self.target.admits(self.drivers[index].epoch) {
            return self.answer(index, op, OpResult::Failed(Failure::InDoubt));
        }
        self.finish_now(op);
        let result = if self.target.marks.contains(&op) {
            OpResult::Done
        } else if self.target.vague.contains(&op) {
            OpResult::Failed(Failure::InDoubt)
        } else {
            OpResult::Failed(Failure::TimedOut)
        };
        self.answer(index, op, result);
    }

    // --- tasks ---------------------------------------------------------------------------------------------------

    /// Only markers of this machine can be read, so that they say nothing of a task that another machine was to run.
    fn task_seen(&self, index: usize, op: OpNo) -> Seen {
        let machine = self.drivers[index].machine;
        let asked = self.task_epoch.get(&op).copied().unwrap_or(0);
        if !self.drove.contains(&(machine, asked)) {
            return Seen::Unknown;
        }
        match (self.begun.contains(&(machine, op)), self.done.contains(&(machine, op))) {
            (_, true) => Seen::Applied,
            (true, false) => Seen::Unknown,
            (false, false) => Seen::NotApplied,
        }
    }

    pub(super) fn task_begins(&mut self, index: usize, op: OpNo) {
        match self.drivers[index].mode {
            Mode::Gone => return,
            Mode::Stopped => return self.later(1_000, Event::TaskBegins { driver: index, op }),
            Mode::Runs => {}
        }
        if self.drivers[index].epoch != self.store.epoch {
            return self.answer(index, op, OpResult::Failed(Failure::Refused));
        }
        // Whoever makes the marker runs it.
        if !self.begun.insert((self.drivers[index].machine, op)) {
            return self.answer(index, op, OpResult::Failed(Failure::InDoubt));
        }
        self.running_tasks.insert(op, index);
        let takes = self.draw.time(50, 5_000);
        self.later(takes, Event::TaskEnds { driver: index, op });
    }

    pub(super) fn task_ends(&mut self, index: usize, op: OpNo) {
        if self.running_tasks.remove(&op).is_none() {
            return;
        }
        let machine = self.drivers[index].machine;
        // What its driver's death did to it is nobody's choice.
        if self.drivers[index].mode == Mode::Gone {
            if self.draw.per_mille(500) {
                self.target.effect(op);
            }
            return;
        }
        if self.drivers[index].mode == Mode::Runs && self.draw.per_mille(self.knobs.fail) {
            self.begun.remove(&(machine, op));
            return self.answer(index, op, OpResult::Failed(Failure::Task));
        }
        self.target.effect(op);
        // The driver writes the marker, once it runs.
        if self.drivers[index].mode == Mode::Runs {
            self.done.insert((machine, op));
        }
        self.answer(index, op, OpResult::Done);
    }

    // --- operators -----------------------------------------------------------------------------------------------

    pub(super) fn command(&mut self) {
        if self.finished.is_some() {
            return;
        }
        self.asked_operators += 1;
        let command = self.word();
        self.store.entries.push(Entry::Command(command));
        match self.store.holder {
            Some(holder) => self.later(200, Event::News(holder, News::Look)),
            None => self.later(10, Event::TakeOver { steals: false }),
        }
    }

    fn word(&mut self) -> OperatorCommand {
        use OperatorCommand::{Abandon, Abort, ForceRollback, Pause, Promote, Resume};
        let doubts: Vec<OpNo> =
            self.latest().map(|state| state.doubts().map(|(op, _)| op).collect()).unwrap_or_default();
        // Whoever is asked looks, and waits for what still runs.
        for op in &doubts {
            self.finish_now(*op);
            if let Some(driver) = self.running_tasks.get(op).copied() {
                self.task_ends(driver, *op);
            }
        }
        if let Some(op) = doubts.first().filter(|_| self.draw.per_mille(600)) {
            let found = if self.target.did(*op) { Finding::Applied } else { Finding::NotApplied };
            return OperatorCommand::Resolve { op: op.0, found };
        }
        if self.asked_operators > PATIENCE {
            return Abandon;
        }
        if self.knobs.command > 0 {
            return *self.draw.of(&[Pause, Resume, Resume, Resume, Abort, ForceRollback, Abandon, Promote, Promote]);
        }
        *self.draw.of(&[Resume, Resume, Resume, Abort, ForceRollback, Promote])
    }
}
