//! What the tests of this crate share: a project, fakes of the ports, and some events.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::Value;
use vice_core::app::{ProcessEnv, StopSignal, Workspace};
use vice_core::event::{Actor, ActorKind, Event, Head, Payload};
use vice_core::id::{EnvName, Ids, Scope};
use vice_core::manifest::Project;
use vice_core::memory::{MemoryEventStore, MemorySeriesStore};
use vice_core::payload::config::{ConfigRecorded, Origin};
use vice_core::payload::environment::HoldPlaced;
use vice_core::payload::simulation::SimulationReport;
use vice_core::payload::verification::SuiteResult;
use vice_core::port::command::{CommandOutput, CommandRunner, CommandSpec, Ended};
use vice_core::port::config::{ConfigEntry, ConfigSource, ConfigValue, ResolvedConfig};
use vice_core::port::locator::Locator;
use vice_core::port::notifier::{Notice, Severity};
use vice_core::port::painter::{Painter, PictureFormat};
use vice_core::port::verifier::{Verifier, VerifyRequest};
use vice_core::rng::Streams;
use vice_core::store::{Append, EventStore, EventStoreExt, Query};
use vice_core::time::ManualClock;
use vice_core::ui::{Format, Progress, Ui};
use vice_core::{App, Clock, Code, Fault, Millis, Result, Secret};
use vice_lust::{Lust, LustParts};

/// The secret that must never be seen.
pub(crate) const CANARY: &str = "c4n4ry-s3cret";

/// What the terminal was told.
pub(crate) struct FakeUi {
    pub(crate) format: Format,
    pub(crate) shown: Mutex<Vec<(String, Value)>>,
    pub(crate) said: Mutex<Vec<String>>,
    pub(crate) closed: bool,
}

impl Default for FakeUi {
    fn default() -> Self {
        Self { format: Format::Text, shown: Mutex::default(), said: Mutex::default(), closed: false }
    }
}

impl Ui for FakeUi {
    fn format(&self) -> Format {
        self.format
    }
    fn say(&self, _: Severity, text: &str) {
        self.said.lock().unwrap().push(text.to_owned());
    }
    fn progress(&self, _: Progress) {}
    fn emit(&self, text: &str, value: &Value) -> bool {
        self.shown.lock().unwrap().push((text.to_owned(), value.clone()));
        !self.closed
    }
    fn ask(&self, _: &str, _: &str) -> Result<String> {
        Err(Fault::new(Code::NoInput, "Nobody is here."))
    }
    fn width(&self) -> usize {
        100
    }
}

/// Remembers what it was asked to run, and ends as told.
#[derive(Default)]
pub(crate) struct FakeRunner {
    pub(crate) ran: Mutex<Vec<CommandSpec>>,
    pub(crate) ends: Mutex<VecDeque<Result<Ended>>>,
}

#[async_trait]
impl CommandRunner for FakeRunner {
    async fn run(&self, spec: CommandSpec) -> Result<CommandOutput> {
        self.ran.lock().unwrap().push(spec);
        let ended = self.ends.lock().unwrap().pop_front().unwrap_or(Ok(Ended::Exited(0)))?;
        let stderr = "it broke".to_owned();
        Ok(CommandOutput { ended, stdout: "taken\n".into(), stderr, truncated: false, took: Millis(1) })
    }
}

/// A configuration of fixed entries.
#[derive(Default)]
pub(crate) struct FakeConfig(pub(crate) Mutex<BTreeMap<String, String>>);

#[async_trait]
impl ConfigSource for FakeConfig {
    async fn resolve(&self, _: &Arc<Project>, _: &EnvName) -> Result<ResolvedConfig> {
        let entry = |value: &String| ConfigEntry {
            value: ConfigValue::Secret(Secret::new(value.as_str())),
            origin: Origin { layer: "test".into(), line: None },
        };
        let entries = self.0.lock().unwrap().iter().map(|(key, value)| (key.clone(), entry(value))).collect();
        Ok(ResolvedConfig { entries, ..ResolvedConfig::default() })
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
    async fn restore(&self, project: &Arc<Project>, recorded: &ConfigRecorded) -> Result<ResolvedConfig> {
        self.resolve(project, &recorded.scope.env).await
    }
}

/// The ports that notification has no use for.
struct Nothing;

#[async_trait]
impl Verifier for Nothing {
    async fn verify(&self, _: VerifyRequest) -> Result<SuiteResult> {
        Err(Fault::internal("The tests of lust verify nothing."))
    }
}

impl Painter for Nothing {
    fn simulation(&self, _: &SimulationReport, _: PictureFormat) -> Result<String> {
        Ok(String::new())
    }
}

#[async_trait]
impl Locator for Nothing {
    async fn url(&self, _: &Scope) -> Result<Option<String>> {
        Ok(None)
    }

    async fn units(&self, _: &Scope) -> Result<Vec<vice_core::port::target::UnitState>> {
        Ok(Vec::new())
    }
}

/// Everything around notifiers that share one history.
pub(crate) struct World {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) ui: Arc<FakeUi>,
    pub(crate) env: Arc<ProcessEnv>,
    pub(crate) workspace: Arc<Workspace>,
    pub(crate) store: Arc<MemoryEventStore>,
    pub(crate) runner: Arc<FakeRunner>,
    pub(crate) config: Arc<FakeConfig>,
    pub(crate) folder: tempfile::TempDir,
}

