//! No constraint is broken in any simulated run, and every run ends or says why. That the oracle can see it is shown by
//! taking constraints away.

use vice_core::payload::simulation::{SimulatedEnd, SimulationMode};
use vice_pride_engine::{Course, Plan, UnitNo};
use vice_pride_simulator::{Layout, Study, Title, report};

use crate::oracle::Oracle;
use crate::support::{random_plan, setting, world};

const MODEL: &str = r#"
drain = "5s ~ 5s"
install = "10s..60s"
check = "exp 5s"
fails = "3%"
stuck = "1%"
unstick = "5m ~ 5m"
react = "30s ~ 1m"
[bug.leak]
hazard = "20/h ~ 20/h"
[bug.rare]
hazard = "0.01/h"
"#;

/// Runs a plan and looks at it with the constraints of another.
fn broken(run: &Plan, law: &Plan, units: u32, seed: u64, bug: Option<usize>) -> Vec<String> {
    let world = world(MODEL, Layout::flat(units));
    let course = Course::unnamed(run.clone(), units).unwrap();
    let mut oracle = Oracle::new(law);
    let bug = bug.map(|at| &world.bugs()[at]);
    let run = setting(&world, &course, seed).watched(0, bug, &mut oracle);
    // Everything that was placed is there at the end, or nothing is: a way back leaves no unit on the bad release.
    match run.end {
        SimulatedEnd::Completed => assert_eq!(oracle.placed.len(), units as usize, "seed {seed}"),
        SimulatedEnd::RolledBack => assert!(oracle.placed.is_empty(), "seed {seed}: {:?}", oracle.placed),
        other => panic!("seed {seed} ends as {other:?}"),
    }
    let exposed: f64 = run.trace.exposed_at(run.trace.len() - 1).iter().sum();
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let placed = oracle.placed.len() as f64;
    assert!((exposed - placed).abs() < 1e-9, "seed {seed}: exposures do not sum");
    oracle.broken
}

#[test]
fn no_constraint_is_broken_in_any_run() {
    // Seeds 0..250, each healthy and with two bugs.
    for seed in 0..250 {
        let (plan, units) = random_plan(seed);
        for bug in [None, Some(0), Some(1)] {
            let broken = broken(&plan, &plan, units, seed, bug);
            assert!(broken.is_empty(), "seed {seed}, bug {bug:?}: {broken:?}");
        }
    }
}

/// Over many seeds, taking one kind of constraint away from what is run must be seen at least once.
fn is_seen(take_away: impl Fn(&mut Plan)) -> bool {
    (0..120).any(|seed| {
        let (law, units) = random_plan(seed);
        let mut lawless = law.clone();
        take_away(&mut lawless);
        lawless != law && !broken(&lawless, &law, units, seed, None).is_empty()
    })
}

#[test]
fn a_constraint_that_is_taken_away_is_missed() {
    assert!(is_seen(|plan| plan.limits.clear()), "limits");
    assert!(is_seen(|plan| drop(plan.limits.pop())), "one limit");
    assert!(is_seen(|plan| plan.limits.iter_mut().for_each(|limit| limit.max_down += 1)), "a looser limit");
    assert!(is_seen(|plan| plan.exclusions.clear()), "exclusions");
    assert!(is_seen(|plan| plan.orders.clear()), "orders");
    assert!(is_seen(|plan| plan.windows.clear()), "windows");
    assert!(!is_seen(|plan| plan.failures.retries += 1), "more retries break nothing");
}

#[test]
fn waves_are_kept_apart() {
    let (law, units) = (5..200).map(random_plan).find(|(plan, _)| plan.waves.len() > 2).unwrap();
    let mut merged = law.clone();
    let tail: Vec<UnitNo> = merged.waves.drain(1..).flat_map(|wave| wave.units).collect();
    merged.waves[0].units.extend(tail);
    merged.orders.clear();
    assert!(!broken(&merged, &law, units, 1, None).is_empty());
}

#[test]
fn notice_and_approval_come_before_everything_and_are_waited_for() {
    let model = "install = \"30s..90s\"\n";
    let gate = "gate = { notice = \"2d\", approval = \"1h\" }\n";
    let (plan, units) = (0..).map(random_plan).find(|(plan, _)| plan.windows.is_empty()).unwrap();
    let course = Course::unnamed(plan, units).unwrap();
    let total = |text: &str| {
        let world = world(text, Layout::flat(units));
        let run = setting(&world, &course, 3).run(1, None);
        (run.total_ms, run.waves[0].0)
    };
    let (without, with) = (total(model), total(&format!("{model}{gate}")));
    let held_up = 49 * 3_600_000;
    assert_eq!(with, (without.0 + held_up, without.1 + held_up), "on the same luck");
    let world = world(&format!("{model}{gate}"), Layout::flat(units));
    let study = Study { setting: setting(&world, &course, 3), runs: 4, threads: 1, mode: SimulationMode::Exact };
    let title = Title { project: "shop".parse().unwrap(), env: "prod".parse().unwrap(), policy: None };
    let report = report(&study, &title);
    let worst = &report.stories[0].bottlenecks[0];
    assert_eq!(worst.constraint, "notice and approval");
    assert!(report.assumptions.iter().any(|one| one.key == "model.gate.notice"));
}
