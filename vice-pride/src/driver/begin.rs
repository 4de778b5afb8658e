//! How a rollout starts, how it is taken up again by another process, and how operators speak to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::Mutex;
use vice_core::app::App;
use vice_core::fold;
use vice_core::fold::rollout::RolloutView;
use vice_core::id::{RolloutId, Scope};
use vice_core::payload::environment::{RolloutBegan, RolloutEnded, RolloutOutcome};
use vice_core::payload::recipe::{Recipe, RecipeRecorded};
use vice_core::payload::rollout::{
    OperatorCommand, RolloutCommanded, RolloutFinished, RolloutPredicted, RolloutStarted,
};
use vice_core::payload::{ReleaseRef, config_stream, environment_stream, recipe_stream, rollout_stream};
use vice_core::port::config::ResolvedConfig;
use vice_core::port::metric::MetricWindow;
use vice_core::port::notifier::Severity;
use vice_core::port::target::Workload;
use vice_core::store::{Append, Expected};
use vice_core::{Code, Fault, Millis, Result};
use vice_pride_engine::{Course, Effect, Input, OpNo, PLANNER_VERSION, Plan, Recorded, State};

use super::analysis::{blind_to_releases, metric_names};
use super::journal::{self, Texts};
use super::perform::Performer;
use super::prepare::Prepared;
use super::present::Screen;
use super::queue;
use super::session::Session;
use super::tasks;
use super::workload;
use crate::backend;
use crate::lease::{self, Lease};
use crate::metric::Meters;

/// How driving a rollout ended, in this process.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The rollout.
    pub id: RolloutId,
    /// How.
    pub state: EndState,
}

/// The two ways.
#[derive(Debug, Clone)]
pub enum EndState {
    /// It is over.
    Finished {
        /// How.
        outcome: RolloutOutcome,
        /// What runs now.
        running: Option<ReleaseRef>,
        /// Why it did not succeed.
        reason: Option<String>,
    },
    /// It waits, and this process does not.
    Parked {
        /// For what.
        reason: String,
        /// The next moment at which something can happen by itself.
        until: Option<Timestamp>,
        /// What it asks an operator.
        asks: Asks,
        /// The signal that ended this process, if that was it.
        stopped: Option<Code>,
    },
}

/// What a parked rollout asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// Nothing, or only to be resumed.
    Nothing,
    /// Leave to go back over a task that forbids it.
    Leave,
    /// Whether the release may go on without a proof.
    Proof,
    /// What an operation did that nobody can tell.
    WhatHappened {
        /// Its number.
        op: u32,
    },
}

/// Starts a rollout of what was prepared and drives it.
///
/// # Errors
/// `Locked` when another rollout is not over; `InDoubt` when it stopped in the middle; what the store says.
pub async fn begin(app: &App, prepared: Prepared, lease: Lease, reason: Option<String>) -> Result<Ended> {
    let scope = prepared.scope.clone();
    let id = RolloutId { scope: scope.clone(), number: prepared.number };
    let append = opening(app, &prepared, &lease, &id, reason).await;
    let first = append.as_ref().ok().and_then(|append| append.events.first()).map(|event| event.id.clone());
    let run = journal::run_name(&id, &first.unwrap_or_default());
    let opened = async {
        let (append, course) = (append?, Course::new(prepared.plan.clone())?);
        // A metric that can't be asked is found before anything is begun, not after the new release has traffic.
        let meters = meters(app, &prepared, &run).await?;
        if !prepared.plan.tasks.is_empty() {
            tasks::drive(app, &run, lease.epoch())?;
        }
        app.events.append(append).await?;
        Ok((course, meters))
    };
    let (course, meters) = match opened.await {
        Ok(opened) => opened,
        Err(fault) => return Err(given_back(app, lease, fault).await),
    };
    let earlier = restored(app, &prepared.project, &scope, &prepared.plan).await;
    let specs = prepared.project.manifest.task.clone();
    // The stream begins with the start, and with what was predicted of it.
    let version = 1 + u64::from(prepared.forecast.is_some());
    let epoch = lease.epoch();
    let texts = Texts::new(&run);
    let session = Session {
        app: app.clone(),
        state: State::new(course),
        screen: Screen::of(&prepared.plan, &[], &texts),
        performer: Arc::new(Performer {
            app: app.clone(),
            project: prepared.project,
            scope,
            rollout: id.clone(),
            run: run.clone(),
            backend: prepared.backend,
            plan: prepared.plan,
            epoch,
            to: (prepared.workload, prepared.config),
            missing: None,
            earlier,
            meters: Mutex::new(meters),
            tasks: specs,
            tasks_asked: BTreeMap::new(),
        }),
        texts,
        id,
        lease,
        steps: 0,
        version,
        started_at: app.clock.now(),
        unheard: Vec::new(),
        told_to_stop: false,
        listened: 0,
    };
    session.run(Input::Begin { epoch }).await
}

