//! Notes as progress lines. The same notes make the report; nothing is said here that is not stored.

use serde_json::Value;
use vice_core::Millis;
use vice_core::payload::environment::{Direction, RolloutOutcome};
use vice_core::payload::judged::Judged;
use vice_core::payload::rollout::{Note, Verdict};
use vice_core::payload::verification::CheckOutcome;
use vice_core::text::{Tone, paint, sanitize};
use vice_core::ui::{Progress, ProgressState, Ui};
use vice_pride_engine::{EngineNote, Plan, Recorded, notes_named};

use super::board::Board;
use super::forecast;
use super::journal::Texts;

/// So many units of a wave are named.
const NAMED_MAX: usize = 8;

fn way(direction: Direction) -> &'static str {
    match direction {
        Direction::Deploy => "",
        Direction::Rollback => "back: ",
    }
}

/// What was shown of a rollout so far.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    /// What the judge said last: what is waited for is the same sentence, and was said with its figures.
    judged: Option<String>,
    /// Whether the forecast was shown.
    forecast: bool,
    /// The units, where there are too many for lines of their own.
    board: Option<Board>,
}

impl Screen {
    /// What was shown of a rollout that begins, or that has these steps behind it.
    pub(crate) fn of(plan: &Plan, steps: &[Recorded], texts: &Texts) -> Self {
        let mut board = Board::of(plan);
        if let Some(board) = &mut board {
            for step in steps {
                let named = notes_named(&step.answer.notes, plan, texts);
                step.answer.notes.iter().zip(&named).for_each(|(note, named)| board.take(note, why(named)));
            }
        }
        Self { board, ..Self::default() }
    }

    /// Shows what the notes of a step mean for whoever watches; `plain` are the same as the engine made them.
    pub(crate) fn show(&mut self, ui: &dyn Ui, plain: &[EngineNote], notes: &[Note], plan: &Plan) {
        let over = notes.iter().any(|note| matches!(note, Note::Finished { .. }));
        self.tell_units(ui, plain, notes, plan);
        for note in notes {
            match note {
                note if self.board.is_some() && is_of_one_unit(note) => continue,
                // The last decision says the same as the end.
                Note::Decided { .. } if over => continue,
                Note::Held { reason, .. } if self.judged.as_ref().is_some_and(|said| said.starts_with(reason)) => {
                    continue;
                }
                Note::Judged { reason, evidence, .. } => {
                    self.judged = Some(reason.clone());
                    self.foretell(ui, evidence, plan);
                }
                _ => {}
            }
            if let Some(mut progress) = line(note) {
                if let (Note::Judged { verdict: Verdict::Hold, evidence, .. }, Some(analysis)) = (note, &plan.analysis)
                {
                    progress.text.push_str(&to_go(evidence, analysis.interval));
                }
                ui.progress(progress);
            }
        }
    }

    /// What the notes say of the units, where they are shown together.
    fn tell_units(&mut self, ui: &dyn Ui, plain: &[EngineNote], notes: &[Note], plan: &Plan) {
        let Some(board) = &mut self.board else { return };
        plain.iter().zip(notes).for_each(|(note, named)| board.take(note, why(named)));
        let end = plain.iter().find_map(|note| match note {
            EngineNote::Finished { outcome } => Some(*outcome == RolloutOutcome::Succeeded),
            _ => None,
        });
        let area = ui.area();
        let told = match end {
            Some(good) if area.is_some() => board.end(plan, good, area).into_iter().collect(),
            _ => board.progress(plan, area),
        };
        told.into_iter().for_each(|progress| ui.progress(progress));
    }

    /// What is to be expected, as soon as it is known how much traffic there is.
    fn foretell(&mut self, ui: &dyn Ui, evidence: &Value, plan: &Plan) {
        let text = if self.forecast { None } else { forecast::sentence(plan, evidence) };
        if let Some(text) = text {
            self.forecast = true;
            ui.progress(Progress { key: "forecast".into(), text, state: ProgressState::Done, gist: None });
        }
    }
}

