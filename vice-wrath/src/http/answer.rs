//! What is asserted about an answer, and what is captured from it.

use std::borrow::Cow;
use std::time::Duration;

use regex::Regex;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, LOCATION};
use serde_json::Value;
use vice_core::Result;
use vice_core::manifest::CheckSpec;

use crate::attempt::Attempt;
use crate::capture::{Capture, Captured, Source, sounds_secret};
use crate::json_diff::differences;
use crate::say::excerpt;
use crate::values::Values;

/// A whole answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) latency: Duration,
}

impl Answer {
    fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    fn json(&self) -> serde_json::Result<Value> {
        serde_json::from_slice(&self.body)
    }

    fn header_values(&self, name: &str) -> impl Iterator<Item = Cow<'_, str>> {
        self.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()))
    }
}

/// The status that is expected when none is given.
pub(crate) const STATUS_DEFAULT: u16 = 200;

/// Notes every assertion that does not hold.
///
/// # Errors
/// `Template` when a value is missing, which the plan rules out.
pub(super) fn assert(spec: &CheckSpec, values: &Values, answer: &Answer, attempt: &mut Attempt) -> Result<()> {
    assert_status(spec, values, answer, attempt);
    for (name, template) in &spec.expect_headers {
        let pattern = values.pattern(template)?;
        assert_header(name, template, &pattern, values, answer, attempt);
    }
    assert_json(spec, values, answer, attempt)?;
    for template in spec.matches.iter().flat_map(|matches| &matches.0) {
        let pattern = values.pattern(template)?;
        let text = answer.text();
        if !pattern.is_match(&text) {
            attempt.fail(format!("body: expected to match /{template}/, got {}", beginning(values, &text)));
        }
    }
    Ok(())
}

fn beginning(values: &Values, text: &str) -> String {
    if text.is_empty() { "an empty body".to_owned() } else { format!("`{}`", excerpt(values.masker(), text)) }
}

fn assert_status(spec: &CheckSpec, values: &Values, answer: &Answer, attempt: &mut Attempt) {
    let expected = spec.status.unwrap_or(STATUS_DEFAULT);
    let got = answer.status;
    if got.as_u16() == expected {
        return;
    }
    let more = match answer.headers.get(LOCATION).filter(|_| got.is_redirection()) {
        Some(to) => {
            let to = excerpt(values.masker(), &String::from_utf8_lossy(to.as_bytes()));
            format!(", a redirect to {to} (redirects are not followed)")
        }
        None => String::new(),
    };
    attempt.fail(format!("status: expected {expected}, got {}{more}", got.as_u16()));
}

/// Shows the template and not the pattern: in the pattern a secret would be escaped, and not be found by the masker.
fn assert_header(name: &str, template: &str, pattern: &Regex, values: &Values, answer: &Answer, attempt: &mut Attempt) {
    let mut got: Vec<Cow<'_, str>> = answer.header_values(name).collect();
    if got.iter().any(|value| pattern.is_match(value)) {
        return;
    }
    let found = match got.pop() {
        None => "but the header is absent".to_owned(),
        Some(_) if sounds_secret(name) => "got a value that is not shown".to_owned(),
        Some(value) => format!("got `{}`", excerpt(values.masker(), &value)),
    };
    attempt.fail(format!("header {name}: expected to match /{template}/, {found}"));
}

fn assert_json(spec: &CheckSpec, values: &Values, answer: &Answer, attempt: &mut Attempt) -> Result<()> {
    if spec.json.is_empty() {
        return Ok(());
    }
    let body = match answer.json() {
        Ok(body) => body,
        Err(error) => {
            attempt.fail(format!("body: expected JSON, got {} ({error})", beginning(values, &answer.text())));
            return Ok(());
        }
    };
    for (pointer, expected) in &spec.json {
        let expected = values.json(expected)?;
        match body.pointer(pointer) {
            Some(got) => {
                let found = differences(values.masker(), pointer, &expected, got);
                attempt.failures.extend(found.into_iter().map(|line| format!("json {line}")));
            }
            None => {
                let expected = excerpt(values.masker(), &expected.to_string());
                attempt.fail(format!("json {pointer}: expected {expected}, but nothing is there"));
            }
        }
    }
    Ok(())
}

/// Takes what later checks need. A value that is not there is an assertion that does not hold.
pub(super) fn capture(captures: &[Capture], answer: &Answer, attempt: &mut Attempt) {
    let needs_json = captures.iter().any(|capture| matches!(capture.source, Source::Json(_)));
    let body = if needs_json { answer.json().ok() } else { None };
    for capture in captures {
        match take(capture, answer, body.as_ref()) {
            Ok(captured) => attempt.captured.push(captured),
            Err(why) => attempt.fail(format!("capture {}: {why}", capture.name)),
        }
    }
}

fn take(capture: &Capture, answer: &Answer, body: Option<&Value>) -> std::result::Result<Captured, String> {
    match &capture.source {
        Source::Json(pointer) => {
            let body = body.ok_or("the body is not JSON")?;
            let value = body.pointer(pointer).ok_or_else(|| format!("nothing is at {pointer} in the body"))?;
            Ok(capture.of(value.clone()))
        }
        Source::Header(name) => {
            let value = answer.header_values(name).next();
            let value = value.ok_or_else(|| format!("the answer has no header {name}"))?;
            Ok(capture.of(Value::from(value.into_owned())))
        }
        Source::Regex(pattern) => {
            let text = answer.text();
            let found = pattern.captures(&text).and_then(|groups| groups.get(1).or_else(|| groups.get(0)));
            let found = found.ok_or_else(|| format!("the body does not match /{pattern}/"))?;
            Ok(capture.of(Value::from(found.as_str())))
        }
    }
}
