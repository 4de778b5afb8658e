//! A deploy that is asked for while another rollout of the environment is under way: refused, queued, or put in the
//! other's place, as `rollout.supersede` says.

use std::time::Duration;

use serde_json::{Value, json};
use vice_core::app::App;
use vice_core::fold;
use vice_core::fold::environment::{EnvironmentState, Past};
use vice_core::id::{RolloutId, Scope};
use vice_core::manifest::Supersede;
use vice_core::payload::environment::{Direction, RolloutOutcome};
use vice_core::payload::environment_stream;
use vice_core::payload::rollout::OperatorCommand;
use vice_core::port::notifier::Severity;
use vice_core::text::{Tone, paint, sanitize};
use vice_core::ui::Outcome;
use vice_core::{Class, Code, Fault, Result};

use super::deploy::{Consent, conclude, confirmed};
use super::forecast::foretell;
use crate::driver::queue::{self, Ready, Turn};
use crate::driver::{EndState, Ended, Want, command, lease_for, take_up, unfinished, wanted_release};
use crate::lease;

/// How often the environment is looked at while waiting.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How often at most: half an hour, as long as a CI job may well wait. After that the deploy stays in the queue.
const LOOKS_MAX: u32 = 9_000;

/// What waited and began after this many others in one command is left to the next `vice tick`.
const FOLLOWERS_MAX: usize = 8;

/// What is to be done with a deploy while another rollout is under way.
///
/// # Errors
/// `Locked` when it is refused; `Held`, and whatever else is wrong with it by itself; what became of it.
pub(super) async fn supersede(
    app: &App,
    want: &Want,
    consent: &Consent,
    active: &RolloutId,
) -> Result<Option<Outcome>> {
    let scope = &active.scope;
    let project = app.workspace.project(scope.project.as_str())?;
    if want.direction == Direction::Rollback {
        return Err(instead_of_a_rollback(active));
    }
    let policy = project.env(&scope.env)?.rollout.supersede;
    if policy == Supersede::Reject {
        return Err(unfinished(active));
    }
    if consent.plan.is_some() {
        let message = format!("A plan can't be agreed to while {active} is under way: what it changes is not settled.");
        return Err(Fault::new(Code::PlanDrifted, message).hint("Leave --plan out, or wait until it is over."));
    }
    confirmed(&project, &scope.env, consent.confirm.as_ref())?;
    // Whatever is wrong with it is said now, before anything is told to go back for it.
    let release = wanted_release(app, want).await?;
    let (state, _) = load(app, scope).await?;
    let same = |past: &Past| past.rollout == *active && past.to.runs_like(&release);
    if state.past.iter().any(same) {
        return Err(unfinished(active).hint(format!("It already goes to {}.", release.label())));
    }
    let want = Want { version: Some(release.version.clone()), ..want.clone() };
    let replaces = policy == Supersede::Replace;
    let Some((id, active)) = queue::enqueue(app, scope, &want, consent.reason.clone(), replaces).await? else {
        return Ok(None);
    };
    if replaces { replace(app, &id, active).await.map(Some) } else { Ok(Some(waits(&id, &active, &release.version))) }
}

/// A rollback neither waits nor replaces: it goes back from what runs, and that is not settled while a rollout is under
/// way. Going back from that one is `abort`.
fn instead_of_a_rollback(active: &RolloutId) -> Fault {
    let (scope, project) = (&active.scope, &active.scope.project);
    let message = format!("{active} is under way, and a rollback neither waits for it nor takes its place.");
    Fault::new(Code::Locked, message)
        .hint(format!("To go back from it: vice pride abort {project} --env {}.", scope.env))
        .hint("When it is over, `vice rollback` goes back from what it has brought.")
        .detail("rollout", active.to_string())
}

async fn load(app: &App, scope: &Scope) -> Result<(EnvironmentState, u64)> {
    fold::load::<EnvironmentState>(app.events.as_ref(), &environment_stream(scope)).await
}

fn waits(id: &RolloutId, active: &RolloutId, version: &str) -> Outcome {
    let scope = &id.scope;
    let text = format!(
        "{} {id} ({}) waits for {active}, and begins by itself when that is over.\n  {} {}\n",
        paint(Tone::Warn, "…"),
        sanitize(version),
        paint(Tone::Faint, "begin it by hand then:"),
        paint(Tone::Code, "vice tick"),
    );
    let value = json!({
        "changed": false,
        "rollout": id,
        "project": scope.project,
        "env": scope.env,
        "version": version,
        "outcome": "queued",
        "waits_for": active,
    });
    Outcome::done(text, value).with_class(Class::Waiting)
}

/// Tells the rollout under way to go back, waits for its end, and begins in its place.
async fn replace(app: &App, id: &RolloutId, active: RolloutId) -> Result<Outcome> {
    let Some(lock) = queue::waiting_here(app, id)? else {
        return Err(Fault::internal(format!("Another process waits for {id}.")));
    };
    command(app, &active, OperatorCommand::Abort, Some(format!("{id} takes its place"))).await?;
    app.ui.say(Severity::Info, &format!("{active} is told to go back; {id} takes its place."));
    let done = wait(app, id).await;
    queue::waits_no_longer(app, id, lock);
    done
}

