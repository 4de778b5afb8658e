//! A run as JUnit XML: a check that failed is a failure, one that could not be carried out is an error, one that was
//! not run because of another is skipped.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use vice_core::id::Scope;
use vice_core::payload::verification::{CheckOutcome, CheckResult, SuiteResult};
use vice_core::{Code, Context, Result};

/// The document.
///
/// # Errors
/// `Internal` when it does not serialise, which is a bug.
pub(crate) fn document(scope: &Scope, suite: &SuiteResult) -> Result<String> {
    let mut cases = TestSuite::new(scope.to_string());
    cases.set_time(suite.took.as_duration());
    cases.timestamp = suite.started.to_string().parse().ok();
    cases.add_test_cases(suite.checks.iter().map(|check| case(scope, check)));
    let mut report = Report::new("vice wrath");
    report.set_time(suite.took.as_duration());
    report.add_test_suite(cases);
    report.to_string().context(Code::Internal, || "The JUnit report does not serialise.".to_owned())
}

fn case(scope: &Scope, check: &CheckResult) -> TestCase {
    let mut status = match check.outcome {
        CheckOutcome::Passed => TestCaseStatus::success(),
        CheckOutcome::Failed => TestCaseStatus::non_success(NonSuccessKind::Failure),
        CheckOutcome::Errored => TestCaseStatus::non_success(NonSuccessKind::Error),
        CheckOutcome::Skipped => TestCaseStatus::skipped(),
    };
    if let Some(first) = check.messages.first() {
        status.set_message(first.as_str());
        status.set_description(check.messages.join("\n"));
    }
    if check.outcome == CheckOutcome::Failed || check.outcome == CheckOutcome::Errored {
        status.set_type(check.kind.as_str());
    }
    let mut case = TestCase::new(check.name.as_str(), status);
    case.set_classname(format!("{}.{}", scope.project, scope.env));
    case.set_time(check.took.as_duration());
    case.add_property(("subject", check.subject.as_str()));
    case.add_property(("attempts", check.attempts.to_string().as_str()));
    case
}