/// The metrics that judge it, asked once: what is normal is noted before anything changes.
async fn meters(app: &App, prepared: &Prepared, run: &str) -> Result<Option<Meters>> {
    let (Some(analysis), Some(from)) = (prepared.plan.analysis.as_ref(), prepared.plan.from.as_ref()) else {
        return Ok(None);
    };
    let front = prepared.backend.front.clone();
    let names = metric_names(analysis);
    if prepared.plan.to.version == from.version {
        for name in blind_to_releases(&prepared.project, &prepared.scope.env, &names) {
            let text = format!("The metric {name} counts both configurations of {} as one.", from.version);
            app.ui.say(Severity::Warning, &format!("{text} Ask it for {{{{release}}}}, or judge by the front end."));
        }
    }
    let mut meters = Meters::open(app, &prepared.project, &prepared.scope, front, run, &names).await?;
    let now = app.clock.now();
    let window = MetricWindow {
        from: now.checked_sub(analysis.interval.as_duration()).unwrap_or(now),
        until: now,
        canary: prepared.plan.to.name_beside(from),
        baseline: from.name_beside(&prepared.plan.to),
    };
    meters.begin(&window).await?;
    Ok(Some(meters))
}

/// The append that opens a rollout: its plan, its place in the environment, and its configuration if that is new.
async fn opening(
    app: &App,
    prepared: &Prepared,
    lease: &Lease,
    id: &RolloutId,
    reason: Option<String>,
) -> Result<Append> {
    let scope = &prepared.scope;
    let plan = &prepared.plan;
    let started = RolloutStarted {
        rollout: id.clone(),
        direction: plan.direction,
        from: plan.from.clone(),
        to: plan.to.clone(),
        plan_hash: plan.hash(),
        planner: PLANNER_VERSION,
        plan: serde_json::json!(plan),
        reason: reason.clone(),
        config_changes: prepared.config_changes.clone(),
        tasks: prepared.project.manifest.task.clone(),
    };
    let began = RolloutBegan {
        rollout: id.clone(),
        direction: plan.direction,
        from: plan.from.clone(),
        to: plan.to.clone(),
        reason,
    };
    let environment = environment_stream(scope);
    let mut events = vec![
        app.event(rollout_stream(id), Some(scope), &started)?,
        app.event(environment.clone(), Some(scope), &began)?,
    ];
    if let Some(forecast) = prepared.forecast.clone() {
        let predicted = RolloutPredicted { rollout: id.clone(), forecast };
        events.push(app.event(rollout_stream(id), Some(scope), &predicted)?);
    }
    events.extend(queue::outrun(app, prepared)?);
    let known = workload::find_config(app, scope, &prepared.record.digest).await?.is_some();
    if !known && !prepared.record.is_empty() {
        events.push(app.event(config_stream(scope), Some(scope), &prepared.record)?);
    }
    let recipe = Recipe::of(&prepared.workload);
    let digest = recipe.digest();
    if workload::find_recipe(app, scope, digest).await?.is_none() {
        let recorded = RecipeRecorded { scope: scope.clone(), digest, recipe };
        events.push(app.event(recipe_stream(scope), Some(scope), &recorded)?);
    }
    Ok(Append::of(events)
        .expect(rollout_stream(id), Expected::NoStream)
        .expect(environment, Expected::from_version(prepared.state_version))
        .fenced(lease.fence()))
}

