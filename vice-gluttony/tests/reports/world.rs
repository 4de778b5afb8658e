//! An `App` over a history in memory that counts what is read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::Value;
use vice_core::app::{ProcessEnv, StopSignal, Workspace};
use vice_core::event::{Actor, Recorded};
use vice_core::id::{EnvName, Ids, Scope};
use vice_core::manifest::{DashboardSpec, Project};
use vice_core::memory::{MemoryEventStore, MemorySeriesStore};
use vice_core::payload::config::ConfigRecorded;
use vice_core::port::config::{ConfigSource, ResolvedConfig};
use vice_core::port::notifier::Severity;
use vice_core::rng::Streams;
use vice_core::store::{EventStore, Query, StoreLayer};
use vice_core::testkit::absent::Absent;
use vice_core::time::ManualClock;
use vice_core::ui::{Format, Progress, Ui};
use vice_core::{App, Fault, Millis, Result};

/// The moment at which every report of these tests is made.
pub(crate) const NOW: &str = "2026-03-02T12:00:00Z";

/// Reports are not configured.
struct Nothing;

fn never<T>() -> Result<T> {
    Err(Fault::internal("A report asked for something other than the history."))
}

#[async_trait]
impl ConfigSource for Nothing {
    async fn resolve(&self, _: &Arc<Project>, _: &EnvName) -> Result<ResolvedConfig> {
        never()
    }
    fn record(&self, scope: &Scope, _: &ResolvedConfig) -> ConfigRecorded {
        ConfigRecorded {
            scope: scope.clone(),
            digest: String::new(),
            entries: BTreeMap::new(),
            digests: BTreeMap::new(),
            variants: Vec::new(),
        }
    }
    async fn restore(&self, _: &Arc<Project>, _: &ConfigRecorded) -> Result<ResolvedConfig> {
        never()
    }
}

struct FixedUi(Mutex<Format>);

impl Ui for FixedUi {
    fn format(&self) -> Format {
        *self.0.lock().unwrap()
    }
    fn say(&self, _: Severity, _: &str) {}
    fn progress(&self, _: Progress) {}
    fn emit(&self, _: &str, _: &Value) -> bool {
        true
    }
    fn ask(&self, _: &str, _: &str) -> Result<String> {
        never()
    }
    fn width(&self) -> usize {
        100
    }
}

/// The history, with a count of the events that were handed out.
#[derive(Default)]
pub(crate) struct CountingStore {
    inner: MemoryEventStore,
    pub(crate) handed_out: AtomicUsize,
    pub(crate) whole_log_reads: AtomicUsize,
}

#[async_trait]
impl StoreLayer for CountingStore {
    fn inner(&self) -> &dyn EventStore {
        &self.inner
    }
    async fn read(&self, query: &Query) -> Result<Vec<Recorded>> {
        // What is asked by type comes through an index.
        if query.stream.is_none() && query.kinds.is_empty() {
            self.whole_log_reads.fetch_add(1, Ordering::SeqCst);
        }
        let found = self.inner.read(query).await?;
        self.handed_out.fetch_add(found.len(), Ordering::SeqCst);
        Ok(found)
    }
}

pub(crate) struct World {
    pub(crate) app: App,
    pub(crate) store: Arc<CountingStore>,
    pub(crate) folder: tempfile::TempDir,
    ui: Arc<FixedUi>,
}

impl World {
    /// A workspace with the project `hello`, in the environments `dev` (the default) and `prod`.
    pub(crate) fn new() -> Self {
        Self::with_dashboards([])
    }

    pub(crate) fn with_dashboards<const N: usize>(dashboards: [(&str, DashboardSpec); N]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = "name = \"hello\"\n[env.dev]\ndefault = true\n[env.prod]\nclass = \"prod\"\n";
        let project = Project::parse(folder.path().to_owned(), "vice.toml".into(), text).unwrap();
        let workspace = Workspace {
            root: folder.path().to_owned(),
            projects: [(project.name().clone(), Arc::new(project))].into(),
            dashboards: dashboards.map(|(name, spec)| (name.to_owned(), spec)).into(),
            ..Workspace::default()
        };
        let store = Arc::new(CountingStore::default());
        let ui = Arc::new(FixedUi(Mutex::new(Format::Text)));
        let app = App {
            clock: Arc::new(ManualClock::new(NOW.parse().unwrap(), Millis::ZERO)),
            ids: Arc::new(Ids::new(&Streams::new(7))),
            ui: Arc::clone(&ui) as Arc<dyn Ui>,
            env: Arc::new(ProcessEnv::default()),
            actor: Actor::system("test"),
            workspace: Arc::new(workspace),
            events: Arc::clone(&store) as Arc<dyn EventStore>,
            series: Arc::new(MemorySeriesStore::default()),
            runner: Arc::new(Absent),
            config: Arc::new(Nothing),
            verifier: Arc::new(Absent),
            prober: Arc::new(vice_core::memory::NoProber),
            locator: Arc::new(Absent),
            painter: Arc::new(vice_gluttony::Gluttony),
            notifier: Arc::new(Absent),
            actions: Arc::default(),
            stop: Arc::new(StopSignal::default()),
            http: Arc::new(()),
        };
        Self { app, store, folder, ui }
    }

    pub(crate) fn set_format(&self, format: Format) {
        *self.ui.0.lock().unwrap() = format;
    }
}
