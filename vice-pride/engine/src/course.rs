//! A plan made ready for running: checked once, with the tables that keep a step independent of the number of units.

use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use vice_core::manifest::{TaskPer, TaskRun, VerifyWhen};
use vice_core::{Code, Fault, Result};

use crate::number::{TaskNo, UnitNo};
use crate::plan::{Plan, Rollback, TaskDoes, TaskPlan, UnitAction};

/// The largest number of tasks in a plan: what a unit has completed is one machine word.
pub const TASKS_MAX: usize = 64;

/// A checked plan. Cheap to clone; many states share one.
#[derive(Debug, Clone)]
pub struct Course(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    plan: Plan,
    limit_starts: Vec<u32>,
    limit_ids: Vec<u16>,
    scripts: Scripts,
    forbid: u64,
    gate: Option<TaskNo>,
    changes: u32,
}

/// One task to run at a place in a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errand {
    pub(crate) task: TaskNo,
    /// Whether its rollback command runs instead of its command.
    pub(crate) undo: bool,
    /// Whether it runs only where the task has completed before: taking back what was done.
    pub(crate) takes_back: bool,
}

/// One thing that happens to a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnitStep {
    Hook(Errand),
    Apply,
    Undo,
}

/// What happens once, and what happens to each unit, on the way out and on the way back.
#[derive(Debug, Default)]
pub(crate) struct Scripts {
    pub(crate) before: Vec<Errand>,
    pub(crate) after: Vec<Errand>,
    pub(crate) back_before: Vec<Errand>,
    pub(crate) back_after: Vec<Errand>,
    pub(crate) unit: Vec<UnitStep>,
    pub(crate) unit_back: Vec<UnitStep>,
}

impl Course {
    /// Checks a plan and makes it ready.
    ///
    /// # Errors
    /// `Decode` when the plan contradicts itself: a number without a unit, a unit in two waves, a limit of zero.
    pub fn new(plan: Plan) -> Result<Self> {
        check(&plan)?;
        let (limit_starts, limit_ids) = limits_by_unit(&plan);
        let scripts = Scripts::of(&plan.tasks);
        let numbered = || plan.tasks.iter().enumerate().filter(|(_, task)| task.does != TaskDoes::Forbid);
        let forbid = numbered()
            .filter(|(_, task)| task.rollback == Rollback::Forbid)
            .fold(0, |mask, (index, _)| mask | 1_u64 << index);
        let gate = plan.tasks.iter().position(|task| task.does == TaskDoes::Forbid).map(TaskNo::from_index);
        let changes = u32::try_from(plan.waves.iter().map(Vec::len).sum::<usize>()).unwrap_or(u32::MAX);
        Ok(Self(Arc::new(Inner { plan, limit_starts, limit_ids, scripts, forbid, gate, changes })))
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.0.plan
    }

    pub(crate) fn scripts(&self) -> &Scripts {
        &self.0.scripts
    }

    /// The tasks whose completion forbids going back, as bits.
    pub(crate) fn forbid(&self) -> u64 {
        self.0.forbid
    }

    /// How many units change.
    pub(crate) fn changes(&self) -> u32 {
        self.0.changes
    }

    /// The task that has to be asked about before the rollout may begin.
    pub(crate) fn gate(&self) -> Option<TaskNo> {
        self.0.gate
    }

    /// The limits that a unit counts against.
    pub(crate) fn limits_of(&self, unit: UnitNo) -> &[u16] {
        let start = self.0.limit_starts[unit.index()] as usize;
        let end = self.0.limit_starts[unit.index() + 1] as usize;
        &self.0.limit_ids[start..end]
    }

    /// Whether checks run at all.
    pub(crate) fn verifies(&self) -> bool {
        self.has_checks && self.verify != VerifyWhen::Never
    }
}

impl Deref for Course {
    type Target = Plan;
    fn deref(&self) -> &Plan {
        &self.0.plan
    }
}

impl PartialEq for Course {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.plan == other.0.plan
    }
}

impl Eq for Course {}

