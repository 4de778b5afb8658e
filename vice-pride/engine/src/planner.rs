//! From what is wanted and what is there to a [`Plan`]. The same request always gives the same plan.

use std::collections::{BTreeMap, BTreeSet};

use vice_core::manifest::{Amount, RollbackPolicy, RolloutSpec, Strategy, TaskRun, TaskSpec};
use vice_core::payload::ReleaseRef;
use vice_core::payload::environment::Direction;
use vice_core::port::target::{Inventory, UnitHealth, UnitState};
use vice_core::suggest::nearest;
use vice_core::{Code, Fault, Millis, Result};

use crate::course::TASKS_MAX;
use crate::natural::natural_cmp;
use crate::number::UnitNo;
use crate::plan::{
    FailurePolicy, Limit, PLANNER_VERSION, Plan, Rollback, TaskDoes, TaskPlan, UnitAction, UnitPlan, Wave,
};
use crate::unit_set::UnitSet;

/// What a plan is made from.
#[derive(Debug, Clone)]
pub struct PlanRequest<'a> {
    /// Deploy, or rollback to a release proven earlier.
    pub direction: Direction,
    /// What ran before, where the history knows; otherwise it is what all units found agree on.
    pub from: Option<ReleaseRef>,
    /// What shall run.
    pub to: ReleaseRef,
    /// The names of the units that are wanted, in any order.
    pub units: Vec<String>,
    /// What is on the target.
    pub inventory: &'a Inventory,
    /// How the rollout shall go.
    pub rollout: &'a RolloutSpec,
    /// The tasks by name, in the order of the manifest: those of `to`; for a rollback those of the release being left.
    pub tasks: Vec<(&'a str, &'a TaskSpec)>,
    /// Whether there are checks to verify with.
    pub has_checks: bool,
}

/// Makes the plan.
///
/// # Errors
/// `ManifestInvalid` when what is wanted contradicts itself; the message names the facts that do.
pub fn plan(request: &PlanRequest<'_>) -> Result<Plan> {
    let units = units_in_order(request)?;
    let waves = waves(request.rollout, &units)?;
    let limits = limits(request.rollout, &units, &waves)?;
    Ok(Plan {
        planner: PLANNER_VERSION,
        direction: request.direction,
        from: request.from.clone().or_else(|| agreed(&units)),
        to: request.to.clone(),
        units,
        waves: waves
            .into_iter()
            .map(|units| Wave { bake: request.rollout.bake.unwrap_or(Millis::ZERO), ..Wave::of(units) })
            .collect(),
        limits,
        exclusions: Vec::new(),
        orders: Vec::new(),
        windows: Vec::new(),
        failures: FailurePolicy::default(),
        analysis: None,
        tasks: tasks(request)?,
        verify: request.rollout.verify,
        has_checks: request.has_checks,
    })
}

/// Every unit wanted or found, with what happens to it: those that `order` names first, the others by name.
fn units_in_order(request: &PlanRequest<'_>) -> Result<Vec<UnitPlan>> {
    let found: BTreeMap<&str, &UnitState> =
        request.inventory.units.iter().map(|unit| (unit.name.as_str(), unit)).collect();
    let wanted: BTreeSet<&str> = request.units.iter().map(String::as_str).collect();
    if wanted.len() != request.units.len() {
        return Err(Fault::new(Code::ManifestInvalid, "A unit is wanted twice."));
    }
    let mut names: Vec<&str> = wanted.iter().copied().chain(found.keys().copied()).collect();
    names.sort_unstable();
    names.dedup();
    let order = &request.rollout.order;
    check_order(order, &names)?;
    let place = |name: &str| order.iter().position(|first| first == name).unwrap_or(order.len());
    let places: BTreeMap<&str, usize> = names.iter().map(|name| (*name, place(name))).collect();
    names.sort_by(|one, two| places.get(one).cmp(&places.get(two)).then_with(|| natural_cmp(one, two)));
    Ok(names.into_iter().map(|name| unit(name, wanted.contains(name), found.get(name).copied(), &request.to)).collect())
}

fn check_order(order: &[String], names: &[&str]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for name in order {
        if !names.contains(&name.as_str()) {
            let fault = Fault::new(
                Code::ManifestInvalid,
                format!("`rollout.order` names the unit {name:?}, and there is no such unit."),
            );
            return Err(match nearest(name, names.iter().copied()) {
                Some(near) => fault.hint(format!("Did you mean {near:?}?")),
                None => fault.hint(format!("The units are {}.", shown(names))),
            });
        }
        if !seen.insert(name) {
            let message = format!("`rollout.order` names the unit {name:?} twice.");
            return Err(Fault::new(Code::ManifestInvalid, message).hint("Name it once, where it shall be."));
        }
    }
    Ok(())
}

/// A list of names that stays readable.
fn shown(names: &[&str]) -> String {
    const SHOWN_MAX: usize = 10;
    let mut text = names.iter().take(SHOWN_MAX).copied().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN_MAX {
        text.push_str(&format!(" and {} more", names.len() - SHOWN_MAX));
    }
    text
}

