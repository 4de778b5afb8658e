//! For people: one screen, what went wrong first and with its difference, then one line a scenario, then the sum.

use vice_core::payload::verification::CheckOutcome;
use vice_core::text::{Table, Tone, count, paint, sanitize};

use super::About;
use crate::play::result::{Finding, Phase, RunResult, ScenarioResult, StepResult, is_bad, millis};

/// So many failing steps are shown in full; more do not fit on a screen, and JSON has them all.
const BAD_MAX: usize = 8;

/// So many lines of one difference are shown.
const DIFF_MAX: usize = 12;

/// So many scenarios get a line each; of more, only those that did not pass.
const LINES_MAX: usize = 40;

pub(super) fn text(about: &About, run: &RunResult) -> String {
    let mut out = String::new();
    let bad: Vec<(&ScenarioResult, &StepResult)> = run
        .scenarios
        .iter()
        .flat_map(|scenario| scenario.steps.iter().map(move |step| (scenario, step)))
        .filter(|(_, step)| is_bad(step.outcome))
        .collect();
    for (scenario, step) in bad.iter().take(BAD_MAX) {
        trouble(scenario, step, &mut out);
    }
    if bad.len() > BAD_MAX {
        out.push_str(&format!("… and {} more that did not pass; --format json has them all.\n\n", bad.len() - BAD_MAX));
    }
    table(run, &mut out);
    out.push_str(&summary(about, run));
    out.push('\n');
    out
}

fn trouble(scenario: &ScenarioResult, step: &StepResult, out: &mut String) {
    let (mark, _, tone) = shown(step.outcome);
    let phase = match step.phase {
        Phase::Step => "",
        Phase::Setup => " (setup)",
        Phase::Teardown => " (teardown)",
    };
    let head = format!("{mark} {} › {}{phase}", sanitize(&scenario.title()), sanitize(&step.name));
    out.push_str(&format!("{}  {}\n", paint(tone, head), paint(Tone::Faint, format!("{}:{}", step.file, step.line))));
    if step.subject != step.name {
        let took = if step.attempts > 1 { format!(" ({} attempts)", step.attempts) } else { String::new() };
        out.push_str(&paint(Tone::Faint, format!("    {}{took}", sanitize(&step.subject))));
        out.push('\n');
    }
    for finding in &step.findings {
        detail(finding, step.line, out);
    }
    out.push('\n');
}

fn detail(finding: &Finding, at: usize, out: &mut String) {
    let line = if finding.line == at { String::new() } else { format!("  line {}", finding.line) };
    out.push_str(&format!("    {}{}\n", sanitize(&finding.message), paint(Tone::Faint, line)));
    for line in finding.diff.iter().take(DIFF_MAX) {
        let tone = match line.chars().next() {
            Some('-') => Tone::Good,
            Some('+') => Tone::Bad,
            _ => Tone::Plain,
        };
        out.push_str(&format!("      {}\n", paint(tone, sanitize(line))));
    }
    if finding.diff.len() > DIFF_MAX {
        out.push_str(&format!("      … {} more lines\n", finding.diff.len() - DIFF_MAX));
    }
}

/// Mark, word and tone: readable without colour, and without the mark.
const fn shown(outcome: CheckOutcome) -> (&'static str, &'static str, Tone) {
    match outcome {
        CheckOutcome::Passed => ("✓", "passed", Tone::Good),
        CheckOutcome::Failed => ("✗", "failed", Tone::Bad),
        CheckOutcome::Errored => ("!", "not run", Tone::Warn),
        CheckOutcome::Skipped => ("-", "skipped", Tone::Faint),
    }
}

fn table(run: &RunResult, out: &mut String) {
    let all = run.scenarios.len() <= LINES_MAX;
    let mut table = Table::default();
    let shown_ones = run.scenarios.iter().filter(|scenario| all || is_bad(scenario.outcome)).take(LINES_MAX);
    for scenario in shown_ones {
        let (mark, word, tone) = shown(scenario.outcome);
        let steps = scenario.steps.iter().filter(|step| step.outcome == CheckOutcome::Passed).count();
        let note = match &scenario.reason {
            Some(reason) => reason.clone(),
            None => format!("{steps} of {}", count(scenario.steps.len(), "step", "steps")),
        };
        table.row([
            (tone, mark.to_owned()),
            (Tone::Strong, scenario.title()),
            (tone, word.to_owned()),
            (Tone::Faint, millis(scenario.took_ms).to_string()),
            (Tone::Plain, note),
        ]);
    }
    out.push_str(&table.render());
}

fn summary(about: &About, run: &RunResult) -> String {
    let parts = [CheckOutcome::Passed, CheckOutcome::Failed, CheckOutcome::Errored, CheckOutcome::Skipped]
        .into_iter()
        .filter(|outcome| run.count(*outcome) > 0)
        .map(|outcome| format!("{} {}", run.count(outcome), shown(outcome).1));
    let parts: Vec<String> = parts.collect();
    let steps: usize = run.scenarios.iter().map(|scenario| scenario.steps.len()).sum();
    let version = about.version.as_ref().map(|version| format!(" (version {version})")).unwrap_or_default();
    format!(
        "{} with {} against {}{version}: {}, in {}.",
        count(run.scenarios.len(), "scenario", "scenarios"),
        count(steps, "step", "steps"),
        about.place,
        if parts.is_empty() { "nothing played".to_owned() } else { parts.join(", ") },
        millis(run.took_ms),
    )
}