impl Serialize for Course {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.plan.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Course {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Plan::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl Scripts {
    fn of(tasks: &[TaskPlan]) -> Self {
        let once = |run| forward(tasks, TaskPer::Rollout, run);
        let hooks = |run| forward(tasks, TaskPer::Unit, run).into_iter().map(UnitStep::Hook);
        let back = |run| taking_back(tasks, TaskPer::Unit, run).into_iter().map(UnitStep::Hook);
        let again = |run| as_it_is(tasks, TaskPer::Unit, run).into_iter().map(UnitStep::Hook);
        let (before, after) = (TaskRun::Before, TaskRun::After);
        let around = |first: Vec<Errand>, then: Vec<Errand>| first.into_iter().chain(then).collect();
        Self {
            before: once(before),
            after: once(after),
            back_before: around(as_it_is(tasks, TaskPer::Rollout, before), taking_back(tasks, TaskPer::Rollout, after)),
            back_after: around(taking_back(tasks, TaskPer::Rollout, before), as_it_is(tasks, TaskPer::Rollout, after)),
            unit: hooks(before).chain([UnitStep::Apply]).chain(hooks(after)).collect(),
            unit_back: again(before)
                .chain(back(after))
                .chain([UnitStep::Undo])
                .chain(back(before))
                .chain(again(after))
                .collect(),
        }
    }
}

fn chosen(tasks: &[TaskPlan], per: TaskPer, run: TaskRun) -> impl DoubleEndedIterator<Item = (TaskNo, &TaskPlan)> {
    tasks
        .iter()
        .enumerate()
        .filter(move |(_, task)| task.per == per && task.run == run && task.does != TaskDoes::Forbid)
        .map(|(index, task)| (TaskNo::from_index(index), task))
}

/// What runs on the way out.
fn forward(tasks: &[TaskPlan], per: TaskPer, run: TaskRun) -> Vec<Errand> {
    chosen(tasks, per, run)
        .map(|(task, plan)| Errand { task, undo: plan.does == TaskDoes::TakeBack, takes_back: false })
        .collect()
}

/// What takes back completed tasks, the last one first. Taking back a rollback command is running the command.
fn taking_back(tasks: &[TaskPlan], per: TaskPer, run: TaskRun) -> Vec<Errand> {
    chosen(tasks, per, run)
        .rev()
        .filter(|(_, plan)| plan.rollback == Rollback::Command)
        .map(|(task, plan)| Errand { task, undo: plan.does == TaskDoes::Run, takes_back: true })
        .collect()
}

/// What runs on the way back as it is.
fn as_it_is(tasks: &[TaskPlan], per: TaskPer, run: TaskRun) -> Vec<Errand> {
    chosen(tasks, per, run)
        .filter(|(_, plan)| plan.on_rollback)
        .map(|(task, _)| Errand { task, undo: false, takes_back: false })
        .collect()
}

/// For each unit the limits that it belongs to, as one flat table.
fn limits_by_unit(plan: &Plan) -> (Vec<u32>, Vec<u16>) {
    let mut of_unit: Vec<Vec<u16>> = vec![Vec::new(); plan.units.len()];
    for (index, limit) in plan.limits.iter().enumerate() {
        for unit in &limit.members {
            of_unit[unit.index()].push(u16::try_from(index).unwrap_or(u16::MAX));
        }
    }
    let mut starts = Vec::with_capacity(of_unit.len() + 1);
    let mut ids = Vec::new();
    for limits in of_unit {
        starts.push(u32::try_from(ids.len()).unwrap_or(u32::MAX));
        ids.extend(limits);
    }
    starts.push(u32::try_from(ids.len()).unwrap_or(u32::MAX));
    (starts, ids)
}

fn check(plan: &Plan) -> Result<()> {
    let known = |unit: &UnitNo| unit.index() < plan.units.len();
    if plan.tasks.len() > TASKS_MAX {
        return broken(&format!("It has {} tasks and at most {TASKS_MAX} are possible.", plan.tasks.len()));
    }
    if plan.limits.len() > usize::from(u16::MAX) || u32::try_from(plan.units.len()).is_err() {
        return broken("It has more units or limits than can be numbered.");
    }
    for limit in &plan.limits {
        if limit.max_down == 0 {
            return broken(&format!("The limit {} lets no unit change.", limit.name));
        }
        if !limit.members.iter().all(known) {
            return broken(&format!("The limit {} names a unit that is not in the plan.", limit.name));
        }
        let mut members = limit.members.clone();
        members.sort_unstable();
        if members.windows(2).any(|pair| pair[0] == pair[1]) {
            return broken(&format!("The limit {} names a unit twice.", limit.name));
        }
    }
    let mut seen = vec![false; plan.units.len()];
    for unit in plan.waves.iter().flatten() {
        match seen.get_mut(unit.index()) {
            None => return broken(&format!("A wave names {unit}, which is not in the plan.")),
            Some(true) => return broken(&format!("The unit {} is in two waves.", plan.units[unit.index()].name)),
            Some(slot) => *slot = true,
        }
    }
    let misplaced = plan.units.iter().zip(seen).find(|(unit, changes)| (unit.action != UnitAction::Keep) != *changes);
    match misplaced {
        Some((unit, true)) => broken(&format!("The unit {} is kept and also in a wave.", unit.name)),
        Some((unit, false)) => broken(&format!("The unit {} changes but is in no wave.", unit.name)),
        None => Ok(()),
    }
}

fn broken(fact: &str) -> Result<()> {
    Err(Fault::new(Code::Decode, format!("The plan contradicts itself. {fact}")))
}