fn unit(name: &str, wanted: bool, found: Option<&UnitState>, to: &ReleaseRef) -> UnitPlan {
    let before = found.and_then(|unit| unit.release.clone());
    // Where nobody can tell the health, doing everything again on each deploy would be the greater harm.
    let fine = found.is_some_and(|unit| matches!(unit.health, UnitHealth::Healthy | UnitHealth::Unknown));
    let same = before.as_ref().is_some_and(|before| before.runs_like(to));
    let action = match (wanted, fine && same) {
        (false, _) => UnitAction::Remove,
        (true, true) => UnitAction::Keep,
        (true, false) => UnitAction::Place,
    };
    UnitPlan { name: name.to_owned(), before, action, place: None, class: None }
}

/// What all units that exist run, if it is the same.
fn agreed(units: &[UnitPlan]) -> Option<ReleaseRef> {
    let mut all = units.iter().filter_map(|unit| unit.before.as_ref());
    let first = all.next()?;
    all.all(|other| first.runs_like(other)).then(|| first.clone())
}

/// The units that change, in waves. Units are removed after all others were placed: capacity first.
fn waves(spec: &RolloutSpec, units: &[UnitPlan]) -> Result<Vec<Vec<UnitNo>>> {
    let of = |action: UnitAction| {
        let numbered = units.iter().enumerate().filter(move |(_, unit)| unit.action == action);
        numbered.map(|(index, _)| UnitNo::from_index(index)).collect::<Vec<_>>()
    };
    let (placed, removed) = (of(UnitAction::Place), of(UnitAction::Remove));
    let changes = placed.len() + removed.len();
    if changes == 0 {
        return Ok(Vec::new());
    }
    match (spec.strategy, spec.wave) {
        (Strategy::AllAtOnce, None) => Ok(vec![[placed, removed].concat()]),
        (Strategy::AllAtOnce, Some(wave)) => Err(Fault::new(
            Code::ManifestInvalid,
            format!("`rollout.wave` is {wave}, but the strategy all-at-once has one wave with every unit."),
        )
        .hint("Remove `wave`, or use the strategy rolling.")),
        (Strategy::Rolling, wave) => {
            let size = enough("wave", wave, units.len(), changes)?;
            Ok([placed, removed].iter().flat_map(|group| group.chunks(size as usize)).map(<[_]>::to_vec).collect())
        }
    }
}

fn limits(spec: &RolloutSpec, units: &[UnitPlan], waves: &[Vec<UnitNo>]) -> Result<Vec<Limit>> {
    let changes = waves.iter().map(Vec::len).sum();
    if changes == 0 {
        return Ok(Vec::new());
    }
    let max_down = enough("max_down", spec.max_down, units.len(), changes)?;
    let members = UnitSet::from_units((0..units.len()).map(UnitNo::from_index));
    Ok(vec![Limit { name: "environment".to_owned(), members, max_down, down_before: 0 }])
}

/// The number of units that an amount of the manifest means; one when absent; refused when none could ever change.
fn enough(key: &str, amount: Option<Amount>, units: usize, changes: usize) -> Result<u32> {
    let total = u32::try_from(units).unwrap_or(u32::MAX);
    let amount = amount.unwrap_or(Amount::Count(1));
    match amount.of(total) {
        0 => Err(Fault::new(
            Code::ManifestInvalid,
            format!("`rollout.{key}` is {amount}, so no unit may change, but {changes} of {units} units have to."),
        )
        .hint(format!("Set `{key}` to at least 1, or remove it."))),
        count => Ok(count),
    }
}

fn tasks(request: &PlanRequest<'_>) -> Result<Vec<TaskPlan>> {
    let count = request.tasks.len();
    if count > TASKS_MAX {
        let message = format!("There are {count} tasks, and a rollout can have {TASKS_MAX}.");
        return Err(Fault::new(Code::ManifestInvalid, message).hint("Let one task do the work of several."));
    }
    let planned = request.tasks.iter().filter_map(|(name, spec)| task(name, spec, request.direction));
    Ok(planned.collect())
}

/// What a task does in a plan of this direction; none when nothing. Going back, what came before the change comes
/// after it, and the other way round.
fn task(name: &str, spec: &TaskSpec, direction: Direction) -> Option<TaskPlan> {
    let rollback = match spec.rollback {
        RollbackPolicy::Safe => Rollback::Safe,
        RollbackPolicy::Forbid => Rollback::Forbid,
        RollbackPolicy::Command(_) => Rollback::Command,
    };
    let plan = |run, does, rollback| TaskPlan {
        name: name.to_owned(),
        run,
        per: spec.per,
        does,
        rollback,
        on_rollback: spec.on_rollback,
    };
    match (direction, rollback) {
        (Direction::Deploy, _) => Some(plan(spec.run, TaskDoes::Run, rollback)),
        (Direction::Rollback, Rollback::Forbid) => Some(plan(spec.run, TaskDoes::Forbid, Rollback::Forbid)),
        (Direction::Rollback, Rollback::Command) => Some(plan(opposite(spec), TaskDoes::TakeBack, Rollback::Command)),
        (Direction::Rollback, Rollback::Safe) if spec.on_rollback => {
            Some(plan(spec.run, TaskDoes::Run, Rollback::Safe))
        }
        (Direction::Rollback, Rollback::Safe) => None,
    }
}

const fn opposite(spec: &TaskSpec) -> TaskRun {
    match spec.run {
        TaskRun::Before => TaskRun::After,
        TaskRun::After => TaskRun::Before,
    }
}
