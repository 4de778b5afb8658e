//! Test Anything Protocol, version 14: a point a step, what was found as a block below it.

use serde_json::json;
use vice_core::payload::verification::CheckOutcome;

use crate::play::result::{RunResult, ScenarioResult, StepResult};

pub(super) fn document(run: &RunResult) -> String {
    let points: Vec<(&ScenarioResult, Option<&StepResult>)> = run
        .scenarios
        .iter()
        .flat_map(|scenario| {
            let none = scenario.steps.is_empty().then_some((scenario, None));
            none.into_iter().chain(scenario.steps.iter().map(move |step| (scenario, Some(step))))
        })
        .collect();
    let mut out = format!("TAP version 14\n1..{}\n", points.len());
    for (index, (scenario, step)) in points.into_iter().enumerate() {
        point(index + 1, scenario, step, &mut out);
    }
    out
}

fn point(number: usize, scenario: &ScenarioResult, step: Option<&StepResult>, out: &mut String) {
    let outcome = step.map_or(scenario.outcome, |step| step.outcome);
    let ok = matches!(outcome, CheckOutcome::Passed | CheckOutcome::Skipped);
    let name = step.map_or_else(String::new, |step| format!(" - {}", step.name));
    let title = escaped(&format!("{}{name}", scenario.title()));
    let reason = step.and_then(|step| step.findings.first()).map(|finding| finding.message.as_str());
    let reason = reason.or(scenario.reason.as_deref()).unwrap_or_default();
    let skip = if outcome == CheckOutcome::Skipped { format!(" # SKIP {}", escaped(reason)) } else { String::new() };
    out.push_str(&format!("{}ok {number} - {title}{skip}\n", if ok { "" } else { "not " }));
    if ok {
        return;
    }
    let line = |key: &str, value: serde_json::Value| format!("  {key}: {value}\n");
    out.push_str("  ---\n");
    out.push_str(&line("message", json!(reason)));
    out.push_str(&line("severity", json!(if outcome == CheckOutcome::Failed { "fail" } else { "error" })));
    if let Some(step) = step {
        out.push_str(&line("at", json!({ "file": step.file, "line": step.line })));
        out.push_str(&line("duration_ms", json!(step.took_ms)));
        // JSON is YAML, and needs no rules of its own for what is hostile.
        out.push_str(&line("findings", json!(step.findings)));
    }
    out.push_str("  ...\n");
}

/// `#` begins a directive, and a line ends a point.
fn escaped(text: &str) -> String {
    vice_core::text::sanitize(text).replace('\\', "\\\\").replace('#', "\\#")
}