/// The fault, after giving the lease back: that this fails as well must not hide what failed first.
pub(super) async fn given_back(app: &App, lease: Lease, fault: Fault) -> Fault {
    if let Err(second) = lease.release(app).await {
        app.ui.say(Severity::Warning, &format!("The lease could not be given back: {second}"));
    }
    fault
}

/// What the units ran before, as far as it can be brought back from here. The target keeps its own copies, so that
/// what can't is a warning.
async fn restored(
    app: &App,
    project: &Arc<vice_core::manifest::Project>,
    scope: &Scope,
    plan: &Plan,
) -> Vec<(Workload, ResolvedConfig)> {
    let mut releases: Vec<&ReleaseRef> =
        plan.units.iter().filter_map(|unit| unit.before.as_ref()).chain(&plan.from).collect();
    releases.sort_by_key(|release| (&release.version, release.artifact, &release.config, release.recipe));
    releases.dedup();
    let mut earlier = Vec::new();
    for release in releases {
        match workload::restore(app, project, scope, release).await {
            Ok(restored) => earlier.push(restored),
            Err(fault) => app.ui.say(
                Severity::Warning,
                &format!("Version {} can only be brought back from the target's own copy: {fault}", release.version),
            ),
        }
    }
    earlier
}

/// Takes up a rollout that its process has left, under a lease that was just acquired.
///
/// # Errors
/// As [`begin`]; `HistoryDamaged` when the journal does not follow from itself.
pub async fn take_up(app: &App, id: &RolloutId, lease: Lease) -> Result<Ended> {
    let scope = id.scope.clone();
    let project = app.workspace.project(scope.project.as_str())?;
    let found = async {
        let journal = journal::load(app, id).await?;
        journal.understood()?;
        if !journal.plan.tasks.is_empty() {
            tasks::drive(app, &journal.run, lease.epoch())?;
        }
        Ok((journal, backend::connect(app, &project, &scope)?))
    };
    let (journal, backend) = match found.await {
        Ok(found) => found,
        Err(fault) => return Err(given_back(app, lease, fault).await),
    };
    // Without it the rollout can still be taken back or abandoned, so that nobody is locked out of an environment.
    let (to, missing) = match workload::restore(app, &project, &scope, &journal.plan.to).await {
        Ok(to) => (to, None),
        Err(fault) => ((workload::hollow(&journal.plan.to), ResolvedConfig::default()), Some(fault.chain().join(" "))),
    };
    let earlier = restored(app, &project, &scope, &journal.plan).await;
    let epoch = lease.epoch();
    let performer = Performer {
        app: app.clone(),
        project,
        scope,
        rollout: id.clone(),
        run: journal.run,
        backend,
        plan: journal.plan,
        epoch,
        to,
        missing,
        earlier,
        meters: Mutex::new(None),
        tasks: journal.started.tasks,
        tasks_asked: tasks_asked(&journal.recorded),
    };
    let begun = journal.steps > 0;
    let screen = Screen::of(&performer.plan, &journal.recorded, &journal.texts);
    let session = Session {
        app: app.clone(),
        id: id.clone(),
        performer: Arc::new(performer),
        lease,
        state: journal.state,
        steps: journal.steps,
        version: journal.version,
        texts: journal.texts,
        started_at: journal.started_at,
        unheard: journal.unheard,
        screen,
        told_to_stop: false,
        listened: 0,
    };
    // A process may have died between opening the rollout and its first step.
    session.run(if begun { Input::Resumed { epoch } } else { Input::Begin { epoch } }).await
}

