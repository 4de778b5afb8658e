//! The fast mode against the exact one, on the same luck.

use vice_core::Millis;
use vice_core::payload::simulation::SimulationMode;
use vice_pride_engine::{Course, Exclusion, FailurePolicy, Group, Limit, UnitSet};
use vice_pride_simulator::fleet::{Fleet, Level, growing_waves};
use vice_pride_simulator::{FastCourse, Study, Title, World, report};

use crate::support::{setting, world};

const MODEL: &str = "drain = \"20s ~ 5s\"\ninstall = \"60s ~ 20s\"\ncheck = \"10s ~ 5s\"\nfails = \"1%\"";

fn both(world: &World, course: &Course, runs: u64) -> (f64, f64, f64, f64) {
    let fast = FastCourse::new(world, course);
    let (mut exact_time, mut fast_time, mut exact_hours, mut fast_hours) = (0.0, 0.0, 0.0, 0.0);
    for run in 0..runs {
        let exact = setting(world, course, 3).run(run, None);
        let fast = fast.run(3, run);
        #[expect(clippy::cast_precision_loss, reason = "milliseconds")]
        let (one, two) = (exact.total_ms as f64, fast.total_ms as f64);
        exact_time += one;
        fast_time += two;
        exact_hours += exact.trace.total_hours();
        fast_hours += fast.trace.total_hours();
        assert_eq!(exact.failed_tries, fast.failed_tries, "the luck of tries is the same");
    }
    (exact_time, fast_time, exact_hours, fast_hours)
}

#[test]
fn with_one_level_of_limits_the_fast_mode_is_nearly_exact() {
    // Seed 3, 40 runs of 1,000 units: within 2 % in time and in server-hours. What differs is only that a unit that
    // failed goes on at once instead of giving its place to others for a moment.
    let fleet = Fleet::regular(&[Level { name: "cluster", each: 10, max_down: Some(10) }], 100).unwrap();
    let failures = FailurePolicy { retries: 100, tolerate: 0 };
    let course = fleet.course(growing_waves(1_000, 1, 2.0, Millis(60_000)), failures).unwrap();
    let (exact, fast, exact_hours, fast_hours) = both(&world(MODEL, fleet.layout.clone()), &course, 40);
    assert!((fast / exact - 1.0).abs() < 0.02, "{fast} {exact}");
    assert!((fast_hours / exact_hours - 1.0).abs() < 0.02, "{fast_hours} {exact_hours}");
}

#[test]
fn with_wide_limits_that_bind_the_fast_mode_is_within_a_tenth() {
    // Seed 3, 20 runs of 2,000 units under three levels and a domain across them.
    let level = |name, each, max_down| Level { name, each, max_down: Some(max_down) };
    let levels = [level("world", 1, 60), level("dc", 4, 25), level("rack", 10, 3)];
    let mut fleet = Fleet::regular(&levels, 50).unwrap();
    fleet.domains(10, 12);
    let failures = FailurePolicy { retries: 100, tolerate: 0 };
    let course = fleet.course(growing_waves(2_000, 1, 2.0, Millis(0)), failures).unwrap();
    let (exact, fast, exact_hours, fast_hours) = both(&world(MODEL, fleet.layout.clone()), &course, 20);
    assert!((fast / exact - 1.0).abs() < 0.10, "{fast} {exact}");
    assert!((fast_hours / exact_hours - 1.0).abs() < 0.10, "{fast_hours} {exact_hours}");
}

#[test]
fn no_schedule_beats_the_bound() {
    let fleet = Fleet::regular(&[Level { name: "cluster", each: 10, max_down: Some(10) }], 100).unwrap();
    let failures = FailurePolicy { retries: 100, tolerate: 0 };
    let course = fleet.course(growing_waves(1_000, 1, 2.0, Millis(60_000)), failures).unwrap();
    let world = world("drain = \"0s\"\ninstall = \"60s\"\ncheck = \"0s\"\nfails = 0.0", fleet.layout.clone());
    let bound = vice_pride_simulator::lower_bound(&world, &course).total_ms;
    #[expect(clippy::cast_precision_loss, reason = "milliseconds")]
    let total = setting(&world, &course, 1).run(0, None).total_ms as f64;
    // Equal durations: d * ceil(n / floor(f n)) in each wave, which is at most one d more than the work over the places.
    assert!(total >= bound - 1.0, "{total} {bound}");
    assert!(total <= bound + 60_000.0 * 10.0, "{total} {bound}");
}

#[test]
fn the_bound_of_means_is_compared_with_a_mean() {
    // Seed 3, 4,000 runs of six units one after the other: their mean is that of the durations, and the median of the skewed law
    // lies below it.
    let fleet = Fleet { layout: vice_pride_simulator::Layout::flat(6), limits: Vec::new() };
    let mut plan = fleet.plan(growing_waves(6, 6, 1.0, Millis(0)), FailurePolicy { retries: 5, tolerate: 0 });
    let members = UnitSet::range(0, 6);
    plan.limits.push(Limit { name: "environment".into(), members, max_down: 1, down_before: 0 });
    let course = Course::unnamed(plan.clone(), 6).unwrap();
    let world = world("install = \"30s ~ 60s\"\nfails = 0.0", fleet.layout.clone());
    let bound = |course: &Course, mode| {
        let study = Study { setting: setting(&world, course, 3), runs: 4_000, threads: 4, mode };
        let title = Title { project: "shop".parse().unwrap(), env: "prod".parse().unwrap(), policy: None };
        report(&study, &title).stories[0].lower_bound.clone().unwrap()
    };
    let one = bound(&course, SimulationMode::Exact);
    let (mean, error) = (one.mean_ms.unwrap(), one.mean_error_ms.unwrap());
    assert!((mean - one.total_ms).abs() < 3.0 * error && error < 0.02 * mean, "{one:?}");
    assert!((one.mean_gap.unwrap() - 1.0).abs() < 0.05 && one.gap < 0.97, "{one:?}");
    assert_eq!(one.binding.as_deref(), Some("environment"));

    // Groups that exclude each other add up, each with the longest of its units; the fast mode does not keep them.
    plan.limits.clear();
    let group = |name: &str, low, high| Group { name: name.into(), members: UnitSet::range(low, high) };
    let groups = vec![group("a", 0, 2), group("b", 2, 4), group("c", 4, 6)];
    plan.exclusions.push(Exclusion { name: "apart".into(), groups });
    let apart = Course::unnamed(plan, 6).unwrap();
    let exact = bound(&apart, SimulationMode::Exact);
    let fast = bound(&apart, SimulationMode::Fast);
    assert!((exact.total_ms / fast.total_ms - 3.0).abs() < 1e-9, "{exact:?} {fast:?}");
    assert_eq!((exact.binding.as_deref(), fast.binding), (Some("apart"), None));
    assert!(exact.mean_gap.unwrap() > 1.0 && fast.mean_gap.unwrap() > 1.0);
}
