//! What the planner makes of wishes and findings, and what it refuses.

use std::collections::BTreeMap;

use vice_core::Code;
use vice_core::manifest::{
    Amount, Command, Order, RollbackPolicy, RolloutSpec, Selector, Strategy, TaskPer, TaskRun, TaskSpec,
};
use vice_core::payload::ReleaseRef;
use vice_core::payload::environment::Direction;
use vice_core::port::target::{Inventory, UnitHealth, UnitState};
use vice_pride_engine::{Course, Plan, PlanRequest, Rollback, Summary, TaskDoes, UnitAction, UnitNo, UnitSet, plan};

fn release(version: &str) -> ReleaseRef {
    ReleaseRef { version: version.into(), artifact: None, source: String::new(), config: None, recipe: None }
}

fn found(name: &str, version: &str, health: UnitHealth) -> UnitState {
    let facts = BTreeMap::new();
    UnitState { name: name.into(), release: Some(release(version)), health, since: None, restarts: 0, url: None, facts }
}

fn inventory(units: &[(&str, &str, UnitHealth)]) -> Inventory {
    let units = units.iter().map(|(name, version, health)| found(name, version, *health)).collect();
    Inventory { units, ..Inventory::default() }
}

fn request<'a>(units: &[&str], inventory: &'a Inventory, rollout: &'a RolloutSpec) -> PlanRequest<'a> {
    PlanRequest {
        direction: Direction::Deploy,
        from: None,
        to: release("2"),
        units: units.iter().map(|name| (*name).to_owned()).collect(),
        topology: None,
        inventory,
        rollout,
        tasks: Vec::new(),
        has_checks: true,
        analysis: None,
    }
}

fn listed(texts: &[&str]) -> Order {
    Order::Listed(texts.iter().map(|text| Selector::parse(text).unwrap()).collect())
}

fn wave_names(plan: &Plan) -> Vec<Vec<&str>> {
    let name = |unit: &UnitNo| plan.units[unit.index()].name.as_str();
    plan.waves.iter().map(|wave| wave.units.iter().map(name).collect()).collect()
}

const FINE: UnitHealth = UnitHealth::Healthy;

#[test]
fn an_unchanged_healthy_environment_needs_nothing() {
    let (there, spec) = (inventory(&[("1", "2", FINE), ("2", "2", FINE)]), RolloutSpec::default());
    let plan = plan(&request(&["1", "2"], &there, &spec)).unwrap();
    assert!(plan.is_noop());
    assert_eq!(plan.summary(), Summary { keep: 2, ..Summary::default() });
    Course::new(plan).unwrap();
}

#[test]
fn units_are_created_updated_removed_and_repaired() {
    let there = inventory(&[("1", "1", FINE), ("2", "2", FINE), ("3", "2", UnitHealth::Crashed), ("9", "1", FINE)]);
    let spec = RolloutSpec {
        wave: Some(Amount::Count(2)),
        max_down: Some(Amount::Percent(40).into()),
        ..RolloutSpec::default()
    };
    let plan = plan(&request(&["10", "3", "2", "1"], &there, &spec)).unwrap();
    assert_eq!(plan.summary(), Summary { create: 1, update: 2, remove: 1, keep: 1 });
    assert_eq!(
        wave_names(&plan),
        [vec!["3", "1"], vec!["10"], vec!["9"]],
        "what is down first, 2 before 10, removals last"
    );
    assert_eq!(plan.limits[0].max_down, 2, "40% of 5 units");
    assert_eq!(plan.from, None, "the units disagree");
    Course::new(plan).unwrap();
}

#[test]
fn the_order_of_the_manifest_comes_first() {
    let (there, mut spec) = (Inventory::default(), RolloutSpec::default());
    spec.order = listed(&["10", "2"]);
    let plan = plan(&request(&["1", "2", "3", "10"], &there, &spec)).unwrap();
    assert_eq!(wave_names(&plan), [["10"], ["2"], ["1"], ["3"]]);
    assert!(plan.is_first());
}

#[test]
fn all_at_once_is_one_wave() {
    let (there, mut spec) = (Inventory::default(), RolloutSpec::default());
    spec.strategy = Strategy::AllAtOnce;
    let made = plan(&request(&["1", "2", "3"], &there, &spec)).unwrap();
    assert_eq!(wave_names(&made), [["1", "2", "3"]]);
    spec.wave = Some(Amount::Count(1));
    let fault = plan(&request(&["1"], &there, &spec)).unwrap_err();
    assert_eq!(fault.code(), Code::ManifestInvalid);
}

