//! Whether a plan makes sense: what the engine may rely on without looking again.

use vice_core::{Code, Fault, Result};

use super::{TASKS_MAX, WHOLE};
use crate::number::UnitNo;
use crate::plan::{Exposure, Group, Plan, UnitAction};
use crate::unit_set::UnitSet;

/// The listed units against the waves: each that changes is in exactly one, and nothing else is.
pub(super) fn units(plan: &Plan) -> Result<()> {
    if u32::try_from(plan.units.len()).is_err() {
        return broken("It has more units than can be numbered.");
    }
    let seen = in_waves(plan, plan.units.len())?;
    let misplaced = plan.units.iter().zip(seen).find(|(unit, changes)| (unit.action != UnitAction::Keep) != *changes);
    match misplaced {
        Some((unit, true)) => broken(&format!("The unit {} is kept and also in a wave.", unit.name)),
        Some((unit, false)) => broken(&format!("The unit {} changes but is in no wave.", unit.name)),
        None => Ok(()),
    }
}

/// Everything that does not need the units' names.
pub(super) fn plan(plan: &Plan, count: u32) -> Result<()> {
    if plan.tasks.len() > TASKS_MAX {
        return broken(&format!("It has {} tasks and at most {TASKS_MAX} are possible.", plan.tasks.len()));
    }
    let wave_of = waves(plan, count)?;
    limits(plan, count)?;
    exclusions(plan, count)?;
    orders(plan, count, &wave_of)?;
    for window in &plan.windows {
        window.check()?;
        known(window.members.as_ref(), count, &format!("The window {}", window.name))?;
    }
    Ok(())
}

fn in_waves(plan: &Plan, count: usize) -> Result<Vec<bool>> {
    let mut seen = vec![false; count];
    for unit in plan.waves.iter().flat_map(|wave| &wave.units) {
        match seen.get_mut(unit.index()) {
            None => return broken(&format!("A wave names {unit}, which is not in the plan.")),
            Some(true) => return broken(&format!("The unit {} is in two waves.", name(plan, *unit))),
            Some(slot) => *slot = true,
        }
    }
    Ok(seen)
}

/// The wave of each unit; only computed where an order needs it.
fn waves(plan: &Plan, count: u32) -> Result<Vec<u32>> {
    in_waves(plan, count as usize)?;
    for wave in &plan.waves {
        if let Exposure::Share { basis_points } = wave.exposure
            && basis_points > WHOLE
        {
            return broken(&format!("A wave has a share of {basis_points} basis points, and all are {WHOLE}."));
        }
    }
    if plan.orders.is_empty() {
        return Ok(Vec::new());
    }
    let mut wave_of = vec![u32::MAX; count as usize];
    for (index, wave) in (0..).zip(&plan.waves) {
        wave.units.iter().for_each(|unit| wave_of[unit.index()] = index);
    }
    Ok(wave_of)
}

fn limits(plan: &Plan, count: u32) -> Result<()> {
    for limit in &plan.limits {
        if limit.max_down == 0 {
            return broken(&format!("The limit {} lets no unit change.", limit.name));
        }
        known(Some(&limit.members), count, &format!("The limit {}", limit.name))?;
    }
    Ok(())
}

fn exclusions(plan: &Plan, count: u32) -> Result<()> {
    for exclusion in &plan.exclusions {
        let what = format!("The exclusion {}", exclusion.name);
        for (index, group) in exclusion.groups.iter().enumerate() {
            known(Some(&group.members), count, &what)?;
            if let Some(other) = exclusion.groups[..index].iter().find(|other| other.members.intersects(&group.members))
            {
                return broken(&format!("{what} has units that are in {} and in {}.", other.name, group.name));
            }
        }
    }
    Ok(())
}

/// An order must not contradict the waves, nor go round in circles with the others.
fn orders(plan: &Plan, count: u32, wave_of: &[u32]) -> Result<()> {
    for order in &plan.orders {
        let what = format!("The order {}", order.name);
        known(Some(&order.first.members), count, &what)?;
        known(Some(&order.then.members), count, &what)?;
        if order.first.members.intersects(&order.then.members) {
            return broken(&format!("{what} lets a unit wait for itself."));
        }
        let waves = |group: &Group| {
            let waves = group.members.iter().map(|unit| wave_of[unit.index()]).filter(|wave| *wave != u32::MAX);
            waves.fold((u32::MAX, None), |(low, high): (u32, Option<u32>), wave| (low.min(wave), high.max(Some(wave))))
        };
        let (last, first) = (waves(&order.first).1, waves(&order.then).0);
        if last.is_some_and(|last| last > first) {
            return broken(&format!("{what} wants {} after a later wave of {}.", order.then.name, order.first.name));
        }
    }
    acyclic(plan)
}

/// Follows the orders: those whose `first` waits for nothing any more are removed, until none is left.
fn acyclic(plan: &Plan) -> Result<()> {
    let mut left: Vec<usize> = (0..plan.orders.len()).collect();
    loop {
        let waits = |order: &usize| {
            let first = &plan.orders[*order].first.members;
            left.iter().any(|other| plan.orders[*other].then.members.intersects(first))
        };
        let kept: Vec<usize> = left.iter().copied().filter(waits).collect();
        match kept.len() {
            0 => return Ok(()),
            same if same == left.len() => {
                let names: Vec<&str> = kept.iter().map(|order| plan.orders[*order].name.as_str()).collect();
                return broken(&format!("The orders {} wait for each other.", names.join(", ")));
            }
            _ => left = kept,
        }
    }
}

fn known(members: Option<&UnitSet>, count: u32, what: &str) -> Result<()> {
    match members {
        Some(members) if members.end() > count => broken(&format!("{what} names a unit that is not in the plan.")),
        _ => Ok(()),
    }
}

fn name(plan: &Plan, unit: UnitNo) -> String {
    plan.units.get(unit.index()).map_or_else(|| unit.to_string(), |unit| unit.name.clone())
}

fn broken<T>(fact: &str) -> Result<T> {
    Err(Fault::new(Code::Decode, format!("The plan contradicts itself. {fact}")))
}
