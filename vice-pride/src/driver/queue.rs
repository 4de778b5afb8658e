//! Deploys that wait for their turn: `rollout.supersede = "queue"` and `"replace"`.
//!
//! What waits is an event in the environment's stream, so that any process can begin it: whoever ends the rollout under
//! way, `vice tick`, or the process that asked and still lives. There is one place: a newer deploy takes it, and the
//! older one is dropped with a reason. Holds are looked at when it begins, as for every deploy.

use std::fs::File;

use vice_core::app::App;
use vice_core::event::{Actor, Event};
use vice_core::fold;
use vice_core::fold::environment::{EnvironmentState, Queued};
use vice_core::id::{RolloutId, Scope};
use vice_core::payload::environment::{Direction, RolloutDropped, RolloutOutcome, RolloutQueued};
use vice_core::payload::environment_stream;
use vice_core::store::{Append, EventStoreExt, Expected, Query};
use vice_core::{Code, Fault, Result};

use super::begin::{Ended, begin, given_back};
use super::prepare::{Prepared, Want, prepare};
use crate::lease::{self, Lease};

/// How often queueing is tried again when something else happens in the environment in between.
const TRIES_MAX: u32 = 16;

/// What became of a deploy that waited.
pub(crate) enum Turn {
    /// It may begin.
    Ready(Box<Ready>),
    /// It will not begin.
    Dropped(RolloutId, Fault),
}

/// A deploy that waited and may begin, under the lease.
pub(crate) struct Ready {
    /// What it is.
    pub(crate) prepared: Prepared,
    /// This process on behalf of who asked.
    pub(crate) app: App,
    lease: Lease,
    reason: Option<String>,
}

impl Ready {
    /// Begins and drives it.
    ///
    /// # Errors
    /// As [`begin`].
    pub(crate) async fn begin(self) -> Result<Ended> {
        begin(&self.app, self.prepared, self.lease, self.reason).await
    }
}

/// Puts a deploy into the place that waits. None when nothing is under way any more, so that it need not wait.
///
/// # Errors
/// `Conflict` when too much happens at once; what the store says.
pub(crate) async fn enqueue(
    app: &App,
    scope: &Scope,
    want: &Want,
    reason: Option<String>,
    replaces: bool,
) -> Result<Option<(RolloutId, RolloutId)>> {
    let stream = environment_stream(scope);
    for _ in 0..TRIES_MAX {
        let (state, version) = load(app, scope).await?;
        let Some(active) = state.active else { return Ok(None) };
        let id = RolloutId { scope: scope.clone(), number: state.last_number + 1 };
        let queued = RolloutQueued {
            rollout: id.clone(),
            waits_for: active.clone(),
            version: want.version.clone(),
            artifact: want.artifact.clone(),
            replaces,
            reason: reason.clone(),
        };
        let mut events = Vec::new();
        if let Some(older) = &state.queued {
            events.push(dropped(app, &older.rollout, format!("{id} was asked for later."))?);
        }
        events.push(app.event(stream.clone(), Some(scope), &queued)?);
        let append = Append::of(events).expect(stream.clone(), Expected::from_version(version));
        match app.events.append(append).await {
            Ok(_) => return Ok(Some((id, active))),
            Err(fault) if fault.code() == Code::Conflict => {}
            Err(fault) => return Err(fault),
        }
    }
    Err(Fault::new(Code::Conflict, format!("Too much happens in {scope} at once.")).hint("Try again in a moment."))
}

async fn load(app: &App, scope: &Scope) -> Result<(EnvironmentState, u64)> {
    fold::load::<EnvironmentState>(app.events.as_ref(), &environment_stream(scope)).await
}

fn dropped(app: &App, id: &RolloutId, reason: String) -> Result<Event> {
    let dropped = RolloutDropped { rollout: id.clone(), reason };
    app.event(environment_stream(&id.scope), Some(&id.scope), &dropped)
}

/// The event by which a rollout that begins takes the place of one that waits; none when it is that one, or none waits.
pub(super) fn outrun(app: &App, prepared: &Prepared) -> Result<Option<Event>> {
    let waits = prepared.state.queued.as_ref().map(|queued| &queued.rollout);
    let Some(id) = waits.filter(|id| id.number != prepared.number) else { return Ok(None) };
    dropped(app, id, format!("{} began before it.", RolloutId { number: prepared.number, ..id.clone() })).map(Some)
}

/// Takes a deploy out of the place that waits, if it is still there.
///
/// # Errors
/// What the store says.
pub(crate) async fn leave(app: &App, id: &RolloutId, reason: String) -> Result<()> {
    let stream = environment_stream(&id.scope);
    for _ in 0..TRIES_MAX {
        let (state, version) = load(app, &id.scope).await?;
        if state.queued.is_none_or(|queued| queued.rollout != *id) {
            return Ok(());
        }
        let append = Append::of(vec![dropped(app, id, reason.clone())?]);
        match app.events.append(append.expect(stream.clone(), Expected::from_version(version))).await {
            Err(fault) if fault.code() == Code::Conflict => {}
            other => return other.map(drop),
        }
    }
    Ok(())
}

