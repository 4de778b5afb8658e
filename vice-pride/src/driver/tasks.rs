//! Tasks and hooks: commands of the project around a rollout. A marker file says that one has begun, another that it
//! is done, so that a driver that takes over can tell; one that has begun and is not done is in doubt.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vice_core::app::App;
use vice_core::id::{RolloutId, Scope};
use vice_core::manifest::{RollbackPolicy, TaskSpec};
use vice_core::payload::environment::Direction;
use vice_core::port::command::{CommandSpec, EnvValue};
use vice_core::port::notifier::Severity;
use vice_core::port::target::Workload;
use vice_core::secret::Masker;
use vice_core::text::sanitize;
use vice_core::{Code, Context, Fault, Millis, Result};
use vice_pride_engine::{OpNo, Seen};

use super::workload::told;
use crate::lease;

/// How long a task may take when `vice.toml` does not say.
const TIMEOUT: Millis = Millis(5 * 60 * 1000);

/// Everything that a task is told and run with.
pub(crate) struct Errand<'a> {
    pub(crate) spec: &'a TaskSpec,
    pub(crate) root: &'a Path,
    pub(crate) scope: &'a Scope,
    pub(crate) rollout: &'a RolloutId,
    pub(crate) run: &'a str,
    pub(crate) epoch: u64,
    pub(crate) op: OpNo,
    pub(crate) task: &'a str,
    pub(crate) unit: Option<&'a str>,
    pub(crate) undo: bool,
    pub(crate) direction: Direction,
    pub(crate) workload: &'a Workload,
    pub(crate) previous: Option<&'a str>,
    pub(crate) masker: Masker,
}

fn marker_dir(app: &App, run: &str) -> PathBuf {
    app.workspace.state.join("tasks").join(run)
}

fn marker(app: &App, run: &str, op: OpNo, kind: &str) -> PathBuf {
    marker_dir(app, run).join(format!("{}.{kind}", op.0))
}

fn mark(path: &Path) -> Result<()> {
    let fail = || format!("The marker {} can't be written.", path.display());
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).context(Code::StateUnwritable, fail)?;
    }
    let file = fs::File::create(path).context(Code::StateUnwritable, fail)?;
    file.sync_all().context(Code::StateUnwritable, fail)?;
    let parent = path.parent().map(fs::File::open).transpose().context(Code::StateUnwritable, fail)?;
    parent.map_or(Ok(()), |dir| dir.sync_all()).context(Code::StateUnwritable, fail)
}

/// Notes that this folder drives a rollout under an epoch, so that its markers can speak for the tasks of that time.
///
/// # Errors
/// `StateUnwritable`.
pub(crate) fn drive(app: &App, run: &str, epoch: u64) -> Result<()> {
    mark(&driven(app, run, epoch))
}

fn driven(app: &App, run: &str, epoch: u64) -> PathBuf {
    marker_dir(app, run).join(format!("{epoch}.drives"))
}

/// What became of a task that an earlier driver was told to run, under the epoch `asked`. Markers are files of one
/// folder: of a task that another machine was to run they say nothing.
pub(crate) fn observe(app: &App, run: &str, op: OpNo, asked: Option<u64>) -> Seen {
    if !asked.is_some_and(|epoch| driven(app, run, epoch).exists()) {
        return Seen::Unknown;
    }
    let there = |kind| marker(app, run, op, kind).exists();
    match (there("begun"), there("done")) {
        (_, true) => Seen::Applied,
        (true, false) => Seen::Unknown,
        (false, false) => Seen::NotApplied,
    }
}

/// Begins a task once: whoever makes the marker runs it. A process that was stopped in between and passed over finds it
/// made, and so does whoever passed over one that woke up.
fn claim(path: &Path, task: &str) -> Result<()> {
    match fs::OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(_) => mark(path),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(Fault::new(Code::InDoubt, format!("Another process has begun the task {task}.")))
        }
        Err(error) => Err(error).context(Code::StateUnwritable, || format!("{} can't be written.", path.display())),
    }
}

/// Forgets the markers of a rollout that is over.
pub(crate) fn forget(app: &App, run: &str) {
    // Left-over markers do no harm: no later rollout has this id.
    drop(fs::remove_dir_all(marker_dir(app, run)));
}

/// Runs a task to its end.
///
/// # Errors
/// `TaskFailed` with the last thing that it said.
pub(crate) async fn run(app: &App, errand: &Errand<'_>) -> Result<()> {
    let spec = errand.spec;
    let argv = match (&spec.rollback, errand.undo) {
        (RollbackPolicy::Command(argv), true) => argv.clone(),
        (_, true) => return Ok(()),
        (_, false) => spec.command.0.clone(),
    };
    let dir = errand.workload.files.clone().unwrap_or_else(|| errand.root.to_path_buf());
    let mut command = CommandSpec::new(argv, dir, spec.timeout.unwrap_or(TIMEOUT));
    command.env = environment(errand);
    command.masker = errand.masker.clone();
    let (ui, name) = (Arc::clone(&app.ui), errand.task.to_owned());
    command.on_line = Some(Arc::new(move |_, line| ui.say(Severity::Info, &format!("  {name} | {}", sanitize(line)))));
    // A task can't be fenced on its way: whoever was passed over must not begin one.
    lease::is_ours(app, errand.scope, errand.epoch).await?;
    claim(&marker(app, errand.run, errand.op, "begun"), errand.task)?;
    let output = app.runner.run(command).await?;
    if !output.ok() {
        // It ended, so there is no doubt: a repeat is a new decision.
        drop(fs::remove_file(marker(app, errand.run, errand.op, "begun")));
        return Err(Fault::new(
            Code::TaskFailed,
            format!("The task {} failed: {}", errand.task, sanitize(&output.failure())),
        ));
    }
    mark(&marker(app, errand.run, errand.op, "done"))
}

fn environment(errand: &Errand<'_>) -> BTreeMap<String, EnvValue> {
    let mut env = errand.workload.environment.clone();
    env.extend(told(
        errand.scope,
        &[
            ("VICE_VERSION", errand.workload.release.version.clone()),
            ("VICE_PREVIOUS_VERSION", errand.previous.unwrap_or_default().to_owned()),
            ("VICE_DIRECTION", errand.direction.word().to_owned()),
            ("VICE_ROLLOUT", errand.rollout.to_string()),
        ],
    ));
    if let Some(unit) = errand.unit {
        env.insert("VICE_UNIT".to_owned(), EnvValue::Plain(unit.to_owned()));
    }
    env
}
