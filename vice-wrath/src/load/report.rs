//! The figures of a run, in words and as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use vice_core::Millis;
use vice_core::text::{Table, Tone, count, paint};

use super::tally::{Counts, Failure, JourneyCounts, Latencies, Second, Tally};
use super::threshold::Verdict;
use super::{LoadPlan, Process, Protocol, Shape};

/// The percentiles that are told.
const PERCENTILES: [(f64, &str); 7] =
    [(50.0, "p50"), (75.0, "p75"), (90.0, "p90"), (95.0, "p95"), (99.0, "p99"), (99.9, "p99.9"), (99.99, "p99.99")];

/// How much later than due the generator may send before it says so, in microseconds.
const LAG_NOTICEABLE: u64 = 2_000;

/// So many reasons of bad journeys are shown.
const REASONS_SHOWN: usize = 5;

/// What a run found.
pub(crate) struct Report {
    /// From the beginning until the last answer.
    pub(crate) took: Duration,
    /// Sums.
    pub(crate) tally: Tally,
    /// Second by second.
    pub(crate) seconds: Vec<Second>,
}

impl Report {
    /// Good answers a second.
    pub(crate) fn rate(&self, counts: &Counts) -> f64 {
        let good = counts.answered - counts.badly_answered();
        good as f64 / self.took.as_secs_f64().max(1e-9)
    }

    /// What makes the figures less than they seem, in sentences.
    pub(crate) fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        let unsent = self.tally.counts.of(Failure::Unsent);
        if unsent > 0 {
            doubts.push(format!(
                "{} due and not sent, because every connection waited for an answer: the latencies leave those out.",
                count(unsent, "request was", "requests were")
            ));
        }
        let lag = self.tally.lags.percentile(99.0);
        if lag > LAG_NOTICEABLE {
            doubts.push(format!(
                "1 in 100 requests was sent {} late by the generator itself; give it more --threads or a quieter machine.",
                time(lag as f64)
            ));
        }
        doubts
    }
}

/// A time in microseconds as a person reads it.
pub(crate) fn time(micros: f64) -> String {
    match micros {
        it if it < 1e3 => format!("{it:.0}µs"),
        it if it < 1e4 => format!("{:.2}ms", it / 1e3),
        it if it < 1e6 => format!("{:.1}ms", it / 1e3),
        it => format!("{:.2}s", it / 1e6),
    }
}

fn bytes(count: f64) -> String {
    match count {
        it if it < 1e3 => format!("{it:.0} B"),
        it if it < 1e6 => format!("{:.1} kB", it / 1e3),
        it if it < 1e9 => format!("{:.1} MB", it / 1e6),
        it => format!("{:.2} GB", it / 1e9),
    }
}

/// What is done, in one line.
pub(crate) fn heading(plan: &LoadPlan, target: &str) -> String {
    let load = match &plan.shape {
        Shape::Open(Process::Recorded(times)) => {
            format!("{} at recorded times", count(times.len() as u64, "request", "requests"))
        }
        Shape::Open(Process::Poisson) => format!("{}, Poisson", plan.profile.words("/s")),
        Shape::Open(Process::Constant) => format!("{}, evenly", plan.profile.words("/s")),
        Shape::Closed => plan.profile.words(" users"),
    };
    let protocol = match plan.protocol {
        _ if plan.feed.is_journeys() => "journeys",
        Protocol::Http2 => "HTTP/2",
        Protocol::Http1 => "HTTP/1.1",
    };
    format!("{load}, at {target} ({protocol})")
}

/// One line while the run goes on.
pub(crate) fn live(plan: &LoadPlan, elapsed: Duration, seconds: &BTreeMap<u32, Second>) -> String {
    let length = plan.profile.length();
    let at = Millis(u64::try_from(elapsed.min(length).as_millis()).unwrap_or(0));
    let whole = Millis(u64::try_from(length.as_millis()).unwrap_or(0));
    let failed: u64 = seconds.values().map(|second| second.counts.failed()).sum();
    let Some(last) = seconds.values().next_back() else {
        return format!("load {at} of {whole}");
    };
    let latencies = &last.latencies;
    format!(
        "load {at} of {whole}  {}/s  p50 {}  p99 {}  max {}  {}",
        last.counts.answered,
        time(latencies.percentile(50.0) as f64),
        time(latencies.percentile(99.0) as f64),
        time(latencies.max() as f64),
        count(failed, "failure", "failures")
    )
}

