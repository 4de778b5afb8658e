//! What the template of a rollout gets: texts that are safe to show, and numbers.

use serde::Serialize;
use serde_json::Value;
use vice_core::Millis;
use vice_core::payload::ReleaseRef;
use vice_core::payload::environment::Direction;
use vice_core::payload::judged::Judged;
use vice_core::payload::verification::{CheckOutcome, CheckResult};
use vice_core::text::sanitize;

use super::chart::Chart;
use super::expected::Outlook;
use super::script::Script;
use super::spread::Spread;
use super::strip::Strip;
use crate::render::{NOTHING, clock, comparison, relative, when};
use crate::view::rollout::{Decision, RolloutReport, Verified};
use crate::view::{lanes, sentence};

/// The whole page.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    title: String,
    kind: &'static str,
    rollout: String,
    project: String,
    env: String,
    headline: String,
    standing: &'static str,
    mood: &'static str,
    before: Release,
    wanted: Release,
    after: Release,
    after_title: &'static str,
    facts: Vec<Fact>,
    comparison: Option<String>,
    strip: Option<Strip>,
    notes: Vec<Note>,
    next: Vec<Next>,
    chart: Option<Chart>,
    spread: Option<Spread>,
    expected: Option<Outlook>,
    script: Option<Script>,
    verifications: Vec<Suite>,
    decisions: Vec<Decided>,
    changes: Vec<Change>,
    log: Vec<Line>,
    log_count: usize,
    generated: String,
}

#[derive(Debug, Serialize)]
struct Release {
    version: String,
    detail: String,
}

#[derive(Debug, Serialize)]
struct Fact {
    label: &'static str,
    value: String,
}

#[derive(Debug, Serialize)]
struct Note {
    mood: &'static str,
    label: &'static str,
    text: String,
}

#[derive(Debug, Serialize)]
struct Next {
    when: String,
    command: String,
}

#[derive(Debug, Serialize)]
struct Suite {
    title: String,
    checks: Vec<Check>,
}

