//! A run as one page without scripts: the figures, and charts over time and over percentiles.

use super::LoadPlan;
use super::chart::{Axis, Line, chart};
use super::report::{Report, heading, time};
use super::tally::Latencies;
use super::threshold::Verdict;
use crate::report::html::escape;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:760px;margin:2rem auto;padding:0 1rem;color:#222;\
background:#fff}h1{font-size:1.3rem}h2{font-size:1rem;margin:1.6rem 0 .3rem}svg{width:100%;height:auto}\
svg text{font-size:11px;fill:#666}.grid{stroke:#e3e3e3}.line{fill:none;stroke-width:1.6}.line-0{stroke:#1769aa}\
.line-1{stroke:#b3261e}.line-2{stroke:#2e7d32}table{border-collapse:collapse}td,th{padding:.15rem .8rem .15rem 0;\
text-align:right;font-variant-numeric:tabular-nums}td:first-child,th:first-child{text-align:left}.bad{color:#b3261e}\
.key span{margin-right:1rem}.k0{color:#1769aa}.k1{color:#b3261e}.k2{color:#2e7d32}\
@media(prefers-color-scheme:dark){body{background:#16181b;color:#ddd}.grid{stroke:#333}svg text{fill:#999}}";

/// How far a horizontal axis of percentiles goes: up to 99.999.
const NINES: [(f64, &str); 6] = [(0.0, "0"), (1.0, "90"), (2.0, "99"), (3.0, "99.9"), (4.0, "99.99"), (5.0, "99.999")];

/// The page.
pub(crate) fn page(plan: &LoadPlan, target: &str, report: &Report, verdicts: &[Verdict]) -> String {
    let title = escape(&heading(plan, target));
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>Load: {title}</title><style>{STYLE}</style><h1>{title}</h1>"
    );
    let tally = &report.tally;
    out.push_str(&format!(
        "<p>{} requests in {:.1} s: {:.1} good answers a second, {} failures.</p>",
        tally.counts.all(),
        report.took.as_secs_f64(),
        report.rate(&tally.counts),
        tally.counts.failed()
    ));
    out.push_str(&limits(verdicts));
    out.push_str(&table(report, plan.feed.kinds()));
    out.push_str(&over_time(report));
    out.push_str("<h2>Latency by percentile</h2>");
    out.push_str(&by_percentile(&tally.latencies));
    for doubt in report.doubts() {
        out.push_str(&format!("<p class=\"bad\">{}</p>", escape(&doubt)));
    }
    out.push_str("</html>\n");
    out
}

fn limits(verdicts: &[Verdict]) -> String {
    let mut out = String::new();
    for verdict in verdicts {
        let (class, word) = if verdict.failed { ("bad", "fails") } else { ("", "holds") };
        let (text, found) = (escape(&verdict.text), escape(&verdict.found));
        out.push_str(&format!("<p class=\"{class}\">{text} {word}: {found}</p>"));
    }
    out
}

fn table(report: &Report, kinds: &[String]) -> String {
    let mut out =
        "<table><tr><th></th><th>count</th><th>failed</th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>max</th></tr>"
            .to_owned();
    let tally = &report.tally;
    let mut row = |name: &str, all: u64, failed: u64, latencies: &Latencies| {
        let times =
            [50.0, 90.0, 99.0, 99.9, 100.0].map(|at| format!("<td>{}</td>", time(latencies.percentile(at) as f64)));
        let name = escape(name);
        out.push_str(&format!("<tr><td>{name}</td><td>{all}</td><td>{failed}</td>{}</tr>", times.concat()));
    };
    row("all", tally.counts.all(), tally.counts.failed(), &tally.latencies);
    if kinds.len() > 1 {
        for (name, kind) in kinds.iter().zip(&tally.kinds) {
            row(name, kind.counts.all(), kind.counts.failed(), &kind.latencies);
        }
    }
    out.push_str("</table>");
    out
}

fn over_time(report: &Report) -> String {
    let points = |value: &dyn Fn(&super::tally::Second) -> f64| -> Vec<(f64, f64)> {
        report.seconds.iter().map(|second| (f64::from(second.number), value(second))).collect()
    };
    let last = report.seconds.last().map_or(1.0, |second| f64::from(second.number).max(1.0));
    let ticks: Vec<(f64, String)> =
        (0..=4).map(|part| last * f64::from(part) / 4.0).map(|at| (at, format!("{at:.0} s"))).collect();
    let x = Axis { title: "time", label: |value| format!("{value:.0} s") };
    let rates = [
        Line { name: "answers", points: points(&|second| second.counts.answered as f64) },
        Line { name: "failures", points: points(&|second| second.counts.failed() as f64) },
    ];
    let latencies = [
        Line { name: "p50", points: points(&|second| second.latencies.percentile(50.0) as f64) },
        Line { name: "p99", points: points(&|second| second.latencies.percentile(99.0) as f64) },
        Line { name: "max", points: points(&|second| second.latencies.max() as f64) },
    ];
    let a_second = Axis { title: "requests a second", label: |value| format!("{value:.0}/s") };
    let latency = Axis { title: "latency", label: time };
    format!(
        "<h2>Answers and failures a second</h2><p class=\"key\"><span class=\"k0\">answers</span>\
         <span class=\"k1\">failures</span></p>{}<h2>Latency over time</h2><p class=\"key\"><span class=\"k0\">p50</span>\
         <span class=\"k1\">p99</span><span class=\"k2\">max</span></p>{}",
        chart(&rates, &x, &a_second, &ticks),
        chart(&latencies, &x, &latency, &ticks)
    )
}

/// Each step to the right is a tenth of what is left, which shows the tail as large as it matters.
fn by_percentile(latencies: &Latencies) -> String {
    let at = |nines: f64| latencies.percentile(100.0 * (1.0 - 10_f64.powf(-nines))) as f64;
    let points = (0..=100).map(|part| f64::from(part) / 20.0).map(|nines| (nines, at(nines))).collect();
    let ticks = NINES.map(|(nines, label)| (nines, format!("{label} %")));
    let x = Axis { title: "percentile", label: |value| format!("{value}") };
    chart(&[Line { name: "latency", points }], &x, &Axis { title: "latency", label: time }, &ticks)
}
