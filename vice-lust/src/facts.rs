//! What an event means to people: the word that rules use, a title that needs no template, and the facts that
//! templates can name. One event has at most one word.

use serde::Serialize;
use vice_core::Result;
use vice_core::event::Recorded;
use vice_core::payload::environment::{Direction, HoldPlaced, RolloutOutcome};
use vice_core::payload::rollout::{RolloutFinished, RolloutStarted, RolloutWaiting};
use vice_core::payload::rollout_stream;
use vice_core::payload::verification::{CheckOutcome, VerificationFinished};
use vice_core::port::notifier::Severity;
use vice_core::store::{EventStore, Query};

/// The words of rules, each with what it stands for.
pub(crate) const WORDS: [(&str, &str); 8] = [
    ("started", "a rollout has started"),
    ("deployed", "a deploy has succeeded"),
    ("rolled-back", "a deploy failed and was rolled back, or somebody rolled back"),
    ("failed", "a rollout failed, was ended by an operator, or could not be undone"),
    ("waiting", "a rollout waits for a person or for time"),
    ("hold", "a version was put on hold"),
    ("verification-failed", "checks did not pass"),
    ("message", "somebody posted a message"),
];

/// The facts of one event, as templates see them. A fact that an event does not have is an empty text, so that a
/// template works for every event of its rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Facts {
    pub(crate) word: String,
    pub(crate) severity: String,
    pub(crate) project: String,
    pub(crate) env: String,
    pub(crate) version: String,
    pub(crate) previous_version: String,
    pub(crate) outcome: String,
    pub(crate) reason: String,
    pub(crate) actor: String,
    pub(crate) rollout: String,
    pub(crate) took: String,
    pub(crate) title_default: String,
    pub(crate) event: EventFacts,
}

/// The event itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct EventFacts {
    pub(crate) id: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) time: String,
    pub(crate) subject: String,
}

/// An event with its meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meaning {
    pub(crate) severity: Severity,
    pub(crate) facts: Facts,
}

/// The meaning of an event; for types without a word the title names type and subject.
///
/// # Errors
/// `Decode` for an event whose content does not fit its type, and what the store says.
pub(crate) async fn meaning(store: &dyn EventStore, recorded: &Recorded) -> Result<Meaning> {
    let event = &recorded.event;
    if let Some(started) = event.decode::<RolloutStarted>()? {
        return Ok(of_started(recorded, &started));
    }
    if let Some(finished) = event.decode::<RolloutFinished>()? {
        let started = start_of(store, recorded, &finished).await?;
        return Ok(of_finished(recorded, &finished, started.as_ref()));
    }
    if let Some(waiting) = event.decode::<RolloutWaiting>()? {
        return Ok(of_waiting(recorded, waiting));
    }
    if let Some(hold) = event.decode::<HoldPlaced>()? {
        return Ok(of_hold(recorded, hold));
    }
    if let Some(verification) = event.decode::<VerificationFinished>()?
        && !verification.suite.passed()
    {
        return Ok(of_verification(recorded, &verification));
    }
    let mut facts = base(recorded);
    let kind = event.kind.strip_prefix("dev.cdeventsx.vice-").or_else(|| event.kind.strip_prefix("dev.cdevents."));
    facts.title_default = format!("{}: {} {}", facts.project, kind.unwrap_or(&event.kind), event.subject);
    Ok(with(Severity::Info, "", facts))
}

/// The event that froze the plan, which alone knows the direction, what ran before and who asked.
async fn start_of(
    store: &dyn EventStore,
    told: &Recorded,
    finished: &RolloutFinished,
) -> Result<Option<(RolloutStarted, String)>> {
    // Whoever sends events may name any rollout; the one of another stream is not theirs to be told of.
    if told.event.stream != rollout_stream(&finished.rollout) {
        return Ok(None);
    }
    let mut query = Query::stream(rollout_stream(&finished.rollout), 0);
    query.limit = 1;
    let first = store.read(&query).await?.into_iter().next();
    let Some(first) = first else { return Ok(None) };
    Ok(first.event.decode::<RolloutStarted>()?.map(|started| (started, first.event.actor.to_string())))
}

fn base(recorded: &Recorded) -> Facts {
    let event = &recorded.event;
    let scope = event.scope.as_ref();
    Facts {
        project: scope.map(|scope| scope.project.to_string()).unwrap_or_default(),
        env: scope.map(|scope| scope.env.to_string()).unwrap_or_default(),
        actor: event.actor.to_string(),
        event: EventFacts {
            id: event.id.clone(),
            kind: event.kind.clone(),
            time: event.time.to_string(),
            subject: event.subject.clone(),
        },
        ..Facts::default()
    }
}

fn with(severity: Severity, word: &str, mut facts: Facts) -> Meaning {
    word.clone_into(&mut facts.word);
    crate::message::word(severity).clone_into(&mut facts.severity);
    Meaning { severity, facts }
}