/// Why a unit failed.
fn why(note: &Note) -> Option<&str> {
    match note {
        Note::UnitFailed { reason, .. } => Some(reason),
        _ => None,
    }
}

/// Whether a note is about one unit, and no trouble.
const fn is_of_one_unit(note: &Note) -> bool {
    matches!(
        note,
        Note::UnitStarted { .. }
            | Note::UnitFinished { .. }
            | Note::TaskStarted { unit: Some(_), .. }
            | Note::TaskFinished { unit: Some(_), ok: true, .. }
    )
}

/// How much of the proof is there, and how long the rest takes at this pace.
fn to_go(evidence: &Value, interval: Millis) -> String {
    let Some(judged) = Judged::of(evidence) else { return String::new() };
    match judged.remaining(interval) {
        Some(left) => format!("; {:.0} % of the proof, {left} to go", judged.proof() * 100.0),
        None => String::new(),
    }
}

/// What comes from units and tasks is sanitised part by part, so that styles can stand around it.
fn line(note: &Note) -> Option<Progress> {
    let (key, text, state) = parts(note)?;
    let gist = match note {
        Note::Judged { verdict, reason, .. } => Some(format!("{}: {reason}", verdict_word(*verdict))),
        Note::WeightsSet { weights } => weights.last().map(|(version, share)| format!("{version} {}", rough(*share))),
        _ => None,
    };
    Some(Progress { key, text, state, gist })
}

fn parts(note: &Note) -> Option<(String, String, ProgressState)> {
    use ProgressState::{Done, Failed, Running, Waiting};
    let clean = |text: &str| sanitize(text);
    Some(match note {
        Note::WaveStarted { wave, of, units, direction } if *of > 1 => (
            format!("wave/{wave}"),
            match units.as_slice() {
                [] => format!("{}wave {wave} of {of}: more traffic", way(*direction)),
                units => format!("{}wave {wave} of {of}: {}", way(*direction), wave_units(units)),
            },
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
        Note::WeightsSet { .. } | Note::Judged { .. } => return watched(note),
        // The judge's line takes the place of what is waited for first.
        Note::Held { reason, .. } => ("judge".into(), clean(reason), Waiting),
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

/// The units of a wave: all of them, or how many and the first ones.
fn wave_units(units: &[String]) -> String {
    let (first, more) = units.split_at(units.len().min(NAMED_MAX));
    let names = sanitize(&first.join(", "));
    if more.is_empty() { format!("units {names}") } else { format!("{} units: {names}, …", units.len()) }
}

/// What a canary does: traffic that moves, and what the judge says of it.
fn watched(note: &Note) -> Option<(String, String, ProgressState)> {
    use ProgressState::{Done, Failed, Running, Waiting};
    Some(match note {
        Note::WeightsSet { weights } => {
            ("traffic".into(), traffic(weights), if weights.is_empty() { Done } else { Running })
        }
        Note::Judged { verdict, metric, reason, share, evidence } => (
            "judge".into(),
            format!(
                "{} at {} of the traffic: {}{}",
                verdict_word(*verdict),
                percent(*share),
                sanitize(reason),
                counts(metric.as_deref(), evidence)
            ),
            match verdict {
                Verdict::Rollback => Failed,
                Verdict::Proceed => Done,
                Verdict::Hold => Running,
                Verdict::Inconclusive => Waiting,
            },
        ),
        _ => return None,
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
        Verdict::Hold => "watching",
        Verdict::Rollback => "rollback",
        Verdict::Inconclusive => "inconclusive",
    }
}

/// The step that a share has reached, so that a ramp is told in a handful of lines.
fn rough(share: u32) -> u32 {
    [10_000, 5_000, 2_000, 1_000, 500, 200, 100, 1].into_iter().find(|step| share >= *step).unwrap_or(0)
}

/// The counts that a ruling rests on, new against old.
fn counts(metric: Option<&str>, evidence: &Value) -> String {
    match Judged::of(evidence) {
        Some(judged) if judged.canary_seen + judged.baseline_seen > 0 => {
            format!(" {}: {}", sanitize(metric.unwrap_or("metric")), judged.counts())
        }
        _ => String::new(),
    }
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