/// The report for people.
pub(crate) fn text(plan: &LoadPlan, target: &str, report: &Report, verdicts: &[Verdict]) -> String {
    let tally = &report.tally;
    let mut out = format!("{}\n\n", heading(plan, target));
    out.push_str(&latency_table(plan, report));
    out.push('\n');
    let failed = tally.counts.failed();
    let share = 100.0 * failed as f64 / tally.counts.all().max(1) as f64;
    let tone = if failed == 0 { Tone::Good } else { Tone::Bad };
    let failures = paint(tone, format!("{} ({share:.2} %)", count(failed, "failure", "failures")));
    out.push_str(&format!(
        "{} in {:.1}s, {:.1}/s good, {failures}, {} received{}\n",
        count(tally.counts.all(), "request", "requests"),
        report.took.as_secs_f64(),
        report.rate(&tally.counts),
        bytes(tally.counts.bytes as f64),
        if plan.feed.is_journeys() {
            String::new()
        } else {
            format!(", {}", count(tally.connected, "connection", "connections"))
        },
    ));
    out.push_str(&failure_lines(tally));
    if plan.feed.is_journeys() {
        out.push_str(&journey_lines(&tally.journeys));
    }
    out.push_str(&kind_table(plan.feed.kinds(), report));
    for doubt in report.doubts() {
        out.push_str(&format!("{} {doubt}\n", paint(Tone::Warn, "note:")));
    }
    for verdict in verdicts {
        let (mark, tone) = if verdict.failed { ("✗", Tone::Bad) } else { ("✓", Tone::Good) };
        out.push_str(&format!("{} {}: {}\n", paint(tone, mark), verdict.text, verdict.found));
    }
    out
}

fn latency_table(plan: &LoadPlan, report: &Report) -> String {
    if report.tally.latencies.len() == 0 {
        return "No answer came, so there is no latency.\n".to_owned();
    }
    let mut titles = vec!["latency", "mean"];
    titles.extend(PERCENTILES.iter().map(|(_, name)| *name));
    titles.push("max");
    let mut table = Table::with_heading(&titles);
    let mut row = |name: &str, tone: Tone, latencies: &Latencies| {
        let mut cells = vec![(tone, name.to_owned()), (tone, time(latencies.mean()))];
        cells.extend(PERCENTILES.iter().map(|(percent, _)| (tone, time(latencies.percentile(*percent) as f64))));
        cells.push((tone, time(latencies.max() as f64)));
        table.row(cells);
    };
    if let Shape::Open(_) = plan.shape {
        row("since due", Tone::Strong, &report.tally.latencies);
        row("since sent", Tone::Faint, &report.tally.services);
    } else {
        row("since sent", Tone::Strong, &report.tally.latencies);
    }
    table.render()
}

fn failure_lines(tally: &Tally) -> String {
    let mut parts: Vec<String> = Failure::ALL
        .iter()
        .filter(|(failure, _)| tally.counts.of(*failure) > 0)
        .map(|(failure, name)| format!("{} {name}", tally.counts.of(*failure)))
        .collect();
    if tally.counts.of(Failure::Status) > 0 {
        let statuses = tally.statuses.iter().map(|(status, times)| format!("{status}: {times}"));
        parts.push(format!("statuses {}", statuses.collect::<Vec<_>>().join(", ")));
    }
    if parts.is_empty() { String::new() } else { format!("  {}\n", parts.join("; ")) }
}

/// What became of journeys, and what was wrong most often.
fn journey_lines(journeys: &JourneyCounts) -> String {
    let all = journeys.good + journeys.bad;
    let mut out = format!("{}: {} good, {} bad", count(all, "journey", "journeys"), journeys.good, journeys.bad);
    if journeys.broken_off > 0 {
        out.push_str(&format!("; {} more under way at the end", journeys.broken_off));
    }
    out.push('\n');
    let mut reasons: Vec<_> = journeys.reasons.iter().collect();
    reasons.sort_by_key(|(reason, times)| (std::cmp::Reverse(**times), (*reason).clone()));
    for (reason, times) in reasons.iter().take(REASONS_SHOWN) {
        out.push_str(&format!("  {} {reason}\n", paint(Tone::Bad, format!("{times}×"))));
    }
    out
}