fn of_started(recorded: &Recorded, started: &RolloutStarted) -> Meaning {
    let mut facts = base(recorded);
    facts.rollout = started.rollout.to_string();
    facts.version.clone_from(&started.to.version);
    facts.previous_version = started.from.as_ref().map(|release| release.version.clone()).unwrap_or_default();
    facts.reason = started.reason.clone().unwrap_or_default();
    let (project, version, env) = (&facts.project, &facts.version, &facts.env);
    let what = match started.direction {
        Direction::Deploy => format!("{project} {version} is being deployed to {env}"),
        Direction::Rollback => format!("{project} is being rolled back to {version} in {env}"),
    };
    facts.title_default = format!("{what} by {}", facts.actor);
    with(Severity::Info, "started", facts)
}

fn of_finished(recorded: &Recorded, finished: &RolloutFinished, start: Option<&(RolloutStarted, String)>) -> Meaning {
    let mut facts = base(recorded);
    facts.rollout = finished.rollout.to_string();
    facts.version.clone_from(&finished.to.version);
    facts.reason = finished.reason.clone().unwrap_or_default();
    facts.took = finished.took.to_string();
    facts.outcome = outcome_word(finished.outcome).to_owned();
    let mut direction = Direction::Deploy;
    if let Some((started, asked_by)) = start {
        direction = started.direction;
        facts.actor.clone_from(asked_by);
        facts.previous_version = started.from.as_ref().map(|release| release.version.clone()).unwrap_or_default();
    }
    let (severity, word) = match (finished.outcome, direction) {
        (RolloutOutcome::Succeeded, Direction::Deploy) => (Severity::Success, "deployed"),
        (RolloutOutcome::Succeeded, Direction::Rollback) => (Severity::Success, "rolled-back"),
        (RolloutOutcome::RolledBack, _) => (Severity::Error, "rolled-back"),
        (RolloutOutcome::Failed | RolloutOutcome::NotRestored, _) => (Severity::Error, "failed"),
        (RolloutOutcome::Aborted, _) => (Severity::Warning, "failed"),
    };
    let because = if facts.reason.is_empty() { String::new() } else { format!(": {}", facts.reason) };
    facts.title_default = format!("{}{because}", finished_title(&facts, finished.outcome, direction));
    with(severity, word, facts)
}

fn finished_title(facts: &Facts, outcome: RolloutOutcome, direction: Direction) -> String {
    let (project, version, env) = (&facts.project, &facts.version, &facts.env);
    match (outcome, direction) {
        (RolloutOutcome::Succeeded, Direction::Deploy) => format!("{project} {version} deployed to {env}"),
        (RolloutOutcome::Succeeded, Direction::Rollback) => format!("{project} rolled back to {version} in {env}"),
        (RolloutOutcome::RolledBack, _) => format!("{project} {version} rolled back in {env}"),
        (RolloutOutcome::Failed, _) => format!("{project} {version} failed in {env}, nothing was changed"),
        (RolloutOutcome::NotRestored, _) => format!("{project} {version} failed in {env} and could not be undone"),
        (RolloutOutcome::Aborted, _) => format!("{project} {version} was ended by an operator in {env}"),
    }
}

const fn outcome_word(outcome: RolloutOutcome) -> &'static str {
    match outcome {
        RolloutOutcome::Succeeded => "succeeded",
        RolloutOutcome::RolledBack => "rolled back",
        RolloutOutcome::Failed => "failed",
        RolloutOutcome::NotRestored => "not restored",
        RolloutOutcome::Aborted => "aborted",
    }
}

fn of_waiting(recorded: &Recorded, waiting: RolloutWaiting) -> Meaning {
    let mut facts = base(recorded);
    facts.rollout = waiting.rollout.to_string();
    facts.reason = waiting.reason;
    facts.title_default = format!("{} waits: {}", facts.rollout, facts.reason);
    with(Severity::Warning, "waiting", facts)
}

fn of_hold(recorded: &Recorded, hold: HoldPlaced) -> Meaning {
    let mut facts = base(recorded);
    facts.rollout = hold.rollout.map(|rollout| rollout.to_string()).unwrap_or_default();
    facts.version = hold.version;
    facts.reason = hold.reason;
    facts.title_default = format!("{} {} is on hold in {}: {}", facts.project, facts.version, facts.env, facts.reason);
    with(Severity::Warning, "hold", facts)
}

fn of_verification(recorded: &Recorded, verification: &VerificationFinished) -> Meaning {
    let mut facts = base(recorded);
    facts.rollout = verification.rollout.as_ref().map(ToString::to_string).unwrap_or_default();
    facts.version = verification.version.clone().unwrap_or_default();
    facts.took = verification.suite.took.to_string();
    let bad = |outcome| matches!(outcome, CheckOutcome::Failed | CheckOutcome::Errored);
    let failed: Vec<&str> =
        verification.suite.checks.iter().filter(|check| bad(check.outcome)).map(|check| check.name.as_str()).collect();
    facts.reason = if failed.is_empty() { "no check passed".to_owned() } else { failed.join(", ") };
    let what = format!("{} {}", facts.project, facts.version);
    facts.title_default = format!("{} failed verification in {} ({})", what.trim_end(), facts.env, facts.reason);
    with(Severity::Error, "verification-failed", facts)
}
