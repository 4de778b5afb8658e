//! Runs of graphs: beginning one, going on with one, and the rules of what runs again.
//!
//! What a run will do is frozen when it begins. An intent is written before each act, and what came of it after; a
//! run that is gone on with repeats nothing that has succeeded. A step that was under way when its process was killed
//! is in doubt: it runs again only if the graph says that it may be repeated (`retry`), or a person says what to do
//! (`--redo`, `--skip`). What a step gives is masked before it is written or handed on, so that a run that was gone on
//! with sees the same values as one that was not.

mod attempt;
mod engine;
mod lock;

use std::fs::File;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use vice_core::app::App;
use vice_core::id::{EnvName, Scope};
use vice_core::manifest::Project;
use vice_core::port::notifier::Severity;
use vice_core::secret::Masker;
use vice_core::{Code, Context, Digest, Fault, Result};

use crate::graph::{self, Graph, Source, Steps};
use crate::journal::payload::{RunId, RunResumed, RunStarted};
use crate::journal::view::{RunStatus, RunView};
use crate::journal::{Journal, read};
use engine::Engine;

/// How many steps run at once when nobody says.
pub(crate) const PARALLEL: u32 = 4;

/// How often a new run tries to get a number when others begin at the same time.
const NUMBERS_MAX: u32 = 16;

/// What a person says about steps in doubt.
#[derive(Debug, Clone, Default)]
pub(crate) struct Doubt {
    /// These run again.
    pub(crate) redo: Vec<String>,
    /// These have done their work.
    pub(crate) skip: Vec<String>,
}

/// The steps of a graph of a project.
///
/// # Errors
/// `UnknownName` when the project has no graph of that name.
pub(crate) fn steps<'a>(project: &'a Project, name: &str) -> Result<&'a Steps> {
    let missing = || Fault::new(Code::UnknownName, format!("The project {} has no graph {name:?}.", project.name()));
    project.manifest.graph.get(name).ok_or_else(missing)
}

/// The checked graph of a project.
///
/// # Errors
/// `UnknownName`; `GraphInvalid` pointing at the place.
pub(crate) fn check(app: &App, project: &Project, name: &str, env: Option<&EnvName>) -> Result<Graph> {
    let source = Source { graph: name, project: Some(project), defaults: defaults(project, env) };
    graph::build(&source, steps(project, name)?, &app.actions)
}

/// The environment that is meant, if one can be meant: a graph may well do without.
pub(crate) fn environment(project: &Project, named: Option<&EnvName>) -> Result<Option<EnvName>> {
    match named {
        Some(_) => project.choose_env(named).map(Some),
        None => Ok(project.choose_env(None).ok()),
    }
}

fn defaults(project: &Project, env: Option<&EnvName>) -> Map<String, Value> {
    let env = env.map(|env| ("env".to_owned(), json!(env)));
    std::iter::once(("project".to_owned(), json!(project.name()))).chain(env).collect()
}

/// Checks a graph, begins a run of it, and works until it ends or is parked.
///
/// # Errors
/// As [`check`]; what the store says. A step that fails is a result.
pub(crate) async fn start(
    app: &App,
    project: &Arc<Project>,
    name: &str,
    env: Option<&EnvName>,
    parallel: u32,
) -> Result<RunView> {
    let env = environment(project, env)?;
    let graph = check(app, project, name, env.as_ref())?;
    let definition = steps(project, name)?.clone();
    let digest = digest(&definition)?;
    let scope = env.clone().map(|env| Scope::new(project.name().clone(), env));
    for _ in 0..NUMBERS_MAX {
        let number = read::latest(app, project.name(), name).await? + 1;
        let run = RunId { project: project.name().clone(), graph: name.to_owned(), number };
        let mut journal = Journal::new(app, run.clone(), scope.clone(), 0);
        let definition = definition.clone();
        let started = RunStarted { run: run.clone(), env: env.clone(), definition, digest, parallel };
        match journal.write(&started).await {
            Ok(()) => {}
            Err(fault) if fault.code() == Code::Conflict => continue,
            Err(fault) => return Err(fault),
        }
        let lock = lock::take(app, &run)?.ok_or_else(|| locked(&run))?;
        let view = read::run(app, &run).await?;
        let defaults = defaults(project, env.as_ref());
        let masker = masker(app, project, env.as_ref()).await;
        Engine::new(app, project, graph, journal, &view, masker, defaults).drive().await?;
        return ended(app, &run, lock).await;
    }
    Err(Fault::new(Code::Conflict, format!("Too many runs of {name} begin at the same time.")).hint("Try again."))
}

fn digest(definition: &Steps) -> Result<Digest> {
    let text = serde_json::to_string(definition)
        .context(Code::Internal, || "The definition of a graph does not serialise.".to_owned())?;
    Ok(Digest::of(text.as_bytes()))
}

