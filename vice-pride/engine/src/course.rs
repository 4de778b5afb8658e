//! A plan made ready for running: checked once, with the tables that keep a step independent of the number of units.

use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use vice_core::manifest::{TaskPer, TaskRun, VerifyWhen};
use vice_core::{Code, Fault, Result};

mod check;

use crate::classes::Classes;
use crate::number::{TaskNo, UnitNo};
use crate::plan::{Exposure, Plan, Rollback, TaskDoes, TaskPlan, UnitPlan, Wave};
use crate::window::Hours;

/// The largest number of tasks in a plan: what a unit has completed is one machine word.
pub const TASKS_MAX: usize = 64;

/// All of the traffic, in basis points.
pub const WHOLE: u32 = 10_000;

/// A checked plan. Cheap to clone; many states share one.
#[derive(Debug, Clone)]
pub struct Course(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    plan: Plan,
    count: u32,
    classes: Classes,
    hours: Vec<Hours>,
    scripts: Scripts,
    forbid: u64,
    gate: Option<TaskNo>,
    changes: u32,
    first: bool,
    shares: bool,
    has_hooks: bool,
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
        let count = u32::try_from(plan.units.len()).unwrap_or(u32::MAX);
        check::units(&plan)?;
        let first = plan.is_first();
        Self::ready(plan, count, first)
    }

    /// A plan for `count` units without names, all of which run the earlier release and shall run the new one: what
    /// a simulated fleet of a million servers is made of. The plan's own list of units has to be empty.
    ///
    /// # Errors
    /// As [`Course::new`]; also when the plan lists units.
    pub fn unnamed(plan: Plan, count: u32) -> Result<Self> {
        if !plan.units.is_empty() {
            return Err(Fault::new(Code::Decode, "A plan for units without names lists some by name."));
        }
        Self::ready(plan, count, false)
    }

    fn ready(plan: Plan, count: u32, first: bool) -> Result<Self> {
        check::plan(&plan, count)?;
        let hours = plan.windows.iter().map(crate::window::Window::hours).collect::<Result<_>>()?;
        let scripts = Scripts::of(&plan.tasks);
        let numbered = || plan.tasks.iter().enumerate().filter(|(_, task)| task.does != TaskDoes::Forbid);
        let forbid = numbered()
            .filter(|(_, task)| task.rollback == Rollback::Forbid)
            .fold(0, |mask, (index, _)| mask | 1_u64 << index);
        let gate = plan.tasks.iter().position(|task| task.does == TaskDoes::Forbid).map(TaskNo::from_index);
        let changes = plan.waves.iter().map(|wave| wave.units.len()).sum::<usize>();
        Ok(Self(Arc::new(Inner {
            count,
            classes: Classes::of(&plan, count),
            hours,
            forbid,
            gate,
            changes: u32::try_from(changes).unwrap_or(u32::MAX),
            first,
            shares: plan.waves.iter().any(|wave| wave.exposure != Exposure::Units),
            has_hooks: scripts.unit.len() > 1 || scripts.unit_back.len() > 1,
            scripts,
            plan,
        })))
    }

    /// How many units there are.
    #[must_use]
    pub fn unit_count(&self) -> u32 {
        self.0.count
    }

    /// One unit, where units have names.
    #[must_use]
    pub fn unit(&self, unit: UnitNo) -> Option<&UnitPlan> {
        self.0.plan.units.get(unit.index())
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

    /// What constrains which unit.
    pub(crate) fn classes(&self) -> &Classes {
        &self.0.classes
    }

    /// The hours of the plan's windows.
    pub(crate) fn hours(&self) -> &[Hours] {
        &self.0.hours
    }

    /// Whether nothing runs before the rollout.
    pub(crate) fn starts_from_nothing(&self) -> bool {
        self.0.first
    }

    /// Whether the rollout moves shares of traffic.
    pub(crate) fn moves_traffic(&self) -> bool {
        self.0.shares
    }

    /// Whether anything happens to a unit besides the change itself.
    pub(crate) fn has_hooks(&self) -> bool {
        self.0.has_hooks
    }

    /// A wave of the plan.
    pub(crate) fn wave(&self, wave: u32) -> Option<&Wave> {
        self.0.plan.waves.get(wave as usize)
    }

    /// Whether a wave is watched and its metrics judged.
    pub(crate) fn judges(&self, wave: u32) -> bool {
        self.analysis.is_some() && self.wave(wave).is_some_and(|wave| wave.judged)
    }

    /// Whether more than the absence of an alarm is wanted before the wave after this one: it is the last before the
    /// new release gets everything.
    pub(crate) fn wants_proof(&self, wave: u32) -> bool {
        let partial = |wave: &Wave| match wave.exposure {
            Exposure::Units => false,
            Exposure::Share { basis_points } => basis_points < WHOLE,
            Exposure::Ramp => true,
        };
        self.judges(wave)
            && self.wave(wave).is_some_and(partial)
            && !self.wave(wave.saturating_add(1)).is_some_and(partial)
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