#[test]
fn contradictions_are_refused_and_named() {
    let there = inventory(&[("1", "1", FINE)]);
    let none = RolloutSpec { max_down: Some(Amount::Percent(0).into()), ..RolloutSpec::default() };
    let fault = plan(&request(&["1", "2"], &there, &none)).unwrap_err();
    assert_eq!(fault.to_string(), "`rollout.max_down` is 0%, so no unit may change, but 2 of 2 units have to.");
    let wave = RolloutSpec { wave: Some(Amount::Count(0)), ..RolloutSpec::default() };
    assert!(plan(&request(&["1"], &there, &wave)).unwrap_err().to_string().contains("`rollout.wave` is 0"));
    let order = RolloutSpec { order: listed(&["web-l"]), ..RolloutSpec::default() };
    let fault = plan(&request(&["web-1"], &Inventory::default(), &order)).unwrap_err();
    assert_eq!(fault.hints(), ["Did you mean \"web-1\"?"]);
    let same = inventory(&[("1", "2", FINE)]);
    assert!(plan(&request(&["1"], &same, &none)).unwrap().is_noop(), "nothing has to change, so nothing contradicts");
}

#[test]
fn the_hash_follows_the_content() {
    let (there, spec) = (inventory(&[("1", "1", FINE)]), RolloutSpec::default());
    let made = plan(&request(&["1", "2"], &there, &spec)).unwrap();
    assert_eq!(made.hash(), plan(&request(&["2", "1"], &there, &spec)).unwrap().hash());
    let stored: Plan = serde_json::from_str(&serde_json::to_string(&made).unwrap()).unwrap();
    assert_eq!((&stored, stored.hash()), (&made, made.hash()));
    let drifted = inventory(&[("1", "1.5", FINE)]);
    assert_ne!(made.hash(), plan(&request(&["1", "2"], &drifted, &spec)).unwrap().hash(), "drift changes it");
}

#[test]
fn a_rollback_takes_tasks_back_the_other_way_round() {
    let task = |run, rollback, on_rollback| TaskSpec {
        command: Command(vec!["true".into()]),
        run,
        per: TaskPer::Rollout,
        rollback,
        timeout: None,
        on_rollback,
    };
    let back = RollbackPolicy::Command(vec!["down".into()]);
    let (migrate, tell) = (task(TaskRun::Before, back, false), task(TaskRun::After, RollbackPolicy::Safe, true));
    let (silent, drop) =
        (task(TaskRun::Before, RollbackPolicy::Safe, false), task(TaskRun::Before, RollbackPolicy::Forbid, false));
    let (there, spec) = (inventory(&[("1", "3", FINE)]), RolloutSpec::default());
    let mut request = request(&["1"], &there, &spec);
    request.tasks = vec![("migrate", &migrate), ("tell", &tell), ("silent", &silent), ("drop", &drop)];
    assert!(plan(&request).unwrap().tasks.iter().all(|task| task.does == TaskDoes::Run));
    request.direction = Direction::Rollback;
    let made = plan(&request).unwrap();
    let facts: Vec<_> =
        made.tasks.iter().map(|task| (task.name.as_str(), task.run, task.does, task.rollback)).collect();
    assert_eq!(
        facts,
        [
            ("migrate", TaskRun::After, TaskDoes::TakeBack, Rollback::Command),
            ("tell", TaskRun::After, TaskDoes::Run, Rollback::Safe),
            ("drop", TaskRun::Before, TaskDoes::Forbid, Rollback::Forbid),
        ]
    );
}

#[test]
fn a_plan_that_contradicts_itself_is_refused_and_not_run() {
    let (there, spec) = (Inventory::default(), RolloutSpec::default());
    let good = plan(&request(&["1", "2"], &there, &spec)).unwrap();
    let broken: [fn(&mut Plan); 6] = [
        |plan| plan.waves[0].units[0].0 = 99,
        |plan| plan.waves[1].units[0].0 = 0,
        |plan| plan.limits[0].max_down = 0,
        |plan| plan.limits[0].members = UnitSet::range(0, 100),
        |plan| plan.units[0].action = UnitAction::Keep,
        |plan| plan.waves.truncate(1),
    ];
    for breaks in broken {
        let mut plan = good.clone();
        breaks(&mut plan);
        assert_eq!(Course::new(plan.clone()).unwrap_err().code(), Code::Decode);
        let text = serde_json::to_string(&plan).unwrap();
        assert!(serde_json::from_str::<Course>(&text).is_err(), "nor is it read");
    }
}