/// One row a kind, where there is more than one.
fn kind_table(kinds: &[String], report: &Report) -> String {
    if kinds.len() < 2 {
        return String::new();
    }
    let mut table = Table::with_heading(&["request", "count", "failed", "p50", "p99", "max"]);
    for (name, kind) in kinds.iter().zip(&report.tally.kinds) {
        let failed = kind.counts.failed();
        let shown = |percent: f64| time(kind.latencies.percentile(percent) as f64);
        table.row([
            (Tone::Strong, name.clone()),
            (Tone::Plain, kind.counts.all().to_string()),
            (if failed == 0 { Tone::Plain } else { Tone::Bad }, failed.to_string()),
            (Tone::Plain, shown(50.0)),
            (Tone::Plain, shown(99.0)),
            (Tone::Plain, time(kind.latencies.max() as f64)),
        ]);
    }
    format!("\n{}", table.render())
}

/// The report for machines. Times are microseconds.
pub(crate) fn json(plan: &LoadPlan, target: &str, report: &Report, verdicts: &[Verdict]) -> Value {
    let tally = &report.tally;
    let kinds = plan.feed.kinds().iter().zip(&tally.kinds);
    let kinds = kinds.map(|(name, kind)| {
        json!({ "name": name, "counts": counts(&kind.counts), "latency_us": latencies(&kind.latencies) })
    });
    let seconds = report.seconds.iter().map(|second| {
        json!({
            "second": second.number, "answered": second.counts.answered, "failed": second.counts.failed(),
            "p50_us": second.latencies.percentile(50.0), "p99_us": second.latencies.percentile(99.0),
            "max_us": second.latencies.max(),
        })
    });
    let statuses = tally.statuses.iter().map(|(status, times)| (status.to_string(), Value::from(*times)));
    json!({
        "target": target,
        "loop": if plan.shape == Shape::Closed { "closed" } else { "open" },
        "load": heading(plan, target),
        "seed": plan.seed,
        "took_ms": u64::try_from(report.took.as_millis()).unwrap_or(u64::MAX),
        "rate": report.rate(&tally.counts),
        "connections": tally.connected,
        "journeys": plan.feed.is_journeys().then(|| journeys(&tally.journeys)),
        "counts": counts(&tally.counts),
        "statuses": statuses.collect::<serde_json::Map<_, _>>(),
        "latency_us": latencies(&tally.latencies),
        "service_us": latencies(&tally.services),
        "generator_lag_us": latencies(&tally.lags),
        "kinds": kinds.collect::<Vec<_>>(),
        "seconds": seconds.collect::<Vec<_>>(),
        "notes": report.doubts(),
        "limits": verdicts.iter().map(|it| json!({ "limit": it.text, "found": it.found, "failed": it.failed }))
            .collect::<Vec<_>>(),
    })
}

fn journeys(journeys: &JourneyCounts) -> Value {
    json!({
        "good": journeys.good, "bad": journeys.bad, "broken_off": journeys.broken_off, "reasons": journeys.reasons,
    })
}

fn counts(counts: &Counts) -> Value {
    let failures = Failure::ALL.iter().map(|(failure, name)| ((*name).replace(' ', "_"), counts.of(*failure).into()));
    json!({
        "requests": counts.all(), "answered": counts.answered, "bytes": counts.bytes, "failed": counts.failed(),
        "failures": failures.collect::<serde_json::Map<String, Value>>(),
    })
}

fn latencies(latencies: &Latencies) -> Value {
    let mut all = serde_json::Map::new();
    all.insert("count".to_owned(), latencies.len().into());
    all.insert("mean".to_owned(), latencies.mean().into());
    all.insert("deviation".to_owned(), latencies.deviation().into());
    for (percent, name) in PERCENTILES {
        all.insert(name.to_owned(), latencies.percentile(percent).into());
    }
    all.insert("max".to_owned(), latencies.max().into());
    Value::Object(all)
}