/// Under which epoch each task was asked for last.
fn tasks_asked(steps: &[Recorded]) -> BTreeMap<OpNo, u64> {
    let (mut epoch, mut asked) = (0, BTreeMap::new());
    for step in steps {
        for input in &step.inputs {
            if let Input::Begin { epoch: now } | Input::Resumed { epoch: now } = input {
                epoch = *now;
            }
        }
        for effect in &step.answer.effects {
            if let Effect::RunTask { op, .. } = effect {
                asked.insert(*op, epoch);
            }
        }
    }
    asked
}

/// Appends an operator's word to a rollout. Whoever drives it hears it at once; otherwise the next driver does.
///
/// # Errors
/// What the store says.
pub async fn command(app: &App, id: &RolloutId, command: OperatorCommand, reason: Option<String>) -> Result<()> {
    let commanded = RolloutCommanded { rollout: id.clone(), command, reason };
    let event = app.event(rollout_stream(id), Some(&id.scope), &commanded)?;
    app.events.append(Append::of(vec![event])).await?;
    Ok(())
}

/// Acquires the lease for taking a rollout up.
///
/// # Errors
/// `Locked` when a living process drives it.
pub(crate) async fn lease_for(app: &App, id: &RolloutId) -> Result<Lease> {
    lease::acquire(app, &id.scope, &format!("resume {id}")).await.map_err(|fault| {
        if fault.code() == Code::Locked {
            return fault.hint(format!("The rollout {id} is being driven; there is nothing to resume."));
        }
        fault
    })
}

/// The fault for an environment that has a rollout under way.
pub(crate) fn unfinished(id: &RolloutId) -> Fault {
    let scope = &id.scope;
    Fault::new(Code::Locked, format!("The rollout {id} of {scope} is not over."))
        .hint(format!("Go on with it: vice pride resume {} --env {}.", scope.project, scope.env))
        .hint(format!("Or take it back: vice pride abort {} --env {}.", scope.project, scope.env))
        .detail("rollout", id.to_string())
}

/// Ends a rollout whose journal can't be trusted any more, where it is: without the engine, because the engine would
/// have to believe the journal. Nobody must be locked out of an environment by damage.
///
/// # Errors
/// What the store says.
pub async fn end_unreadable(app: &App, id: &RolloutId, lease: Lease, reason: String) -> Result<Ended> {
    let (view, _) = fold::load::<RolloutView>(app.events.as_ref(), &rollout_stream(id)).await?;
    let project = app.workspace.project(id.scope.project.as_str())?;
    let inventory = backend::connect(app, &project, &id.scope)?.target.inventory().await;
    let releases: Vec<_> = inventory.map(|inventory| inventory.units).unwrap_or_default();
    let first = releases.first().and_then(|unit| unit.release.clone());
    let running = first.filter(|first| releases.iter().all(|unit| unit.release.as_ref() == Some(first)));
    let to = view.to.or_else(|| running.clone());
    let outcome = RolloutOutcome::Aborted;
    let took = view.started.map_or(Millis::ZERO, |started| Millis::between(started, app.clock.now()));
    let ended = RolloutEnded {
        rollout: id.clone(),
        outcome,
        running: running.clone(),
        proven: false,
        reason: Some(reason.clone()),
        took,
        // Nobody can read what it did.
        split: true,
    };
    let mut events = vec![app.event(environment_stream(&id.scope), Some(&id.scope), &ended)?];
    if let Some(to) = to {
        let (rollout, running, reason) = (id.clone(), running.clone(), Some(reason.clone()));
        let finished = RolloutFinished { rollout, outcome, to, running, reason, took };
        events.push(app.event(rollout_stream(id), Some(&id.scope), &finished)?);
    }
    app.events.append(Append::of(events).fenced(lease.fence())).await?;
    lease.release(app).await?;
    Ok(Ended { id: id.clone(), state: EndState::Finished { outcome, running, reason: Some(reason) } })
}
