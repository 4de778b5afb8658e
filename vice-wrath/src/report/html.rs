//! One page without anything from elsewhere: what went wrong, all scenarios, and for each a waterfall of its steps.

use vice_core::payload::verification::CheckOutcome;

use super::About;
use crate::play::result::{Finding, Phase, RunResult, ScenarioResult, StepResult, is_bad, millis};

const STYLE: &str = "
:root{--bg:#fff;--fg:#1d2430;--faint:#667085;--line:#e4e7ec;--card:#f8f9fb;--good:#12805c;--bad:#c4320a;--warn:#a15c07;--wait:#8fb3f0;--recv:#2f6fdb}
@media(prefers-color-scheme:dark){:root{--bg:#12161d;--fg:#e6e9ef;--faint:#98a2b3;--line:#2a313c;--card:#191f28;--good:#3ccb97;--bad:#ff8a65;--warn:#f5b94a;--wait:#3d5f9c;--recv:#7aa7f5}}
*{box-sizing:border-box}body{margin:0 auto;max-width:1100px;padding:24px;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif}
h1{font-size:22px;margin:0}h2{font-size:16px;margin:28px 0 8px}.sub{color:var(--faint);margin:2px 0 16px}
.sum{display:flex;gap:12px;flex-wrap:wrap}.sum div{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:8px 16px}.sum b{font-size:20px;display:block}
.passed{color:var(--good)}.failed{color:var(--bad)}.errored{color:var(--warn)}.skipped{color:var(--faint)}
details{border:1px solid var(--line);border-radius:8px;margin:8px 0;background:var(--card)}summary{cursor:pointer;padding:8px 12px;display:flex;gap:10px;align-items:baseline}
summary .t{flex:1;font-weight:600;overflow-wrap:anywhere}summary .n{color:var(--faint);white-space:nowrap}
.body{padding:0 12px 12px}.row{display:grid;grid-template-columns:minmax(180px,34%) 1fr 110px;gap:10px;align-items:center;padding:3px 0;border-top:1px solid var(--line)}
.name{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}.name small{color:var(--faint)}.bar{position:relative;height:14px;background:linear-gradient(90deg,var(--line) 1px,transparent 1px) 0/25% 100%}
.bar i{position:absolute;top:0;bottom:0;border-radius:2px;min-width:2px}.bar .w{background:var(--wait)}.bar .r{background:var(--recv)}.bar .x{background:var(--bad)}.bar .f{background:var(--line)}
.ms{text-align:right;white-space:nowrap;color:var(--faint);font-variant-numeric:tabular-nums}
.finding{margin:6px 0 6px 12px;padding:6px 10px;border-left:3px solid var(--bad);background:var(--bg);overflow-wrap:anywhere}.finding.quiet{border-color:var(--line);color:var(--faint)}
pre{margin:6px 0 0;font:12.5px/1.45 ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere}.del{color:var(--good)}.ins{color:var(--bad)}
.key{color:var(--faint);font-size:13px}.key i{display:inline-block;width:12px;height:10px;border-radius:2px;margin:0 4px 0 12px}
footer{color:var(--faint);margin-top:28px;font-size:13px}@media print{details{break-inside:avoid}}
";

pub(super) fn document(about: &About, run: &RunResult) -> String {
    let mut out = String::with_capacity(16 * 1024);
    let title = format!("Scenarios against {}", about.place);
    out.push_str("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">");
    out.push_str(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
    );
    out.push_str(&format!("<title>{}</title><style>{STYLE}</style></head><body>\n", escape(&title)));
    out.push_str(&format!("<h1>{}</h1>\n", escape(&title)));
    let version = about.version.as_ref().map(|version| format!("version {version} · ")).unwrap_or_default();
    out.push_str(&format!("<p class=\"sub\">{}{} · {}</p>\n", escape(&version), run.started, millis(run.took_ms)));
    sums(run, &mut out);
    out.push_str("<p class=\"key\">Waterfall:<i style=\"background:var(--wait)\"></i>waiting for the answer");
    out.push_str(
        "<i style=\"background:var(--recv)\"></i>receiving it<i style=\"background:var(--line)\"></i>earlier attempts",
    );
    out.push_str("<i style=\"background:var(--bad)\"></i>no answer</p>\n");
    let (bad, good): (Vec<_>, Vec<_>) = run.scenarios.iter().partition(|scenario| is_bad(scenario.outcome));
    for (heading, scenarios) in [("Did not pass", bad), ("Passed or skipped", good)] {
        if !scenarios.is_empty() {
            out.push_str(&format!("<h2>{heading}</h2>\n"));
            scenarios.into_iter().for_each(|one| scenario(one, &mut out));
        }
    }
    out.push_str("<footer>Made by vice wrath. Nothing on this page comes from elsewhere.</footer>\n</body></html>\n");
    out
}

fn sums(run: &RunResult, out: &mut String) {
    let outcomes = [CheckOutcome::Passed, CheckOutcome::Failed, CheckOutcome::Errored, CheckOutcome::Skipped];
    out.push_str("<div class=\"sum\">");
    for outcome in outcomes {
        let (class, word) = shown(outcome);
        out.push_str(&format!("<div><b class=\"{class}\">{}</b>{word}</div>", run.count(outcome)));
    }
    let steps: usize = run.scenarios.iter().map(|scenario| scenario.steps.len()).sum();
    out.push_str(&format!("<div><b>{steps}</b>steps</div></div>\n"));
}

const fn shown(outcome: CheckOutcome) -> (&'static str, &'static str) {
    match outcome {
        CheckOutcome::Passed => ("passed", "passed"),
        CheckOutcome::Failed => ("failed", "failed"),
        CheckOutcome::Errored => ("errored", "not run"),
        CheckOutcome::Skipped => ("skipped", "skipped"),
    }
}

fn scenario(scenario: &ScenarioResult, out: &mut String) {
    let (class, word) = shown(scenario.outcome);
    let open = if is_bad(scenario.outcome) { " open" } else { "" };
    out.push_str(&format!("<details{open}><summary><span class=\"{class}\">{word}</span>"));
    out.push_str(&format!("<span class=\"t\">{}</span>", escape(&scenario.title())));
    out.push_str(&format!("<span class=\"n\">{}</span></summary><div class=\"body\">\n", millis(scenario.took_ms)));
    if let Some(about) = &scenario.about {
        out.push_str(&format!("<p class=\"sub\">{}</p>", escape(about)));
    }
    if let Some(reason) = &scenario.reason {
        out.push_str(&format!("<div class=\"finding quiet\">{}</div>", escape(reason)));
    }
    for one in &scenario.steps {
        step(one, scenario.took_ms.max(0.01), out);
    }
    out.push_str("</div></details>\n");
}

fn step(step: &StepResult, whole: f64, out: &mut String) {
    let (class, word) = shown(step.outcome);
    let phase = match step.phase {
        Phase::Step => "",
        Phase::Setup => "setup · ",
        Phase::Teardown => "teardown · ",
    };
    let hover = format!("{word}: {} ({}:{})", step.subject, step.file, step.line);
    out.push_str(&format!("<div class=\"row\" title=\"{}\"><span class=\"name\">", escape(&hover)));
    out.push_str(&format!("<span class=\"{class}\">●</span> <small>{phase}</small>{}</span>", escape(&step.name)));
    out.push_str(&format!("<span class=\"bar\">{}</span>", bars(step, whole)));
    let status = step.status.map(|status| format!("{status} · ")).unwrap_or_default();
    let took = if step.attempts == 0 { "-".to_owned() } else { format!("{status}{}", short(step.took_ms)) };
    out.push_str(&format!("<span class=\"ms\">{took}</span></div>\n"));
    for finding in &step.findings {
        detail(finding, is_bad(step.outcome), out);
    }
}

/// Earlier attempts, then the last one up to the first byte, then the rest.
fn bars(step: &StepResult, whole: f64) -> String {
    if step.attempts == 0 {
        return String::new();
    }
    let bar = |class: &str, from: f64, length: f64| {
        let left = (100.0 * from / whole).clamp(0.0, 99.8);
        let width = (100.0 * length / whole).clamp(0.0, 100.0 - left);
        format!("<i class=\"{class}\" style=\"left:{left:.2}%;width:{width:.2}%\"></i>")
    };
    let Some(latency) = step.latency_ms else { return bar("x", step.began_ms, step.took_ms) };
    let before = (step.took_ms - latency).max(0.0);
    let start = step.began_ms + before;
    let first = step.first_ms.unwrap_or(latency).min(latency);
    let earlier = if step.attempts > 1 { bar("f", step.began_ms, before) } else { String::new() };
    format!("{earlier}{}{}", bar("w", start, first), bar("r", start + first, latency - first))
}

fn short(ms: f64) -> String {
    if ms < 10.0 { format!("{ms:.1}ms") } else { millis(ms).to_string() }
}

fn detail(finding: &Finding, bad: bool, out: &mut String) {
    let class = if bad { "finding" } else { "finding quiet" };
    out.push_str(&format!(
        "<div class=\"{class}\">{} <small>{}:{}</small>",
        escape(&finding.message),
        escape(&finding.file),
        finding.line
    ));
    if !finding.diff.is_empty() {
        out.push_str("<pre>");
        for line in &finding.diff {
            let class = match line.chars().next() {
                Some('-') => "del",
                Some('+') => "ins",
                _ => "same",
            };
            out.push_str(&format!("<span class=\"{class}\">{}</span>\n", escape(line)));
        }
        out.push_str("</pre>");
    }
    out.push_str("</div>\n");
}

/// Text for HTML, in elements and in attributes.
pub(crate) fn escape(text: &str) -> String {
    let clean = vice_core::text::sanitize(text);
    let mut out = String::with_capacity(clean.len());
    for c in clean.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
