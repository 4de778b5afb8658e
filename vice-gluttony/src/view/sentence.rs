//! Every note of a rollout as one sentence: the same words in the list under the timeline, in marks and in text.

use vice_core::payload::environment::{Direction, RolloutOutcome};
use vice_core::payload::rollout::{Finding, Note, OperatorCommand, Verdict};
use vice_core::payload::verification::{CheckOutcome, SuiteResult};

use super::{Mood, Standing};

/// The sentence, and how good it is.
#[must_use]
pub fn of(note: &Note) -> (Mood, String) {
    match note {
        Note::Fenced { epoch } => plain(format!("Fenced the target with epoch {epoch}.")),
        Note::WaveStarted { .. } | Note::WaveFinished { .. } => wave(note),
        Note::UnitStarted { .. } | Note::UnitFinished { .. } | Note::UnitFailed { .. } => unit(note),
        Note::TaskStarted { .. } | Note::TaskFinished { .. } => task(note),
        Note::VerifyStarted { direction } => plain(format!("Verification of the {} started.", direction.word())),
        Note::VerifyFinished { suite: found } => {
            (if found.passed() { Mood::Good } else { Mood::Bad }, format!("Verification ended: {}.", suite(found)))
        }
        Note::WeightsSet { weights } if weights.is_empty() => plain("Traffic follows the units again.".to_owned()),
        Note::WeightsSet { weights } => plain(format!("Traffic: {}.", shares(weights))),
        Note::Decided { verdict, reason, .. } => {
            (super::lanes::verdict_mood(*verdict), format!("Decided to {}: {reason}", verdict_word(*verdict)))
        }
        Note::Judged { verdict, reason, share, .. } => {
            let text = format!("Judged at {} of the traffic, {}: {reason}", percent(*share), verdict_word(*verdict));
            (super::lanes::verdict_mood(*verdict), text)
        }
        Note::Held { reason, .. } => (Mood::Warn, format!("Held back: {reason}")),
        Note::Commanded { command, by, reason } => {
            let why = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            (Mood::Warn, format!("{by} said {}{why}", command_word(*command)))
        }
        Note::Resumed { epoch } => (Mood::Warn, format!("Another process took over with epoch {epoch}.")),
        Note::Finished { outcome } => finished(*outcome),
    }
}

const fn plain(text: String) -> (Mood, String) {
    (Mood::Plain, text)
}

fn wave(note: &Note) -> (Mood, String) {
    match note {
        Note::WaveStarted { wave, of, units, direction } => {
            let back = if *direction == Direction::Rollback { " back" } else { "" };
            plain(format!("Wave {wave} of {of}{back} started: {}.", units.join(", ")))
        }
        Note::WaveFinished { wave } => (Mood::Good, format!("Wave {wave} is done.")),
        _ => plain(String::new()),
    }
}

fn unit(note: &Note) -> (Mood, String) {
    match note {
        Note::UnitStarted { unit, version, .. } => plain(format!("Unit {unit} goes to {version}.")),
        Note::UnitFinished { unit, version, took } => {
            (Mood::Good, format!("Unit {unit} runs {version} and is healthy, after {took}."))
        }
        Note::UnitFailed { unit, version, reason, took } => {
            (Mood::Bad, format!("Unit {unit} could not go to {version}, after {took}: {reason}"))
        }
        _ => plain(String::new()),
    }
}

fn task(note: &Note) -> (Mood, String) {
    let place = |unit: &Option<String>| unit.as_ref().map(|unit| format!(" on {unit}")).unwrap_or_default();
    match note {
        Note::TaskStarted { task, unit, direction } => {
            plain(format!("Task {task}{} started ({}).", place(unit), direction.word()))
        }
        Note::TaskFinished { task, unit, ok: true, took, .. } => {
            (Mood::Good, format!("Task {task}{} succeeded, after {took}.", place(unit)))
        }
        Note::TaskFinished { task, unit, reason, took, .. } => {
            let why = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            (Mood::Bad, format!("Task {task}{} failed, after {took}{why}", place(unit)))
        }
        _ => plain(String::new()),
    }
}

const fn finished_mood(outcome: RolloutOutcome) -> Standing {
    Standing::of(Some(outcome), false)
}

fn finished(outcome: RolloutOutcome) -> (Mood, String) {
    let standing = finished_mood(outcome);
    (standing.mood(), format!("The rollout ended: {}.", standing.word()))
}

/// The word for a verdict, after "Decided to".
#[must_use]
pub const fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Proceed => "proceed",
        Verdict::Hold => "hold",
        Verdict::Rollback => "roll back",
        Verdict::Inconclusive => "wait for more evidence",
    }
}

const fn command_word(command: OperatorCommand) -> &'static str {
    match command {
        OperatorCommand::Pause => "pause",
        OperatorCommand::Resume => "resume",
        OperatorCommand::Abort => "abort",
        OperatorCommand::ForceRollback => "roll back across the barrier",
        OperatorCommand::Abandon => "abandon",
        OperatorCommand::Promote => "promote",
        OperatorCommand::Resolve { found: Finding::Applied, .. } => "take what is in doubt as done",
        OperatorCommand::Resolve { found: Finding::NotApplied, .. } => "take what is in doubt as not done",
    }
}

/// What a run of checks found, in counts.
#[must_use]
pub fn suite(suite: &SuiteResult) -> String {
    let counts = [
        (CheckOutcome::Passed, "passed"),
        (CheckOutcome::Failed, "failed"),
        (CheckOutcome::Errored, "could not be run"),
        (CheckOutcome::Skipped, "skipped"),
    ];
    let parts = counts.map(|(outcome, word)| (suite.count(outcome), word));
    let said: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    if said.is_empty() { "no checks".to_owned() } else { said.join(", ") }
}

/// Versions with their share of the traffic.
#[must_use]
pub fn shares(weights: &[(String, u32)]) -> String {
    let share = |(version, points): &(String, u32)| format!("{version} {}", percent(*points));
    weights.iter().map(share).collect::<Vec<_>>().join(", ")
}

/// Basis points as per cent.
#[must_use]
pub fn percent(basis_points: u32) -> String {
    match basis_points % 100 {
        0 => format!("{} %", basis_points / 100),
        rest => format!("{}.{rest:02} %", basis_points / 100),
    }
}
