//! Fleets of nothing and of millions, and models that make no sense.

use vice_core::Millis;
use vice_core::payload::simulation::{SimulatedEnd, SimulationMode};
use vice_pride_engine::{Course, FailurePolicy};
use vice_pride_simulator::fleet::{Fleet, Level, growing_waves};
use vice_pride_simulator::{FastCourse, Layout, Past, Study, Title, World, report};

use crate::support::{setting, world};

#[test]
fn a_fleet_of_nothing_is_over_at_once() {
    let fleet = Fleet { layout: Layout::flat(0), limits: Vec::new() };
    let course = fleet.course(Vec::new(), FailurePolicy::default()).unwrap();
    let world = world("", Layout::flat(0));
    let run = setting(&world, &course, 1).run(0, None);
    assert_eq!((run.end, run.total_ms), (SimulatedEnd::Completed, 0));
    for mode in [SimulationMode::Exact, SimulationMode::Fast] {
        let study = Study { setting: setting(&world, &course, 1), runs: 3, threads: 2, mode };
        let title = Title { project: "shop".parse().unwrap(), env: "prod".parse().unwrap(), policy: None };
        let report = report(&study, &title);
        assert!(report.warnings.iter().any(|warning| warning.contains("no units")));
        serde_json::to_string(&report).unwrap();
    }
}

#[test]
fn five_million_units_are_simulated_and_fifty_million_refused() {
    let levels = |each| [Level { name: "rack", each, max_down: Some(10) }];
    let fleet = Fleet::regular(&levels(50_000), 100).unwrap();
    let course = fleet
        .course(growing_waves(5_000_000, 1_000, 10.0, Millis(0)), FailurePolicy { retries: 9, tolerate: 0 })
        .unwrap();
    let world = world("install = \"60s\"", fleet.layout.clone());
    let run = FastCourse::new(&world, &course).run(1, 0);
    assert_eq!(run.end, SimulatedEnd::Completed);
    let exposed: f64 = run.trace.exposed_at(run.trace.len() - 1).iter().sum();
    assert!((exposed - 5e6).abs() < 0.5, "{exposed}");
    let error = Fleet::regular(&levels(500_000), 100).unwrap_err();
    assert!(error.to_string().contains("too large"), "{error}");
    let spec = toml::from_str("").unwrap();
    assert!(World::new(&spec, Layout::flat(50_000_000), &Past::default()).is_err());
}

#[test]
fn words_about_nothing_are_refused() {
    for (model, word) in [
        ("[bug.x]\nclass = \"gpu\"", "gpu"),
        ("[at.\"eu/dc9\"]\ninstall = \"1m\"", "eu/dc9"),
        ("[class.arm]\ninstall = \"1m\"", "arm"),
    ] {
        let spec = toml::from_str(model).unwrap();
        let fleet = Fleet::regular(&[Level { name: "dc", each: 2, max_down: None }], 4).unwrap();
        let error = World::new(&spec, fleet.layout, &Past::default()).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn places_and_classes_have_their_own_durations() {
    let mut fleet = Fleet::regular(&[Level { name: "dc", each: 2, max_down: Some(1) }], 4).unwrap();
    fleet.layout.classes = vec![("gpu".to_owned(), vec![(6, 8)])];
    let model = "drain = \"0s\"\ninstall = \"1s\"\ncheck = \"0s\"\nfails = 0.0\n[class.gpu]\ninstall = \"10s\"\n[at.dc2]\ncheck = \"100s\"";
    let world = world(model, fleet.layout.clone());
    assert_eq!([0, 4, 6].map(|unit| world.unit_mean_ms(unit)), [1_000.0, 101_000.0, 110_000.0]);
}

#[test]
fn a_world_that_only_fails_ends_and_says_so() {
    let fleet = Fleet::regular(&[Level { name: "dc", each: 1, max_down: Some(1) }], 4).unwrap();
    let course: Course =
        fleet.course(growing_waves(4, 1, 2.0, Millis(0)), FailurePolicy { retries: 2, tolerate: 0 }).unwrap();
    let world = world("fails = 1.0", fleet.layout.clone());
    let run = setting(&world, &course, 1).run(0, None);
    assert_eq!((run.end, run.failed_tries), (SimulatedEnd::RolledBack, 3));
}
