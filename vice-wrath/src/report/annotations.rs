//! What did not pass, at its line: as workflow commands of GitHub Actions, and as a code quality report of GitLab.

use serde_json::{Value, json};
use vice_core::digest::Digest;
use vice_core::payload::verification::CheckOutcome;

use crate::play::result::{Finding, RunResult, ScenarioResult, StepResult, is_bad};

/// Findings with where they come from.
fn findings(run: &RunResult) -> impl Iterator<Item = (&ScenarioResult, &StepResult, &Finding)> {
    run.scenarios.iter().flat_map(|scenario| {
        let bad = scenario.steps.iter().filter(|step| is_bad(step.outcome));
        bad.flat_map(move |step| step.findings.iter().map(move |finding| (scenario, step, finding)))
    })
}

/// A line `::error …` for each finding.
pub(super) fn github(run: &RunResult) -> String {
    let mut out = String::new();
    for (scenario, step, finding) in findings(run) {
        let level = if step.outcome == CheckOutcome::Failed { "error" } else { "warning" };
        let title = property(&format!("{} › {}", scenario.title(), step.name));
        let whole: Vec<&str> =
            [finding.message.as_str()].into_iter().chain(finding.diff.iter().map(String::as_str)).collect();
        out.push_str(&format!(
            "::{level} file={},line={},title={title}::{}\n",
            property(&finding.file),
            finding.line,
            data(&whole.join("\n"))
        ));
    }
    for scenario in run.scenarios.iter().filter(|scenario| is_bad(scenario.outcome)) {
        if let Some(reason) = &scenario.reason {
            out.push_str(&format!(
                "::warning file={},line={}::{}\n",
                property(&scenario.file),
                scenario.line,
                data(reason)
            ));
        }
    }
    let passed = run.count(CheckOutcome::Passed);
    out.push_str(&format!("::notice title=vice wrath::{passed} of {} scenarios passed\n", run.scenarios.len()));
    out
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// An array of issues, as `artifacts:reports:codequality` takes it.
pub(super) fn gitlab(run: &RunResult) -> String {
    let issues = findings(run).map(|(scenario, step, finding)| {
        let title = format!("{} › {}", scenario.title(), step.name);
        // Stable over runs, so that GitLab knows an issue again: without what the system said this time.
        let kind = finding.message.split(':').next().unwrap_or_default();
        let print = Digest::of(format!("{title}\n{}\n{}\n{kind}", finding.file, finding.line).as_bytes());
        json!({
            "description": format!("{title}: {}", finding.message),
            "check_name": "vice-wrath",
            "fingerprint": print.to_string(),
            "severity": if step.outcome == CheckOutcome::Failed { "major" } else { "minor" },
            "location": { "path": finding.file, "lines": { "begin": finding.line } },
        })
    });
    format!("{:#}\n", Value::Array(issues.collect()))
}
