//! Whether an answer is as its step demands, what is to be said about it where it is not, and what is captured.

use vice_core::payload::verification::CheckOutcome;

use super::result::{FINDINGS_MAX, Finding};
use crate::capture::Captured;
use crate::query::{Found, Query, filter};
use crate::say;
use crate::scenario::{Assertion, Spot, Step, StepCapture};
use crate::step::Tried;
use crate::values::Values;

/// What became of an attempt.
pub(super) struct Judged {
    pub(super) outcome: CheckOutcome,
    pub(super) findings: Vec<Finding>,
    pub(super) captured: Vec<Captured>,
}

/// Judges an attempt. Captures are taken only of an answer that is as it should be.
pub(super) fn judge(step: &Step, tried: &Tried, values: &Values) -> Judged {
    let mut judging = Judging {
        tried,
        values: std::borrow::Cow::Borrowed(values),
        findings: Vec::new(),
        failed: false,
        errored: false,
    };
    if let Some(why) = &tried.error {
        judging.errored = true;
        judging.say(&step.spot, why);
        // A server that answered, but wrongly so, has still said something worth knowing.
        let informative = tried.facts.status.is_some() && step.action.kind() == "http";
        let status = step.expect.iter().filter(|one| informative && one.query == Query::Status);
        status.for_each(|assertion| judging.assertion(assertion));
        return judging.end(Vec::new());
    }
    let mut captured = Vec::new();
    // What an assertion about a variable looks at may be what this very step captures.
    let (about_vars, others): (Vec<&Assertion>, Vec<&Assertion>) =
        step.expect.iter().partition(|assertion| matches!(assertion.query, Query::Variable(_)));
    others.into_iter().for_each(|assertion| judging.assertion(assertion));
    if !judging.failed && !judging.errored {
        for capture in &step.captures {
            captured.extend(judging.capture(capture));
        }
    }
    if !about_vars.is_empty() {
        let mut with_captures = values.clone();
        captured.iter().cloned().for_each(|captured| with_captures.capture(captured));
        judging.values = std::borrow::Cow::Owned(with_captures);
        about_vars.into_iter().for_each(|assertion| judging.assertion(assertion));
    }
    judging.end(captured)
}

struct Judging<'a> {
    tried: &'a Tried,
    values: std::borrow::Cow<'a, Values>,
    findings: Vec<Finding>,
    failed: bool,
    errored: bool,
}

impl Judging<'_> {
    fn end(self, captured: Vec<Captured>) -> Judged {
        let outcome = match (self.failed, self.errored) {
            (true, _) => CheckOutcome::Failed,
            (false, true) => CheckOutcome::Errored,
            (false, false) => CheckOutcome::Passed,
        };
        let captured = if outcome == CheckOutcome::Passed { captured } else { Vec::new() };
        Judged { outcome, findings: self.findings, captured }
    }

    fn push(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }

    fn say(&mut self, spot: &Spot, message: &str) {
        let message = say::message(self.values.masker(), message);
        let (file, line) = (spot.source.file.clone(), spot.line());
        self.push(Finding { message, expected: None, got: None, diff: Vec::new(), file, line });
    }

    fn ask(&self, query: &Query, filters: &[crate::query::Filter]) -> Result<Found, String> {
        let found = query.ask(&self.tried.facts, &self.values)?;
        filter::apply(filters, found, &self.values, self.tried.facts.now)
    }

    fn assertion(&mut self, assertion: &Assertion) {
        let found = self.ask(&assertion.query, &assertion.filters);
        let held = found.and_then(|found| assertion.predicate.holds(&found, &self.values));
        let mismatch = match held {
            Ok(None) => return,
            Ok(Some(mismatch)) => mismatch,
            Err(why) => {
                self.errored = true;
                return self.say(&assertion.spot, &format!("{}: {why}", assertion.query.shown()));
            }
        };
        self.failed = true;
        let got =
            if hides(&assertion.query, &mismatch.got) { "a value that is not shown".to_owned() } else { mismatch.got };
        let message = format!("{}: expected {}, got {got}", assertion.query.shown(), mismatch.expected);
        let finding = Finding {
            message: say::message(self.values.masker(), &message),
            expected: Some(mismatch.expected),
            got: Some(got),
            diff: if self.hides_diff(&assertion.query) { Vec::new() } else { mismatch.diff },
            file: assertion.spot.source.file.clone(),
            line: assertion.spot.line(),
        };
        self.push(finding);
        if assertion.query == Query::Status && !self.tried.facts.body.is_empty() {
            let body = say::excerpt(self.values.masker(), self.tried.facts.text().trim());
            self.say(&assertion.spot, &format!("the answer began: {body}"));
        }
    }

    fn hides_diff(&self, query: &Query) -> bool {
        hides(query, "x")
    }

    fn capture(&mut self, capture: &StepCapture) -> Option<Captured> {
        let found = self.ask(&capture.query, &capture.filters).and_then(Found::into_value);
        match found {
            Ok(value) => Some(Captured { name: capture.name.clone(), value, secret: capture.secret }),
            Err(why) => {
                self.failed = true;
                self.say(&capture.spot, &format!("capture {}: {why}", capture.name));
                None
            }
        }
    }
}

/// Whether a question asks for a credential by its name, so that what it gives is not shown.
fn hides(query: &Query, got: &str) -> bool {
    let name = match query {
        Query::Header(name) => name,
        Query::Cookie { attribute: None, .. } => "cookie",
        _ => return false,
    };
    let missing = got.starts_with("the answer ");
    !missing && crate::capture::sounds_secret(name)
}
