//! The fast mode against the exact one, on the same luck.

use vice_core::Millis;
use vice_pride_engine::{Course, FailurePolicy};
use vice_pride_simulator::fleet::{Fleet, Level, growing_waves};
use vice_pride_simulator::{FastCourse, World};

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
