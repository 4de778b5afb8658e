//! Which tasks a plan runs, and what they do in its direction.

use vice_core::manifest::{RollbackPolicy, TaskRun, TaskSpec};
use vice_core::payload::environment::Direction;
use vice_core::{Code, Fault, Result};

use crate::course::TASKS_MAX;
use crate::plan::{Rollback, TaskDoes, TaskPlan};

/// The tasks of the plan, in the order of the manifest.
pub(super) fn tasks(tasks: &[(&str, &TaskSpec)], direction: Direction) -> Result<Vec<TaskPlan>> {
    let count = tasks.len();
    if count > TASKS_MAX {
        let message = format!("There are {count} tasks, and a rollout can have {TASKS_MAX}.");
        return Err(Fault::new(Code::ManifestInvalid, message).hint("Let one task do the work of several."));
    }
    Ok(tasks.iter().filter_map(|(name, spec)| task(name, spec, direction)).collect())
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
