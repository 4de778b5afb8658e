//! An [`App`] whose history is real and whose other ports refuse: these commands need none of them.

use std::path::Path;
use std::sync::{Arc, Mutex};

use clap::Parser;
use jiff::Timestamp;
use serde_json::Value;
use vice_core::app::{App, ProcessEnv, StopSignal, Workspace};
use vice_core::event::Actor;
use vice_core::id::Ids;
use vice_core::manifest::Project;
use vice_core::memory::MemorySeriesStore;
use vice_core::port::notifier::Severity;
use vice_core::rng::Streams;
use vice_core::testkit::absent::Absent;
use vice_core::time::{Clock, ManualClock};
use vice_core::ui::{Format, Outcome, Progress, Ui};
use vice_core::{Code, Fault, Millis, Result};

use crate::SqliteStore;
use crate::cmd::{GreedArgs, run};

#[derive(Parser)]
pub(super) struct Line {
    #[command(flatten)]
    args: GreedArgs,
}

/// What was told while a command worked.
#[derive(Default)]
pub(crate) struct Told {
    pub(super) format: Option<Format>,
    pub(super) emitted: Mutex<Vec<Value>>,
    pub(super) lines: Mutex<Vec<String>>,
    pub(crate) said: Mutex<Vec<String>>,
    /// After so many records nobody reads any more.
    pub(super) readers_leave_after: Option<usize>,
}

impl Ui for Told {
    fn format(&self) -> Format {
        self.format.unwrap_or(Format::Text)
    }
    fn say(&self, _: Severity, text: &str) {
        self.said.lock().unwrap().push(text.to_owned());
    }
    fn progress(&self, _: Progress) {}
    fn emit(&self, text: &str, value: &Value) -> bool {
        self.lines.lock().unwrap().push(text.to_owned());
        let mut emitted = self.emitted.lock().unwrap();
        emitted.push(value.clone());
        self.readers_leave_after.is_none_or(|most| emitted.len() < most)
    }
    fn ask(&self, question: &str, flag: &str) -> Result<String> {
        Err(Fault::new(Code::NoInput, question).hint(format!("Pass {flag}.")))
    }
    fn width(&self) -> usize {
        100
    }
}

pub(crate) const NOW: &str = "2026-07-14T09:00:00Z";

pub(super) fn app(dir: &Path, told: Arc<Told>) -> App {
    let now: Timestamp = NOW.parse().unwrap();
    app_with(dir, told, Arc::new(ManualClock::new(now, Millis::ZERO)), Vec::new())
}

/// The same with a clock and projects of the caller's own.
pub(crate) fn app_with(dir: &Path, told: Arc<Told>, clock: Arc<dyn Clock>, projects: Vec<Project>) -> App {
    let projects = projects.into_iter().map(|project| (project.name().clone(), Arc::new(project))).collect();
    App {
        events: Arc::new(SqliteStore::open(&dir.join("state"), clock.clone()).unwrap()),
        clock,
        ids: Arc::new(Ids::new(&Streams::new(7))),
        ui: told,
        env: Arc::new(ProcessEnv { dir: dir.to_owned(), ..ProcessEnv::default() }),
        actor: Actor::system("test"),
        workspace: Arc::new(Workspace { projects, ..Workspace::default() }),
        series: Arc::new(MemorySeriesStore::default()),
        runner: Arc::new(Absent),
        config: Arc::new(Absent),
        verifier: Arc::new(Absent),
        prober: Arc::new(vice_core::memory::NoProber),
        locator: Arc::new(Absent),
        painter: Arc::new(Absent),
        notifier: Arc::new(Absent),
        actions: Arc::default(),
        stop: Arc::new(StopSignal::default()),
        http: Arc::new(()),
    }
}

/// Runs a command as it is typed after `vice greed`.
pub(crate) async fn greed(app: &App, words: &[&str]) -> Result<Outcome> {
    let line = std::iter::once("greed").chain(words.iter().copied());
    let parsed = Line::try_parse_from(line).map_err(|error| Fault::new(Code::Usage, error.to_string()))?;
    run(app, parsed.args).await
}
