//! JUnit XML: a scenario is a suite, a step a case.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use vice_core::payload::verification::CheckOutcome;
use vice_core::{Code, Context, Result};

use super::About;
use crate::play::result::{Phase, RunResult, ScenarioResult, StepResult, millis};

pub(super) fn document(about: &About, run: &RunResult) -> Result<String> {
    let mut report = Report::new("vice wrath");
    report.set_time(millis(run.took_ms).as_duration());
    report.timestamp = run.started.to_string().parse().ok();
    report.add_test_suites(run.scenarios.iter().map(|scenario| suite(about, scenario)));
    report.to_string().context(Code::Internal, || "The JUnit report does not serialise.".to_owned())
}

fn suite(about: &About, scenario: &ScenarioResult) -> TestSuite {
    let mut suite = TestSuite::new(scenario.title());
    suite.set_time(millis(scenario.took_ms).as_duration());
    suite.add_test_cases(scenario.steps.iter().map(|step| case(about, scenario, step)));
    if let Some(reason) = &scenario.reason {
        let mut status = match scenario.outcome {
            CheckOutcome::Errored => TestCaseStatus::non_success(NonSuccessKind::Error),
            _ => TestCaseStatus::skipped(),
        };
        status.set_message(reason.as_str());
        suite.add_test_case(TestCase::new(scenario.name.as_str(), status));
    }
    suite
}

fn case(about: &About, scenario: &ScenarioResult, step: &StepResult) -> TestCase {
    let mut status = match step.outcome {
        CheckOutcome::Passed => TestCaseStatus::success(),
        CheckOutcome::Failed => TestCaseStatus::non_success(NonSuccessKind::Failure),
        CheckOutcome::Errored => TestCaseStatus::non_success(NonSuccessKind::Error),
        CheckOutcome::Skipped => TestCaseStatus::skipped(),
    };
    if let Some(first) = step.findings.first() {
        status.set_message(first.message.as_str());
        let lines = step.findings.iter().flat_map(|finding| {
            let head = format!("{} ({}:{})", finding.message, finding.file, finding.line);
            [head].into_iter().chain(finding.diff.iter().cloned())
        });
        status.set_description(lines.collect::<Vec<_>>().join("\n"));
        if matches!(step.outcome, CheckOutcome::Failed | CheckOutcome::Errored) {
            status.set_type(step.kind);
        }
    }
    let name = match step.phase {
        Phase::Step => step.name.clone(),
        Phase::Setup => format!("setup: {}", step.name),
        Phase::Teardown => format!("teardown: {}", step.name),
    };
    let mut case = TestCase::new(name.as_str(), status);
    case.set_classname(format!("{}.{}", about.place, scenario.title()));
    case.set_time(millis(step.took_ms).as_duration());
    case.add_property(("subject", step.subject.as_str()));
    case.add_property(("attempts", step.attempts.to_string().as_str()));
    case.add_property(("file", format!("{}:{}", step.file, step.line).as_str()));
    case
}