/// Goes on with a run that failed, was parked or was killed. Gives a run that has succeeded as it is.
///
/// # Errors
/// `UnknownName`; `Locked` while another process works on it; `InDoubt` when somebody has to say what to do with a
/// step; `GraphInvalid` when this version of vice can't run the frozen definition any more.
pub(crate) async fn resume(app: &App, run: &RunId, doubt: &Doubt) -> Result<RunView> {
    let project = app.workspace.project(run.project.as_str())?;
    let lock = lock::take(app, run)?.ok_or_else(|| locked(run))?;
    let view = read::run(app, run).await?;
    if view.status == RunStatus::Succeeded {
        app.ui.say(Severity::Info, &format!("The run {run} has succeeded already; nothing was run."));
        return Ok(view);
    }
    if digest(&view.definition)? != view.definition_digest {
        return Err(Fault::new(
            Code::HistoryDamaged,
            format!("The definition of the run {run} is not the one it began with."),
        ));
    }
    let defaults = defaults(&project, view.env.as_ref());
    let source = Source { graph: &run.graph, project: None, defaults: defaults.clone() };
    let graph = graph::build(&source, &view.definition, &app.actions)?;
    settle(&view, &graph, doubt)?;
    let scope = view.env.clone().map(|env| Scope::new(project.name().clone(), env));
    let mut journal = Journal::new(app, run.clone(), scope, view.version);
    journal.write(&RunResumed { run: run.clone(), redo: doubt.redo.clone(), skip: doubt.skip.clone() }).await?;
    let view = read::run(app, run).await?;
    let masker = masker(app, &project, view.env.as_ref()).await;
    Engine::new(app, &project, graph, journal, &view, masker, defaults).drive().await?;
    ended(app, run, lock).await
}

fn locked(run: &RunId) -> Fault {
    Fault::new(Code::Locked, format!("Another process works on the run {run}."))
        .hint(format!("`vice sloth show {run}` shows how it stands."))
}

/// The run as it stands now, and its lock given back.
async fn ended(app: &App, run: &RunId, lock: File) -> Result<RunView> {
    let view = read::run(app, run).await?;
    lock::give_back(app, run, lock, view.status == RunStatus::Succeeded);
    Ok(view)
}

/// Whether it is clear for every step what going on means for it.
fn settle(view: &RunView, graph: &Graph, doubt: &Doubt) -> Result<()> {
    let doubtful = view.in_doubt();
    for (flag, name) in doubt.redo.iter().map(|name| ("redo", name)).chain(doubt.skip.iter().map(|name| ("skip", name)))
    {
        if !doubtful.contains(&name.as_str()) {
            let fault = Fault::new(Code::Usage, format!("--{flag} {name}: no such step of {} is in doubt.", view.run));
            return Err(if doubtful.is_empty() {
                fault.hint("No step is: leave the flag out.")
            } else {
                fault.hint(format!("In doubt: {}.", doubtful.join(", ")))
            });
        }
        if doubt.redo.contains(name) && doubt.skip.contains(name) {
            return Err(Fault::new(Code::Usage, format!("The step {name} can't be both redone and skipped.")));
        }
    }
    for (index, step) in graph.steps.iter().enumerate().filter(|(_, step)| doubt.skip.contains(&step.name)) {
        let used = graph.used_outputs(index);
        if !used.is_empty() {
            let used = used.into_iter().collect::<Vec<_>>().join(", ");
            return Err(Fault::new(
                Code::Usage,
                format!("The step {} can't be skipped: later steps use its {used}.", step.name),
            )
            .hint(format!("Add --redo {}.", step.name)));
        }
    }
    let said = |name: &str| doubt.redo.iter().chain(&doubt.skip).any(|said| said == name);
    let repeats = |name: &str| graph.index(name).is_some_and(|index| graph.steps[index].retry > 0);
    let open: Vec<&str> = doubtful.into_iter().filter(|name| !said(name) && !repeats(name)).collect();
    let Some(first) = open.first() else { return Ok(()) };
    let names = open.join(", ");
    Err(Fault::new(Code::InDoubt, format!("It is not known what these steps of {} did: {names}.", view.run))
        .hint(format!("Look at what they left, and whether a command of theirs still runs; then add --redo {first} to run it again, or --skip {first} if it has done its work."))
        .hint("A step with `retry` is one that may be repeated; it runs again without a question.")
        .detail("in_doubt", json!(open)))
}

/// What hides the project's secrets in what steps print and give. A secret that this process can't read can't be in
/// its hands either, so a configuration that does not resolve is no reason not to run.
async fn masker(app: &App, project: &Arc<Project>, env: Option<&EnvName>) -> Masker {
    match env {
        Some(env) => app.config.resolve(project, env).await.map(|config| config.masker()).unwrap_or_default(),
        None => Masker::default(),
    }
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
