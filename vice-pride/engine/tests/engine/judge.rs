//! A judge who knows the rules of a rollout and nothing of the engine.

use std::collections::{BTreeMap, BTreeSet};

use vice_core::manifest::VerifyWhen;
use vice_core::payload::environment::{Direction, RolloutOutcome};
use vice_core::payload::rollout::{Finding, OperatorCommand};
use vice_pride_engine::{
    Effect, Exposure, Failure, Group, Input, OpNo, OpResult, Plan, Rollback, Seen, TaskNo, UnitAction, UnitNo,
};

/// What is really there, and what has been promised so far.
pub(crate) struct Judge {
    pub(crate) plan: Plan,
    /// The version that each unit really runs.
    pub(crate) real: Vec<Option<String>>,
    /// Units with something under way, by operation.
    pub(crate) flying: BTreeMap<OpNo, UnitNo>,
    /// What each operation is.
    pub(crate) sent: BTreeMap<OpNo, Effect>,
    /// Operations that were really carried out.
    pub(crate) carried: BTreeSet<OpNo>,
    /// Operations that were asked for, or asked about, and not answered since.
    open: BTreeSet<OpNo>,
    /// Units whose apply the engine knows to be done.
    known: BTreeSet<UnitNo>,
    /// Tasks that the engine knows to be done.
    tasks: BTreeSet<TaskNo>,
    /// How often the engine was told that a unit failed.
    pub(crate) failures: BTreeMap<UnitNo, u32>,
    /// Units whose undo the engine knows to be done.
    undone: BTreeSet<UnitNo>,
    /// The share of the traffic that the engine knows to be in force.
    share: Option<u32>,
    /// Whether it was asked, on the way back, to take traffic away.
    shielded: bool,
    pub(crate) forced: bool,
    pub(crate) verified: bool,
    pub(crate) finished: Option<RolloutOutcome>,
}

impl Judge {
    pub(crate) fn new(plan: &Plan) -> Self {
        let real = plan.units.iter().map(|unit| unit.before.as_ref().map(|before| before.version.clone())).collect();
        Self {
            plan: plan.clone(),
            real,
            flying: BTreeMap::new(),
            sent: BTreeMap::new(),
            carried: BTreeSet::new(),
            open: BTreeSet::new(),
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

    pub(crate) fn asked(&mut self, effects: &[Effect]) {
        self.open.extend(effects.iter().filter_map(Effect::op));
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
        // Units that were given up and are tried again are verified with the wave that they are tried in.
        let calm = self.failures.is_empty() && self.plan.tasks.is_empty();
        if wave > 0 && each && !begun && calm && self.plan.waves[wave].units.len() == 1 {
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
    pub(crate) fn carry(&mut self, op: OpNo) {
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
    pub(crate) fn told_done(&mut self, op: OpNo) {
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

    /// The engine is told something, in any order and perhaps again. An answer counts once for each time that it is asked for.
    pub(crate) fn told(&mut self, input: &Input) {
        match *input {
            Input::EffectDone { op, result: OpResult::Done } if self.waits_for(op) => self.told_done(op),
            Input::EffectDone { op, result: OpResult::Failed(failure) } if self.waits_for(op) => {
                let unit = self.flying.remove(&op).filter(|_| failure != Failure::InDoubt);
                if let Some(unit) = unit {
                    *self.failures.entry(unit).or_default() += 1;
                }
            }
            Input::Observed { op, seen } if self.waits_for(op) => match seen {
                Seen::Applied => self.told_done(op),
                Seen::NotApplied | Seen::Unknown => drop(self.flying.remove(&op)),
            },
            Input::Verified { op, passed, counts } if self.waits_for(op) => self.verified = passed && counts.is_pass(),
            Input::Operator { command: OperatorCommand::ForceRollback } => self.forced = true,
            Input::Operator { command: OperatorCommand::Resolve { op, found: Finding::Applied } }
                if self.sent.contains_key(&OpNo(op)) =>
            {
                self.told_done(OpNo(op));
            }
            _ => {}
        }
    }

    fn waits_for(&mut self, op: OpNo) -> bool {
        self.open.remove(&op)
    }

    pub(crate) fn ended(&mut self, outcome: RolloutOutcome) {
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
