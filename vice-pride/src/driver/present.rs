//! Notes as progress lines. The same notes make the report; nothing is said here that is not stored.

use serde_json::Value;
use vice_core::payload::environment::{Direction, RolloutOutcome};
use vice_core::payload::rollout::{Note, Verdict};
use vice_core::payload::verification::CheckOutcome;
use vice_core::text::{Tone, paint, sanitize};
use vice_core::ui::{Progress, ProgressState, Ui};

fn way(direction: Direction) -> &'static str {
    match direction {
        Direction::Deploy => "",
        Direction::Rollback => "back: ",
    }
}

/// Shows what the notes of a step mean for whoever watches.
pub(crate) fn show(ui: &dyn Ui, notes: &[Note]) {
    let over = notes.iter().any(|note| matches!(note, Note::Finished { .. }));
    for note in notes {
        // The last decision says the same as the end.
        if over && matches!(note, Note::Decided { .. }) {
            continue;
        }
        if let Some((key, text, state)) = line(note) {
            ui.progress(Progress { key, text, state });
        }
    }
}

/// What comes from units and tasks is sanitised part by part, so that styles can stand around it.
fn line(note: &Note) -> Option<(String, String, ProgressState)> {
    use ProgressState::{Done, Failed, Running, Waiting};
    let clean = |text: &str| sanitize(text);
    Some(match note {
        Note::WaveStarted { wave, of, units, direction } if *of > 1 => (
            format!("wave/{wave}"),
            format!("{}wave {wave} of {of}: units {}", way(*direction), clean(&units.join(", "))),
            Running,
        ),
        Note::WaveFinished { wave } => (format!("wave/{wave}"), format!("wave {wave} done"), Done),
        Note::UnitStarted { unit, version, .. } => {
            (unit_key(unit), format!("unit {} → {}", clean(unit), clean(version)), Running)
        }
        Note::UnitFinished { unit, version, took } => {
            (unit_key(unit), format!("unit {} runs {} ({took})", clean(unit), clean(version)), Done)
        }
        Note::UnitFailed { unit, version, reason, .. } => {
            (unit_key(unit), format!("unit {} → {}: {}", clean(unit), clean(version), clean(reason)), Failed)
        }
        Note::TaskStarted { task, unit, .. } => {
            (task_key(task, unit.as_deref()), task_text(task, unit.as_deref()), Running)
        }
        Note::TaskFinished { task, unit, ok, reason, took } => {
            let said = reason.as_ref().map(|reason| format!(": {}", clean(reason))).unwrap_or_default();
            let text = format!("{} ({took}){said}", task_text(task, unit.as_deref()));
            (task_key(task, unit.as_deref()), text, if *ok { Done } else { Failed })
        }
        Note::VerifyStarted { direction } => ("verify".into(), format!("{}checks", way(*direction)), Running),
        Note::VerifyFinished { suite } => {
            let failed: Vec<&str> = suite
                .checks
                .iter()
                .filter(|check| matches!(check.outcome, CheckOutcome::Failed | CheckOutcome::Errored))
                .map(|check| check.name.as_str())
                .collect();
            let passed = suite.count(CheckOutcome::Passed);
            let text = match failed.as_slice() {
                [] => format!("checks: {passed} passed ({})", suite.took),
                names => format!("checks: {passed} passed, failed: {}", clean(&names.join(", "))),
            };
            ("verify".into(), text, if suite.passed() { Done } else { Failed })
        }
        Note::Decided { verdict: Verdict::Rollback, reason, .. } => {
            ("decision".into(), format!("{} {}", paint(Tone::Bad, "rolling back:"), clean(reason)), Failed)
        }
        Note::WeightsSet { weights } => ("traffic".into(), traffic(weights), Done),
        Note::Judged { verdict, reason, share, evidence, .. } => (
            "judge".into(),
            format!(
                "{} at {} of the traffic: {}{}",
                verdict_word(*verdict),
                percent(*share),
                clean(reason),
                arms(evidence)
            ),
            if *verdict == Verdict::Rollback { Failed } else { Running },
        ),
        Note::Held { reason, .. } => ("wait".into(), clean(reason), Waiting),
        Note::Commanded { command, by, .. } => {
            ("command".into(), format!("{} says {}", clean(by), format!("{command:?}").to_lowercase()), Waiting)
        }
        Note::Resumed { epoch } => ("resumed".into(), format!("taking the rollout up again (epoch {epoch})"), Done),
        Note::Finished { outcome } => (
            "finished".into(),
            ending(*outcome).into(),
            if *outcome == RolloutOutcome::Succeeded { Done } else { Failed },
        ),
        Note::WaveStarted { .. } | Note::Fenced { .. } | Note::Decided { .. } => return None,
    })
}

/// What each version gets of the traffic.
fn traffic(weights: &[(String, u32)]) -> String {
    let shares: Vec<String> =
        weights.iter().map(|(version, share)| format!("{} {}", sanitize(version), percent(*share))).collect();
    if shares.is_empty() { "traffic follows the units".to_owned() } else { format!("traffic: {}", shares.join(", ")) }
}

fn percent(basis_points: u32) -> String {
    match basis_points % 100 {
        0 => format!("{} %", basis_points / 100),
        rest => format!("{}.{rest:02} %", basis_points / 100),
    }
}

const fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Proceed => "proceed",
        Verdict::Hold => "hold",
        Verdict::Rollback => "rollback",
        Verdict::Inconclusive => "inconclusive",
    }
}

/// The counts that a ruling rests on, new against old.
fn arms(evidence: &Value) -> String {
    let number = |key: &str| evidence.get(key).and_then(Value::as_f64).unwrap_or(0.0);
    let (seen, baseline) = (number("canary_seen"), number("baseline_seen"));
    if seen + baseline == 0.0 {
        return String::new();
    }
    format!(" ({:.0} of {seen:.0} bad, before {:.0} of {baseline:.0})", number("canary_bad"), number("baseline_bad"))
}

fn unit_key(unit: &str) -> String {
    format!("unit/{unit}")
}

fn task_key(task: &str, unit: Option<&str>) -> String {
    format!("task/{task}/{}", unit.unwrap_or_default())
}

fn task_text(task: &str, unit: Option<&str>) -> String {
    match unit {
        Some(unit) => format!("task {} for unit {}", sanitize(task), sanitize(unit)),
        None => format!("task {}", sanitize(task)),
    }
}

const fn ending(outcome: RolloutOutcome) -> &'static str {
    match outcome {
        RolloutOutcome::Succeeded => "done",
        RolloutOutcome::RolledBack => "rolled back",
        RolloutOutcome::Failed => "failed; nothing was changed",
        RolloutOutcome::NotRestored => "could not be restored; somebody must look",
        RolloutOutcome::Aborted => "left as it is",
    }
}
