//! How a run went, for people and machines.

use jiff::Timestamp;
use serde_json::{Value, json};
use vice_core::text::{Table, Tone, paint, sanitize};
use vice_core::time::ago;
use vice_core::ui::Outcome;
use vice_core::{App, Class, Code, Context, Result};

use crate::graph::reference::as_text;
use crate::journal::view::{RunStatus, RunView, StepStatus, StepView};

/// The longest value in the table, in characters.
const VALUE_CHARS_MAX: usize = 60;

/// The result of having worked on a run.
pub(super) fn worked(app: &App, view: &RunView) -> Result<Outcome> {
    let stopped = app.stop.raised().map(Code::class);
    let class = match view.status {
        RunStatus::Succeeded => Class::Done,
        RunStatus::Failed => view.class.unwrap_or(Class::Failed),
        RunStatus::Parked | RunStatus::Running => stopped.unwrap_or(Class::Failed),
    };
    Ok(outcome(view, app.clock.now())?.with_class(class))
}

/// A run as it is; showing it succeeds however it went.
pub(super) fn outcome(view: &RunView, now: Timestamp) -> Result<Outcome> {
    let mut json = serde_json::to_value(view).context(Code::Internal, || "A run does not serialise.".to_owned())?;
    json["in_doubt"] = json!(view.in_doubt());
    Ok(Outcome::done(text(view, now), json))
}

fn text(view: &RunView, now: Timestamp) -> String {
    let mut table = Table::with_heading(&["step", "outcome", "took", "outputs"]);
    for (name, step) in &view.steps {
        let (tone, word) = step_status(view, step);
        let tries = if step.attempts > 1 { format!(" ({} attempts)", step.attempts) } else { String::new() };
        let outputs = step.outputs.iter().filter(|(_, value)| worth_showing(value));
        let outputs = outputs.map(|(key, value)| format!("{key}={}", shorten(&as_text(value))));
        table.row([
            (Tone::Strong, name.clone()),
            (tone, format!("{word}{tries}")),
            (Tone::Plain, step.took.map_or_else(String::new, |took| took.to_string())),
            (Tone::Plain, outputs.collect::<Vec<_>>().join("  ")),
        ]);
    }
    let (tone, word) = status(view.status);
    let begun = format!("begun {} by {}", ago(view.started, now), sanitize(&view.by));
    let head = format!("{} {}, {begun}\n\n", paint(Tone::Strong, view.run.to_string()), paint(tone, word));
    head + &table.render() + &errors(view) + &next(view)
}

/// Lists and tables are for machines; what is empty says nothing.
fn worth_showing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Array(_) | Value::Object(_) => false,
        Value::String(text) => !text.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

fn errors(view: &RunView) -> String {
    let mut out = String::new();
    for (name, step) in &view.steps {
        let Some(error) = &step.error else { continue };
        out.push_str(&format!("\n{}: {}\n", paint(Tone::Bad, sanitize(name)), sanitize(&error.message)));
        for hint in &error.hints {
            out.push_str(&format!("  {}\n", sanitize(hint)));
        }
    }
    out
}

/// What can be done with a run that has not succeeded.
fn next(view: &RunView) -> String {
    if view.status == RunStatus::Succeeded {
        return String::new();
    }
    let doubt: String = match (view.in_doubt().first(), view.status) {
        (Some(step), RunStatus::Failed | RunStatus::Parked) => format!(" --redo {step}"),
        _ => String::new(),
    };
    let command = format!("vice sloth resume {}{doubt}", view.run);
    format!("\nGo on with {}.\n", paint(Tone::Code, sanitize(&command)))
}

fn shorten(text: &str) -> String {
    let line = text.lines().next().unwrap_or("");
    let cut = line.chars().count() > VALUE_CHARS_MAX || line.len() < text.trim_end().len();
    let short: String = line.chars().take(VALUE_CHARS_MAX).collect();
    if cut { format!("{short}…") } else { short }
}

/// How a run stands, in a word.
pub(super) fn status(status: RunStatus) -> (Tone, String) {
    let (tone, word) = match status {
        RunStatus::Running => (Tone::Warn, "has not ended"),
        RunStatus::Parked => (Tone::Warn, "parked"),
        RunStatus::Succeeded => (Tone::Good, "succeeded"),
        RunStatus::Failed => (Tone::Bad, "failed"),
    };
    (tone, word.to_owned())
}

fn step_status(view: &RunView, step: &StepView) -> (Tone, &'static str) {
    match step.status {
        StepStatus::Pending if view.status == RunStatus::Failed => (Tone::Faint, "not started"),
        StepStatus::Pending => (Tone::Faint, "pending"),
        StepStatus::Running => (Tone::Warn, "started, no end known"),
        StepStatus::Succeeded if step.assumed => (Tone::Good, "taken as done"),
        StepStatus::Succeeded => (Tone::Good, "succeeded"),
        StepStatus::Failed => (Tone::Bad, "failed"),
        StepStatus::InDoubt => (Tone::Bad, "in doubt"),
        StepStatus::Interrupted => (Tone::Warn, "interrupted"),
        StepStatus::Skipped => (Tone::Faint, "skipped"),
    }
}

/// How many steps have come to a good end.
pub(super) fn counts(view: &RunView) -> String {
    let done = |step: &&StepView| matches!(step.status, StepStatus::Succeeded | StepStatus::Skipped);
    format!("{} of {}", view.steps.values().filter(done).count(), view.steps.len())
}