/// Why a deploy that waited was dropped.
///
/// # Errors
/// What the store says.
pub(crate) async fn why_dropped(app: &App, id: &RolloutId) -> Result<Option<String>> {
    let events = app.events.read_all(Query::stream(environment_stream(&id.scope), 0)).await?;
    for recorded in events.iter().rev() {
        if let Some(dropped) = recorded.event.decode::<RolloutDropped>()?.filter(|dropped| dropped.rollout == *id) {
            return Ok(Some(dropped.reason));
        }
    }
    Ok(None)
}

/// A process that waits for its own deploy holds this lock, so that no other begins it.
///
/// # Errors
/// `StateUnwritable`.
pub(crate) fn waiting_here(app: &App, id: &RolloutId) -> Result<Option<File>> {
    lease::file_lock(app, &format!("{}.{}.{}.wait", id.scope.project, id.scope.env, id.number))
}

/// Removes the lock's file. One that stays behind is only litter.
pub(crate) fn waits_no_longer(app: &App, id: &RolloutId, lock: File) {
    drop(lock);
    lease::forget_lock(app, &format!("{}.{}.{}.wait", id.scope.project, id.scope.env, id.number));
}

/// What waits in an environment, ready to begin, if its turn has come and no living process waits for it. `own`: the one
/// for which this process waits.
///
/// # Errors
/// What the store says. A deploy that can't begin is dropped, which is not an error.
pub(crate) async fn take_turn(app: &App, scope: &Scope, own: Option<&RolloutId>) -> Result<Option<Turn>> {
    let (state, _) = load(app, scope).await?;
    let Some(queued) = next(&state) else { return Ok(None) };
    if own != Some(&queued.rollout) {
        let Some(lock) = waiting_here(app, &queued.rollout)? else { return Ok(None) };
        waits_no_longer(app, &queued.rollout, lock);
    }
    let lease = match lease::acquire(app, scope, &format!("begin {}", queued.rollout)).await {
        Ok(lease) => lease,
        Err(fault) if fault.code() == Code::Locked => return Ok(None),
        Err(fault) => return Err(fault),
    };
    // Looked at again under the lease: another process may have been faster.
    let (state, _) = load(app, scope).await?;
    if next(&state) != Some(queued) {
        lease.release(app).await?;
        return Ok(None);
    }
    let asker = for_whom(app, queued);
    match ready(&asker, scope, &state, queued).await {
        Ok(prepared) => {
            let ready = Ready { prepared, app: asker, lease, reason: queued.reason.clone() };
            Ok(Some(Turn::Ready(Box::new(ready))))
        }
        Err(fault) => {
            leave(app, &queued.rollout, fault.chain().join(" ")).await?;
            Ok(Some(Turn::Dropped(queued.rollout.clone(), given_back(app, lease, fault).await)))
        }
    }
}

fn next(state: &EnvironmentState) -> Option<&Queued> {
    state.queued.as_ref().filter(|_| state.active.is_none())
}

/// What waited, prepared for what is there now.
async fn ready(app: &App, scope: &Scope, state: &EnvironmentState, queued: &Queued) -> Result<Prepared> {
    if state.past.first().is_some_and(|past| past.outcome == Some(RolloutOutcome::NotRestored)) {
        return Err(Fault::new(Code::NotRestored, "What ran before could not be restored: somebody must look first.")
            .hint(format!("`vice why {}` says what happened.", scope.project)));
    }
    let want = Want {
        project: Some(scope.project.to_string()),
        env: Some(scope.env.clone()),
        version: queued.version.clone(),
        direction: Direction::Deploy,
        artifact: queued.artifact.clone(),
        config: None,
    };
    let mut prepared = prepare(app, &want).await?;
    prepared.number = queued.rollout.number;
    let running = prepared.state.running.as_ref();
    if prepared.plan.is_noop() && running.is_some_and(|placed| placed.release.runs_like(&prepared.plan.to)) {
        let message = format!("{scope} runs {} already; nothing to do.", prepared.plan.to.label());
        return Err(Fault::new(Code::Conflict, message));
    }
    Ok(prepared)
}

/// This process on behalf of who asked.
fn for_whom(app: &App, queued: &Queued) -> App {
    if queued.by == app.actor.to_string() {
        return app.clone();
    }
    let actor = Actor { on_behalf_of: Some(queued.by.clone()), ..app.actor.clone() };
    App { actor, ..app.clone() }
}
