//! Random plans, for whatever is to hold of all of them.

use crate::support::{limit, release, unit};
use arbtest::arbitrary::{Result, Unstructured};
use vice_core::Millis;
use vice_core::manifest::{TaskPer, TaskRun, VerifyWhen};
use vice_core::payload::environment::Direction;
use vice_pride_engine::judge::{Analysis, MetricKind, MetricPlan};
use vice_pride_engine::{
    Exclusion, Exposure, FailurePolicy, Group, PLANNER_VERSION, Plan, Precedence, Rollback, TaskDoes, TaskPlan,
    UnitAction, UnitNo, UnitSet, Wave, Window,
};

pub(crate) fn random_plan(u: &mut Unstructured<'_>) -> Result<Plan> {
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

/// Bytes that are the same everywhere, from Knuth's MMIX generator.
pub(crate) fn bytes(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..2_000).map(|_| next()).collect()
}