impl World {
    /// A workspace with the project `hello`, whose manifest ends with `more`.
    pub(crate) fn new(more: &str) -> Self {
        Self::with_ui(more, FakeUi::default())
    }

    pub(crate) fn with_ui(more: &str, ui: FakeUi) -> Self {
        // The second call in a process fails, which is fine: the provider is there.
        drop(rustls::crypto::ring::default_provider().install_default());
        let folder = tempfile::tempdir().unwrap();
        let text = format!("name = \"hello\"\n[env.dev]\n[env.prod]\nclass = \"prod\"\n{more}")
            .replace("[env.dev]\n", "[env.dev]\ndefault = true\n");
        let project = Project::parse(folder.path().to_owned(), "vice.toml".into(), text).unwrap();
        vice_lust::check(&project).unwrap();
        let workspace = Workspace {
            root: folder.path().to_owned(),
            projects: [(project.name().clone(), Arc::new(project))].into(),
            ..Workspace::default()
        };
        let vars = [("HOOK_SECRET".to_owned(), CANARY.to_owned())].into();
        Self {
            clock: Arc::new(ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap(), Millis::ZERO)),
            ids: Arc::new(Ids::new(&Streams::new(7))),
            ui: Arc::new(ui),
            env: Arc::new(ProcessEnv { vars, host: "here".into(), ..ProcessEnv::default() }),
            workspace: Arc::new(workspace),
            store: Arc::default(),
            runner: Arc::default(),
            config: Arc::default(),
            folder,
        }
    }

    /// A notifier, as another process would have it.
    pub(crate) fn lust(&self) -> Lust {
        self.lust_on(self.store.clone())
    }

    /// A notifier that sees the history through something else.
    pub(crate) fn lust_on(&self, events: Arc<dyn EventStore>) -> Lust {
        Lust::new(LustParts {
            clock: self.clock.clone(),
            ids: self.ids.clone(),
            actor: person(),
            ui: self.ui.clone(),
            env: self.env.clone(),
            workspace: self.workspace.clone(),
            events,
            runner: self.runner.clone(),
            config: self.config.clone(),
            http: || Ok(reqwest::Client::builder().build().unwrap()),
        })
    }

    pub(crate) fn app(&self) -> App {
        App {
            clock: self.clock.clone(),
            ids: self.ids.clone(),
            ui: self.ui.clone(),
            env: self.env.clone(),
            actor: person(),
            workspace: self.workspace.clone(),
            events: self.store.clone(),
            series: Arc::new(MemorySeriesStore::default()),
            runner: self.runner.clone(),
            config: self.config.clone(),
            verifier: Arc::new(Nothing),
            prober: Arc::new(vice_core::memory::NoProber),
            locator: Arc::new(Nothing),
            painter: Arc::new(Nothing),
            notifier: Arc::new(self.lust()),
            actions: Arc::default(),
            stop: Arc::new(StopSignal::default()),
            http: Arc::new(()),
        }
    }

    pub(crate) fn project(&self) -> Arc<Project> {
        self.workspace.project("hello").unwrap()
    }

    /// Appends an event of the project in dev.
    pub(crate) async fn happen<P: Payload>(&self, stream: &str, payload: &P) -> String {
        let now = self.clock.now();
        let id = self.ids.next(now);
        let head = Head {
            id: id.clone(),
            time: now,
            stream: stream.to_owned(),
            scope: Some(dev()),
            actor: person(),
            chain_id: None,
        };
        self.store.append(Append::of(vec![Event::new(head, payload).unwrap()])).await.unwrap();
        id
    }

    /// Every payload of one type in the history.
    pub(crate) async fn history<P: Payload>(&self) -> Vec<P> {
        let query = Query { kinds: vec![P::KIND.to_owned()], ..Query::default() };
        let events = self.store.read_all(query).await.unwrap();
        events.iter().map(|recorded| recorded.event.decode().unwrap().unwrap()).collect()
    }

    /// The whole history as text, to look for what must not be in it.
    pub(crate) async fn everything(&self) -> String {
        let events = self.store.read_all(Query::default()).await.unwrap();
        events.iter().map(|recorded| recorded.event.data.clone()).collect()
    }
}

pub(crate) fn dev() -> Scope {
    Scope::new("hello".parse().unwrap(), "dev".parse().unwrap())
}

fn person() -> Actor {
    Actor { id: "ann".into(), kind: ActorKind::Person, on_behalf_of: None, evidence: "test".into() }
}

/// A webhook channel and a rule that sends these events to it.
pub(crate) fn rules(url: &str, on: &str) -> String {
    format!("[channel.ops]\nkind = \"webhook\"\nurl = \"{url}\"\n[[notify]]\non = [{on}]\nto = \"ops\"\n")
}

/// Version 2 goes on hold in dev.
pub(crate) fn hold(reason: &str) -> HoldPlaced {
    HoldPlaced { scope: dev(), version: "2".into(), reason: reason.into(), rollout: None }
}

/// A message without anything special.
pub(crate) fn notice(world: &World, key: &str) -> Notice {
    Notice {
        key: key.into(),
        project: world.project(),
        scope: None,
        severity: Severity::Info,
        title: "hi".into(),
        body: String::new(),
        time: world.clock.now(),
        channels: vec![],
    }
}
