//! One rollout.

use vice_core::Millis;
use vice_core::payload::environment::Direction;
use vice_core::payload::judged::Judged;
use vice_core::payload::verification::CheckOutcome;
use vice_core::text::{Table, Tone, paint, sanitize};

use super::spread::spread;
use super::{WIDTH_MAX, cut, fact, gantt, heading, item, tone};
use crate::render::{NOTHING, clock, comparison, relative, release, when};
use crate::view::rollout::{Decision, RolloutReport, Verified};
use crate::view::{Standing, lanes, sentence};

/// The report for a terminal of this width.
#[must_use]
pub fn rollout(report: &RolloutReport, width: usize) -> String {
    let width = super::width(width);
    let mut out = title(report, width);
    facts(&mut out, report, width);
    if !report.timeline.lanes.is_empty() {
        heading(&mut out, "Timeline");
        out.push_str(&gantt::chart(&report.timeline, width));
    }
    // Few units are lanes of the timeline already; a fleet is seen only as a map.
    if let Some(drawn) = report.spread.as_ref().filter(|drawn| drawn.rows.len() > gantt::LANES_MAX) {
        heading(&mut out, "How it spread");
        out.push_str(&spread(drawn, width));
    }
    verifications(&mut out, &report.verifications, width);
    decisions(&mut out, report, width);
    config(&mut out, report, width);
    next(&mut out, report);
    out
}

fn title(report: &RolloutReport, width: usize) -> String {
    let (standing, mood) = (report.standing.word().to_uppercase(), report.standing.mood());
    let name = paint(Tone::Strong, format!("{} in {}", report.project, report.env));
    let mut out =
        format!("{name} · {} {} · {}\n", report.direction.word(), report.rollout, paint(tone(mood), standing));
    for line in super::wrap(&report.headline, width) {
        out.push_str(&line);
        out.push('\n');
    }
    out.push('\n');
    out
}

fn facts(out: &mut String, report: &RolloutReport, width: usize) {
    let now = report.generated;
    let mut say = |label: &str, tone: Tone, value: String| fact(out, label, tone, &value, width);
    say("version", Tone::Plain, format!("{} → {}", release(report.from.as_ref()), report.to.label()));
    if report.standing != Standing::Succeeded && report.finished.is_some() {
        say("left", Tone::Plain, format!("{} running", release(report.left_running.as_ref())));
    }
    say("by", Tone::Plain, report.by.clone());
    if let Some(reason) = &report.reason {
        say("why", Tone::Plain, reason.clone());
    }
    say("started", Tone::Plain, when(report.started, now));
    match report.finished {
        Some(finished) => {
            say("finished", Tone::Plain, when(finished, now));
            say("took", Tone::Plain, format!("{} – {}", report.took, comparison(report.comparison.as_ref())));
        }
        None => say("so far", Tone::Plain, report.took.to_string()),
    }
    if let Some(expected) = &report.expected {
        say("predicted", Tone::Plain, expected.sentence.clone());
    }
    if let Some(failure) = &report.failure {
        say("failure", Tone::Bad, failure.clone());
    }
    if let Some(waiting) = &report.waiting {
        let until = waiting.until.map(|until| format!(", until {}", when(until, now))).unwrap_or_default();
        say("waits for", Tone::Warn, format!("{}{until}", waiting.reason.trim_end_matches('.')));
    }
    say("runs now", Tone::Plain, runs_now(report));
    if let Some(hold) = &report.now.hold {
        let since = relative(hold.since, now);
        say("on hold", Tone::Warn, format!("version {}, {since}, by {}: {}", report.to.version, hold.by, hold.reason));
    }
}

fn runs_now(report: &RolloutReport) -> String {
    let Some(placed) = &report.now.running else { return NOTHING.to_owned() };
    let proven = if placed.proven { "proven" } else { "not proven" };
    let stopped = if report.now.stopped { ", stopped on purpose" } else { "" };
    let since = relative(placed.since, report.generated);
    format!("{}, {since}, by {}, {proven}{stopped}", placed.release.label(), placed.by)
}

fn verifications(out: &mut String, verifications: &[Verified], width: usize) {
    for verified in verifications {
        let back = if verified.direction == Direction::Rollback { " after going back" } else { "" };
        heading(out, &format!("Checks{back} at {}: {}", clock(verified.at), sentence::suite(&verified.suite)));
        let mut table = Table::default();
        for check in &verified.suite.checks {
            let (tone, word) = outcome(check.outcome);
            table.row([
                (tone, format!("  {word}")),
                (Tone::Plain, cut(&sanitize(&check.name), 28)),
                (Tone::Faint, cut(&sanitize(&check.subject), 38)),
                (Tone::Faint, check.took.to_string()),
                (Tone::Faint, if check.attempts > 1 { format!("{} tries", check.attempts) } else { String::new() }),
            ]);
        }
        out.push_str(&table.render());
        for check in &verified.suite.checks {
            for message in &check.messages {
                item(out, "         ", Tone::Bad, &format!("{}: {message}", check.name), width);
            }
        }
    }
}

const fn outcome(outcome: CheckOutcome) -> (Tone, &'static str) {
    match outcome {
        CheckOutcome::Passed => (Tone::Good, "ok"),
        CheckOutcome::Failed => (Tone::Bad, "failed"),
        CheckOutcome::Errored => (Tone::Bad, "error"),
        CheckOutcome::Skipped => (Tone::Faint, "skipped"),
    }
}

fn decisions(out: &mut String, report: &RolloutReport, width: usize) {
    if report.decisions.is_empty() {
        return;
    }
    heading(out, "Decisions");
    for decision in &report.decisions {
        let after = format!("+{}", Millis::between(report.started, decision.at));
        let text = format!("{}: {}", sentence::verdict_word(decision.verdict), decision.reason);
        item(out, &format!("  {after:>8} "), tone(lanes::verdict_mood(decision.verdict)), &text, width);
        if let Some(evidence) = evidence(decision) {
            item(out, "           ", Tone::Faint, &cut(&evidence, 3 * WIDTH_MAX), width);
        }
    }
}

fn evidence(decision: &Decision) -> Option<String> {
    if let Some(judged) = Judged::of(&decision.evidence) {
        return Some(judged.lines().join("; "));
    }
    match &decision.evidence {
        serde_json::Value::Null => None,
        serde_json::Value::Object(fields) if fields.is_empty() => None,
        other => Some(other.to_string()),
    }
}

fn config(out: &mut String, report: &RolloutReport, width: usize) {
    if report.config_changes.is_empty() {
        return;
    }
    heading(out, "Configuration");
    let side = |value: &Option<String>| cut(&sanitize(value.as_deref().unwrap_or(NOTHING)), (width - 40) / 2);
    let mut table = Table::with_heading(&["  key", "before", "after"]);
    for change in &report.config_changes {
        table.row([
            (Tone::Plain, format!("  {}", cut(&sanitize(&change.key), 32))),
            (Tone::Plain, side(&change.before)),
            (Tone::Plain, side(&change.after)),
        ]);
    }
    out.push_str(&table.render());
}

fn next(out: &mut String, report: &RolloutReport) {
    heading(out, "Next");
    let mut table = Table::default();
    for next in &report.next {
        table.row([(Tone::Plain, format!("  {}:", next.when)), (Tone::Code, next.command.clone())]);
    }
    out.push_str(&table.render());
}
