//! What a run of scenarios found as series, so that the metrics of a rollout can read it: `scenario_total` and
//! `scenario_bad` count scenarios, `scenario_step_total`, `_bad` and `_bucket` their steps, each by its name, with the
//! labels of the run (project, env, version, host, and what `--label` gives, such as a region).

use std::collections::BTreeMap;

use jiff::Timestamp;
use vice_core::histogram::{latency_bucket, latency_edge_seconds};
use vice_core::payload::verification::CheckOutcome;
use vice_core::series::{Labels, Point};

use crate::play::result::{RunResult, StepResult, is_bad};

/// The series of whole scenarios.
const SCENARIO_SERIES: &str = "scenario";

/// The series of steps.
const STEP_SERIES: &str = "scenario_step";

#[derive(Default)]
struct Tally {
    total: u64,
    bad: u64,
    buckets: BTreeMap<usize, u64>,
}

impl Tally {
    fn count(&mut self, outcome: CheckOutcome, step: Option<&StepResult>) {
        if outcome == CheckOutcome::Skipped {
            return;
        }
        self.total += 1;
        self.bad += u64::from(is_bad(outcome));
        if let Some(step) = step {
            // No answer is slower than any.
            let good = step.latency_ms.filter(|_| !is_bad(outcome));
            let micros = good.map_or(u64::MAX, |ms| (ms * 1000.0) as u64);
            *self.buckets.entry(latency_bucket(micros)).or_default() += 1;
        }
    }
}

/// The points of a run. What was skipped is neither good nor bad, and does not count.
pub(crate) fn points(run: &RunResult, labels: &Labels, time: Timestamp) -> Vec<Point> {
    let mut tallies: BTreeMap<(&str, Option<&str>), Tally> = BTreeMap::new();
    for scenario in &run.scenarios {
        tallies.entry((&scenario.name, None)).or_default().count(scenario.outcome, None);
        for step in &scenario.steps {
            tallies.entry((&scenario.name, Some(step.name.as_str()))).or_default().count(step.outcome, Some(step));
        }
    }
    tallies.retain(|_, tally| tally.total > 0);
    tallies.iter().flat_map(|((scenario, step), tally)| of(scenario, *step, tally, labels, time)).collect()
}

fn of(scenario: &str, step: Option<&str>, tally: &Tally, labels: &Labels, time: Timestamp) -> Vec<Point> {
    let base = if step.is_some() { STEP_SERIES } else { SCENARIO_SERIES };
    let mut labels = labels.clone();
    labels.insert("scenario".to_owned(), scenario.to_owned());
    labels.extend(step.map(|step| ("step".to_owned(), step.to_owned())));
    let point = |suffix: &str, labels: Labels, count: u64| Point {
        name: format!("{base}_{suffix}"),
        labels,
        time,
        value: count as f64,
    };
    let mut points = vec![point("total", labels.clone(), tally.total), point("bad", labels.clone(), tally.bad)];
    points.extend(tally.buckets.iter().map(|(bucket, count)| {
        let mut labels = labels.clone();
        labels.insert("le".to_owned(), latency_edge_seconds(*bucket).to_string());
        point("bucket", labels, *count)
    }));
    points
}
