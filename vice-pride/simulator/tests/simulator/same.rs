//! The same seed gives the same bytes, on any number of threads; another seed gives others.

use vice_core::Millis;
use vice_core::payload::simulation::SimulationMode;
use vice_pride_engine::FailurePolicy;
use vice_pride_simulator::fleet::{Fleet, Level, growing_waves};
use vice_pride_simulator::{Study, Title, report};

use crate::support::{setting, world};

fn json(threads: usize, seed: u64, mode: SimulationMode) -> String {
    let levels = [Level { name: "dc", each: 2, max_down: Some(8) }, Level { name: "rack", each: 5, max_down: Some(2) }];
    let fleet = Fleet::regular(&levels, 10).unwrap();
    let course =
        fleet.course(growing_waves(100, 1, 3.0, Millis(600_000)), FailurePolicy { retries: 9, tolerate: 0 }).unwrap();
    let world = world(
        "fails = \"2%\"\n[bug.a]\nhazard = \"0.5/h ~ 0.5/h\"\ncorrelation = 0.5\nappears = \"exp 5m\"",
        fleet.layout.clone(),
    );
    let study = Study { setting: setting(&world, &course, seed), runs: 37, threads, mode };
    let title = Title { project: "shop".parse().unwrap(), env: "prod".parse().unwrap(), policy: None };
    serde_json::to_string(&report(&study, &title)).unwrap()
}

#[test]
fn threads_change_nothing() {
    for mode in [SimulationMode::Exact, SimulationMode::Fast] {
        let one = json(1, 7, mode);
        assert_eq!(json(2, 7, mode), one);
        assert_eq!(json(5, 7, mode), one);
        assert_eq!(json(64, 7, mode), one);
        assert_ne!(json(1, 8, mode), one);
        assert!(!one.contains("null") && !one.contains("NaN"), "{one}");
    }
}
