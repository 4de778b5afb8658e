//! Requests for tests, written as JSON in the words of the manifest.

use std::collections::BTreeMap;

use vice_core::manifest::RolloutSpec;
use vice_core::payload::ReleaseRef;
use vice_core::payload::environment::Direction;
use vice_core::port::target::{Inventory, UnitHealth, UnitState};
use vice_core::{Fault, Result};
use vice_pride_engine::judge::{Analysis, MetricKind, MetricPlan};
use vice_pride_engine::{Course, Exposure, Plan, PlanRequest, Topology, plan};

pub(crate) fn release(version: &str) -> ReleaseRef {
    ReleaseRef { version: version.into(), artifact: None, source: String::new(), config: None, recipe: None }
}

pub(crate) fn rollout(text: &str) -> RolloutSpec {
    serde_json::from_str(text).unwrap()
}

pub(crate) fn tree(text: &str) -> Topology {
    Topology::new(&serde_json::from_str(text).unwrap(), None).unwrap()
}

pub(crate) fn running<S: AsRef<str>>(units: impl IntoIterator<Item = S>, version: &str) -> Inventory {
    let state = |name: S| UnitState {
        name: name.as_ref().to_owned(),
        release: Some(release(version)),
        health: UnitHealth::Healthy,
        since: None,
        restarts: 0,
        url: None,
        facts: BTreeMap::new(),
    };
    Inventory { units: units.into_iter().map(state).collect(), ..Inventory::default() }
}

pub(crate) fn analysis() -> Analysis {
    Analysis { metrics: vec![MetricPlan::new("errors", MetricKind::Errors)], ..Analysis::default() }
}

/// A deploy of version 2 to units `1..=wanted`, over what is there, with a metric.
pub(crate) fn local(wanted: u32, there: &Inventory, text: &str) -> Result<Plan, Fault> {
    let spec = rollout(text);
    let names: Vec<String> = (1..=wanted).map(|unit| unit.to_string()).collect();
    planned(&names, None, there, &spec, Direction::Deploy)
}

/// A deploy of version 2 to every unit of a tree, all of which run version 1.
pub(crate) fn on(tree: &Topology, text: &str) -> Result<Plan, Fault> {
    let names = (0..tree.len()).map(|unit| tree.unit_name(vice_pride_engine::UnitNo(unit)));
    planned(&[], Some(tree), &running(names, "1"), &rollout(text), Direction::Deploy)
}

pub(crate) fn planned(
    units: &[String],
    topology: Option<&Topology>,
    inventory: &Inventory,
    rollout: &RolloutSpec,
    direction: Direction,
) -> Result<Plan, Fault> {
    let plan = plan(&PlanRequest {
        direction,
        from: None,
        to: release("2"),
        units: units.to_vec(),
        topology,
        inventory,
        rollout,
        tasks: Vec::new(),
        has_checks: true,
        analysis: Some(analysis()),
    })?;
    Course::new(plan.clone()).unwrap();
    Ok(plan)
}

/// The waves as texts: names, then `@` and the exposure, `?` where it is judged.
pub(crate) fn shown(plan: &Plan) -> Vec<String> {
    let names = |wave: &vice_pride_engine::Wave| {
        let names: Vec<&str> = wave.units.iter().map(|unit| plan.units[unit.index()].name.as_str()).collect();
        names.join(" ")
    };
    let exposure = |exposure: Exposure| match exposure {
        Exposure::Units => String::new(),
        Exposure::Share { basis_points } => format!(" @{basis_points}"),
        Exposure::Ramp => " @ramp".to_owned(),
    };
    let judged = |judged: bool| if judged { "?" } else { "" };
    plan.waves
        .iter()
        .map(|wave| format!("{}{}{}", names(wave), exposure(wave.exposure), judged(wave.judged)).trim().to_owned())
        .collect()
}

pub(crate) fn conflict(fault: &Fault) -> Vec<String> {
    serde_json::from_value(fault.details()["conflict"].clone()).unwrap()
}
