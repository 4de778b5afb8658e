//! A run as text for people and as JSON.

use serde_json::{Map, Value, json};
use vice_core::id::Scope;
use vice_core::payload::verification::{CheckOutcome, CheckResult, SuiteResult};
use vice_core::text::{Table, Tone, paint, sanitize};

/// Mark, word and tone of an outcome: readable without colour, and without the mark.
const fn shown(outcome: CheckOutcome) -> (&'static str, &'static str, Tone) {
    match outcome {
        CheckOutcome::Passed => ("✓", "passed", Tone::Good),
        CheckOutcome::Failed => ("✗", "failed", Tone::Bad),
        CheckOutcome::Errored => ("!", "not run", Tone::Warn),
        CheckOutcome::Skipped => ("-", "skipped", Tone::Faint),
    }
}

/// One line a check, its messages below it, and a summary.
pub(super) fn text(scope: &Scope, suite: &SuiteResult) -> String {
    let mut table = Table::default();
    for check in &suite.checks {
        let (mark, word, tone) = shown(check.outcome);
        table.row([
            (tone, mark.to_owned()),
            (Tone::Strong, check.name.clone()),
            (tone, word.to_owned()),
            (Tone::Faint, time(check)),
            (Tone::Plain, check.subject.clone()),
        ]);
    }
    let mut out = String::new();
    for (line, check) in table.render().lines().zip(&suite.checks) {
        out.push_str(line);
        out.push('\n');
        for message in &check.messages {
            out.push_str(&format!("    {}\n", sanitize(message)));
        }
    }
    out.push_str(&summary(scope, suite));
    out.push('\n');
    out
}

fn time(check: &CheckResult) -> String {
    match check.attempts {
        0 => String::new(),
        1 => check.took.to_string(),
        many => format!("{} ({many} attempts)", check.took),
    }
}

fn summary(scope: &Scope, suite: &SuiteResult) -> String {
    let outcomes = [CheckOutcome::Passed, CheckOutcome::Failed, CheckOutcome::Errored, CheckOutcome::Skipped];
    let counts: Vec<String> = outcomes
        .into_iter()
        .filter(|outcome| suite.count(*outcome) > 0)
        .map(|outcome| paint(shown(outcome).2, format!("{} {}", suite.count(outcome), shown(outcome).1)))
        .collect();
    let plural = if suite.checks.len() == 1 { "check" } else { "checks" };
    format!(
        "{} {plural} of {} in {}: {}, in {}.",
        suite.checks.len(),
        scope.project,
        scope.env,
        counts.join(", "),
        suite.took
    )
}

/// The suite with its scope and counts.
pub(crate) fn json(scope: &Scope, version: Option<&str>, suite: &SuiteResult) -> Value {
    let mut out = Map::new();
    out.insert("scope".to_owned(), json!(scope));
    out.insert("version".to_owned(), json!(version));
    out.insert("ok".to_owned(), json!(suite.passed()));
    for (name, outcome) in [
        ("passed", CheckOutcome::Passed),
        ("failed", CheckOutcome::Failed),
        ("errored", CheckOutcome::Errored),
        ("skipped", CheckOutcome::Skipped),
    ] {
        out.insert(name.to_owned(), json!(suite.count(outcome)));
    }
    if let Value::Object(fields) = json!(suite) {
        out.extend(fields);
    }
    Value::Object(out)
}