#[derive(Debug, Serialize)]
struct Check {
    name: String,
    mood: &'static str,
    word: &'static str,
    subject: String,
    tries: u32,
    took: String,
    messages: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Decided {
    mood: &'static str,
    verdict: &'static str,
    at: String,
    reason: String,
    evidence: Option<String>,
}

#[derive(Debug, Serialize)]
struct Change {
    key: String,
    before: String,
    after: String,
}

#[derive(Debug, Serialize)]
struct Line {
    at: String,
    after: String,
    mood: &'static str,
    text: String,
}

impl Page {
    pub(super) fn new(report: &RolloutReport) -> Self {
        let left = report.left_running.as_ref();
        let placed = report.now.running.as_ref().map(|placed| &placed.release);
        let standing = report.standing.word();
        Self {
            title: format!("{} in {}: {standing}", report.project, report.env),
            kind: match report.direction {
                Direction::Deploy => "Deploy",
                Direction::Rollback => "Rollback",
            },
            rollout: report.rollout.to_string(),
            project: report.project.to_string(),
            env: report.env.to_string(),
            headline: sanitize(&report.headline),
            standing,
            mood: report.standing.mood().name(),
            before: release(report.from.as_ref()),
            wanted: release(Some(&report.to)),
            after: release(if report.finished.is_some() { left } else { placed }),
            after_title: if report.finished.is_some() { "Left running" } else { "Runs now" },
            facts: facts(report),
            comparison: report.finished.map(|_| comparison(report.comparison.as_ref())),
            strip: report.comparison.as_ref().and_then(|found| Strip::new(found, report.took)),
            notes: notes(report),
            next: report
                .next
                .iter()
                .map(|next| Next { when: next.when.clone(), command: sanitize(&next.command) })
                .collect(),
            chart: (!report.timeline.lanes.is_empty()).then(|| Chart::new(report)),
            spread: report.spread.as_ref().map(|drawn| Spread::new(drawn, 0)),
            expected: report.expected.as_ref().map(Outlook::new),
            script: report.spread.is_some().then(Script::spread),
            verifications: report.verifications.iter().map(suite).collect(),
            decisions: report.decisions.iter().map(|decision| decided(decision, report)).collect(),
            changes: report.config_changes.iter().map(change).collect(),
            log: report.log.iter().map(line).collect(),
            log_count: report.log.len(),
            generated: clock(report.generated),
        }
    }
}

fn release(release: Option<&ReleaseRef>) -> Release {
    let Some(found) = release else {
        return Release { version: NOTHING.to_owned(), detail: "nothing".to_owned() };
    };
    let artifact = found.artifact.as_ref().map(|digest| digest.short().to_owned());
    let parts: Vec<String> =
        artifact.into_iter().chain([found.source.clone()]).filter(|part| !part.is_empty()).collect();
    Release { version: sanitize(&found.version), detail: sanitize(&parts.join(" · ")) }
}

fn facts(report: &RolloutReport) -> Vec<Fact> {
    let now = report.generated;
    let mut facts = vec![Fact { label: "Who", value: sanitize(&report.by) }];
    let mut add = |label, value: Option<String>| facts.extend(value.map(|value| Fact { label, value }));
    add("Why", report.reason.as_deref().map(sanitize));
    add("Started", Some(when(report.started, now)));
    add("Finished", report.finished.map(|finished| when(finished, now)));
    add(if report.finished.is_some() { "Took" } else { "So far" }, Some(report.took.to_string()));
    add("Runs now", Some(runs_now(report)));
    add("Plan", report.plan_hash.as_deref().map(sanitize));
    facts
}

fn runs_now(report: &RolloutReport) -> String {
    let Some(placed) = &report.now.running else { return "nothing is known to run".to_owned() };
    let since = relative(placed.since, report.generated);
    let proven = if placed.proven { "proven" } else { "not proven" };
    let stopped = if report.now.stopped { ", stopped on purpose" } else { "" };
    sanitize(&format!("{}, placed {since} by {}, {proven}{stopped}", placed.release.label(), placed.by))
}

fn notes(report: &RolloutReport) -> Vec<Note> {
    let now = report.generated;
    let mut notes = Vec::new();
    let mut add = |mood, label, text: String| notes.push(Note { mood, label, text: sanitize(&text) });
    if let Some(failure) = &report.failure {
        add("bad", "Failure:", failure.clone());
    }
    if let Some(waiting) = &report.waiting {
        let until = waiting.until.map(|until| format!(", until {}", when(until, now))).unwrap_or_default();
        add("warn", "Waits for:", format!("{}{until}", waiting.reason.trim_end_matches('.')));
    }
    if let Some(hold) = &report.now.hold {
        let text = format!("{} since {}, by {}: {}", report.to.version, when(hold.since, now), hold.by, hold.reason);
        add("warn", "On hold:", text);
    }
    notes
}

fn suite(verified: &Verified) -> Suite {
    let what = match verified.direction {
        Direction::Deploy => "After the change",
        Direction::Rollback => "After going back",
    };
    let title = format!("{what}, {}: {}", clock(verified.at), sentence::suite(&verified.suite));
    Suite { title, checks: verified.suite.checks.iter().map(check).collect() }
}

fn check(check: &CheckResult) -> Check {
    let (mood, word) = match check.outcome {
        CheckOutcome::Passed => ("good", "passed"),
        CheckOutcome::Failed => ("bad", "failed"),
        CheckOutcome::Errored => ("bad", "could not be run"),
        CheckOutcome::Skipped => ("plain", "skipped"),
    };
    Check {
        name: sanitize(&check.name),
        mood,
        word,
        subject: sanitize(&check.subject),
        tries: check.attempts,
        took: check.took.to_string(),
        messages: check.messages.iter().map(|message| sanitize(message)).collect(),
    }
}

fn decided(decision: &Decision, report: &RolloutReport) -> Decided {
    let after = Millis::between(report.started, decision.at);
    Decided {
        mood: lanes::verdict_mood(decision.verdict).name(),
        verdict: sentence::verdict_word(decision.verdict),
        at: format!("{} (+{after})", clock(decision.at)),
        reason: sanitize(&decision.reason),
        evidence: evidence(&decision.evidence),
    }
}

/// The evidence as indented JSON, line by line harmless.
fn evidence(value: &Value) -> Option<String> {
    if value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty) {
        return None;
    }
    let words = Judged::of(value).map(|judged| judged.lines().join("\n") + "\n\n").unwrap_or_default();
    Some(format!("{words}{value:#}").lines().map(sanitize).collect::<Vec<_>>().join("\n"))
}

fn change(change: &vice_core::payload::rollout::ConfigChange) -> Change {
    let side = |value: &Option<String>| value.as_deref().map_or_else(|| NOTHING.to_owned(), sanitize);
    Change { key: sanitize(&change.key), before: side(&change.before), after: side(&change.after) }
}

fn line(line: &crate::view::rollout::LogLine) -> Line {
    Line { at: clock(line.at), after: format!("+{}", line.after), mood: line.mood.name(), text: sanitize(&line.text) }
}
