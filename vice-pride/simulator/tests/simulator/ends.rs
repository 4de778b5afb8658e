//! Runs that are not over: they lend nobody their time, and say for what they wait. And persons who are waited for.

use vice_core::Millis;
use vice_core::payload::rollout::Verdict;
use vice_core::payload::simulation::{PolicyComparison, SimulatedEnd, SimulationMode, SimulationReport};
use vice_pride_engine::judge::{Analysis, MetricKind, MetricPlan};
use vice_pride_engine::{Course, Exposure, FailurePolicy, Plan, Reason, Wave};
use vice_pride_simulator::fleet::{Fleet, growing_waves};
use vice_pride_simulator::{CUT_OFF_MS, Layout, Run, Study, Title, Watch, compare, report};

use crate::support::{setting, world};

const DAY: u64 = 86_400_000;

fn plan(units: u32, bake: Millis) -> Plan {
    let fleet = Fleet { layout: Layout::flat(units), limits: Vec::new() };
    fleet.plan(growing_waves(units, 1, 2.0, bake), FailurePolicy { retries: 5, tolerate: 0 })
}

fn told(plan: &Plan, units: u32, model: &str, mode: SimulationMode) -> SimulationReport {
    let world = world(model, Layout::flat(units));
    let course = Course::unnamed(plan.clone(), units).unwrap();
    let study = Study { setting: setting(&world, &course, 1), runs: 40, threads: 2, mode };
    let title = Title { project: "shop".parse().unwrap(), env: "prod".parse().unwrap(), policy: None };
    report(&study, &title)
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds")]
const CUT_OFF: f64 = CUT_OFF_MS as f64;

#[test]
fn what_is_cut_off_is_later_than_everything_and_says_for_what_it_waited() {
    let stuck = "stuck = \"100%\"\nunstick = \"99999h\"";
    let gate = "gate = { notice = \"2d\", approval = \"9999999h\" }";
    let changing = "the last units of a wave, or a task";
    for (bake, model, waits) in [
        (Millis(366 * DAY), "", "the bake of wave 1"),
        (Millis(60 * DAY), "", "the bake of wave 3"),
        (Millis(0), gate, "notice and approval"),
        (Millis(0), stuck, changing),
    ] {
        for mode in [SimulationMode::Exact, SimulationMode::Fast] {
            let report = told(&plan(7, bake), 7, model, mode);
            let story = &report.stories[0];
            let unfinished = story.unfinished.as_ref().unwrap_or_else(|| panic!("{mode:?} {waits}"));
            assert_eq!((unfinished.runs, unfinished.of, unfinished.after_ms), (40, 40, CUT_OFF), "{mode:?} {waits}");
            assert_eq!(unfinished.waits[0].what, waits, "{mode:?}");
            assert_eq!((story.total_ms.p5, story.total_ms.p50), (CUT_OFF, CUT_OFF), "{mode:?} {waits}");
            assert_eq!(story.outcomes[0].end, SimulatedEnd::CutOff);
            assert!(story.lower_bound.is_none() && story.total_ms_histogram.is_none());
            let last = &report.stories[1].waves[2];
            assert_eq!(last.p_unfound_after, None, "{mode:?} {waits}: it never ended");
            assert_eq!(report.forecast().unwrap().unfinished.as_ref(), Some(unfinished));
        }
    }
}

#[test]
fn who_stands_still_for_a_person_is_not_quick() {
    // Units that are given up are tolerated, and then somebody has to say what becomes of them: nobody does.
    let plan = Plan { failures: FailurePolicy { retries: 0, tolerate: 7 }, ..plan(7, Millis(0)) };
    let report = told(&plan, 7, "fails = \"10%\"", SimulationMode::Exact);
    let story = &report.stories[0];
    let unfinished = story.unfinished.as_ref().unwrap();
    assert!(unfinished.runs > 10 && unfinished.runs < 40, "{unfinished:?}");
    assert!(unfinished.waits[0].what.starts_with("a person, because a unit was given up"), "{unfinished:?}");
    assert!(story.outcomes.iter().any(|end| end.end == SimulatedEnd::NeedsHuman && end.runs == unfinished.runs));
    assert_eq!(story.total_ms.p99.to_bits(), CUT_OFF.to_bits());
    // Nothing lies between a time that is known and one that is not.
    let between = |ms: f64| ms > 3_600_000.0 && ms < CUT_OFF;
    let time = &story.total_ms;
    assert!(![time.p5, time.p25, time.p50, time.p75, time.p90, time.p95].into_iter().any(between), "{time:?}");
    let bound = story.lower_bound.as_ref().unwrap();
    assert_eq!((bound.mean_ms, bound.mean_gap), (None, None), "the mean of all is not known");
}

/// A judged canary of this many units: two of them watched first, then the others.
fn canary(units: u32, interval: Millis) -> Course {
    let mut plan = plan(units, Millis(60_000));
    let metrics = vec![MetricPlan::new("e", MetricKind::Errors)];
    let all: Vec<_> = plan.waves.drain(..).flat_map(|wave| wave.units).collect();
    let watched = |units: &[_]| Wave { bake: Millis(60_000), judged: true, ..Wave::of(units.to_vec()) };
    plan.waves = vec![watched(&all[..2]), watched(&all[2..])];
    plan.analysis = Some(Analysis { interval, lateness: Millis(5_000), metrics, ..Analysis::default() });
    assert!(plan.waves.iter().all(|wave| wave.exposure == Exposure::Units));
    Course::unnamed(plan, units).unwrap()
}

/// What was held for, and decided.
#[derive(Default)]
struct Story {
    parks: Vec<(u64, bool)>,
    waves: Vec<(u64, u32, bool)>,
}

impl Watch for Story {
    const REASONS: bool = true;
    fn began(&mut self, _: u64, _: u32, _: bool) {}
    fn ended(&mut self, _: u64, _: u32, _: bool, _: bool) {}
    fn wave(&mut self, at: u64, wave: u32, begins: bool) {
        self.waves.push((at, wave, begins));
    }
    fn share(&mut self, _: u64, _: Option<u32>) {}
    fn decided(&mut self, _: u64, _: Verdict, _: Reason) {}
    fn held(&mut self, at: u64, reason: Reason) {
        let parked = matches!(reason, Reason::NoProof { .. });
        if self.parks.last().is_none_or(|(_, before)| *before != parked) && !matches!(reason, Reason::Measuring) {
            self.parks.push((at, parked));
        }
    }
}

fn watched(model: &str, interval: Millis) -> (Run, Story) {
    let world = world(model, Layout::flat(20));
    let course = canary(20, interval);
    let mut story = Story::default();
    let run = setting(&world, &course, 1).watched(0, None, &mut story);
    (run, story)
}

#[test]
fn a_canary_without_traffic_parks_is_promoted_and_goes_on() {
    for requests in ["0/min", "1/d", "0.1/min"] {
        for approve in ["1s", "1h"] {
            let (run, story) = watched(&format!("requests = \"{requests}\"\napprove = \"{approve}\""), Millis(60_000));
            assert_eq!(run.end, SimulatedEnd::Completed, "{requests} {approve}");
            assert!(run.asked >= 1, "{requests} {approve}: a person was asked");
            let parked: Vec<u64> = story.parks.iter().filter(|(_, parked)| *parked).map(|(at, _)| *at).collect();
            assert!(!parked.is_empty(), "{requests} {approve}");
            let second = story.waves.iter().find(|(_, wave, begins)| *wave == 1 && *begins).unwrap().0;
            assert!(parked[0] < second, "it parks in the first wave, and the second follows");
            let answered = if approve == "1s" { 1_000 } else { 3_600_000 };
            assert!(second >= parked[0] + answered, "{requests} {approve}: after the answer");
            assert!(run.events < 1_000, "{requests} {approve}: {} events", run.events);
        }
    }
}

#[test]
fn who_waits_days_for_a_person_looks_hundreds_of_times_and_not_ten_thousands() {
    // Two days of windows of ten seconds are 17,280 of them, once for each wave.
    let (run, _) = watched("requests = \"0/min\"\napprove = \"2d\"", Millis(10_000));
    assert_eq!((run.end, run.asked), (SimulatedEnd::Completed, 2));
    assert!(run.total_ms > 4 * DAY && run.total_ms < 5 * DAY, "{}", run.total_ms);
    assert!(run.events > 500 && run.events < 3_000, "{} events", run.events);
}

#[test]
fn what_the_judge_sees_while_a_person_is_waited_for_still_turns_it_back() {
    // A person is asked after five minutes, in a first wave that bakes for weeks; the bug makes ten times as many errors, which a
    // judge with few requests sees within hours. Seed 1: all 20 runs find it long before the answer, which comes after ten days.
    let spec = "requests = \"30/min\"\napprove = \"10d\"\nerrors = \"1%\"\n[bug.b]\nhazard = \"0.0001/h\"\nerrors = 10";
    let world = world(spec, Layout::flat(20));
    let course = canary(20, Millis(10_000));
    let mut plan = course.plan().clone();
    if let Some(analysis) = &mut plan.analysis {
        analysis.patience = Some(Millis(300_000));
    }
    plan.waves[0].bake = Millis(20 * DAY);
    let course = Course::unnamed(plan, 20).unwrap();
    for run in 0..20 {
        let run = setting(&world, &course, 1).run(run, Some(&world.bugs()[0]));
        assert_eq!(run.end, SimulatedEnd::RolledBack);
        assert!(run.total_ms < DAY, "{}", run.total_ms);
    }
}

#[test]
fn a_fleet_of_nothing_tells_no_story() {
    let mut none = plan(1, Millis(0));
    none.waves.clear();
    let report = told(&none, 0, "", SimulationMode::Exact);
    assert!(report.stories.is_empty() && report.forecast().is_none(), "{:?}", report.stories);
    assert!(report.warnings.iter().any(|warning| warning.contains("no units")));
}

#[test]
fn two_policies_are_compared_by_the_runs_that_were_over() {
    let world = world("stuck = \"2%\"\nunstick = \"99999h\"\nfails = 0.0", Layout::flat(7));
    let course = Course::unnamed(plan(7, Millis(0)), 7).unwrap();
    let never = Course::unnamed(plan(7, Millis(366 * DAY)), 7).unwrap();
    let study =
        |course| Study { setting: setting(&world, course, 1), runs: 100, threads: 2, mode: SimulationMode::Exact };
    let figure = |rows: &PolicyComparison, name: &str| {
        rows.rows.iter().find(|row| row.figure == name && row.story == "healthy").cloned()
    };
    let same = compare(("a", &study(&course)), ("b", &study(&course)));
    let unfinished = figure(&same, "p_unfinished").unwrap();
    assert!(unfinished.a > 0.02 && unfinished.a < 0.5, "{unfinished:?}");
    assert!(figure(&same, "total_ms").unwrap().a < 3_600_000.0, "nobody lends 180 days to a mean");
    let other = compare(("a", &study(&course)), ("b", &study(&never)));
    assert_eq!(figure(&other, "total_ms"), None, "there is no pair in which both were over");
    assert!((figure(&other, "p_unfinished").unwrap().b - 1.0).abs() < 1e-9);
}
