//! What a replay found, in words and as JSON.

use serde_json::{Value, json};
use vice_core::text::{Tone, count, paint, sanitize};

use super::run::{Finding, Report};

/// So many findings are shown in words.
const SHOWN_MAX: usize = 50;

/// The report for people. `two` says that two versions were compared.
pub(crate) fn text(report: &Report, two: bool) -> String {
    let mut out = String::new();
    for finding in report.findings.iter().take(SHOWN_MAX) {
        out.push_str(&format!("{} {}\n", paint(Tone::Bad, "✗"), line(finding)));
    }
    if report.findings.len() > SHOWN_MAX {
        out.push_str(&format!("  and {} more\n", report.findings.len() - SHOWN_MAX));
    }
    for (route, before, after) in &report.slower {
        let (before, after) = (before.as_secs_f64() * 1e3, after.as_secs_f64() * 1e3);
        out.push_str(&format!(
            "{} {route}: takes {after:.1}ms instead of {before:.1}ms (medians)\n",
            paint(Tone::Bad, "✗")
        ));
    }
    for finding in report.unproven.iter().take(SHOWN_MAX) {
        out.push_str(&format!("{} {} (not reproduced)\n", paint(Tone::Warn, "?"), line(finding)));
    }
    let differ = report.sent - report.equal;
    let tone = if differ == 0 { Tone::Good } else { Tone::Bad };
    let share = 100.0 * report.equal as f64 / report.sent.max(1) as f64;
    let what = if two { "the same from both" } else { "as recorded" };
    out.push_str(&format!(
        "{}: {} {what} ({share:.1} %), {}; {} left out\n",
        count(report.sent, "request", "requests"),
        report.equal,
        paint(tone, count(report.findings.len() + report.slower.len(), "difference", "differences").as_str()),
        count(report.noise, "place of noise", "places of noise"),
    ));
    if report.repeated > 0 {
        out.push_str(&format!("{} sent again to be sure\n", count(report.repeated, "session was", "sessions were")));
    }
    for (why, times) in &report.unsent {
        out.push_str(&format!("{} not sent: {why}\n", count(*times, "request was", "requests were")));
    }
    if report.masked > 0 {
        out.push_str(&format!(
            "{} {} said masked values; give the real ones with set rules\n",
            paint(Tone::Warn, "note:"),
            count(report.masked, "request", "requests")
        ));
    }
    out
}

fn line(finding: &Finding) -> String {
    let Finding { route, place, way, times, before, after, .. } = finding;
    let values = match (before.is_empty(), after.is_empty()) {
        (false, false) => format!(": {before} became {after}"),
        (false, true) => format!(": it was {before}"),
        _ => format!(": {after}"),
    };
    sanitize(&format!("{route}: {} {}{values} ({})", place.words(), way.word(), count(*times, "time", "times")))
}

/// The report for machines.
pub(crate) fn json(report: &Report) -> Value {
    let slower = report.slower.iter().map(|(route, before, after)| {
        json!({ "request": route, "before_ms": before.as_secs_f64() * 1e3, "after_ms": after.as_secs_f64() * 1e3 })
    });
    json!({
        "sent": report.sent,
        "equal": report.equal,
        "unsent": report.unsent,
        "masked": report.masked,
        "noise_places": report.noise,
        "repeated_sessions": report.repeated,
        "differences": report.findings.iter().map(one).collect::<Vec<_>>(),
        "unproven": report.unproven.iter().map(one).collect::<Vec<_>>(),
        "slower": slower.collect::<Vec<_>>(),
    })
}

fn one(finding: &Finding) -> Value {
    json!({
        "request": finding.route, "place": finding.place.words(), "way": finding.way.word(), "times": finding.times,
        "exchange": finding.index, "pointer": finding.pointer, "before": finding.before, "after": finding.after,
    })
}
