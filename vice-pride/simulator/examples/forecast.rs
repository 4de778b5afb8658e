//! What the forecast beside a plan costs: `forecast UNITS RUNS`, processor milliseconds of a canary that metrics judge, with
//! as many runs of each story as `vice plan` makes. `bench/simulator/forecast` calls it.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::collections::BTreeMap;

use vice_core::manifest::{ModelSpec, RolloutSpec};
use vice_core::payload::ReleaseRef;
use vice_core::payload::environment::Direction;
use vice_core::payload::simulation::SimulationMode;
use vice_core::port::target::{Inventory, UnitHealth, UnitState};
use vice_core::{Code, Fault, Result};
use vice_pride_engine::judge::{Analysis, MetricKind, MetricPlan};
use vice_pride_engine::{Course, PlanRequest, plan};
use vice_pride_simulator::{Layout, Past, Setting, Study, Title, World, report};

/// So many forecasts are made; the times of the middle one and of the slowest are printed.
const FORECASTS: usize = 15;

fn release(version: &str) -> ReleaseRef {
    ReleaseRef { version: version.to_owned(), artifact: None, source: String::new(), config: None, recipe: None }
}

fn decoded<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Fault::new(Code::Usage, error.to_string()))
}

/// A canary over so many units, judged by errors and latencies.
fn course(units: u32) -> Result<Course> {
    let rollout: RolloutSpec =
        decoded(r#"{ "strategy": "canary", "steps": ["1%", "10%", "50%"], "max_down": "10%" }"#)?;
    let names: Vec<String> = (1..=units).map(|unit| unit.to_string()).collect();
    let there = |name: &String| UnitState {
        name: name.clone(),
        release: Some(release("1")),
        health: UnitHealth::Healthy,
        since: None,
        restarts: 0,
        url: None,
        facts: BTreeMap::new(),
    };
    let inventory = Inventory { units: names.iter().map(there).collect(), ..Inventory::default() };
    let metrics = [("errors", MetricKind::Errors), ("latency", MetricKind::Latency)];
    let metrics = metrics.map(|(name, kind)| MetricPlan { floor: Some(0.001), ..MetricPlan::new(name, kind) }).into();
    let made = plan(&PlanRequest {
        direction: Direction::Deploy,
        from: None,
        to: release("2"),
        units: names,
        topology: None,
        inventory: &inventory,
        rollout: &rollout,
        tasks: Vec::new(),
        has_checks: true,
        analysis: Some(Analysis { metrics, ..Analysis::default() }),
    })?;
    Course::new(made)
}

/// The processor time of this process so far, in milliseconds, to the microsecond.
fn cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    stat.split_whitespace().next().and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0) / 1e6
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |at: usize, default: u32| arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (units, runs) = (number(1, 200), u64::from(number(2, 20)));
    let course = course(units)?;
    let world = World::new(&ModelSpec::default(), Layout::of_plan(course.plan())?, &Past::default())?;
    let start = jiff::Timestamp::from_second(1_767_603_600).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let name = |text: &str| text.parse().map_err(|_| Fault::new(Code::Usage, "not a name"));
    let title = Title { project: name("shop")?, env: decoded("\"prod\"")?, policy: None };
    let setting = Setting { world: &world, course: &course, start, seed: 1 };
    let study = Study { setting, runs, threads: 1, mode: SimulationMode::Exact };
    let mut times = Vec::new();
    for _ in 0..FORECASTS {
        let begun = cpu_ms();
        let made = report(&study, &title);
        times.push(cpu_ms() - begun);
        assert!(!made.stories.is_empty());
    }
    times.sort_by(f64::total_cmp);
    println!("units {units}");
    println!("runs {runs}");
    println!("ms_median {:.1}", times[FORECASTS / 2]);
    println!("ms_most {:.1}", times[FORECASTS - 1]);
    Ok(())
}