async fn wait(app: &App, id: &RolloutId) -> Result<Outcome> {
    for _ in 0..LOOKS_MAX {
        if let Some(code) = app.stop.raised() {
            queue::leave(app, id, "The process that waited for it was told to end.".to_owned()).await?;
            return Err(Fault::new(code, format!("{id} does not wait any longer; what it replaces still goes back.")));
        }
        let (state, _) = load(app, &id.scope).await?;
        if state.queued.as_ref().is_none_or(|queued| queued.rollout != *id) {
            return Err(lost(app, id).await?);
        }
        match &state.active {
            None => match queue::take_turn(app, &id.scope, Some(id)).await? {
                Some(Turn::Ready(ready)) => return conclude(app, begun(ready).await?).await,
                Some(Turn::Dropped(_, fault)) => return Err(fault),
                None => {}
            },
            Some(active) if !lease::is_held(app, &id.scope).await? => {
                if let Some(parked) = take_back(app, active, id).await? {
                    return Ok(parked);
                }
            }
            Some(_) => {}
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let (state, _) = load(app, &id.scope).await?;
    Ok(waits(id, state.active.as_ref().unwrap_or(id), "?"))
}

/// Why this deploy is not the one that waits any more.
async fn lost(app: &App, id: &RolloutId) -> Result<Fault> {
    let why = queue::why_dropped(app, id).await?;
    Ok(match why {
        Some(why) => Fault::new(Code::Conflict, format!("{id} was dropped: {why}")),
        None => Fault::new(Code::Conflict, format!("Another process has begun {id}."))
            .hint(format!("`vice why {id}` says how it went.")),
    })
}

/// Takes a rollout back that nobody drives. Gives what to say when it can't go on without an operator.
async fn take_back(app: &App, active: &RolloutId, id: &RolloutId) -> Result<Option<Outcome>> {
    let lease = match lease_for(app, active).await {
        Ok(lease) => lease,
        Err(fault) if fault.code() == Code::Locked => return Ok(None),
        Err(fault) => return Err(fault),
    };
    let ended = take_up(app, active, lease).await?;
    match &ended.state {
        EndState::Finished { outcome, .. } => {
            app.ui.say(Severity::Info, &format!("{active} ended: {}.", outcome_word(*outcome)));
            Ok(None)
        }
        EndState::Parked { reason, .. } => {
            app.ui.say(Severity::Warning, &format!("{id} goes on waiting: {active} needs an operator. {reason}"));
            conclude(app, ended).await.map(Some)
        }
    }
}

const fn outcome_word(outcome: RolloutOutcome) -> &'static str {
    match outcome {
        RolloutOutcome::Succeeded => "succeeded",
        RolloutOutcome::RolledBack => "rolled back",
        RolloutOutcome::Failed => "failed, nothing changed",
        RolloutOutcome::NotRestored => "not restored",
        RolloutOutcome::Aborted => "left as it was",
    }
}

/// Begins what waits in an environment now that a rollout is over; gives what became of it, for people and programs.
pub(super) async fn follow(app: &App, scope: &Scope) -> Vec<(RolloutId, String)> {
    let mut followed = Vec::new();
    while followed.len() < FOLLOWERS_MAX && app.stop.raised().is_none() {
        match queue::take_turn(app, scope, None).await {
            Ok(Some(Turn::Dropped(id, fault))) => followed.push((id, format!("dropped: {}", fault.chain().join(" ")))),
            Ok(Some(Turn::Ready(ready))) => match begun(ready).await {
                Ok(ended) => followed.push(told(ended)),
                Err(fault) => {
                    not_begun(app, scope, &fault);
                    break;
                }
            },
            Ok(None) => break,
            Err(fault) => {
                not_begun(app, scope, &fault);
                break;
            }
        }
    }
    followed
}

/// Begins a deploy that waited, with a forecast as every other one has.
async fn begun(mut ready: Box<Ready>) -> Result<Ended> {
    let foretold = foretell(&ready.app, &ready.prepared).await;
    ready.prepared.forecast = foretold.ok().map(|foretold| foretold.forecast);
    ready.begin().await
}

fn not_begun(app: &App, scope: &Scope, fault: &Fault) {
    let said = format!("What waits in {scope} could not be begun: {}", fault.chain().join(" "));
    app.ui.say(Severity::Warning, &said);
}

fn told(ended: Ended) -> (RolloutId, String) {
    match ended.state {
        EndState::Finished { outcome, reason, .. } => {
            let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            (ended.id, format!("{}{reason}", outcome_word(outcome)))
        }
        EndState::Parked { reason, .. } => (ended.id, format!("waits: {reason}")),
    }
}

/// What followed, as part of the document of the command that it followed on.
pub(super) fn as_json(followed: &[(RolloutId, String)]) -> Value {
    followed.iter().map(|(id, became)| json!({ "rollout": id, "became": became })).collect()
}
