//! What a watcher knows, in the text format of Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use vice_core::histogram::latency_edge_seconds;
use vice_core::payload::verification::CheckOutcome;
use vice_core::series::Labels;

use super::health::Health;

/// What is known about one scenario.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watched {
    pub(crate) health: Health,
    pub(crate) seconds: f64,
    pub(crate) steps: BTreeMap<String, StepTimes>,
}

/// The times of one step, in a few wide classes, and how often it was bad.
#[derive(Debug, Clone, Default)]
pub(crate) struct StepTimes {
    pub(crate) buckets: BTreeMap<usize, u64>,
    pub(crate) count: u64,
    pub(crate) sum_seconds: f64,
    pub(crate) bad: u64,
}

/// The page.
pub(crate) fn page(watched: &BTreeMap<String, Watched>, labels: &Labels) -> String {
    let mut out = String::new();
    let mut family = |name: &str, kind: &str, help: &str, value: &dyn Fn(&Watched) -> Option<f64>| {
        let _written = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (scenario, watched) in watched {
            if let Some(value) = value(watched) {
                let _written = writeln!(out, "{name}{} {value}", shown(labels, &[("scenario", scenario)]));
            }
        }
    };
    family("vice_scenario_up", "gauge", "Whether the last play passed.", &|watched| {
        watched.health.last.map(|outcome| f64::from(outcome == CheckOutcome::Passed))
    });
    family("vice_scenario_runs_total", "counter", "Plays so far.", &|watched| Some(watched.health.runs as f64));
    family("vice_scenario_bad_total", "counter", "Plays that did not pass.", &|watched| {
        Some(watched.health.bad as f64)
    });
    family("vice_scenario_missed_total", "counter", "Plays left out, as the one before was under way.", &|watched| {
        Some(watched.health.missed as f64)
    });
    family("vice_scenario_incident_open", "gauge", "Whether an incident is open.", &|watched| {
        Some(f64::from(watched.health.open))
    });
    family("vice_scenario_duration_seconds", "gauge", "How long the last play took.", &|watched| {
        watched.health.last.map(|_| watched.seconds)
    });
    steps(watched, labels, &mut out);
    out
}

fn steps(watched: &BTreeMap<String, Watched>, labels: &Labels, out: &mut String) {
    let name = "vice_scenario_step_seconds";
    out.push_str(&format!("# HELP {name} Latency of the steps that were answered.\n# TYPE {name} histogram\n"));
    for (scenario, watched) in watched {
        for (step, times) in &watched.steps {
            let mut sum = 0;
            for (bucket, count) in &times.buckets {
                sum += count;
                let edge = latency_edge_seconds(*bucket).to_string();
                // The last class has no upper edge, which is what +Inf is for.
                if edge == "inf" || edge == "+Inf" {
                    continue;
                }
                let labels = shown(labels, &[("scenario", scenario), ("step", step), ("le", &edge)]);
                out.push_str(&format!("{name}_bucket{labels} {sum}\n"));
            }
            let all = shown(labels, &[("scenario", scenario), ("step", step), ("le", "+Inf")]);
            let plain = shown(labels, &[("scenario", scenario), ("step", step)]);
            out.push_str(&format!(
                "{name}_bucket{all} {0}\n{name}_sum{plain} {1}\n{name}_count{plain} {0}\n",
                times.count, times.sum_seconds
            ));
        }
    }
    let name = "vice_scenario_step_bad_total";
    out.push_str(&format!("# HELP {name} Steps that did not pass.\n# TYPE {name} counter\n"));
    for (scenario, watched) in watched {
        for (step, times) in &watched.steps {
            out.push_str(&format!(
                "{name}{} {}\n",
                shown(labels, &[("scenario", scenario), ("step", step)]),
                times.bad
            ));
        }
    }
}

fn shown(labels: &Labels, own: &[(&str, &str)]) -> String {
    let common = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let pairs = common.chain(own.iter().copied()).map(|(name, value)| {
        let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        format!("{name}=\"{value}\"")
    });
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_what_prometheus_reads() {
        let mut watched = Watched { seconds: 0.25, ..Watched::default() };
        let thresholds = super::super::health::Thresholds { raise: 1, clear: 1 };
        watched.health.observe(CheckOutcome::Failed, thresholds);
        let times = StepTimes { buckets: [(3, 2), (9, 1)].into(), count: 3, sum_seconds: 0.5, bad: 1 };
        watched.steps.insert("GET \"/\"".to_owned(), times);
        let page = page(&[("a\\b".to_owned(), watched)].into(), &[("region".to_owned(), "eu".to_owned())].into());
        assert!(page.contains("vice_scenario_up{region=\"eu\",scenario=\"a\\\\b\"} 0\n"), "{page}");
        assert!(page.contains("vice_scenario_incident_open{region=\"eu\",scenario=\"a\\\\b\"} 1\n"), "{page}");
        assert!(page.contains("step=\"GET \\\"/\\\"\",le=\"+Inf\"} 3\n"), "{page}");
        let buckets: Vec<&str> = page.lines().filter(|line| line.contains("_bucket")).collect();
        assert!(buckets[0].ends_with(" 2") && buckets[1].ends_with(" 3"), "classes add up: {buckets:?}");
    }
}
